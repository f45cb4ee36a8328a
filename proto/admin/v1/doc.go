// Package adminv1 is the administration of a running gate on the wire, version 1. It is a room of its own because it is a promise to
// clients: everything else here is made from the .proto beside it, by `make generate`.
package adminv1
