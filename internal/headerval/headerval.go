// Package headerval says what may stand in a header that a gate writes: values, names, and texts on their way into one. Both
// gates share it, because both have the same trap behind them: Envoy checks the values of an allow only if told to, and those
// of a denial or of a rate limit answer never, so that a line break in one becomes a second header at the client.
package headerval

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultMax is the most bytes of a value unless Options say otherwise: 8 KiB. Envoy answers a request whose headers outgrow
// its own limit (60 KiB in all by default) with an error of its own, which would hide ours.
const DefaultMax = 8 << 10

// Options widens what CheckValue accepts. The zero value is for values that name somebody or something: the strictest.
type Options struct {
	// Comma allows ','. Without it no reader that joins or splits repeated headers can see two values in one.
	Comma bool
	// Empty allows the empty value.
	Empty bool
	// Max is the most bytes; 0 is DefaultMax.
	Max int
}

// Errors of CheckValue and Join. They hold nothing of the value.
var (
	ErrEmpty     = errors.New("headerval: the value is empty")
	ErrLong      = errors.New("headerval: the value is too long")
	ErrOuter     = errors.New("headerval: the value begins or ends with a space")
	ErrByte      = errors.New("headerval: the value holds a byte outside visible ASCII and space")
	ErrComma     = errors.New("headerval: the value holds a comma")
	ErrSeparator = errors.New("headerval: an element of the list holds a part of the separator")
	ErrNoJoin    = errors.New("headerval: the separator is not one to three bytes of visible ASCII and space")
)

// CheckValue reports why a value cannot be written: it is not visible ASCII with single values' inner spaces only, has a space
// at an end, holds a comma, is empty or is too long, as far as the options do not allow it. A value that fails is never
// trimmed into one that passes: two users would become one.
func CheckValue(s string, opt Options) error {
	limit := opt.Max
	if limit == 0 {
		limit = DefaultMax
	}
	switch {
	case s == "" && opt.Empty:
		return nil
	case s == "":
		return ErrEmpty
	case len(s) > limit:
		return ErrLong
	case s[0] == ' ' || s[len(s)-1] == ' ':
		return ErrOuter
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c > '~':
			return ErrByte
		case c == ',' && !opt.Comma:
			return ErrComma
		}
	}
	return nil
}

// ValidValue reports whether CheckValue accepts a value under the strictest options.
func ValidValue(s string) bool { return CheckValue(s, Options{}) == nil }

// Percent writes every byte that RFC 3986 section 2.3 does not call unreserved as %XX, upper case, so that any text, people's
// names too, becomes a value that differs from every other text's. It allocates only if there is such a byte.
func Percent(s string) string {
	n := 0
	for i := range len(s) {
		if !unreserved(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	const digits = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		c := s[i]
		if unreserved(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return string(b)
}

func unreserved(c byte) bool {
	return alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func alphanumeric(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}

// Join joins a list to one value that splits back into exactly this list, trimmed or not by the reader. Each element has to
// pass CheckValue under the strictest options and to hold no byte of the separator; a separator ", " therefore allows no inner
// spaces. An empty list gives "", which CheckValue accepts only with Options.Empty: whether no roles means an empty header or
// none is the caller's to say. The result may hold commas if the separator does, and is not checked for its length.
func Join(list []string, sep string) (string, error) {
	if !ValidSeparator(sep) {
		return "", ErrNoJoin
	}
	for _, element := range list {
		if strings.ContainsAny(element, sep) {
			return "", ErrSeparator
		}
		if err := CheckValue(element, Options{}); err != nil {
			return "", err
		}
	}
	return strings.Join(list, sep), nil
}

// ValidSeparator reports whether Join takes a separator, for whoever reads one from a file: one to three bytes of visible
// ASCII and space, without letters and digits.
func ValidSeparator(sep string) bool {
	if len(sep) == 0 || len(sep) > 3 {
		return false
	}
	for i := range len(sep) {
		if c := sep[i]; c < ' ' || c > '~' || alphanumeric(c) {
			return false
		}
	}
	return true
}

// Clean drops from a text what must not leave in a header, a gRPC status message or a log line: CR, LF, NUL and every other
// control character (tab and the C1 block included), the Unicode line and paragraph separators, and bytes that are not UTF-8.
// It is for our own texts; a value that identifies somebody is checked by CheckValue, never cleaned. It allocates only if there
// is something to drop.
func Clean(s string) string {
	clean := true
	for _, r := range s {
		clean = clean && keep(r)
	}
	if clean {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i, r := range s {
		if keep(r) || r == utf8.RuneError && strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func keep(r rune) bool {
	return !unicode.IsControl(r) && r != '\u2028' && r != '\u2029' && r != utf8.RuneError
}
