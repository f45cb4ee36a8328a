package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz/issuer"
	"github.com/sallyport-dev/sallyport/envoy"
)

// patience bounds every wait for something that was promised sooner. It measures nothing: it only ends a test that would hang.
const patience = 30 * time.Second

// tool is the path of a program that `make test` provides.
func tool(t testing.TB, variable, fallback string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join("..", "build", filepath.FromSlash(fallback))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s: run `make build tools` (%s says where it is)", err, variable)
	}
	return path
}

func sallyport(t testing.TB) string { return tool(t, "SALLYPORT_BIN", "bin/sallyport") }

// process is one server under test. Its output is shown when the test fails.
type process struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	output lockedBuffer
	done   chan struct{}
	err    error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a program until the test ends.
func start(t testing.TB, name, path string, args ...string) *process {
	t.Helper()
	return startInto(t, nil, name, path, args...)
}

// startInto is start with a standard output of the test's own, which is closed here once the program has it. Nil: beside the log.
func startInto(t testing.TB, stdout *os.File, name, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if stdout != nil {
		defer stdout.Close()
		p.cmd.Stdout = stdout
	}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + os.TempDir()}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("--- %s said:\n%s", name, tail(p.output.String(), 6000))
		}
	})
	return p
}

func tail(s string, n int) string {
	if len(s) > n {
		return "..." + s[len(s)-n:]
	}
	return s
}

// kill ends the process without asking it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// signal asks the process something.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

// wait returns the exit code, once the process has ended by itself.
func (p *process) wait() int {
	p.t.Helper()
	return p.waitFor(patience)
}

func (p *process) waitFor(long time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(long):
		p.t.Fatalf("%s does not end:\n%s", p.name, tail(p.output.String(), 4000))
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		return exit.ExitCode()
	}
	if p.err != nil {
		p.t.Fatalf("wait for %s: %v", p.name, p.err)
	}
	return 0
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// eventually asks again until the answer is yes.
func eventually(t testing.TB, what string, yes func() bool) {
	t.Helper()
	within(t, patience, what, yes)
}

// within is eventually for what was promised sooner: five times as long as the promise is no measurement, and still holds it.
func within(t testing.TB, long time.Duration, what string, yes func() bool) {
	t.Helper()
	deadline := time.NewTimer(long)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// freePort is a port of loopback that nobody has just now.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	if _, taken := portsGiven.LoadOrStore(port, true); taken {
		return freePort(t) // the kernel gives a port again as soon as it is let go
	}
	return port
}

// portsGiven are the ports that somebody here is about to listen on.
var portsGiven sync.Map

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// client follows no redirect: an answer is judged as it came.
var client = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// get asks an admin port.
func get(address, path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

// write puts a file in place as an editor does: whole, by a rename.
func write(t testing.TB, path, text string) {
	t.Helper()
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, path); err != nil {
		t.Fatal(err)
	}
}

// upstream is a service that believes whatever it is told, and counts how often it is asked.
type upstream struct {
	*httptest.Server
	calls atomic.Int64
	mu    sync.Mutex
	last  http.Header
	path  string
}

func newUpstream(t testing.TB) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.calls.Add(1)
		u.mu.Lock()
		u.last, u.path = r.Header.Clone(), r.RequestURI
		u.mu.Unlock()
		w.Header().Set("content-type", "text/plain")
		_, _ = io.WriteString(w, "served\n")
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) seen() (http.Header, string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last, u.path
}

