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
