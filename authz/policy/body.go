package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Body says what a rule reads of a request's body, all of it in one pass.
type Body struct {
	// Source is SourceBody, SourceForm or SourceGRPC: a rule reads one kind of body.
	Source Source
	// References are what is read, in the order of their Index.
	References []Reference
	// Types are the media types that are taken.
	Types []MediaType
	// Declared says that the rule demands something of the body as a whole: Schema, unless it is nil, and Types.
	Declared bool
	// Schema is what a document must satisfy; Strict says that it is closed to fields that it does not name.
	Schema *schema.Schema
	Strict bool
	// Optional takes a request of which it is known that it has no body: by `content-length: 0`, or by a route that holds bodies.
	Optional bool
	// MaxBytes is the longest body that is taken; 0 is the gate's own bound.
	MaxBytes int
	limits   strictjson.Limits

	// One of them reads the body: JSON, a form, or the message of each gRPC method that the rule matches, by its path.
	JSON *body.JSONPlan
	Form *body.FormPlan
	GRPC map[string]*body.GRPCPlan
}

// bodyReference gives a reference its place in what is read of the body.
func (r *ruleSource) bodyReference(n *strictyaml.Node, ref Reference) (Reference, bool) {
	if r.body == nil {
		r.body, r.bodyAt = &Body{Source: ref.Source}, n
	}
	if r.body.Source != ref.Source {
		r.Errorf(n, "write two rules", "the rule reads %s and %s: a body is of one kind", r.body.References[0], ref)
		return Reference{}, false
	}
	if i := slices.IndexFunc(r.body.References, func(o Reference) bool { return o.Name == ref.Name && o.Many == ref.Many }); i >= 0 {
		return r.body.References[i], true
	}
	ref.Index = len(r.body.References)
	r.body.References = append(r.body.References, ref)
	return ref, true
}

// finishBody compiles what was gathered into one reading of the body.
func (r *ruleSource) finishBody() {
	r.finishShape()
	b := r.body
	if b == nil {
		return
	}
	if len(r.rule.Upgrades) > 0 {
		r.ErrorAt(r.shape.Pos("upgrades"), "remove one", "the rule reads a body and hands the connection over: Envoy buffers no body of an upgrade")
	}
	b.MaxBytes = b.limits.Bytes
	var err error
	switch b.Source {
	case SourceBody:
		if b.JSON, err = body.JSON(b.names()); err == nil {
			b.JSON = b.JSON.Within(b.limits)
		}
		if slices.ContainsFunc(b.Types, func(t MediaType) bool { return t.Format == FormatForm }) {
			b.Form, _ = body.Form(nil) // its fields are held to the allow list; no names can be wrong
		}
	case SourceForm:
		b.Form, err = body.Form(b.names())
	case SourceGRPC:
		if b.GRPC = r.messages(b.names()); b.GRPC == nil {
			return
		}
	}
	if err != nil {
		r.Errorf(r.bodyAt, "", "%s", err)
		return
	}
	r.rule.Body = b
	r.queryAndBody()
}

// names are the references as their reader takes them.
func (b *Body) names() []string {
	names := make([]string, len(b.References))
	for i, ref := range b.References {
		names[i] = strings.TrimPrefix(ref.String(), sourceNames[ref.Source])
	}
	return names
}

// messages compiles the reading of each method's message.
func (r *ruleSource) messages(paths []string) map[string]*body.GRPCPlan {
	set := r.service.descriptors
	if set == nil {
		if r.service.descriptorsNode == nil {
			r.Errorf(r.bodyAt, "write `descriptors: orders.binpb` at the service: a FileDescriptorSet beside the policy files (buf build -o orders.binpb)",
				"the rule reads a gRPC message, and its service names no `descriptors`")
		}
		return nil
	}
	plans := map[string]*body.GRPCPlan{}
	for _, p := range r.rule.Patterns {
		method := p.String()
		if !strings.HasPrefix(method, "/") { // a pattern without methods is a gRPC method
			r.Errorf(r.bodyAt, "write match: /package.Service/Method", "%s is no gRPC method, and the rule reads a gRPC message", p)
			return nil
		}
		plan, err := body.GRPC(set, method, paths)
		if err != nil {
			r.Errorf(r.bodyAt, "", "%s", err)
			return nil
		}
		plans[method] = plan
	}
	return plans
}
