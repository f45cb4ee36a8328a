package openapi

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/pattern"
)

// match gives the operation the pattern that its path is to a rule, and returns what the pattern calls each parameter of the template.
func (r *reader) match(op *Operation, place string) map[string]string {
	path, captures, why := translate(op.Path)
	if why == "" {
		p, err := pattern.Parse(op.Method + " " + path)
		if err == nil {
			op.Pattern = p
			return captures
		}
		why = "no pattern of a rule can say this path: " + strings.TrimPrefix(err.Error(), "pattern: ")
	}
	r.unsupported(op.Pos, place, "%s", why)
	return captures
}

// translate writes a path template as a pattern does: literals decoded, names that are identifiers, and a final slash said out loud.
func translate(template string) (path string, captures map[string]string, why string) {
	captures = map[string]string{}
	taken := map[string]bool{}
	var b strings.Builder
	for i, segment := range strings.Split(strings.TrimPrefix(template, "/"), "/") {
		text, problem := translateSegment(segment, captures, taken)
		if problem != "" && why == "" {
			why = problem
		}
		if segment == "" && i == strings.Count(template, "/")-1 {
			text = "{$}"
		}
		b.WriteString("/" + text)
	}
	return b.String(), captures, why
}

func translateSegment(segment string, captures map[string]string, taken map[string]bool) (text, why string) {
	open := strings.IndexByte(segment, '{')
	if open < 0 {
		return decoded(segment)
	}
	inner, suffix, closed := strings.Cut(segment[open+1:], "}")
	if !closed {
		return "", "a segment has a brace without its other"
	}
	name := identifier(inner, taken)
	captures[inner] = name
	for rest := suffix; strings.Contains(rest, "{"); {
		// Named too, so that whoever reads on knows each parameter by a name.
		var other string
		_, rest, _ = strings.Cut(rest, "{")
		other, rest, _ = strings.Cut(rest, "}")
		captures[other] = identifier(other, taken)
	}
	switch {
	case open > 0:
		return "", "a segment has text before its parameter, which no pattern of a rule can say: " + clip(segment)
	case strings.ContainsAny(suffix, "{}"):
		return "", "a segment has two parameters, which no pattern of a rule can say: " + clip(segment)
	}
	suffix, why = decoded(suffix)
	return "{" + name + "}" + suffix, why
}

func decoded(text string) (string, string) {
	out, err := url.PathUnescape(text)
	if err != nil {
		return "", "an escape in the path is malformed: " + clip(text)
	}
	return out, ""
}

// reserved are words of CEL, in which a condition could not read a capture of that name (CEL specification, "Syntax").
var reserved = set("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
	"package", "namespace", "return", "var", "void", "while")

// identifier makes a name that a pattern can bind and a condition read, and that no other parameter of the path has: letters, digits and '_'.
func identifier(name string, taken map[string]bool) string {
	b := []byte(name)
	for i, c := range b {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			b[i] = '_'
		}
	}
	out := string(b)
	if out == "" || out[0] >= '0' && out[0] <= '9' || reserved[out] {
		out = "_" + out
	}
	for n, base := 2, out; taken[out]; n++ {
		out = base + "_" + strconv.Itoa(n)
	}
	taken[out] = true
	return out
}
