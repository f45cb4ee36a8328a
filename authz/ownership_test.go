package authz_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// store is a policy in which ids stand everywhere that they can, and owners are known in every way.
const store = `version: 1
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
    machine: token.sub == token.client_id
    claims: {roles: strings, plan: string, team: string, name: string}
lookups:
  orders: {static: {}}
services:
  - name: store
    hosts: [orders.example]
    headers: {x-user-id: token.sub}
    descriptors: shop.binpb
    rules:
      - {name: json, match: POST /json, owner: {of: body.user.id, is: token.sub}}
      - {name: number, match: POST /number, owner: {of: body.id, is: token.sub, lookup: orders, type: int}}
      - {name: each, match: POST /each, owner: {of: "body.items[*].id", is: token.sub, lookup: orders}}
      - {name: ids, match: POST /ids, owner: {of: "body.ids[*]", is: token.sub, lookup: orders, allow_empty: true}}
      - {name: own, match: POST /own, owner: {of: "body.ids[*]", is: token.sub}}
      - {name: form, match: POST /form, owner: {of: form.user, is: token.sub}}
      - {name: forms, match: POST /forms, owner: {of: "form.user[*]", is: token.sub}}
      - {name: message, match: /shop.Orders/Read, owner: {of: grpc.order.id, is: token.sub}}
      - {name: repeated, match: GET /repeated, owner: {of: "query.id[*]", is: token.sub, lookup: orders}}
      - {name: comma, match: GET /comma, owner: {of: "query.ids[,]", is: token.sub, lookup: orders}}
      - {name: headers, match: GET /headers, owner: {of: "header.x-ids[,]", is: token.sub, lookup: orders}}
      - {name: uuid, match: "GET /uuid/{id}", owner: {of: path.id, is: token.sub, lookup: orders, type: uuid}}
      - {name: int, match: "GET /int/{id}", owner: {of: path.id, is: token.sub, lookup: orders, type: int}}
      - {name: whole, match: "GET /whole/{a}/{b}", owner: {of: "{path.a}/{path.b}", is: token.sub, lookup: orders}}
      - {name: team, match: "GET /team/{id}", owner: {of: "{token.team}:{path.id}", is: token.sub, lookup: orders}}
      - {name: teams, match: POST /teams, owner: {of: "{token.team}:{body.ids[*]}", is: token.sub, lookup: orders}}
      - {name: read, match: "GET /orders/{id}", scopes: ["read:orders"], owner: {of: path.id, is: token.sub, lookup: orders, unless_role: admin}}
      - {name: secret, match: "GET /secrets/{id}", scopes: ["read:orders"], owner: {of: path.id, is: token.sub, lookup: orders, otherwise: 404}}
      - {name: missing, match: GET /missing, deny: 404}
      - {name: agree, match: "POST /users/{user_id}/orders", agrees: [path.user_id, body.userId], owner: {of: path.user_id, is: token.sub}}
      - {name: numbers, match: "POST /n/{id}", agrees: [path.id, body.id], owner: none}
      - {name: tenant, match: "GET /t/{team}/{id}", tenant: {of: path.team, is: token.team}, owner: none}
      - {name: condition, match: "GET /c/{id}", owner: none, condition: query.dry == "yes" || path.id == token.sub}
      - {name: object, match: POST /object, owner: {of: body.id, is: token.sub, lookup: orders}, condition: object.startsWith("o-")}
      - {name: deep, match: POST /deep, owner: {of: "body.x.ids[*]", is: token.sub, lookup: orders, allow_empty: true}}
      - {name: formlist, match: POST /formlist, owner: {of: "form.ids[*]", is: token.sub, lookup: orders, allow_empty: true}}
      - {name: search, match: POST /search, owner: {of: query.user, is: token.sub}}
`

// descriptors describes shop.Orders/Read, whose message has an order with an id.
func descriptors() []byte {
	message, text, label := descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Order"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("id"), Number: proto.Int32(1), Type: &text, Label: &label}}},
			{Name: proto.String("Get"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("order"), Number: proto.Int32(1), Type: &message, TypeName: proto.String(".shop.Order"), Label: &label}}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Read"), InputType: proto.String(".shop.Get"), OutputType: proto.String(".shop.Get")},
		}}},
	}}})
	if err != nil {
		panic(err)
	}
	return data
}

// owned is a lookup that knows what belongs to whom, and what it was asked.
type owned struct {
	owners map[string]string
	asked  []authz.Question
}

