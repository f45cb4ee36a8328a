package storetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// SentinelMaster is the name by which [RunSentinels] have their master known.
const SentinelMaster = "main"

// Sentinels is a master, a replica that follows it, and a sentinel that puts the replica in its place when it is gone.
type Sentinels struct {
	// Addr is the sentinel's host:port.
	Addr            string
	Master, Replica *Valkey
}

// RunSentinels starts all three, empty, and ends them with the test. The sentinel takes the master for dead after 300 ms.
func RunSentinels(t testing.TB) *Sentinels {
	t.Helper()
	master := RunValkey(t)
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	replica := RunValkey(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
	awaitAnswer(t, replica.Addr, "the replica follows its master", "master_link_status:up", "info", "replication")
	sentinel := persist(t, func(binary string) (*Valkey, error) {
		own, err := freePort()
		if err != nil {
			return nil, err
		}
		dir := t.TempDir()
		config := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %[3]s %[4]s %[5]s 1\n"+
			"sentinel down-after-milliseconds %[3]s 300\nsentinel failover-timeout %[3]s 2000\n", own, dir, SentinelMaster, host, port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return nil, err
		}
		return startValkey(binary, own, watches, []string{config, "--sentinel"})
	})
	// A sentinel can promote only a replica that it has heard of.
	awaitAnswer(t, sentinel.Addr, "the sentinel knows the replica", replica.Addr, "sentinel", "replicas", SentinelMaster)
	return &Sentinels{Addr: sentinel.Addr, Master: master, Replica: replica}
}

var (
	ownOffset     = regexp.MustCompile(`master_repl_offset:(\d+)`)
	replicaOffset = regexp.MustCompile(`slave0:.*state=online,offset=(\d+)`)
)

// AwaitReplica returns when the server's replica has all that was written to the server before.
func (v *Valkey) AwaitReplica(t testing.TB) {
	t.Helper()
	written := ownOffset.FindStringSubmatch(tell(t, v.Addr, "info", "replication"))
	if written == nil {
		t.Fatal("the server does not say how much it has written")
	}
	want, err := strconv.Atoi(written[1])
	if err != nil {
		t.Fatal(err)
	}
	await(t, v.Addr, "the replica has what was written", func(answer string) bool {
		has := replicaOffset.FindStringSubmatch(answer)
		if has == nil {
			return false
		}
		n, err := strconv.Atoi(has[1])
		return err == nil && n >= want
	}, "info", "replication")
}
