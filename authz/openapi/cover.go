package openapi

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/pattern"
)

// Operation finds the operation that a pattern of a rule speaks about: the method, and the path of the pattern as the rule writes it,
// equal but for what the names in braces are.
func (d *Document) Operation(method, patternPath string) (*Operation, bool) {
	op, ok := d.byPattern[key(method, patternPath)] // never "", which is not added
	return op, ok
}

// key is what two patterns of one method share that differ in names only; it is empty for an operation that no pattern can say.
func (o *Operation) key() string {
	_, path, ok := strings.Cut(o.Pattern.String(), " ")
	if !ok {
		return ""
	}
	return key(o.Method, path)
}

func key(method, path string) string {
	var b strings.Builder
	b.WriteString(method + " ")
	for rest, more := path, true; more; {
		var before, name string
		before, rest, more = strings.Cut(rest, "{")
		b.WriteString(before)
		if !more {
			break
		}
		var closed bool
		name, rest, closed = strings.Cut(rest, "}")
		switch {
		case !closed:
			return ""
		case name == "$":
			b.WriteString("{$}")
		case strings.HasSuffix(name, "..."):
			b.WriteString("{...}")
		default:
			b.WriteString("{}")
		}
	}
	return b.String()
}

// Unruled are the operations that no pattern of some takes every path of, in the order of the document: requests for them would be denied,
// or judged by chance. Operations that no pattern can say are among them.
func (d *Document) Unruled(patterns []pattern.Pattern) []*Operation {
	var out []*Operation
	for _, op := range d.Operations {
		if !slices.ContainsFunc(patterns, func(p pattern.Pattern) bool { return slices.Contains(p.Methods(), op.Method) && p.Covers(op.Pattern) }) {
			out = append(out, op)
		}
	}
	return out
}

// Undescribed is one method of a pattern that the document has no operation for.
type Undescribed struct {
	Pattern pattern.Pattern
	Method  string
}

// Undescribed are the methods of patterns that take no operation of the document, in the order of the patterns. HEAD is described where GET
// is (RFC 9110 section 9.3.2), and OPTIONS wherever anything is.
func (d *Document) Undescribed(patterns []pattern.Pattern) []Undescribed {
	var out []Undescribed
	for _, p := range patterns {
		for _, method := range p.Methods() {
			described := slices.ContainsFunc(d.Operations, func(op *Operation) bool {
				return (op.Method == method || method == "OPTIONS" || method == "HEAD" && op.Method == "GET") && p.Covers(op.Pattern)
			})
			if !described {
				out = append(out, Undescribed{p, method})
			}
		}
	}
	return out
}
