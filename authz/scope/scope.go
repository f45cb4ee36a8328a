// Package scope holds OAuth scopes as sets and compares them octet by octet (RFC 6749 section 3.3). It is a room of its own
// because every shortcut here was somebody's hole: a prefix, a folded case or a second separator turns `readonly` or
// `admin read2` into `read`.
package scope

import (
	"errors"
	"slices"
	"strings"
)

// Max is the most scopes of one set, counted as sent. Real tokens carry a few dozen; more is an attempt on our time.
const Max = 256

// Errors of Parse and FromList. They hold nothing of what was parsed.
var (
	// ErrSpacing means a space at an end, two in a row, or an empty scope.
	ErrSpacing = errors.New("scope: scopes are separated by single spaces")
	// ErrToken means a byte outside %x21, %x23-5B and %x5D-7E; a tab or another space is one.
	ErrToken = errors.New("scope: a byte cannot stand in a scope")
	// ErrCount means more than Max scopes.
	ErrCount = errors.New("scope: more than 256 scopes")
)

// Set is a set of scopes. It is immutable and safe to share; its zero value is the empty set, which has no scope but satisfies
// a demand for none.
type Set struct {
	tokens []string // sorted, each once
}

// Parse reads the value of a `scope` claim or parameter: scopes with exactly one space between them. The empty string is the
// empty set. A scope that is named twice counts once: RFC 6749 gives repetition and order no meaning, so nothing can be gained
// by either, and refusing it would only lock out clients of issuers that join lists.
func Parse(s string) (Set, error) {
	if s == "" {
		return Set{}, nil
	}
	n := strings.Count(s, " ") + 1
	if n > Max {
		return Set{}, ErrCount
	}
	tokens := make([]string, 0, n)
	for token := range strings.SplitSeq(s, " ") {
		if err := checkToken(token); err != nil {
			return Set{}, err
		}
		tokens = append(tokens, token)
	}
	return newSet(tokens), nil
}

// FromList reads scopes that come one by one, from a policy or from an array claim. An element that is empty or holds a space
// is an error, never two scopes. The list is not kept.
func FromList(list []string) (Set, error) {
	if len(list) > Max {
		return Set{}, ErrCount
	}
	for _, token := range list {
		if err := checkToken(token); err != nil {
			return Set{}, err
		}
	}
	if len(list) == 0 {
		return Set{}, nil
	}
	return newSet(slices.Clone(list)), nil
}

func newSet(tokens []string) Set {
	slices.Sort(tokens)
	return Set{tokens: slices.Compact(tokens)}
}

func checkToken(token string) error {
	if token == "" {
		return ErrSpacing
	}
	for i := range len(token) {
		switch c := token[i]; {
		case c == ' ':
			return ErrSpacing
		case c < '!' || c > '~' || c == '"' || c == '\\':
			return ErrToken
		}
	}
	return nil
}

// Len returns the number of different scopes.
func (s Set) Len() int { return len(s.tokens) }

// Has reports whether the set holds a scope, octet by octet.
func (s Set) Has(scope string) bool {
	_, ok := slices.BinarySearch(s.tokens, scope)
	return ok
}

// HasAll reports whether the set holds every scope of the list. An empty list is satisfied.
func (s Set) HasAll(scopes []string) bool {
	for _, scope := range scopes {
		if !s.Has(scope) {
			return false
		}
	}
	return true
}

// HasAny reports whether the set holds at least one scope of the list. An empty list is not satisfied.
func (s Set) HasAny(scopes []string) bool {
	return slices.ContainsFunc(scopes, s.Has)
}

// String returns the scopes in byte order with single spaces, so equal sets have equal strings and Parse reads it back.
func (s Set) String() string { return strings.Join(s.tokens, " ") }
