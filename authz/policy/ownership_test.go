package policy

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// store is a policy that has every form of ownership.
const store = `version: 1
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
    claims: {roles: strings, tenant: string, team: string, email: string}
lookups:
  orders:
    timeout: 20ms
    cache: 10s
    redis: {url: "redis://127.0.0.1:6379/1", key: "owner:order:{id}"}
  members:
    redis: {url: "redis://127.0.0.1:6379/1", set: "{relation}:{tenant}:{id}", username: gate, password_file: /run/secrets/redis}
  hashed:
    redis: {url: "redis+sentinel://main@a:26379,b:26379/0", key: "order:{id}", field: "{relation}"}
  ledger:
    cache: 1m
    cache_denials: 0s
    sql: {url: "postgres://reader@db:5432/orders?sslmode=verify-full", password_file: /run/secrets/pg, query: "SELECT id, owner FROM orders WHERE id = ANY(@ids)"}
  service:
    http: {url: "https://orders.internal/owners/{id}", owner: owner.id, batch: "https://orders.internal/owners"}
  owners:
    grpc: {address: "owners:9300", ca_file: /etc/ca.pem}
  graph:
    openfga: {url: "http://127.0.0.1:8080", store: s1, type: document}
  fixed:
    static: {o-1: alice, o-2: [alice, bob], doc: {viewer: [carol]}}
services:
  - name: orders
    hosts: [orders.example]
    tenant: {of: header.x-tenant, is: token.tenant}
    rules:
      - name: read
        match: GET /orders/{id}
        owner: {of: path.id, lookup: orders, is: token.sub, otherwise: 404}
      - name: edit
        match: PUT /orders/{id}
        owner: {of: path.id, lookup: members, relation: editor, is: token.sub, type: uuid}
      - name: batch
        match: POST /orders:delete
        owner: {of: "body.items[*].id", lookup: ledger, is: token.sub, allow_empty: true}
      - name: list
        match: GET /orders
        owner: {of: "query.ids[,]", lookup: fixed, is: token.sub}
      - name: folder
        match: GET /folders/{team}/{rest...}
        owner: {of: "team:{token.tenant}/{path.team}", lookup: graph, relation: viewer, is: token.sub}
      - name: create
        match: POST /users/{user_id}/orders
        agrees: [path.user_id, body.user_id]
        owner: {of: path.user_id, is: token.sub}
        condition: request.method == "POST" && object == token.sub && header["x-tenant"] != ""
      - name: form
        match: POST /form
        owner: {of: form.user, is: token.sub}
      - name: open
        match: GET /open
        public: true
        tenant: none
`

func bendStore(t *testing.T, old, new string) string {
	t.Helper()
	if strings.Count(store, old) != 1 {
		t.Fatalf("%q stands %d times in the policy", old, strings.Count(store, old))
	}
	return strings.Replace(store, old, new, 1)
}

// Every form of ownership arrives in the compiled rule.
func TestOwnershipIsCompiled(t *testing.T) {
	p := mustParse(t, store)
	rules := map[string]*Rule{}
	for _, rule := range p.Services[0].Rules {
		rules[rule.Name] = rule
	}
	if o := rules["read"].Owner; o.Lookup != p.Lookups["orders"] || !o.Hidden || o.Relation != "" || o.Of.String() != "path.id" || o.Of.List() {
		t.Errorf("read: %+v", o)
	}
	if o := rules["edit"].Owner; o.Relation != "editor" || o.Of.Type != TypeUUID {
		t.Errorf("edit: %+v", o)
	}
	if b := rules["batch"]; !b.Owner.AllowEmpty || !b.Owner.Of.List() || b.Body == nil || b.Body.JSON == nil || b.Body.References[0].String() != "body.items[*].id" {
		t.Errorf("batch: %+v, body %+v", b.Owner, b.Body)
	}
	if o := rules["list"].Owner; !o.Of.List() || o.Of.String() != "query.ids[,]" {
		t.Errorf("list: %s", o.Of)
	}
	if o := rules["folder"].Owner.Of; o.String() != "team:{token.tenant}/{path.team}" || len(o.Parts) != 4 {
		t.Errorf("folder: %s, %d parts", o, len(o.Parts))
	}
	if r := rules["create"]; len(r.Agrees) != 2 || r.Agrees[1].String() != "body.user_id" || r.Condition == nil || len(r.ConditionReads) != 1 || r.ConditionReads[0].String() != "header.x-tenant" {
		t.Errorf("create: agrees %v, reads %v", r.Agrees, r.ConditionReads)
	}
	if b := rules["form"].Body; b == nil || b.Form == nil {
		t.Error("form: no form is read")
	}
	for name, rule := range rules {
		if want := name != "open"; (len(rule.Tenants) == 1) != want || want && (rule.Tenants[0].Of.String() != "header.x-tenant" || rule.Tenants[0].Is != "tenant") {
			t.Errorf("%s: tenants %v", name, rule.Tenants)
		}
	}
}

