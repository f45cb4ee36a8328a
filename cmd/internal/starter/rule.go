package starter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/pattern"
)

// exact finds rules that a forgiving upstream would take for each other, and what to say so that they load: of the rules with an
// extension that it is exact, and where that is not enough, of the service that its spelling is.
func (w *writer) exact() {
	var rules []*rule
	for _, r := range w.rules {
		if r.left == "" {
			rules = append(rules, r)
		}
	}
	for _, c := range conflicts(rules, pattern.Exact) {
		rules[c.B].left = "its path is that of " + rules[c.A].op.Method + " " + rules[c.A].op.Path
	}
	rules = slices.DeleteFunc(rules, func(r *rule) bool { return r.left != "" })
	for more := true; more; {
		more = false
		for _, c := range conflicts(rules, pattern.Forgiving) {
			for _, r := range []*rule{rules[c.A], rules[c.B]} {
				more = more || !r.extension && hasExtension(r.op.Pattern)
				r.extension = hasExtension(r.op.Pattern)
			}
		}
	}
	if len(conflicts(rules, pattern.Forgiving)) == 0 {
		return
	}
	w.spelling = true
	for _, r := range rules {
		r.extension = false
	}
}

func conflicts(rules []*rule, spelling pattern.Spelling) []pattern.Conflict {
	entries := make([]pattern.Entry, len(rules))
	for i, r := range rules {
		entries[i] = pattern.Entry{Pattern: r.op.Pattern, Rule: i, ExtensionExact: r.extension}
	}
	_, found := pattern.Build(entries, spelling)
	return found
}

// hasExtension says that a pattern ends in a literal that a forgiving upstream may cut.
func hasExtension(p pattern.Pattern) bool {
	text := p.String()
	last := text[strings.LastIndexByte(text, '/')+1:]
	return len(last) > 1 && !strings.Contains(last, "{") && strings.Contains(last[1:], ".")
}

func (w *writer) rule(r *rule) {
	op := r.op
	if op.Summary != "" {
		w.comment(6, "%s", op.Summary)
	}
	if op.Deprecated {
		w.comment(6, "Deprecated. `deny: 410` retires it.")
	}
	for _, p := range op.Parameters {
		if p.In == openapi.InPath && p.Capture != p.Name && p.Capture != "" {
			w.comment(6, "The document's {%s} is {%s} here.", p.Name, p.Capture)
		}
	}
	w.unjudged(op)
	demands := w.demands(op)
	for _, note := range demands.notes {
		w.comment(6, "%s", note)
	}
	w.line(6, "- name: %s", r.name)
	w.line(8, "match: %s", text(op.Pattern.String()))
	if r.extension {
		w.comment(8, "Another path differs from this one in its extension alone. This says that the upstream tells them apart.")
		w.line(8, "extension: exact")
	}
	w.demand(demands, op)
}

// unjudged says what of the operation no gate holds a request to.
func (w *writer) unjudged(op *openapi.Operation) {
	for _, p := range op.Parameters {
		if p.Problem != "" {
			w.comment(6, "Not judged: %s.%s: %s.", p.In, p.Name, p.Problem)
		}
	}
	if op.Body == nil {
		return
	}
	for _, m := range op.Body.Media {
		if m.Problem != "" {
			w.comment(6, "Not judged: %s.", m.Problem)
		}
	}
}

func (w *writer) demand(d demands, op *openapi.Operation) {
	if d.deny {
		w.line(8, "deny: 403")
		return
	}
	if len(d.branches) > 1 {
		w.whose(op, 8)
		w.line(8, "either:")
		for _, branch := range d.branches {
			w.line(10, "- issuer: %s", branch.issuer.name)
			w.branch(branch, 12)
			w.owner(op, 12)
		}
		return
	}
	if len(w.issuers) > 1 {
		w.line(8, "issuer: %s", d.branches[0].issuer.name)
	}
	w.branch(d.branches[0], 8)
	w.whose(op, 8)
	w.owner(op, 8)
}

func (w *writer) branch(b *branch, indent int) {
	if len(b.all) > 0 {
		w.line(indent, "scopes: %s", list(b.all))
	}
	if len(b.any) > 0 {
		w.line(indent, "any_scope: %s", list(b.any))
	}
}

// people are parts of names of ids that are somebody's own.
var people = []string{"user", "account", "customer", "owner", "member", "person", "subject", "profile"}

// owner holds each captured id to the caller: one by `owner`, the others by a condition, so that none is anybody's.
func (w *writer) owner(op *openapi.Operation, indent int) {
	names := op.Pattern.Names()
	if len(names) == 0 {
		return
	}
	chosen := chosenOf(names)
	w.line(indent, "owner: {of: path.%s, is: token.sub}", chosen)
	var others []string
	for _, name := range names {
		if name != chosen {
			others = append(others, "path."+name+" == token.sub")
		}
	}
	if len(others) > 0 {
		w.line(indent, "condition: %s", strings.Join(others, " && "))
	}
}

