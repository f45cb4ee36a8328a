// Package schema holds JSON documents to JSON Schemas (2020-12 and draft-07). It is the one door to the engine, and a room of its own
// because it is pure: a schema is compiled once, refuses at load whatever it would silently ignore later, and then says of a document
// where and by which keyword it fails, and never what stands there.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// Schema is a compiled schema. It is immutable and safe for concurrent use. The zero Schema accepts nothing.
type Schema struct {
	build   func() (*engine, error) // nil in the zero Schema
	engines [engines]atomic.Pointer[engine]
	named   map[string]struct{} // names of members that the schema speaks of
}

// Options say how a schema is compiled; the zero value is JSON Schema as it is written.
type Options struct {
	// Strict refuses members that the schema does not name: an object of which it says nothing of others (`additionalProperties`,
	// `unevaluatedProperties`) is closed. It needs 2020-12.
	Strict bool
	// Annotations takes keywords that say nothing about what passes and that OpenAPI writes: discriminator, xml, externalDocs and the like.
	Annotations bool
}

// Error says what is wrong with a schema. Pointer is where, a JSON Pointer (RFC 6901) into it.
type Error struct{ Pointer, Why string }

// Error implements error.
func (e *Error) Error() string {
	if e.Pointer == "" {
		return e.Why
	}
	return e.Pointer + ": " + e.Why
}

// location is the name by which the engine knows the one document that it may read.
const location = "sallyport:schema"

// Compile compiles a schema. References are local to the document; `format` is asserted; expressions are RE2's. What the engine would
// ignore is refused: unknown keywords (but those that begin with x-), unknown formats, other dialects. The error is an *Error.
func Compile(document strictjson.Value, opt Options) (*Schema, error) {
	r := &reader{strict: opt.Strict, annotations: opt.Annotations, named: map[string]struct{}{}}
	if err := r.dialect(document); err != nil {
		return nil, err
	}
	plain := r.schema(document, "", whole)
	if r.err != nil {
		return nil, r.err
	}
	s := &Schema{build: func() (*engine, error) { return newEngine(plain) }, named: r.named}
	first, err := s.build()
	if err != nil {
		return nil, refused(err)
	}
	s.giveBack(first)
	return s, nil
}

// noLoader keeps the engine from files and the network.
type noLoader struct{}

// Load implements [jsonschema.URLLoader].
func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema refers only to itself: write `#/$defs/name`")
}

// refused puts the engine's complaint into our words.
func refused(err error) *Error {
	var invalid *jsonschema.SchemaValidationError
	if errors.As(err, &invalid) {
		if cause := (*jsonschema.ValidationError)(nil); errors.As(invalid.Err, &cause) {
			v := violationOf(cause)
			return &Error{Pointer: v.Pointer, Why: "the schema is none: `" + v.Keyword + "` of its own schema fails here"}
		}
	}
	return &Error{Why: strings.ReplaceAll(strings.ReplaceAll(err.Error(), location, ""), "\"#\"", "the schema")}
}

// Violation is where a document fails. It holds names of members, which a client may have chosen, and no values.
type Violation struct {
	// Pointer is a JSON Pointer (RFC 6901) into the document, "" for all of it.
	Pointer string
	// Keyword is the keyword that fails; `false` for a schema that accepts nothing, `number` for a number that no schema should be asked
	// about: longer than 64 characters, or with an exponent beyond 308; `values` for a document of more than 100,000 values, and `steps`
	// for one that takes more work than its size can justify, or holds more than 16 KiB of expressions (`format: regex`).
	Keyword string
	// Named reports that every name in Pointer is one that the schema names, or an index.
	Named bool
}

// Check holds a document to the schema; nil if it passes.
func (s *Schema) Check(v strictjson.Value) *Violation {
	if s == nil || s.build == nil {
		return &Violation{Keyword: "false"}
	}
	c := converter{}
	plain, ok := c.value(v)
	switch {
	case c.values > maxValues:
		return &Violation{Keyword: "values", Named: true}
	case !ok:
		return s.judged(Violation{Pointer: strictjson.Pointer(c.path), Keyword: "number"}, v, c.path)
	}
	err := s.validate(plain, c.values)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errSteps):
		return &Violation{Keyword: "steps", Named: true}
	}
	var cause *jsonschema.ValidationError
	if !errors.As(err, &cause) {
		return &Violation{Keyword: "false", Named: true}
	}
	leaf := leafOf(cause)
	return s.judged(violationOf(cause), v, append(slices.Clone(leaf.InstanceLocation), extra(leaf)...))
}

