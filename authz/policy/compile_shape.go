package policy

import (
	"path"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/fields"
	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// shapeKeys are what a rule demands of the request itself, whoever asks.
var shapeKeys = []string{"params", "body", "writable"}

// demandsShape compiles them for the rule, or for each of its branches.
func (c *compiler) demandsShape(r *ruleSource) {
	for _, key := range shapeKeys {
		if r.shape.Get(key) != nil && r.rule.Credential == CredentialDeny {
			r.ErrorAt(r.shape.Pos(key), "remove it", "a `deny` rule refuses everybody and asks nothing")
			return
		}
	}
	r.params(r.shape.Get("params"))
	c.declaredBody(r, r.shape.Get("body"))
	r.writable(r.shape.Get("writable"))
	c.described(r)
}

// params compiles the values outside the body: `query.page: {type: integer, minimum: 1}`.
func (r *ruleSource) params(n *strictyaml.Node) {
	if n == nil {
		return
	}
	r.rule.ClosedQuery = true
	m := r.OpenMap(n)
	for _, name := range m.Keys() {
		if p, ok := r.param(name, m.Get(name), m.Pos(name)); ok {
			r.rule.Params = append(r.rule.Params, p)
		}
	}
	slices.SortFunc(r.rule.Params, func(a, b Param) int { return strings.Compare(a.Ref.String(), b.Ref.String()) })
}

func (r *ruleSource) param(name string, n *strictyaml.Node, at strictyaml.Pos) (Param, bool) {
	source, _, _ := strings.Cut(name, ".")
	if !slices.Contains([]string{"path", "query", "header"}, source) {
		r.ErrorAt(at, "write path.x, query.x or header.x; what a body holds, `body: {schema: ...}` says", "%q is no parameter", name)
		return Param{}, false
	}
	ref, ok := r.reference(n, name)
	if !ok {
		return Param{}, false
	}
	p := Param{Ref: ref}
	var members []strictjson.Member
	if n.Kind() == strictyaml.String { // the name of a type
		text, _ := r.Text(n)
		members = []strictjson.Member{{Name: "type", Value: strictjson.MakeString(text)}}
	} else {
		m := r.OpenMap(n)
		for _, key := range m.Keys() {
			if key == "required" && m.Get(key).Kind() == strictyaml.Bool {
				p.Required, _ = r.Bool(m.Get(key))
				continue
			}
			members = append(members, strictjson.Member{Name: key, Value: r.json(m.Get(key))})
		}
	}
	written := strictjson.MakeObject(members)
	if p.Type, ok = r.paramType(n, ref, written); !ok {
		return Param{}, false
	}
	p.Schema = r.compileSchema(n, written, false)
	return p, p.Schema != nil
}

// paramType finds how a parameter's text is read.
func (r *ruleSource) paramType(n *strictyaml.Node, ref Reference, written strictjson.Value) (ParamType, bool) {
	said := func(v strictjson.Value) (string, bool) {
		declared, there := v.Member("type")
		text, isText := declared.Text()
		return text, !there || isText
	}
	text, ok := said(written)
	if ref.IsList() && ok && (text == "array" || text == "") {
		items, _ := written.Member("items")
		text, ok = said(items)
	} else if ref.IsList() {
		r.Errorf(n, "write {type: array, items: {type: "+text+"}}", "%s is a list", ref)
		return 0, false
	}
	if text == "" && ok && numeric(written) {
		r.Errorf(n, "write `type: integer`, or number or boolean", "without a type, %s is a text, which is never a number or a boolean", ref)
		return 0, false
	}
	kind, known := paramTypes[text]
	if !ok || !known && text != "" {
		r.Errorf(n, "write one of string, integer, number and boolean; a list is query.id[*] or query.ids[,]", "a parameter's text stands for one scalar")
		return 0, false
	}
	return kind, true
}

// numeric reports whether a schema of a text speaks of numbers or booleans.
func numeric(written strictjson.Value) bool {
	for _, word := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"} {
		if _, said := written.Member(word); said {
			return true
		}
	}
	constant, _ := written.Member("const")
	offered, _ := written.Member("enum")
	for _, v := range append([]strictjson.Value{constant}, offered.Elements()...) {
		if v.Kind() == strictjson.Number || v.Kind() == strictjson.Bool {
			return true
		}
	}
	items, isList := written.Member("items")
	_, typed := items.Member("type")
	return isList && !typed && numeric(items)
}

