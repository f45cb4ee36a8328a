package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pagesPolicy is a policy of which Envoy has to be told much: a rule that reads a body, one beside it that does not, web pages, headers for
// answers, a connection that is handed over.
const pagesPolicy = `version: 1
trust_domain: cluster.local
peers: envoy
issuers:
  shop:
    issuer: ISSUER
    jwks: ISSUER/jwks.json
    audiences: [orders-api]
    machine: token.sub == token.client_id
services:
  - name: orders
    hosts: [shop.test]
    edge: true
    workloads: [shop/orders]
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    cors: {origins: ["https://app.example", "https://*.preview.example"], headers: [authorization, content-type], credentials: true}
    security_headers: default
    rules:
      - {name: place, match: "POST /orders", owner: {of: body.customer, is: token.sub}}
      - {name: order, match: "PUT /orders/{id}", owner: {of: body.customer, is: token.sub}}
      - {name: photo, match: "PUT /orders/photo"}
      - {name: me, match: "GET /me"}
      - {name: catalogue, match: "GET /catalogue", public: true}
      - {name: live, match: "GET /live", upgrades: [websocket]}
`

// pin is who everybody is in these tests: the gates, the service and its callers.
const pin = "spiffe://cluster.local/ns/shop/sa/orders"

// rendered is a mesh whose Envoy runs with what sallyport envoy render wrote.
type rendered struct {
	*mesh
	kind        string
	certificate tls.Certificate
	listen      int
	client      *http.Client
	// calls are the requests that reached the service, reads those that only read.
	calls, reads atomic.Int64
	// length is how much of a body the service got last.
	length atomic.Int64
	user   atomic.Value
}

// maxBody is how long a body may be that a rule reads, in these tests.
const maxBody = 2000

// newRendered starts both gates under an identity of the mesh, the service, and an edge or a sidecar. Bend changes the written file.
func newRendered(t testing.TB, kind string, bend func(string) string) *rendered {
	t.Helper()
	return newRenderedOf(t, kind, pagesPolicy, bend)
}

// newRenderedOf does so for a policy of the test's own, in which ISSUER and DIR are filled in.
func newRenderedOf(t testing.TB, kind, policy string, bend func(string) string) *rendered {
	t.Helper()
	m := &rendered{mesh: &mesh{t: t, dir: t.TempDir()}, kind: kind, listen: freePort(t)}
	m.startIssuer()
	m.policy = filepath.Join(m.dir, "policy.yaml")
	write(t, m.policy, strings.NewReplacer("ISSUER", m.issuerAt.URL, "DIR", m.dir).Replace(policy))
	limits := filepath.Join(m.dir, "limits")
	if err := os.MkdirAll(limits, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(limits, "mesh.yaml"), generous)
	write(t, filepath.Join(limits, "edge.yaml"), edgeLimits)
	authority, certificate, key := meshCertificate(t, m.dir)
	var err error
	if m.certificate, err = tls.LoadX509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	secure := []string{"--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", authority, "--tls-client-ids", pin}
	m.authz = serve(t, "authz", append([]string{"--policy", m.policy, "--audit", filepath.Join(m.dir, "audit.jsonl")}, secure...)...)
	m.limits = serve(t, "ratelimit", append([]string{"--limits", limits, "--store", "memory", "--audit", "off"}, secure...)...)

	admin := freePort(t)
	args := []string{
		"envoy", "render", "--policy", m.policy, "--limits", limits, "--for", kind, "--max-request-bytes", strconv.Itoa(maxBody),
		"--admin-port", strconv.Itoa(admin), "--listen-port", strconv.Itoa(m.listen), "--access-log", filepath.Join(m.dir, "access.log"),
		"--mesh-cert", certificate, "--mesh-key", key, "--mesh-ca", authority,
		"--authz-host", "127.0.0.1", "--authz-port", strconv.Itoa(m.authz.listen), "--authz-id", pin,
		"--ratelimit-host", "127.0.0.1", "--ratelimit-port", strconv.Itoa(m.limits.listen), "--ratelimit-id", pin,
	}
	port := strconv.Itoa(m.startService())
	if kind == "edge" {
		args = append(args, "--tls-cert", certificate, "--tls-key", key, "--xff-trusted-hops", "0", "--upstream", "orders=127.0.0.1:"+port)
	} else {
		args = append(args, "--service", "orders", "--service-port", port, "--probe-port", strconv.Itoa(freePort(t)))
	}
	m.run(admin, args, bend)
	m.client = m.newClient()
	return m
}

