package pattern_test

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// A pattern is taken exactly if no path selects it: every set of patterns below /a is tried by every path up to five segments deep.
func TestTaken(t *testing.T) {
	ladder := []string{"/a/{$}", "/a/{x}", "/a/{rest...}", "/a/{x}/{$}", "/a/{x}/{y}", "/a/{x}/{rest...}", "/a/{x}/{y}/{rest...}", "/a/b/{rest...}", "/a/{x}.c/{rest...}"}
	paths := []string{"/a/"}
	for _, first := range []string{"q", "b", "q.c"} {
		paths = append(paths, "/a/"+first, "/a/"+first+"/", "/a/"+first+"/q", "/a/"+first+"/q/", "/a/"+first+"/q/q", "/a/"+first+"/q/q/")
	}
	some := 0
	for set := range 1 << len(ladder) {
		var list []string
		for i, path := range ladder {
			if set>>i&1 == 1 {
				list = append(list, "GET "+path)
			}
		}
		tree := build(t, pattern.Exact, list...)
		selected := map[int]bool{}
		for _, path := range paths {
			tg, err := target.Parse("GET", "h", path)
			if err != nil {
				t.Fatal(err)
			}
			if m, out := tree.Lookup(&tg, nil); out == pattern.Found {
				selected[m.Entry] = true
			}
		}
		for i := range list {
			if tree.Taken(i) == selected[i] {
				t.Fatalf("of %v, %s: taken %v, selected %v", list, list[i], tree.Taken(i), selected[i])
			}
			if tree.Taken(i) {
				some++
			}
		}
	}
	if some == 0 {
		t.Error("no pattern was ever taken")
	}
}

// It takes every method to take a pattern.
func TestTakenByMethod(t *testing.T) {
	below := []string{"GET /{$} | GET /{x} | GET /{x}/{rest...}", "GET,HEAD /{rest...}"}
	if build(t, pattern.Exact, below...).Taken(3) {
		t.Error("HEAD is nobody else's, and is taken")
	}
	below[0] = strings.ReplaceAll(below[0], "GET ", "GET,HEAD ")
	if !build(t, pattern.Exact, below...).Taken(3) {
		t.Error("both methods are others', and are not taken")
	}
	var tree *pattern.Tree
	if tree.Taken(0) || build(t, pattern.Exact, below...).Taken(4) || build(t, pattern.Exact, below...).Taken(-1) {
		t.Error("what is not there is taken")
	}
}

func TestPath(t *testing.T) {
	for source, want := range map[string]string{
		"GET /healthz":                 "/healthz",
		"GET,HEAD /a/b.c/~d":           "/a/b.c/~d",
		"GET /a/{$}":                   "/a/",
		"GET /{$}":                     "/",
		"/grpc.health.v1.Health/Check": "/grpc.health.v1.Health/Check",
		"GET /a/{x}":                   "",
		"GET /a/{rest...}":             "",
		"GET /a b":                     "", // written /a%20b
		"GET /@me":                     "", // written /@me or /%40me
	} {
		if got, ok := mustParse(t, source).Path(); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", source, got, ok)
		}
	}
	if got, ok := (pattern.Pattern{}).Path(); ok {
		t.Errorf("the zero pattern has the path %q", got)
	}
}

// What a prefix says of a whole pattern is what it says of each of its paths.
func TestPrefixOfPatterns(t *testing.T) {
	const all, none, some = "all", "none", "some"
	for _, test := range []struct{ prefix, pattern, exact, forgiving string }{
		{"/assets/", "GET /assets/{rest...}", all, all},
		{"/assets/", "GET /assets", all, all},
		{"/assets/", "GET /assets/{$}", all, all},
		{"/assets/", "GET /assets/app.js", all, all},
		{"/assets/private/", "GET /assets/{rest...}", some, some},
		{"/assets/private/", "GET /assets", none, none},
		{"/assets/private/", "GET /assets/{$}", none, none},
		{"/assets/private/", "GET /assets/{x}", some, some},
		{"/assets/private/", "GET /{x}/{rest...}", some, some},
		{"/private/", "GET /assets/{rest...}", none, none},
		{"/ASSETS/", "GET /assets/{rest...}", none, all},
		{"/assets/private/", "GET /assets/private.html", none, some},
		{"/assets/a/b", "GET /assets/{x}.c/{rest...}", some, some},
		{"/", "GET /assets", all, all},
	} {
		prefix := pattern.Prefix{}
		if test.prefix != "/" {
			var err error
			if prefix, err = pattern.ParsePrefix(test.prefix); err != nil {
				t.Fatal(err)
			}
		}
		for spelling, want := range map[pattern.Spelling]string{pattern.Exact: test.exact, pattern.Forgiving: test.forgiving} {
			p := mustParse(t, test.pattern)
			if got := prefix.CoversAll(p, spelling); got != (want == all) {
				t.Errorf("%s covers all of %s, %s: %v", test.prefix, test.pattern, spelling, got)
			}
			if got := prefix.Misses(p, spelling); got != (want == none) {
				t.Errorf("%s misses %s, %s: %v", test.prefix, test.pattern, spelling, got)
			}
		}
	}
}
