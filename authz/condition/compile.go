package condition

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// Compile type-checks one expression for a use and readies it for evaluation. Every error that can be found is returned,
// in the order of the text; with any error the Program is nil. It never panics, whatever the source.
//
// The expression must be a bool. It reads token.<claim>, has(token.<claim>) and, under Unless, caller. It may use && || !
// ?: == != < <= > >= in + (joining strings), list literals, size, startsWith, endsWith, contains, matches (with a constant RE2
// pattern), has, all, exists and exists_one. Its estimated cost must not exceed MaxCost.
func (s *Schema) Compile(src string, use Use) (p *Program, errs []*Error) {
	defer func() {
		if r := recover(); r != nil {
			p, errs = nil, []*Error{{Line: 1, Column: 1, Msg: fmt.Sprintf("the expression cannot be compiled: %v", r)}}
		}
	}()
	c := compiler{schema: s, use: use}
	return c.compile(src)
}

// compiler is the state of one compilation.
type compiler struct {
	schema *Schema
	use    Use
	info   *ast.SourceInfo
	errs   []*Error
}

func (c *compiler) compile(src string) (*Program, []*Error) {
	if msg := c.refuse(src); msg != "" {
		return nil, []*Error{{Line: 1, Column: 1, Msg: msg}}
	}
	env, err := c.env()
	if err != nil {
		return nil, []*Error{{Line: 1, Column: 1, Msg: err.Error()}}
	}
	parsed, issues := env.Parse(src)
	if issues.Err() != nil {
		return nil, translate(issues)
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, translate(issues)
	}
	prg, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, []*Error{{Line: 1, Column: 1, Msg: err.Error()}}
	}
	return &Program{run: prg}, nil
}

// refuse says why src is not looked at at all; "" if it is.
func (c *compiler) refuse(src string) string {
	switch {
	case c.use != Machine && c.use != Unless:
		return "an expression with no use cannot be compiled"
	case strings.TrimSpace(src) == "":
		return "the expression is empty"
	case len(src) > maxSource:
		return fmt.Sprintf("the expression is %d bytes long; the most is %d", len(src), maxSource)
	}
	return ""
}

func (c *compiler) env() (*cel.Env, error) {
	if c.schema.env != nil {
		return c.schema.env, nil
	}
	return newEnv(nil)
}

// translate turns the engine's issues into ours.
func translate(issues *cel.Issues) []*Error {
	var out []*Error
	for _, e := range issues.Errors() {
		out = append(out, &Error{Line: max(1, e.Location.Line()), Column: max(1, e.Location.Column()+1), Msg: e.Message})
	}
	return out
}
