package offline_test

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// edited are changes of the policy, each as pairs of texts: what stood there and what stands there now.
var edited = map[string][]string{
	"nothing":                 {"version: 1", "version: 1 # again"},
	"another audience too":    {"audiences: [orders-api]", "audiences: [orders-api, x]"},
	"other tokens":            {"where: {token_use: access}", "where: {token_use: id}"},
	"fewer tokens":            {"where: {token_use: access}", "where: {token_use: access, tenant: x}"},
	"any tokens":              {"where: {token_use: access}", "where: {}"},
	"another type too":        {"types: [at+jwt]", "types: [at+jwt, JWT]"},
	"a claim required":        {"where: {token_use: access}", "where: {token_use: access}\n    require: [sub, client_id, jti, tenant]"},
	"a shorter life":          {"where: {token_use: access}", "where: {token_use: access}\n    max_lifetime: 1m"},
	"a longer life":           {"where: {token_use: access}", "where: {token_use: access}\n    max_lifetime: 12h"},
	"more leeway":             {"where: {token_use: access}", "where: {token_use: access}\n    leeway: 60s"},
	"a marker allowed":        {"where: {token_use: access}", "where: {token_use: access}\n    allow_markers: [nonce]"},
	"roles elsewhere":         {"roles: {from: realm_access.roles, type: strings}", "roles: strings"},
	"a claim elsewhere":       {"tenant: string,", "tenant: {from: org, type: string},"},
	"scopes in another form":  {"scopes: {from: scp, type: strings}", "scopes: {from: scope, type: string}"},
	"another iss":             {"issuer: https://issuer.test", "issuer: https://other.test"},
	"an issuer's other name":  {"  shop:\n", "  store:\n", "issuer: shop", "issuer: store"},
	"anybody's":               {"owner: {of: path.user_id, is: token.sub, unless_role: support}", "owner: none"},
	"any order":               {"owner: {of: path.id, lookup: orders, is: token.sub, otherwise: 404}", "owner: none"},
	"any orders deleted":      {`owner: {of: "body.ids[*]", lookup: orders, is: token.sub}`, "owner: none"},
	"any move":                {"owner: {of: form.from, is: token.sub}", "owner: none"},
	"another relation":        {"lookup: orders, is: token.sub", "lookup: orders, is: token.sub, relation: viewer", "{id}:owner", "{id}:{relation}"},
	"another claim owns":      {"lookup: orders, is: token.sub, otherwise: 404}", "lookup: orders, is: token.tenant, otherwise: 404}"},
	"another key":             {"{id}:owner", "{id}:holder"},
	"other ids":               {`owner: {of: "body.ids[*]"`, `owner: {of: "body.others[*]"`},
	"a query not read":        {`condition: 'query.t == "x"', owner: none`, "owner: none"},
	"a header not read":       {`condition: 'header["x-t"] == "x"', owner: none`, "owner: none"},
	"a query read":            {"scopes: [\"read:orders\"], owner", "condition: 'query.t == \"x\"', owner"},
	"a claim no more":         {"tenant: string, ", "", "path.t == token.tenant", "path.t == token.token_use"},
	"a claim's other type":    {"tenant: string,", "tenant: strings,", "path.t == token.tenant", "path.t in token.tenant"},
	"no sender":               {", sender: mtls", ", owner: none"},
	"another role":            {"unless_role: support", "unless_role: admin"},
	"the old API again":       {"deny: 410", "owner: none, issuer: shop"},
	"the old API for anybody": {"deny: 410", "public: true, except: [/v0/secret]"},
	"another owner":           {"static: {l1: alice}", "static: {l1: bob}"},
	"exact paths":             {"probes: [/healthz]", "probes: [/healthz]\n    spelling: exact"},
	"more proxies":            {"trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [10.0.0.0/8, 192.0.2.0/24]"},
	"other peers":             {"peers: certificate", "peers: envoy"},
	"another caller":          {"callers: [shop/indexer]", "callers: [shop/web]"},
	"another host too":        {"hosts: [orders.internal]", "hosts: [orders.internal, other.internal]"},
	"no scope":                {`scopes: ["read:orders"], `, ""},
	"another header set":      {"headers: {x-user-id: token.who}", "headers: {x-account: token.who}"},
	"an upgrade":              {`match: "GET /bound", `, `match: "GET /bound", upgrades: [websocket], `},
	"a closed query":          {`condition: 'query.t == "x"', owner: none`, `condition: 'query.t == "x"', owner: none, params: {}`},
	"a form of a parameter":   {`condition: 'query.t == "x"', owner: none`, `owner: none, params: {query.t: {enum: [y]}}`},
	"a closed catalogue":      {`match: "GET /catalogue", public: true`, `match: "GET /catalogue", public: true, params: {}`},
	"a schema":                {`owner: {of: "body.ids[*]", lookup: orders, is: token.sub}`, `owner: {of: "body.ids[*]", lookup: orders, is: token.sub}, body: {schema: {required: [more]}}`},
	"fewer fields":            {`owner: {of: form.from, is: token.sub}`, `owner: {of: form.from, is: token.sub}, writable: {everyone: [from]}`},
	"a catalogue for some":    {`match: "GET /catalogue", public: true`, `match: "GET /catalogue", issuer: shop`},
}

