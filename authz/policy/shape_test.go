package policy

import (
	"strings"
	"testing"
)

// formed is a policy with a rule of every demand on a request's shape.
const formed = `version: 1
issuers:
  shop:
    issuer: https://auth.example
    audiences: [api]
    claims: {roles: strings}
services:
  - name: orders
    hosts: [orders.example]
    rules:
      - name: create
        match: POST /orders
        body: {schema: order.json, strict: true, limits: {bytes: 1000}}
      - name: update
        match: PATCH /users/{id}
        params: {path.id: {format: uuid}, query.n: integer}
        owner: {of: path.id, is: token.sub}
        body: {types: [application/json, application/json-patch+json]}
        body_parameters: separate
        writable: {everyone: [name], roles: {admin: [role]}}
      - name: old
        match: GET /v0
        deny: 410
`

var orderFile = File{Name: "order.json", Data: []byte(`{"properties": {"id": {"type": "string"}}}`)}

func parseFormed(old, new string) (*Policy, string) {
	p, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(strings.Replace(formed, old, new, 1))}, orderFile})
	return p, errs.Pretty()
}

func TestShapeIsCompiled(t *testing.T) {
	p, errs := parseFormed("", "")
	if p == nil {
		t.Fatal(errs)
	}
	create, update := p.Services[0].Rules[0], p.Services[0].Rules[1]
	if b := create.Body; b == nil || b.Schema == nil || !b.Strict || b.MaxBytes != 1000 || !create.ClosedQuery || !create.Whole() || len(b.Types) != 1 {
		t.Errorf("create: %+v", create.Body)
	}
	if len(update.Params) != 2 || update.Params[1].Type != ParamInteger || !update.ClosedQuery || len(update.Query) != 1 || update.Writable == nil {
		t.Errorf("update: %+v", update.Shape)
	}
	if types := update.Body.Types; len(types) != 2 || types[1].Format != FormatJSONPatch {
		t.Errorf("update takes %v", types)
	}
}

