package xds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"
)

// patience bounds every wait for something that was promised sooner. It measures nothing.
const patience = time.Minute

// nodeID is Envoy Gateway's for its rate limit service.
const nodeID = "envoy-ratelimit"

// pki is an authority and the files that it signed.
type pki struct {
	t      *testing.T
	folder string
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial int64
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	p := &pki{t: t, folder: t.TempDir()}
	p.key = newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &p.key.PublicKey, p.key)
	if err != nil {
		t.Fatal(err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	writePEM(t, p.ca(), "CERTIFICATE", der)
	return p
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *pki) ca() string               { return filepath.Join(p.folder, "ca.crt") }
func (p *pki) cert_(name string) string { return filepath.Join(p.folder, name+".crt") }
func (p *pki) key_(name string) string  { return filepath.Join(p.folder, name+".key") }

// sign writes a certificate for a DNS name and its key as NAME.crt and NAME.key.
func (p *pki) sign(name, dns string) {
	p.t.Helper()
	p.serial++
	key := newKey(p.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(100 + p.serial), DNSNames: []string{dns}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, p.cert, &key.PublicKey, p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	writePEM(p.t, p.cert_(name), "CERTIFICATE", der)
	writePEM(p.t, p.key_(name), "PRIVATE KEY", encoded)
}

// serverTLS is what Envoy Gateway's server asks for: TLS 1.3, and a client that the same authority signed.
func (p *pki) serverTLS(name string) *tls.Config {
	p.t.Helper()
	pair, err := tls.LoadX509KeyPair(p.cert_(name), p.key_(name))
	if err != nil {
		p.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(p.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

// clientTLS are the files that a client of the server "envoy-gateway" has.
func (p *pki) clientTLS() *xds.TLS {
	return &xds.TLS{CA: p.ca(), Cert: p.cert_("client"), Key: p.key_("client"), ServerName: "envoy-gateway"}
}

func gatewayPKI(t *testing.T) *pki {
	t.Helper()
	p := newPKI(t)
	p.sign("server", "envoy-gateway")
	p.sign("client", "envoy-ratelimit")
	return p
}

// serve runs an ADS server at an address, any free one where it has none, and says where. Stop ends it.
func serve(t *testing.T, address string, config *tls.Config, service discoveryv3.AggregatedDiscoveryServiceServer) (at string, stop func()) {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	} else if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var options []grpc.ServerOption
	if config != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config)))
	}
	server := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, service)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	stop = func() { server.Stop(); <-done }
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// gateway is a management server as Envoy Gateway runs one: go-control-plane's own, over a cache of snapshots.
type gateway struct {
	t        *testing.T
	cache    cachev3.SnapshotCache
	service  serverv3.Server
	requests chan *discoveryv3.DiscoveryRequest
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, cache: cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil), requests: make(chan *discoveryv3.DiscoveryRequest, 1000)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	g.service = serverv3.NewServer(ctx, g.cache, serverv3.CallbackFuncs{StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error {
		g.requests <- r
		return nil
	}})
	return g
}

// set is the next snapshot.
func (g *gateway) set(version string, configs ...*configv3.RateLimitConfig) {
	g.t.Helper()
	resources := []types.Resource{}
	for _, c := range configs {
		resources = append(resources, c)
	}
	snapshot, err := cachev3.NewSnapshot(version, map[string][]types.Resource{xds.TypeURL: resources})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.cache.SetSnapshot(g.t.Context(), nodeID, snapshot); err != nil {
		g.t.Fatal(err)
	}
}

// answer is the next request that answers a response.
func (g *gateway) answer() *discoveryv3.DiscoveryRequest {
	g.t.Helper()
	for {
		if r := next(g.t, "an answer", g.requests); r.GetResponseNonce() != "" {
			return r
		}
	}
}

// domain is a config whose descriptor `who` has a limit.
func domain(name string, perMinute uint32) *configv3.RateLimitConfig {
	return &configv3.RateLimitConfig{Name: name, Domain: name, Descriptors: []*configv3.RateLimitDescriptor{
		{Key: "who", RateLimit: &configv3.RateLimitPolicy{Unit: configv3.RateLimitUnit_MINUTE, RequestsPerUnit: perMinute}},
	}}
}

// limit is the limit of `who` in a domain of a table, and 0 for none.
func limit(table *limits.Table, domain string) uint32 {
	if table == nil {
		return 0
	}
	if m := table.Match(domain, []limits.Entry{{Key: "who", Value: "x"}}); m.Rule != nil {
		return m.Rule.Limits[0].Requests
	}
	return 0
}

// client is a running client and what it tells.
type client struct {
	*xds.Client
	t       *testing.T
	updates chan xds.Update
	lines   chan error // of its connection
}

// connect runs a client until the test ends. What the options leave open is Envoy Gateway's.
func connect(t *testing.T, o xds.Options) *client {
	t.Helper()
	c := prepare(t, o)
	c.run()
	return c
}

func prepare(t *testing.T, o xds.Options) *client {
	t.Helper()
	c := &client{t: t, updates: make(chan xds.Update, 1000), lines: make(chan error, 1000)}
	o.Node.ID = nodeID
	o.OnUpdate = func(u xds.Update) { c.updates <- u }
	o.OnConnection = func(err error) { c.lines <- err }
	if o.Retry == (xds.Backoff{}) {
		o.Retry = xds.Backoff{Initial: time.Millisecond, Max: 10 * time.Millisecond}
	}
	var err error
	if c.Client, err = xds.New(o); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) run() {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			c.t.Errorf("Run: %v", err)
		}
	})
}

func (c *client) update() xds.Update { c.t.Helper(); return next(c.t, "an update", c.updates) }

// lost waits until the client says why it has no connection.
func (c *client) lost() string {
	c.t.Helper()
	for {
		if err := next(c.t, "a lost connection", c.lines); err != nil {
			return err.Error()
		}
	}
}

func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
		panic("unreachable")
	}
}
