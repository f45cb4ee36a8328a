package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// object reads where an id stands: one reference such as path.user_id, or a text with references and claims in braces.
func (r *ruleSource) object(n *strictyaml.Node, typ *strictyaml.Node) Object {
	text, ok := r.Text(n)
	if !ok {
		return Object{}
	}
	object := Object{Type: r.valueType(typ)}
	if !strings.ContainsAny(text, "{}") {
		if ref, ok := r.reference(n, text); ok {
			object.Parts = []ObjectPart{{Ref: &ref}}
		}
		return object
	}
	object.Parts = r.composite(n, text)
	lists := 0
	for _, part := range object.Parts {
		if part.Ref != nil && part.Ref.IsList() {
			lists++
		}
	}
	switch {
	case lists > 1:
		r.Errorf(n, "read one list", "the text reads %d lists, and nobody says which element goes with which", lists)
	case !slices.ContainsFunc(object.Parts, func(p ObjectPart) bool { return p.Ref != nil }) && len(object.Parts) > 0:
		r.Errorf(n, "write path.x, or a text with {path.x} in it", "%q reads nothing of the request", text)
	}
	return object
}

func (r *ruleSource) valueType(n *strictyaml.Node) ValueType {
	if n == nil {
		return TypeText
	}
	switch text, ok := r.Text(n); {
	case text == "string":
	case text == "uuid":
		return TypeUUID
	case text == "int":
		return TypeInt
	case ok:
		r.Errorf(n, "write uuid, int or string", "an id cannot be of type %q", text)
	}
	return TypeText
}

// composite reads a text with {path.x} and {token.claim} in it. Between two of them must stand a byte that the first cannot hold, which
// is checked at each request, so that two pairs of values never make one id.
func (r *ruleSource) composite(n *strictyaml.Node, text string) []ObjectPart {
	var parts []ObjectPart
	for rest := text; rest != ""; {
		literal, after, more := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			r.Errorf(n, "write {path.x}", "%q holds a } without its {", text)
			return nil
		}
		if literal != "" {
			parts = append(parts, ObjectPart{Literal: literal})
		} else if more && len(parts) > 0 {
			r.Errorf(n, "write something between them, such as /", "two values touch in %q, so that two pairs of them could make one id", text)
			return nil
		}
		if !more {
			return parts
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed {
			r.Errorf(n, "write {path.x}", "%q holds a { without its }", text)
			return nil
		}
		if claim, ok := strings.CutPrefix(name, "token."); ok {
			if r.rule.Issuer != nil {
				claimHas(r.source, n, r.rule.Issuer, claim, condition.String)
			}
			parts = append(parts, ObjectPart{Claim: claim})
		} else if ref, ok := r.reference(n, name); ok {
			parts = append(parts, ObjectPart{Ref: &ref})
		} else {
			return nil
		}
		rest = after
	}
	return parts
}

// IsList reports whether the reference reads a list of values.
func (r Reference) IsList() bool {
	return r.Many != ManyNot || (r.Source == SourceBody || r.Source == SourceGRPC) && strings.Contains(r.Name, "[*]")
}

// List reports whether the id is one of a list, all of which are read.
func (o Object) List() bool {
	return slices.ContainsFunc(o.Parts, func(p ObjectPart) bool { return p.Ref != nil && p.Ref.IsList() })
}

const referenceHint = "write path.x, query.x, header.x, body.a.b, form.x or grpc.a.b"

// reference reads one place of a request.
func (r *ruleSource) reference(n *strictyaml.Node, text string) (Reference, bool) {
	source, name, _ := strings.Cut(text, ".")
	index := slices.Index(sourceNames[:], source+".")
	kind := Source(max(index, 0))
	if kind == 0 || name == "" {
		r.Errorf(n, referenceHint, "%q is no part of a request", text)
		return Reference{}, false
	}
	if kind == SourceBody || kind == SourceGRPC {
		return r.bodyReference(n, Reference{Source: kind, Name: name})
	}
	ref := Reference{Source: kind, Name: name}
	if bare, ok := strings.CutSuffix(name, "[*]"); ok {
		ref.Name, ref.Many = bare, ManyEach
	} else if bare, ok := strings.CutSuffix(name, "[,]"); ok {
		ref.Name, ref.Many = bare, ManyComma
	}
	if strings.ContainsAny(ref.Name, "[]") || ref.Many != ManyNot && kind == SourcePath || ref.Many == ManyEach && kind == SourceHeader {
		r.Errorf(n, "query.id[*] is a repeated parameter, query.ids[,] and header.x-ids[,] are a list between commas, body.items[*].id the elements of an array", "%q is no list", text)
		return Reference{}, false
	}
	switch kind {
	case SourcePath:
		if captures := r.captures(); !slices.Contains(captures, ref.Name) {
			r.Errorf(n, "the rule captures: "+strings.Join(captures, ", "), "the rule captures no `%s`", ref.Name)
			return Reference{}, false
		}
	case SourceQuery, SourceForm:
		if !target.ReadableName(ref.Name) {
			r.Errorf(n, "name the parameter as clients write it", "%q cannot stand in a query as it is", ref.Name)
			return Reference{}, false
		}
	case SourceHeader:
		if !headerval.ValidName(ref.Name) || ref.Name != strings.ToLower(ref.Name) || strings.Contains(ref.Name, "_") {
			r.Errorf(n, "write the header's name in lower case, with -", "%q is no header name", ref.Name)
			return Reference{}, false
		}
		if why := condition.BarredHeader(ref.Name); why != "" {
			r.Errorf(n, "read a header that names an object", "header %s %s, which no rule compares", ref.Name, why)
			return Reference{}, false
		}
	}
	if kind == SourceForm {
		return r.bodyReference(n, ref)
	}
	r.reads = append(r.reads, ref)
	return ref, true
}

