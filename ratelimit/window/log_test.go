package window_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// A log remembers every hit that was admitted, and knows nothing of cells, levels and bytes. It is what the arithmetic is proved
// against: whether there is room, how much, and from when on.
type log struct {
	hits []hit
	a    window.Algorithm
	w    window.Window
}

// room is how many hits the rule leaves at an instant: by its definition, over all that was admitted.
func (l *log) room(now int64) int64 {
	span, limit := l.w.Span.Milliseconds(), int64(l.w.Limit)
	if l.a == window.TokenBucket {
		return l.conforming(now)
	}
	n := int64(l.w.Cells) + 1
	grain := (span + n - 2) / max(n-1, 1)
	if l.a == window.Fixed {
		grain, n = span, 1
	}
	// What counts are the hits of the newest n cells.
	return limit - during(l.hits, (now/grain-n+1)*grain-1, now)
}

// conforming is the room of a token bucket, as traffic contracts define it: of every stretch that ends now, its length times the
// rate, plus the burst, minus what it holds; the least of them.
func (l *log) conforming(now int64) int64 {
	span, limit, burst := l.w.Span.Milliseconds(), int64(l.w.Limit), int64(l.w.Burst)
	least, sum := burst*span, int64(0)
	for _, h := range slices.Backward(l.hits) {
		sum += h.hits
		least = min(least, burst*span+limit*(now-h.at)-sum*span)
	}
	return max(least, 0) / span
}

// forget drops what no rule remembers, so that a log stays short.
func (l *log) forget(now int64) {
	keep := 2*l.w.Span.Milliseconds() + 2*int64(l.w.Cells)
	if l.a == window.TokenBucket {
		if l.room(now) == int64(l.w.Burst) {
			l.hits = l.hits[:0]
		}
		return
	}
	l.hits = slices.DeleteFunc(l.hits, func(h hit) bool { return h.at <= now-keep })
}

// worst is the most that may pass in any span.
func (l *log) worst() int64 {
	limit := int64(l.w.Limit)
	switch l.a {
	case window.Fixed:
		return 2 * limit
	case window.TokenBucket:
		return int64(l.w.Burst) + limit
	default:
		return limit
	}
}

// player plays random hits to a counter and to a log at once.
type player struct {
	*rand.Rand
	log
	counter window.Counter
	now     int64
}

// play decides once, and compares everything that the counter says with the log.
func (p *player) play(t *testing.T) {
	p.now += p.step()
	p.forget(p.now)
	capacity := int64(p.w.Capacity(p.a))
	ask := window.Ask{Algorithm: p.a, Windows: []window.Window{p.w}, Hits: 1}
	if p.IntN(3) == 0 {
		ask.Hits = p.Int64N(capacity + 2)
	}
	room := p.room(p.now)
	v := p.counter.Evaluate(ask, p.now)
	if want := ask.Hits > room; v.Denied() != want {
		t.Fatalf("%d hits where the log has room for %d: denied %v", ask.Hits, room, v.Denied())
	}
	if !v.Denied() {
		p.counter.Spend(ask, p.now)
		if ask.Hits > 0 {
			p.hits = append(p.hits, hit{p.now, ask.Hits})
		}
		room = p.room(p.now)
	}
	if got := during(p.hits, p.now-p.w.Span.Milliseconds(), p.now); got > p.worst() {
		t.Fatalf("%d hits in a span, at most %d promised", got, p.worst())
	}
	st := p.counter.AppendStates(nil, ask, p.now, v)[0]
	if int64(st.Remaining) != room || st.Over != v.Denied() {
		t.Fatalf("%+v where the log has room for %d", st, room)
	}
	p.compareReset(t, st, ask.Hits)
}

// compareReset wants the reset to be the very first millisecond at which the log has more room, or room for what was refused.
func (p *player) compareReset(t *testing.T, st window.State, hits int64) {
	at := p.now + st.Reset.Milliseconds()
	wanted := int64(st.Remaining) + 1
	switch capacity := int64(p.w.Capacity(p.a)); {
	case st.Over && hits > capacity, !st.Over && wanted > capacity:
		wanted = 0 // it never comes: any reset above zero will do
	case st.Over:
		wanted = hits
	}
	if st.Reset <= 0 || p.room(at) < wanted || (wanted > 0 && p.room(at-1) >= wanted) {
		t.Fatalf("a reset of %v for %d hits where the log has room for %d then and %d before", st.Reset, hits, p.room(at), p.room(at-1))
	}
}

