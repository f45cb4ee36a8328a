// Package demo tells the whole story on one machine: it starts a token issuer, an orders service that is honest but naive, both
// gates, Envoy and Valkey, sends them the classic attacks on APIs over plain sockets, and prints beside each answer what would have
// happened without the gates. It is a room of its own because it is a supervisor: it owns child processes, ports and a folder, and
// whatever happens leaves none of them behind. Every line that it prints has an expectation, so that the story is a test as well.
package demo
