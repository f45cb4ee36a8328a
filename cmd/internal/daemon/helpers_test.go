package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// eventually polls until ok holds. The deadline only ends a test that would hang; nothing is concluded from how long it took.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("never happened: %s", what)
		case <-beat.C:
		}
	}
}

// logbook is a log that a test can read while others write.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logbook) has(text string) bool { return strings.Contains(l.String(), text) }

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// leaf is what a certificate of a test differs in; the zero value is a server for 127.0.0.1 that is valid now.
type leaf struct {
	serial    int64
	uris      []string
	dns       []string
	authority bool
	before    time.Time
	after     time.Time
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, cert: cert, key: key}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue signs a leaf and returns its chain and key in PEM.
func (a *authority) issue(l leaf) (cert, key []byte) {
	a.t.Helper()
	private := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(orDefault(l.serial, 2)), DNSNames: l.dns, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: orDefault(l.before, time.Now().Add(-time.Hour)), NotAfter: orDefault(l.after, time.Now().Add(time.Hour)),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: l.authority,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, text := range l.uris {
		u, err := url.Parse(text)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func (a *authority) pair(l leaf) tls.Certificate {
	a.t.Helper()
	pair, err := tls.X509KeyPair(a.issue(l))
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tlsFolder writes a server's files and names them.
func tlsFolder(t *testing.T, servers, clients *authority, l leaf, ids ...string) TLSFiles {
	t.Helper()
	dir := t.TempDir()
	files := TLSFiles{Cert: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key"), ClientCA: filepath.Join(dir, "ca.crt"), ClientIDs: ids}
	cert, key := servers.issue(l)
	write(t, files.Cert, cert)
	write(t, files.Key, key)
	write(t, files.ClientCA, clients.pem())
	return files
}

// call is the one method of the test service.
type call func(ctx context.Context, in string) (string, error)

const (
	testService = "sallyport.test.Echo"
	testMethod  = "/sallyport.test.Echo/Call"
)

func register(s *grpc.Server, c call) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: testService, HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(_ any, ctx context.Context, decode func(any) error, chain grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return chain(ctx, in, &grpc.UnaryServerInfo{FullMethod: testMethod}, func(ctx context.Context, _ any) (any, error) {
				out, err := c(ctx, in.GetValue())
				return wrapperspb.String(out), err
			})
		}}},
	}, nil)
}

func echo(_ context.Context, in string) (string, error) { return in, nil }

func ask(ctx context.Context, conn *grpc.ClientConn, in string, options ...grpc.CallOption) (string, error) {
	out := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, testMethod, wrapperspb.String(in), out, options...)
	return out.GetValue(), err
}

// gate is a daemon under test that runs.
type gate struct {
	*Daemon
	t      *testing.T
	log    *logbook
	stop   context.CancelFunc
	result chan error
}

// startGate runs a daemon on free loopback ports until the test ends. Wire may be nil.
func startGate(t *testing.T, c Config, wire func(*Daemon)) *gate {
	t.Helper()
	log := new(logbook)
	c.Listen, c.Admin = orDefault(c.Listen, "127.0.0.1:0"), orDefault(c.Admin, "127.0.0.1:0")
	c.Service, c.Log = testService, log.logger()
	d, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if wire == nil {
		wire = func(d *Daemon) { register(d.Server, echo) }
	}
	wire(d)
	ctx, stop := context.WithCancel(context.Background())
	g := &gate{Daemon: d, t: t, log: log, stop: stop, result: make(chan error, 1)}
	go func() { g.result <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := g.wait(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return g
}

// wait is the result of Run, once it is there; later calls return the same.
func (g *gate) wait() error {
	g.t.Helper()
	select {
	case err := <-g.result:
		g.result <- err
		return err
	case <-time.After(30 * time.Second):
		g.t.Fatal("Run does not return")
		return nil
	}
}

// dial connects over TLS, or in plain text for a nil config.
func (g *gate) dial(config *tls.Config) *grpc.ClientConn {
	g.t.Helper()
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	target := g.Addr().String()
	if g.Addr().Network() == "unix" {
		target = "unix:" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}
