package condition

import (
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// set is a set of claim names.
type set map[string]bool

func union(a, b set) set {
	out := maps.Clone(a)
	if out == nil {
		out = set{}
	}
	maps.Copy(out, b)
	return out
}

func intersect(a, b set) set {
	out := set{}
	for name := range a {
		if b[name] {
			out[name] = true
		}
	}
	return out
}

// facts is what an expression proves of the token: the claims that are surely set when it is true, and when it is false.
type facts struct {
	yes, no set
}

// guard checks that every claim is read only where it is surely set: because the issuer always sends it, or because a
// has() to the left of it says so. set holds the claims that are known to be set where e is evaluated. The reading order
// is that of the text, although CEL would forgive a guard that comes too late: a person reads from the left.
func (c *compiler) guard(e ast.Expr, known set) facts {
	switch e.Kind() {
	case ast.LiteralKind:
		return c.never(e)
	case ast.SelectKind:
		return c.guardSelect(e, known)
	case ast.CallKind:
		return c.guardCall(e, known)
	case ast.ListKind:
		c.guardAll(e.AsList().Elements(), known)
	case ast.ComprehensionKind:
		loop := e.AsComprehension()
		c.guardAll([]ast.Expr{loop.IterRange(), loop.AccuInit(), loop.LoopCondition(), loop.LoopStep(), loop.Result()}, known)
	}
	return facts{}
}

// never is what a constant proves: of the answer it cannot give, everything, so that `has(token.x) ? ... : false` proves x.
func (c *compiler) never(e ast.Expr) facts {
	all := set{}
	for name := range c.schema.claims {
		all[name] = true
	}
	switch e.AsLiteral() {
	case types.True:
		return facts{no: all}
	case types.False:
		return facts{yes: all}
	}
	return facts{}
}

// guardAll checks parts that prove nothing to each other.
func (c *compiler) guardAll(parts []ast.Expr, known set) {
	for _, e := range parts {
		c.guard(e, known)
	}
}

func (c *compiler) guardSelect(e ast.Expr, known set) facts {
	name, ok := claimOf(e)
	if !ok {
		return c.guard(e.AsSelect().Operand(), known)
	}
	if e.AsSelect().IsTestOnly() {
		return facts{yes: set{name: true}}
	}
	if !known[name] {
		c.fail(e, "token.%s may be absent: write has(token.%s) && ... before it; %s", name, name, c.always())
	}
	return facts{}
}

// always is the part of an error text that says which claims need no guard.
func (c *compiler) always() string {
	names := slices.Sorted(maps.Keys(c.surelySet()))
	if len(names) == 0 {
		return "no claim is in every token"
	}
	return "in every token are only " + strings.Join(names, ", ")
}

// surelySet is what is known before anything is evaluated.
func (c *compiler) surelySet() set {
	out := set{}
	for name, claim := range c.schema.claims {
		if claim.Always {
			out[name] = true
		}
	}
	return out
}

func (c *compiler) guardCall(e ast.Expr, known set) facts {
	call := e.AsCall()
	args := call.Args()
	switch call.FunctionName() {
	case operators.LogicalNot:
		f := c.guard(args[0], known)
		return facts{yes: f.no, no: f.yes}
	case operators.LogicalAnd:
		a := c.guard(args[0], known)
		b := c.guard(args[1], union(known, a.yes))
		return facts{yes: union(a.yes, b.yes), no: intersect(a.no, union(a.yes, b.no))}
	case operators.LogicalOr:
		a := c.guard(args[0], known)
		b := c.guard(args[1], union(known, a.no))
		return facts{yes: intersect(a.yes, union(a.no, b.yes)), no: union(a.no, b.no)}
	case operators.Conditional:
		cond := c.guard(args[0], known)
		a := c.guard(args[1], union(known, cond.yes))
		b := c.guard(args[2], union(known, cond.no))
		return facts{
			yes: intersect(union(cond.yes, a.yes), union(cond.no, b.yes)),
			no:  intersect(union(cond.yes, a.no), union(cond.no, b.no)),
		}
	}
	if call.IsMemberFunction() {
		c.guard(call.Target(), known)
	}
	c.guardAll(args, known)
	return facts{}
}
