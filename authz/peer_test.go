package authz_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

// mint makes a certificate as Envoy shows it: URL-encoded PEM. Its usages are a leaf's unless the template says otherwise.
func mint(t *testing.T, template x509.Certificate) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	if template.KeyUsage == 0 {
		template.KeyUsage = x509.KeyUsageDigitalSignature
	}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return encode(der)
}

// encode writes as Envoy does: nothing stands for a space but %20.
func encode(der []byte) string {
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

func uris(t *testing.T, texts ...string) []*url.URL {
	t.Helper()
	var all []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}

// Under `peers: certificate` a principal is somebody only beside a leaf certificate whose one URI SAN it is (X509-SVID 2 and 4).
func TestCertificates(t *testing.T) {
	good := mint(t, x509.Certificate{URIs: uris(t, nightly)})
	tests := []struct {
		name, principal, certificate string
		want                         string
	}{
		{"its one URI SAN", nightly, good, "200 allowed reindex"},
		{"its one URI SAN beside a DNS SAN", nightly, mint(t, x509.Certificate{URIs: uris(t, nightly), DNSNames: []string{"nightly.batch"}}), "200 allowed reindex"},
		// Envoy's principal alone proves nothing.
		{"no certificate", nightly, "", "403 caller reindex"},
		{"a certificate and no principal", "", good, "403 caller reindex"},
		{"a DNS SAN that spells an ID", nightly, mint(t, x509.Certificate{DNSNames: []string{nightly}}), "403 caller reindex"},
		{"a DNS SAN that spells an ID beside another URI", nightly, mint(t, x509.Certificate{URIs: uris(t, frontend), DNSNames: []string{nightly}}), "403 caller reindex"},
		{"a subject that spells an ID", nightly, mint(t, x509.Certificate{Subject: pkix.Name{CommonName: nightly}}), "403 caller reindex"},
		{"two URI SANs", nightly, mint(t, x509.Certificate{URIs: uris(t, nightly, frontend)}), "403 caller reindex"},
		{"two URI SANs, https first", nightly, mint(t, x509.Certificate{URIs: uris(t, "https://x.example/a", nightly)}), "403 caller reindex"},
		{"another ID", nightly, mint(t, x509.Certificate{URIs: uris(t, frontend)}), "403 caller reindex"},
		{"an ID of another trust domain", nightly, mint(t, x509.Certificate{URIs: uris(t, strings.Replace(nightly, "cluster", "evil", 1))}), "403 caller reindex"},
		{"an ID in capitals", nightly, mint(t, x509.Certificate{URIs: uris(t, strings.Replace(nightly, "nightly", "Nightly", 1))}), "403 caller reindex"},
		// An authority is no workload.
		{"a CA", nightly, mint(t, x509.Certificate{URIs: uris(t, nightly), IsCA: true}), "403 caller reindex"},
		{"a key that signs certificates", nightly, mint(t, x509.Certificate{URIs: uris(t, nightly), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}), "403 caller reindex"},
		{"a key that signs revocations", nightly, mint(t, x509.Certificate{URIs: uris(t, nightly), KeyUsage: x509.KeyUsageCRLSign}), "403 caller reindex"},
		// What cannot be read.
		{"two certificates", nightly, good + good, "403 caller reindex"},
		{"something behind it", nightly, good + "x", "403 caller reindex"},
		{"cut short", nightly, good[:len(good)/2], "403 caller reindex"},
		{"a malformed escape", nightly, "%zz" + good, "403 caller reindex"},
		{"no DER", nightly, encode([]byte("nonsense")), "403 caller reindex"},
		{"a key", nightly, strings.ReplaceAll(good, "CERTIFICATE", "PUBLIC%20KEY"), "403 caller reindex"},
	}
	a := gate(t, strings.Replace(shop, "peers: envoy", "peers: certificate", 1))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := post("/internal/reindex", from(test.principal), func(r *authz.Request) { r.Peer.Certificate = test.certificate })
			d := a.Check(t.Context(), r)
			if got := verdict(d); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if d.Verdict == authz.Deny && d.Caller != "" {
				t.Errorf("recorded as %s", d.Caller)
			}
		})
	}
}

// A URI SAN with a NUL in it is no ID, though a reader that stops there would take it for one.
func TestCertificateWithNUL(t *testing.T) {
	good, err := url.QueryUnescape(mint(t, x509.Certificate{URIs: uris(t, nightly+"-evil")}))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(good))
	der := strings.Replace(string(block.Bytes), nightly+"-", nightly+"\x00", 1)
	for _, principal := range []string{nightly, nightly + "\x00evil", nightly + "-evil"} {
		r := post("/internal/reindex", from(principal), func(r *authz.Request) { r.Peer.Certificate = encode([]byte(der)) })
		if got := verdict(gate(t, strings.Replace(shop, "peers: envoy", "peers: certificate", 1)).Check(t.Context(), r)); got != "403 caller reindex" {
			t.Errorf("%q: %s", principal, got)
		}
	}
}
