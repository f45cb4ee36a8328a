package window_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

const (
	minute = int64(60_000)
	// epoch is a start of a minute and of an hour.
	epoch = int64(1_800_000_000_000)
)

func sliding(limit uint32, span time.Duration, k int) window.Ask {
	return window.Ask{Algorithm: window.Sliding, Windows: []window.Window{{Limit: limit, Span: span, Cells: k}}}
}

func fixed(limit uint32, span time.Duration) window.Ask {
	return window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Limit: limit, Span: span}}}
}

func bucket(limit, burst uint32, span time.Duration) window.Ask {
	return window.Ask{Algorithm: window.TokenBucket, Windows: []window.Window{{Limit: limit, Burst: burst, Span: span}}}
}

// spend evaluates, writes what has room, and reports the first window.
func spend(c *window.Counter, a window.Ask, hits, now int64) window.State {
	return spendAll(c, a, hits, now)[0]
}

func spendAll(c *window.Counter, a window.Ask, hits, now int64) []window.State {
	a.Hits = hits
	v := c.Evaluate(a, now)
	if !v.Denied() {
		c.Spend(a, now)
	}
	return c.AppendStates(nil, a, now, v)
}

// A state as the policy reads it: how many are left, in how many milliseconds some return, and whether this one was refused.
func state(left uint32, resetMillis int64, over bool) window.State {
	return window.State{Remaining: left, Reset: time.Duration(resetMillis) * time.Millisecond, Over: over}
}

// beyond is a state of a window that holds more than its limit.
func beyond(hits uint32, s window.State) window.State {
	s.Beyond = hits
	return s
}

