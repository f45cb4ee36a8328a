package pattern_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// rules makes one rule of each argument; the patterns of one rule are joined by " | ", and a leading "exact! " is
// `extension: exact`.
func rules(t testing.TB, sources ...string) []pattern.Entry {
	t.Helper()
	var entries []pattern.Entry
	for rule, source := range sources {
		source, extensionExact := strings.CutPrefix(source, "exact! ")
		for one := range strings.SplitSeq(source, " | ") {
			entries = append(entries, pattern.Entry{Pattern: mustParse(t, one), Rule: rule, ExtensionExact: extensionExact})
		}
	}
	return entries
}

func build(t testing.TB, spelling pattern.Spelling, sources ...string) *pattern.Tree {
	t.Helper()
	tree, conflicts := pattern.Build(rules(t, sources...), spelling)
	for _, c := range conflicts {
		t.Fatalf("conflict: %s", c.Msg)
	}
	return tree
}

// outcome looks up "METHOD path" and returns "rule N", followed by the captures that are asked for, or the outcome.
func outcome(t testing.TB, tree *pattern.Tree, request string, names ...string) string {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	tg, err := target.Parse(method, "h", path)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	m, out := tree.Lookup(&tg, nil)
	if out != pattern.Found {
		if m.Entry != -1 || m.Rule != -1 {
			t.Errorf("%s: %v with entry %d, rule %d", request, out, m.Entry, m.Rule)
		}
		return out.String()
	}
	got := fmt.Sprintf("rule %d", m.Rule)
	for _, name := range names {
		value, ok := m.Capture(name)
		if !ok {
			t.Errorf("%s: %q is not bound", request, name)
		}
		got += fmt.Sprintf(" %s=%s", name, value)
	}
	return got
}

type lookup struct {
	request string
	names   string // joined by spaces
	want    string
}

func check(t *testing.T, tree *pattern.Tree, tests []lookup) {
	t.Helper()
	for _, tt := range tests {
		if got := outcome(t, tree, tt.request, strings.Fields(tt.names)...); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.request, got, tt.want)
		}
	}
}

func TestMostSpecificWins(t *testing.T) {
	tree := build(t, pattern.Exact,
		"GET /users/{id}",                  // 0
		"GET /users/me",                    // 1
		"POST /users/{id}:cancel",          // 2
		"GET /users/{id}/orders",           // 3
		"GET /users/{rest...}",             // 4
		"GET /files/{name}",                // 5
		"GET /files/{name}.gz",             // 6
		"GET /files/{name}.tar.gz",         // 7
		"GET /users/me/orders/{x}/deep",    // 8
		"GET /users/{id}/orders/{x}/deep2", // 9
		"GET /{$}",                         // 10
		"GET /docs/{$} | GET /docs",        // 11
		"GET /docs/{rest...}",              // 12
		"POST /users/me",                   // 13
	)
	check(t, tree, []lookup{
		// Literal before name before rest.
		{"GET /users/me", "", "rule 1"},
		{"GET /users/7", "id", "rule 0 id=7"},
		{"GET /users/7/x", "rest", "rule 4 rest=7/x"},
		{"GET /users/7/orders", "id", "rule 3 id=7"},
		// The longer suffix first; the name needs a byte of its own.
		{"GET /files/a.tar.gz", "name", "rule 7 name=a"},
		{"GET /files/a.gz", "name", "rule 6 name=a"},
		{"GET /files/.tar.gz", "name", "rule 6 name=.tar"},
		{"GET /files/.gz", "name", "rule 5 name=.gz"},
		{"GET /files/a", "name", "rule 5 name=a"},
		// A failed branch backs up: /users/me/orders/ leads nowhere for these.
		{"GET /users/me/orders", "id", "rule 3 id=me"},
		{"GET /users/me/orders/7/deep", "x", "rule 8 x=7"},
		{"GET /users/me/orders/7/deep2", "id x", "rule 9 id=me x=7"},
		{"GET /users/me/orders/7/deep3", "rest", "rule 4 rest=me/orders/7/deep3"},
		// The method is part of the search: GET /users/me hides nothing from POST.
		{"POST /users/me", "", "rule 13"},
		{"POST /users/me:cancel", "id", "rule 2 id=me"},
		{"GET /users/me:cancel", "id", "rule 0 id=me:cancel"},
		{"DELETE /users/me", "", "no rule"},
		{"HEAD /users/me", "", "no rule"},
		{"get /users/me", "", "no rule"},
		// A name is never empty; a rest may be, but needs its slash.
		{"GET /users/", "rest", "rule 4 rest="},
		{"GET /users", "", "no rule"},
		{"GET /files/", "", "no rule"},
		{"GET /users/7/", "rest", "rule 4 rest=7/"},
		// "/{$}" is the path itself.
		{"GET /", "", "rule 10"},
		{"GET /docs/", "", "rule 11"},
		{"GET /docs", "", "rule 11"},
		{"GET /docs/a", "rest", "rule 12 rest=a"},
		// Segments are whole: File Browser CVE-2026-35605.
		{"GET /usersx/7", "", "no rule"},
		{"GET /docsx", "", "no rule"},
		// Exact is exact.
		{"GET /Users/me", "", "no rule"},
		{"GET /users/ME", "id", "rule 0 id=ME"},
		{"GET /users/me.json", "id", "rule 0 id=me.json"},
	})
}