// whose is the comment on what owner writes.
func (w *writer) whose(op *openapi.Operation, indent int) {
	names := op.Pattern.Names()
	if len(names) == 0 {
		return
	}
	chosen := chosenOf(names)
	w.comment(indent, "Whose is {%s}? Until somebody says (`lookup:`, another claim, `owner: none`), it is only its own.", chosen)
	if others := slices.DeleteFunc(names, func(name string) bool { return name == chosen }); len(others) > 0 {
		w.comment(indent, "And {%s}? Until somebody says how it belongs with {%s} (`agrees:`, a text of both in `of:`, a `condition:`), so is it.", strings.Join(others, "}, {"), chosen)
	}
}

// chosenOf is the captured name that the owner is asked of: the first that speaks of a person, otherwise the last, which is the object.
func chosenOf(names []string) string {
	for _, name := range names {
		if slices.ContainsFunc(people, func(word string) bool { return strings.Contains(strings.ToLower(name), word) }) {
			return name
		}
	}
	return names[len(names)-1]
}

// demands are what a rule asks of its caller, and what to say about it.
type demands struct {
	branches []*branch
	notes    []string
	// deny says that what the document asks for cannot be said, so that the rule refuses everybody.
	deny bool
}

// branch is what is asked of the tokens of one issuer.
type branch struct {
	issuer   *issuer
	all, any []string
	// sets are the scopes of each alternative of the document.
	sets [][]string
}

// demands turns the alternatives of an operation's security into what a rule can say. An alternative that no rule can say is closed, not
// widened; a key that is asked for beside a token stays with the upstream, which asked for it so far.
func (w *writer) demands(op *openapi.Operation) demands {
	var d demands
	if len(op.Security) == 0 {
		d.note("The document asks nobody who they are. Here a token is needed; `public: true` lets everybody in.")
	}
	for _, alternative := range op.Security {
		w.alternative(&d, alternative)
	}
	if len(d.branches) == 0 && !d.deny {
		d.branches = []*branch{{issuer: w.issuers[0]}}
	}
	if len(d.branches) > 0 {
		d.deny = false // one alternative can be said; the others are closed
	}
	for _, b := range d.branches {
		d.settle(b)
	}
	return d
}

func (d *demands) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

func (w *writer) alternative(d *demands, alternative openapi.Alternative) {
	if len(alternative) == 0 {
		d.note("The document also lets it be asked without a token. Here one is needed.")
		return
	}
	var found []*issuer
	var scopes, others []string
	for _, demand := range alternative {
		i := slices.IndexFunc(w.issuers, func(i *issuer) bool { return slices.Contains(i.schemes, demand.Scheme) })
		if i < 0 {
			others = append(others, demand.Scheme)
			continue
		}
		if !slices.Contains(found, w.issuers[i]) {
			found = append(found, w.issuers[i])
		}
		for _, scope := range demand.Scopes {
			if !slices.Contains(scopes, scope) {
				scopes = append(scopes, scope)
			}
		}
	}
	switch {
	case len(found) == 0:
		d.note("The document asks for `%s`, which is no token of an issuer. Here a token is needed.", strings.Join(others, "` and `"))
		return
	case len(others) > 0:
		d.note("The document asks for `%s` besides, which stays the upstream's to ask.", strings.Join(others, "` and `"))
	}
	if len(found) > 1 {
		d.note("The document asks for tokens of two issuers at once, which no rule can say: that alternative is closed.")
		d.deny = true
		return
	}
	if i := slices.IndexFunc(scopes, unsayable); i >= 0 {
		d.note("%q cannot be a scope (RFC 6749 section 3.3): the alternative that asks for it is closed.", scopes[i])
		d.deny = true
		return
	}
	for _, b := range d.branches {
		if b.issuer == found[0] {
			b.sets = append(b.sets, scopes)
			return
		}
	}
	d.branches = append(d.branches, &branch{issuer: found[0], sets: [][]string{scopes}})
}

// unsayable says that a text cannot be a scope (RFC 6749 section 3.3).
func unsayable(scope string) bool {
	return scope == "" || strings.ContainsFunc(scope, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c > '~' })
}

// settle turns sets of scopes, one of which must be had whole, into scopes that are all needed and scopes of which one is. What is in
// each set is needed; if each has at most one more, one of these is. Anything else would need a choice of sets, and all are asked for.
func (d *demands) settle(b *branch) {
	if len(b.sets) == 0 {
		return
	}
	for _, scope := range b.sets[0] {
		if !slices.ContainsFunc(b.sets, func(set []string) bool { return !slices.Contains(set, scope) }) {
			b.all = append(b.all, scope)
		}
	}
	single := true
	for _, set := range b.sets {
		rest := slices.DeleteFunc(slices.Clone(set), func(scope string) bool { return slices.Contains(b.all, scope) })
		if len(rest) == 0 {
			b.any = nil
			return // this set is in every other
		}
		single = single && len(rest) == 1
		for _, scope := range rest {
			if !slices.Contains(b.any, scope) {
				b.any = append(b.any, scope)
			}
		}
	}
	if !single {
		d.note("The document lets one of several sets of scopes do, which no rule can say: all of them are needed here.")
		b.all, b.any = append(b.all, b.any...), nil
	}
}
