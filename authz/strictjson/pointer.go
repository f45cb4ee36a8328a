package strictjson

import "strings"

// Pointer writes a JSON Pointer of names and indexes (RFC 6901 section 3); "" is the whole document.
func Pointer(path []string) string {
	var text strings.Builder
	for _, name := range path {
		text.WriteByte('/')
		text.WriteString(escaper.Replace(name))
	}
	return text.String()
}

var escaper = strings.NewReplacer("~", "~0", "/", "~1")
