package storetest

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// slots is how many a cluster has.
	slots = 16384
	// settling is how long servers may take to agree.
	settling = 20 * time.Second
)

// Cluster is a running cluster of a test's own: Nodes[i] has the i-th part of the slots.
type Cluster struct {
	Nodes []*Valkey
	// Replicas follow the nodes of the same number; empty unless asked for.
	Replicas []*Valkey
}

// Addrs are those of the nodes, without replicas.
func (c *Cluster) Addrs() []string {
	addrs := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		addrs[i] = n.Addr
	}
	return addrs
}

// NodeOf is the number of the node that began with a slot.
func (c *Cluster) NodeOf(slot int) int { return slot * len(c.Nodes) / slots }

// RunCluster starts an empty cluster of some nodes, three at least if it is to outlive one, and as many replicas for each as asked for, at
// most one. It ends with the test. A node counts as gone after 500 ms, and the others serve their slots without it.
func RunCluster(t testing.TB, nodes, replicas int) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range nodes {
		c.Nodes = append(c.Nodes, runNode(t))
	}
	for range nodes * replicas {
		c.Replicas = append(c.Replicas, runNode(t))
	}
	all := append(append([]*Valkey{}, c.Nodes...), c.Replicas...)
	for i, n := range c.Nodes {
		first, last := slots*i/nodes, slots*(i+1)/nodes-1
		tell(t, n.Addr, "cluster", "addslotsrange", first, last)
	}
	for _, n := range all[1:] {
		host, port, err := net.SplitHostPort(n.Addr)
		if err != nil {
			t.Fatal(err)
		}
		tell(t, all[0].Addr, "cluster", "meet", host, port, n.bus)
	}
	for _, n := range all {
		awaitAnswer(t, n.Addr, "every node knows all others", fmt.Sprintf("cluster_known_nodes:%d", len(all)), "cluster", "info")
		awaitAnswer(t, n.Addr, "the cluster serves", "cluster_state:ok", "cluster", "info")
	}
	for i, r := range c.Replicas {
		tell(t, r.Addr, "cluster", "replicate", strings.TrimSpace(tell(t, c.Nodes[i].Addr, "cluster", "myid")))
		awaitAnswer(t, r.Addr, "the replica follows its node", "master_link_status:up", "info", "replication")
	}
	return c
}

func runNode(t testing.TB) *Valkey {
	t.Helper()
	return persist(t, func(binary string) (*Valkey, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		bus, err := freePort()
		if err != nil {
			return nil, err
		}
		v, err := startValkey(binary, port, serves, append(serverArgs(port, t.TempDir()), "--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no", "--cluster-replica-validity-factor", "0",
			"--repl-diskless-sync-delay", "0"))
		if err != nil {
			return nil, err
		}
		v.bus = bus
		return v, nil
	})
}

// tell sends one command to one server, and returns what it answers as text.
func tell(t testing.TB, addr string, words ...any) string {
	t.Helper()
	answer, err := ask(t.Context(), addr, words...)
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return answer
}

func ask(ctx context.Context, addr string, words ...any) (string, error) {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DisableIdentity: true, Protocol: 2})
	defer func() { _ = c.Close() }()
	answer, err := c.Do(ctx, words...).Result()
	return fmt.Sprint(answer), err
}

// awaitAnswer asks a server again and again until its answer holds a text.
func awaitAnswer(t testing.TB, addr, what, text string, words ...any) {
	t.Helper()
	await(t, addr, what, func(answer string) bool { return contains(answer, text) }, words...)
}

// await asks a server again and again until its answer will do.
func await(t testing.TB, addr, what string, will func(answer string) bool, words ...any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settling)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		answer, err := ask(ctx, addr, words...)
		if err == nil && will(answer) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting that %s: the last answer is %q, %v", what, answer, err)
		case <-again.C:
		}
	}
}

// contains looks for a text, or for host:port as a list of words says it.
func contains(answer, text string) bool {
	if strings.Contains(answer, text) {
		return true
	}
	host, port, err := net.SplitHostPort(text)
	return err == nil && strings.Contains(answer, "ip "+host+" port "+port)
}
