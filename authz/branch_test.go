package authz_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

const branches = `version: 1
trust_domain: cluster.local
peers: envoy
issuers:
  shop: {issuer: "https://shop", audiences: [orders-api]}
  partner: {issuer: "https://partner", audiences: [orders-api]}
services:
  - name: orders
    hosts: [orders.example]
    rules:
      - name: stock
        match: GET /stock/{item}
        either:
          - {issuer: shop, scopes: ["read:orders"], owner: none}
          - {issuer: partner, scopes: ["stock:read"], owner: {of: path.item, is: token.sub}}
          - {token: none, callers: [batch/*]}
      - name: tokens-only
        match: GET /tokens
        either: [{issuer: shop}, {issuer: partner, callers: [web/frontend]}]
      - name: bound
        match: GET /bound
        issuer: shop
        sender: mtls
      - name: free
        match: GET /free
        issuer: shop
      - name: web-only
        match: GET /web-only
        issuer: shop
        clients: {web: [web/frontend], robot: [batch/*]}
`

// branchGate is a gate whose verifiers know the tokens of fixture_test.go, each beside its issuer: "shop~alice".
func branchGate(t *testing.T, text string, revocations authz.Revocations) *authz.Authorizer {
	t.Helper()
	known := tokens()
	known["bound"] = with(person("alice", "read:orders", nil), func(p *authz.Principal) {
		p.Confirmation = authz.Confirmation{Bound: true, Thumbprint: sha256.Sum256(leaf(t))}
	})
	p := mustParse(t, text)
	verifiers := authz.Verifiers{}
	for name := range p.Issuers {
		own := authztest.Verifier{}
		for token, principal := range known {
			own[name+"~"+token] = principal
		}
		verifiers[name] = own
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: verifiers, Revocations: revocations, UnverifiedIssuer: func(token string) (string, bool) {
		issuer, _, ok := strings.Cut(token, "~")
		return "https://" + issuer, ok
	}})
	return a
}

// The credential chooses the branch, and what the branch refuses, no other is asked about.
func TestEither(t *testing.T) {
	a := branchGate(t, branches, nil)
	lines := []line{
		{"shop's branch", get("/stock/tea", as("shop~alice")), "200 allowed stock"},
		{"shop's branch, without its scope", get("/stock/tea", as("shop~noscope")), "403 insufficient_scope stock"},
		{"partner's branch", get("/stock/bob", as("partner~bob")), "200 allowed stock"},
		{"partner's branch, with shop's scope only", get("/stock/alice", as("partner~alice")), "403 insufficient_scope stock"},
		{"partner's branch, another's object", get("/stock/tea", as("partner~bob")), "403 owner stock"},
		{"no token, by its callers", get("/stock/tea", from(nightly)), "200 allowed stock"},
		{"no token, by another", get("/stock/tea", from(frontend)), "403 caller stock"},
		{"no token, by nobody", get("/stock/tea"), "403 caller stock"},
		{"a refused token does not fall back to the caller", get("/stock/tea", as("shop~nonsense"), from(nightly)), "401 invalid_token stock"},
		{"an issuer of no branch", get("/stock/tea", as("evil~alice"), from(nightly)), "401 invalid_token stock"},
		{"a token that cannot be read", get("/stock/tea", as("garbage"), from(nightly)), "401 invalid_token stock"},
		{"two credentials", get("/stock/tea", credentials("Bearer shop:alice", "Bearer partner~bob")), "400 invalid_request stock"},
		{"no token where each branch asks for one", get("/tokens"), "401 no_token tokens-only"},
		{"a branch's callers", get("/tokens", as("partner~bob"), from(frontend)), "200 allowed tokens-only"},
		{"not a branch's callers", get("/tokens", as("partner~bob")), "403 caller tokens-only"},
		{"another branch asks for no callers", get("/tokens", as("shop~bob")), "200 allowed tokens-only"},
	}
	judge(t, a, verdict, lines)
}

var private, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)

// leaf is a client certificate of one key, the same at each call.
func leaf(t *testing.T) []byte {
	t.Helper()
	if leafDER == nil {
		leafDER = certificate(t, 1)
	}
	return leafDER
}

var leafDER []byte

func certificate(t *testing.T, serial int64) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: authztest.Now.Add(-time.Hour), NotAfter: authztest.Now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// by comes with a client certificate, as Envoy writes it under include_peer_certificate.
func by(der []byte) option {
	return func(r *authz.Request) {
		r.Peer.Certificate = url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	}
}

