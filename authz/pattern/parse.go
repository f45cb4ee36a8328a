package pattern

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPattern bounds a pattern in bytes. No path is longer than 8 KiB, and a rule that needs half of it is a mistake.
const maxPattern = 4096

// Parse reads one pattern, "METHODS PATH": methods joined by commas, one space, a path. Without methods it must name a gRPC
// method, "/package.Service/Method", and then means POST. Literals are written decoded, in UTF-8. The error is a *ParseError.
func Parse(s string) (Pattern, error) {
	if len(s) > maxPattern {
		return Pattern{}, fault(0, "a pattern is at most 4096 bytes")
	}
	if strings.HasPrefix(s, "/") {
		return parseGRPC(s)
	}
	list, path, ok := strings.Cut(s, " ")
	if !ok {
		return Pattern{}, fault(0, "a pattern is methods, one space, a path: write for example `GET,HEAD /orders/{order_id}`")
	}
	methods, err := parseMethods(list)
	if err != nil {
		return Pattern{}, err
	}
	segments, err := parsePath(path, len(list)+1)
	if err != nil {
		return Pattern{}, err
	}
	return Pattern{source: s, methods: methods, segments: segments, names: namesOf(segments)}, nil
}

func fault(offset int, msg string) *ParseError { return &ParseError{Offset: offset, Msg: msg} }

// parseGRPC reads a pattern without methods. Demanding a dot in the service keeps "/orders/list", whose author forgot the
// method, from becoming a POST rule.
func parseGRPC(s string) (Pattern, error) {
	service, method, ok := strings.Cut(s[1:], "/")
	if !ok || !strings.Contains(service, ".") || !isIdentifier(method) {
		return Pattern{}, fault(0, "write the methods, as in `GET,HEAD /orders/{order_id}`; only a gRPC method, `/package.Service/Method`, goes without")
	}
	for part := range strings.SplitSeq(service, ".") {
		if !isIdentifier(part) {
			return Pattern{}, fault(1, "a gRPC service is identifiers joined by dots: write `/package.Service/Method`, or the methods in front of the path")
		}
	}
	segments := []segment{{kind: literal, text: service}, {kind: literal, text: method}}
	return Pattern{source: s, methods: []string{"POST"}, segments: segments}, nil
}

func parseMethods(list string) ([]string, error) {
	var methods []string
	offset := 0
	for method := range strings.SplitSeq(list, ",") {
		if msg := checkMethod(method); msg != "" {
			return nil, fault(offset, msg)
		}
		if slices.Contains(methods, method) {
			return nil, fault(offset, "the method is written twice: write it once")
		}
		methods = append(methods, method)
		offset += len(method) + 1
	}
	return methods, nil
}

func checkMethod(method string) string {
	switch {
	case method == "":
		return "a method is missing: write methods joined by single commas, as in `GET,HEAD`"
	case method == "CONNECT":
		return "CONNECT has no path to judge and is always refused: leave it out"
	case method == "*" || method == "ANY":
		return "there is no word for every method: write them out, as in `GET,HEAD,POST`"
	}
	for _, c := range []byte(method) {
		switch {
		case 'a' <= c && c <= 'z':
			return "methods are upper case, as in `GET`: a request's method is compared exactly"
		case (c < 'A' || c > 'Z') && c != '-' && c != '_' && (c < '0' || c > '9'):
			return "a method is upper case letters: write for example `GET,HEAD /orders/{order_id}`"
		}
	}
	return ""
}

// parsePath reads the path of a pattern that begins at byte offset of the whole.
func parsePath(path string, offset int) ([]segment, error) {
	switch {
	case !strings.HasPrefix(path, "/"):
		return nil, fault(offset, "a path begins with `/`, after exactly one space")
	case strings.HasSuffix(path, " "):
		return nil, fault(offset+len(path)-1, "a space ends the pattern: leave it out")
	}
	var segments []segment
	offset++
	for text, tail, more := path[1:], "", true; more; text = tail {
		text, tail, more = strings.Cut(text, "/")
		s, err := parseSegment(text, offset, !more)
		if err != nil {
			return nil, err
		}
		if s.name != "" && slices.ContainsFunc(segments, func(o segment) bool { return o.name == s.name }) {
			return nil, fault(offset, "the name is bound twice: give each `{name}` of a pattern its own")
		}
		segments = append(segments, s)
		offset += len(text) + 1
	}
	return segments, nil
}

