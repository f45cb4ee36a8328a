package e2e

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// Strict, on a disk that is really filled, by denials of which no two are alike: they stop short of the reserve, and allows go on into it.
func TestStrictFloodOnASmallDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("no disk of 4 MiB can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	left := func() int64 {
		var s syscall.Statfs_t
		if err := syscall.Statfs(disk, &s); err != nil {
			t.Fatal(err)
		}
		return int64(s.Bavail) * s.Bsize
	}
	policy, log := filepath.Join(t.TempDir(), "policy.yaml"), filepath.Join(disk, "audit.jsonl")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	const reserve = 2_000_000
	g := serve(t, "authz", "--policy", policy, "--audit", log, "--audit-mode", "strict", "--audit-fold", "0", "--audit-reserve", "2MB")
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	for i := 0; i < 20_000 && g.metric("sallyport_audit_dropped_total") == 0; i++ {
		for j := range 100 {
			if _, reason, allow, err := catalogue(client, fmt.Sprintf("/users/user-%d-%d/orders", i, j)); err != nil || allow || reason != "no_token" {
				t.Fatalf("%q, %v", reason, err)
			}
		}
	}
	if n := left(); n >= reserve || n < reserve-200_000 {
		t.Errorf("denials left %d bytes, want somewhat less than %d", n, reserve)
	}
	for range 500 {
		if _, reason, allow, err := catalogue(client, "/catalogue/tea"); err != nil || !allow {
			t.Fatalf("an allow is answered %q, %v", reason, err)
		}
	}
	g.signal(terminate)
	g.wait()
	next, allows := 1.0, 0
	for _, line := range readLog(t, log) {
		switch {
		case line["event"] == "gap":
			next += line["lost"].(float64)
			continue
		case line["verdict"] == "allow":
			allows++
		}
		if line["sequence"] != next {
			t.Fatalf("number %v stands where %v should", line["sequence"], next)
		}
		next++
	}
	if allows != 500 {
		t.Errorf("%d of 500 allows are on record", allows)
	}
}
