package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// MaxToken is the longest token in bytes. Envoy lets 60 KiB of headers through; no access token needs an eighth of that.
const MaxToken = 8 << 10

// Keys is where the issuer's verification keys come from. It is asked for every token, remembered ones included.
type Keys = authz.Keys

// Options tune a Verifier.
type Options struct {
	// Pool is shared with the other verifiers of the process; nil is one of its own, of default size.
	Pool *Pool
}

// Verifier proves the tokens of one issuer. It implements [authz.Verifier] and is safe for concurrent use.
type Verifier struct {
	issuer  *policy.Issuer
	keys    Keys
	methods map[string]method
	// types are the accepted `typ` values, lower case, without "application/"; untyped says that it may be absent.
	types   []string
	untyped bool
	markers []string
	// required, audience and the like are resolved to their places once.
	required [][]string
	audience []string
	pool     *Pool
	share    *share // nil where the pool remembers nothing
}

var _ authz.Verifier = (*Verifier)(nil)

// fingerprint names a token under the settings of one issuer: neither the token nor anything of it can be read back from the names, and
// what was found under other settings is never found again.
type fingerprint [sha256.Size]byte

// proof is a good token: what was found on the way, and whose it is.
type proof struct {
	trial
	principal *authz.Principal
}

// New makes the verifier of one issuer and its keys. It starts nothing.
func New(issuer *policy.Issuer, keys Keys, opt Options) *Verifier {
	v := &Verifier{issuer: issuer, keys: keys, methods: methodsOf(issuer.Algorithms), pool: opt.Pool}
	for _, typ := range issuer.Types {
		if typ == "none" {
			v.untyped = true
			continue
		}
		v.types = append(v.types, mediaType(typ))
	}
	v.markers = forbiddenMarkers(issuer)
	for _, name := range issuer.Require {
		v.required = append(v.required, place(issuer, name))
	}
	if issuer.AudienceClaim != "" && issuer.AudienceClaim != "aud" {
		v.audience = place(issuer, issuer.AudienceClaim)
		if len(v.audience) == 1 && v.audience[0] == issuer.AudienceClaim {
			v.audience = strings.Split(issuer.AudienceClaim, ".") // no name of ours: a place, written as that of client_id is
		}
	}
	if v.pool == nil {
		v.pool = NewPool(PoolOptions{})
	}
	if v.pool.remembers {
		v.share = v.pool.join(v)
	}
	return v
}

// Verify implements [authz.Verifier]. A remembered token, good or bad, waits for nothing; one that is new may wait for its turn at the
// signature, within ctx, whose error it then returns.
func (v *Verifier) Verify(ctx context.Context, token string, now time.Time) (*authz.Principal, error) {
	if len(token) > MaxToken {
		return nil, refuse(authz.DetailTooLarge)
	}
	var name fingerprint
	if v.share != nil {
		name = v.fingerprint(token)
	}
	if p, err := v.recall(name, now); p != nil || err != nil {
		return p, err
	}
	return v.try(ctx, token, name, now)
}

// recall answers for a token that was judged before; neither a principal nor an error is one that was not, or under other keys.
func (v *Verifier) recall(name fingerprint, now time.Time) (*authz.Principal, error) {
	if v.share == nil {
		return nil, nil
	}
	if r, ok := v.share.proofs.GetIfPresent(name); ok {
		same, err := v.sameKeys(r.common.kid, r.common.alg, r.generation, now)
		if err != nil {
			return nil, err
		}
		if same {
			if err := r.times().judge(now, v.issuer.Leeway); err != nil {
				return nil, err
			}
			return v.principal(r), nil
		}
	}
	return nil, v.refused(name, now)
}

// try proves a token that is not remembered, and remembers the outcome if it is one.
func (v *Verifier) try(ctx context.Context, token string, name fingerprint, now time.Time) (*authz.Principal, error) {
	p := proof{trial: trial{name: name}}
	err := v.prove(ctx, token, now, &p)
	switch {
	case v.share == nil:
	case err == nil && p.settled:
		if r, ok := v.record(&p); ok {
			v.share.put(name, r)
			runtime.KeepAlive(v) // the share is taken back when nobody holds the verifier, so not before this
		}
	case err != nil && p.settled && refuses(err):
		v.pool.refusals.put(p.trial, err)
	}
	if err != nil {
		return nil, err
	}
	return p.principal, nil
}

