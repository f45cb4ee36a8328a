package policy

import (
	"strings"
	"time"
)

// CORS says which web pages may call a service, and how (Fetch Standard, "CORS protocol"). It grants nobody anything beyond what the
// rules do: it is for browsers, which keep a page from reading what it may not.
type CORS struct {
	// Origins are the pages that may call. Never empty.
	Origins []WebOrigin
	// Methods that pages may use, as written; those of the service's rules where the policy names none.
	Methods []string
	// Headers that pages may send, lower case.
	Headers []string
	// Credentials says that cookies and the like may go along. Never beside the origin "*".
	Credentials bool
	// MaxAge is how long a browser may remember the answer, in whole seconds. Zero: not at all.
	MaxAge time.Duration
}

// Admits reports whether a page of this origin may call: the value of an Origin header, which browsers write in one way only. `null`,
// the origin of every sandboxed page and local file, is nobody's.
func (c *CORS) Admits(origin string) bool {
	for i := range c.Origins {
		if c.Origins[i].Admits(origin) {
			return true
		}
	}
	return false
}

// WebOrigin is one web origin (RFC 6454 section 6.1), a whole domain's, or every one.
type WebOrigin struct {
	// Exact is scheme, host and perhaps a port, byte for byte; "*" is every origin. "" where the origin is a domain's.
	Exact string
	// Prefix is the scheme and Suffix the domain with its leading dot, and perhaps a port, of `https://*.example.com`: between them
	// stand one or more labels of letters, digits and dashes.
	Prefix, Suffix string
}

// String is the origin as policies write it.
func (o WebOrigin) String() string {
	if o.Exact != "" {
		return o.Exact
	}
	return o.Prefix + "*" + o.Suffix
}

// Admits reports whether an Origin header's value is this origin, or one of the domain's.
func (o WebOrigin) Admits(origin string) bool {
	switch o.Exact {
	case "":
		inner, ok := strings.CutPrefix(origin, o.Prefix)
		if !ok {
			return false
		}
		labels, ok := strings.CutSuffix(inner, o.Suffix)
		return ok && areLabels(labels)
	case "*":
		return isOrigin(origin)
	}
	return origin == o.Exact
}

// areLabels reports whether a text is labels of a host joined by single dots. It keeps a suffix match from reaching into another part of
// an origin: https://evil.example/.example.com is none.
func areLabels(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// isOrigin reports whether a text has the form of an origin: a scheme, `://`, a host, perhaps a port, and nothing else.
func isOrigin(s string) bool {
	scheme, host, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || host == "" || len(s) > maxOrigin {
		return false
	}
	for i := range len(scheme) {
		if c := scheme[i]; (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	for i := range len(host) {
		if c := host[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("-._:[]", c) < 0 {
			return false
		}
	}
	return true
}

// maxOrigin bounds an origin in bytes: a host has 253 at most.
const maxOrigin = 300
