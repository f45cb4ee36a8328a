package authz_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
)

// shop is the policy that most requests of these tests are judged by: one service with one of everything.
const shop = `version: 1
trust_domain: cluster.local
peers: envoy
gateways: [istio-system/ingress]
trusted_proxies: [10.0.0.0/8, "spiffe://cluster.local/ns/istio-system/sa/ingress"]
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api, stock-api]
    machine: token.sub == token.client_id
    claims: {roles: strings, plan: string, team: string, name: string}
services:
  - name: orders
    hosts: [orders.example, "*.orders.example", "[2001:db8::1]"]
    audience: orders-api
    headers:
      x-user-id: token.sub
      x-user-name: {from: token.name, encode: percent}
      x-roles: {from: token.roles, join: ";"}
      x-caller: caller
    probes: [/healthz, /grpc.health.v1.Health/Check, {path: /metrics, callers: [monitoring/prometheus]}]
    rules:
      - name: me
        match: GET /me
      - name: list-orders
        match: GET,HEAD /users/{user_id}/orders
        scopes: [read:orders]
        owner: {of: path.user_id, is: token.sub, unless_role: admin}
        metadata:
          plan: {value: token.plan, default: free}
          asker: token.who
      - name: invoice
        match: GET /invoices/{user_id}
        scopes: [read:orders]
        any_role: [customer, admin]
        owner: {of: path.user_id, is: token.sub, otherwise: 404}
        metadata: {plan: token.plan}
      - name: not-there
        match: GET /not-there
        deny: 404
      - name: closed
        match: GET /closed
        deny: 403
      - name: retired
        match: GET /v0/{rest...}
        deny: 410
      - name: stock
        match: GET /stock
        any_scope: [stock:read, stock:admin]
      - name: panel
        match: GET /panel
        roles: [admin, auditor]
      - name: desk
        match: GET /desk
        any_role: [admin, auditor]
      - name: team
        match: GET /teams/{team}
        owner: {of: path.team, is: token.team, unless: 'token.plan == "staff" || caller == "spiffe://cluster.local/ns/web/sa/frontend"'}
      - name: folder
        match: GET /folders/{rest...}
        owner: {of: path.rest, is: token.sub}
      - name: search
        match: GET,POST /search
        owner: {of: query.user, is: token.sub}
      - name: report
        match: GET,POST /report
        body_parameters: separate
        owner: {of: query.user, is: token.sub}
      - name: inbox
        match: GET /inbox
        owner: {of: header.x-account, is: token.sub}
      - name: item
        match: GET /catalogue/{item}
        owner: none
      - name: featured
        match: GET /catalogue/featured
        public: true
      - name: cancel
        match: POST /orders/{id}:cancel
        owner: none
      - name: order
        match: POST /orders/{id}
        owner: none
      - name: list
        match: /shop.Orders/List
      - name: stats
        match: GET /internal/stats
        callers: [web/frontend, istio-system/ingress]
      - name: reindex
        match: POST /internal/reindex
        callers: [batch/*]
        token: none
      - name: assets
        match: [GET /assets, "GET,HEAD /assets/{rest...}"]
        public: true
        except: [/assets/private/]
      - name: live
        match: GET /live
        upgrades: [websocket]
      - name: limits
        match: GET /limits
        metadata: {plan: token.plan}
`

// The connections that requests come by.
const (
	frontend   = "spiffe://cluster.local/ns/web/sa/frontend"
	nightly    = "spiffe://cluster.local/ns/batch/sa/nightly"
	ingress    = "spiffe://cluster.local/ns/istio-system/sa/ingress"
	prometheus = "spiffe://cluster.local/ns/monitoring/sa/prometheus"
)

// person is a principal with a sub; claims are those that the policy declares.
func person(name, scopes string, claims map[string]any) *authz.Principal {
	p := &authz.Principal{
		Identity:  authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: name},
		ClientID:  "web",
		Audiences: []string{"orders-api"},
	}
	values := map[string]any{"sub": name, "client_id": "web"}
	for claim, value := range claims {
		values[claim] = value
	}
	var err error
	if p.Scopes, err = scope.Parse(scopes); err != nil {
		panic(err)
	}
	p.Token = condition.NewToken(values)
	return p
}

// with changes a principal.
func with(p *authz.Principal, change func(*authz.Principal)) *authz.Principal {
	change(p)
	return p
}

