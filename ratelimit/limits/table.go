package limits

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Entry is one key and value of a request's descriptor, or of a file's. An empty value in a file matches any value.
type Entry struct{ Key, Value string }

// composite names the entry in metrics and errors, as the reference does. It is not unambiguous, and no counter's key.
func (e Entry) composite() string {
	if e.Value == "" {
		return e.Key
	}
	return e.Key + "_" + e.Value
}

// Table is every limit of every file, ready to match. It is immutable and safe for concurrent use.
type Table struct {
	domains map[string]*domain
	rules   []*Rule
	options BuildOptions
}

type domain struct {
	root     *node
	override *Rule
}

// node is one level of descriptors.
type node struct {
	// rule applies where the request's last entry reaches this node; nil whitelists.
	rule *Rule
	// pos is where the descriptor stands in its file.
	pos strictyaml.Pos
	// shared is this node's pattern where all values that match it spend one budget, otherwise empty.
	shared string
	// below holds values, patterns too, and under the empty value keys without one; order lists it as the file does.
	below map[Entry]*node
	order []Entry
	// wild holds the values with a "*", by key, in the order of the file: the first that matches wins, not the most specific.
	wild map[string][]wildcard
}

type wildcard struct {
	glob glob
	node *node
}

// Match is what a descriptor reached.
type Match struct {
	// Rule is nil where no limit applies.
	Rule *Rule
	// Key names the counter; empty without a rule and for unlimited rules.
	Key string
	// Stray says that the file has nothing to say about the descriptor: it is longer or shorter than any limit, or of other keys. A
	// level that was written without a limit is no stray, it lets pass on purpose.
	Stray bool
}

// BuildOptions say how files become a table. The zero value is our own way.
type BuildOptions struct {
	// MergeDomains joins the descriptors of all files of one domain, in the order of the files' names (MERGE_DOMAIN_CONFIG of
	// envoyproxy/ratelimit). A descriptor that two of them begin with stays an error. False: one file a domain.
	MergeDomains bool
	// SpareDenied has the limits of plain `rate_limit` burn nothing by hits that they deny, as our own form does
	// (STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT of envoyproxy/ratelimit, without its second trip and its race).
	SpareDenied bool
}

// Build joins files into a table, our own way. Two files of one domain, or no file at all, are an error: an empty set of limits lets
// everything pass, which nobody asks for by removing a file.
func Build(files []*File) (*Table, strictyaml.Errors) { return BuildWith(files, BuildOptions{}) }

// BuildWith is [Build] with options. Where two files contradict each other, it is the error of the later in files.
func BuildWith(files []*File, o BuildOptions) (*Table, strictyaml.Errors) {
	if errs := contradictions(files, o); len(errs) > 0 {
		return nil, errs
	}
	if o.MergeDomains {
		// The first wildcard wins, so the order must not hang on which file changed last.
		files = slices.SortedStableFunc(slices.Values(files), func(a, b *File) int { return cmp.Compare(a.Name, b.Name) })
	}
	t := &Table{domains: make(map[string]*domain, len(files)), options: o}
	for _, f := range files {
		d := t.domains[f.Domain]
		if d == nil {
			d = &domain{
				root:     &node{below: map[Entry]*node{}},
				override: &Rule{Domain: f.Domain, Path: f.Domain + ".override", Keys: []string{"override"}, File: f.Name, Pos: f.domainPos, CountDenied: true, Override: true},
			}
			t.domains[f.Domain] = d
			t.register(d.override)
		}
		t.adopt(d.root, f.root)
	}
	return t, nil
}

// contradictions are what keeps files from standing in one table.
func contradictions(files []*File, o BuildOptions) strictyaml.Errors {
	var errs strictyaml.Errors
	if len(files) == 0 {
		errs = append(errs, &strictyaml.Error{File: "limits", Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: "no limits file: without limits everything passes", Hint: "keep at least one file with a domain"})
	}
	type begins struct {
		domain string
		entry  Entry
	}
	first, taken := map[string]*File{}, map[begins]*File{}
	for _, f := range files {
		if other := first[f.Domain]; other != nil && !o.MergeDomains {
			errs = append(errs, f.complain(f.domainPos, fmt.Sprintf("the other file is %s", other.Name), "duplicate domain '%s' in config file", f.Domain))
			continue
		}
		first[f.Domain] = f
		for _, e := range f.root.order {
			if other := taken[begins{f.Domain, e}]; other != nil {
				errs = append(errs, f.complain(f.root.below[e].pos, fmt.Sprintf("the other file is %s", other.Name), "duplicate descriptor composite key '%s.%s'", f.Domain, e.composite()))
				continue
			}
			taken[begins{f.Domain, e}] = f
		}
	}
	errs.Sort()
	return errs
}

