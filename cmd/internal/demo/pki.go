package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// trustDomain is the SPIFFE trust domain of the demo's workloads. The domain "test" is nobody's (RFC 6761).
const trustDomain = "demo.test"

// spiffeID names a workload by its namespace and service account.
func spiffeID(namespace, account string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

// authority signs workloads' certificates. Its key lives in memory and dies with the demo.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// certificateLife is longer than anybody watches a demo.
const certificateLife = 7 * 24 * time.Hour

func template(name string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("demo: number a certificate: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(certificateLife),
	}, nil
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("demo: make a key: %w", err)
	}
	t, err := template("sallyport demo")
	if err != nil {
		return nil, err
	}
	t.IsCA, t.KeyUsage = true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("demo: make an authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("demo: read back an authority: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

// issue makes a certificate whose one URI name is the SPIFFE ID. It also holds 127.0.0.1, so that Go's client accepts it of a server.
func (a *authority) issue(id string) (tls.Certificate, error) {
	uri, err := url.Parse(id)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("demo: read a SPIFFE ID: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("demo: make a key: %w", err)
	}
	t, err := template("workload")
	if err != nil {
		return tls.Certificate{}, err
	}
	t.URIs, t.IPAddresses = []*url.URL{uri}, []net.IP{net.IPv4(127, 0, 0, 1)}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("demo: sign a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// client is how a workload connects: with its own certificate, to a server that this authority signed.
func (a *authority) client(own tls.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"},
		// A server's list of authorities must not keep a forger from trying.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil },
	}
}

// identityFiles are the PEM files of one identity.
type identityFiles struct{ cert, key string }

// write stores an identity as PEM files NAME.pem and NAME.key.
func write(dir, name string, identity tls.Certificate) (identityFiles, error) {
	files := identityFiles{cert: filepath.Join(dir, name+".pem"), key: filepath.Join(dir, name+".key")}
	key, err := x509.MarshalPKCS8PrivateKey(identity.PrivateKey)
	if err != nil {
		return files, fmt.Errorf("demo: encode a key: %w", err)
	}
	if err := writePEM(files.cert, "CERTIFICATE", identity.Certificate[0]); err != nil {
		return files, err
	}
	return files, writePEM(files.key, "PRIVATE KEY", key)
}

func writePEM(path, kind string, der []byte) error {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("demo: write %s: %w", filepath.Base(path), err)
	}
	return nil
}
