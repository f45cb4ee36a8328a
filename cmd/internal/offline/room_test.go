package offline_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// The policy of these tests has something of each kind that a description can speak of.
const rules = `version: 1
trust_domain: mesh.test
peers: certificate
trusted_proxies: [10.0.0.0/8]
issuers:
  shop:
    issuer: https://issuer.test
    jwks: https://issuer.test/jwks.json
    audiences: [orders-api]
    algorithms: [ES256]
    types: [at+jwt]
    where: {token_use: access}
    claims: {roles: {from: realm_access.roles, type: strings}, tenant: string, token_use: string}
  partner:
    issuer: https://partner.test
    jwks: https://partner.test/jwks.json
    audiences: [orders-api, billing-api]
    algorithms: [RS256]
    types: [JWT]
    where: {}
    scopes: {from: scp, type: strings}
    machine: never
lookups:
  orders:
    issuer: shop
    redis: {url: "redis://127.0.0.1:6379", key: "order:{id}:owner"}
  lists:
    issuer: shop
    static: {l1: alice}
services:
  - name: orders
    audience: orders-api
    hosts: [orders.internal]
    headers: {x-user-id: token.who}
    probes: [/healthz]
    rules:
      - {name: office, match: GET /office, public: true, from: [192.0.2.0/24]}
      - name: hook
        match: POST /hook
        public: true
        signed_by: {hmac_sha256: x-signature, prefix: "v0=", timestamp: x-time, signed: "{header.x-id}.{timestamp}.{body}", key_file: /nowhere}
      - {name: feed, issuer: shop, match: GET /feed, client_key: {header: x-api-key, keys_file: /nowhere}}
      - {name: list-orders, issuer: shop, match: "GET /users/{user_id}/orders", scopes: ["read:orders"], owner: {of: path.user_id, is: token.sub, unless_role: support}}
      - {name: one-order, issuer: shop, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub, otherwise: 404}}
      - {name: delete, issuer: shop, match: "POST /orders:delete", owner: {of: "body.ids[*]", lookup: orders, is: token.sub}}
      - {name: one-list, issuer: shop, match: "GET /lists/{id}", owner: {of: path.id, lookup: lists, is: token.sub}}
      - {name: move, issuer: shop, match: "POST /move", owner: {of: form.from, is: token.sub}}
      - {name: tenant, issuer: shop, match: "GET /tenants/{t}", condition: "path.t == token.tenant", owner: none}
      - {name: reindex, match: "POST /reindex", callers: [shop/indexer], token: none}
      - {name: bound, issuer: shop, match: "GET /bound", sender: mtls}
      - {name: either, match: "GET /either", either: [{issuer: shop}, {issuer: partner, scopes: [read]}]}
      - {name: old, match: "GET /v0/{rest...}", deny: 410}
      - {name: catalogue, match: "GET /catalogue", public: true}
`

func room(t *testing.T) *offline.Room {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(rules)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return offline.NewRoom(p)
}

// one reads a case, at the moment of the test tokens.
func one(t *testing.T, text string) *offline.Case {
	t.Helper()
	c, errs := offline.ReadCase("case.yaml", []byte("now: \"2026-11-20T12:00:00Z\"\n"+text))
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return c
}

const alice = "who: {issuer: shop, sub: alice, scopes: ['read:orders']}\n"

