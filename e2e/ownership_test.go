package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/owner/openfga/openfgatest"
	"github.com/sallyport-dev/sallyport/authz/owner/sql/postgrestest"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// ownedPolicy has orders whose owners a lookup knows.
func ownedPolicy(lookup string) func(issuerURL string) string {
	return func(issuerURL string) string {
		return strings.NewReplacer("ISSUER", issuerURL, "LOCAL", localAddresses(), "LOOKUP", lookup).Replace(`version: 1
trusted_proxies: [LOCAL]
issuers:
  shop:
    issuer: ISSUER
    jwks: ISSUER/jwks.json
    audiences: [orders-api]
    machine: token.sub == token.client_id
lookups:
  orders:
    timeout: 500ms
    LOOKUP
services:
  - name: orders
    hosts: [shop.test]
    edge: true
    rules:
      - {name: read, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub}}
      - {name: secret, match: "GET /secrets/{id}", owner: {of: path.id, lookup: orders, is: token.sub, otherwise: 404}}
      - {name: list, match: GET /orders, owner: {of: "query.ids[,]", lookup: orders, is: token.sub}}
      - {name: delete, match: POST /orders:delete, owner: {of: "body.ids[*]", lookup: orders, is: token.sub}}
      - {name: gone, match: GET /gone, deny: 404}
`)
	}
}

