package pattern_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// The naive twin: patterns are strings in a list, matching is a loop over it, folding is strings.ToLower. It shares no code
// with the tree and reads like the rules that the tree has to obey.

type naiveRule struct {
	source         string // as written, for Parse
	methods        []string
	path           string
	rule           int
	extensionExact bool
}

func naiveOf(source string, rule int, extensionExact bool) naiveRule {
	list, path, _ := strings.Cut(source, " ")
	return naiveRule{source: source, methods: strings.Split(list, ","), path: path, rule: rule, extensionExact: extensionExact}
}

// Ranks of segments, as letters so that comparing keys as strings compares specificity: smaller is more specific. A suffix
// is ranked by its length, the longer first.
func naiveRank(segment string) string {
	switch {
	case !strings.HasPrefix(segment, "{") || segment == "{$}":
		return "a00"
	case strings.HasSuffix(segment, "...}"):
		return "d00"
	case strings.HasSuffix(segment, "}"):
		return "c00"
	}
	suffix := segment[strings.Index(segment, "}")+1:]
	return "b" + string([]byte{byte('0' + (99-len(suffix))/10), byte('0' + (99-len(suffix))%10)})
}

func naiveKey(path string) string {
	var key strings.Builder
	for _, segment := range strings.Split(path[1:], "/") {
		key.WriteString(naiveRank(segment))
	}
	return key.String()
}

// naiveMatches compares a pattern's path with decoded segments. The empty path has no segments.
func naiveMatches(path string, segments []string) bool {
	parts := strings.Split(path[1:], "/")
	for i, part := range parts {
		if strings.HasSuffix(part, "...}") {
			return len(segments) > i
		}
		if i >= len(segments) {
			return false
		}
		switch text := segments[i]; {
		case part == "{$}":
			if text != "" {
				return false
			}
		case strings.HasPrefix(part, "{"):
			suffix := part[strings.Index(part, "}")+1:]
			if !strings.HasSuffix(text, suffix) || len(text) <= len(suffix) {
				return false
			}
		case part != text:
			return false
		}
	}
	return len(parts) == len(segments)
}

// naiveBest returns the index of the most specific rule one of whose paths matches, or -1.
func naiveBest(list []naiveRule, paths func(naiveRule) []string, method string, segments []string) int {
	best, bestKey := -1, ""
	for i, r := range list {
		if !slices.Contains(r.methods, method) {
			continue
		}
		for _, path := range paths(r) {
			if key := naiveKey(path); naiveMatches(path, segments) && (best < 0 || key < bestKey) {
				best, bestKey = i, key
			}
		}
	}
	return best
}

func naiveExactPaths(r naiveRule) []string { return []string{r.path} }

var naiveExtension = regexp.MustCompile(`^(/|.*/)([^/{][^/{.]*)\.[^/{]*$`)

// naiveFoldedPaths returns a pattern's spellings in the eyes of a forgiving upstream. Names in these tests are lower case.
func naiveFoldedPaths(r naiveRule) []string {
	path := strings.ToLower(r.path)
	if path != "/{$}" {
		path = strings.TrimSuffix(path, "/{$}")
	}
	paths := []string{path}
	if i := strings.LastIndex(path, "/"); i > 0 && strings.HasSuffix(path, "...}") {
		path = path[:i]
		paths = append(paths, path)
	}
	if m := naiveExtension.FindStringSubmatch(path); m != nil && !r.extensionExact {
		paths = append(paths, m[1]+m[2])
	}
	return paths
}

func naiveTexts(tg target.Target) []string {
	var texts []string
	for _, s := range tg.Segments {
		texts = append(texts, s.Text)
	}
	return texts
}

var (
	naiveUnit = regexp.MustCompile(`%..|.`)
	naiveSoft = regexp.MustCompile(`(?i)%(21|24|26|27|28|29|2a|2b|2c|3a|3d|40)`)
)

// naiveSoftly reports whether a literal or a suffix of a pattern that matches is spelled with a soft escape.
func naiveSoftly(path string, tg target.Target) bool {
	for i, part := range strings.Split(path[1:], "/") {
		if strings.HasSuffix(part, "...}") {
			break
		}
		units := naiveUnit.FindAllString(tg.Segments[i].Raw, -1)
		if strings.HasPrefix(part, "{") {
			units = units[len(units)-len(part[strings.Index(part, "}")+1:]):]
		}
		if naiveSoft.MatchString(strings.Join(units, "")) {
			return true
		}
	}
	return false
}

