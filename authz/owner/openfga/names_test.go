package openfga

import (
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Usual names are themselves, since people have written them so in their tuples; the rest is told apart byte by byte.
func TestEscaped(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"0b6a6e1e-8f0a-4c3e-9a44-1f1f2d0c8b6e": "0b6a6e1e-8f0a-4c3e-9a44-1f1f2d0c8b6e",
		"42":                                   "42",
		"alice@example.com":                    "alice@example.com",
		"auth0|5f7c":                           "auth0|5f7c",
		"a/b.c_d~e+f=g,h(i)'\"\\`<>{}[]^&;!?$": "a/b.c_d~e+f=g,h(i)'\"\\`<>{}[]^&;!?$",
		"José":                                 "José",
		"用户😀":                                  "用户😀",
		"\uFFFD":                               "\uFFFD",

		"a:b":       "a%3Ab",
		"a#member":  "a%23member",
		"*":         "%2A",
		"a%3Ab":     "a%253Ab",
		"a b":       "a%20b",
		"\t\r\n":    "%09%0D%0A",
		"\x00\x7f":  "%00%7F",
		"\u0085":    "%C2%85",
		"\u00a0":    "%C2%A0",
		"\u2028":    "%E2%80%A8",
		"\u3000x":   "%E3%80%80x",
		"\xff":      "%FF",
		"a\xc3":     "a%C3",
		"\xed\xa0x": "%ED%A0x",
	} {
		if got := escaped(text); got != want {
			t.Errorf("escaped(%q) = %q, want %q", text, got, want)
		}
	}
}

// Different texts are different names, none of which OpenFGA takes for anything but a name.
func FuzzEscaped(f *testing.F) {
	for _, text := range []string{"", "alice", "a:b", "a%3Ab", "*", "a#b", "\xff", "José", "\uFFFD", "\u00a0", " ", "%", "%%25"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name := escaped(text)
		if back, err := url.PathUnescape(name); err != nil || back != text {
			t.Errorf("%q is called %q, which is %q, %v", text, name, back, err)
		}
		if !utf8.ValidString(name) || strings.ContainsAny(name, ":#*") || strings.ContainsFunc(name, unicode.IsSpace) || strings.ContainsFunc(name, unicode.IsControl) {
			t.Errorf("%q is called %q", text, name)
		}
	})
}
