package authz_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// shaped is a policy that says of requests what they may be.
const shaped = `version: 1
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
    claims: {roles: strings}
services:
  - name: store
    hosts: [orders.example]
    rules:
      - name: create
        match: POST /orders
        body: {schema: order.json, strict: true}
      - name: update
        match: PATCH /users/{id}
        params: {path.id: {maxLength: 8}}
        owner: {of: path.id, is: token.sub}
        body: {types: [application/json, application/merge-patch+json, application/json-patch+json, application/x-www-form-urlencoded]}
        writable: {everyone: [name, email, "address.*"], roles: {admin: [role]}}
      - name: both
        match: PUT /both
        owner: {of: body.owner, is: token.sub}
        body: {schema: {type: object, properties: {owner: {type: string}, n: {type: integer, maximum: 5}}}}
        writable: {everyone: [owner, n]}
      - name: list
        match: GET /orders
        params:
          query.page: {type: integer, minimum: 1, maximum: 100, required: true}
          query.sort: {enum: [asc, desc]}
          query.price: number
          query.all: boolean
          "query.id[*]": {type: array, items: {type: string, format: uuid}, maxItems: 2}
          "query.n[,]": {type: array, items: {type: integer}, uniqueItems: true}
          header.x-trace: {pattern: "^[0-9a-f]{4}$"}
      - {name: plain, match: GET /plain, params: {}}
      - {name: hidden, match: "POST /hidden/{id}", scopes: ["read:orders"], owner: {of: path.id, is: token.sub, otherwise: 404}, body: {schema: {required: [a]}}}
      - {name: open, match: POST /open, public: true, writable: {everyone: [name]}}
      - {name: small, match: POST /small, body: {limits: {bytes: 20, depth: 2, members: 2, elements: 2}}}
      - {name: mixed, match: POST /mixed, params: {query.name: string}, writable: {everyone: [email]}}
`

const orderSchema = `{
  "type": "object", "required": ["lines"],
  "properties": {"note": {"type": "string", "maxLength": 5}, "lines": {"type": "array", "items": {"properties": {"sku": {"type": "string"}, "n": {"type": "integer"}}, "required": ["sku"]}}}
}`

func shapedGate(t testing.TB) *authz.Authorizer {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shaped)}, {Name: "order.json", Data: []byte(orderSchema)}})
	if p == nil {
		t.Fatalf("the policy does not load:\n%s", errs.Pretty())
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	return a
}

// faulted is a decision with where its request fails.
func faulted(d *authz.Decision) string {
	text := detail(d)
	if f := d.Fault; f != (authz.Fault{}) {
		text += fmt.Sprintf(" %s%s %s", f.Parameter, f.Pointer, f.Keyword)
	}
	return strings.TrimRight(text, " ")
}

func patch(target string, options ...option) *authz.Request { return ask("PATCH", target, options...) }
func put(target string, options ...option) *authz.Request   { return ask("PUT", target, options...) }

