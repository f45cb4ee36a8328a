package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

// moody is a store that fails while it is told to, and counts who comes.
type moody struct {
	naive
	err   atomic.Pointer[error]
	takes atomic.Int64 // how long an answer takes, in nanoseconds
	asked atomic.Int64
	boom  atomic.Bool
}

func newMoody(t *testing.T, store ratelimit.Store) *moody {
	m := &moody{}
	m.naive.t, m.naive.Store = t, store
	return m
}

func (m *moody) fail(class ratelimit.StoreErrorClass) {
	var err error = &ratelimit.StoreError{Class: class, Err: errors.New("told to")}
	m.err.Store(&err)
}

func (m *moody) heal() { m.err.Store(nil) }

func (m *moody) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	m.asked.Add(1)
	if m.boom.Load() {
		panic("boom")
	}
	timer := time.NewTimer(time.Duration(m.takes.Load()))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: ctx.Err()}
	case <-timer.C:
	}
	if err := m.err.Load(); err != nil {
		return nil, *err
	}
	return m.naive.Spend(ctx, batch)
}

// spendFor spends one hit within a deadline, and returns the class of the error.
func spendFor(t *testing.T, s ratelimit.Store, key string, within time.Duration) ratelimit.StoreErrorClass {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := s.Spend(ctx, []ratelimit.Charge{sliding(key, 1<<20)})
	var failed *ratelimit.StoreError
	if err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if err == nil {
		return ""
	}
	return failed.Class
}

// pass lets time go by in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }

// run keeps a breaker's probes going until the test ends.
func run(t *testing.T, b *ratelimit.Breaker) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// Five failures in a row open it; then nobody is asked but the probe, and one probe that succeeds closes it.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody(t, memstore.New(memstore.Options{}))
		var said []bool
		b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{OnChange: func(open bool) { said = append(said, open) }})
		run(t, b)
		store.fail(ratelimit.StoreRefused)
		for i := range 5 {
			if b.Open() != 0 {
				t.Fatalf("open after %d failures", i)
			}
			if got := spendFor(t, b, "a", time.Second); got != ratelimit.StoreRefused {
				t.Fatalf("failure %d is %q", i, got)
			}
		}
		before := store.asked.Load()
		for range 1000 {
			if got := spendFor(t, b, "a", time.Second); got != ratelimit.StoreBreaker {
				t.Fatalf("open: %q", got)
			}
		}
		if store.asked.Load() != before || b.Open() != 1 || b.Opened() != 1 {
			t.Errorf("open: asked %d times, %d lanes open, opened %d times", store.asked.Load()-before, b.Open(), b.Opened())
		}
		pass(3*ratelimit.DefaultProbeEvery + time.Millisecond)
		if got := store.asked.Load() - before; got != 3 {
			t.Errorf("%d probes in three turns, want 3", got)
		}
		if got := spendFor(t, b, "a", time.Second); got != ratelimit.StoreBreaker {
			t.Errorf("probes failed, and the next request met %q", got)
		}
		store.heal()
		pass(ratelimit.DefaultProbeEvery)
		if got := spendFor(t, b, "a", time.Second); got != "" || b.Open() != 0 {
			t.Errorf("after a good probe: %q, %d lanes open", got, b.Open())
		}
		after := store.asked.Load()
		pass(time.Minute)
		synctest.Wait() // for who told
		if store.asked.Load() != after || !slices.Equal(said, []bool{true, false}) {
			t.Errorf("%d probes while closed, changes %v", store.asked.Load()-after, said)
		}
	})
}

