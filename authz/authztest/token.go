package authztest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hash of *256
	_ "crypto/sha512" // the hashes of *384 and *512
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

// The party and the moment that the tokens of this package speak of.
const (
	Issuer   = "https://issuer.test"
	Audience = "orders-api"
)

// Now is the moment at which Claims is good: it was issued a minute before and dies nine minutes after.
var Now = time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)

// Null in a header or a claims map writes a JSON null, where nil would remove the member.
var Null = (*int)(nil)

// Claims are those of a good access token (RFC 9068 2.2) for alice; over overrides, and a nil value removes a claim.
func Claims(over map[string]any) map[string]any {
	return merge(map[string]any{
		"iss": Issuer, "aud": Audience, "sub": "alice", "client_id": "web", "jti": "token-1",
		"iat": Now.Add(-time.Minute).Unix(), "exp": Now.Add(9 * time.Minute).Unix(), "scope": "read:orders",
	}, over)
}

// Mint signs claims as the key's owner would: typ at+jwt, the key's kid and algorithm. header overrides, and a nil value removes a
// member; its `alg`, if it is an algorithm of this key, is also what signs.
func Mint(key *Key, header, claims map[string]any) string {
	h := merge(map[string]any{"typ": "at+jwt", "kid": key.ID, "alg": key.Alg}, header)
	alg, _ := h["alg"].(string)
	if hashes[alg] == 0 && alg != "EdDSA" {
		alg = key.Alg
	}
	return MintRaw(key, alg, string(marshal(h)), string(marshal(claims)))
}

// MintRaw signs a header and a payload that are written byte for byte, JSON or not.
func MintRaw(key *Key, alg, header, payload string) string {
	signed := b64([]byte(header)) + "." + b64([]byte(payload))
	return signed + "." + b64(Sign(key, alg, signed))
}

// Unsigned is a token with an empty signature: what `alg: none` promises.
func Unsigned(header, claims map[string]any) string {
	h := merge(map[string]any{"typ": "at+jwt", "alg": "none"}, header)
	return b64(marshal(h)) + "." + b64(marshal(claims)) + "."
}

// HMAC signs with a secret, by HS256: the confusion of CVE-2015-9235 when the secret is a public key.
func HMAC(secret []byte, header, claims map[string]any) string {
	h := merge(map[string]any{"typ": "at+jwt", "alg": "HS256"}, header)
	signed := b64(marshal(h)) + "." + b64(marshal(claims))
	mac := hmac.New(crypto.SHA256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

// WithSignature replaces a token's signature by any bytes.
func WithSignature(token string, signature []byte) string {
	return SignedPart(token) + "." + b64(signature)
}

// SignedPart is a token without its last dot and signature.
func SignedPart(token string) string {
	for i := len(token) - 1; i >= 0; i-- {
		if token[i] == '.' {
			return token[:i]
		}
	}
	return token
}

var hashes = map[string]crypto.Hash{
	"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
	"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512,
}

// Sign makes the signature of RFC 7518 3 (or RFC 8037 3.1) over signed. An ES algorithm may be used with a key of another curve, as an
// attacker might.
func Sign(key *Key, alg, signed string) []byte {
	switch private := key.Private.(type) {
	case *rsa.PrivateKey:
		if alg[0] == 'P' {
			return SignPSS(key, alg, signed, rsa.PSSSaltLengthEqualsHash)
		}
		signature, err := rsa.SignPKCS1v15(rand.Reader, private, hashes[alg], digest(alg, signed))
		must(err)
		return signature
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest(alg, signed))
		must(err)
		size := (private.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	default:
		return ed25519.Sign(as[ed25519.PrivateKey](key), []byte(signed))
	}
}

// as is a key's private half; a test that asks for another kind than the key's is wrong.
func as[K any](key *Key) K {
	private, ok := key.Private.(K)
	if !ok {
		panic("authztest: a key of another kind")
	}
	return private
}

// SignPSS signs with a salt of any length, where RFC 7518 3.5 demands the length of the hash.
func SignPSS(key *Key, alg, signed string, salt int) []byte {
	signature, err := rsa.SignPSS(rand.Reader, as[*rsa.PrivateKey](key), hashes[alg], digest(alg, signed), &rsa.PSSOptions{SaltLength: salt})
	must(err)
	return signature
}

// SignDER makes an ECDSA signature in ASN.1, where RFC 7518 3.4 demands r and s of fixed size.
func SignDER(key *Key, alg, signed string) []byte {
	signature, err := ecdsa.SignASN1(rand.Reader, as[*ecdsa.PrivateKey](key), digest(alg, signed))
	must(err)
	return signature
}

// RS joins r and s of an ECDSA signature for ES256, for signatures that no key made.
func RS(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// PublicTexts are the spellings of a public key that anybody can fetch and that a confused verifier takes for an HMAC secret.
func PublicTexts(key *Key) map[string][]byte {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	must(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return map[string][]byte{
		"PEM":                   text,
		"PEM without a newline": text[:len(text)-1],
		"DER":                   der,
		"JWK":                   marshal(key.JWK(nil)),
		"empty":                 {},
	}
}

func digest(alg, signed string) []byte {
	h := hashes[alg].New()
	h.Write([]byte(signed))
	return h.Sum(nil)
}
