package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// description is the OpenAPI document of a service.
type description struct {
	*openapi.Document
	at     *strictyaml.Node // where the service names it
	strict bool             // closes its schemas to fields that they do not name
}

var openapiKeys = []string{"file", "strict"}

// describedBy reads the document that a service names: `openapi: shop.openapi.yaml`, or `{file: ..., strict: true}`.
func (c *compiler) describedBy(src *source, n *strictyaml.Node) *description {
	if n == nil {
		return nil
	}
	d := &description{at: n}
	named := n
	if n.Kind() != strictyaml.String {
		m := src.Map(n, openapiKeys...)
		d.strict = flag(src, m, "strict")
		named = src.Require(m, "file", "write `file: shop"+OpenAPISuffix+"`")
	}
	name, ok := src.Text(named)
	if !ok {
		return nil
	}
	blob := c.blobs[name]
	if blob == nil || !strings.HasSuffix(name, OpenAPISuffix) && !strings.HasSuffix(name, SchemaSuffix) {
		src.Errorf(n, "put it beside the policy files; its name ends in "+OpenAPISuffix+" or "+SchemaSuffix, "there is no OpenAPI document `%s` beside this file", name)
		return nil
	}
	document, errs := openapi.Read(name, blob.data)
	for i, err := range errs {
		if i == 5 {
			src.Errorf(n, "", "and %d more", len(errs)-i)
			break
		}
		src.Errorf(n, err.Hint, "%s", err)
	}
	if document == nil {
		return nil
	}
	d.Document = document
	return d
}

// described holds a rule to the operations of its service's document, each of its methods to its own and one that has none to nothing of it.
// Its own `params` and `body` go before what the document says.
func (c *compiler) described(r *ruleSource) {
	d := r.service.description
	if d == nil || r.rule.Credential == CredentialDeny {
		return
	}
	held, undescribed := r.operations(d)
	if len(held) == 1 && !undescribed {
		r.holdTo(d, held[0])
		return
	}
	for _, h := range held { // `policy check` tells of what is not described
		one := *r.rule
		one.Params, one.Query = slices.Clone(one.Params), slices.Clone(one.Query)
		v := *r
		v.rule = &one
		if r.body != nil {
			b := *r.body
			v.body = &b
		}
		v.holdTo(d, h)
		v.finishBody()
		if r.rule.Operations == nil {
			r.rule.Operations = map[string]*Rule{}
		}
		for _, method := range h.methods {
			r.rule.Operations[method] = &one
		}
	}
}

// completeOperations gives the rules that hold for some methods what was compiled of theirs after them: only the shape is their own.
func (p *Policy) completeOperations() {
	for _, s := range p.Services {
		for _, rule := range s.Rules {
			for _, r := range append([]*Rule{rule}, rule.Either...) {
				for method, held := range r.Operations {
					whole := *r
					whole.Shape, whole.Body, whole.Operations = held.Shape, held.Body, nil
					r.Operations[method] = &whole
				}
			}
		}
	}
}

// held is an operation that a rule stands for, by some of its methods and the pattern that says so first.
type held struct {
	*openapi.Operation
	by      pattern.Pattern
	methods []string
}

// holdTo holds a rule to one operation.
func (r *ruleSource) holdTo(d *description, h *held) {
	r.rule.ClosedQuery = true
	for _, p := range h.Parameters {
		r.describedParam(d, h.Operation, h.by, p)
	}
	slices.SortFunc(r.rule.Params, func(a, b Param) int { return strings.Compare(a.Name(), b.Name()) })
	if h.Body != nil && r.shape.Get("body") == nil {
		r.describedBody(d, h.Operation)
	}
}

