package condition

import (
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// walk visits the parsed expression before the engine checks its types, and says in a policy's words what the engine
// would say in its own or would let pass: a claim nobody declared, the token as a whole, the caller where there is none,
// a function that does not exist here, a pattern that is not constant. It notes what is read on the way.
func (c *compiler) walk(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		c.walkIdent(e)
	case ast.SelectKind:
		c.walkSelect(e)
	case ast.CallKind:
		c.walkCall(e)
	case ast.ListKind:
		c.walkAll(e.AsList().Elements())
	case ast.MapKind, ast.StructKind:
		c.fail(e, "maps and messages cannot be written here: use lists and texts")
	case ast.ComprehensionKind:
		c.walkLoop(e)
	}
}

func (c *compiler) walkAll(es []ast.Expr) {
	for _, e := range es {
		c.walk(e)
	}
}

func (c *compiler) walkIdent(e ast.Expr) {
	switch variable(e) {
	case requestVar, pathVar, queryVar, headerVar, objectVar:
		c.walkRequest(e)
	case tokenVar:
		c.fail(e, "the token is read claim by claim: write token.<claim>; %s", c.declared())
	case callerVar:
		if c.use == Machine {
			c.fail(e, "caller cannot be read here: whether a token is a machine's is the token's to say")
		}
		c.caller = true
	}
}

func (c *compiler) walkSelect(e ast.Expr) {
	if c.use == Condition && c.walkPart(e) {
		return
	}
	name, ok := claimOf(e)
	if !ok {
		c.walk(e.AsSelect().Operand())
		return
	}
	if c.use == Condition && !c.names.Token {
		c.fail(e, "the rule asks for no token, so there is none to read")
		return
	}
	if _, declared := c.schema.claims[name]; !declared {
		c.fail(e, "claim %q is not declared; %s", name, c.declared())
		return
	}
	if !slices.Contains(c.reads, name) {
		c.reads = append(c.reads, name)
	}
}

// declared is the part of an error text that says which claims exist.
func (c *compiler) declared() string {
	if len(c.schema.names) == 0 {
		return "no claim is declared"
	}
	return "declared are " + strings.Join(c.schema.names, ", ")
}

func (c *compiler) walkCall(e ast.Expr) {
	if c.use == Condition && rewrite(e) {
		c.walkSelect(e)
		return
	}
	call := e.AsCall()
	name := call.FunctionName()
	if !known(name) {
		c.failCall(e, name)
		return
	}
	if name == overloads.Matches {
		c.walkPattern(e)
	}
	if call.IsMemberFunction() {
		c.walk(call.Target())
	}
	c.walkAll(call.Args())
}

// known tells whether an expression may call name.
func known(name string) bool {
	for _, f := range functions {
		if f.Name == name {
			return true
		}
	}
	return false
}

// failCall refuses a function or an operator that is not offered.
func (c *compiler) failCall(e ast.Expr, name string) {
	if name == operators.Index || name == operators.OptIndex || name == operators.OptSelect {
		c.fail(e, "picking one element fails when it is not there: use in, exists() or all(), and token.<claim> for a claim")
		return
	}
	if sign := symbol(name); sign != name {
		c.fail(e, "operator %s is not offered here", sign)
		return
	}
	loc := c.info.GetStartLocation(e.ID()) // of the opening parenthesis
	c.failAt(loc.Line(), loc.Column()-len(name), "function %s is not offered here; there are size, startsWith, endsWith, contains, matches, has, all and exists", name)
}

// walkPattern demands that the pattern of matches() can be compiled now: a pattern from a request is a program from a
// stranger, and one that does not compile would be an error at every request.
func (c *compiler) walkPattern(e ast.Expr) {
	args := e.AsCall().Args()
	if len(args) == 0 {
		return // the engine counts arguments
	}
	pattern := args[len(args)-1]
	text, ok := literalText(pattern)
	if !ok {
		c.fail(pattern, "the pattern of matches() must be one constant text")
		return
	}
	if _, err := regexp.Compile(text); err != nil {
		c.fail(pattern, "the pattern of matches() does not compile (RE2): %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// walkLoop visits all() and exists().
func (c *compiler) walkLoop(e ast.Expr) {
	loop := e.AsComprehension()
	if v := loop.IterVar(); v == tokenVar || v == callerVar || c.use == Condition && (v == objectVar || isRequestVariable(v)) {
		c.fail(e, "%s cannot name an element of a list: it is the request's", v)
		return
	}
	c.walkAll([]ast.Expr{loop.IterRange(), loop.AccuInit(), loop.LoopCondition(), loop.LoopStep(), loop.Result()})
}

// variable is the name of an identifier; CEL writes the outermost scope with a leading dot.
func variable(e ast.Expr) string {
	if e.Kind() != ast.IdentKind {
		return ""
	}
	return strings.TrimPrefix(e.AsIdent(), ".")
}

// claimOf is the claim that e reads or asks has() of; false if e is anything but token.<claim>.
func claimOf(e ast.Expr) (string, bool) {
	if e.Kind() != ast.SelectKind || variable(e.AsSelect().Operand()) != tokenVar {
		return "", false
	}
	return e.AsSelect().FieldName(), true
}

// fail notes an error at a node: at its first letter, where the engine's own place for a selection is the dot.
func (c *compiler) fail(at ast.Expr, format string, args ...any) {
	for at.Kind() == ast.SelectKind {
		at = at.AsSelect().Operand()
	}
	loc := c.info.GetStartLocation(at.ID())
	c.failAt(loc.Line(), loc.Column(), format, args...)
}
