package headerval_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/internal/headerval"
)

func TestCheckValue(t *testing.T) {
	comma, empty := headerval.Options{Comma: true}, headerval.Options{Empty: true}
	tests := []struct {
		in   string
		opt  headerval.Options
		want error
	}{
		// Visible ASCII and inner spaces.
		{"alice", headerval.Options{}, nil},
		{"Alice Example", headerval.Options{}, nil},
		{"!\"#$%&'()*+-./09:;<=>?@AZ[\\]^_`az{|}~", headerval.Options{}, nil},
		// Never trimmed, never empty unless allowed.
		{" alice", headerval.Options{}, headerval.ErrOuter},
		{"alice ", headerval.Options{}, headerval.ErrOuter},
		{" ", headerval.Options{}, headerval.ErrOuter},
		{"", headerval.Options{}, headerval.ErrEmpty},
		{"", comma, headerval.ErrEmpty},
		{"", empty, nil},
		// A comma makes two values of one.
		{"alice,admin", headerval.Options{}, headerval.ErrComma},
		{"alice,admin", empty, headerval.ErrComma},
		{"100, 100;w=60", comma, nil},
		// Response splitting, tabs, NUL, other alphabets, Latin-1.
		{"1\r\nx-evil: 1", headerval.Options{}, headerval.ErrByte},
		{"a\rb", comma, headerval.ErrByte},
		{"a\nb", headerval.Options{Comma: true, Empty: true, Max: 1 << 20}, headerval.ErrByte},
		{"a\x00b", headerval.Options{}, headerval.ErrByte},
		{"a\tb", headerval.Options{}, headerval.ErrByte},
		{"a\x7f", headerval.Options{}, headerval.ErrByte},
		{"Zoë", headerval.Options{}, headerval.ErrByte},
		{"caf\xe9", headerval.Options{}, headerval.ErrByte},
		// Bounded.
		{strings.Repeat("a", headerval.DefaultMax), headerval.Options{}, nil},
		{strings.Repeat("a", headerval.DefaultMax+1), headerval.Options{}, headerval.ErrLong},
		{"abcd", headerval.Options{Max: 3}, headerval.ErrLong},
	}
	for _, tt := range tests {
		if err := headerval.CheckValue(tt.in, tt.opt); !errors.Is(err, tt.want) {
			t.Errorf("CheckValue(%.40q, %+v) = %v, want %v", tt.in, tt.opt, err, tt.want)
		}
		if tt.opt == (headerval.Options{}) && headerval.ValidValue(tt.in) != (tt.want == nil) {
			t.Errorf("ValidValue(%.40q) differs from CheckValue", tt.in)
		}
	}
}

func TestPercent(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"AZaz09-._~":         "AZaz09-._~",
		"Zoë Müller":         "Zo%C3%AB%20M%C3%BCller",
		"a,b;c%d":            "a%2Cb%3Bc%25d",
		"a\r\nb\x00\xff":     "a%0D%0Ab%00%FF",
		"alice@example.com":  "alice%40example.com",
		"user|shop|8f14e45f": "user%7Cshop%7C8f14e45f",
	} {
		if got := headerval.Percent(in); got != want {
			t.Errorf("Percent(%q) = %q, want %q", in, got, want)
		}
	}
}

// Any text becomes a value, and no two texts the same one.
func TestPercentIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "text"))
		out := headerval.Percent(in)
		if !headerval.ValidValue(out) {
			t.Fatalf("Percent(%q) = %q is no value", in, out)
		}
		if back, err := url.PathUnescape(out); err != nil || back != in {
			t.Fatalf("Percent(%q) = %q reads back as %q, %v", in, out, back, err)
		}
	})
}

func TestJoin(t *testing.T) {
	tests := []struct {
		list []string
		sep  string
		want string
		err  error
	}{
		{[]string{"admin", "user"}, ",", "admin,user", nil},
		{[]string{"admin", "user"}, ", ", "admin, user", nil},
		{[]string{"team lead", "user"}, "|", "team lead|user", nil},
		{[]string{"admin"}, ",", "admin", nil},
		{nil, ",", "", nil},
		// An element that holds the separator, or a part of it, would be read as two.
		{[]string{"admin,root"}, ",", "", headerval.ErrSeparator},
		{[]string{"a|", "b"}, "||", "", headerval.ErrSeparator},
		{[]string{"a b"}, " ", "", headerval.ErrSeparator},
		{[]string{"a b"}, ", ", "", headerval.ErrSeparator},
		// An element that is no value by itself is none in a list.
		{[]string{"a", ""}, ",", "", headerval.ErrEmpty},
		{[]string{" a"}, ",", "", headerval.ErrOuter},
		{[]string{"a,b"}, "|", "", headerval.ErrComma},
		{[]string{"a\r\nb"}, ",", "", headerval.ErrByte},
		{[]string{"Zoë"}, ",", "", headerval.ErrByte},
		// Separators that part nothing.
		{[]string{"a"}, "", "", headerval.ErrNoJoin},
		{[]string{"a"}, "\n", "", headerval.ErrNoJoin},
		{[]string{"a"}, "x", "", headerval.ErrNoJoin},
		{[]string{"a"}, "----", "", headerval.ErrNoJoin},
		{nil, "é", "", headerval.ErrNoJoin},
	}
	for _, tt := range tests {
		got, err := headerval.Join(tt.list, tt.sep)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Join(%q, %q) = %q, %v, want %q, %v", tt.list, tt.sep, got, err, tt.want, tt.err)
		}
		if headerval.ValidSeparator(tt.sep) == errors.Is(tt.err, headerval.ErrNoJoin) {
			t.Errorf("ValidSeparator(%q)", tt.sep)
		}
	}
}

