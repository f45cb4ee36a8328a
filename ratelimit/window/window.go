// Package window is the arithmetic of rate limits over time: pure functions of counts and an instant, with no clock, no store
// and no key. The Redis script is held to it, and the memory store is built on it.
//
// A span is cut into cells of one grain, and a hit at instant t is charged to cell floor(t/grain). A hit is admitted only if the
// sum of the newest n cells plus the hit is at most the limit. Sliding takes n = k+1 cells of a k-th of the span: any stretch
// of one span that ends at an admission touches at most k+1 cells, all of them in that sum, so no stretch of one span ever
// holds more than the limit; the price is that quota returns up to one grain late. Fixed is the same with one cell as long
// as the span.
//
// TokenBucket keeps no cells but a level: it rises by one for each hit, drains by the limit in each span, and a hit is admitted
// only if the level stays within the burst. This is the generic cell rate algorithm, in the form that ITU-T I.371 calls the
// continuous-state leaky bucket: the instant at which the level reaches zero is the theoretical arrival time of the other
// form. A stretch of time s begins with at most the burst in the bucket's room and gains limit*s/span, so it never holds more
// than burst + limit*s/span: with a burst as large as the limit, just under twice the limit in a span.
//
// The level is exact, and does not depend on the limit. In a span of S milliseconds, e of them drain limit*e/S hits; so a level
// is always a whole number of S-ths of a hit, and it is kept as one: whole hits, and a part below S. Nothing is ever rounded,
// except an answer in hits (down) or in milliseconds (up). Since neither limit nor burst stands in the level, both may change
// while it stays: whatever the bucket held, it then drains by the new limit, and holds at most the new burst. So a change hands
// out at most the new burst at once, and locks nobody out for longer than a bucket that is full by the new rule.
package window

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Bounds of what a counter may be asked. They keep every sum exact: MaxCells+1 cells of at most MaxHits each stay below
// 2^43, far inside the 2^53 below which the doubles of a Redis script are exact integers.
const (
	// MaxWindows is the most windows that one counter carries, those of an earlier configuration included.
	MaxWindows = 8
	// MaxCells is the largest k of a Sliding window.
	MaxCells = 1000
	// MaxHits is the most hits that one charge spends or gives back, and the most that one cell holds.
	MaxHits = math.MaxUint32
	// MaxSpan is the longest window, about 68 years; in milliseconds it needs 41 bits.
	MaxSpan = math.MaxUint32 * 500 * time.Millisecond
)

// Algorithm says how the hits of a window are counted. The zero value is invalid: a limit states its algorithm.
type Algorithm uint8

const (
	// Fixed counts from zero in every epoch-aligned window, as envoyproxy/ratelimit does. Up to twice the limit can pass in
	// a span that straddles an edge.
	Fixed Algorithm = iota + 1
	// Sliding counts strict sub-buckets: never more than the limit in any span of the window's length.
	Sliding
	// TokenBucket lets a burst through at once and the limit in the long run, with no edge anywhere: at most burst + limit in
	// any span of the window's length. See the package.
	TokenBucket
)

// Window is one limit: at most Limit hits in Span.
type Window struct {
	// Limit is the most hits, 0 to 2^32-1. Zero refuses everything, a peek included, but takes hits back.
	Limit uint32
	// Span is the window's length, a positive whole number of milliseconds, at most MaxSpan.
	Span time.Duration
	// Cells is k, the number of sub-buckets of a Sliding window, 1 to MaxCells (10 or 60 in practice); the window forgets up
	// to Span/k late. Ignored unless Sliding.
	Cells int
	// Burst is the most hits at once of a TokenBucket, which may be more or less than Limit. Zero refuses everything, as a Limit
	// of zero does. Ignored unless TokenBucket.
	Burst uint32
}

// Capacity is the most hits that the window ever has room for: Burst for TokenBucket, Limit for the others. Where it is zero, the
// window refuses everything.
func (w Window) Capacity(a Algorithm) uint32 {
	if a == TokenBucket && w.Limit > 0 {
		return w.Burst
	}
	return w.Limit
}

// Shape is how a window is cut, which is all that its counts depend on: a limit may change while its counts stay. Windows of
// one counter that have the same shape share their counts.
type Shape struct {
	// Grain is the length of one cell in milliseconds, the span divided by k and rounded up; for TokenBucket the span itself.
	Grain int64
	// Cells is the number of cells that are summed: k+1 for Sliding, 1 for Fixed, 0 for TokenBucket, which has a level.
	Cells int
}

// Shape says how w is cut under an algorithm. It is meaningful only where [Ask.Validate] accepts both.
func (w Window) Shape(a Algorithm) Shape {
	span := w.Span.Milliseconds()
	switch a {
	case Fixed:
		return Shape{Grain: span, Cells: 1}
	case TokenBucket:
		return Shape{Grain: span}
	}
	k := int64(w.Cells)
	return Shape{Grain: (span + k - 1) / k, Cells: w.Cells + 1}
}

// State is what one window says after a charge.
type State struct {
	// Remaining is the hits that would still pass now, as far as this window goes.
	Remaining uint32
	// Reset is the time until the window gives hits back, in whole milliseconds, always positive, at most the span plus one
	// grain, or what a full bucket takes to drain. Fixed: the end of the window. Sliding: when the oldest hits leave or, for a
	// charge that is over, when enough have left for it to pass; it is not a cliff, since later hits leave later. TokenBucket:
	// when the next whole hit is back or, for a charge that is over, when it would pass. A charge that can never pass (more hits
	// than the capacity) waits until every hit has left.
	Reset time.Duration
	// Over says that this window has no room for the charge.
	Over bool
	// Beyond is the hits that the window holds beyond its limit: those of denied charges that were counted, or what was left when
	// the limit fell. It is exact up to the most that a cell holds ([Ask.Cap]), and to MaxHits.
	Beyond uint32
}

