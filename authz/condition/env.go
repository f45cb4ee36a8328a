package condition

import (
	"errors"
	"fmt"

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
func newEnv(claims map[string]Claim) (*cel.Env, error) {
	subset := env.NewLibrarySubset().AddIncludedFunctions(functions...).AddIncludedMacros(macros...)
	tokenType := cel.ObjectType(tokenVar)
	return cel.NewCustomEnv(
		cel.CustomTypeProvider(newProvider(claims)),
		cel.CustomTypeAdapter(types.DefaultTypeAdapter),
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.Variable(tokenVar, tokenType),
		cel.Variable(callerVar, cel.StringType),
		cel.ASTValidators(cel.ValidateHomogeneousAggregateLiterals()),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ExpressionNodeLimit(maxNodes),
	)
}

// provider is the whole type system an expression can name: the token, and its declared claims. It knows no constants,
// enums or protobuf messages, so none can be reached.
type provider struct {
	token  *types.Type
	names  []string
	fields map[string]*types.FieldType
}

func newProvider(claims map[string]Claim) *provider {
	p := &provider{
		token:  types.NewTypeTypeWithParam(types.NewObjectType(tokenVar)),
		fields: make(map[string]*types.FieldType, len(claims)),
	}
	for name, c := range claims {
		p.names = append(p.names, name)
		p.fields[name] = field(c)
	}
	return p
}

// field is how the engine reads one claim: presence, and the value or an error. It never gives a default.
func field(c Claim) *types.FieldType {
	absent := fmt.Errorf("claim %q is not in the token", c.Name)
	large := fmt.Errorf("claim %q is too large to be read by an expression (%d bytes, %d elements)", c.Name, MaxText, MaxList)
	return &types.FieldType{
		Type: celType(c.Type),
		IsSet: func(target any) bool {
			t, ok := target.(Token)
			return ok && t.c != nil && typeOf(t.c.values[c.Name]) == c.Type
		},
		GetFrom: func(target any) (any, error) {
			t, ok := target.(Token)
			if !ok || t.c == nil {
				return nil, absent
			}
			v := t.c.values[c.Name]
			if typeOf(v) != c.Type {
				return nil, absent
			}
			if _, over := t.c.over[c.Name]; over {
				return nil, large
			}
			return v, nil
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

// FindStructType implements types.Provider: the token's type is the only one.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if name != tokenVar {
		return nil, false
	}
	return p.token, true
}

// FindStructFieldNames implements types.Provider.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	return p.names, name == tokenVar
}

// FindStructFieldType implements types.Provider.
func (p *provider) FindStructFieldType(structName, fieldName string) (*types.FieldType, bool) {
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