func TestStates(t *testing.T) {
	type step struct {
		at   int64 // milliseconds after epoch
		hits int64
		want window.State
	}
	tests := []struct {
		name  string
		ask   window.Ask
		steps []step
	}{
		// A fixed window ends at its edge, and all of it comes back there.
		{"fixed: fill, refuse, edge", fixed(3, time.Minute), []step{
			{1, 2, state(1, 59_999, false)},
			{2, 2, state(1, 59_998, true)},
			{3, 1, state(0, 59_997, false)},
			{59_999, 1, state(0, 1, true)},
			{60_000, 3, state(0, 60_000, false)},
		}},
		// The reset of a refused charge waits for as much as it asked; of an accepted one, for the first hits to leave.
		{"sliding: enough must leave", sliding(3, time.Minute, 60), []step{
			{0, 1, state(2, 61_000, false)},
			{5_500, 2, state(0, 55_500, false)},
			{6_000, 1, state(0, 55_000, true)},
			{6_000, 2, state(0, 60_000, true)},
			{60_999, 1, state(0, 1, true)},
			{61_000, 1, state(0, 5_000, false)},
		}},
		// A peek spends nothing, and at exactly the limit it is not over.
		{"peek", sliding(2, time.Minute, 60), []step{
			{0, 0, state(2, 1_000, false)},
			{0, 2, state(0, 61_000, false)},
			{1, 0, state(0, 60_999, false)},
			{1, 1, state(0, 60_999, true)},
		}},
		// More than the limit can never pass: the wait is for the whole window, and nothing is burnt.
		{"more than the limit", sliding(5, time.Minute, 60), []step{
			{0, 6, state(5, 61_000, true)},
			{0, math.MaxUint32, state(5, 61_000, true)},
			{0, 5, state(0, 61_000, false)},
		}},
		// A limit of nothing refuses everything, a peek included, and takes hits back.
		{"zero", sliding(0, time.Minute, 60), []step{
			{0, 1, state(0, 61_000, true)},
			{0, 0, state(0, 61_000, true)},
			{0, -1, state(0, 1_000, false)},
		}},
		// Hits given back drain the newest cells, to zero and no lower.
		{"give back", sliding(4, time.Minute, 60), []step{
			{0, 3, state(1, 61_000, false)},
			{2_000, 1, state(0, 59_000, false)},
			{3_000, -2, state(2, 58_000, false)},
			{3_000, -9, state(4, 1_000, false)},
			{3_000, 4, state(0, 61_000, false)},
		}},
		// A clock that steps back gives nothing back, and says no reset longer than the window.
		{"step back", sliding(2, time.Minute, 60), []step{
			{120_000, 2, state(0, 61_000, false)},
			{0, 1, state(0, 61_000, true)},
			{121_000, 1, state(0, 60_000, true)},
			{181_000, 1, state(1, 61_000, false)},
		}},
		// A bucket lets the burst through at once, and then one hit every 20 s; hits that wait are told when they pass.
		{"bucket: burst, then the rate", bucket(3, 2, time.Minute), []step{
			{0, 0, state(2, 20_000, false)},
			{0, 2, state(0, 20_000, false)},
			{0, 1, state(0, 20_000, true)},
			{5_000, 2, state(0, 35_000, true)},
			{19_999, 1, state(0, 1, true)},
			{20_000, 1, state(0, 20_000, false)},
			{50_000, 0, state(1, 10_000, false)},
			{60_000, 2, state(0, 20_000, false)},
		}},
		// Three hits do not divide a hundred milliseconds: the third is back after exactly 100, not after three times 33 or 34.
		{"bucket: nothing is rounded", bucket(3, 3, 100*time.Millisecond), []step{
			{0, 3, state(0, 34, false)},
			{33, 1, state(0, 1, true)},
			{34, 1, state(0, 33, false)},
			{66, 1, state(0, 1, true)},
			{67, 1, state(0, 33, false)},
			{99, 1, state(0, 1, true)},
			{100, 1, state(0, 34, false)},
		}},
		// More than the burst can never pass; more than the limit can, where the burst is larger.
		{"bucket: more than the burst", bucket(6, 2, time.Minute), []step{
			{0, 3, state(2, 10_000, true)},
			{0, 2, state(0, 10_000, false)},
			{0, 3, state(0, 20_000, true)},
		}},
		{"bucket: a burst above the limit", bucket(2, 5, time.Minute), []step{
			{0, 5, state(0, 30_000, false)},
			{30_000, 1, state(0, 30_000, false)},
			{30_000, 5, state(0, 150_000, true)},
		}},
		{"bucket: zero", bucket(0, 5, time.Minute), []step{
			{0, 1, state(0, 60_000, true)},
			{0, 0, state(0, 60_000, true)},
			{0, -1, state(0, 60_000, false)},
		}},
		{"bucket: no burst", bucket(6, 0, time.Minute), []step{{0, 1, state(0, 10_000, true)}, {0, 0, state(0, 10_000, true)}}},
		{"bucket: give back", bucket(6, 4, time.Minute), []step{
			{0, 3, state(1, 10_000, false)},
			{5_000, -2, state(3, 5_000, false)},
			{5_000, -9, state(4, 10_000, false)},
			{5_000, 4, state(0, 10_000, false)},
		}},
		{"bucket: step back", bucket(6, 2, time.Minute), []step{
			{60_000, 2, state(0, 10_000, false)},
			{0, 1, state(0, 10_000, true)},
			{69_999, 1, state(0, 1, true)},
			{70_000, 1, state(0, 10_000, false)},
		}},
		// A grain is rounded up where the span does not divide: 17 ms for a second in sixty.
		{"ceiling", sliding(1, time.Second, 60), []step{
			{0, 1, state(0, 61*17-epoch%17, false)},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c window.Counter
			for i, s := range tt.steps {
				if diff := cmp.Diff(s.want, spend(&c, tt.ask, s.hits, epoch+s.at)); diff != "" {
					t.Errorf("step %d, %d hits at %d ms (-want +got):\n%s", i, s.hits, s.at, diff)
				}
			}
		})
	}
}

// Peeks of an overdrawn window are over: it takes counted denials, or a limit that was lowered, to get there.
func TestPeekOfOverdrawnWindow(t *testing.T) {
	var c window.Counter
	spend(&c, sliding(10, time.Minute, 60), 5, epoch)
	if got, want := spend(&c, sliding(4, time.Minute, 60), 0, epoch), beyond(1, state(0, 61_000, true)); got != want {
		t.Errorf("peek at 5 of 4 = %+v, want %+v", got, want)
	}
	if got, want := spend(&c, sliding(5, time.Minute, 60), 0, epoch), state(0, 61_000, false); got != want {
		t.Errorf("peek at 5 of 5 = %+v, want %+v", got, want)
	}
}

