package target_test

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/target"
)

func parsePath(raw string) (target.Target, error) { return target.Parse("GET", "lab.test", raw) }

// refusedPart returns the part and the reason of a refusal, and fails the test if the error is of another type.
func refusedPart(t *testing.T, err error) (part, why string) {
	t.Helper()
	var refusal *target.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("error %v is %T, want *target.Error", err, err)
	}
	return refusal.Part, refusal.Why
}

func TestPathsRefused(t *testing.T) {
	tests := []struct{ raw, why string }{
		// Empty segments: Istio CVE-2021-31920, opa-envoy-plugin CVE-2026-26205 (read as a host), File Browser CVE-2026-25890.
		{"//admin", "holds '//'"},
		{"///admin", "holds '//'"},
		{"/public//../admin", "holds '//'"},
		{"/admin//", "holds '//'"},
		{"//other.test/a", "holds '//'"},
		// Dot segments, plain and encoded: Heimdall CVE-2026-42274, Oathkeeper CVE-2026-33494, Traefik CVE-2026-48020.
		{"/public/../admin", "holds a dot segment"},
		{"/public/./admin", "holds a dot segment"},
		{"/..", "holds a dot segment"},
		{"/.", "holds a dot segment"},
		{"/a/..", "holds a dot segment"},
		{"/public/%2e%2e/admin", "holds an escape of a byte that needs none"},
		{"/public/%2E%2E/admin", "holds an escape of a byte that needs none"},
		{"/public/.%2e/admin", "holds an escape of a byte that needs none"},
		{"/public/%2e/admin", "holds an escape of a byte that needs none"},
		{"/public/%2e%2e%2fadmin", "holds an escape of a byte that needs none"},
		// A segment that begins or ends with dots is one that some reader shortens to "..".
		{"/a/...", "holds a dot segment"},
		{"/a/..b", "holds a dot segment"},
		{"/a/b..", "holds a dot segment"},
		{"/a/..%20", "holds a dot segment"},
		{"/a/..%0d", "holds a dot segment"},
		// Slashes and backslashes, plain and encoded: Envoy CVE-2021-29492.
		{`/a\b`, "holds a byte that must be escaped or must not stand in a path"},
		{`/public/..\admin`, "holds a byte that must be escaped or must not stand in a path"},
		{"/public%2fadmin", "holds an escape of a separator or a control byte"},
		{"/public%2Fadmin", "holds an escape of a separator or a control byte"},
		{"/public%5cadmin", "holds an escape of a separator or a control byte"},
		{"/a/x%2f..%2fadmin", "holds an escape of a separator or a control byte"},
		{"/%2fother.test/x", "holds an escape of a separator or a control byte"},
		// Double decoding: fasthttp GO-2026-4950.
		{"/%252e%252e/admin", "holds an escape of a separator or a control byte"},
		{"/a%252fb", "holds an escape of a separator or a control byte"},
		{"/%25c0%25ae", "holds an escape of a separator or a control byte"},
		{"/100%25", "holds an escape of a separator or a control byte"},
		// Overlong and broken UTF-8, raw and escaped.
		{"/%c0%ae%c0%ae/admin", "holds escapes that are not UTF-8"},
		{"/%c0%af", "holds escapes that are not UTF-8"},
		{"/%e0%80%ae", "holds escapes that are not UTF-8"},
		{"/%c1%9c", "holds escapes that are not UTF-8"},
		{"/%ed%a0%80", "holds escapes that are not UTF-8"},
		{"/%ff", "holds escapes that are not UTF-8"},
		{"/%c3/%a9", "holds escapes that are not UTF-8"},
		{"/caf\xc3\xa9", "holds a byte that must be escaped or must not stand in a path"},
		{"/\xff", "holds a byte that must be escaped or must not stand in a path"},
		// NUL and controls: Envoy CVE-2019-9900.
		{"/a%00", "holds an escape of a separator or a control byte"},
		{"/a%00b", "holds an escape of a separator or a control byte"},
		{"/a%0d%0ab", "holds an escape of a separator or a control byte"},
		{"/a%09b", "holds an escape of a separator or a control byte"},
		{"/a%7f", "holds an escape of a separator or a control byte"},
		{"/a\x00b", "holds a byte that must be escaped or must not stand in a path"},
		{"/a\tb", "holds a byte that must be escaped or must not stand in a path"},
		{"/a\r\nb", "holds a byte that must be escaped or must not stand in a path"},
		{"/a b", "holds a byte that must be escaped or must not stand in a path"},
		// Matrix parameters: Envoy CVE-2026-73511, 73551.
		{"/admin;x", "holds ';'"},
		{"/admin;x=1/b", "holds ';'"},
		{"/..;/admin", "holds ';'"},
		{"/;/admin", "holds ';'"},
		{"/a;b/../admin", "holds ';'"},
		{"/a%3bx=1", "holds an escape of a separator or a control byte"},
		// Fragments: Istio CVE-2021-39156, oauth2-proxy CVE-2026-41059.
		{"/admin#x", "holds a byte that must be escaped or must not stand in a path"},
		{"/public#/../admin", "holds a byte that must be escaped or must not stand in a path"},
		{"/a%23f", "holds an escape of a separator or a control byte"},
		// An escaped '?' is part of the path here and the start of a query elsewhere.
		{"/a%3fx=1", "holds an escape of a separator or a control byte"},
		// Malformed escapes.
		{"/a%", "holds a malformed escape"},
		{"/a%2", "holds a malformed escape"},
		{"/a%zz", "holds a malformed escape"},
		{"/%u002f", "holds a malformed escape"},
		{"/a%2/b", "holds a malformed escape"},
		// Escapes of letters and digits, which a normalising proxy undoes.
		{"/%61dmin", "holds an escape of a byte that needs none"},
		{"/%41dmin", "holds an escape of a byte that needs none"},
		{"/a%25%32%66b", "holds an escape of a separator or a control byte"},
		{"/users/%37", "holds an escape of a byte that needs none"},
		{"/a%7Eb", "holds an escape of a byte that needs none"},
		// Bytes outside pchar.
		{`/a"b`, "holds a byte that must be escaped or must not stand in a path"},
		{"/a<b>", "holds a byte that must be escaped or must not stand in a path"},
		{"/a{b}", "holds a byte that must be escaped or must not stand in a path"},
		{"/a^b", "holds a byte that must be escaped or must not stand in a path"},
		{"/a|b", "holds a byte that must be escaped or must not stand in a path"},
		{"/a`b", "holds a byte that must be escaped or must not stand in a path"},
		{"/a[0]", "holds a byte that must be escaped or must not stand in a path"},
		// Forms that are no path: grpc-go CVE-2026-33186.
		{"", "does not begin with '/'"},
		{"admin", "does not begin with '/'"},
		{"*", "does not begin with '/'"},
		{"?x", "does not begin with '/'"},
		{"http://h/admin", "does not begin with '/'"},
		{"/" + strings.Repeat("a", target.MaxPath), "is longer than 8 KiB"},
	}
	for _, tt := range tests {
		_, err := parsePath(tt.raw)
		if err == nil {
			t.Errorf("Parse(%q) accepted it", tt.raw)
			continue
		}
		if part, why := refusedPart(t, err); part != "path" || why != tt.why {
			t.Errorf("Parse(%q) = %s %s, want path %s", tt.raw, part, why, tt.why)
		}
	}
}

