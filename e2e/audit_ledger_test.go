package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// catalogue asks a gate about a public page, as Envoy would, and returns the decision's ID, its reason and whether it is an allow. An
// error is a gate that is gone.
func catalogue(client authv3.AuthorizationClient, path string) (id, reason string, allow bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Path: path, Host: "shop.test", Headers: map[string]string{}},
	}}})
	if err != nil {
		return "", "", false, err
	}
	fields := resp.GetDynamicMetadata().GetFields()
	return fields["decision_id"].GetStringValue(), fields["reason"].GetStringValue(), resp.GetStatus().GetCode() == 0, nil
}

// wholeLines are the lines of a log whose process was killed, and whether a torn one stands at its end.
func wholeLines(t *testing.T, path string) (lines []map[string]any, torn bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(data, '\n') + 1
	for line := range bytes.Lines(data[:end]) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		lines = append(lines, record)
	}
	return lines, end < len(data)
}

// A gate that is killed under load leaves whole lines whose numbers rise, and its losses show: a number below the greatest is on a line
// or told, what is lost stands behind the greatest, and the run has no `stop`. In strict mode no allow that was answered is lost.
func TestKilledUnderLoad(t *testing.T) {
	for _, mode := range []string{"bounded", "strict"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
			write(t, policy, shopPolicy("https://127.0.0.1:1"))
			args := []string{"--policy", policy, "--audit", log, "--audit-mode", mode, "--audit-fold", "0"}
			g := serve(t, "authz", args...)
			var mu sync.Mutex
			answered := map[string]bool{} // decision IDs of allows
			decisions := 0
			var load sync.WaitGroup
			enough := make(chan struct{})
			var once sync.Once
			for caller := range 8 {
				client := authv3.NewAuthorizationClient(dial(t, g.listen))
				load.Go(func() {
					for i := 0; ; i++ {
						path := "/catalogue/tea"
						if (caller+i)%4 == 0 {
							path = "/users/alice/orders" // without a token
						}
						id, _, allow, err := catalogue(client, path)
						if err != nil {
							return // killed
						}
						mu.Lock()
						if decisions++; allow {
							answered[id] = true
						}
						if decisions == 3000 {
							once.Do(func() { close(enough) })
						}
						mu.Unlock()
					}
				})
			}
			<-enough
			g.kill()
			load.Wait()

			lines, _ := wholeLines(t, log)
			next, stops := 1.0, 0
			for _, line := range lines {
				switch {
				case line["event"] == "gap":
					next += line["lost"].(float64)
					continue
				case line["event"] == "stop":
					stops++
				}
				if line["sequence"] != next {
					t.Fatalf("number %v stands where %v should", line["sequence"], next)
				}
				next++
				delete(answered, fmt.Sprint(line["decision_id"]))
			}
			if len(lines) < 100 || stops != 0 || lines[0]["event"] != "start" || lines[0]["mode"] != mode {
				t.Errorf("%d lines, %d stops, the first is %v", len(lines), stops, lines[0])
			}
			if mode == "strict" && len(answered) != 0 {
				t.Errorf("%d allows were answered and are on no line", len(answered))
			}
			// The next run begins a line of its own, whatever the last one left, and counts anew.
			g = serve(t, "authz", args...)
			g.signal(terminate)
			if code := g.wait(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			data, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			if starts := strings.Count(string(data), "\n{\"v\":1,") + 1; starts < len(lines) || !strings.Contains(string(data), `"event":"stop"`) {
				t.Error("the second run does not begin and end with lines of its own")
			}
		})
	}
}

// strictGate is a gate with a log of at most so many blocks, and the log's path.
func strictGate(t *testing.T, blocks int) (*gate, string) {
	t.Helper()
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := &gate{listen: freePort(t), admin: freePort(t)}
	g.process = start(t, "authz", "/bin/sh", "-c", "ulimit -f "+strconv.Itoa(blocks)+`; exec "$@"`, "sh", sallyport(t), "authz",
		"--listen", local(g.listen), "--admin", local(g.admin), "--drain-delay", "0s", "--policy", policy, "--audit", log, "--audit-mode", "strict", "--audit-fold", "0")
	g.ready()
	return g, log
}

