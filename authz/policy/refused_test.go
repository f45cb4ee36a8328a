package policy

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/target"
)

// More that must not load: what the settings of a whole policy, of services and of issuers can contradict.
func TestContradictionsRefused(t *testing.T) {
	tests := map[string]struct{ old, new, want string }{
		"nobody as a caller":           {"[web/frontend]", "[]", "an empty list would admit nobody"},
		"a trust domain in capitals":   {"trust_domain: cluster.local", "trust_domain: Cluster.Local", "not a SPIFFE trust domain"},
		"peers of nobody":              {"peers: envoy", "peers: none", "says nothing of who checked"},
		"a proxy that is no network":   {"[10.0.0.0/8]", "[ten]", "neither a network nor a SPIFFE ID"},
		"a network with host bits":     {"[10.0.0.0/8]", "[10.0.0.1/8]", "neither a network nor a SPIFFE ID"},
		"a host with a star inside":    {"[orders.shop.svc.cluster.local]", "[\"*shop.example\"]", "is no host"},
		"a host with a final dot":      {"[orders.shop.svc.cluster.local]", "[\"orders.shop.\"]", "is no host"},
		"a spelling of another kind":   {"    probes: [/healthz]\n", "    probes: [/healthz]\n    spelling: folded\n", "spelling cannot be"},
		"a probe with a query":         {"[/healthz]", "[\"/healthz?x\"]", "can be no probe's path"},
		"a probe with dots":            {"[/healthz]", "[/a/../healthz]", "can be no probe's path"},
		"probes at a sidecar's top":    {"services:\n", "probes: [/livez]\nservices:\n", "no service is `edge: true`"},
		"a header joined and encoded":  {"x-user-id: token.sub", "x-roles: {from: token.roles, join: \";\", encode: percent}", "not both"},
		"a header joined by nothing":   {"x-user-id: token.sub", "x-roles: {from: token.roles, join: \"\"}", "not a separator"},
		"a header joined by a letter":  {"x-user-id: token.sub", "x-roles: {from: token.roles, join: a}", "not a separator"},
		"another encoding":             {"x-user-id: token.sub", "x-user-id: {from: token.sub, encode: base64}", "there is no encoding"},
		"an owner by a mutable place":  {"is: token.sub,", "is: token.contact,", "can change hands"},
		"roles that are not declared":  {"roles: {from: realm_access.roles, type: strings}", "groups: strings", "declares no claim `roles`"},
		"roles that are one text":      {"roles: {from: realm_access.roles, type: strings}", "roles: string", "is of type string, and strings is needed"},
		"unless_role that is empty":    {"unless_role: admin", "unless_role: \"\"", "`unless_role` is empty"},
		"scopes of nothing":            {"[\"read:orders\"]", "[]", "`scopes` is empty"},
		"extension of another kind":    {"        owner: none\n", "        owner: none\n        extension: any\n", "extension cannot be"},
		"body_parameters of another":   {"        owner: none\n", "        owner: none\n        body_parameters: merged\n", "body_parameters cannot be"},
		"token of another kind":        {"        token: none\n", "        token: some\n", "a token is asked for unless"},
		"callers as one text":          {"callers: [web/frontend]", "callers: web/frontend", "callers are a list"},
		"an except with a name":        {"[/assets/private/]", "[\"/assets/{x}/\"]", "has no names"},
		"machine over a nested place":  {"    machine: token.sub == token.client_id\n", "    require: [sub, client_id, jti, level]\n    machine: token.level == \"m2m\"\n", "has(token.level)"},
		"metadata of nobody's making":  {"value: token.plan", "value: request.path", "is no source of a value"},
		"metadata by a name with dots": {"          plan: {", "          a.b: {", "or no name"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text := bend(t, test.old, test.new)
			if name == "an owner by a mutable place" {
				text = strings.Replace(text, "email: string", "contact: {from: profile.email, type: string}", 1)
			}
			if name == "machine over a nested place" {
				text = strings.Replace(text, "email: string", "level: {from: app.level, type: string}", 1)
			}
			if p, errs := parse(text); p != nil || !strings.Contains(errs, test.want) {
				t.Errorf("loads %v; the errors do not say %q:\n%s", p != nil, test.want, errs)
			}
		})
	}
}

