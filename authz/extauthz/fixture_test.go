package extauthz_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
)

// shop has a private rule, one that hides, and a public one.
const shop = `version: 1
trust_domain: cluster.local
peers: envoy
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api], machine: never, claims: {plan: string}}
services:
  - name: orders
    hosts: [orders.example]
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    rules:
      - name: read-orders
        match: GET /users/{user_id}/orders
        scopes: [read:orders, list:orders]
        any_scope: [web, app]
        owner: {of: path.user_id, is: token.sub}
        metadata: {plan: {value: token.plan, default: free}}
      - name: invoice
        match: GET /invoices/{user_id}
        owner: {of: path.user_id, is: token.sub, otherwise: 404}
      - name: not-there
        match: GET /not-there
        deny: 404
      - name: reindex
        match: POST /internal/reindex
        callers: [batch/*]
        token: none
      - name: catalogue
        match: GET /catalogue/{rest...}
        public: true
        except: []
`

// good is the token that the issuer signed for alice.
const good = "alice"

// gate is an authorizer of the policy shop.
func gate(t testing.TB) *authz.Authorizer {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shop)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	scopes, err := scope.Parse("read:orders list:orders web")
	if err != nil {
		t.Fatal(err)
	}
	alice := &authz.Principal{
		Identity: authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "alice"}, ClientID: "web", Scopes: scopes,
		Token: condition.NewToken(map[string]any{"sub": "alice", "client_id": "web"}),
	}
	a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": authztest.Verifier{
		good:     alice,
		"weak":   {Identity: alice.Identity, Token: alice.Token},
		"nobody": {Identity: authz.Identity{Issuer: "shop"}, Scopes: scopes},
	}}})
	return a
}

// checker answers with what a test wants to see answered.
type checker func(ctx context.Context, r *authz.Request) *authz.Decision

func (f checker) Check(ctx context.Context, r *authz.Request) *authz.Decision { return f(ctx, r) }

// answer is the response to one decision.
func answer(t testing.TB, d *authz.Decision, contentType string) *authv3.CheckResponse {
	t.Helper()
	s := extauthz.New(checker(func(context.Context, *authz.Request) *authz.Decision { return d }), nil)
	out, err := s.Check(t.Context(), request("GET", "/", map[string]string{"content-type": contentType}))
	if err != nil {
		t.Fatalf("an RPC error, which Envoy may take for an allow: %v", err)
	}
	return out
}

// request is a CheckRequest in map mode, from 203.0.113.9.
func request(method, path string, headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: socket("203.0.113.9")},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Path: path, Host: "orders.example", Headers: headers,
		}},
	}}
}

// raw is the same request in raw mode.
func raw(in *authv3.CheckRequest) *authv3.CheckRequest {
	http := in.GetAttributes().GetRequest().GetHttp()
	http.HeaderMap = &corev3.HeaderMap{}
	for name, value := range http.GetHeaders() {
		http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte(value)})
	}
	http.Headers = nil
	return in
}

func socket(address string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: address}}}
}

// values finds what a list of header options sets a name to.
func values(options []*corev3.HeaderValueOption, name string) []string {
	var found []string
	for _, o := range options {
		if strings.EqualFold(o.GetHeader().GetKey(), name) {
			found = append(found, o.GetHeader().GetValue())
		}
	}
	return found
}