func portOf(t testing.TB, url string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gate is a running sallyport authz or ratelimit.
type gate struct {
	*process
	listen, admin int
}

// serve starts a gate and waits until it says that it is ready.
func serve(t testing.TB, command string, args ...string) *gate {
	t.Helper()
	g := launch(t, command, freePort(t), args...)
	g.ready()
	return g
}

func launch(t testing.TB, command string, listen int, args ...string) *gate {
	t.Helper()
	return launchInto(t, nil, command, listen, args...)
}

// launchInto is launch with a standard output of the test's own, as for startInto.
func launchInto(t testing.TB, stdout *os.File, command string, listen int, args ...string) *gate {
	t.Helper()
	g := &gate{listen: listen, admin: freePort(t)}
	g.process = startInto(t, stdout, command, sallyport(t), append([]string{
		command, "--listen", local(g.listen), "--admin", local(g.admin), "--drain-delay", "200ms",
	}, args...)...)
	return g
}

func (g *gate) ready() {
	g.t.Helper()
	eventually(g.t, g.name+" is ready", func() bool {
		if g.ended() {
			g.t.Fatalf("%s ended:\n%s", g.name, g.output.String())
		}
		status, _ := get(local(g.admin), "/readyz")
		return status == http.StatusOK
	})
}

// metric is the sum of a metric's samples whose labels hold all the given texts.
func (g *gate) metric(name string, labels ...string) float64 {
	g.t.Helper()
	_, body := get(local(g.admin), "/metrics")
	sum := 0.0
next:
	for line := range strings.Lines(body) {
		head, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || head != name && !strings.HasPrefix(head, name+"{") {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(head, label) {
				continue next
			}
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			g.t.Fatalf("metric line %q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// mesh is everything: an issuer, an upstream, both gates, and Envoy in front.
type mesh struct {
	t        testing.TB
	dir      string
	issuer   *issuer.Issuer
	issuerAt *httptest.Server
	upstream *upstream
	authz    *gate
	limits   *gate
	envoy    *process
	gated    int
	policy   string // the policy's path
}

// meshOptions bend one part of a mesh.
type meshOptions struct {
	limits string // the mesh domain's limits; "" is generous
	store  string // --store; "" is memory
	policy func(issuerURL string) string
	// files stand beside the policy, by name.
	files map[string]string
	// authz are further flags of the authorization gate.
	authz []string
	// authzPort and limitsPort put something else in a gate's place, and no gate is started there.
	authzPort, limitsPort int
	// before runs between the gates' start and Envoy's.
	before func(m *mesh)
	// bend changes Envoy's rendered file.
	bend func(config string) string
}

const policyText = `version: 1
trusted_proxies: [LOCAL]
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
    headers: {x-user-id: token.sub}
    rules:
      - name: list-orders
        match: GET /users/{user_id}/orders
        scopes: ["read:orders"]
        owner: {of: path.user_id, is: token.sub}
      - name: catalogue
        match: GET /catalogue/{item}
        public: true
`

func shopPolicy(issuerURL string) string {
	return strings.NewReplacer("ISSUER", issuerURL, "LOCAL", localAddresses()).Replace(policyText)
}

// localAddresses are this machine's own. Where its peer is loopback, Envoy appends one of them to x-forwarded-for instead.
func localAddresses() string {
	list := []string{"127.0.0.0/8"}
	addresses, _ := net.InterfaceAddrs()
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && !network.IP.IsLoopback() && !network.IP.IsLinkLocalUnicast() {
			list = append(list, strconv.Quote(network.IP.String()))
		}
	}
	return strings.Join(list, ", ")
}

const generous = `domain: mesh
descriptors:
  - key: who
    rate_limits: [{requests_per_unit: 1000000, unit: minute}]
    algorithm: sliding_window
  - key: service
    descriptors:
      - key: rule
        rate_limit: {unlimited: true}
        descriptors:
          - key: who
            rate_limit: {unlimited: true}
`

const edgeLimits = `domain: edge
descriptors:
  - key: masked_remote_address
    rate_limits: [{requests_per_unit: 1000000, unit: minute}]
    algorithm: sliding_window
`

func newMesh(t testing.TB, o meshOptions) *mesh {
	t.Helper()
	m := &mesh{t: t, dir: t.TempDir(), upstream: newUpstream(t), gated: freePort(t)}
	m.startIssuer()
	if o.policy == nil {
		o.policy = shopPolicy
	}
	m.policy = filepath.Join(m.dir, "policy.yaml")
	for name, text := range o.files {
		write(t, filepath.Join(m.dir, name), text)
	}
	write(t, m.policy, o.policy(m.issuerAt.URL))
	if o.authzPort == 0 {
		m.authz = serve(t, "authz", append([]string{"--policy", m.policy, "--audit", filepath.Join(m.dir, "audit.jsonl"), "--audit-subjects", "plain"}, o.authz...)...)
		o.authzPort = m.authz.listen
	}
	if o.limitsPort == 0 {
		m.limits = m.rateLimiter(o)
		o.limitsPort = m.limits.listen
	}
	if o.before != nil {
		o.before(m)
	}
	m.startEnvoy(o)
	return m
}

func (m *mesh) startIssuer() {
	m.t.Helper()
	var handler atomic.Pointer[issuer.Issuer]
	m.issuerAt = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) }))
	m.t.Cleanup(m.issuerAt.Close)
	made, err := issuer.New(issuer.Options{Issuer: m.issuerAt.URL})
	if err != nil {
		m.t.Fatal(err)
	}
	handler.Store(made)
	m.issuer = made
}

