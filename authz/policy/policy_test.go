package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// shop is a policy with one of everything; the tests bend one line of it at a time.
const shop = `version: 1
trust_domain: cluster.local
peers: envoy
gateways: [istio-system/ingress]
trusted_proxies: [10.0.0.0/8]
issuers:
  shop:
    issuer: https://auth.example.com
    jwks: https://auth.example.com/jwks.json
    audiences: [orders-api]
    machine: token.sub == token.client_id
    claims:
      roles: {from: realm_access.roles, type: strings}
      plan: string
      email: string
services:
  - name: orders
    hosts: [orders.shop.svc.cluster.local]
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    rules:
      - name: list-orders
        match: GET /users/{user_id}/orders
        callers: [web/frontend]
        scopes: ["read:orders"]
        owner: {of: path.user_id, is: token.sub, unless_role: admin}
        metadata:
          plan: {value: token.plan, default: free}
      - name: catalogue
        match: GET /catalogue/{item}
        owner: none
      - name: reindex
        match: POST /internal/reindex
        callers: [batch/*]
        token: none
      - name: assets
        match: GET,HEAD /assets/{rest...}
        public: true
        except: [/assets/private/]
      - name: retired
        match: GET /v0/{rest...}
        deny: 410
`

func parse(text string) (*Policy, string) {
	p, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(text)}})
	return p, errs.Pretty()
}

func mustParse(t *testing.T, text string) *Policy {
	t.Helper()
	p, errs := parse(text)
	if p == nil {
		t.Fatalf("the policy does not load:\n%s", errs)
	}
	return p
}

func bend(t *testing.T, old, new string) string {
	t.Helper()
	if strings.Count(shop, old) != 1 {
		t.Fatalf("%q stands %d times in the policy", old, strings.Count(shop, old))
	}
	return strings.Replace(shop, old, new, 1)
}

func TestShopLoads(t *testing.T) {
	p := mustParse(t, shop)
	if len(p.Services) != 1 || len(p.Services[0].Rules) != 5 || p.Issuers["shop"] == nil {
		t.Fatalf("services %d, issuers %d", len(p.Services), len(p.Issuers))
	}
	issuer := p.Issuers["shop"]
	if got := strings.Join(issuer.Algorithms, " "); got != "RS256 PS256 ES256 EdDSA" {
		t.Errorf("default algorithms: %s", got)
	}
	if got := strings.Join(issuer.Types, " "); got != "at+jwt" {
		t.Errorf("default types: %s", got)
	}
	if got := strings.Join(issuer.Require, " "); got != "sub client_id jti" {
		t.Errorf("default require: %s", got)
	}
	other := mustParse(t, bend(t, "audiences: [orders-api]", "audiences: [orders-api]\n    leeway: 5s"))
	if other.Issuers["shop"].Digest == issuer.Digest {
		t.Error("another leeway has the same digest: caches would keep the old one's tokens")
	}
}