func TestLookupsAreCompiled(t *testing.T) {
	p := mustParse(t, store)
	orders := p.Lookups["orders"]
	if orders.Timeout != 20*time.Millisecond || orders.Cache != 10*time.Second || orders.CacheDenials != time.Second || orders.CacheBytes != 16<<20 || orders.Connections != 16 || orders.Issuer != p.Issuers["shop"] {
		t.Errorf("%+v", orders)
	}
	if fresh := p.Lookups["owners"]; fresh.Cache != 0 || fresh.CacheDenials != 0 || fresh.Timeout != 50*time.Millisecond {
		t.Errorf("the defaults remember: %+v", fresh)
	}
	if ledger := p.Lookups["ledger"]; ledger.CacheDenials != 0 || ledger.SQL.PasswordFile != "/run/secrets/pg" {
		t.Errorf("%+v", ledger)
	}
	if got := p.Lookups["members"].Redis.Set.String(); got != "{relation}:{tenant}:{id}" {
		t.Errorf("set %s", got)
	}
	if got := strings.Join(p.Lookups["service"].HTTP.Owner, "/"); got != "owner/id" {
		t.Errorf("owner at %s", got)
	}
	if got := p.Lookups["graph"].OpenFGA.User; got != "user" {
		t.Errorf("user type %s", got)
	}
	want := map[string]map[string][]string{"o-1": {"": {"alice"}}, "o-2": {"": {"alice", "bob"}}, "doc": {"viewer": {"carol"}}}
	if got := p.Lookups["fixed"].Static.Owners; !reflect.DeepEqual(got, want) {
		t.Errorf("static %v", got)
	}
	for name, kind := range map[string]string{"orders": "redis", "ledger": "sql", "service": "http", "owners": "grpc", "graph": "openfga", "fixed": "static"} {
		if got := p.Lookups[name].Kind(); got != kind {
			t.Errorf("%s is of kind %s", name, got)
		}
	}
	// What says nothing about the settings keeps connections and cache; what says something does not.
	again := mustParse(t, strings.Replace(store, "services:\n", "# a comment\n\nservices:\n", 1))
	for name, lookup := range p.Lookups {
		if again.Lookups[name].Digest != lookup.Digest {
			t.Errorf("%s: another digest for the same settings", name)
		}
	}
	for old, new := range map[string]string{"owner:order:{id}": "owner:orders:{id}", "cache: 10s": "cache: 11s", "owner: owner.id": "owner: owner", "o-1: alice": "o-1: bob"} {
		name := map[string]string{"owner: owner.id": "service", "o-1: alice": "fixed"}[old]
		if name == "" {
			name = "orders"
		}
		if mustParse(t, bendStore(t, old, new)).Lookups[name].Digest == p.Lookups[name].Digest {
			t.Errorf("%s: one digest for other settings", new)
		}
	}
}