func (o *owned) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	kept := *q
	kept.Objects = slices.Clone(q.Objects)
	o.asked = append(o.asked, kept)
	for i, id := range q.Objects {
		switch owner, ok := o.owners[id]; {
		case id == "away":
			return fmt.Errorf("no route: %w", authz.ErrLookupUnavailable)
		case id == "odd":
			return authz.ErrLookupAnswer
		case id == "panic":
			panic("a row that nobody thought of")
		case id == "silent":
		case !ok:
			answers[i] = authz.NotThere
		case owner == q.Subject:
			answers[i] = authz.Theirs
		default:
			answers[i] = authz.NotTheirs
		}
	}
	return nil
}

func storeGate(t testing.TB) (*authz.Authorizer, *owned) {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(store)}, {Name: "shop.binpb", Data: descriptors()}})
	if p == nil {
		t.Fatalf("the policy does not load:\n%s", errs.Pretty())
	}
	lookup := &owned{owners: map[string]string{
		"o-1": "alice", "o-2": "alice", "o-3": "bob", "7": "alice", "8": "bob", "00000000-0000-4000-8000-00000000000a": "alice", "a/b": "alice", "red:1": "bob", "red:2": "bob", ":1": "alice",
	}}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}, Lookups: authz.Lookups{"orders": lookup}})
	return a, lookup
}

// body sends a body as Envoy delivers it whole.
func body(kind, text string) option {
	return func(r *authz.Request) {
		r.Body = authz.Body{Data: []byte(text), Size: int64(len(text))}
		header("content-type", kind)(r)
		header("content-length", strconv.Itoa(len(text)))(r)
		header("x-envoy-auth-partial-body", "false")(r)
	}
}

// bounded says how much Envoy holds of a body at most.
func bounded(bytes int64) option { return func(r *authz.Request) { r.Body.Bound = bytes } }

func jsonBody(text string) option { return body("application/json", text) }
func form(text string) option     { return body("application/x-www-form-urlencoded", text) }

// without takes a header away.
func without(name string) option {
	return func(r *authz.Request) {
		r.Headers.Fields = slices.DeleteFunc(r.Headers.Fields, func(f authz.Field) bool { return f.Name == name })
	}
}

