package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// clientID is one entry of the client allow-list: a SPIFFE ID whose path segments may be "*" (one whole segment), or the exact DNS
// name of a certificate. There is no wildcard trust domain, no prefix and no partial segment: they would let in strangers.
type clientID struct {
	dns         string
	trustDomain string
	segments    []string
}

func parseClientIDs(texts []string) ([]clientID, error) {
	ids := make([]clientID, 0, len(texts))
	for _, text := range texts {
		id, err := parseClientID(text)
		if err != nil {
			return nil, fmt.Errorf("daemon: --tls-client-ids %q: %w", text, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func parseClientID(text string) (clientID, error) {
	if name, ok := strings.CutPrefix(text, "dns:"); ok {
		if name == "" || strings.ContainsAny(name, "*/: ") {
			return clientID{}, errors.New("write one exact name: dns:envoy.example.com")
		}
		return clientID{dns: strings.ToLower(name)}, nil
	}
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return clientID{}, errors.New("write spiffe://trust.domain/ns/*/sa/name or dns:name")
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok {
		return clientID{}, errors.New("a trust domain alone is not a workload: write spiffe://trust.domain/ns/*/sa/name")
	}
	segments := strings.Split(path, "/")
	// A pattern is valid when the ID it becomes with a name in each star's place is valid.
	sample := make([]string, len(segments))
	for i, s := range segments {
		sample[i] = s
		if s == "*" {
			sample[i] = "x"
		}
	}
	if _, err := spiffeid.FromString("spiffe://" + domain + "/" + strings.Join(sample, "/")); err != nil {
		return clientID{}, fmt.Errorf("%w (a * stands for one whole segment after the trust domain)", err)
	}
	return clientID{trustDomain: domain, segments: segments}, nil
}

// matches says whether the SPIFFE ID id (the zero ID: none) or one of the DNS names is the one meant.
func (c clientID) matches(id spiffeid.ID, names []string) bool {
	if c.dns != "" {
		for _, name := range names {
			if strings.EqualFold(name, c.dns) {
				return true
			}
		}
		return false
	}
	if id.IsZero() || id.TrustDomain().Name() != c.trustDomain {
		return false
	}
	segments := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	if len(segments) != len(c.segments) {
		return false
	}
	for i, want := range c.segments {
		if want != "*" && want != segments[i] {
			return false
		}
	}
	return true
}

// errClientID marks a client whose certificate is good and whose name is not on the list.
var errClientID = errors.New("the client is not in --tls-client-ids")

// entriesOf are the entries of the list that a verified leaf answers to, by their index. A SPIFFE certificate carries exactly one URI name
// and signs nothing (X509-SVID, sections 2 and 4): with two names, which one is meant would be the reader's choice.
func entriesOf(ids []clientID, leaf *x509.Certificate) (entries []int) {
	var id spiffeid.ID
	if len(leaf.URIs) == 1 && !leaf.IsCA {
		if parsed, err := spiffeid.FromURI(leaf.URIs[0]); err == nil {
			id = parsed
		}
	}
	for i, c := range ids {
		if c.matches(id, leaf.DNSNames) {
			entries = append(entries, i)
		}
	}
	return entries
}

// admit judges a verified leaf.
func admit(ids []clientID, leaf *x509.Certificate) error {
	if len(entriesOf(ids, leaf)) > 0 {
		return nil
	}
	uris := make([]string, len(leaf.URIs))
	for i, u := range leaf.URIs {
		uris[i] = u.String()
	}
	return fmt.Errorf("%w: its certificate names %.200q", errClientID, append(uris, leaf.DNSNames...))
}

// client is what a connection carries beside its TLS: which entries of the allow-list its certificate answers to. It is found once, at
// the handshake, so that no call reads a certificate.
type client struct {
	credentials.TLSInfo
	entries []int
}

// knownClient adds to a connection's TLS who it is.
func knownClient(ids []clientID, info credentials.AuthInfo) credentials.AuthInfo {
	over, ok := info.(credentials.TLSInfo)
	if !ok || len(ids) == 0 || len(over.State.VerifiedChains) == 0 {
		return info
	}
	return client{over, entriesOf(ids, over.State.VerifiedChains[0][0])}
}

// Client says which entries of --tls-client-ids the caller of a gRPC call answers to, by their index; none where the gate has no such
// list. The slice must not be written to.
func Client(ctx context.Context) []int {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(client); ok {
			return c.entries
		}
	}
	return nil
}
