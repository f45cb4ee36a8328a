// Package body reads the few values that a rule wants out of a request's body, in one pass, and so strictly that no upstream can read
// others: JSON, forms, and the messages of gRPC. It is a room of its own because it is pure, hostile input meets it first, and each of
// the three formats has its own ways of saying two things at once.
package body

import (
	"bytes"
	"cmp"
	"errors"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// MaxBytes is the longest body that is read: 1 MiB.
const MaxBytes = 1 << 20

// MaxDepth is how deeply a JSON body or a message may be nested.
const MaxDepth = 64

// MaxMembers is the most members of one object of a JSON body, MaxElements the most elements of one of its arrays and the most pairs of a
// form: far beyond what a list of ids needs, and few enough that a body of nothing else costs little.
const (
	MaxMembers  = 1000
	MaxElements = 10_000
)

// maxValues is the most values that one place gives, as many as a request may name ids.
const maxValues = strictjson.MaxFound

// Kind is the kind of a value that was found.
type Kind uint8

const (
	// None is an element of a list that does not hold the place read. It is the zero value.
	None Kind = iota
	// String is a text.
	String
	// Number is a number: as it is written in JSON, in decimal digits in a message.
	Number
	// Other is what can be no id: a bool, null, an object, an array.
	Other
)

// State says what stands at one place.
type State uint8

const (
	// Missing: nothing stands there. It is the zero value.
	Missing State = iota
	// One: one value.
	One
	// Many: the elements of a list, at least one.
	Many
	// Empty: a list without elements.
	Empty
	// Null: null where a list is read.
	Null
	// NotList: a scalar or an object where a list is read.
	NotList
)

// Value is one value. Text is "" unless it is a String or a Number.
type Value struct {
	Kind Kind
	Text string
}

// List is what stands at one place: one value under One, all elements in their order under Many, and none otherwise.
type List struct {
	State  State
	Values []Value
}

// Values are what a plan found, place by place. The zero Values has found nothing anywhere.
type Values struct{ places []List }

// At is what stands at the i-th place of the plan.
func (v Values) At(i int) List {
	if i < 0 || i >= len(v.places) {
		return List{}
	}
	return v.places[i]
}

// ErrorKind says why a body cannot be read.
type ErrorKind uint8

const (
	// Malformed is no body of the format. It is the zero value.
	Malformed ErrorKind = iota
	// Ambiguous can be read in several ways.
	Ambiguous
	// TooLarge is over a limit.
	TooLarge
)

// Error says why a body cannot be read. It never holds a part of the body.
type Error struct {
	Kind ErrorKind
	// Why is a constant text.
	Why string
}

// Error implements error.
func (e *Error) Error() string { return "body: " + e.Why }

func refuse(kind ErrorKind, why string) error { return &Error{Kind: kind, Why: why} }

// JSONPlan reads places of a JSON document (RFC 8259). It is immutable and safe for concurrent use.
type JSONPlan struct {
	selection *strictjson.Selection
	limits    strictjson.Limits
}

// JSON compiles the places to read: names joined by dots, [*] for each element of an array, such as id, owner.id or items[*].id.
func JSON(paths []string) (*JSONPlan, error) {
	selection, err := strictjson.NewSelection(paths)
	if err != nil {
		return nil, err
	}
	return &JSONPlan{selection, jsonLimits}, nil
}

// Within is the plan with narrower limits; zero leaves one as it is.
func (p *JSONPlan) Within(l strictjson.Limits) *JSONPlan {
	narrow := func(limit, most int) int { return min(cmp.Or(limit, most), most) }
	return &JSONPlan{p.selection, strictjson.Limits{
		Bytes: narrow(l.Bytes, p.limits.Bytes), Depth: narrow(l.Depth, p.limits.Depth),
		Members: narrow(l.Members, p.limits.Members), Elements: narrow(l.Elements, p.limits.Elements),
	}}
}

// ReadWhole reads the places, and gives the document itself too. The error is an *Error.
func (p *JSONPlan) ReadWhole(data []byte) (Values, strictjson.Value, error) {
	document, err := strictjson.Parse(data, p.limits)
	if err != nil {
		return Values{}, strictjson.Value{}, refusedJSON(err)
	}
	places, err := p.selection.Of(document)
	if err != nil {
		return Values{}, strictjson.Value{}, refusedJSON(err)
	}
	return valuesOf(places), document, nil
}

var jsonLimits = strictjson.Limits{Bytes: MaxBytes, Depth: MaxDepth, Members: MaxMembers, Elements: MaxElements}

// Read reads the document. The error is an *Error.
func (p *JSONPlan) Read(data []byte) (Values, error) {
	places, err := strictjson.Select(data, p.limits, p.selection)
	if err != nil {
		return Values{}, refusedJSON(err)
	}
	return valuesOf(places), nil
}

// refusedJSON puts the reader's complaint into words of this package.
func refusedJSON(err error) error {
	var why *strictjson.Error
	switch {
	case !errors.As(err, &why):
		return refuse(Malformed, "the document cannot be read")
	case why.TooLarge:
		return refuse(TooLarge, why.Why)
	case why.Folded, why.Ambiguous:
		return refuse(Ambiguous, why.Why)
	}
	return refuse(Malformed, why.Why)
}

func valuesOf(places []strictjson.Place) Values {
	values := Values{places: make([]List, len(places))}
	for i, place := range places {
		list := List{State: jsonStates[place.State]}
		if len(place.Values) > 0 {
			list.Values = make([]Value, len(place.Values))
		}
		for j, found := range place.Values {
			list.Values[j] = Value{Kind: jsonKinds[found.Kind], Text: found.Text}
		}
		values.places[i] = list
	}
	return values
}

// What strictjson finds, in the words of this package.
var jsonStates = [...]State{
	strictjson.Missing: Missing, strictjson.One: One, strictjson.Many: Many, strictjson.EmptyList: Empty, strictjson.NullList: Null,
	strictjson.NoList: NotList,
}

var jsonKinds = [...]Kind{
	strictjson.Invalid: None, strictjson.Null: Other, strictjson.Bool: Other, strictjson.Number: Number, strictjson.String: String,
	strictjson.Array: Other, strictjson.Object: Other,
}

// FormPlan reads fields of an application/x-www-form-urlencoded body. It is immutable and safe for concurrent use.
type FormPlan struct{ fields []formField }

type formField struct {
	name string
	many many
}

type many uint8

const (
	one many = iota
	each
	comma
)

// Form compiles the fields to read: a name, name[*] for every occurrence of it, or name[,] for one list between commas.
func Form(names []string) (*FormPlan, error) {
	p := &FormPlan{}
	for _, name := range names {
		field := formField{name: name}
		if bare, ok := cutSuffix(name, "[*]"); ok {
			field = formField{bare, each}
		} else if bare, ok := cutSuffix(name, "[,]"); ok {
			field = formField{bare, comma}
		}
		if !target.ReadableName(field.name) || strings.ContainsAny(field.name, "[]") {
			return nil, errors.New("a form's field cannot be named " + name)
		}
		p.fields = append(p.fields, field)
	}
	return p, nil
}

func cutSuffix(s, suffix string) (string, bool) {
	if len(s) > len(suffix) && s[len(s)-len(suffix):] == suffix {
		return s[:len(s)-len(suffix)], true
	}
	return s, false
}

// Read reads the fields. The error is an *Error.
func (p *FormPlan) Read(data []byte) (Values, error) {
	values, _, err := p.ReadWhole(data)
	return values, err
}

// ReadWhole reads the fields, and gives the form itself too. The error is an *Error.
func (p *FormPlan) ReadWhole(data []byte) (Values, target.Query, error) {
	if len(data) > MaxBytes {
		return Values{}, target.Query{}, refuse(TooLarge, "the form is too long")
	}
	if bytes.Count(data, []byte("&")) >= MaxElements {
		return Values{}, target.Query{}, refuse(TooLarge, "the form has too many fields")
	}
	text := string(data)
	form := target.ParseForm(text)
	if form.Has("_method") {
		return Values{}, target.Query{}, refuse(Ambiguous, "the form names another method, which some upstreams would take")
	}
	values := Values{places: make([]List, len(p.fields))}
	for i, field := range p.fields {
		if field.many != one && field.count(text) > maxValues {
			return Values{}, target.Query{}, refuse(TooLarge, "more values than may be read")
		}
		list, err := field.read(form)
		if err != nil {
			return Values{}, target.Query{}, refuse(Ambiguous, "the form can be read in several ways")
		}
		values.places[i] = list
	}
	return values, form, nil
}

// count is how many values the field's list may have at most, known before any of them is made.
func (f formField) count(form string) int {
	count := 0
	for more := true; more; {
		var pair string
		pair, form, more = strings.Cut(form, "&")
		if value, ok := strings.CutPrefix(pair, f.name); ok && (value == "" || value[0] == '=') {
			count++
			if f.many == comma {
				count += strings.Count(value, ",")
			}
		}
	}
	return count
}

func (f formField) read(form target.Query) (List, error) {
	var texts []string
	var err error
	switch f.many {
	case one:
		text, present, err := form.One(f.name)
		if !present || err != nil {
			return List{}, err
		}
		return List{State: One, Values: []Value{{String, text}}}, nil
	case each:
		texts, err = form.All(f.name, nil)
	case comma:
		texts, err = form.Comma(f.name, nil)
	}
	if err != nil || len(texts) == 0 {
		return List{}, err
	}
	list := List{State: Many, Values: make([]Value, len(texts))}
	for i, text := range texts {
		list.Values[i] = Value{String, text}
	}
	return list, nil
}