const moreRules = `      - {name: search, issuer: shop, match: "GET /search", condition: 'query.t == "x"', owner: none}
      - {name: headed, issuer: shop, match: "GET /headed", condition: 'header["x-t"] == "x"', owner: none}
      - {name: agree, issuer: shop, match: "GET /agree/{t}", agrees: [path.t, query.t], owner: none}
`

const aliceToo = "who: {issuer: shop, sub: alice, scopes: ['read:orders'], claims: "

// more are requests on the edge of what the changes are about.
var more = map[string]string{
	"found":             alice + "request: GET /search?t=x&note=1",
	"not found":         alice + "request: GET /search?t=y",
	"a second spelling": alice + "request: GET /search?t=x&T=y",
	"a list":            alice + "request: GET /search?t=x&t[]=y",
	"twice":             alice + "request: GET /search?t=x&t=y",
	"a bad escape":      alice + "request: GET /search?t=x&u=%zz",
	"a semicolon":       alice + "request: GET /search?t=x;u=1",
	"an escaped name":   alice + "request: GET /search?%74=x",
	"her own, spelt":    alice + "request: GET /users/alice/orders?t=x&T=y",
	"with a body":       alice + "request: {path: '/search?t=x', json: {}}",
	"headed":            alice + "request: {path: /headed, headers: {x-t: x}}",
	"headed twice":      alice + "request: {path: /headed, headers: {x-t: x, x_t: y}}",
	"headed by dots":    alice + "request: {path: /headed, headers: {x-t: x, x.t: y}}",
	"headed by commas":  alice + "request: {path: /headed, headers: {x-t: 'x,y'}}",
	"agreed":            alice + "request: GET /agree/a?t=a",
	"disagreed":         alice + "request: GET /agree/a?t=b",
	"a marked token":    aliceToo + "{nonce: a}}\nrequest: GET /users/alice/orders",
	"a long life":       aliceToo + "{iat: 1795175940, exp: 1795183140}}\nrequest: GET /users/alice/orders",
	"just expired":      aliceToo + "{iat: 1795175000, exp: 1795175970}}\nrequest: GET /users/alice/orders",
	"an ID token":       aliceToo + "{token_use: id}}\nrequest: GET /users/alice/orders",
	"for x":             "who: {issuer: shop, sub: alice, aud: x, scopes: ['read:orders']}\nrequest: GET /users/alice/orders",
	"two roles":         "who: {issuer: shop, sub: eve, scopes: ['read:orders'], claims: {roles: [support, admin], tenant: x}}\nrequest: GET /users/bob/orders",
	"upper case":        alice + "request: GET /Users/alice/orders",
	"a final slash":     alice + "request: GET /users/alice/orders/",
	"an account's name": alice + "request: {path: /users/alice/orders, headers: {x_account: m}}",
	"forwarded":         alice + "address: 10.1.1.1\nrequest: {path: /users/alice/orders, headers: {x-forwarded-for: '192.0.2.7, 203.0.113.9'}}",
	"no ids":            alice + "request: {method: POST, path: '/orders:delete', json: {ids: []}}",
	"a viewer":          alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: {owner: bob, viewer: alice}}}",
	"an owner no more":  alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: {owner: alice, viewer: bob}}}",
	"a tenant owns":     aliceToo + "{tenant: acme}}\nrequest: GET /orders/o-1\nlookups: {orders: {o-1: acme}}",
	"others hers":       alice + "request: {method: POST, path: '/orders:delete', json: {ids: [b], others: [a]}}\nlookups: {orders: {a: alice, b: bob}}",
	"others not hers":   alice + "request: {method: POST, path: '/orders:delete', json: {ids: [a, c], others: [b]}}\nlookups: {orders: {a: alice, b: bob, c: alice}}",
	"the old API":       alice + "request: GET /v0/x",
}

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return p
}

