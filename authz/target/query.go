package target

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Query reads single parameters out of a raw query without building a map of them. It is a value, costs nothing to make and
// is safe to share. The zero value is an empty query.
type Query struct{ raw string }

// Query returns the query of the target.
func (t Target) Query() Query { return Query{raw: t.RawQuery} }

// ParseForm reads the body of an application/x-www-form-urlencoded request, which has the same form.
func ParseForm(body string) Query { return Query{raw: body} }

// One returns the value of the parameter name, which must occur exactly once and be spelled byte for byte. Pairs are split at
// '&', '+' is a space, and the value is decoded once. present is false, without an error, when no pair has that name or
// resembles it; a pair without '=' has the empty value.
//
// The error, always an *Error, means that an upstream might read another value: the name occurs twice; another name equals it
// once decoded, case-folded, cut at a bracket or '.' and trimmed, or once PHP has made its '_' out of dots, spaces and
// brackets; an escape anywhere is malformed or the name or value is not UTF-8; or a raw ';' occurs, at which some readers
// split. A name that cannot stand in a query as it is (see ReadableName) is never read: its escaped spelling is such another
// name.
func (q Query) One(name string) (value string, present bool, err error) {
	if why := q.check(); why != "" {
		return "", false, refuse("query", why)
	}
	readable := ReadableName(name)
	for rest, more := q.raw, q.raw != ""; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		rawName, rawValue, _ := strings.Cut(pair, "=")
		if readable && rawName == name {
			if present {
				return "", false, refuse("query", "holds the name twice")
			}
			value, present = unescape(rawValue), true
			continue
		}
		text := unescape(rawName)
		if !utf8.ValidString(text) {
			return "", false, refuse("query", "holds a name that is not UTF-8")
		}
		if alike(text, name) {
			return "", false, refuse("query", "holds a name that resembles the one read")
		}
	}
	if !utf8.ValidString(value) {
		return "", false, refuse("query", "holds a value that is not UTF-8")
	}
	return value, present, nil
}

// All appends the values of every occurrence of the parameter name, in their order. Each must be spelled byte for byte, and what makes
// One fail makes All fail: names that resemble it (`id[]`, `ID`) are lists to some readers and nothing to others.
func (q Query) All(name string, into []string) ([]string, error) {
	if why := q.check(); why != "" {
		return nil, refuse("query", why)
	}
	readable := ReadableName(name)
	for rest, more := q.raw, q.raw != ""; more; {
		var pair string
		pair, rest, more = strings.Cut(rest, "&")
		rawName, rawValue, _ := strings.Cut(pair, "=")
		text := unescape(rawName)
		switch {
		case readable && rawName == name:
			value := unescape(rawValue)
			if !utf8.ValidString(value) {
				return nil, refuse("query", "holds a value that is not UTF-8")
			}
			into = append(into, value)
		case !utf8.ValidString(text):
			return nil, refuse("query", "holds a name that is not UTF-8")
		case alike(text, name):
			return nil, refuse("query", "holds a name that resembles the one read")
		}
	}
	return into, nil
}

// Comma appends the parts of the one occurrence of the parameter name, split at commas. A comma that is written as an escape is refused:
// some readers split before they decode and some after. So is a part with white space around it, which some trim. An empty part is given
// as it is, an empty value being one that nothing equals, so that a list never looks shorter than it was sent.
func (q Query) Comma(name string, into []string) ([]string, error) {
	if _, present, err := q.One(name); err != nil || !present {
		return into, err
	}
	for pair := range strings.SplitSeq(q.raw, "&") {
		rawName, rawValue, _ := strings.Cut(pair, "=")
		if rawName != name {
			continue
		}
		for part := range strings.SplitSeq(rawValue, ",") {
			value := unescape(part)
			if strings.IndexByte(value, ',') >= 0 {
				return nil, refuse("query", "holds an escaped comma in a list")
			}
			if value != strings.TrimFunc(value, blank) {
				return nil, refuse("query", "holds white space in a list")
			}
			into = append(into, value)
		}
	}
	return into, nil
}

// Has reports whether the parameter name occurs in any spelling that some upstream might take for it, resembling names as in
// One included, and splitting at ';' too. It is for names that must not occur, so it errs on the side of true: of a name that
// is malformed itself it is enough that it holds the name once its malformed parts are mended. What stands in values, and what
// is malformed in other names, says nothing.
func (q Query) Has(name string) bool {
	for rest := q.raw; rest != ""; {
		pair := rest
		if end := strings.IndexAny(rest, "&;"); end >= 0 {
			pair, rest = rest[:end], rest[end+1:]
		} else {
			rest = ""
		}
		rawName, _, _ := strings.Cut(pair, "=")
		text := unescape(rawName)
		if alike(text, name) {
			return true
		}
		if malformed := (Query{rawName}).check() != "" || !utf8.ValidString(text); malformed && mendsTo(rawName, name) {
			return true
		}
	}
	return false
}

