package memstore_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Harness {
		s := memstore.New(memstore.Options{Now: clock.Now})
		return storetest.Harness{Store: s, ClockSteps: s.ClockSteps}
	})
}

func perMinute(rule, key string, limit uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: rule, Algorithm: window.Sliding, Hits: 1,
		Windows: []window.Window{{Limit: limit, Span: time.Minute, Cells: 60}},
	}
}

func spend(t *testing.T, s *memstore.Store, batch ...ratelimit.Charge) []ratelimit.Outcome {
	t.Helper()
	got, err := s.Spend(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A full store counts the new keys of a rule together: a flood of keys costs the flood's own rule, and never memory.
func TestFullStoreSharesOneCounterPerRule(t *testing.T) {
	clock := new(storetest.Clock)
	s := memstore.New(memstore.Options{MaxKeys: 2, Now: clock.Now})
	spend(t, s, perMinute("users", "alice", 2))
	spend(t, s, perMinute("users", "bob", 2))
	if s.Overflowed() != 0 {
		t.Fatal("overflowed before it was full")
	}

	// carol and dave share the rule's counter, alice keeps her own, and another rule has another.
	if got := spend(t, s, perMinute("users", "carol", 2)); got[0].Over || got[0].Windows[0].Remaining != 1 {
		t.Errorf("carol: %+v", got[0])
	}
	if got := spend(t, s, perMinute("users", "dave", 2)); got[0].Over || got[0].Windows[0].Remaining != 0 {
		t.Errorf("dave: %+v", got[0])
	}
	if got := spend(t, s, perMinute("users", "erin", 2)); !got[0].Over {
		t.Errorf("erin passes although carol and dave spent the shared counter: %+v", got[0])
	}
	if got := spend(t, s, perMinute("users", "alice", 2)); got[0].Over {
		t.Errorf("alice: %+v", got[0])
	}
	if got := spend(t, s, perMinute("addresses", "192.0.2.1", 2)); got[0].Over {
		t.Errorf("another rule: %+v", got[0])
	}
	if s.Len() != 2 || s.Overflowed() != 4 {
		t.Errorf("%d keys, %d overflowed; want 2 and 4", s.Len(), s.Overflowed())
	}

	// One batch with two strangers of one rule counts both on the shared counter, all or nothing.
	clock.Advance(30 * time.Second)
	got := spend(t, s, perMinute("paths", "/a", 3), perMinute("paths", "/b", 3))
	if got[0].Windows[0].Remaining != 2 || got[1].Windows[0].Remaining != 1 {
		t.Errorf("two strangers in one batch: %+v", got)
	}
	got = spend(t, s, perMinute("paths", "/c", 3), perMinute("paths", "/d", 3))
	if got[0].Over || !got[1].Over || got[1].Windows[0].Remaining != 1 {
		t.Errorf("two more strangers in one batch: %+v", got)
	}

	// When the first two have expired, there is room again.
	clock.Advance(2 * time.Minute)
	for i := range 8 {
		spend(t, s, perMinute("users", fmt.Sprint("late", i), 2))
	}
	if s.Len() != 2 {
		t.Errorf("%d keys, want 2", s.Len())
	}
}

// Keys that nobody asks for any more are forgotten as others come, without anybody being asked to sweep.
func TestIdleKeysAreForgotten(t *testing.T) {
	clock := new(storetest.Clock)
	s := memstore.New(memstore.Options{Now: clock.Now})
	const perRound = 1_000
	for round := range 20 {
		for i := range perRound {
			spend(t, s, perMinute("users", fmt.Sprint(round, "/", i), 5))
		}
		clock.Advance(2 * time.Minute)
		if s.Len() > 2*perRound+128 {
			t.Fatalf("round %d: %d keys held, although %d at most are alive", round, s.Len(), perRound)
		}
	}
	// Use of the same keys over and over also lets the store shrink.
	for i := range 10 * perRound {
		spend(t, s, perMinute("users", strconv.Itoa(i%500), 1_000_000))
	}
	if s.Len() > 500+128 {
		t.Errorf("%d keys held after long use of 500", s.Len())
	}
}

// What is not spent takes no room: peeks and denials of unknown keys cannot fill the store.
func TestPeeksAndDenialsTakeNoRoom(t *testing.T) {
	s := memstore.New(memstore.Options{MaxKeys: 10})
	for i := range 100 {
		c := perMinute("users", fmt.Sprint(i), 5)
		c.Hits = int64(i%2) * 6
		spend(t, s, c)
	}
	if s.Len() != 0 || s.Overflowed() != 0 {
		t.Errorf("%d keys, %d overflowed, want none", s.Len(), s.Overflowed())
	}
}

// An expired counter of a batch's own must not be swept from under it.
func TestExpiredCounterInABatchIsNotLost(t *testing.T) {
	clock := new(storetest.Clock)
	s := memstore.New(memstore.Options{MaxKeys: 1, Now: clock.Now})
	for i := range 50 {
		old := perMinute("users", "old", 1)
		spend(t, s, old)
		spend(t, s, old, perMinute("users", fmt.Sprint("new", i), 100))
		if got := spend(t, s, old); !got[0].Over {
			t.Fatalf("round %d: the hit of an old key was lost", i)
		}
		clock.Advance(5 * time.Minute)
		if got := spend(t, s, old, perMinute("users", fmt.Sprint("newer", i), 100)); got[0].Over {
			t.Fatalf("round %d: the old key is over after its window", i)
		}
		if got := spend(t, s, old); !got[0].Over {
			t.Fatalf("round %d: a hit in a batch with a new key was lost", i)
		}
		clock.Advance(5 * time.Minute)
	}
}

// The bound holds while many callers bring new keys at once.
func TestBoundHoldsUnderConcurrency(t *testing.T) {
	s := memstore.New(memstore.Options{MaxKeys: 100})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 200 {
				c := perMinute("users", fmt.Sprint(n, "/", i), 5)
				if _, err := s.Spend(t.Context(), []ratelimit.Charge{c}); err != nil {
					t.Error(err)
				}
				if s.Len() > 100 {
					t.Errorf("%d keys, want 100 at most", s.Len())
				}
			}
		})
	}
	wg.Wait()
	if got := uint64(s.Len()) + s.Overflowed(); got != 1_600 {
		t.Errorf("%d keys and overflows, want 1,600", got)
	}
}