func TestCapturesAreDecoded(t *testing.T) {
	tree := build(t, pattern.Exact, "GET /u/{id}/f/{name}.json/{rest...}", "GET /u/{id}", "GET /café/a b")
	check(t, tree, []lookup{
		{"GET /u/alice%40example.com", "id", "rule 1 id=alice@example.com"},
		{"GET /u/a%20b/f/caf%c3%a9.json/x%20y/z", "id name rest", "rule 0 id=a b name=café rest=x y/z"},
		{"GET /u/1/f/2.json/3/4/", "id name rest", "rule 0 id=1 name=2 rest=3/4/"},
		{"GET /u/1/f/2.json/", "rest", "rule 0 rest="},
		{"GET /caf%C3%A9/a%20b", "", "rule 2"},
	})
	if _, ok := (pattern.Match{}).Capture("id"); ok {
		t.Error("the zero match captures")
	}
}

// Under the forgiving spelling, what a forgiving upstream may take for another rule is refused.
func TestForgivingSpelling(t *testing.T) {
	tree := build(t, pattern.Forgiving,
		"GET /users/{user_id}/orders",         // 0
		"GET /admin",                          // 1
		"GET /public/{name}",                  // 2
		"GET /public/list",                    // 3
		"GET /docs/{rest...}",                 // 4
		"GET /feed/{name}.json",               // 5
		"GET /report.pdf",                     // 6
		"GET /home | GET /home/{rest...}",     // 7
		"GET /{$}",                            // 8
		"GET /v1.2/{rest...}",                 // 9
		"/shop.v1.Orders/Get",                 // 10
		"GET /.well-known/jwks.json",          // 11
		"GET /static/{dir}/{name}.min.js/{$}", // 12
	)
	check(t, tree, []lookup{
		// Case.
		{"GET /users/bob/orders", "user_id", "rule 0 user_id=bob"},
		{"GET /users/Bob/orders", "user_id", "rule 0 user_id=Bob"},
		{"GET /USERS/bob/orders", "", "ambiguous"},
		{"GET /Admin", "", "ambiguous"},
		{"GET /public/List", "", "ambiguous"},
		{"GET /public/Other", "name", "rule 2 name=Other"},
		// A final slash.
		{"GET /admin/", "", "ambiguous"},
		{"GET /users/bob/orders/", "", "ambiguous"},
		{"GET /public/list/", "", "ambiguous"},
		{"GET /ADMIN/", "", "ambiguous"},
		{"GET /", "", "rule 8"},
		// An extension.
		{"GET /admin.json", "", "ambiguous"},
		{"GET /admin.tar.gz", "", "ambiguous"},
		{"GET /Admin.json/", "", "ambiguous"},
		{"GET /public/list.html", "", "ambiguous"},
		{"GET /public/other.html", "name", "rule 2 name=other.html"},
		{"GET /public/.list", "name", "rule 2 name=.list"},
		{"GET /feed/a.json", "name", "rule 5 name=a"},
		{"GET /feed/a.b.json", "name", "rule 5 name=a.b"},
		{"GET /feed/a.JSON", "", "ambiguous"},
		{"GET /feed/a.json/", "", "ambiguous"},
		{"GET /feed/a", "", "no rule"},
		{"GET /feed/a.xml", "", "no rule"},
		{"GET /report.pdf", "", "rule 6"},
		{"GET /report", "", "ambiguous"},
		{"GET /report.txt", "", "ambiguous"},
		{"GET /.well-known/jwks.json", "", "rule 11"},
		{"GET /.well-known/jwks", "", "ambiguous"},
		{"GET /static/a/b.min.js/", "dir name", "rule 12 dir=a name=b"},
		// A rest matches nothing in the eyes of a forgiving upstream.
		{"GET /docs/a.html", "rest", "rule 4 rest=a.html"},
		{"GET /docs/", "rest", "rule 4 rest="},
		{"GET /docs", "", "ambiguous"},
		{"GET /Docs", "", "ambiguous"},
		{"GET /docs.html", "", "ambiguous"},
		{"GET /home", "", "rule 7"},
		{"GET /home/", "", "rule 7"},
		{"GET /home/x", "", "rule 7"},
		{"GET /home.html", "", "ambiguous"},
		// So the literal before it can be the last segment, with an extension.
		{"GET /v1.2/", "rest", "rule 9 rest="},
		{"GET /v1.2/x.y", "rest", "rule 9 rest=x.y"},
		{"GET /v1", "", "ambiguous"},
		{"GET /v1.3", "", "ambiguous"},
		// gRPC.
		{"POST /shop.v1.Orders/Get", "", "rule 10"},
		{"POST /shop.v1.orders/get", "", "ambiguous"},
		{"GET /shop.v1.Orders/Get", "", "no rule"},
		// The readings are by the same method.
		{"POST /admin/", "", "no rule"},
		{"POST /Admin", "", "no rule"},
		// Nowhere under every reading.
		{"GET /other", "", "no rule"},
		{"GET /Other.x/", "", "no rule"},
	})
}