// startService is the app: it says who it was told asks, and has headers of its own.
func (m *rendered) startService() int {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			m.calls.Add(1)
		} else {
			m.reads.Add(1)
		}
		if r.Header.Get("upgrade") != "" {
			w.Header().Set("connection", "upgrade")
			w.Header().Set("upgrade", "websocket")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		m.length.Store(n)
		m.user.Store(r.Header.Get("x-user-id"))
		w.Header().Set("cache-control", "public, max-age=60")
		w.Header().Set("content-security-policy", "default-src 'self'")
		w.Header().Set("referrer-policy", "same-origin")
		w.Header().Set("strict-transport-security", "max-age=0")
	})
	server := httptest.NewUnstartedServer(handler)
	if m.kind == "edge" {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{m.certificate}, MinVersion: tls.VersionTLS13}
		server.StartTLS()
	} else {
		server.Start()
	}
	m.t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

// run writes the configuration, has Envoy look at it, and starts it.
func (m *rendered) run(admin int, args []string, bend func(string) string) {
	m.t.Helper()
	cmd := exec.Command(sallyport(m.t), args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	config, err := cmd.Output()
	if err != nil {
		m.t.Fatalf("render: %v\n%s", err, complaint.String())
	}
	if bend != nil {
		config = []byte(bend(string(config)))
	}
	path := filepath.Join(m.dir, "envoy.yaml")
	write(m.t, path, string(config))
	if bend == nil {
		// Where we lint others, we lint ourselves.
		if said, err := exec.Command(sallyport(m.t), "envoy", "doctor", "--policy", m.policy, "--limits", filepath.Join(m.dir, "limits"), path).CombinedOutput(); err != nil {
			m.t.Errorf("doctor of what was rendered: %v\n%s", err, said)
		}
	}
	m.envoy = start(m.t, "envoy", tool(m.t, "SALLYPORT_ENVOY", "tools/bin/envoy"), "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--disable-hot-restart")
	eventually(m.t, "envoy is ready", func() bool {
		if m.envoy.ended() {
			m.t.Fatalf("envoy ended:\n%s", m.envoy.output.String())
		}
		status, _ := get(local(admin), "/ready")
		return status == http.StatusOK
	})
	// Both gates are known to be well before anybody asks.
	eventually(m.t, "envoy knows its gates", func() bool {
		_, text := get(local(admin), "/clusters")
		return strings.Count(text, "health_flags::healthy") >= 2
	})
}

// newClient comes with the mesh's certificate, and trusts everybody: what is tried is what Envoy demands.
func (m *rendered) newClient() *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{m.certificate}, MinVersion: tls.VersionTLS13}}
	m.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: patience, Transport: transport}
}

// send is one request. Headers are pairs; `host` is the request's.
func (m *rendered) send(method, path string, body []byte, headers ...string) answer {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+local(m.listen)+path, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Host = "shop.test"
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := m.client.Do(req)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return answer{status: resp.StatusCode, header: resp.Header}
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// audited is the last record of the gate.
func (m *rendered) audited() map[string]any {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, "audit.jsonl"))
	if err != nil {
		m.t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	record := map[string]any{}
	if err := json.Unmarshal(lines[len(lines)-1], &record); err != nil {
		m.t.Fatalf("%v in %s", err, lines[len(lines)-1])
	}
	return record
}

// order is a body of some length.
func order(customer string, length int) []byte {
	text := `{"customer":"` + customer + `","note":"`
	return []byte(text + strings.Repeat("x", length-len(text)-2) + `"}`)
}