// Without a clock of its own the store goes by the machine's.
func TestDefaultClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		spend(t, s, perMinute("users", "a", 1))
		if got := spend(t, s, perMinute("users", "a", 1)); !got[0].Over {
			t.Error("second hit passes")
		}
		<-time.After(61 * time.Second)
		if got := spend(t, s, perMinute("users", "a", 1)); got[0].Over {
			t.Error("hit after the window is refused")
		}
	})
}

// What a key takes in memory is the map, the key and the counter: a million of them is the default bound.
func BenchmarkMemoryOfAKey(b *testing.B) {
	for name, a := range map[string]window.Algorithm{"fixed": window.Fixed, "sliding": window.Sliding, "bucket": window.TokenBucket} {
		b.Run(name, func(b *testing.B) {
			s := memstore.New(memstore.Options{MaxKeys: 1 << 30})
			charge := ratelimit.Charge{Rule: "users", Algorithm: a, Hits: 1, Windows: []window.Window{{Limit: 100, Burst: 100, Span: time.Hour, Cells: 60}}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				charge.Key = "mesh/user/shop/alice-" + strconv.Itoa(i)
				if _, err := s.Spend(b.Context(), []ratelimit.Charge{charge}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSpend(b *testing.B) {
	charge := ratelimit.Charge{
		Rule: "users", Algorithm: window.Sliding, Hits: 1,
		Windows: []window.Window{{Limit: 1 << 31, Span: time.Minute, Cells: 60}, {Limit: 1 << 31, Span: time.Hour, Cells: 60}},
	}
	for _, keys := range []int{1, 100_000} {
		names := make([]string, keys)
		for i := range names {
			names[i] = fmt.Sprint("user/", i)
		}
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			s := memstore.New(memstore.Options{})
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				batch := []ratelimit.Charge{charge}
				for i := 0; pb.Next(); i++ {
					batch[0].Key = names[i%keys]
					if _, err := s.Spend(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}