// ReadableName reports whether a name is written in a query as it is, so that One can find it: no bytes that need an escape
// or part pairs from each other.
func ReadableName(name string) bool {
	if name == "" || !utf8.ValidString(name) {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`%+&=;#?"<>\^{|}`+"`", c) >= 0 {
			return false
		}
	}
	return true
}

// check finds what makes a whole query unreadable, whichever parameter is asked for.
func (q Query) check() string {
	for i := 0; i < len(q.raw); i++ {
		switch q.raw[i] {
		case ';':
			return "holds ';'"
		case '%':
			if _, ok := hexByte(q.raw[i+1:]); !ok {
				return "holds a malformed escape"
			}
			i += 2
		}
	}
	return ""
}

// unescape decodes '+' and the escapes of s once; a malformed escape stays as it is. It allocates only if there is any.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	text := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if b, ok := hexByte(s[i+1:]); ok {
				c = b
				i += 2
			}
		}
		text = append(text, c)
	}
	return string(text)
}

// mendsTo reports whether a malformed name holds name in the eyes of a reader that goes on after what it cannot read, dropping the
// '%' alone or the two bytes behind it as well.
func mendsTo(raw, name string) bool {
	name = foldText(name)
	for _, dropped := range []int{1, 3} {
		if text := foldText(mend(raw, dropped)); strings.Contains(text, name) || strings.Contains(phpName(text), name) {
			return true
		}
	}
	return false
}

// foldText folds like strings.EqualFold where a name of ASCII letters is concerned: through the upper case, in which U+017F is an S.
func foldText(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// mend decodes a malformed text: %uXXXX, which IIS reads, is a UTF-16 unit; another malformed escape is dropped with its first bytes,
// and so are bytes that are not UTF-8.
func mend(raw string, dropped int) string {
	text := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		b, ok := byte(0), false
		if raw[i] == '%' {
			b, ok = hexByte(raw[i+1:])
		}
		switch {
		case ok:
			text = append(text, b)
			i += 3
		case raw[i] != '%':
			text = append(text, raw[i])
			i++
		default:
			unit, ok := hexUnit(raw[i+1:])
			if !ok {
				i += dropped
				continue
			}
			text = utf8.AppendRune(text, unit)
			i += 6
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(string(text), "+", " "), "")
}

// hexUnit reads the u and the four digits of a %uXXXX.
func hexUnit(s string) (rune, bool) {
	if len(s) < 5 || s[0]|0x20 != 'u' {
		return 0, false
	}
	high, ok := hexByte(s[1:])
	if !ok {
		return 0, false
	}
	low, ok := hexByte(s[3:])
	return rune(high)<<8 | rune(low), ok
}

// alike reports whether an upstream could take the decoded name other for name. Both are folded (Unicode simple folding, as
// strings.EqualFold and encoding/json do), cut at the first bracket or '.', where frameworks begin or end a list or an object,
// and trimmed of what some readers trim.
func alike(other, name string) bool {
	if plain(other) && plain(name) {
		return strings.EqualFold(other, name)
	}
	other = strings.TrimLeft(strings.TrimLeftFunc(other, blank), " ?")
	if end := strings.IndexByte(other, 0); end >= 0 {
		other = other[:end]
	}
	return strings.EqualFold(cutName(other), cutName(name)) || strings.EqualFold(phpName(other), phpName(name))
}

// plain reports that nothing in a name is cut, trimmed or replaced by anybody; most names are so.
func plain(name string) bool {
	for i := range len(name) {
		if c := name[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// cutName cuts a name where frameworks see the start of a list or of an object.
func cutName(name string) string {
	if end := strings.IndexAny(name, "[.]"); end >= 0 {
		name = name[:end]
	}
	return strings.TrimFunc(name, blank)
}

// blank tells what shows nothing at the ends of a name: white space in Unicode's sense, controls, and the formatting characters
// that count as neither, the byte order mark and the zero-width space among them.
func blank(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || r > 0x7f && unicode.Is(unicode.Cf, r)
}

// phpUnderscores are the bytes that PHP turns into '_' in the name of a parameter, so that "user.id" becomes "user_id".
var phpUnderscores = strings.NewReplacer(".", "_", " ", "_", "[", "_")

func phpName(name string) string {
	if !strings.ContainsAny(name, ". [") {
		return name
	}
	return phpUnderscores.Replace(name)
}

// Names yields the name of every pair, in their order, until yield returns false. Empty pairs, as behind a last '&', are left out. An
// error, always an *Error, means that some name cannot be read in one way: a malformed escape or a ';' anywhere, or a name that is not
// written as it is (see ReadableName).
func (q Query) Names(yield func(name string) bool) error {
	if why := q.check(); why != "" {
		return refuse("query", why)
	}
	for pair := range strings.SplitSeq(q.raw, "&") {
		name, _, _ := strings.Cut(pair, "=")
		switch {
		case pair == "":
			continue
		case !ReadableName(name):
			return refuse("query", "holds a name that is not written as it is")
		case !yield(name):
			return nil
		}
	}
	return nil
}
