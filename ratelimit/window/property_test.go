package window_test

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// hit is one admission in a log of timestamps, the stupid exact way to count.
type hit struct{ at, hits int64 }

// during sums the hits of a log in (from, to].
func during(log []hit, from, to int64) int64 {
	var sum int64
	for _, h := range log {
		if h.at > from && h.at <= to {
			sum += h.hits
		}
	}
	return sum
}

// drawStep moves an adversary's clock: often not at all, often to within a millisecond of an edge of a cell or of the span.
func drawStep(t *rapid.T, now int64, s window.Shape, span int64) int64 {
	jitter := rapid.Int64Range(-1, 1).Draw(t, "jitter")
	switch rapid.IntRange(0, 4).Draw(t, "step") {
	case 0:
		return now
	case 1:
		return max(now, (now/s.Grain+1)*s.Grain+jitter)
	case 2:
		return now + span + jitter
	case 3:
		return max(now, (now/span+1)*span+jitter)
	default:
		return now + rapid.Int64Range(0, span).Draw(t, "wait")
	}
}

func drawSliding(t *rapid.T) window.Window {
	return window.Window{
		Limit: rapid.OneOf(rapid.Uint32Range(1, 200), rapid.Uint32Range(65_000, 70_000)).Draw(t, "limit"),
		Span:  time.Duration(rapid.SampledFrom([]int64{1, 7, 59, 1_000, 60_000, 3_600_000}).Draw(t, "span")) * time.Millisecond,
		Cells: rapid.SampledFrom([]int{1, 2, 10, 60}).Draw(t, "k"),
	}
}

// Two promises, against a log of timestamps: no span ever holds more than the limit, and quota that has been gone for one grain
// more than the span is always back.
func TestSlidingIsStrictAndAtMostOneGrainLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawSliding(t)
		a := window.Ask{Algorithm: window.Sliding, Windows: []window.Window{w}}
		s, span := w.Shape(window.Sliding), w.Span.Milliseconds()
		var c window.Counter
		var log []hit
		now := epoch + rapid.Int64Range(0, 7_200_000).Draw(t, "start")
		for range 60 {
			now = drawStep(t, now, s, span)
			a.Hits = rapid.OneOf(rapid.Just(int64(1)), rapid.Int64Range(1, int64(w.Limit)+1)).Draw(t, "hits")
			v := c.Evaluate(a, now)
			st := c.AppendStates(nil, a, now, v)[0]
			if v.Denied() {
				if late := s.Grain * int64(s.Cells); during(log, now-late, now)+a.Hits <= int64(w.Limit) {
					t.Fatalf("refused %d hits although all but %d left more than a span and a grain ago", a.Hits, during(log, now-late, now))
				}
				if a.Hits <= int64(w.Limit) {
					if c.Evaluate(a, now+st.Reset.Milliseconds()).Denied() {
						t.Fatalf("still refused after its own reset of %v", st.Reset)
					}
					if !c.Evaluate(a, now+st.Reset.Milliseconds()-1).Denied() {
						t.Fatalf("has room before its own reset of %v", st.Reset)
					}
				}
				continue
			}
			c.Spend(a, now)
			log = append(log, hit{now, a.Hits})
			if got := during(log, now-span, now); got > int64(w.Limit) {
				t.Fatalf("%d hits in a span of %v, limit %d", got, w.Span, w.Limit)
			}
		}
	})
}

