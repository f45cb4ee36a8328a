package starter

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

var update = flag.Bool("update", false, "write the policies of testdata anew")

// fataler is a test, or a property's.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// imported is the policy of a document, text and loaded. It fails if it does not load.
func imported(t fataler, spec string, o Options) (string, *policy.Policy) {
	t.Helper()
	d, errs := openapi.Read("spec.yaml", []byte(spec))
	if len(errs) > 0 {
		t.Fatalf("%s\n%s", errs.Pretty(), spec)
	}
	text := Write(d, o)
	p, errs := policy.ParseAt([]policy.File{{Name: "policy.yaml", Data: text}}, time.Now())
	if len(errs) > 0 {
		t.Fatalf("%s\n%s\n%s", errs.Pretty(), text, spec)
	}
	if again := Write(d, o); !bytes.Equal(text, again) {
		t.Fatalf("two runs differ:\n%s\n%s", text, again)
	}
	return string(text), p
}

// The documents of authz/openapi, and what they become, whole.
func TestWrite(t *testing.T) {
	specs, err := filepath.Glob("../../../authz/openapi/testdata/*.*")
	if err != nil || len(specs) < 2 {
		t.Fatalf("%v %v", specs, err)
	}
	for _, spec := range specs {
		data, err := os.ReadFile(spec)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := imported(t, string(data), Options{})
		golden := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(spec), filepath.Ext(spec))+".policy.yaml")
		if *update {
			if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", golden, diff)
		}
	}
}

// spec is a document with paths, security schemes and whatever else stands at its top.
func spec(top, paths, schemes string) string {
	return "openapi: 3.1.0\ninfo: {title: T, version: \"1\"}\n" + top + "paths:\n" + paths + "components:\n  securitySchemes:\n    unused: {type: http, scheme: basic}\n" + schemes
}

// op is one operation of one path; the parameters of its path are described.
func op(method, path, rest string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %q:\n    %s:\n      responses: {200: {description: ok}}\n", path, method)
	open := "      parameters:\n"
	for _, part := range strings.Split(path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		fmt.Fprintf(&b, "%s        - {name: %q, in: path, required: true, schema: {type: string}}\n", open, name)
		open = ""
	}
	if rest != "" {
		b.WriteString("      " + rest + "\n")
	}
	return b.String()
}

const tokens = `    token: {type: http, scheme: bearer}
    oidc: {type: openIdConnect, openIdConnectUrl: "https://a.example/.well-known/openid-configuration"}
    other: {type: oauth2, flows: {clientCredentials: {tokenUrl: "https://b.example/token", scopes: {}}}}
    key: {type: apiKey, in: header, name: x}
`

