package e2e

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// Replicas that share a cluster share one budget, wherever its counters are; a node that dies takes its replica's place in turn, and the
// others serve on.
func TestClusterIsOneBudget(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 0)
	store := "redis+cluster://" + strings.Join(cluster.Addrs(), ",")
	path := limitsFile(t, "closed")
	one := serve(t, "ratelimit", "--limits", path, "--store", store, "--audit", "off")
	two := serve(t, "ratelimit", "--limits", path, "--store", store, "--audit", "off")
	for _, who := range []string{"alice", "bob", "carol", "dave"} {
		if got := admitted(t, who, 150, one, two); got != 100 {
			t.Errorf("%d of 150 were admitted for %s, the limit is 100", got, who)
		}
	}
	// A flood after that costs the cluster next to nothing.
	if one.metric("sallyport_ratelimit_refused_from_memory_total")+two.metric("sallyport_ratelimit_refused_from_memory_total") < 100 {
		t.Error("refusals went to the store")
	}
	cluster.Nodes[0].Kill()
	served, refused := 0, 0
	for _, who := range []string{"e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"} {
		if admitted(t, who, 1, one) == 1 {
			served++
		} else {
			refused++ // its rule says: closed
		}
	}
	if served == 0 || refused == 0 {
		t.Errorf("with one node of three gone %d callers are served and %d refused; want some of each", served, refused)
	}
}

// When the master dies the gate counts for itself, says so, and goes back to the store that the sentinel names. Together no more pass than
// the limit and the replica's share.
func TestSentinelFailoverUnderLoad(t *testing.T) {
	servers := storetest.RunSentinels(t)
	g := serve(t, "ratelimit", "--limits", limitsFile(t, "local"), "--store", "redis+sentinel://"+storetest.SentinelMaster+"@"+servers.Addr, "--replicas", "2", "--audit", "off")
	passed := admitted(t, "alice", 30, g)
	servers.Master.AwaitReplica(t)
	servers.Master.Kill()
	passed += admitted(t, "alice", 40, g)
	if passed != 50 {
		t.Errorf("%d passed while the store was there and after, want the replica's share of 50: 30 by the store, 20 alone", passed)
	}
	if g.metric("sallyport_ratelimit_store_breaker_opened_total") != 1 || g.metric("sallyport_ratelimit_fallbacks_total", `how="local"`) == 0 {
		t.Error("the metrics do not say that the store is left alone")
	}
	eventually(t, "the gate asks the new master", func() bool { return g.metric("sallyport_ratelimit_store_breaker_open") == 0 })
	// The new master has the 30 that passed by the store, and no more: 70 are left.
	if got := admitted(t, "alice", 150, g); got != 70 {
		t.Errorf("%d passed after the failover, want 70", got)
	}
}
