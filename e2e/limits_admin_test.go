package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// An operator asks a running gate about a counter, gives hits back, has it forgotten, and hears which descriptors find no limit: on a
// store that two replicas share, each change written down.
func TestLimitsAdmin(t *testing.T) {
	store := "redis://" + storetest.StartValkey(t) + "/0"
	socket := "unix:" + filepath.Join(shortDir(t), "admin.sock")
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	path := limitsFile(t, "closed")
	g := serve(t, "ratelimit", "--limits", path, "--store", store, "--admin-api", socket, "--audit", audit)
	other := serve(t, "ratelimit", "--limits", path, "--store", store, "--audit", "off")
	say := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command(sallyport(t), args...)
		out, _ := cmd.CombinedOutput() // the exit code says it
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Errorf("%v: exit %d, want %d: %s", args, code, want, out)
		}
		return string(out)
	}
	const alice = "domain=mesh who=alice"
	if n := admitted(t, "alice", 101, g, other); n != 100 {
		t.Fatalf("%d of 101 passed", n)
	}
	if out := say(0, "limits", "peek", "--admin-api", socket, alice); !strings.Contains(out, "mesh.who (") || !strings.Contains(out, "0 of 100 left in 1h0m0s") || !strings.Contains(out, "900 of 1000 left in 24h0m0s") {
		t.Errorf("peek: %s", out)
	}
	say(0, "limits", "grant", "--admin-api", socket, "--hits", "7", alice)
	if n := admitted(t, "alice", 10, g); n != 7 {
		t.Errorf("%d passed after 7 were given back", n)
	}
	say(0, "limits", "reset", "--admin-api", socket, alice)
	// The other replica may remember for seconds that the counter is over.
	eventually(t, "the other replica has heard of the reset", func() bool { return admitted(t, "alice", 1, other) == 1 })
	if n := admitted(t, "alice", 100, other, g); n != 99 {
		t.Errorf("1 and %d of 101 passed after a reset", n)
	}
	stray := &rlsv3.RateLimitRequest{Domain: "mesh", Descriptors: []*ratelimitv3.RateLimitDescriptor{{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "user-agent", Value: "a b"}}}}}
	if _, err := rlsv3.NewRateLimitServiceClient(dial(t, g.listen)).ShouldRateLimit(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	stray.Domain = "mash"
	if _, err := rlsv3.NewRateLimitServiceClient(dial(t, g.listen)).ShouldRateLimit(t.Context(), stray); err != nil {
		t.Fatal(err)
	}
	if out := say(0, "limits", "unmatched", "--admin-api", socket); !strings.Contains(out, `1 times  domain=mesh user-agent="a b"`) || !strings.Contains(out, "1 times  domain=mash  no limits file has this domain") {
		t.Errorf("unmatched: %s", out)
	}
	if n := g.metric("sallyport_ratelimit_stray_descriptors_total", `domain="mesh"`); n != 1 {
		t.Errorf("%v strays are counted", n)
	}
	if out := say(0, "why", "--admin-api", socket, "--unmatched"); !strings.Contains(out, `domain=mesh user-agent="a b"`) {
		t.Errorf("why --unmatched: %s", out)
	}
	say(2, "why", "--admin-api", socket, "--unmatched", "X")
	say(1, "limits", "peek", "--admin-api", socket, "domain=mesh user=alice")
	say(2, "limits", "peek", "--admin-api", socket+"x", alice)
	say(2, "why", "--admin-api", socket, "X")
	g.signal(terminate)
	g.wait()
	if !strings.Contains(g.output.String(), "call=grant domain=mesh keys=who") {
		t.Errorf("the log does not tell the grant")
	}
	events := map[string]int{}
	for _, line := range readLog(t, audit) {
		if line["service"] == "admin" {
			events[line["reason"].(string)]++
		}
	}
	if events["grant"] != 1 || events["reset"] != 1 {
		t.Errorf("the audit log tells %v", events)
	}
}