// Ask is what is asked of one counter: hits, and the windows that must all have room for them.
type Ask struct {
	// Algorithm counts every window of the ask.
	Algorithm Algorithm
	// Windows are one to MaxWindows limits.
	Windows []Window
	// Hits to spend, MaxHits at most. Zero is a peek: over only where the window is overdrawn already, which a bucket never is.
	// Negative hits give back: they are never over, and drain the newest cells first, or the level, to zero at the lowest.
	Hits int64
}

// Validate says why an ask cannot be decided. The other functions rely on it, and are not meant to be called without.
func (a Ask) Validate() error {
	if a.Algorithm < Fixed || a.Algorithm > TokenBucket {
		return fmt.Errorf("window: unknown algorithm %d", a.Algorithm)
	}
	if len(a.Windows) == 0 {
		return errors.New("window: a counter needs at least one window")
	}
	if len(a.Windows) > MaxWindows {
		return fmt.Errorf("window: %d windows on one counter, at most %d", len(a.Windows), MaxWindows)
	}
	if a.Hits > MaxHits || a.Hits < -MaxHits {
		return fmt.Errorf("window: %d hits in one charge, at most %d", a.Hits, int64(MaxHits))
	}
	for i, w := range a.Windows {
		if w.Span <= 0 || w.Span > MaxSpan || w.Span%time.Millisecond != 0 {
			return fmt.Errorf("window: span %v is not a positive whole number of milliseconds up to %v", w.Span, MaxSpan)
		}
		if a.Algorithm == Sliding && (w.Cells < 1 || w.Cells > MaxCells) {
			return fmt.Errorf("window: %d cells, want 1 to %d", w.Cells, MaxCells)
		}
		// A level drains by its own limit, so unlike cells it cannot be shared.
		if a.Algorithm == TokenBucket && a.repeats(i) {
			return fmt.Errorf("window: two token buckets of %v on one counter", w.Span)
		}
	}
	return nil
}

// Cap is the most that one cell holds for this ask; what goes beyond it is dropped. Counts only pass a limit where denied hits
// are counted, and there 65,535 says "over" as well as any larger number to limits of up to 65,535: so such counters keep
// cells of 16 bits. A counter of one cell ([Ask.Lone]) saves nothing by that, and counts on. A bucket has no cells: it holds its burst
// at most.
func (a Ask) Cap() uint32 {
	if a.Lone() {
		return math.MaxUint32
	}
	for _, w := range a.Windows {
		if w.Limit > math.MaxUint16 {
			return math.MaxUint32
		}
	}
	return math.MaxUint16
}

// Lone says that the ask counts in a single cell: Fixed windows of one span.
func (a Ask) Lone() bool {
	if a.Algorithm != Fixed {
		return false
	}
	for _, w := range a.Windows[1:] {
		if w.Span != a.Windows[0].Span {
			return false
		}
	}
	return true
}

// AppendLoneStates is [Counter.AppendStates] for an ask that is [Ask.Lone], whose cell of a number holds so many hits after the charge.
// Hits that were spent are over where what the cell holds now, uncapped, is beyond the limit; see [Ask.LoneOver].
func AppendLoneStates(dst []State, a Ask, l LoneCell, v Verdict) []State {
	span := a.Windows[0].Span.Milliseconds()
	now := max(bound(l.Now), l.Cell*span) // where the clock has stepped back, the newest cell seen has just begun
	held := min(l.Held, math.MaxUint32)
	for i, w := range a.Windows {
		within := min(held, uint64(w.Limit))
		dst = append(dst, State{
			Remaining: w.Limit - uint32(within), Beyond: uint32(held - within), Over: v.Over&(1<<i) != 0,
			Reset: time.Duration((l.Cell+1)*span-now) * time.Millisecond,
		})
	}
	return dst
}

// LoneCell is the cell that a [Ask.Lone] ask counts in.
type LoneCell struct {
	// Cell is its number, and Held the hits in it; more than MaxHits count as MaxHits.
	Cell int64
	Held uint64
	// Now is the instant, in milliseconds since the Unix epoch.
	Now int64
}

// LoneOver is the verdict on an ask that is [Ask.Lone] and whose hits were spent before anybody judged: held is what the cell holds since,
// those hits among it, however many. A peek is judged by what counts of it: MaxHits at most.
func (a Ask) LoneOver(held uint64) Verdict {
	if a.Hits == 0 {
		held = min(held, MaxHits)
	}
	var v Verdict
	for i, w := range a.Windows {
		if w.Limit == 0 || held > uint64(w.Limit) {
			v.Over |= 1 << i
		}
	}
	return v
}

// repeats says that an earlier window of the ask has the shape of window i, and so shares its counts.
func (a Ask) repeats(i int) bool {
	shape := a.Windows[i].Shape(a.Algorithm)
	for _, w := range a.Windows[:i] {
		if w.Shape(a.Algorithm) == shape {
			return true
		}
	}
	return false
}

// over says that a window that holds sum has no room for hits; limit is its capacity. Hits above it are refused before any
// arithmetic.
func over(limit uint32, sum uint64, hits int64) bool {
	switch l := uint64(limit); {
	case hits < 0:
		return false
	case limit == 0:
		return true
	case hits == 0:
		return sum > l
	case uint64(hits) > l:
		return true
	default:
		return sum > l-uint64(hits)
	}
}
