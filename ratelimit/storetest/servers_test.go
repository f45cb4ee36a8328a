package storetest_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// A cluster of three nodes serves every slot, and each node has its third.
func TestRunCluster(t *testing.T) {
	cluster := storetest.RunCluster(t, 3, 0)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs(), Protocol: 2, DisableIdentity: true})
	defer c.Close()
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		if err := c.Set(t.Context(), key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
		slot := c.ClusterKeySlot(t.Context(), key).Val()
		home := redis.NewClient(&redis.Options{Addr: cluster.Nodes[cluster.NodeOf(int(slot))].Addr, Protocol: 2, DisableIdentity: true})
		if got, err := home.Get(t.Context(), key).Result(); err != nil || got != key {
			t.Errorf("slot %d is not on the node that has it: %q, %v", slot, got, err)
		}
		home.Close()
	}
}
