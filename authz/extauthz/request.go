package extauthz

import (
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport-dev/sallyport/authz"
)

// serviceExtension is the context extension that names the service (ExtAuthzPerRoute.check_settings.context_extensions).
const serviceExtension = "service"

// boundExtension says how long a body the route takes: less than Envoy's own max_request_bytes, of which the gate hears nothing.
const boundExtension = "max_request_bytes"

// request reads a CheckRequest. Every part may be missing: a TCP check has no request, and an empty message has nothing.
func request(in *authv3.CheckRequest) *authz.Request {
	attributes := in.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	r := &authz.Request{
		HTTP:   http != nil,
		Method: http.GetMethod(),
		Host:   http.GetHost(),
		Target: http.GetPath(),
		Peer: authz.Peer{
			Principal:   attributes.GetSource().GetPrincipal(),
			Certificate: attributes.GetSource().GetCertificate(),
			Address:     address(attributes.GetSource().GetAddress()),
		},
		Destination: attributes.GetDestination().GetPrincipal(),
		Headers:     headers(http),
		Body:        requestBody(http),
	}
	r.Service, r.HasService = attributes.GetContextExtensions()[serviceExtension]
	// What is no number is no bound, and a body without a length is then refused.
	if bound, err := strconv.ParseInt(attributes.GetContextExtensions()[boundExtension], 10, 64); err == nil {
		r.Body.Bound = bound
	}
	return r
}

// requestBody reads what Envoy buffered: raw_body under pack_as_bytes, else body, a text in which it has replaced what is no UTF-8. The
// filter's own setting decides which, whatever a route says.
func requestBody(http *authv3.AttributeContext_HttpRequest) authz.Body {
	if text := http.GetBody(); text != "" && len(http.GetRawBody()) == 0 {
		return authz.Body{Data: []byte(text), Lossy: true, Size: http.GetSize()}
	}
	return authz.Body{Data: http.GetRawBody(), Size: http.GetSize()}
}

// address is the IP address of a peer. A Unix socket or an Envoy-internal address is none.
func address(a *corev3.Address) string {
	text := a.GetSocketAddress().GetAddress()
	if _, err := netip.ParseAddr(text); err != nil {
		return ""
	}
	return text
}

// headers reads both encodings: header_map (encode_raw_headers), whose duplicates stand apart and whose bytes are exact, and the
// map, in which Envoy has joined duplicates and replaced what is no UTF-8.
func headers(http *authv3.AttributeContext_HttpRequest) authz.Headers {
	raw, joined := http.GetHeaderMap().GetHeaders(), http.GetHeaders()
	h := authz.Headers{Joined: len(joined) > 0}
	if n := len(raw) + len(joined); n > 0 {
		h.Fields = make([]authz.Field, 0, n)
	}
	text := exact(raw)
	for _, field := range raw {
		n := len(field.GetRawValue())
		value := text[:n]
		if text = text[n:]; n == 0 {
			value = field.GetValue()
		}
		h.Fields = append(h.Fields, authz.Field{Name: strings.ToLower(field.GetKey()), Value: value})
	}
	for name, value := range joined {
		h.Fields = append(h.Fields, authz.Field{Name: strings.ToLower(name), Value: value})
	}
	return h
}

// exact copies the bytes of all values in one piece, one after the other: a request has dozens, and each would be an allocation.
func exact(raw []*corev3.HeaderValue) string {
	size := 0
	for _, field := range raw {
		size += len(field.GetRawValue())
	}
	var text strings.Builder
	text.Grow(size)
	for _, field := range raw {
		text.Write(field.GetRawValue())
	}
	return text.String()
}
