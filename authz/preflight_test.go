package authz_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// pages is a policy of a service that pages may call, beside one that they may not.
const pages = `version: 1
trust_domain: cluster.local
peers: envoy
gateways: [istio-system/ingress]
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api], machine: never, claims: {plan: string}}
services:
  - name: orders
    hosts: [orders.example]
    edge: true
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    cors:
      origins: ["https://app.example.com", "https://*.preview.example.com"]
      methods: [GET, PUT, DELETE]
      headers: [authorization, Idempotency-Key]
      credentials: true
    rules:
      - {name: read, match: "GET /orders/{id}", owner: none, metadata: {plan: {value: token.plan, default: free}, asker: token.who, cap: token.plan}}
      - {name: write, match: "PUT,POST /orders/{id}", owner: none}
      - {name: closed, match: "DELETE /orders/{id}", deny: 403}
      - {name: files, match: "GET /files/{rest...}", public: true, except: [/files/private/]}
      - {name: mine, match: "OPTIONS /mine"}
      - {name: my, match: "GET /mine"}
      - {name: stats, match: "GET /stats", callers: [web/frontend]}
      - {name: batch, match: "PUT /batch", callers: [batch/*], token: none}
      - {name: near, match: "GET /near", from: [10.0.0.0/8]}
      - {name: live, match: "GET /live", upgrades: [websocket]}
      - name: either
        match: GET /either
        either: [{issuer: shop, callers: [web/frontend]}, {token: none, callers: [batch/*]}]
  - name: quiet
    hosts: [quiet.example]
    edge: true
    rules: [{name: read, match: "GET /orders/{id}", owner: none}]
`

// options is what a browser sends before a page of the app may use a method.
func options(target, method string, more ...option) *authz.Request {
	return ask("OPTIONS", target, append([]option{header("origin", "https://app.example.com"), header("access-control-request-method", method)}, more...)...)
}

// bare is an OPTIONS with nothing of its own.
func bare(target string, more ...option) *authz.Request { return ask("OPTIONS", target, more...) }

// origin and wants are the headers of a preflight.
func origin(value string) option  { return header("origin", value) }
func wants(value string) option   { return header("access-control-request-method", value) }
func asksFor(value string) option { return header("access-control-request-headers", value) }

