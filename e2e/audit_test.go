package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
)

// auditLines are the decisions in the audit log.
func auditLines(t *testing.T, m *mesh) []map[string]any {
	t.Helper()
	return slices.DeleteFunc(readLog(t, filepath.Join(m.dir, "audit.jsonl")), func(line map[string]any) bool { return line["event"] != nil })
}

// readLog reads a log, each line of which is whole.
func readLog(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
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
		return strings.Count(string(data), `"decision_id"`)
	}
	sent := 0
	ask := func() {
		m.expect(http.StatusOK, "/catalogue/tea", "")
		sent++
	}
	for turn := range 2 {
		ask()
		eventually(t, "the line is written", func() bool { return lines(path) > 0 })
		if err := os.Rename(path, path+".old"+strconv.Itoa(turn)); err != nil {
			t.Fatal(err)
		}
		m.authz.signal(syscall.SIGHUP)
		eventually(t, "lines stand in a new file", func() bool { ask(); return lines(path) > 0 }) // the last may still come to stand in the old one
	}
	m.limits.signal(syscall.SIGHUP) // no audit file, and no end either
	ask()
	for _, g := range []*gate{m.authz, m.limits} {
		g.signal(terminate)
		if code := g.wait(); code != 0 {
			t.Errorf("%s: exit code %d", g.name, code)
		}
	}
	if written := lines(path+".old0") + lines(path+".old1") + lines(path); written != sent {
		t.Errorf("%d lines of %d requests", written, sent)
	}
}

// decide has a gate make one decision.
func (g *gate) decide() {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn := dial(g.t, g.listen)
	var err error
	if g.name == "authz" {
		_, err = authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{})
	} else {
		_, err = rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(ctx, whoIs("user|shop|alice"))
	}
	if err != nil && !g.ended() {
		g.t.Fatal(err)
	}
}

// A reader of the audit log that goes away (sallyport authz | shipper, and the shipper dies) takes no gate with it: the gate decides on,
// and counts what it could not write and says so.
func TestAuditReaderDies(t *testing.T) {
	for command, args := range map[string][]string{
		"authz":     {"--policy", shopPolicy("http://127.0.0.1:1")},
		"ratelimit": {"--limits", generous},
	} {
		t.Run(command, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "file.yaml")
			write(t, file, args[1])
			read, written, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			g := launchInto(t, written, command, freePort(t), args[0], file, "--audit", "stdout")
			g.ready()
			if err := read.Close(); err != nil {
				t.Fatal(err)
			}
			g.decide()
			eventually(t, "the failed write is counted", func() bool {
				return g.ended() || g.metric("sallyport_audit_write_errors_total") > 0
			})
			if g.ended() {
				t.Fatalf("the gate ended with its reader: %v\n%s", g.err, g.output.String())
			}
			if status, body := get(local(g.admin), "/readyz"); status != http.StatusOK || !strings.Contains(body, `"audit"`) || !strings.Contains(body, "broken pipe") {
				t.Errorf("/readyz says %d %s", status, body)
			}
			g.signal(terminate)
			if code := g.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// A reader that stops reading, and never goes on, costs what waited for it; the gate ends in its time all the same, and says how much.
func TestAuditReaderHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file.yaml")
	write(t, file, generous)
	read, written, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	g := launchInto(t, written, "ratelimit", freePort(t), "--limits", file, "--audit", "stdout", "--audit-fold", "0")
	g.ready()
	client := rlsv3.NewRateLimitServiceClient(dial(t, g.listen))
	eventually(t, "records wait for a reader", func() bool { // a pipe takes 64 KiB
		for range 200 {
			if _, err := client.ShouldRateLimit(t.Context(), whoIs("alice")); err != nil {
				t.Fatal(err)
			}
		}
		return g.metric("sallyport_audit_waiting") > 100
	})
	g.signal(terminate)
	g.wait()
	if out := g.output.String(); !strings.Contains(out, "records that waited for it are lost") || strings.Contains(out, "lost=0") {
		t.Errorf("the end does not tell what was lost:\n%s", out)
	}
}

// Two gates do not write one file: their lines would have two counts. The second ends at once and says why; the first goes on.
func TestAuditFileInUse(t *testing.T) {
	dir := t.TempDir()
	file, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
	write(t, file, shopPolicy("http://127.0.0.1:1"))
	first := serve(t, "authz", "--policy", file, "--audit", log)
	second := start(t, "authz", sallyport(t), "authz", "--policy", file, "--listen", "127.0.0.1:0", "--admin=", "--audit", log)
	if code := second.wait(); code == 0 || !strings.Contains(second.output.String(), "another process writes this file") {
		t.Errorf("exit code %d\n%s", code, second.output.String())
	}
	first.decide()
	first.signal(terminate)
	first.wait()
	if lines := readLog(t, log); lines[len(lines)-1]["event"] != "stop" {
		t.Errorf("the last line is %v", lines[len(lines)-1])
	}
	again := serve(t, "authz", "--policy", file, "--audit", log)
	again.signal(terminate)
	if code := again.wait(); code != 0 {
		t.Errorf("exit code %d once the first has ended", code)
	}
}

// A disk that is full shows while it is: one line in the log, /readyz and the metrics say that decisions are made that nobody will read
// about, and that ends with the first line that is written again.
func TestAuditDiskFull(t *testing.T) {
	dir := t.TempDir()
	file, full, good := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "full"), filepath.Join(dir, "audit.jsonl")
	write(t, file, shopPolicy("http://127.0.0.1:1"))
	if err := os.Symlink("/dev/full", full); err != nil {
		t.Fatal(err)
	}
	g := serve(t, "authz", "--policy", file, "--audit", full, "--audit-fold", "0")
	degraded := func() bool {
		_, body := get(local(g.admin), "/readyz")
		return strings.Contains(body, `"audit"`) && strings.Contains(body, "no space left")
	}
	eventually(t, "/readyz shows it with the first line, which says how the log is written", degraded)
	g.decide()
	g.decide()
	eventually(t, "each failed write is counted", func() bool { return g.metric("sallyport_audit_write_errors_total") >= 2 })
	if n := strings.Count(g.output.String(), "the audit log is not written"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
	if err := os.Symlink(good, full+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(full+".new", full); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGHUP)
	eventually(t, "the new file is there", func() bool { _, err := os.Stat(good); return err == nil })
	g.decide()
	eventually(t, "/readyz no longer shows it", func() bool { return !degraded() })
}