func TestPathsAccepted(t *testing.T) {
	plain := func(s string) target.Segment { return target.Segment{Raw: s, Text: s} }
	tests := []struct {
		raw  string
		want []target.Segment
	}{
		{"/", []target.Segment{plain("")}},
		{"/a", []target.Segment{plain("a")}},
		{"/a/", []target.Segment{plain("a"), plain("")}},
		{"/A/b.json", []target.Segment{plain("A"), plain("b.json")}},
		// Dots that are no dot segment for anybody.
		{"/a./.b/c..d/.well-known", []target.Segment{plain("a."), plain(".b"), plain("c..d"), plain(".well-known")}},
		// Every byte that pchar allows raw, ';' excepted.
		{"/a-b_c~d!$&'()*+,=:@", []target.Segment{plain("a-b_c~d!$&'()*+,=:@")}},
		// Escapes of what must be escaped are hard, of what may stand raw are soft.
		{"/a%20b", []target.Segment{{Raw: "a%20b", Text: "a b"}}},
		{"/caf%C3%A9/%c3%a9", []target.Segment{{Raw: "caf%C3%A9", Text: "café"}, {Raw: "%c3%a9", Text: "é"}}},
		{"/alice%40example.com", []target.Segment{{Raw: "alice%40example.com", Text: "alice@example.com", SoftEscaped: true}}},
		{"/7%3Acancel/%2B", []target.Segment{{Raw: "7%3Acancel", Text: "7:cancel", SoftEscaped: true}, {Raw: "%2B", Text: "+", SoftEscaped: true}}},
		{"/" + strings.Repeat("a", target.MaxPath-1), []target.Segment{plain(strings.Repeat("a", target.MaxPath-1))}},
	}
	for _, tt := range tests {
		got, err := parsePath(tt.raw)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.raw, err)
			continue
		}
		want := target.Target{Method: "GET", Host: "lab.test", Path: tt.raw, Segments: tt.want}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%q) differs (-want +got):\n%s", tt.raw, diff)
		}
	}
}