// A fixed window is the log cut at the edges of the epoch.
func TestFixedIsTheLogCutAtTheEdges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawSliding(t)
		a := window.Ask{Algorithm: window.Fixed, Windows: []window.Window{w}}
		span := w.Span.Milliseconds()
		var c window.Counter
		var log []hit
		now := epoch
		for range 40 {
			now = drawStep(t, now, w.Shape(window.Fixed), span)
			a.Hits = rapid.Int64Range(1, int64(w.Limit)+1).Draw(t, "hits")
			edge := now - now%span
			used := during(log, edge-1, now)
			v := c.Evaluate(a, now)
			if want := used+a.Hits > int64(w.Limit); v.Denied() != want {
				t.Fatalf("%d hits at %d used: denied %v, want %v", a.Hits, used, v.Denied(), want)
			}
			if !v.Denied() {
				c.Spend(a, now)
				log = append(log, hit{now, a.Hits})
			}
			st := c.AppendStates(nil, a, now, v)[0]
			if want := edge + span - now; st.Reset.Milliseconds() != want {
				t.Fatalf("reset %v, want %d ms", st.Reset, want)
			}
			if want := int64(w.Limit) - during(log, edge-1, now); int64(st.Remaining) != want {
				t.Fatalf("remaining %d, want %d", st.Remaining, want)
			}
		}
	})
}

// Several windows: all have room or nothing is spent, and none of them is ever exceeded.
func TestWindowsAreAllOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := window.Ask{Algorithm: window.Sliding, Windows: []window.Window{
			{Limit: rapid.Uint32Range(1, 20).Draw(t, "short"), Span: time.Second, Cells: 10},
			{Limit: rapid.Uint32Range(1, 60).Draw(t, "long"), Span: 10 * time.Second, Cells: 60},
		}}
		var c window.Counter
		var log []hit
		now := epoch
		for range 80 {
			now = drawStep(t, now, a.Windows[0].Shape(window.Sliding), 1_000)
			a.Hits = rapid.Int64Range(1, 8).Draw(t, "hits")
			v := c.Evaluate(a, now)
			before := bytes.Clone(c.Bytes())
			for i, st := range c.AppendStates(nil, a, now, v) {
				if st.Over != (v.Over&(1<<i) != 0) || st.Over != (a.Hits > int64(st.Remaining)) {
					t.Fatalf("window %d: %+v does not go with %d hits and verdict %b", i, st, a.Hits, v.Over)
				}
			}
			if !bytes.Equal(before, c.Bytes()) {
				t.Fatal("looking has written")
			}
			if v.Denied() {
				continue
			}
			c.Spend(a, now)
			log = append(log, hit{now, a.Hits})
			for _, w := range a.Windows {
				if got := during(log, now-w.Span.Milliseconds(), now); got > int64(w.Limit) {
					t.Fatalf("%d hits in %v, limit %d", got, w.Span, w.Limit)
				}
			}
		}
	})
}

// However the clock steps, a step back never makes room that was not there at the latest instant seen.
func TestStepsBackNeverResurrectCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawSliding(t)
		w.Burst = rapid.Uint32Range(w.Limit, 2*w.Limit).Draw(t, "burst")
		alg := rapid.SampledFrom([]window.Algorithm{window.Fixed, window.Sliding, window.TokenBucket}).Draw(t, "algorithm")
		a := window.Ask{Algorithm: alg, Windows: []window.Window{w}}
		var c window.Counter
		now := epoch
		for range 40 {
			now += rapid.Int64Range(0, 2*w.Span.Milliseconds()).Draw(t, "wait")
			spend(&c, a, rapid.Int64Range(1, int64(w.Limit)).Draw(t, "hits"), now)
			back := now - rapid.Int64Range(0, 10*w.Span.Milliseconds()).Draw(t, "back")
			at, earlier := spend(&c, a, 0, now), spend(&c, a, 0, back)
			if earlier.Remaining > at.Remaining {
				t.Fatalf("%d left at %d, but %d at %d", at.Remaining, now, earlier.Remaining, back)
			}
			most := time.Duration(w.Shape(alg).Grain*int64(w.Shape(alg).Cells)) * time.Millisecond
			if alg == window.TokenBucket {
				most = 2 * w.Span
			}
			if earlier.Reset <= 0 || earlier.Reset > most {
				t.Fatalf("reset %v, want above 0 and at most %v", earlier.Reset, most)
			}
		}
	})
}

