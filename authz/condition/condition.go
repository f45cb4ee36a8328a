// Package condition compiles the CEL expressions of a policy, typed, at load, and evaluates them over a verified token
// and a caller. It is the single door to cel-go: everything a policy may write as an expression is narrowed here to what
// can be proved before the first request (declared claims with their types, a yes or no as the result, no clock, no
// input or output, a bounded cost), so that what is left to go wrong while a request waits is a claim that is not there,
// and that is an error, never a yes.
package condition

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
)

// Type is what a claim may hold. The zero value is no type: a Schema refuses it, so a forgotten type never compiles.
type Type uint8

// The types a policy can name. Numbers with a fraction, maps and mixed lists have no type on purpose: comparing them has
// answers that surprise (a map "contains" a role whose value is false), and an expression engine told their type refuses
// the question at load.
const (
	String  Type = iota + 1 // one text
	Strings                 // a list of texts
	Bool                    // true or false
	Int                     // a whole number of 64 bits
)

var typeNames = [...]string{String: "string", Strings: "strings", Bool: "bool", Int: "int"}

// ParseType reads the name a policy writes ("string", "strings", "bool", "int"). Anything else is false.
func ParseType(s string) (Type, bool) {
	if i := slices.Index(typeNames[:], s); i > 0 {
		return Type(i), true
	}
	return 0, false
}

// String is the name ParseType reads; "invalid" for the zero value and for values that are no type.
func (t Type) String() string {
	if t == 0 || int(t) >= len(typeNames) {
		return "invalid"
	}
	return typeNames[t]
}

// Claim declares one name an expression may read as token.<Name>.
type Claim struct {
	// Name is the name in the policy's words, not in the issuer's: a CEL identifier that is not a reserved word.
	Name string
	// Type is what the claim holds when it is set. A claim of another type in a token counts as unset.
	Type Type
	// Always says that the issuer's verification guarantees the claim, present and not empty, in every accepted token.
	// False is the safe value: a Machine expression must then guard the claim with has().
	Always bool
}

// Use is where an expression stands in a policy, and so what it may read. The zero value is no use and does not compile.
type Use uint8

// The uses.
const (
	// Machine decides whether a token is an application's or a person's. It reads the token only, and every claim that is
	// not Always must be guarded with has(): whether a token is a person's must not hang on an evaluation error.
	Machine Use = iota + 1
	// Unless lifts an ownership demand. It reads the token and the caller. A failed evaluation lifts nothing (the caller
	// of Eval treats an error as false), so guards are allowed but not demanded.
	Unless
	// Condition must hold for a request to pass. It reads the request and the object too; see CompileCondition. A failed evaluation
	// denies.
	Condition
)

// Error is one thing wrong with an expression.
type Error struct {
	// Line and Column are 1-based positions within the expression; columns count characters (code points), not bytes.
	Line, Column int
	// Msg says what is wrong and, where there is one way out, what to write instead.
	Msg string
}

// Error implements the error interface as "line:column: message".
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg) }

// Schema is the set of claims that expressions may read. It is immutable and safe for concurrent use; the zero value
// declares no claims, so its expressions can read the caller only.
type Schema struct {
	claims  map[string]Claim
	readers map[string]*reader
	names   []string // sorted, for error texts
	env     *cel.Env // nil in the zero value: built when an expression is compiled
}

// environment is where expressions of a use are parsed.
func (s *Schema) environment(use Use) (*cel.Env, error) {
	if use != Condition && s.env != nil {
		return s.env, nil
	}
	return newEnv(s.readers, use)
}

// NewSchema declares claims. A name that occurs twice, that CEL cannot write after "token." or that has no type is an
// error; all of them are reported, joined.
func NewSchema(claims []Claim) (*Schema, error) {
	s := &Schema{claims: make(map[string]Claim, len(claims)), readers: make(map[string]*reader, len(claims))}
	var wrong []string
	for _, c := range claims {
		if msg := s.refuse(c); msg != "" {
			wrong = append(wrong, msg)
			continue
		}
		s.claims[c.Name] = c
		s.readers[c.Name] = newReader(c)
		s.names = append(s.names, c.Name)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("condition: declare claims: %s", strings.Join(wrong, "; "))
	}
	slices.Sort(s.names)
	env, err := newEnv(s.readers, Unless)
	if err != nil {
		return nil, fmt.Errorf("condition: declare claims: %w", err)
	}
	s.env = env
	return s, nil
}

// refuse says why c cannot be declared; "" if it can.
func (s *Schema) refuse(c Claim) string {
	if !isIdentifier(c.Name) {
		return fmt.Sprintf("%q is not a name: letters, digits and _, not starting with a digit", c.Name)
	}
	if slices.Contains(reservedWords, c.Name) {
		return fmt.Sprintf("%q is a reserved word of CEL", c.Name)
	}
	if _, twice := s.claims[c.Name]; twice {
		return fmt.Sprintf("%q is declared twice", c.Name)
	}
	if c.Type.String() == "invalid" {
		return fmt.Sprintf("%q has no type: string, strings, bool or int", c.Name)
	}
	return ""
}

// Type tells what a declared claim holds; false if the name is not declared.
func (s *Schema) Type(name string) (Type, bool) {
	c, ok := s.claims[name]
	return c.Type, ok
}

// reservedWords are the words that CEL's grammar keeps for itself (cel-spec, "Syntax").
var reservedWords = []string{
	"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"namespace", "null", "package", "return", "true", "var", "void", "while",
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