// What would leave an object to anybody does not load.
func TestOwnershipRefused(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"no such part":                {"of: form.user", "of: cookie.user", `"cookie.user" is no part of a request`},
		"no such capture":             {"of: path.id, lookup: orders", "of: path.nope, lookup: orders", "the rule captures no `nope`"},
		"a list of a capture":         {"of: path.id, lookup: orders", `of: "path.id[*]", lookup: orders`, `"path.id[*]" is no list`},
		"one element":                 {"body.items[*].id", "body.items[0].id", "all elements are written [*]"},
		"a list of a header":          {`"query.ids[,]"`, `"header.x-ids[*]"`, "is no list"},
		"no name":                     {"of: form.user", "of: form.", "is no part of a request"},
		"two kinds of body":           {"agrees: [path.user_id, body.user_id]", "agrees: [path.user_id, body.user_id, form.user_id]", "a body is of one kind"},
		"empty where one must be":     {"of: path.id, lookup: orders", "of: path.id, allow_empty: true, lookup: orders", "path.id is no list, so it cannot be empty and right"},
		"no such type":                {"type: uuid", "type: guid", `an id cannot be of type "guid"`},
		"a body and an upgrade":       {"owner: {of: form.user, is: token.sub}", "owner: {of: form.user, is: token.sub}\n        upgrades: [websocket]", "Envoy buffers no body of an upgrade"},
		"a query beside a body":       {`of: "query.ids[,]", lookup: fixed, is: token.sub}`, "of: query.user, is: token.sub}\n        agrees: [query.user, body.name]", "agrees: [query.user, body.user]"},
		"values touch":                {"{token.tenant}/{path.team}", "{token.tenant}{path.team}", "two values touch"},
		"two lists":                   {`"team:{token.tenant}/{path.team}"`, `"{query.a[*]}/{query.b[*]}"`, "the text reads 2 lists"},
		"nothing of the request":      {`"team:{token.tenant}/{path.team}"`, `"team:{token.tenant}"`, "reads nothing of the request"},
		"a brace alone":               {`"team:{token.tenant}/{path.team}"`, `"team:{token.tenant"`, "a { without its }"},
		"an undeclared claim":         {`"team:{token.tenant}/{path.team}"`, `"team:{token.nope}/{path.team}"`, "declares no claim `nope`"},
		"one that agrees with itself": {"agrees: [path.user_id, body.user_id]", "agrees: [path.user_id]", "one value always agrees with itself"},
		"one place twice":             {"agrees: [path.user_id, body.user_id]", "agrees: [path.user_id, path.user_id]", "path.user_id always agrees with itself"},
		"a credential for an id":      {"of: form.user", "of: header.authorization", "header authorization holds a credential, which no rule compares"},
		"a session for an id":         {"of: form.user", "of: \"user:{header.cookie}\"", "header cookie holds a credential, which no rule compares"},
		"a mark for an id":            {"of: form.user", "of: header.x-envoy-auth-partial-body", "is Envoy's to the gate, which no rule compares"},
		"grpc without descriptors":    {"of: form.user", "of: grpc.user", "its service names no `descriptors`"},
		"no such descriptors":         {"    rules:\n      - name: read", "    descriptors: shop.binpb\n    rules:\n      - name: read", "there is no descriptor set `shop.binpb` beside this file"},

		"no such lookup":               {"lookup: orders", "lookup: order", "there is no lookup named `order`"},
		"a relation nobody knows":      {"lookup: orders, is", "lookup: orders, relation: editor, is", "`orders` knows no relations"},
		"a relation without a lookup":  {"owner: {of: form.user, is: token.sub}", "owner: {of: form.user, relation: editor, is: token.sub}", "a `relation` is asked of a `lookup`"},
		"no relation":                  {"lookup: graph, relation: viewer", "lookup: graph", "`graph` asks for a relation"},
		"two backends":                 {"grpc: {address: \"owners:9300\", ca_file: /etc/ca.pem}", "grpc: {address: \"owners:9300\"}\n    static: {}", "a lookup asks one backend, and this names 2"},
		"no backend":                   {"    grpc: {address: \"owners:9300\", ca_file: /etc/ca.pem}", "    cache: 1s", "a lookup asks one backend, and this names 0"},
		"a password":                   {"redis://127.0.0.1:6379/1\", key", "redis://:pw@127.0.0.1:6379/1\", key", "a URL with a password in it is refused"},
		"a user in redis' URL":         {"redis://127.0.0.1:6379/1\", key", "redis://me@127.0.0.1:6379/1\", key", "put the user into `username`"},
		"a password in postgres' URL":  {"reader@db", "reader:pw@db", "a URL with a password in it is refused"},
		"a password as a parameter":    {"?sslmode=verify-full", "?password=pw", "a URL with a password in it is refused"},
		"another scheme":               {"redis://127.0.0.1:6379/1\", key", "memcached://127.0.0.1:6379\", key", "not a URL that this lookup can ask"},
		"a key and a set":              {"key: \"owner:order:{id}\"", "key: \"a:{id}\", set: \"b:{id}\"", "a redis lookup reads a key or a set"},
		"a key without an id":          {"owner:order:{id}", "owner:order", "reads the same for every object"},
		"variables touch":              {"{relation}:{tenant}:{id}", "{relation}{tenant}:{id}", "between two variables must stand more"},
		"a letter between":             {"{relation}:{tenant}:{id}", "{relation}a{tenant}:{id}", "between two variables must stand more"},
		"no such variable":             {"owner:order:{id}", "owner:order:{ids}", "there is no {ids}"},
		"a variable twice":             {"owner:order:{id}", "{id}:order:{id}", "{id} stands in it twice"},
		"a query without ids":          {"WHERE id = ANY(@ids)", "WHERE id = 'x'", "the query does not read @ids"},
		"http in the open":             {"https://orders.internal/owners/{id}", "http://orders.internal/owners/{id}", "plain http to a host that is not loopback"},
		"a host nobody knows":          {"https://orders.internal/owners/{id}", "https://{id}.internal/owners", "not the URL of a service whose host is known"},
		"an id nowhere":                {"https://orders.internal/owners/{id}", "https://orders.internal/owners", "the lookup asks the same for every object"},
		"half a key pair":              {"ca_file: /etc/ca.pem", "cert_file: /etc/cert.pem", "`cert_file` and `key_file` belong together"},
		"an address with a scheme":     {"owners:9300", "https://owners:9300", "is no address"},
		"a long denial":                {"cache_denials: 0s", "cache_denials: 2s", "cache_denials"},
		"a slow lookup":                {"timeout: 20ms", "timeout: 2s", "timeout"},
		"a type that is an object":     {"type: document", "type: \"document:1\"", "is no type of a model"},
		"a tenant nobody demands":      {"    tenant: {of: header.x-tenant, is: token.tenant}\n", "", "`members` asks for the tenant"},
		"a tenant that is forgotten":   {"owner: {of: form.user, is: token.sub}", "owner: {of: form.user, is: token.sub}\n        tenant:", "a map is missing"},
		"a tenant that is a list":      {"owner: {of: form.user, is: token.sub}", "owner: {of: form.user, is: token.sub}\n        tenant: [token.tenant]", "this is a list where a map is meant"},
		"a tenant set aside":           {"owner: {of: form.user, is: token.sub}", "owner: {of: form.user, is: token.sub}\n        tenant: none", "only a rule without a token may"},
		"a public rule under a tenant": {"        tenant: none\n", "", "its service demands a tenant: which holds?"},
		"a list of tenants":            {"of: header.x-tenant", "of: \"header.x-tenant[,]\"", "a request is of one tenant"},
		"a tenant that can be edited":  {"is: token.tenant}\n    rules", "is: token.email}\n    rules", "token.email can change hands"},

		"a condition on a list":      {"is: token.sub, allow_empty: true}", "is: token.sub, allow_empty: true}\n        condition: object == \"x\"", "the rule names no one object"},
		"a condition that is broken": {`request.method == "POST"`, `request.method = "POST"`, "expression, line 1, column"},
		"a condition on a capture":   {`request.method == "POST"`, `path.nope == "POST"`, `the rule captures no "nope"`},
		"a condition on a secret":    {`header["x-tenant"] != ""`, `header.authorization != ""`, "holds a credential"},
		"a condition of nobody":      {"        public: true\n", "        public: true\n        condition: request.method == \"GET\"\n", "a public rule asks nobody who they are"},
	} {
		t.Run(name, func(t *testing.T) {
			p, errs := parse(bendStore(t, test.old, test.new))
			if p != nil {
				t.Fatal("it loads")
			}
			if !strings.Contains(errs, test.want) {
				t.Errorf("the errors do not say %q:\n%s", test.want, errs)
			}
			if strings.Contains(errs, ":pw@") || strings.Contains(errs, "password=pw") {
				t.Errorf("the password is shown:\n%s", errs)
			}
		})
	}
}

