package strictjson

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Parse reads exactly one JSON value (RFC 8259), white space around it allowed. It refuses a byte order mark, invalid UTF-8,
// lone surrogates, NUL in a string or name, duplicate names in one object, names in one object that are equal under Unicode
// simple case folding, anything after the value, and what exceeds the limits. The error is always an *Error. data is not kept.
func Parse(data []byte, lim Limits) (Value, error) {
	lim = lim.withDefaults()
	if len(data) > lim.Bytes {
		return Value{}, &Error{Offset: max(0, lim.Bytes), Why: "the document is too long", TooLarge: true}
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return Value{}, &Error{Why: "the document begins with a byte order mark"}
	}
	if at := invalidUTF8(data); at >= 0 {
		return Value{}, &Error{Offset: at, Why: "the document is not UTF-8"}
	}
	// The options are spelled out although they are the defaults: everything here rests on them.
	p := parser{lim: lim, dec: jsontext.NewDecoder(bytes.NewBuffer(data), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))}
	token, err := p.next()
	if err != nil {
		return Value{}, err
	}
	v, err := p.value(token, 0)
	if err != nil {
		return Value{}, err
	}
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return Value{}, p.refuse("something follows the value")
	}
	return v, nil
}

func invalidUTF8(data []byte) int {
	if utf8.Valid(data) {
		return -1
	}
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

type parser struct {
	dec *jsontext.Decoder
	lim Limits
}

func (p *parser) refuse(why string) error {
	return &Error{Offset: int(p.dec.InputOffset()), Why: why}
}

// over refuses what is over a limit.
func (p *parser) over(why string) error {
	return &Error{Offset: int(p.dec.InputOffset()), Why: why, TooLarge: true}
}

// next reads a token. What jsontext says of a fault quotes the document, so its text is replaced.
func (p *parser) next() (jsontext.Token, error) {
	token, err := p.dec.ReadToken()
	if err == nil {
		return token, nil
	}
	why, offset, twice := "the document is not JSON", int(p.dec.InputOffset()), false
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		offset = int(syntax.ByteOffset)
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		why, twice = "an object has a name twice", true
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		why = "the document ends too early"
	}
	return jsontext.Token{}, &Error{Offset: offset, Why: why, Ambiguous: twice}
}

// value reads the value that begins with a token, inside depth others.
func (p *parser) value(token jsontext.Token, depth int) (Value, error) {
	switch token.Kind() {
	case 'n':
		return Value{kind: Null}, nil
	case 't', 'f':
		return Value{kind: Bool, text: token.String()}, nil
	case '0':
		return Value{kind: Number, text: token.String()}, nil
	case '"':
		text, err := p.text(token)
		return Value{kind: String, text: text}, err
	}
	if depth >= p.lim.Depth {
		return Value{}, p.over("the document is nested too deeply")
	}
	if token.Kind() == '[' {
		return p.array(depth + 1)
	}
	return p.object(depth + 1)
}

func (p *parser) text(token jsontext.Token) (string, error) {
	text := token.String()
	if strings.IndexByte(text, 0) >= 0 {
		return "", p.refuse("a string holds NUL")
	}
	return text, nil
}

func (p *parser) array(depth int) (Value, error) {
	var elements []Value
	for {
		token, err := p.next()
		if err != nil {
			return Value{}, err
		}
		if token.Kind() == ']' {
			return Value{kind: Array, elements: elements}, nil
		}
		if len(elements) >= p.lim.Elements {
			return Value{}, p.over("an array has too many elements")
		}
		v, err := p.value(token, depth)
		if err != nil {
			return Value{}, err
		}
		elements = append(elements, v)
	}
}

func (p *parser) object(depth int) (Value, error) {
	var members []Member
	var folds foldedNames
	for {
		token, err := p.next()
		if err != nil {
			return Value{}, err
		}
		if token.Kind() == '}' {
			return Value{kind: Object, members: members}, nil
		}
		if len(members) >= p.lim.Members {
			return Value{}, p.over("an object has too many members")
		}
		name, err := p.text(token)
		if err != nil {
			return Value{}, err
		}
		if !folds.add(members, name) {
			return Value{}, &Error{Offset: int(p.dec.InputOffset()), Why: "an object has two names that differ only by case", Ambiguous: true}
		}
		if token, err = p.next(); err != nil {
			return Value{}, err
		}
		v, err := p.value(token, depth)
		if err != nil {
			return Value{}, err
		}
		members = append(members, Member{Name: name, Value: v})
	}
}

// foldedNames finds names of one object that are equal under folding. Few names are compared pair by pair; many go into a set,
// so that an object of the most members costs no square of them.
type foldedNames struct {
	set map[string]struct{}
}

const fewNames = 8

func (f *foldedNames) add(members []Member, name string) bool {
	if len(members) < fewNames {
		for i := range members {
			if strings.EqualFold(members[i].Name, name) {
				return false
			}
		}
		return true
	}
	if f.set == nil {
		f.set = make(map[string]struct{}, 2*len(members))
		for i := range members {
			f.set[fold(members[i].Name)] = struct{}{}
		}
	}
	key := fold(name)
	if _, ok := f.set[key]; ok {
		return false
	}
	f.set[key] = struct{}{}
	return true
}

// fold maps names that strings.EqualFold calls equal to one string: each rune becomes the smallest of those that fold into it.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}