// tokens are the bearer tokens that the issuer shop signed: the text is the whole token.
func tokens() authztest.Verifier {
	admin := map[string]any{"roles": []string{"admin"}}
	return authztest.Verifier{
		"alice":    person("alice", "read:orders", nil),
		"bob":      person("bob", "read:orders stock:read", map[string]any{"roles": []string{"customer"}, "plan": "gold", "team": "red"}),
		"root":     person("root", "read:orders", admin),
		"auditor":  person("auditor", "", map[string]any{"roles": []string{"auditor", "admin"}, "name": "Zoë Ångström, CPA"}),
		"staff":    person("staff", "", map[string]any{"plan": "staff"}),
		"noscope":  person("alice", "", nil),
		"almost":   person("alice", "readonly Read:orders read:order read:orders:all", nil),
		"empty":    person("alice", "read:orders", map[string]any{"team": "", "plan": ""}),
		"comma":    person("al,ice", "read:orders", nil),
		"padded":   person("alice ", "read:orders", nil),
		"umlaut":   person("älice", "read:orders", nil),
		"split":    person("alice", "", map[string]any{"roles": []string{"a;b"}}),
		"void":     person("alice", "", map[string]any{"roles": []string{"a", ""}}),
		"roleless": person("alice", "", map[string]any{"roles": []string{}}),
		"pipe":     person("shop|alice", "", nil),
		"shout":    person("al!ce", "", nil),
		"robot": with(person("robot", "read:orders", admin), func(p *authz.Principal) {
			p.Identity.Kind, p.ClientID = authz.Machine, "robot"
			p.Token = condition.NewToken(map[string]any{"client_id": "robot", "roles": []string{"customer"}, "plan": "batch"})
		}),
		"neither": with(person("alice", "read:orders", nil), func(p *authz.Principal) {
			p.Identity = authz.Identity{Issuer: "shop"}
			p.Token = condition.NewToken(map[string]any{"client_id": "web"})
		}),
		"nameless":   with(person("", "", nil), func(p *authz.Principal) { p.Token = condition.NewToken(map[string]any{"sub": ""}) }),
		"stock-only": with(person("alice", "read:orders", nil), func(p *authz.Principal) { p.Audiences = []string{"stock-api"} }),
		"no-aud":     with(person("alice", "read:orders", nil), func(p *authz.Principal) { p.Audiences = nil }),
		"dead":       with(person("alice", "read:orders", nil), func(p *authz.Principal) { p.Expires = authztest.Now }),
	}
}

// verifier is the issuer's verifier, and what can go wrong with one.
func verifier() authztest.VerifierFunc {
	known := tokens()
	return func(ctx context.Context, token string, now time.Time) (*authz.Principal, error) {
		switch token {
		case "no-keys":
			return nil, &authz.TokenError{Reason: authz.KeysUnavailable, Err: authz.ErrKeysUnavailable}
		case "malformed-use":
			return nil, &authz.TokenError{Reason: authz.InvalidRequest, Detail: authz.DetailTooLarge}
		case "odd-refusal":
			return nil, &authz.TokenError{Reason: authz.Allowed}
		case "zero-refusal":
			return nil, &authz.TokenError{}
		case "broken":
			return nil, errors.New("a wire is loose")
		case "late":
			return nil, context.DeadlineExceeded
		case "gone":
			return nil, context.Canceled
		case "nobody":
			return nil, nil
		case "both":
			return person("alice", "read:orders", nil), errors.New("allowed, but no")
		case "panic":
			panic("a token that nobody thought of")
		}
		return known.Verify(ctx, token, now)
	}
}

func mustParse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if p == nil {
		t.Fatalf("the policy does not load:\n%s", errs.Pretty())
	}
	return p
}

// gate is an authorizer of a policy at the moment at which the tokens are good.
func gate(t testing.TB, text string) *authz.Authorizer {
	t.Helper()
	return gateWith(t, text, authz.Options{})
}

func gateWith(t testing.TB, text string, options authz.Options) *authz.Authorizer {
	t.Helper()
	options.Now = func() time.Time { return authztest.Now }
	a := authz.New(options)
	p := mustParse(t, text)
	verifiers := authz.Verifiers{}
	for name := range p.Issuers {
		verifiers[name] = verifier()
	}
	a.Use(&authz.Bundle{Policy: p, Verifiers: verifiers})
	return a
}