// post sends a body through Envoy.
func (m *mesh) post(path, token, kind string, body io.Reader, headers ...string) answer {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+local(m.gated)+path, body)
	if err != nil {
		m.t.Fatal(err)
	}
	req.Host = "shop.test"
	req.Header.Set("authorization", "Bearer "+token)
	if kind != "" {
		req.Header.Set("content-type", kind)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		m.t.Fatalf("POST %s: %v", path, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// Whose orders are: o-1 and o-2 are alice's, o-3 is bob's. Each lookup that knows it gives the same answers.
func holdsOwners(t *testing.T, m *mesh) {
	t.Helper()
	alice := m.token("alice", "")
	gone := m.expect(http.StatusNotFound, "/gone", "")
	for path, want := range map[string]string{
		"/orders/o-1": "200 ", "/orders/o-3": "403 owner", "/orders/o-9": "403 owner", "/orders?ids=o-1,o-2": "200 ", "/orders?ids=o-1,o-3": "403 owner",
		"/orders?ids=": "403 owner", "/orders": "400 bad_parameter", "/secrets/o-1": "200 ", "/secrets/o-3": "404 not_found", "/secrets/o-9": "404 not_found",
	} {
		a := m.call(path, alice)
		if got := fmt.Sprintf("%d %s", a.status, a.reason()); got != want {
			t.Errorf("%s: %s, want %s: %s", path, got, want, a.body)
		}
		if a.status == http.StatusNotFound {
			for name := range gone.header {
				if name != "Date" && a.header.Get(name) == "" {
					t.Errorf("%s lacks %s, which what is not there has", path, name)
				}
			}
			if len(a.header) != len(gone.header) || len(a.body) != len(gone.body) {
				t.Errorf("%s can be told from what is not there: %v, %s", path, a.header, a.body)
			}
		}
	}
	if a := m.call("/orders/o-3", m.token("bob", "")); a.status != http.StatusOK {
		t.Errorf("bob and his own: %d %s", a.status, a.body)
	}
}

// Owners in Redis, and what happens when it goes.
func TestOwnersInRedis(t *testing.T) {
	valkey := storetest.RunValkey(t)
	fill := redis.NewClient(&redis.Options{Addr: valkey.Addr})
	defer fill.Close()
	for id, owner := range map[string]string{"o-1": "alice", "o-2": "alice", "o-3": "bob"} {
		if err := fill.Set(t.Context(), "owner:order:"+id, owner, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	m := newMesh(t, meshOptions{policy: ownedPolicy(`redis: {url: "redis://` + valkey.Addr + `/0", key: "owner:order:{id}"}`)})
	holdsOwners(t, m)
	alice := m.token("alice", "")
	valkey.Kill()
	for _, path := range []string{"/orders/o-1", "/orders/o-3", "/secrets/o-3", "/secrets/o-1"} {
		if a := m.call(path, alice); a.status != http.StatusServiceUnavailable || a.reason() != "lookup" {
			t.Errorf("%s while Redis is away: %d %s", path, a.status, a.reason())
		}
	}
	within(t, 60*time.Second, "the gate says that the lookup is away", func() bool {
		_, body := get(local(m.authz.admin), "/readyz")
		return strings.Contains(body, "lookup:orders")
	})
	if status, _ := get(local(m.authz.admin), "/readyz"); status != http.StatusOK {
		t.Errorf("a gate whose lookup is away is not ready: %d", status)
	}
}

// listens waits until somebody takes connections there.
func listens(t *testing.T, p *process, address string) {
	t.Helper()
	eventually(t, p.name+" listens", func() bool {
		if p.ended() {
			t.Fatalf("%s ended:\n%s", p.name, p.output.String())
		}
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// Owners known to a service of the team's own, which speaks owner/v1, and what happens when it goes.
func TestOwnersInAService(t *testing.T) {
	facts := filepath.Join(t.TempDir(), "facts.yaml")
	write(t, facts, "facts:\n  - {issuer: shop, subject: alice, objects: [o-1, o-2]}\n  - {issuer: shop, subject: bob, objects: [o-3]}\n")
	address := local(freePort(t))
	server := start(t, "example-owner", tool(t, "SALLYPORT_EXAMPLE_OWNER", "bin/example-owner"), "--listen", address, "--facts", facts)
	listens(t, server, address)
	conform := exec.Command(sallyport(t), "lookup", "conform", "--address", address, "--facts", facts)
	if out, err := conform.CombinedOutput(); err != nil {
		t.Errorf("the example server does not conform: %v\n%s", err, out)
	}
	m := newMesh(t, meshOptions{policy: ownedPolicy(`grpc: {address: "` + address + `"}`)})
	holdsOwners(t, m)
	server.kill()
	within(t, 60*time.Second, "the lookup is away", func() bool {
		return m.call("/orders/o-1", m.token("alice", "")).reason() == "lookup"
	})
}

// Owners in PostgreSQL, asked read only, and what happens when it goes.
func TestOwnersInPostgreSQL(t *testing.T) {
	db := postgrestest.Start(t)
	db.Exec(t, "CREATE TABLE orders (id text PRIMARY KEY, owner text)", "INSERT INTO orders VALUES ('o-1', 'alice'), ('o-2', 'alice'), ('o-3', 'bob')")
	m := newMesh(t, meshOptions{policy: ownedPolicy(`sql: {url: "` + db.URL + `", password_file: ` + db.PasswordFile + `, query: "SELECT id, owner FROM orders WHERE id = ANY(@ids)"}`)})
	holdsOwners(t, m)
	db.Kill()
	if a := m.call("/orders/o-1", m.token("alice", "")); a.status != http.StatusServiceUnavailable || a.reason() != "lookup" {
		t.Errorf("while PostgreSQL is away: %d %s", a.status, a.reason())
	}
}

// Owners known to a service that answers in JSON.
func TestOwnersOverHTTP(t *testing.T) {
	owners := map[string]string{"o-1": "alice", "o-2": "alice", "o-3": "bob"}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		owner, ok := owners[strings.TrimPrefix(r.URL.Path, "/owners/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"order":{"owner":%q}}`, owner)
	}))
	defer service.Close()
	holdsOwners(t, newMesh(t, meshOptions{policy: ownedPolicy(`http: {url: "` + service.URL + `/owners/{id}", owner: order.owner}`)}))
}

// Owners known to OpenFGA.
func TestOwnersInOpenFGA(t *testing.T) {
	fga := openfgatest.Start(t)
	fga.WriteModel(t, openfgatest.Documents)
	fga.WriteTuples(t,
		openfgatest.Tuple{User: "user:alice", Relation: "owner", Object: "document:o-1"}, openfgatest.Tuple{User: "user:alice", Relation: "owner", Object: "document:o-2"},
		openfgatest.Tuple{User: "user:bob", Relation: "owner", Object: "document:o-3"})
	policy := ownedPolicy(`openfga: {url: "` + fga.URL + `", store: ` + fga.Store + `, model: ` + fga.Model + `, type: document}`)
	m := newMesh(t, meshOptions{policy: func(issuerURL string) string {
		return strings.ReplaceAll(policy(issuerURL), "lookup: orders,", "lookup: orders, relation: owner,")
	}})
	holdsOwners(t, m)
	fga.Kill()
	if a := m.call("/orders/o-1", m.token("alice", "")); a.status != http.StatusServiceUnavailable || a.reason() != "lookup" {
		t.Errorf("while OpenFGA is away: %d %s", a.status, a.reason())
	}
}

// A lookup that cannot be opened keeps the policy that runs, and one that can takes its place.
func TestLookupsReload(t *testing.T) {
	m := newMesh(t, meshOptions{policy: ownedPolicy(`static: {o-1: alice}`)})
	alice := m.token("alice", "")
	m.expect(http.StatusOK, "/orders/o-1", alice)
	write(t, m.policy, ownedPolicy(`sql: {url: "postgres://u@db/d", query: "SELECT id, owner FROM o WHERE id = ANY(@ids)"}`)(m.issuerAt.URL))
	eventually(t, "the new policy is refused", func() bool { return strings.Contains(m.authz.output.String(), "cannot be opened") })
	m.expect(http.StatusOK, "/orders/o-1", alice)
	if _, body := get(local(m.authz.admin), "/readyz"); !strings.Contains(body, "what was in force stays in force") {
		t.Errorf("/readyz: %s", body)
	}
	write(t, m.policy, ownedPolicy(`static: {o-1: bob}`)(m.issuerAt.URL))
	eventually(t, "the next one is in force", func() bool { return m.call("/orders/o-1", alice).status == http.StatusForbidden })
}

// An id in a body is judged as it is, whole, or not at all.
func TestOwnersInBodies(t *testing.T) {
	m := newMesh(t, meshOptions{policy: ownedPolicy(`static: {o-1: alice, o-2: alice, o-3: bob}`)})
	holdsOwners(t, m)
	alice := m.token("alice", "")
	whole := func(text string) io.Reader { return strings.NewReader(text) }
	chunked := func(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) } // of a length that nobody knows
	for _, test := range []struct {
		name, kind string
		body       io.Reader
		headers    []string
		want       string
	}{
		{"her own", "application/json", whole(`{"ids":["o-1","o-2"]}`), nil, "200 "},
		{"in chunks", "application/json", chunked(`{"ids":["o-1","o-2"]}`), nil, "200 "},
		{"one of bob's", "application/json", whole(`{"ids":["o-1","o-3"]}`), nil, "403 owner"},
		{"one of bob's, in chunks", "application/json", chunked(`{"ids":["o-1","o-3"]}`), nil, "403 owner"},
		{"a second list", "application/json", whole(`{"ids":["o-1"],"ids":["o-3"]}`), nil, "400 bad_body"},
		{"a list in capitals", "application/json", whole(`{"ids":["o-1"],"IDS":["o-3"]}`), nil, "400 bad_body"},
		{"none", "application/json", whole(`{"ids":[]}`), nil, "400 bad_body"},
		{"no list", "application/json", whole(`{"ids":"o-3"}`), nil, "400 bad_body"},
		{"no JSON", "application/json", whole(`ids=o-1`), nil, "400 bad_body"},
		{"bytes that are no UTF-8", "application/json", whole("{\"ids\":[\"o-1\"],\"note\":\"\xff\"}"), nil, "400 bad_body"},
		{"an exclamation mark", "application/json", whole(`{"ids":["o-1"],"note":"hi!"}`), nil, "200 "},
		{"no body", "application/json", nil, nil, "400 bad_body"},
		{"a form", "application/x-www-form-urlencoded", whole(`ids=o-1`), nil, "415 media_type"},
		{"no type", "", whole(`{"ids":["o-1"]}`), nil, "415 media_type"},
		{"compressed", "application/json", whole("\x1f\x8b\x08"), []string{"content-encoding", "gzip"}, "415 media_type"},
		{"a forged mark", "application/json", whole(`{"ids":["o-1"]}`), []string{"x-envoy-auth-partial-body", "true"}, "200 "},
		{"much more than Envoy holds", "application/json", bytes.NewReader(append([]byte(`{"ids":["o-1"],"x":"`), bytes.Repeat([]byte("a"), 5<<20)...)), nil, "413 body_too_large"},
		{"more than Envoy holds", "application/json", bytes.NewReader(append([]byte(`{"ids":["o-1"],"x":"`), bytes.Repeat([]byte("a"), 70<<10)...)), nil, "413 body_too_large"},
	} {
		before := m.upstream.calls.Load()
		a := m.post("/orders:delete", alice, test.kind, test.body, test.headers...)
		if got := fmt.Sprintf("%d %s", a.status, a.reason()); got != test.want {
			t.Errorf("%s: %s, want %s: %s", test.name, got, test.want, a.body)
		}
		if called := m.upstream.calls.Load() > before; called != (a.status == http.StatusOK) {
			t.Errorf("%s: the upstream was called: %v", test.name, called)
		}
	}
}

// Who asks a running gate why is told every step, by the answer's decision ID or the request's own name, and no secret.
func TestWhy(t *testing.T) {
	socket := "unix:" + filepath.Join(shortDir(t), "admin.sock")
	m := newMesh(t, meshOptions{policy: ownedPolicy(`static: {o-1: alice, o-3: bob}`), authz: []string{"--admin-api", socket, "--why", "100"}})
	alice := m.token("alice", "")
	a := m.post("/orders:delete?note=canary", alice, "application/json", strings.NewReader(`{"ids":["o-1","o-3"],"note":"canary"}`))
	if a.status != http.StatusForbidden {
		t.Fatalf("%d %s", a.status, a.body)
	}
	_, id, _ := strings.Cut(a.body, `"decision_id":"`)
	id, _, _ = strings.Cut(id, `"`)
	ask := func(args ...string) (string, int) {
		cmd := exec.Command(sallyport(t), append([]string{"why", "--admin-api", socket}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	told, code := ask(id)
	for _, want := range []string{"DENY  403 owner (not_theirs)", "POST shop.test /orders:delete?note=…", "owner       FAILED", `found "o-3" (of 2)`, "policy.yaml:", "what would have allowed it: every body.ids[*] owned by token.sub, as orders (static) knows", id} {
		if !strings.Contains(told, want) {
			t.Errorf("it does not say %q:\n%s", want, told)
		}
	}
	if code != 0 || strings.Contains(told, "canary") || strings.Contains(told, alice) {
		t.Errorf("code %d:\n%s", code, told)
	}
	_, requestID, _ := strings.Cut(told, "request id  ")
	requestID, _, _ = strings.Cut(requestID, "\n")
	if again, code := ask("--request-id", requestID, "--json"); code != 0 || !strings.Contains(again, `"decision_id": "`+id+`"`) {
		t.Errorf("by the request's name %q: code %d:\n%s", requestID, code, again)
	}
	if text, code := ask("NOTHING"); code != 1 || !strings.Contains(text, "no denial") {
		t.Errorf("a decision that nobody made: code %d:\n%s", code, text)
	}
}

// shortDir is a folder whose path is short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
