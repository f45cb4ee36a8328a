package openapi

import (
	"net/url"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// dialect is what every schema is written in.
const dialect = `"$schema":"https://json-schema.org/draft/2020-12/schema"`

// role says what stands under a keyword of a schema.
type role uint8

const (
	unknown  role = iota
	note          // nothing that a value is held to
	verbatim      // a value as it is
	schema        // a schema
	several       // a list of schemas
	byName        // a map of schemas
	special       // each its own
)

// keywords30 are those of an OpenAPI 3.0 Schema Object; kin refuses others.
var keywords30 = map[string]role{
	"title": note, "description": note, "default": note, "externalDocs": note, "xml": note, "discriminator": note, "deprecated": note,
	"writeOnly": note, "readOnly": note, "example": note,
	"format": verbatim, "multipleOf": verbatim, "enum": verbatim, "uniqueItems": verbatim,
	"minLength": verbatim, "maxLength": verbatim, "minItems": verbatim, "maxItems": verbatim, "minProperties": verbatim, "maxProperties": verbatim,
	"not": schema, "items": schema, "additionalProperties": schema,
	"allOf": several, "anyOf": several, "oneOf": several,
	"type": special, "nullable": special, "minimum": special, "maximum": special, "exclusiveMinimum": special, "exclusiveMaximum": special,
	"pattern": special, "required": special, "properties": special,
}

// keywords31 are what 3.1 has besides, or says otherwise.
var keywords31 = map[string]role{
	"$comment": note, "$defs": note, "definitions": note, "$anchor": note, "$dynamicAnchor": note, "examples": note, "contentMediaType": note,
	"contentEncoding": note, "contentSchema": note,
	"type": verbatim, "minimum": verbatim, "maximum": verbatim, "exclusiveMinimum": verbatim, "exclusiveMaximum": verbatim, "const": verbatim,
	"minContains": verbatim, "maxContains": verbatim, "dependentRequired": verbatim,
	"if": schema, "then": schema, "else": schema, "contains": schema, "propertyNames": schema, "unevaluatedItems": schema, "unevaluatedProperties": schema,
	"prefixItems": several, "dependentSchemas": byName, "patternProperties": byName, "nullable": unknown,
	"$ref": special, "$schema": note,
}

// schemas translates the schemas of one document.
type schemas struct {
	root        *node
	is31        bool
	unsupported func(at strictyaml.Pos, place, format string, args ...any)
	// defs are the schemas that others refer to.
	defs map[*node]*definition
	// done are the documents written so far; two places that share a schema share its bytes.
	done map[*node][]byte
	// open are the types that schemas leave open by themselves.
	open map[*node]types
	// lookups is how many properties may still be looked at for names of answers.
	lookups int
	// spent is the size of all documents written; beyond MaxSchemaBytes nothing is written any more.
	spent int
}

// definition is one schema under `$defs`.
type definition struct {
	name string
	at   *node
	body []byte
	refs []*definition
}

func newSchemas(root *node, unsupported func(strictyaml.Pos, string, string, ...any)) *schemas {
	return &schemas{root: root, is31: is31(root), unsupported: unsupported, defs: map[*node]*definition{}, done: map[*node][]byte{}, open: map[*node]types{}, lookups: maxLookups}
}

// document writes a schema with all that it refers to.
func (s *schemas) document(n *node, place string) []byte {
	if done, ok := s.done[n]; ok {
		return done
	}
	w := &schemaWriter{schemas: s, place: place}
	w.schema(n, nil)
	b := w.b
	if b[0] == '{' {
		b = []byte("{" + dialect)
		if inner := w.b[1 : len(w.b)-1]; len(inner) > 0 {
			b = append(append(b, ','), inner...)
		}
		b = append(append(b, s.definitions(w.refs, len(b))...), '}')
	}
	s.spent += len(b)
	s.done[n] = b
	return b
}

// definitions writes `$defs` with everything that can be reached from some, in the order of their names.
func (s *schemas) definitions(from []*definition, size int) []byte {
	var reached []*definition
	seen := map[*definition]bool{}
	queue := slices.Clone(from)
	for i := 0; i < len(queue); i++ {
		d := queue[i]
		if seen[d] {
			continue
		}
		seen[d] = true
		s.write(d)
		if size += len(d.name) + len(d.body); s.spent+size > MaxSchemaBytes {
			s.spent += size // the caller ends with an error
			return nil
		}
		reached = append(reached, d)
		queue = append(queue, d.refs...)
	}
	if len(reached) == 0 {
		return nil
	}
	slices.SortFunc(reached, func(a, b *definition) int { return strings.Compare(a.name, b.name) })
	b := []byte(`,"$defs":{`)
	for i, d := range reached {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(appendQuoted(b, d.name), ':'), d.body...)
	}
	return append(b, '}')
}