// The path ends at the first '?', whatever the query looks like: CVE-2020-8595, oauth2-proxy CVE-2025-54576.
func TestQueryIsCutOff(t *testing.T) {
	tests := []struct {
		raw, path, query string
		has              bool
	}{
		{"/admin", "/admin", "", false},
		{"/admin?", "/admin", "", true},
		{"/admin?x=/public/", "/admin", "x=/public/", true},
		{"/public?/../admin", "/public", "/../admin", true},
		{"/a??x", "/a", "?x", true},
		{"/a?x=//b&y=%2f%2e%2e\\b", "/a", "x=//b&y=%2f%2e%2e\\b", true},
		{"/a?x=caf\xc3\xa9", "/a", "x=caf\xc3\xa9", true},
	}
	for _, tt := range tests {
		got, err := parsePath(tt.raw)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.raw, err)
			continue
		}
		if got.Path != tt.path || got.RawQuery != tt.query || got.HasQuery != tt.has {
			t.Errorf("Parse(%q) = %q, %q, %v", tt.raw, got.Path, got.RawQuery, got.HasQuery)
		}
	}
	// What no request target can carry is refused in the query as well.
	for _, raw := range []string{"/a?x#f", "/a?x y", "/a?x\x00", "/a?x\r\ny", "/a?x\x7f"} {
		_, err := parsePath(raw)
		if err == nil {
			t.Errorf("Parse(%q) accepted it", raw)
			continue
		}
		if part, _ := refusedPart(t, err); part != "query" {
			t.Errorf("Parse(%q) refused the %s, want the query", raw, part)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "PURGE", "get", "M-SEARCH", "TRACE", "connect"} {
		if got, err := target.Parse(method, "h", "/"); err != nil || got.Method != method {
			t.Errorf("method %q became %q, %v", method, got.Method, err)
		}
	}
	for _, method := range []string{"", "GET ", "G T", "GET\r\n", "GÉT", "CONNECT", "GET,HEAD", "a/b"} {
		_, err := target.Parse(method, "h", "/")
		if err == nil {
			t.Errorf("method %q was accepted", method)
			continue
		}
		if part, _ := refusedPart(t, err); part != "method" {
			t.Errorf("method %q: refused the %s", method, part)
		}
	}
}