// A suffix keeps the extension of its own segment, and only where the pattern ends with it: below `{name}.json/` anything may follow,
// and an upstream that ignores the final slash and cuts extensions reads /admin.json/ as /admin.
func TestSuffixBeforeRest(t *testing.T) {
	tree := build(t, pattern.Forgiving, "GET /{name}.json/{rest...}", "GET /{id}", "GET /a/{name}.json/{$}", "GET /a/{id}")
	check(t, tree, []lookup{
		{"GET /admin.json/", "", "ambiguous"},
		{"GET /admin.json", "", "ambiguous"},
		{"GET /admin.json/x", "name rest", "rule 0 name=admin rest=x"},
		{"GET /admin", "id", "rule 1 id=admin"},
		{"GET /a/admin.json/", "name", "rule 2 name=admin"},
	})
}

// `extension: exact` on a rule: its cut form leaves the tree, its own requests are not cut.
func TestExtensionExact(t *testing.T) {
	tree := build(t, pattern.Forgiving, "GET /report", "exact! GET /report.json", "GET /f/list", "exact! GET /f/{name}", "exact! GET /v1.2/{rest...}")
	check(t, tree, []lookup{
		{"GET /report", "", "rule 0"},
		{"GET /report.json", "", "rule 1"},
		{"GET /report.xml", "", "ambiguous"},
		{"GET /Report.json", "", "ambiguous"},
		{"GET /report.json/", "", "ambiguous"},
		{"GET /f/list.html", "name", "rule 3 name=list.html"},
		{"GET /f/List.html", "name", "rule 3 name=List.html"},
		{"GET /f/LIST", "", "ambiguous"},
		{"GET /v1.2/", "rest", "rule 4 rest="},
		{"GET /v1", "", "no rule"},
	})
}

