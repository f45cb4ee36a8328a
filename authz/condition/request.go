package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// The variables that only a condition has.
const (
	requestVar = "request"
	pathVar    = "path"
	queryVar   = "query"
	headerVar  = "header"
	objectVar  = "object"
)

// Source is the part of a request that an expression reads.
type Source uint8

const (
	// Path is a name that the rule's pattern captures.
	Path Source = iota + 1
	// Query is a query parameter.
	Query
	// Header is a header.
	Header
)

var sources = map[string]Source{pathVar: Path, queryVar: Query, headerVar: Header}

// String is the part's name in expressions: path, query or header.
func (s Source) String() string {
	for name, source := range sources {
		if source == s {
			return name
		}
	}
	return "invalid"
}

// Reference is one value of the request that an expression reads.
type Reference struct {
	Source Source
	Name   string
}

// Names is what a rule offers to its condition, beside the request's method, host, path, query and headers and the caller.
type Names struct {
	// Captures are what the rule's pattern captures.
	Captures []string
	// Object says that the rule reads one object's id.
	Object bool
	// Token says that the rule asks for a token.
	Token bool
}

// ValueState says what became of a Reference. The zero value is an error to whoever reads it.
type ValueState uint8

const (
	// Unreadable stands in the request in more than one way. A condition that could read it has no answer, whatever the others say: the
	// upstream may take it for there or not there, and for either value.
	Unreadable ValueState = iota
	// Absent is not in the request: has() is false, reading it is an error.
	Absent
	// Set is there, in one way.
	Set
)

// Value is what a Reference reads.
type Value struct {
	Text  string
	State ValueState
}

// Input is one request. It is not kept.
type Input struct {
	// Token is the zero Token where the rule asks for none, and Caller "" where nobody is known.
	Token  Token
	Caller string
	// Method, Host and Path are the request's, canonical.
	Method, Host, Path string
	// Object is the id of the object, "" for none.
	Object string
	// Values are those of the program's References, in their order.
	Values []Value
}

// CompileCondition is Compile for a rule's condition. Beside token.<claim> and caller it reads request.method, request.host, request.path,
// path.<capture>, query.<name>, header.<name> and object, all of them texts. A name that is no identifier is written header["x-tenant"],
// and `"x-tenant" in header` asks whether it is there, as has(query.page) does.
func (s *Schema) CompileCondition(src string, names Names) (*Program, []*Error) {
	return compileFor(&compiler{schema: s, use: Condition, names: names}, src)
}

// References are what Decide must be given of the request, in this order; none for the other uses.
func (p *Program) References() []Reference { return slices.Clone(p.references) }

// ReadsObject reports whether the expression reads the object, which must then be known first.
func (p *Program) ReadsObject() bool { return p != nil && p.object }

// Decide answers a condition for a request. As with Eval an error comes with false, and is no answer.
func (p *Program) Decide(in *Input) (bool, error) {
	if p == nil || p.run == nil || in == nil {
		return false, errNoProgram
	}
	for i := range p.references {
		if in.value(i).State == Unreadable {
			return false, errUnreadable
		}
	}
	if p.quick != nil {
		return p.quick(in.Token, in.Caller, in)
	}
	return p.engine(&vars{token: in.Token, caller: in.Caller, request: in, references: p.references})
}

// requestVariables declares the variables of a condition.
func requestVariables() []cel.EnvOption {
	options := []cel.EnvOption{cel.Variable(objectVar, cel.StringType)}
	for _, name := range []string{requestVar, pathVar, queryVar, headerVar} {
		options = append(options, cel.Variable(name, cel.ObjectType(name)))
	}
	return options
}

func isRequestVariable(name string) bool {
	return name == requestVar || sources[name] != 0
}

// requestTexts are the fields of request.
var requestTexts = map[string]func(in *Input) string{
	"method": func(in *Input) string { return in.Method },
	"host":   func(in *Input) string { return in.Host },
	"path":   func(in *Input) string { return in.Path },
}

var (
	errUnreadable  error = evalError("a value stands in the request in more than one way")
	errNoObject    error = evalError("the expression reads the object, and there is none")
	errLargeObject error = evalError("the object is too large to be read by an expression")
	errNoRequest   error = evalError("there is no request")
)

// reading is how one value of the request is read, by the engine and by the closures alike.
type reading struct{ absent, large error }

func newReading(name string) reading {
	return reading{
		absent: evalError(name + " is not in the request"),
		large:  evalError(fmt.Sprintf("%s is too large to be read by an expression (%d bytes)", name, MaxText)),
	}
}

func (r *reading) text(v Value) (string, error) {
	if v.State != Set {
		return "", r.absent
	}
	return r.bounded(v.Text)
}

func (r *reading) bounded(text string) (string, error) {
	if len(text) > MaxText {
		return "", r.large
	}
	return text, nil
}

func (in *Input) value(i int) Value {
	if in == nil || i < 0 || i >= len(in.Values) {
		return Value{}
	}
	return in.Values[i]
}

func readObject(in *Input) (string, error) {
	switch {
	case in == nil || in.Object == "":
		return "", errNoObject
	case len(in.Object) > MaxText:
		return "", errLargeObject
	}
	return in.Object, nil
}

// resolveRequest is the engine's way to the request.
func (v *vars) resolveRequest(name string) (any, bool) {
	switch {
	case v.request == nil:
		return nil, false
	case name == objectVar:
		text, err := readObject(v.request)
		if err != nil {
			return types.WrapErr(err), true
		}
		return types.String(text), true
	case isRequestVariable(name):
		return v, true
	}
	return nil, false
}