// A browser's question passes where the page, the method and the headers are listed and a rule would judge what follows. Nothing else
// does: an OPTIONS is no way around the rules.
func TestPreflight(t *testing.T) {
	body := func(r *authz.Request) { r.Body = authz.Body{Data: []byte("x"), Size: 1} }
	judge(t, gate(t, pages), detail, []line{
		{"a listed page", options("/orders/1", "GET"), "200 preflight read"},
		{"a page of a listed domain", bare("/orders/1", origin("https://pr-7.preview.example.com"), wants("PUT")), "200 preflight write"},
		{"listed headers, in any case", options("/orders/1", "PUT", asksFor("authorization, idempotency-KEY")), "200 preflight write"},
		{"listed headers, without spaces", options("/orders/1", "PUT", asksFor("authorization,idempotency-key")), "200 preflight write"},
		{"listed headers, in two fields", options("/orders/1", "PUT", asksFor("authorization"), asksFor("idempotency-key")), "200 preflight write"},
		{"a public rule", options("/files/a", "GET"), "200 preflight files"},
		{"a query", options("/orders/1?x=1", "GET"), "200 preflight read"},
		{"a length that says nothing follows", options("/orders/1", "GET", header("content-length", "0")), "200 preflight read"},
		// Credentials are not looked at: a browser sends none, and whose they are decides nothing.
		{"a good token", options("/orders/1", "GET", as("alice")), "200 preflight read"},
		{"a forged token", options("/orders/1", "GET", as("nonsense")), "200 preflight read"},
		{"a token that panics", options("/orders/1", "GET", as("panic")), "200 preflight read"},
		{"two credentials", options("/orders/1", "GET", credentials("Bearer a", "Bearer b")), "200 preflight read"},

		// Another page.
		{"another page", bare("/orders/1", origin("https://evil.test"), wants("GET")), "403 no_rule none (cors_origin)"},
		{"a longer name", bare("/orders/1", origin("https://evilpreview.example.com"), wants("GET")), "403 no_rule none (cors_origin)"},
		{"null", bare("/orders/1", origin("null"), wants("GET")), "403 no_rule none (cors_origin)"},
		{"an empty origin", bare("/orders/1", origin(""), wants("GET")), "403 no_rule none (cors_origin)"},
		{"no origin", bare("/orders/1", wants("GET")), "403 no_rule none (cors_origin)"},
		{"two origins", options("/orders/1", "GET", origin("https://app.example.com")), "403 no_rule none (cors_origin)"},
		{"a second, foreign origin", options("/orders/1", "GET", origin("https://evil.test")), "403 no_rule none (cors_origin)"},
		// Another method.
		{"a method that is not listed", options("/orders/1", "POST"), "403 no_rule none (cors_method)"},
		{"a method without a rule", options("/orders/1", "PATCH"), "403 no_rule none"},
		{"lower case", options("/orders/1", "get"), "403 no_rule none"},
		{"two methods", options("/orders/1", "GET", wants("PUT")), "403 no_rule none"},
		{"two methods, joined", options("/orders/1", "GET,PUT"), "403 no_rule none"},
		{"no method", bare("/orders/1", origin("https://app.example.com")), "403 no_rule none"},
		{"an empty method", options("/orders/1", ""), "403 no_rule none"},
		{"OPTIONS itself", options("/orders/1", "OPTIONS"), "403 no_rule none"},
		{"CONNECT", options("/orders/1", "CONNECT"), "403 no_rule none"},
		// Another header.
		{"a header that is not listed", options("/orders/1", "GET", asksFor("x-debug")), "403 no_rule none (cors_headers)"},
		{"one that is not listed among others", options("/orders/1", "GET", asksFor("authorization,x-debug")), "403 no_rule none (cors_headers)"},
		{"one that is not listed in a second field", options("/orders/1", "GET", asksFor("authorization"), asksFor("x-debug")), "403 no_rule none (cors_headers)"},
		{"an empty list", options("/orders/1", "GET", asksFor("")), "403 no_rule none (cors_headers)"},
		{"an empty element", options("/orders/1", "GET", asksFor("authorization,,idempotency-key")), "403 no_rule none (cors_headers)"},
		{"a star", options("/orders/1", "GET", asksFor("*")), "403 no_rule none (cors_headers)"},
		// Another path, or one where nobody is served.
		{"a path without a rule", options("/nowhere", "GET"), "403 no_rule none"},
		{"a rule that refuses", options("/orders/1", "DELETE"), "403 no_rule none"},
		{"an exception of the rule", options("/files/private/x", "GET"), "403 no_rule none"},
		{"a service that no page may call", options("/orders/1", "GET", host("quiet.example")), "403 no_rule none"},
		{"another service", options("/orders/1", "GET", host("else.example")), "421 wrong_service none"},
		{"a pin that is none", options("/orders/1", "GET", service("nobody")), "421 wrong_service none"},
		{"a probe's path", options("/healthz", "GET"), "403 no_rule none"},
		{"a path that another reads as the rule's", options("/ORDERS/1", "GET"), "400 ambiguous_path none"},
		{"a path that is none", options("/a/../orders/1", "GET"), "400 bad_target none (target: path holds a dot segment)"},
		{"a path that reads in two ways", options("/orders/1;x", "GET"), "400 bad_target none (target: path holds ';')"},
		{"a token in the query", options("/orders/1?access_token=x", "GET"), "400 invalid_request none (token_in_query)"},
		// What is no preflight.
		{"a body", options("/orders/1", "GET", body), "403 no_rule none (cors_form)"},
		{"a length", options("/orders/1", "GET", header("content-length", "3")), "403 no_rule none (cors_form)"},
		{"two lengths", options("/orders/1", "GET", header("content-length", "0"), header("content-length", "0")), "403 no_rule none (cors_form)"},
		{"an upgrade", options("/live", "GET", header("upgrade", "h2c")), "403 upgrade live"},
		{"a websocket where the rule takes one", options("/live", "GET", header("upgrade", "websocket")), "403 upgrade live"},
		{"a second spelling of a header of ours", options("/orders/1", "GET", header("x_user_id", "root")), "400 bad_header none"},
		{"another method with a preflight's headers", get("/nowhere", origin("https://app.example.com"), wants("GET")), "403 no_rule none"},
		{"a request that its headers contradict", options("/orders/1", "GET", header(":method", "GET")), "400 bad_header none"},
		// A rule for OPTIONS is the app's own answer, and is judged like any other.
		{"a rule for OPTIONS", options("/mine", "GET"), "401 no_token mine"},
		{"a rule for OPTIONS, with a token", options("/mine", "GET", as("alice")), "200 allowed mine"},
		// What the connection must be, it must be here too.
		{"a caller that is demanded", options("/stats", "GET", from(frontend)), "200 preflight stats"},
		{"another caller", options("/stats", "GET", from(nightly)), "403 caller stats"},
		{"no caller", options("/stats", "GET"), "403 caller stats"},
		{"an address that is demanded", options("/near", "GET", at("10.1.1.1")), "200 preflight near"},
		{"another address", options("/near", "GET"), "403 address near"},
		{"no address", options("/near", "GET", at("")), "403 address near (unreadable)"},
		{"a workload's rule", options("/batch", "PUT", from(nightly)), "200 preflight batch"},
		{"a workload's rule, by another", options("/batch", "PUT", from(frontend)), "403 caller batch"},
		{"one of a rule's branches", options("/either", "GET", from(nightly)), "200 preflight either"},
		{"another of them", options("/either", "GET", from(frontend), as("nonsense")), "200 preflight either"},
		{"none of them", options("/either", "GET", from(prometheus)), "403 caller either"},
		{"none of them, nobody", options("/either", "GET"), "403 caller either"},
	})
}

