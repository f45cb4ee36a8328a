package grpc_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// write replaces a file.
func write(t testing.TB, path, text string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// socketFolder is a folder whose path is short enough for a socket.
func socketFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "own")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// authority issues certificates of one root.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key, a.pem = issue(t, template, nil)
	return a
}

// leaf is a certificate for a server or client, and its key.
func (a *authority) leaf(t testing.TB, names ...string) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	_, private, cert := issue(t, template, a)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func issue(t testing.TB, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// mutual is a server's side of TLS that admits the clients of an authority.
func mutual(t testing.TB, own, clients *authority, names ...string) grpc.ServerOption {
	t.Helper()
	cert, key := own.leaf(t, names...)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(clients.cert)
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}))
}

// The server is who the roots and the name say, the gate is who its certificate says, and no failure of either falls back to less.
func TestTLS(t *testing.T) {
	ours, others := newAuthority(t, "ours"), newAuthority(t, "others")
	facts := []ownertest.Fact{{Object: "a", Owners: []string{"alice"}}}
	address := serve(t, world(facts), mutual(t, ours, ours, "owners.internal"))
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		write(t, path, text)
		return path
	}
	cert, key := ours.leaf(t)
	strangers, strangersKey := others.leaf(t)
	const good = "no error"
	ca, cert, key := file("ca", ours.pem), file("cert", cert), file("key", key)
	bad, badKey := file("bad", strangers), file("badkey", strangersKey)
	for _, c := range []struct {
		name string
		l    policy.GRPCLookup
		want string // of the error
	}{
		{"all good", policy.GRPCLookup{CAFile: ca, CertFile: cert, KeyFile: key}, good},
		{"by name", policy.GRPCLookup{CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "owners.internal"}, good},
		{"another name", policy.GRPCLookup{CAFile: ca, CertFile: cert, KeyFile: key, ServerName: "elsewhere.internal"}, "elsewhere.internal"},
		{"the system's roots", policy.GRPCLookup{ServerName: "owners.internal", CertFile: cert, KeyFile: key}, "unknown authority"},
		{"other roots", policy.GRPCLookup{CAFile: bad, CertFile: cert, KeyFile: key}, "certificate"},
		{"no certificate", policy.GRPCLookup{CAFile: ca}, "Unavailable"},
		{"a stranger's certificate", policy.GRPCLookup{CAFile: ca, CertFile: bad, KeyFile: badKey}, "Unavailable"},
		{"no pair", policy.GRPCLookup{CAFile: ca, CertFile: cert, KeyFile: badKey}, "secrets: "}, // the rest may be cut: the folder's name is as long as it likes
		{"no such file", policy.GRPCLookup{CAFile: filepath.Join(dir, "gone")}, "gone"},
		{"no roots in it", policy.GRPCLookup{CAFile: key}, "holds no certificate"},
		{"no TLS", policy.GRPCLookup{}, "Unavailable"},
	} {
		c.l.Address = address
		answers, err := ask(t, backend(t, &c.l), question("a"))
		if c.want == good {
			if err != nil || answers[0] != authz.Theirs {
				t.Errorf("%s: %v, %v", c.name, answers, err)
			}
			continue
		}
		if !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %q", c.name, answers, err, c.want)
		}
	}
}

// Certificates are replaced under the running gate: the next connection shows the new one.
func TestCertificateIsReplaced(t *testing.T) {
	ours, next := newAuthority(t, "ours"), newAuthority(t, "next")
	facts := []ownertest.Fact{{Object: "a", Owners: []string{"alice"}}}
	path := filepath.Join(socketFolder(t), "o.sock")
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	dir := t.TempDir()
	l := policy.GRPCLookup{
		Address: "unix:" + path, ServerName: "owners.internal",
		CAFile: filepath.Join(dir, "ca"), CertFile: filepath.Join(dir, "cert"), KeyFile: filepath.Join(dir, "key"),
	}
	put := func(a *authority) {
		cert, key := a.leaf(t)
		write(t, l.CAFile, a.pem)
		write(t, l.CertFile, cert)
		write(t, l.KeyFile, key)
	}
	put(ours)
	first := serveOn(t, listen(), world(facts), mutual(t, ours, ours, "owners.internal"))
	b := backend(t, &l)
	if answers, err := ask(t, b, question("a")); err != nil || answers[0] != authz.Theirs {
		t.Fatal(answers, err)
	}
	put(next)
	first.Stop()
	serveOn(t, listen(), world(facts), mutual(t, next, next, "owners.internal"))
	for {
		answers, err := ask(t, b, question("a"))
		if err == nil && answers[0] == authz.Theirs {
			return
		}
		if !errors.Is(err, authz.ErrLookupUnavailable) || t.Context().Err() != nil {
			t.Fatal(answers, err)
		}
	}
}
