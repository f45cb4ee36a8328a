// Package bearer tells a text that holds a bearer token from one that does not, for whatever writes down what a client chose: the audit log
// and the recording of requests ask the same question, and are to have the same answer. It errs on the side of silence. Pure: text in,
// verdict out.
package bearer

import (
	"strconv"
	"strings"
)

// In reports whether a text holds what looks like a bearer token: the scheme (RFC 6750 section 2.1) with anything behind it, or a JSON Web
// Token, as it stands or with escapes of a query or a form. A client may escape what is escaped already, and whoever reads the text may take
// off as many layers; a text of more than anybody writes is taken for one that hides something. A text without an escape costs no allocation.
func In(text string) bool {
	for range maxEscapes {
		if holdsJWT(text) || holdsScheme(text) {
			return true
		}
		plain := unescaped(text)
		if plain == text {
			return false
		}
		text = plain
	}
	return true
}

// maxEscapes is how many layers of percent escapes are looked behind.
const maxEscapes = 5

// scheme is the authentication scheme, in whatever case.
const scheme = "bearer"

// holdsScheme reports whether the scheme stands in a text with a space behind it, which a form writes as a plus sign.
func holdsScheme(text string) bool { return schemeBefore(text, ' ') || schemeBefore(text, '+') }

func schemeBefore(text string, space byte) bool {
	for {
		at := strings.IndexByte(text, space)
		if at < 0 {
			return false
		}
		if at >= len(scheme) && strings.EqualFold(text[at-len(scheme):at], scheme) {
			return true
		}
		text = text[at+1:]
	}
}

// unescaped decodes the percent escapes of a text, and leaves what is none.
func unescaped(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	plain := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if b, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				plain = append(plain, byte(b))
				i += 2
				continue
			}
		}
		plain = append(plain, text[i])
	}
	return string(plain)
}

// holdsJWT reports whether a text holds letters of base64url that begin as an encoded JSON object does, and a dot behind at least as many
// as the shortest header needs (RFC 7515 section 7.1).
func holdsJWT(rest string) bool {
	for {
		at := strings.IndexByte(rest, 'e')
		if at < 0 || len(rest)-at <= shortestHeader {
			return false
		}
		rest = rest[at:]
		if begins(rest) { // which is long enough
			end := 0
			for end < len(rest) && letter(rest[end]) {
				end++
			}
			if end >= shortestHeader && end < len(rest) && rest[end] == '.' {
				return true
			}
			rest = rest[end:] // what begins within these letters ends where they do: a client may write eyJ all over
			continue
		}
		rest = rest[1:]
	}
}

// begins reports whether a text begins as an encoded JSON object does: {" without white space, or { and a space, a line feed, a tab or a
// carriage return.
func begins(text string) bool {
	switch text[1] {
	case 'y':
		return text[2] == 'J' || text[2] == 'A'
	case 'w':
		return text[2] == 'o' || text[2] == 'k' || text[2] == '0'
	}
	return false
}

// shortestHeader is the length of {"alg":"x"} in base64url, and less than that of any header of a signed token.
const shortestHeader = 15

// letter reports whether a byte is one of base64url (RFC 4648 section 5).
func letter(c byte) bool {
	return c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
