package openapi

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// parameterOf is the one parameter of a document with this in it.
func parameterOf(t *testing.T, written string) *Parameter {
	t.Helper()
	path := "/a"
	if strings.Contains(written, "in: path") {
		path = "/a/{color}"
	}
	d := mustRead(t, "spec.yaml", doc31(get(path, "parameters:\n  - {name: color, "+written+"}\n"), "Text: {type: string}\nWhole: {allOf: [{type: number}, {type: integer}]}\n"))
	return d.Operations[0].Parameters[0]
}

// The rows of the table "Style Examples" (OpenAPI 3.1.1, section 4.8.12.6) that are read, and what a request then has said.
func TestDecodeStyles(t *testing.T) {
	const text, list = "schema: {type: string}", "schema: {type: array, items: {type: string}}"
	for _, tt := range []struct {
		name, written string
		shape         Shape
		raw           []string
		want          string
	}{
		{"form, explode, empty", "in: query, " + text, Single, []string{""}, `""`},
		{"form, explode, string", "in: query, " + text, Single, []string{"blue"}, `"blue"`},
		{"form, explode, array", "in: query, " + list, Repeated, []string{"blue", "black", "brown"}, `["blue","black","brown"]`},
		{"form, array", "in: query, explode: false, " + list, Commas, []string{"blue,black,brown"}, `["blue","black","brown"]`},
		{"form, array, already in parts", "in: query, explode: false, " + list, Commas, []string{"blue", "black", "brown"}, `["blue","black","brown"]`},
		{"form, array, one", "in: query, explode: false, " + list, Commas, []string{"blue"}, `["blue"]`},
		{"form, array, an empty element", "in: query, explode: false, " + list, Commas, []string{"blue,"}, `["blue",""]`},
		{"form, explode: a comma is text", "in: query, " + list, Repeated, []string{"blue,black"}, `["blue,black"]`},
		{"form in a cookie, string", "in: cookie, " + text, Single, []string{"blue"}, `"blue"`},
		{"form in a cookie, array", "in: cookie, explode: false, " + list, Commas, []string{"blue,black"}, `["blue","black"]`},
		{"simple in a path, string", "in: path, required: true, " + text, Single, []string{"blue"}, `"blue"`},
		{"simple in a path, array", "in: path, required: true, " + list, Commas, []string{"blue,black,brown"}, `["blue","black","brown"]`},
		{"simple, explode, array", "in: path, required: true, explode: true, " + list, Commas, []string{"blue,black"}, `["blue","black"]`},
		{"simple in a header, string", "in: header, " + text, Single, []string{"blue"}, `"blue"`},
		{"simple in a header, string with a comma", "in: header, " + text, Single, []string{"de, en"}, `"de, en"`},
		{"simple in a header, array", "in: header, " + list, Commas, []string{"blue, black", "brown"}, `["blue","black","brown"]`},
	} {
		p := parameterOf(t, tt.written)
		got, err := p.Decode(tt.raw)
		if err != nil || string(got) != tt.want || p.Shape != tt.shape {
			t.Errorf("%s: %s %v as %d, want %s as %d", tt.name, got, err, p.Shape, tt.want, tt.shape)
		}
	}
}

