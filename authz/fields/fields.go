// Package fields says which fields of a body a client may write: the allow list against mass assignment (OWASP API3:2023). It is a room of
// its own because it is pure, hostile input meets it first, and because four formats write the same fields in four ways: a JSON document,
// a merge patch (RFC 7396), a JSON Patch (RFC 6902) and a form.
package fields

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// maxRoles is the most roles of one list: who may write is a set of bits, of which one is everyone's.
const maxRoles = 63

// Writable is an allow list of fields, by role. It is immutable and safe for concurrent use. The zero Writable lets nobody write anything.
type Writable struct {
	root  node
	roles []string // in the order of their bits, from the second on
}

// Writers says of somebody which of the lists hold for them. The zero value is nobody, who writes nothing.
type Writers uint64

const everyone Writers = 1

// node is one place of a document that patterns speak of.
type node struct {
	whole    Writers // may write the member itself: replace it, remove it, and write all that is in it
	star     Writers // may write all that is in it
	children map[string]*node
	each     *node // the elements of a list
}

// New compiles the lists. A pattern is made of names joined by dots, with [*] behind a name for each element of its list, and may end in
// .* for all that is in an object: name, address.*, lines[*].note. None is a part of another of the same writers. The error names the pattern.
func New(all []string, byRole map[string][]string) (*Writable, error) {
	w := &Writable{}
	if len(byRole) > maxRoles {
		return nil, fmt.Errorf("%d roles are more than %d", len(byRole), maxRoles)
	}
	for _, pattern := range all {
		if err := w.add(pattern, everyone); err != nil {
			return nil, err
		}
	}
	for i, role := range slices.Sorted(maps.Keys(byRole)) {
		w.roles = append(w.roles, role)
		for _, pattern := range byRole[role] {
			if err := w.add(pattern, 1<<(i+1)); err != nil {
				return nil, err
			}
		}
	}
	if pattern := w.root.covered("", 0); pattern != "" {
		return nil, fmt.Errorf("%q: another pattern lets the same writers write all of it already", pattern)
	}
	return w, nil
}

// covered is the first pattern of which another, for the same writers, lets them write all already; "" if there is none. cover are those
// who may write all of the place, which pattern names.
func (n *node) covered(place string, cover Writers) string {
	if n.whole&spread(cover) != 0 {
		return place
	}
	cover |= n.whole
	if n.star&spread(cover) != 0 {
		return join(place, "*")
	}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		if found := n.children[name].covered(join(place, name), cover|n.star); found != "" {
			return found
		}
	}
	if n.each == nil {
		return ""
	}
	return n.each.covered(place+"[*]", cover)
}

// spread is all for whom a list holds: what everyone may, holders of every role may.
func spread(who Writers) Writers {
	if who&everyone != 0 {
		return ^Writers(0)
	}
	return who
}

func join(place, name string) string {
	if place == "" {
		return name
	}
	return place + "." + name
}

// Mixed are the places that patterns take for a list and for an object, in their order: phones[*].number beside phones.number. A body can
// be one of the two only, and the other may be a mistake.
func (w *Writable) Mixed() []string { return w.root.mixed("", nil) }

func (n *node) mixed(place string, into []string) []string {
	if n.each != nil {
		if len(n.children) > 0 || n.star != 0 {
			into = append(into, place)
		}
		into = n.each.mixed(place+"[*]", into)
	}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		into = n.children[name].mixed(join(place, name), into)
	}
	return into
}

func (w *Writable) add(pattern string, who Writers) error {
	at := &w.root
	names := strings.Split(pattern, ".")
	for i, name := range names {
		if name == "*" {
			if i < len(names)-1 {
				return fmt.Errorf("%q: * stands for all that is in an object, and only at the end", pattern)
			}
			return at.grant(&at.star, who, pattern)
		}
		bare, lists := name, 0
		for strings.HasSuffix(bare, "[*]") {
			bare = strings.TrimSuffix(bare, "[*]")
			lists++
		}
		if bare == "" || odd(bare) || strings.ContainsAny(bare, "*]\"' ") {
			return fmt.Errorf("%q: %q is no name of a field: write name, address.*, or lines[*].note", pattern, name)
		}
		at = at.child(bare)
		for range lists {
			if at.each == nil {
				at.each = &node{}
			}
			at = at.each
		}
	}
	return at.grant(&at.whole, who, pattern)
}

// grant lets somebody write here, unless they may already.
func (n *node) grant(to *Writers, who Writers, pattern string) error {
	if *to&(who|everyone) != 0 {
		return fmt.Errorf("%q stands there already for the same writers", pattern)
	}
	*to |= who
	return nil
}

func (n *node) child(name string) *node {
	if n.children == nil {
		n.children = map[string]*node{}
	}
	if n.children[name] == nil {
		n.children[name] = &node{}
	}
	return n.children[name]
}

// Roles are the roles that some list is for, sorted.
func (w *Writable) Roles() []string { return slices.Clone(w.roles) }

// Knows reports whether anybody may write a field of this name, or a part of it, at the top of a body.
func (w *Writable) Knows(name string) bool { return w.root.star != 0 || w.root.children[name] != nil }

