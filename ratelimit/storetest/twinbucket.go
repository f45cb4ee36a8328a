package storetest

import (
	"math/big"
	"sort"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// bucket is a token bucket of the twin: a level in fractions without rounding, and every wait found by search. It is never
// written to; nil is an empty one.
type bucket struct {
	level       *big.Rat
	last        int64
	span, limit int64 // as of the latest charge
	taken       int64 // hits that left other than by draining
	origin      *byte // of the bucket and what it becomes, until it is forgotten
}

// drain is how much leaves in so many milliseconds.
func drain(limit, span, millis int64) *big.Rat {
	part := new(big.Rat).SetFrac64(max(millis, 0), span)
	return part.Mul(part, new(big.Rat).SetInt64(limit))
}

func (b *bucket) dead(now int64) bool {
	return b == nil || b.level.Cmp(drain(b.limit, b.span, now-b.last)) <= 0
}

// at is the level at an instant under a window.
func (b *bucket) at(w window.Window, now int64) *big.Rat {
	level := new(big.Rat)
	if b.dead(now) {
		return level
	}
	level.Set(b.level)
	if most := new(big.Rat).SetInt64(int64(w.Capacity(window.TokenBucket))); level.Cmp(most) > 0 {
		level.Set(most)
	}
	return positive(level.Sub(level, drain(int64(w.Limit), w.Span.Milliseconds(), now-b.last)))
}

// used is the level rounded up to whole hits.
func (b *bucket) used(w window.Window, now int64) int64 { return roundUp(b.at(w, now)) }

// after is the bucket with hits spent, or given back.
func (b *bucket) after(w window.Window, hits, now int64) *bucket {
	most := new(big.Rat).SetInt64(int64(w.Capacity(window.TokenBucket)))
	taken, origin := int64(0), new(byte)
	if b != nil {
		origin = b.origin
		taken = b.taken + roundUp(positive(new(big.Rat).Sub(b.level, most)))
	}
	level := b.at(w, now)
	if hits < 0 {
		taken += min(-hits, roundUp(level))
	}
	level = positive(level.Add(level, new(big.Rat).SetInt64(hits)))
	if level.Cmp(most) > 0 {
		level = most
	}
	return &bucket{level: level, last: b.seen(now), span: w.Span.Milliseconds(), limit: int64(w.Limit), taken: taken, origin: origin}
}

// seen is the latest instant that the bucket knows of.
func (b *bucket) seen(now int64) int64 {
	if b == nil {
		return now
	}
	return max(now, b.last)
}

// wait searches for the first millisecond at which what is waited for has come true.
func (b *bucket) wait(w window.Window, now int64, f waitFor) int64 {
	if w.Limit == 0 {
		return w.Span.Milliseconds()
	}
	now = b.seen(now)
	used := b.used(w, now)
	goal := used - 1 // any fall
	switch {
	case f.over && f.hits > f.limit:
		goal = 0
	case f.over && used+f.hits > f.limit:
		goal = f.limit - f.hits
	}
	most := int(window.MaxSpan.Milliseconds())
	return int64(sort.Search(most, func(millis int) bool {
		if used == 0 { // one hit would have to come back first, and then leave
			return drain(int64(w.Limit), w.Span.Milliseconds(), int64(millis)).Cmp(new(big.Rat).SetInt64(1)) >= 0
		}
		return b.used(w, now+int64(millis)) <= goal
	}))
}