// described are requests of all kinds and what becomes of them.
var described = map[string]struct{ text, want string }{
	"her own":                     {alice + "request: GET /users/alice/orders", "allow"},
	"by URL":                      {alice + "request: GET https://orders.internal/users/alice/orders", "allow"},
	"another host":                {alice + "request: GET https://other.internal/users/alice/orders", "wrong_service"},
	"not hers":                    {alice + "request: GET /users/bob/orders", "owner not_theirs"},
	"by a role in its place":      {"who: {issuer: shop, sub: eve, scopes: ['read:orders'], claims: {roles: [support]}}\nrequest: GET /users/bob/orders", "allow"},
	"without a scope":             {"who: {issuer: shop, sub: alice}\nrequest: GET /users/alice/orders", "insufficient_scope"},
	"nobody":                      {"who: nobody\nrequest: GET /users/alice/orders", "no_token"},
	"without who":                 {"request: GET /users/alice/orders", "no_token"},
	"a claim of another value":    {"who: {issuer: shop, sub: alice, claims: {token_use: id}}\nrequest: GET /orders/o-1", "invalid_token where"},
	"for another audience":        {"who: {issuer: shop, sub: alice, aud: x}\nrequest: GET /orders/o-1", "invalid_token audience"},
	"expired":                     {"who: {issuer: shop, sub: alice, claims: {iat: 1700000000, exp: 1700000100}}\nrequest: GET /orders/o-1", "invalid_token expired"},
	"raw claims have no defaults": {"token: {iss: 'https://issuer.test', sub: alice}\nrequest: GET /orders/o-1", "invalid_token audience"},
	"refused":                     {"who: {issuer: shop, refused: signature}\nrequest: GET /orders/o-1", "invalid_token signature"},
	"revoked":                     {alice + "revoked: true\nrequest: GET /users/alice/orders", "invalid_token revoked"},
	"nobody knows if revoked":     {alice + "revoked: unknown\nrequest: GET /users/alice/orders", "revocation_stale"},
	"another kind of issuer":      {"who: {issuer: partner, sub: p, scopes: [read]}\nrequest: GET /either", "allow"},
	"the other branch":            {"who: {issuer: shop, sub: p}\nrequest: GET /either", "allow"},
	"an owner":                    {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: alice}}", "allow"},
	"an owner among some":         {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: [bob, alice]}}", "allow"},
	"another owner":               {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: bob}}", "owner not_theirs"},
	"not there":                   {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: not there}}", "owner not_there"},
	"unavailable":                 {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: unavailable}}", "lookup unavailable"},
	"unreadable":                  {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: unreadable}}", "lookup answer"},
	"any object":                  {alice + "request: GET /orders/o-1\nlookups: {orders: {'*': theirs}}", "allow"},
	"an owner called theirs":      {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: [theirs]}}", "owner not_theirs"},
	"an owner of a relation":      {alice + "request: GET /orders/o-1\nlookups: {orders: {o-1: {owner: alice, viewer: bob}}}", "allow"},
	"the policy's own list":       {alice + "request: GET /lists/l1", "allow"},
	"in place of the policy's":    {alice + "request: GET /lists/l1\nlookups: {lists: {l1: bob}}", "owner not_theirs"},
	"JSON": {alice + "request: {method: POST, path: '/orders:delete', json: {ids: [a, b]}}\n" +
		"lookups: {orders: {a: alice, b: alice}}", "allow"},
	"JSON with one of bob's": {alice + "request: {method: POST, path: '/orders:delete', json: {ids: [a, b]}}\n" +
		"lookups: {orders: {a: alice, b: bob}}", "owner not_theirs"},
	"a text that is no JSON":  {alice + "request: {method: POST, path: '/orders:delete', headers: {Content-Type: application/json}, body: '{'}", "bad_body malformed"},
	"a body of no type":       {alice + "request: {method: POST, path: '/orders:delete', body: '{}'}", "media_type content_type"},
	"no body":                 {alice + "request: {method: POST, path: '/orders:delete', headers: {content-type: application/json}}", "bad_body no_body"},
	"a form":                  {alice + "request: {method: POST, path: /move, form: {from: alice}}", "allow"},
	"a form of two":           {alice + "request: {method: POST, path: /move, form: {from: [alice, bob]}}", "bad_body ambiguous"},
	"a condition":             {"who: {issuer: shop, sub: a, claims: {tenant: x}}\nrequest: GET /tenants/x", "allow"},
	"a condition not held":    {"who: {issuer: shop, sub: a, claims: {tenant: y}}\nrequest: GET /tenants/x", "condition"},
	"a caller":                {"caller: shop/indexer\nrequest: POST /reindex", "allow"},
	"a caller's whole ID":     {"caller: spiffe://mesh.test/ns/shop/sa/indexer\nrequest: POST /reindex", "allow"},
	"an office":               {"address: 192.0.2.7\nrequest: GET /office", "allow"},
	"an office, by its proxy": {"address: 10.1.1.1\nrequest: {path: /office, headers: {x-forwarded-for: 192.0.2.7}}", "allow"},
	"another address":         {"address: 198.51.100.7\nrequest: GET /office", "address"},
	"no address at all":       {"address: unreadable\nrequest: GET /office", "address unreadable"},
	"a signed webhook":        {"signed: hook\nrequest: {method: POST, path: /hook, body: '{}'}", "allow"},
	"an unsigned webhook":     {"request: {method: POST, path: /hook, body: '{}'}", "signature missing"},
	"another's webhook":       {"request: {method: POST, path: /hook, body: '{}', headers: {x-signature: 'v0=00', x-time: '1', x-id: a}}", "signature form"},
	"a webhook of no body":    {"signed: hook\nrequest: {method: POST, path: /hook}", "bad_body no_body"},
	"an application":          {"who: {issuer: shop, sub: a}\nclient: partner\nrequest: GET /feed", "allow"},
	"no application":          {"who: {issuer: shop, sub: a}\nrequest: GET /feed", "client_key missing"},
	"an unknown application":  {"who: {issuer: shop, sub: a}\nrequest: {path: /feed, headers: {x-api-key: a-key-that-nobody-has-had}}", "client_key unknown"},
	"an application alone":    {"client: partner\nrequest: GET /feed", "no_token"},
	"another caller":          {"caller: shop/web\nrequest: POST /reindex", "caller"},
	"no caller":               {"request: POST /reindex", "caller"},
	"bound to the caller":     {"who: {issuer: shop, sub: a, bound: caller}\ncaller: shop/web\nrequest: GET /bound", "allow"},
	"bound without a name":    {"who: {issuer: shop, sub: a, bound: caller}\nrequest: GET /bound", "allow"},
	"bound to another":        {"who: {issuer: shop, sub: a, bound: another}\nrequest: GET /bound", "invalid_token sender"},
	"not bound":               {"who: {issuer: shop, sub: a}\nrequest: GET /bound", "invalid_token sender"},
	"a rule that refuses":     {"request: GET /v0/x", "gone"},
	"public":                  {"request: GET /catalogue", "allow"},
	"a probe":                 {"request: GET /healthz", "allow"},
	"an unknown pin":          {"service: web\nrequest: GET http://web.internal/", "wrong_service"},
	"a header":                {"request: {path: /catalogue, headers: {x_user_id: mallory}}", "bad_header"},
}

