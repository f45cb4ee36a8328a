package offline_test

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// A file of cases is read strictly: what cannot be meant is said with its place and what to write.
func TestSuitesRefused(t *testing.T) {
	const expect = ", expect: allow"
	for name, c := range map[string]struct{ text, want string }{
		"no cases":               {"policy: p.yaml", "t.yaml:1:1: missing key \"cases\""},
		"none":                   {"cases: []", "t.yaml:1:8: a test without cases tests nothing"},
		"a misspelt key":         {"cases: [{name: a, request: GET /, expects: deny}]", "unknown key \"expects\""},
		"no name":                {"cases: [{request: GET /" + expect + "}]", "missing key \"name\""},
		"a name twice":           {"cases:\n- {name: a, request: GET /" + expect + "}\n- {name: a, request: GET /" + expect + "}", "t.yaml:3:10: the case in line 2 has this name"},
		"nothing expected":       {"cases: [{name: a, request: GET /}]", "missing key \"expect\""},
		"expecting nothing":      {"cases: [{name: a, request: GET /, expect: {}}]", "nothing is expected"},
		"no decision":            {"cases: [{name: a, request: GET /, expect: permit}]", "\"permit\" is no decision"},
		"no reason of the list":  {"cases: [{name: a, request: GET /, expect: {reason: owners}}]", "\"owners\" is none of them"},
		"no request":             {"cases: [{name: a" + expect + "}]", "missing key \"request\""},
		"no method":              {"cases: [{name: a, request: /orders" + expect + "}]", "a request is a method, a space, and a path"},
		"neither path nor URL":   {"cases: [{name: a, request: GET orders" + expect + "}]", "neither a path nor an http or https URL"},
		"two bodies":             {"cases: [{name: a, request: {path: /, json: {}, form: {}}" + expect + "}]", "`json` and `form` both say what the body is"},
		"no base64":              {"cases: [{name: a, request: {path: /, body_base64: '*'}" + expect + "}]", "not base64"},
		"two holders":            {"cases: [{name: a, who: nobody, token: {}, request: GET /" + expect + "}]", "`who` and `token` both say whose token it is"},
		"a stranger":             {"people: {alice: {sub: a}}\ncases: [{name: a, who: bob, request: GET /" + expect + "}]", "\"bob\" is none of the file's `people`"},
		"a person called nobody": {"people: {nobody: {sub: a}}\ncases: [{name: a, request: GET /" + expect + "}]", "\"nobody\" has a meaning of its own"},
		"for nobody":             {"cases: [{name: a, who: {aud: []}, request: GET /" + expect + "}]", "an audience of nobody is left to be made up"},
		"bound to the moon":      {"cases: [{name: a, who: {bound: moon}, request: GET /" + expect + "}]", "\"moon\" is nobody whom a token is bound to"},
		"no header expected":     {"cases: [{name: a, request: GET /, expect: {headers: {}}}]", "t.yaml:1:53: none are expected"},
		"no metadata expected":   {"cases: [{name: a, request: GET /, expect: {metadata: {}}}]", "t.yaml:1:54: none are expected"},
		"a header twice":         {"cases: [{name: a, request: GET /, expect: {headers: {x-a: a, X-A: b}}}]", "\"x-a\" stands here twice"},
		"an empty detail":        {"cases: [{name: a, request: GET /, expect: {detail: ''}}]", "t.yaml:1:52: an empty text says nothing"},
		"an empty rule":          {"cases: [{name: a, request: GET /, expect: {rule: ''}}]", "t.yaml:1:50: an empty text says nothing"},
		"an empty service":       {"cases: [{name: a, request: GET /, expect: {service: ''}}]", "t.yaml:1:53: an empty text says nothing"},
		"an empty reason":        {"cases: [{name: a, request: GET /, expect: {reason: ''}}]", "t.yaml:1:52: an empty text says nothing"},
		"an empty step":          {"cases: [{name: a, request: GET /, expect: {step: ''}}]", "t.yaml:1:50: an empty text says nothing"},
		"an empty decision":      {"cases: [{name: a, request: GET /, expect: {decision: ''}}]", "t.yaml:1:54: \"\" is no decision"},
		"no step":                {"cases: [{name: a, request: GET /, expect: {step: scope}}]", "\"scope\" is none of them"},
		"refused for a guess":    {"cases: [{name: a, who: {refused: expird}, request: GET /" + expect + "}]", "t.yaml:1:34: no token is refused as \"expird\""},
		"refused for nothing":    {"cases: [{name: a, who: {refused: ''}, request: GET /" + expect + "}]", "no token is refused as \"\""},
		"refused for its sender": {"cases: [{name: a, who: {refused: sender}, request: GET /" + expect + "}]", "\"sender\" is not said of a token by itself"},
		"a nameless person":      {"cases: [{name: a, who: {sub: ''}, request: GET /" + expect + "}]", "t.yaml:1:30: an empty text says nothing"},
		"a nameless client":      {"cases: [{name: a, who: {client_id: ''}, request: GET /" + expect + "}]", "t.yaml:1:36: an empty text says nothing"},
		"two scopes in one":      {"cases: [{name: a, who: {scopes: [x, 'a b']}, request: GET /" + expect + "}]", "t.yaml:1:37: \"a b\" cannot be a scope"},
		"an empty scope":         {"cases: [{name: a, who: {scopes: ['']}, request: GET /" + expect + "}]", "\"\" cannot be a scope"},
		"a scope with quotes":    {"people: {p: {scopes: ['a\"']}}\ncases: [{name: a, request: GET /" + expect + "}]", "cannot be a scope"},
		"a caller of no form":    {"cases: [{name: a, caller: shop, request: GET /" + expect + "}]", "t.yaml:1:27: \"shop\" is no identity of a workload"},
		"a caller of three":      {"cases: [{name: a, caller: a/b/c, request: GET /" + expect + "}]", "\"a/b/c\" is no identity"},
		"a caller with a star":   {"cases: [{name: a, caller: 'shop/*', request: GET /" + expect + "}]", "\"shop/*\" is no identity"},
		"a caller of a domain":   {"cases: [{name: a, caller: 'spiffe://mesh.test', request: GET /" + expect + "}]", "is no identity"},
		"a caller by https":      {"cases: [{name: a, caller: 'https://mesh.test/a', request: GET /" + expect + "}]", "is no identity"},
		"an empty caller":        {"cases: [{name: a, caller: '', request: GET /" + expect + "}]", "\"\" is no identity"},
		"no address":             {"cases: [{name: a, address: 1.2.3.400, request: GET /" + expect + "}]", "t.yaml:1:28: \"1.2.3.400\" is no address"},
		"an address and port":    {"cases: [{name: a, address: '1.2.3.4:80', request: GET /" + expect + "}]", "is no address"},
		"an address of a link":   {"cases: [{name: a, address: 'fe80::1%eth0', request: GET /" + expect + "}]", "is no address"},
		"almost a word":          {"cases: [{name: a, lookups: {l: {o: not_theirs}}, request: GET /" + expect + "}]", "t.yaml:1:36: \"not_theirs\" would be an owner of that name"},
		"a word with a dash":     {"lookups: {l: {o: not-there}}\ncases: [{name: a, request: GET /" + expect + "}]", "\"not-there\" would be an owner of that name"},
		"a word in capitals":     {"lookups: {l: {o: Theirs}}\ncases: [{name: a, request: GET /" + expect + "}]", "\"Theirs\" would be an owner of that name"},
		"a misspelt word":        {"lookups: {l: {o: unavailabel}}\ncases: [{name: a, request: GET /" + expect + "}]", "\"unavailabel\" would be an owner of that name"},
		"words run together":     {"lookups: {l: {o: notthere}}\ncases: [{name: a, request: GET /" + expect + "}]", "\"notthere\" would be an owner of that name"},
		"almost, of a relation":  {"lookups: {l: {o: {viewer: nottheirs}}}\ncases: [{name: a, request: GET /" + expect + "}]", "t.yaml:1:27: \"nottheirs\" would be an owner of that name"},
		"a relation away":        {"lookups: {l: {o: {viewer: unavailable}}}\ncases: [{name: a, request: GET /" + expect + "}]", "`unavailable` is said of an object, not of one relation to it"},
		"who nobody looked at":   {"cases: [{name: a, who: unknown, request: GET /" + expect + "}]", "t.yaml:1:24: `unknown` is what a recording says"},
		"lacking what none do":   {"cases: [{name: a, recorded: {lacks: [boddy]}, request: GET /" + expect + "}]", "\"boddy\" is no part that a line lacks"},
		"no moment":              {"now: yesterday\ncases: [{name: a, request: GET /" + expect + "}]", "not a moment (RFC 3339)"},
		"revoked by a word":      {"cases: [{name: a, revoked: maybe, request: GET /" + expect + "}]", "\"maybe\" is no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs := offline.ReadSuite("t.yaml", []byte(c.text))
			if errs == nil || !strings.Contains(errs.Error(), c.want) {
				t.Errorf("%v\nwant %s", errs, c.want)
			}
		})
	}
}