// step is how long an adversary waits: often not at all, often to within a millisecond of an edge of something.
func (p *player) step() int64 {
	span := p.w.Span.Milliseconds()
	unit := []int64{span, max(span/60, 1), max(span/10, 1), max(span/int64(p.w.Limit), 1)}[p.IntN(4)]
	switch p.IntN(6) {
	case 0, 1:
		return 0
	case 2:
		return max(unit-p.now%unit+p.Int64N(3)-1, 0)
	case 3:
		return max(unit+p.Int64N(3)-1, 0)
	case 4:
		return p.Int64N(span + 1)
	default:
		return p.Int64N(unit + 1)
	}
}

func (p *player) begin(schedule int) {
	span := []int64{1, 7, 59, 100, 1_000, 60_000, 3_600_000, 90 * 86_400_000}[schedule%8]
	p.w = window.Window{
		Limit: 1 + p.Uint32N(40), Burst: 1 + p.Uint32N(60), Span: time.Duration(span) * time.Millisecond, Cells: []int{1, 2, 10, 60}[p.IntN(4)],
	}
	p.hits, p.counter, p.now = p.hits[:0], window.Counter{}, epoch+p.Int64N(7_200_000)
}

// The promise of each algorithm, over a million random decisions: what passes, how much is left, and from when on there is more,
// are what the log says, and no span ever holds more than the worst case.
func TestEachAlgorithmAgreesWithTheLog(t *testing.T) {
	const schedules, decisions = 5_000, 200
	for name, a := range map[string]window.Algorithm{"fixed": window.Fixed, "sliding": window.Sliding, "token bucket": window.TokenBucket} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := player{log: log{a: a}}
			for schedule := range schedules {
				p.Rand = rand.New(rand.NewPCG(uint64(a), uint64(schedule)))
				p.begin(schedule)
				for i := range decisions {
					p.play(t)
					if t.Failed() {
						t.Fatalf("schedule %d, decision %d, %+v", schedule, i, p.w)
					}
				}
			}
		})
	}
}

// A limit and a burst may change at any moment. Whatever passes conforms to the rule in force: no more than the new burst, and
// nobody waits for longer than behind a bucket that is full by the new rule.
func TestABucketStaysFairWhileItsLimitChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c window.Counter
		now := epoch
		sinceChange := int64(0)
		limit, burst := uint32(10), uint32(10)
		for range 60 {
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				limit, burst = rapid.Uint32Range(0, 50).Draw(t, "limit"), rapid.Uint32Range(0, 50).Draw(t, "burst")
				sinceChange = 0
			}
			a := bucket(limit, burst, time.Second)
			if wait := rapid.Int64Range(-200, 400).Draw(t, "wait"); wait > 0 {
				now += wait
				sinceChange = -1 << 40 // only what passes at once is compared with the burst
			}
			a.Hits = rapid.Int64Range(1, 5).Draw(t, "hits")
			v := c.Evaluate(a, now)
			st := c.AppendStates(nil, a, now, v)[0]
			if v.Denied() && limit > 0 && a.Hits <= int64(burst) {
				if full := (a.Hits*1_000 + int64(limit) - 1) / int64(limit); st.Reset.Milliseconds() > full {
					t.Fatalf("%d hits wait %v, behind a full bucket of %d at %d they wait %d ms", a.Hits, st.Reset, burst, limit, full)
				}
			}
			if v.Denied() {
				continue
			}
			c.Spend(a, now)
			if sinceChange += a.Hits; sinceChange > int64(burst) {
				t.Fatalf("%d hits at once after a change, burst %d", sinceChange, burst)
			}
		}
	})
}

// A change does not forget: a burst that was spent is not there again, and comes back by the new rule.
func TestABucketKeepsItsLevelWhenItsLimitChanges(t *testing.T) {
	var c window.Counter
	spend(&c, bucket(10, 10, time.Second), 8, epoch)
	if got, want := spend(&c, bucket(100, 20, time.Second), 0, epoch), state(12, 10, false); got != want {
		t.Errorf("raised: %+v, want %+v", got, want)
	}
	if got, want := spend(&c, bucket(5, 5, time.Second), 1, epoch), state(0, 200, true); got != want {
		t.Errorf("lowered: %+v, want %+v", got, want)
	}
	if got, want := spend(&c, bucket(5, 5, time.Second), 1, epoch+200), state(0, 200, false); got != want {
		t.Errorf("lowered, after the reset: %+v, want %+v", got, want)
	}
}

