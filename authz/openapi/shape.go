package openapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// dialects are the values of jsonSchemaDialect and $schema that mean JSON Schema 2020-12.
var dialects = set("https://spec.openapis.org/oas/3.1/dialect/base", "https://spec.openapis.org/oas/3.1/dialect/2024-11-10",
	"https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#")

func checkVersion(r *report, root *node) {
	version := root.get("openapi")
	switch {
	case version == nil && root.get("swagger") != nil:
		r.add(root.keyPos("swagger"), "convert it to OpenAPI 3, for example with https://converter.swagger.io", "this is Swagger 2.0")
		return
	case version == nil:
		r.add(root.pos, "an OpenAPI document begins with `openapi: 3.1.0`", "missing key \"openapi\"")
		return
	case version.kind != strictyaml.String:
		r.add(version.pos, `write it in quotes: "3.1.0"`, "the version is no text")
		return
	case !is30(root) && !is31(root):
		r.add(version.pos, "3.0.x and 3.1.x are read", "OpenAPI %s is not read", clip(version.text))
	}
	if release := root.get("info").get("version"); release != nil && release.kind != strictyaml.String {
		r.add(release.pos, "write it in quotes", "info.version is text, and this is %s", release.kind)
	}
	if dialect := root.get("jsonSchemaDialect"); dialect != nil && !dialects[dialect.str()] {
		r.add(dialect.pos, "leave it out, or convert the schemas to JSON Schema 2020-12", "the schemas are of another dialect: %s", clip(dialect.str()))
	}
}

func is30(root *node) bool { return strings.HasPrefix(root.get("openapi").str(), "3.0.") }
func is31(root *node) bool { return strings.HasPrefix(root.get("openapi").str(), "3.1.") }

// checkShape lets kin-openapi say whether the document is one: types of values, required keys, parameters of paths, names in use.
func checkShape(r *report, root *node) {
	text := plain{r: r, root: root}.value(nil, root, false, "")
	if r.failed() {
		return
	}
	for i, err := range kin(text) {
		if i == maxErrors {
			break
		}
		message := strings.TrimPrefix(err.Error(), "openapi3: ")
		if typed, _, ok := strings.Cut(message, ", yaml error:"); ok {
			_, message, _ = strings.Cut(typed, "json error: ")
		}
		r.add(locate(root, message), "", "%s", clipMessage(strings.TrimPrefix(message, "json: ")))
	}
}

