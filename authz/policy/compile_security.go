package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// securityHeader is one of the headers that `security_headers` knows: what it says by default, and what it may say.
type securityHeader struct {
	name  string
	value string
	mode  ResponseMode
	// ok and hint hold another value to what the header can say; nil takes anything.
	ok   func(string) bool
	hint string
}

// knownSecurityHeaders are sent in this order. Cache-Control is the last: it is for answers to a token alone.
var knownSecurityHeaders = []securityHeader{
	// RFC 6797. It is about the whole host, and an app that says max-age=0 would switch it off for the others, so it is overwritten.
	// Without includeSubDomains: whoever answers for orders.example.com need not answer for what is below it.
	{"strict-transport-security", "max-age=31536000", ResponseOverwrite, hasMaxAge, "write max-age=31536000; includeSubDomains"},
	// It can only say this.
	{"x-content-type-options", "nosniff", ResponseOverwrite, func(v string) bool { return v == "nosniff" }, "write nosniff, or none"},
	// A browser holds itself to every policy that it is sent (CSP level 3, section 3.1), so that an app's own can only narrow this one.
	{"content-security-policy", "frame-ancestors 'none'", ResponseAppend, nil, ""},
	// What leaks in a URL is the app's to know; of several the last would win.
	{"referrer-policy", "no-referrer", ResponseIfAbsent, isReferrerPolicy, "write no-referrer, same-origin or strict-origin-when-cross-origin"},
	// RFC 9111 section 5.2.2.5. What one person may see must not be kept for the next, whatever the app believes of its caches.
	{"cache-control", "no-store", ResponseOverwrite, nil, ""},
}

// referrerPolicies are the words of Referrer Policy section 3.
var referrerPolicies = []string{
	"no-referrer", "no-referrer-when-downgrade", "same-origin", "origin", "strict-origin", "origin-when-cross-origin", "strict-origin-when-cross-origin", "unsafe-url",
}

func isReferrerPolicy(v string) bool { return slices.Contains(referrerPolicies, v) }

// hasMaxAge reports whether a Strict-Transport-Security has the one directive without which browsers ignore it.
func hasMaxAge(v string) bool {
	for directive := range strings.SplitSeq(v, ";") {
		name, age, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if strings.EqualFold(name, "max-age") && age != "" && strings.Trim(age, "0123456789") == "" {
			return true
		}
	}
	return false
}

// securityHeaders reads `default`, `none`, or what differs from the default: a value by a header's name, or `none` to leave it out.
func securityHeaders(src *source, n *strictyaml.Node, s *Service) {
	if n == nil {
		return
	}
	if n.Kind() != strictyaml.Map {
		switch text, ok := src.Text(n); {
		case text == "default":
			s.answerWith(nil)
		case ok && text != "none":
			src.Errorf(n, "write default, none, or {referrer-policy: same-origin}", "security_headers cannot be %q", text)
		}
		return
	}
	names := make([]string, len(knownSecurityHeaders))
	for i := range knownSecurityHeaders {
		names[i] = knownSecurityHeaders[i].name
	}
	m, own := src.Map(n, names...), map[string]string{}
	for i := range knownSecurityHeaders {
		header := &knownSecurityHeaders[i]
		if item := m.Get(header.name); item != nil {
			own[header.name] = header.read(src, item)
		}
	}
	s.answerWith(own)
}

func (h *securityHeader) read(src *source, n *strictyaml.Node) string {
	text, ok := src.Text(n)
	switch {
	case !ok || text == "none":
	case headerval.CheckValue(text, headerval.Options{Comma: true}) != nil:
		src.Errorf(n, "", "%q cannot stand in a header: visible ASCII, and no space at its ends", text)
	case h.ok != nil && !h.ok(text):
		src.Errorf(n, h.hint, "%s cannot be %q", h.name, text)
	}
	return text
}

// answerWith makes the lists once, so that an allow only points at one of them.
func (s *Service) answerWith(own map[string]string) {
	for i := range knownSecurityHeaders {
		known := &knownSecurityHeaders[i]
		value, changed := own[known.name]
		if !changed {
			value = known.value
		}
		if value == "none" {
			continue
		}
		header := ResponseHeader{Name: known.name, Value: value, Mode: known.mode}
		s.TokenResponseHeaders = append(s.TokenResponseHeaders, header)
		if known.name != "cache-control" {
			s.ResponseHeaders = append(s.ResponseHeaders, header)
		}
	}
}