func TestHosts(t *testing.T) {
	tests := []struct{ host, want string }{
		// Case, one port and one final dot do not make another host: Traefik CVE-2026-53622.
		{"orders", "orders"},
		{"API.Example", "api.example"},
		{"api.example.", "api.example"},
		{"api.example:443", "api.example"},
		{"api.example.:443", "api.example"},
		{"api.example:65535", "api.example"},
		{"my_svc.shop.svc", "my_svc.shop.svc"},
		{"10.0.0.1:80", "10.0.0.1"},
		{"[2001:DB8::1]", "[2001:db8::1]"},
		{"[::1]:8080", "[::1]"},
		{"[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"},
		// Empty, two hosts, users, zones, ports that are none.
		{"", ""},
		{".", ""},
		{":80", ""},
		{"a..", ""},
		{"lab.test,other.test", ""},
		{"u@lab.test", ""},
		{"lab.test:", ""},
		{"lab.test:x", ""},
		{"lab.test:+1", ""},
		{"lab.test:80:80", ""},
		{"lab.test:65536", ""},
		{"lab.test:000080", ""},
		{"::1", ""},
		{"[::1", ""},
		{"::1]", ""},
		{"[]", ""},
		{"[", ""},
		{"[10.0.0.1]", ""},
		{"[fe80::1%eth0]", ""},
		{"[::1]x", ""},
		{"[::1]x:80", ""},
		{"[[::1]]", ""},
		// Bytes outside the grammar, other alphabets among them (U+212A folds to k).
		{"lab test", ""},
		{"lab/test", ""},
		{"lab?test", ""},
		{"lab#test", ""},
		{"lab%2etest", ""},
		{"lab\x00.test", ""},
		{"lab.test\r\n", ""},
		{"\u212aelvin.test", ""},
		{"xn--caf-dma.test", "xn--caf-dma.test"},
		{"café.test", ""},
	}
	for _, tt := range tests {
		got, err := target.ParseHost(tt.host)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("ParseHost(%q) = %q, %v, want %q", tt.host, got, err, tt.want)
		}
		full, fullErr := target.Parse("GET", tt.host, "/")
		if full.Host != tt.want || (fullErr == nil) != (err == nil) {
			t.Errorf("Parse with host %q = %q, %v, want %q", tt.host, full.Host, fullErr, tt.want)
		}
	}
}

// A suffix is reached softly only by an escape inside the suffix itself.
func TestSoftTail(t *testing.T) {
	tests := []struct {
		raw  string
		n    int
		want bool
	}{
		{"a%40b.json", 5, false},
		{"a%40b.json", 6, false},
		{"a%40b.json", 7, true},
		{"7%3Acancel", 7, true},
		{"7%3Acancel", 6, false},
		{"a%3Ab%20c", 2, false},
		{"a%3Ab%20c", 4, true},
		{"a%20:c", 9, false},
		{"%3A", 1, true},
		{"%3A", 0, false},
		{"abc", 3, false},
	}
	for _, tt := range tests {
		got, err := parsePath("/" + tt.raw)
		if err != nil {
			t.Fatal(err)
		}
		if soft := got.Segments[0].SoftTail(tt.n); soft != tt.want {
			t.Errorf("SoftTail(%q, %d) = %v", tt.raw, tt.n, soft)
		}
	}
}

// No refusal repeats what the client sent, so that a refusal can be logged and answered.
func TestRefusalsQuoteNothing(t *testing.T) {
	for _, raw := range []string{"/s3cret%zz", "/s3cret;", "/s3cret//", "s3cret", "/s3cret?x#", "/s3cret/.."} {
		if _, err := parsePath(raw); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Parse(%q) = %v", raw, err)
		}
	}
	if _, err := target.ParseHost("s3cret!"); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("ParseHost = %v", err)
	}
}

// naiveSegment says the same rules as the package with regular expressions over one segment.
var (
	naiveBytes   = regexp.MustCompile(`^([A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})*$`)
	naiveBarred  = regexp.MustCompile(`(?i)%(2f|5c|3b|23|3f|25|[01].|7f|2d|2e|5f|7e|3[0-9]|[46][1-9a-f]|[57][0-9a])`)
	naiveDots    = regexp.MustCompile(`^\.$|^\.\.|\.\.$`)
	naiveSoftEsc = regexp.MustCompile(`(?i)%(21|24|26|27|28|29|2a|2b|2c|3d|3a|40)`)
)

