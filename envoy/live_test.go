package envoy

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	authzID     = "spiffe://cluster.local/ns/sallyport/sa/authz"
	ratelimitID = "spiffe://cluster.local/ns/sallyport/sa/ratelimit"
	ordersID    = "spiffe://cluster.local/ns/shop/sa/orders"
	frontendID  = "spiffe://cluster.local/ns/web/sa/frontend"
)

// gate plays both gates: it lets everybody through, says who they are, and remembers what it was asked.
type gate struct {
	authv3.UnimplementedAuthorizationServer
	rlsv3.UnimplementedRateLimitServiceServer

	mu     sync.Mutex // guards checks and limits
	checks []*authv3.CheckRequest
	limits []*rlsv3.RateLimitRequest
}

func (g *gate) Check(_ context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checks = append(g.checks, req)
	said, err := structpb.NewStruct(map[string]any{"who": "user|shop|alice", "service": "orders", "rule": "list-orders"})
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
		DynamicMetadata: said,
	}, err
}

func (g *gate) ShouldRateLimit(_ context.Context, req *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.limits = append(g.limits, req)
	return &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}, nil
}

// taken returns what was asked since the last call, in order.
func (g *gate) taken() ([]*authv3.CheckRequest, []*rlsv3.RateLimitRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	checks, limits := g.checks, g.limits
	g.checks, g.limits = nil, nil
	return checks, limits
}

// serve runs the gate under an identity of the mesh until the test ends or stop is called; it wants a client
// certificate and TLS 1.3, as the real ones do.
func (g *gate) serve(t *testing.T, m *mesh, id string) (port string, stop func()) {
	t.Helper()
	return g.listen(t, grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.certificate(t, id)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.pool,
	})))
}

// listen runs the gate on loopback; without options in plaintext, as the demo does.
func (g *gate) listen(t *testing.T, options ...grpc.ServerOption) (port string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	authv3.RegisterAuthorizationServer(server, g)
	rlsv3.RegisterRateLimitServiceServer(server, g)
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }() // ends with an error of its own when the test stops it
	t.Cleanup(server.Stop)
	return portOf(t, listener.Addr()), server.Stop
}

func portOf(t *testing.T, addr net.Addr) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// upstream is the service behind: it remembers each request and answers 200.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex // guards seen
	seen []*http.Request
}

func newUpstream(t *testing.T, config *tls.Config) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.seen = append(u.seen, r)
	}))
	if config == nil {
		u.Start()
	} else {
		u.TLS, u.EnableHTTP2 = config, true
		u.StartTLS()
	}
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) taken() []*http.Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	seen := u.seen
	u.seen = nil
	return seen
}

// startEnvoy runs the real Envoy with a file of this package until the test ends.
func startEnvoy(t *testing.T, file string, values map[string]string) {
	t.Helper()
	rendered, err := Render(file, values)
	if err != nil {
		t.Fatal(err)
	}
	startEnvoyOf(t, file, rendered, values)
}

// startEnvoyOf runs it with a file of this package that a test has changed.
func startEnvoyOf(t *testing.T, file string, rendered []byte, values map[string]string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(config, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(envoyBinary(t), "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // how it ended is read from its log, and only if the test failed
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an Envoy that has ended already is what is wanted
		<-ended
		if t.Failed() {
			t.Logf("Envoy said:\n%s", log.String())
		}
	})
	waitUntilReady(t, "http://127.0.0.1:"+values["ADMIN_PORT"]+"/ready", ended)
}

func waitUntilReady(t *testing.T, url string, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			_ = resp.Body.Close() // only the status matters
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ended:
			t.Fatal("Envoy ended before it was ready")
		case <-ctx.Done():
			t.Fatal("Envoy is not ready")
		case <-tick.C:
		}
	}
}

