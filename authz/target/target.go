// Package target reads what a request is aimed at: its method, its host, its path and, lazily, its query. It refuses what two
// readers could understand differently and repairs nothing, because a path that is mended here and served unmended there is
// a bypass: every class of path confusion in its tests was somebody's CVE. It is a room of its own so that it can be fuzzed
// alone, as bytes in and values out; it never uses net/url, which reads "//admin" as a host.
package target

import "strings"

// MaxPath is the longest path that is accepted, in bytes as received, the query not counted: 8 KiB.
const MaxPath = 8 << 10

// Target is one request's aim. Its strings are parts of what the client sent, so they are bounded by the caller's own limits
// on header size. A Target is immutable once made and safe to share. The zero value matches no rule.
type Target struct {
	// Method is the method as received (RFC 9110 section 9: methods are case-sensitive), a non-empty token, never CONNECT.
	Method string
	// Host is the host in ASCII lower case, without its port and without one final dot. An IPv6 address keeps its brackets.
	Host string
	// Path is the path as received, cut at the first '?'. It begins with '/' and was accepted by every rule of this package.
	Path string
	// RawQuery is what follows the first '?', as received; empty when nothing does.
	RawQuery string
	// HasQuery reports a '?' in the request target, even one that nothing follows.
	HasQuery bool
	// Segments is Path split at '/', its first slash dropped: "/" gives one empty segment, "/a/" gives "a" and "". Only the
	// last can be empty.
	Segments []Segment
}

// Segment is one part of a path between two slashes.
type Segment struct {
	// Raw is the segment as received.
	Raw string
	// Text is Raw with its escapes decoded exactly once: valid UTF-8, without control bytes, '/', '\', ';', '#', '?' or '%'.
	Text string
	// SoftEscaped reports that Raw holds an escape of a byte which RFC 3986 allows to stand for itself in a segment, such as
	// %40 for '@' or %3A for ':'. Some routers compare before decoding and some after, so a literal may not be reached by one.
	SoftEscaped bool
}

// Error says why a request target was refused.
type Error struct {
	// Part is "method", "host", "path" or "query".
	Part string
	// Why is a short constant text that never holds the client's bytes, so that it is safe in a log and in an answer.
	Why string
}

// Error returns the part and the reason, with the package's prefix.
func (e *Error) Error() string { return "target: " + e.Part + " " + e.Why }

func refuse(part, why string) *Error { return &Error{Part: part, Why: why} }

// Parse reads one request. host is the Host or :authority header, rawTarget the request target (:path) as it was received,
// query included. The error is always an *Error. It allocates the Segments, and more only for escapes and for upper case in
// the host.
func Parse(method, host, rawTarget string) (Target, error) {
	if why := checkMethod(method); why != "" {
		return Target{}, refuse("method", why)
	}
	folded, why := foldHost(host)
	if why != "" {
		return Target{}, refuse("host", why)
	}
	path, query, has := strings.Cut(rawTarget, "?")
	segments, why := splitPath(path)
	if why != "" {
		return Target{}, refuse("path", why)
	}
	if why := checkQuery(query); why != "" {
		return Target{}, refuse("query", why)
	}
	return Target{Method: method, Host: folded, Path: path, RawQuery: query, HasQuery: has, Segments: segments}, nil
}

// checkMethod accepts an RFC 9110 token. Which methods exist is for the rules to say. CONNECT has no path to judge, and what
// follows it on the connection is not a request.
func checkMethod(method string) string {
	if method == "" {
		return "is empty"
	}
	for i := range len(method) {
		if !is(method[i], token) {
			return "is not a token"
		}
	}
	if method == "CONNECT" {
		return "is CONNECT"
	}
	return ""
}

// checkQuery refuses what cannot travel in a request target at all. A '#' is here because one reader keeps it and the next
// cuts at it (CVE-2021-39156, CVE-2024-32779). What a rule reads from a query is judged by Query.
func checkQuery(query string) string {
	for i := range len(query) {
		switch c := query[i]; {
		case c == '#':
			return "holds a fragment"
		case c <= ' ' || c == 0x7f:
			return "holds a space or a control byte"
		}
	}
	return ""
}