func (m *mesh) rateLimiter(o meshOptions) *gate {
	m.t.Helper()
	folder := filepath.Join(m.dir, "limits")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		m.t.Fatal(err)
	}
	text := o.limits
	if text == "" {
		text = generous
	}
	write(m.t, filepath.Join(folder, "mesh.yaml"), text)
	write(m.t, filepath.Join(folder, "edge.yaml"), edgeLimits)
	store := o.store
	if store == "" {
		store = "memory"
	}
	return serve(m.t, "ratelimit", "--limits", folder, "--store", store, "--audit", "off")
}

func (m *mesh) startEnvoy(o meshOptions) {
	m.t.Helper()
	certificate, key := serverCertificate(m.t, m.dir)
	admin := freePort(m.t)
	config, err := envoy.Render("demo.yaml", map[string]string{
		"ADMIN_PORT": strconv.Itoa(admin), "GATED_PORT": strconv.Itoa(m.gated), "UNGATED_PORT": strconv.Itoa(freePort(m.t)),
		"MESH_PORT": strconv.Itoa(freePort(m.t)), "TRUST_DOMAIN": "cluster.local",
		"MESH_CERT": certificate, "MESH_KEY": key, "MESH_CA": certificate,
		"SERVICE": "orders", "SERVICE_PORT": strconv.Itoa(portOf(m.t, m.upstream.URL)), "CORS_ORIGIN": "https://app.example",
		"ACCESS_LOG": filepath.Join(m.dir, "access.log"),
		"AUTHZ_PORT": strconv.Itoa(o.authzPort), "RATELIMIT_PORT": strconv.Itoa(o.limitsPort),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	path := filepath.Join(m.dir, "envoy"+strconv.Itoa(m.gated)+".yaml")
	text := string(config)
	if o.bend != nil {
		text = o.bend(text)
	}
	write(m.t, path, text)
	m.envoy = start(m.t, "envoy", tool(m.t, "SALLYPORT_ENVOY", "tools/bin/envoy"), "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--disable-hot-restart")
	eventually(m.t, "envoy is ready", func() bool {
		if m.envoy.ended() {
			m.t.Fatalf("envoy ended:\n%s", m.envoy.output.String())
		}
		status, _ := get(local(admin), "/ready")
		return status == http.StatusOK
	})
}

// token mints an access token for a person.
func (m *mesh) token(subject string, scopes string) string {
	m.t.Helper()
	token, err := m.issuer.Mint(issuer.Claims{Subject: subject, ClientID: "web", Audience: []string{"orders-api"}, Scope: scopes, Lifetime: time.Hour})
	if err != nil {
		m.t.Fatal(err)
	}
	return token
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) reason() string {
	var problem struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal([]byte(a.body), &problem)
	return problem.Reason
}

// call sends one request through Envoy.
func (m *mesh) call(path, token string, headers ...string) answer {
	m.t.Helper()
	a, err := m.try(path, token, headers...)
	if err != nil {
		m.t.Fatalf("GET %s: %v", path, err)
	}
	return a
}

func (m *mesh) try(path, token string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+local(m.gated)+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Host = "shop.test"
	req.Header.Set("x-forwarded-for", "198.51.100.7")
	if token != "" {
		req.Header.Set("authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read the body: %w", err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}, nil
}

// expect calls and holds the answer to a status.
func (m *mesh) expect(want int, path, token string, headers ...string) answer {
	m.t.Helper()
	a := m.call(path, token, headers...)
	if a.status != want {
		m.t.Fatalf("GET %s: %d, want %d: %s", path, a.status, want, a.body)
	}
	return a
}

// terminate is how Kubernetes asks.
var terminate os.Signal = syscall.SIGTERM