// A lookup stores one issuer's subjects, and only that issuer's tokens may ask it.
func TestLookupsOfOneIssuer(t *testing.T) {
	two := strings.Replace(store, "lookups:\n", "  other:\n    issuer: https://other.example.com\n    audiences: [orders-api]\nlookups:\n", 1)
	if p, errs := parse(two); p != nil || !strings.Contains(errs, "the lookup does not say its `issuer`, and this file names 2") {
		t.Errorf("a lookup of nobody's subjects loads:\n%s", errs)
	}
	text := `version: 1
issuers:
  a: {issuer: "https://a.example", audiences: [x]}
  b: {issuer: "https://b.example", audiences: [x]}
lookups:
  l: {issuer: a, static: {o: alice}}
services:
  - name: s
    hosts: [s]
    rules: [{name: r, match: "GET /{id}", issuer: b, owner: {of: path.id, lookup: l, is: token.sub}}]
`
	if p, errs := parse(text); p != nil || !strings.Contains(errs, "stores subjects of issuer `a`, and the rule takes tokens of `b`") {
		t.Errorf("one issuer's tokens ask for another's subjects:\n%s", errs)
	}
	mustParse(t, strings.Replace(text, "issuer: b, owner", "issuer: a, owner", 1))
}

// A public rule may hold ids to agree: that says nothing of who asks. So may a rule for workloads have a condition.
func TestShapeWithoutToken(t *testing.T) {
	p := mustParse(t, `version: 1
trust_domain: cluster.local
peers: envoy
services:
  - name: s
    hosts: [s]
    rules:
      - {name: a, match: "POST /a/{id}", public: true, agrees: [path.id, body.id]}
      - {name: b, match: "POST /b/{id}", token: none, callers: [batch/nightly], condition: path.id != "root"}
`)
	if rules := p.Services[0].Rules; len(rules[0].Agrees) != 2 || rules[0].Body == nil || rules[1].Condition == nil {
		t.Errorf("%+v, %+v", rules[0], rules[1])
	}
}

