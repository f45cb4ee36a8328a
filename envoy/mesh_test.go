package envoy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mesh is a certificate authority of a trust domain of the test's own, and the folder its files are in.
type mesh struct {
	dir  string
	ca   *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newMesh(t testing.TB) *mesh {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mesh"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	m := &mesh{dir: t.TempDir(), ca: ca, key: key, pool: x509.NewCertPool()}
	m.pool.AddCert(ca)
	m.write(t, "ca.pem", "CERTIFICATE", der)
	return m
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (m *mesh) write(t testing.TB, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate issues an identity: a URI name if it is a SPIFFE ID, a DNS name otherwise.
func (m *mesh) certificate(t testing.TB, id string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "workload"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if strings.HasPrefix(id, "spiffe://") {
		uri, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	} else {
		template.DNSNames = []string{id}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, m.ca, &key.PublicKey, m.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes an identity down and returns the names of its certificate and its key.
func (m *mesh) files(t testing.TB, id string) (certificate, key string) {
	t.Helper()
	issued := m.certificate(t, id)
	der, err := x509.MarshalECPrivateKey(issued.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	name := strings.NewReplacer("/", "_", ":", "_").Replace(id)
	return m.write(t, name+".crt", "CERTIFICATE", issued.Certificate[0]), m.write(t, name+".key", "EC PRIVATE KEY", der)
}

// values fills every hole of a file by its kind, with certificates that exist.
func (m *mesh) values(t testing.TB, file string) map[string]string {
	t.Helper()
	values := sampleValues(t, file)
	certificate, key := m.files(t, "spiffe://cluster.local/ns/shop/sa/orders")
	for name, value := range map[string]string{
		"MESH_CERT": certificate, "MESH_KEY": key, "MESH_CA": filepath.Join(m.dir, "ca.pem"),
		"TLS_CERT": certificate, "TLS_KEY": key,
	} {
		if _, wanted := values[name]; wanted {
			values[name] = value
		}
	}
	return values
}