func TestOwnerInJSON(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"one's own", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`)), "200 allowed json"},
		{"another's", post("/json", as("alice"), jsonBody(`{"user":{"id":"bob"}}`)), "403 owner json (not_theirs)"},
		{"without a token", post("/json", jsonBody(`{"user":{"id":"alice"}}`)), "401 no_token json"},
		{"a charset that changes nothing", post("/json", as("alice"), body("application/json; charset=UTF-8", `{"user":{"id":"alice"}}`)), "200 allowed json"},
		{"quoted", post("/json", as("alice"), body(`Application/JSON;charset="utf-8"`, `{"user":{"id":"alice"}}`)), "200 allowed json"},
		// An id that is not there in one way.
		{"missing", post("/json", as("alice"), jsonBody(`{"id":"alice"}`)), "400 bad_body json (missing)"},
		{"null", post("/json", as("alice"), jsonBody(`{"user":{"id":null}}`)), "400 bad_body json (form)"},
		{"empty", post("/json", as("alice"), jsonBody(`{"user":{"id":""}}`)), "403 owner json (empty)"},
		{"empty, for nobody", post("/json", as("nameless"), jsonBody(`{"user":{"id":""}}`)), "403 owner json (empty)"},
		{"a list", post("/json", as("alice"), jsonBody(`{"user":{"id":["alice"]}}`)), "400 bad_body json (form)"},
		{"a number", post("/json", as("alice"), jsonBody(`{"user":{"id":7}}`)), "400 bad_body json (form)"},
		{"twice", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice","id":"bob"}}`)), "400 bad_body json (ambiguous)"},
		{"in two cases", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice","ID":"bob"}}`)), "400 bad_body json (ambiguous)"},
		{"in another case", post("/json", as("alice"), jsonBody(`{"user":{"ID":"alice"}}`)), "400 bad_body json (ambiguous)"},
		{"no JSON", post("/json", as("alice"), jsonBody(`user=alice`)), "400 bad_body json (malformed)"},
		{"too deep", post("/json", as("alice"), jsonBody(strings.Repeat("[", 100)+strings.Repeat("]", 100))), "413 body_too_large json (too_large)"},
		{"in another normal form", post("/json", as("umlaut"), jsonBody(`{"user":{"id":"a\u0308lice"}}`)), "403 owner json (not_theirs)"},
		{"in the same, and no header can carry it", post("/json", as("umlaut"), jsonBody(`{"user":{"id":"\u00e4lice"}}`)), "403 header_value json"},
		{"of letters that look alike", post("/json", as("alice"), jsonBody(`{"user":{"id":"аlice"}}`)), "403 owner json (not_theirs)"},
		{"a prototype", post("/json", as("alice"), jsonBody(`{"__proto__":{"user":{"id":"alice"}}}`)), "400 bad_body json (missing)"},
		{"a name with NUL", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice","id\u0000":"bob"}}`)), "400 bad_body json (malformed)"},
		{"a byte order mark", post("/json", as("alice"), jsonBody("\xef\xbb\xbf"+`{"user":{"id":"alice"}}`)), "400 bad_body json (malformed)"},
		{"UTF-16 that says JSON", post("/json", as("alice"), jsonBody("\x00{\x00}")), "400 bad_body json (malformed)"},
		{"half a surrogate", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice\ud800"}}`)), "400 bad_body json (malformed)"},
		{"a JSON patch", post("/json", as("alice"), body("application/json-patch+json", `[{"op":"replace","path":"/user/id","value":"bob"}]`)), "415 media_type json (content_type)"},
		{"a JSON patch that says JSON", post("/json", as("alice"), jsonBody(`[{"op":"replace","path":"/user/id","value":"bob"}]`)), "400 bad_body json (missing)"},
		// A body that is not what the upstream gets.
		{"none", post("/json", as("alice"), header("content-type", "application/json")), "400 bad_body json (no_body)"},
		{"no type", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-type")), "415 media_type json (content_type)"},
		{"two types", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), header("content-type", "text/plain")), "415 media_type json (content_type)"},
		{"text", post("/json", as("alice"), body("text/plain", `{"user":{"id":"alice"}}`)), "415 media_type json (content_type)"},
		{"a form", post("/json", as("alice"), form(`user.id=alice`)), "415 media_type json (content_type)"},
		{"a patch", post("/json", as("alice"), body("application/merge-patch+json", `{"user":{"id":"alice"}}`)), "415 media_type json (content_type)"},
		{"UTF-16", post("/json", as("alice"), body("application/json; charset=utf-16", `{"user":{"id":"alice"}}`)), "415 media_type json (content_type)"},
		{"an empty parameter", post("/json", as("alice"), body("application/json;", `{"user":{"id":"alice"}}`)), "200 allowed json"},
		{"UTF-8 as many write it", post("/json", as("alice"), body("application/json; charset=utf8", `{"user":{"id":"alice"}}`)), "200 allowed json"},
		{"another parameter", post("/json", as("alice"), body("application/json; boundary=x", `{"user":{"id":"alice"}}`)), "415 media_type json (content_type)"},
		{"compressed", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), header("content-encoding", "gzip")), "415 media_type json (compressed)"},
		{"not compressed", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), header("content-encoding", "identity")), "200 allowed json"},
		{"a part", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("x-envoy-auth-partial-body"), header("x-envoy-auth-partial-body", "true")), "413 body_too_large json (partial)"},
		{"nobody says that it is whole", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("x-envoy-auth-partial-body")), "400 bad_body json (partial)"},
		{"a forged mark", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), header("x-envoy-auth-partial-body", "false")), "400 bad_body json (partial)"},
		{"longer than what we see", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), func(r *authz.Request) { r.Body.Size++ }), "400 bad_body json (partial)"},
		{"another length", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length"), header("content-length", "4")), "400 bad_body json (partial)"},
		{"a longer length", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length"), header("content-length", "4000")), "413 body_too_large json (partial)"},
		{"two lengths", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), header("content-length", "23")), "400 bad_body json (partial)"},
		// Envoy may call the beginning of a body the whole.
		{"in chunks, of an unknown bound", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length")), "400 bad_body json (endless)"},
		{"in chunks, as long as the route takes", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length"), bounded(23)), "200 allowed json"},
		{"in chunks, longer", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length"), bounded(22)), "413 body_too_large json (partial)"},
		{"of a known length, longer", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), bounded(22)), "413 body_too_large json (partial)"},
		{"of a known length, as long as the route takes", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), bounded(23)), "200 allowed json"},
		{"a bound that is none", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), without("content-length"), bounded(-1)), "400 bad_body json (endless)"},
	})
}