// A limit may change while its counts stay, also across the width of the cells.
func TestLiveChangeOfALimitKeepsTheCounts(t *testing.T) {
	var c window.Counter
	spend(&c, sliding(10, time.Minute, 60), 8, epoch)
	if got, want := spend(&c, sliding(100_000, time.Minute, 60), 70_000, epoch), state(29_992, 61_000, false); got != want {
		t.Errorf("raised: %+v, want %+v", got, want)
	}
	if got, want := spend(&c, sliding(70_009, time.Minute, 60), 2, epoch), state(1, 61_000, true); got != want {
		t.Errorf("lowered: %+v, want %+v", got, want)
	}
	if got, want := spend(&c, sliding(10, time.Minute, 60), 1, epoch), beyond(69_998, state(0, 61_000, true)); got != want {
		t.Errorf("lowered below 65,535: %+v, want %+v", got, want)
	}
}

// Replicas that disagree about the windows for a while do not wipe each other's counts; what is dead is dropped.
func TestWindowsOfAnotherShapeAreKeptWhileTheyLive(t *testing.T) {
	var c window.Counter
	hourly := window.Window{Limit: 5, Span: time.Hour, Cells: 60}
	both := window.Ask{Algorithm: window.Sliding, Windows: []window.Window{{Limit: 100, Span: time.Minute, Cells: 60}, hourly}}
	spendAll(&c, both, 5, epoch)
	spend(&c, sliding(100, time.Minute, 60), 1, epoch)
	if got := spendAll(&c, both, 1, epoch+minute)[1]; !got.Over {
		t.Errorf("after a charge without the hour, the hour has forgotten its hits: %+v", got)
	}
	long := len(c.Bytes())
	spend(&c, sliding(100, time.Minute, 60), 1, epoch+2*60*minute)
	if short := len(c.Bytes()); short >= long {
		t.Errorf("a counter of %d bytes keeps %d after the hour died", long, short)
	}
}

// A counter never carries more than MaxWindows rings, whatever the configurations that came and went.
func TestRingsAreBounded(t *testing.T) {
	var c window.Counter
	for k := 1; k <= 40; k++ {
		spend(&c, sliding(100, time.Hour, k), 1, epoch)
		if _, err := window.Decode(c.Bytes()); err != nil {
			t.Fatalf("after %d shapes: %v", k, err)
		}
	}
}

