package authz_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const shopDocument = `openapi: 3.0.3
info: {title: shop, version: "1"}
paths:
  /orders/{orderId}:
    parameters:
      - {name: orderId, in: path, required: true, schema: {type: string, pattern: "^o-[0-9]+$"}}
    get:
      operationId: readOrder
      parameters:
        - {name: fields, in: query, explode: false, schema: {type: array, maxItems: 2, items: {type: string, enum: [id, total]}}}
        - {name: tag, in: query, schema: {type: array, items: {type: integer}}}
        - {name: limit, in: query, required: true, schema: {type: integer, format: int64, minimum: 1, maximum: 9}}
        - {name: X-Trace, in: header, schema: {type: string, minLength: 4}}
        - {name: theme, in: cookie, schema: {type: string, enum: [dark, light]}}
      responses: {default: {description: d}}
    put:
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/Order"}}
          application/vnd.shop+json: {schema: {type: object, required: [v]}}
          application/x-www-form-urlencoded: {schema: {$ref: "#/components/schemas/Order"}}
      responses: {default: {description: d}}
    post:
      requestBody:
        content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}
      responses: {default: {description: d}}
    delete:
      responses: {default: {description: d}}
components:
  schemas:
    Order:
      type: object
      required: [sku]
      properties: {sku: {type: string, nullable: true}, n: {type: integer, exclusiveMinimum: true, minimum: 0}, id: {type: string, readOnly: true}}
`

const documented = `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api]}
services:
  - name: store
    hosts: [orders.example]
    openapi: {file: shop.openapi.yaml, strict: true}
    rules:
      - {name: read, match: "GET,HEAD /orders/{id}", owner: none}
      - {name: write, match: "PUT /orders/{id}", owner: none}
      - {name: add, match: "POST /orders/{id}", owner: none, params: {path.id: {maxLength: 5}}}
      - {name: other, match: GET /other}
`

// shows comes by a route that says how long a body it takes, of which Envoy saw so many bytes and shows none.
func shows(size int64) option {
	return func(r *authz.Request) { r.Body = authz.Body{Size: size, Bound: 65535} }
}

func parseDocumented(t testing.TB, text, document string) (*policy.Policy, string) {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}, {Name: "shop.openapi.yaml", Data: []byte(document)}})
	return p, errs.Pretty()
}