// write translates a definition, once.
func (s *schemas) write(d *definition) {
	if d.body != nil {
		return
	}
	place := "#" + d.name
	if !strings.HasPrefix(d.name, "/") {
		place = "#/components/schemas/" + d.name
	}
	w := &schemaWriter{schemas: s, place: place}
	w.schema(d.at, nil)
	d.body, d.refs = w.b, w.refs
}

// definition is the one that a reference leads to. A component goes by its name, anything else by its whole pointer, which begins with a
// slash and so is nobody's name.
func (s *schemas) definition(ref string) *definition {
	n, ok := resolve(s.root, ref)
	if !ok {
		return nil
	}
	if d := s.defs[n]; d != nil {
		return d
	}
	name, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil {
		return nil
	}
	if component, ok := strings.CutPrefix(name, "/components/schemas/"); ok && !strings.Contains(component, "/") {
		name = strings.ReplaceAll(strings.ReplaceAll(component, "~1", "/"), "~0", "~")
	}
	d := &definition{name: name, at: n}
	s.defs[n] = d
	return d
}

// schemaWriter writes one schema and collects what it refers to.
type schemaWriter struct {
	*schemas
	place string
	b     []byte
	refs  []*definition
	held  map[*definition]bool // of refs
}

// schema writes a schema. Names that an outer allOf says a request must not hold are not required by this part of it either.
func (w *schemaWriter) schema(n *node, outer []string) {
	switch {
	case n.is(strictyaml.Bool):
		w.b = appendScalar(w.b, n)
	case !n.is(strictyaml.Map), w.is31 && w.foreign(n):
		w.b = append(w.b, "false"...)
	case !w.is31 && n.get("$ref").is(strictyaml.String):
		// OpenAPI 3.0 looks at nothing beside a reference.
		w.b = append(w.b, '{')
		w.reference(n.get("$ref"))
		w.b = append(w.b, '}')
	case !w.is31 && n.get("nullable").truth() && n.get("type") == nil:
		// 3.0.3 lets `nullable` mean nothing without a `type`; whoever writes it beside allOf means that null is allowed.
		w.b = append(w.b, `{"anyOf":[`...)
		w.object(n, outer)
		w.b = append(w.b, `,{"type":"null"}]}`...)
	default:
		w.object(n, outer)
	}
}

func (w *schemaWriter) object(n *node, outer []string) {
	w.b = append(w.b, '{')
	readOnly := outer
	if n.get("properties") != nil || n.get("allOf") != nil || len(outer) > 0 {
		budget := readOnlyBudget
		readOnly = w.readOnlyNames(n, slices.Clone(outer), &budget)
	}
	for i, key := range n.keys {
		w.keyword(n, key, n.at[i], n.items[i], readOnly)
	}
	w.b = append(w.b, '}')
}

func (w *schemaWriter) role(key string) role {
	if w.is31 {
		if role, ok := keywords31[key]; ok {
			return role
		}
	}
	return keywords30[key]
}

func (w *schemaWriter) keyword(n *node, key string, at strictyaml.Pos, value *node, readOnly []string) {
	switch w.role(key) {
	case note:
	case verbatim:
		w.key(key)
		w.b = appendData(w.b, value)
	case schema:
		w.key(key)
		w.schema(value, nil)
	case several:
		if key != "allOf" {
			readOnly = nil
		}
		w.key(key)
		w.b = append(w.b, '[')
		for _, part := range value.list() {
			w.comma()
			w.schema(part, readOnly)
		}
		w.b = append(w.b, ']')
	case byName:
		w.byName(key, value)
	case special:
		w.special(n, key, value, readOnly)
	case unknown:
		if !strings.HasPrefix(key, "x-") {
			w.unsupported(at, w.place, "the keyword `%s` means nothing here and is left out", clip(key))
		}
	}
}

func (w *schemaWriter) byName(key string, value *node) {
	w.key(key)
	w.b = append(w.b, '{')
	for i, name := range value.names() {
		w.key(name)
		if key == "properties" && w.isReadOnly(value.items[i], maxHops) {
			// OpenAPI: it is only ever sent in answers, so a request that holds it says what nobody may say.
			w.b = append(w.b, "false"...)
			continue
		}
		w.schema(value.items[i], nil)
	}
	w.b = append(w.b, '}')
}