// Strict, and the disk is full: what would be allowed is denied by its own name, no allow was answered that is not on a line, and a new
// file opens the door again.
func TestStrictDiskFull(t *testing.T) {
	g, log := strictGate(t, 32)
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	answered := map[string]bool{}
	denied := ""
	for i := 0; i < 10_000 && denied == ""; i++ {
		id, reason, allow, err := catalogue(client, "/catalogue/tea")
		if err != nil {
			t.Fatal(err)
		}
		if answered[id] = allow; !allow {
			denied = reason
		}
	}
	if denied != "audit_unavailable" {
		t.Fatalf("denied by %q", denied)
	}
	if _, reason, allow, err := catalogue(client, "/users/alice/orders"); err != nil || allow || reason != "no_token" {
		t.Errorf("a denial is answered %q, %v", reason, err)
	}
	if status, body := get(local(g.admin), "/readyz"); status != http.StatusOK || !strings.Contains(body, "what would be allowed is denied (audit_unavailable)") {
		t.Errorf("/readyz says %d %s", status, body)
	}
	if g.metric("sallyport_authz_decisions_total", `reason="audit_unavailable"`) < 1 || g.metric("sallyport_audit_write_errors_total") < 1 {
		t.Error("the metrics say nothing")
	}
	if err := os.Rename(log, log+".full"); err != nil {
		t.Fatal(err)
	}
	g.signal(syscall.SIGHUP)
	eventually(t, "there is room again", func() bool {
		id, _, allow, err := catalogue(client, "/catalogue/tea")
		if err != nil {
			t.Fatal(err)
		}
		if allow {
			answered[id] = true
		}
		return allow
	})
	g.signal(terminate)
	g.wait()
	var lines []map[string]any
	for _, path := range []string{log + ".full", log} {
		more, _ := wholeLines(t, path)
		lines = append(lines, more...)
	}
	for _, line := range lines {
		delete(answered, fmt.Sprint(line["decision_id"]))
	}
	for id, allow := range answered {
		if allow {
			t.Errorf("decision %s was allowed and is on no line", id)
		}
	}
}

// Strict, and what is left of the disk is kept for allows: denials of all kinds write nothing, which /readyz says, each allow is on disk
// and answered, and not one denial is lost without being told. It goes on until the disk has room again.
func TestStrictKeepsRoomForAllows(t *testing.T) {
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := serve(t, "authz", "--policy", policy, "--audit", log, "--audit-mode", "strict", "--audit-fold", "0", "--audit-reserve", "1000000000GB")
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	const denials, allows = 300, 20
	for i := range denials {
		if _, reason, allow, err := catalogue(client, fmt.Sprintf("/users/user-%d/orders", i)); err != nil || allow || reason != "no_token" {
			t.Fatalf("%q, %v", reason, err)
		}
	}
	eventually(t, "/readyz says that denials are not written", func() bool {
		_, body := get(local(g.admin), "/readyz")
		return strings.Contains(body, "denials are counted and not written")
	})
	answered := map[string]bool{}
	for range allows {
		id, reason, allow, err := catalogue(client, "/catalogue/tea")
		if err != nil || !allow {
			t.Fatalf("an allow is answered %q, %v", reason, err)
		}
		answered[id] = true
	}
	g.signal(terminate)
	g.wait()
	lost := 0.0
	lines := readLog(t, log)
	for _, line := range lines {
		if line["verdict"] == "deny" {
			t.Fatalf("a denial was written: %v", line)
		}
		if line["event"] == "gap" {
			lost += line["lost"].(float64)
		}
		delete(answered, fmt.Sprint(line["decision_id"]))
	}
	if lost != denials || len(answered) != 0 || lines[len(lines)-1]["event"] != "stop" {
		t.Errorf("%v of %d denials are told, %d allows are on no line, the last line is %v", lost, denials, len(answered), lines[len(lines)-1])
	}
}