// A limit of a sliding or fixed window may change at any moment: the hits that passed before count against the new one.
func TestAChangedLimitCountsWhatPassedBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := log{a: rapid.SampledFrom([]window.Algorithm{window.Fixed, window.Sliding}).Draw(t, "algorithm"), w: drawSliding(t)}
		var c window.Counter
		now := epoch
		for range 60 {
			now = drawStep(t, now, l.w.Shape(l.a), l.w.Span.Milliseconds())
			if rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				l.w.Limit = rapid.OneOf(rapid.Uint32Range(0, 200), rapid.Uint32Range(65_000, 70_000)).Draw(t, "limit")
			}
			a := window.Ask{Algorithm: l.a, Windows: []window.Window{l.w}, Hits: rapid.Int64Range(1, 100).Draw(t, "hits")}
			v := c.Evaluate(a, now)
			if want := a.Hits > l.room(now); v.Denied() != want {
				t.Fatalf("%d hits where the log has room for %d of %d: denied %v", a.Hits, l.room(now), l.w.Limit, v.Denied())
			}
			if !v.Denied() {
				c.Spend(a, now)
				l.hits = append(l.hits, hit{now, a.Hits})
			}
		}
	})
}

// Whatever is refunded, however late: what was spent and not refunded keeps the bound of the rule.
func TestRefundsKeepTheBound(t *testing.T) {
	type spent struct {
		marks []window.Mark
		hit
	}
	rapid.Check(t, func(t *rapid.T) {
		l := log{
			a: rapid.SampledFrom([]window.Algorithm{window.Fixed, window.Sliding, window.TokenBucket}).Draw(t, "algorithm"),
			w: window.Window{
				Limit: rapid.Uint32Range(1, 20).Draw(t, "limit"), Burst: rapid.Uint32Range(1, 20).Draw(t, "burst"), Span: time.Second,
				Cells: rapid.SampledFrom([]int{1, 10}).Draw(t, "k"),
			},
		}
		var c window.Counter
		var open []spent
		now := epoch
		for range 80 {
			now = drawStep(t, now, l.w.Shape(l.a), 100)
			if len(open) > 0 && rapid.Bool().Draw(t, "refund") {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				c.Refund(open[i].marks, open[i].hits, now)
				at := slices.Index(l.hits, open[i].hit)
				l.hits = slices.Delete(l.hits, at, at+1)
				open = slices.Delete(open, i, i+1)
			}
			a := window.Ask{Algorithm: l.a, Windows: []window.Window{l.w}, Hits: rapid.Int64Range(1, 4).Draw(t, "hits")}
			v := c.Evaluate(a, now)
			if !v.Denied() && a.Hits > l.room(now) {
				t.Fatalf("%d hits pass where what was not refunded leaves room for %d", a.Hits, l.room(now))
			}
			if !v.Denied() {
				c.Spend(a, now)
				l.hits = append(l.hits, hit{now, a.Hits})
				open = append(open, spent{c.AppendMarks(nil, a), hit{now, a.Hits}})
			}
			if _, err := window.Decode(c.Bytes()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A refund gives back what was spent, where it was spent: at once all of it, and later what has not left by itself.
func TestRefund(t *testing.T) {
	tests := []struct {
		name  string
		ask   window.Ask
		after int64
		want  uint32 // left of 10, of which 6 and then 2 were spent, and the 6 refunded
	}{
		{"fixed, at once", fixed(10, time.Minute), 0, 8},
		{"fixed, a window later", fixed(10, time.Minute), minute, 8},
		{"sliding, in its cell", sliding(10, time.Minute, 60), 59_000, 8},
		{"sliding, when its cell has left", sliding(10, time.Minute, 60), 61_000, 8},
		{"bucket, at once", bucket(6, 10, time.Minute), 0, 8},
		{"bucket, half drained", bucket(6, 10, time.Minute), 30_000, 8},
		{"bucket, drained", bucket(6, 10, time.Minute), minute, 8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c window.Counter
			spend(&c, tt.ask, 6, epoch)
			marks := c.AppendMarks(nil, tt.ask)
			spend(&c, tt.ask, 2, epoch+tt.after)
			c.Refund(marks, 6, epoch+tt.after)
			if got := spend(&c, tt.ask, 0, epoch+tt.after); got.Remaining != tt.want {
				t.Errorf("%d left, want %d", got.Remaining, tt.want)
			}
		})
	}
	t.Run("a bucket that changed its limit gives nothing back", func(t *testing.T) {
		var c window.Counter
		spend(&c, bucket(6, 10, time.Minute), 6, epoch)
		marks := c.AppendMarks(nil, bucket(6, 10, time.Minute))
		spend(&c, bucket(7, 10, time.Minute), 1, epoch)
		c.Refund(marks, 6, epoch)
		if got := spend(&c, bucket(7, 10, time.Minute), 0, epoch); got.Remaining != 3 {
			t.Errorf("%d left, want 3", got.Remaining)
		}
	})
	t.Run("an empty counter has nothing to give", func(t *testing.T) {
		var c window.Counter
		c.Refund([]window.Mark{{Shape: sliding(1, time.Minute, 60).Windows[0].Shape(window.Sliding), At: 5}}, 1, epoch)
		if len(c.Bytes()) > 0 {
			t.Error("a refund has written")
		}
	})
}
