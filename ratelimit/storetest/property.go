package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// decisionsPerSchedule times rapid's hundred schedules makes some thousands of batches.
const decisionsPerSchedule = 50

// agreesWithTwin plays random schedules to the store and to its twin: every outcome must be the same, to the millisecond. In every third
// schedule all limits are those of the reference, or nearly, which a store may count in a way of their own.
func agreesWithTwin(b bench) {
	run := 0
	rapid.Check(b.T, func(t *rapid.T) {
		run++
		s := &schedule{t: t, run: run, reference: rapid.IntRange(0, 2).Draw(t, "of the reference") == 0, twin: twin{map[string]counter{}, b.LoneApart}, clock: b.clock, generation: map[string]int{}, retired: map[string]bool{}, cuts: map[string]map[cut]bool{}}
		s.clock.Advance(48 * time.Hour)
		var open []receipt
		rules := []ratelimit.Charge{s.drawRule("x"), s.drawRule("y"), s.drawRule("z")}
		for range decisionsPerSchedule {
			s.moveClock(rules)
			if rapid.IntRange(0, 15).Draw(t, "reload") == 0 {
				i := rapid.IntRange(0, len(rules)-1).Draw(t, "which")
				rules[i] = s.drawRule(rules[i].Rule)
			}
			open = s.refund(b, open)
			batch := s.drawBatch(rules)
			got, named, err := b.Store.SpendRefundable(b.Context(), batch)
			if err != nil {
				t.Fatalf("SpendRefundable: %v", err)
			}
			want, wrote := s.twin.spend(batch, s.clock.Millis())
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("at %d ms, %+v (-twin +store):\n%s", s.clock.Millis()-epoch, batch, diff)
			}
			if len(named.Spent) != len(wrote) {
				t.Fatalf("a receipt for %+v, where the twin wrote %+v", named.Spent, wrote)
			}
			open = append(open, receipt{named, wrote})
		}
	})
}

// receipt is one of the store's, and the twin's own.
type receipt struct {
	ratelimit.Receipt
	wrote []spent
}

// refund takes one of the open receipts back now and then, twice at times, and says which are left.
func (s *schedule) refund(b bench, open []receipt) []receipt {
	t, now := s.t, s.clock.Millis()
	open = slices.DeleteFunc(open, func(r receipt) bool {
		// A key that is not asked again is not refunded either: its counter may or may not have been forgotten.
		return slices.ContainsFunc(r.Spent, func(sp ratelimit.Spent) bool { return s.retired[sp.Key] })
	})
	if len(open) == 0 || rapid.IntRange(0, 3).Draw(t, "refund") > 0 {
		return open
	}
	i := rapid.IntRange(max(len(open)-4, 0), len(open)-1).Draw(t, "receipt")
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		if err := b.Store.Refund(b.Context(), open[i].Receipt); err != nil {
			t.Fatalf("Refund: %v", err)
		}
	}
	if now-open[i].At <= ratelimit.RefundWithin.Milliseconds() {
		s.twin.refund(open[i].wrote, now)
	}
	return slices.Delete(open, i, i+1)
}

// schedule is one random history.
type schedule struct {
	t          *rapid.T
	run        int
	reference  bool // nearly all limits have the reference's form
	twin       twin
	clock      *Clock
	generation map[string]int          // of the key of a rule
	retired    map[string]bool         // keys of earlier generations
	cuts       map[string]map[cut]bool // that a key was asked for
}

// retire gives a rule a new key.
func (s *schedule) retire(rule string) {
	s.retired[s.key(rule)] = true
	s.generation[rule]++
}

// key names the counter of a rule; no two schedules share one.
func (s *schedule) key(rule string) string {
	return fmt.Sprintf("%d/%s/%d", s.run, rule, s.generation[rule])
}