// naiveLookup returns the index of the entry and the outcome.
func naiveLookup(list []naiveRule, spelling pattern.Spelling, tg target.Target) (int, pattern.Outcome) {
	exact := naiveBest(list, naiveExactPaths, tg.Method, naiveTexts(tg))
	rule := func(i int) int {
		if i < 0 {
			return -1
		}
		return list[i].rule
	}
	if spelling == pattern.Forgiving {
		for _, segments := range naiveReadings(list, exact, tg) {
			if rule(naiveBest(list, naiveFoldedPaths, tg.Method, segments)) != rule(exact) {
				return -1, pattern.Ambiguous
			}
		}
	}
	switch {
	case exact < 0:
		return -1, pattern.NoRule
	case naiveSoftly(list[exact].path, tg):
		return -1, pattern.Ambiguous
	}
	return exact, pattern.Found
}

func naiveReadings(list []naiveRule, exact int, tg target.Target) [][]string {
	var folded []string
	for _, text := range naiveTexts(tg) {
		folded = append(folded, strings.Map(func(r rune) rune {
			if r < 0x80 {
				return []rune(strings.ToLower(string(r)))[0]
			}
			return r
		}, text))
	}
	if len(folded) > 1 && folded[len(folded)-1] == "" {
		folded = folded[:len(folded)-1]
	}
	readings := [][]string{folded}
	last := folded[len(folded)-1]
	if len(last) > 1 && strings.Contains(last[1:], ".") && !naiveKeepsExtension(list, exact) {
		cut := slices.Clone(folded)
		cut[len(cut)-1] = last[:1] + strings.Split(last[1:], ".")[0]
		readings = append(readings, cut)
	}
	return readings
}

// naiveKeepsExtension reports whether the pattern itself ends in an extension. A suffix further to the front says nothing of the last
// segment, even if the path ends at it.
func naiveKeepsExtension(list []naiveRule, exact int) bool {
	if exact < 0 {
		return false
	}
	path := strings.TrimSuffix(list[exact].path, "/{$}")
	return list[exact].extensionExact || path != "" && strings.HasPrefix(naiveRank(path[strings.LastIndex(path, "/")+1:]), "b")
}

// naiveConflict says how two entries meet.
func naiveConflict(spelling pattern.Spelling, a, b naiveRule) pattern.ConflictKind {
	if !slices.ContainsFunc(a.methods, func(m string) bool { return slices.Contains(b.methods, m) }) {
		return 0
	}
	if naiveShape(a.path) == naiveShape(b.path) {
		return pattern.Equal
	}
	if spelling == pattern.Exact || a.rule == b.rule {
		return 0
	}
	for _, x := range naiveFoldedPaths(a) {
		for _, y := range naiveFoldedPaths(b) {
			if naiveShape(x) == naiveShape(y) {
				return pattern.Folded
			}
		}
	}
	return 0
}

var naiveName = regexp.MustCompile(`\{[a-z_]+(\.\.\.)?\}`)

func naiveShape(path string) string { return naiveName.ReplaceAllString(path, "{$1}") }

// Generators. The alphabets are small so that patterns and paths meet, and hold what the rules speak of.

var (
	patternSegments = []string{"a", "A", "b", "a.b", "A.B", ".a", ".a.b", "@me", "é", "a b", "{x}", "{y}", "{x}.b", "{x}.a.b", "{y}.B", "{x}:c"}
	pathSegments    = []string{"a", "A", "b", "B", "a.b", "A.b", "a.b.c", "a.x", ".a", ".a.b", "@me", "%40me", "%C3%A9", "%c3%a9", "a%20b", "q",
		"q.b", "q.a.b", "q.B", "q:c", "q%3Ac", "q%3ac", "%40q:c", "a%40.b", "Q", ".b", ":c"}
)

func drawPattern(t *rapid.T, label string) string {
	var path strings.Builder
	names := map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(t, label+" length") {
		segment := rapid.SampledFrom(patternSegments).Draw(t, label)
		if strings.HasPrefix(segment, "{") {
			name := segment[:3]
			if names[name] {
				segment = "b"
			}
			names[name] = true
		}
		path.WriteString("/" + segment)
	}
	switch rapid.IntRange(0, 5).Draw(t, label+" end") {
	case 0:
		path.WriteString("/{rest...}")
	case 1:
		path.WriteString("/{$}")
	}
	if path.Len() == 0 {
		path.WriteString("/{$}")
	}
	return rapid.SampledFrom([]string{"GET", "POST", "GET,POST"}).Draw(t, label+" methods") + " " + path.String()
}