// Branches share what the rule says of the request, and each has its own demands.
func TestOwnershipInBranches(t *testing.T) {
	p := mustParse(t, `version: 1
trust_domain: cluster.local
peers: envoy
issuers:
  a: {issuer: "https://a.example", audiences: [x]}
  b: {issuer: "https://b.example", audiences: [x]}
services:
  - name: s
    hosts: [s]
    rules:
      - name: r
        match: POST /{id}
        agrees: [path.id, body.id]
        either:
          - {issuer: a, owner: {of: body.id, is: token.sub}}
          - {issuer: b, owner: {of: path.id, is: token.sub}, condition: header.x != ""}
          - {token: none, callers: [batch/nightly]}
`)
	branches := p.Services[0].Rules[0].Either
	for i, branch := range branches {
		if len(branch.Agrees) != 2 || branch.Body == nil || len(branch.Body.References) != 1 {
			t.Errorf("branch %d: agrees %v, body %+v", i, branch.Agrees, branch.Body)
		}
	}
	if branches[0].Owner.Of.String() != "body.id" || branches[1].Condition == nil || branches[2].Owner != nil {
		t.Error("a branch has another's demands")
	}
}

// descriptors is a descriptor set with one method, whose message has the given field.
func descriptors(t *testing.T, field string) []byte {
	t.Helper()
	kind, label := descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Get"), Field: []*descriptorpb.FieldDescriptorProto{
			{Name: &field, Number: proto.Int32(1), Type: &kind, Label: &label},
		}}},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Read"), InputType: proto.String(".shop.Get"), OutputType: proto.String(".shop.Get")},
		}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const messages = `version: 1
issuers: {shop: {issuer: "https://auth.example.com", audiences: [x]}}
services:
  - name: orders
    hosts: [orders.example]
    descriptors: shop.binpb
    rules: [{name: read, match: /shop.Orders/Read, owner: {of: grpc.order_id, is: token.sub}}]
`