// A service's OpenAPI document holds the rules to its operations: their parameters, their bodies, and no others.
func TestOpenAPI(t *testing.T) {
	p, errs := parseDocumented(t, documented, shopDocument)
	if p == nil {
		t.Fatal(errs)
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	judge(t, a, faulted, []line{
		{"good", get("/orders/o-1?limit=9&fields=id,total&tag=1&tag=2", as("alice"), header("x-trace", "abcd"), header("cookie", "a=b; theme=dark")), "200 allowed read"},
		{"by HEAD", ask("HEAD", "/orders/o-1?limit=9", as("alice")), "200 allowed read"},
		{"another form of the path", get("/orders/7?limit=9", as("alice")), "400 bad_parameter read (schema) path.id pattern"},
		{"a required one is missing", get("/orders/o-1", as("alice")), "400 bad_parameter read (missing) query.limit"},
		{"too much", get("/orders/o-1?limit=10", as("alice")), "400 bad_parameter read (schema) query.limit maximum"},
		{"no number", get("/orders/o-1?limit=1e1", as("alice")), "400 bad_parameter read (schema) query.limit type"},
		{"too many", get("/orders/o-1?limit=1&fields=id,id,id", as("alice")), "400 bad_parameter read (schema) query.fields[,] maxItems"},
		{"one that is none of them", get("/orders/o-1?limit=1&fields=id,secret", as("alice")), "400 bad_parameter read (schema) query.fields[,]/1 enum"},
		{"a list another way", get("/orders/o-1?limit=1&fields=id&fields=total", as("alice")), "400 bad_parameter read (ambiguous) query.fields[,]"},
		{"unknown", get("/orders/o-1?limit=1&debug=1", as("alice")), "400 bad_parameter read (unknown)"},
		{"one field of a header alone", get("/orders/o-1?limit=1", as("alice"), header("x-trace", "abc"), header("x-trace", "abcd")), "400 bad_parameter read (schema) header.x-trace minLength"},
		{"and each of them", get("/orders/o-1?limit=1", as("alice"), header("x-trace", "abcd"), header("x-trace", "abcde")), "200 allowed read"},
		{"a header", get("/orders/o-1?limit=1", as("alice"), header("x-trace", "abc")), "400 bad_parameter read (schema) header.x-trace minLength"},
		{"a cookie", get("/orders/o-1?limit=1", as("alice"), header("cookie", "theme=blue")), "400 bad_parameter read (schema) cookie.theme enum"},
		{"a cookie twice", get("/orders/o-1?limit=1", as("alice"), header("cookie", "theme=dark; theme=light")), "400 bad_parameter read (ambiguous) cookie.theme"},
		{"a cookie with a space in its name", get("/orders/o-1?limit=1", as("alice"), header("cookie", "theme =blue")), "400 bad_parameter read (ambiguous) cookie.theme"},
		{"a cookie in capitals", get("/orders/o-1?limit=1", as("alice"), header("cookie", "theme=dark; THEME=x")), "400 bad_parameter read (ambiguous) cookie.theme"},
		{"a cookie that is escaped", get("/orders/o-1?limit=1", as("alice"), header("cookie", "th%65me=blue")), "400 bad_parameter read (ambiguous) cookie.theme"},
		{"a form beside a query that nobody judges", get("/orders/o-1?limit=1", as("alice"), form("limit=99")), "400 bad_parameter read (ambiguous) query.fields[,]"},
		{"a cookie in quotes", get("/orders/o-1?limit=1", as("alice"), header("cookie", `theme="dark"`)), "400 bad_parameter read (ambiguous) cookie.theme"},
		{"a body", put("/orders/o-1", as("alice"), jsonBody(`{"sku":null,"n":1}`)), "200 allowed write"},
		{"a bound that 3.0 writes otherwise", put("/orders/o-1", as("alice"), jsonBody(`{"sku":"a","n":0}`)), "400 bad_body write (schema) /n exclusiveMinimum"},
		{"a field that is only read", put("/orders/o-1", as("alice"), jsonBody(`{"sku":"a","id":"o-2"}`)), "400 bad_body write (schema) /id false"},
		{"a field nobody knows", put("/orders/o-1", as("alice"), jsonBody(`{"sku":"a","free":true}`)), "400 bad_body write (schema) /free unevaluatedProperties"},
		{"another type has another schema", put("/orders/o-1", as("alice"), body("application/vnd.shop+json", `{"sku":"a"}`)), "400 bad_body write (schema) /v required"},
		{"a type that is not described", put("/orders/o-1", as("alice"), form("sku=a")), "415 media_type write (content_type)"},
		{"no body", put("/orders/o-1", as("alice"), header("content-length", "0")), "415 media_type write (content_type)"},
		{"no body, where it is optional", post("/orders/o-1", as("alice"), header("content-length", "0")), "200 allowed add"},
		{"nobody says that there is none", post("/orders/o-1", as("alice")), "415 media_type add (content_type)"},
		{"the route would show one", post("/orders/o-1", as("alice"), shows(0)), "200 allowed add"},
		{"and shows an empty one", post("/orders/o-1", as("alice"), shows(0), header("x-envoy-auth-partial-body", "false")), "200 allowed add"},
		{"a part of one", post("/orders/o-1", as("alice"), shows(0), header("x-envoy-auth-partial-body", "true")), "415 media_type add (content_type)"},
		{"one that it does not show", post("/orders/o-1", as("alice"), shows(7)), "415 media_type add (content_type)"},
		{"one that is declared", post("/orders/o-1", as("alice"), shows(0), header("content-length", "7")), "415 media_type add (content_type)"},
		{"none, where one is required", put("/orders/o-1", as("alice"), shows(0)), "415 media_type write (content_type)"},
		{"a body, where it is optional", post("/orders/o-1", as("alice"), jsonBody(`{}`)), "400 bad_body add (schema) /sku required"},
		{"the rule's own word goes before the document's", post("/orders/p", as("alice"), jsonBody(`{"sku":"a"}`)), "200 allowed add"},
		{"and holds", post("/orders/o-1234", as("alice"), jsonBody(`{"sku":"a"}`)), "400 bad_parameter add (schema) path.id maxLength"},
		{"what the document does not speak of", get("/other?x=1", as("alice")), "200 allowed other"},
		{"an operation without a rule", ask("DELETE", "/orders/o-1", as("alice")), "403 no_rule none"},
	})
	var warned []string
	for _, w := range p.Warnings {
		warned = append(warned, w.Msg)
	}
	if got := strings.Join(warned, "\n"); !strings.Contains(got, "no rule stands for the operation DELETE /orders/{orderId}") || !strings.Contains(got, "has no operation for GET of the pattern `GET /other`") || len(warned) != 3 {
		t.Errorf("warned of\n%s", got)
	}
}

// A rule that takes an operation by a wider pattern is doubted; of two patterns, each names the parameters as it does itself.
func TestOpenAPIPatterns(t *testing.T) {
	p, errs := parseDocumented(t, strings.Replace(documented, `match: "GET,HEAD /orders/{id}"`, `match: "GET,HEAD /orders/{id...}"`, 1), shopDocument)
	if p == nil {
		t.Fatal(errs)
	}
	found := false
	for _, w := range p.Warnings {
		found = found || w.Msg == "the rule `read` takes GET /orders/{orderId} by the wider pattern `GET,HEAD /orders/{id...}`, and is not held to what shop.openapi.yaml says of it"
	}
	if !found {
		t.Errorf("%v", p.Warnings)
	}
	two, errs := parseDocumented(t, strings.Replace(documented, `match: "PUT /orders/{id}"`, `match: ["PUT /old/{x}/{id}", "PUT /orders/{id}/{x}"]`, 1),
		strings.Replace(shopDocument, "    delete:\n", "  /orders/{a}/{b}:\n    parameters: [{name: a, in: path, required: true, schema: {enum: [aa]}}, {name: b, in: path, required: true, schema: {enum: [bb]}}]\n    put:\n      responses: {default: {description: d}}\n  /none:\n    delete:\n", 1))
	if two == nil {
		t.Fatal(errs)
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: two, Verifiers: authz.Verifiers{"shop": verifier()}})
	judge(t, a, faulted, []line{
		{"as the document says", put("/orders/aa/bb", as("alice")), "200 allowed write"},
		{"the other way round", put("/orders/bb/aa", as("alice")), "400 bad_parameter write (schema) path.id enum"},
	})
}

