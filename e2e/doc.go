// Package e2e tells the stories that only the whole can tell: the real binary, a real Envoy and a real Valkey on loopback, and what
// a client sees of them. It has nothing but tests; a missing server fails them, it never skips one.
package e2e
