package envoy

import (
	"context"
	"net"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// twoGates are gates that say what a test wants, and remember what they were asked.
type twoGates struct {
	authv3.UnimplementedAuthorizationServer
	rlsv3.UnimplementedRateLimitServiceServer
	verdict *authv3.CheckResponse
	over    string // the domain that is over its limit
	checked *authv3.CheckRequest
	asked   []string // domains and descriptors, in order
}

func (g *twoGates) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	g.checked = in
	g.asked = append(g.asked, "check")
	return g.verdict, nil
}

func (g *twoGates) ShouldRateLimit(_ context.Context, in *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	text := in.GetDomain()
	for _, d := range in.GetDescriptors() {
		text += " "
		for i, e := range d.GetEntries() {
			if i > 0 {
				text += ","
			}
			text += e.GetKey() + "=" + e.GetValue()
		}
	}
	g.asked = append(g.asked, text)
	if in.GetDomain() != g.over {
		return &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}, nil
	}
	return &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{
		{Code: rlsv3.RateLimitResponse_OK, LimitRemaining: 7, CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{RequestsPerUnit: 500, Unit: rlsv3.RateLimitResponse_RateLimit_SECOND}},
		{Code: rlsv3.RateLimitResponse_OVER_LIMIT, DurationUntilReset: durationpb.New(42_700_000_000),
			CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{Name: "who", RequestsPerUnit: 100, Unit: rlsv3.RateLimitResponse_RateLimit_MINUTE}},
	}}, nil
}

// serveGates serves both gates on one loopback port.
func serveGates(t *testing.T, g *twoGates) *StandIn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, g)
	rlsv3.RegisterRateLimitServiceServer(server, g)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	s, err := NewStandIn(listener.Addr().String(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func standInAllows() *authv3.CheckResponse {
	metadata, err := structpb.NewStruct(map[string]any{"who": "user|shop|alice", "service": "orders", "rule": "list"})
	if err != nil {
		panic(err)
	}
	return &authv3.CheckResponse{Status: &rpcstatus.Status{}, DynamicMetadata: metadata, HttpResponse: &authv3.CheckResponse_OkResponse{
		OkResponse: &authv3.OkHttpResponse{
			Headers:         []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-user-id", Value: "alice"}}},
			HeadersToRemove: []string{"x-original-url"},
		},
	}}
}

func standInRefuses() *authv3.CheckResponse {
	return &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
		DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "www-authenticate", Value: "Bearer"}}},
			Body:    "{}",
		},
	}}
}