// What a document says of one operation, and the lines that this becomes.
func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name, spec string
		o          Options
		want       []string
		never      []string
	}{
		{"no security is no open door", spec("", op("get", "/a", ""), ""), Options{},
			[]string{"issuer: https://issuer.example", "# The document asks nobody who they are.", "- name: get-a\n        match: GET /a\n"}, []string{"public: true\n"}},
		{"security that is optional is needed", spec("", op("get", "/a", "security: [{oidc: [s]}, {}]"), tokens), Options{},
			[]string{"# The document also lets it be asked without a token.", "scopes: [s]"}, nil},
		{"one of two scopes", spec("", op("get", "/a", "security: [{oidc: [s]}, {oidc: [t]}]"), tokens), Options{}, []string{"any_scope: [s, t]"}, nil},
		{"what both sets need", spec("", op("get", "/a", "security: [{oidc: [s, t]}, {oidc: [u, s]}]"), tokens), Options{}, []string{"scopes: [s]\n", "any_scope: [t, u]\n"}, nil},
		{"a set within another", spec("", op("get", "/a", "security: [{oidc: [s, t]}, {oidc: [s]}]"), tokens), Options{}, []string{"scopes: [s]\n"}, []string{"any_scope", "[s, t]"}},
		{"any token does", spec("", op("get", "/a", "security: [{oidc: [s, t]}, {oidc: []}]"), tokens), Options{}, []string{"match: GET /a\n"}, []string{"scopes:"}},
		{"one of two sets", spec("", op("get", "/a", "security: [{oidc: [s, t]}, {oidc: [u, v]}]"), tokens), Options{}, []string{"# The document lets one of several sets of scopes do", "scopes: [s, t, u, v]"}, nil},
		{"two issuers", spec("", op("get", "/u/{user_id}", "security: [{oidc: [s]}, {other: [t]}]"), tokens), Options{},
			[]string{"either:\n          - issuer: oidc\n            scopes: [s]\n            owner: {of: path.user_id, is: token.sub}\n          - issuer: other\n            scopes: [t]\n            owner:"}, nil},
		{"two issuers at once", spec("", op("get", "/a", "security: [{oidc: [s], other: [t]}]"), tokens), Options{}, []string{"two issuers at once", "deny: 403"}, nil},
		{"one of two is two at once", spec("", op("get", "/a", "security: [{oidc: [s], other: [t]}, {oidc: [u]}]"), tokens), Options{}, []string{"that alternative is closed", "scopes: [u]"}, []string{"deny: 403"}},
		{"a scope that is none", spec("", op("get", "/a", "security: [{oidc: [\"read pets\"]}]"), tokens), Options{}, []string{"\"read pets\" cannot be a scope", "deny: 403"}, nil},
		{"a key alone", spec("", op("get", "/a", "security: [{key: []}]"), tokens), Options{}, []string{"# The document asks for `key`, which is no token"}, []string{"public"}},
		{"a key besides", spec("", op("get", "/a", "security: [{key: [], oidc: [s]}]"), tokens), Options{}, []string{"# The document asks for `key` besides", "scopes: [s]"}, nil},
		{"the document's own security", spec("security: [{oidc: [all]}]\n", op("get", "/a", "")+op("get", "/b", "security: []"), tokens), Options{}, []string{"match: GET /a\n        issuer: oidc\n        scopes: [all]\n"}, nil},
		{"issuers that are one", spec("", op("get", "/a", "security: [{oidc: [s]}, {other: [t]}]"), tokens), Options{Issuer: "https://one.example", Audience: "api"},
			[]string{"issuer: https://one.example\n    audiences: [api]", "any_scope: [s, t]"}, []string{"either", "laceholder: what the issuer"}},
		{"a guess", spec("", op("get", "/a", ""), tokens), Options{}, []string{"# A guess from https://b.example/token of `other`.", "issuer: https://b.example\n", "issuer: https://a.example\n", "# A placeholder: the document does not say who issues the tokens of `token`."}, nil},
		{"a token URL of no use", spec("", op("get", "/a", ""), "    o: {type: oauth2, flows: {clientCredentials: {tokenUrl: /token, scopes: {}}}}\n"), Options{}, []string{"issuer: https://issuer.example\n"}, nil},
		{"an id", spec("", op("get", "/o/{order-id}", ""), ""), Options{}, []string{"# The document's {order-id} is {order_id} here.", "# Whose is {order_id}?", "owner: {of: path.order_id, is: token.sub}"}, nil},
		{"two ids, one of a person", spec("", op("get", "/u/{userId}/o/{id}", ""), ""), Options{}, []string{"# And {id}?", "owner: {of: path.userId, is: token.sub}\n        condition: path.id == token.sub\n"}, nil},
		{"two ids, none of one", spec("", op("get", "/shops/{shop}/o/{id}", ""), ""), Options{}, []string{"# And {shop}?", "owner: {of: path.id, is: token.sub}\n        condition: path.shop == token.sub\n"}, nil},
		{"ids of two issuers' tokens", spec("", op("get", "/u/{user_id}/o/{in}/{id}", "security: [{oidc: [s]}, {other: [t]}]"), tokens), Options{},
			[]string{"          - issuer: other\n            scopes: [t]\n            owner: {of: path.user_id, is: token.sub}\n            condition: path._in == token.sub && path.id == token.sub\n"}, nil},
		{"a deprecated one", spec("", op("get", "/a", "deprecated: true"), ""), Options{}, []string{"# Deprecated."}, nil},
		{"a parameter that is not judged", spec("servers: [{url: /v1}]\n", op("get", "/a", "parameters: [{name: p, in: query, style: deepObject, schema: {type: object}}]"), ""), Options{},
			[]string{"# - line 8, GET /a query.p: style deepObject is not read", "      # Not judged: query.p: style deepObject is not read."}, nil},
		{"a path that no pattern says", spec("", op("get", "/{a}.{b}", "")+op("get", "/c", ""), ""), Options{}, []string{"# - line 5, GET /{a}.{b}: no pattern of a rule can say its path; no rule, so it is denied"}, []string{"match: GET /{"}},
		{"nothing that a pattern says", spec("", op("get", "/{a}.{b}", ""), ""), Options{}, []string{"deny: 404"}, nil},
		{"paths that differ in an extension", spec("", op("get", "/x.json", "")+op("get", "/x", "")+op("get", "/x.xml", ""), ""), Options{}, []string{"match: GET /x.json\n        # Another path differs", "extension: exact"}, []string{"spelling"}},
		{"paths that differ in a slash", spec("", op("get", "/a", "")+op("get", "/a/", "")+op("get", "/x.json", "")+op("get", "/x", ""), ""), Options{}, []string{"    spelling: exact\n", "match: GET /a/{$}\n"}, []string{"extension: exact"}},
		{"paths that differ in case", spec("", op("get", "/a", "")+op("get", "/A", ""), ""), Options{}, []string{"    spelling: exact\n"}, nil},
		{"paths that are one once decoded", spec("", op("get", "/a%62", "")+op("get", "/ab", ""), ""), Options{}, []string{"# - line 8, GET /ab: its path is that of GET /a%62; no rule"}, nil},
		{"names", spec("", op("get", "/a", "operationId: listHTTPThings2Do")+op("get", "/b", "operationId: list-httpthings2-do")+op("get", "/c", "operationId: \"日本\"")+op("get", "/d", "operationId: probe"), ""), Options{},
			[]string{"- name: list-httpthings2-do\n", "- name: list-httpthings2-do-2\n", "- name: get-c\n", "- name: probe-2\n"}, nil},
		{"options", spec("servers: [{url: \"https://x.example\"}, {url: \"https://Y.example:8443\"}]\n", op("get", "/a", ""), ""), Options{Service: "shop", Host: "shop.example"}, []string{"- name: shop\n    hosts: [shop.example]\n", "audiences: [shop]"}, []string{"x.example]"}},
		{"servers", spec("servers: [{url: \"https://x.example\"}, {url: \"https://Y.example:8443\"}, {url: \"http://10.0.0.1\"}, {url: \"https://a b\"}]\n", op("get", "/a", ""), ""), Options{}, []string{"hosts: [x.example, y.example, \"10.0.0.1\"]"}, nil},
		{"a summary that would be a rule", spec("", op("get", "/a", `summary: "ok\n      - name: evil\u2028\u202epublic: true"`), ""), Options{}, []string{"# ok - name: evil"}, []string{"\n      - name: evil", "\u202e", "\u2028"}},
		{"a title that would be a service", strings.Replace(spec("", op("get", "/a", ""), ""), "title: T", `title: "x\n- name: evil"`, 1), Options{}, []string{"- name: x-name-evil\n"}, []string{"\n- name"}},
		{"a scheme that would be an issuer", spec("", op("get", "/a", "security: [{\"a.b\": [\"x: y\"]}]"), "    a.b: {type: oauth2, flows: {clientCredentials: {tokenUrl: \"https://b.example/\\\" #\", scopes: {}}}}\n"), Options{}, []string{"  a-b:\n", "deny: 403"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, _ := imported(t, tt.spec, tt.o)
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing:\n%s", want, text)
				}
			}
			for _, never := range tt.never {
				if strings.Contains(text, never) {
					t.Errorf("%q stands there:\n%s", never, text)
				}
			}
		})
	}
}

