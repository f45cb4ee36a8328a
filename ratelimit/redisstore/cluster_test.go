package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// dialCluster is a client as cmd builds it.
func dialCluster(t testing.TB, addrs ...string) *redis.ClusterClient {
	t.Helper()
	c := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, ContextTimeoutEnabled: true, MaxRetries: -1, MaxRedirects: 3, DisableIdentity: true, Protocol: 2,
		DisableRoutingPolicies: true, DialTimeout: time.Second, DialerRetries: 1, ReadTimeout: time.Second,
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// keysOn finds keys of counters by the node of a cluster that has them: one for each.
func keysOn(s *redisstore.Store, cluster *storetest.Cluster) []string {
	keys := make([]string, len(cluster.Nodes))
	for found, i := 0, 0; found < len(keys); i++ {
		key := "key" + strconv.Itoa(i)
		if place := &keys[cluster.NodeOf(s.Slot(key))]; *place == "" {
			*place = key
			found++
		}
	}
	return keys
}

// A real cluster of three nodes: a batch that all of them decide is all or nothing, refused and passed.
func TestClusterDecidesAsOne(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 0)
	client := dialCluster(t, cluster.Addrs()...)
	store := open(t, client, redisstore.Options{})
	s := ratelimit.NewSpread(store, store.Slot)
	keys := keysOn(store, cluster)
	a, b, c := perMinute(keys[0], 5), perMinute(keys[1], 1), perMinute(keys[2], 5)
	left := func(batch ...ratelimit.Charge) string {
		t.Helper()
		out, err := s.Spend(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		said := ""
		for _, o := range out {
			said += fmt.Sprintf("%v %d ", o.Over, o.Windows[0].Remaining)
		}
		return strings.TrimSpace(said)
	}
	for _, tt := range []struct {
		batch []ratelimit.Charge
		want  string
	}{
		{[]ratelimit.Charge{a, b, c}, "false 4 false 0 false 4"},
		{[]ratelimit.Charge{a, b, c}, "false 4 true 0 false 4"}, // b refuses: what a and c spent is taken back
		{[]ratelimit.Charge{c, a}, "false 3 false 3"},
		{[]ratelimit.Charge{c, b, a, a}, "false 3 true 0 false 3 false 3"},
		{[]ratelimit.Charge{a}, "false 2"},
	} {
		if got := left(tt.batch...); got != tt.want {
			t.Errorf("%d charges: %s, want %s", len(tt.batch), got, tt.want)
		}
	}
	if s.Unrefunded() != 0 {
		t.Errorf("%d refunds were not taken", s.Unrefunded())
	}
	if warnings, err := store.Probe(t.Context()); err != nil || len(warnings) != 0 {
		t.Errorf("Probe: %q, %v", warnings, err)
	}
	if _, err := store.Spend(t.Context(), []ratelimit.Charge{a, b}); err == nil {
		t.Error("a batch of two slots was decided as one")
	}
}

// With a hash tag in the prefix every batch is one script, on one node of a cluster: it means what it means on a single server.
func TestConformanceInOneSlot(t *testing.T) {
	client := dialCluster(t, storetest.RunCluster(t, 3, 0).Addrs()...)
	opened := 0
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Harness {
		opened++
		s := open(t, client, redisstore.Options{KeyPrefix: fmt.Sprintf("{test%d}:", opened)})
		s.SetClockForTest(clock.Millis)
		return storetest.Harness{Store: s, ClockSteps: s.ClockSteps, LoneApart: true}
	})
}

