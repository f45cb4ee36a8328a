package openapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, file string) *Document {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return mustRead(t, file, string(data))
}

func mustRead(t *testing.T, name, text string) *Document {
	t.Helper()
	d, errs := Read(name, []byte(text))
	if len(errs) > 0 {
		t.Fatalf("%s\n%s", errs.Pretty(), text)
	}
	return d
}

// told is a document in lines, without its schemas.
func told(d *Document) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s at %v\n", d.Title, d.Version, d.Hosts)
	for _, s := range d.Schemes {
		fmt.Fprintf(&b, "scheme %s: %s%s %s\n", s.Name, s.Type, s.HTTP, s.URL)
	}
	for _, op := range d.Operations {
		fmt.Fprintf(&b, "%d %s %s = %s %q", op.Pos.Line, op.Method, op.Path, op.Pattern, op.ID)
		if op.Deprecated {
			b.WriteString(" deprecated")
		}
		fmt.Fprintf(&b, " %v\n", op.Security)
		for _, p := range op.Parameters {
			fmt.Fprintf(&b, "  %s.%s", p.In, p.Name)
			if p.In == InPath {
				fmt.Fprintf(&b, "=%s", p.Capture)
			}
			fmt.Fprintf(&b, " required=%t %s explode=%t shape=%d\n", p.Required, p.Style, p.Explode, p.Shape)
		}
		if op.Body != nil {
			fmt.Fprintf(&b, "  body required=%t", op.Body.Required)
			for _, m := range op.Body.Media {
				fmt.Fprintf(&b, " %s", m.Type)
			}
			b.WriteString("\n")
		}
	}
	for _, u := range d.Unsupported {
		fmt.Fprintf(&b, "! %d %s: %s\n", u.Pos.Line, u.Place, u.What)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	for file, want := range map[string]string{
		"petstore.yaml": `Pet store 1.2 at [petstore.example.com]
scheme login: openIdConnect https://auth.example.com/.well-known/openid-configuration
18 GET /v1/pets = GET /v1/pets "listPets" [[{login [read:pets]}]]
  query.limit required=false form explode=true shape=0
  query.tag required=false form explode=true shape=2
  header.X-Request-Source required=false simple explode=false shape=0
27 POST /v1/pets = POST /v1/pets "createPet" [[{login [write:pets]}]]
  body required=true application/json
41 GET /v1/pets/{pet-id} = GET /v1/pets/{pet_id} "getPet" [[{login [read:pets]}]]
  path.pet-id=pet_id required=true simple explode=false shape=0
45 DELETE /v1/pets/{pet-id} = DELETE /v1/pets/{pet_id} "deletePet" deprecated [[{login [write:pets]}] [{login [admin]}]]
  path.pet-id=pet_id required=true simple explode=false shape=0
57 PUT /v1/users/{userId}/pets/{pet-id} = PUT /v1/users/{userId}/pets/{pet_id} "" [[{login [read:pets]}]]
  path.userId=userId required=true simple explode=false shape=0
  path.pet-id=pet_id required=true simple explode=false shape=0
61 GET /v1/health = GET /v1/health "" []
`,
		"orders31.json": `Orders 1 at []
scheme oauth: oauth2 https://login.example.org/token
scheme key: apiKey 
7 PATCH /orders/{order_id} = PATCH /orders/{order_id} "Orders_Update" [[{oauth [orders]} {key []}] []]
  path.order_id=order_id required=true simple explode=false shape=0
  query.fields required=false form explode=false shape=1
  body required=false application/merge-patch+json application/xml
! 16 PATCH /orders/{order_id} body application/xml: a body of application/xml is not read
`,
	} {
		if diff := cmp.Diff(want, told(read(t, file))); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", file, diff)
		}
	}
}

// doc is a small document: its paths, and its components where there are any.
func doc(paths, components string) string {
	if paths == "" {
		paths = "/none: {}\n"
	}
	return "openapi: 3.0.3\ninfo: {title: t, version: \"1\"}\npaths:\n" + indent(paths) + "components:\n  schemas:\n" + indent(indent(components)) + "    Last: {}\n"
}

func doc31(paths, components string) string {
	return strings.Replace(doc(paths, components), "3.0.3", "3.1.0", 1)
}

func indent(s string) string {
	if s == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ") + "\n"
}

// get is a path with one operation.
func get(path, rest string) string {
	return path + ":\n  get:\n    responses: {200: {description: ok}}\n" + indent(indent(rest))
}

