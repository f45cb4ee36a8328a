// Package ownerv1 is how a gate asks somebody's own service whose an object is, version 1. It is a room of its own because it is a
// promise to those who write such servers, in any language: everything else here is made from the .proto beside it, by `make generate`.
package ownerv1
