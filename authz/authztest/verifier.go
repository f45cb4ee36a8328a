package authztest

import (
	"context"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// Verifier knows its tokens by heart: the map's key is the whole token. Any other token is refused as malformed. A principal whose
// Expires has passed is refused as expired; a zero Expires never passes.
type Verifier map[string]*authz.Principal

var _ authz.Verifier = Verifier(nil)

// Verify implements [authz.Verifier].
func (v Verifier) Verify(_ context.Context, token string, now time.Time) (*authz.Principal, error) {
	p, ok := v[token]
	if !ok {
		return nil, &authz.TokenError{Reason: authz.InvalidToken, Detail: authz.DetailMalformed}
	}
	if !p.Expires.IsZero() && !now.Before(p.Expires) {
		return nil, &authz.TokenError{Reason: authz.InvalidToken, Detail: authz.DetailExpired}
	}
	return p, nil
}

// VerifierFunc is a verifier of one function, for tests that need an error, a panic or a lost deadline in this place.
type VerifierFunc func(ctx context.Context, token string, now time.Time) (*authz.Principal, error)

// Verify implements [authz.Verifier].
func (f VerifierFunc) Verify(ctx context.Context, token string, now time.Time) (*authz.Principal, error) {
	return f(ctx, token, now)
}
