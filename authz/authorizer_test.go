package authz_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// The Host header is held to the service's hosts, folded, with one port and one final dot cut.
func TestHost(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"its host", get("/me", as("alice")), "200 allowed me"},
		{"in capitals, with a port and a dot", get("/me", as("alice"), host("ORDERS.example.:8443")), "200 allowed me"},
		{"under its suffix", get("/me", as("alice"), host("eu.orders.example")), "200 allowed me"},
		{"an address", get("/me", as("alice"), host("[2001:DB8::1]:443")), "200 allowed me"},
		// Another's host, whoever asks.
		{"another's", get("/me", as("alice"), host("stock.example")), "421 wrong_service none"},
		{"its name in another's", get("/me", as("alice"), host("orders.example.evil")), "421 wrong_service none"},
		{"its name at another's end", get("/me", as("alice"), host("evilorders.example")), "421 wrong_service none"},
		{"the suffix alone", get("/me", as("alice"), host(".orders.example")), "421 wrong_service none"},
		// What can be read in two ways is nobody's.
		{"two final dots", get("/me", as("alice"), host("orders.example..")), "400 bad_target none"},
		{"two ports", get("/me", as("alice"), host("orders.example:80:80")), "400 bad_target none"},
		{"two hosts", get("/me", as("alice"), host("orders.example,stock.example")), "400 bad_target none"},
		{"a user", get("/me", as("alice"), host("u@orders.example")), "400 bad_target none"},
		{"empty", get("/me", as("alice"), host("")), "400 bad_target none"},
		{"bytes above ASCII", get("/me", as("alice"), host("orders.\xc3\xa9xample")), "400 bad_target none"},
	})
}

// several is a mesh of two sidecars' services and an edge.
const several = `version: 1
trust_domain: cluster.local
peers: envoy
probes: [/livez]
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [a], machine: never}
services:
  - name: orders
    hosts: [orders.example]
    workloads: [shop/orders]
    probes: [/healthz]
    rules: [{name: home, match: "GET /{$}", public: true}]
  - name: stock
    hosts: [stock.example]
    workloads: [shop/stock, shop/shared]
    rules: [{name: home, match: "GET /{$}", public: true}]
  - name: bills
    hosts: [bills.example]
    workloads: [shop/bills, shop/shared]
    rules: [{name: home, match: "GET /{$}", public: true}]
  - name: www
    edge: true
    hosts: [www.example]
    probes: [/readyz]
    rules: [{name: home, match: "GET /{$}", public: true}]
`

// A pin chooses the service; the Host header alone chooses only among edge services.
func TestServiceChoice(t *testing.T) {
	const orders, stock, shared = "spiffe://cluster.local/ns/shop/sa/orders", "spiffe://cluster.local/ns/shop/sa/stock", "spiffe://cluster.local/ns/shop/sa/shared"
	name := func(d *authz.Decision) string { return verdict(d) + " of " + d.ServiceName() }
	judge(t, gate(t, several), name, []line{
		{"the context's", get("/", service("orders")), "200 public home of orders"},
		{"the context's, another's host", get("/", service("orders"), host("stock.example")), "421 wrong_service none of orders"},
		{"the context's, unknown", get("/", service("shop")), "421 wrong_service none of none"},
		{"the context's, empty", get("/", service("")), "421 wrong_service none of none"},
		{"the sidecar's identity", get("/", to(orders)), "200 public home of orders"},
		{"the sidecar's identity, another's host", get("/", to(stock)), "421 wrong_service none of stock"},
		{"an identity of two services", get("/", to(shared), host("stock.example")), "421 wrong_service none of none"},
		{"the context beats the identity", get("/", service("orders"), to(stock)), "200 public home of orders"},
		{"the host alone, a sidecar's", get("/"), "421 wrong_service none of none"},
		{"the host alone, an edge's", get("/", host("www.example")), "200 public home of www"},
		{"the host alone, an edge's, under a stranger's identity", get("/", host("www.example"), to("spiffe://cluster.local/ns/x/sa/y")), "200 public home of www"},
		{"nobody's host", get("/", host("evil.example")), "421 wrong_service none of none"},
		// A probe belongs to the service that is pinned, and at an edge to the top of the file.
		{"a probe of the pinned", get("/healthz", service("orders"), host("10.0.0.7:8080")), "200 probe probe of orders"},
		{"a probe of another", get("/healthz", service("stock"), host("stock.example")), "403 no_rule none of stock"},
		{"a probe of nobody", get("/healthz", host("www.example")), "403 no_rule none of www"},
		{"the edge's probe", get("/livez", host("10.0.0.7")), "200 probe probe of none"},
		{"the edge's probe, pinned", get("/livez", service("www"), host("10.0.0.7")), "200 probe probe of www"},
		{"the edge service's own", get("/readyz", service("www"), host("10.0.0.7")), "200 probe probe of www"},
		{"the edge's probe at a sidecar", get("/livez", service("orders")), "403 no_rule none of orders"},
	})
	judge(t, gateWith(t, several, authz.Options{Service: "orders"}), name, []line{
		{"the flag's", get("/"), "200 public home of orders"},
		{"the flag's, another's host", get("/", host("www.example")), "421 wrong_service none of orders"},
		{"the flag and the context agree", get("/", service("orders")), "200 public home of orders"},
		{"the context disagrees with the flag", get("/", service("stock"), host("stock.example")), "421 wrong_service none of none"},
		{"an empty context disagrees with the flag", get("/", service("")), "421 wrong_service none of none"},
		{"the identity agrees with the flag", get("/", to(orders)), "200 public home of orders"},
		{"the identity disagrees with the flag", get("/", to(stock)), "421 wrong_service none of none"},
		{"an identity of no service", get("/", to("spiffe://cluster.local/ns/x/sa/y")), "200 public home of orders"},
	})
	judge(t, gateWith(t, several, authz.Options{Service: "gone"}), name, []line{
		{"the flag's, unknown", get("/"), "421 wrong_service none of none"},
	})
}

// A probe is an exact path that any host may be asked for, with no token and no identity.
func TestProbes(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"GET", get("/healthz"), "200 probe probe"},
		{"HEAD", ask("HEAD", "/healthz"), "200 probe probe"},
		{"any host", get("/healthz", host("10.1.2.3:8080")), "200 probe probe"},
		{"a token is not looked at", get("/healthz", as("panic")), "200 probe probe"},
		{"the gRPC health check", post("/grpc.health.v1.Health/Check"), "200 probe probe"},
		{"by its caller", get("/metrics", from(prometheus)), "200 probe probe"},
		{"by another caller", get("/metrics", from(frontend)), "403 caller none"},
		{"by nobody", get("/metrics"), "403 caller none"},
		{"POST", post("/healthz"), "403 no_rule none"},
		{"GET of the gRPC health check", get("/grpc.health.v1.Health/Check"), "403 no_rule none"},
		{"another spelling", get("/Healthz"), "403 no_rule none"},
		{"a final slash", get("/healthz/"), "403 no_rule none"},
		{"a query", get("/healthz?full"), "403 no_rule none"},
		// Nothing rides on a probe.
		{"an upgrade", get("/healthz", header("upgrade", "websocket")), "403 upgrade none"},
		{"a second spelling of an identity header", get("/healthz", header("x_user_id", "root")), "400 bad_header none"},
		{"a hop-by-hop identity header", get("/healthz", header("connection", "close, X-User-Id")), "400 bad_header none"},
		{"a token in the query", get("/healthz?access_token=x"), "400 invalid_request none"},
	})
}

