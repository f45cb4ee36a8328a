package redisstore_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// asReference is a charge as the reference's form makes it: one fixed window, in which denied hits count.
func asReference(key string, limit uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: "users", Algorithm: window.Fixed, Hits: 1, CountDenied: true,
		Windows: []window.Window{{Limit: limit, Span: time.Hour}},
	}
}

func giving(c ratelimit.Charge, hits int64) ratelimit.Charge { c.Hits = hits; return c }

// calls is how often a real server was sent a command, by a client or by a script.
func calls(t *testing.T, client redis.UniversalClient, command string) int {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(info, "cmdstat_"+command+":calls=")
	if !ok {
		return 0
	}
	number, _, _ := strings.Cut(rest, ",")
	n, err := strconv.Atoi(number)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The reference's form costs one plain command for each hit, one more for the first of a window, and no script.
func TestReferenceFormNeedsNoScript(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	for i, want := range []uint32{4, 3, 2, 1, 0} {
		got := spend(t, s, asReference("a", 5), asReference("b", 9))
		if got[0].Over || got[0].Windows[0].Remaining != want || got[1].Windows[0].Remaining != want+4 {
			t.Errorf("hit %d: %+v", i+1, got)
		}
	}
	got := spend(t, s, asReference("a", 5), giving(asReference("b", 9), 0))
	if !got[0].Over || got[0].Windows[0].Beyond != 1 || got[1].Over || got[1].Windows[0].Remaining != 4 {
		t.Errorf("a sixth hit of five, and a peek: %+v", got)
	}
	for command, want := range map[string]int{"incrby": 11, "set": 2, "get": 1, "time": 1, "evalsha": 0, "eval": 0} {
		if n := calls(t, client, command); n != want {
			t.Errorf("%d × %s, want %d", n, command, want)
		}
	}
}

// What else is asked of such a counter is decided by the script, on the same number: hits given back, batches that must be one, and
// windows whose denied hits burn nothing.
func TestScriptAndPlainCommandsShareACounter(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	own := asReference("a", 5)
	own.CountDenied = false
	for _, tt := range []struct {
		name  string
		batch []ratelimit.Charge
		over  bool
		left  uint32
	}{
		{"the script makes the key", []ratelimit.Charge{own}, false, 4},
		{"a plain command goes on", []ratelimit.Charge{asReference("a", 5)}, false, 3},
		{"beside another algorithm", []ratelimit.Charge{asReference("a", 5), perMinute("b", 5)}, false, 2},
		{"hits given back", []ratelimit.Charge{giving(asReference("a", 5), -2)}, false, 4},
		{"denied, and burns nothing", []ratelimit.Charge{giving(own, 5)}, true, 4},
		{"denied, and burns", []ratelimit.Charge{giving(asReference("a", 5), 5)}, true, 0},
		{"beyond its limit", []ratelimit.Charge{own}, true, 0},
		{"a peek", []ratelimit.Charge{giving(own, 0)}, true, 0},
		{"given back below zero", []ratelimit.Charge{giving(own, -100)}, false, 5},
		{"and on", []ratelimit.Charge{asReference("a", 5)}, false, 4},
	} {
		if got := spend(t, s, tt.batch...)[0]; got.Over != tt.over || got.Windows[0].Remaining != tt.left {
			t.Errorf("%s: %+v, want over %v and %d left", tt.name, got, tt.over, tt.left)
		}
	}
	if n := s.LostCounters(); n != 0 {
		t.Errorf("%d counters are taken for lost", n)
	}
	if n := calls(t, client, "incrby"); n != 3 {
		t.Errorf("%d plain hits, want 3", n)
	}
}

// Any number of callers and replicas share a budget exactly: no two hits get one number.
func TestPlainHitsAreExact(t *testing.T) {
	addr := storetest.StartValkey(t)
	stores := []*redisstore.Store{open(t, dial(t, addr), redisstore.Options{}), open(t, dial(t, addr), redisstore.Options{})}
	var passed atomic.Int64
	var callers sync.WaitGroup
	for i := range 40 {
		callers.Go(func() {
			for range 20 {
				out, err := stores[i%2].Spend(t.Context(), []ratelimit.Charge{asReference("a", 500)})
				if err != nil {
					t.Error(err)
					return
				}
				if !out[0].Over {
					passed.Add(1)
				}
			}
		})
	}
	callers.Wait()
	if passed.Load() != 500 {
		t.Errorf("%d of 800 passed, the limit is 500", passed.Load())
	}
	for _, s := range stores {
		if s.LostCounters() != 0 {
			t.Errorf("%d counters are taken for lost", s.LostCounters())
		}
	}
}

// A key has a time to live from its first hit on; one that the server lost and a hit made anew has one again, and the loss is noticed.
func TestPlainKeysAlwaysExpire(t *testing.T) {
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	wantLife := func(when string) {
		t.Helper()
		keys, err := client.Keys(t.Context(), "*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: keys %q, %v; want one", when, keys, err)
		}
		if ttl, err := client.PTTL(t.Context(), keys[0]).Result(); err != nil || ttl <= 0 || ttl > 61*time.Minute {
			t.Errorf("%s: %q lives %v (%v)", when, keys[0], ttl, err)
		}
	}
	spend(t, s, asReference("a", 9))
	wantLife("the first hit")
	spend(t, s, asReference("a", 9))
	// The server's own clock tells that the counter has lived for a while.
	for begun := clockOf(t, client); clockOf(t, client).Sub(begun) < 20*time.Millisecond; {
		continue
	}
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	spend(t, s, asReference("a", 9))
	wantLife("after a loss")
	if n := s.LostCounters(); n != 1 {
		t.Errorf("%d counters lost, want 1", n)
	}
	if got := spend(t, s, asReference("a", 9))[0]; got.Windows[0].Remaining != 7 {
		t.Errorf("after a loss: %+v", got)
	}
	if err := s.Forget(t.Context(), []ratelimit.Charge{asReference("a", 9)}); err != nil {
		t.Fatal(err)
	}
	if got := spend(t, s, asReference("a", 9))[0]; got.Windows[0].Remaining != 8 || s.LostCounters() != 1 {
		t.Errorf("after it was forgotten: %+v, %d lost", got, s.LostCounters())
	}
	wantLife("after it was forgotten")
}