// Without pack_as_bytes a `!` may be any byte that is no UTF-8, and everything else is as it was.
func TestBodyAsText(t *testing.T) {
	a, _ := storeGate(t)
	lossy := func(r *authz.Request) { r.Body.Lossy = true }
	judge(t, a, detail, []line{
		{"plain", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"}}`), lossy), "200 allowed json"},
		{"a mark", post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"},"note":"hi!"}`), lossy), "400 bad_body json (ambiguous)"},
	})
}

func TestTypes(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"a number", post("/number", as("alice"), jsonBody(`{"id":7}`)), "200 allowed number"},
		{"another's", post("/number", as("alice"), jsonBody(`{"id":8}`)), "403 owner number (not_theirs)"},
		{"a number in quotes", post("/number", as("alice"), jsonBody(`{"id":"7"}`)), "400 bad_body number (form)"},
		{"with a fraction", post("/number", as("alice"), jsonBody(`{"id":7.0}`)), "400 bad_body number (form)"},
		{"with an exponent", post("/number", as("alice"), jsonBody(`{"id":7e0}`)), "400 bad_body number (form)"},
		{"negative", post("/number", as("alice"), jsonBody(`{"id":-7}`)), "400 bad_body number (form)"},
		{"negative zero", post("/number", as("alice"), jsonBody(`{"id":-0}`)), "400 bad_body number (form)"},
		{"2^53-1", post("/number", as("alice"), jsonBody(`{"id":9007199254740991}`)), "403 owner number (not_there)"},
		{"2^53, which a float takes for 2^53+1 too", post("/number", as("alice"), jsonBody(`{"id":9007199254740992}`)), "400 bad_body number (form)"},
		{"over 63 bits", post("/number", as("alice"), jsonBody(`{"id":9223372036854775808}`)), "400 bad_body number (form)"},
		{"a list", post("/number", as("alice"), jsonBody(`{"id":[7,8]}`)), "400 bad_body number (form)"},
		{"an int", get("/int/7", as("alice")), "200 allowed int"},
		{"zeros in front", get("/int/007", as("alice")), "400 bad_parameter int (form)"},
		{"a sign", get("/int/+7", as("alice")), "400 bad_parameter int (form)"},
		{"hexadecimal", get("/int/0x7", as("alice")), "400 bad_parameter int (form)"},
		{"a fraction", get("/int/7.0", as("alice")), "400 bad_parameter int (form)"},
		{"a space", get("/int/7%20", as("alice")), "400 bad_parameter int (form)"},
		{"other digits", get("/int/%D9%A7", as("alice")), "400 bad_parameter int (form)"},
		{"an escape", get("/int/%37", as("alice")), "400 bad_target none (target: path holds an escape of a byte that needs none)"},
		{"a UUID", get("/uuid/00000000-0000-4000-8000-00000000000a", as("alice")), "200 allowed uuid"},
		{"in capitals", get("/uuid/00000000-0000-4000-8000-00000000000A", as("alice")), "400 bad_parameter uuid (form)"},
		{"in braces", get("/uuid/%7B00000000-0000-4000-8000-00000000000a%7D", as("alice")), "400 bad_parameter uuid (form)"},
		{"without dashes", get("/uuid/0000000000004000800000000000000a", as("alice")), "400 bad_parameter uuid (form)"},
		{"as a URN", get("/uuid/urn:uuid:00000000-0000-4000-8000-00000000000a", as("alice")), "400 bad_parameter uuid (form)"},
	})
}

