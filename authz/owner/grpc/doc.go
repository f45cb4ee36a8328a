// Package grpc asks a server of sallyport.owner.v1.OwnerService whose objects are: the door to services that know it themselves. It is a
// room of its own because of gRPC, and because what another team's server answers is held to its promise here, before anybody believes it.
package grpc