// agrees reads references whose values must be one and the same.
func (r *ruleSource) agrees(n *strictyaml.Node) {
	items := r.List(n)
	if n.Kind() == strictyaml.List && len(items) < 2 {
		r.Errorf(n, "write agrees: [path.user_id, body.user_id]", "one value always agrees with itself")
	}
	for _, item := range items {
		text, ok := r.Text(item)
		if !ok {
			continue
		}
		ref, ok := r.reference(item, text)
		if ok && slices.Contains(r.rule.Agrees, ref) {
			r.Errorf(item, "name another place of the request", "%s always agrees with itself", ref)
		} else if ok {
			r.rule.Agrees = append(r.rule.Agrees, ref)
		}
	}
}

var tenantKeys = []string{"of", "is", "mutable", "type"}

// tenant holds a rule to its caller's tenant, and to the one that its service demands.
func (c *compiler) tenant(r *ruleSource) {
	own := r.m.Get("tenant")
	none := false
	if own.Kind() != strictyaml.String {
		r.Map(own, tenantKeys...) // which complains of what is neither, lest a tenant that is written is not demanded
	} else {
		text, ok := r.Text(own)
		none = text == "none"
		switch {
		case ok && !none:
			r.Errorf(own, "write tenant: {of: path.tenant, is: token.tenant}", "a tenant cannot be %q", text)
		case none && r.rule.Credential == CredentialToken:
			r.Errorf(own, "leave it out, or give the rule a service of its own", "`tenant: none` sets the service's tenant aside, which only a rule without a token may")
		}
	}
	if r.rule.Credential == CredentialDeny {
		return
	}
	if r.rule.Credential != CredentialToken {
		switch {
		case own != nil && !none && own.Kind() == strictyaml.Map:
			r.ErrorAt(r.m.Pos("tenant"), "remove it, or write `tenant: none`", "the rule asks for no token, so nobody says whose tenant it is")
		case r.service.tenant != nil && !none:
			r.Errorf(r.n, "write `tenant: none` to set the service's tenant aside", "the rule asks for no token and its service demands a tenant: which holds?")
		}
		return
	}
	for _, n := range []*strictyaml.Node{r.service.tenant, own} {
		if n.Kind() == strictyaml.Map {
			r.rule.Tenants = append(r.rule.Tenants, c.oneTenant(r, n))
		} else if n == r.service.tenant && n != nil {
			r.Map(n) // which complains
		}
	}
}

func (c *compiler) oneTenant(r *ruleSource, n *strictyaml.Node) Tenant {
	m := r.Map(n, tenantKeys...)
	var t Tenant
	if of := r.Require(m, "of", "write `of: path.tenant`"); of != nil {
		t.Of = r.object(of, m.Get("type"))
		if t.Of.List() {
			r.Errorf(of, "read one value", "a request is of one tenant, and %q is a list", t.Of.String())
		}
	}
	if is := r.Require(m, "is", "write `is: token.tenant`"); is != nil {
		t.Is = c.ownerClaim(r, is, flag(r.source, m, "mutable"))
	}
	return t
}

// condition compiles what the rule asks of request, token, caller and object.
func (r *ruleSource) condition() {
	n := r.m.Get("condition")
	text, ok := r.Text(n)
	if n == nil || !ok {
		return
	}
	names := condition.Names{Captures: r.captures(), Object: r.rule.Owner != nil && !r.rule.Owner.Of.List(), Token: r.rule.Credential == CredentialToken}
	schema := &condition.Schema{}
	if names.Token {
		if r.rule.Issuer == nil {
			return
		}
		schema = r.rule.Issuer.Schema
	}
	program, errs := schema.CompileCondition(text, names)
	for _, err := range errs {
		r.Errorf(n, "", "expression, line %d, column %d: %s", err.Line, err.Column, err.Msg)
	}
	if program == nil {
		return
	}
	r.rule.Condition, r.rule.ConditionText = program, text
	for _, read := range program.References() {
		source := map[condition.Source]string{condition.Path: "path.", condition.Query: "query.", condition.Header: "header."}[read.Source]
		if ref, ok := r.reference(n, source+read.Name); ok {
			r.rule.ConditionReads = append(r.rule.ConditionReads, ref)
		}
	}
}

// queryAndBody refuses a rule that reads a parameter and takes a body whose fields an upstream may merge into the parameters.
func (r *ruleSource) queryAndBody() {
	if r.rule.Body == nil || r.rule.Body.Source == SourceGRPC {
		return
	}
	for _, ref := range r.reads {
		if ref.Source == SourceQuery && !r.rule.ParametersApart(ref) {
			r.Errorf(r.n, "write `agrees: [query."+ref.Name+", body."+ref.Name+"]`, or `body_parameters: separate` if the upstream never merges them",
				"the rule reads query.%s and a body, in which many upstreams would find another `%s`", ref.Name, ref.Name)
			return
		}
	}
}