// Of a list every element counts, and the lookup is asked once for all of them.
func TestLists(t *testing.T) {
	a, lookup := storeGate(t)
	judge(t, a, detail, []line{
		{"all one's own", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":"o-2"}]}`)), "200 allowed each"},
		{"one of another's", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":"o-3"}]}`)), "403 owner each (not_theirs)"},
		{"one that is not there", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":"o-9"}]}`)), "403 owner each (not_there)"},
		{"one twice", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":"o-1"}]}`)), "200 allowed each"},
		{"one without an id", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{}]}`)), "400 bad_body each (missing)"},
		{"one that is null", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":null}]}`)), "400 bad_body each (form)"},
		{"one that is no object", post("/each", as("alice"), jsonBody(`{"items":["o-1"]}`)), "400 bad_body each (missing)"},
		{"one that is empty", post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":""}]}`)), "403 owner each (empty)"},
		{"none", post("/each", as("alice"), jsonBody(`{"items":[]}`)), "400 bad_body each (empty)"},
		{"no list", post("/each", as("alice"), jsonBody(`{"items":{"id":"o-1"}}`)), "400 bad_body each (form)"},
		{"null", post("/each", as("alice"), jsonBody(`{"items":null}`)), "400 bad_body each (missing)"},
		{"nothing", post("/each", as("alice"), jsonBody(`{}`)), "400 bad_body each (missing)"},
		{"empty and allowed", post("/ids", as("alice"), jsonBody(`{"ids":[]}`)), "200 allowed ids"},
		{"null and allowed", post("/ids", as("alice"), jsonBody(`{"ids":null}`)), "200 allowed ids"},
		{"missing and allowed", post("/ids", as("alice"), jsonBody(`{}`)), "200 allowed ids"},
		{"a scalar, which an upstream may take for a list of one", post("/ids", as("alice"), jsonBody(`{"ids":"o-3"}`)), "400 bad_body ids (form)"},
		{"an object", post("/ids", as("alice"), jsonBody(`{"ids":{"0":"o-3"}}`)), "400 bad_body ids (form)"},
		{"no body", post("/ids", as("alice"), header("content-type", "application/json")), "400 bad_body ids (no_body)"},
		{"a list around the object, which some readers unwrap", post("/ids", as("alice"), jsonBody(`[{"ids":["o-3"]}]`)), "400 bad_body ids (form)"},
		{"a text for the object", post("/ids", as("alice"), jsonBody(`"x"`)), "400 bad_body ids (form)"},
		{"null for the object", post("/ids", as("alice"), jsonBody(`null`)), "400 bad_body ids (form)"},
		{"a list above the list", post("/deep", as("alice"), jsonBody(`{"x":[{"ids":["o-3"]}]}`)), "400 bad_body deep (form)"},
		{"a scalar above the list", post("/deep", as("alice"), jsonBody(`{"x":5}`)), "400 bad_body deep (form)"},
		{"nothing above the list", post("/deep", as("alice"), jsonBody(`{}`)), "200 allowed deep"},
		{"the ids in the query too", post("/ids?ids=o-3", as("alice"), jsonBody(`{"ids":[]}`)), "400 bad_body ids (ambiguous)"},
		{"the ids in the query too, as PHP writes lists", post("/ids?ids[]=o-3", as("alice"), jsonBody(`{"ids":[]}`)), "400 bad_body ids (ambiguous)"},
		{"another parameter in the query", post("/ids?trace=1", as("alice"), jsonBody(`{"ids":["o-1"]}`)), "200 allowed ids"},
		{"a mark that no Envoy wrote", post("/formlist", as("alice"), header("content-type", "application/x-www-form-urlencoded"), header("x-envoy-auth-partial-body", "false")), "400 bad_body formlist (no_body)"},
		{"another method in the form", post("/form", as("alice"), form("user=alice&_method=DELETE")), "400 bad_body form (ambiguous)"},
		{"an id of 2,048 bytes", post("/ids", as("alice"), jsonBody(`{"ids":["`+strings.Repeat("a", 2048)+`"]}`)), "403 owner ids (not_there)"},
		{"a longer one", post("/ids", as("alice"), jsonBody(`{"ids":["`+strings.Repeat("a", 2049)+`"]}`)), "400 bad_body ids (too_long)"},
		{"a composite that is longer", get("/whole/"+strings.Repeat("a", 1024)+"/"+strings.Repeat("b", 1024), as("alice")), "400 bad_parameter whole (too_long)"},
		{"a parameter, and a body that says nothing of its type", post("/search?user=alice", as("alice"), header("content-length", "8")), "400 bad_parameter search (ambiguous)"},
		{"one in chunks", post("/search?user=alice", as("alice")), "400 bad_parameter search (ambiguous)"},
		{"one whose type is written in another way", post("/search?user=alice", as("alice"), header("content_type", "application/x-www-form-urlencoded"), header("content-length", "8")), "400 bad_parameter search (ambiguous)"},
		{"and no body", post("/search?user=alice", as("alice"), header("content-length", "0")), "200 allowed search"},
		{"a list in the list", post("/ids", as("alice"), jsonBody(`{"ids":[["o-3"]]}`)), "400 bad_body ids (form)"},
		{"one is empty", post("/own", as("alice"), jsonBody(`{"ids":["alice",""]}`)), "403 owner own (empty)"},
		{"all must equal the claim", post("/own", as("alice"), jsonBody(`{"ids":["alice","alice"]}`)), "200 allowed own"},
		{"one does not", post("/own", as("alice"), jsonBody(`{"ids":["alice","bob"]}`)), "403 owner own (not_theirs)"},
		{"a parameter, repeated", get("/repeated?id=o-1&id=o-2", as("alice")), "200 allowed repeated"},
		{"once", get("/repeated?id=o-1", as("alice")), "200 allowed repeated"},
		{"one of another's, repeated", get("/repeated?id=o-1&id=o-3", as("alice")), "403 owner repeated (not_theirs)"},
		{"as PHP writes it", get("/repeated?id=o-1&id[]=o-3", as("alice")), "400 bad_parameter repeated (ambiguous)"},
		{"as PHP writes it, escaped", get("/repeated?id=o-1&id%5B%5D=o-3", as("alice")), "400 bad_parameter repeated (ambiguous)"},
		{"not at all", get("/repeated", as("alice")), "400 bad_parameter repeated (missing)"},
		{"between commas", get("/comma?ids=o-1,o-2", as("alice")), "200 allowed comma"},
		{"one of another's, between commas", get("/comma?ids=o-1,o-3", as("alice")), "403 owner comma (not_theirs)"},
		{"an escaped comma", get("/comma?ids=o-1%2Co-3", as("alice")), "400 bad_parameter comma (ambiguous)"},
		{"a comma too many", get("/comma?ids=o-1,", as("alice")), "403 owner comma (empty)"},
		{"two lists", get("/comma?ids=o-1&ids=o-3", as("alice")), "400 bad_parameter comma (ambiguous)"},
		{"a header", get("/headers", as("alice"), header("x-ids", "o-1, o-2")), "200 allowed headers"},
		{"two headers", get("/headers", as("alice"), header("x-ids", "o-1"), header("x-ids", "o-3")), "403 owner headers (not_theirs)"},
		{"a header that a hop may take away", get("/headers", as("alice"), header("x-ids", "o-1"), header("connection", "close, X-Ids")), "400 bad_parameter headers (ambiguous)"},
		{"a connection that names others", get("/headers", as("alice"), header("x-ids", "o-1"), header("connection", "close, x-id")), "200 allowed headers"},
		{"an empty header", get("/headers", as("alice"), header("x-ids", "")), "403 owner headers (empty)"},
	})
	lookup.asked = nil
	a.Check(t.Context(), post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-2"},{"id":"o-1"},{"id":"o-2"}]}`)))
	if len(lookup.asked) != 1 || !slices.Equal(lookup.asked[0].Objects, []string{"o-1", "o-2"}) {
		t.Errorf("asked %+v", lookup.asked)
	}
	// At most a thousand.
	many := func(n int) string {
		return `{"ids":[` + strings.TrimSuffix(strings.Repeat(`"o-1",`, n), ",") + `]}`
	}
	for n, want := range map[int]string{1000: "200 allowed ids", 1001: "413 body_too_large ids (too_large)"} {
		if got := detail(a.Check(t.Context(), post("/ids", as("alice"), jsonBody(many(n))))); got != want {
			t.Errorf("%d ids: %s, want %s", n, got, want)
		}
	}
	if got := detail(a.Check(t.Context(), get("/repeated?"+strings.TrimSuffix(strings.Repeat("id=o-1&", 1001), "&"), as("alice")))); got != "400 bad_parameter repeated (too_many)" {
		t.Errorf("1001 parameters: %s", got)
	}
}

func TestOwnerInForm(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"one's own", post("/form", as("alice"), form("user=alice&x=1")), "200 allowed form"},
		{"another's", post("/form", as("alice"), form("user=bob")), "403 owner form (not_theirs)"},
		{"twice", post("/form", as("alice"), form("user=alice&user=bob")), "400 bad_body form (ambiguous)"},
		{"missing", post("/form", as("alice"), form("x=alice")), "400 bad_body form (missing)"},
		{"in the query", post("/form?user=alice", as("alice"), form("x=1")), "400 bad_body form (ambiguous)"},
		{"multipart", post("/form", as("alice"), body("multipart/form-data; boundary=x", "user=alice")), "415 media_type form (content_type)"},
		{"JSON", post("/form", as("alice"), jsonBody(`{"user":"alice"}`)), "415 media_type form (content_type)"},
		{"all of them", post("/forms", as("alice"), form("user=alice&user=alice")), "200 allowed forms"},
		{"one is another's", post("/forms", as("alice"), form("user=alice&user=bob")), "403 owner forms (not_theirs)"},
	})
}

