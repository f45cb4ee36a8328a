package jwt

import (
	"context"
	"encoding/base64"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Unproved judges what tokens say and not who signed them: header, claims and dates by all that an issuer demands, by the same code as
// [Verifier], without a key. Anybody can write what it accepts. It is for tools that ask what a policy would decide, and a gate must
// never hold one: a test of the tools' own room keeps it there. Safe for concurrent use.
type Unproved struct{ verifier *Verifier }

var _ authz.Verifier = (*Unproved)(nil)

// NewUnproved makes the judge of one issuer's claims.
func NewUnproved(issuer *policy.Issuer) *Unproved {
	return &Unproved{New(issuer, nil, Options{Pool: NewPool(PoolOptions{Bytes: -1})})}
}

// Verify says whose a token would be if its signature were good.
func (u *Unproved) Verify(_ context.Context, token string, now time.Time) (*authz.Principal, error) {
	if len(token) > MaxToken {
		return nil, refuse(authz.DetailTooLarge)
	}
	parts, err := split(token)
	if err != nil {
		return nil, err
	}
	head, err := u.verifier.header(parts.header)
	if err != nil {
		return nil, err
	}
	var p proof
	if err := u.verifier.claims(parts.payload, &p); err != nil {
		return nil, err
	}
	if err := p.times.judge(now, u.verifier.issuer.Leeway); err != nil {
		return nil, err
	}
	p.principal.KeyID, p.principal.Algorithm = head.kid, head.alg
	return p.principal, nil
}

// Unsigned writes a header and claims, both JSON, as a token with an empty signature, which no [Verifier] accepts.
func Unsigned(header, claims []byte) string {
	return base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims) + "."
}
