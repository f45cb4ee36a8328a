// Package window is the arithmetic of rate limits over time: pure functions of counts and an instant, with no clock, no store
// and no key. The Redis script is held to it, and the memory store is built on it.
package window

import "time"

// Algorithm says how the hits of a window are counted. The zero value is invalid: a limit states its algorithm.
type Algorithm uint8

const (
	// Fixed counts from zero in every epoch-aligned window, as envoyproxy/ratelimit does. Up to twice the limit can pass in
	// a span that straddles an edge.
	Fixed Algorithm = iota + 1
	// Sliding counts strict sub-buckets: never more than the limit in any span of the window's length.
	Sliding
)

// Window is one limit: at most Limit hits in Span.
type Window struct {
	// Limit is the most hits, 0 to 2^32-1. Zero refuses everything.
	Limit uint32
	// Span is the window's length, a positive whole number of milliseconds.
	Span time.Duration
	// Cells is k, the number of sub-buckets of a Sliding window (10 or 60); the window forgets up to Span/k late. Ignored for
	// Fixed.
	Cells int
}

// State is what one window says after a charge.
type State struct {
	// Remaining is the hits that would still pass now.
	Remaining uint32
	// Reset is the time until the window has room again: until the window's end for Fixed, and for Sliding until the oldest
	// hits that free enough for the charge leave (for a charge that passed: until the newest cell's hits have left is not a
	// cliff; it is the time until one more hit frees). Always positive, at most Span plus one cell.
	Reset time.Duration
	// Over says that this window has no room for the charge.
	Over bool
}