// drawRule draws a limit: what the charges of one rule have in common until the rule is reloaded.
func (s *schedule) drawRule(name string) ratelimit.Charge {
	t := s.t
	c := ratelimit.Charge{
		Rule:        name,
		Algorithm:   rapid.SampledFrom([]window.Algorithm{window.Sliding, window.Sliding, window.Fixed, window.Fixed, window.TokenBucket, window.TokenBucket}).Draw(t, "algorithm"),
		CountDenied: rapid.IntRange(0, 3).Draw(t, "count denied") == 0,
		Shadow:      rapid.IntRange(0, 3).Draw(t, "shadow") == 0,
	}
	k := rapid.SampledFrom([]int{10, 60}).Draw(t, "k")
	limit := rapid.OneOf(rapid.Uint32Range(1, 200), rapid.Uint32Range(0, 3), rapid.Uint32Range(65_530, 140_000), rapid.Uint32Min(1<<32-5))
	spans := rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour, 7 * time.Millisecond, 90 * 24 * time.Hour})
	windows := rapid.IntRange(1, 3).Draw(t, "windows")
	if s.reference && rapid.IntRange(0, 7).Draw(t, "own form") > 0 {
		c.Algorithm, c.CountDenied, windows = window.Fixed, true, 1
	}
	for range windows {
		w := window.Window{Limit: limit.Draw(t, "limit"), Span: spans.Draw(t, "span"), Cells: k, Burst: limit.Draw(t, "burst")}
		if c.Algorithm == window.TokenBucket && slices.ContainsFunc(c.Windows, func(o window.Window) bool { return o.Span == w.Span }) {
			continue // no store takes two buckets of one span
		}
		c.Windows = append(c.Windows, w)
	}
	s.bound(c)
	return c
}

// bound keeps a key below the windows that a counter carries, beyond which it forgets the oldest.
func (s *schedule) bound(c ratelimit.Charge) {
	if s.cuts[s.key(c.Rule)] == nil || len(s.cuts[s.key(c.Rule)])+len(c.Windows) > window.MaxWindows {
		if s.cuts[s.key(c.Rule)] != nil {
			s.retire(c.Rule)
		}
		s.cuts[s.key(c.Rule)] = map[cut]bool{}
	}
	for _, w := range c.Windows {
		s.cuts[s.key(c.Rule)][cutOf(c.Algorithm, w)] = true
	}
}

// drawBatch draws one to three charges, of the same rule and counter now and then.
func (s *schedule) drawBatch(rules []ratelimit.Charge) []ratelimit.Charge {
	var batch []ratelimit.Charge
	for range rapid.IntRange(1, 3).Draw(s.t, "charges") {
		c := rapid.SampledFrom(rules).Draw(s.t, "rule")
		c.Key = s.key(c.Rule)
		c.Hits = s.drawHits(int64(c.Windows[0].Limit))
		batch = append(batch, c)
	}
	return batch
}

func (s *schedule) drawHits(limit int64) int64 {
	limit = min(limit, window.MaxHits-1)
	return rapid.OneOf(
		rapid.Just(int64(1)),
		rapid.Int64Range(0, 3),
		rapid.Int64Range(-limit-1, -1),
		rapid.Int64Range(0, limit+1),
		rapid.SampledFrom([]int64{65_535, 65_536, window.MaxHits, -window.MaxHits}),
	).Draw(s.t, "hits")
}

// moveClock lets time pass, mostly a little and often to within a millisecond of an edge, and now and then sets it back.
func (s *schedule) moveClock(rules []ratelimit.Charge) {
	t, now := s.t, s.clock.Millis()
	grain := rapid.SampledFrom([]int64{100, 1_000, 6_000, 60_000, 3_600_000}).Draw(t, "grain")
	switch rapid.IntRange(0, 19).Draw(t, "clock") {
	case 0:
		s.stepBack(rules, rapid.Int64Range(1, 3*grain).Draw(t, "back"))
	case 1, 2, 3:
		s.clock.Advance(time.Duration(rapid.Int64Range(0, 70*grain).Draw(t, "long wait")) * time.Millisecond)
	case 4, 5, 6, 7:
		edge := (now/grain+1)*grain + rapid.Int64Range(-1, 1).Draw(t, "jitter")
		s.clock.Advance(time.Duration(max(edge-now, 0)) * time.Millisecond)
	case 8, 9, 10, 11:
		s.clock.Advance(time.Duration(rapid.Int64Range(0, grain).Draw(t, "wait")) * time.Millisecond)
	}
}

// stepBack sets the clock back. A counter that was dead before may or may not have been forgotten, as a store sees fit, so its
// key is not asked again.
func (s *schedule) stepBack(rules []ratelimit.Charge, millis int64) {
	for _, r := range rules {
		if s.twin.dead(s.key(r.Rule), s.clock.Millis()) {
			s.retire(r.Rule)
			s.cuts[s.key(r.Rule)] = map[cut]bool{}
		}
	}
	s.clock.Advance(-time.Duration(millis) * time.Millisecond)
}