// The gates are asked in the order of demo.yaml's filters, with what Envoy would say, and the first refusal ends it.
func TestStandInAsksAsEnvoyDoes(t *testing.T) {
	const (
		edge = "edge masked_remote_address=203.0.113.1/32"
		mesh = "mesh who=user|shop|alice service=orders,rule=list service=orders,rule=list,who=user|shop|alice"
	)
	limited := []StandInField{{"retry-after", "42"}, {"x-ratelimit-limit", `100, 500;w=1, 100;w=60;name="who"`}, {"x-ratelimit-remaining", "0"}, {"x-ratelimit-reset", "42"}}
	sent := []StandInField{{"X-Original-URL", "/admin"}, {"x-user-id", "admin"}, {"X-User-Id", "root"}, {"a", "b"}}
	for _, test := range []struct {
		name      string
		gates     *twoGates
		principal string
		asked     []string
		want      StandInAnswer
	}{
		{"both let it pass", &twoGates{verdict: standInAllows()}, "", []string{edge, "check", mesh},
			StandInAnswer{Pass: true, Status: 200, Header: []StandInField{{"a", "b"}, {"x-forwarded-for", "203.0.113.1,127.0.0.1"}, {"x-user-id", "alice"}}}},
		{"a workload has no address to limit", &twoGates{verdict: standInAllows()}, "spiffe://demo.test/ns/a/sa/b", []string{"check", mesh},
			StandInAnswer{Pass: true, Status: 200, Header: []StandInField{{"a", "b"}, {"x-user-id", "alice"}}}},
		{"over the address's limit: nobody is asked who it is", &twoGates{verdict: standInAllows(), over: "edge"}, "", []string{edge},
			StandInAnswer{Status: 429, Header: []StandInField{{"retry-after", "42"}}}},
		{"refused by the first gate", &twoGates{verdict: standInRefuses()}, "", []string{edge, "check"},
			StandInAnswer{Status: 401, Header: []StandInField{{"www-authenticate", "Bearer"}}, Body: []byte("{}")}},
		{"refused without a status is 403", &twoGates{verdict: &authv3.CheckResponse{Status: &rpcstatus.Status{Code: 7}}}, "", []string{edge, "check"},
			StandInAnswer{Status: 403, Body: []byte{}}},
		{"over the limit", &twoGates{verdict: standInAllows(), over: "mesh"}, "", []string{edge, "check", mesh}, StandInAnswer{Status: 429, Header: limited}},
		{"metadata that is missing has a default", &twoGates{verdict: &authv3.CheckResponse{Status: &rpcstatus.Status{}}}, "spiffe://demo.test/ns/a/sa/b",
			[]string{"check", "mesh who=unknown service=unknown,rule=unknown service=unknown,rule=unknown,who=unknown"},
			StandInAnswer{Pass: true, Status: 200, Header: sent}},
	} {
		s := serveGates(t, test.gates)
		got, err := s.Ask(t.Context(), StandInRequest{
			Method: "GET", Target: "/a?b", Host: "h", Address: "203.0.113.1", Principal: test.principal, Header: sent,
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
		if diff := cmp.Diff(test.asked, test.gates.asked); diff != "" {
			t.Errorf("%s: asked %s", test.name, diff)
		}
	}
}

// The Check holds the request as it is, in raw headers, with the peer that Envoy would see.
func TestStandInCheck(t *testing.T) {
	gates := &twoGates{verdict: standInRefuses()}
	s := serveGates(t, gates)
	_, err := s.Ask(t.Context(), StandInRequest{
		Method: "POST", Target: "/a/../b?c", Host: "h:1", Principal: "spiffe://demo.test/ns/a/sa/b", Service: "orders",
		Header: []StandInField{{"X-A", "1"}, {"x-a", "2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	attributes := gates.checked.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	if http.GetMethod() != "POST" || http.GetPath() != "/a/../b?c" || http.GetHost() != "h:1" {
		t.Errorf("checked %s %s at %s", http.GetMethod(), http.GetPath(), http.GetHost())
	}
	if source := attributes.GetSource(); source.GetPrincipal() != "spiffe://demo.test/ns/a/sa/b" || source.GetAddress().GetSocketAddress().GetAddress() != "127.0.0.1" {
		t.Errorf("the peer is %v", source)
	}
	if attributes.GetContextExtensions()["service"] != "orders" {
		t.Errorf("context extensions %v", attributes.GetContextExtensions())
	}
	var raw []string
	for _, h := range http.GetHeaderMap().GetHeaders() {
		raw = append(raw, h.GetKey()+"="+string(h.GetRawValue()))
	}
	if want := []string{":authority=h:1", ":method=POST", ":path=/a/../b?c", ":scheme=http", "x-a=1", "x-a=2"}; !slices.Equal(raw, want) {
		t.Errorf("raw headers %q, want %q", raw, want)
	}
}

// A gate that does not answer is a 503; a caller that left is an error.
func TestStandInWithoutGates(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	s, err := NewStandIn(listener.Addr().String(), listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, principal := range map[string]string{"no rate limit gate": "", "no authz gate": "spiffe://demo.test/ns/a/sa/b"} {
		got, err := s.Ask(t.Context(), StandInRequest{Method: "GET", Target: "/", Host: "h", Principal: principal})
		if err != nil || got.Pass || got.Status != 503 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Ask(ended, StandInRequest{}); err == nil {
		t.Error("a caller that left got an answer")
	}
}

// Addresses are masked as demo.yaml masks them, and a refusal without statuses still says when to come back.
func TestStandInMask(t *testing.T) {
	for address, want := range map[string]string{
		"203.0.113.7": "203.0.113.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "nowhere": "nowhere",
	} {
		if got := standInMasked(address); got != want {
			t.Errorf("%s is masked as %s, want %s", address, got, want)
		}
	}
	if got := standInLimitHeaders(nil); !slices.Equal(got, []StandInField{{"retry-after", "1"}}) {
		t.Errorf("without statuses: %v", got)
	}
}
