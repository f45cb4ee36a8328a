package strictjson

import "strconv"

// The makers build documents that were not parsed: of a form, of a query, of a policy. They check nothing but what they say.

// MakeNull is null.
func MakeNull() Value { return Value{kind: Null} }

// MakeBool is true or false.
func MakeBool(yes bool) Value { return Value{kind: Bool, text: strconv.FormatBool(yes)} }

// MakeString is a string. The text must be UTF-8 without NUL.
func MakeString(text string) Value { return Value{kind: String, text: text} }

// MakeNumber is a number as it is written; false if it is none of JSON's (RFC 8259 section 6).
func MakeNumber(text string) (Value, bool) {
	v, err := Parse([]byte(text), Limits{})
	if err != nil || v.kind != Number || v.text != text {
		return Value{}, false
	}
	return v, true
}

// MakeArray is an array of these, which must not change any more.
func MakeArray(elements []Value) Value { return Value{kind: Array, elements: elements} }

// MakeObject is an object of these, which must not change any more, each name once.
func MakeObject(members []Member) Value { return Value{kind: Object, members: members} }