// Each line of a policy that must not load: what is bent, and what the error says, with its line.
func TestRefused(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		// The file.
		"unknown key":        {"version: 1\n", "version: 1\nservises: []\n", "2:1: unknown key \"servises\""},
		"another version":    {"version: 1\n", "version: 2\n", "1:10: "},
		"no version":         {"version: 1\n", "", "does not say its `version`"},
		"duplicate key":      {"peers: envoy\n", "peers: envoy\npeers: envoy\n", "4:1: "},
		"second document":    {"services:\n", "---\nservices:\n", "second document"},
		"anchor":             {"peers: envoy\n", "peers: &p envoy\n", "3:8: "},
		"number for text":    {"name: orders\n", "name: 5\n", "17:11: "},
		"stale means maybe":  {"peers: envoy\n", "peers: envoy\nrevocation: {when_stale: maybe}\n", "not \"maybe\""},
		"revoked by no name": {"issuers:\n  shop:\n", "revocation: {}\nissuers:\n  shop:\n    require: [sub, client_id]\n", "could not be revoked"},

		// Issuers.
		"no audiences":             {"    audiences: [orders-api]\n", "", "the issuer has no `audiences`"},
		"empty audiences":          {"[orders-api]", "[]", "`audiences` is empty"},
		"wildcard audience":        {"[orders-api]", "[\"*\"]", "no wildcard exists"},
		"algorithm none":           {"    audiences", "    algorithms: [none]\n    audiences", "cannot be \"none\""},
		"algorithm HS256":          {"    audiences", "    algorithms: [RS256, HS256]\n    audiences", "cannot be \"HS256\""},
		"http keys off loopback":   {"jwks: https://auth.example.com/jwks.json", "jwks: http://auth.example.com/jwks.json", "9:11: keys over plain http"},
		"password in a URL":        {"jwks: https://auth", "jwks: https://me:pw@auth", "9:11: a URL with a user or password in it is refused"},
		"keys from nowhere":        {"jwks: https://auth.example.com/jwks.json", "jwks: \"\"", "9:11: not a URL of a key set"},
		"keys by ftp":              {"jwks: https://auth", "jwks: ftp://auth", "cannot be fetched by \"ftp\""},
		"relative file of keys":    {"jwks: https://auth.example.com/jwks.json", "jwks: file://keys.json", "absolute path"},
		"JWT without where":        {"    audiences", "    types: [JWT]\n    audiences", "takes every kind of JWT"},
		"no typ without where":     {"    audiences", "    types: [none]\n    audiences", "takes every kind of JWT"},
		"markers without where":    {"    audiences", "    allow_markers: [nonce]\n    audiences", "would take ID tokens"},
		"client_id not required":   {"    machine: token.sub == token.client_id\n", "    require: [sub]\n", "must state `machine`"},
		"machine does not compile": {"machine: token.sub == token.client_id", "machine: token.sub ==", "expression, line 1"},
		"machine, undeclared":      {"machine: token.sub == token.client_id", "machine: has(token.gty)", "gty"},
		"machine, unguarded":       {"machine: token.sub == token.client_id", "machine: token.plan == \"m2m\"", "has(token.plan)"},
		"claim of no type":         {"plan: string", "plan: text", "no type of a claim"},
		"built-in claim":           {"plan: string", "sub: string", "is read already"},
		"a claim from nowhere":     {"roles: {from: realm_access.roles, type: strings}", "roles: {from: [], type: strings}", "not a claim's place"},
		"a claim from a void":      {"roles: {from: realm_access.roles, type: strings}", "roles: {from: [\"\"], type: strings}", "not a claim's place"},
		"client_id from nowhere":   {"    audiences", "    client_id: []\n    audiences", "not a claim's place"},
		"audience in a void":       {"    audiences", "    audience_claim: a..b\n    audiences", "not a claim's place"},
		"required within another":  {"    audiences", "    require: [sub, client_id, jti, a.b]\n    audiences", "cannot look into"},
		"where iss":                {"    audiences", "    where: {iss: \"https://auth.example.com\"}\n    audiences", "tells no kind from another"},
		"password in the issuer":   {"issuer: https://auth", "issuer: https://me:pw@auth", "8:13: a URL with a user or password in it is refused"},
		"password, bad escape":     {"jwks: https://auth.example.com/jwks.json", "jwks: \"https://me:pw@a%zzb/\"", "9:11: not a URL"},
		"password beside an error": {"jwks: https://auth.example.com/jwks.json", "jwks: {url: \"https://me:pw@auth/\", ca: x}", "unknown key \"ca\""},
		"endless leeway":           {"    audiences", "    leeway: 2h\n    audiences", "10:13: 2h is out of range"},

		// Services.
		"no hosts":                 {"    hosts: [orders.shop.svc.cluster.local]\n", "", "does not say its `hosts`"},
		"host in upper case":       {"[orders.shop.svc.cluster.local]", "[Orders.shop]", "is no host"},
		"host with a port":         {"[orders.shop.svc.cluster.local]", "[\"orders.shop:8080\"]", "is no host"},
		"header host":              {"x-user-id: token.sub", "host: token.sub", "cannot be set"},
		"header x-envoy":           {"x-user-id: token.sub", "x-envoy-user: token.sub", "cannot be set"},
		"header hop-by-hop":        {"x-user-id: token.sub", "Connection: token.sub", "cannot be set"},
		"header framing":           {"x-user-id: token.sub", "content-length: token.sub", "cannot be set"},
		"header forwarded":         {"x-user-id: token.sub", "x-forwarded-user: token.sub", "cannot be set"},
		"header of ours":           {"x-user-id: token.sub", "x-sallyport-user: token.sub", "cannot be set"},
		"header pseudo":            {"x-user-id: token.sub", "\":path\": token.sub", "cannot be set"},
		"header empty":             {"x-user-id: token.sub", "\"\": token.sub", "cannot be set"},
		"header in two":            {"x-user-id: token.sub", "x-user-id: token.sub, X-User-Id: token.plan", "is set twice"},
		"header from nobody":       {"x-user-id: token.sub", "x-user-id: request.path", "is no source of a value"},
		"a gRPC probe of a stream": {"[/healthz]", "[/grpc.health.v1.Health/Watch]", "is no probe of gRPC"},
		"a probe for a gateway":    {"[/healthz]", "[{path: /metrics, callers: [istio-system/*]}]", "carries other people's requests"},
		"a rule called probe":      {"name: catalogue", "name: probe", "the lack of a rule"},
		"header underscore":        {"x-user-id: token.sub", "x_user_id: token.sub", "no header name"},
		"header of a list":         {"x-user-id: token.sub", "x-roles: token.roles", "is of type strings"},
		"undeclared claim":         {"x-user-id: token.sub", "x-user-id: token.uid", "declares no claim `uid`"},
		"callers, no peers":        {"peers: envoy\n", "", "does not say who checked"},
		"short caller":             {"trust_domain: cluster.local\n", "", "needs `trust_domain`"},
		"odd caller":               {"[web/frontend]", "[\"spiffe://cluster.local/a//b\"]", "not a SPIFFE ID"},

		// Patterns.
		"equal patterns":   {"GET /catalogue/{item}", "GET /users/{id}/orders", "meets"},
		"folded patterns":  {"GET /catalogue/{item}", "GET /Users/{id}/orders", "meets"},
		"final slash":      {"GET /catalogue/{item}", "GET /catalogue/{item}/", "{$}"},
		"dot segment":      {"GET /catalogue/{item}", "GET /catalogue/../{item}", "pattern"},
		"no method":        {"GET /catalogue/{item}", "/catalogue/{item}", "pattern"},
		"different names":  {"match: GET /catalogue/{item}", "match: [\"GET /catalogue/{item}\", \"GET /catalogue/{other}/x\"]", "bind different names"},
		"rest in the rear": {"GET /v0/{rest...}", "GET /v0/{rest...}/x", "pattern"},

		// Rules.
		"capture without owner":      {"        owner: none\n", "", "captures `item` and does not say whose it is"},
		"unknown name in owner":      {"of: path.user_id", "of: path.uid", "captures no `uid`"},
		"owner by a mutable claim":   {"is: token.sub,", "is: token.email,", "can change hands"},
		"owner answers 410":          {"is: token.sub,", "is: token.sub, otherwise: 410,", "cannot answer 410"},
		"unless does not check":      {"unless_role: admin", "unless: token.sub + 1", "expression, line 1"},
		"unless, undeclared":         {"unless_role: admin", "unless: token.tier == \"x\"", "tier"},
		"unless reads the request":   {"unless_role: admin", "unless: request.path == \"x\"", "request"},
		"public with scopes":         {"        public: true\n", "        public: true\n        scopes: [a]\n", "a public rule asks nobody who they are"},
		"public with an owner":       {"        public: true\n", "        public: true\n        owner: none\n", "a public rule asks nobody who they are"},
		"public with callers":        {"        public: true\n", "        public: true\n        callers: [a/b]\n", "a public rule asks nobody who they are"},
		"public with an issuer":      {"        public: true\n", "        public: true\n        issuer: shop\n", "a public rule asks nobody who they are"},
		"public with roles":          {"        public: true\n", "        public: true\n        roles: [admin]\n", "a public rule asks nobody who they are"},
		"public with a claim":        {"        public: true\n", "        public: true\n        metadata: {plan: token.plan}\n", "is never set"},
		"owner of an odd query":      {"of: path.user_id", "of: query.user%20id", "cannot stand in a query as it is"},
		"owner of an odd header":     {"of: path.user_id", "of: header.X_User", "is no header name"},
		"except under a token":       {"        owner: none\n", "        owner: none\n        except: [/x/]\n", "belongs to rules that ask for no token"},
		"except without a rest":      {"GET,HEAD /assets/{rest...}", "GET,HEAD /assets/all", "takes from a `{rest...}`"},
		"deny without a status":      {"deny: 410", "deny: true", ""},
		"upgrade of capitals":        {"        owner: none\n", "        owner: none\n        upgrades: [WebSocket]\n", "is no upgrade"},
		"public false":               {"        public: true\n", "        public: false\n", "says nothing"},
		"rest without except":        {"        except: [/assets/private/]\n", "", "covers everything that will ever lie below it"},
		"token none and no caller":   {"        callers: [batch/*]\n", "", "would ask nobody anything"},
		"token none for a gateway":   {"[batch/*]", "[istio-system/*]", "carries other people's requests"},
		"token none with scopes":     {"        token: none\n", "        token: none\n        scopes: [a]\n", "has no token to hold to this"},
		"callers any":                {"callers: [web/frontend]", "callers: any", "only a public rule may"},
		"deny 500":                   {"deny: 410", "deny: 500", "cannot deny with 500"},
		"deny with callers":          {"deny: 410", "deny: 410\n        callers: [a/b]", "refuses everybody"},
		"two kinds":                  {"deny: 410", "deny: 410\n        public: true", "exclude each other"},
		"built-in metadata":          {"plan: {value: token.plan, default: free}", "who: {value: token.plan, default: free}", "built in"},
		"metadata of a list":         {"value: token.plan", "value: token.roles", "is of type strings"},
		"unknown issuer":             {"        owner: none\n", "        owner: none\n        issuer: shops\n", "no issuer named `shops`"},
		"a second rule's name":       {"name: catalogue", "name: retired", "is named `retired`"},
		"a name of capitals":         {"name: catalogue", "name: Catalogue", "cannot be \"Catalogue\""},
		"a scope with a space":       {"[\"read:orders\"]", "[\"read orders\"]", "cannot be a scope"},
		"either of one":              {"        owner: none\n", "        either: [{issuer: shop, owner: none}]\n", "is no choice"},
		"either of two alike":        {"        owner: none\n", "        either: [{issuer: shop, owner: none}, {issuer: shop, owner: none, scopes: [a]}]\n", "can never be chosen"},
		"either beside a demand":     {"        owner: none\n", "        owner: none\n        either: [{issuer: shop, owner: none}, {token: none, callers: [a/b]}]\n", "says in its branches"},
		"either without an owner":    {"        owner: none\n", "        either: [{issuer: shop}, {token: none, callers: [a/b]}]\n", "does not say whose it is"},
		"either, a public branch":    {"        owner: none\n", "        either: [{issuer: shop, owner: none}, {public: true}]\n", "unknown key \"public\""},
		"an odd sender":              {"        owner: none\n", "        owner: none\n        sender: dpop\n", "cannot be \"dpop\""},
		"a sender of no token":       {"        token: none\n", "        token: none\n        sender: mtls\n", "has no token to hold to this"},
		"a connection for ever":      {"        owner: none\n", "        owner: none\n        upgrades: [websocket]\n        max_connection: 2h\n", "no token of `shop` lives as long"},
		"clients without a name":     {"        owner: none\n", "        owner: none\n        clients: {\"\": [a/b]}\n", "every token that has none"},
		"a bound on a refusal":       {"deny: 410", "deny: 410\n        max_connection: 15m", "refuses everybody"},
		"a bound on a public rule":   {"        public: true\n", "        public: true\n        max_connection: 15m\n", "nothing of a public rule outlives"},
		"clients of nobody":          {"        owner: none\n", "        owner: none\n        clients: {}\n", "would refuse everybody"},
		"not yet: headers of a rule": {"        owner: none\n", "        owner: none\n        headers: {}\n", "`headers` is not supported by this version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, errs := parse(bend(t, test.old, test.new))
			if p != nil {
				t.Fatal("it loads")
			}
			if !strings.Contains(errs, test.want) {
				t.Errorf("the errors do not say %q:\n%s", test.want, errs)
			}
			if strings.Contains(errs, "me:pw@") {
				t.Errorf("the password is shown:\n%s", errs)
			}
		})
	}
}