// What a comparison tells of a recorded request is what becomes of the request itself, with its own token, under the new policy; or it
// says that it cannot be told. A door that opens is never told as none.
func TestDiffTellsTheTruth(t *testing.T) {
	requests := map[string]string{}
	for name, text := range more {
		requests[name] = text
	}
	for name, c := range described {
		// What a certificate proves is made anew for each policy, and answers in place of the policy's own are not recorded.
		if !strings.HasPrefix(name, "bound") && !strings.HasPrefix(name, "in place") {
			requests[name] = c.text
		}
	}
	old := parse(t, rules+moreRules)
	told, untold := 0, 0
	for edit, pairs := range edited {
		text := strings.NewReplacer(pairs...).Replace(rules + moreRules)
		if text == rules+moreRules {
			t.Fatalf("%s: nothing is edited", edit)
		}
		next := parse(t, text)
		for name, text := range requests {
			first, line, truth := replayed(t, old, next, text)
			if line == nil || len(truth.Unanswered) > 0 {
				continue
			}
			diff := offline.NewDiff(old, next)
			if err := diff.Add(t.Context(), line, 1); err != nil {
				t.Fatalf("%s, %s: %v", edit, name, err)
			}
			if diff.Untold() > 0 {
				untold++
				if edit == "nothing" && first.Ruled().Verdict == authz.Allow {
					t.Errorf("%s cannot be told, and nothing changed", name)
				}
				continue
			}
			told++
			was, is := first.Ruled().Verdict == authz.Allow, truth.Ruled().Verdict == authz.Allow
			if opens, closes := diff.Count(offline.Opens) == 1, diff.Count(offline.Closes) == 1; opens != (!was && is) || closes != (was && !is) {
				t.Errorf("%s, %s: was %s %s, is %s %s; told as opened: %v, as closed: %v", edit, name,
					first.Decision.Reason, first.Decision.Detail, truth.Decision.Reason, truth.Decision.Detail, opens, closes)
			}
		}
	}
	if untold > told/2 {
		t.Errorf("%d were told and %d could not be", told, untold)
	}
}

// replayed decides a request by the old policy, reads its recording (nil if there is none), and decides the request itself by the new.
func replayed(t *testing.T, old, next *policy.Policy, text string) (first *offline.Result, line *offline.Case, truth *offline.Result) {
	t.Helper()
	whole := one(t, text)
	first, err := offline.NewRoom(old).Decide(t.Context(), whole)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if recorded, ok := offline.Line(first.Decision, first.Request, "", offline.ReadsOf(first.Decision.Service)); ok {
		c, errs := offline.ReadCase("line", recorded)
		if len(errs) > 0 {
			t.Fatalf("%s\n%s", errs.Pretty(), recorded)
		}
		line = c
	}
	if value, sent := first.Request.Headers.One("authorization"); sent == 1 && whole.Who.Refused == "" {
		whole.Who = offline.Who{Named: true, Bearer: strings.TrimPrefix(value, "Bearer ")}
	}
	if next.Issuers["store"] != nil && whole.Who.Issuer == "shop" {
		whole.Who.Issuer = "store"
	}
	if truth, err = offline.NewRoom(next).Decide(t.Context(), whole); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return first, line, truth
}

// known is a policy whose lookup takes any question, so that a rule can ask another one of the same backend.
const known = `version: 1
issuers:
  shop: {issuer: "https://issuer.test", jwks: "https://issuer.test/jwks.json", audiences: [orders-api], algorithms: [ES256], types: [at+jwt], claims: {tenant: string}}
lookups:
  orders: {grpc: {address: "127.0.0.1:1", plaintext: true}}
services:
  - name: orders
    hosts: [orders.internal]
    rules:
      - {name: one, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub, relation: editor}}
      - {name: some, match: "GET /orders", owner: {of: "query.id[*]", lookup: orders, is: token.sub, relation: editor}}
`

