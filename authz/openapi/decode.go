package openapi

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// The errors of Decode. None of them holds what the request said.
var (
	// ErrUnreadable is the error of a parameter that the document says in a way that is not read; see Parameter.Problem.
	ErrUnreadable = errors.New("openapi: the parameter is not one that can be read")
	// ErrCount is no text, or several where one value stands in one.
	ErrCount = errors.New("openapi: the parameter stands more often than once, or nowhere")
	// ErrType is a text that is none of the types that the schema allows.
	ErrType = errors.New("openapi: the text is of no type that the schema allows")
	// ErrList is white space around a comma in a list that is not a header's.
	ErrList = errors.New("openapi: the text is a list to some readers and none to others")
)

// Decode turns the texts of a parameter into the JSON value that its schema judges. A text is percent-decoded once, by the caller; which
// texts it takes follows from Shape: one for Single, each occurrence for Repeated, and for Commas the one occurrence, whole or in parts
// (target.Query.Comma, which refuses an escaped comma; so must whoever reads a path). A text is a boolean where the schema allows one and
// it is true or false, a number where it allows one and the text is a plain decimal (no plus, no exponent, no leading zero, no minus
// zero), otherwise a string where it allows that. The result is nil without an error for an empty text that `allowEmptyValue` permits.
func (p *Parameter) Decode(raw []string) ([]byte, error) {
	switch {
	case p.Problem != "":
		return nil, ErrUnreadable
	case len(raw) == 0, p.Shape == Single && len(raw) > 1:
		return nil, ErrCount
	case p.AllowEmpty && p.In == InQuery && len(raw) == 1 && raw[0] == "":
		return nil, nil
	case p.Shape == Single:
		return p.scalar(make([]byte, 0, len(raw[0])+2), raw[0])
	}
	return p.elements(raw)
}

func (p *Parameter) elements(raw []string) (b []byte, err error) {
	b = append(b, '[')
	for _, text := range raw {
		for part, rest, more := "", text, true; more; {
			part, rest, more = rest, "", false
			if p.Shape == Commas {
				part, rest, more = strings.Cut(part, ",")
			}
			if part, err = p.trimmed(part); err != nil {
				return nil, err
			}
			if len(b) > 1 {
				b = append(b, ',')
			}
			if b, err = p.scalar(b, part); err != nil {
				return nil, err
			}
		}
	}
	return append(b, ']'), nil
}

// trimmed cuts the white space that RFC 9110 section 5.6.1 allows around the elements of a header, and refuses it elsewhere in a list
// with commas, where some readers trim and some do not.
func (p *Parameter) trimmed(part string) (string, error) {
	if p.Shape != Commas {
		return part, nil
	}
	cut := strings.Trim(part, " \t")
	if cut != part && p.In != InHeader {
		return "", ErrList
	}
	return cut, nil
}

func (p *Parameter) scalar(b []byte, text string) ([]byte, error) {
	switch {
	case p.types&isBoolean != 0 && (text == "true" || text == "false"):
		return append(b, text...), nil
	case p.types&isFraction != 0 && isDecimal(text, true), p.types&isInteger != 0 && isDecimal(text, false):
		return append(b, text...), nil
	case p.types&isString != 0 && utf8.ValidString(text):
		return appendQuoted(b, text), nil
	}
	return nil, ErrType
}

// isDecimal says that a text is a number as everybody reads it: digits without leading zeros, a minus before all but zero, and where a
// fraction may stand, a point with digits behind.
func isDecimal(text string, fraction bool) bool {
	digits, minus := strings.CutPrefix(text, "-")
	whole, part, point := strings.Cut(digits, ".")
	if point && (!fraction || part == "" || strings.Trim(part, "0123456789") != "") {
		return false
	}
	if whole == "" || strings.Trim(whole, "0123456789") != "" || len(whole) > 1 && whole[0] == '0' {
		return false
	}
	return !minus || strings.Trim(digits, "0.") != ""
}
