// Package storetest is one suite of conformance for every [ratelimit.Store]: what a policy means must not depend on where the
// counters live. It holds each store to stories told by hand and, over thousands of random decisions, to a naive twin of the
// arithmetic. It also starts the real server that the tests of the shared store talk to. Tests only.
package storetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// epoch is the start of every test's time: a whole minute, hour and day.
const epoch = int64(1_799_971_200_000)

// Clock is the time that a store under test goes by. It is safe for concurrent use.
type Clock struct{ millis atomic.Int64 }

// Millis is the time in milliseconds since the Unix epoch.
func (c *Clock) Millis() int64 { return c.millis.Load() }

// Now is the time, without a monotonic reading.
func (c *Clock) Now() time.Time { return time.UnixMilli(c.millis.Load()) }

// Advance moves the clock, back where d is negative.
func (c *Clock) Advance(d time.Duration) { c.millis.Add(d.Milliseconds()) }

// Harness is a store under test.
type Harness struct {
	// Store goes by the clock that the harness was opened with.
	Store ratelimit.Refunder
	// ClockSteps is the store's count of steps back.
	ClockSteps func() uint64
	// LoneApart says that the store keeps the count of fixed windows of one span ([window.Ask.Lone]) apart from what else is counted under
	// the key, so that a rule which gets a second window begins anew.
	LoneApart bool
}

// Run holds the stores that open makes to the suite. Each call of open gets a clock and must give an empty store.
func Run(t *testing.T, open func(t *testing.T, clock *Clock) Harness) {
	start := func(t *testing.T) bench {
		clock := new(Clock)
		clock.millis.Store(epoch)
		return bench{T: t, clock: clock, Harness: open(t, clock)}
	}
	t.Run("stories", func(t *testing.T) {
		for name, tell := range stories {
			t.Run(name, func(t *testing.T) { tell(start(t)) })
		}
	})
	t.Run("bad batches", func(t *testing.T) { refusesBadBatches(start(t)) })
	t.Run("caller gone", func(t *testing.T) { refusesTheGone(start(t)) })
	t.Run("refunds", func(t *testing.T) {
		for name, tell := range refundStories {
			t.Run(name, func(t *testing.T) { tell(start(t)) })
		}
	})
	t.Run("any key", func(t *testing.T) { keepsKeysApart(start(t)) })
	t.Run("concurrent", func(t *testing.T) { admitsExactlyTheLimit(start(t)) })
	t.Run("concurrent batches", func(t *testing.T) { doesNotDeadlock(start(t)) })
	t.Run("worst case", func(t *testing.T) { neverBeyondTheWorstCase(start(t)) })
	t.Run("agrees with the twin", func(t *testing.T) { agreesWithTwin(start(t)) })
}

// bench is where one test stands: a store, its clock, and ways to tell a story.
type bench struct {
	*testing.T
	Harness
	clock *Clock
}

// spend decides a batch that must not fail.
func (b bench) spend(batch ...ratelimit.Charge) []ratelimit.Outcome {
	b.Helper()
	got, err := b.Store.Spend(b.Context(), batch)
	if err != nil {
		b.Fatalf("Spend: %v", err)
	}
	if len(got) != len(batch) {
		b.Fatalf("%d outcomes of %d charges", len(got), len(batch))
	}
	for i := range got {
		if len(got[i].Windows) != len(batch[i].Windows) {
			b.Fatalf("charge %d: %d states of %d windows", i, len(got[i].Windows), len(batch[i].Windows))
		}
	}
	return got
}

// want spends one charge, and compares what is left in its windows.
func (b bench) want(over bool, left []uint32, c ratelimit.Charge) {
	b.Helper()
	b.wantOutcome(over, left, b.spend(c)[0])
}

func (b bench) wantOutcome(over bool, left []uint32, got ratelimit.Outcome) {
	b.Helper()
	var remaining []uint32
	for _, w := range got.Windows {
		remaining = append(remaining, w.Remaining)
	}
	if got.Over != over || !cmp.Equal(remaining, left) {
		b.Errorf("over %v with %v left, want %v with %v", got.Over, remaining, over, left)
	}
}

// per is a sliding charge of one hit on a key, with a limit per minute.
func per(key string, minute uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: "rule", Algorithm: window.Sliding, Hits: 1,
		Windows: []window.Window{{Limit: minute, Span: time.Minute, Cells: 60}},
	}
}