func TestOwnerInMessage(t *testing.T) {
	a, _ := storeGate(t)
	order := func(ids ...string) string {
		var inner []byte
		for _, id := range ids {
			inner = protowire.AppendString(protowire.AppendTag(inner, 1, protowire.BytesType), id)
		}
		return string(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner))
	}
	frame := func(flag byte, message string) string {
		return string(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message)))) + message
	}
	call := func(kind, data string) *authz.Request {
		return post("/shop.Orders/Read", as("alice"), body(kind, data))
	}
	judge(t, a, detail, []line{
		{"one's own", call("application/grpc", frame(0, order("alice"))), "200 allowed message"},
		{"with the codec's name", call("application/grpc+proto", frame(0, order("alice"))), "200 allowed message"},
		{"another's", call("application/grpc", frame(0, order("bob"))), "403 owner message (not_theirs)"},
		{"two ids", call("application/grpc", frame(0, order("alice", "bob"))), "400 bad_body message (ambiguous)"},
		{"two orders, to be merged", call("application/grpc", frame(0, order("alice")+order("bob"))), "400 bad_body message (ambiguous)"},
		{"no id", call("application/grpc", frame(0, order())), "400 bad_body message (missing)"},
		{"no order", call("application/grpc", frame(0, "")), "400 bad_body message (missing)"},
		{"compressed", call("application/grpc", frame(1, order("alice"))), "400 bad_body message (ambiguous)"},
		{"two messages", call("application/grpc", frame(0, order("alice"))+frame(0, order("bob"))), "400 bad_body message (malformed)"},
		{"JSON", call("application/grpc+json", `{"order":{"id":"alice"}}`), "415 media_type message (content_type)"},
		{"grpc-web", call("application/grpc-web+proto", frame(0, order("alice"))), "415 media_type message (content_type)"},
	})
}

