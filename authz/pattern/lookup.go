package pattern

import "github.com/sallyport-dev/sallyport/authz/target"

// Outcome is the result of a lookup. Only Found names a rule.
type Outcome uint8

const (
	// NoRule, the zero value: no pattern matches, under no reading.
	NoRule Outcome = iota
	// Found: exactly one rule, under every reading.
	Found
	// Ambiguous: an upstream may take the path for another rule's, or for a rule's where there is none.
	Ambiguous
)

// String returns "no rule", "found" or "ambiguous".
func (o Outcome) String() string {
	switch o {
	case Found:
		return "found"
	case Ambiguous:
		return "ambiguous"
	}
	return "no rule"
}

// Match is what a lookup found. It refers to the target and to the buffer of the lookup and lives as long as they are left
// alone. Unless the outcome is Found, Entry and Rule are -1 and nothing is captured.
type Match struct {
	// Entry is the index of the pattern in the entries given to Build.
	Entry int
	// Rule is that entry's rule.
	Rule int

	names, values []string
}

// Capture returns the decoded bytes that a name stands for, and whether the pattern binds it. What a {name} stands for is
// never empty; what a {rest...} stands for may be.
func (m Match) Capture(name string) (string, bool) {
	for i, n := range m.names {
		if n == name && i < len(m.values) {
			return m.values[i], true
		}
	}
	return "", false
}

// Lookup finds the rule of a target. The most specific pattern that has the method and matches wins, segment by segment from
// the left: a literal before a name with the longer suffix before a name before a rest. Unless the spelling is Exact, the
// path is then read again as a forgiving upstream may read it, and if a reading selects another rule, or one where there is
// none, the outcome is Ambiguous; so it is, under either spelling, if a literal or a suffix is spelled with an escape of a
// byte that may stand for itself. Captures are stored in buf, which may be nil: with enough room nothing is allocated, unless
// a rest holds escapes.
func (t *Tree) Lookup(tg *target.Target, buf []string) (Match, Outcome) {
	nothing := Match{Entry: none, Rule: none}
	if t == nil || tg == nil || len(tg.Segments) == 0 {
		return nothing, NoRule
	}
	last := tg.Segments[len(tg.Segments)-1].Text
	entry := t.exact.find(&reading{method: tg.Method, segments: tg.Segments, last: last}, 0)
	if !t.agrees(tg, entry) {
		return nothing, Ambiguous
	}
	if entry == none {
		return nothing, NoRule
	}
	p := &t.entries[entry].Pattern
	if p.reachedSoftly(tg.Segments) {
		return nothing, Ambiguous
	}
	return Match{Entry: entry, Rule: t.entries[entry].Rule, names: p.names, values: p.capture(tg, buf[:0])}, Found
}

// agrees reports whether every forgiving reading of a path selects the rule of the entry that was selected exactly.
func (t *Tree) agrees(tg *target.Target, entry int) bool {
	if t.spelling == Exact {
		return true
	}
	n := len(tg.Segments)
	if n > 1 && tg.Segments[n-1].Text == "" {
		n--
	}
	r := reading{method: tg.Method, segments: tg.Segments[:n], last: tg.Segments[n-1].Text, fold: true}
	if !t.sameRule(t.folded.find(&r, 0), entry) {
		return false
	}
	short, ok := cutExtension(r.last)
	if !ok || t.keepsExtension(entry) {
		return true
	}
	r.last = short
	return t.sameRule(t.folded.find(&r, 0), entry)
}

// keepsExtension reports whether the extension of a path is part of what the selected entry says: its rule is exact about
// extensions, or its pattern ends in a name with a suffix. A suffix further to the front says nothing of what ends the path.
func (t *Tree) keepsExtension(entry int) bool {
	if entry == none {
		return false
	}
	e := &t.entries[entry]
	return e.ExtensionExact || endsInSuffix(e.Pattern.segments)
}

// endsInSuffix looks at the last segment, that before a final "/{$}" where there is one.
func endsInSuffix(segments []segment) bool {
	n := len(segments)
	if n > 1 && segments[n-1].kind == literal && segments[n-1].text == "" {
		n--
	}
	return n > 0 && segments[n-1].kind == suffixed
}

func (t *Tree) sameRule(a, b int) bool {
	if a == none || b == none {
		return a == b
	}
	return t.entries[a].Rule == t.entries[b].Rule
}