// What another request would meet too opens it; what this caller or this question brought does not.
func TestWhatOpensABreaker(t *testing.T) {
	for _, tt := range []struct {
		what   string
		class  ratelimit.StoreErrorClass
		within time.Duration // the caller's
		opens  bool
	}{
		{"no connection", ratelimit.StoreRefused, time.Second, true},
		{"loading", ratelimit.StoreLoading, time.Second, true},
		{"takes no writes", ratelimit.StoreReadOnly, time.Second, true},
		{"no memory", ratelimit.StoreOOM, time.Second, true},
		{"an answer that makes no sense", ratelimit.StoreOther, time.Second, false},
		{"silence", ratelimit.StoreTimeout, 8 * time.Millisecond, true},
		{"a caller in a hurry", ratelimit.StoreTimeout, 4 * time.Millisecond, false},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMoody(t, memstore.New(memstore.Options{}))
				if store.fail(tt.class); tt.class == ratelimit.StoreTimeout {
					store.takes.Store(int64(time.Hour))
				}
				b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{})
				for range ratelimit.DefaultFailures {
					if got := spendFor(t, b, "a", tt.within); got != tt.class {
						t.Fatalf("met %q", got)
					}
				}
				if got := b.Open() == 1; got != tt.opens {
					t.Errorf("open %v, want %v", got, tt.opens)
				}
			})
		})
	}
	t.Run("callers that go", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newMoody(t, memstore.New(memstore.Options{}))
			store.takes.Store(int64(time.Hour))
			b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{})
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				if _, err := b.Spend(ctx, []ratelimit.Charge{sliding("a", 1)}); err == nil {
					t.Fatal("no error")
				}
			}
			if b.Open() != 0 {
				t.Error("open")
			}
		})
	})
}

// Failures must be in a row: a store that answers now and then is there.
func TestBreakerCountsFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody(t, memstore.New(memstore.Options{}))
		b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{Failures: 3})
		for range 10 {
			store.fail(ratelimit.StoreRefused)
			spendFor(t, b, "a", time.Second)
			spendFor(t, b, "a", time.Second)
			store.heal()
			spendFor(t, b, "a", time.Second)
		}
		if b.Open() != 0 || b.Opened() != 0 {
			t.Errorf("%d lanes open, opened %d times", b.Open(), b.Opened())
		}
	})
}

// A server of several that is down does not close the door to the others, nor do they keep its own open.
func TestBreakerLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody(t, memstore.New(memstore.Options{}))
		store.down = "b"
		b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{
			Lanes: 256, Lane: partOf, ProbeKey: func(lane int) string { return string([]byte{byte(lane)}) + " probe" },
		})
		run(t, b)
		for range 20 {
			spendFor(t, b, "a", time.Second)
			spendFor(t, b, "b", time.Second)
		}
		if a, bb := spendFor(t, b, "a", time.Second), spendFor(t, b, "b", time.Second); a != "" || bb != ratelimit.StoreBreaker || b.Open() != 1 {
			t.Errorf("a meets %q, b meets %q, %d lanes open", a, bb, b.Open())
		}
		store.Lock()
		store.down = ""
		store.Unlock()
		pass(ratelimit.DefaultProbeEvery + time.Millisecond)
		if got := spendFor(t, b, "b", time.Second); got != "" || b.Open() != 0 {
			t.Errorf("b meets %q when it is back, %d lanes open", got, b.Open())
		}
	})
}

// A probe that panics, or hangs, is a probe that failed.
func TestBreakerSurvivesItsProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMoody(t, memstore.New(memstore.Options{}))
		b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{Failures: 1})
		run(t, b)
		store.fail(ratelimit.StoreRefused)
		spendFor(t, b, "a", time.Second)
		store.heal()
		store.boom.Store(true)
		pass(ratelimit.DefaultProbeEvery + time.Millisecond)
		store.boom.Store(false)
		store.takes.Store(int64(time.Hour))
		pass(ratelimit.DefaultProbeEvery)
		if b.Open() != 1 {
			t.Error("closed by a probe that failed")
		}
		store.takes.Store(0)
		pass(2 * ratelimit.DefaultProbeEvery)
		if b.Open() != 0 {
			t.Error("not closed by a good probe")
		}
	})
}

// While it is open every rule answers by its own word, the answer says so, and the store is not asked.
func TestLimiterBehindAnOpenBreaker(t *testing.T) {
	g := newGate(t, ratelimit.Options{Replicas: 1})
	store := newMoody(t, g.store)
	store.fail(ratelimit.StoreRefused)
	b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{Failures: 1})
	l := ratelimit.New(ratelimit.Options{Store: b, Local: memstore.New(memstore.Options{}), Observer: g.seen})
	l.Use(table(t, file))
	_, _ = l.Spend(t.Context(), request("who=x"))
	before := store.asked.Load()
	for ask, want := range map[string]string{
		"who=a": "ok: 2/3m", "open=a": "ok: -", "closed=a": "over: over 0/3m",
		"plain=a": "ratelimit: store could not decide (breaker): " + ratelimit.ErrBreakerOpen.Error(),
	} {
		r, err := l.Spend(t.Context(), request(ask))
		if got := told(r, err); got != want || (err == nil && !r.Degraded) {
			t.Errorf("%s: %q, degraded %v; want %q and said", ask, got, r.Degraded, want)
		}
	}
	if store.asked.Load() != before || !slices.Contains(g.seen.events, "store breaker") {
		t.Errorf("the store was asked %d times; events %v", store.asked.Load()-before, g.seen.events)
	}
}

