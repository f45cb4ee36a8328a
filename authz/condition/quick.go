package condition

import (
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Most conditions are a comparison or two, and the engine's way of answering them costs allocations on every request. This
// file answers the plainest shapes with closures made at load: has(), a bool claim, text == text, text != text, and
// "text" in a list, joined by && || and !. Everything else is nil here and goes through the engine, which stays the
// definition of every answer: a property test holds the two equal.

// step answers one expression.
type step func(t Token, caller string) (bool, error)

// text is one side of a comparison.
type text func(t Token, caller string) (string, error)

// quick is the closure for a checked expression; nil if its shape is not one of the plain ones.
func (s *Schema) quick(e ast.Expr) step {
	switch e.Kind() {
	case ast.SelectKind:
		return s.quickClaim(e)
	case ast.CallKind:
		args := e.AsCall().Args()
		switch e.AsCall().FunctionName() {
		case operators.LogicalNot:
			return not(s.quick(args[0]))
		case operators.LogicalAnd:
			return settle(false, s.quick(args[0]), s.quick(args[1]))
		case operators.LogicalOr:
			return settle(true, s.quick(args[0]), s.quick(args[1]))
		case operators.Equals:
			return equal(s.quickText(args[0]), s.quickText(args[1]))
		case operators.NotEquals:
			return not(equal(s.quickText(args[0]), s.quickText(args[1])))
		case operators.In:
			return s.quickIn(args[0], args[1])
		}
	}
	return nil
}

// quickClaim is has(token.x), or token.x of a bool.
func (s *Schema) quickClaim(e ast.Expr) step {
	name, ok := claimOf(e)
	if !ok {
		return nil
	}
	r := s.readers[name]
	if e.AsSelect().IsTestOnly() {
		return func(t Token, _ string) (bool, error) { return r.has(t), nil }
	}
	if r.claim.Type != Bool {
		return nil
	}
	return func(t Token, _ string) (bool, error) {
		v, err := r.read(t)
		b, _ := v.(bool)
		return b, err
	}
}

// quickIn is "text" in token.x, of a list.
func (s *Schema) quickIn(element, list ast.Expr) step {
	want, ok := literalText(element)
	name, isClaim := claimOf(list)
	if !ok || !isClaim {
		return nil // a claim here is a list: the types are checked
	}
	r := s.readers[name]
	return func(t Token, _ string) (bool, error) {
		v, err := r.read(t)
		l, _ := v.([]string)
		return slices.Contains(l, want), err
	}
}

// quickText is a constant text, a string claim or the caller.
func (s *Schema) quickText(e ast.Expr) text {
	if constant, ok := literalText(e); ok {
		return func(Token, string) (string, error) { return constant, nil }
	}
	if variable(e) == callerVar {
		return func(_ Token, caller string) (string, error) { return caller, refuseCaller(caller) }
	}
	name, ok := claimOf(e)
	if !ok || s.claims[name].Type != String {
		return nil
	}
	r := s.readers[name]
	return func(t Token, _ string) (string, error) {
		v, err := r.read(t)
		text, _ := v.(string)
		return text, err
	}
}

func equal(a, b text) step {
	if a == nil || b == nil {
		return nil
	}
	return func(t Token, caller string) (bool, error) {
		x, err := a(t, caller)
		if err != nil {
			return false, err
		}
		y, err := b(t, caller)
		return err == nil && x == y, err
	}
}

func not(a step) step {
	if a == nil {
		return nil
	}
	return func(t Token, caller string) (bool, error) {
		yes, err := a(t, caller)
		return err == nil && !yes, err
	}
}

// settle is && (settled by false) or || (settled by true). As in CEL, a side that settles the answer makes the other
// side's error count for nothing, and of two errors the left one is told.
func settle(by bool, a, b step) step {
	if a == nil || b == nil {
		return nil
	}
	return func(t Token, caller string) (bool, error) {
		x, errX := a(t, caller)
		if errX == nil && x == by {
			return by, nil
		}
		y, errY := b(t, caller)
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