// What was rendered holds for real: who may, whose it is, and how long a body may be; whatever stands in the way of reading it is a denial.
func TestRenderedBodies(t *testing.T) {
	for _, kind := range []string{"edge", "sidecar"} {
		t.Run(kind, func(t *testing.T) {
			m := newRendered(t, kind, nil)
			alice := []string{"authorization", "Bearer " + m.token("alice", ""), "content-type", "application/json"}
			var packed bytes.Buffer
			zip := gzip.NewWriter(&packed)
			_, _ = zip.Write(order("alice", 100)) // a buffer takes everything
			_ = zip.Close()
			for _, test := range []struct {
				name, method, path string
				body               []byte
				headers            []string
				want               int
				reason             string
			}{
				{"her own", "POST", "/orders", order("alice", 100), alice, 200, ""},
				{"as long as may be", "POST", "/orders", order("alice", maxBody), alice, 200, ""},
				{"one byte over", "POST", "/orders", order("alice", maxBody+1), alice, 413, "body_too_large"},
				{"far over", "POST", "/orders", order("alice", 300_000), alice, 413, "body_too_large"},
				{"another's", "POST", "/orders", order("bob", 100), alice, 403, "owner"},
				{"gzip", "POST", "/orders", packed.Bytes(), append([]string{"content-encoding", "gzip"}, alice...), 415, "media_type"},
				{"a pattern with a name", "PUT", "/orders/7", order("alice", 100), alice, 200, ""},
				{"a pattern with a name, one byte over", "PUT", "/orders/7", order("alice", maxBody+1), alice, 413, "body_too_large"},
				{"a pattern with a name, a query", "PUT", "/orders/7?x=/a", order("bob", 100), alice, 403, "owner"},
				{"a rule that reads no body, beside it", "PUT", "/orders/photo", order("bob", 300_000), alice, 200, ""},
				{"no rule", "POST", "/other", order("alice", 100), alice, 403, "no_rule"},
				{"no token", "POST", "/orders", order("alice", 100), alice[2:], 401, "no_token"},
			} {
				before := m.calls.Load()
				a := m.send(test.method, test.path, test.body, test.headers...)
				if a.status != test.want || a.reason() != test.reason || (m.calls.Load() > before) != (test.want == 200) {
					t.Errorf("%s: %d %s, want %d %s; the service was asked %d times", test.name, a.status, a.reason(), test.want, test.reason, m.calls.Load()-before)
				}
				if test.want == 200 && m.length.Load() != int64(len(test.body)) {
					t.Errorf("%s: the service got %d of %d bytes", test.name, m.length.Load(), len(test.body))
				}
			}
		})
	}
}

// A body whose first piece fills Envoy's bound looks whole to Envoy, which asks at once and sends the rest along. It is a part.
func TestRenderedBodiesInPieces(t *testing.T) {
	for _, kind := range []string{"edge", "sidecar"} {
		m := newRendered(t, kind, nil)
		whole := order("alice", 100)
		for name, test := range map[string]struct {
			first []byte
			rest  string
			want  int
		}{
			"within the bound":                  {whole, " ", 200},
			"as long as may be":                 {append(whole[:len(whole):len(whole)], bytes.Repeat([]byte{' '}, maxBody-101)...), " ", 200},
			"the first fills the bound":         {append(whole[:len(whole):len(whole)], bytes.Repeat([]byte{' '}, maxBody+1-100)...), `{"customer":"bob"}`, 413},
			"the first is as long as may be":    {append(whole[:len(whole):len(whole)], bytes.Repeat([]byte{' '}, maxBody-100)...), `{"customer":"bob"}`, 413},
			"the second contradicts the first":  {whole, `{"customer":"bob"}`, 400},
			"the second is where it would hide": {[]byte(`{"note":`), `"x","customer":"bob"}`, 403},
		} {
			before := m.calls.Load()
			if got := m.inPieces(test.first, []byte(test.rest)); got != test.want || (m.calls.Load() > before) != (test.want == 200) {
				t.Errorf("%s, %s: %d, want %d; the service was asked %d times", kind, name, got, test.want, m.calls.Load()-before)
			}
		}
	}
}