// admission is a hit that passed.
type admission struct {
	at      time.Time
	replica int
	local   bool
}

// A store that comes and goes hands out nothing anew. In any span of the window at most the limit passes by the store, and at most a
// replica's share by each replica's own counters, however often its breaker opens; and a replica's own counters never pass what would make
// more than its share of all that it has let pass.
func TestFlappingHandsOutNothingAnew(t *testing.T) {
	const limit, span = 12, time.Minute
	source := fmt.Sprintf("domain: d\ndescriptors:\n- key: who\n  rate_limits: [{requests_per_unit: %d, unit: minute}]\n", limit)
	local, flaps := 0, uint64(0)
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 8))
			replicas := 1 + r.IntN(4)
			central := memstore.New(memstore.Options{})
			stores, breakers, gates := make([]*moody, replicas), make([]*ratelimit.Breaker, replicas), make([]*ratelimit.Limiter, replicas)
			for i := range replicas {
				stores[i] = newMoody(t, central)
				breakers[i] = ratelimit.NewBreaker(stores[i], ratelimit.BreakerOptions{Failures: 1 + r.IntN(3)})
				run(t, breakers[i])
				gates[i] = ratelimit.New(ratelimit.Options{Store: breakers[i], Local: memstore.New(memstore.Options{}), Replicas: replicas})
				gates[i].Use(table(t, source))
			}
			var passed []admission
			for range 400 {
				i := r.IntN(replicas)
				if n := r.IntN(100); n < 5 {
					stores[i].fail(ratelimit.StoreRefused)
				} else if n < 15 {
					stores[i].heal()
				}
				pass(time.Duration(r.Int64N(int64(3 * time.Second))))
				answer, err := gates[i].Spend(t.Context(), request("who=a"))
				if err != nil {
					t.Fatal(err)
				}
				if answer.Code == ratelimit.OK {
					passed = append(passed, admission{time.Now(), i, answer.Degraded})
					wantBound(t, seed, passed, limit, limit/replicas, span)
				}
			}
			for i := range replicas {
				flaps += breakers[i].Opened()
			}
			for _, p := range passed {
				if p.local {
					local++
				}
			}
		})
	}
	if local < 500 || flaps < 300 {
		t.Errorf("%d hits passed locally, breakers opened %d times: too few to prove anything", local, flaps)
	}
}

// wantBound looks at the span that ends with the last admission.
func wantBound(t *testing.T, seed uint64, passed []admission, limit, share int, span time.Duration) {
	t.Helper()
	last := passed[len(passed)-1]
	byStore, byOwn, byReplica := 0, 0, 0
	for _, p := range passed {
		if last.at.Sub(p.at) >= span {
			continue
		}
		if !p.local {
			byStore++
		}
		if p.replica == last.replica {
			byReplica++
			if p.local {
				byOwn++
			}
		}
	}
	if byStore > limit || byOwn > share || last.local && byReplica > share {
		t.Fatalf("seed %d: in one span %d by the store (limit %d), %d by replica %d itself (share %d), which let %d pass in all",
			seed, byStore, limit, byOwn, last.replica, share, byReplica)
	}
}

func BenchmarkBreaker(b *testing.B) {
	for name, broken := range map[string]bool{"closed": false, "open": true} {
		b.Run(name, func(b *testing.B) {
			store := &naive{t: b, Store: memstore.New(memstore.Options{})}
			breaker := ratelimit.NewBreaker(instant{store}, ratelimit.BreakerOptions{Failures: 1})
			if broken {
				store.down = "a"
				_, _ = breaker.Spend(b.Context(), []ratelimit.Charge{sliding("a", 1)})
			}
			batch := []ratelimit.Charge{sliding("a", 1)}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := breaker.Spend(b.Context(), batch); (err != nil) != broken {
						b.Error(err)
					}
				}
			})
		})
	}
}

// instant is a store that costs nothing, unless its part is down.
type instant struct{ *naive }

func (s instant) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	if s.down != "" {
		return s.naive.Spend(ctx, batch)
	}
	return nil, nil
}
