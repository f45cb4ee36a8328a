package pattern

import "strings"

// Spelling says how forgiving the upstream of a service may be when it reads a path.
type Spelling uint8

const (
	// Forgiving, the zero value, assumes that the upstream may fold case, ignore a final slash or cut an extension, and
	// refuses what would then be another rule's path.
	Forgiving Spelling = iota
	// Exact trusts that the upstream compares paths byte for byte.
	Exact
)

// String returns "forgiving" or "exact".
func (s Spelling) String() string {
	if s == Exact {
		return "exact"
	}
	return "forgiving"
}

// cutExtension cuts a segment from its first '.' after the first byte: "a.tar.gz" becomes "a", ".well-known" stays.
func cutExtension(s string) (string, bool) {
	if s == "" {
		return s, false
	}
	if dot := strings.IndexByte(s[1:], '.'); dot >= 0 {
		return s[:dot+1], true
	}
	return s, false
}

func hasUpper(s string) bool {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

// lowerASCII folds only A to Z: upstreams that fold more, fold these too, and a path's other letters are escaped.
func lowerASCII(s string) string {
	if !hasUpper(s) {
		return s
	}
	return string(appendLower(make([]byte, 0, len(s)), s))
}

func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}

// form is one spelling under which a forgiving upstream may know a pattern.
type form struct {
	segments []segment
	cut      bool // it exists only because extensions are cut
}

// foldedForms returns the spellings of a pattern in the folded tree: lower case without a final "/{$}"; without a last rest,
// which matches nothing there; and each of these that ends in a literal with an extension once more without it, unless the
// rule says that its extension is exact. The root "/" is the one path that keeps its final slash.
func foldedForms(segments []segment, extensionExact bool) []form {
	base := make([]segment, len(segments))
	for i, s := range segments {
		s.text = lowerASCII(s.text)
		base[i] = s
	}
	n := len(base)
	if n > 1 && base[n-1].kind == literal && base[n-1].text == "" {
		base = base[:n-1]
	}
	forms := []form{{segments: base}}
	if n > 1 && base[len(base)-1].kind == rest {
		base = base[:n-1]
		forms = append(forms, form{segments: base})
	}
	last := base[len(base)-1]
	if text, ok := cutExtension(last.text); ok && last.kind == literal && !extensionExact {
		last.text = text
		shorter := append(base[:len(base)-1:len(base)-1], last)
		forms = append(forms, form{segments: shorter, cut: true})
	}
	return forms
}