func spendPlainOn(t *testing.T, client redisstore.Client) ([]ratelimit.Outcome, error) {
	t.Helper()
	return open(t, client, redisstore.Options{}).Spend(t.Context(), []ratelimit.Charge{asReference("a", 3)})
}

// counts are the INCRBYs among what has arrived.
func (f *fake) counts() (keys []string) {
	for _, cmd := range f.runs() {
		if cmd[0] == "incrby" {
			keys = append(keys, cmd[1])
		}
	}
	return keys
}

// Windows are numbered by the server's clock, whatever this process's own says.
func TestPlainWindowsAreTheServers(t *testing.T) {
	replies := []string{"+OK\r\n", ":1\r\n", ":2\r\n"}
	f := startFake(t, func(n int) string { return replies[n] })
	s := open(t, dial(t, f.addr), redisstore.Options{})
	for i := range 2 {
		got := spend(t, s, asReference("a", 3))[0]
		if got.Over || int(got.Windows[0].Remaining) != 2-i || got.Windows[0].Reset > time.Hour || got.Windows[0].Reset < 59*time.Minute {
			t.Errorf("hit %d: %+v", i+1, got)
		}
	}
	hour := int64(3_600_000)
	key := "sp1:#" + strconv.FormatInt(hour, 36) + "." + strconv.FormatInt(serverTime/hour, 36) + ".a"
	if keys := f.counts(); len(keys) != 2 || keys[0] != key || keys[1] != key {
		t.Errorf("counted in %q, want %q", keys, key)
	}
	if set := f.runs()[0]; set[0] != "set" || set[1] != key || set[2] != "0" || set[3] != "px" || set[5] != "nx" {
		t.Errorf("the key was made by %q", set)
	}
}

