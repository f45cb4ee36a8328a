// Package archtest holds the house to its plan: which package may import which, and why not otherwise. It has no code of its own,
// only tests, because an arrow that points upwards compiles, runs, and is noticed years later.
package archtest