func TestWholeFilesRefused(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "a scalar": "hello", "100,000 [": strings.Repeat("[", 100_000), "NUL": "version: 1\x00"} {
		if p, errs := parse(text); p != nil || errs == "" {
			t.Errorf("%s: loads, or says nothing", name)
		}
	}
}

// All errors come at once, each at its place.
func TestEveryErrorAtOnce(t *testing.T) {
	text := strings.NewReplacer("[orders-api]", "[]", "owner: none", "owner: some", "deny: 410", "deny: 500").Replace(shop)
	_, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(text)}})
	if len(errs) != 3 {
		t.Errorf("%d errors:\n%s", len(errs), errs.Pretty())
	}
}

// One mistake is one error: a second one about what follows from it would send its reader to the wrong place.
func TestOneMistakeIsOneError(t *testing.T) {
	for name, test := range map[string]struct{ old, new string }{
		"a list for a role":       {"unless_role: admin", "unless_role: [admin, support]"},
		"a credential for an id":  {"of: path.user_id", "of: header.authorization"},
		"a secret in a condition": {"unless_role: admin}", "unless_role: admin}\n        condition: header.cookie == \"x\""},
	} {
		if _, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(bend(t, test.old, test.new))}}); len(errs) != 1 {
			t.Errorf("%s: %d errors:\n%s", name, len(errs), errs.Pretty())
		}
	}
}