// operations are those that a rule stands for, one for each method at most, a GET's for HEAD too; and whether some method has none.
func (r *ruleSource) operations(d *description) (all []*held, undescribed bool) {
	byMethod := map[string]*openapi.Operation{}
	var methods []string
	for _, p := range r.rule.Patterns {
		_, path, ok := strings.Cut(p.String(), " ")
		for _, method := range p.Methods() {
			methods = append(methods, method)
			op, known := d.Operation(method, path)
			if !known && method == "HEAD" {
				op, known = d.Operation("GET", path)
			}
			found := byMethod[method]
			switch {
			case !ok || !known || found == op:
			case found != nil:
				r.Errorf(r.shape.Get("match"), "write a rule for each", "the rule stands for two operations of %s: %s %s and %s %s", d.File, found.Method, found.Path, op.Method, op.Path)
				return nil, false
			default:
				byMethod[method] = op
				all = addHeld(all, op, p, method)
			}
		}
	}
	return all, slices.ContainsFunc(methods, func(method string) bool { return byMethod[method] == nil })
}

func addHeld(all []*held, op *openapi.Operation, by pattern.Pattern, method string) []*held {
	if i := slices.IndexFunc(all, func(h *held) bool { return h.Operation == op }); i >= 0 {
		all[i].methods = append(all[i].methods, method)
		return all
	}
	return append(all, &held{op, by, []string{method}})
}

// describedParam takes a parameter of the document, unless the rule declares it itself. What cannot be read refuses the requests that hold it.
func (r *ruleSource) describedParam(d *description, op *openapi.Operation, by pattern.Pattern, p *openapi.Parameter) {
	param := Param{Described: p, Required: p.Required}
	many := map[openapi.Shape]Many{openapi.Repeated: ManyEach, openapi.Commas: ManyComma}[p.Shape]
	switch p.In {
	case openapi.InPath:
		param.Ref = Reference{Source: SourcePath, Name: capture(op, by, p.Capture)}
	case openapi.InQuery:
		param.Ref = Reference{Source: SourceQuery, Name: p.Name, Many: many}
		if !target.ReadableName(p.Name) {
			return // closed: a query that holds it is refused
		}
		if !slices.Contains(r.rule.Query, p.Name) {
			r.rule.Query = append(r.rule.Query, p.Name)
		}
	case openapi.InHeader:
		param.Ref = Reference{Source: SourceHeader, Name: strings.ToLower(p.Name), Many: many}
		if !headerval.ValidName(param.Ref.Name) {
			return
		}
	}
	if slices.ContainsFunc(r.rule.Params, func(own Param) bool {
		return own.Described == nil && own.Ref.Source == param.Ref.Source && own.Ref.Name == param.Ref.Name && own.Ref.Source != 0
	}) {
		return
	}
	written := p.Schema
	if p.Problem != "" {
		written = []byte("false") // and Decode refuses whatever it is given
	}
	if param.Schema = r.documentSchema(d, written, false); param.Schema != nil {
		r.rule.Params = append(r.rule.Params, param)
	}
}

// capture is what the rule's pattern calls a parameter of the path that the document's own calls otherwise.
func capture(op *openapi.Operation, by pattern.Pattern, name string) string {
	i := slices.Index(op.Pattern.Names(), name)
	if names := by.Names(); i >= 0 && i < len(names) {
		return names[i]
	}
	return name
}

// documentSchema compiles a schema of the document; nil, with the complaint made, if it is none.
func (r *ruleSource) documentSchema(d *description, data []byte, strict bool) *schema.Schema {
	written, err := strictjson.Parse(data, strictjson.Limits{Bytes: openapi.MaxSchemaBytes, Depth: openapi.MaxDepth * 2, Members: 10_000, Elements: 10_000})
	if err != nil {
		r.Errorf(d.at, "", "%s: a schema cannot be read: %s", d.File, err)
		return nil
	}
	compiled, err := schema.Compile(written, schema.Options{Strict: strict, Annotations: true})
	if err != nil {
		r.Errorf(d.at, "", "%s: rule %s: schema: %s", d.File, r.rule.Name, err)
		return nil
	}
	return compiled
}

