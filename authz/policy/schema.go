package policy

import _ "embed" // the schema is a file of its own, which editors can be pointed at

//go:embed schema.json
var ownSchema string

// Schema is the JSON Schema (2020-12) of policy files, for editors. It says which keys there are and what they take; whether the whole is
// a policy only [Parse] says. Every file that Parse takes is valid by it.
func Schema() string { return ownSchema }
