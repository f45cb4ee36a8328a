package authz

import "strings"

// Field is one header field or one metadata entry: a lower-case name and a value.
type Field struct{ Name, Value string }

// Headers are the fields of a request in the order in which they came. They are not changed after they are built.
type Headers struct {
	// Fields have lower-case names; pseudo-headers such as :path stand among them.
	Fields []Field
	// Joined says that fields of one name were joined by a comma and bytes that are no UTF-8 replaced by `!` before we saw them,
	// as Envoy does unless encode_raw_headers is set.
	Joined bool
}

// One finds the field of a name: how often it occurs, and its value if that is once.
func (h *Headers) One(name string) (value string, count int) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			value = h.Fields[i].Value
			count++
		}
	}
	if count > 1 {
		value = ""
	}
	return value, count
}

// All returns the values of a name in their order.
func (h *Headers) All(name string) []string {
	var values []string
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			values = append(values, h.Fields[i].Value)
		}
	}
	return values
}

// contested reports whether some upstream may read another value of a header, or none. CGI and what descends from it (WSGI, PHP) make one
// variable of X-Account and X_Account, and some do so with every byte that is no letter or digit; and a hop that obeys Connection (RFC 9110
// section 7.6.1) takes away what it names.
func (h *Headers) contested(name string) bool {
	for i := range h.Fields {
		field := &h.Fields[i]
		if len(field.Name) == len(name) && field.Name != name && respells(field.Name, name) || field.Name == "connection" && lists(field.Value, name) {
			return true
		}
	}
	return false
}

// lists reports whether a name is one of those between commas.
func lists(names, name string) bool {
	for option := range strings.SplitSeq(names, ",") {
		if strings.EqualFold(strings.Trim(option, " \t"), name) {
			return true
		}
	}
	return false
}

func respells(other, name string) bool {
	for i := range len(name) {
		if other[i] != name[i] && (alphanumeric(other[i]) || alphanumeric(name[i])) {
			return false
		}
	}
	return true
}

// alphanumeric is what CGI keeps of a name, in lower case as the names of fields are.
func alphanumeric(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }

// Peer is the other end of the connection that a request came by.
type Peer struct {
	// Principal is Envoy's source.principal: a URI SAN, else a DNS SAN, else a subject, so not an identity by itself.
	Principal string
	// Certificate is the URL-encoded PEM of the leaf, "" unless Envoy includes it.
	Certificate string
	// Address is the connection's IP address without its port, "" if it is none.
	Address string
}

// Body is what Envoy delivered of a request's body.
type Body struct {
	// Data is nil where none was delivered. It must not be changed.
	Data []byte
	// Lossy says that Envoy wrote `!` for bytes that are no UTF-8 (pack_as_bytes is off), so that a `!` in Data may be any of them.
	Lossy bool
	// Size is how many bytes Envoy saw, which is more than Data holds where it delivered a part.
	Size int64
	// Bound is the longest body that the route takes, by the context extension max_request_bytes, which only Envoy's operator sets; 0 is
	// unknown. What is longer may be a part, whatever Envoy calls it.
	Bound int64
}

// Request is one HTTP request to judge, as Envoy tells it. Nothing in it has been believed yet.
type Request struct {
	// HTTP is false for a TCP check or an empty one, which are denied.
	HTTP bool
	// Method, Host and Target are the request line's: the target is the path and query as sent.
	Method, Host, Target string
	Headers              Headers
	Body                 Body
	Peer                 Peer
	// Destination is the identity of the sidecar that asks: Envoy's destination.principal.
	Destination string
	// Service is the context extension `service`, which only Envoy's operator sets; HasService tells "" from absent.
	Service    string
	HasService bool
}

// bearer finds the one bearer token of a request (RFC 6750 section 2.1). Nothing but the Authorization header is looked at. It
// returns NoToken where there are no credentials for us, and InvalidRequest where there are two, or a malformed one: whichever we
// took, an upstream could take the other.
func bearer(h *Headers) (token string, reason Reason) {
	value, count := h.One("authorization")
	switch {
	case count > 1:
		return "", InvalidRequest
	case value == "":
		return "", NoToken
	case secondBearer(value):
		return "", InvalidRequest
	}
	scheme, rest, _ := strings.Cut(value, " ")
	switch {
	case !strings.EqualFold(scheme, "Bearer"):
		if len(scheme) > 6 && strings.EqualFold(scheme[:6], "Bearer") && !isTokenByte(scheme[6]) {
			return "", InvalidRequest // "Bearer,..." or a tab where the space should be
		}
		return "", NoToken
	case !isB64Token(rest):
		return "", InvalidRequest
	}
	return rest, proceed
}

// secondBearer reports whether a value holds a bearer credential behind a comma, which is what two headers look like after a join.
func secondBearer(value string) bool {
	for {
		_, after, more := strings.Cut(value, ",")
		if !more {
			return false
		}
		value = after
		next := strings.TrimLeft(after, " \t")
		if len(next) > 6 && strings.EqualFold(next[:6], "Bearer") && (next[6] == ' ' || next[6] == '\t') {
			return true
		}
	}
}

// isTokenByte is RFC 9110's tchar, of which scheme names are made.
func isTokenByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
}

// isB64Token is RFC 6750's b64token: letters, digits and -._~+/ and then any number of =.
func isB64Token(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		if b := s[i]; (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && strings.IndexByte("-._~+/", b) < 0 {
			return false
		}
	}
	return s != ""
}