// What does not speak of one HTTP request is denied.
func TestNoHTTP(t *testing.T) {
	a := gate(t, shop)
	for name, r := range map[string]*authz.Request{"TCP": {Peer: authz.Peer{Address: "203.0.113.9"}}, "empty": {}} {
		if got := verdict(a.Check(t.Context(), r)); got != "400 not_http none" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// guarded has one path that needs a token beside everything public: whatever a path is bent into, nobody reaches /admin.
const guarded = `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api], machine: never}
services:
  - name: site
    hosts: [orders.example]
    rules:
      - {name: admin, match: [GET /admin, "GET /admin/{rest...}"], owner: none}
      - {name: public, match: "GET /public/{rest...}", public: true, except: []}
      - {name: home, match: "GET /{$}", public: true}
`

// Paths that two readers could understand differently. None is mended: each is refused, with a token or without.
func TestBentPaths(t *testing.T) {
	a := gate(t, guarded)
	groups := map[string][]string{
		"400 bad_target none": {
			// Doubled slashes and dot segments, plain and escaped.
			"//admin", "///admin", "/public//../admin", "/public//x", "/public/../admin", "/public/./x", "/public/%2e%2e/admin", "/public/.%2e/admin", "/public/%2e%2e%2fadmin",
			"/public/..%5cadmin", "/public/..%2Fadmin", "/public/..", "/..", "/.", "/public/.../..", "/public/x..", "/public/..x",
			// Double encodings, overlong ones, and bytes that are no UTF-8.
			"/public/%252e%252e/admin", "/%25c0%25ae/admin", "/public/%c0%ae%c0%ae/admin", "/public/%c0%af", "/public/%e0%80%ae", "/public/%c1%9c", "/public/\x80", "/public/\xff", "/public/%ff",
			// Control bytes.
			"/admin%00", "/public/%0d%0a", "/public/%09", "/public/\t", "/public/\x00", "/public/\x7f", "/public/%7f",
			// Parameters of a segment.
			"/admin;x", "/..;/admin", "/;/admin", "/public;b/../admin", "/public/a;b=c", "/public/%3b",
			// Fragments, escaped separators, and escapes of what needs none.
			"/admin#x", "/public#/../admin", "/public/%23", "/public/%3f", "/public/%2f", "/public/%5C", "/public/a\\b", "/%61dmin", "/public/%2E", "/public/%7e", "/public/%25",
			"/public/%", "/public/%2", "/public/%zz", "/public/%u002f", "/public/a b", "/public/\"", "/public/<", "/public/{x}", "/public/^", "/public/|", "/public/`",
			// Other forms of a target.
			"admin", "", "*", "?x", "http://orders.example/admin", "orders.example:80", "/public/" + strings.Repeat("a", 8<<10), "/public/x?a#b", "/public/x?a b",
		},
		"400 ambiguous_path none": {
			// An upstream that folds case, ignores a final slash or cuts an extension would serve the other rule.
			"/Admin", "/ADMIN/x", "/PUBLIC/x", "/admin.json", "/admin.", "/public.html", "/public", "/Public",
		},
		"403 no_rule none": {
			"/adminx", "/administrator", "/publicadmin", "/public-x/", "/api", "/x/admin",
		},
		"401 no_token admin": {
			// A query is no part of the path: everything is cut at the first question mark.
			"/admin", "/admin?x=/public/", "/admin?/../public/x", "/admin??", "/admin?public#"[:13], "/admin/", "/admin/x",
		},
		"200 public public": {
			"/public/", "/public/x", "/public/admin", "/public/x?/../admin", "/public/x?y=//admin", "/public/a%20b", "/public/caf%C3%A9", "/public/a%40b", "/public/.well-known", "/public/a...b",
		},
		"200 public home": {"/", "/?x"},
	}
	for want, paths := range groups {
		for _, path := range paths {
			if got := verdict(a.Check(t.Context(), get(path))); got != want {
				t.Errorf("%.60q: got %q, want %q", path, got, want)
			}
			if d := a.Check(t.Context(), get(path, as("alice"))); strings.HasPrefix(want, "400") && d.Verdict == authz.Allow {
				t.Errorf("%.60q: a token opens it", path)
			}
		}
	}
	for _, method := range []string{"CONNECT", "", "G ET", "GET\r\n", "GÉT"} {
		if got := verdict(a.Check(t.Context(), ask(method, "/"))); got != "400 bad_target none" {
			t.Errorf("method %q: %s", method, got)
		}
	}
}

// Headers by which clients ask a forgiving upstream for another request: they choose nothing here and do not arrive.
func TestForeignRequestLines(t *testing.T) {
	a := gate(t, guarded)
	for _, name := range []string{
		"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-original-uri", "x-original-path",
		"x-original-method", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-method",
	} {
		d := a.Check(t.Context(), get("/public/x", header(name, "/admin")))
		if got := verdict(d); got != "200 public public" {
			t.Errorf("%s chooses: %s", name, got)
		}
		if !slices.Contains(d.Remove, name) {
			t.Errorf("%s reaches the upstream", name)
		}
		// An upstream that reads `_` as `-` would see it all the same.
		if got := verdict(a.Check(t.Context(), get("/public/x", header(strings.ReplaceAll(name, "-", "_"), "/admin")))); got != "400 bad_header none" {
			t.Errorf("%s with underscores: %s", name, got)
		}
	}
	for _, name := range []string{"x-forwarded-host", "x-forwarded-prefix", "x-envoy-original-path", "user-agent", "referer"} {
		if got := verdict(a.Check(t.Context(), get("/admin", header(name, "/public/x")))); got != "401 no_token admin" {
			t.Errorf("%s chooses: %s", name, got)
		}
	}
}

func TestTarget(t *testing.T) {
	judge(t, gate(t, shop), detail, []line{
		// A pseudo-header that contradicts the request line: whichever were judged, the upstream could be sent the other.
		{"another :path", get("/me", as("alice"), header(":path", "/users/bob/orders")), "400 bad_header none"},
		{"another :method", get("/me", as("alice"), header(":method", "POST")), "400 bad_header none"},
		{"another :authority", get("/me", as("alice"), header(":authority", "stock.example")), "400 bad_header none"},
		{"an empty :path", get("/me", as("alice"), header(":path", "")), "400 bad_header none"},
		// A token in a query lands in logs; the rule does not matter.
		{"access_token", get("/me?access_token=alice"), "400 invalid_request none (token_in_query)"},
		{"access_token beside a good header", get("/me?access_token=alice", as("alice")), "400 invalid_request none (token_in_query)"},
		{"access_token, public", get("/assets/a.js?access_token="), "400 invalid_request none (token_in_query)"},
		{"access_token, nobody's path", get("/nowhere?a=b&access_token"), "400 invalid_request none (token_in_query)"},
		{"access_token, another's host", get("/me?access_token=alice", host("stock.example")), "400 invalid_request none (token_in_query)"},
		{"access_token, escaped", get("/me?access%5Ftoken=alice"), "400 invalid_request none (token_in_query)"},
		{"access_token, capitals", get("/me?Access_Token=alice"), "400 invalid_request none (token_in_query)"},
		{"access_token, as a list", get("/me?access_token[]=alice"), "400 invalid_request none (token_in_query)"},
		{"access_token, behind a semicolon", get("/me?a;access_token=alice"), "400 invalid_request none (token_in_query)"},
		{"access_token as a value", get("/me?x=access_token", as("alice")), "200 allowed me"},
		{"_method", get("/me?_method=DELETE", as("alice")), "400 bad_target none"},
		{"_method, public", get("/assets/a.js?_METHOD=POST"), "400 bad_target none"},
	})
}

// The most specific pattern that has the method wins; deny rules refuse everybody.
func TestRuleChoice(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"a literal before a name", get("/catalogue/featured"), "200 public featured"},
		{"a name", get("/catalogue/chair", as("alice")), "200 allowed item"},
		{"a name in capitals", get("/catalogue/Chair", as("alice")), "200 allowed item"},
		{"a name with an address in it", get("/catalogue/alice%40example.com", as("alice")), "200 allowed item"},
		{"a suffix before a name", post("/orders/7:cancel", as("alice")), "200 allowed cancel"},
		{"no suffix", post("/orders/7", as("alice")), "200 allowed order"},
		{"the suffix alone is a name", post("/orders/:cancel", as("alice")), "200 allowed order"},
		{"gRPC", post("/shop.Orders/List", as("alice")), "200 allowed list"},
		// A forgiving upstream would serve the other rule.
		{"the literal in capitals", get("/catalogue/FEATURED", as("alice")), "400 ambiguous_path none"},
		{"the literal with an extension", get("/catalogue/featured.json", as("alice")), "400 ambiguous_path none"},
		{"the literal with a final slash", get("/catalogue/featured/", as("alice")), "400 ambiguous_path none"},
		{"a literal with a final slash", get("/me/", as("alice")), "400 ambiguous_path none"},
		{"an escaped literal", post("/orders/7%3Acancel", as("alice")), "400 ambiguous_path none"},
		// Methods are exact.
		{"HEAD is not GET", ask("HEAD", "/me", as("alice")), "403 no_rule none"},
		{"HEAD where it is written", ask("HEAD", "/users/alice/orders", as("alice")), "200 allowed list-orders"},
		{"lower case", ask("get", "/me", as("alice")), "403 no_rule none"},
		{"a method of no rule", ask("TRACE", "/me", as("alice")), "403 no_rule none"},
		{"GET of a gRPC method", get("/shop.Orders/List", as("alice")), "403 no_rule none"},
		{"no rule", get("/nowhere", as("alice")), "403 no_rule none"},
		// Deny rules.
		{"403", get("/closed"), "403 forbidden closed"},
		{"404", get("/not-there"), "404 not_found not-there"},
		{"410", get("/v0/orders", as("alice")), "410 gone retired"},
		{"410, nothing below", get("/v0/"), "410 gone retired"},
		// A rest without a token does not cover what is excepted, however it is spelled.
		{"public", get("/assets/app.js"), "200 public assets"},
		{"public, nothing below", get("/assets/"), "200 public assets"},
		{"public, a token is not looked at", get("/assets/app.js", as("panic"), as("alice")), "200 public assets"},
		{"excepted", get("/assets/private/key"), "403 no_rule none"},
		{"excepted, the folder itself", get("/assets/private"), "403 no_rule none"},
		{"excepted, capitals", get("/assets/Private/key"), "403 no_rule none"},
		{"excepted, an extension", get("/assets/private.txt"), "403 no_rule none"},
		{"beside what is excepted", get("/assets/privateer"), "200 public assets"},
	})
}