func hits(c ratelimit.Charge, n int64) ratelimit.Charge { c.Hits = n; return c }
func shadow(c ratelimit.Charge) ratelimit.Charge        { c.Shadow = true; return c }
func counting(c ratelimit.Charge) ratelimit.Charge      { c.CountDenied = true; return c }
func hourly(c ratelimit.Charge, limit uint32) ratelimit.Charge {
	c.Windows = append(c.Windows[:1:1], window.Window{Limit: limit, Span: time.Hour, Cells: 60})
	return c
}
func fixed(c ratelimit.Charge) ratelimit.Charge { c.Algorithm = window.Fixed; return c }

// tokens counts a charge by token bucket, with a burst.
func tokens(c ratelimit.Charge, burst uint32) ratelimit.Charge {
	c.Algorithm = window.TokenBucket
	c.Windows = slices.Clone(c.Windows)
	for i := range c.Windows {
		c.Windows[i].Burst = burst
	}
	return c
}

// stories are what the limits promise, one promise each.
var stories = map[string]func(b bench){
	"an empty batch decides nothing": func(b bench) { b.spend() },

	"what is forgotten begins anew, and nothing else": func(b bench) {
		b.want(false, []uint32{0}, hits(per("a", 3), 3))
		b.want(false, []uint32{1}, hits(per("b", 3), 2))
		forgetful, ok := b.Store.(ratelimit.Forgetter)
		if !ok {
			b.Fatal("the store cannot forget")
		}
		for range 2 { // there is nothing to forget the second time
			if err := forgetful.Forget(b.Context(), []ratelimit.Charge{per("a", 3), per("never", 3)}); err != nil {
				b.Fatal(err)
			}
		}
		b.want(false, []uint32{2}, per("a", 3))
		b.want(false, []uint32{0}, per("b", 3))
	},

	"a limit holds, and a denied hit burns nothing": func(b bench) {
		b.want(false, []uint32{1}, hits(per("a", 3), 2))
		b.want(true, []uint32{1}, hits(per("a", 3), 2))
		b.want(false, []uint32{0}, per("a", 3))
		b.want(true, []uint32{0}, per("a", 3))
		b.clock.Advance(61 * time.Second)
		b.want(false, []uint32{2}, per("a", 3))
	},
	"all windows have room, or nothing is spent in any": func(b bench) {
		b.want(false, []uint32{0, 3}, hits(hourly(per("a", 2), 5), 2))
		b.want(true, []uint32{0, 3}, hourly(per("a", 2), 5))
		b.clock.Advance(2 * time.Minute)
		b.want(false, []uint32{0, 1}, hits(hourly(per("a", 2), 5), 2))
		b.clock.Advance(2 * time.Minute)
		b.want(true, []uint32{2, 1}, hits(hourly(per("a", 2), 5), 2))
	},
	"a fixed window ends at its edge": func(b bench) {
		b.clock.Advance(59 * time.Second)
		b.want(false, []uint32{0}, hits(fixed(per("a", 2)), 2))
		b.want(true, []uint32{0}, fixed(per("a", 2)))
		b.clock.Advance(time.Second)
		b.want(false, []uint32{1}, fixed(per("a", 2)))
	},
	"a bucket lets its burst through at once, and then the rate": func(b bench) {
		b.want(false, []uint32{0}, hits(tokens(per("a", 60), 5), 5))
		b.want(true, []uint32{0}, tokens(per("a", 60), 5))
		b.clock.Advance(999 * time.Millisecond)
		b.want(true, []uint32{0}, tokens(per("a", 60), 5))
		b.clock.Advance(time.Millisecond)
		b.want(false, []uint32{0}, tokens(per("a", 60), 5))
		b.clock.Advance(time.Hour)
		b.want(false, []uint32{4}, tokens(per("a", 60), 5))
	},
	"all buckets have room, or nothing is spent in any": func(b bench) {
		both := tokens(hourly(per("a", 60), 60), 3)
		b.want(false, []uint32{0, 0}, hits(both, 3))
		b.clock.Advance(10 * time.Second)
		b.want(true, []uint32{3, 0}, both)
		b.clock.Advance(50 * time.Second)
		b.want(false, []uint32{2, 0}, both)
	},
	"a bucket keeps its level when its limit changes": func(b bench) {
		b.want(false, []uint32{2}, hits(tokens(per("a", 60), 10), 8))
		b.want(false, []uint32{12}, hits(tokens(per("a", 600), 20), 0))
		b.want(true, []uint32{0}, tokens(per("a", 60), 5))
		b.clock.Advance(time.Second)
		b.want(false, []uint32{0}, tokens(per("a", 60), 5))
	},
	"counters are apart": func(b bench) {
		b.want(false, []uint32{0}, per("a", 1))
		b.want(false, []uint32{0}, per("b", 1))
		b.want(true, []uint32{0}, per("a", 1))
	},
	"a denied request burns nothing in any of its counters": func(b bench) {
		b.want(false, []uint32{0}, per("full", 1))
		got := b.spend(per("a", 5), per("full", 1), per("b", 5))
		b.wantOutcome(false, []uint32{5}, got[0])
		b.wantOutcome(true, []uint32{0}, got[1])
		b.wantOutcome(false, []uint32{5}, got[2])
	},
	"counted denials are counted, and deny others": func(b bench) {
		b.want(true, []uint32{0}, hits(counting(per("a", 3)), 5))
		b.want(true, []uint32{0}, counting(per("a", 3)))
		got := b.spend(per("b", 5), counting(per("c", 5)), counting(per("a", 3)))
		b.wantOutcome(false, []uint32{5}, got[0])
		b.wantOutcome(false, []uint32{4}, got[1])
		b.wantOutcome(true, []uint32{0}, got[2])
	},
	"a shadow vetoes nothing and burns what it would": func(b bench) {
		got := b.spend(shadow(per("s", 1)), per("a", 9))
		b.wantOutcome(false, []uint32{0}, got[0])
		b.wantOutcome(false, []uint32{8}, got[1])
		got = b.spend(shadow(per("s", 1)), per("a", 9))
		b.wantOutcome(true, []uint32{0}, got[0])
		b.wantOutcome(false, []uint32{7}, got[1])
		b.want(false, []uint32{0}, per("full", 1))
		got = b.spend(shadow(per("fresh", 4)), per("full", 1))
		b.wantOutcome(false, []uint32{4}, got[0])
		b.wantOutcome(true, []uint32{0}, got[1])
	},
	"a peek spends nothing and passes at exactly the limit": func(b bench) {
		b.want(false, []uint32{2}, hits(per("a", 2), 0))
		b.want(false, []uint32{0}, hits(per("a", 2), 2))
		b.want(false, []uint32{0}, hits(per("a", 2), 0))
		b.want(true, []uint32{0}, hits(per("a", 1), 0))
	},
	"hits come back, to zero and no lower": func(b bench) {
		b.want(false, []uint32{5}, hits(per("a", 5), -3))
		b.want(false, []uint32{1}, hits(per("a", 5), 4))
		b.want(false, []uint32{3}, hits(per("a", 5), -2))
		b.want(false, []uint32{5}, hits(per("a", 5), -math.MaxUint32))
	},
	"the same counter twice counts twice": func(b bench) {
		got := b.spend(per("a", 3), per("a", 3))
		b.wantOutcome(false, []uint32{2}, got[0])
		b.wantOutcome(false, []uint32{1}, got[1])
		got = b.spend(per("a", 3), per("a", 3))
		b.wantOutcome(false, []uint32{1}, got[0])
		b.wantOutcome(true, []uint32{1}, got[1])
		b.want(false, []uint32{0}, per("a", 3))
	},
	"a changed limit keeps the counts, across the width of cells": func(b bench) {
		b.want(false, []uint32{2}, hits(per("a", 10), 8))
		b.want(false, []uint32{29_992}, hits(per("a", 100_000), 70_000))
		b.want(true, []uint32{1}, hits(per("a", 70_009), 2))
		b.want(true, []uint32{0}, per("a", 10))
	},
	"a limit of nothing refuses everything": func(b bench) {
		b.want(true, []uint32{0}, per("a", 0))
		b.want(true, []uint32{0}, hits(per("a", 0), 0))
	},
	"the largest numbers saturate": func(b bench) {
		for range 3 {
			b.want(true, []uint32{0}, hits(counting(per("a", 2)), math.MaxUint32))
		}
		b.want(false, []uint32{0}, hits(per("b", math.MaxUint32), math.MaxUint32))
		b.want(true, []uint32{0}, per("b", math.MaxUint32))
	},
	"a step back of the clock gives nothing back, and is counted": func(b bench) {
		b.want(false, []uint32{0}, per("a", 1))
		before := b.ClockSteps()
		b.clock.Advance(-time.Hour)
		b.want(true, []uint32{0}, per("a", 1))
		if got := b.ClockSteps() - before; got != 1 {
			b.Errorf("%d steps back counted, want 1", got)
		}
		b.clock.Advance(time.Hour + 61*time.Second)
		b.want(false, []uint32{0}, per("a", 1))
		if got := b.ClockSteps() - before; got != 1 {
			b.Errorf("%d steps back counted after the clock came back, want 1", got)
		}
	},
}

