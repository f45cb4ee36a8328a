package headerval

import "strings"

// maxName is the most bytes of a header name; no real one comes near.
const maxName = 256

// ValidName reports whether s can be the name of a header: a token (RFC 9110 section 5.1), at most 256 bytes, in any case.
// The empty name, which nothing in Envoy stops, and pseudo-headers are none.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return true
}

// Fold maps the spellings of a header name that some upstream takes for one another to one: ASCII lower case, '-' for '_'
// (CGI and WSGI read X_User_Id as X-User-Id). Two names that fold alike must not both reach an upstream. It allocates only if
// it changes something.
func Fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c == '_' || 'A' <= c && c <= 'Z' {
			return foldFrom(name, i)
		}
	}
	return name
}

func foldFrom(name string, from int) string {
	b := []byte(name)
	for i := from; i < len(b); i++ {
		switch c := b[i]; {
		case c == '_':
			b[i] = '-'
		case 'A' <= c && c <= 'Z':
			b[i] = c | 0x20
		}
	}
	return string(b)
}

const (
	hopByHop = "it belongs to one connection, not to the request (RFC 9110 section 7.6.1)"
	framing  = "it says where the message ends, or whether its body comes"
	routing  = "it chooses another method or path at some upstreams"
)

// forbidden names, folded, and why.
var forbidden = map[string]string{
	"connection": hopByHop, "keep-alive": hopByHop, "proxy-authenticate": hopByHop, "proxy-authorization": hopByHop,
	"proxy-connection": hopByHop, "te": hopByHop, "trailer": hopByHop, "trailers": hopByHop, "upgrade": hopByHop,
	"transfer-encoding": framing, "content-length": framing, "expect": framing,
	"host":           "it chooses the service",
	"x-original-url": routing, "x-original-uri": routing, "x-original-path": routing, "x-original-method": routing,
	"x-rewrite-url": routing, "x-http-method-override": routing, "x-http-method": routing, "x-method-override": routing,
}

var forbiddenPrefixes = []struct{ prefix, why string }{
	{"x-envoy-", "Envoy gives it meaning"},
	{"x-forwarded-", "it says what the proxies in front have seen"},
	{"x-sallyport-", "it is ours"},
}

// Forbidden reports whether nobody may have a gate set a header of this name, and why, as a clause to follow the name. Any
// spelling that folds to a forbidden name is forbidden. It is asked when a file is loaded, not per request.
func Forbidden(name string) (why string, bad bool) {
	switch {
	case name == "":
		return "it is empty", true
	case name[0] == ':':
		return "it is a pseudo-header: it is the request itself", true
	case !ValidName(name):
		return "it is no header name", true
	}
	folded := Fold(name)
	if why, ok := forbidden[folded]; ok {
		return why, true
	}
	for _, p := range forbiddenPrefixes {
		if strings.HasPrefix(folded, p.prefix) {
			return p.why, true
		}
	}
	return "", false
}
