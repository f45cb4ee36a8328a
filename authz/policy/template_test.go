package policy_test

import (
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// What a template may be: any text with each variable at most once, and between two of them a byte that ends the first.
func TestParseTemplate(t *testing.T) {
	for text, why := range map[string]string{
		"":                           "",
		"plain":                      "",
		"{id}":                       "",
		"owner:order:{id}":           "",
		"{tenant}:{id}":              "",
		"{tenant}/{relation}/{id}":   "",
		"a{tenant}.{subject}-{id}zz": "",
		"{tenant}: {id}":             "",
		"{tenant}:x{id}":             "",
		"{tenant}é{id}":              "",
		"{id}{tenant}":               "between two variables",
		"a{id}{tenant}":              "between two variables",
		"{id}:{tenant}{subject}":     "between two variables",
		"{id}x{tenant}":              "between two variables",
		"{id}X:{tenant}":             "between two variables",
		"{id}0{tenant}":              "between two variables",
		"{id}%{tenant}":              "between two variables",
		"{id}+{tenant}":              "between two variables",
		"{id}:{id}":                  "twice",
		"{ID}":                       "there is no {ID}",
		"{}":                         "there is no {}",
		"{ id}":                      "there is no { id}",
		"{id":                        "a { without its }",
		"id}":                        "a } without its {",
		"{id}}":                      "a } without its {",
		"{{id}}":                     "there is no {{id}",
		"{x{id}":                     "there is no {x{id}",
	} {
		t.Run(text, func(t *testing.T) {
			parsed, got := policy.ParseTemplate(text)
			if (got == "") != (why == "") || !strings.Contains(got, why) {
				t.Fatalf("why %q, want %q", got, why)
			}
			if why == "" && (parsed.String() != text || parsed.Empty() != (text == "")) {
				t.Errorf("it is written %q", parsed.String())
			}
			if why != "" && !parsed.Empty() {
				t.Errorf("what is refused left %q", parsed.String())
			}
		})
	}
}

// What becomes of values: the last stands as it is, and one before it says where it ends.
func TestTemplateTexts(t *testing.T) {
	path := func(b []byte, value string) []byte { return append(b, url.PathEscape(value)...) }
	for name, c := range map[string]struct {
		template string
		encode   func([]byte, string) []byte
		values   policy.TemplateValues
		want     string
	}{
		"plain":                {"owner:order:{id}", nil, policy.TemplateValues{ID: "77"}, "owner:order:77"},
		"last as it is":        {"o:{tenant}:{id}", nil, policy.TemplateValues{Tenant: "a", ID: "b:c%"}, "o:a:b:c%"},
		"first ends":           {"o:{tenant}:{id}", nil, policy.TemplateValues{Tenant: "a:b", ID: "c"}, "o:a%3Ab:c"},
		"escapes are escaped":  {"o:{tenant}:{id}", nil, policy.TemplateValues{Tenant: "a%3Ab", ID: "c"}, "o:a%253Ab:c"},
		"other bytes are not":  {"o:{tenant}:{id}", nil, policy.TemplateValues{Tenant: "a/é\n", ID: "c"}, "o:a/é\n:c"},
		"its own byte only":    {"{tenant}/{subject}:{id}", nil, policy.TemplateValues{Tenant: "a/:", Subject: "b/:", ID: "c/:"}, "a%2F:/b/%3A:c/:"},
		"literal behind":       {"{id}:owner", nil, policy.TemplateValues{ID: "a:owner"}, "a:owner:owner"},
		"empty values":         {"o:{tenant}:{relation}:{id}", nil, policy.TemplateValues{ID: "1"}, "o:::1"},
		"no variables":         {"fixed", nil, policy.TemplateValues{ID: "1"}, "fixed"},
		"encoded":              {"https://h/{tenant}/{id}", path, policy.TemplateValues{Tenant: "a/b", ID: "c?d"}, "https://h/a%2Fb/c%3Fd"},
		"encoded, and it ends": {"https://h/{tenant}-{id}", path, policy.TemplateValues{Tenant: "a-b", ID: "c-d"}, "https://h/a%2Db-c-d"},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, why := policy.ParseTemplate(c.template)
			if why != "" {
				t.Fatal(why)
			}
			if got := string(parsed.Append([]byte("> "), &c.values, c.encode)); got != "> "+c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Different values give different texts, whatever the template: else one object's owner would be another's. Texts are drawn from what
// templates and encodings are made of, so that what can collide does.
func TestTemplateIsInjective(t *testing.T) {
	variables := []struct {
		name string
		v    policy.Variable
		of   func(*policy.TemplateValues) *string
	}{
		{"{id}", policy.VariableID, func(v *policy.TemplateValues) *string { return &v.ID }},
		{"{relation}", policy.VariableRelation, func(v *policy.TemplateValues) *string { return &v.Relation }},
		{"{tenant}", policy.VariableTenant, func(v *policy.TemplateValues) *string { return &v.Tenant }},
		{"{subject}", policy.VariableSubject, func(v *policy.TemplateValues) *string { return &v.Subject }},
	}
	encodings := map[string]func([]byte, string) []byte{
		"raw":   nil,
		"path":  func(b []byte, value string) []byte { return append(b, url.PathEscape(value)...) },
		"query": func(b []byte, value string) []byte { return append(b, url.QueryEscape(value)...) },
	}
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				end := rapid.SampledFrom([]string{":", "-", ".", "_", "~", "/", "+", " ", "|", "é", "%", "a", "3", ""}).Draw(t, "end")
				order := rapid.Permutation(variables).Draw(t, "order")[:rapid.IntRange(1, 4).Draw(t, "variables")]
				text := rapid.SampledFrom([]string{"", "a", end}).Draw(t, "before")
				for i, v := range order {
					if i > 0 {
						text += end + rapid.SampledFrom([]string{"", "", "a", end}).Draw(t, "more")
					}
					text += v.name
				}
				parsed, why := policy.ParseTemplate(text + rapid.SampledFrom([]string{"", "a", end}).Draw(t, "behind"))
				if why != "" {
					return // what is refused gives no text
				}
				piece := rapid.SampledFrom([]string{"", "a", end, "%" + strings.ToUpper(hex.EncodeToString([]byte(end))), "%", " "})
				var one, other policy.TemplateValues
				differ := false
				for _, v := range variables {
					for _, values := range []*policy.TemplateValues{&one, &other} {
						*v.of(values) = piece.Draw(t, "value") + piece.Draw(t, "value") + piece.Draw(t, "value")
					}
					differ = differ || *v.of(&one) != *v.of(&other) && parsed.Reads(v.v)
				}
				if i := rapid.IntRange(0, 3).Draw(t, "shifted"); i+1 < len(order) { // the pair that one careless text would stand for
					u, v, w := piece.Draw(t, "u"), piece.Draw(t, "v"), piece.Draw(t, "w")
					one, differ = other, end != ""
					*order[i].of(&one), *order[i+1].of(&one) = u+end+v, w
					*order[i].of(&other), *order[i+1].of(&other) = u, v+end+w
				}
				a, b := string(parsed.Append(nil, &one, encode)), string(parsed.Append(nil, &other, encode))
				if (a == b) == differ {
					t.Fatalf("template %q:\n%+v gives %q\n%+v gives %q", text, one, a, other, b)
				}
			})
		})
	}
}