// An escape of a byte that may stand raw is fine in a capture and refused in a literal or a suffix, under either spelling.
func TestSoftEscapes(t *testing.T) {
	for _, spelling := range []pattern.Spelling{pattern.Forgiving, pattern.Exact} {
		tree := build(t, spelling, "GET /users/{id}", "GET /users/@me", "POST /orders/{id}:cancel", "POST /orders/{id}", "GET /a@b/{rest...}", "GET /ü@x")
		check(t, tree, []lookup{
			{"GET /users/@me", "", "rule 1"},
			{"GET /users/%40me", "", "ambiguous"},
			{"GET /users/%40you", "id", "rule 0 id=@you"},
			{"POST /orders/7:cancel", "id", "rule 2 id=7"},
			{"POST /orders/7%3Acancel", "", "ambiguous"},
			{"POST /orders/7%3acancel", "", "ambiguous"},
			{"POST /orders/a%40b:cancel", "id", "rule 2 id=a@b"},
			{"POST /orders/7%3Ax", "id", "rule 3 id=7:x"},
			{"GET /a@b/c%40d", "rest", "rule 4 rest=c@d"},
			{"GET /a%40b/c", "", "ambiguous"},
			// Bytes that must be escaped are no other spelling.
			{"GET /%C3%BC@x", "", "rule 5"},
			{"GET /%c3%bc%40x", "", "ambiguous"},
		})
	}
}

func TestConflicts(t *testing.T) {
	tests := []struct {
		name     string
		spelling pattern.Spelling
		rules    []string
		want     string // "A-B kind" and what the message names, or nothing
		mend     string
	}{
		{"differ only in names", pattern.Forgiving, []string{"GET /a/{x}", "GET /a/{y}"}, "0-1 equal", "the same path for GET"},
		{"share one method", pattern.Exact, []string{"GET,POST /a", "HEAD,POST /a"}, "0-1 equal", "the same path for POST"},
		{"share no method", pattern.Forgiving, []string{"GET /a", "POST /a"}, "", ""},
		{"equal in one rule", pattern.Exact, []string{"GET /a | GET /a"}, "0-1 equal", "leave one out"},
		{"equal rests", pattern.Exact, []string{"GET /a/{x...}", "GET /a/{y...}"}, "0-1 equal", "the same path for GET"},
		{"equal suffixes", pattern.Exact, []string{"GET /{x}.a", "GET /{y}.a"}, "0-1 equal", "the same path for GET"},
		{"gRPC is POST", pattern.Exact, []string{"/a.B/C", "POST /a.B/C"}, "0-1 equal", "the same path for POST"},

		{"case", pattern.Forgiving, []string{"GET /a", "GET /A"}, "0-1 folded", "`spelling: exact` on the service"},
		{"case, exact", pattern.Exact, []string{"GET /a", "GET /A"}, "", ""},
		{"case of a suffix", pattern.Forgiving, []string{"GET /{x}.a", "GET /{x}.A"}, "0-1 folded", "`spelling: exact` on the service"},
		{"case in one rule", pattern.Forgiving, []string{"GET /a | GET /A"}, "", ""},
		{"case, other methods", pattern.Forgiving, []string{"GET /a", "POST /A"}, "", ""},

		{"final slash", pattern.Forgiving, []string{"GET /a", "GET /a/{$}"}, "0-1 folded", "ignores a final slash"},
		{"final slash of a name", pattern.Forgiving, []string{"GET /{x}", "GET /{y}/{$}"}, "0-1 folded", "ignores a final slash"},
		{"final slash, exact", pattern.Exact, []string{"GET /a", "GET /a/{$}"}, "", ""},
		{"a rest matches nothing", pattern.Forgiving, []string{"GET /a", "GET /a/{rest...}"}, "0-1 folded", "put both in one rule"},
		{"a rest matches nothing, one rule", pattern.Forgiving, []string{"GET /a | GET /a/{rest...}"}, "", ""},
		{"a rest and its slash", pattern.Forgiving, []string{"GET /a/{$}", "GET /a/{rest...}"}, "0-1 folded", "put both in one rule"},
		{"the root keeps its slash", pattern.Forgiving, []string{"GET /{$}", "GET /{rest...}"}, "", ""},

		{"extension", pattern.Forgiving, []string{"GET /r", "GET /r.json"}, "0-1 folded", "`extension: exact` on the rule of `GET /r.json` if"},
		{"extension, the other order", pattern.Forgiving, []string{"GET /r.json", "GET /r"}, "0-1 folded", "`extension: exact` on the rule of `GET /r.json` if"},
		{"two extensions", pattern.Forgiving, []string{"GET /r.xml", "GET /r.json"}, "0-1 folded", "on the rule of `GET /r.xml` or `GET /r.json`"},
		{"extension, mended", pattern.Forgiving, []string{"GET /r", "exact! GET /r.json"}, "", ""},
		{"extension, the wrong rule mended", pattern.Forgiving, []string{"exact! GET /r", "GET /r.json"}, "0-1 folded", "extension: exact"},
		{"extension, exact", pattern.Exact, []string{"GET /r", "GET /r.json"}, "", ""},
		{"extension not last", pattern.Forgiving, []string{"GET /r/a", "GET /r.json/a"}, "", ""},
		{"extension before a rest", pattern.Forgiving, []string{"GET /v1", "GET /v1.2/{rest...}"}, "0-1 folded", "on the rule of `GET /v1.2/{rest...}`"},
		{"extension and slash", pattern.Forgiving, []string{"GET /r", "GET /r.json/{$}"}, "0-1 folded", "on the rule of `GET /r.json/{$}`"},
		{"extension of a suffix stands whole", pattern.Forgiving, []string{"GET /{x}", "GET /{x}.json"}, "", ""},
		{"dot file", pattern.Forgiving, []string{"GET /.git", "GET /.svn"}, "", ""},

		// Equal says it all: the pair is not reported folded as well. Each later entry is reported once.
		{"three", pattern.Forgiving, []string{"GET /a", "GET /a", "GET /A"}, "0-1 equal, 0-2 folded", ""},
		{"several methods", pattern.Forgiving, []string{"GET,PUT,POST /a", "GET,PUT,POST /a/{$}"}, "0-1 folded", ""},
	}
	for _, tt := range tests {
		tree, conflicts := pattern.Build(rules(t, tt.rules...), tt.spelling)
		var got []string
		for _, c := range conflicts {
			got = append(got, fmt.Sprintf("%d-%d %v", c.A, c.B, c.Kind))
			if !strings.Contains(c.Msg, tt.mend) {
				t.Errorf("%s: message %q lacks %q", tt.name, c.Msg, tt.mend)
			}
		}
		if strings.Join(got, ", ") != tt.want || tree == nil {
			t.Errorf("%s: %v, want %q", tt.name, got, tt.want)
		}
	}
}