// An upgrade hands the connection over, so only what the rule names may be asked for.
func TestUpgrade(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"websocket where it may", get("/live", as("alice"), header("upgrade", "websocket")), "200 allowed live"},
		{"websocket in capitals", get("/live", as("alice"), header("upgrade", "WebSocket")), "200 allowed live"},
		{"no upgrade", get("/live", as("alice")), "200 allowed live"},
		{"websocket without a token", get("/live", header("upgrade", "websocket")), "401 no_token live"},
		{"something else", get("/live", as("alice"), header("upgrade", "h2c")), "403 upgrade live"},
		{"something beside it", get("/live", as("alice"), header("upgrade", "websocket, h2c")), "403 upgrade live"},
		{"something in a second header", get("/live", as("alice"), header("upgrade", "websocket"), header("upgrade", "h2c")), "403 upgrade live"},
		{"nothing by name", get("/live", as("alice"), header("upgrade", "")), "403 upgrade live"},
		{"where it may not", get("/me", as("alice"), header("upgrade", "websocket")), "403 upgrade me"},
		{"where it may not, public", get("/assets/app.js", header("upgrade", "websocket")), "403 upgrade assets"},
		{"extended CONNECT", get("/me", as("alice"), header(":protocol", "websocket")), "403 upgrade me"},
		{"extended CONNECT where it may", get("/live", as("alice"), header(":protocol", "websocket")), "200 allowed live"},
	})
}