// Values that are put together never make another pair's text.
func TestComposites(t *testing.T) {
	a, lookup := storeGate(t)
	judge(t, a, detail, []line{
		{"one's own", get("/whole/a/b", as("alice")), "200 allowed whole"},
		{"not there", get("/whole/a/c", as("alice")), "403 owner whole (not_there)"},
		{"a claim before it", get("/team/1", as("bob")), "200 allowed team"},
		{"no claim", get("/team/1", as("alice")), "403 owner team (missing)"},
		{"an empty claim", get("/team/1", as("empty")), "403 owner team (missing)"},
		{"before each", post("/teams", as("bob"), jsonBody(`{"ids":["1","2"]}`)), "200 allowed teams"},
		{"one is another's", post("/teams", as("bob"), jsonBody(`{"ids":["1","3"]}`)), "403 owner teams (not_there)"},
	})
	lookup.asked = nil
	a.Check(t.Context(), post("/teams", as("bob"), jsonBody(`{"ids":["1","2"]}`)))
	if len(lookup.asked) != 1 || !slices.Equal(lookup.asked[0].Objects, []string{"red:1", "red:2"}) {
		t.Errorf("asked %+v", lookup.asked)
	}
}

func TestLookups(t *testing.T) {
	a, lookup := storeGate(t)
	judge(t, a, detail, []line{
		{"one's own", get("/orders/o-1", as("alice")), "200 allowed read"},
		{"another's", get("/orders/o-3", as("alice")), "403 owner read (not_theirs)"},
		{"not there", get("/orders/o-9", as("alice")), "403 owner read (not_there)"},
		{"an admin is not asked about", get("/orders/o-3", as("root")), "200 allowed read"},
		{"nor when the lookup is away", get("/orders/away", as("root")), "200 allowed read"},
		{"the lookup is away", get("/orders/away", as("alice")), "503 lookup read (unavailable)"},
		{"it answers nonsense", get("/orders/odd", as("alice")), "503 lookup read (answer)"},
		{"it says nothing", get("/orders/silent", as("alice")), "503 lookup read (answer)"},
		{"it panics", get("/orders/panic", as("alice")), "503 panic read"},
		{"no subject", get("/orders/o-1", as("neither")), "403 owner read (not_theirs)"},
		{"a machine of an owner's name", get("/orders/o-1", as("robot")), "403 owner read (not_theirs)"},
	})
	lookup.asked = nil
	a.Check(t.Context(), get("/orders/o-1", as("alice")))
	want := authz.Question{Issuer: "shop", Kind: authz.Person, Subject: "alice", Objects: []string{"o-1"}}
	if len(lookup.asked) != 1 || fmt.Sprint(lookup.asked[0]) != fmt.Sprint(want) {
		t.Errorf("asked %+v, want %+v", lookup.asked, want)
	}
	// A lookup that could not be built denies.
	p, _ := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(store)}, {Name: "shop.binpb", Data: descriptors()}})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}})
	if got := detail(a.Check(t.Context(), get("/orders/o-1", as("alice")))); got != "503 lookup read (unavailable)" {
		t.Errorf("a lookup that is not there: %s", got)
	}
}

// Behind `otherwise: 404` another's and what is not there are one answer, after one question. What could not be found out is another,
// unless it tells that something is there.
func TestHiddenLookups(t *testing.T) {
	a, lookup := storeGate(t)
	answer := func(target, token string) string {
		lookup.asked = nil
		d := a.Check(t.Context(), get(target, as(token)))
		return fmt.Sprintf("%d %s, asked %d", d.Status(), d.PublicReason(), len(lookup.asked))
	}
	for _, test := range []struct{ name, target, token, want string }{
		{"another's", "/secrets/o-3", "alice", "404 not_found, asked 1"},
		{"not there", "/secrets/o-9", "alice", "404 not_found, asked 1"},
		{"a record that cannot be read", "/secrets/odd", "alice", "404 not_found, asked 1"},
		{"one's own", "/secrets/o-1", "alice", "200 allowed, asked 1"},
		{"the lookup is away", "/secrets/away", "alice", "503 lookup, asked 1"},
		{"no scope", "/secrets/o-3", "noscope", "403 insufficient_scope, asked 0"},
	} {
		if got := answer(test.target, test.token); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	missing := a.Check(t.Context(), get("/missing"))
	if d := a.Check(t.Context(), get("/secrets/o-3", as("alice"))); d.Status() != missing.Status() || d.PublicReason() != missing.PublicReason() {
		t.Errorf("%d %s can be told from %d %s", d.Status(), d.PublicReason(), missing.Status(), missing.PublicReason())
	}
}

// What must agree agrees byte for byte, or nobody acts on either.
func TestAgrees(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"they agree", post("/users/alice/orders", as("alice"), jsonBody(`{"userId":"alice"}`)), "200 allowed agree"},
		{"they disagree", post("/users/alice/orders", as("alice"), jsonBody(`{"userId":"bob"}`)), "403 owner agree (disagree)"},
		{"in another case", post("/users/alice/orders", as("alice"), jsonBody(`{"userId":"Alice"}`)), "403 owner agree (disagree)"},
		{"one is missing", post("/users/alice/orders", as("alice"), jsonBody(`{}`)), "400 bad_body agree (missing)"},
		{"they agree on another", post("/users/bob/orders", as("alice"), jsonBody(`{"userId":"bob"}`)), "403 owner agree (not_theirs)"},
		{"numbers agree", post("/n/7", as("alice"), jsonBody(`{"id":7}`)), "200 allowed numbers"},
		{"numbers disagree", post("/n/7", as("alice"), jsonBody(`{"id":8}`)), "403 owner numbers (disagree)"},
		{"a number in another form", post("/n/7", as("alice"), jsonBody(`{"id":7.0}`)), "400 bad_body numbers (form)"},
		{"zeros in front", post("/n/007", as("alice"), jsonBody(`{"id":7}`)), "403 owner numbers (disagree)"},
	})
}