func parseSegment(text string, offset int, last bool) (segment, error) {
	switch {
	case text == "" && last:
		return segment{}, fault(offset, "a final `/` says too little: write `/{$}` for exactly this path, `/{rest...}` for all below it")
	case text == "":
		return segment{}, fault(offset, "`//` never reaches a rule: write one `/`")
	case text == "{$}" && last:
		return segment{kind: literal}, nil
	case text == "{$}":
		return segment{}, fault(offset, "`{$}` stands only at the end of a path")
	}
	open := strings.IndexByte(text, '{')
	if open < 0 {
		return parseLiteral(text, offset)
	}
	if open > 0 {
		return segment{}, fault(offset, "a `{name}` begins its segment: nothing may stand before it")
	}
	inner, suffix, closed := strings.Cut(text[1:], "}")
	if !closed {
		return segment{}, fault(offset, "the `{` has no `}`")
	}
	name, isRest := strings.CutSuffix(inner, "...")
	switch {
	case !isIdentifier(name):
		return segment{}, fault(offset+1, "a name is letters, digits and `_`, and begins with no digit: write `{name}`, or `{rest...}` at the end for all that follows")
	case isRest && !last:
		return segment{}, fault(offset, "`{rest...}` stands only at the end of a path: write `{name}` for one segment")
	case isRest && suffix != "":
		return segment{}, fault(offset, "`{rest...}` takes no suffix: write `{name}` with the suffix for one segment")
	case isRest:
		return segment{kind: rest, name: name}, nil
	case suffix == "":
		return segment{kind: named, name: name}, nil
	}
	if at, msg := checkText(suffix); msg != "" {
		return segment{}, fault(offset+len(inner)+2+at, msg)
	}
	if strings.HasSuffix(suffix, "..") {
		return segment{}, fault(offset, "no request can end a segment in `..`")
	}
	return segment{kind: suffixed, text: suffix, name: name}, nil
}

func parseLiteral(text string, offset int) (segment, error) {
	switch {
	case text == "*" || text == "**":
		return segment{}, fault(offset, "`*` is no wildcard here: write `{name}` for one segment, `{rest...}` at the end for all that follows")
	case text[0] == ':':
		return segment{}, fault(offset, "a segment that begins with `:` is no name here: write `{name}`")
	case text == "." || strings.HasPrefix(text, "..") || strings.HasSuffix(text, ".."):
		return segment{}, fault(offset, "no request can spell a `.` or `..` segment, or one that begins or ends in `..`: write the path that is meant")
	}
	if at, msg := checkText(text); msg != "" {
		return segment{}, fault(offset+at, msg)
	}
	return segment{kind: literal, text: text}, nil
}

// checkText refuses a literal text that no accepted request can spell, raw or escaped: a rule with one would never match.
func checkText(text string) (at int, msg string) {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			return i, "a pattern is UTF-8"
		case r == '%':
			return i, "literals are written decoded, without escapes: write the character that `%XX` stands for"
		case r == '{' || r == '}':
			return i, "a `{` or `}` stands where none can: a segment is a literal, `{name}`, `{name}` with a literal suffix, or a last `{rest...}`"
		case r == '?' || r == '#':
			return i, "a pattern is only a path: a rule reads the query by other keys"
		case r == ';' || r == '\\':
			return i, "no request with `;` or `\\` in its path is accepted: leave it out"
		case r < ' ' || r == 0x7f:
			return i, "no request with a control character in its path is accepted: leave it out"
		}
	}
	return 0, ""
}

func isIdentifier(s string) bool {
	for i, c := range []byte(s) {
		letter := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func namesOf(segments []segment) []string {
	var names []string
	for _, s := range segments {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	return names
}