// The connection's identity is a SPIFFE ID in its one spelling, exact or a segment apart.
func TestCallers(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"a caller and a token", get("/internal/stats", as("alice"), from(frontend)), "200 allowed stats"},
		{"a caller alone", get("/internal/stats", from(frontend)), "401 no_token stats"},
		{"a token alone", get("/internal/stats", as("alice")), "403 caller stats"},
		{"another caller", get("/internal/stats", as("alice"), from(nightly)), "403 caller stats"},
		{"a gateway that is named", get("/internal/stats", as("alice"), from(ingress)), "200 allowed stats"},
		// Where the connection is the whole identity.
		{"a workload", post("/internal/reindex", from(nightly)), "200 allowed reindex"},
		{"a workload; a token is not looked at", post("/internal/reindex", from(nightly), as("panic")), "200 allowed reindex"},
		{"another workload", post("/internal/reindex", from(frontend)), "403 caller reindex"},
		{"a gateway", post("/internal/reindex", from(ingress)), "403 caller reindex"},
		{"nobody", post("/internal/reindex", as("alice")), "403 caller reindex"},
	})
	a := gate(t, shop)
	for _, principal := range []string{
		"SPIFFE://cluster.local/ns/batch/sa/nightly", "spiffe://CLUSTER.local/ns/batch/sa/nightly", "spiffe://cluster.local/ns/batch/sa/x%2fy", "spiffe://cluster.local/ns/batch//sa/x",
		"spiffe://cluster.local/ns/batch/sa/../sa/x", "spiffe://cluster.local/ns/batch/sa/x/", "spiffe://cluster.local:1/ns/batch/sa/x", "spiffe://u@cluster.local/ns/batch/sa/x",
		"spiffe://cluster.local/ns/batch/sa/x?q", "spiffe://cluster.local/ns/batch/sa/x#f", "spiffe://cluster.local/ns/batch/sa/" + strings.Repeat("a", 2048), "https://cluster.local/ns/batch/sa/x",
		"spiffe://cluster.local/ns/batch/sa/a/b", "spiffe://cluster.local/ns/batch/sa", "spiffe://cluster.local/ns/batchx/sa/x", "spiffe://cluster-local/ns/batch/sa/x",
		"spiffe://cluster.local.evil/ns/batch/sa/x", "spiffe://cluster.local", "spiffe://cluster.local/ns/batch/sa/\x00", "spiffe://cluster.local/ns/batch/sa/\xff", "CN=nightly,O=batch", "batch/nightly", "nightly.batch",
	} {
		d := a.Check(t.Context(), post("/internal/reindex", from(principal)))
		if got := verdict(d); got != "403 caller reindex" {
			t.Errorf("%.80q: %s", principal, got)
		}
		if strings.HasPrefix(d.Who, "workload|") {
			t.Errorf("%.80q is counted as %s", principal, d.Who)
		}
	}
}

// What no policy that loads can say is held to all the same: a rule of `token: none` that demands no caller, or one that a gateway is.
func TestCallersThatCannotLoad(t *testing.T) {
	p := mustParse(t, shop)
	a := authz.New(authz.Options{})
	a.Use(&authz.Bundle{Policy: p})
	var reindex *policy.Rule
	for _, rule := range p.Services[0].Rules {
		if rule.Name == "reindex" {
			reindex = rule
		}
	}
	p.Gateways = append(p.Gateways, reindex.Callers...)
	if got := verdict(a.Check(t.Context(), post("/internal/reindex", from(nightly)))); got != "403 caller reindex" {
		t.Errorf("a gateway: %s", got)
	}
	p.Gateways, reindex.Callers = nil, nil
	for _, principal := range []string{"", nightly} {
		if got := verdict(a.Check(t.Context(), post("/internal/reindex", from(principal)))); got != "403 caller reindex" {
			t.Errorf("no callers, from %q: %s", principal, got)
		}
	}
}

// A service's callers are demanded beside the rule's; a public rule may set them aside, in writing.
func TestServiceCallers(t *testing.T) {
	text := strings.NewReplacer(
		"    probes:", "    callers: [web/*]\n    probes:", "public: true\n", "public: true\n        callers: any\n",
	).Replace(shop)
	judge(t, gate(t, text), verdict, []line{
		{"the service's caller", get("/me", as("alice"), from(frontend)), "200 allowed me"},
		{"another", get("/me", as("alice"), from(nightly)), "403 caller me"},
		{"nobody", get("/me", as("alice")), "403 caller me"},
		{"the rule's caller, not the service's", post("/internal/reindex", from(nightly)), "403 caller reindex"},
		{"both", get("/internal/stats", as("alice"), from(frontend)), "200 allowed stats"},
		{"the service's, not the rule's", get("/internal/stats", as("alice"), from("spiffe://cluster.local/ns/web/sa/other")), "403 caller stats"},
		{"set aside", get("/assets/app.js"), "200 public assets"},
		{"a probe", get("/healthz"), "200 probe probe"},
	})
}

// Exactly one Authorization value, scheme Bearer in any case, one space, b64token (RFC 6750 2.1).
func TestCredentials(t *testing.T) {
	judge(t, gate(t, shop), detail, []line{
		{"one", get("/me", as("alice")), "200 allowed me"},
		{"lower case", get("/me", credentials("bearer alice")), "200 allowed me"},
		{"capitals", get("/me", credentials("BEARER alice")), "200 allowed me"},
		// None, or another scheme, is no credentials.
		{"none", get("/me"), "401 no_token me"},
		{"empty", get("/me", credentials("")), "401 no_token me"},
		{"Basic", get("/me", credentials("Basic YWxpY2U6cHc=")), "401 no_token me"},
		{"a scheme that begins alike", get("/me", credentials("BearerX alice")), "401 no_token me"},
		{"a scheme without credentials", get("/me", credentials("Negotiate")), "401 no_token me"},
		{"a leading space", get("/me", credentials(" Bearer alice")), "401 no_token me"},
		{"in another header", get("/me", header("x-authorization", "Bearer alice"), header("cookie", "access_token=alice"), header("proxy-authorization", "Bearer alice")), "401 no_token me"},
		// Two, or one that could be read as two, is a bad request, whichever is good.
		{"two", get("/me", credentials("Bearer alice", "Bearer bob")), "400 invalid_request me (credentials)"},
		{"twice the same", get("/me", credentials("Bearer alice", "Bearer alice")), "400 invalid_request me (credentials)"},
		{"one and an empty one", get("/me", credentials("Bearer alice", "")), "400 invalid_request me (credentials)"},
		{"two, joined", get("/me", credentials("Bearer alice,Bearer bob")), "400 invalid_request me (credentials)"},
		{"two, joined with a space", get("/me", credentials("Bearer alice, Bearer bob")), "400 invalid_request me (credentials)"},
		{"another scheme first", get("/me", credentials("Basic x, bearer alice")), "400 invalid_request me (credentials)"},
		{"another scheme first, a tab", get("/me", credentials("Basic x,\tBearer alice")), "400 invalid_request me (credentials)"},
		{"another scheme first, a tab behind", get("/me", credentials("Basic x, Bearer\talice")), "400 invalid_request me (credentials)"},
		{"inside another scheme", get("/me", credentials(`Digest realm="x, Bearer alice"`)), "400 invalid_request me (credentials)"},
		{"an empty one first", get("/me", credentials(", Bearer alice")), "400 invalid_request me (credentials)"},
		{"a comma at the end", get("/me", credentials("Bearer alice,")), "400 invalid_request me (credentials)"},
		{"a comma for a space", get("/me", credentials("Bearer,alice")), "400 invalid_request me (credentials)"},
		{"two spaces", get("/me", credentials("Bearer  alice")), "400 invalid_request me (credentials)"},
		{"a tab", get("/me", credentials("Bearer\talice")), "400 invalid_request me (credentials)"},
		{"two words", get("/me", credentials("Bearer alice bob")), "400 invalid_request me (credentials)"},
		{"a space at the end", get("/me", credentials("Bearer alice ")), "400 invalid_request me (credentials)"},
		{"the scheme alone", get("/me", credentials("Bearer")), "400 invalid_request me (credentials)"},
		{"the scheme and a space", get("/me", credentials("Bearer ")), "400 invalid_request me (credentials)"},
		{"only padding", get("/me", credentials("Bearer ==")), "400 invalid_request me (credentials)"},
		{"padding inside", get("/me", credentials("Bearer al=ice")), "400 invalid_request me (credentials)"},
		{"a quote", get("/me", credentials(`Bearer "alice"`)), "400 invalid_request me (credentials)"},
		{"a byte above ASCII", get("/me", credentials("Bearer alice\xff")), "400 invalid_request me (credentials)"},
		{"a NUL", get("/me", credentials("Bearer alice\x00")), "400 invalid_request me (credentials)"},
	})
}

