package schema

import (
	"encoding/json"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// The dialects that are read, with the endings that their authors write.
const (
	draft2020 = "https://json-schema.org/draft/2020-12/schema"
	draft07   = "http://json-schema.org/draft-07/schema"
)

// Formats are those that are asserted. The engine would ignore any other.
var formats = []string{
	"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "iri", "iri-reference", "json-pointer", "period", "regex",
	"relative-json-pointer", "semver", "time", "uri", "uri-reference", "uri-template", "uuid",
}

// What stands under a keyword.
type shape uint8

const (
	annotation shape = iota // says nothing about what passes
	assertion               // no schema in it
	one                     // a schema
	many                    // a list of schemas
	named                   // a map of schemas
	either                  // a schema or a list of them (draft-07 `items`)
	mixed                   // a map of schemas or lists of names (draft-07 `dependencies`)
)

// An applicator's schemas may be about the value itself, about what is in it, or about no value of the document (a name, a definition).
type position uint8

const (
	whole   position = iota // a value of its own: a member, an element, the document
	inPlace                 // the value that the schema around it is about
	aside                   // tested, and not part of what the document must be: closing it would change the question
)

type vocabulary struct {
	shape shape
	about position
	only  string // a dialect, "" for both
}

// keywords are the words of both dialects that the engine obeys, and those that mean nothing to it and are no mistake.
var keywords = map[string]vocabulary{
	"$schema": {}, "$comment": {}, "title": {}, "description": {}, "default": {}, "examples": {}, "example": {}, "deprecated": {}, "readOnly": {}, "writeOnly": {},
	"contentEncoding": {}, "contentMediaType": {},

	"$ref": {shape: assertion}, "type": {shape: assertion}, "enum": {shape: assertion}, "const": {shape: assertion},
	"multipleOf": {shape: assertion}, "maximum": {shape: assertion}, "exclusiveMaximum": {shape: assertion}, "minimum": {shape: assertion},
	"exclusiveMinimum": {shape: assertion}, "maxLength": {shape: assertion}, "minLength": {shape: assertion}, "pattern": {shape: assertion},
	"maxItems": {shape: assertion}, "minItems": {shape: assertion}, "uniqueItems": {shape: assertion}, "maxProperties": {shape: assertion},
	"minProperties": {shape: assertion}, "required": {shape: assertion}, "format": {shape: assertion},
	"maxContains": {shape: assertion, only: draft2020}, "minContains": {shape: assertion, only: draft2020},
	"dependentRequired": {shape: assertion, only: draft2020}, "$anchor": {shape: assertion, only: draft2020},

	"properties": {named, whole, ""}, "patternProperties": {named, whole, ""}, "additionalProperties": {one, whole, ""},
	"unevaluatedProperties": {one, whole, draft2020}, "propertyNames": {one, aside, ""},
	"prefixItems": {many, whole, draft2020}, "unevaluatedItems": {one, whole, draft2020}, "contains": {one, aside, ""},
	"items": {either, whole, ""}, "additionalItems": {one, whole, draft07},
	"allOf": {many, inPlace, ""}, "anyOf": {many, inPlace, ""}, "oneOf": {many, inPlace, ""}, "not": {one, aside, ""},
	"if": {one, aside, ""}, "then": {one, inPlace, ""}, "else": {one, inPlace, ""},
	"dependentSchemas": {named, inPlace, draft2020}, "dependencies": {mixed, inPlace, draft07},
	"$defs": {named, inPlace, draft2020}, "definitions": {named, inPlace, ""},
}

// openapiWords mean something to OpenAPI and nothing to what passes.
var openapiWords = []string{"discriminator", "xml", "externalDocs"}

// reader goes through a schema as its author wrote it, and makes it what the engine takes.
type reader struct {
	strict      bool
	annotations bool
	draft       string
	named       map[string]struct{}
	err         *Error // the first
}

func (r *reader) fail(pointer, format string, args ...any) any {
	if r.err == nil {
		r.err = complain(pointer, format, args...)
	}
	return nil
}

// dialect finds out what the schema is written in.
func (r *reader) dialect(document strictjson.Value) error {
	r.draft = draft2020
	if declared, there := document.Member("$schema"); there {
		text, _ := declared.Text()
		switch text = strings.TrimSuffix(text, "#"); text {
		case draft2020, draft07:
			r.draft = text
		default:
			return complain("/$schema", "this dialect is not read: write %s or %s#", draft2020, draft07)
		}
	}
	if r.strict && r.draft == draft07 {
		return complain("/$schema", "draft-07 cannot say that a member is unknown to all of a schema's parts: write `additionalProperties: false` yourself, or %s", draft2020)
	}
	return nil
}

// schema reads one schema.
func (r *reader) schema(v strictjson.Value, at string, about position) any {
	if yes, ok := v.Bool(); ok {
		if yes && r.strict && about == whole {
			return map[string]any{"unevaluatedProperties": false, "unevaluatedItems": false}
		}
		return yes
	}
	if v.Kind() != strictjson.Object {
		return r.fail(at, "a schema is an object, true or false")
	}
	made := map[string]any{}
	for _, member := range v.Members() {
		made[member.Name] = r.keyword(member, at+strictjson.Pointer([]string{member.Name}), about)
	}
	if at == "" {
		delete(made, "$id") // nothing refers to it: references are local
	}
	if r.strict && about == whole {
		if closes(v, "additionalProperties", "unevaluatedProperties") {
			made["unevaluatedProperties"] = false
		}
		if closes(v, "items", "unevaluatedItems") {
			made["unevaluatedItems"] = false // an element of which nothing is said may be an object of any fields
		}
	}
	return made
}

// closes reports whether a schema says nothing of the members, or the elements, that it does not name: Strict closes it then.
func closes(v strictjson.Value, words ...string) bool {
	for _, word := range words {
		if _, said := v.Member(word); said {
			return false
		}
	}
	return true
}

func (r *reader) keyword(member strictjson.Member, at string, about position) any {
	word, known := keywords[member.Name]
	switch {
	case strings.HasPrefix(member.Name, "x-") || at == "/$id":
		return nil
	case !known && r.annotations && slices.Contains(openapiWords, member.Name):
		return nil
	case !known:
		return r.fail(at, "`%s` is no keyword that is obeyed here, and would be ignored%s", member.Name, r.nearest(member.Name))
	case word.only != "" && word.only != r.draft:
		return r.fail(at, "`%s` means nothing in this dialect, and would be ignored", member.Name)
	case word.shape == annotation:
		return plain(member.Value)
	case word.shape == assertion:
		r.assertion(member, at, about)
		if text, _ := member.Value.Text(); member.Name == "format" && text == "regex" {
			return expressionFormat
		}
		return plain(member.Value)
	}
	inner := word.about
	if about == aside {
		inner = aside
	}
	if word.shape == named && (member.Name == "properties" || member.Name == "patternProperties") {
		for _, property := range member.Value.Members() {
			r.named[property.Name] = struct{}{}
		}
	}
	return r.applied(member, word.shape, at, inner)
}

// applied reads the schemas under a keyword.
func (r *reader) applied(member strictjson.Member, shape shape, at string, about position) any {
	v := member.Value
	isList, isMap := v.Kind() == strictjson.Array, v.Kind() == strictjson.Object
	switch {
	case shape == one, shape == either && !isList:
		return r.schema(v, at, about)
	case shape == either && r.draft == draft2020:
		return r.fail(at, "a list of schemas is written `prefixItems` in this dialect")
	case (shape == many || shape == either) && isList:
		list := make([]any, 0, len(v.Elements()))
		for i, element := range v.Elements() {
			list = append(list, r.schema(element, at+"/"+strconv.Itoa(i), about))
		}
		return list
	case (shape == named || shape == mixed) && isMap:
		made := map[string]any{}
		for _, inner := range v.Members() {
			place := at + strictjson.Pointer([]string{inner.Name})
			if shape == mixed && inner.Value.Kind() == strictjson.Array {
				made[inner.Name] = plain(inner.Value)
				continue
			}
			if member.Name == "patternProperties" {
				r.expression(inner.Name, place)
			}
			made[inner.Name] = r.schema(inner.Value, place, about)
		}
		return made
	}
	return r.fail(at, "`%s` holds something else than schemas", member.Name)
}

// assertion checks what the engine would take and ignore, or complain of in words about its own innards.
func (r *reader) assertion(member strictjson.Member, at string, about position) {
	text, isText := member.Value.Text()
	switch member.Name {
	case "$ref":
		if !isText || !strings.HasPrefix(text, "#") {
			r.fail(at, "a schema refers only to itself: write `#/$defs/name`")
		}
		if r.strict && about == aside {
			r.fail(at, "what is referred to is closed by `strict`, and would be another question here: write it out")
		}
	case "format":
		if isText && !slices.Contains(formats, text) && !r.annotations { // of OpenAPI's, the engine asserts those that it knows
			r.fail(at, "`%s` is no format that is asserted here, and would be ignored: there are %s", text, strings.Join(formats, ", "))
		}
	case "pattern":
		if isText {
			r.expression(text, at)
		}
	case "required":
		for _, name := range member.Value.Elements() {
			if text, ok := name.Text(); ok {
				r.named[text] = struct{}{}
			}
		}
	}
}

func (r *reader) expression(text, at string) {
	if _, err := syntax.Parse(text, syntax.Perl); err != nil {
		r.fail(at, "the expression is not RE2's: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

// nearest suggests a keyword that differs by case or an ending.
func (r *reader) nearest(name string) string {
	for known := range keywords {
		if strings.EqualFold(known, name) || strings.EqualFold(known, name+"s") || strings.EqualFold(known+"s", name) {
			return ": did you mean `" + known + "`?"
		}
	}
	return ""
}

// plain is a value as the engine takes it, of any size: it is the schema's author's.
func plain(v strictjson.Value) any {
	switch v.Kind() {
	case strictjson.Number:
		text, _ := v.Number()
		return json.Number(text)
	case strictjson.Array:
		list := make([]any, 0, len(v.Elements()))
		for _, element := range v.Elements() {
			list = append(list, plain(element))
		}
		return list
	case strictjson.Object:
		object := map[string]any{}
		for _, member := range v.Members() {
			object[member.Name] = plain(member.Value)
		}
		return object
	}
	scalar, _ := (&converter{}).value(v)
	return scalar
}
