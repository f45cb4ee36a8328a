package schema

import (
	"errors"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// engines is how many are kept for documents that come at once.
const engines = 8

// engine is one compiled copy of a schema that counts what it does. The engine itself knows no limit: where each of several alternatives
// looks at the same members, its work doubles with every level of a document, and forty levels are a few hundred bytes.
type engine struct {
	schema      *jsonschema.Schema
	steps, most int
	expressions int // bytes of those that the document holds
}

// What a document's size justifies: so many steps at all, and so many more for each of its values.
const (
	stepsAtAll    = 1000
	stepsForValue = 64
)

var errSteps = errors.New("schema: the document takes more steps than its size can justify")

// newEngine compiles a schema that was read.
func newEngine(plain any) (*engine, error) {
	e := &engine{}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.RegisterFormat(&jsonschema.Format{Name: expressionFormat, Validate: e.expression})
	compiler.UseLoader(noLoader{})
	compiler.RegisterVocabulary(&jsonschema.Vocabulary{
		URL: location + ":steps", Compile: func(*jsonschema.CompilerContext, map[string]any) (jsonschema.SchemaExt, error) { return e, nil },
	})
	compiler.AssertVocabs()
	if err := compiler.AddResource(location, plain); err != nil {
		return nil, err
	}
	var err error
	e.schema, err = compiler.Compile(location)
	return e, err
}

// tooMany ends an evaluation.
type tooMany struct{}

// Validate implements [jsonschema.SchemaExt]: it is called once for each schema that looks at a value.
func (e *engine) Validate(*jsonschema.ValidatorContext, any) {
	if e.steps++; e.steps > e.most {
		panic(tooMany{})
	}
}

// validate evaluates a document of so many values.
func (s *Schema) validate(plain any, values int) (err error) {
	e, err := s.take()
	if err != nil {
		return err
	}
	defer s.giveBack(e)
	defer func() {
		if p := recover(); p != nil {
			if _, ended := p.(tooMany); !ended {
				panic(p)
			}
			err = errSteps
		}
	}()
	e.steps, e.most, e.expressions = 0, stepsAtAll+stepsForValue*values, 0
	return e.schema.Validate(plain)
}

// take finds an engine that nobody uses, or makes one.
func (s *Schema) take() (*engine, error) {
	for i := range s.engines {
		if e := s.engines[i].Swap(nil); e != nil {
			return e, nil
		}
	}
	return s.build()
}

func (s *Schema) giveBack(e *engine) {
	for i := range s.engines {
		if s.engines[i].CompareAndSwap(nil, e) {
			return
		}
	}
}