func TestReadRefuses(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		// The text: whatever two readers could read differently.
		{"duplicate keys", doc(get("/a", "")+get("/a", ""), ""), `7:3: duplicate key "/a"`},
		{"duplicate names in JSON", "{\"openapi\": \"3.0.3\",\n \"openapi\": \"3.1.0\"}", `2:2: duplicate key "openapi"`},
		{"an anchor", "openapi: &v 3.0.3\ninfo: {}\n", "1:10: an anchor"},
		{"a second document", "openapi: 3.0.3\n---\nopenapi: 3.0.3\n", "2:1: a second document"},
		{"something after JSON", "{\"openapi\": \"3.0.3\"}\n{}", "2:1: something follows the document"},
		{"half of JSON", `{"openapi": "3.0.3"`, "1:20: this is not JSON"},
		{"a list", "- openapi\n", "1:1: an OpenAPI document is a map"},
		{"nothing", "", "the file is empty"},
		{"an octal number", doc(get("/a", "parameters:\n  - {name: a, in: query, schema: {type: integer, maximum: 010}}\n"), ""), "8:65: 010 is not the same number to all YAML readers"},
		{"a boolean of 1.1", doc(get("/a", "parameters:\n  - {name: a, in: query, schema: {type: string, enum: [on, off]}}\n"), ""), "8:62: on is a boolean to some YAML readers"},

		// The version and the dialect.
		{"swagger", "swagger: \"2.0\"\n", "1:1: this is Swagger 2.0"},
		{"no version", "info: {}\n", `1:1: missing key "openapi"`},
		{"an old one", "openapi: \"3\"\n", `1:10: OpenAPI 3 is not read`},
		{"a new one", "openapi: 3.2.0\n", "1:10: OpenAPI 3.2.0 is not read"},
		{"a number", "openapi: 3.1\n", "1:10: the version is no text"},
		{"a number of a release", "openapi: 3.1.0\ninfo:\n  title: t\n  version: 1.0\npaths: {}\n", "4:12: info.version is text"},
		{"another dialect", "openapi: 3.1.0\njsonSchemaDialect: http://json-schema.org/draft-07/schema#\ninfo: {title: t, version: \"1\"}\npaths: {}\n", "2:20: the schemas are of another dialect"},

		// References: nothing is fetched, nothing leads in a circle or nowhere.
		{"to a file", doc("", "A: {$ref: other.yaml}\n"), "7:15: a reference to another document: other.yaml; nothing is fetched"},
		{"to a host", doc("", "A: {$ref: \"http://169.254.169.254/x#/a\"}\n"), "7:15: a reference to another document"},
		{"in what is not about requests", doc("/a:\n  get:\n    responses: {200: {$ref: /etc/passwd}}\n", ""), "6:31: a reference to another document"},
		{"by anchor", doc31("", "A: {$ref: \"#a\"}\n"), "7:15: a reference by anchor"},
		{"to the whole", doc("", "A: {$ref: \"#\"}\n"), "7:15: a reference by anchor"},
		{"to nothing", doc("", "A: {$ref: \"#/components/schemas/B\"}\n"), "7:15: a reference to what is not there"},
		{"to itself", doc("", "A: {$ref: \"#/components/schemas/A\"}\n"), "7:15: a reference that leads in a circle"},
		{"to each other", doc("", "A: {$ref: \"#/components/schemas/B\"}\nB: {$ref: \"#/components/schemas/A\"}\n"), "7:15: a reference that leads in a circle"},

		// The shape, which kin-openapi judges; we find the place.
		{"a parameter of the path that nobody describes", doc(get("/b", "")+get("/a/{id}", ""), ""), "8:5: invalid paths: operation GET /a/{id} must define exactly all path parameters"},
		{"a word for a boolean", doc(get("/a", "parameters:\n  - {name: a, in: query, required: \"yes\", schema: {}}\n"), ""), "8:42: cannot unmarshal string into field Parameter.required of type bool"},
		{"an operation beside a reference", doc31(get("/a", "")+"/b: {$ref: \"#/paths/~1a\", put: {responses: {200: {description: ok}}}}\n", ""), "7:29: `put` beside the reference of a path"},
		{"a body that is none", doc(get("/a", "requestBody: {$ref: \"#/info\"}\n"), ""), "this is no request body"},
		{"a parameter that is none", doc(get("/a", "parameters: [{$ref: \"#/info\"}]\n"), ""), "parameter name can't be blank"},
		{"two templates that are one", doc(get("/a/{x}", "parameters:\n  - {name: x, in: path, required: true, schema: {}}\n")+get("/a/{y}", "parameters:\n  - {name: y, in: path, required: true, schema: {}}\n"), ""), "conflicting paths"},
		{"one operationId twice", doc(get("/a", "operationId: x\n")+get("/b", "operationId: x\n"), ""), "have the same operation id"},
		{"a file of Swagger", doc("", "A: {type: file}\n"), `7:5: invalid components: schema "A": unsupported 'type' value "file"`},
		{"a keyword of 3.1 in 3.0", doc("", "A: {const: 1}\n"), `7:5: invalid components: schema "A": field const is for OpenAPI >=3.1`},
	} {
		d, errs := Read("spec.yaml", []byte(tt.text))
		if d != nil || len(errs) == 0 {
			t.Errorf("%s: read", tt.name)
			continue
		}
		if text := errs.Error(); !strings.Contains(text, "spec.yaml:") || !strings.Contains(text, tt.want) {
			t.Errorf("%s: got\n%s\nwant %s", tt.name, text, tt.want)
		}
	}
}