// Windows of one shape share their counts, however many there are: a hit is charged once.
func TestWindowsOfOneShapeShareTheirCounts(t *testing.T) {
	var c window.Counter
	a := window.Ask{Algorithm: window.Fixed, Windows: []window.Window{
		{Limit: 10, Span: time.Minute}, {Limit: 3, Span: time.Minute}, {Limit: 7, Span: time.Hour},
	}}
	want := []window.State{state(8, 60_000, false), state(1, 60_000, false), state(5, 3_600_000, false)}
	if diff := cmp.Diff(want, spendAll(&c, a, 2, epoch)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// Denied hits that are counted saturate a cell, and never wrap round into room.
func TestCellsSaturate(t *testing.T) {
	for _, limit := range []uint32{3, 65_535, 65_536, math.MaxUint32} {
		var c window.Counter
		a := sliding(limit, time.Minute, 60)
		a.Hits = math.MaxUint32
		for range 5 {
			c.Spend(a, epoch)
		}
		a.Hits = 1
		if v := c.Evaluate(a, epoch); !v.Denied() {
			t.Errorf("limit %d: room after five times 2^32-1 hits", limit)
		}
		if _, err := window.Decode(c.Bytes()); err != nil {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestEvaluateSaysThatTheClockSteppedBack(t *testing.T) {
	var c window.Counter
	a := sliding(9, time.Minute, 60)
	a.Hits = 1
	if c.Evaluate(a, epoch).SteppedBack {
		t.Error("an empty counter has seen a later instant")
	}
	c.Spend(a, epoch)
	if c.Evaluate(a, epoch+500).SteppedBack {
		t.Error("a step forward is taken for one back")
	}
	if !c.Evaluate(a, epoch-1).SteppedBack {
		t.Error("a step back goes unseen")
	}
}

// Instants outside all time neither panic nor give room.
func TestExtremeInstants(t *testing.T) {
	instants := []int64{math.MinInt64, -1, 0, 1, epoch, math.MaxInt64 - 1, math.MaxInt64}
	for _, first := range instants {
		for _, second := range instants {
			var c window.Counter
			a := sliding(1, window.MaxSpan, window.MaxCells)
			if got := spend(&c, a, 1, first); got.Over || got.Reset <= 0 {
				t.Errorf("first at %d: %+v", first, got)
			}
			if got := spend(&c, a, 1, second); got.Reset <= 0 {
				t.Errorf("%d, then %d: %+v", first, second, got)
			}
			if _, err := window.Decode(c.Bytes()); err != nil {
				t.Errorf("%d, then %d: %v", first, second, err)
			}
		}
	}
}

func TestExpires(t *testing.T) {
	var c window.Counter
	if got := c.Expires(); got != 0 {
		t.Errorf("empty counter expires at %d", got)
	}
	a := sliding(5, time.Minute, 60)
	spend(&c, a, 5, epoch+1)
	if got, want := c.Expires(), epoch+61_000; got != want {
		t.Fatalf("expires at %d, want %d", got, want)
	}
	if got := spend(&c, a, 0, c.Expires()); got.Remaining != 5 {
		t.Errorf("expired counter has %d left, want all 5", got.Remaining)
	}
	if got := spend(&c, a, 0, c.Expires()-1); got.Remaining != 0 {
		t.Errorf("counter has %d left before it expires, want 0", got.Remaining)
	}
}

func TestValidate(t *testing.T) {
	window1 := window.Window{Limit: 1, Span: time.Second, Cells: 10}
	tests := []struct {
		name string
		ask  window.Ask
		ok   bool
	}{
		{"sliding", window.Ask{Algorithm: window.Sliding, Windows: []window.Window{window1}}, true},
		{"fixed needs no cells", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Span: time.Second}}}, true},
		{"most hits", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{window1}, Hits: math.MaxUint32}, true},
		{"most hits back", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{window1}, Hits: -math.MaxUint32}, true},
		{"longest span", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Span: window.MaxSpan}}}, true},

		{"bucket needs no cells and no burst", window.Ask{Algorithm: window.TokenBucket, Windows: []window.Window{{Span: time.Second}, {Span: time.Minute}}}, true},

		{"two buckets of one span", window.Ask{Algorithm: window.TokenBucket, Windows: []window.Window{{Span: time.Second}, {Limit: 1, Span: time.Second}}}, false},
		{"no algorithm", window.Ask{Windows: []window.Window{window1}}, false},
		{"unknown algorithm", window.Ask{Algorithm: 4, Windows: []window.Window{window1}}, false},
		{"no windows", window.Ask{Algorithm: window.Sliding}, false},
		{"too many windows", window.Ask{Algorithm: window.Fixed, Windows: make([]window.Window, 9)}, false},
		{"too many hits", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{window1}, Hits: math.MaxUint32 + 1}, false},
		{"too many hits back", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{window1}, Hits: math.MinInt64}, false},
		{"no span", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Limit: 1}}}, false},
		{"negative span", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Span: -time.Second}}}, false},
		{"half a millisecond", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Span: time.Millisecond / 2}}}, false},
		{"span too long", window.Ask{Algorithm: window.Fixed, Windows: []window.Window{{Span: window.MaxSpan + time.Millisecond}}}, false},
		{"no cells", window.Ask{Algorithm: window.Sliding, Windows: []window.Window{{Span: time.Second}}}, false},
		{"too many cells", window.Ask{Algorithm: window.Sliding, Windows: []window.Window{{Span: time.Second, Cells: 1001}}}, false},
	}
	for _, tt := range tests {
		if err := tt.ask.Validate(); (err == nil) != tt.ok {
			t.Errorf("%s: Validate() = %v, want ok %v", tt.name, err, tt.ok)
		}
	}
}