// freePorts gives each port of a file one that nobody listens on.
func freePorts(t *testing.T, file string, values map[string]string) {
	t.Helper()
	holes, err := Placeholders(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, hole := range holes {
		if hole.Kind != KindPort {
			continue
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // held until all are chosen, so that no two are the same
		values[hole.Name] = portOf(t, listener.Addr())
	}
}

// ask sends one request and returns the status, or 0 when no answer came.
func ask(t *testing.T, client *tls.Config, method, url string, header http.Header) int {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: client, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Logf("%s %s: %v", method, url, err)
		return 0
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// client is a TLS client that trusts anybody: these tests are about what Envoy demands.
func client(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: certificates}
}

func descriptors(req *rlsv3.RateLimitRequest) []string {
	var found []string
	for _, descriptor := range req.GetDescriptors() {
		found = append(found, describe(descriptor))
	}
	return found
}

func describe(descriptor *commonv3.RateLimitDescriptor) string {
	text := ""
	for _, entry := range descriptor.GetEntries() {
		text += fmt.Sprintf("(%s=%s)", entry.GetKey(), entry.GetValue())
	}
	return text
}

var threeOfTheMesh = []string{"(who=user|shop|alice)", "(service=orders)(rule=list-orders)", "(service=orders)(rule=list-orders)(who=user|shop|alice)"}

// sidecar starts sidecar.yaml in front of an upstream, with the gates under the given identities.
func sidecar(t *testing.T, authz, ratelimit string) (values map[string]string, m *mesh, g *gate, u *upstream, stop func()) {
	t.Helper()
	return changedSidecar(t, authz, ratelimit, func(text string) string { return text })
}

// changedSidecar is sidecar with a change of its file.
func changedSidecar(t *testing.T, authz, ratelimit string, change func(string) string) (values map[string]string, m *mesh, g *gate, u *upstream, stop func()) {
	t.Helper()
	m, g, u = newMesh(t), &gate{}, newUpstream(t, nil)
	values = m.values(t, "sidecar.yaml")
	freePorts(t, "sidecar.yaml", values)
	values["SERVICE_PORT"] = portOf(t, u.Listener.Addr())
	values["LIVENESS_PATH"], values["READINESS_PATH"] = "/healthz", "/ready"
	values["AUTHZ_ID"], values["RATELIMIT_ID"] = authzID, ratelimitID
	values["AUTHZ_PORT"], stop = g.serve(t, m, authz)
	values["RATELIMIT_PORT"], _ = g.serve(t, m, ratelimit)
	rendered, err := Render("sidecar.yaml", values)
	if err != nil {
		t.Fatal(err)
	}
	startEnvoyOf(t, "sidecar.yaml", []byte(change(string(rendered))), values)
	return values, m, g, u, stop
}

func TestSidecarAsksBothGates(t *testing.T) {
	values, m, g, u, stopAuthz := sidecar(t, authzID, ratelimitID)
	url := "https://127.0.0.1:" + values["LISTEN_PORT"] + "/users/alice/orders"
	frontend := client(m.certificate(t, frontendID))

	// A workload of the mesh: the first gate hears the pin and who calls, the second three descriptors, and what would
	// steer Envoy or mislead the service is gone.
	status := ask(t, frontend, http.MethodGet, url, http.Header{"X-Envoy-Max-Retries": {"9"}, "X-Envoy-Auth-Partial-Body": {"false"}, "X-Forwarded-For": {"192.0.2.1"}})
	checks, limits := g.taken()
	seen := u.taken()
	if status != http.StatusOK || len(checks) != 1 || len(limits) != 1 || len(seen) != 1 {
		t.Fatalf("status %d, %d checks, %d limits, %d requests at the service", status, len(checks), len(limits), len(seen))
	}
	attributes := checks[0].GetAttributes()
	if diff := cmp.Diff(map[string]string{"service": "orders"}, attributes.GetContextExtensions()); diff != "" {
		t.Errorf("context extensions:\n%s", diff)
	}
	if got := attributes.GetSource().GetPrincipal(); got != frontendID {
		t.Errorf("principal %q", got)
	}
	if len(attributes.GetRequest().GetHttp().GetHeaderMap().GetHeaders()) == 0 || len(attributes.GetRequest().GetHttp().GetHeaders()) != 0 {
		t.Error("headers did not come raw")
	}
	for _, header := range attributes.GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if isSteering(header) {
			t.Errorf("the gate was told %s", header.GetKey())
		}
	}
	for _, name := range []string{"X-Envoy-Max-Retries", "X-Envoy-Auth-Partial-Body"} {
		if _, there := seen[0].Header[name]; there {
			t.Errorf("the service was told %s", name)
		}
	}
	if limits[0].GetDomain() != "mesh" {
		t.Errorf("domain %q", limits[0].GetDomain())
	}
	if diff := cmp.Diff(threeOfTheMesh, descriptors(limits[0])); diff != "" {
		t.Errorf("descriptors:\n%s", diff)
	}

	// Nobody else comes in: no certificate, another authority's, another trust domain's, a DNS name that spells an ID.
	for name, stranger := range map[string]*tls.Config{
		"no certificate":       client(),
		"another authority":    client(newMesh(t).certificate(t, frontendID)),
		"another trust domain": client(m.certificate(t, "spiffe://other.test/ns/web/sa/frontend")),
		"a longer name":        client(m.certificate(t, "spiffe://cluster.local.evil.test/ns/web/sa/frontend")),
		"a DNS name":           client(m.certificate(t, "frontend.web.svc.cluster.local")),
	} {
		if status := ask(t, stranger, http.MethodGet, url, nil); status != 0 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if checks, _ := g.taken(); len(checks) != 0 || len(u.taken()) != 0 {
		t.Error("a stranger got as far as a gate or the service")
	}

	// Without the first gate: 503, and the service is not called.
	stopAuthz()
	if status := ask(t, frontend, http.MethodGet, url, nil); status != http.StatusServiceUnavailable || len(u.taken()) != 0 {
		t.Errorf("without the gate: %d", status)
	}
}

// isSteering tells the headers by which a client would steer Envoy, or speak in its name. Envoy's own are not among them.
func isSteering(header *corev3.HeaderValue) bool {
	switch header.GetKey() {
	case "x-envoy-max-retries", "x-envoy-auth-partial-body":
		return true
	}
	return false
}

// Whoever answers where a gate should be is not asked, unless it has the gate's identity.
func TestSidecarKnowsItsGates(t *testing.T) {
	for name, ids := range map[string][2]string{"authz": {ordersID, ratelimitID}, "ratelimit": {authzID, ordersID}} {
		values, m, _, u, _ := sidecar(t, ids[0], ids[1])
		url := "https://127.0.0.1:" + values["LISTEN_PORT"] + "/users/alice/orders"
		if status := ask(t, client(m.certificate(t, frontendID)), http.MethodGet, url, nil); status != http.StatusServiceUnavailable || len(u.taken()) != 0 {
			t.Errorf("with another workload in the place of %s: %d", name, status)
		}
	}
}

// The kubelet's door: two paths, GET, as they are written. No gate is asked, and whoever comes is nobody.
func TestProbeListener(t *testing.T) {
	values, _, g, u, stopAuthz := sidecar(t, authzID, ratelimitID)
	stopAuthz()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/healthz", 200},
		{http.MethodGet, "/ready", 200},
		{http.MethodGet, "/healthz?verbose", 404},
		{http.MethodGet, "/healthz/", 404},
		{http.MethodGet, "/HEALTHZ", 404},
		{http.MethodGet, "/healthz/x", 404},
		{http.MethodGet, "/healthz;x", 404},
		{http.MethodGet, "/users/alice/orders", 404},
		{http.MethodGet, "/", 404},
		{http.MethodGet, "/healthz%2f..", 400},
		{http.MethodHead, "/healthz", 404},
		{http.MethodPost, "/healthz", 404},
		{http.MethodDelete, "/ready", 404},
	} {
		url := "http://127.0.0.1:" + values["PROBE_PORT"] + c.path
		got := ask(t, nil, c.method, url, http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=b"}})
		seen := u.taken()
		if got != c.want || (len(seen) == 1) != (c.want == 200) {
			t.Errorf("%s %s: %d, want %d; %d requests at the app", c.method, c.path, got, c.want, len(seen))
		}
		for _, r := range seen {
			if r.RequestURI != c.path || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
				t.Errorf("%s %s: the app got %s with %v", c.method, c.path, r.RequestURI, r.Header)
			}
		}
	}
	if checks, limits := g.taken(); len(checks) != 0 || len(limits) != 0 {
		t.Errorf("probes asked the gates: %d checks, %d limits", len(checks), len(limits))
	}
}

// The edge limits by the client's true address first, then asks as the sidecar does, and chooses the service by Host.
func TestEdgeAsksByAddressFirst(t *testing.T) {
	m, g := newMesh(t), &gate{}
	u := newUpstream(t, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.certificate(t, ordersID)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.pool,
	})
	values := m.values(t, "edge.yaml")
	freePorts(t, "edge.yaml", values)
	values["SERVICE_PORT"], values["SERVICE_ID"] = portOf(t, u.Listener.Addr()), ordersID
	values["AUTHZ_ID"], values["RATELIMIT_ID"] = authzID, ratelimitID
	values["AUTHZ_PORT"], _ = g.serve(t, m, authzID)
	var stopLimiter func()
	values["RATELIMIT_PORT"], stopLimiter = g.serve(t, m, ratelimitID)
	values["XFF_TRUSTED_HOPS"] = strconv.Itoa(1)
	startEnvoy(t, "edge.yaml", values)
	url := "https://127.0.0.1:" + values["LISTEN_PORT"] + "/users/alice/orders"

	// What stands left of the trusted hop's word is the client's own.
	status := ask(t, client(), http.MethodGet, url, http.Header{"X-Forwarded-For": {"198.51.100.9, 203.0.113.7"}})
	checks, limits := g.taken()
	if seen := u.taken(); status != http.StatusOK || len(checks) != 1 || len(limits) != 2 || len(seen) != 1 {
		t.Fatalf("status %d, %d checks, %d limits, %d requests at the service", status, len(checks), len(limits), len(seen))
	}
	if got := checks[0].GetAttributes().GetContextExtensions(); len(got) != 0 {
		t.Errorf("the edge pins %v", got)
	}
	if diff := cmp.Diff([]string{"(masked_remote_address=203.0.113.7/32)"}, descriptors(limits[0])); diff != "" || limits[0].GetDomain() != "edge" {
		t.Errorf("first, in domain %q:\n%s", limits[0].GetDomain(), diff)
	}
	if diff := cmp.Diff(threeOfTheMesh, descriptors(limits[1])); diff != "" || limits[1].GetDomain() != "mesh" {
		t.Errorf("then, in domain %q:\n%s", limits[1].GetDomain(), diff)
	}

	// Without the limiter: 503, and nobody else is asked.
	stopLimiter()
	status = ask(t, client(), http.MethodGet, url, nil)
	if checks, _ := g.taken(); status != http.StatusServiceUnavailable || len(checks) != 0 || len(u.taken()) != 0 {
		t.Errorf("without the limiter: %d, %d checks", status, len(checks))
	}
}

