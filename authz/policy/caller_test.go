package policy

import (
	"strings"
	"testing"
)

func TestCallerPattern(t *testing.T) {
	tests := []struct {
		pattern, id string
		want        bool
	}{
		{"web/frontend", "spiffe://td/ns/web/sa/frontend", true},
		{"spiffe://td/ns/web/sa/frontend", "spiffe://td/ns/web/sa/frontend", true},
		{"batch/*", "spiffe://td/ns/batch/sa/nightly", true},
		{"spiffe://td/*/web/sa/x", "spiffe://td/ns/web/sa/x", true},
		// A star is one whole segment; nothing is a prefix.
		{"batch/*", "spiffe://td/ns/batch/sa/a/b", false},
		{"batch/*", "spiffe://td/ns/batch/sa", false},
		{"batch/*", "spiffe://td/ns/batch/sa/", false},
		{"spiffe://td/ns/a", "spiffe://td/ns/ab", false},
		{"spiffe://td/ns/a", "spiffe://td/ns/a/b", false},
		{"spiffe://td/ns/a.b", "spiffe://td/ns/axb", false},
		{"web/frontend", "spiffe://other/ns/web/sa/frontend", false},
		{"web/frontend", "spiffe://td.evil/ns/web/sa/frontend", false},
		{"web/frontend", "", false},
		{"web/frontend", "https://td/ns/web/sa/frontend", false},
		{"web/frontend", "spiffe://td/ns/WEB/sa/frontend", false},
	}
	for _, test := range tests {
		p, err := ParseCallerPattern(test.pattern, "td")
		if err != nil {
			t.Fatalf("%s: %v", test.pattern, err)
		}
		if got := p.Matches(test.id); got != test.want {
			t.Errorf("%s matches %s: %v", test.pattern, test.id, got)
		}
	}
	if (CallerPattern{}).Matches("spiffe://td/x") {
		t.Error("the zero pattern matches somebody")
	}
}

func TestCallerPatternRefused(t *testing.T) {
	for _, text := range []string{"", "*", "a", "a/b/c", "spiffe://td", "spiffe://td/", "spiffe://*/a", "spiffe://td/a*", "spiffe://td/a/**", "spiffe://TD/a", "spiffe://td/a/../b", "spiffe://td/a%2fb", "spiffe://td:1/a", "spiffe://u@td/a", "spiffe://td/a?q"} {
		if p, err := ParseCallerPattern(text, "td"); err == nil {
			t.Errorf("%q is taken as %s", text, p)
		}
	}
}

// The one spelling of a SPIFFE ID (SPIFFE-ID section 2); nothing is normalised.
func TestParseCaller(t *testing.T) {
	if id, ok := ParseCaller("spiffe://td/ns/a"); !ok || id != "spiffe://td/ns/a" {
		t.Error("an honest ID is refused")
	}
	for _, text := range []string{"", "spiffe://td", "spiffe://TD/x", "spiffe://td/x%2fy", "spiffe://td/a//b", "spiffe://td/a/../b", "spiffe://td/a/", "spiffe://td:1/a", "spiffe://u@td/a", "spiffe://td/a?q", "spiffe://td/" + strings.Repeat("a", 3000), "CN=client,O=lab", "dns.test", "SPIFFE://td/a"} {
		if _, ok := ParseCaller(text); ok {
			t.Errorf("%.40q is somebody", text)
		}
	}
}

func TestOverlaps(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true}, {"a/*", "*/b", true}, {"a/*", "a/b", true}, {"a/*", "b/*", false}, {"a/b", "a/c", false}, {"a/*", "spiffe://td/ns/a/sa", false}, {"a/*", "spiffe://other/ns/a/sa/b", false},
	}
	for _, test := range tests {
		a, _ := ParseCallerPattern(test.a, "td")
		b, _ := ParseCallerPattern(test.b, "td")
		if a.Overlaps(b) != test.want || b.Overlaps(a) != test.want {
			t.Errorf("%s and %s: %v", test.a, test.b, !test.want)
		}
	}
}

// Whatever a principal says: it is somebody only in the one spelling that the standard allows, and then a pattern of that very text,
// and of each of its segments starred, matches it, and the pattern of another does not.
func FuzzCaller(f *testing.F) {
	for _, seed := range []string{"spiffe://td/ns/web/sa/frontend", "spiffe://td", "spiffe://TD/x", "spiffe://td/a//b", "spiffe://td/a/../b", "spiffe://td/%2f", "spiffe://td:1/a", "spiffe://u@td/a", "spiffe://td/a?q", "spiffe://td/*", "CN=x,O=y", "spiffe://td/\x00", "spiffe://td/ä"} {
		f.Add(seed)
	}
	other, err := ParseCallerPattern("spiffe://another.domain/x", "")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, principal string) {
		id, ok := ParseCaller(principal)
		if other.Matches(principal) && principal != "spiffe://another.domain/x" {
			t.Errorf("%q is taken for another", principal)
		}
		if !ok {
			return
		}
		path, _ := strings.CutPrefix(id, "spiffe://")
		domain, path, found := strings.Cut(path, "/")
		if !found || domain == "" || domain != strings.ToLower(domain) || strings.ContainsAny(id, "%?#@\\ \x00") {
			t.Errorf("%q is somebody", principal)
		}
		segments := strings.Split(path, "/")
		for i := -1; i < len(segments); i++ {
			pattern := strings.Split(path, "/")
			if i >= 0 {
				pattern[i] = "*"
			}
			p, err := ParseCallerPattern("spiffe://"+domain+"/"+strings.Join(pattern, "/"), "")
			if err != nil || !p.Matches(id) {
				t.Errorf("%q is not matched by its own pattern: %v", id, err)
			}
			if p.Matches(id+"/x") || p.Matches(id+"/") {
				t.Errorf("%s matches more than %q", p, id)
			}
		}
	})
}