// What a verifier can say of a token. The client hears one reason for every bad token; the record holds the cause.
func TestTokens(t *testing.T) {
	judge(t, gate(t, shop), detail, []line{
		{"unknown", get("/me", as("forged")), "401 invalid_token me (malformed)"},
		{"unknown, with padding", get("/me", as("forged==")), "401 invalid_token me (malformed)"},
		{"expired", get("/me", as("dead")), "401 invalid_token me (expired)"},
		{"the issuer's other audience", get("/me", as("stock-only")), "401 invalid_token me (audience)"},
		{"no audience", get("/me", as("no-aud")), "401 invalid_token me (audience)"},
		{"malformed use", get("/me", as("malformed-use")), "400 invalid_request me (too_large)"},
		// What cannot be decided is nobody's fault but ours.
		{"no keys", get("/me", as("no-keys")), "503 keys_unavailable me"},
		{"an error", get("/me", as("broken")), "503 undecided me"},
		{"an error and somebody", get("/me", as("both")), "503 undecided me"},
		{"out of time", get("/me", as("late")), "503 deadline me"},
		{"called off", get("/me", as("gone")), "503 cancelled me"},
		{"nobody and no error", get("/me", as("nobody")), "503 undecided me"},
		{"a refusal that allows", get("/me", as("odd-refusal")), "503 undecided me"},
		{"a refusal without a reason", get("/me", as("zero-refusal")), "503 undecided me"},
		{"a panic", get("/me", as("panic")), "503 panic me"},
	})
}

// An issuer without a verifier has no keys.
func TestNoVerifier(t *testing.T) {
	a := authz.New(authz.Options{})
	for name, verifiers := range map[string]authz.Verifiers{"no map": nil, "another's": {"other": verifier()}, "nil": {"shop": nil}} {
		a.Use(&authz.Bundle{Policy: mustParse(t, shop), Verifiers: verifiers})
		if got := verdict(a.Check(t.Context(), get("/me", as("alice")))); got != "503 keys_unavailable me" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// Each rule's tokens are its own issuer's: a token that another issuer signed proves nothing to it, though the sub is the same.
func TestTwoIssuers(t *testing.T) {
	p := mustParse(t, `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [a], machine: never}
  partner: {issuer: "https://partner.example", audiences: [a], machine: never}
services:
  - name: orders
    hosts: ["*"]
    headers: {x-who: token.who}
    rules:
      - {name: ours, match: "GET /ours/{id}", issuer: shop, owner: {of: path.id, is: token.sub}}
      - {name: theirs, match: "GET /theirs/{id}", issuer: partner, owner: {of: path.id, is: token.sub}}
`)
	stranger := with(person("alice", "", nil), func(p *authz.Principal) { p.Identity.Issuer = "partner" })
	a := authz.New(authz.Options{})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{
		"shop": authztest.Verifier{"shop-alice": person("alice", "", nil)}, "partner": authztest.Verifier{"partner-alice": stranger},
	}})
	show := func(d *authz.Decision) string {
		words := verdict(d) + " " + d.Who
		for _, field := range d.Set {
			words += " " + field.Name + "=" + field.Value
		}
		return words
	}
	judge(t, a, show, []line{
		{"ours", get("/ours/alice", as("shop-alice")), "200 allowed ours user|shop|alice x-who=user|shop|alice"},
		{"theirs", get("/theirs/alice", as("partner-alice")), "200 allowed theirs user|partner|alice x-who=user|partner|alice"},
		{"theirs for ours", get("/ours/alice", as("partner-alice")), "401 invalid_token ours ip|203.0.113.9"},
		{"ours for theirs", get("/theirs/alice", as("shop-alice")), "401 invalid_token theirs ip|203.0.113.9"},
	})
}

// Scopes are compared octet by octet.
func TestScopes(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"all", get("/users/alice/orders", as("alice")), "200 allowed list-orders"},
		{"none", get("/users/alice/orders", as("noscope")), "403 insufficient_scope list-orders"},
		{"only ones that look alike", get("/users/alice/orders", as("almost")), "403 insufficient_scope list-orders"},
		{"one of several", get("/stock", as("bob")), "200 allowed stock"},
		{"none of several", get("/stock", as("alice")), "403 insufficient_scope stock"},
		{"an administrator has no scopes for that", get("/users/alice/orders", as("auditor")), "403 insufficient_scope list-orders"},
	})
}

func TestRoles(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"all", get("/panel", as("auditor")), "200 allowed panel"},
		{"one of all", get("/panel", as("root")), "403 role panel"},
		{"no roles at all", get("/panel", as("alice")), "403 role panel"},
		{"one of several", get("/desk", as("root")), "200 allowed desk"},
		{"none of several", get("/desk", as("bob")), "403 role desk"},
		{"no roles at all, of several", get("/desk", as("alice")), "403 role desk"},
	})
}

// Bytes equal bytes; nothing equals nothing.
func TestOwnership(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"one's own", get("/users/alice/orders", as("alice")), "200 allowed list-orders"},
		{"another's", get("/users/bob/orders", as("alice")), "403 owner list-orders"},
		{"another's, for a role", get("/users/bob/orders", as("root")), "200 allowed list-orders"},
		{"another case", get("/users/Alice/orders", as("alice")), "403 owner list-orders"},
		{"a longer name", get("/users/alice2/orders", as("alice")), "403 owner list-orders"},
		{"a space at the end", get("/users/alice%20/orders", as("alice")), "403 owner list-orders"},
		{"a space at the end, one's own", get("/users/alice%20/orders", as("padded")), "403 header_value list-orders"},
		{"composed otherwise", get("/users/a%CC%88lice/orders", as("umlaut")), "403 owner list-orders"},
		{"a machine of that name", get("/users/robot/orders", as("robot")), "403 owner list-orders"},
		{"neither person nor machine", get("/users/alice/orders", as("neither")), "403 owner list-orders"},
		// Another claim, unset and empty.
		{"one's team", get("/teams/red", as("bob")), "200 allowed team"},
		{"another team", get("/teams/blue", as("bob")), "403 owner team"},
		{"no team", get("/teams/red", as("alice")), "403 owner team"},
		{"an empty team", get("/teams/red", as("empty")), "403 owner team"},
		// Unless lifts the demand; an expression that cannot be evaluated lifts nothing.
		{"unless, by a claim", get("/teams/red", as("staff")), "200 allowed team"},
		{"unless, by a caller, the claim unset", get("/teams/red", as("alice"), from(frontend)), "200 allowed team"},
		{"unless, another caller, the claim unset", get("/teams/red", as("alice"), from(nightly)), "403 owner team"},
		// A rest, which may be empty.
		{"a folder", get("/folders/alice", as("alice")), "200 allowed folder"},
		{"a folder below", get("/folders/alice/x", as("alice")), "403 owner folder"},
		{"no folder", get("/folders/", as("alice")), "403 owner folder"},
		{"no folder, for nobody", get("/folders/", as("nameless")), "403 owner folder"},
	})
}

