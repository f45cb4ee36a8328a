package rls_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// asIs sends a []byte as it is, and reads an answer into another.
type asIs struct{}

func (asIs) Name() string { return "proto" }

func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

// sender serves a limiter over gRPC and sends it any bytes.
func sender(t testing.TB, l rls.Limiter, o rls.Options, server ...grpc.ServerOption) func([]byte) (*rlsv3.RateLimitResponse, error) {
	t.Helper()
	s := grpc.NewServer(server...)
	rls.New(l, o).Register(s)
	listener := bufconn.Listen(1 << 20)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)
	conn, err := grpc.NewClient("passthrough:///rls", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(asIs{})),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return func(b []byte) (*rlsv3.RateLimitResponse, error) {
		var answer []byte
		if err := conn.Invoke(context.Background(), rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, b, &answer); err != nil {
			return nil, err
		}
		out := &rlsv3.RateLimitResponse{}
		return out, proto.Unmarshal(answer, out)
	}
}

// request is a request's bytes, with each "~" replaced by a byte that is not UTF-8.
func request(t testing.TB, text string, foreign byte) []byte {
	t.Helper()
	b, err := proto.Marshal(parse(t, &rlsv3.RateLimitRequest{}, text))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b, []byte("~"), []byte{foreign})
}

// A client chooses the bytes of its headers, and an error lets it pass: so every byte is counted, each value for itself.
func TestForeignBytes(t *testing.T) {
	send := sender(t, limiter(t, ratelimit.Options{}), rls.Options{})
	remaining := func(b []byte) uint32 {
		t.Helper()
		out, err := send(b)
		if err != nil {
			t.Fatal(err)
		}
		if out.GetOverallCode() != rlsv3.RateLimitResponse_OK || len(out.GetStatuses()) != 1 {
			t.Fatalf("got %v", out)
		}
		return out.GetStatuses()[0].GetLimitRemaining()
	}
	const who = `domain: "mesh" descriptors { entries { key: "who" value: "user|~" } }`
	for _, step := range []struct {
		b    []byte
		want uint32
	}{
		{request(t, who, 0xff), 2},
		{request(t, who, 0xff), 1},
		{request(t, who, 0xfe), 2},
		{request(t, strings.Replace(who, "~", `\\xff`, 1), '~'), 2},
		{request(t, strings.Replace(who, "~", "\ufffd", 1), '~'), 2},
		{request(t, who, 0xff), 0},
	} {
		if got := remaining(step.b); got != step.want {
			t.Errorf("%q: %d remain, want %d", step.b, got, step.want)
		}
	}
	if out, err := send(request(t, who, 0xff)); err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("the fourth of three: %v, %v", out, err)
	}
}

// Everything of such a request is read, as if its text were what it should be.
func TestForeignRequestIsReadWhole(t *testing.T) {
	for _, text := range []string{
		`domain: "mesh" hits_addend: 2 descriptors { entries { key: "who" value: "~" } } descriptors { entries { key: "shadow" } }`,
		`domain: "mesh" descriptors { entries { key: "who" value: "~" } limit { requests_per_unit: 7 unit: HOUR unit_multiplier { value: 3 } } hits_addend { value: 4 } }`,
		`domain: "mesh" descriptors { entries { key: "service" value: "a:b" } entries { key: "rule" value: "~" } entries { key: "who" value: "x" } is_negative_hits: true }`,
		`domain: "~" descriptors { entries { key: "who" value: "x" } }`,
		`domain: "mesh" descriptors { entries { key: "~" value: "x" } }`,
		`descriptors { entries { key: "~" } }`,
	} {
		want, wantErr := sender(t, limiter(t, ratelimit.Options{}), rls.Options{})(request(t, text, '~'))
		got, err := sender(t, limiter(t, ratelimit.Options{}), rls.Options{})(request(t, text, 0xff))
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%s: %v, want %v\n%s", text, err, wantErr, diff)
		}
	}
}

// What is no request is over the limit, and counted; an error would let it pass.
func TestUndecodable(t *testing.T) {
	whole := request(t, `domain: "mesh" descriptors { entries { key: "who" value: "~" } }`, 0xff)
	intercepted := 0
	option := grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if info.FullMethod == rlsv3.RateLimitService_ShouldRateLimit_FullMethodName {
			intercepted++
		}
		return next(ctx, req)
	})
	for _, b := range [][]byte{{0xff}, {0x0a, 0x05, 'm'}, {0x0b}, whole[:len(whole)-1]} {
		m := rls.NewMetrics()
		told := ""
		options := rls.Options{Metrics: m, OnUnjudged: func(_ ratelimit.Request, why string) { told = why }}
		out, err := sender(t, limiter(t, ratelimit.Options{}), options, option)(b)
		if told != "undecodable" {
			t.Errorf("%x: told %q", b, told)
		}
		if err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT || len(out.GetStatuses()) != 0 {
			t.Errorf("%x: %v, %v", b, out, err)
		}
		counted := "# HELP ratelimit_service_total_requests Calls.\n# TYPE ratelimit_service_total_requests counter\nratelimit_service_total_requests{grpc_method=\"ShouldRateLimit\"} 1\n" +
			unjudged(map[string]int{"undecodable": 1})
		if err := testutil.CollectAndCompare(m, strings.NewReader(counted), "ratelimit_service_total_requests", "sallyport_ratelimit_unjudged_total"); err != nil {
			t.Error(err)
		}
	}
	if intercepted != 4 {
		t.Errorf("%d of 4 calls went through the interceptor", intercepted)
	}
}

// unjudged is the metric of refusals without judgement, as it is scraped.
func unjudged(counts map[string]int) string {
	text := "# HELP sallyport_ratelimit_unjudged_total Requests that were refused because they could not be judged.\n# TYPE sallyport_ratelimit_unjudged_total counter\n"
	for _, why := range []string{"foreign", "oversize", "panic", "undecodable"} {
		text += fmt.Sprintf("sallyport_ratelimit_unjudged_total{why=%q} %d\n", why, counts[why])
	}
	return text
}

// Whatever bytes are sent, there is an answer, and it is a verdict or an operator's mistake.
func FuzzWire(f *testing.F) {
	f.Add(request(f, `domain: "mesh" hits_addend: 1 descriptors { entries { key: "who" value: "~" } limit { unit: DAY unit_multiplier { value: 2 } } hits_addend { value: 1 } is_negative_hits: true }`, 0xff))
	f.Add([]byte{0x0b, 0x0c})
	f.Add([]byte{0xff})
	send := sender(f, limiter(f, ratelimit.Options{}), everyOption)
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := send(b)
		if err == nil && out.GetOverallCode() == rlsv3.RateLimitResponse_UNKNOWN || err != nil && !strings.Contains(err.Error(), "InvalidArgument") {
			t.Fatalf("%x: %v, %v", b, out, err)
		}
	})
}
