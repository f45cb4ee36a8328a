package pattern_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/pattern"
)

func mustParse(t testing.TB, s string) pattern.Pattern {
	t.Helper()
	p, err := pattern.Parse(s)
	if err != nil {
		t.Fatalf("Parse(%q): %v", s, err)
	}
	return p
}

func TestParse(t *testing.T) {
	type want struct {
		Methods, Names []string
		Rest           string
	}
	tests := []struct {
		in   string
		want want
	}{
		{"GET /{$}", want{Methods: []string{"GET"}}},
		{"GET /{rest...}", want{Methods: []string{"GET"}, Names: []string{"rest"}, Rest: "rest"}},
		{"GET,HEAD /orders/{order_id}", want{Methods: []string{"GET", "HEAD"}, Names: []string{"order_id"}}},
		{"DELETE /users/{user_id}/orders/{order_id}/{tail...}",
			want{Methods: []string{"DELETE"}, Names: []string{"user_id", "order_id", "tail"}, Rest: "tail"}},
		{"POST /orders/{id}:cancel", want{Methods: []string{"POST"}, Names: []string{"id"}}},
		{"GET /files/{name}.tar.gz/{$}", want{Methods: []string{"GET"}, Names: []string{"name"}}},
		{"M-SEARCH /a", want{Methods: []string{"M-SEARCH"}}},
		// Literals are decoded text: what a request must escape may stand here.
		{"GET /café/a b/@me/.well-known/a..b/*x", want{Methods: []string{"GET"}}},
		// gRPC methods mean POST.
		{"/grpc.health.v1.Health/Check", want{Methods: []string{"POST"}}},
		{"/shop.v1.Orders/Get_1", want{Methods: []string{"POST"}}},
		{"POST /shop.v1.Orders/Get", want{Methods: []string{"POST"}}},
	}
	for _, tt := range tests {
		p, err := pattern.Parse(tt.in)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.in, err)
			continue
		}
		rest, hasRest := p.Rest()
		if diff := cmp.Diff(tt.want, want{p.Methods(), p.Names(), rest}); diff != "" {
			t.Errorf("Parse(%q) differs (-want +got):\n%s", tt.in, diff)
		}
		if hasRest != (tt.want.Rest != "") || p.String() != tt.in {
			t.Errorf("Parse(%q): Rest %v, String %q", tt.in, hasRest, p.String())
		}
	}
}

func TestPatternIsImmutable(t *testing.T) {
	p := mustParse(t, "GET /a/{x}")
	p.Methods()[0], p.Names()[0] = "PUT", "y"
	if p.Methods()[0] != "GET" || p.Names()[0] != "x" {
		t.Error("a caller changed a pattern")
	}
}