// RFC 8705 section 3: a token that is bound to a certificate is good for nobody else.
func TestSender(t *testing.T) {
	a := branchGate(t, branches, nil)
	mine, reissued := leaf(t), certificate(t, 2)
	lines := []line{
		{"bound, with its certificate", get("/bound", as("shop~bound"), by(mine)), "200 allowed bound"},
		{"bound, with another certificate of the same key", get("/bound", as("shop~bound"), by(reissued)), "401 invalid_token bound (sender)"},
		{"bound, where none arrives", get("/bound", as("shop~bound")), "401 invalid_token bound (no_certificate)"},
		{"bound, with a certificate in a header", get("/bound", as("shop~bound"), header("x-forwarded-client-cert", "Hash=aa")), "401 invalid_token bound (no_certificate)"},
		{"bound, with garbage", get("/bound", as("shop~bound"), func(r *authz.Request) { r.Peer.Certificate = "garbage" }), "401 invalid_token bound (no_certificate)"},
		{"a bearer token where a bound one is demanded", get("/bound", as("shop~alice"), by(mine)), "401 invalid_token bound (sender)"},
		{"bound, where it is not demanded, is still held", get("/free", as("shop~bound"), by(reissued)), "401 invalid_token free (sender)"},
		{"bound, where it is not demanded", get("/free", as("shop~bound"), by(mine)), "200 allowed free"},
		{"a bearer token where anybody's will do", get("/free", as("shop~alice")), "200 allowed free"},
		// An application is taken only from its own workloads.
		{"web, from web", get("/web-only", as("shop~alice"), from(frontend)), "200 allowed web-only"},
		{"web, from another workload", get("/web-only", as("shop~alice"), from(nightly)), "403 caller web-only"},
		{"web, from nobody", get("/web-only", as("shop~alice")), "403 caller web-only"},
		{"robot, from its own", get("/web-only", as("shop~robot"), from(nightly)), "200 allowed web-only"},
	}
	judge(t, a, detail, lines)
}

// What may outlive its check says for how long, where access logs and operators can hold Envoy to it.
func TestMaxConnection(t *testing.T) {
	text := strings.Replace(branches, "match: GET /free\n", "match: GET /free\n        upgrades: [websocket]\n        max_connection: 15m\n", 1)
	d := branchGate(t, text, nil).Check(t.Context(), get("/free", as("shop~alice"), header("upgrade", "websocket")))
	if len(d.Metadata) != 1 || d.Metadata[0] != (authz.Field{Name: "max_connection", Value: "15m0s"}) {
		t.Errorf("%s, with metadata %v", verdict(d), d.Metadata)
	}
}

// view is a view of revocations of a certain age.
type view struct {
	revoked map[string]bool
	age     time.Duration
}

func (v view) Revoked(p *authz.Principal, _ time.Time) (bool, time.Duration) {
	return v.revoked[p.Identity.Subject], v.age
}

// A revoked token is dead, and where that could not be known, every token is, unless the policy says otherwise.
func TestRevocation(t *testing.T) {
	asked := strings.Replace(branches, "issuers:\n", "revocation: {stale_after: 60s}\nissuers:\n", 1)
	lenient := strings.Replace(asked, "60s", "60s, when_stale: allow", 1)
	alice, bob, public := get("/free", as("shop~alice")), get("/free", as("shop~bob")), get("/stock/tea", from(nightly))
	fresh := view{map[string]bool{"alice": true}, time.Second}
	stale := view{map[string]bool{"alice": true}, 61 * time.Second}
	for name, test := range map[string]struct {
		text string
		view authz.Revocations
		ask  *authz.Request
		want string
	}{
		"revoked":                               {asked, fresh, alice, "401 invalid_token free (revoked)"},
		"not revoked":                           {asked, fresh, bob, "200 allowed free"},
		"not asked for, where there is a store": {branches, fresh, alice, "401 invalid_token free (revoked)"},
		"not asked for, and stale":              {branches, stale, bob, "503 revocation_stale free"},
		"not asked for, and no view":            {branches, nil, alice, "200 allowed free"},
		"never read, and stale is allowed":      {lenient, view{nil, authz.NeverKnown}, bob, "503 revocation_stale free"},
		"asked for, and no view":                {asked, nil, bob, "503 revocation_stale free"},
		"a stale view":                          {asked, stale, bob, "503 revocation_stale free"},
		"a stale view that knows enough":        {asked, stale, alice, "401 invalid_token free (revoked)"},
		"a stale view, allowed":                 {lenient, stale, bob, "200 allowed free"},
		"a stale view, allowed, that knows":     {lenient, stale, alice, "401 invalid_token free (revoked)"},
		"a stale view, and no token is asked":   {asked, stale, public, "200 allowed stock"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := detail(branchGate(t, test.text, test.view).Check(t.Context(), test.ask)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
