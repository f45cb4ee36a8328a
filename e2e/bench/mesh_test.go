package bench

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/envoy"
)

// patience bounds every wait for a server to be ready. It measures nothing: it only ends a benchmark that would hang.
const patience = 30 * time.Second

// startMesh runs an issuer, an upstream, both gates of the real binary, and Envoy with the demo's file.
func startMesh(b *testing.B) *mesh {
	b.Helper()
	dir := b.TempDir()
	tokens, upstream := startIssuer(b), startUpstream(b)
	m := &mesh{
		gated: freePort(b), ungated: freePort(b), token: mint(b, tokens),
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	policyFile := write(b, dir, "policy.yaml", manyRules(tokens.url))
	limits := filepath.Join(dir, "limits")
	if err := os.Mkdir(limits, 0o700); err != nil {
		b.Fatal(err)
	}
	write(b, limits, "mesh.yaml", limitsText)
	write(b, limits, "edge.yaml", edgeLimitsText)
	authzPort := startGate(b, "authz", "--policy", policyFile, "--audit", filepath.Join(dir, "audit.jsonl"))
	limitsPort := startGate(b, "ratelimit", "--limits", limits, "--store", "memory", "--audit", "off")
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	certificate, key := selfSigned(b, dir)
	admin := freePort(b)
	config, err := envoy.Render("demo.yaml", map[string]string{
		"ADMIN_PORT": strconv.Itoa(admin), "GATED_PORT": strconv.Itoa(m.gated), "UNGATED_PORT": strconv.Itoa(m.ungated),
		"MESH_PORT": strconv.Itoa(freePort(b)), "TRUST_DOMAIN": "cluster.local", "MESH_CERT": certificate, "MESH_KEY": key,
		"MESH_CA": certificate, "SERVICE": "orders", "SERVICE_PORT": target.Port(), "CORS_ORIGIN": "https://app.example",
		"ACCESS_LOG": filepath.Join(dir, "access.log"), "AUTHZ_PORT": strconv.Itoa(authzPort), "RATELIMIT_PORT": strconv.Itoa(limitsPort),
	})
	if err != nil {
		b.Fatal(err)
	}
	start(b, "envoy", local(admin)+"/ready", nil, tool(b, "SALLYPORT_ENVOY", "tools/bin/envoy"), "-c", write(b, dir, "envoy.yaml", string(config)),
		"--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--disable-hot-restart")
	return m
}

// edgeLimitsText is generous: the benchmark's one address is nobody's flood.
const edgeLimitsText = `domain: edge
descriptors:
  - key: masked_remote_address
    rate_limits: [{requests_per_unit: 1000000, unit: minute}]
    algorithm: sliding_window
`

// startGate runs a gate of the real binary until the benchmark ends, and returns its port once it is ready.
func startGate(b *testing.B, command string, args ...string) int {
	b.Helper()
	port, admin := freePort(b), freePort(b)
	start(b, command, local(admin)+"/readyz", nil, tool(b, "SALLYPORT_BIN", "bin/sallyport"),
		append([]string{command, "--listen", local(port), "--admin", local(admin)}, args...)...)
	return port
}

// start runs a server until the benchmark ends, and returns its process when the page says that it is ready.
func start(b *testing.B, name, ready string, env []string, path string, args ...string) (pid int) {
	b.Helper()
	cmd := exec.Command(path, args...)
	said := new(output)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "TMPDIR=" + os.TempDir()}
	cmd.Env = append(cmd.Env, env...)
	if err := cmd.Start(); err != nil {
		b.Fatalf("start %s: %v", name, err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // says how it was killed
		close(ended)
	}()
	b.Cleanup(func() {
		_ = cmd.Process.Kill() // an error means that it has ended already
		<-ended
	})
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !isReady(ready) {
		select {
		case <-ended:
			b.Fatalf("%s ended:\n%s", name, said)
		case <-deadline.C:
			b.Fatalf("%s is never ready:\n%s", name, said)
		case <-tick.C:
		}
	}
	return cmd.Process.Pid
}

var admins = &http.Client{Timeout: 2 * time.Second}

func isReady(page string) bool {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+page, nil)
	if err != nil {
		return false
	}
	resp, err := admins.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// output is what a server says, for the case that it fails.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// tool is the path of a program that `make bench` provides.
func tool(b *testing.B, variable, fallback string) string {
	b.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = filepath.Join("..", "..", "build", filepath.FromSlash(fallback))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Fatalf("%s: run `make build servers` (%s says where it is)", err, variable)
	}
	return path
}

func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

func write(b *testing.B, dir, name, text string) (path string) {
	b.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// selfSigned is a certificate for the door of the file that is not measured, which does not open without one.
func selfSigned(b *testing.B, dir string) (certificate, key string) {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/orders"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		b.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		b.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return write(b, dir, "cert.pem", text("CERTIFICATE", der)), write(b, dir, "key.pem", text("PRIVATE KEY", pkcs8))
}
