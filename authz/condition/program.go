package condition

import (
	"errors"
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// Program is one compiled expression. It is immutable and safe for concurrent use. The zero Program answers with an
// error.
type Program struct {
	run   cel.Program
	reads []string // sorted
}

// Reads names the claims that the expression reads or asks has() of, sorted, each once. It is meant for warnings: an
// expression over a claim that its bearer can edit.
func (p *Program) Reads() []string { return slices.Clone(p.reads) }

// Why an evaluation does not begin.
var (
	errNoProgram   = errors.New("condition: evaluate: no program")
	errNoCaller    = errors.New("the expression reads the caller, and there is none")
	errLargeCaller = errors.New("the caller is longer than a SPIFFE ID can be")
)

// Eval answers the expression for a token and a caller (a SPIFFE ID; "" for none). For a request without a token pass the
// zero Token. An error always comes with false: something was read that is not there (a claim, or the caller where there
// is none: `caller != "..."` must not be true of nobody), or is larger than MaxText, MaxList or MaxCaller. An error is no
// answer, and what follows from it is the use's to say. CEL's own rule holds for && and ||: a side that settles the answer
// makes the other side's error count for nothing.
func (p *Program) Eval(t Token, caller string) (yes bool, err error) {
	if p == nil || p.run == nil {
		return false, errNoProgram
	}
	defer func() {
		if r := recover(); r != nil {
			yes, err = false, fmt.Errorf("condition: evaluate: panic: %v", r)
		}
	}()
	out, _, err := p.run.Eval(&vars{token: t, caller: caller})
	if err != nil {
		return false, fmt.Errorf("condition: evaluate: %w", err)
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("condition: evaluate: the answer is a %s, not a bool", out.Type().TypeName())
	}
	return bool(b), nil
}

// vars is the activation of one evaluation: the two variables and nothing else.
type vars struct {
	token  Token
	caller string
}

// ResolveName implements cel.Activation. A caller that cannot be read is an error value, which the engine treats as it
// treats an absent claim.
func (v *vars) ResolveName(name string) (any, bool) {
	switch {
	case name == tokenVar:
		return v.token, true
	case name != callerVar:
		return nil, false
	case v.caller == "":
		return types.WrapErr(errNoCaller), true
	case len(v.caller) > MaxCaller:
		return types.WrapErr(errLargeCaller), true
	}
	return types.String(v.caller), true
}

// Parent implements cel.Activation: there is none.
func (*vars) Parent() cel.Activation { return nil }
