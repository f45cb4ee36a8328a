package openapi

import "github.com/sallyport-dev/sallyport/internal/strictyaml"

// types is a set of JSON types that a schema may allow.
type types uint8

const (
	isString types = 1 << iota
	isInteger
	isFraction // with isInteger: the type number
	isBoolean
	isNull
	isArray
	isObject

	isNumber = isInteger | isFraction
	anything = isString | isNumber | isBoolean | isNull | isArray | isObject
	// scalars are what one text can be.
	scalars = isString | isNumber | isBoolean
)

var typeNames = map[string]types{
	"string": isString, "integer": isInteger, "number": isNumber, "boolean": isBoolean, "null": isNull, "array": isArray, "object": isObject,
}

// typeBudget bounds how many schemas are looked at for the types of one: references make a graph, and paths through it are many. What
// lies beyond is taken for anything, which the schema itself will judge.
const typeBudget = 500

// typesOf are the types that a schema leaves open, looking through references, allOf, anyOf and oneOf.
func (s *schemas) typesOf(n *node) types {
	budget := typeBudget
	return s.types(n, &budget, s.ownTypes)
}

// itemTypes are the types that a schema of lists leaves open for their elements.
func (s *schemas) itemTypes(n *node) types {
	budget := typeBudget
	return s.types(n, &budget, func(n *node) types {
		if n.get("items") == nil {
			return anything
		}
		return s.types(n.get("items"), &budget, s.ownTypes)
	})
}

// types combines what own says of a schema and of those that it is made of.
func (s *schemas) types(n *node, budget *int, own func(*node) types) types {
	if *budget--; *budget < 0 || !n.is(strictyaml.Map) {
		return anything
	}
	found := anything
	if ref := n.get("$ref"); ref.is(strictyaml.String) {
		if target, ok := resolve(s.root, ref.text); ok {
			found = s.types(target, budget, own)
		}
		if !s.is31 {
			return found // OpenAPI 3.0 looks at nothing beside a reference
		}
	}
	found &= own(n)
	for _, part := range n.get("allOf").list() {
		found &= s.types(part, budget, own)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		parts := n.get(key).list()
		var some types
		for _, part := range parts {
			some |= s.types(part, budget, own)
		}
		if len(parts) > 0 {
			found &= some
		}
	}
	return found
}

// ownTypes are what `type`, `enum` and `const` of one schema leave open.
func (s *schemas) ownTypes(n *node) types {
	if known, ok := s.open[n]; ok {
		return known
	}
	found := anything
	if t := n.get("type"); t != nil {
		found = typeNames[t.str()]
		for _, item := range t.list() {
			found |= typeNames[item.str()]
		}
	}
	if !s.is31 && n.get("nullable").truth() {
		found |= isNull
	}
	if values := n.get("enum").list(); len(values) > 0 {
		var some types
		for _, value := range values {
			some |= typeOfValue(value)
		}
		found &= some
	}
	if value := n.get("const"); value != nil && s.is31 {
		found &= typeOfValue(value)
	}
	s.open[n] = found
	return found
}

func typeOfValue(n *node) types {
	switch n.kind {
	case strictyaml.String:
		return isString
	case strictyaml.Int, strictyaml.Float:
		return isNumber
	case strictyaml.Bool:
		return isBoolean
	case strictyaml.Null:
		return isNull
	case strictyaml.List:
		return isArray
	}
	return isObject
}