// What the README shows of policies is in the example below; these are the forms that it leaves out.
func TestAccepted(t *testing.T) {
	tests := map[string]struct{ old, new string }{
		"keys by http on loopback": {"jwks: https://auth.example.com/jwks.json", "jwks: http://127.0.0.1:8080/jwks.json"},
		"keys by plain http":       {"jwks: https://auth.example.com/jwks.json", "jwks: {url: \"http://idp/jwks\", plain_http: true, networks: [10.0.0.0/8]}"},
		"keys in a file":           {"jwks: https://auth.example.com/jwks.json", "jwks: file:///etc/keys.json"},
		"discovery":                {"    jwks: https://auth.example.com/jwks.json\n", ""},
		"JWT with where":           {"    audiences", "    types: [JWT]\n    where: {token_use: access}\n    audiences"},
		"JWT with where {}":        {"    audiences", "    types: [JWT]\n    where: {}\n    audiences"},
		"machine never":            {"machine: token.sub == token.client_id", "machine: never"},
		"machine guarded":          {"machine: token.sub == token.client_id", "machine: has(token.plan) && token.plan == \"m2m\""},
		"mutable owner":            {"is: token.sub,", "is: token.email, mutable: true,"},
		"unless":                   {"unless_role: admin", "unless: '\"admin\" in token.roles && caller.startsWith(\"spiffe://\")'"},
		"hidden":                   {"is: token.sub,", "is: token.sub, otherwise: 404,"},
		"encoded header":           {"x-user-id: token.sub", "x-user-name: {from: token.email, encode: percent}"},
		"joined header":            {"x-user-id: token.sub", "x-roles: {from: token.roles, join: \";\"}"},
		"docs and below":           {"match: GET /catalogue/{item}", "match: [GET /docs, \"GET /docs/{rest...}\"]"},
		"gRPC":                     {"match: GET /catalogue/{item}", "match: /shop.Orders/List"},
		"empty except":             {"except: [/assets/private/]", "except: []"},
		"folded, but exact":        {"    probes: [/healthz]\n", "    probes: [/healthz]\n    spelling: exact\n"},
		"kubernetes":               {"hosts: [orders.shop.svc.cluster.local]", "kubernetes: shop/orders"},
		"probe by callers":         {"probes: [/healthz]", "probes: [/healthz, {path: /metrics, callers: [monitoring/prometheus]}, /grpc.health.v1.Health/Check]"},
		"a bounded connection":     {"        owner: none\n", "        owner: none\n        upgrades: [websocket]\n        max_connection: 30m\n"},
		"either":                   {"        owner: none\n", "        either: [{issuer: shop, owner: none, scopes: [a]}, {token: none, callers: [a/b]}]\n"},
		"sender":                   {"        owner: none\n", "        owner: none\n        sender: mtls\n"},
		"clients":                  {"        owner: none\n", "        owner: none\n        clients: {web: [web/frontend]}\n"},
		"revocation":               {"peers: envoy\n", "peers: envoy\nrevocation: {stale_after: 30s, when_stale: allow}\n"},
		"public under callers":     {"    probes: [/healthz]\n", "    probes: [/healthz]\n    callers: [web/*]\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := bend(t, test.old, test.new)
			if name == "public under callers" {
				if p, errs := parse(text); p != nil || !strings.Contains(errs, "callers: any") {
					t.Fatalf("a public rule under callers loads without saying which holds:\n%s", errs)
				}
				text = strings.Replace(text, "public: true", "public: true\n        callers: any", 1)
			}
			mustParse(t, text)
		})
	}
}

