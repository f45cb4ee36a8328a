package policy

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// withService is a policy of one service with some lines of its own, six spaces in.
func withService(lines string) string {
	return `version: 1
issuers: {shop: {issuer: "https://auth.example.com", audiences: [a], machine: never}}
services:
  - name: orders
    hosts: [orders.example]
` + lines + `
    rules:
      - {name: list, match: "GET,HEAD /orders"}
      - {name: cancel, match: "POST /orders/{id}:cancel", owner: none}
      - {name: retired, match: "DELETE /v0/{rest...}", deny: 410}
`
}

func parseOne(t *testing.T, text string) *Service {
	t.Helper()
	p, errs := Parse([]File{{Name: "p.yaml", Data: []byte(text)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	return p.Services[0]
}

// What `cors` says, and what it says where it is silent.
func TestCORS(t *testing.T) {
	if s := parseOne(t, withService("")); s.CORS != nil {
		t.Errorf("without the key: %+v", s.CORS)
	}
	short := parseOne(t, withService(`    cors: {origins: ["https://app.example.com"]}`)).CORS
	want := &CORS{
		Origins: []WebOrigin{{Exact: "https://app.example.com"}}, Methods: []string{"GET", "HEAD", "POST"},
		Headers: []string{"authorization", "content-type"}, MaxAge: 10 * time.Minute,
	}
	if diff := cmp.Diff(want, short); diff != "" {
		t.Error(diff)
	}
	long := parseOne(t, withService(`    cors: {origins: ["https://*.example.com:8443", "http://localhost:3000"], methods: [POST], headers: [Idempotency-Key], credentials: true, max_age: 0s}`)).CORS
	want = &CORS{
		Origins: []WebOrigin{{Prefix: "https://", Suffix: ".example.com:8443"}, {Exact: "http://localhost:3000"}},
		Methods: []string{"POST"}, Headers: []string{"idempotency-key"}, Credentials: true,
	}
	if diff := cmp.Diff(want, long); diff != "" {
		t.Error(diff)
	}
	if got := long.Origins[0].String() + " " + long.Origins[1].String(); got != "https://*.example.com:8443 http://localhost:3000" {
		t.Error(got)
	}
}

// Which pages are admitted. What only looks like one of the domain's is not.
func TestOriginAdmits(t *testing.T) {
	for _, test := range []struct {
		policy string
		yes    []string
		no     []string
	}{
		{
			"https://app.example.com",
			[]string{"https://app.example.com"},
			[]string{
				"", "null", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com/", "https://APP.example.com", "https://app.example.com.evil.test",
				"https://evilapp.example.com", "https://app.example.com,https://app.example.com", "https://app.example.com https://evil.test", " https://app.example.com",
			},
		}, {
			"https://*.example.com",
			[]string{"https://a.example.com", "https://a.b.example.com", "https://x-1.example.com"},
			[]string{
				"https://example.com", "https://.example.com", "https://evilexample.com", "https://evil.test/.example.com", "https://evil.test?.example.com", "https://evil.test#.example.com",
				"https://a@evil.example.com", "https://evil.test:1.example.com", "https://a..example.com", "http://a.example.com", "https://a.example.com:8443", "https://a.example.com.evil.test",
				"https://a.exampleXcom", "https://a.example.com\n", "https://a.example.com,https://b.example.com", "https://A.example.com", "https://é.example.com", "null", "",
			},
		}, {
			"*",
			[]string{"https://a.test", "http://localhost:3000", "https://[2001:db8::1]:8443", "chrome-extension://abcdef"},
			[]string{"", "null", "https://", "://a", "https://a/b", "https://a,https://b", "HTTPS://a", "https://a b"},
		},
	} {
		origin, why, _ := parseOrigin(test.policy)
		if why != "" {
			t.Fatalf("%s: %s", test.policy, why)
		}
		for _, value := range test.yes {
			if !origin.Admits(value) {
				t.Errorf("%s does not admit %q", test.policy, value)
			}
		}
		for _, value := range test.no {
			if origin.Admits(value) {
				t.Errorf("%s admits %q", test.policy, value)
			}
		}
	}
}

// A domain's origins are what a plain expression says, whatever the value.
func TestOriginAgreesWithItsExpression(t *testing.T) {
	origin, _, _ := parseOrigin("https://*.a.b")
	expression := regexp.MustCompile(`^https://([a-z0-9-]+\.)+a\.b$`)
	rapid.Check(t, func(t *rapid.T) {
		value := "https://" + rapid.StringMatching(`[a.b/:@-]{0,6}`).Draw(t, "inner") + rapid.SampledFrom([]string{"", ".a.b", "a.b", ".a.b:1"}).Draw(t, "end")
		if origin.Admits(value) != (expression.MatchString(value) && !strings.HasSuffix(value, "\n")) {
			t.Errorf("%q: %v", value, origin.Admits(value))
		}
	})
}

// What may not be written, and what to write instead.
func TestCORSRefused(t *testing.T) {
	for lines, want := range map[string]string{
		`    cors: {}`:            "missing key",
		`    cors: {origins: []}`: "`origins` names nobody",
		`    cors: {origins: ["*"], credentials: true}`:                                  "any web page could act as whoever looks at it",
		`    cors: {origins: ["*", "https://a.test"]}`:                                   "stands alone",
		`    cors: {origins: ["null"]}`:                                                  "every sandboxed page",
		`    cors: {origins: ["app.example.com"]}`:                                       "it begins with http:// or https://",
		`    cors: {origins: ["https://app.example.com/"]}`:                              "write https://app.example.com\n",
		`    cors: {origins: ["https://a@b.test"]}`:                                      "nothing else",
		`    cors: {origins: ["https://App.example.com"]}`:                               "write https://app.example.com",
		`    cors: {origins: ["https://app.example.com:443"]}`:                           "leave a scheme's own port out",
		`    cors: {origins: ["http://app.example.com:80"]}`:                             "leave a scheme's own port out",
		`    cors: {origins: ["https://app.example.com:"]}`:                              "the port is missing",
		`    cors: {origins: ["https://app.example.com:070"]}`:                           "a port is a number",
		`    cors: {origins: ["https://"]}`:                                              "the host is none",
		`    cors: {origins: ["https://a_b c"]}`:                                         "the host is none",
		`    cors: {origins: ["https://*.com"]}`:                                         "one domain of yours",
		`    cors: {origins: ["https://*"]}`:                                             "the host is none",
		`    cors: {origins: ["https://*example.com"]}`:                                  "the host is none",
		`    cors: {origins: ["https://a.*.example.com"]}`:                               "the host is none",
		`    cors: {origins: ["https://*.*.example.com"]}`:                               "one domain of yours",
		`    cors: {origins: ["https://*.10.0.0.1"]}`:                                    "one domain of yours",
		`    cors: {origins: ["https://a.test", "https://a.test"]}`:                      "stands there twice",
		`    cors: {origins: ["https://a.test"], methods: []}`:                           "`methods` names none",
		`    cors: {origins: ["https://a.test"], methods: ["*"]}`:                        "methods are named",
		`    cors: {origins: ["https://a.test"], methods: [get]}`:                        "is no method",
		`    cors: {origins: ["https://a.test"], methods: [GET, GET]}`:                   "stands there twice",
		`    cors: {origins: ["https://a.test"], headers: ["*"]}`:                        "headers are named",
		`    cors: {origins: ["https://a.test"], headers: ["a b"]}`:                      "is no header's name",
		`    cors: {origins: ["https://a.test"], headers: [a, A]}`:                       "stands there twice",
		`    cors: {origins: ["https://a.test"], max_age: 25h}`:                          "24h",
		`    cors: {origins: ["https://a.test"], max_age: 1500ms}`:                       "whole seconds",
		`    cors: {origins: ["https://a.test"], expose: [x]}`:                           "unknown key",
		`    security_headers: all`:                                                      "security_headers cannot be \"all\"",
		`    security_headers: {x-frame-options: DENY}`:                                  "unknown key",
		`    security_headers: {x-content-type-options: sniff}`:                          "write nosniff, or none",
		`    security_headers: {strict-transport-security: includeSubDomains}`:           "write max-age=31536000",
		`    security_headers: {referrer-policy: never}`:                                 "write no-referrer",
		`    security_headers: {content-security-policy: "frame-ancestors\n'none'"}`:     "cannot stand in a header",
		`    security_headers: {cache-control: ""}`:                                      "cannot stand in a header",
		`    cors: {origins: ["https://*.` + strings.Repeat("a", 60) + `.example.com"]}`: "one domain of yours",
	} {
		p, errs := Parse([]File{{Name: "p.yaml", Data: []byte(withService(lines))}})
		if p != nil || !strings.Contains(errs.Pretty()+"\n", want) {
			t.Errorf("%s: want %q:\n%s", lines, want, errs.Pretty())
			continue
		}
		if !strings.Contains(errs.Pretty(), "p.yaml:6:") {
			t.Errorf("%s: the error stands elsewhere:\n%s", lines, errs.Pretty())
		}
	}
}

// Doubts: an origin that anybody on the way can play, and a method that no rule takes.
func TestCORSWarnings(t *testing.T) {
	p, errs := Parse([]File{{Name: "p.yaml", Data: []byte(withService(`    cors: {origins: ["http://app.example.com", "http://localhost:3000", "http://127.0.0.1"], methods: [GET, DELETE]}`))}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	text := p.Warnings.Pretty()
	if len(p.Warnings) != 2 || !strings.Contains(text, "whoever sits on the network") || !strings.Contains(text, "takes DELETE") {
		t.Error(text)
	}
}

// What goes into answers, by default, none, and otherwise; and no-store only where a token was verified.
func TestSecurityHeaders(t *testing.T) {
	hsts := ResponseHeader{"strict-transport-security", "max-age=31536000", ResponseOverwrite}
	nosniff := ResponseHeader{"x-content-type-options", "nosniff", ResponseOverwrite}
	framing := ResponseHeader{"content-security-policy", "frame-ancestors 'none'", ResponseAppend}
	referrer := ResponseHeader{"referrer-policy", "no-referrer", ResponseIfAbsent}
	store := ResponseHeader{"cache-control", "no-store", ResponseOverwrite}
	for lines, want := range map[string][]ResponseHeader{
		"":                              nil,
		"    security_headers: none":    nil,
		"    security_headers: default": {hsts, nosniff, framing, referrer, store},
		"    security_headers: {}":      {hsts, nosniff, framing, referrer, store},
		`    security_headers: {strict-transport-security: none, content-security-policy: "default-src 'none', frame-ancestors 'self'", referrer-policy: origin}`: {
			nosniff, {framing.Name, "default-src 'none', frame-ancestors 'self'", ResponseAppend}, {referrer.Name, "origin", ResponseIfAbsent}, store,
		},
		"    security_headers: {strict-transport-security: 'Max-Age=60; preload', cache-control: none}": {
			{hsts.Name, "Max-Age=60; preload", ResponseOverwrite}, nosniff, framing, referrer,
		},
	} {
		s := parseOne(t, withService(lines))
		if diff := cmp.Diff(want, s.TokenResponseHeaders); diff != "" {
			t.Errorf("%s: to a token: %s", lines, diff)
		}
		var plain []ResponseHeader
		for _, header := range want {
			if header != store {
				plain = append(plain, header)
			}
		}
		if diff := cmp.Diff(plain, s.ResponseHeaders); diff != "" {
			t.Errorf("%s: to others: %s", lines, diff)
		}
	}
}
