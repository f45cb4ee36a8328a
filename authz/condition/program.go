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
	quick step     // answers as run does, without the engine; nil if the expression is not plain enough
	reads []string // sorted

	references []Reference // what a condition reads of the request
	object     bool        // it reads the object
}

// Reads names the claims that the expression reads or asks has() of, sorted, each once. It is meant for warnings: an
// expression over a claim that its bearer can edit.
func (p *Program) Reads() []string { return slices.Clone(p.reads) }

// evalError is an error that says which value could not be read.
type evalError string

func (e evalError) Error() string { return "condition: evaluate: " + string(e) }

// Why an evaluation gives no answer, whatever the claims.
var (
	errNoProgram   error = evalError("no program")
	errNoCaller    error = evalError("the expression reads the caller, and there is none")
	errLargeCaller error = evalError("the caller is longer than a SPIFFE ID can be")
)

// Eval answers the expression for a token and a caller (a SPIFFE ID; "" for none). For a request without a token pass the
// zero Token. An error always comes with false: something was read that is not there (a claim, or the caller where there
// is none: `caller != "..."` must not be true of nobody), or is larger than MaxText, MaxList or MaxCaller. An error is no
// answer, and what follows from it is the use's to say. CEL's own rule holds for && and ||: a side that settles the answer
// makes the other side's error count for nothing.
func (p *Program) Eval(t Token, caller string) (bool, error) {
	if p == nil || p.run == nil {
		return false, errNoProgram
	}
	if p.quick != nil {
		return p.quick(t, caller, nil)
	}
	return p.engine(&vars{token: t, caller: caller})
}

// engine answers through CEL.
func (p *Program) engine(v *vars) (yes bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			yes, err = false, fmt.Errorf("condition: evaluate: panic: %v", r)
		}
	}()
	out, _, err := p.run.Eval(v)
	if own := evalError(""); errors.As(err, &own) {
		return false, own
	}
	if err != nil {
		return false, fmt.Errorf("condition: evaluate: %w", err)
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("condition: evaluate: the answer is a %s, not a bool", out.Type().TypeName())
	}
	return bool(b), nil
}

// vars is the activation of one evaluation: the token, the caller, and, under a condition, the request.
type vars struct {
	token      Token
	caller     string
	request    *Input
	references []Reference
}

// ResolveName implements cel.Activation. A caller that cannot be read is an error value, which the engine treats as it
// treats an absent claim.
func (v *vars) ResolveName(name string) (any, bool) {
	switch {
	case name == tokenVar:
		return v.token, true
	case name != callerVar:
		return v.resolveRequest(name)
	}
	if err := refuseCaller(v.caller); err != nil {
		return types.WrapErr(err), true
	}
	return types.String(v.caller), true
}

// refuseCaller says why a caller cannot be read; nil if it can.
func refuseCaller(caller string) error {
	switch {
	case caller == "":
		return errNoCaller
	case len(caller) > MaxCaller:
		return errLargeCaller
	}
	return nil
}

// Parent implements cel.Activation: there is none.
func (*vars) Parent() cel.Activation { return nil }