// A log that is set aside loses nothing between its files.
func TestRotatedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := serve(t, "authz", "--policy", policy, "--audit", log, "--audit-rotate", "1MB", "--audit-keep", "9")
	var load sync.WaitGroup
	var asked atomic.Int64
	for range 4 {
		client := authv3.NewAuthorizationClient(dial(t, g.listen))
		load.Go(func() {
			for asked.Add(1) <= 6000 {
				if _, _, _, err := catalogue(client, "/catalogue/tea"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	load.Wait()
	g.signal(terminate)
	g.wait()
	next := 1.0
	files := 0
	for i := 9; i >= 0; i-- {
		path := log
		if i > 0 {
			path += "." + strconv.Itoa(i)
		}
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if files++; info.Size() > 1_000_000 {
			t.Errorf("%s holds %d bytes", filepath.Base(path), info.Size())
		}
		for _, line := range readLog(t, path) {
			if line["sequence"] != next {
				t.Fatalf("%s: number %v stands where %v should", filepath.Base(path), line["sequence"], next)
			}
			next++
		}
	}
	if files < 3 || next < 6000 {
		t.Errorf("%d files, %v numbers", files, next-1)
	}
}

// A flood of denials from one source is two records, the second with the exact count.
func TestFloodIsFolded(t *testing.T) {
	dir := t.TempDir()
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.jsonl")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := serve(t, "authz", "--policy", policy, "--audit", log, "--audit-fold", "1h")
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	for range 500 {
		if _, reason, _, err := catalogue(client, "/users/alice/orders"); err != nil || reason != "no_token" {
			t.Fatalf("%q, %v", reason, err)
		}
	}
	g.signal(terminate)
	g.wait()
	var denials []map[string]any
	lines := readLog(t, log)
	if last := lines[len(lines)-1]; last["event"] != "stop" {
		t.Errorf("the last line is %v", last)
	}
	for _, line := range lines {
		if line["verdict"] == "deny" {
			denials = append(denials, line)
		}
	}
	if len(denials) != 2 || denials[0]["repeated"] != nil || denials[1]["repeated"] != 499.0 {
		t.Fatalf("500 denials are %v", denials)
	}
}

// Thirty secrets, each where a client or an issuer can put one, stand nowhere: not in the audit log, on no output of the gate, in no
// metric, not on the admin port, and not in what clients are told.
func TestThirtySecrets(t *testing.T) {
	m := newMesh(t, meshOptions{authz: []string{"--audit-subjects", "pseudonym", "--audit-fold", "0", "--log-level", "debug"}})
	alice := m.token("alice", "read:orders")
	count := 0
	secret := func() string { count++; return fmt.Sprintf("CANARY%02dq7Zk", count) }
	var told strings.Builder
	ask := func(path, token string, headers ...string) {
		a, err := m.try(path, token, headers...)
		if err == nil {
			told.WriteString(a.body)
			told.WriteString(fmt.Sprint(a.header))
		}
	}
	ask("/catalogue/tea", secret())
	ask("/users/alice/orders", secret())
	ask("/users/alice/orders", alice+secret())
	ask("/users/alice/orders", "eyJhbGciOiJub25lIn0."+secret()+".x")
	ask("/users/alice/orders", secret()+"."+secret()+"."+secret())
	ask("/users/alice/orders", alice, "authorization", "Bearer "+secret())
	ask("/users/alice/orders", "", "authorization", "Basic "+secret())
	for _, name := range []string{
		"cookie", "proxy-authorization", "x-api-key", "x-secret", "user-agent", "referer", "origin", "accept-language", "x-user-id", "x_user_id",
		"x-forwarded-for", "forwarded", "dpop", "x-csrf-token", "if-none-match", "content-type",
	} {
		ask("/users/alice/orders", alice, name, secret())
	}
	ask("/users/alice/orders?password="+secret(), alice)
	ask("/users/alice/orders?access_token="+secret(), "")
	ask("/users/alice/orders?"+secret(), alice)
	ask("/users/alice;jsessionid="+secret()+"/orders", alice)
	ask("/users/"+secret()+"/orders", alice)
	ask("/nothing/"+secret(), alice)
	ask("/users/alice/orders/%2e%2e/"+secret(), alice)
	ask("/catalogue/tea", "", "upgrade", secret())
	m.post("/users/alice/orders", alice, "application/json", strings.NewReader(`{"password":"`+secret()+`"}`))
	m.post("/users/alice/orders?code="+secret(), alice, "application/x-www-form-urlencoded", strings.NewReader("client_secret="+secret()))
	for _, subject := range []string{secret(), secret()} {
		ask("/users/bob/orders", m.token(subject, "read:orders "+secret()))
	}
	if count < 30 {
		t.Fatalf("%d secrets were planted, want 30", count)
	}
	_, metrics := get(local(m.authz.admin), "/metrics")
	_, ready := get(local(m.authz.admin), "/readyz")
	m.authz.signal(terminate)
	m.authz.wait()
	if n := len(auditLines(t, m)); n < 25 {
		t.Errorf("%d decisions are in the log", n)
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{
		"audit log": string(data), "gate's output": m.authz.output.String(), "metrics": metrics, "/readyz": ready, "client's answers": told.String(),
	} {
		if at := strings.Index(text, "CANARY"); at >= 0 {
			t.Errorf("the %s holds a secret: ...%s", where, text[max(0, at-200):min(len(text), at+60)])
		}
		if strings.Contains(text, alice[strings.LastIndexByte(alice, '.')+1:]) {
			t.Errorf("the %s holds a token's signature", where)
		}
	}
}

// What happens to the gate stands in the log beside its decisions: its files, good and bad, and its issuer's keys.
func TestAuditEvents(t *testing.T) {
	m := newMesh(t, meshOptions{})
	log := filepath.Join(m.dir, "audit.jsonl")
	write(t, m.policy, "version: 1\nno policy\n")
	holds := func(parts ...string) func() bool {
		return func() bool {
			data, _ := os.ReadFile(log)
			for line := range strings.Lines(string(data)) {
				found := true
				for _, part := range parts {
					found = found && strings.Contains(line, part)
				}
				if found {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the bad file is told", holds(`"event":"config_load"`, `"outcome":"failed"`, "policy.yaml", `"policy_before":"`))
	eventually(t, "the issuer's keys are told", holds(`"event":"key_rotation"`, `"outcome":"ok"`, `"part":"shop"`, `"added":["`))
	m.authz.signal(terminate)
	m.authz.wait()
	lines := readLog(t, log)
	first, second, last := lines[0], lines[1], lines[len(lines)-1]
	if first["event"] != "start" || first["mode"] != "bounded" || first["allows"] != "all" || first["fold"] != "10s" {
		t.Errorf("the first line is %v", first)
	}
	if second["event"] != "config_load" || second["outcome"] != "ok" || second["policy"] == nil || second["policy_before"] != nil || fmt.Sprint(second["files"]) != fmt.Sprint([]string{m.policy}) {
		t.Errorf("the second line is %v", second)
	}
	if last["event"] != "stop" {
		t.Errorf("the last line is %v", last)
	}
}

// Flags that say what cannot be meant end the start with 2.
func TestAuditFlagsRefused(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	short := filepath.Join(t.TempDir(), "key")
	write(t, short, "short\n")
	for says, args := range map[string][]string{
		"name one in --audit":       {"--audit-mode", "strict"},
		"what is durable":           {"--audit-mode", "strict", "--audit", "otlp"},
		"--audit-allows is all":     {"--audit-mode", "strict", "--audit", policy + ".log", "--audit-allows", "1%"},
		"no regular file":           {"--audit-mode", "strict", "--audit", "/dev/null"},
		"bounded or strict":         {"--audit-mode", "sometimes"},
		"a percentage":              {"--audit-allows", "some"},
		"at least 1MB":              {"--audit", policy + ".log", "--audit-rotate", "1kB"},
		"sets a file aside":         {"--audit-rotate", "100MB"},
		"pseudonym or plain":        {"--audit-subjects", "who"},
		"at least 32 bytes":         {"--audit-pseudonym-key-file", short},
		"and --audit-subjects is p": {"--audit-subjects", "plain", "--audit-pseudonym-key-file", short},
		"cannot be negative":        {"--audit-fold", "-1s"},
		"--audit is off":            {"--audit", "off", "--audit-pseudonym-key-file", short + ".missing"},
		"without --audit-rotate":    {"--audit", policy + ".log", "--audit-keep", "3"},
		"only --audit-mode strict":  {"--audit", policy + ".log", "--audit-reserve", "10MB"},
	} {
		p := start(t, "authz", sallyport(t), append([]string{"authz", "--policy", policy, "--listen", "127.0.0.1:0", "--admin="}, args...)...)
		if code := p.wait(); code == 0 || !strings.Contains(p.output.String(), says) {
			t.Errorf("%v: exit code %d, want %q in\n%s", args, code, says, p.output.String())
		}
	}
}

// Every command of docs/audit.md serves, and what it writes is a log.
func TestDocumentedAuditCommands(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "policy.yaml"), shopPolicy("https://127.0.0.1:1"))
	write(t, filepath.Join(dir, "limits.yaml"), generous)
	write(t, filepath.Join(dir, "audit.key"), strings.Repeat("k", 43)+"\n")
	count := 0
	for _, found := range block.FindAllStringSubmatch(pages(t)["../docs/audit.md"], -1) {
		if found[1] != "console" {
			continue
		}
		for line := range strings.Lines(found[2]) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "sallyport" {
				t.Fatalf("%q is run by no test", line)
			}
			count++
			log := ""
			for i, word := range words {
				if strings.Contains(word, ".") && !strings.HasPrefix(word, "-") {
					words[i] = filepath.Join(dir, word)
				}
				if i > 0 && words[i-1] == "--audit" && strings.Contains(word, ".") {
					log = words[i]
				}
			}
			g := serve(t, words[1], words[2:]...)
			g.decide()
			g.signal(terminate)
			if code := g.wait(); code != 0 {
				t.Errorf("%q: exit code %d", line, code)
			}
			if log != "" {
				lines := readLog(t, log)
				if lines[0]["event"] != "start" || lines[len(lines)-1]["event"] != "stop" {
					t.Errorf("%q wrote %v", line, lines)
				}
				if err := os.Remove(log); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if count < 5 {
		t.Errorf("%d commands were found", count)
	}
}

// Revocations and the store that holds them are events; who revoked has a line of its own, though no allow is recorded.
func TestAuditTellsRevocations(t *testing.T) {
	m, policy := issuerAndPolicy(t)
	log, admin := filepath.Join(t.TempDir(), "audit.jsonl"), "unix:"+filepath.Join(t.TempDir(), "admin.sock")
	r := &revoker{admin: admin, gate: serve(t, "authz", "--policy", policy, "--audit", log, "--audit-allows", "off", "--admin-api", admin,
		"--revocations", "file://"+filepath.Join(m.dir, "revoked"), "--replicas", "1")}
	token := m.token("alice", "read:orders")
	eventually(t, "alice passes", func() bool { return r.reason(t, token) == "allowed" })
	if code, out := r.revoke(t, "--subject", "alice"); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	eventually(t, "the gate tells what came", func() bool {
		data, _ := os.ReadFile(log)
		return strings.Contains(string(data), `"event":"revocations","outcome":"ok","part":"revocations","count":1`)
	})
	r.signal(terminate)
	r.wait()
	var allows []any
	for _, line := range readLog(t, log) {
		if line["verdict"] == "allow" {
			allows = append(allows, line["service"])
		}
	}
	if len(allows) != 1 || allows[0] != "admin" {
		t.Errorf("allows of %v, want the operator's alone", allows)
	}

	log = filepath.Join(t.TempDir(), "away.jsonl")
	g := serve(t, "authz", "--policy", policy, "--audit", log, "--revocations", "redis://"+local(freePort(t)))
	eventually(t, "the store that is away is told", func() bool {
		data, _ := os.ReadFile(log)
		return strings.Contains(string(data), `"event":"store","outcome":"failed","part":"revocations"`)
	})
	g.signal(terminate)
	g.wait()
}