func clipMessage(s string) string {
	const most = 400
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// kin loads and validates. What it would fetch or compile is switched off: references are checked by then, patterns and examples are not
// its business. A panic in it is a document we cannot read.
func kin(text []byte) (errs []error) {
	defer func() {
		if r := recover(); r != nil {
			errs = []error{errors.New("this document cannot be read as OpenAPI")}
		}
	}()
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = false
	loader.ReadFromURIFunc = func(_ *openapi3.Loader, u *url.URL) ([]byte, error) {
		return nil, fmt.Errorf("a reference to another document: %s", u)
	}
	doc, err := loader.LoadFromData(text)
	if err != nil {
		return []error{err}
	}
	err = doc.Validate(context.Background(), openapi3.EnableMultiError(), openapi3.DisableExamplesValidation(),
		openapi3.DisableSchemaDefaultsValidation(), openapi3.DisableSchemaPatternValidation())
	var several openapi3.MultiError
	if errors.As(err, &several) {
		return several
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// locate guesses the place that a message of kin's speaks about, by the path, the method or the component that it names; kin knows no lines.
func locate(root *node, message string) strictyaml.Pos {
	if what, into, ok := strings.Cut(message, " into field "); ok {
		_, kind, _ := strings.Cut(what, "cannot unmarshal ")
		field, _, _ := strings.Cut(into, " ")
		if n := misfit(root, field[strings.LastIndexByte(field, '.')+1:], kind, false); n != nil {
			return n.pos
		}
	}
	best, length := root.pos, 0
	paths := root.get("paths")
	if paths.is(strictyaml.Map) {
		for i, path := range paths.keys {
			if len(path) <= length || !names(message, path) {
				continue
			}
			best, length = paths.at[i], len(path)
			for _, method := range methods {
				if strings.Contains(message, strings.ToUpper(method)) && paths.items[i].get(method) != nil {
					best = paths.items[i].keyPos(method)
				}
			}
		}
	}
	components := root.get("components")
	if length > 0 || !components.is(strictyaml.Map) {
		return best
	}
	for _, kind := range components.items {
		for i, name := range kind.keys {
			if len(name) > length && strings.Contains(message, `"`+name+`"`) {
				best, length = kind.at[i], len(name)
			}
		}
	}
	return best
}

// misfit finds the first value of a key that is of the kind which kin could not take there.
func misfit(n *node, key, kind string, names bool) *node {
	for i, child := range n.items {
		if n.kind == strictyaml.List {
			if found := misfit(child, key, kind, names); found != nil {
				return found
			}
			continue
		}
		under := n.keys[i]
		if !names && under == key && isKind(child, kind) {
			return child
		}
		if found := misfit(child, key, kind, !names && namesUnder[under] && child.kind == strictyaml.Map); found != nil {
			return found
		}
	}
	return nil
}

// isKind says that a value is what encoding/json calls it.
func isKind(n *node, kind string) bool {
	switch n.kind {
	case strictyaml.Map:
		return kind == "object"
	case strictyaml.List:
		return kind == "array"
	case strictyaml.String:
		return kind == "string"
	case strictyaml.Bool:
		return kind == "bool"
	case strictyaml.Int, strictyaml.Float:
		return strings.HasPrefix(kind, "number")
	}
	return false
}

// names says that a path stands in a message as a word of its own.
func names(message, path string) bool {
	i := strings.Index(message, path)
	if i < 0 {
		return false
	}
	end := i + len(path)
	return end == len(message) || strings.IndexByte(` ":,;)`, message[end]) >= 0
}

// plain writes the document as JSON for kin, without notes and without references: kin validates what a reference leads to anew at each
// of them, which takes the square of the document's size. A component is validated once, where it stands; in place of a reference to it
// stands as little of its kind as kin needs.
type plain struct {
	r    *report
	root *node
	// inside says that what is written stands in place of a reference, in which no other of its kind belongs.
	inside bool
}

// maxPlain bounds what kin is given: path items are written out at each of their references.
const maxPlain = 2 * MaxBytes

// value writes a node; names says that it is a map whose keys are names, and under is the key that it, or that map, stands under.
func (p plain) value(b []byte, n *node, names bool, under string) []byte {
	if len(b) > maxPlain {
		p.r.add(p.root.pos, "write fewer references to path items", "the document is larger than %d bytes when its path items are written out", maxPlain)
		return b[:0]
	}
	switch n.kind {
	case strictyaml.Map:
		if !names && n.get("$ref").is(strictyaml.String) {
			return p.reference(b, n, under)
		}
		return p.object(b, n, names, under)
	case strictyaml.List:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = p.value(b, item, names, under)
		}
		return append(b, ']')
	}
	if n.wrong != "" {
		p.r.add(n.pos, "", "%s %s", clip(n.text), n.wrong)
		return b
	}
	return appendScalar(b, n)
}

// reference writes what stands in place of one. Beside a reference to a schema 3.1 says more.
func (p plain) reference(b []byte, n *node, under string) []byte {
	target := deref(p.root, n)
	switch under {
	case "parameters":
		stub := &node{kind: strictyaml.Map}
		for _, key := range []string{"name", "in", "required"} {
			if value := target.get(key); value != nil {
				stub.put(key, value.pos, value)
			}
		}
		stub.put("schema", n.pos, &node{kind: strictyaml.Map})
		return p.object(b, stub, false, under)
	case "paths", "pathItems", "securitySchemes":
		if p.inside {
			return append(b, "{}"...)
		}
		p.inside = true
		return p.object(b, target, false, under)
	case "requestBody", "requestBodies":
		return append(b, `{"content":{"application/json":{}}}`...)
	case "responses":
		return append(b, `{"description":"-"}`...)
	case "headers":
		return append(b, `{"schema":{}}`...)
	}
	if is30(p.root) {
		return append(b, "{}"...)
	}
	return p.object(b, n, false, under)
}

// unread are parts of a document that say nothing about the requests that the gate sees.
// kin knows no pathItems; each is written out where it is used.
var unread = set("links", "callbacks", "webhooks", "pathItems", "$ref")

func (p plain) object(b []byte, n *node, names bool, under string) []byte {
	b = append(b, '{')
	first := true
	for i, key := range n.names() {
		child := n.items[i]
		if !names && (isNote(key) || unread[key]) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendQuoted(b, key), ':')
		place := key
		if names {
			place = under
		}
		b = p.value(b, child, !names && namesUnder[key] && (child.kind == strictyaml.Map || key == "security"), place)
	}
	return append(b, '}')
}

// appendData writes a value as it is.
func appendData(b []byte, n *node) []byte {
	switch n.kind {
	case strictyaml.Map:
		b = append(b, '{')
		for i, key := range n.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendData(append(appendQuoted(b, key), ':'), n.items[i])
		}
		return append(b, '}')
	case strictyaml.List:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendData(b, item)
		}
		return append(b, ']')
	}
	return appendScalar(b, n)
}

func appendScalar(b []byte, n *node) []byte {
	if n.kind == strictyaml.String {
		return appendQuoted(b, n.text)
	}
	return append(b, n.text...)
}

// appendQuoted writes a JSON string. Text is UTF-8 by then; what is not would be replaced, never passed on.
func appendQuoted(b []byte, s string) []byte {
	out, err := jsontext.AppendQuote(b, s)
	if err != nil {
		return append(b, `""`...)
	}
	return out
}
