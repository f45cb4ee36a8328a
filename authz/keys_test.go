package authz_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// Each algorithm takes exactly the keys of its own kind and curve. There is no algorithm without a key pair.
func TestKeyFitsOneKind(t *testing.T) {
	kinds := map[string]crypto.PublicKey{
		"RSA": authztest.RSA().Public(), "P-256": authztest.EC().Public(), "P-384": authztest.P384().Public(), "P-521": authztest.P521().Public(),
		"Ed25519": authztest.Ed25519().Public(), "nil": nil, "nil RSA": (*rsa.PublicKey)(nil), "nil EC": (*ecdsa.PublicKey)(nil),
		"P-224": &ecdsa.PublicKey{Curve: elliptic.P224()}, "no curve": &ecdsa.PublicKey{},
		"short Ed25519": ed25519.PublicKey(make([]byte, 31)), "secret": []byte("secret"), "text": "key",
		"private RSA": authztest.RSA().Private, "private EC": authztest.EC().Private,
	}
	want := map[string]string{
		"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
		"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519",
	}
	for _, alg := range append(authz.Algorithms(), "none", "", "HS256", "ES256K", "rs256", "Ed25519") {
		for kind, key := range kinds {
			fits := want[alg] == kind
			if err := authz.KeyFits(alg, key); (err == nil) != fits {
				t.Errorf("KeyFits(%q, %s) = %v, want fits %v", alg, kind, err, fits)
			}
		}
	}
	if all := authz.Algorithms(); len(all) != len(want) || !slices.IsSorted(all) {
		t.Errorf("Algorithms() = %v", all)
	}
}

// RSA keys have bounds on both sides: too weak to trust, too large to compute with for a client's pleasure.
func TestKeyFitsRSABounds(t *testing.T) {
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	for _, c := range []struct {
		name string
		key  rsa.PublicKey
		fits bool
	}{
		{"2048 bits", rsa.PublicKey{N: odd(2048), E: 65537}, true},
		{"8192 bits", rsa.PublicKey{N: odd(8192), E: 65537}, true},
		{"exponent 3", rsa.PublicKey{N: odd(2048), E: 3}, true},
		{"the largest exponent", rsa.PublicKey{N: odd(2048), E: 1<<31 - 1}, true},
		{"2047 bits", rsa.PublicKey{N: odd(2047), E: 65537}, false},
		{"8193 bits", rsa.PublicKey{N: odd(8193), E: 65537}, false},
		{"no modulus", rsa.PublicKey{E: 65537}, false},
		{"an even modulus", rsa.PublicKey{N: new(big.Int).Lsh(odd(2048), 1), E: 65537}, false},
		{"exponent 0", rsa.PublicKey{N: odd(2048)}, false},
		{"exponent 1", rsa.PublicKey{N: odd(2048), E: 1}, false},
		{"exponent 2", rsa.PublicKey{N: odd(2048), E: 2}, false},
		{"an even exponent", rsa.PublicKey{N: odd(2048), E: 65536}, false},
		{"a negative exponent", rsa.PublicKey{N: odd(2048), E: -3}, false},
		{"a larger exponent", rsa.PublicKey{N: odd(2048), E: 1<<31 + 1}, false},
	} {
		for _, alg := range []string{"RS256", "PS512"} {
			if err := authz.KeyFits(alg, &c.key); (err == nil) != c.fits {
				t.Errorf("%s, %s: %v, want fits %v", c.name, alg, err, c.fits)
			}
		}
	}
}