// What is demanded of a shape and cannot be meant, or cannot be held, does not load.
func TestShapeRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no such schema":              {"schema: order.json", "schema: other.json", "policy.yaml:13:24: there is no schema `other.json` beside this file"},
		"a schema by another ending":  {"schema: order.json", "schema: order.yaml", "there is no schema `order.yaml`"},
		"a schema that is none":       {"schema: order.json", "schema: {typ: object}", "schema: /typ: `typ` is no keyword that is obeyed here"},
		"a schema that is a list":     {"schema: order.json", "schema: [a]", "this is a list where a map is meant"},
		"strict without a schema":     {"schema: order.json, strict: true", "strict: true", "`strict` closes a schema, and there is none"},
		"a body of nothing":           {"{schema: order.json, strict: true, limits: {bytes: 1000}}", "{}", "`body` demands nothing"},
		"too wide a limit":            {"bytes: 1000", "bytes: 2000000", "1 to 1048576"},
		"a type that cannot be read":  {"types: [application/json, application/json-patch+json]", "types: [text/plain]", "a body of \"text/plain\" cannot be read"},
		"a type twice":                {"types: [application/json, application/json-patch+json]", "types: [application/json, application/json]", "stands there twice"},
		"no type":                     {"types: [application/json, application/json-patch+json]", "types: []", "a body of no type is none"},
		"changes without a list":      {"        writable: {everyone: [name], roles: {admin: [role]}}\n", "", "nothing is demanded of application/json-patch+json"},
		"a schema of changes":         {"types: [application/json, application/json-patch+json]", "types: [application/json-patch+json], schema: order.json", "is a list of changes to one"},
		"an owner in changes":         {"owner: {of: path.id", "owner: {of: body.id", "is a list of changes to one"},
		"a form, and a document read": {"types: [application/json, application/json-patch+json]", "types: [application/x-www-form-urlencoded], schema: order.json", "the rule reads a document"},
		"an owner in a form":          {"owner: {of: path.id", "owner: {of: form.id", "the rule reads a form, and application/json is none"},
		"an owner in a message":       {"owner: {of: path.id", "owner: {of: grpc.id", "the rule reads a gRPC message, and this is about documents and forms"},
		"a parameter of the body":     {"query.n: integer", "body.n: integer", "\"body.n\" is no parameter"},
		"a parameter nobody captures": {"path.id: {", "path.nope: {", "the rule captures no `nope`"},
		"a parameter of two types":    {"query.n: integer", "query.n: {type: [integer, string]}", "a parameter's text stands for one scalar"},
		"a parameter of an object":    {"query.n: integer", "query.n: object", "a parameter's text stands for one scalar"},
		"a bound of a text":           {"query.n: integer", "query.n: {maximum: 100}", "write `type: integer`"},
		"a number among texts":        {"query.n: integer", "query.n: {enum: [1, 2]}", "write `type: integer`"},
		"bounds of texts in a list":   {"query.n: integer", "\"query.n[*]\": {items: {minimum: 1}}", "write `type: integer`"},
		"a schema of a form":          {"types: [application/json, application/json-patch+json]", "types: [application/x-www-form-urlencoded], schema: {type: object}", "the rule reads a document"},
		"a list that is none":         {"query.n: integer", "\"query.n[*]\": integer", "query.n[*] is a list"},
		"a secret header":             {"query.n: integer", "header.cookie: string", "header cookie holds a credential"},
		"a keyword with a mistake":    {"query.n: integer", "query.n: {type: integer, minimun: 1}", "`minimun` is no keyword"},
		"a number that is none":       {"query.n: integer", "query.n: {type: integer, minimum: 0x10}", "0x10 is no number of JSON"},
		"roles that nobody has":       {"    claims: {roles: strings}\n", "", "declares no claim `roles`"},
		"a field that is none":        {"everyone: [name]", "everyone: [\"a[0]\"]", "is no name of a field"},
		"a field for nobody else":     {"roles: {admin: [role]}", "roles: {admin: [name]}", "stands there already"},
		"a body of what only refuses": {"deny: 410", "deny: 410\n        body: {types: [application/json]}", "a `deny` rule refuses everybody"},
		"roles of everybody":          {"owner: {of: path.id, is: token.sub}", "public: true", "the rule asks for no token, so nobody has a role"},
		"a parameter a body may hold": {"        body_parameters: separate\n        writable: {everyone: [name]", "        writable: {everyone: [name, n]", "the rule reads query.n and a body"},
	} {
		t.Run(name, func(t *testing.T) {
			p, errs := parseFormed(c.old, c.new)
			if p != nil || !strings.Contains(errs, c.want) {
				t.Errorf("loads: %v; the errors do not say %q:\n%s", p != nil, c.want, errs)
			}
		})
	}
}

// A schema that breaks keeps the last good one in force, and the error stands at the line that names it.
func TestBrokenSchemaKeepsTheLastGood(t *testing.T) {
	main := File{Name: "policy.yaml", Data: []byte(formed)}
	first := Load(nil, []File{main, orderFile})
	if !first.Files[0].OK() || !first.Files[1].OK() {
		t.Fatalf("%+v", first.Files)
	}
	second := Load(first, []File{main, {Name: "order.json", Data: []byte(`{"properties": {"id": {"type": "strin"}}}`)}})
	if len(second.Policy.Services) != 1 || second.Files[0].Name != "order.json" || second.Files[0].OK() || !second.Files[0].LastGood || !second.Files[1].OK() {
		t.Errorf("%+v", second.Files)
	}
	if text := second.Files[0].Errors.Pretty(); !strings.Contains(text, "/properties/id/type") {
		t.Error(text)
	}
	if stray := Load(nil, []File{main, orderFile, {Name: "package.json", Data: []byte("{")}}); !stray.Files[1].OK() {
		t.Error("a file that nobody names is read")
	}
}
