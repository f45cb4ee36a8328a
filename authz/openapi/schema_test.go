package openapi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is a schema as the gate will compile it: with nothing but its own text to refer to.
func compiled(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(jsonschema.SchemeURLLoader{})
	if err := c.AddResource("spec.json", value); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	schema, err := c.Compile("spec.json")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return schema
}

func passes(t *testing.T, schema *jsonschema.Schema, value string) bool {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(v) == nil
}

// bodySchema is the schema of the one body of a document with these components.
func bodySchema(t *testing.T, doc func(paths, components string) string, components string) []byte {
	t.Helper()
	d := mustRead(t, "spec.yaml", doc(get("/a", "requestBody: {content: {application/json: {schema: {$ref: \"#/components/schemas/A\"}}}}\n"), components))
	return d.Operations[0].Body.Media[0].Schema
}

// How a schema of 3.0 is said in JSON Schema 2020-12. Each stands under `$defs` as A.
func TestSchemas30(t *testing.T) {
	for name, tt := range map[string]struct{ written, want string }{
		"nullable with a type":        {"{type: string, nullable: true}", `{"type":["string","null"]}`},
		"nullable beside allOf":       {"{nullable: true, allOf: [{type: object}]}", `{"anyOf":[{"allOf":[{"type":"object"}]},{"type":"null"}]}`},
		"nullable that is not":        {"{type: string, nullable: false}", `{"type":"string"}`},
		"an exclusive bound":          {"{type: number, minimum: 0, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false}", `{"type":"number","exclusiveMinimum":0,"maximum":9}`},
		"an exclusive bound of none":  {"{type: number, exclusiveMaximum: true}", `{"type":"number"}`},
		"notes":                       {"{type: string, title: t, description: d, example: e, default: f, deprecated: true, xml: {name: x}, externalDocs: {url: /}, x-a: b, writeOnly: true}", `{"type":"string"}`},
		"a discriminator":             {"{oneOf: [{type: object}, {type: array, items: {}}], discriminator: {propertyName: kind}}", `{"oneOf":[{"type":"object"},{"type":"array","items":{}}]}`},
		"what stands beside a $ref":   {"{$ref: \"#/components/schemas/Last\", type: string}", `{"$ref":"#/$defs/Last"}`},
		"a property called like one":  {"{type: object, properties: {nullable: {type: boolean}, example: {type: string}}}", `{"type":"object","properties":{"nullable":{"type":"boolean"},"example":{"type":"string"}}}`},
		"readOnly":                    {"{type: object, required: [id, n], properties: {id: {type: string, readOnly: true}, n: {}}}", `{"type":"object","required":["n"],"properties":{"id":false,"n":{}}}`},
		"readOnly by a reference":     {"{type: object, properties: {id: {$ref: \"#/components/schemas/Id\"}}}\nId: {type: string, readOnly: true}", `{"type":"object","properties":{"id":false}}`},
		"readOnly beside a reference": {"{type: object, properties: {id: {$ref: \"#/components/schemas/Last\", readOnly: true}}}", `{"type":"object","properties":{"id":false}}`},
		"readOnly beside allOf of it": {"{type: object, properties: {id: {allOf: [{$ref: \"#/components/schemas/Id\"}]}}}\nId: {type: string, readOnly: true}", `{"type":"object","properties":{"id":false}}`},
		"readOnly, required apart":    {"{allOf: [{$ref: \"#/components/schemas/B\"}, {required: [id, n]}]}\nB: {properties: {id: {readOnly: true}}}", `{"allOf":[{"$ref":"#/$defs/B"},{"required":["n"]}]}`},
		"no other properties":         {"{type: object, additionalProperties: false}", `{"type":"object","additionalProperties":false}`},
		"other properties":            {"{type: object, additionalProperties: {type: string, nullable: true}}", `{"type":"object","additionalProperties":{"type":["string","null"]}}`},
		"numbers as they are written": {"{enum: [1, 2.50, 1e3, a, null, {b: [true]}]}", `{"enum":[1,2.50,1e3,"a",null,{"b":[true]}]}`},
	} {
		text := string(bodySchema(t, doc, "A: "+tt.written+"\n"))
		compiled(t, []byte(text))
		head := `{"$schema":"https://json-schema.org/draft/2020-12/schema","$ref":"#/$defs/A","$defs":{"A":`
		got, ok := strings.CutPrefix(text, head)
		if !ok || !strings.HasPrefix(got, tt.want+",") && got != tt.want+"}}" {
			t.Errorf("%s: got\n%s\nwant\n%s", name, text, tt.want)
		}
	}
}