func naivePath(path string) ([]target.Segment, bool) {
	if !strings.HasPrefix(path, "/") || len(path) > 8192 {
		return nil, false
	}
	var segments []target.Segment
	parts := strings.Split(path[1:], "/")
	for i, raw := range parts {
		text, err := url.PathUnescape(raw)
		empty := raw == "" && i < len(parts)-1
		if empty || err != nil || !naiveBytes.MatchString(raw) || naiveBarred.MatchString(raw) || naiveDots.MatchString(raw) || !utf8.ValidString(text) {
			return nil, false
		}
		segments = append(segments, target.Segment{Raw: raw, Text: text, SoftEscaped: naiveSoftEsc.MatchString(raw)})
	}
	return segments, true
}

func checkAgainstNaive(t interface{ Fatalf(string, ...any) }, path string) {
	got, err := parsePath(path)
	want, ok := naivePath(path)
	if (err == nil) != ok {
		t.Fatalf("Parse(%q) = %v, the naive reading accepts: %v", path, err, ok)
	}
	if err == nil {
		if diff := cmp.Diff(want, got.Segments); diff != "" {
			t.Fatalf("Parse(%q) differs (-naive +got):\n%s", path, diff)
		}
	}
}

func TestPathAgreesWithNaiveReading(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "B", "7", "/", ".", "-", "~", "%40", "%3a", "%2B", "%20", "%c3%a9", "%C3", "%2f", "%2e", "%25",
		"%00", "%7e", "%5F", "%6a", "%4F", "%", "%2", "%zz", ";", "#", "\\", "é", "@", ":", "'", "[", "\x00", "%5b", "%60", "%7b", "%30", "%3c"})
	rapid.Check(t, func(t *rapid.T) {
		checkAgainstNaive(t, "/"+strings.Join(rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces"), ""))
	})
	// Every byte, raw and escaped, in the middle of a segment.
	for c := range 256 {
		raw := string([]byte{byte(c)})
		if c != '?' {
			checkAgainstNaive(t, "/a"+raw+"b")
		}
		checkAgainstNaive(t, "/a"+strings.ToUpper("%"+string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15]))+"b")
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"/", "/a/b?x=1", "/%61", "/a%40b", "//a", "/a;b", "/..", "/a%c3%a9", "/a?%zz;", "*"} {
		f.Add("GET", "lab.test:80", seed)
	}
	f.Add("CONNECT", "[::1]:8080", "/")
	f.Fuzz(func(t *testing.T, method, host, raw string) {
		got, err := target.Parse(method, host, raw)
		if err != nil {
			refusedPart(t, err)
			return
		}
		path, _, _ := strings.Cut(raw, "?")
		checkAgainstNaive(t, path)
		if again, err := target.ParseHost(got.Host); err != nil || again != got.Host {
			t.Fatalf("host %q is not stable: %q, %v", got.Host, again, err)
		}
		for _, segment := range got.Segments {
			if segment.SoftTail(len(segment.Text)) != segment.SoftEscaped {
				t.Fatalf("segment %q: the whole tail and SoftEscaped differ", segment.Raw)
			}
		}
		got.Query().Has("access_token")
		if _, _, err := got.Query().One("id"); err != nil {
			refusedPart(t, err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for name, raw := range map[string]string{
		"plain":   "/users/8f14e45f/orders/c9f0f895?page=2",
		"escaped": "/users/alice%40example.com/orders/c9f0f895?page=2",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := target.Parse("GET", "orders.shop.svc.cluster.local:8080", raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One allocation for a plain path: the segments.
func TestPlainPathAllocatesOnlySegments(t *testing.T) {
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := target.Parse("GET", "orders.shop.svc:8080", "/users/7/orders/9?page=2"); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 1 {
		t.Errorf("Parse allocates %v times, want 1", allocs)
	}
}
