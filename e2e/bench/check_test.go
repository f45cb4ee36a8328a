package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/authz/issuer"
	"github.com/sallyport-dev/sallyport/authz/jwks"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// rules is the size of the policy: that of a large company's edge.
const rules = 1000

// BenchmarkCheckRPC is one whole ext_authz call as Envoy makes it: a person's token that was seen before, one of a thousand rules with
// scopes and an owner, a header for the upstream and metadata for the limiter; beside a stock gRPC server that allows everything.
func BenchmarkCheckRPC(b *testing.B) {
	tokens := startIssuer(b)
	authorizer := newAuthorizer(b, tokens)
	in := checkRequest(mint(b, tokens))
	gate := extauthz.New(authorizer, extauthz.NewMetrics(prometheus.NewRegistry()))
	answer, err := gate.Check(b.Context(), in)
	if err != nil {
		b.Fatal(err)
	}
	for _, network := range networks {
		ours := daemonServer()
		extauthz.Register(ours, gate)
		judged := checkCall(serve(b, network, ours), in, true)
		noop := checkCall(serve(b, network, stock{out: allow}.server()), in, false)
		same := checkCall(serve(b, network, stock{out: answer}.server()), in, true)
		for _, c := range callers {
			b.Run(network+"/"+c.name, func(b *testing.B) { versus(b, c.n, judged, "noop", noop) })
		}
		// What is left when the answer's own size is taken out: the limiter's and the log's metadata cost even who only sends them.
		b.Run(network+"/16-callers-beside-the-same-answer", func(b *testing.B) { versus(b, 16, judged, "same", same) })
	}
}

// checkCall asks, and holds the answer to an allow; judged, to one that names the person.
func checkCall(conn *grpc.ClientConn, in *authv3.CheckRequest, judged bool) call {
	client := authv3.NewAuthorizationClient(conn)
	return func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		out, err := client.Check(ctx, in)
		switch {
		case err != nil:
			return err
		case out.GetStatus().GetCode() != 0:
			return fmt.Errorf("denied: %v", out)
		case judged && out.GetDynamicMetadata().GetFields()["subject"].GetStringValue() != "alice":
			return fmt.Errorf("allowed without having judged: %v", out)
		}
		return nil
	}
}

// allow is the least answer that lets a request pass.
var allow = &authv3.CheckResponse{
	Status:       &rpcstatus.Status{},
	HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
}

// stock is a service that reads and writes the same messages as the gate and does nothing in between.
type stock struct {
	authv3.UnimplementedAuthorizationServer
	out *authv3.CheckResponse
}

// Check implements the service.
func (s stock) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return s.out, nil
}

// server is gRPC's own, as it comes.
func (s stock) server() *grpc.Server {
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	return server
}

// startIssuer runs an issuer on loopback until the benchmark ends.
func startIssuer(b *testing.B) *issuerServer {
	b.Helper()
	s := &issuerServer{}
	var handler atomic.Pointer[issuer.Issuer]
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().ServeHTTP(w, r) }))
	b.Cleanup(at.Close)
	made, err := issuer.New(issuer.Options{Issuer: at.URL})
	if err != nil {
		b.Fatal(err)
	}
	handler.Store(made)
	s.Issuer, s.url = made, at.URL
	return s
}

type issuerServer struct {
	*issuer.Issuer
	url string
}

func mint(b *testing.B, tokens *issuerServer) string {
	b.Helper()
	token, err := tokens.Mint(issuer.Claims{
		Subject: "alice", ClientID: "web", Audience: []string{"orders-api"}, Scope: "openid profile read:orders", Lifetime: time.Hour,
	})
	if err != nil {
		b.Fatal(err)
	}
	return token
}

// newAuthorizer is the decision as the binary builds it: policy, key set, verifier.
func newAuthorizer(b *testing.B, tokens *issuerServer) *authz.Authorizer {
	b.Helper()
	loaded := policy.Load(nil, []policy.File{{Name: "policy.yaml", Data: []byte(manyRules(tokens.url))}})
	if errs := loaded.Files[0].Errors; len(errs) > 0 {
		b.Fatal(errs.Pretty())
	}
	shop := loaded.Policy.Issuers["shop"]
	keys := jwks.New(shop.Keys, shop.Issuer, jwks.Options{MaxStale: shop.MaxStale})
	if err := keys.Try(b.Context()); err != nil {
		b.Fatal(err)
	}
	// The calls' deadline lies below the ceiling, as Envoy's does below the real one: no second timer is set.
	a := authz.New(authz.Options{Ceiling: 2 * callTimeout})
	a.Use(&authz.Bundle{Policy: loaded.Policy, Verifiers: authz.Verifiers{"shop": jwt.New(shop, keys, jwt.Options{})}})
	return a
}

// manyRules is a policy of rules in the shape that real ones have: collections and items, a captured owner, a method each.
func manyRules(issuerURL string) string {
	var t strings.Builder
	t.WriteString(strings.ReplaceAll(`version: 1
trusted_proxies: [127.0.0.0/8]
issuers:
  shop:
    issuer: ISSUER
    jwks: ISSUER/jwks.json
    audiences: [orders-api]
    machine: token.sub == token.client_id
    claims: {roles: strings, plan: string}
services:
  - name: orders
    hosts: [shop.test]
    edge: true
    headers: {x-user-id: token.sub}
    rules:
`, "ISSUER", issuerURL))
	for i := range rules {
		fmt.Fprintf(&t, `      - name: list-%[1]d
        match: GET /users/{user_id}/things-%[1]d
        scopes: ["read:orders"]
        owner: {of: path.user_id, is: token.sub, unless_role: admin}
        metadata: {plan: {value: token.plan, default: free}}
`, i)
	}
	return t.String()
}

// checkRequest is what Envoy sends for a browser's request, with encode_raw_headers.
func checkRequest(token string) *authv3.CheckRequest {
	const path = "/users/alice/things-500?page=2&sort=date"
	var fields []*corev3.HeaderValue
	for _, field := range [][2]string{
		{":method", "GET"}, {":authority", "shop.test"}, {":path", path}, {":scheme", "http"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
		{"accept", "application/json, text/plain, */*"}, {"accept-language", "en-GB,en;q=0.7"}, {"accept-encoding", "gzip, deflate, br"},
		{"authorization", "Bearer " + token}, {"referer", "https://app.example/orders"}, {"origin", "https://app.example"},
		{"x-forwarded-for", "198.51.100.7"}, {"x-forwarded-proto", "http"},
		{"x-request-id", "7d2c8f9e-1f0e-4f7b-9d0b-5f2b1f0c9a11"}, {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	} {
		fields = append(fields, &corev3.HeaderValue{Key: field[0], RawValue: []byte(field[1])})
	}
	peer := func(port uint32) *authv3.AttributeContext_Peer {
		return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}}}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: peer(40112), Destination: peer(8080),
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "11094893327443741623", Method: "GET", Path: path, Host: "shop.test", Scheme: "http", Protocol: "HTTP/1.1",
			HeaderMap: &corev3.HeaderMap{Headers: fields},
		}},
	}}
}