// prove does all the work for a token that is not remembered, in an order in which nothing is read before the step that makes it safe
// to read: bytes, header, key, signature, claims, clock. It fills in p as far as it comes.
func (v *Verifier) prove(ctx context.Context, token string, now time.Time, p *proof) error {
	parts, err := split(token)
	if err != nil {
		return err // costs less than remembering it
	}
	head, err := v.header(parts.header)
	if err != nil {
		p.settled = true
		return err
	}
	key, generation, err := v.keys.Key(head.kid, head.alg, now)
	if err != nil {
		return keyError(err)
	}
	p.kid, p.alg, p.generation, p.keyed = head.kid, head.alg, generation, true
	if err := authz.KeyFits(head.alg, key); err != nil {
		p.settled = true
		return refuseFor(authz.DetailAlgorithm, err)
	}
	if err := v.pool.turns.take(ctx); err != nil {
		return err
	}
	defer v.pool.turns.give()
	if p.principal, err = v.recall(p.name, now); p.principal != nil || err != nil {
		return err // another request has proved it while this one waited
	}
	p.settled = true
	if err := parts.verify(v.methods[head.alg], key); err != nil {
		return err
	}
	if err := v.claims(parts.payload, p); err != nil {
		return err
	}
	p.principal.KeyID, p.principal.Algorithm = head.kid, head.alg
	p.dated = true
	return p.times.judge(now, v.issuer.Leeway)
}

func (v *Verifier) fingerprint(token string) fingerprint { return nameOf(v.issuer.Digest[:], token) }

// usualToken is the length in bytes up to which a token is hashed within the stack that a fresh goroutine has.
const usualToken = 1<<10 - sha256.Size

// nameOf hashes settings, by their digest or none, and the token. The digest has a fixed length, so no two inputs run together.
func nameOf(settings []byte, token string) fingerprint {
	if len(token) > usualToken {
		return longName(settings, token)
	}
	var buf [sha256.Size + usualToken]byte
	n := copy(buf[:], settings)
	n += copy(buf[n:], token)
	return sha256.Sum256(buf[:n])
}

// longName is nameOf with room for every token. It stays out of line, so that the usual token does not pay for growing the stack.
//
//go:noinline
func longName(settings []byte, token string) fingerprint {
	var buf [sha256.Size + MaxToken]byte
	n := copy(buf[:], settings)
	n += copy(buf[n:], token)
	return sha256.Sum256(buf[:n])
}

// keyError turns what Keys said into the answer: no key is a refusal, no answer is not.
func keyError(err error) error {
	switch {
	case errors.Is(err, authz.ErrUnknownKey):
		return refuseFor(authz.DetailUnknownKey, err)
	case errors.Is(err, authz.ErrKeysUnavailable):
		return &authz.TokenError{Reason: authz.KeysUnavailable, Detail: authz.DetailUnknownKey, Err: err}
	}
	return fmt.Errorf("jwt: look for a key: %w", err)
}

func refuse(detail string) error {
	return &authz.TokenError{Reason: authz.InvalidToken, Detail: detail}
}

func refuseFor(detail string, err error) error {
	return &authz.TokenError{Reason: authz.InvalidToken, Detail: detail, Err: err}
}

// place resolves one of our names to where its claim stands: client_id by the issuer's mapping, a declared claim by its own, any other
// at the top under that name.
func place(issuer *policy.Issuer, name string) []string {
	if name == "client_id" && len(issuer.ClientIDClaim) > 0 {
		return issuer.ClientIDClaim
	}
	for _, c := range issuer.Claims {
		if c.Name == name {
			return c.From
		}
	}
	return []string{name}
}

// forbiddenMarkers are the claims that mark other kinds of token (OpenID Connect Core 2, RFC 8417 2.2) and that this issuer's access
// tokens do not carry. Taking ID tokens on purpose does not take logout and event tokens along.
func forbiddenMarkers(issuer *policy.Issuer) []string {
	forbidden := []string{"nonce", "at_hash", "c_hash", "events"}
	if issuer.IDTokens {
		forbidden = []string{"events"}
	}
	return slices.DeleteFunc(forbidden, func(name string) bool { return slices.Contains(issuer.AllowMarkers, name) })
}

// mediaType is a `typ` or `cty` in one spelling: RFC 7515 4.1.9 lets "application/" be left out where no other slash follows, and
// media types ignore the case of ASCII letters (RFC 9068 2.1) and of no others.
func mediaType(text string) string {
	lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, text)
	if rest, ok := strings.CutPrefix(lower, "application/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return lower
}