func TestDecodeTypes(t *testing.T) {
	for _, tt := range []struct{ schema, text, want string }{
		// Whole numbers have one spelling.
		{"{type: integer}", "0", "0"}, {"{type: integer}", "-12", "-12"}, {"{type: integer}", "12345678901234567890", "12345678901234567890"},
		{"{type: integer}", "", "!"}, {"{type: integer}", "-", "!"}, {"{type: integer}", "-0", "!"}, {"{type: integer}", "+1", "!"}, {"{type: integer}", "01", "!"},
		{"{type: integer}", "1.0", "!"}, {"{type: integer}", "1e3", "!"}, {"{type: integer}", " 1", "!"}, {"{type: integer}", "0x1", "!"}, {"{type: integer}", "1_0", "!"},
		{"{type: integer}", "١", "!"}, {"{type: integer}", "true", "!"},
		// Numbers are decimals without an exponent.
		{"{type: number}", "1.50", "1.50"}, {"{type: number}", "-0.5", "-0.5"}, {"{type: number}", "7", "7"},
		{"{type: number}", ".5", "!"}, {"{type: number}", "5.", "!"}, {"{type: number}", "1e3", "!"}, {"{type: number}", "-0.0", "!"}, {"{type: number}", "1.5.2", "!"},
		{"{type: number}", "NaN", "!"}, {"{type: number}", "Infinity", "!"}, {"{type: number}", "00.5", "!"}, {"{type: number}", "1.-5", "!"},
		// Booleans are two words.
		{"{type: boolean}", "true", "true"}, {"{type: boolean}", "false", "false"},
		{"{type: boolean}", "True", "!"}, {"{type: boolean}", "1", "!"}, {"{type: boolean}", "", "!"}, {"{type: boolean}", "yes", "!"},
		// Text is text, whatever it looks like.
		{"{type: string}", "12", `"12"`}, {"{type: string}", "true", `"true"`}, {"{type: string}", `a"b\`, `"a\"b\\"`}, {"{}", "12", `"12"`}, {"{type: string}", "a\xff", "!"},
		// Where several are allowed, the narrowest.
		{"{type: [string, integer]}", "12", "12"}, {"{type: [string, integer]}", "012", `"012"`}, {"{type: [boolean, string, \"null\"]}", "null", `"null"`},
		{"{anyOf: [{type: integer}, {type: \"null\"}]}", "null", "!"}, {"{oneOf: [{type: boolean}, {type: number}]}", "2", "2"},
		// The type may stand elsewhere, or follow from the values.
		{"{$ref: \"#/components/schemas/Text\"}", "12", `"12"`}, {"{$ref: \"#/components/schemas/Whole\"}", "1.5", "!"}, {"{$ref: \"#/components/schemas/Whole\"}", "15", "15"},
		{"{enum: [1, 2]}", "2", "2"}, {"{enum: [\"1\"]}", "1", `"1"`}, {"{const: true}", "true", "true"},
	} {
		got, err := parameterOf(t, "in: query, schema: "+tt.schema).Decode([]string{tt.text})
		if err != nil {
			got = []byte("!")
		}
		if string(got) != tt.want {
			t.Errorf("%s of %q: %s %v, want %s", tt.schema, tt.text, got, err, tt.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const list = "schema: {type: array, items: {type: integer}}"
	for _, tt := range []struct {
		name, written string
		raw           []string
		want          error
	}{
		{"nothing", "in: query, schema: {type: string}", nil, ErrCount},
		{"twice", "in: query, schema: {type: string}", []string{"a", "a"}, ErrCount},
		{"an element of another type", "in: query, " + list, []string{"1", "b"}, ErrType},
		{"no element", "in: query, explode: false, " + list, []string{""}, ErrType},
		{"an empty element", "in: query, explode: false, " + list, []string{"1,,2"}, ErrType},
		{"white space in a list", "in: query, explode: false, " + list, []string{"1, 2"}, ErrList},
		{"a comma in a header that is a number", "in: header, schema: {type: integer}", []string{"1,2"}, ErrType},
		{"a style that is not read", "in: query, style: deepObject, schema: {type: object}", []string{"a"}, ErrUnreadable},
		{"an object", "in: query, schema: {type: object}", []string{"a"}, ErrUnreadable},
	} {
		if got, err := parameterOf(t, tt.written).Decode(tt.raw); got != nil || !errors.Is(err, tt.want) {
			t.Errorf("%s: %s %v, want %v", tt.name, got, err, tt.want)
		}
	}
	if got, err := new(Parameter).Decode([]string{"a"}); err == nil {
		t.Errorf("the zero parameter decodes: %s", got)
	}
}

// An empty text that the document allows is no value, and no schema is asked.
func TestDecodeAllowsEmpty(t *testing.T) {
	for written, none := range map[string]bool{
		"in: query, allowEmptyValue: true, schema: {type: integer}":                       true,
		"in: query, allowEmptyValue: true, schema: {type: array, items: {type: integer}}": true,
		"in: query, schema: {type: integer}":                                              false,
	} {
		if got, err := parameterOf(t, written).Decode([]string{""}); got != nil || (err == nil) != none {
			t.Errorf("%s: %q %v", written, got, err)
		}
	}
}

// The naive twin writes a list as RFC 6570 does, and Decode reads it back.
func TestDecodeReadsWhatIsWritten(t *testing.T) {
	repeated, commas := parameterOf(t, "in: query, schema: {type: array, items: {type: string}}"), parameterOf(t, "in: query, explode: false, schema: {type: array, items: {type: string}}")
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringMatching(`[a-z0-9.\-"\\é]{0,5}`), 1, 5).Draw(t, "values")
		want := "["
		var query []string
		for i, value := range values {
			if i > 0 {
				want += ","
			}
			want += string(appendQuoted(nil, value))
			query = append(query, "color="+url.QueryEscape(value))
		}
		want += "]"
		parsed, err := url.ParseQuery(strings.Join(query, "&"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := repeated.Decode(parsed["color"]); err != nil || string(got) != want {
			t.Fatalf("repeated: %s %v, want %s", got, err, want)
		}
		if got, err := commas.Decode([]string{strings.Join(values, ",")}); err != nil || string(got) != want {
			t.Fatalf("commas: %s %v, want %s", got, err, want)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	p := &Parameter{In: InQuery, Style: Form, Shape: Commas, types: isInteger}
	raw := []string{"12,34,56"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
}