// option shapes a request.
type option func(*authz.Request)

// ask is a request as Envoy shows it in raw mode: pseudo-headers among the headers, duplicates apart. It comes from 203.0.113.9.
func ask(method, target string, options ...option) *authz.Request {
	r := &authz.Request{HTTP: true, Method: method, Host: "orders.example", Target: target, Peer: authz.Peer{Address: "203.0.113.9"}}
	for _, o := range options {
		o(r)
	}
	pseudo := []authz.Field{{Name: ":authority", Value: r.Host}, {Name: ":method", Value: method}, {Name: ":path", Value: target}}
	r.Headers.Fields = append(pseudo, r.Headers.Fields...)
	return r
}

func get(target string, options ...option) *authz.Request  { return ask("GET", target, options...) }
func post(target string, options ...option) *authz.Request { return ask("POST", target, options...) }

func header(name, value string) option {
	return func(r *authz.Request) {
		r.Headers.Fields = append(r.Headers.Fields, authz.Field{Name: name, Value: value})
	}
}

// as sends a bearer token.
func as(token string) option { return header("authorization", "Bearer "+token) }

// credentials sends Authorization headers as they are.
func credentials(values ...string) option {
	return func(r *authz.Request) {
		for _, value := range values {
			header("authorization", value)(r)
		}
	}
}

func from(principal string) option { return func(r *authz.Request) { r.Peer.Principal = principal } }
func at(address string) option     { return func(r *authz.Request) { r.Peer.Address = address } }
func host(name string) option      { return func(r *authz.Request) { r.Host = name } }
func through(entries ...string) option {
	return func(r *authz.Request) {
		for _, entry := range entries {
			header("x-forwarded-for", entry)(r)
		}
	}
}
func service(name string) option {
	return func(r *authz.Request) { r.Service, r.HasService = name, true }
}
func to(principal string) option { return func(r *authz.Request) { r.Destination = principal } }

// joined is a request as Envoy shows it in map mode: duplicates joined by a comma, bytes that are no UTF-8 replaced.
func joined(r *authz.Request) *authz.Request {
	other := *r
	other.Headers = authz.Headers{Joined: true}
	other.Target = lossy(r.Target)
	for _, field := range r.Headers.Fields {
		field.Value = lossy(field.Value)
		i := slices.IndexFunc(other.Headers.Fields, func(f authz.Field) bool { return f.Name == field.Name })
		if i < 0 {
			other.Headers.Fields = append(other.Headers.Fields, field)
		} else {
			other.Headers.Fields[i].Value += "," + field.Value
		}
	}
	return &other
}

func lossy(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b.WriteByte('!')
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// verdict is a decision in one line: the status that the client sees, the true reason and the rule.
func verdict(d *authz.Decision) string {
	if (d.Verdict == authz.Allow) != (d.Status() == 200) {
		return "status " + strconv.Itoa(d.Status()) + " for " + d.Verdict.String()
	}
	return strconv.Itoa(d.Status()) + " " + d.Reason.String() + " " + d.RuleName()
}

// detail adds the cause behind the reason.
func detail(d *authz.Decision) string {
	if d.Detail == "" {
		return verdict(d)
	}
	return verdict(d) + " (" + d.Detail + ")"
}

// line is one line of a table: who asks for what, and what becomes of it.
type line struct {
	name string
	ask  *authz.Request
	want string
}

// judge runs a table, each line in both encodings of headers: the map's answer is the raw one's, or a denial.
func judge(t *testing.T, a *authz.Authorizer, show func(*authz.Decision) string, lines []line) {
	t.Helper()
	for _, l := range lines {
		t.Run(l.name, func(t *testing.T) {
			raw := a.Check(t.Context(), l.ask)
			if got := show(raw); got != l.want {
				t.Errorf("got %q, want %q (error: %v)", got, l.want, raw.Err)
			}
			mapped := a.Check(t.Context(), joined(l.ask))
			if problem := encodingsDiffer(raw, mapped); problem != "" {
				t.Errorf("in map mode: %s", problem)
			}
			if plain(l.ask) && show(raw) != show(mapped) {
				t.Errorf("in map mode: %q", show(mapped))
			}
		})
	}
}
