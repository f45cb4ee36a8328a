package redisdial

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// What the environment of envoyproxy/ratelimit can say and no file of ours does: a password as a value, alone and with a user.
func TestPasswordAsAValue(t *testing.T) {
	v := storetest.RunValkey(t, "--requirepass", "alone", "--user", "gate", "on", ">word", "~*", "+@all")
	for _, tt := range []struct {
		user, password string
		ok             bool
	}{{"", "alone", true}, {"gate", "word", true}, {"gate", "alone", false}, {"", "", false}} {
		c, err := New(Options{URL: "redis://" + v.Addr, Username: tt.user, Password: tt.password})
		if tt.user != "" && tt.password == "" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		err = c.Ping(t.Context()).Err()
		if (err == nil) != tt.ok || err != nil && tt.password != "" && strings.Contains(err.Error(), tt.password) {
			t.Errorf("%q %q: %v", tt.user, tt.password, err)
		}
		c.Close()
	}
}

// A server that asks for a certificate gets the client's own.
func TestClientCertificate(t *testing.T) {
	v, dir := storetest.RunValkey(t), t.TempDir()
	// The relay below lets in what this other relay's certificate signed: itself.
	var cert tls.Certificate
	client, _ := tlsInFrontOf(t, v.Addr, dir, "127.0.0.1", func(c *tls.Config) { cert = c.Certificates[0] })
	certFile, keyFile := client, filepath.Join(dir, "key.pem")
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	ca, addr := tlsInFrontOf(t, v.Addr, t.TempDir(), "127.0.0.1", func(c *tls.Config) {
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(leaf)
	})
	for _, with := range []bool{true, false} {
		o := Options{URL: "rediss://" + addr, CAFile: ca}
		if with {
			o.CertFile, o.KeyFile = certFile, keyFile
		}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()).Err(); (err == nil) != with {
			t.Errorf("with a certificate %v: %v", with, err)
		}
		c.Close()
	}
}

// Any name is not any signer.
func TestInsecureAnyServerName(t *testing.T) {
	v := storetest.RunValkey(t)
	ca, addr := tlsInFrontOf(t, v.Addr, t.TempDir(), "192.0.2.1")
	theirs, _ := tlsInFrontOf(t, v.Addr, t.TempDir(), "127.0.0.1")
	for file, ok := range map[string]bool{ca: true, theirs: false} {
		c, err := New(Options{URL: "rediss://" + addr, CAFile: file, InsecureAnyServerName: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Ping(t.Context()).Err(); (err == nil) != ok {
			t.Errorf("signed by the right one %v: %v", ok, err)
		}
		c.Close()
	}
}