// A preflight carries nobody's identity: whatever a client claims is removed, and nothing is set. What limits count by is an address, or
// the workload that the rule demands.
func TestPreflightNamesNobody(t *testing.T) {
	a := gate(t, pages)
	d := a.Check(t.Context(), options("/orders/1", "GET", as("alice"), header("x-user-id", "root")))
	if d.Set != nil || d.Respond != nil || d.Principal != nil || d.Who != "ip|203.0.113.9" || d.RuleName() != "read" || d.ServiceName() != "orders" {
		t.Errorf("sets %v, answers with %v, principal %v, who %s, rule %s", d.Set, d.Respond, d.Principal, d.Who, d.RuleName())
	}
	for _, name := range []string{"x-user-id", "x-http-method-override"} {
		if !slices.Contains(d.Remove, name) {
			t.Errorf("%s is not removed", name)
		}
	}
	if want := []authz.Field{{Name: "plan", Value: "free"}, {Name: "asker", Value: "ip|203.0.113.9"}}; !slices.Equal(d.Metadata, want) {
		t.Errorf("metadata %v, want %v", d.Metadata, want)
	}
	if d := a.Check(t.Context(), options("/batch", "PUT", from(nightly))); d.Who != "workload|"+nightly {
		t.Errorf("a workload is %s", d.Who)
	}
}

// A preflight that comes late is a denial as any other, and asks no verifier on its way.
func TestPreflightAsksNoVerifier(t *testing.T) {
	asked := authztest.VerifierFunc(func(context.Context, string, time.Time) (*authz.Principal, error) {
		t.Error("a preflight's token was looked at")
		return nil, nil
	})
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: mustParse(t, pages), Verifiers: authz.Verifiers{"shop": asked}, UnverifiedIssuer: func(string) (string, bool) {
		t.Error("a preflight's token was looked into")
		return "", false
	}})
	for _, r := range []*authz.Request{options("/orders/1", "GET", as("alice")), options("/either", "GET", as("alice"), from(frontend))} {
		if d := a.Check(t.Context(), r); d.Verdict != authz.Allow || d.Reason != authz.Preflight {
			t.Error(detail(d))
		}
	}
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if d := a.Check(late, options("/orders/1", "GET")); d.Verdict != authz.Deny || d.Reason != authz.Deadline {
		t.Error(detail(d))
	}
}