// Every error of a server has one class, and no hit is sent a second time.
func TestPlainErrorReplies(t *testing.T) {
	for reply, class := range map[string]ratelimit.StoreErrorClass{
		"LOADING Redis is loading the dataset in memory":                ratelimit.StoreLoading,
		"BUSY Redis is busy running a script":                           ratelimit.StoreLoading,
		"MASTERDOWN Link with MASTER is down":                           ratelimit.StoreLoading,
		"CLUSTERDOWN The cluster is down":                               ratelimit.StoreLoading,
		"READONLY You can't write against a read only replica.":         ratelimit.StoreReadOnly,
		"ERR READONLY You can't write against a read only replica":      ratelimit.StoreReadOnly,
		"MISCONF Redis is configured to save RDB snapshots":             ratelimit.StoreReadOnly,
		"NOREPLICAS Not enough good replicas to write.":                 ratelimit.StoreReadOnly,
		"OOM command not allowed when used memory > 'maxmemory'.":       ratelimit.StoreOOM,
		"NOAUTH Authentication required.":                               ratelimit.StoreRefused,
		"NOPERM this user has no permissions to run the 'incrby'":       ratelimit.StoreRefused,
		"MOVED 3999 127.0.0.1:1":                                        ratelimit.StoreOther,
		"WRONGTYPE Operation against a key holding the wrong kind of":   ratelimit.StoreOther,
		"ERR value is not an integer or out of range":                   ratelimit.StoreOther,
		"something else entirely":                                       ratelimit.StoreOther,
		"NOSCRIPT No matching script. Please use EVAL.":                 ratelimit.StoreOther,
		"ERR max number of clients reached":                             ratelimit.StoreRefused,
		"TRYAGAIN Multiple keys request during rehashing of slot":       ratelimit.StoreLoading,
		"WRONGPASS invalid username-password pair or user is disabled.": ratelimit.StoreRefused,
	} {
		t.Run(reply, func(t *testing.T) {
			f := startFake(t, always("-"+reply+"\r\n"))
			got, err := spendPlainOn(t, dial(t, f.addr))
			wantClass(t, err, class)
			if keys := f.counts(); got != nil || len(keys) != 1 || len(f.runs()) != 2 {
				t.Errorf("%+v after %q", got, f.runs())
			}
		})
	}
	t.Run("to TIME", func(t *testing.T) {
		for said, class := range map[string]ratelimit.StoreErrorClass{
			"-LOADING Redis is loading\r\n": ratelimit.StoreLoading, "*2\r\n$1\r\nx\r\n$1\r\ny\r\n": ratelimit.StoreOther,
			timeReply(1 << 48): ratelimit.StoreOther, hangUp: ratelimit.StoreRefused,
		} {
			f := startFake(t, always(":1\r\n"))
			f.clock = said
			_, err := spendPlainOn(t, dial(t, f.addr))
			wantClass(t, err, class)
			if len(f.runs()) != 0 {
				t.Errorf("%q: something was counted: %q", said, f.runs())
			}
		}
	})
}