// What a document says in notes, for people, or about answers, refers to nothing and refuses nothing.
func TestReadLetsBe(t *testing.T) {
	for name, text := range map[string]string{
		"a reference in an example":       doc(get("/a", "parameters:\n  - {name: a, in: query, schema: {type: string}, example: {$ref: nowhere.yaml}}\n"), ""),
		"a number without quotes in one":  doc(get("/a", "parameters:\n  - {name: a, in: query, schema: {type: string, example: 0123}}\n"), ""),
		"an extension":                    doc(get("/a", "x-gateway: {$ref: nowhere.yaml, a: yes}\n"), ""),
		"a property called $ref":          doc("", "A: {type: object, properties: {$ref: {type: string}, example: {type: string}}}\n"),
		"a mapping of a discriminator":    doc("", "A: {oneOf: [{$ref: \"#/components/schemas/B\"}], discriminator: {propertyName: k, mapping: {b: B}}}\nB: {type: object}\n"),
		"a path by a reference":           doc31(get("/a", "")+"/b: {$ref: \"#/paths/~1a\", description: the same}\n/c: {$ref: \"#/components/pathItems/C\"}\n", "") + "  pathItems: {C: {get: {responses: {200: {description: ok}}}}}\n",
		"callbacks and links":             doc("/a:\n  get:\n    responses:\n      200: {description: ok, links: {next: {operationId: b}}}\n    callbacks: {done: {\"{$request.body#/url}\": {post: {responses: {200: {description: ok}}}}}}\n"+get("/b", "operationId: b\n"), ""),
		"a scheme that begins with x-":    doc(get("/a", "security: [{x-key: []}]\n"), "") + "  securitySchemes: {x-key: {type: http, scheme: bearer}}\n",
		"a schema that refers to itself":  doc("", "A: {type: object, properties: {a: {$ref: \"#/components/schemas/A\"}}}\n"),
		"webhooks":                        doc31("", "") + "webhooks: {w: {post: {responses: {200: {description: ok}}}}}\n",
		"plain text over several lines":   doc(get("/a", "description: one\n  two\n"), ""),
		"a tab and a control, as escapes": doc(get("/a", "description: \"a\\tb\"\n"), ""),
	} {
		d, errs := Read("spec.yaml", []byte(text))
		if len(errs) > 0 {
			t.Errorf("%s:\n%s\n%s", name, errs.Pretty(), text)
			continue
		}
		if len(d.Unsupported) > 0 {
			t.Errorf("%s: %v", name, d.Unsupported)
		}
	}
}

