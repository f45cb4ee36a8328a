package fields

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// operations are those of a JSON Patch (RFC 6902 section 4), with the members that each must have beside op and path.
var operations = map[string]string{"add": "value", "replace": "value", "test": "value", "remove": "", "move": "from", "copy": "from"}

// Patch judges a JSON Patch (RFC 6902). Each path, and each `from`, must be one whose whole subtree may be written: `test` and `copy` too,
// for they tell what stands there. The whole document ("") never is.
func (w *Writable) Patch(v strictjson.Value, who Writers) *Refusal {
	if v.Kind() != strictjson.Array {
		return &Refusal{Malformed: true, Named: true}
	}
	for _, operation := range v.Elements() {
		if r := w.operation(operation, who); r != nil {
			return r
		}
	}
	return nil
}

func (w *Writable) operation(v strictjson.Value, who Writers) *Refusal {
	member := func(name string) (string, bool) {
		value, _ := v.Member(name)
		return value.Text()
	}
	op, named := member("op")
	needs, known := operations[op]
	path, placed := member("path")
	if !named || !known || !placed {
		return &Refusal{Malformed: true, Named: true}
	}
	for _, m := range v.Members() {
		if m.Name != "op" && m.Name != "path" && m.Name != needs {
			return &Refusal{Malformed: true, Named: true} // RFC 6902 has others ignored, which not everybody does
		}
	}
	value, there := v.Member("value")
	from, moved := member("from")
	if needs == "value" && !there || needs == "from" && !moved {
		return &Refusal{Malformed: true, Named: true}
	}
	if r := w.place(path, who); r != nil {
		return r
	}
	if moved {
		return w.place(from, who)
	}
	g := walker{who: who}
	if there && !g.plain(value) {
		slices.Reverse(g.path)
		return &Refusal{Pointer: path + strictjson.Pointer(g.path)}
	}
	return nil
}

// place judges one JSON Pointer.
func (w *Writable) place(text string, who Writers) *Refusal {
	path, ok := parse(text)
	if !ok {
		return &Refusal{Malformed: true, Named: true}
	}
	at, covered := &w.root, false
	for i, name := range path {
		if odd(name) {
			return w.refuse(path[:i+1])
		}
		if covered {
			continue
		}
		if at.star&who != 0 {
			covered = true
			continue
		}
		switch {
		case at.children[name] != nil:
			at = at.children[name]
		case at.each != nil && (name == "-" || isIndex(name)):
			at = at.each
		default:
			return w.refuse(path)
		}
		covered = at.whole&who != 0
	}
	if !covered {
		return w.refuse(path)
	}
	return nil
}

// parse reads a JSON Pointer (RFC 6901).
func parse(text string) ([]string, bool) {
	if text == "" {
		return nil, true
	}
	if text[0] != '/' {
		return nil, false
	}
	path := strings.Split(text[1:], "/")
	for i, name := range path {
		for j := 0; j < len(name); j++ {
			if name[j] == '~' && (j+1 == len(name) || name[j+1] != '0' && name[j+1] != '1') {
				return nil, false
			}
		}
		path[i] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	return path, true
}

// isIndex reports whether a name is the index of an element as RFC 6901 section 4 writes it.
func isIndex(name string) bool {
	if name == "" || len(name) > 9 || name[0] == '0' && len(name) > 1 {
		return false
	}
	return strings.Trim(name, "0123456789") == ""
}
