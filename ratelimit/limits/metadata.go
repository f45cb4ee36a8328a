package limits

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// metadata reads the free map that a descriptor's answers carry, in the types that a protobuf Struct has. A scalar that two YAML
// readers would take for two different values is refused here as anywhere.
func (r *reader) metadata(n *strictyaml.Node) map[string]any {
	if n == nil {
		return nil
	}
	m := r.OpenMap(n)
	out := make(map[string]any, len(m.Keys()))
	for _, key := range m.Keys() {
		out[key] = r.free(m.Get(key))
	}
	return out
}

// free reads a value of any kind.
func (r *reader) free(n *strictyaml.Node) any {
	switch n.Kind() {
	case strictyaml.Map:
		return r.metadata(n)
	case strictyaml.List:
		out := []any{}
		for _, item := range r.List(n) {
			out = append(out, r.free(item))
		}
		return out
	case strictyaml.Bool:
		return strings.EqualFold(strictyaml.SourceText(n), "true")
	case strictyaml.Int, strictyaml.Float:
		return r.number(n)
	case strictyaml.String:
		text, _ := r.Text(n)
		return text
	}
	return nil
}

// number reads a number that JSON has too: a Struct has no infinity, and 010 is eight to some readers.
func (r *reader) number(n *strictyaml.Node) any {
	text := strictyaml.SourceText(n)
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || !json.Valid([]byte(text)) {
		r.Errorf(n, "write it in plain decimal, or in quotes", "%s means different numbers to different YAML readers", text)
		return nil
	}
	return value
}
