package limits

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// object is an object of a JSON Schema, as much of it as this test reads.
type object struct {
	Description string                     `json:"description"`
	Properties  map[string]json.RawMessage `json:"properties"`
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
	unknown := strings.Repeat("x", 20) // which is like no key
	levels := map[string]string{
		"":           unknown + ": 1\n",
		"descriptor": "descriptors: [{" + unknown + ": 1}]\n",
		"rate_limit": "descriptors: [{rate_limit: {" + unknown + ": 1}}]\n",
		"limit":      "descriptors: [{rate_limits: [{" + unknown + ": 1}]}]\n",
		"replaced":   "descriptors: [{rate_limit: {replaces: [{" + unknown + ": 1}]}}]\n",
	}
	for name, o := range objects {
		if o.Description == "" {
			t.Errorf("%q is not described", name)
		}
		if len(o.Properties) == 0 {
			continue
		}
		_, errs := Decode("l.yaml", []byte(levels[name]))
		i := slices.IndexFunc(errs, func(err *strictyaml.Error) bool { return strings.Contains(err.Msg, unknown) })
		if i < 0 {
			t.Errorf("%q: no unknown key was found: %v", name, errs)
			continue
		}
		want := strings.Split(strings.TrimPrefix(strings.TrimPrefix(errs[i].Hint, "one of: "), "did you mean "), ", ")
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
	for _, word := range failures {
		if !strings.Contains(Schema(), `"`+word+`"`) {
			t.Errorf("the schema does not offer %s", word)
		}
	}
	for u := Second; u <= Year; u++ {
		pattern := ""
		for _, c := range u.String() {
			pattern += "[" + string(c) + strings.ToUpper(string(c)) + "]"
		}
		if !strings.Contains(Schema(), pattern) {
			t.Errorf("the schema does not offer %s", u)
		}
	}
}