// A gRPC message is read by the descriptor set that lies beside the policy, and that is part of the policy's generation.
func TestDescriptors(t *testing.T) {
	files := func(set []byte) []File {
		return []File{{Name: "policies/policy.yaml", Data: []byte(messages)}, {Name: "policies/shop.binpb", Data: set}}
	}
	p, errs := Parse(files(descriptors(t, "order_id")))
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	if body := p.Services[0].Rules[0].Body; body == nil || body.GRPC["/shop.Orders/Read"] == nil {
		t.Errorf("body %+v", body)
	}
	if _, errs := Parse(files(descriptors(t, "id"))); !strings.Contains(errs.Pretty(), `shop.Get has no field "order_id": it has id`) {
		t.Errorf("another field:\n%s", errs.Pretty())
	}
	if _, errs := Parse(files([]byte("no set"))); !strings.Contains(errs.Pretty(), "not a google.protobuf.FileDescriptorSet") || !strings.Contains(errs.Pretty(), "shop.binpb") {
		t.Errorf("no set:\n%s", errs.Pretty())
	}
	if _, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(strings.Replace(messages, "/shop.Orders/Read", "GET /read", 1))}, {Name: "shop.binpb", Data: descriptors(t, "order_id")}}); !strings.Contains(errs.Pretty(), "GET /read is no gRPC method") {
		t.Errorf("no method:\n%s", errs.Pretty())
	}

	// A set that no longer fits, or goes, does not take the last good one out of force.
	before := Load(nil, files(descriptors(t, "order_id")))
	for name, now := range map[string][]File{
		"another field": files(descriptors(t, "id")), "broken": files([]byte("x")), "gone": files(nil)[:1],
	} {
		after := Load(before, now)
		if len(after.Policy.Services) != 1 || after.Policy.Services[0].Rules[0].Body.GRPC["/shop.Orders/Read"] == nil {
			t.Errorf("%s: the rule is gone", name)
		}
		wrong := 0
		for _, file := range after.Files {
			if !file.OK() {
				wrong++
				if !strings.HasSuffix(file.Name, ".binpb") {
					t.Errorf("%s: %s is blamed: %v", name, file.Name, file.Errors)
				}
			}
		}
		if wrong != 1 {
			t.Errorf("%s: %d files are blamed", name, wrong)
		}
	}
	// And one that was never good leaves its service unserved.
	if first := Load(nil, files([]byte("x"))); len(first.Policy.Services) != 0 {
		t.Error("a service without its descriptors is served")
	}
}