// Bytes of any kind either decode to a counter that can be used, or are refused; none of them panic.
func FuzzDecode(f *testing.F) {
	var c window.Counter
	a := sliding(100, time.Minute, 10)
	spend(&c, a, 3, epoch)
	f.Add(bytes.Clone(c.Bytes()))
	spend(&c, fixed(100_000, time.Hour), 90_000, epoch)
	f.Add(bytes.Clone(c.Bytes()))
	spend(&c, bucket(10, 10, time.Second), 9, epoch)
	f.Add(bytes.Clone(c.Bytes()))
	f.Add([]byte{})
	f.Add([]byte{3})
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := window.Decode(b)
		if err != nil {
			return
		}
		spend(&c, a, 1, epoch)
		spend(&c, a, -1, 0)
		spend(&c, bucket(3, 3, time.Second), 1, epoch)
		if _, err := window.Decode(c.Bytes()); err != nil {
			t.Fatalf("a decoded counter went bad: %v", err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	var c window.Counter
	spend(&c, sliding(100, time.Minute, 10), 3, epoch)
	good := c.Bytes()
	if d, err := window.Decode(good); err != nil || spend(&d, sliding(100, time.Minute, 10), 0, epoch).Remaining != 97 {
		t.Fatalf("a counter does not survive its own bytes: %v", err)
	}
	edit := func(pos int, v byte) []byte {
		b := bytes.Clone(good)
		b[pos] = v
		return b
	}
	var k window.Counter
	spend(&k, bucket(3, 3, time.Second), 2, epoch)
	spend(&k, bucket(3, 3, time.Second), 1, epoch+100)
	if d, err := window.Decode(k.Bytes()); err != nil || spend(&d, bucket(3, 3, time.Second), 0, epoch+100).Remaining != 0 {
		t.Fatalf("a bucket does not survive its own bytes: %v", err)
	}
	leak := func(pos int, v byte) []byte {
		b := bytes.Clone(k.Bytes())
		b[pos] = v
		return b
	}
	noLimit := leak(30, 0)
	for name, b := range map[string][]byte{
		"truncated bucket":        k.Bytes()[:30],
		"bucket of no span":       append(append([]byte{2}, make([]byte, 8)...), k.Bytes()[9:]...),
		"bucket of no limit":      noLimit,
		"bucket beyond all time":  leak(9, 0xff),
		"bucket of too many hits": leak(15, 0xff),
		"bucket of whole parts":   leak(25, 0xff),
		"unknown layout":          edit(0, 3),
		"truncated header":        good[:10],
		"truncated cells":         good[:len(good)-1],
		"trailing byte":           append(bytes.Clone(good), 0),
		"no cells":                edit(8, 0),
		"far future":              edit(9, 0xff),
		"wrong total":             edit(20, 9),
		"two of one shape":        append(bytes.Clone(good), good[1:]...),
	} {
		if _, err := window.Decode(b); err == nil {
			t.Errorf("%s: decoded", name)
		}
	}
}

// One decision with a minute and an hour: judge, write, report.
func BenchmarkSpend(b *testing.B) {
	minutes := func(k int) []window.Window {
		return []window.Window{{Limit: 1 << 31, Burst: 1 << 31, Span: time.Minute, Cells: k}, {Limit: 1 << 31, Burst: 1 << 31, Span: time.Hour, Cells: k}}
	}
	for _, tt := range []struct {
		name string
		ask  window.Ask
	}{
		{"fixed", window.Ask{Algorithm: window.Fixed, Windows: minutes(0)}},
		{"bucket", window.Ask{Algorithm: window.TokenBucket, Windows: minutes(0)}},
		{"sliding=10", window.Ask{Algorithm: window.Sliding, Windows: minutes(10)}},
		{"sliding=60", window.Ask{Algorithm: window.Sliding, Windows: minutes(60)}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			tt.ask.Hits = 1
			var c window.Counter
			var states [window.MaxWindows]window.State
			now := epoch
			b.ReportAllocs()
			for b.Loop() {
				now++
				v := c.Evaluate(tt.ask, now)
				c.Spend(tt.ask, now)
				c.AppendStates(states[:0], tt.ask, now, v)
			}
			b.ReportMetric(float64(len(c.Bytes())), "bytes/key")
		})
	}
}
