package openfga

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// OpenFGA's own bounds: of an object in characters, of a user in bytes.
const (
	maxObject = 256
	maxUser   = 512
)

const hex = "0123456789ABCDEF"

// escaped is the text as it stands behind the colon of a name: as people write it in their tuples, but for what means something to
// OpenFGA or is refused by it. The separators : and #, the wildcard *, white space, control characters, bytes that are no UTF-8, and %
// itself are written as %XX, byte for byte. So a UUID, a number, an email address, auth0|123, a/b and José are themselves, a:b is a%3Ab,
// and different texts are different names: none of them is a group ("team:x#member") or everybody ("user:*").
func escaped(text string) string {
	if !strings.ContainsFunc(text, special) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if !special(r) || r == utf8.RuneError && size == 3 { // the character U+FFFD, which is UTF-8
			b.WriteString(text[:size])
		} else {
			for _, c := range []byte(text[:size]) {
				b.Write([]byte{'%', hex[c>>4], hex[c&15]})
			}
		}
		text = text[size:]
	}
	return b.String()
}

// special tells what cannot stand for itself; RuneError is among it for the bytes that are no UTF-8.
func special(r rune) bool {
	switch r {
	case ':', '#', '*', '%', utf8.RuneError:
		return true
	}
	return unicode.IsSpace(r) || unicode.IsControl(r)
}

// object is the name of an object; ok is false where OpenFGA can have none of that name.
func (b *Backend) object(id string) (name string, ok bool) {
	name = b.typ + ":" + escaped(id)
	return name, id != "" && utf8.RuneCountInString(name) <= maxObject
}

// user is the name of a subject; ok is false where OpenFGA can have none of that name.
func (b *Backend) user(subject string) (name string, ok bool) {
	name = b.userType + ":" + escaped(subject)
	return name, subject != "" && len(name) <= maxUser
}
