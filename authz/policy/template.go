package policy

import (
	"slices"
	"strings"
)

// Variable is what a lookup's template may insert.
type Variable uint8

const (
	// VariableID is the object's id.
	VariableID Variable = iota + 1
	// VariableRelation is the rule's relation.
	VariableRelation
	// VariableTenant is the tenant that the request proved.
	VariableTenant
	// VariableSubject is the value of the claim that the rule compares.
	VariableSubject
)

var variables = map[string]Variable{"id": VariableID, "relation": VariableRelation, "tenant": VariableTenant, "subject": VariableSubject}

// Template is a text with variables, such as owner:order:{id}. Behind a variable that another one follows stands a byte that is no
// letter, no digit, no % and no +. The zero Template is the empty text.
type Template struct{ parts []templatePart }

type templatePart struct {
	literal  string
	variable Variable // 0 for a literal
}

// TemplateValues are the values of one question.
type TemplateValues struct{ ID, Relation, Tenant, Subject string }

func (v *TemplateValues) of(variable Variable) string {
	switch variable {
	case VariableID:
		return v.ID
	case VariableRelation:
		return v.Relation
	case VariableTenant:
		return v.Tenant
	case VariableSubject:
		return v.Subject
	}
	return ""
}

// ParseTemplate reads a template. why is "" or what is wrong with it.
func ParseTemplate(text string) (t Template, why string) {
	for rest := text; rest != ""; {
		literal, after, more := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return Template{}, "a } without its {"
		}
		if literal != "" {
			t.parts = append(t.parts, templatePart{literal: literal})
		}
		if !more {
			break
		}
		if follows := len(t.parts) > 1 || literal == "" && len(t.parts) > 0; follows && !ends(literal) {
			return Template{}, "between two variables must stand more than letters, digits, % and +, or two pairs of values could give one text"
		}
		name, after, closed := strings.Cut(after, "}")
		variable, known := variables[name]
		switch {
		case !closed:
			return Template{}, "a { without its }"
		case !known:
			return Template{}, "there is no {" + name + "}: write {id}, {relation}, {tenant} or {subject}"
		case t.Reads(variable):
			return Template{}, "{" + name + "} stands in it twice"
		}
		t.parts = append(t.parts, templatePart{variable: variable})
		rest = after
	}
	return t, ""
}

// ends reports whether a literal can end the value before it: its first byte is none that an escape is made of, nor the + that is a
// space in some encodings.
func ends(literal string) bool {
	if literal == "" {
		return false
	}
	c := literal[0]
	return c != '%' && c != '+' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
}

// Empty reports whether it is the zero Template.
func (t Template) Empty() bool { return len(t.parts) == 0 }

// Reads reports whether the template inserts a variable.
func (t Template) Reads(v Variable) bool {
	return slices.ContainsFunc(t.parts, func(p templatePart) bool { return p.variable == v })
}

// Append writes the text with its values, so that different values give different texts. encode appends a value percent-encoded: it writes
// no byte that does not stand for itself but %XX, and + for a space; nil encodes nothing. In a value that another variable follows, the
// byte that ends it is written as %XX besides, and with nil `%` is too.
func (t Template) Append(b []byte, values *TemplateValues, encode func(b []byte, value string) []byte) []byte {
	for i := range t.parts {
		part := &t.parts[i]
		value, follows := values.of(part.variable), i+2 < len(t.parts)
		switch begin := len(b); {
		case part.variable == 0:
			b = append(b, part.literal...)
		case encode != nil:
			b = encode(b, value)
			if follows {
				b = appendUntil(b[:begin], string(b[begin:]), t.parts[i+1].literal[0], false)
			}
		case follows:
			b = appendUntil(b, value, t.parts[i+1].literal[0], true)
		default:
			b = append(b, value...)
		}
	}
	return b
}

// appendUntil writes a value that ends where a byte first occurs. An encoded value keeps its escapes.
func appendUntil(b []byte, value string, end byte, plain bool) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(value) {
		if c := value[i]; c == end || plain && c == '%' {
			b = append(b, '%', digits[c>>4], digits[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// String is the template as it was written.
func (t Template) String() string {
	var text strings.Builder
	for _, part := range t.parts {
		text.WriteString(part.literal)
		for name, variable := range variables {
			if variable == part.variable {
				text.WriteString("{" + name + "}")
			}
		}
	}
	return text.String()
}
