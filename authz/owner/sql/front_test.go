package sql_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/sql"
	"github.com/sallyport-dev/sallyport/authz/owner/sql/postgrestest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// front stands before a real PostgreSQL. It counts the trips, and, with a certificate, speaks TLS as the server itself does: the server
// of the tests is built without.
type front struct {
	address string
	config  *tls.Config // nil refuses TLS
	// trips are how often a client waited for the server, and clear how many began a session without TLS.
	trips, clear atomic.Int64
}

func newFront(t *testing.T, s *postgrestest.Server, config *tls.Config) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: l.Addr().String(), config: config}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(client, s.Address) })
		}
	})
	return f
}

func (f *front) url(sslmode string) string {
	return "postgres://postgres@" + f.address + "/postgres?sslmode=" + sslmode
}

// sslRequest is the code that a client asks for TLS by, in place of a protocol's version.
const sslRequest = 80877103

// serve carries one connection's messages until either end leaves.
func (f *front) serve(client net.Conn, server string) {
	defer client.Close()
	first, err := message(client, 0)
	if err != nil {
		return
	}
	if binary.BigEndian.Uint32(first[4:]) == sslRequest {
		if f.config == nil {
			_, _ = client.Write([]byte("N"))
		} else {
			_, _ = client.Write([]byte("S"))
			client = tls.Server(client, f.config)
		}
		if first, err = message(client, 0); err != nil {
			return
		}
	}
	if _, encrypted := client.(*tls.Conn); !encrypted {
		f.clear.Add(1)
	}
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer upstream.Close()
	go func() {
		_, _ = io.Copy(client, upstream)
		client.Close()
	}()
	for ; err == nil; first, err = message(client, 1) {
		if first[0] == 'S' { // Sync
			f.trips.Add(1)
		}
		if _, err := upstream.Write(first); err != nil {
			return
		}
	}
}

// message reads a message whose length stands behind so many bytes of type.
func message(r io.Reader, kind int) ([]byte, error) {
	head := make([]byte, kind+4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[kind:])
	if size < 4 || size > 1<<20 || kind == 0 && size < 8 {
		return nil, errors.New("no message")
	}
	whole := append(head, make([]byte, size-4)...)
	_, err := io.ReadFull(r, whole[kind+4:])
	return whole, err
}

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, a.key = issue(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
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
	return cert, key
}

// server is a server's side of TLS, of a name or an address, for a purpose.
func (a *authority) server(t *testing.T, usage x509.ExtKeyUsage, name string) *tls.Config {
	t.Helper()
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	cert, key := issue(t, template, a)
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
}

func openAt(t *testing.T, url, password, ca string) *sql.Backend {
	t.Helper()
	b, err := sql.New(&policy.SQLLookup{URL: url, PasswordFile: password, CAFile: ca, Query: "SELECT id, owner FROM owners WHERE id = ANY(@ids)"}, sql.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// The server is who the roots say, and with verify-full who the name says; nothing falls back to less, and no session begins in the clear.
func TestTLS(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)", "INSERT INTO owners VALUES ('o', 'alice')")
	ours, others := newAuthority(t), newAuthority(t)
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	here, elsewhere := ours.server(t, server, "127.0.0.1"), ours.server(t, server, "other.example")
	for _, test := range []struct {
		name   string
		config *tls.Config
		mode   string
		ca     string
		good   bool
	}{
		{"ours", here, "verify-full", ours.file, true},
		{"ours, whatever its name", elsewhere, "verify-ca", ours.file, true},
		{"of another name", elsewhere, "verify-full", ours.file, false},
		{"of nobody we know", others.server(t, server, "127.0.0.1"), "verify-full", ours.file, false},
		{"of nobody we know, whatever its name", others.server(t, server, "127.0.0.1"), "verify-ca", ours.file, false},
		{"of an authority that the system does not know", here, "verify-full", "", false},
		{"a client's certificate", ours.server(t, client, "127.0.0.1"), "verify-ca", ours.file, false},
		{"a server without TLS", nil, "verify-full", ours.file, false},
		{"a server without TLS, whatever its name", nil, "verify-ca", ours.file, false},
		{"roots that are nowhere", here, "verify-full", filepath.Join(t.TempDir(), "none"), false},
		{"roots that are nowhere, whatever its name", here, "verify-ca", filepath.Join(t.TempDir(), "none"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFront(t, s, test.config)
			b := openAt(t, f.url(test.mode), s.PasswordFile, test.ca)
			answers, err := ask(b, "alice", "o")
			if test.good && (err != nil || answers[0] != authz.Theirs) || !test.good && !errors.Is(err, authz.ErrLookupUnavailable) {
				t.Errorf("%s, %v", answers[0], err)
			}
			if n := f.clear.Load(); n != 0 {
				t.Errorf("%d sessions began in the clear", n)
			}
			if err != nil && strings.Contains(err.Error(), postgrestest.Password) {
				t.Errorf("the error holds the password: %v", err)
			}
			_ = b.Close()
		})
	}
}