// 3.1 is JSON Schema already.
func TestSchemas31(t *testing.T) {
	for name, tt := range map[string]struct{ written, want string }{
		"types":                     {"{type: [string, \"null\"], const: a}", `{"type":["string","null"],"const":"a"}`},
		"what stands beside a $ref": {"{$ref: \"#/components/schemas/Last\", type: string}", `{"$ref":"#/$defs/Last","type":"string"}`},
		"true and false":            {"{type: object, properties: {a: true, b: false}}", `{"type":"object","properties":{"a":true,"b":false}}`},
		"everything else":           {"{if: {type: string}, then: {minLength: 1}, else: {contains: {}, minContains: 2}, prefixItems: [{}], dependentSchemas: {a: {}}, dependentRequired: {a: [b]}, unevaluatedItems: false}", `{"if":{"type":"string"},"then":{"minLength":1},"else":{"contains":{},"minContains":2},"prefixItems":[{}],"dependentSchemas":{"a":{}},"dependentRequired":{"a":["b"]},"unevaluatedItems":false}`},
		"its own dialect":           {"{$schema: \"https://json-schema.org/draft/2020-12/schema\", type: string}", `{"type":"string"}`},
		"another dialect":           {"{$schema: \"http://json-schema.org/draft-07/schema#\", type: string}", `false`},
		"a name of its own":         {"{$id: \"https://x/a\", type: string}", `false`},
		"a dynamic reference":       {"{$dynamicRef: \"#a\"}", `false`},
		"a pointer into another":    {"{$ref: \"#/components/schemas/B/properties/a~1b\"}\nB: {properties: {a/b: {type: string}}}", `{"$ref":"#/$defs/~1components~1schemas~1B~1properties~1a~01b"}`},
		"readOnly":                  {"{type: object, required: [id], properties: {id: {readOnly: true}}}", `{"type":"object","required":[],"properties":{"id":false}}`},
	} {
		text := string(bodySchema(t, doc31, "A: "+tt.written+"\n"))
		compiled(t, []byte(text))
		_, got, _ := strings.Cut(text, `"$defs":{"`)
		if unescaped := strings.ReplaceAll(strings.ReplaceAll(got, "%2F", "/"), "%7E", "~"); !strings.HasPrefix(unescaped, `A":`+tt.want) && !strings.Contains(unescaped, `"A":`+tt.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, text, tt.want)
		}
	}
}

// What the schemas of whole documents let pass.
func TestSchemasJudge(t *testing.T) {
	pets := read(t, "petstore.yaml")
	pet, ok := pets.Operation("POST", "/v1/pets")
	if !ok {
		t.Fatal("no operation")
	}
	orders := read(t, "orders31.json")
	for _, tt := range []struct {
		name   string
		schema []byte
		pass   []string
		refuse []string
	}{
		{"a pet", pet.Body.Media[0].Schema,
			[]string{`{"name":"a"}`, `{"name":"a","nick":null,"weight":0.1}`, `{"name":"a","parents":[{"name":"b","home":{"bars":3}}]}`},
			[]string{`{}`, `{"name":"a","id":1}`, `{"name":"a","weight":0}`, `{"name":null}`, `{"name":"a","role":"admin"}`, `{"name":"a","parents":[{"name":"b","id":1}]}`, `{"name":"a","home":{}}`, `[]`}},
		{"an order", orders.Operations[0].Body.Media[0].Schema,
			[]string{`null`, `{}`, `{"state":"paid","total":1,"lines":["x","paid"],"x-a":1,"$ref":"a"}`},
			[]string{`{"state":"new"}`, `{"total":0}`, `{"lines":[1]}`, `{"lines":["x","new"]}`, `{"created":"2026-01-01T00:00:00Z"}`, `{"other":1}`}},
		{"a limit", pets.Operations[0].Parameters[0].Schema, []string{"1", "100"}, []string{"0", "101", "1.5", `"1"`}},
	} {
		schema := compiled(t, tt.schema)
		for _, value := range tt.pass {
			if !passes(t, schema, value) {
				t.Errorf("%s: %s is refused by\n%s", tt.name, value, tt.schema)
			}
		}
		for _, value := range tt.refuse {
			if passes(t, schema, value) {
				t.Errorf("%s: %s passes\n%s", tt.name, value, tt.schema)
			}
		}
	}
}

func TestSchemasHoldNoMoreThanTheyReferTo(t *testing.T) {
	pets := read(t, "petstore.yaml")
	var names []string
	for _, name := range []string{"Pet", "Home", "House", "Cage", "Unused"} {
		if bytes.Contains(pets.Operations[1].Body.Media[0].Schema, []byte(`"`+name+`":`)) {
			names = append(names, name)
		}
	}
	if diff := cmp.Diff([]string{"Pet", "Home", "House", "Cage"}, names); diff != "" {
		t.Error(diff)
	}
	for range 3 {
		if again := read(t, "petstore.yaml"); !bytes.Equal(again.Operations[1].Body.Media[0].Schema, pets.Operations[1].Body.Media[0].Schema) {
			t.Error("two readings gave different bytes")
		}
	}
}
