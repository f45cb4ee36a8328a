package redisstore

import (
	"testing"
	"time"
)

// An estimate runs with this process's clock; an answer that lies before it, by more than both may be wrong, is a step back.
func TestClockStepsAreSeen(t *testing.T) {
	const second = int64(1_000_000)
	for name, tt := range map[string]struct {
		next    estimate
		stepped bool
	}{
		"it runs on":                       {estimate{micros: 110 * second, at: 10 * time.Second}, false},
		"it runs ahead":                    {estimate{micros: 500 * second, at: 10 * time.Second}, false},
		"it is slow":                       {estimate{micros: 110*second - 20_000, at: 10 * time.Second}, false},
		"it steps back":                    {estimate{micros: 109 * second, at: 10 * time.Second}, true},
		"it may have, for all that we saw": {estimate{micros: 109 * second, at: 10 * time.Second, off: time.Second}, false},
	} {
		var c serverClock
		if c.set(&estimate{micros: 100 * second}) {
			t.Errorf("%s: the first answer is no step", name)
		}
		c.forget()
		if got := c.set(&tt.next); got != tt.stepped {
			t.Errorf("%s: stepped %v, want %v", name, got, tt.stepped)
		}
	}
	if got := (&estimate{micros: 100 * second, at: time.Second}).later(3 * time.Second); got != 102*second {
		t.Errorf("two seconds later it is %d", got)
	}
}

// What was charged lately is remembered, with the newest window; what waits longest makes room.
func TestRecent(t *testing.T) {
	r := newRecent()
	a := r.of("a", 1000)
	if _, ok := r.newest(a); ok {
		t.Error("it knows what it was not told")
	}
	r.note(a, 7)
	r.note(a, 9)
	r.note(a, 8)
	if cell, ok := r.newest(a); !ok || cell != 9 {
		t.Errorf("newest %d, %v; want 9", cell, ok)
	}
	if r.of("a", 60_000) == a || r.of("b", 1000) == a {
		t.Error("counters are joined")
	}
	for i := range uint64(recentWays) { // the set of a, and other counters
		r.note(a^(i+1)<<1, 1)
	}
	if _, ok := r.newest(a); ok {
		t.Error("the oldest is still there")
	}
	last := a ^ recentWays<<1
	r.forget(last)
	if _, ok := r.newest(last); ok {
		t.Error("what was forgotten is still there")
	}
}
