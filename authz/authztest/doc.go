// Package authztest is the forger's bench: keys, tokens (good, and bad in every way that has hurt somebody), a fixed key set and a fake
// verifier. It is a room of its own because the tests of several packages need the same tokens; no binary imports it. Its functions
// panic where a test's own fixture is wrong, since there is no request to protect.
package authztest
