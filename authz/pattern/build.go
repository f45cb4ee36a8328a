package pattern

import "strings"

// Entry is one pattern of one rule, as given to Build.
type Entry struct {
	Pattern Pattern
	// Rule is the caller's own number of the rule; entries that share it never make a request ambiguous between them.
	Rule int
	// ExtensionExact says that the upstream of this rule does not cut extensions (`extension: exact`): the pattern is not
	// known without its extension, and a request that selects it is not read without one.
	ExtensionExact bool
}

// ConflictKind says how two entries meet.
type ConflictKind uint8

const (
	// Equal entries differ at most in their names and share a method; no request could tell them apart.
	Equal ConflictKind = iota + 1
	// Folded entries belong to two rules and are one path to a forgiving upstream.
	Folded
)

// String returns "equal" or "folded".
func (k ConflictKind) String() string {
	switch k {
	case Equal:
		return "equal"
	case Folded:
		return "folded"
	}
	return "none"
}

// Conflict is two entries that cannot both stand. A policy with one must not be served.
type Conflict struct {
	// A and B are indexes into the entries, A < B.
	A, B int
	Kind ConflictKind
	// Msg is a sentence for the author of a policy that names both patterns and the mend.
	Msg string
}

// Tree finds the pattern that a request's path belongs to. It is immutable and safe for concurrent use. A nil Tree matches
// nothing.
type Tree struct {
	entries  []Entry
	spelling Spelling
	exact    node
	folded   node
}

// Build makes the tree of one service. Conflicts are in the order of B; each pair is reported once, and an entry that meets
// several others of one form is reported with the first. The tree is never nil; where entries conflict it holds the earlier.
func Build(entries []Entry, spelling Spelling) (*Tree, []Conflict) {
	b := builder{tree: &Tree{entries: append([]Entry(nil), entries...), spelling: spelling}, seen: map[[2]int]bool{}}
	for i := range b.tree.entries {
		b.add(i)
	}
	return b.tree, b.conflicts
}

type builder struct {
	tree      *Tree
	conflicts []Conflict
	seen      map[[2]int]bool
}

func (b *builder) add(i int) {
	e := &b.tree.entries[i]
	if len(e.Pattern.segments) == 0 {
		return
	}
	place := b.tree.exact.place(e.Pattern.segments)
	for _, method := range e.Pattern.methods {
		if held := insert(place, leaf{method: method, entry: i}); held != nil {
			b.report(held.entry, i, Equal, equalMsg(b.tree.entries[held.entry].Pattern, e.Pattern, method))
		}
	}
	if b.tree.spelling == Exact {
		return
	}
	for _, f := range foldedForms(e.Pattern.segments, e.ExtensionExact) {
		place := b.tree.folded.place(f.segments)
		for _, method := range e.Pattern.methods {
			held := insert(place, leaf{method: method, entry: i, cut: f.cut})
			if held == nil || b.tree.entries[held.entry].Rule == e.Rule {
				continue
			}
			b.report(held.entry, i, Folded, b.foldedMsg(*held, leaf{entry: i, cut: f.cut}))
		}
	}
}

// insert adds a leaf, or returns the one that already holds its method.
func insert(place *[]leaf, l leaf) *leaf {
	for i := range *place {
		if held := &(*place)[i]; held.method == l.method {
			return held
		}
	}
	*place = append(*place, l)
	return nil
}

func (b *builder) report(a, c int, kind ConflictKind, msg string) {
	if a == c || b.seen[[2]int{a, c}] {
		return
	}
	b.seen[[2]int{a, c}] = true
	b.conflicts = append(b.conflicts, Conflict{A: a, B: c, Kind: kind, Msg: msg})
}

func equalMsg(a, c Pattern, method string) string {
	return quote(a) + " and " + quote(c) + " are the same path for " + method + ": leave one out, or give them different methods"
}

func (b *builder) foldedMsg(held, added leaf) string {
	first, second := b.tree.entries[held.entry].Pattern, b.tree.entries[added.entry].Pattern
	pair := quote(first) + " and " + quote(second)
	if !held.cut && !added.cut {
		return pair + " are one path to an upstream that folds case or ignores a final slash: put both in one rule, or write `spelling: exact` on the service if its upstream compares exactly"
	}
	var which []string
	if held.cut {
		which = append(which, quote(first))
	}
	if added.cut {
		which = append(which, quote(second))
	}
	return pair + " are one path to an upstream that cuts extensions: put both in one rule, or write `extension: exact` on the rule of " +
		strings.Join(which, " or ") + " if its upstream does not (`spelling: exact` on the service says so of all its rules)"
}

func quote(p Pattern) string { return "`" + p.source + "`" }