// A node that is gone takes its own slots with it and nothing else, behind a breaker that leaves those alone.
func TestClusterWithoutOneNode(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 0)
	store := open(t, dialCluster(t, cluster.Addrs()...), redisstore.Options{})
	lane := func(key string) int { return store.Slot(key) >> 8 }
	b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{
		Lanes: redisstore.Slots >> 8, Lane: lane, ProbeKey: func(lane int) string { return store.KeyIn(lane << 8) },
	})
	keys := keysOn(store, cluster)
	for _, key := range keys {
		if _, err := b.Spend(t.Context(), []ratelimit.Charge{perMinute(key, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Nodes[1].Kill()
	for range ratelimit.DefaultFailures {
		for i, key := range keys {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := b.Spend(ctx, []ratelimit.Charge{perMinute(key, 100)})
			if cancel(); (err != nil) != (i == 1) {
				t.Errorf("node %d with node 1 gone: %v", i, err)
			}
		}
	}
	if _, err := b.Spend(t.Context(), []ratelimit.Charge{perMinute(keys[1], 100)}); !errors.Is(err, ratelimit.ErrBreakerOpen) || b.Open() != 1 {
		t.Errorf("after %d failures: %v, %d lanes open", ratelimit.DefaultFailures, err, b.Open())
	}
}

// A key of a probe is in the slot that it is for, and belongs to no limit.
func TestProbeKeys(t *testing.T) {
	store := open(t, dialCluster(t, "127.0.0.1:1"), redisstore.Options{KeyPrefix: "p:"})
	for _, slot := range []int{0, 1, 8191, 16383} {
		if key := store.KeyIn(slot); store.Slot(key) != slot || key[0] != '!' {
			t.Errorf("slot %d: %q is in %d", slot, key, store.Slot(key))
		}
	}
}

// fakeCluster is a scripted server that has all slots, as far as anybody asks.
func fakeCluster(t *testing.T, script func(n int) string) *fake {
	f := startFake(t, script)
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots = fmt.Sprintf("*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n%s:%s\r\n%s", bulk(host), port, bulk("id"))
	return f
}

// Servers that send elsewhere are followed, since they ran nothing; the script runs where they say, once.
func TestClusterFollowsMovedAndAsk(t *testing.T) {
	for _, word := range []string{"MOVED", "ASK"} {
		t.Run(word, func(t *testing.T) {
			there := fakeCluster(t, always(good()))
			here := fakeCluster(t, always("-"+word+" 3999 "+there.addr+"\r\n"))
			got, err := spendOn(t, dialCluster(t, here.addr))
			if err != nil || got[0].Over || len(here.runs()) != 1 || len(there.runs()) != 1 {
				t.Errorf("%+v, %v; %d scripts here, %d there", got, err, len(here.runs()), len(there.runs()))
			}
			there.mu.Lock()
			defer there.mu.Unlock()
			if there.asking > 0 != (word == "ASK") {
				t.Errorf("ASKING came %d times", there.asking)
			}
		})
	}
	t.Run("in circles", func(t *testing.T) {
		var f *fake
		f = fakeCluster(t, func(int) string { return "-MOVED 3999 " + f.addr + "\r\n" })
		_, err := spendOn(t, dialCluster(t, f.addr))
		wantClass(t, err, ratelimit.StoreOther)
		if n := len(f.runs()); n != 4 {
			t.Errorf("%d scripts sent, want the first and three redirects", n)
		}
	})
}

// What a node of a cluster refuses is not sent again, and neither is what it may have done. READONLY alone is asked again, by a new map:
// that node has written nothing.
func TestClusterErrorReplies(t *testing.T) {
	for reply, class := range map[string]ratelimit.StoreErrorClass{
		"LOADING Redis is loading the dataset in memory":          ratelimit.StoreLoading,
		"BUSY Redis is busy running a script":                     ratelimit.StoreLoading,
		"MASTERDOWN Link with MASTER is down":                     ratelimit.StoreLoading,
		"CLUSTERDOWN The cluster is down":                         ratelimit.StoreLoading,
		"TRYAGAIN Multiple keys request during rehashing of slot": ratelimit.StoreLoading,
		"MISCONF Redis is configured to save RDB snapshots":       ratelimit.StoreReadOnly,
		"NOREPLICAS Not enough good replicas to write.":           ratelimit.StoreReadOnly,
		"OOM command not allowed when used memory > 'maxmemory'.": ratelimit.StoreOOM,
		"CROSSSLOT Keys in request don't hash to the same slot":   ratelimit.StoreOther,
		"ERR READONLY You can't write against a read only":        ratelimit.StoreReadOnly,
	} {
		t.Run(reply, func(t *testing.T) {
			f := fakeCluster(t, always("-"+reply+"\r\n"))
			_, err := spendOn(t, dialCluster(t, f.addr))
			wantClass(t, err, class)
			if n := len(f.runs()); n != 1 {
				t.Errorf("%d scripts sent, want 1", n)
			}
		})
	}
	t.Run("READONLY, then written", func(t *testing.T) {
		f := fakeCluster(t, func(n int) string {
			if n == 0 {
				return "-READONLY You can't write against a read only replica.\r\n"
			}
			return good()
		})
		if got, err := spendOn(t, dialCluster(t, f.addr)); err != nil || got[0].Over {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("cut after it arrived", func(t *testing.T) {
		f := fakeCluster(t, always(hangUp))
		_, err := spendOn(t, dialCluster(t, f.addr))
		wantClass(t, err, ratelimit.StoreRefused)
		if n := len(f.runs()); n != 1 {
			t.Errorf("%d scripts sent, want 1", n)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		_, err := spendOn(t, dialCluster(t, "127.0.0.1:1"))
		wantClass(t, err, ratelimit.StoreRefused)
	})
	t.Run("no answer", func(t *testing.T) {
		f := fakeCluster(t, always(silence))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := open(t, dialCluster(t, f.addr), redisstore.Options{}).Spend(ctx, []ratelimit.Charge{perMinute("a", 3)})
		wantClass(t, err, ratelimit.StoreTimeout)
	})
}
