// Package openapi reads an OpenAPI document, 3.0 or 3.1, into what a gate can hold a request to: operations, their parameters, their
// bodies and their security, with every schema as a JSON Schema 2020-12 document of its own. It is the single door to kin-openapi,
// which says whether the document is one; the text is read strictly first, because kin takes the last of two equal keys, and nothing
// is ever fetched: a reference leads to another place of the same document. What a document says and the gate cannot judge is named
// with its line, never dropped. The package is pure: bytes in, values out.
package openapi

import (
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// The bounds of one document. What passes one is an error, so that a hostile document ends in bounded time and memory.
const (
	// MaxBytes is the largest document: 4 MiB.
	MaxBytes = 4 << 20
	// MaxDepth is the deepest nesting of maps and lists, in YAML and in JSON.
	MaxDepth = strictyaml.MaxDepth
	// MaxOperations is how many operations a document may have.
	MaxOperations = 5000
	// MaxSchemaBytes bounds the schemas of a document, each with all that it refers to, together: 64 MiB.
	MaxSchemaBytes = 64 << 20
)

// Document is what an OpenAPI document says about requests. It is immutable and safe for concurrent use.
type Document struct {
	// File is the name that the document was read under; it is never opened.
	File string
	// Title and Version are those of `info`.
	Title, Version string
	// Hosts are the host names of the document's servers, in their order; a name with a variable in it is left out.
	Hosts []string
	// Operations are in the order of the document.
	Operations []*Operation
	// Schemes are the security schemes, in the order of the document.
	Schemes []Scheme
	// Unsupported is what the document says and the gate cannot judge, in the order of its lines.
	Unsupported []Unsupported

	byPattern map[string]*Operation
}

// Operation is one method of one path.
type Operation struct {
	// Method is in upper case.
	Method string
	// Path is the template as the upstream serves it: the base path of the server and the document's own template.
	Path string
	// Pattern is the same as a rule's `match` writes it, method and path. It is the zero pattern where no pattern can say it; the
	// document's Unsupported then names it.
	Pattern pattern.Pattern
	// ID is the operationId; it may be empty.
	ID string
	// Summary is one line; it may be empty.
	Summary    string
	Deprecated bool
	// Parameters are those of the path and of the operation, which win. Header parameters named Accept, Content-Type and
	// Authorization are left out, as OpenAPI says.
	Parameters []*Parameter
	// Body is nil where the operation describes none.
	Body *Body
	// Security are alternatives, one of which must hold, the document's where the operation has none of its own. An empty list asks
	// for nothing; an alternative without demands makes all others optional.
	Security []Alternative
	// Pos is the operation's place in the document.
	Pos strictyaml.Pos
}

// In says where a parameter stands.
type In string

// Where a parameter can stand.
const (
	InPath   In = "path"
	InQuery  In = "query"
	InHeader In = "header"
	InCookie In = "cookie"
)

// Style says how values are written into text.
type Style string

// The styles that are read. The others of OpenAPI (matrix, label, spaceDelimited, pipeDelimited, deepObject) are named as unsupported.
const (
	Simple Style = "simple"
	Form   Style = "form"
)

// Shape says how many texts carry one value, and so how a request is read for it.
type Shape uint8

// The shapes of values.
const (
	// Single is one text, in one occurrence of the name.
	Single Shape = iota
	// Commas is one occurrence whose text is a list with commas between its elements.
	Commas
	// Repeated is an occurrence of the name for each element.
	Repeated
)

// Parameter is one parameter of an operation. It is immutable and safe for concurrent use.
type Parameter struct {
	// Name is the document's. Header names are compared without regard to case.
	Name string
	In   In
	// Capture is what the operation's Pattern calls a parameter of the path; it differs from Name where that is no identifier.
	Capture  string
	Required bool
	Style    Style
	Explode  bool
	// Shape follows from the schema, the style and `explode`.
	Shape Shape
	// AllowEmpty is `allowEmptyValue`, of a query parameter: the text may be empty whatever the schema says.
	AllowEmpty bool
	Deprecated bool
	// Schema is a JSON Schema 2020-12 document without references to anything outside of itself.
	Schema []byte
	// Problem says why requests cannot be held to the parameter; it is empty where they can. Decode fails where it is not.
	Problem string
	Pos     strictyaml.Pos

	// types are what one text, or one element of a list, may be.
	types types
}

// Body is what an operation says about its body.
type Body struct {
	Required bool
	// Media are in the order of the document.
	Media []Media
	Pos   strictyaml.Pos
}

// Media is one media type of a body.
type Media struct {
	// Type is in lower case and without parameters.
	Type string
	// Schema is a JSON Schema 2020-12 document without references to anything outside of itself; of a type without one it is `true`.
	Schema []byte
	// Problem says why a body of this type cannot be held to its schema; it is empty where it can.
	Problem string
	Pos     strictyaml.Pos
}

// Unsupported is something that the document says and the gate cannot judge.
type Unsupported struct {
	// Place is a JSON Pointer, or the operation and the name of the parameter.
	Place string
	// What says it in a sentence for the document's reader.
	What string
	Pos  strictyaml.Pos
}

// Alternative is a set of demands that must all hold.
type Alternative []Demand

// Demand asks for one security scheme.
type Demand struct {
	// Scheme is the name of a Scheme of the document.
	Scheme string
	// Scopes are all needed; for schemes other than oauth2 and openIdConnect they are roles to OpenAPI 3.1.
	Scopes []string
}

// Scheme is one security scheme.
type Scheme struct {
	Name string
	// Type is apiKey, http, mutualTLS, oauth2 or openIdConnect.
	Type string
	// HTTP is the scheme of type http in lower case: bearer, basic, ...
	HTTP string
	// URL is the openIdConnectUrl, or the first token or authorization URL of oauth2; it may be empty.
	URL string
	Pos strictyaml.Pos
}

// Read reads a document, YAML or, where it begins with a brace, JSON. It returns either a document or at least one error, each with
// its line and column; name is used in errors only. It never panics and fetches nothing.
func Read(name string, data []byte) (*Document, strictyaml.Errors) {
	r := &report{file: name}
	root := parse(r, data)
	if r.failed() {
		return nil, r.errors()
	}
	checkVersion(r, root)
	checkReferences(r, root)
	if r.failed() {
		return nil, r.errors()
	}
	checkShape(r, root)
	if r.failed() {
		return nil, r.errors()
	}
	d := newReader(r, root).document()
	if r.failed() {
		return nil, r.errors()
	}
	return d, nil
}