// A counter that can count no further is over.
func TestPlainCounterThatOverflows(t *testing.T) {
	replies := []string{"$-1\r\n", "-ERR increment or decrement would overflow\r\n"}
	f := startFake(t, func(n int) string { return replies[n] })
	got, err := spendPlainOn(t, dial(t, f.addr))
	if err != nil || !got[0].Over || got[0].Windows[0].Remaining != 0 || got[0].Windows[0].Beyond != window.MaxHits-3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Beyond the most hits that a counter counts, hits are over and peeks see what counts, as in every store.
func TestPlainCounterBeyondAllCounting(t *testing.T) {
	s := open(t, dial(t, storetest.StartValkey(t)), redisstore.Options{})
	most := asReference("a", window.MaxHits)
	for i, tt := range []struct {
		hits int64
		over bool
	}{{window.MaxHits, false}, {0, false}, {1, true}, {0, false}, {window.MaxHits, true}, {-1, false}, {1, false}, {1, true}} {
		if got := spend(t, s, giving(most, tt.hits))[0]; got.Over != tt.over || got.Windows[0].Beyond != 0 {
			t.Errorf("step %d, %d hits: %+v, want over %v", i+1, tt.hits, got, tt.over)
		}
	}
}

// An answer that is no count is an error, never a verdict.
func TestPlainGarbageIsAnError(t *testing.T) {
	for _, reply := range []string{"+OK\r\n", "$-1\r\n", ":0\r\n", ":-7\r\n", "$1\r\nx\r\n", "*0\r\n", "*1\r\n:1\r\n"} {
		for _, hits := range []int64{1, 0} {
			if hits == 0 && (reply == "$-1\r\n" || reply == ":0\r\n") {
				continue // nothing there
			}
			f := startFake(t, func(n int) string {
				if hits > 0 && n == 0 {
					return "$-1\r\n"
				}
				return reply
			})
			got, err := open(t, dial(t, f.addr), redisstore.Options{}).Spend(t.Context(), []ratelimit.Charge{giving(asReference("a", 3), hits)})
			if wantClass(t, err, ratelimit.StoreOther); got != nil {
				t.Errorf("%q to %d hits: %+v", reply, hits, got)
			}
		}
	}
}

// A connection that is cut after INCRBY arrived may have counted: it is not sent again, not even by a client that retries.
func TestCutConnectionCountsOnce(t *testing.T) {
	for client, retries := range map[string]int{"our client": -1, "a client that retries": 3} {
		for name, first := range map[string]string{"at once": hangUp, "after the key was made": "+OK\r\n"} {
			t.Run(client+", "+name, func(t *testing.T) {
				f := startFake(t, func(n int) string {
					if n == 0 {
						return first
					}
					return hangUp
				})
				c := redis.NewClient(&redis.Options{
					Addr: f.addr, ContextTimeoutEnabled: true, MaxRetries: retries, DisableIdentity: true, Protocol: 2,
				})
				defer c.Close()
				_, err := spendPlainOn(t, c)
				wantClass(t, err, ratelimit.StoreRefused)
				if n := len(f.counts()); n > 1 || n == 0 && first != hangUp {
					t.Errorf("the hit arrived %d times", n)
				}
			})
		}
	}
}

// A server that says nothing, to TIME or to INCRBY, costs the caller its deadline and no more.
func TestPlainDeadlineIsObeyed(t *testing.T) {
	for name, clock := range map[string]string{"no time": silence, "no count": ""} {
		t.Run(name, func(t *testing.T) {
			f := startFake(t, always(silence))
			f.clock = clock
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := open(t, patient(t, f.addr), redisstore.Options{}).Spend(ctx, []ratelimit.Charge{asReference("a", 3)})
			wantClass(t, err, ratelimit.StoreTimeout)
		})
	}
}

// In a cluster the script makes a window's key and plain commands go on; keys are in the slot of their counter.
func TestPlainCountersInACluster(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 0)
	client := dialCluster(t, cluster.Addrs()...)
	for name, prefix := range map[string]string{"spread": "", "in one slot": "{limits}:"} {
		s := open(t, client, redisstore.Options{KeyPrefix: prefix})
		for i, key := range keysOn(open(t, client, redisstore.Options{}), cluster) {
			for want := uint32(4); want > 0; want-- {
				if got := spend(t, s, asReference(key, 5))[0]; got.Over || got.Windows[0].Remaining != want {
					t.Errorf("%s, node %d: %+v, want %d left", name, i, got, want)
				}
			}
			if got := spend(t, s, giving(asReference(key, 5), -2), giving(asReference(key, 5), 0)); got[1].Windows[0].Remaining != 3 {
				t.Errorf("%s, node %d: %+v", name, i, got)
			}
		}
	}
	counted := 0
	for _, n := range cluster.Nodes {
		counted += calls(t, dial(t, n.Addr), "incrby")
	}
	if want := 2 * 3 * 3; counted != want {
		t.Errorf("%d hits by plain commands, want %d", counted, want)
	}
}

func BenchmarkSpendFixed(b *testing.B) {
	s := open(b, dial(b, storetest.StartValkey(b)), redisstore.Options{})
	b.ReportAllocs()
	b.SetParallelism(16)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		charge := asReference(fmt.Sprint("user", next.Add(1)), 1<<30)
		for pb.Next() {
			ctx, cancel := context.WithTimeout(b.Context(), time.Second)
			if _, err := s.Spend(ctx, []ratelimit.Charge{charge}); err != nil {
				b.Error(err)
			}
			cancel()
		}
	})
}