func TestUnsupportedIsNamed(t *testing.T) {
	parameter := func(in string) string {
		return doc31(get("/a", "parameters:\n  - {name: p, "+in+"}\n"), "")
	}
	path := func(path string, names ...string) string {
		rest := ""
		for _, name := range names {
			rest += "  - {name: " + name + ", in: path, required: true, schema: {type: string}}\n"
		}
		return doc31(get(`"`+path+`"`, "parameters:\n"+rest), "")
	}
	for _, tt := range []struct{ name, text, want string }{
		{"a name that a query cannot hold", doc31(get("/a", "parameters:\n  - {name: \"p q\", in: query, schema: {type: string}}\n"), ""), "8 GET /a query.p q: a query cannot hold the name"},
		{"a name that no header has", doc31(get("/a", "parameters:\n  - {name: \"p q\", in: header, schema: {type: string}}\n"), ""), "8 GET /a header.p q: no header can be called this"},
		{"a name that no cookie has", doc31(get("/a", "parameters:\n  - {name: \"p;q\", in: cookie, schema: {type: string}}\n"), ""), "8 GET /a cookie.p;q: no cookie can be called this"},
		{"deepObject", parameter("in: query, style: deepObject, explode: true, schema: {type: object}"), "8 GET /a query.p: style deepObject is not read"},
		{"spaceDelimited", parameter("in: query, style: spaceDelimited, explode: false, schema: {type: array, items: {}}"), "8 GET /a query.p: style spaceDelimited is not read"},
		{"pipeDelimited", parameter("in: query, style: pipeDelimited, explode: false, schema: {type: array, items: {}}"), "8 GET /a query.p: style pipeDelimited is not read"},
		{"matrix", doc(get("/a/{p}", "parameters:\n  - {name: p, in: path, required: true, style: matrix, schema: {type: string}}\n"), ""), "8 GET /a/{p} path.p: style matrix is not read"},
		{"label", doc(get("/a/{p}", "parameters:\n  - {name: p, in: path, required: true, style: label, schema: {type: string}}\n"), ""), "8 GET /a/{p} path.p: style label is not read"},
		{"content", parameter("in: query, content: {application/json: {schema: {}}}"), "8 GET /a query.p: a parameter that is a document"},
		{"allowReserved", parameter("in: query, allowReserved: true, schema: {type: string}"), "8 GET /a query.p: allowReserved"},
		{"an object", parameter("in: query, schema: {type: object}"), "8 GET /a query.p: a parameter that is an object"},
		{"a list of lists", parameter("in: query, schema: {type: array, items: {type: array}}"), "8 GET /a query.p: a list of lists"},
		{"a list or not", parameter("in: query, schema: {type: [array, string]}"), "8 GET /a query.p: a parameter that is a list or a single value"},
		{"a cookie for each element", parameter("in: cookie, schema: {type: array, items: {}}"), "8 GET /a cookie.p: a list of one cookie for each element"},
		{"a body of XML", doc(get("/a", "requestBody: {content: {text/xml: {}}}\n"), ""), "7 GET /a body text/xml: a body of text/xml is not read"},
		{"multipart", doc(get("/a", "requestBody: {content: {multipart/form-data: {}}}\n"), ""), "7 GET /a body multipart/form-data: a body of"},
		{"any media type", doc(get("/a", "requestBody: {content: {\"*/*\": {}}}\n"), ""), "7 GET /a body */*: a body of */* is not read"},
		{"one media type twice", doc(get("/a", "requestBody: {content: {application/json: {}, application/json; v=1: {}}}\n"), ""), "7 GET /a body application/json: the media type stands twice"},
		{"an encoding", doc(get("/a", "requestBody: {content: {application/x-www-form-urlencoded: {schema: {}, encoding: {a: {style: form}}}}}\n"), ""), "7 GET /a body application/x-www-form-urlencoded: `encoding`"},
		{"two parameters in a segment", path("/x/{a}{b}", "a", "b"), "5 GET /x/{a}{b}: a segment has two parameters"},
		{"two with a point", path("/x/{a}.{b}", "a", "b"), "5 GET /x/{a}.{b}: a segment has two parameters"},
		{"text before a parameter", path("/x/v{a}", "a"), "5 GET /x/v{a}: a segment has text before"},
		{"a query in a template", path("/x?y={a}", "a"), "5 GET /x?y={a}: a segment has text before"},
		{"a fragment in one", path("/x#y"), "5 GET /x#y: no pattern of a rule can say this path"},
		{"two slashes", path("/x//y"), "5 GET /x//y: no pattern of a rule can say this path"},
		{"a matrix in one", path("/x;y"), "5 GET /x;y: no pattern"},
		{"two base paths", "servers: [{url: /v1}, {url: /v2}]\n" + doc(get("/a", ""), ""), "1 servers: several base paths: /v1, /v2; the first is taken"},
		{"a variable in one", "servers: [{url: \"/{v}\", variables: {v: {default: v1}}}]\n" + doc(get("/a", ""), ""), "1 servers: the path of \"/{v}\" has variables"},
		{"a pattern of Perl", doc31(get("/a", "parameters:\n  - {name: p, in: query, schema: {type: string, pattern: \"^(?=a)\"}}\n"), ""), "8 GET /a: a pattern that RE2 cannot read: ^(?=a)"},
		{"a keyword that nobody knows", doc31(get("/a", "parameters:\n  - {name: p, in: query, schema: {type: string, nullable: true}}\n"), ""), "8 GET /a: the keyword `nullable` means nothing here"},
		{"a schema that has a name of its own", doc31(get("/a", "requestBody: {content: {application/json: {schema: {$ref: \"#/components/schemas/A\"}}}}\n"), "A: {$id: \"https://x/a\", type: object}\n"), "10 #/components/schemas/A: `$id` is not read"},
	} {
		d := mustRead(t, "spec.yaml", tt.text)
		if got := told(d); strings.Count(got, "\n! ") != 1 || !strings.Contains(got, "\n! "+tt.want) {
			t.Errorf("%s: got\n%swant %s", tt.name, got, tt.want)
		}
	}
}

