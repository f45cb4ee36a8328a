// Package strictjson reads JSON that two readers cannot understand differently: no duplicate names and none that only differ
// by case (encoding/json lets `SUB` fill `sub`), no broken UTF-8, no lone surrogates, no NUL, no lost digits, nothing after
// the value, and bounds on size that hold while reading. Tokens, key sets and bodies all pass through it, so it is a room of
// its own; the grammar itself is left to jsontext.
package strictjson

import (
	"cmp"
	"strconv"
	"strings"
)

// Limits bounds what is read. The zero value of a field is its default; a negative one allows nothing.
type Limits struct {
	// Bytes is the most bytes of a document: 64 KiB by default.
	Bytes int
	// Depth is the most objects and arrays inside each other: 32 by default. A scalar alone has depth 0.
	Depth int
	// Members is the most members of any one object: 1000 by default.
	Members int
	// Elements is the most elements of any one array: 1000 by default.
	Elements int
}

// Defaults of Limits.
const (
	DefaultBytes    = 64 << 10
	DefaultDepth    = 32
	DefaultMembers  = 1000
	DefaultElements = 1000
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Bytes:    cmp.Or(l.Bytes, DefaultBytes),
		Depth:    cmp.Or(l.Depth, DefaultDepth),
		Members:  cmp.Or(l.Members, DefaultMembers),
		Elements: cmp.Or(l.Elements, DefaultElements),
	}
}

// Kind is the kind of a value.
type Kind uint8

// Kinds of values. Invalid is the zero Value, which Parse never returns without an error.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String returns the name of the kind in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[Invalid]
}

var kindNames = [...]string{"invalid", "null", "bool", "number", "string", "array", "object"}

// Value is one JSON value. It is immutable, holds no part of the bytes it was parsed from and is safe to share. Every
// accessor says whether the value has the kind it is for and converts nothing; the zero Value has none.
type Value struct {
	kind     Kind
	text     string // a string's text, a number's source, "true" or "false"
	elements []Value
	members  []Member
}

// Member is one name and value of an object.
type Member struct {
	Name  string
	Value Value
}

// Kind returns the kind of the value.
func (v Value) Kind() Kind { return v.kind }

// Text returns the text of a string, unescaped: valid UTF-8 without NUL.
func (v Value) Text() (string, bool) {
	if v.kind != String {
		return "", false
	}
	return v.text, true
}

// Number returns the text of a number as it was written, with every digit.
func (v Value) Number() (string, bool) {
	if v.kind != Number {
		return "", false
	}
	return v.text, true
}

// Int64 returns a number that is written as an integer and fits. 7.0, 7e0, -0 and all that would be rounded are not: whoever
// writes an id or a date that way wants two readers to disagree.
func (v Value) Int64() (int64, bool) {
	if v.kind != Number || v.text == "-0" || strings.ContainsAny(v.text, ".eE") {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, err == nil
}

// Bool returns a boolean, and whether the value is one.
func (v Value) Bool() (value, ok bool) { return v.text == "true" && v.kind == Bool, v.kind == Bool }

// Elements returns the elements of an array in order; nil for other kinds. The slice must not be changed.
func (v Value) Elements() []Value { return v.elements }

// Members returns the members of an object in the order written; nil for other kinds. The slice must not be changed.
func (v Value) Members() []Member { return v.members }

// Member returns the value of an object's member, its name compared byte for byte.
func (v Value) Member(name string) (Value, bool) {
	for i := range v.members {
		if v.members[i].Name == name {
			return v.members[i].Value, true
		}
	}
	return Value{}, false
}

// Path follows names from object to object. Without names it returns the value itself.
func (v Value) Path(names ...string) (Value, bool) {
	ok := v.kind != Invalid
	for _, name := range names {
		if v, ok = v.Member(name); !ok {
			return Value{}, false
		}
	}
	return v, ok
}

// Strings returns the texts of an array whose every element is a string. An empty array gives an empty list and true; a
// single string is no array.
func (v Value) Strings() ([]string, bool) {
	if v.kind != Array {
		return nil, false
	}
	texts := make([]string, 0, len(v.elements))
	for i := range v.elements {
		text, ok := v.elements[i].Text()
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// Error says what is wrong with a document, and where. It never holds a part of the document.
type Error struct {
	// Offset is the byte, counted from 0, at or before which the fault was noticed.
	Offset int
	// Why is a short constant text.
	Why string
	// TooLarge says that the document is over a limit, Ambiguous that an object holds a name twice or in two cases, and Folded that a name
	// differs from a selected one by case alone.
	TooLarge, Ambiguous, Folded bool
}

// Error returns the reason and the byte, with the package's prefix.
func (e *Error) Error() string {
	return "strictjson: " + e.Why + " at byte " + strconv.Itoa(e.Offset)
}
