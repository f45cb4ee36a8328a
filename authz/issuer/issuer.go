// Package issuer signs access tokens and publishes the keys that verify them: an issuer small enough to run inside a demo, so that a
// stranger can see real tokens refused for real reasons without an identity provider. It is a room of its own because it alone holds
// private keys; they are made at the start, live in memory and die with the process.
package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// defaultLifetime is how long a token lives unless its claims say otherwise.
const defaultLifetime = 5 * time.Minute

// rsaBits is the size of the RS256 key.
const rsaBits = 2048

// The paths that an Issuer answers. Metadata is RFC 8414's, for an issuer without a path of its own.
const (
	KeySetPath   = "/jwks.json"
	MetadataPath = "/.well-known/oauth-authorization-server"
)

// Options describe an issuer.
type Options struct {
	// Issuer is the `iss` of its tokens and the base of its URLs, without a final slash. Required.
	Issuer string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Rand is where token ids come from; nil is crypto/rand. Keys always come from crypto/rand.
	Rand io.Reader
}

// Claims is what one token says. See RFC 9068 section 2.2 for their meaning.
type Claims struct {
	Subject  string
	ClientID string
	// Audience is written as one text if there is one, else as a list.
	Audience []string
	// Scope is the scopes, one space between them; "" leaves the claim out.
	Scope string
	// Lifetime is exp - iat; 0 is five minutes.
	Lifetime time.Duration
	// Algorithm is ES256 (also "") or RS256.
	Algorithm string
	// Type is the `typ` of the header; "" is at+jwt.
	Type string
	// Extra holds further claims. One that is named above, or iss, iat, exp or jti, overrides; nil removes.
	Extra map[string]any
}

// Issuer signs tokens and serves its public keys. It is safe for concurrent use and serves as an http.Handler.
type Issuer struct {
	opt    Options
	keys   map[string]signer
	keySet []byte
	mux    *http.ServeMux
}

type signer struct {
	method jwt.SigningMethod
	kid    string
	key    crypto.Signer
}

var _ http.Handler = (*Issuer)(nil)

// New makes an issuer with a fresh ES256 and a fresh RS256 key.
func New(opt Options) (*Issuer, error) {
	if opt.Issuer == "" {
		return nil, errors.New("issuer: an issuer needs a name")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issuer: make the ES256 key: %w", err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, rsaBits)
	if err != nil {
		return nil, fmt.Errorf("issuer: make the RS256 key: %w", err)
	}
	i := &Issuer{opt: opt, keys: map[string]signer{}}
	var set jwkset.JWKSMarshal
	for _, k := range []signer{{method: jwt.SigningMethodES256, key: ec}, {method: jwt.SigningMethodRS256, key: rs}} {
		public, err := publish(&k)
		if err != nil {
			return nil, err
		}
		i.keys[k.method.Alg()] = k
		set.Keys = append(set.Keys, public)
	}
	if i.keySet, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("issuer: encode the key set: %w", err)
	}
	return i, i.routes()
}

// publish names a key after its public half and encodes that half.
func publish(s *signer) (jwkset.JWKMarshal, error) {
	der, err := x509.MarshalPKIXPublicKey(s.key.Public())
	if err != nil {
		return jwkset.JWKMarshal{}, fmt.Errorf("issuer: encode a key: %w", err)
	}
	sum := sha256.Sum256(der)
	s.kid = s.method.Alg() + "-" + hex.EncodeToString(sum[:8])
	jwk, err := jwkset.NewJWKFromKey(s.key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{
		ALG: jwkset.ALG(s.method.Alg()), KID: s.kid, USE: jwkset.UseSig,
	}})
	if err != nil {
		return jwkset.JWKMarshal{}, fmt.Errorf("issuer: encode a key: %w", err)
	}
	return jwk.Marshal(), nil
}

func (i *Issuer) routes() error {
	metadata, err := json.Marshal(map[string]any{
		"issuer": i.opt.Issuer, "jwks_uri": i.opt.Issuer + KeySetPath, "response_types_supported": []string{},
	})
	if err != nil {
		return fmt.Errorf("issuer: encode the metadata: %w", err)
	}
	i.mux = http.NewServeMux()
	i.mux.Handle("GET "+KeySetPath, document(i.keySet, "application/jwk-set+json"))
	i.mux.Handle("GET "+MetadataPath, document(metadata, "application/json"))
	return nil
}

// document serves fixed bytes with an entity tag, so that whoever asks again is answered in one line.
func document(body []byte, kind string) http.HandlerFunc {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", kind)
		h.Set("Cache-Control", "public, max-age=60")
		h.Set("ETag", tag)
		h.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// ServeHTTP answers [KeySetPath] and [MetadataPath].
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

// KeySet is the public key set (RFC 7517 5), as it is served. The caller must not write to it.
func (i *Issuer) KeySet() []byte { return i.keySet }

// Mint signs an access token.
func (i *Issuer) Mint(c Claims) (string, error) {
	alg := c.Algorithm
	if alg == "" {
		alg = "ES256"
	}
	k, ok := i.keys[alg]
	if !ok {
		return "", fmt.Errorf("issuer: no key signs %q; ES256 and RS256 do", alg)
	}
	claims, err := i.claims(c)
	if err != nil {
		return "", err
	}
	token := jwt.NewWithClaims(k.method, claims)
	token.Header["kid"] = k.kid
	token.Header["typ"] = "at+jwt"
	if c.Type != "" {
		token.Header["typ"] = c.Type
	}
	signed, err := token.SignedString(k.key)
	if err != nil {
		return "", fmt.Errorf("issuer: sign a token: %w", err)
	}
	return signed, nil
}

func (i *Issuer) claims(c Claims) (jwt.MapClaims, error) {
	var id [16]byte
	if _, err := io.ReadFull(i.opt.Rand, id[:]); err != nil {
		return nil, fmt.Errorf("issuer: make a token id: %w", err)
	}
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	now := i.opt.Now()
	claims := jwt.MapClaims{
		"iss": i.opt.Issuer, "sub": c.Subject, "client_id": c.ClientID, "aud": c.Audience,
		"iat": now.Unix(), "exp": now.Add(c.Lifetime).Unix(), "jti": hex.EncodeToString(id[:]),
	}
	if len(c.Audience) == 1 {
		claims["aud"] = c.Audience[0]
	}
	if c.Scope != "" {
		claims["scope"] = c.Scope
	}
	for name, value := range c.Extra {
		if value == nil {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	return claims, nil
}