// What was joined splits back into the same list, whether the reader trims or not.
func TestJoinIsReversible(t *testing.T) {
	element := rapid.SampledFrom([]string{"a", "b c", "|", "-", "a|", "", " ", ",", "admin"})
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(element, 1, 4).Draw(t, "list")
		sep := rapid.SampledFrom([]string{",", ", ", "|", "||", " ", "-|"}).Draw(t, "separator")
		joined, err := headerval.Join(list, sep)
		if err != nil {
			return
		}
		parts := strings.Split(joined, sep)
		if len(parts) != len(list) {
			t.Fatalf("Join(%q, %q) = %q splits into %q", list, sep, joined, parts)
		}
		for i := range parts {
			if parts[i] != list[i] || strings.TrimSpace(parts[i]) != list[i] {
				t.Fatalf("Join(%q, %q) = %q splits into %q", list, sep, joined, parts)
			}
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"no rule matches":              "no rule matches",
		"a\r\nx-evil: 1":               "ax-evil: 1",
		"a\x00b\tc\x1b[31md\x7f":       "abc[31md",
		"a\u0085b\u009bc":              "abc",
		"a\u2028b\u2029c":              "abc",
		"a\xffb\xc0\xafc":              "abc",
		"Zoë":                          "Zoë",
		"kept \ufffd, dropped \xff":    "kept \ufffd, dropped ",
		strings.Repeat("\n", 1000):     "",
		"line one\nline two\r\nline 3": "line oneline twoline 3",
	} {
		if got := headerval.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"x-user-id", "X-User-Id", "x_user_id", "a", "1", "x!#$%&'*+-.^_`|~", strings.Repeat("a", 256)} {
		if !headerval.ValidName(name) {
			t.Errorf("ValidName(%q) is false", name)
		}
	}
	for _, name := range []string{"", ":path", "x user", "x:", "x\r\n", "x\x00", "é", "x,y", "x(y)", "x/y", strings.Repeat("a", 257)} {
		if headerval.ValidName(name) {
			t.Errorf("ValidName(%q) is true", name)
		}
	}
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{"x-user-id": "x-user-id", "X-User-ID": "x-user-id", "x_user_id": "x-user-id", "X_USER-id": "x-user-id", "": "", "É_": "É-"} {
		if got := headerval.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestForbidden(t *testing.T) {
	bad := []string{
		"", ":path", ":method", ":authority", ":bogus", ":", "x y", "é", "x\r\ny",
		"host", "Host", "content-length", "Content_Length", "transfer-encoding",
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy-authenticate", "proxy-authorization", "expect", "Expect", "trailers",
		"x-envoy-original-path", "X-Envoy-", "x_envoy_internal", "x-forwarded-for", "X-Forwarded-Client-Cert", "x_forwarded_proto",
		"x-sallyport-decision", "x-original-url", "x-rewrite-url", "x-http-method-override",
	}
	for _, name := range bad {
		if why, ok := headerval.Forbidden(name); !ok || why == "" {
			t.Errorf("Forbidden(%q) = %q, %v", name, why, ok)
		}
	}
	for _, name := range []string{"x-user-id", "X-Roles", "authorization", "x-forwarded", "x-envoy", "x-sallyport", "hosts", "x-host", "cookie", "x-tenant"} {
		if why, ok := headerval.Forbidden(name); ok || why != "" {
			t.Errorf("Forbidden(%q) = %q, %v", name, why, ok)
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{"a\r\nb", "\x00", "\xff", "é", "\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := headerval.Clean(s)
		if strings.ContainsAny(got, "\r\n\x00\t\x7f") || !utf8.ValidString(got) || headerval.Clean(got) != got {
			t.Fatalf("Clean(%q) = %q", s, got)
		}
		if headerval.ValidValue(s) && got != s {
			t.Fatalf("Clean changed the value %q to %q", s, got)
		}
	})
}

func BenchmarkValue(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !headerval.ValidValue("8f14e45f-ceea-467f-a0e6-1d2f3c4b5a69") || headerval.Percent("8f14e45f") != "8f14e45f" || headerval.Clean("no rule matches") == "" {
			b.Fatal("refused")
		}
	}
}