// adopt copies what hangs below a node of a file, which may serve in several tables, to a node of this one, with rules numbered
// for this table.
func (t *Table) adopt(to, from *node) {
	to.order = slices.Concat(to.order, from.order)
	for _, e := range from.order {
		child := from.below[e]
		out := &node{pos: child.pos, shared: child.shared, below: make(map[Entry]*node, len(child.below))}
		if child.rule != nil {
			rule := *child.rule
			t.register(&rule)
			out.rule = &rule
		}
		t.adopt(out, child)
		to.add(e, out)
	}
}

// add hangs a child below n; the entry must be new.
func (n *node) add(e Entry, child *node) {
	n.below[e] = child
	if !strings.Contains(e.Value, "*") {
		return
	}
	if n.wild == nil {
		n.wild = map[string][]wildcard{}
	}
	n.wild[e.Key] = append(n.wild[e.Key], wildcard{newGlob(e.Value), child})
}

func (t *Table) register(r *Rule) {
	r.CountDenied = r.CountDenied && !t.options.SpareDenied
	r.ID = len(t.rules)
	t.rules = append(t.rules, r)
}

// Rules lists every rule, each at the index of its ID: those of the files in their order, and one override rule a domain.
func (t *Table) Rules() []*Rule { return t.rules }

// Domains lists the domains that files have, in order.
func (t *Table) Domains() []string { return slices.Sorted(maps.Keys(t.domains)) }

// Override is the rule that stands for limits which requests of a domain bring themselves; nil for an unknown domain.
func (t *Table) Override(domain string) *Rule {
	if d := t.domains[domain]; d != nil {
		return d.override
	}
	return nil
}

// Match finds the limit of a descriptor. At each level the exact value wins, then the first wildcard of the file that matches,
// then the key without a value; there is no way back from a level once chosen. Only a node that the last entry reaches
// applies its limit: a longer or a shorter descriptor has none. An unknown domain and a descriptor without entries match
// nothing.
func (t *Table) Match(domain string, entries []Entry) Match {
	d := t.domains[domain]
	if d == nil || len(entries) == 0 {
		return Match{}
	}
	var buf [256]byte
	key := appendComponent(buf[:0], tagLiteral, domain)
	n := d.root
	for _, e := range entries {
		if n = n.step(e); n == nil {
			return Match{Stray: true}
		}
		key = appendComponent(key, tagLiteral, e.Key)
		if n.shared != "" {
			key = appendComponent(key, tagPattern, n.shared)
		} else {
			key = appendComponent(key, tagLiteral, e.Value)
		}
	}
	switch {
	case n.rule == nil:
		return Match{Stray: len(n.order) > 0}
	case n.rule.Unlimited:
		return Match{Rule: n.rule}
	}
	return Match{Rule: n.rule, Key: finishKey(key)}
}

// step descends by one entry. An empty value is the key without a value, before any wildcard: a whitelist of every value there is must not
// let pass who shows none. Where the file has no such key the wildcard that matches is better than no limit, since clients can send a
// header without a value.
func (n *node) step(e Entry) *node {
	if next := n.below[e]; next != nil {
		return next
	}
	for i := range n.wild[e.Key] {
		if w := &n.wild[e.Key][i]; w.glob.match(e.Value) {
			return w.node
		}
	}
	return n.below[Entry{Key: e.Key}]
}

// glob is a value with one or more "*", each of which stands for any number of bytes.
type glob struct {
	prefix, suffix string
	middle         []string
}

func newGlob(pattern string) glob {
	parts := strings.Split(pattern, "*")
	g := glob{prefix: parts[0], suffix: parts[len(parts)-1]}
	for _, p := range parts[1 : len(parts)-1] {
		if p != "" {
			g.middle = append(g.middle, p)
		}
	}
	return g
}

// match takes the leftmost place for each part in turn, which is enough when stars are all there is; so its cost is the value's
// length times the number of parts, for any value.
func (g *glob) match(s string) bool {
	if len(s) < len(g.prefix)+len(g.suffix) || !strings.HasPrefix(s, g.prefix) || !strings.HasSuffix(s, g.suffix) {
		return false
	}
	s = s[len(g.prefix) : len(s)-len(g.suffix)]
	for _, part := range g.middle {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
