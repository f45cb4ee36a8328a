package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// What a gate records is replayed: the policy in force decides every request again as it did, and one that opens a door is told, with
// nobody's token in the file.
func TestRecordAndDiff(t *testing.T) {
	valkey := storetest.RunValkey(t)
	fill := redis.NewClient(&redis.Options{Addr: valkey.Addr})
	defer fill.Close()
	for key, owner := range map[string]string{"owner:o-1": "alice", "owner:o-2": "alice", "owner:o-3": "bob"} {
		if err := fill.Set(t.Context(), key, owner, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(t.TempDir(), "requests.jsonl")
	m := newMesh(t, meshOptions{
		policy: ownedPolicy(`redis: {url: "redis://` + valkey.Addr + `/0", key: "owner:{id}"}`), authz: []string{"--record", record, "--sample", "100%"},
	})
	alice, bob := m.token("alice", ""), m.token("bob", "")
	for path, status := range map[string]int{"/orders/o-1": 200, "/orders/o-3": 403, "/orders?ids=o-1,o-2&note=canary": 200, "/orders?ids=o-1,o-3": 403, "/secrets/o-9": 404} {
		m.expect(status, path, alice)
	}
	m.expect(http.StatusOK, "/orders/o-3", bob)
	m.expect(http.StatusUnauthorized, "/orders/o-1", "")
	m.expect(http.StatusUnauthorized, "/orders/o-1", alice[:len(alice)-8]+"AAAAAAAA")
	m.post("/orders:delete", alice, "application/json", strings.NewReader(`{"ids":["o-1","o-3"],"note":"canary"}`))
	eventually(t, "every request is recorded", func() bool { return m.authz.metric("sallyport_record_lines_total") >= 9 })
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"canary", alice, bob, alice[:20], "Bearer"} {
		if strings.Contains(string(data), secret) {
			t.Errorf("%q stands in the record:\n%s", secret, data)
		}
	}
	diff := func(next string) (string, int) {
		path := filepath.Join(t.TempDir(), "next.yaml")
		write(t, path, next)
		cmd := exec.Command(sallyport(t), "policy", "diff", m.policy, path, "-f", record)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	text, err := os.ReadFile(m.policy)
	if err != nil {
		t.Fatal(err)
	}
	same := ": 0 newly allowed, 0 newly denied, 0 otherwise different, 0 cannot be told\n"
	if out, code := diff(string(text)); code != 0 || !strings.Contains(out, strings.TrimPrefix(same, ":")) || strings.Contains(out, "note:") {
		t.Errorf("against itself: code %d\n%s", code, out)
	}
	opened := strings.Replace(string(text), `{name: read, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub}}`, `{name: read, match: "GET /orders/{id}", owner: none}`, 1)
	if out, code := diff(opened); code != 1 || !strings.Contains(out, "denied before, ALLOWED now: 1\n") || !strings.Contains(out, "403 owner (not_theirs) by orders/read  ->  200 allowed by orders/read") {
		t.Errorf("opened: code %d\n%s", code, out)
	}
}
