package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func auditLines(t *testing.T, m *mesh) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(data)) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("audit line %q: %v", line, err)
		}
		lines = append(lines, record)
	}
	return lines
}

// One line per decision says who, what and why, and no line or log anywhere holds a token.
func TestAuditTellsAndKeepsSecrets(t *testing.T) {
	m := newMesh(t, meshOptions{})
	alice := m.token("alice", "read:orders")
	m.expect(http.StatusOK, "/users/alice/orders?canary=in-the-query", alice)
	denied := m.expect(http.StatusForbidden, "/users/bob/orders", alice)
	m.expect(http.StatusBadRequest, "/catalogue/tea?access_token="+alice, "")
	m.expect(http.StatusUnauthorized, "/users/bob/orders", alice+"x")
	m.expect(http.StatusUnauthorized, "/users/alice/orders", "", "x-request-id", alice)
	m.authz.signal(terminate)
	m.authz.wait()
	lines := auditLines(t, m)
	if len(lines) != 5 {
		t.Fatalf("%d audit lines of 5 decisions", len(lines))
	}
	var id struct {
		ID string `json:"decision_id"`
	}
	if err := json.Unmarshal([]byte(denied.body), &id); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"decision_id": id.ID, "verdict": "deny", "reason": "owner", "service": "orders", "rule": "list-orders", "issuer": "shop",
		"subject": "alice", "object": "bob", "address": "198.51.100.7", "status": 403.0, "method": "GET",
	} {
		if got := lines[1][key]; got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	signature := alice[strings.LastIndexByte(alice, '.')+1:]
	for where, text := range map[string]string{"audit": string(data), "log": m.authz.output.String()} {
		for _, secret := range []string{alice, signature, "in-the-query"} {
			if strings.Contains(text, secret) {
				t.Errorf("the %s holds a secret", where)
			}
		}
	}
}
