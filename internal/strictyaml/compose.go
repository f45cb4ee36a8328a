package strictyaml

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Composer makes a [Document] of values that never were text, such as those of a message: so they are read by the same rules as the
// values of a file, and there is one list of what is wrong with a value. Each value has a place, a number from one that stands where
// a line does; the caller names the places, and [Error.Line] of a complaint is that name. A Composer is for one goroutine.
type Composer struct{ b builder }

// NewComposer begins a document that complaints call by the name of file.
func NewComposer(file string) *Composer {
	return &Composer{b: builder{c: &collector{file: file}}}
}

// Place names the next place and returns its number.
func (c *Composer) Place(name string) int {
	c.b.c.lines = append(c.b.c.lines, name)
	return len(c.b.c.lines)
}

// Field is one entry of a map.
type Field struct {
	Key   string
	Value *Node
}

// Text is text as it is. A control character in it is refused, as it is in a file.
func (c *Composer) Text(place int, s string) *Node {
	at := Pos{place, 1}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
		c.b.c.add(at, "", "%q holds a control character or bytes that are no text", clip(s))
	}
	return &Node{kind: String, pos: at, text: s, size: 1, height: 1}
}

// Number is a whole number.
func (c *Composer) Number(place int, n uint32) *Node {
	node := leaf(Int, Pos{place, 1})
	node.text = strconv.FormatUint(uint64(n), 10)
	return node
}

// Fraction is a number that need not be whole, or be one at all: what reads it decides about infinities.
func (c *Composer) Fraction(place int, f float64) *Node {
	node := leaf(Float, Pos{place, 1})
	node.text = strconv.FormatFloat(f, 'g', -1, 64)
	return node
}

// Flag is true or false.
func (c *Composer) Flag(place int, b bool) *Node {
	node := leaf(Bool, Pos{place, 1})
	node.text = strconv.FormatBool(b)
	return node
}

// Null is no value.
func (c *Composer) Null(place int) *Node { return leaf(Null, Pos{place, 1}) }

// Map is a map of fields with different keys, in this order.
func (c *Composer) Map(place int, fields []Field) *Node {
	out := &Node{kind: Map, pos: Pos{place, 1}, size: 1}
	for _, f := range fields {
		out.entries = append(out.entries, entry{f.Key, out.pos, f.Value})
		out.grow(f.Value)
	}
	return c.b.closed(out)
}

// List is a list.
func (c *Composer) List(place int, items []*Node) *Node {
	out := &Node{kind: List, pos: Pos{place, 1}, size: 1, items: items}
	for _, item := range items {
		out.grow(item)
	}
	return c.b.closed(out)
}

// Complain refuses the document for a reason of the caller's.
func (c *Composer) Complain(place int, format string, args ...any) {
	c.b.c.add(Pos{place, 1}, "", format, args...)
}

// Document ends the composing: with a document, or with every complaint about its values.
func (c *Composer) Document(root *Node) (*Document, Errors) {
	if len(c.b.c.errs) > 0 {
		return nil, c.b.c.errors()
	}
	return &Document{File: c.b.c.file, Root: root, lines: c.b.c.lines}, nil
}