// A parameter that a rule reads occurs in exactly one way.
func TestOwnerInQuery(t *testing.T) {
	judge(t, gate(t, shop), verdict, []line{
		{"one's own", get("/search?user=alice", as("alice")), "200 allowed search"},
		{"beside others", get("/search?q=x&user=alice&users=bob", as("alice")), "200 allowed search"},
		{"another's", get("/search?user=bob", as("alice")), "403 owner search"},
		{"an escape", get("/search?user=al%69ce", as("alice")), "200 allowed search"},
		{"empty", get("/search?user=", as("alice")), "403 owner search"},
		{"empty, for nobody", get("/search?user=", as("nameless")), "403 owner search"},
		{"absent", get("/search", as("alice")), "400 bad_parameter search"},
		{"twice", get("/search?user=alice&user=bob", as("alice")), "400 bad_parameter search"},
		{"twice the same", get("/search?user=alice&user=alice", as("alice")), "400 bad_parameter search"},
		{"in another case", get("/search?user=alice&User=bob", as("alice")), "400 bad_parameter search"},
		{"escaped name", get("/search?user=alice&%75ser=bob", as("alice")), "400 bad_parameter search"},
		{"only an escaped name", get("/search?%75ser=alice", as("alice")), "400 bad_parameter search"},
		{"a list", get("/search?user=alice&user[]=bob", as("alice")), "400 bad_parameter search"},
		{"an object", get("/search?user=alice&user.id=bob", as("alice")), "400 bad_parameter search"},
		{"a folding letter", get("/search?user=alice&u%C5%BFer=bob", as("alice")), "400 bad_parameter search"},
		{"a semicolon", get("/search?user=alice;user=bob", as("alice")), "400 bad_parameter search"},
		{"a malformed escape", get("/search?user=alice&x=%zz", as("alice")), "400 bad_parameter search"},
		{"no UTF-8", get("/search?user=%ff", as("alice")), "400 bad_parameter search"},
		// A body that many frameworks merge into the query.
		{"a form", post("/search?user=alice", as("alice"), header("content-type", "application/x-www-form-urlencoded"), header("content-length", "8")), "400 bad_parameter search"},
		{"a multipart form", post("/search?user=alice", as("alice"), header("content-type", "Multipart/Form-Data; boundary=x"), header("content-length", "8")), "400 bad_parameter search"},
		{"another multipart", post("/search?user=alice", as("alice"), header("content-type", "multipart/mixed; boundary=x"), header("content-length", "8")), "400 bad_parameter search"},
		{"JSON", post("/search?user=alice", as("alice"), header("content-type", "application/ld+json"), header("content-length", "8")), "400 bad_parameter search"},
		{"JSON of unknown length", post("/search?user=alice", as("alice"), header("content-type", "application/json")), "400 bad_parameter search"},
		{"JSON of an empty length", post("/search?user=alice", as("alice"), header("content-type", "application/json"), header("content-length", "")), "400 bad_parameter search"},
		{"JSON of two lengths", post("/search?user=alice", as("alice"), header("content-type", "application/json"), header("content-length", "0"), header("content-length", "0")), "400 bad_parameter search"},
		{"JSON in a second type", post("/search?user=alice", as("alice"), header("content-type", "text/plain"), header("content-type", "application/json"), header("content-length", "8")), "400 bad_parameter search"},
		{"JSON of no length", post("/search?user=alice", as("alice"), header("content-type", "application/json"), header("content-length", "0")), "200 allowed search"},
		{"an image", post("/search?user=alice", as("alice"), header("content-type", "image/png"), header("content-length", "8")), "200 allowed search"},
		{"JSON, kept apart by the upstream", post("/report?user=alice", as("alice"), header("content-type", "application/json"), header("content-length", "8")), "200 allowed report"},
		{"JSON, kept apart, another's", post("/report?user=bob", as("alice"), header("content-type", "application/json"), header("content-length", "8")), "403 owner report"},
	})
}

func TestOwnerInHeader(t *testing.T) {
	a := gate(t, shop)
	judge(t, a, verdict, []line{
		{"one's own", get("/inbox", as("alice"), header("x-account", "alice")), "200 allowed inbox"},
		{"another's", get("/inbox", as("alice"), header("x-account", "bob")), "403 owner inbox"},
		{"empty", get("/inbox", as("alice"), header("x-account", "")), "403 owner inbox"},
		{"absent", get("/inbox", as("alice")), "400 bad_parameter inbox"},
		{"twice", get("/inbox", as("alice"), header("x-account", "alice"), header("x-account", "bob")), "400 bad_parameter inbox"},
		{"twice the same", get("/inbox", as("alice"), header("x-account", "alice"), header("x-account", "alice")), "400 bad_parameter inbox"},
		{"a comma", get("/inbox", as("comma"), header("x-account", "al,ice")), "400 bad_parameter inbox"},
		{"bytes that are no UTF-8", get("/inbox", as("alice"), header("x-account", "\xfflice")), "403 owner inbox"},
	})
	// In map mode a `!` may stand for a byte that could not be shown.
	r := get("/inbox", as("alice"), header("x-account", "al!ce"))
	if got := verdict(a.Check(t.Context(), joined(r))); got != "400 bad_parameter inbox" {
		t.Errorf("a `!` in map mode: %s", got)
	}
	if got := verdict(a.Check(t.Context(), r)); got != "403 owner inbox" {
		t.Errorf("a `!` in raw mode: %s", got)
	}
}