// describedBody takes the body of the document.
func (r *ruleSource) describedBody(d *description, op *openapi.Operation) {
	b := r.wholeBody(d.at)
	if b == nil {
		return
	}
	b.Declared = true
	b.Optional = !op.Body.Required
	b.Types = nil
	for _, media := range op.Body.Media {
		format, known := formats[media.Type]
		if media.Problem != "" || !known && !strings.HasSuffix(media.Type, "+json") || format == FormatJSONPatch && r.rule.Writable == nil {
			continue // a body of this type is refused, and the document's list of what is not supported names it
		}
		t := MediaType{Name: media.Type, Format: format}
		if format == FormatForm && r.rule.Writable == nil {
			continue // its fields would be held to nothing, and whoever sends it chooses that
		}
		if format != FormatForm {
			t.Schema = r.documentSchema(d, media.Schema, d.strict)
		}
		b.Types = append(b.Types, t)
	}
	if len(b.Types) == 0 {
		r.Errorf(r.shape.Get("match"), "write `body: {types: [...]}` for the rule, which goes before the document", "no body that %s describes for %s %s can be read", d.File, op.Method, op.Path)
	}
}

// undescribed warns of what a document and the rules of its service do not say of each other, and of what of it cannot be judged.
func (c *compiler) undescribed(s *Service) {
	d := s.description
	if d == nil {
		return
	}
	src := s.rules.sources[0].source
	var patterns []pattern.Pattern
	for _, r := range s.Rules {
		patterns = append(patterns, r.Patterns...)
	}
	for _, op := range d.Unruled(patterns) {
		c.warn(src, d.at.Pos(), "write a rule for it, or leave it denied", "%s:%d: no rule stands for the operation %s %s", d.File, op.Pos.Line, op.Method, op.Path)
	}
	for _, u := range d.Undescribed(patterns) {
		c.warn(src, d.at.Pos(), "describe it, or know that only the rule holds it", "%s has no operation for %s of the pattern `%s`", d.File, u.Method, u.Pattern)
	}
	for _, r := range s.rules.sources {
		c.heldToNothing(r.source, d, r.rule)
		c.leftOut(d, r)
	}
	for _, u := range d.Unsupported {
		c.warn(src, d.at.Pos(), "requests that hold it are refused, or it is not looked at", "%s:%d: %s: %s", d.File, u.Pos.Line, u.Place, u.What)
	}
}

// leftOut warns of bodies that the document describes and the rule refuses, because it would hold their fields to nothing.
func (c *compiler) leftOut(d *description, r *ruleSource) {
	if r.rule.Credential == CredentialDeny || r.m.Get("body") != nil || r.m.Get("writable") != nil {
		return
	}
	held, _ := r.operations(d)
	for _, h := range held {
		if h.Body == nil {
			continue
		}
		for _, media := range h.Body.Media {
			if format := formats[media.Type]; media.Problem == "" && (format == FormatJSONPatch || format == FormatForm) {
				c.warn(r.source, r.m.Pos("match"), "write `writable: {everyone: [...]}`, or take it out of the document",
					"%s:%d: %s %s is not taken as %s: without `writable` the rule `%s` would hold its fields to nothing", d.File, media.Pos.Line, h.Method, h.Path, media.Type, r.rule.Name)
			}
		}
	}
}

// heldToNothing warns of a rule that takes the requests of an operation by a wider pattern, and so is not held to it.
func (c *compiler) heldToNothing(src *source, d *description, rule *Rule) {
	if rule.Credential == CredentialDeny {
		return
	}
	for _, p := range rule.Patterns {
		_, path, _ := strings.Cut(p.String(), " ")
		for _, op := range d.Operations {
			if _, exact := d.Operation(op.Method, path); !exact && slices.Contains(p.Methods(), op.Method) && p.Covers(op.Pattern) {
				c.warn(src, rule.Pos, "write a rule with the operation's own pattern: the more specific one wins",
					"the rule `%s` takes %s %s by the wider pattern `%s`, and is not held to what %s says of it", rule.Name, op.Method, op.Path, p, d.File)
			}
		}
	}
}