// A claim that is required where it stands is there in every token, and needs no guard.
func TestRequiredClaimNeedsNoGuard(t *testing.T) {
	mustParse(t, strings.Replace(bend(t, "    machine: token.sub == token.client_id\n", "    require: [sub, client_id, jti, level]\n    machine: token.level == \"m2m\"\n"), "email: string", "level: string", 1))
}

// `token: none` may lean on its service's callers, unless a gateway could be one of them.
func TestCallersOfService(t *testing.T) {
	text := strings.Replace(bend(t, "        callers: [batch/*]\n", ""), "public: true\n", "public: true\n        callers: any\n", 1)
	mustParse(t, strings.Replace(text, "    probes:", "    callers: [batch/*]\n    probes:", 1))
	if p, errs := parse(strings.Replace(text, "    probes:", "    callers: [\"istio-system/*\"]\n    probes:", 1)); p != nil || !strings.Contains(errs, "carries other people's requests") {
		t.Errorf("a gateway is a workload:\n%s", errs)
	}
}

// What rules say of their upstreams arrives in the compiled rule.
func TestRulesAreCompiled(t *testing.T) {
	p := mustParse(t, strings.NewReplacer(
		"unless_role: admin}", "unless_role: admin, otherwise: 404}\n        body_parameters: separate\n        upgrades: [websocket]",
		"match: GET /catalogue/{item}", "match: [GET /docs.html, GET /docs/x]\n        extension: exact", "owner: none", "scopes: [a, b]",
		"match: GET /v0/{rest...}", "match: GET /docs",
	).Replace(shop))
	rule := p.Services[0].Rules[0]
	if !rule.Owner.Hidden || !rule.SeparateBody || rule.Owner.Of.String() != "path.user_id" || rule.Owner.Is != "sub" || rule.Owner.UnlessRole != "admin" || strings.Join(rule.Upgrades, " ") != "websocket" {
		t.Errorf("%+v, owner %+v", rule, rule.Owner)
	}
	if text := strings.Replace(shop, "match: GET /catalogue/{item}", "match: [GET /docs.html, GET /docs/x]", 1); text == shop {
		t.Fatal("the policy has changed")
	} else if p, _ := parse(strings.NewReplacer("owner: none", "scopes: [a]", "match: GET /v0/{rest...}", "match: GET /docs").Replace(text)); p != nil {
		t.Error("two rules that an upstream without extensions takes for one load")
	}
}

// Of edge services that share a host, all are exact about paths or none is.
func TestSpellingsOfOneHost(t *testing.T) {
	if p, errs := parse(strings.Replace(services, "  - name: e2\n", "  - name: e2\n    spelling: exact\n", 1)); p != nil || !strings.Contains(errs, "their `spelling` differs") {
		t.Errorf("loads %v:\n%s", p != nil, errs)
	}
}