// Behind `otherwise: 404` every outcome after scopes looks like what is not there; the true reason stays in the record.
func TestHidden(t *testing.T) {
	a := gate(t, shop)
	gone := a.Check(t.Context(), get("/not-there"))
	judge(t, a, func(d *authz.Decision) string {
		if d.Status() == 404 && (d.PublicReason() != gone.PublicReason() || d.Verdict != authz.Deny) {
			return "can be told from what is not there"
		}
		return verdict(d)
	}, []line{
		{"one's own", get("/invoices/bob", as("bob")), "200 allowed invoice"},
		{"another's", get("/invoices/alice", as("bob")), "404 owner invoice"},
		{"no role", get("/invoices/alice", as("alice")), "404 role invoice"},
		{"a missing value for the limiter", get("/invoices/root", as("root")), "404 metadata_missing invoice"},
		// Before that nothing is said of the object.
		{"no token", get("/invoices/bob"), "401 no_token invoice"},
		{"a bad token", get("/invoices/bob", as("forged")), "401 invalid_token invoice"},
		{"no scope", get("/invoices/bob", as("noscope")), "403 insufficient_scope invoice"},
		{"no keys", get("/invoices/bob", as("no-keys")), "503 keys_unavailable invoice"},
	})
	for name, fields := range map[string][]string{"x_user_id": {"x_user_id", "root"}, "unreadable header": {"x-account", "a,b"}} {
		d := a.Check(t.Context(), get("/invoices/bob", as("bob"), header(fields[0], fields[1])))
		if d.Hidden {
			t.Errorf("%s: hidden before scopes", name)
		}
	}
	text := strings.Replace(shop, "owner: {of: header.x-account, is: token.sub}", "owner: {of: header.x-account, is: token.sub, otherwise: 404}", 1)
	judge(t, gate(t, text), verdict, []line{
		{"a value that no header can hold", get("/inbox", as("padded"), header("x-account", "alice ")), "404 header_value inbox"},
		{"a parameter that cannot be read", get("/inbox", as("alice")), "404 bad_parameter inbox"},
	})
}

// effects shows what an allow does to the request: headers set, in their order, and the identity headers among those removed.
func effects(d *authz.Decision) string {
	if d.Verdict != authz.Allow {
		return verdict(d)
	}
	var words []string
	for _, field := range d.Set {
		words = append(words, field.Name+"="+field.Value)
	}
	for _, name := range d.Remove {
		if slices.Contains([]string{"x-user-id", "x-user-name", "x-roles", "x-caller", "x-tenant"}, name) {
			words = append(words, "-"+name)
		}
	}
	return strings.Join(words, " ")
}

// An upstream learns who asks from us, exactly once, and from nobody else.
func TestHeaders(t *testing.T) {
	// A second service sets a header of its own, which no client may send to the first.
	text := shop + `  - name: tenants
    hosts: [tenants.example]
    audience: stock-api
    headers: {x-tenant: token.team}
    rules: [{name: home, match: "GET /{$}"}]
`
	a := gateWith(t, text, authz.Options{Service: "orders"})
	judge(t, a, effects, []line{
		{"a person", get("/me", as("alice")), "x-user-id=alice -x-tenant -x-user-name -x-roles -x-caller"},
		{"a client's copies", get("/me", as("alice"), header("x-user-id", "root"), header("x-roles", "admin"), header("x-tenant", "red")), "x-user-id=alice -x-tenant -x-user-name -x-roles -x-caller"},
		{"a name that no header can hold", get("/me", as("auditor"), from(frontend)), "x-user-id=auditor x-user-name=Zo%C3%AB%20%C3%85ngstr%C3%B6m%2C%20CPA x-roles=auditor;admin x-caller=" + frontend + " -x-tenant"},
		{"a machine has no sub", get("/me", as("robot")), "x-roles=customer -x-tenant -x-user-id -x-user-name -x-caller"},
		{"an empty claim is unset", get("/me", as("nameless")), "-x-tenant -x-user-id -x-user-name -x-roles -x-caller"},
		{"an empty list is unset", get("/me", as("roleless")), "x-user-id=alice -x-tenant -x-user-name -x-roles -x-caller"},
		{"a workload without a token", post("/internal/reindex", from(nightly)), "x-caller=" + nightly + " -x-tenant -x-user-id -x-user-name -x-roles"},
		// Where nobody is looked at, nobody is named.
		{"public", get("/assets/app.js", as("alice"), from(frontend)), "-x-caller -x-roles -x-tenant -x-user-id -x-user-name"},
		{"a probe", get("/healthz", as("alice"), from(frontend)), "-x-caller -x-roles -x-tenant -x-user-id -x-user-name"},
		// What cannot be written is denied, never trimmed.
		{"a comma", get("/me", as("comma")), "403 header_value me"},
		{"an outer space", get("/me", as("padded")), "403 header_value me"},
		{"bytes above ASCII", get("/me", as("umlaut")), "403 header_value me"},
		{"an element that holds the separator", get("/me", as("split")), "403 header_value me"},
		{"an empty element", get("/me", as("void")), "403 header_value me"},
		// A second spelling, which an upstream might read as ours.
		{"an underscore", get("/me", as("alice"), header("x_user_id", "root")), "400 bad_header none"},
		{"one underscore", get("/me", as("alice"), header("x-user_id", "root")), "400 bad_header none"},
		{"an underscore, another service's", get("/me", as("alice"), header("x_tenant", "red")), "400 bad_header none"},
		{"an underscore, public", get("/assets/app.js", header("x_user_id", "root")), "400 bad_header none"},
		{"an underscore in another name", get("/me", as("alice"), header("x_other", "1")), "x-user-id=alice -x-tenant -x-user-name -x-roles -x-caller"},
		// A hop that obeys Connection would remove what we set.
		{"Connection", get("/me", as("alice"), header("connection", "x-user-id")), "400 bad_header none"},
		{"Connection, among others", get("/me", as("alice"), header("connection", "close,\tX-User-ID , x")), "400 bad_header none"},
		{"Connection, a second one", get("/me", as("alice"), header("connection", "close"), header("connection", "x-tenant")), "400 bad_header none"},
		{"Connection, underscores", get("/me", as("alice"), header("connection", "x_user_id")), "400 bad_header none"},
		{"Connection, another name", get("/me", as("alice"), header("connection", "close, x-other")), "x-user-id=alice -x-tenant -x-user-name -x-roles -x-caller"},
	})
	d := a.Check(t.Context(), get("/me", as("auditor"), from(frontend)))
	for _, field := range d.Set {
		if slices.Contains(d.Remove, field.Name) {
			t.Errorf("%s is set and removed, and Envoy removes last", field.Name)
		}
	}
}