func TestWarnsOfNamesInHeaders(t *testing.T) {
	p := mustParse(t, bend(t, "x-user-id: token.sub", "x-email: token.email"))
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Msg, "no header can hold") {
		t.Errorf("warnings: %s", p.Warnings.Pretty())
	}
}

// Two issuers that reach one service: a bare sub in a header could be two people.
func TestSubOfTwoIssuers(t *testing.T) {
	text := strings.Replace(shop, "services:\n", "  partner:\n    issuer: https://partner.example\n    audiences: [orders-api]\nservices:\n", 1)
	text = strings.NewReplacer("owner: none\n", "owner: none\n        issuer: partner\n", "callers: [web/frontend]\n", "callers: [web/frontend]\n        issuer: shop\n").Replace(text)
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "write token.who") {
		t.Errorf("token.sub of two issuers goes into one header:\n%s", errs)
	}
	mustParse(t, strings.Replace(text, "x-user-id: token.sub", "x-user: token.who", 1))
	// Not by another name either.
	alias := strings.NewReplacer("plan: string\n", "plan: string\n      uid: {from: sub, type: string}\n", "x-user-id: token.sub", "x-user-id: token.uid",
		"issuer: https://partner.example\n", "issuer: https://partner.example\n    claims: {uid: {from: sub, type: string}}\n").Replace(text)
	if p, errs := parse(alias); p != nil || !strings.Contains(errs, "write token.who") {
		t.Errorf("a sub by another name goes into one header:\n%s", errs)
	}
	// Nor over two edge services of one host.
	pair := func(second string) string {
		return "version: 1\nissuers:\n  a: {issuer: \"https://a\", audiences: [x]}\n  b: {issuer: \"https://b\", audiences: [x]}\nservices:\n" +
			"  - {name: one, edge: true, hosts: [h], headers: {x-user: token.sub}, rules: [{name: r, match: GET /one, issuer: a}]}\n" +
			"  - {name: two, edge: true, hosts: [" + second + "], headers: {x-user: token.sub}, rules: [{name: r, match: GET /two, issuer: b}]}\n"
	}
	mustParse(t, pair("g"))
	if p, errs := parse(pair("h")); p != nil || !strings.Contains(errs, "write token.who") {
		t.Errorf("two edge services of one host set one header from two issuers' subs:\n%s", errs)
	}
}