// drawRules returns a list without conflicts, and checks Build's conflicts against the naive ones on the way.
func drawRules(t *rapid.T, spelling pattern.Spelling) ([]naiveRule, *pattern.Tree) {
	var list []naiveRule
	for range rapid.IntRange(1, 8).Draw(t, "rules") {
		next := naiveOf(drawPattern(t, "pattern"), rapid.IntRange(0, 3).Draw(t, "rule"), rapid.IntRange(0, 4).Draw(t, "extension") == 0)
		want := map[pattern.ConflictKind]bool{}
		for _, r := range list {
			want[naiveConflict(spelling, r, next)] = true
		}
		delete(want, 0)
		_, conflicts := pattern.Build(naiveEntries(t, append(slices.Clone(list), next)), spelling)
		if (len(conflicts) > 0) != (len(want) > 0) {
			t.Fatalf("%q after %v: conflicts %v, naive %v", next.source, list, conflicts, want)
		}
		for _, c := range conflicts {
			if c.B != len(list) || naiveConflict(spelling, list[c.A], next) != c.Kind {
				t.Fatalf("%q after %v: %+v", next.source, list, c)
			}
		}
		if len(conflicts) == 0 {
			list = append(list, next)
		}
	}
	tree, _ := pattern.Build(naiveEntries(t, list), spelling)
	return list, tree
}

func naiveEntries(t interface{ Fatalf(string, ...any) }, list []naiveRule) []pattern.Entry {
	var entries []pattern.Entry
	for _, r := range list {
		p, err := pattern.Parse(r.source)
		if err != nil {
			t.Fatalf("Parse(%q): %v", r.source, err)
		}
		entries = append(entries, pattern.Entry{Pattern: p, Rule: r.rule, ExtensionExact: r.extensionExact})
	}
	return entries
}

// drawPath makes a path from one of the patterns, bent as forgiving upstreams unbend it, or from nothing.
func drawPath(t *rapid.T, list []naiveRule) string {
	var path strings.Builder
	if from := rapid.IntRange(-2, len(list)-1).Draw(t, "from"); from >= 0 {
		for _, part := range strings.Split(list[from].path[1:], "/") {
			switch {
			case part == "{$}":
				part = ""
			case strings.HasSuffix(part, "...}"):
				part = rapid.SampledFrom([]string{"", "a", "a/B.b/"}).Draw(t, "rest")
			case strings.HasPrefix(part, "{"):
				part = rapid.SampledFrom(pathSegments).Draw(t, "name") + part[3:]
			}
			path.WriteString("/" + part)
		}
		bent := strings.NewReplacer("é", "%c3%a9", " ", "%20").Replace(path.String())
		return bend(t, bent)
	}
	for range rapid.IntRange(0, 4).Draw(t, "length") {
		path.WriteString("/" + rapid.SampledFrom(pathSegments).Draw(t, "segment"))
	}
	if path.Len() == 0 || rapid.IntRange(0, 3).Draw(t, "slash") == 0 {
		path.WriteString("/")
	}
	return path.String()
}

func bend(t *rapid.T, path string) string {
	switch rapid.IntRange(0, 9).Draw(t, "bend") {
	case 0:
		return strings.ToUpper(path)
	case 1:
		return path + "/"
	case 2:
		return path + ".b"
	case 3:
		return strings.TrimSuffix(path, "/")
	case 4:
		return strings.Replace(path, ".b", "", 1)
	case 5:
		return strings.Replace(path, ":", "%3a", 1)
	case 6:
		return strings.Replace(path, "@", "%40", 1)
	case 7:
		return strings.ToLower(path) + ".x/"
	}
	return path
}

func TestTreeAgreesWithNaiveList(t *testing.T) {
	found, ambiguous := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		spelling := pattern.Spelling(rapid.IntRange(0, 1).Draw(t, "spelling"))
		list, tree := drawRules(t, spelling)
		for range 40 {
			switch checkLookup(t, list, tree, spelling, drawPath(t, list)) {
			case pattern.Found:
				found++
			case pattern.Ambiguous:
				ambiguous++
			}
		}
	})
	if found < 100 || ambiguous < 100 {
		t.Errorf("only %d found and %d ambiguous: the generators miss the point", found, ambiguous)
	}
}