// An edge service may answer to any host that no other names.
func TestAnyHostAtTheEdge(t *testing.T) {
	p := mustParse(t, services+"  - name: rest\n    edge: true\n    hosts: [\"*.else.example\"]\n    rules: [{name: else, match: GET /else, public: true}]\n")
	for host, want := range map[string]string{"a.else.example": "rest/else", "a.b.else.example": "rest/else", "else.example": "", ".else.example": ""} {
		if got := serve(t, p, Pin{}, host, "/else"); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	all := mustParse(t, `version: 1
services:
  - {name: site, edge: true, hosts: ["*"], rules: [{name: home, match: "GET /{$}", public: true}]}
  - {name: api, edge: true, hosts: [api.example], rules: [{name: list, match: GET /list, public: true}]}
`)
	for host, want := range map[string]string{"anything": "site/home", "a.b": "site/home", "api.example": "site/home"} {
		if got := serve(t, all, Pin{}, host, "/"); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	if got := serve(t, all, Pin{}, "x.example", "/list"); got != "none" {
		t.Errorf("another host's rule: %q", got)
	}
	suffix := mustParse(t, services)
	if got := serve(t, suffix, Pin{Flag: "a"}, ".shared.example", "/"); got != "" {
		t.Errorf("the dot of a suffix alone: %q", got)
	}
}

// An exception follows its service's spelling.
func TestExceptFollowsSpelling(t *testing.T) {
	for spelling, want := range map[string]bool{"": true, "    spelling: exact\n": false} {
		p := mustParse(t, bend(t, "    probes: [/healthz]\n", "    probes: [/healthz]\n"+spelling))
		tg, err := target.Parse("GET", "orders", "/assets/Private/key")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Services[0].Rules[3].Excepts(&tg); got != want {
			t.Errorf("%q: excepted %v", spelling, got)
		}
	}
}

// Who may call: the service's callers and the rule's, and a public rule that sets the service's aside.
func TestCallersAdmit(t *testing.T) {
	web, err := ParseCallerPattern("web/*", "td")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := ParseCallerPattern("*/batch", "td")
	if err != nil {
		t.Fatal(err)
	}
	const both, onlyWeb, onlyBatch = "spiffe://td/ns/web/sa/batch", "spiffe://td/ns/web/sa/x", "spiffe://td/ns/x/sa/batch"
	asked := &Service{Callers: []CallerPattern{web}}
	tests := []struct {
		name   string
		rule   Rule
		admits string // of both, only the service's, only the rule's, nobody
	}{
		{"neither", Rule{Service: &Service{}}, "true true true true"},
		{"the service", Rule{Service: asked}, "true true false false"},
		{"the rule", Rule{Service: &Service{}, Callers: []CallerPattern{batch}}, "true false true false"},
		{"both", Rule{Service: asked, Callers: []CallerPattern{batch}}, "true false false false"},
		{"set aside", Rule{Service: asked, AnyCaller: true}, "true true true true"},
	}
	for _, test := range tests {
		var words []string
		for _, caller := range []string{both, onlyWeb, onlyBatch, ""} {
			words = append(words, map[bool]string{true: "true", false: "false"}[test.rule.CallersAdmit(caller)])
		}
		if got := strings.Join(words, " "); got != test.admits {
			t.Errorf("%s: %s, want %s", test.name, got, test.admits)
		}
		if demands := test.rule.DemandsCaller(); demands != strings.Contains(test.admits, "false") {
			t.Errorf("%s: demands a caller: %v", test.name, demands)
		}
	}
	if (Probe{}).AdmitsCaller("") != true || (Probe{Callers: []CallerPattern{web}}).AdmitsCaller("") || !(Probe{Callers: []CallerPattern{web}}).AdmitsCaller(onlyWeb) {
		t.Error("a probe's callers")
	}
	grpc := Probe{Path: "/p", GRPC: true}
	if grpc.Admits("GET", "/p") || !grpc.Admits("POST", "/p") || grpc.Admits("POST", "/q") {
		t.Error("a gRPC probe's method")
	}
}

// An empty service extension is a pin that names nobody, even where the policy has one service.
func TestEmptyContext(t *testing.T) {
	if got := serve(t, mustParse(t, shop), Pin{HasContext: true}, "orders.shop.svc.cluster.local", "/assets/x"); got != "" {
		t.Errorf("it chooses %s", got)
	}
}

// A conflict of two files is told of the one that changed, though the other comes later by name.
func TestConflictIsToldOfTheChange(t *testing.T) {
	a, b := serviceFile("a", "issuer: idp"), serviceFile("b", "issuer: idp")
	first := Load(nil, folder("0.yaml", base, "a.yaml", a, "b.yaml", b))
	second := Load(first, folder("0.yaml", base, "a.yaml", strings.ReplaceAll(b, "GET /", "GET /x/"), "b.yaml", b))
	if errs := second.Files[1].Errors; len(errs) == 0 || errs[0].File != "a.yaml" || errs[0].Pos.Line != 3 {
		t.Errorf("the errors of a.yaml:\n%s", errs.Pretty())
	}
}
