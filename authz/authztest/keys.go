package authztest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"sync"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// Key is a signing key with the name that its issuer publishes it under.
type Key struct {
	// ID is the kid.
	ID string
	// Alg is the algorithm that Mint signs with unless told otherwise.
	Alg string
	// Private is *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey.
	Private crypto.Signer
}

// Public is the verification key.
func (k *Key) Public() crypto.PublicKey { return k.Private.Public() }

// The key ring. Each key is made once per process, because an RSA key takes as long as a hundred tests.
var (
	// RSA is the issuer's RS256 key of 2048 bits, "rsa-1".
	RSA = sync.OnceValue(func() *Key { return &Key{ID: "rsa-1", Alg: "RS256", Private: newRSA(2048)} })
	// OtherRSA is a key that no issuer published. It says that it is "rsa-1", as an attacker would.
	OtherRSA = sync.OnceValue(func() *Key { return &Key{ID: "rsa-1", Alg: "RS256", Private: newRSA(2048)} })
	// EC is the issuer's ES256 key, "ec-1".
	EC = sync.OnceValue(func() *Key { return &Key{ID: "ec-1", Alg: "ES256", Private: newEC(elliptic.P256())} })
	// OtherEC is an attacker's key that says that it is "ec-1".
	OtherEC = sync.OnceValue(func() *Key { return &Key{ID: "ec-1", Alg: "ES256", Private: newEC(elliptic.P256())} })
	// P384 is an ES384 key, "p384-1".
	P384 = sync.OnceValue(func() *Key { return &Key{ID: "p384-1", Alg: "ES384", Private: newEC(elliptic.P384())} })
	// P521 is an ES512 key, "p521-1".
	P521 = sync.OnceValue(func() *Key { return &Key{ID: "p521-1", Alg: "ES512", Private: newEC(elliptic.P521())} })
	// Ed25519 is an EdDSA key, "ed-1".
	Ed25519 = sync.OnceValue(func() *Key {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		must(err)
		return &Key{ID: "ed-1", Alg: "EdDSA", Private: private}
	})
)

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	must(err)
	return key
}

func newEC(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(err)
	return key
}

// JWK is the key's public half as a JSON Web Key (RFC 7517), with `use` and `alg`; members overrides, and a nil value removes.
func (k *Key) JWK(members map[string]any) map[string]any {
	jwk := map[string]any{"kid": k.ID, "use": "sig", "alg": k.Alg}
	switch public := k.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", b64(public.N.Bytes()), b64(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		must(err)
		half := (len(point) - 1) / 2
		jwk["kty"], jwk["crv"] = "EC", public.Curve.Params().Name
		jwk["x"], jwk["y"] = b64(point[1:1+half]), b64(point[1+half:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", b64(public)
	}
	return merge(jwk, members)
}

// JWKS is a key set document (RFC 7517 5) of keys.
func JWKS(keys ...*Key) []byte {
	all := make([]map[string]any, len(keys))
	for i, k := range keys {
		all[i] = k.JWK(nil)
	}
	return Set(all...)
}

// Set is a key set document of JSON Web Keys as they are.
func Set(jwks ...map[string]any) []byte {
	if jwks == nil {
		jwks = []map[string]any{}
	}
	return marshal(map[string]any{"keys": jwks})
}

// Keys is a fixed key set for one issuer: an authz.Keys that never changes unless the test changes it between calls.
type Keys struct {
	// Ring is what the issuer published.
	Ring []*Key
	// Generation is reported with every key.
	Generation uint64
	// Err, if set, is the answer to every question.
	Err error
}

var _ authz.Keys = (*Keys)(nil)

// Key implements [authz.Keys].
func (k *Keys) Key(kid, alg string, _ time.Time) (crypto.PublicKey, uint64, error) {
	if k.Err != nil {
		return nil, 0, k.Err
	}
	var found crypto.PublicKey
	for _, key := range k.Ring {
		if kid != "" && kid != key.ID || authz.KeyFits(alg, key.Public()) != nil {
			continue
		}
		if found != nil {
			return nil, 0, authz.ErrUnknownKey
		}
		found = key.Public()
	}
	if found == nil {
		return nil, 0, authz.ErrUnknownKey
	}
	return found, k.Generation, nil
}

func merge(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	for name, v := range over {
		if v == nil {
			delete(out, name)
			continue
		}
		out[name] = v
	}
	return out
}

func marshal(v any) []byte {
	data, err := json.Marshal(v)
	must(err)
	return data
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func must(err error) {
	if err != nil {
		panic("authztest: a fixture that cannot be made: " + err.Error())
	}
}
