package policy

import (
	"github.com/sallyport-dev/sallyport/authz/fields"
	"github.com/sallyport-dev/sallyport/authz/openapi"
	"github.com/sallyport-dev/sallyport/authz/schema"
)

// Param demands the form of one value outside the body.
type Param struct {
	// Ref is where it stands; of a list, all its values make one array. It is the zero Reference for a cookie.
	Ref Reference
	// Described is the parameter of the service's OpenAPI document that this is; nil for one that the rule declares.
	Described *openapi.Parameter
	// Required refuses a request without it.
	Required bool
	// Schema is what the value must satisfy; never nil.
	Schema *schema.Schema
	// Type is how the text is read before the schema judges it, and of a list each of its texts.
	Type ParamType
}

// Name is the parameter as policies write it.
func (p *Param) Name() string {
	if p.Described != nil && p.Described.In == openapi.InCookie {
		return "cookie." + p.Described.Name
	}
	return p.Ref.String()
}

// ParamType is the JSON type that a parameter's text stands for.
type ParamType uint8

const (
	// ParamString is the text itself. It is the zero value.
	ParamString ParamType = iota
	// ParamInteger is decimal digits, with a minus where it is negative and no zero in front.
	ParamInteger
	// ParamNumber is a number as JSON writes it (RFC 8259 section 6).
	ParamNumber
	// ParamBoolean is true or false.
	ParamBoolean
)

var paramTypes = map[string]ParamType{"string": ParamString, "integer": ParamInteger, "number": ParamNumber, "boolean": ParamBoolean}

// BodyFormat is how a body of one media type writes fields.
type BodyFormat uint8

const (
	// FormatJSON is a document (RFC 8259). It is the zero value.
	FormatJSON BodyFormat = iota
	// FormatMergePatch is a document in which null removes (RFC 7396).
	FormatMergePatch
	// FormatJSONPatch is a list of operations (RFC 6902).
	FormatJSONPatch
	// FormatForm is application/x-www-form-urlencoded.
	FormatForm
	// FormatGRPC is one message of gRPC.
	FormatGRPC
)

// MediaType is one that a rule takes.
type MediaType struct {
	Name   string
	Format BodyFormat
	// Schema is what a document of this type must satisfy; nil where the rule's own schema holds for all.
	Schema *schema.Schema
}

// What is taken by a rule that declares no types, by what it reads.
var defaultTypes = map[Source][]MediaType{
	SourceBody: {{Name: "application/json", Format: FormatJSON}},
	SourceForm: {{Name: "application/x-www-form-urlencoded", Format: FormatForm}},
	SourceGRPC: {{Name: "application/grpc", Format: FormatGRPC}, {Name: "application/grpc+proto", Format: FormatGRPC}},
}

// Whole reports whether the rule wants the document itself, rather than some places of it.
func (r *Rule) Whole() bool { return r.Body != nil && (r.Body.Declared || r.Writable != nil) }

// Shape is what a rule demands of a request's form, whoever asks.
type Shape struct {
	// Params are demanded, in the order of their names.
	Params []Param
	// ClosedQuery refuses parameters that are not in Query, the names of all that the rule reads.
	ClosedQuery bool
	Query       []string
	// Writable says which fields of the body may be written; nil says nothing.
	Writable *fields.Writable
}