// Owners whose names resemble words are written as lists, and names that resemble none as they are.
func TestOwnersByName(t *testing.T) {
	for _, text := range []string{"[not_theirs]", "[unavailable]", "{viewer: [theirs]}", "u-42", "alice", "chris", "theo", "mine"} {
		c, errs := offline.ReadCase("t.yaml", []byte("request: GET /\nlookups: {l: {o: "+text+"}}"))
		if len(errs) > 0 {
			t.Errorf("%s: %s", text, errs.Pretty())
			continue
		}
		for _, owners := range c.Lookups["l"]["o"].Owners {
			if len(owners.Names) != 1 || !strings.Contains(text, owners.Names[0]) {
				t.Errorf("%s is %q", text, owners.Names)
			}
		}
	}
}

// What stands at the top of a file holds for its cases, and a case's own beats it.
func TestSuiteDefaults(t *testing.T) {
	suite, errs := offline.ReadSuite("t.yaml", []byte(`policy: p.yaml
now: "2026-11-25T12:00:00Z"
service: orders
people: {alice: {sub: alice, scopes: [read]}}
lookups: {orders: {o-1: alice, o-2: bob}}
cases:
  - {name: a, who: alice, request: GET /, expect: allow}
  - {name: b, service: web, now: "2026-11-26T12:00:00Z", lookups: {orders: {o-2: alice}}, request: GET /, expect: allow}
`))
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	a, b := suite.Cases[0], suite.Cases[1]
	switch {
	case suite.Policy != "p.yaml", a.At() != "t.yaml:7", a.Service != "orders", a.Now.Day() != 25, a.Who.Subject != "alice", a.Lookups["orders"]["o-2"].Owners[""].Names[0] != "bob":
		t.Errorf("the first case is %+v", a)
	case b.Service != "web", b.Now.Day() != 26, b.Who.Named, b.Lookups["orders"]["o-1"].Owners[""].Names[0] != "alice", b.Lookups["orders"]["o-2"].Owners[""].Names[0] != "alice":
		t.Errorf("the second case is %+v", b)
	}
}