// A name that occurs twice has no one value.
func TestHeadersByName(t *testing.T) {
	h := authz.Headers{Fields: []authz.Field{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}, {Name: "a", Value: "3"}}}
	for name, want := range map[string]string{"a": "2 \"\" [1 3]", "b": "1 \"2\" [2]", "c": "0 \"\" []", "A": "0 \"\" []"} {
		value, count := h.One(name)
		if got := fmt.Sprintf("%d %q %v", count, value, h.All(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A denial carries nothing for the upstream.
func TestDenialsCarryNothing(t *testing.T) {
	a := gate(t, shop)
	for _, r := range []*authz.Request{get("/limits", as("alice")), get("/users/bob/orders", as("alice")), get("/me", as("comma")), get("/me"), get("/v0/x")} {
		if d := a.Check(t.Context(), r); d.Verdict != authz.Deny || d.Set != nil || d.Remove != nil || d.Metadata != nil {
			t.Errorf("%s: %s carries %v %v %v", r.Target, verdict(d), d.Set, d.Remove, d.Metadata)
		}
	}
}

// What the limiter counts by must be there.
func TestMetadata(t *testing.T) {
	show := func(d *authz.Decision) string {
		words := []string{verdict(d)}
		for _, field := range d.Metadata {
			words = append(words, field.Name+"="+field.Value)
		}
		return strings.Join(words, " ")
	}
	judge(t, gate(t, shop), show, []line{
		{"a claim", get("/users/bob/orders", as("bob")), "200 allowed list-orders plan=gold asker=user|shop|bob"},
		{"the default", get("/users/alice/orders", as("alice")), "200 allowed list-orders plan=free asker=user|shop|alice"},
		{"the default of an empty claim", get("/users/alice/orders", as("empty")), "200 allowed list-orders plan=free asker=user|shop|alice"},
		{"no default", get("/limits", as("bob")), "200 allowed limits plan=gold"},
		{"missing", get("/limits", as("alice")), "403 metadata_missing limits"},
		{"empty", get("/limits", as("empty")), "403 metadata_missing limits"},
		{"none asked for", get("/me", as("alice")), "200 allowed me"},
	})
}

// who is always set, by the first that holds: a person, a machine, a caller that the rule demands, an address.
func TestWho(t *testing.T) {
	who := func(d *authz.Decision) string { return d.Verdict.String() + " " + d.Who }
	judge(t, gate(t, shop), who, []line{
		{"a person", get("/me", as("alice"), from(frontend)), "allow user|shop|alice"},
		{"a person with a bar in the name", get("/me", as("pipe")), "allow user|shop|shop|alice"},
		{"a person who is denied", get("/users/bob/orders", as("alice")), "deny user|shop|alice"},
		{"a person behind a demanded caller", get("/internal/stats", as("alice"), from(frontend)), "allow user|shop|alice"},
		{"a machine", get("/me", as("robot"), from(frontend)), "allow client|shop|robot"},
		{"a workload", post("/internal/reindex", from(nightly)), "allow workload|" + nightly},
		{"a workload whose token is refused", get("/internal/stats", as("forged"), from(frontend)), "deny workload|" + frontend},
		{"a gateway speaks for others", get("/internal/stats", as("forged"), from(ingress)), "deny ip|203.0.113.9"},
		{"a workload that was not asked for", get("/assets/app.js", from(frontend)), "allow ip|203.0.113.9"},
		{"a workload that was refused", post("/internal/reindex", from(frontend)), "deny ip|203.0.113.9"},
		{"neither person nor machine", get("/me", as("neither")), "allow ip|203.0.113.9"},
		{"a person without a name", get("/me", as("nameless")), "allow ip|203.0.113.9"},
		{"the wrong audience is nobody", get("/me", as("stock-only")), "deny ip|203.0.113.9"},
		{"an IPv6 address", get("/me", at("2001:db8:1:2:3:4:5:6")), "deny ip|2001:db8:1:2::/64"},
		{"an IPv4 address in IPv6", get("/me", at("::ffff:203.0.113.9")), "deny ip|203.0.113.9"},
		{"no address", get("/me", at("")), "deny ip|unknown"},
		{"a panic", get("/me", as("panic")), "deny ip|203.0.113.9"},
		{"no HTTP", &authz.Request{Peer: authz.Peer{Address: "203.0.113.9"}}, "deny ip|203.0.113.9"},
		{"a bad target", get("//", at("203.0.113.9")), "deny ip|203.0.113.9"},
	})
	if d := authz.New(authz.Options{}).Check(t.Context(), get("/me")); d.Who != "ip|unknown" {
		t.Errorf("without a policy: %q", d.Who)
	}
}

// Only a trusted peer may speak X-Forwarded-For, and it is read from the right.
func TestAddress(t *testing.T) {
	address := func(d *authz.Decision) string { return d.Address.String() }
	judge(t, gate(t, shop), address, []line{
		{"the peer's", get("/me"), "203.0.113.9"},
		{"a stranger's word", get("/me", through("198.51.100.7")), "203.0.113.9"},
		{"a trusted network's", get("/me", at("10.1.1.1"), through("198.51.100.7")), "198.51.100.7"},
		{"a trusted identity's", get("/me", from(ingress), through("198.51.100.7")), "198.51.100.7"},
		{"forged in front", get("/me", at("10.1.1.1"), through("1.1.1.1", "198.51.100.7, 10.2.2.2")), "198.51.100.7"},
		{"unreadable", get("/me", at("10.1.1.1"), through("198.51.100.7", "0177.0.0.1")), "invalid IP"},
		{"bytes", get("/me", at("10.1.1.1"), through("198.51.100.7,\xff")), "invalid IP"},
		{"ten thousand entries", get("/me", at("10.1.1.1"), through("198.51.100.7", strings.Repeat("10.0.0.1,", 10_000)+"10.0.0.1")), "198.51.100.7"},
	})
}

// Without `peers` no principal is believed.
func TestNobodyChecksPeers(t *testing.T) {
	d := gate(t, guarded).Check(t.Context(), get("/", from(frontend)))
	if d.Verdict != authz.Allow || d.Caller != "" {
		t.Errorf("%s for caller %q", verdict(d), d.Caller)
	}
}

// Everything that a decision holds, once.
func TestWholeDecision(t *testing.T) {
	a := gate(t, shop)
	d := a.Check(t.Context(), get("/users/bob/orders", as("bob"), from(frontend)))
	if len(d.ID) < 26 || d.Policy != mustParse(t, shop).Digest || d.Time.IsZero() {
		t.Errorf("id %q, policy %q, time %v", d.ID, d.Policy, d.Time)
	}
	if other := a.Check(t.Context(), get("/users/bob/orders", as("bob"))); other.ID == d.ID {
		t.Error("two decisions have one ID")
	}
	want := &authz.Decision{
		Verdict: authz.Allow, Reason: authz.Allowed, ID: d.ID, Time: d.Time, Policy: d.Policy, Service: d.Service, Rule: d.Rule, Principal: d.Principal,
		Caller: frontend, Address: d.Address, Who: "user|shop|bob", Object: "bob", Objects: 1, Remove: d.Remove, Step: authz.StepEffects,
		Set:      []authz.Field{{Name: "x-user-id", Value: "bob"}, {Name: "x-roles", Value: "customer"}, {Name: "x-caller", Value: frontend}},
		Metadata: []authz.Field{{Name: "plan", Value: "gold"}, {Name: "asker", Value: "user|shop|bob"}},
	}
	if !reflect.DeepEqual(want, d) { //nolint:govet // deepequalerrors: Err is nil in both
		t.Errorf("got %+v, want %+v", d, want)
	}
	if d.Service.Name != "orders" || d.Rule.Name != "list-orders" || d.Principal.Identity.Subject != "bob" {
		t.Errorf("service %s, rule %s, principal %+v", d.Service.Name, d.Rule.Name, d.Principal.Identity)
	}
}