// Two names of one `iss` are no choice: the token says only the iss.
func TestEitherOfOneIssuer(t *testing.T) {
	text := strings.NewReplacer("services:\n", "  twin: {issuer: \"https://auth.example.com\", audiences: [orders-api]}\nservices:\n",
		"owner: none\n", "either: [{issuer: shop, owner: none, scopes: [admin]}, {issuer: twin, owner: none}]\n",
		"callers: [web/frontend]\n", "callers: [web/frontend]\n        issuer: shop\n", "x-user-id: token.sub", "x-user-id: token.who").Replace(shop)
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "can never be chosen") {
		t.Errorf("two branches of one iss load:\n%s", errs)
	}
}

// What was allowed once must not outlive its revocation without a bound.
func TestUpgradesUnderRevocation(t *testing.T) {
	text := strings.NewReplacer("issuers:\n", "revocation: {}\nissuers:\n", "owner: none\n", "owner: none\n        upgrades: [websocket]\n").Replace(shop)
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "would outlive every revocation") {
		t.Errorf("an upgrade without a bound loads under revocation:\n%s", errs)
	}
	mustParse(t, strings.Replace(text, "upgrades: [websocket]\n", "upgrades: [websocket]\n        max_connection: 15m\n", 1))
}

// A defect in the compiler is an error of the files that changed: a gate that reloads keeps the last good ones.
func TestDefectIsAnError(t *testing.T) {
	c := newCompiler(nil)
	c.sources = []*source{{name: "a.yaml", changed: true}} // no document: whatever looks at it panics
	if p, errs := c.finish(); p != nil || len(errs) != 1 || errs[0].File != "a.yaml" {
		t.Errorf("policy %v, errors %v", p, errs)
	}
}

// An issuer with several audiences: each service says which it is.
func TestAudienceOfService(t *testing.T) {
	text := bend(t, "[orders-api]", "[orders-api, stock-api]")
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "does not say which it is") {
		t.Errorf("loads without an audience:\n%s", errs)
	}
	mustParse(t, strings.Replace(text, "probes: [/healthz]", "probes: [/healthz]\n    audience: stock-api", 1))
	if p, _ := parse(strings.Replace(text, "probes: [/healthz]", "probes: [/healthz]\n    audience: other", 1)); p != nil {
		t.Error("an audience that the issuer has not loads")
	}
}

const services = `version: 1
trust_domain: td
peers: envoy
probes: [/livez]
services:
  - name: a
    hosts: [a.example, "*.shared.example"]
    workloads: [shop/a]
    rules: [{name: r, match: "GET /{$}", public: true}]
    probes: [/healthz]
  - name: b
    hosts: [b.example]
    workloads: [shop/b]
    rules: [{name: r, match: "GET /{$}", public: true}]
  - name: e1
    edge: true
    hosts: [www.example, "*.www.example"]
    probes: [/readyz]
    rules: [{name: e1, match: GET /one, public: true}]
  - name: e2
    edge: true
    hosts: [www.example, api.www.example]
    rules: [{name: e2, match: GET /two, public: true}]
`