// What a recording holds no answer to is counted as that, with the cause; what only looks so is told.
func TestDiffCannotTell(t *testing.T) {
	const (
		hers     = "who: {issuer: shop, sub: alice}\nrequest: GET /orders/o-1\nlookups: {orders: {o-1: {editor: alice}}}"
		his      = "who: {issuer: shop, sub: alice}\nrequest: GET /orders/o-1\nlookups: {orders: {o-1: {editor: not theirs}}}"
		two      = "who: {issuer: shop, sub: alice}\nrequest: GET /orders?id=o-1&id=o-2\nlookups: {orders: {'*': {editor: alice}}}"
		others   = "who: {issuer: shop, sub: alice, aud: x}\nrequest: GET /orders/o-1"
		another  = "the new policy asks lookup orders another question"
		tokens   = "the new policy takes other tokens of issuer shop"
		audience = "audiences: [orders-api]"
	)
	for name, c := range map[string]struct{ text, from, to, why string }{
		"another address":       {his, "127.0.0.1:1", "127.0.0.1:2", another},
		"another address, hers": {hers, "127.0.0.1:1", "127.0.0.1:2", another},
		"another relation":      {his, "relation: editor", "relation: viewer", `lookup orders was asked about "o-1" (viewer), and the case gives no answer`},
		"no relation":           {his, ", relation: editor", "", `lookup orders was asked about "o-1", and the case gives no answer`},
		"another claim":         {his, "lookup: orders, is: token.sub", "lookup: orders, is: token.client_id", another},
		"other ids":             {two, `"query.id[*]"`, `"order:{query.id[*]}"`, another},
		"longer to wait":        {his, "plaintext: true}", "plaintext: true}, timeout: 90ms", ""},
		"an audience too":       {others, audience, "audiences: [orders-api, x]", tokens},
		"an audience less":      {hers, audience, "audiences: [x]", ""},
		"other keys, refused":   {others, "jwks.json", "keys.json", tokens},
		"other keys, accepted":  {hers, "jwks.json", "keys.json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(known, c.from, c.to)
			if name == "an audience too" { // a service names one of several
				text = strings.Replace(text, "    hosts:", "    audience: x\n    hosts:", 1)
			}
			_, line, _ := replayed(t, parse(t, known), parse(t, text), c.text)
			if line == nil {
				t.Fatal("not recorded")
			}
			diff := offline.NewDiff(parse(t, known), parse(t, text))
			if err := diff.Add(t.Context(), line, 1); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			diff.Print(&out, "f")
			if (diff.Untold() == 1) != (c.why != "") || !strings.Contains(out.String(), c.why) {
				t.Errorf("want %q of\n%s", c.why, out.String())
			}
		})
	}
}

// "Not theirs" was said of owning: whose it is to view is another question.
func TestDiffOfAnotherRelation(t *testing.T) {
	old, next := parse(t, strings.ReplaceAll(known, ", relation: editor", "")), parse(t, known)
	_, line, _ := replayed(t, old, next, "who: {issuer: shop, sub: alice}\nrequest: GET /orders/o-1\nlookups: {orders: {o-1: not theirs}}")
	diff := offline.NewDiff(old, next)
	if err := diff.Add(t.Context(), line, 1); err != nil || diff.Untold() != 1 {
		t.Errorf("%v; %d untold", err, diff.Untold())
	}
}

// A line that the old policy decides otherwise than the gate did says nothing about the new one.
func TestDiffOfStrays(t *testing.T) {
	p := parse(t, rules)
	_, line, _ := replayed(t, p, p, alice+"request: GET /users/alice/orders")
	line.Expect.Decision, line.Expect.Reason, line.Expect.Detail = "deny", "owner", "not_theirs"
	diff := offline.NewDiff(p, p)
	if err := diff.Add(t.Context(), line, 1); err != nil || diff.Untold() != 1 || diff.Otherwise != 1 {
		t.Errorf("%v; %d untold, %d otherwise", err, diff.Untold(), diff.Otherwise)
	}
}
