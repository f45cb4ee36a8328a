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
	reads []string
}

// Reads names the claims that the expression reads or asks has() of, sorted, each once. It is meant for warnings: an
// expression over a claim that its bearer can edit.
func (p *Program) Reads() []string { return slices.Clone(p.reads) }

// errNoProgram is what the zero Program answers.
var errNoProgram = errors.New("condition: evaluate: no program")

// Eval answers the expression for a token and a caller (a SPIFFE ID; "" for none). For a request without a token pass the
// zero Token. An error always comes with false: a claim that is not in the token was read, or a value is larger than
// MaxText, MaxList or MaxCaller. An error is no answer, and what follows from it is the use's to say. CEL's own rule holds
// for && and ||: a side that settles the answer makes the other side's error count for nothing.
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

// ResolveName implements cel.Activation.
func (v *vars) ResolveName(name string) (any, bool) {
	switch name {
	case tokenVar:
		return v.token, true
	case callerVar:
		if len(v.caller) > MaxCaller {
			return nil, false
		}
		return v.caller, true
	}
	return nil, false
}

// Parent implements cel.Activation: there is none.
func (*vars) Parent() cel.Activation { return nil }