// For says which lists hold for somebody with these roles, of which there may be none.
func (w *Writable) For(roles []string) Writers {
	who := everyone
	for i, role := range w.roles {
		if slices.Contains(roles, role) {
			who |= 1 << (i + 1)
		}
	}
	return who
}

// Refusal says what of a body may not be written.
type Refusal struct {
	// Pointer is where (JSON Pointer, RFC 6901): the first place that may not be written, in the order of the body.
	Pointer string
	// Malformed says that the body is none of its format, rather than that it writes too much.
	Malformed bool
	// Named reports that every name in Pointer is one that a list knows.
	Named bool
}

// JSON judges a document, or a merge patch (RFC 7396), in which null removes: its root must be an object, and everything in it must be
// writable. An empty object or list is something written: it empties what stands there.
func (w *Writable) JSON(v strictjson.Value, who Writers) *Refusal {
	if v.Kind() != strictjson.Object {
		return w.refuse(nil)
	}
	g := walker{who: who}
	if g.members(v, &w.root) {
		return nil
	}
	slices.Reverse(g.path)
	return &Refusal{Pointer: strictjson.Pointer(g.path), Named: w.names(v, g.path)}
}

// names reports whether the lists know every name on a way through a document. Digits are an index in a list and nowhere else: whoever
// writes an object where a list belongs chose them.
func (w *Writable) names(v strictjson.Value, path []string) bool {
	at := &w.root
	for _, name := range path {
		if v.Kind() == strictjson.Array {
			i, _ := strconv.Atoi(name)
			at, v = at.each, v.Elements()[i] // the walker was there
		} else {
			at = at.children[name]
			v, _ = v.Member(name)
		}
		if at == nil {
			return false
		}
	}
	return true
}

// walker walks a document for somebody. Where it is refused, path is where, the last name first.
type walker struct {
	who  Writers
	path []string
}

func (g *walker) at(name string, ok bool) bool {
	if !ok {
		g.path = append(g.path, name)
	}
	return ok
}

func (g *walker) members(v strictjson.Value, n *node) bool {
	for _, member := range v.Members() {
		if odd(member.Name) {
			return g.at(member.Name, false)
		}
		if n.star&g.who != 0 {
			if !g.at(member.Name, g.plain(member.Value)) {
				return false
			}
			continue
		}
		child := n.children[member.Name]
		if !g.at(member.Name, child != nil && g.value(member.Value, child)) {
			return false
		}
	}
	return true
}

// value judges what stands at a place.
func (g *walker) value(v strictjson.Value, n *node) bool {
	if n.whole&g.who != 0 {
		return g.plain(v)
	}
	switch v.Kind() {
	case strictjson.Object:
		return (len(v.Members()) > 0 || n.star&g.who != 0) && g.members(v, n)
	case strictjson.Array:
		if n.each == nil || len(v.Elements()) == 0 && n.each.whole&g.who == 0 {
			return false
		}
		for i, element := range v.Elements() {
			if !g.at(strconv.Itoa(i), g.value(element, n.each)) {
				return false
			}
		}
		return true
	}
	return false
}

// plain holds a value that may be written to names that no framework takes for more than names.
func (g *walker) plain(v strictjson.Value) bool {
	for i, element := range v.Elements() {
		if !g.at(strconv.Itoa(i), g.plain(element)) {
			return false
		}
	}
	for _, member := range v.Members() {
		if !g.at(member.Name, !odd(member.Name) && g.plain(member.Value)) {
			return false
		}
	}
	return true
}

// odd reports whether a name is more than a name to some framework: a path (a.b, a[b]), an operator of a query language ($set), a key of
// JavaScript's objects, or text that a terminal or a log would act on.
func odd(name string) bool {
	switch name {
	case "", "__proto__", "constructor", "prototype":
		return true
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c == 0x7f || c == '.' || c == '[' || c == ']' || c == '$' {
			return true
		}
	}
	return false
}

// Form judges the fields of an application/x-www-form-urlencoded body: each a name at the top that may be written, once.
func (w *Writable) Form(form target.Query, who Writers) *Refusal {
	seen := map[string]struct{}{}
	var refused *Refusal
	err := form.Names(func(name string) bool {
		child := w.root.children[name]
		key := strings.ToLower(name)
		if _, twice := seen[key]; twice {
			refused = &Refusal{Pointer: strictjson.Pointer([]string{name}), Malformed: true}
			return false
		}
		seen[key] = struct{}{}
		if odd(name) || w.root.star&who == 0 && (child == nil || child.whole&who == 0) {
			refused = w.refuse([]string{name})
		}
		return refused == nil
	})
	if refused == nil && err != nil {
		return &Refusal{Malformed: true, Named: true}
	}
	return refused
}

// refuse makes a refusal of a place.
func (w *Writable) refuse(path []string) *Refusal {
	r := &Refusal{Pointer: strictjson.Pointer(path), Named: true}
	at := &w.root
	for _, name := range path {
		switch {
		case at.children[name] != nil:
			at = at.children[name]
		case at.each != nil && isIndex(name):
			at = at.each
		default:
			r.Named = false
			return r
		}
	}
	return r
}
