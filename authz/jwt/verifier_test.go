package jwt

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// shop is an issuer with the settings that a policy has when it says nothing special; over changes them.
func shop(t testing.TB, over func(*policy.Issuer)) *policy.Issuer {
	t.Helper()
	schema, err := newSchema()
	if err != nil {
		t.Fatal(err)
	}
	i := settings(schema)
	if over != nil {
		over(i)
	}
	return i
}

func newSchema() (*condition.Schema, error) {
	return condition.NewSchema([]condition.Claim{
		{Name: "sub", Type: condition.String, Always: true}, {Name: "client_id", Type: condition.String, Always: true},
		{Name: "gty", Type: condition.String}, {Name: "scope", Type: condition.Strings},
	})
}

func settings(schema *condition.Schema) *policy.Issuer {
	machine, errs := schema.Compile("token.sub == token.client_id", condition.Machine)
	if len(errs) > 0 {
		panic(errs[0])
	}
	return &policy.Issuer{
		Name: "shop", Issuer: authztest.Issuer, Audiences: []string{authztest.Audience},
		Algorithms: authz.Algorithms(), Types: []string{"at+jwt"}, Require: []string{"sub", "client_id", "jti"},
		ClientIDClaim: []string{"client_id"}, ScopeClaim: []string{"scope"},
		Machine: machine, Schema: schema, MaxLifetime: time.Hour, Leeway: 10 * time.Second,
	}
}

func program(t testing.TB, source string) *condition.Program {
	t.Helper()
	schema, err := newSchema()
	if err != nil {
		t.Fatal(err)
	}
	p, errs := schema.Compile(source, condition.Machine)
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return p
}

// ring is the key set of the issuer in these tests.
func ring() *authztest.Keys {
	return &authztest.Keys{Generation: 1, Ring: []*authztest.Key{
		authztest.RSA(), authztest.EC(), authztest.P384(), authztest.P521(), authztest.Ed25519(),
	}}
}

// good mints alice's token with changes.
func good(claims map[string]any) string {
	return authztest.Mint(authztest.EC(), nil, authztest.Claims(claims))
}

// verify asks by every way in: a verifier that remembers nothing; one that has just proved another token, until it has the token's
// principal ready; and the whole decision, under a rule that names the issuer and under one whose branch the token chooses. All must
// answer the same.
func verify(t testing.TB, issuer *policy.Issuer, keys Keys, token string, now time.Time) (*authz.Principal, error) {
	t.Helper()
	cold := New(issuer, keys, Options{Pool: NewPool(PoolOptions{Bytes: -1})})
	warm := New(issuer, keys, Options{Pool: NewPool(PoolOptions{Bytes: 64 << 10})})
	_, _ = warm.Verify(context.Background(), good(nil), now)
	p, err := cold.Verify(context.Background(), token, now)
	for range 3 {
		again, errAgain := warm.Verify(context.Background(), token, now)
		if diff := cmp.Diff(show(p, err), show(again, errAgain)); diff != "" {
			t.Errorf("cold and warm disagree:\n%s", diff)
		}
	}
	for _, verifier := range []*Verifier{cold, warm} {
		for _, path := range []string{"/named", "/either"} {
			d := decide(t, verifier, path, token, "", now)
			want := err == nil && !p.Confirmation.Bound
			if got := d.Verdict == authz.Allow; got != want {
				t.Errorf("%s: %s %s (%s), beside %v", path, d.Verdict, d.Reason, d.Detail, err)
			}
			if want {
				if diff := cmp.Diff(show(p, nil), show(d.Principal, nil)); diff != "" {
					t.Errorf("%s: another principal:\n%s", path, diff)
				}
			}
		}
	}
	return p, err
}

