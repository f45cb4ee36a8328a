package condition

import "fmt"

// The sizes that the cost of an expression is estimated with. They are enforced where a value is read, so the estimate
// is a bound and not a hope.
const (
	// MaxText is the longest string claim in bytes, and the most bytes a list's elements hold together. A token of 8 KiB
	// cannot carry more.
	MaxText = 8 << 10
	// MaxList is the most elements a list claim may have where an expression reads it. A longer list is still whole for
	// List and Value; reading it in an expression is an evaluation error.
	MaxList = 256
	// MaxCaller is the longest caller in bytes: the longest SPIFFE ID that the SPIFFE-ID standard (section 2.4) asks
	// implementations to carry.
	MaxCaller = 2048
)

// Token is what a verified token says in the policy's words: a name to a string, []string, bool or int64. A claim that
// is absent, or of any other type, is unset. It is built once per verified token, then only read, and so safe for
// concurrent use. The zero Token says nothing: it stands for "no token".
type Token struct {
	c *claims
}

// claims is behind one pointer so that handing a Token to the expression engine costs no allocation.
type claims struct {
	values map[string]any
	over   map[string]struct{} // names whose value is larger than the cost estimate assumes; nil in all but odd tokens
}

// NewToken makes a Token of values. It copies nothing: the map and the slices in it belong to the Token afterwards and
// must not be written again. Values of other types than string, []string, bool and int64 are never shown.
func NewToken(values map[string]any) Token {
	c := &claims{values: values}
	for name, v := range values {
		if !oversize(v) {
			continue
		}
		if c.over == nil {
			c.over = make(map[string]struct{})
		}
		c.over[name] = struct{}{}
	}
	return Token{c: c}
}

func oversize(v any) bool {
	switch v := v.(type) {
	case string:
		return len(v) > MaxText
	case []string:
		n := 0
		for _, s := range v {
			n += len(s)
		}
		return n > MaxText || len(v) > MaxList
	}
	return false
}

// Text is the value of a string claim; false if it is unset or of another type.
func (t Token) Text(name string) (string, bool) {
	if t.c == nil {
		return "", false
	}
	s, ok := t.c.values[name].(string)
	return s, ok
}

// List is the value of a list claim; false if it is unset or of another type. The slice must not be written.
func (t Token) List(name string) ([]string, bool) {
	if t.c == nil {
		return nil, false
	}
	l, ok := t.c.values[name].([]string)
	return l, ok
}

// Value is the value of a claim of any type: a string, []string, bool or int64; false if it is unset.
func (t Token) Value(name string) (any, bool) {
	if t.c == nil {
		return nil, false
	}
	v := t.c.values[name]
	return v, typeOf(v) != 0
}

// typeOf is the claim type of a Go value; zero for a value that no claim can hold, nil included.
func typeOf(v any) Type {
	switch v.(type) {
	case string:
		return String
	case []string:
		return Strings
	case bool:
		return Bool
	case int64:
		return Int
	}
	return 0
}

// reader reads one declared claim, for the engine and for the closures alike.
type reader struct {
	claim         Claim
	absent, large error // made at load: an absent claim is an ordinary request, and must cost no more than one
}

func newReader(c Claim) *reader {
	return &reader{
		claim:  c,
		absent: evalError(fmt.Sprintf("claim %q is not in the token", c.Name)),
		large:  evalError(fmt.Sprintf("claim %q is too large to be read by an expression (%d bytes, %d elements)", c.Name, MaxText, MaxList)),
	}
}

// has tells whether the claim is set, to a value of its declared type.
func (r *reader) has(t Token) bool {
	return t.c != nil && typeOf(t.c.values[r.claim.Name]) == r.claim.Type
}

// read is the claim's value, of its declared type, or an error. It never gives a default.
func (r *reader) read(t Token) (any, error) {
	if t.c == nil {
		return nil, r.absent
	}
	v := t.c.values[r.claim.Name]
	if typeOf(v) != r.claim.Type {
		return nil, r.absent
	}
	if _, over := t.c.over[r.claim.Name]; over {
		return nil, r.large
	}
	return v, nil
}
