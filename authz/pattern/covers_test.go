package pattern_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		p, q string
		want bool
	}{
		{"/a", "/a", true}, {"/a", "/b", false}, {"/a", "/A", false}, {"/a", "/a/{$}", false}, {"/a/{$}", "/a/{$}", true},
		{"/{x}", "/a", true}, {"/a", "/{x}", false}, {"/{x}", "/{y}", true}, {"/{x}", "/{y}.json", true}, {"/{x}", "/{$}", false},
		{"/{x}.json", "/{y}", false}, {"/{x}.json", "/a.json", true}, {"/{x}.json", "/.json", false}, {"/{x}.json", "/{y}-a.json", true}, {"/{x}-a.json", "/{y}.json", false},
		{"/a/{r...}", "/a", false}, {"/a/{r...}", "/a/{$}", true}, {"/a/{r...}", "/a/{x}/b", true}, {"/a/{r...}", "/a/{s...}", true}, {"/a/{x}", "/a/{r...}", false}, {"/{r...}", "/{$}", true},
		{"/a/{x}", "/a", false}, {"/a", "/a/{x}", false},
	} {
		p, q := mustParse(t, "GET "+tt.p), mustParse(t, "POST "+tt.q)
		if got := p.Covers(q); got != tt.want {
			t.Errorf("%s covers %s: %t", tt.p, tt.q, got)
		}
	}
	if zero := (pattern.Pattern{}); zero.Covers(zero) || zero.Covers(mustParse(t, "GET /a")) || mustParse(t, "GET /{r...}").Covers(zero) {
		t.Error("the zero pattern takes part")
	}
}

// What covers another takes every request that the other takes; the tree is the twin.
func TestCoveringTakesWhatTheOtherTakes(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "b", "a.json", "{x}", "{x}.json", "{x}-b"})
	path := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for i, s := range rapid.SliceOfN(segment, 1, 3).Draw(t, "segments") {
			b.WriteString("/" + strings.ReplaceAll(s, "x", string(rune('x'+i))))
		}
		return "GET " + b.String() + rapid.SampledFrom([]string{"", "/{$}", "/{rest...}"}).Draw(t, "end")
	})
	rapid.Check(t, func(rt *rapid.T) {
		p, q := mustParse(t, path.Draw(rt, "p")), mustParse(t, path.Draw(rt, "q"))
		var b strings.Builder
		for _, s := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "a.json", "c.json", "c-b", "c", ""}), 1, 4).Draw(rt, "request") {
			b.WriteString("/" + s)
		}
		tg, err := target.Parse("GET", "example.com", b.String())
		if err != nil {
			return
		}
		takes := func(p pattern.Pattern) bool {
			tree, _ := pattern.Build([]pattern.Entry{{Pattern: p}}, pattern.Exact)
			_, outcome := tree.Lookup(&tg, nil)
			return outcome == pattern.Found
		}
		if p.Covers(q) && takes(q) && !takes(p) {
			rt.Fatalf("%s covers %s and does not take %s", p, q, b.String())
		}
	})
}
