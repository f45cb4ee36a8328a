package authz

import (
	"crypto/sha256"
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
	der, ok := certificateDER(encoded)
	if !ok {
		return false
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil || certificate.IsCA || certificate.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return false
	}
	return len(certificate.URIs) == 1 && certificate.URIs[0].String() == id
}

// certificateDER reads source.certificate: one URL-encoded PEM block, and nothing else.
func certificateDER(encoded string) ([]byte, bool) {
	text, err := url.QueryUnescape(encoded)
	if err != nil {
		return nil, false
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return nil, false
	}
	return block.Bytes, true
}

// thumbprint is the x5t#S256 of source.certificate; false where none can be seen.
func thumbprint(encoded string) ([sha256.Size]byte, bool) {
	der, ok := certificateDER(encoded)
	if !ok {
		return [sha256.Size]byte{}, false
	}
	return sha256.Sum256(der), true
}