const oldOrders = `  /old/{orderId}:
    parameters: [{name: orderId, in: path, required: true, schema: {type: string}}]
    get:
      responses: {default: {description: d}}
`

// A rule of several methods holds each to its own operation, and one that the document does not describe to none.
func TestOpenAPIMethods(t *testing.T) {
	methods := strings.NewReplacer(`match: "PUT /orders/{id}", owner: none`, `match: "PUT,POST,DELETE,PATCH /orders/{id}", owner: none, metadata: {kind: token.who}`,
		"      - {name: add, match: \"POST /orders/{id}\", owner: none, params: {path.id: {maxLength: 5}}}\n", "").Replace(documented)
	p, errs := parseDocumented(t, methods, shopDocument)
	if p == nil {
		t.Fatal(errs)
	}
	if len(p.Warnings) != 3 || p.Warnings[0].Msg != "shop.openapi.yaml has no operation for PATCH of the pattern `PUT,POST,DELETE,PATCH /orders/{id}`" {
		t.Errorf("warned of %v", p.Warnings)
	}
	if rule := p.Services[0].Rules[1]; !rule.ReadsBody() || rule.For("PUT").Metadata == nil || rule.For("PUT").Name != "write" || rule.For("PATCH").Body != nil {
		t.Errorf("%+v", rule)
	}
	lines := []line{
		{"PUT has a body", put("/orders/o-1", as("alice"), jsonBody(`{"sku":"a"}`)), "200 allowed write"},
		{"PUT without one", put("/orders/o-1", as("alice"), header("content-length", "0")), "415 media_type write (content_type)"},
		{"PUT of another form", put("/orders/o-1", as("alice"), jsonBody(`{}`)), "400 bad_body write (schema) /sku required"},
		{"POST need have none", post("/orders/o-1", as("alice"), header("content-length", "0")), "200 allowed write"},
		{"POST does not take what PUT takes", post("/orders/o-1", as("alice"), body("application/vnd.shop+json", `{"v":1}`)), "415 media_type write (content_type)"},
		{"DELETE is held to its path", ask("DELETE", "/orders/7", as("alice")), "400 bad_parameter write (schema) path.id pattern"},
		{"DELETE has no body", ask("DELETE", "/orders/o-1", as("alice")), "200 allowed write"},
		{"DELETE has no query", ask("DELETE", "/orders/o-1?x=1", as("alice")), "400 bad_parameter write (unknown)"},
		{"PATCH is held to nothing", ask("PATCH", "/orders/7?x=1", as("alice")), "200 allowed write"},
		{"another method", ask("OPTIONS", "/orders/o-1", as("alice")), "403 no_rule none"},
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	judge(t, a, faulted, lines)
	branches, errs := parseDocumented(t, strings.NewReplacer("services:\n", "  partner: {issuer: \"https://partner.example\", audiences: [orders-api]}\nservices:\n",
		`owner: none, metadata:`, `either: [{issuer: partner, owner: none}, {issuer: shop, owner: none}], metadata:`,
		"name: read,", "name: read, issuer: shop,", "name: other,", "name: other, issuer: shop,").Replace(methods), shopDocument)
	if branches == nil {
		t.Fatal(errs)
	}
	shop := func(string) (string, bool) { return "https://auth.example.com", true }
	a.Use(&authz.Bundle{Policy: branches, Verifiers: authz.Verifiers{"shop": verifier()}, UnverifiedIssuer: shop})
	judge(t, a, faulted, lines)
}

// A body that the document describes and the rule would hold to nothing is refused, and told of; a mistake in a branch stands at its line.
func TestOpenAPIBodies(t *testing.T) {
	document := strings.Replace(shopDocument, "    delete:\n", `    patch:
      requestBody:
        content:
          application/json: {schema: {type: object}}
          application/json-patch+json: {schema: {type: array, items: {}}}
      responses: {default: {description: d}}
    delete:
`, 1)
	text := strings.Replace(documented, "      - {name: other", "      - {name: change, match: \"PATCH /orders/{id}\", owner: none}\n      - {name: other", 1)
	warned := func(text string) string {
		p, errs := parseDocumented(t, text, document)
		if p == nil {
			t.Fatal(errs)
		}
		return p.Warnings.Pretty()
	}
	for _, want := range []string{
		"policy.yaml:12:24: shop.openapi.yaml:32: PATCH /orders/{orderId} is not taken as application/json-patch+json: without `writable` the rule `change` would hold its fields to nothing",
		"policy.yaml:10:23: shop.openapi.yaml:22: PUT /orders/{orderId} is not taken as application/x-www-form-urlencoded: without `writable` the rule `write` would hold its fields to nothing",
	} {
		if got := warned(text); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got := warned(strings.NewReplacer("\"PATCH /orders/{id}\", owner: none", "\"PATCH /orders/{id}\", owner: none, writable: {everyone: [n]}",
		"\"PUT /orders/{id}\", owner: none", "\"PUT /orders/{id}\", owner: none, writable: {everyone: [n]}").Replace(text)); strings.Contains(got, "is not taken") {
		t.Error(got)
	}
	branches := strings.NewReplacer("services:\n", "  partner: {issuer: \"https://partner.example\", audiences: [orders-api]}\nservices:\n",
		"{name: write, match: \"PUT /orders/{id}\", owner: none}", "{name: write, match: [\"PUT /orders/{id}\", \"PUT /old/{id}\"], either: [{issuer: partner, owner: none}, {issuer: shop, owner: none}]}",
		"name: read,", "name: read, issuer: shop,", "name: add,", "name: add, issuer: shop,", "name: other,", "name: other, issuer: shop,").Replace(documented)
	two := strings.Replace(shopDocument, "components:\n", strings.Replace(oldOrders, "get:", "put:", 1)+"components:\n", 1)
	if p, errs := parseDocumented(t, branches, two); p != nil || !strings.Contains(errs, "policy.yaml:11:30: the rule stands for two operations") {
		t.Errorf("loads %v:\n%s", p != nil, errs)
	}
}

// A parameter is one value or a list as the document says it, whatever its text holds.
func TestOpenAPIParameters(t *testing.T) {
	p, errs := parseDocumented(t, `version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api]}
services:
  - name: store
    hosts: [orders.example]
    openapi: shop.openapi.yaml
    rules: [{name: read, match: "GET /tags/{tags}", owner: none}]
`, `openapi: 3.0.3
info: {title: shop, version: "1"}
paths:
  /tags/{tags}:
    get:
      parameters:
        - {name: tags, in: path, required: true, schema: {type: array, maxItems: 2, items: {type: string}}}
        - {name: Prefer-Language, in: header, schema: {type: string, maxLength: 9}}
        - {name: X-Tags, in: header, schema: {type: array, maxItems: 2, items: {type: string}}}
        - {name: X-Count, in: header, schema: {type: integer}}
        - {name: cart, in: cookie, schema: {type: string, pattern: "^[^/]*$", maxLength: 12}}
      responses: {default: {description: d}}
`)
	if p == nil {
		t.Fatal(errs)
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	judge(t, a, faulted, []line{
		{"a list in the path", get("/tags/a,b", as("alice")), "200 allowed read"},
		{"too long a list", get("/tags/a,b,c", as("alice")), "400 bad_parameter read (schema) path.tags maxItems"},
		{"an escaped comma makes no element", get("/tags/a%2Cb", as("alice")), "400 bad_parameter read (ambiguous) path.tags"},
		{"nor in small letters", get("/tags/a,b%2cc", as("alice")), "400 bad_parameter read (ambiguous) path.tags"},
		{"other escapes are decoded", get("/tags/a%20b,c", as("alice")), "200 allowed read"},
		{"a text with a comma", get("/tags/a", as("alice"), header("prefer-language", "de, en")), "200 allowed read"},
		{"is one text", get("/tags/a", as("alice"), header("prefer-language", "de, en, fr")), "400 bad_parameter read (schema) header.prefer-language maxLength"},
		{"and so is one in two fields", get("/tags/a", as("alice"), header("prefer-language", "de"), header("prefer-language", "en")), "200 allowed read"},
		{"of which each counts", get("/tags/a", as("alice"), header("prefer-language", "de, en"), header("prefer-language", "fr-CH")), "400 bad_parameter read (schema) header.prefer-language maxLength"},
		{"in another spelling", get("/tags/a", as("alice"), header("prefer-language", "de"), header("prefer_language", "en")), "400 bad_parameter read (ambiguous) header.prefer-language"},
		{"a list in a header", get("/tags/a", as("alice"), header("x-tags", "a, b")), "200 allowed read"},
		{"too long a list in a header", get("/tags/a", as("alice"), header("x-tags", "a, b, c")), "400 bad_parameter read (schema) header.x-tags[,] maxItems"},
		{"a number with a comma", get("/tags/a", as("alice"), header("x-count", "1,2")), "400 bad_parameter read (schema) header.x-count type"},
		{"a cookie with an escape", get("/tags/a", as("alice"), header("cookie", "cart=a%3D%3D")), "200 allowed read"},
		{"wrong as it is sent", get("/tags/a", as("alice"), header("cookie", "cart=aaaa%3D%3D%3D")), "400 bad_parameter read (schema) cookie.cart maxLength"},
		{"wrong to who decodes it", get("/tags/a", as("alice"), header("cookie", "cart=a%2Fb")), "400 bad_parameter read (schema) cookie.cart pattern"},
		{"no escape", get("/tags/a", as("alice"), header("cookie", "cart=50%")), "400 bad_parameter read (ambiguous) cookie.cart"},
		{"an escape of no text", get("/tags/a", as("alice"), header("cookie", "cart=%ff")), "400 bad_parameter read (schema) cookie.cart type"},
	})
}

// A document that cannot be read, or a rule that stands for two operations of it, does not load.
func TestOpenAPIRefused(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no such document":      {"shop.openapi.yaml", "other.openapi.yaml", "there is no OpenAPI document `other.openapi.yaml` beside this file"},
		"by another ending":     {"shop.openapi.yaml", "shop.yaml", "its name ends in .openapi.yaml or .json"},
		"two operations":        {"\"GET,HEAD /orders/{id}\"", "[\"GET /orders/{id}\", \"GET /old/{id}\"]", "the rule stands for two operations of shop.openapi.yaml: GET /orders/{orderId} and GET /old/{orderId}"},
		"an owner in a message": {"name: write, match: \"PUT /orders/{id}\", owner: none", "name: write, match: \"PUT /orders/{id}\", owner: {of: form.id, is: token.sub}", "the rule reads a form"},
	} {
		if p, errs := parseDocumented(t, strings.Replace(documented, c.old, c.new, 1), strings.Replace(shopDocument, "components:\n", oldOrders+"components:\n", 1)); p != nil || !strings.Contains(errs, c.want) {
			t.Errorf("%s: loads %v\n%s", name, p != nil, errs)
		}
	}
	if p, errs := parseDocumented(t, documented, strings.Replace(shopDocument, "minimum: 1,", "minimun: 1,", 1)); p != nil || !strings.Contains(errs, "shop.openapi.yaml") {
		t.Errorf("loads %v\n%s", p != nil, errs)
	}
}
