package schema_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

func value(t testing.TB, text string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(text), strictjson.Limits{})
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func compile(t testing.TB, text string, opt schema.Options) *schema.Schema {
	t.Helper()
	s, err := schema.Compile(value(t, text), opt)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

const order = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://shop.example/order.json", "title": "An order", "x-owner": "shop",
  "type": "object", "required": ["id", "lines"],
  "properties": {
    "id": {"type": "string", "format": "uuid"},
    "note": {"type": "string", "maxLength": 5},
    "total": {"type": "number", "minimum": 0, "multipleOf": 0.01},
    "lines": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"$ref": "#/$defs/line"}},
    "pay": {"oneOf": [{"properties": {"card": {"type": "string"}}, "required": ["card"]}, {"properties": {"iban": {"type": "string"}}, "required": ["iban"]}]}
  },
  "patternProperties": {"^meta_": {"type": "string"}},
  "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string", "pattern": "^[a-z]+$"}, "n~/": {"type": "integer"}}, "required": ["sku"]}}
}`

const id = `"id":"00000000-0000-4000-8000-00000000000a"`

// Where a document fails, and by which keyword; "" passes. Behind a space stands what is said beyond: * where the client chose a name.
func TestCheck(t *testing.T) {
	open, strict := compile(t, order, schema.Options{}), compile(t, order, schema.Options{Strict: true})
	for name, c := range map[string]struct{ document, open, strict string }{
		"good":                       {`{` + id + `,"lines":[{"sku":"a","n~/":1}],"total":0.30,"meta_a":"b","pay":{"iban":"x"}}`, "", ""},
		"no object":                  {`[]`, " type", " type"},
		"a member is missing":        {`{` + id + `}`, "/lines required", "/lines required"},
		"two are missing":            {`{}`, "/id required", "/id required"},
		"another form":               {`{"id":"7","lines":[{"sku":"a"}]}`, "/id format", "/id format"},
		"another type":               {`{` + id + `,"lines":{}}`, "/lines type", "/lines type"},
		"too few":                    {`{` + id + `,"lines":[]}`, "/lines minItems", "/lines minItems"},
		"twice":                      {`{` + id + `,"lines":[{"sku":"a"},{"sku":"a"}]}`, "/lines uniqueItems", "/lines uniqueItems"},
		"in an element":              {`{` + id + `,"lines":[{"sku":"a"},{"sku":"A"}]}`, "/lines/1/sku pattern", "/lines/1/sku pattern"},
		"under an odd name":          {`{` + id + `,"lines":[{"sku":"a","n~/":"x"}]}`, "/lines/0/n~0~1 type", "/lines/0/n~0~1 type"},
		"a negative":                 {`{` + id + `,"lines":[{"sku":"a"}],"total":-1}`, "/total minimum", "/total minimum"},
		"exact fractions":            {`{` + id + `,"lines":[{"sku":"a"}],"total":0.305}`, "/total multipleOf", "/total multipleOf"},
		"neither way to pay":         {`{` + id + `,"lines":[{"sku":"a"}],"pay":{}}`, "/pay oneOf", "/pay oneOf"},
		"both":                       {`{` + id + `,"lines":[{"sku":"a"}],"pay":{"card":"a","iban":"b"}}`, "/pay oneOf", "/pay oneOf"},
		"a member nobody knows":      {`{` + id + `,"lines":[{"sku":"a"}],"role":"admin"}`, "", "/role unevaluatedProperties *"},
		"one in an element":          {`{` + id + `,"lines":[{"sku":"a","free":true}]}`, "", "/lines/0/free unevaluatedProperties *"},
		"one beside a choice":        {`{` + id + `,"lines":[{"sku":"a"}],"pay":{"iban":"b","free":true}}`, "", "/pay/free unevaluatedProperties *"},
		"a pattern's other type":     {`{` + id + `,"lines":[{"sku":"a"}],"meta_x":1}`, "/meta_x type *", "/meta_x type *"},
		"a number of a billion":      {`{` + id + `,"lines":[{"sku":"a"}],"total":1e1000000000}`, "/total number", "/total number"},
		"a tiny number":              {`{` + id + `,"lines":[{"sku":"a"}],"x":{"y":[1,1e-400]}}`, "/x/y/1 number *", "/x/y/1 number *"},
		"a number of many digits":    {`{` + id + `,"lines":[{"sku":"a"}],"total":1` + strings.Repeat("0", 64) + `}`, "/total number", "/total number"},
		"characters and not bytes":   {`{` + id + `,"lines":[{"sku":"a"}],"note":"ééééé"}`, "", ""},
		"one character more":         {`{` + id + `,"lines":[{"sku":"a"}],"note":"éééééé"}`, "/note maxLength", "/note maxLength"},
		"a null is no missing value": {`{` + id + `,"lines":[{"sku":"a"}],"note":null}`, "/note type", "/note type"},
	} {
		document := value(t, c.document)
		if got := told(open.Check(document)); got != c.open {
			t.Errorf("%s: %q, want %q", name, got, c.open)
		}
		if got := told(strict.Check(document)); got != c.strict {
			t.Errorf("%s, strict: %q, want %q", name, got, c.strict)
		}
	}
}

func told(v *schema.Violation) string {
	if v == nil {
		return ""
	}
	text := v.Pointer + " " + v.Keyword
	if !v.Named {
		text += " *"
	}
	return text
}

// Strict closes what a schema leaves open, through references and alternatives, and nothing that it opens itself.
func TestStrict(t *testing.T) {
	for name, c := range map[string]struct{ schema, document, want string }{
		"an object of which nothing is said": {`{"type":"object"}`, `{"a":1}`, "/a unevaluatedProperties *"},
		"one that is open by its own word":   {`{"type":"object","additionalProperties":true}`, `{"a":1}`, ""},
		"one that is open to a schema":       {`{"additionalProperties":{"properties":{"b":true}}}`, `{"a":{"b":1,"c":2}}`, "/a/c unevaluatedProperties *"},
		"parts that know of each other":      {`{"allOf":[{"properties":{"a":true}},{"properties":{"b":true}}]}`, `{"a":1,"b":2}`, ""},
		"parts, and one unknown":             {`{"allOf":[{"properties":{"a":true}},{"properties":{"b":true}}]}`, `{"a":1,"c":2}`, "/c unevaluatedProperties *"},
		"within a part":                      {`{"allOf":[{"properties":{"a":{"properties":{"b":true}}}}]}`, `{"a":{"c":1}}`, "/a/c unevaluatedProperties *"},
		"a reference":                        {`{"$ref":"#/$defs/a","$defs":{"a":{"properties":{"b":true}}}}`, `{"c":1}`, "/c unevaluatedProperties *"},
		"a reference and more":               {`{"$ref":"#/$defs/a","properties":{"d":true},"$defs":{"a":{"properties":{"b":true}}}}`, `{"b":1,"d":2}`, ""},
		"a schema that refers to itself":     {`{"properties":{"next":{"$ref":"#"}}}`, `{"next":{"next":{"last":1}}}`, "/next/next/last unevaluatedProperties *"},
		"a question is not another one":      {`{"properties":{"a":{"additionalProperties":true}},"not":{"properties":{"a":{"properties":{"b":{"const":1}},"required":["b"]}},"required":["a"]}}`, `{"a":{"b":1,"c":2}}`, " not"},
		"an if":                              {`{"properties":{"a":true},"if":{"properties":{"a":{"const":1}}},"then":{"properties":{"b":true}}}`, `{"a":1,"b":2}`, ""},
		"an if that is not so":               {`{"properties":{"a":true},"if":{"properties":{"a":{"const":1}}},"then":{"properties":{"b":true}}}`, `{"a":2,"b":2}`, "/b unevaluatedProperties"},
		"a list of which nothing is said":    {`{"properties":{"a":{"type":"array"}}}`, `{"a":[{"role":"admin"}]}`, "/a/0 unevaluatedItems"},
		"elements behind the first":          {`{"properties":{"c":{"prefixItems":[{"type":"string"}]}}}`, `{"c":["x",{"role":"admin"}]}`, "/c/1 unevaluatedItems"},
		"a member of which nothing is said":  {`{"properties":{"b":true}}`, `{"b":{"role":"admin"}}`, "/b/role unevaluatedProperties *"},
		"a list that is open by its word":    {`{"properties":{"a":{"items":{"type":"string"}}}}`, `{"a":["x"]}`, ""},
		"elements":                           {`{"prefixItems":[{"properties":{"a":true}}],"items":{"properties":{"b":true}}}`, `[{"a":1},{"a":1}]`, "/1/a unevaluatedProperties"},
	} {
		if got := told(compile(t, c.schema, schema.Options{Strict: true}).Check(value(t, c.document))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// What the engine would ignore, fetch or read in its own way does not load.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		schema string
		strict bool
		want   string
	}{
		"no schema":                     {`7`, false, "a schema is an object, true or false"},
		"another dialect":               {`{"$schema":"http://json-schema.org/draft-04/schema#"}`, false, "/$schema: this dialect is not read"},
		"a keyword with a mistake":      {`{"properties":{"a":{"maxlength":3}}}`, false, "/properties/a/maxlength: `maxlength` is no keyword that is obeyed here, and would be ignored: did you mean `maxLength`?"},
		"a keyword of another dialect":  {`{"$schema":"http://json-schema.org/draft-07/schema#","dependentRequired":{}}`, false, "/dependentRequired: `dependentRequired` means nothing in this dialect"},
		"a list of items":               {`{"items":[true]}`, false, "/items: a list of schemas is written `prefixItems`"},
		"a format nobody asserts":       {`{"items":{"format":"credit-card"}}`, false, "/items/format: `credit-card` is no format that is asserted here"},
		"a file":                        {`{"$ref":"other.json"}`, false, "/$ref: a schema refers only to itself"},
		"the network":                   {`{"$ref":"https://example.com/a"}`, false, "/$ref: a schema refers only to itself"},
		"nothing there":                 {`{"$ref":"#/$defs/none"}`, false, "/$defs/none"},
		"a base of its own":             {`{"properties":{"a":{"$id":"https://example.com/a"}}}`, false, "`$id` is no keyword"},
		"an expression of Perl's":       {`{"pattern":"(?=a)"}`, false, "/pattern: the expression is not RE2's"},
		"a name by Perl":                {`{"patternProperties":{"(?=a)":true}}`, false, "/patternProperties/(?=a): the expression is not RE2's"},
		"a type that is none":           {`{"properties":{"a":{"type":"strin"}}}`, false, "/properties/a/type"},
		"a bound that is none":          {`{"minLength":-1}`, false, "/minLength"},
		"properties that are a list":    {`{"properties":[]}`, false, "/properties: `properties` holds something else than schemas"},
		"a schema that is none":         {`{"properties":{"a":7}}`, false, "/properties/a: a schema is an object"},
		"strict and an old dialect":     {`{"$schema":"http://json-schema.org/draft-07/schema"}`, true, "/$schema: draft-07 cannot say"},
		"strict and a question by name": {`{"not":{"$ref":"#/$defs/a"},"$defs":{"a":{}}}`, true, "/not/$ref: what is referred to is closed by `strict`"},
	} {
		s, err := schema.Compile(value(t, c.schema), schema.Options{Strict: c.strict})
		if s != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Draft-07 is obeyed as it was.
func TestDraft07(t *testing.T) {
	s := compile(t, `{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"integer"}],"additionalItems":false,
		"dependencies":{"a":["b"],"c":{"required":["d"]}},"definitions":{"x":true}}`, schema.Options{})
	for document, want := range map[string]string{
		`[1]`: "", `["1"]`: "/0 type", `[1,2]`: " additionalItems", `{"a":1}`: "/b dependencies *", `{"c":1}`: "/d required",
	} {
		if got := told(s.Check(value(t, document))); got != want {
			t.Errorf("%s: %q, want %q", document, got, want)
		}
	}
}

// Where each alternative looks at the same members, work doubles with each level of a document. It ends when the document's size no longer
// justifies it; a large document that is what it should be passes.
func TestWorkIsBounded(t *testing.T) {
	for _, dialect := range []string{"https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"} {
		filter := compile(t, `{"$schema":"`+dialect+`","$ref":"#/definitions/f","definitions":{
			"f":{"oneOf":[{"$ref":"#/definitions/and"},{"$ref":"#/definitions/or"},{"$ref":"#/definitions/eq"}]},
			"and":{"type":"object","properties":{"op":{"enum":["and"]},"left":{"$ref":"#/definitions/f"},"right":{"$ref":"#/definitions/f"}},"required":["op","left","right"]},
			"or":{"type":"object","properties":{"op":{"enum":["or"]},"left":{"$ref":"#/definitions/f"},"right":{"$ref":"#/definitions/f"}},"required":["op","left","right"]},
			"eq":{"type":"object","properties":{"op":{"enum":["eq"]},"v":{"type":"string"}},"required":["op","v"]}}}`, schema.Options{})
		tree := func(depth int) string {
			const leaf = `{"op":"eq","v":"x"}`
			return strings.Repeat(`{"op":"or","right":`+leaf+`,"left":`, depth) + leaf + strings.Repeat("}", depth)
		}
		if got := told(filter.Check(value(t, tree(3)))); got != "" {
			t.Errorf("%s: a small tree: %s", dialect, got)
		}
		if got := told(filter.Check(value(t, tree(28)))); got != " steps" {
			t.Errorf("%s: a deep tree: %q", dialect, got)
		}
	}
	var elements []string
	for range 900 {
		elements = append(elements, `{"sku":"a","n~/":1}`)
	}
	large := compile(t, `{"type":"array","items":{"type":"object","properties":{"sku":{"type":"string","minLength":1},"n~/":{"type":"integer"}},"required":["sku"]}}`, schema.Options{Strict: true})
	if got := told(large.Check(value(t, "["+strings.Join(elements, ",")+"]"))); got != "" {
		t.Errorf("a large list: %s", got)
	}
}

// A document of very many values is not looked at: the engine would gather what is wrong with each.
func TestValuesAreBounded(t *testing.T) {
	list := strictjson.MakeArray(slices.Repeat([]strictjson.Value{strictjson.MakeBool(true)}, 100_001))
	if got := told(compile(t, `{"items":{"type":"string"}}`, schema.Options{}).Check(list)); got != " values" {
		t.Error(got)
	}
}

// Documents that come at once are judged apart.
// `format: regex` asks whether a text is an expression, and never compiles what a client sends.
func TestExpressionsOfClientsAreBounded(t *testing.T) {
	s := compile(t, `{"type": "array", "items": {"format": "regex"}}`, schema.Options{})
	for name, c := range map[string]struct {
		expression string
		times      int
		want       string
	}{
		"good":                             {`^[a-z]+(?i:x|y{2,4})(?P<n>\pL)$`, 50, ""},
		"none":                             {`(`, 1, "/0 format"},
		"of another dialect":               {`(?=a)`, 1, "/0 format"},
		"as long as may be":                {strings.Repeat("a", 1<<10), 16, ""},
		"longer":                           {strings.Repeat("a", 1<<10+1), 1, "/0 format"},
		"too much of them":                 {strings.Repeat("a", 1<<10), 17, " steps"},
		"repeated repetition":              {`((a{100}){100}){100}`, 1, "/0 format"},
		"deep":                             {strings.Repeat("(", 511) + strings.Repeat(")", 511), 16, ""},
		"deep and repeated":                {strings.Repeat("(", 340) + strings.Repeat(")*", 340), 16, ""},
		"all letters in one class":         {`[` + strings.Repeat(`\pL`, 9) + `]`, 1, "/0 format"},
		"and their negation":               {strings.Repeat(`\PL`, 9), 1, "/0 format"},
		"wide ranges that are not folded":  {`(?i)` + strings.Repeat(`[B-\x{1e900}]`, 63), 16, ""},
		"another flag with it":             {`(?si-m:` + strings.Repeat(`[B-\x{1e900}]`, 60) + `)`, 16, ""},
		"many with wide ranges":            {`(?i)` + strings.Repeat(`[B-\x{1e900}]`, 63), 50, " steps"},
		"letters that only look like some": {`a(?ix`, 1, "/0 format"},
	} {
		text := strings.NewReplacer(`\`, `\\`).Replace(c.expression)
		document := `[` + strings.TrimSuffix(strings.Repeat(`"`+text+`",`, c.times), ",") + `]`
		if got := told(s.Check(value(t, document))); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Digits are an index in an array alone: the member of an object that is called so keeps its name, and is a client's unless the schema knows it.
func TestDigitsAreNames(t *testing.T) {
	s := compile(t, `{"properties": {"0": {"type": "string"}, "list": {"items": {"type": "string"}}}, "additionalProperties": {"type": "string"}}`, schema.Options{})
	for document, want := range map[string]string{
		`{"0": 1}`: "/0 type", `{"7": 1}`: "/7 type *", `{"list": ["a", 1]}`: "/list/1 type", `{"7": 1e999}`: "/7 number *", `{"list": [1e999]}`: "/list/0 number",
	} {
		if got := told(s.Check(value(t, document))); got != want {
			t.Errorf("%s: %q, want %q", document, got, want)
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	s := compile(b, `{"type": "array", "items": {"format": "regex"}}`, schema.Options{})
	one := `(?i)` + strings.Repeat(`[B-\\x{1e900}]`, 50) + `[` + strings.Repeat(`\\pL`, 8) + `]`
	v := value(b, `["`+one+`"]`)
	b.ReportAllocs()
	for b.Loop() {
		if s.Check(v) != nil {
			b.Fatal("refused")
		}
	}
}

func TestConcurrentChecks(t *testing.T) {
	s := compile(t, order, schema.Options{})
	var checks sync.WaitGroup
	for range 32 {
		checks.Go(func() {
			for range 20 {
				if got := told(s.Check(value(t, `{}`))); got != "/id required" {
					t.Error(got)
				}
			}
		})
	}
	checks.Wait()
}

// Nothing passes a schema that was not compiled.
func TestZeroSchema(t *testing.T) {
	var none *schema.Schema
	if told(none.Check(value(t, `{}`))) != " false *" || told((&schema.Schema{}).Check(value(t, `{}`))) != " false *" {
		t.Error("it passes")
	}
	if got := told(compile(t, "false", schema.Options{}).Check(value(t, `{}`))); got != " false" {
		t.Error(got)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add(order, `{"id":"x"}`, true)
	f.Add(`{"patternProperties":{"^a":{"$ref":"#"}}}`, `{"aa":{"ab":1e9}}`, true)
	f.Add(`{"items":[{"not":{}}],"$schema":"http://json-schema.org/draft-07/schema"}`, `[1]`, false)
	f.Fuzz(func(t *testing.T, text, document string, strict bool) {
		written, err := strictjson.Parse([]byte(text), strictjson.Limits{Bytes: 4096})
		if err != nil {
			return
		}
		s, err := schema.Compile(written, schema.Options{Strict: strict})
		v, parseErr := strictjson.Parse([]byte(document), strictjson.Limits{Bytes: 4096})
		if err != nil || parseErr != nil {
			return
		}
		if found := s.Check(v); found != nil && found.Keyword == "" {
			t.Errorf("no keyword: %+v", found)
		}
	})
}