// A body is what its schema says, and holds nothing that the schema does not name.
func TestBodySchema(t *testing.T) {
	judge(t, shapedGate(t), faulted, []line{
		{"good", post("/orders", as("alice"), jsonBody(`{"lines":[{"sku":"a","n":1}],"note":"hi"}`)), "200 allowed create"},
		{"a member is missing", post("/orders", as("alice"), jsonBody(`{"note":"hi"}`)), "400 bad_body create (schema) /lines required"},
		{"another type", post("/orders", as("alice"), jsonBody(`{"lines":[{"sku":"a"},{"sku":7}]}`)), "400 bad_body create (schema) /lines/1/sku type"},
		{"too long", post("/orders", as("alice"), jsonBody(`{"lines":[],"note":"longer"}`)), "400 bad_body create (schema) /note maxLength"},
		{"an unknown member", post("/orders", as("alice"), jsonBody(`{"lines":[],"discount":100}`)), "400 bad_body create (schema) /discount unevaluatedProperties"},
		{"an unknown member of an element", post("/orders", as("alice"), jsonBody(`{"lines":[{"sku":"a","price":0}]}`)), "400 bad_body create (schema) /lines/0/price unevaluatedProperties"},
		{"no object", post("/orders", as("alice"), jsonBody(`[]`)), "400 bad_body create (schema)  type"},
		{"a member twice", post("/orders", as("alice"), jsonBody(`{"lines":[],"lines":[{}]}`)), "400 bad_body create (ambiguous)"},
		{"in two cases", post("/orders", as("alice"), jsonBody(`{"lines":[],"Lines":[{}]}`)), "400 bad_body create (ambiguous)"},
		{"no JSON", post("/orders", as("alice"), jsonBody(`{`)), "400 bad_body create (malformed)"},
		{"another type of body", post("/orders", as("alice"), form(`lines=`)), "415 media_type create (content_type)"},
		{"a compressed one", post("/orders", as("alice"), jsonBody(`{}`), header("content-encoding", "gzip")), "415 media_type create (compressed)"},
		{"no body", post("/orders", as("alice"), header("content-type", "application/json")), "400 bad_body create (no_body)"},
		{"a part", post("/orders", as("alice"), jsonBody(`{}`), without("x-envoy-auth-partial-body"), header("x-envoy-auth-partial-body", "true")), "413 body_too_large create (partial)"},
		{"an unknown member by the query", post("/orders?discount=100", as("alice"), jsonBody(`{"lines":[]}`)), "400 bad_parameter create (unknown)"},
		{"parameters beside an open schema", post("/hidden/alice?page=1", as("alice"), jsonBody(`{"a":1}`)), "200 allowed hidden"},
		{"a number that costs a billion digits", post("/orders", as("alice"), jsonBody(`{"lines":[{"sku":"a","n":1e1000000000}]}`)), "400 bad_body create (schema) /lines/0/n number"},
	})
}

// Row 74: nobody writes what they may not, in whatever format.
func TestWritable(t *testing.T) {
	merge := func(text string) option { return body("application/merge-patch+json", text) }
	list := func(text string) option { return body("application/json-patch+json; charset=utf-8", text) }
	judge(t, shapedGate(t), faulted, []line{
		{"her name", patch("/users/alice", as("alice"), jsonBody(`{"name":"a"}`)), "200 allowed update"},
		{"Alice makes herself admin", patch("/users/alice", as("alice"), jsonBody(`{"name":"a","role":"admin"}`)), "403 field_not_writable update /role"},
		{"with capitals", patch("/users/alice", as("alice"), jsonBody(`{"Role":"admin"}`)), "403 field_not_writable update /Role"},
		{"twice", patch("/users/alice", as("alice"), jsonBody(`{"name":"a","name":"b"}`)), "400 bad_body update (ambiguous)"},
		{"with a NUL", patch("/users/alice", as("alice"), jsonBody(`{"role\u0000":"admin"}`)), "400 bad_body update (malformed)"},
		{"an admin may", patch("/users/root", as("root"), jsonBody(`{"role":"admin"}`)), "200 allowed update"},
		{"a merge patch", patch("/users/alice", as("alice"), merge(`{"email":null}`)), "200 allowed update"},
		{"a merge patch of more", patch("/users/alice", as("alice"), merge(`{"address":{"a":1},"role":null}`)), "403 field_not_writable update /role"},
		{"a list of changes", patch("/users/alice", as("alice"), list(`[{"op":"replace","path":"/address/street","value":"a"}]`)), "200 allowed update"},
		{"of more", patch("/users/alice", as("alice"), list(`[{"op":"copy","from":"/secret","path":"/name"}]`)), "403 field_not_writable update /secret"},
		{"that is none", patch("/users/alice", as("alice"), list(`[{"op":"replace","path":"name"}]`)), "400 bad_body update (malformed)"},
		{"a document as a list of changes", patch("/users/alice", as("alice"), list(`{"name":"a"}`)), "400 bad_body update (malformed)"},
		{"a form", patch("/users/alice", as("alice"), form("name=a&email=b")), "200 allowed update"},
		{"a form of more", patch("/users/alice", as("alice"), form("name=a&role=admin")), "403 field_not_writable update /role"},
		{"a form with a path", patch("/users/alice", as("alice"), form("address[street]=a")), "403 field_not_writable update /address[street]"},
		{"a form that names another method", patch("/users/alice", as("alice"), form("_method=PUT")), "400 bad_body update (ambiguous)"},
		{"parts", patch("/users/alice", as("alice"), body("multipart/form-data; boundary=x", "--x--")), "415 media_type update (content_type)"},
		{"text", patch("/users/alice", as("alice"), body("text/plain", `{"name":"a"}`)), "415 media_type update (content_type)"},
		{"another charset", patch("/users/alice", as("alice"), body("application/json;charset=utf-16", `{"name":"a"}`)), "415 media_type update (content_type)"},
		{"a parameter that nobody declared", patch("/users/alice?role=admin", as("alice"), jsonBody(`{"name":"a"}`)), "400 bad_parameter update (unknown)"},
		{"an empty query", patch("/users/alice?", as("alice"), jsonBody(`{"name":"a"}`)), "200 allowed update"},
		{"another's", patch("/users/bob", as("alice"), jsonBody(`{"name":"a"}`)), "403 owner update (not_theirs)"},
		{"a long id", patch("/users/alicealice", as("alice"), jsonBody(`{"name":"a"}`)), "400 bad_parameter update (schema) path.id maxLength"},
		{"by everybody", post("/open", jsonBody(`{"name":"a"}`)), "200 public open"},
		{"and no more", post("/open", jsonBody(`{"admin":true}`)), "403 field_not_writable open /admin"},
		{"a parameter that the body cannot hold", post("/mixed?name=a", as("alice"), jsonBody(`{"email":"b"}`)), "200 allowed mixed"},
		{"and does not", post("/mixed?name=a", as("alice"), jsonBody(`{"name":"b"}`)), "403 field_not_writable mixed /name"},
	})
}