func checkLookup(t interface{ Fatalf(string, ...any) }, list []naiveRule, tree *pattern.Tree, spelling pattern.Spelling, path string) pattern.Outcome {
	tg, err := target.Parse("GET", "h", path)
	if err != nil {
		return pattern.NoRule
	}
	wantEntry, want := naiveLookup(list, spelling, tg)
	m, got := tree.Lookup(&tg, nil)
	if got != want || m.Entry != wantEntry {
		t.Fatalf("%q in %v (%v): entry %d, %v; naive %d, %v", path, list, spelling, m.Entry, got, wantEntry, want)
	}
	if got == pattern.Found {
		checkCaptures(t, list[m.Entry].path, m, tg)
		if spelling == pattern.Forgiving {
			checkReadings(t, list, tree, tg, m)
		}
	}
	return got
}

// checkCaptures puts the captures back into the pattern: the decoded path must come out.
func checkCaptures(t interface{ Fatalf(string, ...any) }, path string, m pattern.Match, tg target.Target) {
	filled := naiveName.ReplaceAllStringFunc(path, func(name string) string {
		value, ok := m.Capture(strings.TrimSuffix(name[1:len(name)-1], "..."))
		if !ok {
			t.Fatalf("%s of %q is not bound", name, path)
		}
		return value
	})
	if want := "/" + strings.Join(naiveTexts(tg), "/"); strings.TrimSuffix(filled, "{$}") != want {
		t.Fatalf("%q filled in is %q, want %q", path, filled, want)
	}
}

// checkReadings holds an accepted path to its promise: no spelling of it that a forgiving upstream reads as the same path is
// decided by another rule.
func checkReadings(t interface{ Fatalf(string, ...any) }, list []naiveRule, tree *pattern.Tree, tg target.Target, m pattern.Match) {
	lower := strings.ToLower(tg.Path)
	readings := []string{lower}
	for _, path := range []string{tg.Path, lower} {
		if len(path) > 1 && strings.HasSuffix(path, "/") {
			path = path[:len(path)-1]
			readings = append(readings, path)
		}
		i := strings.LastIndex(path, "/") + 1
		if len(path) > i+1 && strings.Contains(path[i+1:], ".") && !naiveKeepsExtension(list, m.Entry) {
			readings = append(readings, path[:i+1]+strings.Split(path[i+1:], ".")[0])
		}
	}
	for _, path := range readings {
		other, err := target.Parse(tg.Method, "h", path)
		if err != nil {
			t.Fatalf("reading %q of %q: %v", path, tg.Path, err)
		}
		if o, out := tree.Lookup(&other, nil); out == pattern.Found && o.Rule != m.Rule {
			t.Fatalf("%q is rule %d, its reading %q is rule %d in %v", tg.Path, m.Rule, path, o.Rule, list)
		}
	}
}

var fuzzRules = []naiveRule{
	naiveOf("GET /{$}", 0, false),
	naiveOf("GET /users/{id}", 1, false),
	naiveOf("GET,POST /users/@me", 2, false),
	naiveOf("GET /users/{id}/orders/{order}.json", 3, false),
	naiveOf("GET /users/{id}/orders/{order}", 4, false),
	naiveOf("GET /Docs/v1.2/{rest...}", 5, false),
	naiveOf("GET /files/{name}.tar.gz", 6, false),
	naiveOf("GET /files/{name}.gz", 7, false),
	naiveOf("GET /files/list.txt", 8, true),
	naiveOf("GET /orders/{id}:cancel", 9, false),
	naiveOf("GET /café/a b/{$}", 10, false),
	naiveOf("GET /orders/{rest...}", 11, false),
	naiveOf("GET /orders", 11, false),
}

func FuzzLookup(f *testing.F) {
	trees := map[pattern.Spelling]*pattern.Tree{}
	for _, spelling := range []pattern.Spelling{pattern.Forgiving, pattern.Exact} {
		tree, conflicts := pattern.Build(naiveEntries(f, fuzzRules), spelling)
		if len(conflicts) > 0 {
			f.Fatal(conflicts)
		}
		trees[spelling] = tree
	}
	for _, seed := range []string{"/", "/users/7", "/users/%40me", "/Users/7/orders/8.json/", "/docs/v1.2/", "/files/a.tar.gz", "/orders/7%3Acancel",
		"/caf%C3%A9/a%20b/", "/orders//", "/files/LIST.txt", "/Docs/v1.2/x/y", "/orders/7:cancel"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		path, _, _ = strings.Cut(path, "?")
		for spelling, tree := range trees {
			checkLookup(t, fuzzRules, tree, spelling, path)
		}
	})
}