// rules is a policy with both ways to a verifier of an issuer.
func rules(t testing.TB, issuer *policy.Issuer) *policy.Policy {
	t.Helper()
	text := fmt.Sprintf(`version: 1
trust_domain: cluster.local
peers: envoy
issuers:
  %[1]s: {issuer: %[2]q, audiences: [orders-api]}
services:
  - name: orders
    hosts: [orders.example]
    rules:
      - {name: named, match: GET /named, issuer: %[1]s}
      - name: either
        match: GET /either
        either: [{issuer: %[1]s}, {token: none, callers: [batch/*]}]
`, issuer.Name, issuer.Issuer)
	if p, known := parsed.Load(text); known {
		return p.(*policy.Policy)
	}
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	parsed.Store(text, p)
	return p
}

// parsed remembers the policies of rules, which are few and slow to compile.
var parsed sync.Map

// decide judges a request with the token, and with the client certificate of a connection if there is one.
func decide(t testing.TB, v *Verifier, path, token, certificate string, now time.Time) *authz.Decision {
	t.Helper()
	a := authz.New(authz.Options{Now: func() time.Time { return now }})
	a.Use(&authz.Bundle{Policy: rules(t, v.issuer), Verifiers: authz.Verifiers{v.issuer.Name: v}, UnverifiedIssuer: UnverifiedIssuer})
	return a.Check(context.Background(), &authz.Request{
		HTTP: true, Method: "GET", Host: "orders.example", Target: path,
		Headers: authz.Headers{Fields: []authz.Field{{Name: "authorization", Value: "Bearer " + token}}},
		Peer:    authz.Peer{Address: "203.0.113.9", Certificate: certificate},
	})
}

// show is all that a decision can see of an answer.
func show(p *authz.Principal, err error) string {
	var refused *authz.TokenError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%s %s, principal %v", refused.Reason, refused.Detail, p != nil)
	case err != nil:
		return fmt.Sprintf("undecided: %v, principal %v", err, p != nil)
	}
	var claims []string
	for _, name := range []string{"sub", "client_id", "jti", "scope", "roles", "plan", "vip", "level", "user", "gty"} {
		if v, ok := p.Token.Value(name); ok {
			claims = append(claims, fmt.Sprintf("%s=%v", name, v))
		}
	}
	return fmt.Sprintf("%v client=%s jti=%s sid=%s cnf=%v scopes=[%s] aud=%v iat=%s exp=%s claims=%v",
		p.Identity, p.ClientID, p.TokenID, p.Session, p.Confirmation, p.Scopes.String(), p.Audiences,
		p.IssuedAt.Format(time.RFC3339Nano), p.Expires.Format(time.RFC3339Nano), claims)
}

// line is one token and the one word that the audit record will say of it; "" is an accepted token.
type line struct {
	name   string
	token  string
	detail string
}

func run(t *testing.T, issuer *policy.Issuer, lines []line) {
	t.Helper()
	for _, l := range lines {
		t.Run(l.name, func(t *testing.T) {
			t.Helper()
			p, err := verify(t, issuer, ring(), l.token, authztest.Now)
			wantDetail(t, p, err, l.detail)
		})
	}
}