func (s *Schema) judged(v Violation, document strictjson.Value, path []string) *Violation {
	v.Named = s.knows(document, path)
	return &v
}

// knows reports whether the schema names every member on a way through a document. Digits are an index in an array and nowhere else: an
// object's member may be called 7, and a client may have called it so.
func (s *Schema) knows(document strictjson.Value, path []string) bool {
	for _, name := range path {
		if document.Kind() == strictjson.Array {
			elements := document.Elements()
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(elements) {
				return false
			}
			document = elements[i]
			continue
		}
		if _, known := s.named[name]; !known {
			return false
		}
		document, _ = document.Member(name) // of one that is missing, nothing stands below
	}
	return true
}

// violationOf is the first thing that is wrong.
func violationOf(err *jsonschema.ValidationError) Violation {
	leaf := leafOf(err)
	return Violation{Pointer: strictjson.Pointer(append(slices.Clone(leaf.InstanceLocation), extra(leaf)...)), Keyword: keyword(leaf)}
}

// leafOf follows the first cause to its end, but not into alternatives: which of them was meant, nobody knows.
func leafOf(err *jsonschema.ValidationError) *jsonschema.ValidationError {
	for len(err.Causes) > 0 {
		switch err.ErrorKind.(type) {
		case *kind.AnyOf, *kind.OneOf, *kind.Not, *kind.Contains, *kind.PropertyNames:
			return err
		}
		err = err.Causes[0]
	}
	return err
}

// extra is the member that a keyword is about, below the place where it fails.
func extra(err *jsonschema.ValidationError) []string {
	var names []string
	switch k := err.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		names = k.Properties
	case *kind.Required:
		names = k.Missing
	case *kind.DependentRequired:
		names = k.Missing
	case *kind.Dependency:
		names = k.Missing
	case *kind.PropertyNames:
		names = []string{k.Property}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{slices.Min(names)}
}

func keyword(err *jsonschema.ValidationError) string {
	switch err.ErrorKind.(type) {
	case *kind.FalseSchema: // what stands there is not wrong in itself: nothing may
		word := err.SchemaURL[strings.LastIndexByte(err.SchemaURL, '/')+1:]
		if slices.Contains([]string{"additionalProperties", "unevaluatedProperties", "additionalItems", "unevaluatedItems", "items"}, word) {
			return word
		}
		return "false"
	case *kind.Not:
		return "not"
	case *kind.Dependency:
		return "dependencies"
	}
	if path := err.ErrorKind.KeywordPath(); len(path) > 0 {
		return path[0]
	}
	return "false"
}

// converter makes a document what the engine takes. Of a document that it refuses, path is where.
type converter struct {
	path   []string
	values int
}

// maxValues bounds a document: the engine gathers what is wrong with each of its values.
const maxValues = 100_000

func (c *converter) value(v strictjson.Value) (plain any, ok bool) {
	if c.values++; c.values > maxValues {
		return nil, false
	}
	switch v.Kind() {
	case strictjson.Null:
		return nil, true
	case strictjson.Bool:
		yes, _ := v.Bool()
		return yes, true
	case strictjson.String:
		text, _ := v.Text()
		return text, true
	case strictjson.Number:
		text, _ := v.Number()
		return json.Number(text), tame(text)
	case strictjson.Array:
		return c.array(v.Elements())
	case strictjson.Object:
		return c.object(v.Members())
	}
	return nil, false
}

func (c *converter) array(elements []strictjson.Value) (any, bool) {
	list := make([]any, len(elements))
	for i, element := range elements {
		plain, ok := c.value(element)
		if !ok {
			c.path = slices.Insert(c.path, 0, strconv.Itoa(i))
			return nil, false
		}
		list[i] = plain
	}
	return list, true
}

func (c *converter) object(members []strictjson.Member) (any, bool) {
	object := make(map[string]any, len(members))
	for i := range members {
		plain, ok := c.value(members[i].Value)
		if !ok {
			c.path = slices.Insert(c.path, 0, members[i].Name)
			return nil, false
		}
		object[members[i].Name] = plain
	}
	return object, true
}

// The bounds of a number. The engine computes with exact fractions, and 1e1000000000 is one of a billion digits.
const (
	maxDigits   = 64
	maxExponent = 308
)

func tame(number string) bool {
	if len(number) > maxDigits {
		return false
	}
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[at+1:])
	return err == nil && exponent <= maxExponent && exponent >= -maxExponent
}

func complain(pointer, format string, args ...any) *Error {
	return &Error{Pointer: pointer, Why: fmt.Sprintf(format, args...)}
}
