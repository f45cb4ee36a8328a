package authz

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// caller is the connection's SPIFFE ID, proven as far as the policy demands it; "" for none.
func caller(peers policy.Peers, peer Peer) string {
	if peers == policy.PeersNobody || peer.Principal == "" {
		return ""
	}
	id, ok := policy.ParseCaller(peer.Principal)
	if !ok || peers == policy.PeersCertificate && !certifies(peer.Certificate, id) {
		return ""
	}
	return id
}

// certifies reports whether a URL-encoded PEM certificate is an X.509-SVID of the ID: a leaf with exactly one URI SAN, that ID. A
// DNS SAN that spells a SPIFFE ID reaches Envoy's principal too, so the principal alone proves nothing (X509-SVID section 2 and 4).
func certifies(encoded, id string) bool {
	text, err := url.QueryUnescape(encoded)
	if err != nil {
		return false
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return false
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil || certificate.IsCA || certificate.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return false
	}
	return len(certificate.URIs) == 1 && certificate.URIs[0].String() == id
}