// json reads any value as JSON has it.
func (src *source) json(n *strictyaml.Node) strictjson.Value {
	switch n.Kind() {
	case strictyaml.Map:
		m := src.OpenMap(n)
		var members []strictjson.Member
		for _, key := range m.Keys() {
			members = append(members, strictjson.Member{Name: key, Value: src.json(m.Get(key))})
		}
		return strictjson.MakeObject(members)
	case strictyaml.List:
		var elements []strictjson.Value
		for _, item := range src.List(n) {
			elements = append(elements, src.json(item))
		}
		return strictjson.MakeArray(elements)
	case strictyaml.Bool:
		yes, _ := src.Bool(n)
		return strictjson.MakeBool(yes)
	case strictyaml.Int, strictyaml.Float:
		v, ok := strictjson.MakeNumber(strictyaml.SourceText(n))
		if !ok {
			src.Errorf(n, "write it as JSON does", "%s is no number of JSON", strictyaml.SourceText(n))
		}
		return v
	case strictyaml.String:
		text, _ := src.Text(n)
		return strictjson.MakeString(text)
	}
	return strictjson.MakeNull()
}

// compileSchema compiles a schema that n names or holds; nil, with the complaint made, if it is none.
func (src *source) compileSchema(n *strictyaml.Node, written strictjson.Value, strict bool) *schema.Schema {
	compiled, err := schema.Compile(written, schema.Options{Strict: strict})
	if err != nil {
		src.Errorf(n, "", "schema: %s", err)
		return nil
	}
	return compiled
}

var (
	bodyKeys   = []string{"schema", "strict", "types", "limits"}
	limitsKeys = []string{"bytes", "depth", "members", "elements"}
)

// declaredBody compiles what a rule says of its body as a whole.
func (c *compiler) declaredBody(r *ruleSource, n *strictyaml.Node) {
	if n == nil {
		return
	}
	m := r.Map(n, bodyKeys...)
	if m.OK() && len(m.Keys()) == 0 {
		r.Errorf(n, "write `body: {schema: order.json}`", "`body` demands nothing")
	}
	b := r.wholeBody(n)
	if b == nil {
		return
	}
	b.Declared = true
	if types := m.Get("types"); types != nil {
		b.Types = r.mediaTypes(types)
	}
	b.limits = r.bodyLimits(m.Get("limits"))
	strict := flag(r.source, m, "strict")
	written := m.Get("schema")
	switch {
	case written == nil && strict:
		r.Errorf(m.Get("strict"), "name the schema: `schema: order.json`", "`strict` closes a schema, and there is none")
	case written != nil:
		if document, ok := c.schemaDocument(r.source, written); ok {
			b.Schema = r.compileSchema(written, document, strict)
			b.Strict = strict
			// Many frameworks merge the query into the fields: what may not stand in the one may not come by the other.
			r.rule.ClosedQuery = r.rule.ClosedQuery || strict
		}
	}
}

// wholeBody is the rule's body, which is JSON if it is anything; nil, with the complaint made, if the rule reads another.
func (r *ruleSource) wholeBody(n *strictyaml.Node) *Body {
	if r.body == nil {
		r.body, r.bodyAt = &Body{Source: SourceBody}, n
	}
	if r.body.Source == SourceGRPC {
		r.Errorf(n, "remove one: a message has its descriptor for a schema", "the rule reads a gRPC message, and this is about documents and forms")
		return nil
	}
	return r.body
}

// schemaDocument is a schema as it is written: in a file beside the policy files, or in place.
func (c *compiler) schemaDocument(src *source, n *strictyaml.Node) (strictjson.Value, bool) {
	if n.Kind() != strictyaml.String {
		src.OpenMap(n) // which complains of what is neither
		return src.json(n), n.Kind() == strictyaml.Map
	}
	name, _ := src.Text(n)
	blob := c.blobs[name]
	if blob == nil || path.Ext(name) != SchemaSuffix {
		src.Errorf(n, "put it beside the policy files; its name ends in .json", "there is no schema `%s` beside this file", name)
		return strictjson.Value{}, false
	}
	document, err := strictjson.Parse(blob.data, strictjson.Limits{Bytes: 1 << 20, Depth: 64, Members: 10_000, Elements: 10_000})
	if err != nil {
		src.Errorf(n, "", "%s: %s", name, err)
		return strictjson.Value{}, false
	}
	return document, true
}

