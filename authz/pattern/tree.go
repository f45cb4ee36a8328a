package pattern

import (
	"slices"

	"github.com/sallyport-dev/sallyport/authz/target"
)

// none is the index of no entry.
const none = -1

// node is one place in a tree of segments. It is immutable once built. The children are asked in the order of the fields,
// which is the order of how specific they are.
type node struct {
	literals map[string]*node // by text
	suffixes map[string]*node // by text
	lengths  []int            // the lengths of the suffixes, each once, longest first
	name     *node
	rest     []leaf // patterns that end here in a {rest...}
	leaves   []leaf // patterns that end here
}

// leaf is one method of one pattern. Methods stand at the leaves and not at the root, so that a request finds its way to a
// less specific pattern that has its method when a more specific one has not.
type leaf struct {
	method string
	entry  int
	cut    bool // only by a form without its extension
}

// place returns the list of leaves at which a path of segments ends, making the way there.
func (n *node) place(segments []segment) *[]leaf {
	for _, s := range segments {
		switch s.kind {
		case literal:
			n = child(&n.literals, s.text)
		case suffixed:
			if !slices.Contains(n.lengths, len(s.text)) {
				n.lengths = append(n.lengths, len(s.text))
				slices.SortFunc(n.lengths, func(a, b int) int { return b - a })
			}
			n = child(&n.suffixes, s.text)
		case named:
			if n.name == nil {
				n.name = &node{}
			}
			n = n.name
		case rest:
			return &n.rest
		}
	}
	return &n.leaves
}

func child(children *map[string]*node, text string) *node {
	if *children == nil {
		*children = map[string]*node{}
	}
	n := (*children)[text]
	if n == nil {
		n = &node{}
		(*children)[text] = n
	}
	return n
}

func pick(leaves []leaf, method string) int {
	for i := range leaves {
		if leaves[i].method == method {
			return leaves[i].entry
		}
	}
	return none
}

// reading is one way to read a request's path.
type reading struct {
	method   string
	segments []target.Segment
	last     string // the text of the last segment, which may have been cut
	fold     bool   // compare in ASCII lower case
}

func (r *reading) text(i int) string {
	if i == len(r.segments)-1 {
		return r.last
	}
	return r.segments[i].Text
}

// find returns the entry of the most specific pattern below n that matches the reading from segment i on, or none. Each node
// has one way to it, so a lookup visits no node twice, and backing up costs at most the nodes it tried.
func (n *node) find(r *reading, i int) int {
	if i == len(r.segments) {
		return pick(n.leaves, r.method)
	}
	text := r.text(i)
	if next := get(n.literals, text, r.fold); next != nil {
		if entry := next.find(r, i+1); entry != none {
			return entry
		}
	}
	for _, length := range n.lengths {
		// A name stands for at least one byte before its suffix.
		if length >= len(text) {
			continue
		}
		if next := get(n.suffixes, text[len(text)-length:], r.fold); next != nil {
			if entry := next.find(r, i+1); entry != none {
				return entry
			}
		}
	}
	if n.name != nil && text != "" {
		if entry := n.name.find(r, i+1); entry != none {
			return entry
		}
	}
	return pick(n.rest, r.method)
}

// get looks a text up, folded if asked. Folding a text of usual length does not allocate.
func get(children map[string]*node, text string, fold bool) *node {
	if len(children) == 0 {
		return nil
	}
	if !fold || !hasUpper(text) {
		return children[text]
	}
	var buf [128]byte
	return children[string(appendLower(buf[:0], text))]
}
