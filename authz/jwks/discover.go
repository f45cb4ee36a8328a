package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// relearn is how long a discovered jwks_uri is used before the issuer is asked again.
const relearn = time.Hour

// discovered returns where the issuer's metadata says that its keys are, and whether that is on this machine on the operator's word.
func (s *Set) discovered(ctx context.Context) (*url.URL, bool, error) {
	issuer, err := s.checkURL(s.issuer, true)
	if err != nil {
		return nil, false, err
	}
	local := isLoopback(issuer.Hostname())
	if s.origin.keysAt == "" || s.opt.Now().Sub(s.origin.learned).Abs() > relearn {
		keysAt, err := s.discover(ctx, issuer, local)
		if err != nil {
			return nil, false, err
		}
		s.origin.keysAt, s.origin.learned = keysAt, s.opt.Now()
	}
	u, err := s.checkURL(s.origin.keysAt, local)
	if err != nil {
		s.origin.keysAt = ""
		return nil, false, err
	}
	return u, local && isLoopback(u.Hostname()), nil
}

// discover asks at both places where an issuer may publish its metadata, and takes the first answer that is of this issuer.
func (s *Set) discover(ctx context.Context, issuer *url.URL, local bool) (string, error) {
	var failures []error
	for _, place := range metadataPlaces(issuer) {
		a, err := s.get(ctx, place, local)
		if err == nil {
			var keysAt string
			if keysAt, err = readMetadata(a.body, s.issuer); err == nil {
				return keysAt, nil
			}
			err = fmt.Errorf("jwks: %s: %w", place.Redacted(), err)
		}
		failures = append(failures, err)
	}
	return "", errors.Join(failures...)
}

// metadataPlaces are RFC 8414 section 3.1, which inserts the well-known part before the issuer's path, and OpenID Connect Discovery 1.0
// section 4.1, which appends it.
func metadataPlaces(issuer *url.URL) []*url.URL {
	path := strings.TrimSuffix(issuer.EscapedPath(), "/")
	at := func(path string) *url.URL {
		u := url.URL{Scheme: issuer.Scheme, Host: issuer.Host}
		u.Path, _ = url.PathUnescape(path)
		u.RawPath = path
		return &u
	}
	return []*url.URL{
		at("/.well-known/oauth-authorization-server" + path),
		at(path + "/.well-known/openid-configuration"),
	}
}

// readMetadata takes jwks_uri out of an issuer's metadata. The `issuer` in it must be the one that was asked, byte for byte (RFC 8414
// section 3.3): otherwise one tenant of a host could speak for another.
func readMetadata(body []byte, issuer string) (string, error) {
	root, err := strictjson.Parse(body, documentLimits)
	if err != nil {
		return "", fmt.Errorf("the metadata is not strict JSON: %w", err)
	}
	said, _ := textOf(root, "issuer")
	if said != issuer {
		return "", fmt.Errorf("the metadata is of the issuer %q, not of %q", clip(said), issuer)
	}
	keysAt, ok := textOf(root, "jwks_uri")
	if !ok || keysAt == "" {
		return "", errors.New("the metadata names no jwks_uri")
	}
	return keysAt, nil
}