// A lookup that is gone from the files stays for those who did not change.
func TestLookupsStay(t *testing.T) {
	rules := "version: 1\nservices:\n  - name: s\n    hosts: [s]\n    rules: [{name: r, match: \"GET /{id}\", issuer: shop, owner: {of: path.id, lookup: l, is: token.sub}}]\n"
	issuers := "version: 1\nissuers: {shop: {issuer: \"https://auth.example.com\", audiences: [x]}}\n"
	lookups := "lookups: {l: {static: {o: alice}}}\n"
	before := Load(nil, []File{{"a.yaml", []byte(rules)}, {"b.yaml", []byte(issuers + lookups)}})
	if before.Policy.Lookups["l"] == nil {
		t.Fatalf("it does not load: %v", before.Files)
	}
	after := Load(before, []File{{"a.yaml", []byte(rules)}, {"b.yaml", []byte(issuers)}})
	if after.Policy.Lookups["l"] == nil || after.Policy.Services[0].Rules[0].Owner.Lookup == nil {
		t.Errorf("the lookup is gone: %v", after.Files)
	}
	if changed := Load(before, []File{{"a.yaml", []byte(rules + "# changed\n")}, {"b.yaml", []byte(issuers)}}); changed.Files[0].OK() && changed.Files[1].OK() {
		t.Error("a changed file may name a lookup that is gone")
	}
	// Of two files with one lookup, the one that changed is wrong.
	twice := Load(before, []File{{"a.yaml", []byte(rules + lookups)}, {"b.yaml", []byte(issuers + lookups)}})
	if twice.Files[0].OK() || !twice.Files[1].OK() || !strings.Contains(twice.Files[0].Errors.Error(), "stands in b.yaml too") {
		t.Errorf("%v", twice.Files)
	}
}

// Templates of two values never make one text.
func TestTemplates(t *testing.T) {
	template, why := ParseTemplate("{relation}:{tenant}/{id}")
	if why != "" {
		t.Fatal(why)
	}
	seen := map[string]TemplateValues{}
	parts := []string{"", "a", ":", "/", "%", "%3A", "a:b", "a/b", "::", "é"}
	for _, relation := range parts {
		for _, tenant := range parts {
			for _, id := range parts {
				values := TemplateValues{ID: id, Relation: relation, Tenant: tenant}
				text := string(template.Append(nil, &values, nil))
				if other, twice := seen[text]; twice {
					t.Errorf("%q is made of %+v and of %+v", text, other, values)
				}
				seen[text] = values
			}
		}
	}
	plain, _ := ParseTemplate("owner:order:{id}")
	if got := string(plain.Append(nil, &TemplateValues{ID: "a%b:c{d}"}, nil)); got != "owner:order:a%b:c{d}" {
		t.Errorf("the last value is bent: %s", got)
	}
	if got := string(plain.Append(nil, &TemplateValues{ID: "x"}, func(b []byte, s string) []byte { return append(b, "<"+s+">"...) })); got != "owner:order:<x>" {
		t.Errorf("encoded: %s", got)
	}
}

// A trial says what is answered, and the day on which it ends.
func TestShadowIsCompiled(t *testing.T) {
	with := func(shadow string) string {
		return strings.Replace(store, "    hosts: [orders.example]\n", "    hosts: [orders.example]\n    shadow: "+shadow+"\n", 1)
	}
	p := mustParse(t, with(`{answer: allow, until: 2027-01-15}`))
	if s := p.Services[0].Shadow; !s.Allow || !s.Until.Equal(time.Date(2027, time.January, 15, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", s)
	}
	if s := mustParse(t, with(`{answer: deny, until: "2027-01-15"}`)).Services[0].Shadow; s.Allow {
		t.Error("deny allows")
	}
	for shadow, want := range map[string]string{
		`{answer: allow}`:                                 `missing key "until"`,
		`{until: 2027-01-15}`:                             `missing key "answer"`,
		`{answer: maybe, until: 2027-01-15}`:              "can allow or deny",
		`{answer: allow, until: never}`:                   `"never" is no day`,
		`{answer: allow, until: 2027-02-30}`:              `"2027-02-30" is no day`,
		`{answer: allow, until: "2027-01-15T00:00:00Z"}`:  "is no day",
		`{answer: allow, until: 2027-01-15, for: orders}`: `unknown key "for"`,
		`allow`: "shadow",
	} {
		if p, errs := parse(with(shadow)); p != nil || !strings.Contains(errs, want) {
			t.Errorf("%s: loads %v:\n%s", shadow, p != nil, errs)
		}
	}
}
