package pattern_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

func TestParts(t *testing.T) {
	p, err := pattern.Parse("GET /a/{b}:c/{d}/{e...}")
	if err != nil {
		t.Fatal(err)
	}
	want := []pattern.Part{{pattern.PartLiteral, "a"}, {pattern.PartSuffixed, ":c"}, {Kind: pattern.PartName}, {Kind: pattern.PartRest}}
	if diff := cmp.Diff(want, p.Parts()); diff != "" {
		t.Error(diff)
	}
}

// drawn is a pattern of few words, so that many of them meet.
func drawn(t *rapid.T, label string) pattern.Pattern {
	words := []string{"a", "b", "a.json", "ab.json", "{N}", "{N}.json", "{N}b.json", "{N}:go"}
	path := ""
	for i := range rapid.IntRange(0, 3).Draw(t, label) {
		path += "/" + strings.ReplaceAll(rapid.SampledFrom(words).Draw(t, label), "N", "n"+strconv.Itoa(i))
	}
	if path == "" || rapid.IntRange(0, 2).Draw(t, label) == 0 {
		path += rapid.SampledFrom([]string{"/{$}", "/{r...}"}).Draw(t, label)
	}
	p, err := pattern.Parse("GET " + path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

// paths are all paths of up to four segments of a few words, a final slash too.
func somePaths() []string {
	paths := []string{"/"}
	longer := []string{""}
	for range 3 {
		var next []string
		for _, path := range longer {
			for _, word := range []string{"a", "b", "a.json", "xab.json", "x:go"} {
				next = append(next, path+"/"+word)
				paths = append(paths, path+"/"+word, path+"/"+word+"/")
			}
		}
		longer = next
	}
	return paths
}

// The first pattern of an ordered list that matches a path is the one that a lookup selects, and patterns overlap where a path matches both.
func TestOrderAgreesWithLookup(t *testing.T) {
	var targets []target.Target
	for _, path := range somePaths() {
		tg, err := target.Parse("GET", "h", path)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, tg)
	}
	alone := func(p pattern.Pattern) *pattern.Tree {
		tree, _ := pattern.Build([]pattern.Entry{{Pattern: p}}, pattern.Exact)
		return tree
	}
	matches := func(tree *pattern.Tree, tg *target.Target) bool {
		_, outcome := tree.Lookup(tg, nil)
		return outcome == pattern.Found
	}
	rapid.Check(t, func(t *rapid.T) {
		var list []pattern.Pattern
		for range rapid.IntRange(2, 4).Draw(t, "patterns") {
			if p := drawn(t, "pattern"); !slices.ContainsFunc(list, func(q pattern.Pattern) bool { return q.Compare(p) == 0 }) {
				list = append(list, p)
			}
		}
		entries := make([]pattern.Entry, len(list))
		for i, p := range list {
			entries[i] = pattern.Entry{Pattern: p, Rule: i}
		}
		tree, conflicts := pattern.Build(entries, pattern.Exact)
		if len(conflicts) > 0 {
			t.Fatalf("patterns that Compare tells apart conflict: %v", conflicts)
		}
		ordered := slices.Clone(list)
		slices.SortFunc(ordered, pattern.Pattern.Compare)
		trees := make([]*pattern.Tree, len(ordered))
		for i, p := range ordered {
			trees[i] = alone(p)
		}
		for i := range targets {
			selected, outcome := tree.Lookup(&targets[i], nil)
			first := slices.IndexFunc(trees, func(tree *pattern.Tree) bool { return matches(tree, &targets[i]) })
			if (outcome == pattern.Found) != (first >= 0) || first >= 0 && ordered[first].String() != list[selected.Rule].String() {
				t.Fatalf("%s: the lookup and the order of %v differ", targets[i].Path, ordered)
			}
		}
		for i, p := range ordered {
			for j, q := range ordered {
				if both := slices.ContainsFunc(targets, func(tg target.Target) bool { return matches(trees[i], &tg) && matches(trees[j], &tg) }); both && !p.Overlaps(q) {
					t.Fatalf("%s and %s meet in a path, and do not overlap", p, q)
				}
			}
		}
	})
}

func TestOverlaps(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a", true},
		{"/a", "/b", false},
		{"/a", "/a/{$}", false},
		{"/a/{x}", "/a/b", true},
		{"/a/{x}", "/a/{$}", false},
		{"/a/{x}", "/a/b/c", false},
		{"/a/{x}", "/{y}/b", true},
		{"/{x}:go", "/{y}:cancel", false},
		{"/{x}.json", "/{y}a.json", true},
		{"/{x}.json", "/.json", false},
		{"/{x}.json", "/a.json", true},
		{"/{x}:go", "/{y}", true},
		{"/{r...}", "/a/b/c", true},
		{"/a/{r...}", "/a", false},
		{"/a/{r...}", "/a/{$}", true},
		{"/a/{r...}", "/b/{r...}", false},
		{"/a/{r...}", "/{x}/b", true},
	} {
		a, errA := pattern.Parse("GET " + test.a)
		b, errB := pattern.Parse("GET " + test.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Overlaps(b) != test.want || b.Overlaps(a) != test.want {
			t.Errorf("%s and %s: %v, %v", test.a, test.b, a.Overlaps(b), b.Overlaps(a))
		}
	}
}
