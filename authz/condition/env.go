package condition

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The two variables of every expression.
const (
	tokenVar  = "token"
	callerVar = "caller"
)

// maxSource is the longest expression in bytes. A condition that needs more is a program, and belongs elsewhere.
const maxSource = 4 << 10

// maxNodes bounds the tree an expression may grow to, macros included; far above anything that fits maxSource by hand.
const maxNodes = 4096

// functions is all an expression may call, and of each only the forms listed (none listed: all). What is left out is left
// out on purpose: conversions and arithmetic can fail at a request, list[0] too; dyn() switches the types off; timestamps
// and durations invite the clock.
var functions = []*env.Function{
	env.NewFunction(operators.LogicalAnd),
	env.NewFunction(operators.LogicalOr),
	env.NewFunction(operators.LogicalNot),
	env.NewFunction(operators.Conditional),
	env.NewFunction(operators.NotStrictlyFalse), // what all() and exists() are made of
	env.NewFunction(operators.Equals),
	env.NewFunction(operators.NotEquals),
	env.NewFunction(operators.In, overload(overloads.InList)),
	env.NewFunction(operators.Less, overload(overloads.LessInt64), overload(overloads.LessString)),
	env.NewFunction(operators.LessEquals, overload(overloads.LessEqualsInt64), overload(overloads.LessEqualsString)),
	env.NewFunction(operators.Greater, overload(overloads.GreaterInt64), overload(overloads.GreaterString)),
	env.NewFunction(operators.GreaterEquals, overload(overloads.GreaterEqualsInt64), overload(overloads.GreaterEqualsString)),
	env.NewFunction(operators.Add, overload(overloads.AddString)),
	env.NewFunction(overloads.Size, overload(overloads.SizeString), overload(overloads.SizeStringInst),
		overload(overloads.SizeList), overload(overloads.SizeListInst)),
	env.NewFunction(overloads.StartsWith),
	env.NewFunction(overloads.EndsWith),
	env.NewFunction(overloads.Contains),
	env.NewFunction(overloads.Matches),
}

// macros is all an expression may use of CEL's macros; map and filter make lists, which no condition needs, and exists_one
// counts.
var macros = []string{"has", "all", "exists"}

func overload(id string) *env.Overload { return env.NewOverload(id, nil, nil) }

// newEnv is the CEL environment of one schema: a typed token, a caller, and the functions above.
func newEnv(readers map[string]*reader, use Use) (*cel.Env, error) {
	subset := env.NewLibrarySubset().AddIncludedFunctions(functions...).AddIncludedMacros(macros...)
	tokenType := cel.ObjectType(tokenVar)
	var request []cel.EnvOption
	if use == Condition {
		request = requestVariables()
	}
	return cel.NewCustomEnv(append(request,
		cel.CustomTypeProvider(newProvider(readers, use == Condition)),
		cel.CustomTypeAdapter(types.DefaultTypeAdapter),
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.Variable(tokenVar, tokenType),
		cel.Variable(callerVar, cel.StringType),
		cel.ASTValidators(cel.ValidateHomogeneousAggregateLiterals()),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ExpressionNodeLimit(maxNodes),
	)...)
}

// provider is the whole type system an expression can name: the token, and its declared claims. It knows no constants,
// enums or protobuf messages, so none can be reached.
type provider struct {
	token  *types.Type
	names  []string
	fields map[string]*types.FieldType
	// request says that the parts of the request have types too.
	request bool
}

func newProvider(readers map[string]*reader, request bool) *provider {
	p := &provider{
		request: request,
		token:   types.NewTypeTypeWithParam(types.NewObjectType(tokenVar)),
		fields:  make(map[string]*types.FieldType, len(readers)),
	}
	for name, r := range readers {
		p.names = append(p.names, name)
		p.fields[name] = field(r)
	}
	return p
}

// field is how the engine reads one claim.
func field(r *reader) *types.FieldType {
	return &types.FieldType{
		Type: celType(r.claim.Type),
		IsSet: func(target any) bool {
			t, _ := target.(Token)
			return r.has(t)
		},
		GetFrom: func(target any) (any, error) {
			t, _ := target.(Token)
			return r.read(t)
		},
	}
}

func celType(t Type) *types.Type {
	switch t {
	case String:
		return types.StringType
	case Strings:
		return types.NewListType(types.StringType)
	case Bool:
		return types.BoolType
	case Int:
		return types.IntType
	}
	return types.ErrorType
}

// EnumValue implements types.Provider: there are no enums.
func (*provider) EnumValue(name string) ref.Val { return types.NewErr("no enum %q", name) }

// FindIdent implements types.Provider: there are no constants and no type names.
func (*provider) FindIdent(string) (ref.Val, bool) { return nil, false }

// FindStructType implements types.Provider: the token's type and those of the request's parts are the only ones.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if name == tokenVar {
		return p.token, true
	}
	if p.request && isRequestVariable(name) {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return nil, false
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	return p.names, name == tokenVar
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(structName, fieldName string) (*types.FieldType, bool) {
	if p.request && isRequestVariable(structName) {
		return requestField(structName, fieldName)
	}
	if structName != tokenVar {
		return nil, false
	}
	f, ok := p.fields[fieldName]
	return f, ok
}

// errNoMessages is why an expression cannot build a token of its own.
var errNoMessages = errors.New("condition: expressions build no messages")

// NewValue implements types.Provider: an expression builds no token of its own.
func (*provider) NewValue(string, map[string]ref.Val) ref.Val { return types.WrapErr(errNoMessages) }