// One reading of the document serves its owner, its schema and its fields.
func TestOneReading(t *testing.T) {
	judge(t, shapedGate(t), faulted, []line{
		{"good", put("/both", as("alice"), jsonBody(`{"owner":"alice","n":5}`)), "200 allowed both"},
		{"the schema", put("/both", as("alice"), jsonBody(`{"owner":"alice","n":6}`)), "400 bad_body both (schema) /n maximum"},
		{"the fields", put("/both", as("alice"), jsonBody(`{"owner":"alice","x":6}`)), "403 field_not_writable both /x"},
		{"the owner", put("/both", as("alice"), jsonBody(`{"owner":"bob"}`)), "403 owner both (not_theirs)"},
		{"no owner", put("/both", as("alice"), jsonBody(`{"n":1}`)), "400 bad_body both (missing)"},
		{"the owner in another case", put("/both", as("alice"), jsonBody(`{"Owner":"bob"}`)), "400 bad_body both (ambiguous)"},
	})
}

// Row 75: what a list may be asked for.
func TestParams(t *testing.T) {
	const a, b = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
	judge(t, shapedGate(t), faulted, []line{
		{"good", get("/orders?page=1&sort=asc&price=0.5&all=true&id="+a+"&id="+b+"&n=1,2,-3", as("alice"), header("x-trace", "00ff")), "200 allowed list"},
		{"the least", get("/orders?page=100", as("alice")), "200 allowed list"},
		{"without what is required", get("/orders?sort=asc", as("alice")), "400 bad_parameter list (missing) query.page"},
		{"without a query", get("/orders", as("alice")), "400 bad_parameter list (missing) query.page"},
		{"too large a page", get("/orders?page=101", as("alice")), "400 bad_parameter list (schema) query.page maximum"},
		{"no number", get("/orders?page=one", as("alice")), "400 bad_parameter list (schema) query.page type"},
		{"a number in another form", get("/orders?page=01", as("alice")), "400 bad_parameter list (schema) query.page type"},
		{"a fraction", get("/orders?page=1.0", as("alice")), "400 bad_parameter list (schema) query.page type"},
		{"an exponent", get("/orders?page=1e1", as("alice")), "400 bad_parameter list (schema) query.page type"},
		{"negative zero", get("/orders?page=-0", as("alice")), "400 bad_parameter list (schema) query.page type"},
		{"twice", get("/orders?page=1&page=2", as("alice")), "400 bad_parameter list (ambiguous) query.page"},
		{"as a list", get("/orders?page[]=1", as("alice")), "400 bad_parameter list (unknown)"},
		{"none of them", get("/orders?page=1&sort=up", as("alice")), "400 bad_parameter list (schema) query.sort enum"},
		{"a price that is none", get("/orders?page=1&price=.5", as("alice")), "400 bad_parameter list (schema) query.price type"},
		{"a price of a billion digits", get("/orders?page=1&price=1e1000000000", as("alice")), "400 bad_parameter list (schema) query.price number"},
		{"a yes", get("/orders?page=1&all=yes", as("alice")), "400 bad_parameter list (schema) query.all type"},
		{"three of two", get("/orders?page=1&id="+a+"&id="+b+"&id="+a, as("alice")), "400 bad_parameter list (schema) query.id[*] maxItems"},
		{"one that is none", get("/orders?page=1&id="+a+"&id=7", as("alice")), "400 bad_parameter list (schema) query.id[*]/1 format"},
		{"one that is empty", get("/orders?page=1&n=1,", as("alice")), "400 bad_parameter list (schema) query.n[,] type"},
		{"one number twice", get("/orders?page=1&n=1,1", as("alice")), "400 bad_parameter list (schema) query.n[,] uniqueItems"},
		{"a parameter nobody knows", get("/orders?page=1&debug=1", as("alice")), "400 bad_parameter list (unknown)"},
		{"in capitals", get("/orders?page=1&Sort=asc", as("alice")), "400 bad_parameter list (unknown)"},
		{"escaped", get("/orders?p%61ge=1", as("alice")), "400 bad_parameter list (ambiguous)"},
		{"behind a semicolon", get("/orders?page=1;debug=1", as("alice")), "400 bad_parameter list (ambiguous)"},
		{"a header that is none", get("/orders?page=1", as("alice"), header("x-trace", "zz")), "400 bad_parameter list (schema) header.x-trace pattern"},
		{"two headers", get("/orders?page=1", as("alice"), header("x-trace", "00ff"), header("x-trace", "00ff")), "400 bad_parameter list (ambiguous) header.x-trace"},
		{"no parameters at all", get("/plain?x=1", as("alice")), "400 bad_parameter plain (unknown)"},
		{"and none came", get("/plain", as("alice")), "200 allowed plain"},
	})
}