// requestField is how the engine reads one field of request, path, query or header. Which of them may be read was settled before.
func requestField(part, name string) (*types.FieldType, bool) {
	read := newReading(part + "." + name)
	if part == requestVar {
		text, ok := requestTexts[name]
		return &types.FieldType{
			Type:  types.StringType,
			IsSet: func(any) bool { return true },
			GetFrom: func(target any) (any, error) {
				v, ok := target.(*vars)
				if !ok || v.request == nil {
					return nil, errNoRequest
				}
				return read.bounded(text(v.request))
			},
		}, ok
	}
	ref := Reference{Source: sources[part], Name: name}
	value := func(target any) Value {
		if v, ok := target.(*vars); ok {
			return v.request.value(slices.Index(v.references, ref))
		}
		return Value{}
	}
	return &types.FieldType{
		Type:    types.StringType,
		IsSet:   func(target any) bool { return value(target).State == Set },
		GetFrom: func(target any) (any, error) { return read.text(value(target)) },
	}, true
}

// partOf is the value of the request that e reads or asks has() of; false if e is anything but path.<name>, query.<name> or header.<name>.
func partOf(e ast.Expr) (Reference, bool) {
	if e.Kind() != ast.SelectKind {
		return Reference{}, false
	}
	source := sources[variable(e.AsSelect().Operand())]
	return Reference{source, e.AsSelect().FieldName()}, source != 0
}

// rewrite turns header["x"] into a selection and `"x" in header` into has(), for names that are no identifiers. It reports whether e was
// one of them.
func rewrite(e ast.Expr) bool {
	call := e.AsCall()
	args := call.Args()
	if len(args) != 2 {
		return false
	}
	part, name := args[0], args[1]
	if call.FunctionName() == operators.In {
		part, name = args[1], args[0]
	} else if call.FunctionName() != operators.Index {
		return false
	}
	text, ok := literalText(name)
	if source := sources[variable(part)]; !ok || source == 0 {
		return false
	}
	factory := ast.NewExprFactory()
	if call.FunctionName() == operators.In {
		e.SetKindCase(factory.NewPresenceTest(e.ID(), part, text))
	} else {
		e.SetKindCase(factory.NewSelect(e.ID(), part, text))
	}
	return true
}

// walkPart visits a selection of the request; false if it is none.
func (c *compiler) walkPart(e ast.Expr) bool {
	if variable(e.AsSelect().Operand()) == requestVar {
		c.request = true
		if requestTexts[e.AsSelect().FieldName()] == nil {
			c.fail(e, "there is no request.%s: there are request.method, request.host and request.path, and path, query and header for single values", e.AsSelect().FieldName())
		}
		return true
	}
	ref, ok := partOf(e)
	if !ok {
		return false
	}
	switch {
	case ref.Source == Path && !slices.Contains(c.names.Captures, ref.Name):
		c.fail(e, "the rule captures no %q; %s", ref.Name, c.captured())
	case ref.Source == Header && (ref.Name != strings.ToLower(ref.Name) || ref.Name == "" || strings.HasPrefix(ref.Name, ":")):
		c.fail(e, "%q is no name of a header: write it in lower case; the request line is request.method, request.host and request.path", ref.Name)
	case ref.Source == Header && BarredHeader(ref.Name) != "":
		c.fail(e, "header %s %s, which no expression compares", ref.Name, BarredHeader(ref.Name))
	case !slices.Contains(c.references, ref):
		c.references = append(c.references, ref)
	}
	return true
}

// BarredHeader says why a policy reads no header of this name, as the end of a sentence; "" if it may. What credentials say is read by
// verifying them, and what Envoy says to the gate is nothing of the request.
func BarredHeader(header string) string {
	switch header {
	case "authorization", "proxy-authorization", "cookie", "dpop":
		return "holds a credential"
	case "x-envoy-auth-partial-body":
		return "is Envoy's to the gate"
	}
	return ""
}

func (c *compiler) captured() string {
	if len(c.names.Captures) == 0 {
		return "it captures nothing"
	}
	return "it captures " + strings.Join(c.names.Captures, ", ")
}

// walkRequest visits a variable of the request that stands by itself.
func (c *compiler) walkRequest(e ast.Expr) {
	name := variable(e)
	switch {
	case c.use != Condition:
		return // the checker says that there is none
	case name != objectVar:
		c.fail(e, "%s is read value by value: write %s.<name>, or %s[\"a-name\"]", name, name, name)
	case !c.names.Object:
		c.fail(e, "the rule names no one object: write owner: {of: path.x, ...} for it")
	}
	c.object = c.object || name == objectVar
}

// quickPresence is has(query.x).
func (c *compiler) quickPresence(ref Reference) step {
	i := slices.Index(c.references, ref)
	return func(_ Token, _ string, in *Input) (bool, error) { return in.value(i).State == Set, nil }
}

// quickRequest is a text of the request; nil if e is none.
func (c *compiler) quickRequest(e ast.Expr) text {
	if c.use != Condition {
		return nil
	}
	if variable(e) == objectVar {
		return func(_ Token, _ string, in *Input) (string, error) { return readObject(in) }
	}
	if e.Kind() != ast.SelectKind || e.AsSelect().IsTestOnly() {
		return nil
	}
	name := e.AsSelect().FieldName()
	if variable(e.AsSelect().Operand()) == requestVar {
		get, read := requestTexts[name], newReading(requestVar+"."+name)
		return func(_ Token, _ string, in *Input) (string, error) {
			if in == nil {
				return "", errNoRequest
			}
			return read.bounded(get(in))
		}
	}
	ref, ok := partOf(e)
	if !ok {
		return nil
	}
	i, read := slices.Index(c.references, ref), newReading(ref.Source.String()+"."+name)
	return func(_ Token, _ string, in *Input) (string, error) { return read.text(in.value(i)) }
}
