package redisdial

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// longest is how long a failover may take before a test gives it up; the servers take a second or two, and we half of one more.
const longest = 30 * time.Second

// store is a store as cmd builds it, behind a breaker whose probes run.
func store(t *testing.T, url string) (*redisstore.Store, *ratelimit.Breaker) {
	t.Helper()
	o, err := Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	client, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := ratelimit.NewBreaker(s, ratelimit.BreakerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		client.Close()
	})
	return s, b
}

// hit is one hit of a limit that no test reaches.
func hit(key string) []ratelimit.Charge {
	return []ratelimit.Charge{{
		Key: key, Rule: "r", Algorithm: window.Sliding, Hits: 1, Windows: []window.Window{{Limit: 60000, Span: time.Hour, Cells: 60}},
	}}
}

// left spends a hit and says how many are left, or that it could not.
func left(t *testing.T, s ratelimit.Store, key string) (uint32, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	out, err := s.Spend(ctx, hit(key))
	if err != nil {
		return 0, err
	}
	return out[0].Windows[0].Remaining, nil
}

// resumes spends until that works again, and returns what is left and how long it took.
func resumes(t *testing.T, s ratelimit.Store, key string) (uint32, time.Duration) {
	t.Helper()
	begun := time.Now()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		n, err := left(t, s, key)
		if err == nil {
			return n, time.Since(begun)
		}
		if time.Since(begun) > longest {
			t.Fatalf("no write succeeds: %v", err)
		}
		<-again.C
	}
}

// When a master dies its sentinel puts the replica in its place; writes resume there, and go on from the counts that it had.
func TestSentinelFailover(t *testing.T) {
	servers := storetest.RunSentinels(t)
	s, b := store(t, "redis+sentinel://"+storetest.SentinelMaster+"@"+servers.Addr)
	for range 10 {
		if _, err := s.Spend(t.Context(), hit("a")); err != nil {
			t.Fatal(err)
		}
	}
	servers.Master.AwaitReplica(t)
	servers.Master.Kill()
	n, took := resumes(t, b, "a")
	t.Logf("writes resumed %v after the master was killed", took)
	if n != 60000-11 {
		t.Errorf("%d left after the failover, want what the replica had: %d", n, 60000-11)
	}
	if b.Opened() == 0 || b.Open() != 0 {
		t.Errorf("the breaker opened %d times, %d lanes are open", b.Opened(), b.Open())
	}
}

// When a node of a cluster dies its replica takes its place; writes to its slots resume there.
func TestClusterFailover(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 1)
	s, b := store(t, "redis+cluster://"+strings.Join(cluster.Addrs(), ","))
	node := cluster.NodeOf(s.Slot("a"))
	for range 10 {
		if _, err := s.Spend(t.Context(), hit("a")); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Nodes[node].AwaitReplica(t)
	cluster.Nodes[node].Kill()
	n, took := resumes(t, b, "a")
	t.Logf("writes resumed %v after the node was killed", took)
	if n != 60000-11 {
		t.Errorf("%d left after the failover, want what the replica had: %d", n, 60000-11)
	}
}

// A store that is absent at start costs its callers what they allow, and is used from when it is there.
func TestStartsWithoutTheStore(t *testing.T) {
	v := storetest.RunValkey(t)
	addr := v.Addr
	v.Kill()
	s, b := store(t, "redis://"+addr)
	for range ratelimit.DefaultFailures {
		if _, err := left(t, b, "a"); err == nil {
			t.Fatal("a store that is absent decides")
		}
	}
	if b.Open() != 1 {
		t.Errorf("%d lanes open without a server", b.Open())
	}
	_, port, _ := strings.Cut(addr, ":")
	storetest.RunValkey(t, "--port", port)
	if _, err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, took := resumes(t, b, "a"); n != 60000-1 {
		t.Errorf("%d left, %v after the server was there", n, took)
	}
}