// Formats of the media types that have one of their own; any other that ends in +json is a document.
var formats = map[string]BodyFormat{
	"application/json": FormatJSON, "application/merge-patch+json": FormatMergePatch, "application/json-patch+json": FormatJSONPatch,
	"application/x-www-form-urlencoded": FormatForm,
}

func (r *ruleSource) mediaTypes(n *strictyaml.Node) []MediaType {
	var all []MediaType
	items := r.List(n)
	if n.Kind() == strictyaml.List && len(items) == 0 {
		r.Errorf(n, "write types: [application/json]", "a body of no type is none")
	}
	for _, item := range items {
		text, ok := r.Text(item)
		if !ok {
			continue
		}
		format, known := formats[text]
		family, subtype, _ := strings.Cut(text, "/")
		plain := family == "application" && strings.HasSuffix(subtype, "+json") && strings.Trim(subtype, "abcdefghijklmnopqrstuvwxyz0123456789.+-") == ""
		switch {
		case !known && !plain:
			r.Errorf(item, "write application/json, another application/...+json, or application/x-www-form-urlencoded", "a body of %q cannot be read", text)
		case slices.ContainsFunc(all, func(m MediaType) bool { return m.Name == text }):
			r.Errorf(item, "write it once", "%q stands there twice", text)
		default:
			all = append(all, MediaType{Name: text, Format: format})
		}
	}
	return all
}

func (r *ruleSource) bodyLimits(n *strictyaml.Node) strictjson.Limits {
	m := r.Map(n, limitsKeys...)
	limit := func(key string, most int64) int {
		number, _ := r.Int(m.Get(key), 1, most)
		return int(number)
	}
	return strictjson.Limits{
		Bytes: limit("bytes", body.MaxBytes), Depth: limit("depth", body.MaxDepth), Members: limit("members", body.MaxMembers), Elements: limit("elements", body.MaxElements),
	}
}

// writable compiles the allow list of fields.
func (r *ruleSource) writable(n *strictyaml.Node) {
	if n == nil {
		return
	}
	m := r.Map(n, "everyone", "roles")
	r.rule.ClosedQuery = true
	if r.wholeBody(n) == nil {
		return
	}
	all, _ := r.Texts(m.Get("everyone"))
	byRole := map[string][]string{}
	roles := r.OpenMap(m.Get("roles"))
	for _, role := range roles.Keys() {
		byRole[role], _ = r.Texts(roles.Get(role))
	}
	if len(byRole) > 0 {
		if r.rule.Credential != CredentialToken {
			r.Errorf(m.Get("roles"), "leave it out", "the rule asks for no token, so nobody has a role")
		} else if r.rule.Issuer != nil {
			claimHas(r.source, m.Get("roles"), r.rule.Issuer, "roles", condition.Strings)
		}
	}
	compiled, err := fields.New(all, byRole)
	if err != nil {
		r.Errorf(n, "", "%s", err)
		return
	}
	r.rule.Writable = compiled
}

// finishShape gathers what the rule reads of the query, and holds the kinds of bodies to what is read of them.
func (r *ruleSource) finishShape() {
	for _, ref := range r.reads {
		if ref.Source == SourceQuery && !slices.Contains(r.rule.Query, ref.Name) {
			r.rule.Query = append(r.rule.Query, ref.Name)
		}
	}
	b := r.body
	if b == nil {
		return
	}
	if b.Types == nil {
		b.Types = defaultTypes[b.Source]
	}
	for _, t := range b.Types {
		switch {
		case t.Format == FormatJSONPatch && (len(b.References) > 0 || b.Schema != nil):
			r.Errorf(r.bodyAt, "write two rules, or take the type out of `types`", "the rule reads a document, and %s is a list of changes to one", t.Name)
		case t.Format == FormatJSONPatch && r.rule.Writable == nil:
			r.Errorf(r.bodyAt, "write `writable: {everyone: [...]}`", "nothing is demanded of %s", t.Name)
		case t.Format == FormatForm && (b.Source == SourceBody && len(b.References) > 0 || b.Schema != nil):
			r.Errorf(r.bodyAt, "write two rules, or take the type out of `types`", "the rule reads a document, and %s is none", t.Name)
		case t.Format != FormatForm && b.Source == SourceForm:
			r.Errorf(r.bodyAt, "write two rules, or take the type out of `types`", "the rule reads a form, and %s is none", t.Name)
		}
	}
}