// What a description means, from the request line to what the lookups know.
func TestCases(t *testing.T) {
	for name, c := range described {
		t.Run(name, func(t *testing.T) {
			result, err := room(t).Decide(t.Context(), one(t, c.text))
			if err != nil {
				t.Fatal(err)
			}
			got := result.Decision.Verdict.String()
			if got == "deny" {
				got = strings.TrimSpace(result.Decision.Reason.String() + " " + result.Decision.Detail)
			}
			if got != c.want || len(result.Unanswered) > 0 {
				t.Errorf("%s, unanswered %q; want %s\n%s", got, result.Unanswered, c.want, result.Explain().Text())
			}
		})
	}
}

// A description without a signature is decided as the same token with one: what this room makes up is the signature and no more.
func TestUnsignedDecidesAsSigned(t *testing.T) {
	r := room(t)
	keys := &authztest.Keys{Generation: 1, Ring: []*authztest.Key{authztest.RSA(), authztest.EC()}}
	verifiers := authz.Verifiers{}
	for name, issuer := range r.Policy.Issuers {
		verifiers[name] = jwt.New(issuer, keys, jwt.Options{})
	}
	signing := map[string]*authztest.Key{"shop": authztest.EC(), "partner": authztest.RSA()}
	for _, who := range []string{
		"{issuer: shop, sub: alice, scopes: ['read:orders']}", "{issuer: shop, sub: alice}", "{issuer: shop, sub: bob, scopes: ['read:orders', x]}",
		"{issuer: shop, sub: m, client_id: m}", "{issuer: shop, sub: eve, scopes: ['read:orders'], claims: {roles: [support], tenant: x}}",
		"{issuer: shop, sub: alice, claims: {roles: support}}", "{issuer: partner, sub: alice, scopes: [read]}", "{issuer: partner, sub: alice, scopes: []}",
		"{issuer: shop, claims: {jti: 7}}", "{issuer: shop, sub: alice, aud: billing-api}", "{issuer: partner, sub: alice, aud: billing-api, scopes: [read]}",
		"{issuer: shop, sub: alice, claims: {nonce: x}}", "{issuer: shop, sub: alice, claims: {exp: 1}}", "{issuer: shop, sub: alice, claims: {cnf: {jkt: x}}}",
	} {
		for _, request := range []string{
			"GET /users/alice/orders", "GET /orders/o-1", "GET /lists/l1", "GET /tenants/x", "GET /bound", "GET /either", "GET /catalogue", "GET /none", "POST /reindex",
		} {
			c := one(t, "who: "+who+"\nrequest: "+request+"\nlookups: {orders: {o-1: alice}}")
			unsigned, err := r.Decide(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			gate := authz.New(authz.Options{Now: func() time.Time { return c.Now }})
			gate.Use(&authz.Bundle{
				Policy: r.Policy, Verifiers: verifiers, UnverifiedIssuer: jwt.UnverifiedIssuer,
				Lookups: authz.Lookups{"orders": owned{"o-1": "alice"}, "lists": owned{"l1": "alice"}},
			})
			q := *unsigned.Request
			q.Headers.Fields = nil
			for _, field := range unsigned.Request.Headers.Fields {
				if field.Name == "authorization" {
					field.Value = "Bearer " + sign(t, signing[c.Who.Issuer], strings.TrimPrefix(field.Value, "Bearer "))
				}
				q.Headers.Fields = append(q.Headers.Fields, field)
			}
			signed := gate.Check(t.Context(), &q)
			ignore := cmpopts.IgnoreFields(authz.Decision{}, "ID", "Err", "Rule", "Service", "Principal", "Address")
			if diff := cmp.Diff(signed, unsigned.Decision, ignore); diff != "" || signed.Rule != unsigned.Decision.Rule {
				t.Errorf("%s, %s: signed (-) and unsigned (+) differ:\n%s", who, request, diff)
			}
		}
	}
}

// owned knows one owner of each object.
type owned map[string]string

func (o owned) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	for i, object := range q.Objects {
		answers[i] = owner.Judge([]string{o[object]}, q.Subject)
	}
	return nil
}