// The demo's three doors: one asks as the edge does, one as the sidecar does, one asks nobody.
func TestDemoHasThreeDoors(t *testing.T) {
	m, g, u := newMesh(t), &gate{}, newUpstream(t, nil)
	values := m.values(t, "demo.yaml")
	freePorts(t, "demo.yaml", values)
	values["SERVICE_PORT"] = portOf(t, u.Listener.Addr())
	values["AUTHZ_PORT"], _ = g.listen(t)
	values["RATELIMIT_PORT"], _ = g.listen(t)
	startEnvoy(t, "demo.yaml", values)
	from := http.Header{"X-Forwarded-For": {"203.0.113.7"}}
	for _, c := range []struct {
		url    string
		client *tls.Config
		pin    map[string]string
		first  []string // what the limiter is asked before the gate
		gated  bool
	}{
		{url: "http://127.0.0.1:" + values["GATED_PORT"] + "/orders/1", first: []string{"(masked_remote_address=203.0.113.7/32)"}, gated: true},
		{url: "https://127.0.0.1:" + values["MESH_PORT"] + "/orders/1", client: client(m.certificate(t, frontendID)), pin: map[string]string{"service": "orders"}, gated: true},
		{url: "http://127.0.0.1:" + values["UNGATED_PORT"] + "/orders/1"},
	} {
		status := ask(t, c.client, http.MethodGet, c.url, from)
		checks, limits := g.taken()
		if status != http.StatusOK || len(u.taken()) != 1 || (len(checks) == 1) != c.gated {
			t.Errorf("%s: status %d, %d checks", c.url, status, len(checks))
			continue
		}
		var asked []string
		for _, limit := range limits {
			asked = append(asked, descriptors(limit)...)
		}
		want := c.first
		if c.gated {
			want = append(want, threeOfTheMesh...)
			if diff := cmp.Diff(c.pin, checks[0].GetAttributes().GetContextExtensions()); diff != "" {
				t.Errorf("%s: context extensions:\n%s", c.url, diff)
			}
		}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Errorf("%s: descriptors:\n%s", c.url, diff)
		}
	}
}
