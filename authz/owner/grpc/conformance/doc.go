// Package conformance holds a server of sallyport.owner.v1.OwnerService, in any language, to what the .proto says. It is a room of its
// own because it is for other people's servers: `sallyport lookup conform` runs it against a running one, by facts about it that its
// people write down, and a server in Go can run it in its tests.
//
// It asks hundreds of questions and changes nothing.
package conformance
