// Package pattern decides which rule a request's path belongs to. It parses the patterns that rules are written with, builds
// a tree of them whose lookup costs the same for one rule and for ten thousand, and refuses a path that an upstream which
// folds case, ignores a final slash or cuts an extension would take for another rule's. Which rule judges a request is the
// product's core, so it is a room of its own: pure, immutable once built, held to a naive twin by its tests.
package pattern

import (
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/target"
)

// Pattern is one parsed pattern: methods and a path whose segments are literals, names, names with a literal suffix, or a
// last rest. It is immutable and safe to share. The zero value has no methods and matches nothing.
type Pattern struct {
	source   string
	methods  []string
	segments []segment
	names    []string
}

type kind uint8

const (
	literal  kind = iota // exactly this text; the empty text is "/{$}"
	suffixed             // one or more bytes, then this text
	named                // one or more bytes
	rest                 // all that remains, even nothing
)

type segment struct {
	kind kind
	text string // literal and suffixed: decoded, as target.Segment.Text is
	name string // all but literal
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.source }

// Methods returns the methods, in the order written. A gRPC pattern, which is written without methods, has POST. The slice is
// the caller's own and is empty only for the zero value.
func (p Pattern) Methods() []string { return slices.Clone(p.methods) }

// Names returns the names that the pattern binds, in the order of the path, that of a rest included. The slice is the
// caller's own.
func (p Pattern) Names() []string { return slices.Clone(p.names) }

// Rest returns the name of the last {name...}, and whether there is one.
func (p Pattern) Rest() (string, bool) {
	if n := len(p.segments); n > 0 && p.segments[n-1].kind == rest {
		return p.segments[n-1].name, true
	}
	return "", false
}

// reachedSoftly reports whether a literal or a suffix of a pattern that matches was spelled with an escape of a byte that
// may stand for itself. A router that compares before it decodes would not have found it.
func (p Pattern) reachedSoftly(segments []target.Segment) bool {
	for i, s := range p.segments {
		switch {
		case s.kind == literal && segments[i].SoftEscaped:
			return true
		case s.kind == suffixed && segments[i].SoftTail(len(s.text)):
			return true
		}
	}
	return false
}

// capture appends what the names of a pattern that matches stand for, in the order of Names.
func (p Pattern) capture(tg *target.Target, values []string) []string {
	for i, s := range p.segments {
		switch s.kind {
		case named:
			values = append(values, tg.Segments[i].Text)
		case suffixed:
			text := tg.Segments[i].Text
			values = append(values, text[:len(text)-len(s.text)])
		case rest:
			values = append(values, restText(tg, i))
		}
	}
	return values
}

// restText joins the decoded segments from first on. Without escapes that is the end of the path itself.
func restText(tg *target.Target, first int) string {
	size, plain := -1, true
	for _, s := range tg.Segments[first:] {
		size += len(s.Text) + 1
		plain = plain && len(s.Raw) == len(s.Text)
	}
	if plain && size <= len(tg.Path) {
		return tg.Path[len(tg.Path)-size:]
	}
	var b strings.Builder
	b.Grow(size)
	for i, s := range tg.Segments[first:] {
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(s.Text)
	}
	return b.String()
}

// ParseError says where a pattern is wrong and what to write instead.
type ParseError struct {
	// Offset is the byte of the pattern at which the fault begins, counted from 0, at most the pattern's length.
	Offset int
	// Msg is a sentence for the author of a policy.
	Msg string
}

// Error returns the message, with the package's prefix and the byte counted from 1.
func (e *ParseError) Error() string {
	return "pattern: byte " + strconv.Itoa(e.Offset+1) + ": " + e.Msg
}
