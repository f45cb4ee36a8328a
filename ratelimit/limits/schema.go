package limits

import _ "embed" // the schema is a file of its own, which editors can be pointed at

//go:embed schema.json
var schema string

// Schema is the JSON Schema (2020-12) of limits files, for editors. It says which keys there are and what they take; whether the whole is
// a file of limits only [Decode] says. Every file that Decode takes is valid by it.
func Schema() string { return schema }