// The caret stands under the fault, and the text says what to write.
func TestParseErrors(t *testing.T) {
	tests := []struct {
		in     string
		offset int
		says   string
	}{
		// Methods.
		{"", 0, "GET,HEAD /orders/{order_id}"},
		{"GET", 0, "GET,HEAD /orders/{order_id}"},
		{"get /a", 0, "upper case"},
		{"GET,head /a", 4, "upper case"},
		{"GET,,HEAD /a", 4, "single commas"},
		{" /a", 0, "single commas"},
		{"GET,GET /a", 4, "twice"},
		{"CONNECT /a", 0, "CONNECT"},
		{"* /a", 0, "write them out"},
		{"ANY /a", 0, "write them out"},
		{"GÉT /a", 0, "upper case letters"},
		// Without methods only gRPC.
		{"/orders", 0, "write the methods"},
		{"/orders/list", 0, "write the methods"},
		{"/orders.v1/list-all", 0, "write the methods"},
		{"/a.b/c/d", 0, "write the methods"},
		{"/a..b/C", 1, "identifiers joined by dots"},
		{"/1a.b/C", 1, "identifiers joined by dots"},
		{"/{a.b}/C", 1, "identifiers joined by dots"},
		// Where the path begins and ends.
		{"GET orders", 4, "begins with `/`"},
		{"GET  /a", 4, "exactly one space"},
		{"GET /a ", 6, "a space ends"},
		{"GET /", 5, "`/{$}`"},
		{"GET /a/", 7, "`/{rest...}`"},
		{"GET /a//b", 7, "`//`"},
		{"GET //a", 5, "`//`"},
		{"GET /{$}/a", 5, "only at the end"},
		{"GET /a{$}", 5, "begins its segment"},
		// Names.
		{"GET /a/{x", 7, "has no `}`"},
		{"GET /a/x}", 8, "`{` or `}`"},
		{"GET /v{x}", 5, "begins its segment"},
		{"GET /{x}{y}", 8, "`{` or `}`"},
		{"GET /{}", 6, "a name is"},
		{"GET /{1x}", 6, "a name is"},
		{"GET /{user-id}", 6, "a name is"},
		{"GET /{name=**}", 6, "a name is"},
		{"GET /{...}", 6, "a name is"},
		{"GET /{rest...}/a", 5, "at the end"},
		{"GET /{rest...}.json", 5, "no suffix"},
		{"GET /{x}/b/{x}", 11, "twice"},
		{"GET /{x}/{x...}", 9, "twice"},
		// Other products' wildcards.
		{"GET /a/*", 7, "`{name}`"},
		{"GET /a/**", 7, "`{rest...}`"},
		{"GET /users/:id", 11, "`{name}`"},
		// What no accepted request can spell.
		{"GET /a%20b", 6, "decoded"},
		{"GET /{x}%2Fb", 8, "decoded"},
		{"GET /a;b", 6, "`;`"},
		{`GET /a\b`, 6, "`;`"},
		{"GET /a?x=1", 6, "only a path"},
		{"GET /a#b", 6, "only a path"},
		{"GET /a/../b", 7, "`..`"},
		{"GET /./b", 5, "`..`"},
		{"GET /...", 5, "`..`"},
		{"GET /a..", 5, "`..`"},
		{"GET /{x}..", 5, "`..`"},
		{"GET /a\x00", 6, "control"},
		{"GET /a\x7f", 6, "control"},
		{"GET /a\xff", 6, "UTF-8"},
		{"GET /" + strings.Repeat("a", 4096), 0, "4096"},
	}
	for _, tt := range tests {
		p, err := pattern.Parse(tt.in)
		var fault *pattern.ParseError
		if !errors.As(err, &fault) {
			t.Errorf("Parse(%q) = %v, %v, want a *ParseError", tt.in, p, err)
			continue
		}
		if fault.Offset != tt.offset || !strings.Contains(fault.Msg, tt.says) {
			t.Errorf("Parse(%q) = %d %q, want %d %q", tt.in, fault.Offset, fault.Msg, tt.offset, tt.says)
		}
		if p.Methods() != nil || p.Names() != nil {
			t.Errorf("Parse(%q) returned half a pattern", tt.in)
		}
	}
	_, err := pattern.Parse("GET /")
	var fault *pattern.ParseError
	if !errors.As(err, &fault) || err.Error() != "pattern: byte 6: "+fault.Msg {
		t.Errorf("Error() = %q", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"GET /{$}", "/a.B/C", "GET,HEAD /a/{x}.json/{rest...}", "GET /é", "GET /%", "GET /{"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := pattern.Parse(s)
		if err != nil {
			var fault *pattern.ParseError
			if !errors.As(err, &fault) || fault.Offset < 0 || fault.Offset > len(s) {
				t.Fatalf("Parse(%q) = %#v", s, err)
			}
			return
		}
		if len(p.Methods()) == 0 {
			t.Fatalf("Parse(%q) has no methods", s)
		}
		// Whatever parses can be built, and equals itself.
		_, conflicts := pattern.Build([]pattern.Entry{{Pattern: p, Rule: 1}, {Pattern: p, Rule: 2}}, pattern.Forgiving)
		if len(conflicts) != 1 || conflicts[0].Kind != pattern.Equal {
			t.Fatalf("%q does not conflict with itself: %v", s, conflicts)
		}
	})
}
