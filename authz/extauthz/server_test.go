package extauthz_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
)

// Which callers are answered in gRPC's terms: those that Envoy answers so. It treats grpc-web and Connect as plain HTTP.
func TestSpeaksGRPC(t *testing.T) {
	for kind, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "application/grpc+json": true, "Application/GRPC": true, "application/grpc;charset=utf-8": true,
		"": false, "application/json": false, "application/grpc-web": false, "application/grpc-web+proto": false, "application/grpcx": false, "application/connect+proto": false, "text/plain, application/grpc": false,
	} {
		out := answer(t, &authz.Decision{Reason: authz.NoRule}, kind)
		if got := len(values(out.GetDeniedResponse().GetHeaders(), "grpc-status")) == 1; got != want {
			t.Errorf("%q: %v", kind, got)
		}
	}
}

// A checker that panics, or answers nothing, is a denial with a name, and the next request is answered.
func TestBrokenChecker(t *testing.T) {
	calls := 0
	registry := prometheus.NewRegistry()
	s := extauthz.New(checker(func(context.Context, *authz.Request) *authz.Decision {
		if calls++; calls == 1 {
			panic(errors.New("a defect"))
		}
		return nil
	}), extauthz.NewMetrics(registry))
	for range 2 {
		out, err := s.Check(t.Context(), request("GET", "/", nil))
		if err != nil || out.GetStatus().GetCode() != 14 || out.GetDeniedResponse().GetStatus().GetCode() != 503 {
			t.Fatalf("%v, %v", out, err)
		}
		got := texts(t, out.GetDynamicMetadata())
		if got["reason"] != "panic" || got["decision"] != "deny" || len(got["decision_id"]) < 26 || got["who"] != "ip|unknown" {
			t.Errorf("metadata %v", got)
		}
	}
	if got := counted(t, registry)["none/none/deny/panic"]; got != 2 {
		t.Errorf("counted %v panics", got)
	}
}

// counted reads the counter of decisions as service/rule/verdict/reason.
func counted(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetType() == dto.MetricType_HISTOGRAM {
				all[family.GetName()] = float64(m.GetHistogram().GetSampleCount())
				continue
			}
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() != "sallyport_authz_decisions_total" {
				t.Errorf("a metric of another name: %s", family.GetName())
			}
			all[labels["service"]+"/"+labels["rule"]+"/"+labels["verdict"]+"/"+labels["reason"]] = m.GetCounter().GetValue()
		}
	}
	return all
}

// Decisions are counted by names of the policy, never by what a client sent.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := extauthz.New(gate(t), extauthz.NewMetrics(registry))
	for range 3 {
		for _, in := range []*authv3.CheckRequest{
			request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good}),
			request("GET", "/users/bob/orders", map[string]string{"authorization": "Bearer " + good}),
			request("GET", "/invoices/bob", map[string]string{"authorization": "Bearer " + good}),
			request("GET", "/healthz", nil),
			request("GET", "/canary-path", map[string]string{"canary-header": "canary-value"}),
			nil,
		} {
			if _, err := s.Check(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := map[string]float64{
		"orders/read-orders/allow/allowed": 3, "orders/read-orders/deny/owner": 3, "orders/invoice/deny/owner": 3, "orders/probe/allow/probe": 3,
		"orders/none/deny/no_rule": 3, "none/none/deny/not_http": 3, "sallyport_authz_check_seconds": 18,
	}
	got := counted(t, registry)
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: %v, want %v", name, got[name], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("counted %v", got)
	}
}

// serve answers on loopback as the binary does, and returns a connection to it.
func serve(t testing.TB, c extauthz.Checker) *grpc.ClientConn {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	extauthz.Register(server, extauthz.New(c, nil))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	client, err := grpc.NewClient("passthrough:///"+listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return client
}

// asIs sends bytes that no client of ours would make.
type asIs struct{}

func (asIs) Name() string                       { return "proto" }
func (asIs) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (asIs) Unmarshal(data []byte, v any) error { return proto.Unmarshal(data, v.(proto.Message)) }
func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// On the wire: allows, denials, and requests that cannot be read, which are denials too and no RPC errors.
func TestOnTheWire(t *testing.T) {
	client := serve(t, gate(t))
	authorization := authv3.NewAuthorizationClient(client)
	out, err := authorization.Check(t.Context(), request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good}))
	if err != nil || out.GetStatus() == nil || out.GetStatus().GetCode() != 0 || values(out.GetOkResponse().GetHeaders(), "x-user-id")[0] != "alice" {
		t.Errorf("an allow: %v, %v", out, err)
	}
	out, err = authorization.Check(t.Context(), request("GET", "/users/alice/orders", nil))
	if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != 401 {
		t.Errorf("no token: %v, %v", out, err)
	}
	sound := encoded(t, request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer " + good}))
	for name, data := range map[string][]byte{
		"nothing":            {},
		"no UTF-8 in a path": []byte(strings.Replace(string(sound), "/users/", "/user\xff/", 1)),
		"no UTF-8 in a name": []byte(strings.Replace(string(sound), "authorization", "authorizatio\x80", 1)),
		"cut short inside":   append([]byte{0x0a, 0x03}, sound[2:5]...),
		"unknown fields":     {0xf8, 0x06, 0x01},
	} {
		var out authv3.CheckResponse
		if err := client.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, data, &out, grpc.ForceCodec(asIs{})); err != nil {
			t.Errorf("%s: an RPC error: %v", name, err)
			continue
		}
		if out.GetStatus().GetCode() != 3 || out.GetDeniedResponse().GetStatus().GetCode() != 400 || texts(t, out.GetDynamicMetadata())["reason"] != "not_http" {
			t.Errorf("%s: %v", name, &out)
		}
	}
	// What is no message at all has no answer, and no allow either.
	for name, data := range map[string][]byte{"garbage": []byte("\xff\xff\xff\xff"), "cut short": sound[:len(sound)-3]} {
		var out authv3.CheckResponse
		if err := client.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, data, &out, grpc.ForceCodec(asIs{})); status.Code(err) != codes.Internal {
			t.Errorf("%s: %v, %v", name, err, &out)
		}
	}
}

// The caller's time reaches the checker, and a caller who leaves is noticed.
func TestCallersTime(t *testing.T) {
	deadline, gone := make(chan time.Time, 1), make(chan error, 1)
	client := authv3.NewAuthorizationClient(serve(t, checker(func(ctx context.Context, _ *authz.Request) *authz.Decision {
		at, _ := ctx.Deadline()
		deadline <- at
		<-ctx.Done()
		gone <- ctx.Err()
		return &authz.Decision{Reason: authz.Cancelled}
	})))
	until := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), until)
	failed := make(chan error, 1)
	go func() { _, err := client.Check(ctx, &authv3.CheckRequest{}); failed <- err }()
	if at := <-deadline; at.IsZero() || at.After(until.Add(time.Minute)) {
		t.Errorf("the deadline is %v, want about %v", at, until)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the checker hears %v", err)
	}
	if err := <-failed; status.Code(err) != codes.Canceled {
		t.Errorf("the caller hears %v", err)
	}
}
