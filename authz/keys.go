package authz

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

var (
	// ErrUnknownKey says that the issuer's current key set has no key for this kid and algorithm, and that this was looked up
	// recently enough to be believed: the token is refused.
	ErrUnknownKey = errors.New("authz: the issuer has no key of this kid for this algorithm")
	// ErrKeysUnavailable says that the question could not be decided: the issuer never answered, has not answered for too long, or
	// is being asked just now. The client may try again in a second.
	ErrKeysUnavailable = errors.New("authz: the issuer's keys cannot be had just now")
)

// Keys hands out one issuer's verification keys. One implementation serves one issuer and no other: the same kid under two issuers
// is two keys.
type Keys interface {
	// Key returns the public key that kid and alg name at the instant now; with kid "" the one key of the whole set that fits alg.
	// It never fetches and never waits, so that no client can make a request slow by inventing kids. The generation changes
	// whenever the material of the set changes: a signature proved under another generation proves nothing. The error is
	// [ErrUnknownKey] or [ErrKeysUnavailable]; any other error means that the question could not be decided. Safe for concurrent use.
	Key(kid, alg string, now time.Time) (key crypto.PublicKey, generation uint64, err error)
}

// Bounds of an RSA key. Below 2048 bits the key can be attacked (RFC 7518 3.3 demands 2048); above 8192 one signature costs so much
// to verify that a client could spend the gate's time with it.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// keyShape is what a key must be for one algorithm. Exactly one member is set.
type keyShape struct {
	rsa     bool
	curve   elliptic.Curve
	ed25519 bool
}

// keyShapes binds each signature algorithm (RFC 7518 3.1, RFC 8037 3.1) to one type of key, before any arithmetic: an algorithm that is
// chosen by the token's header must never choose how the issuer's key is read (CVE-2015-9235). There is no symmetric row on purpose.
var keyShapes = map[string]keyShape{
	"RS256": {rsa: true},
	"RS384": {rsa: true},
	"RS512": {rsa: true},
	"PS256": {rsa: true},
	"PS384": {rsa: true},
	"PS512": {rsa: true},
	"ES256": {curve: elliptic.P256()},
	"ES384": {curve: elliptic.P384()},
	"ES512": {curve: elliptic.P521()},
	"EdDSA": {ed25519: true},
}

// Algorithms lists the signature algorithms that exist here, sorted. A policy may name any of them and nothing else.
func Algorithms() []string {
	all := make([]string, 0, len(keyShapes))
	for alg := range keyShapes {
		all = append(all, alg)
	}
	slices.Sort(all)
	return all
}

// KeyFits reports whether a public key is of the type, curve and size that alg demands, with the reason if it is not. An algorithm
// outside [Algorithms] fits no key.
func KeyFits(alg string, key crypto.PublicKey) error {
	shape, ok := keyShapes[alg]
	if !ok {
		return fmt.Errorf("authz: %q is not a signature algorithm that is accepted here", alg)
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if shape.rsa {
			return soundRSA(key)
		}
	case *ecdsa.PublicKey:
		if shape.curve != nil && key != nil && key.Curve == shape.curve {
			return nil
		}
	case ed25519.PublicKey:
		if shape.ed25519 && len(key) == ed25519.PublicKeySize {
			return nil
		}
	}
	return fmt.Errorf("authz: a key of type %T does not fit %s", key, alg)
}

func soundRSA(key *rsa.PublicKey) error {
	switch {
	case key == nil || key.N == nil:
		return errors.New("authz: an RSA key without a modulus")
	case key.N.BitLen() < minRSABits, key.N.BitLen() > maxRSABits:
		return fmt.Errorf("authz: an RSA key of %d bits; %d to %d are accepted", key.N.BitLen(), minRSABits, maxRSABits)
	case key.N.Bit(0) == 0:
		return errors.New("authz: an RSA key with an even modulus")
	case key.E < 3, key.E%2 == 0, key.E > math.MaxInt32:
		return fmt.Errorf("authz: an RSA key with the exponent %d; an odd one from 3 to 2^31-1 is accepted", key.E)
	}
	return nil
}
