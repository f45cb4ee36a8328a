package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// object is an object of a JSON Schema, as much of it as these tests read.
type object struct {
	Description string                     `json:"description"`
	Properties  map[string]json.RawMessage `json:"properties"`
}

// levels are the objects of the schema, and for each a policy with a key that the loader does not know at that level.
var levels = map[string]string{
	"":                 "x: 1\n",
	"revocation":       "revocation: {x: 1}\n",
	"issuer":           "issuers: {a: {x: 1}}\n",
	"jwks":             "issuers: {a: {jwks: {x: 1}}}\n",
	"scope_form":       "issuers: {a: {scopes: {x: 1}}}\n",
	"claim":            "issuers: {a: {claims: {c: {x: 1}}}}\n",
	"lookup":           "lookups: {a: {x: 1}}\n",
	"redis":            "lookups: {a: {redis: {x: 1}}}\n",
	"sql":              "lookups: {a: {sql: {x: 1}}}\n",
	"http":             "lookups: {a: {http: {x: 1}}}\n",
	"grpc":             "lookups: {a: {grpc: {x: 1}}}\n",
	"openfga":          "lookups: {a: {openfga: {x: 1}}}\n",
	"service":          "services: [{x: 1}]\n",
	"networks_file":    "services: [{from: {x: 1}}]\n",
	"probe":            "services: [{probes: [{x: 1}]}]\n",
	"header":           "services: [{headers: {a: {x: 1}}}]\n",
	"openapi":          "services: [{openapi: {x: 1}}]\n",
	"shadow":           "services: [{shadow: {x: 1}}]\n",
	"client_key":       "services: [{client_key: {x: 1}}]\n",
	"client_key_redis": "services: [{client_key: {redis: {x: 1}}}]\n",
	"signed_by":        "services: [{rules: [{public: true, signed_by: {x: 1}}]}]\n",
	"cors":             "services: [{cors: {x: 1}}]\n",
	"security_headers": "services: [{security_headers: {x: 1}}]\n",
	"rule":             "services: [{rules: [{x: 1}]}]\n",
	"branch":           "services: [{rules: [{either: [{x: 1}, {}]}]}]\n",
	"owner":            "services: [{rules: [{owner: {x: 1}}]}]\n",
	"tenant":           "services: [{rules: [{tenant: {x: 1}}]}]\n",
	"body":             "services: [{rules: [{body: {x: 1}}]}]\n",
	"limits":           "services: [{rules: [{body: {limits: {x: 1}}}]}]\n",
	"writable":         "services: [{rules: [{writable: {x: 1}}]}]\n",
	"metadata":         "services: [{rules: [{metadata: {a: {x: 1}}}]}]\n",
}

// knownTo are the keys that the loader knows where a policy has the unknown key x.
func knownTo(t *testing.T, text string) []string {
	t.Helper()
	unknown := strings.Repeat("x", 20) // which is like no key
	_, errs := Parse([]File{{Name: "p.yaml", Data: []byte("version: 1\n" + strings.Replace(text, "x: 1", unknown+": 1", 1))}})
	for _, err := range errs {
		if strings.Contains(err.Msg, unknown) {
			list, ok := strings.CutPrefix(err.Hint, "one of: ")
			if !ok {
				t.Fatalf("%s: the hint lists nothing: %s", text, err.Pretty())
			}
			return strings.Split(list, ", ")
		}
	}
	t.Fatalf("%s: no unknown key was found:\n%s", text, errs.Pretty())
	return nil
}

// The schema names the keys that the loader knows, at every level, and says of each what it is.
func TestSchemaHasTheLoadersKeys(t *testing.T) {
	var root struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(Schema()), &root); err != nil {
		t.Fatal(err)
	}
	objects := root.Defs
	objects[""] = root.object
	later := map[string][]string{"rule": laterRule, "service": laterSvc, "issuer": laterIss} // known, to be refused by name
	for name, o := range objects {
		if o.Description == "" {
			t.Errorf("%q is not described", name)
		}
		if len(o.Properties) == 0 {
			continue
		}
		text, ok := levels[name]
		if !ok {
			t.Errorf("no policy tries the keys of %q", name)
			continue
		}
		want := slices.DeleteFunc(knownTo(t, text), func(key string) bool { return slices.Contains(later[name], key) })
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(o.Properties)); !slices.Equal(got, want) {
			t.Errorf("%q has the keys\n%v, the loader\n%v", name, got, want)
		}
		for key, property := range o.Properties {
			var p object
			if err := json.Unmarshal(property, &p); err != nil || p.Description == "" {
				t.Errorf("%q of %q is not described: %v", key, name, err)
			}
		}
	}
	for name := range levels {
		if len(objects[name].Properties) == 0 {
			t.Errorf("the schema has no %q", name)
		}
	}
}

// The words that the schema offers are those that the loader takes.
func TestSchemaHasTheLoadersWords(t *testing.T) {
	compact := strings.Join(strings.Fields(Schema()), "")
	words := []string{strings.ReplaceAll(fmt.Sprintf("%q", algorithms), " ", ",")}
	for _, key := range backendKeys {
		words = append(words, fmt.Sprintf(`{"required":[%q]}`, key))
	}
	for _, want := range words {
		if !strings.Contains(compact, want) {
			t.Errorf("the schema does not offer %s", want)
		}
	}
}
