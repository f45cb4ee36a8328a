package openapi

import "github.com/go-json-experiment/json/jsontext"

// valid says that bytes are one JSON value without duplicate names.
func valid(b []byte) bool { return jsontext.Value(b).IsValid() }

func (o *Operation) media() []Media {
	if o.Body == nil {
		return nil
	}
	return o.Body.Media
}
