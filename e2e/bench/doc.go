// Package bench measures what the gates cost, each beside the cheapest thing that could stand in its place in the same run: a gRPC
// service that answers and does nothing, or Envoy's door without gates. It is a room of its own because its figures belong to nobody's
// unit tests: it asserts no time, since a shared machine has none to assert, and fails only where an answer is wrong.
package bench