// What no store can decide is refused, and the rest of its batch is not written.
func refusesBadBatches(b bench) {
	bad := map[string]ratelimit.Charge{
		"no key":       per("", 1),
		"long key":     per(strings.Repeat("k", ratelimit.MaxKeyBytes+1), 1),
		"no windows":   {Key: "k", Algorithm: window.Sliding, Hits: 1},
		"no algorithm": {Key: "k", Hits: 1, Windows: per("k", 1).Windows},
		"many hits":    hits(per("k", 1), math.MaxUint32+1),
		"least hits":   hits(per("k", 1), math.MinInt64),
	}
	for name, charge := range bad {
		got, err := b.Store.Spend(b.Context(), []ratelimit.Charge{per("good", 9), charge})
		if err == nil || got != nil {
			b.Errorf("%s: %v, %v; want an error alone", name, got, err)
		}
	}
	if _, err := b.Store.Spend(b.Context(), make([]ratelimit.Charge, ratelimit.MaxBatch+1)); err == nil {
		b.Error("a batch above the maximum is decided")
	}
	b.want(false, []uint32{8}, per("good", 9))
}

// Nothing is spent for a caller that went away before the store was asked.
func refusesTheGone(b bench) {
	gone, cancel := context.WithCancel(b.Context())
	cancel()
	_, err := b.Store.Spend(gone, []ratelimit.Charge{per("a", 9)})
	var se *ratelimit.StoreError
	if !errors.As(err, &se) || se.Class != ratelimit.StoreTimeout || !errors.Is(err, context.Canceled) {
		b.Errorf("error %v, want a StoreError of class timeout that wraps the context's", err)
	}
	b.want(false, []uint32{8}, per("a", 9))
}

