// Package schematest holds the JSON Schemas of policy and limits files to their loaders: whatever a loader takes is valid by its schema, and
// what it refuses for its shape is not. It is a room of its own, with nothing but tests in it, because it alone needs a judge of schemas,
// and because it reads every file of the repository.
package schematest
