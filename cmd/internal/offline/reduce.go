package offline

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// bodyLimits are far beyond what a gate that has read the body admits.
var bodyLimits = strictjson.Limits{Bytes: body.MaxBytes, Depth: 64, Members: 1000, Elements: 10_000}

// place of a JSON document that a rule reads: a tree of names, each with what is below it.
type jsonPlace struct {
	members map[string]*jsonPlace
	each    *jsonPlace // the elements of a list
}

// reduceJSON leaves of a document what some references read; false if it cannot be read.
func reduceJSON(data []byte, refs []policy.Reference) (any, bool) {
	root, err := strictjson.Parse(data, bodyLimits)
	if err != nil {
		return nil, false
	}
	tree := &jsonPlace{}
	for _, ref := range refs {
		tree.add(ref.Name)
	}
	return tree.of(root), true
}

// add puts a path into the tree: names joined by dots, each with any number of [*] behind it.
func (p *jsonPlace) add(path string) {
	at := p
	for name := range strings.SplitSeq(path, ".") {
		lists := strings.Count(name, "[*]")
		name = strings.ReplaceAll(name, "[*]", "")
		if at.members == nil {
			at.members = map[string]*jsonPlace{}
		}
		if at.members[name] == nil {
			at.members[name] = &jsonPlace{}
		}
		at = at.members[name]
		for range lists {
			if at.each == nil {
				at.each = &jsonPlace{}
			}
			at = at.each
		}
	}
}

// of is the value without what the tree does not name. A value of another kind than the tree names is kept if it is a scalar.
func (p *jsonPlace) of(value strictjson.Value) any {
	switch value.Kind() {
	case strictjson.Object:
		kept := map[string]any{}
		for _, member := range value.Members() {
			if below := p.members[member.Name]; below != nil {
				kept[member.Name] = below.of(member.Value)
			}
		}
		return kept
	case strictjson.Array:
		kept := []any{}
		for _, element := range value.Elements() {
			if p.each != nil {
				kept = append(kept, p.each.of(element))
			}
		}
		return kept
	case strictjson.String:
		text, _ := value.Text()
		return text
	case strictjson.Number:
		number, _ := value.Number()
		return json.Number(number)
	case strictjson.Bool:
		yes, _ := value.Bool()
		return yes
	}
	return nil
}

// reduceForm leaves of a form the fields that some references read, byte for byte.
func reduceForm(form string, refs []policy.Reference) string {
	var kept []string
	for pair := range strings.SplitSeq(form, "&") {
		encoded, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(encoded)
		if err != nil {
			continue
		}
		for _, ref := range refs {
			if ref.Name == name {
				kept = append(kept, pair)
				break
			}
		}
	}
	return strings.Join(kept, "&")
}