func TestChooseService(t *testing.T) {
	p := mustParse(t, services)
	tests := []struct {
		name string
		pin  Pin
		host string
		path string
		want string // service/rule, "" for a wrong service
	}{
		// The pin beats the Host header, which is the client's word.
		{"flag", Pin{Flag: "a"}, "a.example", "/", "a/r"},
		{"flag, another's host", Pin{Flag: "a"}, "b.example", "/", ""},
		{"flag, suffix host", Pin{Flag: "a"}, "x.shared.example", "/", "a/r"},
		{"flag, suffix itself", Pin{Flag: "a"}, "shared.example", "/", ""},
		{"unknown flag", Pin{Flag: "c"}, "a.example", "/", ""},
		{"context", Pin{Context: "b", HasContext: true}, "b.example", "/", "b/r"},
		{"unknown context", Pin{Context: "c", HasContext: true}, "b.example", "/", ""},
		{"empty context", Pin{HasContext: true}, "b.example", "/", ""},
		{"context against flag", Pin{Flag: "a", Context: "b", HasContext: true}, "a.example", "/", ""},
		{"context with flag", Pin{Flag: "a", Context: "a", HasContext: true}, "a.example", "/", "a/r"},
		{"flag, the sidecar's own identity", Pin{Flag: "b", Destination: "spiffe://td/ns/shop/sa/b"}, "b.example", "/", "b/r"},
		{"flag, a stranger's identity", Pin{Flag: "a", Destination: "spiffe://td/ns/shop/sa/x"}, "a.example", "/", "a/r"},
		{"flag, another service's identity", Pin{Flag: "a", Destination: "spiffe://td/ns/shop/sa/b"}, "a.example", "/", ""},
		{"context, another service's identity", Pin{Context: "a", HasContext: true, Destination: "spiffe://td/ns/shop/sa/b"}, "a.example", "/", "a/r"},
		{"workload", Pin{Destination: "spiffe://td/ns/shop/sa/b"}, "b.example", "/", "b/r"},
		{"workload, another's host", Pin{Destination: "spiffe://td/ns/shop/sa/b"}, "a.example", "/", ""},
		// The host alone chooses only among edge services.
		{"no pin, sidecar's host", Pin{}, "a.example", "/", ""},
		{"edge", Pin{}, "www.example", "/one", "e1/e1"},
		{"edge, the other's rule on a shared host", Pin{}, "www.example", "/two", "e2/e2"},
		{"edge, suffix", Pin{}, "x.www.example", "/one", "e1/e1"},
		{"edge, suffix, not the other's", Pin{}, "x.www.example", "/two", "none"},
		{"edge, exact name under a suffix", Pin{}, "api.www.example", "/two", "e2/e2"},
		{"edge, exact name under a suffix, suffix's rule", Pin{}, "api.www.example", "/one", "e1/e1"},
		{"edge, unknown host", Pin{}, "example", "/one", ""},
		{"edge, the suffix's dot alone", Pin{}, ".www.example", "/one", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := serve(t, p, test.pin, test.host, test.path); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func serve(t *testing.T, p *Policy, pin Pin, host, path string) string {
	t.Helper()
	choice, ok := p.Choose(pin)
	if !ok {
		return ""
	}
	if choice, ok = p.Admit(choice, host); !ok {
		return ""
	}
	tg, err := target.Parse("GET", host, path)
	if err != nil {
		t.Fatal(err)
	}
	rule, _, outcome := choice.Match(&tg, nil)
	if outcome != pattern.Found {
		return "none"
	}
	return rule.Service.Name + "/" + rule.Name
}

// A star among the workloads is one more way to run as somebody, and several services that do are none.
func TestStarredWorkloads(t *testing.T) {
	text := strings.NewReplacer("workloads: [shop/a]", "workloads: [shop/a, shop/a, \"shop/*\"]", "workloads: [shop/b]", "workloads: [shop/b, other/b]").Replace(services)
	p := mustParse(t, text)
	for destination, want := range map[string]string{"shop/a": "a", "shop/x": "a", "other/b": "b", "shop/b": "", "other/x": "none"} {
		namespace, account, _ := strings.Cut(destination, "/")
		choice, ok := p.Choose(Pin{Destination: "spiffe://td/ns/" + namespace + "/sa/" + account})
		got := "none"
		switch {
		case !ok:
			got = ""
		case choice.Service != nil:
			got = choice.Service.Name
		}
		if got != want {
			t.Errorf("%s runs as %q, want %q", destination, got, want)
		}
	}
	if _, ok := p.Choose(Pin{Flag: "b", Destination: "spiffe://td/ns/shop/sa/b"}); !ok {
		t.Error("one of two that run as it, and named by the flag, is refused")
	}
}

// Finding the service of a sidecar costs the same among ten and among ten thousand.
func BenchmarkChoose(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		p := &Policy{byName: map[string]*Service{}}
		for i := range n {
			workload, err := ParseCallerPattern(fmt.Sprintf("shop/service-%d", i), "td")
			if err != nil {
				b.Fatal(err)
			}
			p.Services = append(p.Services, &Service{Name: fmt.Sprintf("service-%d", i), Workloads: []CallerPattern{workload}})
		}
		p.indexWorkloads()
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if choice, ok := p.Choose(Pin{Destination: "spiffe://td/ns/shop/sa/service-7"}); !ok || choice.Service != p.Services[7] {
					b.Fatal("another service")
				}
			}
		})
	}
}

// A single service needs no pin.
func TestSingleService(t *testing.T) {
	p := mustParse(t, shop)
	if got := serve(t, p, Pin{}, "orders.shop.svc.cluster.local", "/assets/x"); got != "orders/assets" {
		t.Errorf("got %q", got)
	}
	if got := serve(t, p, Pin{}, "evil.example", "/assets/x"); got != "" {
		t.Errorf("another host is served: %q", got)
	}
}

func TestHostsOfTwoServices(t *testing.T) {
	for name, text := range map[string]string{
		"one host":          strings.Replace(services, "[b.example]", "[a.example]", 1),
		"suffix and host":   strings.Replace(services, "[b.example]", "[x.shared.example]", 1),
		"any and host":      strings.Replace(services, "[b.example]", "[\"*\"]", 1),
		"edge and sidecar":  strings.Replace(services, "[b.example]", "[www.example]", 1),
		"equal edge rules":  strings.Replace(services, "GET /two", "GET /one", 1),
		"folded edge rules": strings.Replace(services, "GET /two", "GET /ONE", 1),
	} {
		if p, _ := parse(text); p != nil {
			t.Errorf("%s: loads", name)
		}
	}
}

