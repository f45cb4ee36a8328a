package pattern

import (
	"cmp"
	"strings"
)

// The questions of this file are asked when patterns are told to another router, one after the other: Envoy takes the first route that
// matches, where a lookup takes the most specific.

// PartKind says what a part of a pattern matches.
type PartKind uint8

const (
	// PartLiteral is exactly its text; the empty text is what follows a final slash.
	PartLiteral PartKind = iota
	// PartSuffixed is one or more bytes and then its text.
	PartSuffixed
	// PartName is one or more bytes.
	PartName
	// PartRest is all that remains of the path, even nothing.
	PartRest
)

// Part is what a pattern says of one segment of a path.
type Part struct {
	Kind PartKind
	// Text is decoded, as literals are written; "" of PartName and PartRest.
	Text string
}

// Parts are what the pattern says of a path, segment by segment. The slice is the caller's own.
func (p Pattern) Parts() []Part {
	parts := make([]Part, len(p.segments))
	for i, s := range p.segments {
		parts[i] = Part{Kind: PartKind(s.kind), Text: s.text} // the two enums name the same four kinds in the same order
	}
	return parts
}

// Compare orders patterns so that of several that match a path the first is the one that a lookup selects: literals before names with the
// longer suffix before names before a rest, segment by segment from the left. Methods do not count. It is 0 only for patterns that differ
// in nothing but names and methods.
func (p Pattern) Compare(q Pattern) int {
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i], q.segments[i]
		if c := cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(len(b.text), len(a.text)), cmp.Compare(a.text, b.text)); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(p.segments), len(q.segments))
}

// Overlaps reports whether some path matches both patterns, whatever the methods.
func (p Pattern) Overlaps(q Pattern) bool {
	for i := range min(len(p.segments), len(q.segments)) {
		a, b := p.segments[i], q.segments[i]
		if a.kind == rest || b.kind == rest {
			return true
		}
		if !a.meets(b) {
			return false
		}
	}
	return len(p.segments) == len(q.segments)
}

// meets reports whether some segment of a path matches both; neither is a rest.
func (s segment) meets(o segment) bool {
	if s.kind > o.kind {
		s, o = o, s
	}
	switch {
	case s.kind == literal && o.kind == literal:
		return s.text == o.text
	case s.kind == literal && o.kind == suffixed:
		return len(s.text) > len(o.text) && strings.HasSuffix(s.text, o.text)
	case s.kind == literal:
		return s.text != ""
	case o.kind == suffixed:
		return strings.HasSuffix(s.text, o.text) || strings.HasSuffix(o.text, s.text)
	}
	return true
}