func TestTenant(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"one's own", get("/t/red/1", as("bob")), "200 allowed tenant"},
		{"another's", get("/t/blue/1", as("bob")), "403 owner tenant (tenant)"},
		{"none", get("/t/red/1", as("alice")), "403 owner tenant (tenant)"},
		{"an empty one", get("/t/red/1", as("empty")), "403 owner tenant (tenant)"},
	})
}

func TestCondition(t *testing.T) {
	a, _ := storeGate(t)
	judge(t, a, detail, []line{
		{"by the path", get("/c/alice", as("alice")), "200 allowed condition"},
		{"by neither, and one is not there", get("/c/bob", as("alice")), "403 condition condition (error)"},
		{"by the path, with the parameter", get("/c/alice?dry=no", as("alice")), "200 allowed condition"},
		{"by the parameter", get("/c/bob?dry=yes", as("alice")), "200 allowed condition"},
		{"by neither", get("/c/bob?dry=no", as("alice")), "403 condition condition"},
		{"the parameter twice", get("/c/alice?dry=yes&dry=no", as("alice")), "403 condition condition (error)"},
		{"by the object", post("/object", as("alice"), jsonBody(`{"id":"o-1"}`)), "200 allowed object"},
		{"by another object, before anybody is asked whose it is", post("/object", as("alice"), jsonBody(`{"id":"7"}`)), "403 condition object"},
		{"another's", post("/object", as("alice"), jsonBody(`{"id":"o-3"}`)), "403 owner object (not_theirs)"},
		{"a body that cannot be read", post("/object", as("alice"), jsonBody(`{}`)), "400 bad_body object (missing)"},
	})
}

// Where a decision fell is the step that an explanation shows.
func TestSteps(t *testing.T) {
	a, _ := storeGate(t)
	for _, test := range []struct {
		ask  *authz.Request
		want authz.Step
	}{
		{get("/orders/../x", as("alice")), authz.StepTarget},
		{get("/nowhere", as("alice")), authz.StepRule},
		{get("/orders/o-1"), authz.StepToken},
		{get("/orders/o-1", as("noscope")), authz.StepScopes},
		{get("/c/bob?dry=no", as("alice")), authz.StepCondition},
		{post("/json", as("alice"), jsonBody("{")), authz.StepBody},
		{post("/json", as("alice"), jsonBody("{}")), authz.StepOwner},
		{post("/object", as("alice"), jsonBody(`{"id":"7"}`)), authz.StepCondition},
		{get("/orders/o-3", as("alice")), authz.StepOwner},
		{get("/orders/o-1", as("alice")), authz.StepEffects},
		{get("/missing"), authz.StepRule},
	} {
		if d := a.Check(t.Context(), test.ask); d.Step != test.want {
			t.Errorf("%s: fell at %s, want %s (%s)", test.ask.Target, d.Step, test.want, detail(d))
		}
	}
	if got := len(authz.Steps()); got != 17 {
		t.Errorf("%d steps", got)
	}
}

// What ownership costs: by a claim, by a lookup, and for an id in a body.
func BenchmarkOwner(b *testing.B) {
	a, lookup := storeGate(b)
	for name, ask := range map[string]*authz.Request{
		"claim":  post("/form", as("alice"), form("user=alice")),
		"lookup": get("/orders/o-1", as("alice")),
		"body":   post("/json", as("alice"), jsonBody(`{"user":{"id":"alice"},"note":"`+strings.Repeat("a", 200)+`"}`)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lookup.asked = lookup.asked[:0]
				if d := a.Check(b.Context(), ask); d.Verdict != authz.Allow {
					b.Fatal(detail(d))
				}
			}
		})
	}
}