func TestProbes(t *testing.T) {
	p := mustParse(t, services)
	tests := []struct {
		pin          Pin
		method, path string
		want         bool
	}{
		{Pin{Flag: "a"}, "GET", "/healthz", true},
		{Pin{Flag: "a"}, "HEAD", "/healthz", true},
		{Pin{Flag: "a"}, "POST", "/healthz", false},
		{Pin{Flag: "a"}, "GET", "/healthz/", false},
		{Pin{Flag: "a"}, "GET", "/Healthz", false},
		{Pin{Flag: "b"}, "GET", "/healthz", false},
		{Pin{Flag: "a"}, "GET", "/livez", false},
		{Pin{}, "GET", "/livez", true},
		{Pin{}, "GET", "/healthz", false},
		// An edge service answers for its own probes, where it is pinned, and for those at the top.
		{Pin{Flag: "e1"}, "GET", "/readyz", true},
		{Pin{Flag: "e1"}, "GET", "/livez", true},
		{Pin{Flag: "e2"}, "GET", "/livez", true},
		{Pin{Flag: "e2"}, "GET", "/readyz", false},
		{Pin{}, "GET", "/readyz", false},
	}
	for _, test := range tests {
		choice, _ := p.Choose(test.pin)
		if _, got := choice.Probe(test.method, test.path); got != test.want {
			t.Errorf("%+v %s %s: %v", test.pin, test.method, test.path, got)
		}
	}
}

// Where a file names two issuers, each rule says whose tokens it takes.
func TestIssuerOfRule(t *testing.T) {
	text := strings.Replace(shop, "services:\n", "  partner: {issuer: \"https://partner.example\", audiences: [orders-api]}\nservices:\n", 1)
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "does not say its `issuer`, and this file names 2") {
		t.Errorf("a rule of nobody in particular loads:\n%s", errs)
	}
}

// `kubernetes` stands for the four names of a Service, the last by the cluster's domain.
func TestKubernetesNames(t *testing.T) {
	text := bend(t, "hosts: [orders.shop.svc.cluster.local]", "kubernetes: shop/orders")
	for domain, last := range map[string]string{"": "orders.shop.svc.cluster.local", "cluster_domain: mesh.internal\n": "orders.shop.svc.mesh.internal"} {
		p := mustParse(t, strings.Replace(text, "services:\n", domain+"services:\n", 1))
		if got, want := strings.Join(p.Services[0].Hosts, " "), "orders orders.shop orders.shop.svc "+last; got != want {
			t.Errorf("%q: %s", domain, got)
		}
	}
	for _, bad := range []string{"orders", "shop/orders/x", "Shop/orders", "shop/*", "/orders"} {
		if p, _ := parse(strings.Replace(text, "kubernetes: shop/orders", "kubernetes: "+bad, 1)); p != nil {
			t.Errorf("%q is a Kubernetes service", bad)
		}
	}
}

// No rule may write over what every answer carries.
func TestBuiltInMetadata(t *testing.T) {
	for _, name := range []string{"decision", "reason", "rule", "service", "decision_id", "policy", "who", "subject", "issuer", "client_id", "caller", "address", "ext_authz_duration"} {
		if p, errs := parse(bend(t, "          plan: {", "          "+name+": {")); p != nil || !strings.Contains(errs, "built in") {
			t.Errorf("%s is a rule's to set:\n%s", name, errs)
		}
	}
}

// Every header by which a client asks for another request is removed from every service's requests, and so is every identity header
// of the policy that the service does not set itself.
func TestStrip(t *testing.T) {
	p := mustParse(t, strings.Replace(services, "    probes: [/healthz]", "    headers: {x-caller: caller}\n    probes: [/healthz]", 1))
	for _, s := range p.Services {
		for _, name := range methodChoosers {
			if !slices.Contains(s.Strip, name) || !slices.Contains(p.Strip, name) {
				t.Errorf("%s: %s reaches the upstream", s.Name, name)
			}
		}
		if slices.Contains(s.Strip, "x-caller") == (s.Name == "a") {
			t.Errorf("%s: strips %v", s.Name, s.Strip)
		}
	}
	for name, want := range map[string]bool{"x-caller": true, "x_caller": true, "x-other": false, "x_other": false, "": false} {
		if p.IdentityHeader(name) != want {
			t.Errorf("%q is an identity header: %v", name, !want)
		}
	}
	for name, want := range map[string]bool{"x-http-method-override": true, "x_http-method_override": true, "x_rewrite_url": true, "x-user-id": false, "": false} {
		if Chooser(name) != want {
			t.Errorf("%q chooses: %v", name, !want)
		}
	}
}