// Keys are bytes: what a protocol or a script might trip over neither breaks a store nor joins two counters.
func keepsKeysApart(b bench) {
	keys := []string{
		"a", "A", "a ", " a", "a\x00", "a\x00b", "a\r\n", "a\r\nDEL a", "{a}", "{a}b", "*", "?", "a:b", "a_b", "\xff\xfe", "ä",
		"' .. redis.call('FLUSHALL') .. '", "]]", strings.Repeat("k", ratelimit.MaxKeyBytes), strings.Repeat("k", ratelimit.MaxKeyBytes-1),
	}
	for _, k := range keys {
		b.want(false, []uint32{0}, per(k, 1))
	}
	for _, k := range keys {
		b.want(true, []uint32{0}, per(k, 1))
	}
}

// Any number of callers at once share one budget exactly.
func admitsExactlyTheLimit(b bench) {
	const limit, callers, each = 500, 8, 100
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				got, err := b.Store.Spend(b.Context(), []ratelimit.Charge{hourly(per("a", limit), limit)})
				if err != nil {
					b.Errorf("Spend: %v", err)
					return
				}
				if !got[0].Over {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if admitted.Load() != limit {
		b.Errorf("%d of %d admitted, want %d", admitted.Load(), callers*each, limit)
	}
}

// Batches that name the same counters in opposite orders neither wait for each other for ever nor lose a hit.
func doesNotDeadlock(b bench) {
	const callers, each = 6, 60
	keys := []string{"a", "b", "c", "d", "e"}
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for i := range each {
				var batch []ratelimit.Charge
				for j := range keys {
					at := (n + i + j) % len(keys)
					if n%2 == 0 {
						at = len(keys) - 1 - at
					}
					batch = append(batch, per(keys[at], 100_000))
				}
				if _, err := b.Store.Spend(b.Context(), batch); err != nil {
					b.Errorf("Spend: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		b.want(false, []uint32{100_000 - callers*each}, hits(per(k, 100_000), 0))
	}
}