func wantDetail(t testing.TB, p *authz.Principal, err error, detail string) {
	t.Helper()
	if detail == "" {
		if err != nil || p == nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var refused *authz.TokenError
	if !errors.As(err, &refused) || refused.Reason != authz.InvalidToken || refused.Detail != detail {
		t.Fatalf("got %v, want %s", err, detail)
	}
	if p != nil {
		t.Fatal("a principal came with a refusal")
	}
}

// What a good token comes to.
func TestPrincipal(t *testing.T) {
	p, err := verify(t, shop(t, nil), ring(), good(map[string]any{"sid": "s-1"}), authztest.Now)
	if err != nil {
		t.Fatal(err)
	}
	want := "{shop person alice} client=web jti=token-1 sid=s-1 cnf={false " + fmt.Sprint([32]byte{}) + "} scopes=[read:orders] " +
		"aud=[orders-api] iat=2026-11-20T11:59:00Z exp=2026-11-20T12:09:00Z " +
		"claims=[sub=alice client_id=web jti=token-1 scope=[read:orders]]"
	if got := show(p, nil); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Every algorithm verifies what its own key signed, and nothing that another algorithm of the same key signed.
func TestAlgorithms(t *testing.T) {
	for alg, key := range map[string]*authztest.Key{
		"RS256": authztest.RSA(), "RS384": authztest.RSA(), "RS512": authztest.RSA(),
		"PS256": authztest.RSA(), "PS384": authztest.RSA(), "PS512": authztest.RSA(),
		"ES256": authztest.EC(), "ES384": authztest.P384(), "ES512": authztest.P521(), "EdDSA": authztest.Ed25519(),
	} {
		token := authztest.Mint(key, map[string]any{"alg": alg}, authztest.Claims(nil))
		run(t, shop(t, nil), []line{
			{alg, token, ""},
			{alg + ", another claim in place", swapPayload(token, good(map[string]any{"sub": "bob"})), authz.DetailSignature},
			{alg + " that the issuer does not use", token, ""},
		})
		p, err := verify(t, shop(t, func(i *policy.Issuer) { i.Algorithms = without(i.Algorithms, alg) }), ring(), token, authztest.Now)
		wantDetail(t, p, err, authz.DetailAlgorithm)
	}
	if len(methods) != len(authz.Algorithms()) {
		t.Errorf("%d methods for %d algorithms", len(methods), len(authz.Algorithms()))
	}
}

func without(list []string, one string) (rest []string) {
	for _, s := range list {
		if s != one {
			rest = append(rest, s)
		}
	}
	return rest
}

// swapPayload puts the payload of one token into another.
func swapPayload(token, other string) string {
	a, b := strings.Split(token, "."), strings.Split(other, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

// none, in every spelling, and everything that is no algorithm (RFC 8725 3.1): the list is of what is allowed, by exact bytes. That
// an issuer's settings name them changes nothing.
func TestNoAlgorithm(t *testing.T) {
	claims := authztest.Claims(nil)
	var lines []line
	for _, alg := range []any{"none", "None", "NONE", "noNE", "nonE", "", "rs256", "RS256 ", "ES256K", "Ed25519", "RS1", "HS256", "HS384", "HS512", authztest.Null, 7, true, []string{"ES256"}, nil} {
		lines = append(lines,
			line{fmt.Sprintf("unsigned, alg %v", alg), authztest.Unsigned(map[string]any{"alg": alg, "kid": "ec-1"}, claims), authz.DetailAlgorithm},
			line{fmt.Sprintf("well signed, alg %v", alg), authztest.Mint(authztest.EC(), map[string]any{"alg": alg}, claims), authz.DetailAlgorithm})
	}
	lines = append(lines,
		line{"PBES2 with 2^31 rounds", authztest.Unsigned(map[string]any{"alg": "PBES2-HS512+A256KW", "p2c": 1 << 31, "p2s": "AA"}, claims), authz.DetailAlgorithm},
		line{"the twin", good(nil), ""})
	run(t, shop(t, nil), lines)
	run(t, shop(t, func(i *policy.Issuer) { i.Algorithms = append(i.Algorithms, "none", "HS256", "", "ES256K") }), lines)
}

// A secret that anybody can fetch signs nothing (CVE-2015-9235).
func TestPublicKeyAsSecret(t *testing.T) {
	for _, key := range []*authztest.Key{authztest.RSA(), authztest.EC()} {
		for spelling, secret := range authztest.PublicTexts(key) {
			for _, alg := range []string{"HS256", key.Alg} {
				token := authztest.HMAC(secret, map[string]any{"kid": key.ID, "alg": alg}, authztest.Claims(nil))
				want := authz.DetailAlgorithm
				if alg != "HS256" {
					want = authz.DetailSignature
				}
				run(t, shop(t, nil), []line{{key.Alg + " key as " + spelling + ", alg " + alg, token, want}})
			}
		}
	}
}

// anyKey hands out one key whatever is asked: the verifier itself must hold the key to the algorithm.
type anyKey struct{ key crypto.PublicKey }

func (k anyKey) Key(string, string, time.Time) (crypto.PublicKey, uint64, error) {
	return k.key, 1, nil
}

// One algorithm, one kind of key, one curve (RFC 8725 3.1): a token that another kind of key really signed does not pass.
func TestKeyAndAlgorithm(t *testing.T) {
	for _, c := range []struct {
		name, alg string
		signer    *authztest.Key
		served    crypto.PublicKey
		detail    string
	}{
		{"ES256 by P-256", "ES256", authztest.EC(), authztest.EC().Public(), ""},
		{"ES256 by P-384", "ES256", authztest.P384(), authztest.P384().Public(), authz.DetailAlgorithm},
		{"ES384 by P-256", "ES384", authztest.EC(), authztest.EC().Public(), authz.DetailAlgorithm},
		{"ES256 against an RSA key", "ES256", authztest.EC(), authztest.RSA().Public(), authz.DetailAlgorithm},
		{"RS256 against an EC key", "RS256", authztest.RSA(), authztest.EC().Public(), authz.DetailAlgorithm},
		{"EdDSA against an EC key", "EdDSA", authztest.Ed25519(), authztest.EC().Public(), authz.DetailAlgorithm},
		{"PS256 against an Ed25519 key", "PS256", authztest.RSA(), authztest.Ed25519().Public(), authz.DetailAlgorithm},
		{"no key at all", "ES256", authztest.EC(), nil, authz.DetailAlgorithm},
		{"a private key", "ES256", authztest.EC(), authztest.EC().Private, authz.DetailAlgorithm},
		{"a secret", "ES256", authztest.EC(), []byte("secret"), authz.DetailAlgorithm},
		{"another's key of the same name", "ES256", authztest.OtherEC(), authztest.EC().Public(), authz.DetailSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := fmt.Sprintf(`{"typ":"at+jwt","alg":%q,"kid":"k"}`, c.alg)
			token := authztest.MintRaw(c.signer, c.alg, header, payload(nil))
			p, err := verify(t, shop(t, nil), anyKey{c.served}, token, authztest.Now)
			wantDetail(t, p, err, c.detail)
		})
	}
}

// An issuer's verifier knows that issuer's keys and no others, whatever they are called.
func TestIssuersDoNotShareKeys(t *testing.T) {
	other := *authztest.OtherEC()
	other.ID = "only-there"
	token := authztest.Mint(&other, nil, authztest.Claims(nil))
	p, err := verify(t, shop(t, nil), &authztest.Keys{Ring: []*authztest.Key{&other}}, token, authztest.Now)
	wantDetail(t, p, err, "")
	p, err = verify(t, shop(t, nil), ring(), token, authztest.Now)
	wantDetail(t, p, err, authz.DetailUnknownKey)
	p, err = verify(t, shop(t, nil), ring(), authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)), authztest.Now)
	wantDetail(t, p, err, authz.DetailSignature)
}

// What the keys' side could not decide is not a refusal; what it decided is.
func TestKeyErrors(t *testing.T) {
	odd := errors.New("odd")
	for _, c := range []struct {
		err    error
		reason authz.Reason
	}{
		{authz.ErrUnknownKey, authz.InvalidToken},
		{authz.ErrKeysUnavailable, authz.KeysUnavailable},
		{fmt.Errorf("wrapped: %w", authz.ErrKeysUnavailable), authz.KeysUnavailable},
		{odd, authz.Undecided},
	} {
		p, err := verify(t, shop(t, nil), &authztest.Keys{Err: c.err}, good(nil), authztest.Now)
		var refused *authz.TokenError
		if p != nil || errors.As(err, &refused) != (c.reason != authz.Undecided) || !errors.Is(err, c.err) {
			t.Errorf("%v: %v, %v", c.err, p, err)
		}
		if refused != nil && refused.Reason != c.reason {
			t.Errorf("%v: %s, want %s", c.err, refused.Reason, c.reason)
		}
	}
}

// payload is the JSON of alice's claims.
func payload(over map[string]any) string {
	token := strings.Split(good(over), ".")
	data, err := decode(token[1])
	if err != nil {
		panic(err)
	}
	return string(data)
}