func TestBodyLimits(t *testing.T) {
	judge(t, shapedGate(t), faulted, []line{
		{"within", post("/small", as("alice"), jsonBody(`{"a":[1,2]}`)), "200 allowed small"},
		{"too long", post("/small", as("alice"), jsonBody(`{"a":"0123456789012"}`)), "413 body_too_large small (too_large)"},
		{"too deep", post("/small", as("alice"), jsonBody(`{"a":[[1]]}`)), "413 body_too_large small (too_large)"},
		{"too many members", post("/small", as("alice"), jsonBody(`{"a":1,"b":2,"c":3}`)), "413 body_too_large small (too_large)"},
		{"too many elements", post("/small", as("alice"), jsonBody(`[1,2,3]`)), "413 body_too_large small (too_large)"},
	})
}

// Behind `otherwise: 404` a schema tells nothing.
func TestHiddenShape(t *testing.T) {
	d := shapedGate(t).Check(t.Context(), post("/hidden/bob", as("alice"), jsonBody(`{}`)))
	if d.Status() != 404 || d.PublicReason() != authz.NotFound || d.Fault.Pointer != "/a" {
		t.Errorf("%d %s %+v", d.Status(), d.PublicReason(), d.Fault)
	}
}

// What a log shows of a pointer is what the policy knows, or looks like a name.
func TestFaultsAreTold(t *testing.T) {
	for want, f := range map[string]authz.Fault{
		"query.page":             {Parameter: "query.page", Pointer: "/1"},
		"/lines/0":               {Pointer: "/lines/0", Named: true},
		"/isAdmin":               {Pointer: "/isAdmin"},
		"/…/b":                   {Pointer: "/a c@example.com/b"},
		"/…":                     {Pointer: "/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"},
		"/a/…":                   {Pointer: "/a/" + strings.Repeat("x", 33)},
		strings.Repeat("/a", 15): {Pointer: strings.Repeat("/a", 40)},
	} {
		if got := f.Told(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// An explanation says what was demanded of the shape, and where it failed.
func TestExplainedShape(t *testing.T) {
	a := shapedGate(t)
	for want, ask := range map[string]*authz.Request{
		"body        FAILED       a whole body with what its schema demands; found /lines, where `required` fails\n":                                                                                           post("/orders", as("alice"), jsonBody(`{}`)),
		"body        FAILED       a whole body with only fields that its sender may write; found /role\n":                                                                                                      patch("/users/alice", as("alice"), jsonBody(`{"role":1}`)),
		"what would have allowed it: a body that leaves /role alone, or `writable` that has it":                                                                                                                patch("/users/alice", as("alice"), jsonBody(`{"role":1}`)),
		"params      FAILED       header.x-trace, query.all, query.id[*], query.n[,], query.page, query.price, query.sort as declared, and no query parameter that the rule does not know; found query.page\n": get("/orders?page=0", as("alice")),
		"what would have allowed it: no query parameter: the rule knows none":                                                                                                                                  get("/plain?secret=1", as("alice")),
		"what would have allowed it: another value of query.page: `minimum` fails":                                                                                                                             get("/orders?page=0", as("alice")),
	} {
		if text := authz.Explain(a.Check(t.Context(), ask), ask).Text(); !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// order8K is an order of 8 KiB with 30 properties, of which its sender may write ten.
func order8K() (document, schemaText, writable string) {
	var members, properties []string
	for i := range 30 {
		properties = append(properties, fmt.Sprintf(`"p%d":{"type":"string","maxLength":300}`, i))
	}
	for i := range 10 {
		members = append(members, fmt.Sprintf(`"p%d":%q`, i, strings.Repeat("x", 150)))
		writable += fmt.Sprintf("p%d, ", i)
	}
	var lines []string
	for i := range 120 {
		lines = append(lines, fmt.Sprintf(`{"sku":"sku-%04d","n":%d,"note":"a note of some length"}`, i, i))
	}
	properties = append(properties, `"lines":{"type":"array","items":{"type":"object","required":["sku"],"properties":{"sku":{"type":"string"},"n":{"type":"integer"},"note":{"type":"string"}}}}`)
	members = append(members, `"lines":[`+strings.Join(lines, ",")+`]`)
	return "{" + strings.Join(members, ",") + "}", `{"type":"object","properties":{` + strings.Join(properties, ",") + `}}`, writable + "lines"
}

// What the shape of a body costs: the same Check without a body, with one that is read for its owner, and with schema and fields.
func BenchmarkShape(b *testing.B) {
	document, schemaText, writable := order8K()
	text := `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api]}
services:
  - name: store
    hosts: [orders.example]
    rules:
      - {name: plain, match: POST /plain}
      - {name: owner, match: POST /owner, owner: {of: body.p0, is: token.sub}}
      - {name: schema, match: POST /schema, body: {schema: order.json}}
      - {name: fields, match: POST /fields, writable: {everyone: [` + writable + `]}}
      - {name: both, match: POST /both, body: {schema: order.json, strict: true}, writable: {everyone: [` + writable + `]}}
`
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}, {Name: "order.json", Data: []byte(schemaText)}})
	if p == nil {
		b.Fatal(errs.Pretty())
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	for _, name := range []string{"plain", "owner", "schema", "fields", "both"} {
		b.Run(name, func(b *testing.B) {
			r := post("/"+name, as("alice"), jsonBody(document))
			want := authz.Allow
			if name == "owner" {
				want = authz.Deny // p0 is nobody's name
			}
			b.SetBytes(int64(len(document)))
			b.ReportAllocs()
			for b.Loop() {
				if d := a.Check(b.Context(), r); d.Verdict != want {
					b.Fatal(detail(d), d.Fault)
				}
			}
		})
	}
}
