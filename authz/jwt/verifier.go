package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// MaxToken is the longest token in bytes. Envoy lets 60 KiB of headers through; no access token needs an eighth of that.
const MaxToken = 8 << 10

// defaultCacheBytes holds some ten thousand ordinary tokens.
const defaultCacheBytes = 32 << 20

// Keys is where the issuer's verification keys come from. It is asked for every token, remembered ones included.
type Keys = authz.Keys

// Options tune a Verifier.
type Options struct {
	// CacheBytes bounds the memory of remembered proofs, estimated; 0 is 32 MiB, a negative value remembers nothing.
	CacheBytes int
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
	proofs   *otter.Cache[fingerprint, *proof]
}

var _ authz.Verifier = (*Verifier)(nil)

// fingerprint names a token under the settings of one issuer: neither the token nor anything of it can be read back from the cache's
// keys, and a proof made under other settings is never found.
type fingerprint [sha256.Size]byte

// proof is what does not change about a token that was good once: its signature under one generation of keys, and its static claims.
type proof struct {
	kid, alg   string
	generation uint64
	times      times
	principal  *authz.Principal
	// size is the payload's length in bytes.
	size int
}

// New makes the verifier of one issuer and its keys. It starts nothing.
func New(issuer *policy.Issuer, keys Keys, opt Options) *Verifier {
	v := &Verifier{issuer: issuer, keys: keys, methods: methodsOf(issuer.Algorithms)}
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
	v.proofs = newCache(opt.CacheBytes)
	return v
}

// newCache bounds by weight alone. Expiry is not the cache's business: the clock of the caller is consulted on every hit.
func newCache(bytes int) *otter.Cache[fingerprint, *proof] {
	switch {
	case bytes < 0:
		return nil
	case bytes == 0:
		bytes = defaultCacheBytes
	}
	return otter.Must(&otter.Options[fingerprint, *proof]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ fingerprint, p *proof) uint32 { return p.weight() },
		// Housekeeping runs on the caller: it is short, and the request path starts no goroutines.
		Executor: func(task func()) { task() },
	})
}

// weight estimates the bytes that a proof keeps alive: its decoded claims, their maps and the cache's own entry.
func (p *proof) weight() uint32 { return uint32(1024 + 4*p.size) }

// Verify implements [authz.Verifier].
func (v *Verifier) Verify(_ context.Context, token string, now time.Time) (*authz.Principal, error) {
	if len(token) > MaxToken {
		return nil, refuse(authz.DetailTooLarge)
	}
	if v.proofs == nil {
		p, err := v.prove(token, now)
		if err != nil {
			return nil, err
		}
		return p.principal, nil
	}
	name := v.fingerprint(token)
	if p, ok := v.proofs.GetIfPresent(name); ok {
		_, generation, err := v.keys.Key(p.kid, p.alg, now)
		if err != nil {
			return nil, keyError(err)
		}
		if generation == p.generation {
			if err := p.times.judge(now, v.issuer.Leeway); err != nil {
				return nil, err
			}
			return p.principal, nil
		}
	}
	p, err := v.prove(token, now)
	if err != nil {
		return nil, err
	}
	v.proofs.Set(name, p)
	return p.principal, nil
}

// prove does all the work for a token that is not remembered, in an order in which nothing is read before the step that makes it safe
// to read: bytes, header, key, signature, claims, clock.
func (v *Verifier) prove(token string, now time.Time) (*proof, error) {
	parts, err := split(token)
	if err != nil {
		return nil, err
	}
	head, err := v.header(parts.header)
	if err != nil {
		return nil, err
	}
	key, generation, err := v.keys.Key(head.kid, head.alg, now)
	if err != nil {
		return nil, keyError(err)
	}
	if err := authz.KeyFits(head.alg, key); err != nil {
		return nil, refuseFor(authz.DetailAlgorithm, err)
	}
	if err := parts.verify(v.methods[head.alg], key); err != nil {
		return nil, err
	}
	p, err := v.claims(parts.payload)
	if err != nil {
		return nil, err
	}
	if err := p.times.judge(now, v.issuer.Leeway); err != nil {
		return nil, err
	}
	p.kid, p.alg, p.generation = head.kid, head.alg, generation
	return p, nil
}

// usualToken is the length in bytes up to which a token is hashed within the stack that a fresh goroutine has.
const usualToken = 1<<10 - sha256.Size

// fingerprint hashes the issuer's settings and the token. The digest has a fixed length, so no two inputs run together.
func (v *Verifier) fingerprint(token string) fingerprint {
	if len(token) > usualToken {
		return v.longFingerprint(token)
	}
	var buf [sha256.Size + usualToken]byte
	n := copy(buf[:], v.issuer.Digest[:])
	n += copy(buf[n:], token)
	return sha256.Sum256(buf[:n])
}

// longFingerprint is fingerprint with room for every token. It stays out of line, so that the usual token does not pay for growing
// the stack.
//
//go:noinline
func (v *Verifier) longFingerprint(token string) fingerprint {
	var buf [sha256.Size + MaxToken]byte
	n := copy(buf[:], v.issuer.Digest[:])
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