// inPieces sends a body of alice's in two chunks (RFC 9112 section 7.1), the second only once Envoy has the first and, if it asks early, has
// asked.
func (m *rendered) inPieces(first, second []byte) int {
	m.t.Helper()
	conn, err := tls.Dial("tcp", local(m.listen), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{m.certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS13})
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /orders HTTP/1.1\r\nhost: shop.test\r\nauthorization: Bearer %s\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n", m.token("alice", ""))
	fmt.Fprintf(conn, "%x\r\n%s\r\n", len(first), first)
	answered := make(chan int, 1)
	go func() {
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			answered <- 0
			return
		}
		_ = resp.Body.Close() // only the status matters
		answered <- resp.StatusCode
	}()
	// A request all the way there and back says that Envoy, which has one thread here, has read what came before it.
	m.send("GET", "/catalogue", nil)
	m.send("GET", "/catalogue", nil)
	fmt.Fprintf(conn, "%x\r\n%s\r\n0\r\n\r\n", len(second), second)
	select {
	case status := <-answered:
		return status
	case <-time.After(patience):
		m.t.Fatal("no answer")
		return 0
	}
}

// An answer carries the policy's headers: what must hold replaces the service's own, what it knows better stays, what it can only narrow
// stands beside it.
func TestRenderedSecurityHeaders(t *testing.T) {
	m := newRendered(t, "edge", nil)
	names := []string{"Strict-Transport-Security", "X-Content-Type-Options", "Content-Security-Policy", "Referrer-Policy", "Cache-Control"}
	got := func(a answer) []string {
		var values []string
		for _, name := range names {
			values = append(values, strings.Join(a.header.Values(name), " | "))
		}
		return values
	}
	token := m.send("GET", "/me", nil, "authorization", "Bearer "+m.token("alice", ""))
	want := []string{"max-age=31536000", "nosniff", "default-src 'self' | frame-ancestors 'none'", "same-origin", "no-store"}
	if diff := cmp.Diff(want, got(token)); diff != "" || token.status != 200 || m.user.Load() != "alice" {
		t.Errorf("to a token: %d, user %v\n%s", token.status, m.user.Load(), diff)
	}
	public := m.send("GET", "/catalogue", nil, "authorization", "Bearer "+m.token("alice", ""), "x-user-id", "root")
	want[4] = "public, max-age=60"
	if diff := cmp.Diff(want, got(public)); diff != "" || public.status != 200 || m.user.Load() != "" {
		t.Errorf("to anybody: %d, user %v\n%s", public.status, m.user.Load(), diff)
	}
	// A denial has its own, and nothing of these twice.
	denied := m.send("GET", "/me", nil)
	if diff := cmp.Diff([]string{"", "nosniff", "", "", "no-store"}, got(denied)); diff != "" || denied.status != 401 {
		t.Errorf("a denial: %d\n%s", denied.status, diff)
	}
}

// cors is what a browser gets to see. Without an Access-Control-Allow-Origin it looks no further.
func cors(a answer) string {
	origin := a.header.Get("access-control-allow-origin")
	if origin == "" {
		return strconv.Itoa(a.status)
	}
	return strings.TrimSpace(strconv.Itoa(a.status) + " " + origin + " " + a.header.Get("access-control-allow-methods"))
}

// Envoy answers a listed page's preflight itself, and that of another without saying that it may; nobody is asked. What follows carries its
// origin, denials too, so that the page can tell them.
func TestRenderedPreflights(t *testing.T) {
	m := newRendered(t, "edge", nil)
	preflight := func(origin, method string) string {
		return cors(m.send("OPTIONS", "/orders", nil, "origin", origin, "access-control-request-method", method))
	}
	for _, test := range []struct{ name, got, want string }{
		{"a listed page", preflight("https://app.example", "POST"), "200 https://app.example POST, PUT, GET"},
		{"a page of a listed domain", preflight("https://pr-7.preview.example", "POST"), "200 https://pr-7.preview.example POST, PUT, GET"},
		{"another page", preflight("https://evil.test", "POST"), "200"},
		{"a longer name", preflight("https://evilpreview.example", "POST"), "200"},
		{"null", preflight("null", "POST"), "200"},
		{"an allow", cors(m.send("GET", "/catalogue", nil, "origin", "https://app.example")), "200 https://app.example"},
		{"a denial", cors(m.send("GET", "/me", nil, "origin", "https://app.example")), "401 https://app.example"},
		{"a denial to another page", cors(m.send("GET", "/me", nil, "origin", "https://evil.test")), "401"},
		{"no preflight", cors(m.send("OPTIONS", "/orders", nil)), "403"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %q, want %q", test.name, test.got, test.want)
		}
	}
	if m.authz.metric("sallyport_authz_decisions_total", `reason="preflight"`) != 0 {
		t.Error("the gate was asked about a preflight")
	}
}

