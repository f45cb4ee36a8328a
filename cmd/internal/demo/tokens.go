package demo

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/issuer"
)

// tokenLife is how long the good tokens live: as long as an issuer may let them by default.
const tokenLife = time.Hour

// What every good token of the demo says.
const (
	webPage    = "shop-web"   // the application that people signed in to
	ordersAPI  = "orders-api" // the audience of the orders service
	readOrders = "read:orders"
	issuerName = "shop" // the policy's name of who signs them

	franksPhone = "franks-phone" // the jti of Frank's token: what an operator types must be readable
)

// tokens are all that the story shows at the gate, good and bad.
type tokens struct {
	alice, bob, carol, dora, erin, frank string

	unscoped      string // Alice's, without the scope
	expired       string
	otherAudience string
	hs256         string // signed with the issuer's public key as if it were a shared secret
	unsigned      string // alg: none
	idToken       string // proves to the web page who signed in; opens nothing
}

// mint makes the story's tokens.
func mint(i *issuer.Issuer, now time.Time) (*tokens, error) {
	var t tokens
	person := func(name string) issuer.Claims {
		return issuer.Claims{Subject: name, ClientID: webPage, Audience: []string{ordersAPI}, Scope: readOrders, Lifetime: tokenLife}
	}
	with := func(change func(*issuer.Claims)) issuer.Claims {
		c := person("alice")
		change(&c)
		return c
	}
	carol := person("carol")
	carol.Extra = map[string]any{"roles": []string{"admin"}}
	frank := person("frank")
	frank.Extra = map[string]any{"jti": franksPhone}
	all := []struct {
		into   *string
		claims issuer.Claims
	}{
		{&t.alice, person("alice")}, {&t.bob, person("bob")}, {&t.carol, carol}, {&t.dora, person("dora")}, {&t.erin, person("erin")}, {&t.frank, frank},
		{&t.unscoped, with(func(c *issuer.Claims) { c.Scope = "read:catalogue" })},
		{&t.expired, with(func(c *issuer.Claims) {
			c.Extra = map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}
		})},
		{&t.otherAudience, with(func(c *issuer.Claims) { c.Audience = []string{"payments-api"} })},
		{&t.idToken, with(func(c *issuer.Claims) {
			c.Type, c.Audience, c.Scope = "JWT", []string{webPage}, ""
			c.Extra = map[string]any{"nonce": "n-0S6_WzA2Mj", "client_id": nil}
		})},
	}
	for _, one := range all {
		token, err := i.Mint(one.claims)
		if err != nil {
			return nil, fmt.Errorf("demo: mint a token: %w", err)
		}
		*one.into = token
	}
	var err error
	t.unsigned = unsign(t.alice)
	t.hs256, err = confuse(t.alice, i.KeySet())
	return &t, err
}

// unsign gives a token the header alg: none and no signature.
func unsign(token string) string {
	return part(`{"alg":"none","typ":"at+jwt"}`) + "." + payload(token) + "."
}

// confuse signs a token's claims by HMAC with the text of the issuer's public RSA key: a verifier that lets the token choose the
// algorithm takes the public key for the secret (RFC 8725 2.1).
func confuse(token string, keySet []byte) (string, error) {
	kid, secret, err := publicPEM(keySet)
	if err != nil {
		return "", err
	}
	signed := part(`{"alg":"HS256","kid":"`+kid+`","typ":"at+jwt"}`) + "." + payload(token)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// payload is the middle part of a token.
func payload(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	return parts[1]
}

// publicPEM is the RSA key of a JSON Web Key Set (RFC 7518 6.3.1) as the PEM file that people keep, with its kid.
func publicPEM(keySet []byte) (kid string, text []byte, err error) {
	var set struct {
		Keys []struct{ Kty, Kid, N, E string }
	}
	if err := json.Unmarshal(keySet, &set); err != nil {
		return "", nil, fmt.Errorf("demo: read the issuer's keys: %w", err)
	}
	for _, key := range set.Keys {
		if key.Kty != "RSA" {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(key.N)
		e, errE := base64.RawURLEncoding.DecodeString(key.E)
		if err := errors.Join(errN, errE); err != nil {
			return "", nil, fmt.Errorf("demo: read the issuer's RSA key: %w", err)
		}
		der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())})
		if err != nil {
			return "", nil, fmt.Errorf("demo: encode the issuer's RSA key: %w", err)
		}
		return key.Kid, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
	}
	return "", nil, errors.New("demo: the issuer has no RSA key")
}
