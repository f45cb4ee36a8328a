package scope_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/scope"
)

func parse(t testing.TB, s string) scope.Set {
	t.Helper()
	set, err := scope.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return set
}

func TestParse(t *testing.T) {
	tests := []struct {
		in, want string
		err      error
	}{
		{"", "", nil},
		{"read", "read", nil},
		{"write:orders read:orders", "read:orders write:orders", nil},
		{"https://api.example/read !#~[]{|}", "!#~[]{|} https://api.example/read", nil},
		// A scope that is named twice counts once.
		{"a b a", "a b", nil},
		// Single spaces between, nothing else.
		{" ", "", scope.ErrSpacing},
		{" a", "", scope.ErrSpacing},
		{"a ", "", scope.ErrSpacing},
		{"a  b", "", scope.ErrSpacing},
		{"a\tb", "", scope.ErrToken},
		{"a\nb", "", scope.ErrToken},
		{"a\u00a0b", "", scope.ErrToken},
		// Bytes that no scope may hold.
		{`a"b`, "", scope.ErrToken},
		{`a\b`, "", scope.ErrToken},
		{"a\x00", "", scope.ErrToken},
		{"a\x7f", "", scope.ErrToken},
		{"re\u0430d", "", scope.ErrToken},
		{"\xff", "", scope.ErrToken},
		// Bounded, counted as sent.
		{strings.Repeat("a ", 255) + "a", "a", nil},
		{strings.Repeat("a ", 256) + "a", "", scope.ErrCount},
		{strings.Repeat("s ", 10_000), "", scope.ErrCount},
	}
	for _, tt := range tests {
		set, err := scope.Parse(tt.in)
		if !errors.Is(err, tt.err) || set.String() != tt.want {
			t.Errorf("Parse(%.40q) = %q, %v, want %q, %v", tt.in, set, err, tt.want, tt.err)
		}
	}
}

// `read` is read, not something like it.
func TestHasComparesOctets(t *testing.T) {
	for _, held := range []string{"readonly", "Read", "READ", "read:all", "admin read2", "rea", "xread", ""} {
		if parse(t, held).Has("read") {
			t.Errorf("%q has read", held)
		}
	}
	for _, held := range []string{"read", "admin read", "read write", "a read z"} {
		if !parse(t, held).Has("read") {
			t.Errorf("%q lacks read", held)
		}
	}
	if parse(t, "a b").Has("a b") || parse(t, "a b").Has("") {
		t.Error("a set has what is no scope")
	}
}

func TestAllAndAny(t *testing.T) {
	tests := []struct {
		held     string
		asked    []string
		all, any bool
	}{
		{"a b c", []string{"a", "c"}, true, true},
		{"a b c", []string{"a", "d"}, false, true},
		{"a b c", []string{"d", "e"}, false, false},
		{"a b c", nil, true, false},
		{"", []string{"a"}, false, false},
		{"", nil, true, false},
		{"", []string{""}, false, false},
	}
	for _, tt := range tests {
		set := parse(t, tt.held)
		if set.HasAll(tt.asked) != tt.all || set.HasAny(tt.asked) != tt.any {
			t.Errorf("%q asked for %q: all %v, any %v", tt.held, tt.asked, set.HasAll(tt.asked), set.HasAny(tt.asked))
		}
	}
	if (scope.Set{}).Has("a") || (scope.Set{}).Len() != 0 || parse(t, "a b a").Len() != 2 {
		t.Error("Len or the zero set is wrong")
	}
}

func TestFromList(t *testing.T) {
	list := []string{"b", "a", "b"}
	set, err := scope.FromList(list)
	if err != nil || set.String() != "a b" {
		t.Errorf("FromList = %q, %v", set, err)
	}
	if !slices.Equal(list, []string{"b", "a", "b"}) {
		t.Errorf("FromList changed the caller's list: %q", list)
	}
	for _, tt := range []struct {
		list []string
		err  error
	}{
		{nil, nil},
		{[]string{}, nil},
		{[]string{""}, scope.ErrSpacing},
		{[]string{"a b"}, scope.ErrSpacing},
		{[]string{"a", "é"}, scope.ErrToken},
		{make([]string, 257), scope.ErrCount},
	} {
		if set, err := scope.FromList(tt.list); !errors.Is(err, tt.err) || set.Len() != 0 {
			t.Errorf("FromList(%.40q) = %q, %v", tt.list, set, err)
		}
	}
}

// Against a map: membership, and String is read back.
func TestAgreesWithMap(t *testing.T) {
	token := rapid.StringMatching(`[a-cA-C:]{1,2}`)
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(token, 0, 12).Draw(t, "held")
		set, err := scope.Parse(strings.Join(list, " "))
		if err != nil {
			t.Fatal(err)
		}
		again, err := scope.Parse(set.String())
		if err != nil || again.String() != set.String() {
			t.Fatalf("String %q is read back as %q, %v", set, again, err)
		}
		held := map[string]bool{}
		for _, s := range list {
			held[s] = true
		}
		if set.Len() != len(held) {
			t.Fatalf("Len %d of %q", set.Len(), list)
		}
		asked := rapid.SliceOfN(token, 0, 4).Draw(t, "asked")
		all, some := true, false
		for _, s := range asked {
			if set.Has(s) != held[s] {
				t.Fatalf("Has(%q) of %q", s, list)
			}
			all, some = all && held[s], some || held[s]
		}
		if set.HasAll(asked) != all || set.HasAny(asked) != some {
			t.Fatalf("%q asked for %q", list, asked)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "a", "a b", "a  b", " a", "a\tb", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := scope.Parse(s)
		if err != nil {
			if set.Len() != 0 {
				t.Fatalf("Parse(%q) returned a set with %v", s, err)
			}
			return
		}
		for _, token := range strings.Fields(s) {
			if !set.Has(token) {
				t.Fatalf("%q lacks %q", s, token)
			}
		}
	})
}

func TestHasAllocatesNothing(t *testing.T) {
	set := parse(t, "read:orders write:orders openid profile")
	asked := []string{"read:orders", "profile"}
	if n := testing.AllocsPerRun(100, func() { _ = set.HasAll(asked) && set.HasAny(asked) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := scope.Parse("openid profile email read:orders write:orders"); err != nil {
			b.Fatal(err)
		}
	}
}
