package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Most conditions are a comparison or two, and the engine's way of answering them costs allocations on every request. This
// file answers the plainest shapes with closures made at load: has(), a bool claim, text == text, text != text, and
// a text in a list, of claims, the caller and the request, joined by && || and !. Everything else is nil here and goes through the engine, which stays the
// definition of every answer: a property test holds the two equal.

// step answers one expression.
type step func(t Token, caller string, in *Input) (bool, error)

// text is one side of a comparison.
type text func(t Token, caller string, in *Input) (string, error)

// quick is the closure for a checked expression; nil if its shape is not one of the plain ones.
func (c *compiler) quick(e ast.Expr) step {
	switch e.Kind() {
	case ast.SelectKind:
		return c.quickClaim(e)
	case ast.CallKind:
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.LogicalNot:
			return not(c.quick(args[0]))
		case operators.LogicalAnd:
			return settle(false, c.quick(args[0]), c.quick(args[1]))
		case operators.LogicalOr:
			return settle(true, c.quick(args[0]), c.quick(args[1]))
		case operators.Equals:
			return equal(c.quickText(args[0]), c.quickText(args[1]))
		case operators.NotEquals:
			return not(equal(c.quickText(args[0]), c.quickText(args[1])))
		case operators.In:
			return c.quickIn(args[0], args[1])
		}
	}
	return nil
}

// quickClaim is has(token.x), or token.x of a bool, or has(query.x).
func (c *compiler) quickClaim(e ast.Expr) step {
	if ref, ok := partOf(e); ok && e.AsSelect().IsTestOnly() {
		return c.quickPresence(ref)
	}
	name, ok := claimOf(e)
	if !ok {
		return nil
	}
	r := c.schema.readers[name]
	if e.AsSelect().IsTestOnly() {
		return func(t Token, _ string, _ *Input) (bool, error) { return r.has(t), nil }
	}
	if r.claim.Type != Bool {
		return nil
	}
	return func(t Token, _ string, _ *Input) (bool, error) {
		v, err := r.read(t)
		b, _ := v.(bool)
		return b, err
	}
}

// quickIn is "text" in token.x, of a list.
func (c *compiler) quickIn(element, list ast.Expr) step {
	want := c.quickText(element)
	name, isClaim := claimOf(list)
	if want == nil || !isClaim {
		return nil // a claim here is a list: the types are checked
	}
	r := c.schema.readers[name]
	return func(t Token, caller string, in *Input) (bool, error) {
		element, err := want(t, caller, in)
		if err != nil {
			return false, err
		}
		v, err := r.read(t)
		l, _ := v.([]string)
		return slices.Contains(l, element), err
	}
}

// quickText is a constant text, a string claim or the caller.
func (c *compiler) quickText(e ast.Expr) text {
	if constant, ok := literalText(e); ok {
		return func(Token, string, *Input) (string, error) { return constant, nil }
	}
	if variable(e) == callerVar {
		return func(_ Token, caller string, _ *Input) (string, error) { return caller, refuseCaller(caller) }
	}
	if read := c.quickRequest(e); read != nil {
		return read
	}
	name, ok := claimOf(e)
	if !ok || c.schema.claims[name].Type != String {
		return nil
	}
	r := c.schema.readers[name]
	return func(t Token, _ string, _ *Input) (string, error) {
		v, err := r.read(t)
		text, _ := v.(string)
		return text, err
	}
}

func equal(a, b text) step {
	if a == nil || b == nil {
		return nil
	}
	return func(t Token, caller string, in *Input) (bool, error) {
		x, err := a(t, caller, in)
		if err != nil {
			return false, err
		}
		y, err := b(t, caller, in)
		return err == nil && x == y, err
	}
}

func not(a step) step {
	if a == nil {
		return nil
	}
	return func(t Token, caller string, in *Input) (bool, error) {
		yes, err := a(t, caller, in)
		return err == nil && !yes, err
	}
}

// settle is && (settled by false) or || (settled by true). As in CEL, a side that settles the answer makes the other
// side's error count for nothing, and of two errors the left one is told.
func settle(by bool, a, b step) step {
	if a == nil || b == nil {
		return nil
	}
	return func(t Token, caller string, in *Input) (bool, error) {
		x, errX := a(t, caller, in)
		if errX == nil && x == by {
			return by, nil
		}
		y, errY := b(t, caller, in)
		switch {
		case errY == nil && y == by:
			return by, nil
		case errX != nil:
			return false, errX
		case errY != nil:
			return false, errY
		}
		return !by, nil
	}
}