func (w *schemaWriter) special(n *node, key string, value *node, readOnly []string) {
	switch key {
	case "$ref":
		w.reference(value)
	case "properties":
		w.byName(key, value)
	case "required":
		w.required(value, readOnly)
	case "pattern":
		if _, err := syntax.Parse(value.str(), syntax.Perl); err != nil {
			w.unsupported(value.pos, w.place, "a pattern that RE2 cannot read: %s", clip(value.str()))
		}
		w.key(key)
		w.b = appendScalar(w.b, value)
	case "type":
		w.key(key)
		if n.get("nullable").truth() {
			w.b = append(append(append(w.b, '['), appendScalar(nil, value)...), `,"null"]`...)
			return
		}
		w.b = appendData(w.b, value)
	default:
		w.bound(n, key, value)
	}
}

// bound writes the bounds of 3.0, in which exclusiveMinimum and exclusiveMaximum are booleans beside the bound.
func (w *schemaWriter) bound(n *node, key string, value *node) {
	exclusive, ok := map[string]string{"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}[key]
	if !ok {
		return
	}
	if n.get(exclusive).truth() {
		key = exclusive
	}
	w.key(key)
	w.b = appendScalar(w.b, value)
}

// required leaves out what a request must not hold: "required" of such a property speaks of answers alone.
func (w *schemaWriter) required(value *node, readOnly []string) {
	w.key("required")
	w.b = append(w.b, '[')
	for _, name := range value.list() {
		if !slices.Contains(readOnly, name.str()) {
			w.comma()
			w.b = appendScalar(w.b, name)
		}
	}
	w.b = append(w.b, ']')
}

// foreign says that a schema means something that is not read, so that nothing may pass it.
func (w *schemaWriter) foreign(n *node) bool {
	if dialect := n.get("$schema"); dialect != nil && !dialects[dialect.str()] {
		w.unsupported(dialect.pos, w.place, "a schema of another dialect, %s: nothing passes it", clip(dialect.str()))
		return true
	}
	for _, key := range []string{"$id", "$dynamicRef"} {
		if n.get(key) != nil {
			w.unsupported(n.keyPos(key), w.place, "`%s` is not read: nothing passes this schema", key)
			return true
		}
	}
	return false
}

func (w *schemaWriter) reference(ref *node) {
	d := w.definition(ref.text)
	if d == nil { // cannot be: references were checked; and if it were, nothing would pass
		w.key("not")
		w.b = append(w.b, "{}"...)
		return
	}
	if !w.held[d] {
		if w.held == nil {
			w.held = map[*definition]bool{}
		}
		w.held[d] = true
		w.refs = append(w.refs, d)
	}
	w.key("$ref")
	w.b = appendQuoted(w.b, "#/$defs/"+url.PathEscape(pointer(d.name)))
}

func (w *schemaWriter) key(name string) {
	w.comma()
	w.b = append(appendQuoted(w.b, name), ':')
}

// comma parts an entry from the one before.
func (w *schemaWriter) comma() {
	if last := w.b[len(w.b)-1]; last != '{' && last != '[' {
		w.b = append(w.b, ',')
	}
}

// isReadOnly says that a property is for answers only, where it stands or where it refers to.
func (s *schemas) isReadOnly(n *node, hops int) bool {
	if hops == 0 || !n.is(strictyaml.Map) {
		return false
	}
	if n.get("readOnly").truth() {
		return true // beside a reference too, where 3.0 looks at nothing: its author meant it
	}
	if ref := n.get("$ref"); ref.is(strictyaml.String) {
		if target, ok := resolve(s.root, ref.text); ok && s.isReadOnly(target, hops-1) {
			return true
		}
	}
	parts := n.get("allOf").list()
	return len(parts) == 1 && s.isReadOnly(parts[0], hops-1)
}

// readOnlyBudget bounds how many schemas are looked at for names of answers. What lies beyond stays required, and so is refused.
const readOnlyBudget = 100

// maxLookups bounds the same for all schemas of a document together.
const maxLookups = 4 << 20

// readOnlyNames adds the names of properties that only answers hold, of a schema and of all that it is made of.
func (s *schemas) readOnlyNames(n *node, names []string, budget *int) []string {
	if *budget--; *budget < 0 || !n.is(strictyaml.Map) {
		return names
	}
	if ref := n.get("$ref"); ref.is(strictyaml.String) {
		if target, ok := resolve(s.root, ref.text); ok {
			names = s.readOnlyNames(target, names, budget)
		}
	}
	properties := n.get("properties")
	if s.lookups -= len(properties.names()); s.lookups < 0 {
		return names
	}
	for i, name := range properties.names() {
		if s.isReadOnly(properties.items[i], maxHops) {
			names = append(names, name)
		}
	}
	for _, part := range n.get("allOf").list() {
		names = s.readOnlyNames(part, names, budget)
	}
	return names
}