func TestNothingIsNoRule(t *testing.T) {
	var tree *pattern.Tree
	if got := outcome(t, tree, "GET /"); got != "no rule" {
		t.Errorf("nil tree: %s", got)
	}
	empty, conflicts := pattern.Build([]pattern.Entry{{}, {}}, pattern.Forgiving)
	if got := outcome(t, empty, "GET /a"); got != "no rule" || conflicts != nil {
		t.Errorf("zero patterns: %s, %v", got, conflicts)
	}
	full := build(t, pattern.Forgiving, "GET /{rest...}")
	for _, tg := range []*target.Target{nil, {}, {Method: "GET", Path: "/"}} {
		if _, out := full.Lookup(tg, nil); out != pattern.NoRule {
			t.Errorf("Lookup(%v) = %v", tg, out)
		}
	}
}

func TestBuildCopiesEntries(t *testing.T) {
	entries := rules(t, "GET /a", "GET /b")
	tree, _ := pattern.Build(entries, pattern.Forgiving)
	entries[0].Rule = 7
	if got := outcome(t, tree, "GET /a"); got != "rule 0" {
		t.Errorf("the caller changed the tree: %s", got)
	}
}

// A deep tree whose branches all fail costs its nodes once, not a power of two of them.
func TestBackingUpIsBounded(t *testing.T) {
	var entries []pattern.Entry
	for depth := range 60 {
		path := strings.Repeat("/a", depth) + "/{x}" + strings.Repeat("/a", 59-depth) + "/end"
		entries = append(entries, pattern.Entry{Pattern: mustParse(t, "GET "+path), Rule: depth})
	}
	tree, _ := pattern.Build(entries, pattern.Exact)
	if got := outcome(t, tree, "GET "+strings.Repeat("/a", 60)+"/other"); got != "no rule" {
		t.Errorf("got %s", got)
	}
}
