package condition

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// Compile type-checks one expression for a use and readies it for evaluation. With any error the Program is nil; the
// errors are those of the first stage that found some (the text, the names, the types, the guards, the cost), all of that
// stage, in the order of the text. It never panics, whatever the source.
//
// The expression must be a bool. It reads token.<claim>, has(token.<claim>) and, under Unless, caller. It may use && ||
// ! ?: == != < <= > >= in + (joining texts), list literals, size, startsWith, endsWith, contains, matches (with a constant
// RE2 pattern, which matches anywhere in the text unless it is anchored), all and exists. Its estimated cost must not
// exceed MaxCost, and its text not 4 KiB.
func (s *Schema) Compile(src string, use Use) (p *Program, errs []*Error) {
	if use == Condition {
		return s.CompileCondition(src, Names{Token: true})
	}
	return compileFor(&compiler{schema: s, use: use}, src)
}

func compileFor(c *compiler, src string) (p *Program, errs []*Error) {
	defer func() {
		if r := recover(); r != nil {
			p, errs = nil, []*Error{newError(1, 0, fmt.Sprintf("the expression cannot be compiled: %v", r))}
		}
	}()
	p = c.compile(src)
	if len(c.errs) > 0 {
		slices.SortStableFunc(c.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, c.errs
	}
	return p, nil
}

// compiler is the state of one compilation.
type compiler struct {
	schema *Schema
	use    Use
	info   *ast.SourceInfo
	errs   []*Error
	reads  []string // claims, in the order of the text
	caller bool     // the caller is read

	names      Names       // of a condition
	references []Reference // of the request, in the order of the text
	request    bool        // method, host or path is read
	object     bool        // the object is read
}

// compile runs the stages; a stage that fails is the last one.
func (c *compiler) compile(src string) *Program {
	env := c.open(src)
	if env == nil {
		return nil
	}
	parsed, issues := env.Parse(src)
	if c.translate(issues) {
		return nil
	}
	c.info = parsed.NativeRep().SourceInfo()
	if c.walk(parsed.NativeRep().Expr()); len(c.errs) > 0 {
		return nil
	}
	checked, issues := env.Check(parsed)
	if c.translate(issues) {
		return nil
	}
	if c.prove(checked.NativeRep()); len(c.errs) > 0 {
		return nil
	}
	run, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		c.failAt(1, 0, "the expression cannot be readied: %v", err)
		return nil
	}
	slices.Sort(c.reads)
	return &Program{run: run, quick: c.quick(checked.NativeRep().Expr()), reads: c.reads, references: c.references, object: c.object}
}

// open refuses what is not worth parsing, and gives the environment to parse the rest in.
func (c *compiler) open(src string) *cel.Env {
	switch {
	case c.use != Machine && c.use != Unless && c.use != Condition:
		c.failAt(1, 0, "an expression with no use cannot be compiled")
	case strings.TrimSpace(src) == "":
		c.failAt(1, 0, "the expression is empty")
	case len(src) > maxSource:
		c.failAt(1, 0, "the expression is %d bytes long; the most is %d", len(src), maxSource)
	default:
		env, err := c.schema.environment(c.use)
		if err == nil {
			return env
		}
		c.failAt(1, 0, "the expression cannot be compiled: %v", err)
	}
	return nil
}

// prove runs what a well-typed expression must still pass.
func (c *compiler) prove(checked *ast.AST) {
	if c.wantBool(checked); len(c.errs) > 0 {
		return
	}
	if c.use == Machine {
		c.guard(checked.Expr(), c.surelySet())
	}
	if c.use == Condition && len(c.reads) == 0 && !c.caller && len(c.references) == 0 && !c.request && !c.object {
		c.failAt(1, 0, "the expression reads neither the request nor who sends it, so its answer is always the same")
	}
	if c.use == Unless && len(c.reads) == 0 && !c.caller {
		c.failAt(1, 0, "the expression reads neither the token nor the caller, so its answer is always the same")
	}
	if len(c.errs) == 0 {
		c.price(checked)
	}
}

// failAt notes an error at a line (from 1) and a column (from 0), as the engine counts.
func (c *compiler) failAt(line, column int, format string, args ...any) {
	c.errs = append(c.errs, newError(line, column, fmt.Sprintf(format, args...)))
}

// newError makes an error of the engine's coordinates; "nowhere" becomes the start.
func newError(line, column int, msg string) *Error {
	return &Error{Line: max(1, line), Column: max(1, column+1), Msg: msg}
}

// translate notes the engine's issues as errors of ours and tells whether there were any.
func (c *compiler) translate(issues *cel.Issues) bool {
	if issues.Err() == nil {
		return false
	}
	for _, e := range issues.Errors() {
		c.failAt(e.Location.Line(), e.Location.Column(), "%s", plain(e.Message))
	}
	return true
}

// plain says an issue of the engine without its inner names: operators as they are written, and no list of every token
// that the grammar would have taken.
func plain(msg string) string {
	if rest, ok := strings.CutPrefix(msg, "found no matching overload for '"); ok {
		name, args, _ := strings.Cut(rest, "' applied to '")
		return fmt.Sprintf("%s does not work on %s", symbol(name), strings.TrimSuffix(args, "'"))
	}
	msg, _, _ = strings.Cut(msg, " expecting {")
	return msg
}

// symbol is an operator as a person writes it; other names are themselves.
func symbol(name string) string {
	if sign, ok := operators.FindReverse(name); ok && sign != "" {
		return sign
	}
	return name
}