// Whatever OPTIONS is sent, it passes only by the naive reading of what a preflight is, and in both encodings of headers alike.
func TestPreflightAgreesWithTheRules(t *testing.T) {
	a := gate(t, pages)
	rapid.Check(t, func(t *rapid.T) {
		pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
		var more []option
		origins := rapid.SliceOfN(rapid.SampledFrom([]string{"https://app.example.com", "https://a.preview.example.com", "https://evil.test", "null"}), 0, 2).Draw(t, "origins")
		for _, value := range origins {
			more = append(more, origin(value))
		}
		methods := rapid.SliceOfN(rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE"}), 0, 2).Draw(t, "methods")
		for _, value := range methods {
			more = append(more, wants(value))
		}
		headers := rapid.SliceOfN(rapid.SampledFrom([]string{"authorization", "Idempotency-Key", "x-debug", "authorization,x-debug"}), 0, 2).Draw(t, "headers")
		for _, value := range headers {
			more = append(more, asksFor(value))
		}
		r := ask(pick("method", "OPTIONS", "OPTIONS", "HEAD"), pick("path", "/orders/1", "/files/a", "/files/private/a", "/nowhere"), more...)

		listed := func(value string) bool { return value == "authorization" || value == "Idempotency-Key" }
		rule := map[string][]string{"/orders/1": {"GET", "PUT"}, "/files/a": {"GET"}}[r.Target]
		want := r.Method == "OPTIONS" && len(origins) == 1 && (origins[0] == "https://app.example.com" || origins[0] == "https://a.preview.example.com") &&
			len(methods) == 1 && slices.Contains(rule, methods[0]) && !slices.ContainsFunc(headers, func(v string) bool { return !listed(v) })
		for _, form := range []*authz.Request{r, joined(r)} {
			if d := a.Check(t.Context(), form); (d.Verdict == authz.Allow) != want || (d.Reason == authz.Preflight) != want {
				t.Fatalf("%s: %s", r.Target, detail(d))
			}
		}
	})
}

// What goes into an answer: the policy's list, as it is; no-store where a token was verified; nothing where nobody was asked.
func TestResponseHeaders(t *testing.T) {
	text := `version: 1
issuers: {shop: {issuer: "https://auth.example.com", audiences: [orders-api], machine: never}}
services:
  - name: orders
    hosts: [orders.example]
    probes: [/healthz]
    security_headers: default
    cors: {origins: ["*"]}
    rules: [{name: me, match: GET /me}, {name: open, match: GET /open, public: true}]
`
	a := gate(t, text)
	names := func(headers []policy.ResponseHeader) (names []string) {
		for _, h := range headers {
			names = append(names, h.Name)
		}
		return names
	}
	plain := []string{"strict-transport-security", "x-content-type-options", "content-security-policy", "referrer-policy"}
	for name, test := range map[string]struct {
		ask  *authz.Request
		want []string
	}{
		"a token":           {get("/me", as("alice")), append(slices.Clone(plain), "cache-control")},
		"nobody":            {get("/open", as("alice")), plain},
		"a denial has them": {get("/me"), nil},
		"a probe":           {get("/healthz"), nil},
		"a preflight":       {options("/me", "GET"), nil},
	} {
		if got := names(a.Check(t.Context(), test.ask).Respond); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// A preflight that is denied says what would have been let through.
func TestPreflightIsExplained(t *testing.T) {
	a := gate(t, pages)
	denied := bare("/orders/1", origin("https://evil.test"), wants("GET"))
	if mend := authz.Explain(a.Check(t.Context(), denied), denied).Mend; !strings.Contains(mend, "`cors` lists") {
		t.Error(mend)
	}
	asked := options("/orders/1", "GET")
	e := authz.Explain(a.Check(t.Context(), asked), asked)
	if e.Verdict != "allow" || e.Reason != "preflight" || e.Rule != "read" || e.Mend != "" {
		t.Errorf("%+v", e)
	}
	for _, step := range e.Steps {
		if step.Outcome == authz.Failed || step.Step == "token" && step.Outcome != authz.NotReached {
			t.Errorf("%s: %s", step.Step, step.Outcome)
		}
	}
}