// sign signs a token that has no signature.
func sign(t *testing.T, key *authztest.Key, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(header, &members); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	members["kid"] = key.ID
	if header, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return authztest.MintRaw(key, key.Alg, string(header), string(payload))
}

// A lookup that is asked about what the case does not mention makes the case fail, whatever was expected.
func TestUnansweredIsAMiss(t *testing.T) {
	c := one(t, "who: {issuer: shop, sub: alice}\nrequest: GET /orders/o-9\nlookups: {orders: {o-1: alice}}\nexpect: deny")
	result, err := room(t).Decide(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`lookup orders was asked about "o-9", and the case gives no answer`}
	if diff := cmp.Diff(want, result.Misses()); diff != "" {
		t.Error(diff)
	}
}

// Each thing that may be expected is held to the decision.
func TestMisses(t *testing.T) {
	for name, c := range map[string]struct {
		expect string
		want   []string
	}{
		"as it is":         {"{decision: allow, status: 200, reason: allowed, rule: list-orders, service: orders, step: effects, headers: {X-User-Id: user|shop|alice}}", nil},
		"a word":           {"deny", []string{"decision: expected deny, came allow"}},
		"status":           {"{status: 403}", []string{"status: expected 403, came 200"}},
		"reason":           {"{reason: owner}", []string{"reason: expected owner, came allowed"}},
		"detail":           {"{detail: not_theirs}", []string{"detail: expected not_theirs, came none"}},
		"rule":             {"{rule: old}", []string{"rule: expected old, came list-orders"}},
		"step":             {"{step: owner}", []string{"step: expected owner, came effects"}},
		"header":           {"{headers: {x-user-id: bob}}", []string{`header x-user-id: expected "bob", came "user|shop|alice"`}},
		"header not set":   {"{headers: {x-other: bob}}", []string{`header x-other: expected "bob", came none`}},
		"no such header":   {"{headers: {x-user-id: null}}", []string{`header x-user-id: expected none, came "user|shop|alice"`}},
		"metadata not set": {"{metadata: {plan: gold}}", []string{`metadata plan: expected "gold", came none`}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := room(t).Decide(t.Context(), one(t,
				"who: {issuer: shop, sub: alice, scopes: ['read:orders']}\nrequest: GET /users/alice/orders\nexpect: "+c.expect))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, result.Misses()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What does not make a request is said to whoever wrote it, and is no decision.
func TestNoRequest(t *testing.T) {
	for text, want := range map[string]string{
		"who: {sub: alice}\nrequest: GET /orders/o-1":                                          "say whose token it is: `issuer` is one of partner, shop",
		"who: {issuer: x, sub: alice}\nrequest: GET /orders/o-1":                               `the policy has no issuer "x"; it has partner, shop`,
		"who: {issuer: shop}\nrequest: {path: /, headers: {Authorization: Bearer x}}":          "an Authorization header and a token are two credentials: keep one",
		"service: web\nrequest: GET /orders/o-1":                                               "write a host, or `service`: the policy has orders",
		"who: {issuer: shop, claims: {realm_access: x, roles: [a]}}\nrequest: GET /orders/o-1": "the claim realm_access.roles cannot stand within realm_access, which is no map",
	} {
		if _, err := room(t).Decide(t.Context(), one(t, text)); err == nil || err.Error() != want {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
}

// A case that names what the policy does not have is mistaken.
func TestMisfits(t *testing.T) {
	c := one(t, "service: web\nrequest: GET /\nlookups: {order: {o-1: a}}\nexpect: {rule: list, service: x}")
	err := room(t).Misfits(c)
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{`no lookup "order"; it has lists, orders`, `no service "web"; it has orders`, `no service "x"`, `no rule "list"; it has office, hook,`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %s", err, want)
		}
	}
	if err := room(t).Misfits(one(t, "service: orders\nrequest: GET /\nlookups: {orders: {o-1: a}}\nexpect: {rule: none, service: none}")); err != nil {
		t.Error(err)
	}
}

// Claims are those that the issuer's tokens can be read for, in the types that they are declared in, and a case that is mistaken about one
// says where. An expectation that nothing can disappoint is a mistake as well.
func TestMisfitsAt(t *testing.T) {
	const request = "\nrequest: GET /"
	for text, want := range map[string]string{
		"who: {issuer: shop, claims: {rolse: [support]}}":                 "case.yaml:2:30: issuer shop declares no claim `rolse`; did you mean `roles`? Else, a token with such a claim",
		"who: {issuer: shop, claims: {colour: red}}":                      "case.yaml:2:30: issuer shop declares no claim `colour`; a token with such a claim is written with `token:`",
		"who: {issuer: partner, claims: {tenant: x}}":                     "issuer partner declares no claim `tenant`",
		"who: {issuer: shop, claims: {roles: support}}":                   "case.yaml:2:37: issuer shop declares claim `roles` as strings, and this is of another type; write a list",
		"who: {issuer: shop, claims: {tenant: [x]}}":                      "case.yaml:2:38: issuer shop declares claim `tenant` as string, and this is of another type; write a text",
		"who: {issuer: shop, claims: {roles: [1]}}":                       "declares claim `roles` as strings",
		"who: {issuer: shop, claims: {tenant: true}}":                     "declares claim `tenant` as string",
		"who: {issuer: shop, sub: a, claims: {sub: b}}":                   "case.yaml:2:38: `sub` and `claims` both say what the claim sub is",
		"who: {issuer: partner, scopes: [a], claims: {scp: [b]}}":         "`scopes` and `claims` both say what the claim scp is",
		"expect: {headers: {x-user-idd: null}}":                           "case.yaml:2:20: no rule sets the header \"x-user-idd\", so that it is always absent; did you mean \"x-user-id\"?",
		"expect: {metadata: {plan: null}}":                                "case.yaml:2:21: no rule sets the metadata \"plan\", so that it is always absent; leave it out",
		"expect: {rule: one-ordre}":                                       "case.yaml:2:16: the policy has no rule \"one-ordre\"",
		"lookups: {order: {a: b}}":                                        "case.yaml:2:11: the policy has no lookup \"order\"; it has lists, orders; did you mean \"orders\"?",
		"who: {issuer: shop, claims: {roles: [a], tenant: null}}":         "",
		"who: {issuer: shop, claims: {token_use: id}}":                    "",
		"who: {issuer: shop, claims: {realm_access: {roles: [a]}}}":       "",
		"who: {issuer: shop, claims: {iat: 1, exp: 2, nbf: 1, nonce: x}}": "",
		"who: {issuer: shop, claims: {jti: 7, sub: 7, cnf: {jkt: x}}}":    "",
		"who: {issuer: partner, claims: {scp: x, aud: y, act: {sub: z}}}": "",
		"token: {iss: 'https://issuer.test', rolse: [support], roles: x}": "",
		"expect: {headers: {X-User-Id: null}}":                            "",
	} {
		got := ""
		for _, err := range room(t).Misfits(one(t, text+request)) {
			got += err.Error() + "; " + err.Hint + "\n"
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s\n%s\nwant %s", text, got, want)
		}
	}
}

// Nobody but the tools makes a judge of unsigned tokens, and no file of the gates comes here.
func TestGatesStayAway(t *testing.T) {
	err := filepath.WalkDir("../../..", func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "build" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, dir := string(data), filepath.ToSlash(filepath.Dir(path))
		if strings.Contains(text, "jwt.NewUnproved") && !strings.HasSuffix(dir, "cmd/internal/offline") {
			t.Errorf("%s takes tokens without a signature", path)
		}
		tool := strings.HasSuffix(dir, "cmd/internal/offline") || strings.HasSuffix(dir, "cmd/sallyport") && strings.HasPrefix(filepath.Base(path), "policy_")
		if strings.Contains(text, "offline.NewRoom") && !tool {
			t.Errorf("%s decides described requests", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