// Where the gate is asked first, as Istio does, a listed page's preflight passes it, and Envoy's cors filter behind it answers; another's is
// denied, and the service never hears of either.
func TestPreflightsWhereTheGateIsFirst(t *testing.T) {
	const cors1, router = "          - name: envoy.filters.http.cors\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}\n",
		"          - name: envoy.filters.http.router\n"
	m := newRendered(t, "edge", func(config string) string {
		bent := strings.Replace(strings.Replace(config, cors1, "", 1), router, cors1+router, 1)
		if bent == config || strings.Count(bent, cors1) != 1 {
			t.Fatal("the cors filter is not where this test looks for it")
		}
		return bent
	})
	send := func(path, origin, method string, more ...string) answer {
		return m.send("OPTIONS", path, nil, append([]string{"origin", origin, "access-control-request-method", method}, more...)...)
	}
	if a := send("/orders/7", "https://app.example", "PUT", "access-control-request-headers", "authorization,content-type", "x-user-id", "root"); cors(a) != "200 https://app.example POST, PUT, GET" {
		t.Errorf("a listed page: %q", cors(a))
	}
	if record := m.audited(); record["reason"] != "preflight" || record["rule"] != "order" || record["verdict"] != "allow" {
		t.Errorf("audited as %v", record)
	}
	for name, a := range map[string]answer{
		"another page":              send("/orders/7", "https://evil.test", "PUT"),
		"a path without a rule":     send("/nowhere", "https://app.example", "GET"),
		"a method without a rule":   send("/orders/7", "https://app.example", "DELETE"),
		"a header that is not":      send("/orders/7", "https://app.example", "PUT", "access-control-request-headers", "x-debug"),
		"a second origin":           send("/orders/7", "https://app.example", "PUT", "origin", "https://evil.test"),
		"an OPTIONS that asks none": m.send("OPTIONS", "/orders/7", nil, "origin", "https://app.example"),
	} {
		if a.status != 403 || a.reason() != "no_rule" {
			t.Errorf("%s: %d %s", name, a.status, a.reason())
		}
	}
	if m.calls.Load() != 0 {
		t.Errorf("the service was asked %d times", m.calls.Load())
	}
}

// Who stands behind a request is the peer: what a client writes into X-Forwarded-For counts for nothing unless the policy trusts the peer.
// Hosts that nobody answers to are refused by the gate, and a connection is handed over where the rule says so.
func TestRenderedEdgeKnowsItsClients(t *testing.T) {
	m := newRendered(t, "edge", nil)
	if a := m.send("GET", "/catalogue", nil, "x-forwarded-for", "203.0.113.9"); a.status != 200 {
		t.Fatal(a.status)
	}
	if record := m.audited(); record["address"] != "127.0.0.1" {
		t.Errorf("a forged X-Forwarded-For was believed: %v", record)
	}
	if a := m.send("GET", "/catalogue", nil, "host", "other.test"); a.status != 421 || a.reason() != "wrong_service" {
		t.Errorf("another host: %d %s", a.status, a.reason())
	}
	if a := m.send("GET", "/catalogue", nil, "host", "shop.test:8443"); a.status != 200 {
		t.Errorf("the host with a port: %d", a.status)
	}
	if a := m.send("GET", "/healthz", nil); a.status != 200 {
		t.Errorf("a probe: %d", a.status)
	}
	upgrade := []string{"connection", "upgrade", "upgrade", "websocket", "authorization", "Bearer " + m.token("alice", "")}
	if a := m.send("GET", "/live", nil, upgrade...); a.status != http.StatusSwitchingProtocols {
		t.Errorf("a websocket: %d %s", a.status, a.body)
	}
	if a := m.send("GET", "/me", nil, upgrade...); a.status != 403 {
		t.Errorf("a websocket where no rule takes one: %d", a.status)
	}
}
