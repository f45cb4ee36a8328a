package jwt

import (
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // the hash of *256
	_ "crypto/sha512" // the hashes of *384 and *512

	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport-dev/sallyport/authz"
)

// method verifies one algorithm's signatures.
type method interface {
	Verify(signed string, signature []byte, key any) error
}

// methods has a row for each of authz.Algorithms, whose own table says what key each demands. The library's registry is not asked:
// it knows "none" and the symmetric algorithms.
var methods = map[string]method{
	"RS256": jwt.SigningMethodRS256,
	"RS384": jwt.SigningMethodRS384,
	"RS512": jwt.SigningMethodRS512,
	"PS256": pss(crypto.SHA256),
	"PS384": pss(crypto.SHA384),
	"PS512": pss(crypto.SHA512),
	"ES256": jwt.SigningMethodES256,
	"ES384": jwt.SigningMethodES384,
	"ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA,
}

// pss demands a salt of the hash's length (RFC 7518 3.5). The library's own PS methods take a salt of any length.
func pss(hash crypto.Hash) method {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: &jwt.SigningMethodRSA{Hash: hash},
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash},
	}
}

// methodsOf keeps the methods that an issuer may use. A name that is no algorithm here, such as none or HS256, gains nothing by
// standing in the list.
func methodsOf(algorithms []string) map[string]method {
	allowed := make(map[string]method, len(algorithms))
	for _, alg := range algorithms {
		if m, ok := methods[alg]; ok {
			allowed[alg] = m
		}
	}
	return allowed
}

// verify checks the signature. The key has been held to the algorithm before.
func (c compact) verify(m method, key crypto.PublicKey) error {
	signature, err := decode(c.signature)
	if err != nil {
		return err
	}
	if m.Verify(c.signed, signature, key) != nil {
		return refuse(authz.DetailSignature)
	}
	return nil
}
