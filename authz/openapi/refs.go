package openapi

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// namesUnder are the keys whose maps have names of the author's own for keys: `example` below one of them is a property, not an example.
var namesUnder = set("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependentRequired", "schemas", "responses",
	"parameters", "headers", "requestBodies", "securitySchemes", "links", "callbacks", "pathItems", "paths", "webhooks", "content", "encoding",
	"variables", "scopes", "mapping", "security")

// dataUnder are the keys whose values are data: nothing in them refers to anything.
var dataUnder = set("example", "examples", "default", "enum", "const", "mapping", "value")

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, word := range words {
		m[word] = true
	}
	return m
}

// isNote says that a key of an OpenAPI object is for people or for other tools, so that whatever stands under it means nothing here.
func isNote(key string) bool {
	return key == "example" || key == "examples" || strings.HasPrefix(key, "x-")
}

// maxHops bounds a chain of references to references.
const maxHops = 32

// references walks the document and checks each reference.
type references struct {
	r    *report
	root *node
}

// checkReferences refuses whatever leads out of the document, to nothing, or in a circle of nothing but references.
func checkReferences(r *report, root *node) {
	(&references{r, root}).walk(root, false)
}

// walk visits a node; names says that it is a map whose keys are names.
func (c *references) walk(n *node, names bool) {
	if n == nil {
		return
	}
	if n.kind == strictyaml.List {
		for _, item := range n.items {
			c.walk(item, names)
		}
		return
	}
	for i, key := range n.keys {
		child := n.items[i]
		switch {
		case !names && key == "$ref" && child.kind == strictyaml.String:
			c.check(child)
		case !names && (dataUnder[key] || isNote(key)):
		default:
			c.walk(child, !names && namesUnder[key] && (child.kind == strictyaml.Map || key == "security"))
		}
	}
}

func (c *references) check(ref *node) {
	switch target, ok := resolve(c.root, ref.text); {
	case !strings.HasPrefix(ref.text, "#"):
		c.r.add(ref.pos, "bundle the document into one file first, then read that", "a reference to another document: %s; nothing is fetched", clip(ref.text))
	case !strings.HasPrefix(ref.text, "#/"):
		c.r.add(ref.pos, "write #/components/schemas/NAME", "a reference by anchor: %s", clip(ref.text))
	case !ok:
		c.r.add(ref.pos, "", "a reference to what is not there: %s", clip(ref.text))
	default:
		for hops := 0; ; hops++ {
			next := target.get("$ref")
			if !next.is(strictyaml.String) {
				return
			}
			if hops == maxHops {
				c.r.add(ref.pos, "", "a reference that leads in a circle, or over more than %d others: %s", maxHops, clip(ref.text))
				return
			}
			if target, ok = resolve(c.root, next.text); !ok {
				return // reported where it stands
			}
		}
	}
}

// resolve follows a local reference, "#" and a JSON Pointer (RFC 6901 section 6).
func resolve(root *node, ref string) (*node, bool) {
	fragment, ok := strings.CutPrefix(ref, "#")
	if !ok {
		return nil, false
	}
	text, err := url.PathUnescape(fragment)
	if err != nil || text != "" && text[0] != '/' {
		return nil, false
	}
	n := root
	if text == "" {
		return n, true
	}
	for token := range strings.SplitSeq(text[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		switch {
		case n.is(strictyaml.Map):
			n = n.get(token)
		case n.is(strictyaml.List):
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(n.items) || strconv.Itoa(i) != token {
				return nil, false
			}
			n = n.items[i]
		default:
			return nil, false
		}
		if n == nil {
			return nil, false
		}
	}
	return n, true
}

// deref is what a node says where it may be a reference. The document's references were checked, so the chain ends.
func deref(root, n *node) *node {
	for range maxHops + 1 {
		ref := n.get("$ref")
		if !ref.is(strictyaml.String) {
			return n
		}
		target, ok := resolve(root, ref.text)
		if !ok {
			return nil
		}
		n = target
	}
	return nil
}

// pointer escapes a name for a JSON Pointer.
func pointer(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