// Whatever the document: the policy loads, no rule lets anybody in without a token, and each operation has a rule or a line that says why
// not.
func TestWhateverIsReadLoads(t *testing.T) {
	segment := rapid.SampledFrom([]string{"a", "A", "a.json", "x-y", "%C3%A9", "a:b", "{id}", "{user-id}", "{2}", "{in}", "{rest...}", "{id}.json", "{a}{b}", "v{a}", "a b", "~", "@me", "{$}", "*", "..", ""})
	scheme := rapid.SampledFrom([]string{"token", "oidc", "other", "key"})
	scope := rapid.SampledFrom([]string{"s", "read:pets", "a b", "", "yes", "\"", "é"})
	rapid.Check(t, func(t *rapid.T) {
		paths, taken := "", map[string]bool{}
		for range rapid.IntRange(1, 6).Draw(t, "paths") {
			path := "/" + strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "path"), "/")
			if key := shape(path); key == "" || taken[key] {
				continue
			} else {
				taken[key] = true
			}
			rest := ""
			if rapid.Bool().Draw(t, "secured") {
				rest = "security:"
				for range rapid.IntRange(0, 3).Draw(t, "alternatives") {
					rest += "\n        - {"
					for i, name := range rapid.SliceOfNDistinct(scheme, 0, 2, rapid.ID).Draw(t, "schemes") {
						rest += strings.Repeat(", ", i) + name + ": ["
						for j, scope := range rapid.SliceOfN(scope, 0, 3).Draw(t, "scopes") {
							rest += strings.Repeat(", ", min(j, 1)) + fmt.Sprintf("%q", scope)
						}
						rest += "]"
					}
					rest += "}"
				}
				if rest == "security:" {
					rest += " []"
				}
			}
			paths += op(rapid.SampledFrom([]string{"get", "post", "options", "head", "trace"}).Draw(t, "method"), path, rest)
		}
		if paths == "" {
			return
		}
		text, p := imported(t, spec("", paths, tokens), Options{})
		rules := 0
		for _, rule := range p.Services[0].Rules {
			rules++
			if rule.Credential != policy.CredentialToken && rule.Credential != policy.CredentialDeny {
				t.Fatalf("rule %s needs no token:\n%s", rule.Name, text)
			}
			if rule.Name == "nothing" {
				rules--
			}
		}
		for _, warning := range p.Warnings {
			if strings.Contains(warning.Msg, "holds it to nothing") {
				t.Fatalf("%s\n%s", warning.Pretty(), text)
			}
		}
		if left := strings.Count(text, "no rule, so it is denied"); rules+left != len(taken) {
			t.Fatalf("%d rules and %d left out of %d operations:\n%s", rules, left, len(taken), text)
		}
	})
}

// shape is what kin-openapi takes for one path, or "" for one that it refuses.
func shape(path string) string {
	key, names := "", map[string]bool{}
	for i, part := range strings.Split(path, "{") {
		if name, rest, ok := strings.Cut(part, "}"); i > 0 && ok {
			if names[name] {
				return ""
			}
			names[name] = true
			part = "{}" + rest
		}
		key += part
	}
	return key
}
