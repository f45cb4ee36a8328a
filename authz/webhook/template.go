package webhook

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Template is what a sender signs: literal texts, and between them the time, headers and the body. The zero Template is the body alone.
type Template struct {
	parts   []part
	headers []string
}

// part is one part of a template. Exactly one member is set.
type part struct {
	literal   string
	header    int // 1 for the first of the template's headers
	timestamp bool
	body      bool
}

// ParseTemplate reads a text such as "v0:{timestamp}:{body}", in which {header.x-name} is a header's value. The body stands in it once and
// at its end. Between two values stands a byte by which the first ends, so that no two messages are signed as one text.
func ParseTemplate(text string) (Template, error) {
	var t Template
	for rest := text; rest != ""; {
		literal, after, more := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return Template{}, errors.New("a } without its {")
		}
		if literal != "" {
			t.parts = append(t.parts, part{literal: literal})
		} else if len(t.parts) > 0 && more {
			return Template{}, errors.New("two values touch, so that two messages could be signed as one text: write a byte between them")
		}
		if !more {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			return Template{}, errors.New("a { without its }")
		}
		if err := t.add(name); err != nil {
			return Template{}, err
		}
		rest = after
	}
	if len(t.parts) == 0 || !t.parts[len(t.parts)-1].body {
		return Template{}, errors.New("the text does not end in {body}: what is not signed can be anybody's")
	}
	return t, t.separate()
}

// add appends what stands in braces.
func (t *Template) add(name string) error {
	p := part{timestamp: name == "timestamp", body: name == "body"}
	header, isHeader := strings.CutPrefix(name, "header.")
	switch {
	case isHeader && (header == "" || header != strings.ToLower(header)):
		return fmt.Errorf("{%s}: write the header's name in lower case", name)
	case isHeader && slices.Contains(t.headers, header):
		return fmt.Errorf("{%s} stands there twice", name)
	case isHeader:
		t.headers = append(t.headers, header)
		p.header = len(t.headers)
	case !p.timestamp && !p.body:
		return fmt.Errorf("{%s} is nothing that is signed: write {timestamp}, {header.x-name} and {body}", name)
	}
	if slices.Contains(t.parts, p) {
		return fmt.Errorf("{%s} stands there twice", name)
	}
	if t.has(func(p part) bool { return p.body }) {
		return errors.New("something stands behind {body}, and a body may end in anything")
	}
	t.parts = append(t.parts, p)
	return nil
}

// separate holds the byte behind the time to be no digit. Behind a header's value any byte will do, since a value that holds it is refused.
func (t *Template) separate() error {
	for i := 0; i+1 < len(t.parts); i++ {
		if b := t.parts[i+1].literal; t.parts[i].timestamp && b != "" && b[0] >= '0' && b[0] <= '9' {
			return errors.New("a digit stands behind {timestamp}, which it would be part of")
		}
	}
	return nil
}

func (t *Template) has(is func(part) bool) bool { return slices.ContainsFunc(t.parts, is) }

// Timed reports whether the time is signed.
func (t *Template) Timed() bool { return t.has(func(p part) bool { return p.timestamp }) }

// Headers are the headers whose values are signed, in their order.
func (t *Template) Headers() []string { return t.headers }

// unambiguous reports whether no header's value holds the byte by which it ends, nor is empty.
func (t *Template) unambiguous(values []string) bool {
	if len(values) != len(t.headers) {
		return false
	}
	for i, p := range t.parts {
		if p.header == 0 {
			continue
		}
		value := values[p.header-1]
		if value == "" || strings.IndexByte(value, t.parts[i+1].literal[0]) >= 0 { // the body is last, and values never touch
			return false
		}
	}
	return true
}
