package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// dial is a client as cmd builds it: deadlines are obeyed, nothing is sent twice.
func dial(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true, Protocol: 2,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

func open(t testing.TB, client redisstore.Client, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.New(client, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func perMinute(key string, limit uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: "users", Algorithm: window.Sliding, Hits: 1,
		Windows: []window.Window{{Limit: limit, Span: time.Minute, Cells: 60}},
	}
}

func spend(t *testing.T, s *redisstore.Store, batch ...ratelimit.Charge) []ratelimit.Outcome {
	t.Helper()
	got, err := s.Spend(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantClass wants a StoreError of a class.
func wantClass(t *testing.T, err error, class ratelimit.StoreErrorClass) {
	t.Helper()
	var se *ratelimit.StoreError
	if !errors.As(err, &se) || se.Class != class {
		t.Errorf("error %v, want a StoreError of class %s", err, class)
	}
}

// The script means what package window and the twin mean, on a real server.
func TestConformance(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	opened := 0
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Harness {
		opened++
		s := open(t, client, redisstore.Options{KeyPrefix: fmt.Sprintf("test%d:", opened)})
		s.SetClockForTest(clock.Millis)
		return storetest.Harness{Store: s, ClockSteps: s.ClockSteps, LoneApart: true}
	})
}

// In production the server's own clock decides, and every key goes away by itself.
func TestServerClockAndTimeToLive(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	charge := perMinute("a", 2)
	charge.Windows = append(charge.Windows, window.Window{Limit: 9, Span: time.Hour, Cells: 60})
	if got := spend(t, s, charge); got[0].Over || got[0].Windows[0].Remaining != 1 || got[0].Windows[0].Reset > 61*time.Second {
		t.Errorf("first: %+v", got[0])
	}
	spend(t, s, charge)
	if got := spend(t, s, charge); !got[0].Over || got[0].Windows[1].Remaining != 7 {
		t.Errorf("third of two: %+v", got[0])
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 || keys[0] != "sp1:a" {
		t.Fatalf("keys %q, %v; want sp1:a alone", keys, err)
	}
	ttl, err := client.PTTL(t.Context(), "sp1:a").Result()
	if err != nil || ttl <= time.Hour || ttl > 61*time.Minute {
		t.Errorf("the key lives %v (%v), want just under 61 minutes", ttl, err)
	}
}

// A refund leaves no key behind for ever: the counter keeps the time that it had, and its nonce goes once no receipt is honoured any
// more, also where the server is told of a script it does not know. What a bucket has not drained by then, it keeps.
func TestRefundsKeepTheTimeToLive(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	bucket := perMinute("bucket", 60)
	bucket.Algorithm, bucket.Windows = window.TokenBucket, []window.Window{{Limit: 60, Burst: 60, Span: time.Minute}}
	bucket.Hits = 30
	_, receipt, err := s.SpendRefundable(t.Context(), []ratelimit.Charge{perMinute("a", 9), bucket})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Refund(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
	}
	bucket.Hits = 0
	left := spend(t, s, func() ratelimit.Charge { c := perMinute("a", 9); c.Hits = 0; return c }(), bucket)
	if left[0].Windows[0].Remaining != 9 || left[1].Windows[0].Remaining != 60 {
		t.Errorf("after the refund: %+v", left)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 3 {
		t.Fatalf("keys %q, %v; want two counters and a nonce", keys, err)
	}
	for _, k := range keys {
		if ttl, err := client.PTTL(t.Context(), k).Result(); err != nil || ttl <= 0 || ttl > 62*time.Second {
			t.Errorf("%q lives %v (%v)", k, ttl, err)
		}
	}
}

// Every key has a time to live, however it came to be written.
func TestEveryKeyHasATimeToLive(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	counting, back, fixed, wide := perMinute("counting", 1), perMinute("back", 5), perMinute("fixed", 5), perMinute("wide", 5)
	bucket, emptied := perMinute("bucket", 5), perMinute("emptied", 5)
	for _, c := range []*ratelimit.Charge{&bucket, &emptied} {
		c.Algorithm, c.Windows[0].Burst = window.TokenBucket, 2
	}
	counting.CountDenied, counting.Hits = true, 9
	fixed.Algorithm = window.Fixed
	spend(t, s, counting)
	spend(t, s, back, fixed, wide, bucket, emptied)
	back.Hits, emptied.Hits = -1, -1
	wide.Windows[0].Limit = 1 << 20
	spend(t, s, back, fixed, wide, bucket, emptied) // what is emptied goes at once
	reference := fixed
	reference.Key, reference.CountDenied = "reference", true
	spend(t, s, reference)
	spend(t, s, reference, fixed)
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) < 6 || len(keys) > 7 {
		t.Fatalf("keys %q, %v; want six, and for a millisecond seven", keys, err)
	}
	for _, k := range keys {
		if ttl, err := client.PTTL(t.Context(), k).Result(); err != nil || ttl > 2*time.Minute || ttl <= 0 && k != "sp1:emptied" {
			t.Errorf("%s lives %v (%v)", k, ttl, err)
		}
	}
}

// What is not spent leaves no key behind: peeks, denials, and hits given back to nobody.
func TestNothingSpentLeavesNoKey(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	for _, hits := range []int64{0, 6, -3} {
		c := perMinute("a", 5)
		c.Hits = hits
		spend(t, s, c)
	}
	spend(t, s, perMinute("full", 1))
	spend(t, s, perMinute("b", 5), perMinute("full", 1))
	if keys, err := client.Keys(t.Context(), "*").Result(); err != nil || len(keys) != 1 {
		t.Errorf("keys %q, %v; want the full one alone", keys, err)
	}
}

// A server that restarts empty, or has its scripts flushed, is served by the text of the script, once.
func TestScriptsAreLoadedAgain(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	spend(t, s, perMinute("a", 3))
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if got := spend(t, s, perMinute("a", 3)); got[0].Windows[0].Remaining != 1 {
		t.Errorf("after a flush of scripts: %+v, want 1 left", got[0])
	}
	if known, err := client.ScriptExists(t.Context(), redisstore.ScriptHash).Result(); err != nil || !known[0] {
		t.Errorf("the script was not loaded again: %v, %v", known, err)
	}
}

// A server that lost counters that it had acknowledged is noticed; a counter that is new or has expired is not taken for one.
func TestLostCountersAreCounted(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	clock := new(storetest.Clock)
	clock.Advance(time.Hour)
	s := open(t, client, redisstore.Options{})
	s.SetClockForTest(clock.Millis)
	for i := range 50 {
		spend(t, s, perMinute(fmt.Sprint(i), 3))
		clock.Advance(time.Millisecond)
		spend(t, s, perMinute(fmt.Sprint(i), 3))
	}
	if s.LostCounters() != 0 {
		t.Fatalf("%d counters lost before any was", s.LostCounters())
	}
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	clock.Advance(time.Second)
	for range 2 {
		spend(t, s, perMinute("49", 3))
	}
	if s.LostCounters() != 1 {
		t.Errorf("%d counters lost, want 1", s.LostCounters())
	}
	clock.Advance(2 * time.Minute)
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	spend(t, s, perMinute("49", 3))
	if s.LostCounters() != 1 {
		t.Errorf("an expired counter is taken for a lost one")
	}
}

// A loss under load is noticed, once, although most answers overtake the one that found it.
func TestLossUnderLoadIsCounted(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	const losses = 5
	var lost sync.WaitGroup
	end := make(chan struct{})
	for range 8 {
		lost.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				if _, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("hot", 1<<30)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range losses {
		// The server's own clock tells that the counter has lived for a while, and will have when the next loss comes.
		for begun := clockOf(t, client); clockOf(t, client).Sub(begun) < 20*time.Millisecond; {
			spend(t, s, perMinute("hot", 1<<30))
		}
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	spend(t, s, perMinute("hot", 1<<30))
	close(end)
	lost.Wait()
	if got := s.LostCounters(); got != losses {
		t.Errorf("%d losses are counted, of %d", got, losses)
	}
}

func clockOf(t *testing.T, client *redis.Client) time.Time {
	t.Helper()
	now, err := client.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// What stands in a key that is not a counter is an error, and stays as it is.
func TestForeignValuesAreNotOverwritten(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	spend(t, s, perMinute("good", 100))
	good, err := client.Get(t.Context(), "sp1:good").Result()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"a later layout":  "\x07" + good[1:],
		"text":            "hello",
		"a number":        "42",
		"nothing":         "",
		"truncated":       good[:len(good)-1],
		"trailing":        good + "\x00",
		"only the layout": "\x02\x00",
		"no cells":        good[:7] + "\x00\x00" + good[9:],
		"no grain":        good[:1] + strings.Repeat("\x00", 6) + good[7:],
		"a wrong total":   good[:20] + "\x63" + good[21:],
	} {
		t.Run(name, func(t *testing.T) {
			if err := client.Set(t.Context(), "sp1:bad", value, 0).Err(); err != nil {
				t.Fatal(err)
			}
			c := perMinute("bad", 3)
			c.Hits = 9 // over, so that nothing is written where the server cannot tell
			_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("bystander", 100), c})
			wantClass(t, err, ratelimit.StoreOther)
			if now, err := client.Get(t.Context(), "sp1:bad").Result(); err != nil || now != value {
				t.Errorf("the value became %q (%v)", now, err)
			}
		})
	}
	t.Run("a list", func(t *testing.T) {
		if err := client.LPush(t.Context(), "sp1:list", "x").Err(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("list", 3)})
		wantClass(t, err, ratelimit.StoreOther)
	})
}

// A real server out of memory, a real replica, a dead one: each has its class.
func TestFaultsOfARealServer(t *testing.T) {
	t.Run("out of memory", func(t *testing.T) {
		client := dial(t, storetest.StartValkey(t))
		s := open(t, client, redisstore.Options{})
		spend(t, s, perMinute("a", 100))
		if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("a", 100)})
		wantClass(t, err, ratelimit.StoreOOM)
	})
	t.Run("replica", func(t *testing.T) {
		client := dial(t, storetest.StartValkey(t))
		s := open(t, client, redisstore.Options{})
		if err := client.ConfigSet(t.Context(), "replica-serve-stale-data", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("a", 100)})
		wantClass(t, err, ratelimit.StoreReadOnly)
		warnings, err := s.Probe(t.Context())
		if err != nil || !strings.Contains(strings.Join(warnings, "\n"), "slave") {
			t.Errorf("Probe of a replica = %q, %v", warnings, err)
		}
	})
	t.Run("killed", func(t *testing.T) {
		v := storetest.RunValkey(t)
		s := open(t, dial(t, v.Addr), redisstore.Options{})
		spend(t, s, perMinute("a", 100))
		v.Kill()
		for range 3 {
			_, err := s.Spend(t.Context(), []ratelimit.Charge{perMinute("a", 100)})
			wantClass(t, err, ratelimit.StoreRefused)
		}
	})
}

