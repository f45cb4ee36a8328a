package openapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// laughs are n schemas, each of which refers to the next several times over: a billion of them when written out.
func laughs(n int, keyword string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "A%d: {%s: [%s{$ref: \"#/components/schemas/A%d\"}]}\n", i, keyword, strings.Repeat(fmt.Sprintf("{$ref: \"#/components/schemas/A%d\"}, ", i+1), 9), i+1)
	}
	fmt.Fprintf(&b, "A%d: {type: string}\n", n)
	return b.String()
}

// Documents made to cost more than they are. Each ends, with what it is or with an error, and the tests of the package with it.
func TestHostileDocumentsEnd(t *testing.T) {
	parameter := "parameters:\n  - {name: p, in: query, schema: {$ref: \"#/components/schemas/A0\"}}\n"
	var many, wide strings.Builder
	for i := range MaxOperations + 1 {
		many.WriteString(fmt.Sprintf("/p%d: {get: {responses: {200: {description: ok}}}}\n", i))
	}
	for i := range 1000 {
		wide.WriteString(fmt.Sprintf("/p%d: {post: {requestBody: {content: {application/json: {schema: {type: object, title: \"%d\", properties: {a: {$ref: \"#/components/schemas/A\"}}}}}}, responses: {200: {description: ok}}}}\n", i, i))
	}
	// A chain of references to references is followed so far; one of schemas in schemas, which take a value apart, to its end.
	chain := ""
	for i := range maxHops + 2 {
		chain += fmt.Sprintf("C%d: {$ref: \"#/components/schemas/C%d\"}\n", i, i+1)
	}
	chain += fmt.Sprintf("C%d: {}\n", maxHops+2)
	long := ""
	for i := range 3000 {
		long += fmt.Sprintf("A%d: {type: object, properties: {a: {$ref: \"#/components/schemas/A%d\"}}}\n", i, i+1)
	}
	long += "A3000: {}\n"
	// Kin judges a schema again at each reference to it; so many to so large a one would take minutes.
	body := "  requestBodies:\n    B: {content: {application/json: {schema: {properties: {"
	for i := range 10_000 {
		body += fmt.Sprintf("p%d: {type: string}, ", i)
	}
	body += "q: {}}}}}}\n"
	var uses, items strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&uses, "/p%d: {post: {requestBody: {$ref: \"#/components/requestBodies/B\"}, responses: {200: {description: ok}}}}\n", i)
		fmt.Fprintf(&items, "/p%d: {$ref: \"#/paths/~1a\"}\n", i)
	}
	// JSON without line breaks: the place of a value is not counted from the start of the line each time.
	line := `{"openapi":"3.1.0","info":{"title":"t","version":"1"},"paths":{},"components":{"schemas":{"A":{"enum":[` + strings.Repeat(`"a",`, 300_000) + `0]}}}}`
	for _, tt := range []struct{ name, text, want string }{
		{"one line", line, ""},
		{"one large body of many operations", doc(uses.String(), "") + body, ""},
		{"one large path of many", doc("/a: {description: \""+strings.Repeat("x", 10_000)+"\", get: {responses: {200: {description: ok}}}}\n"+items.String(), ""), "when its path items are written out"},
		{"a path that holds all paths", doc31("/a: {$ref: \"#/paths\"}\n", ""), "invalid paths"},
		{"a path that holds all components", doc31("/a: {$ref: \"#/components\"}\n", "") + "  pathItems: {x: {$ref: \"#/components\"}}\n", "invalid paths"},
		{"a scheme that holds all", doc31(get("/a", ""), "") + "  securitySchemes: {x: {$ref: \"#/components\"}}\n", "invalid components"},
		{"laughs by allOf", doc(get("/a", parameter), laughs(60, "allOf")), ""},
		{"laughs by anyOf", doc(get("/a", parameter), laughs(60, "anyOf")), ""},
		{"laughs that end where they began", doc(get("/a", parameter), strings.Replace(laughs(60, "anyOf"), "A60: {type: string}", "A60: {anyOf: [{$ref: \"#/components/schemas/A0\"}]}", 1)), ""},
		{"a long way", doc(get("/a", parameter), long), ""},
		{"a long chain", doc("", chain), "a reference that leads in a circle, or over more than"},
		{"deep YAML", doc("", "A: "+strings.Repeat("{not: ", 200)+"{}"+strings.Repeat("}", 200)+"\n"), "nested more than 64 deep"},
		{"deep JSON", `{"openapi": ` + strings.Repeat("[", 100_000), "nested more than 64 deep"},
		{"too large", "openapi: 3.0.3\n# " + strings.Repeat("x", MaxBytes), "larger than 4194304 bytes"},
		{"too many operations", doc(many.String(), ""), "more than 5000 operations"},
		{"one large schema in many bodies", doc(wide.String(), "A: {enum: ["+strings.Repeat("aaaaaaaaaaaaaaaaaaa, ", 10_000)+"a]}\n"), "the schemas, each with all that it refers to, are larger than 67108864 bytes together"},
	} {
		d, errs := Read("spec.yaml", []byte(tt.text))
		switch {
		case tt.want == "" && len(errs) > 0:
			t.Errorf("%s: %.500s", tt.name, errs.Error())
		case tt.want != "" && (d != nil || !strings.Contains(errs.Error(), tt.want)):
			t.Errorf("%s: %.500s, want %s", tt.name, errs.Error(), tt.want)
		}
	}
}

// Whatever the text: a document or errors, each with a place; schemas that are JSON; patterns that find their operation.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(doc(get("/a/{p}", "parameters:\n  - {name: p, in: path, required: true, schema: {$ref: \"#/components/schemas/A0\"}}\n"), laughs(3, "anyOf"))))
	f.Add([]byte(doc31(get("/a", "security: [{}, {k: [a]}]\n"), "A: {$ref: \"#/components/schemas/A/not\", not: {}}\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, errs := Read("spec.yaml", data)
		if (d == nil) == (len(errs) == 0) {
			t.Fatal("neither a document nor errors, or both")
		}
		for _, e := range errs {
			if e.Pos.Line < 1 || e.Pos.Column < 1 || e.Msg == "" {
				t.Fatalf("an error without a place: %#v", e)
			}
		}
		if d == nil {
			return
		}
		for _, op := range d.Operations {
			for _, p := range op.Parameters {
				if p.Schema != nil && !valid(p.Schema) {
					t.Fatalf("no JSON: %s", p.Schema)
				}
				if b, err := p.Decode([]string{string(data[:min(len(data), 9)])}); err == nil && b != nil && !valid(b) {
					t.Fatalf("no JSON: %s", b)
				}
			}
			for _, m := range op.media() {
				if !valid(m.Schema) {
					t.Fatalf("no JSON: %s", m.Schema)
				}
			}
			if _, path, ok := strings.Cut(op.Pattern.String(), " "); ok {
				if _, found := d.Operation(op.Method, path); !found {
					t.Fatalf("%s is not found", op.Pattern)
				}
			}
		}
	})
}
