package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// patient is a client that ends no wait by itself, so that only callers' deadlines do.
func patient(t *testing.T, addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true, Protocol: 2,
		PoolSize: 64, ReadTimeout: time.Hour, WriteTimeout: time.Hour, PoolTimeout: time.Hour,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// oneTrip is a store that makes one trip at a time, however long it takes.
func oneTrip(t *testing.T, addr string) *redisstore.Store {
	s := open(t, patient(t, addr), redisstore.Options{})
	s.SetPatienceForTest(time.Hour)
	return s
}

// Where a trip takes long, others begin beside it, with those who wait, and no more than may.
func TestNobodyWaitsForAStuckTrip(t *testing.T) {
	open1 := make(chan struct{})
	f := startFake(t, func(int) string { <-open1; return good() })
	s := oneTrip(t, f.addr)
	answered := func(i int, err error) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	stuck := crowd(t.Context(), t, s, 0, 5, 1, 4, answered)
	s.SetPatienceForTest(0)
	next := crowd(t.Context(), t, s, 100, 1, 2, 0, answered)
	many := crowd(t.Context(), t, s, 200, 20, redisstore.MaxFlying, 20-(redisstore.MaxFlying-2), answered)
	close(open1)
	stuck.Wait()
	next.Wait()
	many.Wait()
	if keys := f.keys(); len(keys) != 26 || slices.Max(values(keys)) != 1 {
		t.Errorf("what arrived: %v", keys)
	}
}

// crowd has n callers spend at once, each on a key of its own, and returns when so many trips and commands are on their way.
func crowd(ctx context.Context, t *testing.T, s *redisstore.Store, from, n, flying, waiting int, done func(i int, err error)) *sync.WaitGroup {
	t.Helper()
	callers := &sync.WaitGroup{}
	for i := range n {
		callers.Go(func() {
			_, err := s.Spend(ctx, []ratelimit.Charge{perMinute(fmt.Sprintf("k%d", from+i), 3)})
			done(from+i, err)
		})
	}
	until(t, func() bool {
		f, w := s.TrafficForTest()
		return f == flying && w == waiting
	})
	return callers
}

// until waits for what other goroutines are about to do.
func until(t *testing.T, yes func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	late := time.After(20 * time.Second)
	for !yes() {
		select {
		case <-again.C:
		case <-late:
			t.Fatal("it never came to that")
		}
	}
}

// keys are those of the scripts that have arrived, each as often as it did.
func (f *fake) keys() map[string]int {
	count := map[string]int{}
	for _, cmd := range f.runs() {
		count[cmd[3]]++
	}
	return count
}

// Commands that come faster than the server answers travel together; each arrives once, and each caller has an answer.
func TestCommandsTravelTogether(t *testing.T) {
	open1 := make(chan struct{})
	f := startFake(t, func(int) string { <-open1; return good() })
	s := oneTrip(t, f.addr)
	var mu sync.Mutex
	answered := 0
	callers := crowd(t.Context(), t, s, 0, 40, 1, 39, func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if answered++; err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	})
	close(open1)
	callers.Wait()
	until(t, func() bool { flying, waiting := s.TrafficForTest(); return flying == 0 && waiting == 0 })
	if answered != 40 {
		t.Errorf("%d answers", answered)
	}
	if keys := f.keys(); len(keys) != 40 || slices.Max(values(keys)) != 1 {
		t.Errorf("what arrived: %v", keys)
	}
}

func values(m map[string]int) (out []int) {
	for _, n := range m {
		out = append(out, n)
	}
	return out
}

// Answers go to those who asked: on a real server, many callers on few counters are counted exactly.
func TestTogetherIsExact(t *testing.T) {
	s := open(t, dial(t, storetest.StartValkey(t)), redisstore.Options{})
	var mu sync.Mutex
	passed := map[string]int{}
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			key := fmt.Sprint(i % 4)
			for range 20 {
				out, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute(key, 100)})
				if err != nil {
					t.Error(err)
					return
				}
				if !out[0].Over {
					mu.Lock()
					passed[key]++
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	for key, n := range passed {
		if n != 100 {
			t.Errorf("%d of 320 passed on counter %s, the limit is 100", n, key)
		}
	}
}

// Who leaves before being sent is not sent; who leaves after is, once; and each leaves at its own time.
func TestEachLeavesAtItsOwnTime(t *testing.T) {
	open1 := make(chan struct{})
	f := startFake(t, func(int) string { <-open1; return good() })
	s := oneTrip(t, f.addr)
	stay := crowd(t.Context(), t, s, 0, 2, 1, 1, func(i int, err error) {
		if err != nil {
			t.Errorf("caller %d: %v", i, err)
		}
	})
	hasty, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	crowd(hasty, t, s, 100, 3, 1, 4, func(i int, err error) { wantClass(t, err, ratelimit.StoreTimeout) }).Wait()
	close(open1)
	stay.Wait()
	keys := f.keys()
	for i := range 3 {
		if keys[fmt.Sprintf("sp1:k%d", 100+i)] != 0 {
			t.Errorf("who had left was sent: %v", keys)
		}
	}
	if len(keys) != 2 {
		t.Errorf("what arrived: %v", keys)
	}
}

// A trip whose server says nothing ends with its most patient caller; the others leave before.
func TestSilentTripObeysEveryDeadline(t *testing.T) {
	f := startFake(t, always(silence))
	s := oneTrip(t, f.addr)
	short, cancel1 := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel1()
	long, cancel2 := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel2()
	late := func(_ int, err error) { wantClass(t, err, ratelimit.StoreTimeout) }
	first := crowd(short, t, s, 0, 1, 1, 0, late)
	hasty := crowd(short, t, s, 100, 2, 1, 2, late)
	last := crowd(long, t, s, 200, 2, 1, 4, late)
	first.Wait()
	hasty.Wait()
	if long.Err() != nil {
		t.Error("the hasty waited for the patient")
	}
	last.Wait()
	until(t, func() bool { f, w := s.TrafficForTest(); return f == 0 && w == 0 })
}

// The queue is bounded: one more is refused at once.
func TestFullQueueRefuses(t *testing.T) {
	f := startFake(t, always(silence))
	s := oneTrip(t, f.addr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	all := crowd(ctx, t, s, 0, 1+redisstore.MaxWaiting, 1, redisstore.MaxWaiting, func(int, error) {})
	_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("more", 3)})
	wantClass(t, err, ratelimit.StoreRefused)
	all.Wait()
}

// A connection that is cut under a trip of several may have run them all: none is sent again. Servers that do not know the script are sent
// its text, once for each.
func TestTripsThatFail(t *testing.T) {
	for name, reply := range map[string]string{"cut": hangUp, "unknown script": "-NOSCRIPT No matching script.\r\n"} {
		t.Run(name, func(t *testing.T) {
			open1 := make(chan struct{})
			f := startFake(t, func(int) string { <-open1; return reply })
			s := oneTrip(t, f.addr)
			all := crowd(t.Context(), t, s, 0, 30, 1, 29, func(_ int, err error) {
				var failed *ratelimit.StoreError
				if !errors.As(err, &failed) {
					t.Errorf("%v", err)
				}
			})
			close(open1)
			all.Wait()
			most := 1
			if reply != hangUp {
				most = 2
			}
			if keys := f.keys(); slices.Max(values(keys)) > most {
				t.Errorf("what arrived: %v", keys)
			}
		})
	}
}