// What cannot be said by a pattern has no rule, and its operation is still there to be named.
func TestPatternsOfTemplates(t *testing.T) {
	for template, want := range map[string]string{
		"/":                  "/{$}",
		"/a/":                "/a/{$}",
		"/a/{id}":            "/a/{id}",
		"/a/{id}/":           "/a/{id}/{$}",
		"/a/{id}.json":       "/a/{id}.json",
		"/a/{id}:cancel":     "/a/{id}:cancel",
		"/a/{user-id}":       "/a/{user_id}",
		"/a/{userId}":        "/a/{userId}",
		"/a/{2fa}":           "/a/{_2fa}",
		"/a/{a-b}/{a_b}":     "/a/{a_b}/{a_b_2}",
		"/a/{in}":            "/a/{_in}",
		"/a/{é}":             "/a/{__}",
		"/caf%C3%A9/{id}":    "/café/{id}",
		"/a b":               "/a b",
		"/.well-known/x.txt": "/.well-known/x.txt",
	} {
		path, captures, why := translate(template)
		if path != want || why != "" {
			t.Errorf("%s: %s %v %s, want %s", template, path, captures, why, want)
		}
	}
}

func TestBasePaths(t *testing.T) {
	for servers, want := range map[string]string{
		``:                                  "/a",
		`servers: [{url: "https://x/v1"}]`:  "/v1/a",
		`servers: [{url: "https://x/v1/"}]`: "/v1/a",
		`servers: [{url: "https://x"}, {url: "//y"}]`: "/a",
		`servers: [{url: /api}]`:                      "/api/a",
		`servers: [{url: api/v2}]`:                    "/api/v2/a",
		`servers: [{url: "https://{h}:8080/v1", variables: {h: {default: x}}}, {url: "http://y/v1"}]`: "/v1/a",
	} {
		d := mustRead(t, "spec.yaml", servers+"\n"+doc(get("/a", ""), ""))
		if got := d.Operations[0].Path; got != want || len(d.Unsupported) > 0 {
			t.Errorf("%s: %s %v, want %s", servers, got, d.Unsupported, want)
		}
	}
	d := mustRead(t, "spec.yaml", "servers: [{url: /all}]\n"+doc("/a:\n  servers: [{url: /path}]\n  get: {responses: {200: {description: ok}}}\n  put:\n    servers: [{url: /one}]\n    responses: {200: {description: ok}}\n", ""))
	if d.Operations[0].Path != "/path/a" || d.Operations[1].Path != "/one/a" {
		t.Errorf("servers of a path and of an operation: %s", told(d))
	}
}

// An operation's own parameter stands in place of its path's, by name and place; names of headers are compared without case.
func TestParametersOfAPathAndItsOperation(t *testing.T) {
	d := mustRead(t, "spec.yaml", doc(`/a/{id}:
  parameters:
    - {name: id, in: path, required: true, schema: {type: string}}
    - {name: n, in: query, schema: {type: string}}
    - {name: n, in: header, schema: {type: string}}
    - {name: X-Trace, in: header, schema: {type: string}}
  get:
    parameters:
      - {name: n, in: query, required: true, schema: {type: integer}}
      - {name: x-trace, in: header, required: true, schema: {type: string}}
      - {name: accept, in: header, schema: {type: string}}
      - {name: Content-Type, in: header, schema: {type: string}}
      - {name: Authorization, in: header, schema: {type: string}}
    responses: {200: {description: ok}}
  put:
    responses: {200: {description: ok}}
`, ""))
	for i, want := range []string{
		"path.id required=true, query.n required=true, header.n required=false, header.x-trace required=true",
		"path.id required=true, query.n required=false, header.n required=false, header.X-Trace required=false",
	} {
		var got []string
		for _, p := range d.Operations[i].Parameters {
			got = append(got, fmt.Sprintf("%s.%s required=%t", p.In, p.Name, p.Required))
		}
		if diff := cmp.Diff(want, strings.Join(got, ", ")); diff != "" {
			t.Errorf("%s: %s", d.Operations[i].Method, diff)
		}
	}
	if _, err := d.Operations[0].Parameters[1].Decode([]string{"a"}); err == nil {
		t.Error("the operation's parameter is read by the path's schema")
	}
}
