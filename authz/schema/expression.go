package schema

import (
	"errors"
	"regexp/syntax"
	"strings"
)

// expressionFormat is what `format: regex` is to the engine, whose own would compile whatever a client sends: a few bytes of an expression
// can take megabytes and seconds.
const expressionFormat = "sallyport-regex"

// The bounds of an expression in a document, and of all of them together. A class of a Unicode property (\pL) is hundreds of ranges, and
// the parser sorts them all.
const (
	maxExpression  = 1 << 10
	maxExpressions = 16 << 10
	maxProperties  = 8
)

var (
	errExpressionLong = errors.New("the expression is longer than 1 KiB")
	errProperties     = errors.New("the expression has more than 8 classes of Unicode properties")
)

// expression holds a text to RE2's syntax, and compiles nothing.
func (e *engine) expression(v any) error {
	text, ok := v.(string)
	if !ok {
		return nil // what is no text is `type`'s to refuse
	}
	if len(text) > maxExpression {
		return errExpressionLong
	}
	if e.expressions += len(text); e.expressions > maxExpressions {
		panic(tooMany{})
	}
	if strings.Count(text, `\p`)+strings.Count(text, `\P`) > maxProperties {
		return errProperties
	}
	_, err := syntax.Parse(unfolded(text), syntax.Perl)
	return err
}

// unfolded takes the flag i for the flag s: whether an expression is one does not depend on it, and under i the parser looks at every rune
// of a range, of which a class holds hundreds of thousands in a dozen bytes.
func unfolded(text string) string {
	b := []byte(text)
	for i := 2; i < len(b); i++ {
		if b[i-2] != '(' || b[i-1] != '?' {
			continue
		}
		for ; i < len(b) && strings.IndexByte("imsU-", b[i]) >= 0; i++ {
			if b[i] == 'i' {
				b[i] = 's'
			}
		}
	}
	return string(b)
}