func TestProbe(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	if warnings, err := s.Probe(t.Context()); err != nil || len(warnings) != 0 {
		t.Errorf("Probe of a fresh server = %q, %v; want no warnings", warnings, err)
	}
	for _, policy := range []string{"allkeys-lru", "volatile-ttl", "volatile-lru"} {
		if err := client.ConfigSet(t.Context(), "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
		if warnings, err := s.Probe(t.Context()); err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], policy) {
			t.Errorf("Probe with %s = %q, %v; want one warning that names it", policy, warnings, err)
		}
	}
}

// A client that would break the store's promises is refused when the store is made, not when a server hangs.
func TestNewRefusesUnsafeClients(t *testing.T) {
	for name, client := range map[string]redisstore.Client{
		"none":              nil,
		"ignores deadlines": redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}),
		"hasty cluster":     redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}),
		"ring":              redis.NewRing(&redis.RingOptions{ContextTimeoutEnabled: true}),
	} {
		if s, err := redisstore.New(client, redisstore.Options{}); err == nil {
			t.Errorf("%s: made %v", name, s)
		}
	}
}

// Two stores on one server share one budget; two prefixes do not.
func TestReplicasShareOneBudget(t *testing.T) {
	addr := storetest.StartValkey(t)
	one, two := open(t, dial(t, addr), redisstore.Options{}), open(t, dial(t, addr), redisstore.Options{})
	other := open(t, dial(t, addr), redisstore.Options{KeyPrefix: "other:"})
	spend(t, one, perMinute("a", 2))
	spend(t, two, perMinute("a", 2))
	if got := spend(t, one, perMinute("a", 2)); !got[0].Over {
		t.Errorf("third of two: %+v", got[0])
	}
	if got := spend(t, other, perMinute("a", 2)); got[0].Over {
		t.Errorf("another prefix: %+v", got[0])
	}
}

func BenchmarkSpend(b *testing.B) {
	for _, k := range []int{10, 60} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			s := open(b, dial(b, storetest.StartValkey(b)), redisstore.Options{})
			charge := ratelimit.Charge{
				Key: "user", Rule: "users", Algorithm: window.Sliding, Hits: 1,
				Windows: []window.Window{{Limit: 1 << 15, Span: time.Minute, Cells: k}, {Limit: 1 << 15, Span: time.Hour, Cells: k}},
			}
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ctx, cancel := context.WithTimeout(b.Context(), time.Second)
					if _, err := s.Spend(ctx, []ratelimit.Charge{charge}); err != nil {
						b.Error(err)
					}
					cancel()
				}
			})
		})
	}
}
