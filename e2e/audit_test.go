package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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

// SIGHUP, as logrotate sends it: the lines that follow stand in a new file, none is lost, and the gate serves on.
func TestSIGHUPReopensAudit(t *testing.T) {
	m := newMesh(t, meshOptions{})
	path := filepath.Join(m.dir, "audit.jsonl")
	lines := func(path string) int {
		data, _ := os.ReadFile(path) // none yet is none
		return strings.Count(string(data), "\n")
	}
	for turn := range 2 {
		m.expect(http.StatusOK, "/catalogue/tea", "")
		eventually(t, "the line is written", func() bool { return lines(path) == 1 })
		if err := os.Rename(path, path+".old"+strconv.Itoa(turn)); err != nil {
			t.Fatal(err)
		}
		m.authz.signal(syscall.SIGHUP)
		eventually(t, "there is a new file", func() bool { _, err := os.Stat(path); return err == nil })
	}
	m.expect(http.StatusOK, "/catalogue/tea", "")
	m.limits.signal(syscall.SIGHUP) // no audit file, and no end either
	m.expect(http.StatusOK, "/catalogue/tea", "")
	for _, g := range []*gate{m.authz, m.limits} {
		g.signal(terminate)
		if code := g.wait(); code != 0 {
			t.Errorf("%s: exit code %d", g.name, code)
		}
	}
	if first, second, last := lines(path+".old0"), lines(path+".old1"), lines(path); first != 1 || second != 1 || last != 2 {
		t.Errorf("%d, %d and %d lines, want 1, 1 and 2", first, second, last)
	}
}
