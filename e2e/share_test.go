package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

func dial(t testing.TB, port int) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(local(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func whoIs(who string) *rlsv3.RateLimitRequest {
	return &rlsv3.RateLimitRequest{Domain: "mesh", Descriptors: []*ratelimitv3.RateLimitDescriptor{
		{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "who", Value: who}}},
	}}
}

// admitted asks n times, turn by turn, and counts the answers that are OK.
func admitted(t *testing.T, who string, n int, gates ...*gate) int {
	t.Helper()
	clients := make([]rlsv3.RateLimitServiceClient, len(gates))
	for i, g := range gates {
		clients[i] = rlsv3.NewRateLimitServiceClient(dial(t, g.listen))
	}
	count := 0
	for i := range n {
		resp, err := clients[i%len(clients)].ShouldRateLimit(context.Background(), whoIs(who))
		if err != nil {
			t.Fatalf("call %d: %v", i, err)
		}
		switch resp.GetOverallCode() {
		case rlsv3.RateLimitResponse_OK:
			count++
		case rlsv3.RateLimitResponse_OVER_LIMIT:
		default:
			t.Fatalf("call %d: overall code %v, which Envoy lets pass", i, resp.GetOverallCode())
		}
	}
	return count
}

const hourly = `domain: mesh
descriptors:
  - key: who
    algorithm: sliding_window
    rate_limits:
      - {requests_per_unit: 100, unit: hour}
      - {requests_per_unit: 1000, unit: day}
    on_store_failure: %s
`

func limitsFile(t *testing.T, failure string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "limits.yaml")
	write(t, path, fmt.Sprintf(hourly, failure))
	return path
}

// Two replicas on one store share one budget.
func TestReplicasShareOneBudget(t *testing.T) {
	store := "redis://" + storetest.StartValkey(t)
	path := limitsFile(t, "local")
	one := serve(t, "ratelimit", "--limits", path, "--store", store, "--replicas", "2", "--audit", "off")
	two := serve(t, "ratelimit", "--limits", path, "--store", store, "--replicas", "2", "--audit", "off")
	if got := admitted(t, "user|shop|alice", 150, one, two); got != 100 {
		t.Errorf("%d of 150 were admitted, the limit is 100", got)
	}
	if got := admitted(t, "user|shop|bob", 1, two); got != 1 {
		t.Error("alice spent bob's budget")
	}
}

// Two replicas that count for themselves each spend half a limit.
func TestReplicasInMemoryShareOneBudget(t *testing.T) {
	path := limitsFile(t, "local")
	one := serve(t, "ratelimit", "--limits", path, "--store", "memory", "--replicas", "2", "--audit", "off")
	two := serve(t, "ratelimit", "--limits", path, "--store", "memory", "--replicas", "2", "--audit", "off")
	if got := admitted(t, "user|shop|alice", 150, one, two); got != 100 {
		t.Errorf("%d of 150 were admitted, the limit is 100", got)
	}
}

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

// A client whose header is not UTF-8 has a budget as anybody, and what is no request is refused. Either has a line in the audit log.
func TestForeignBytesAreLimited(t *testing.T) {
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	g := serve(t, "ratelimit", "--limits", limitsFile(t, "local"), "--store", "redis://"+storetest.StartValkey(t), "--audit", log)
	conn := dial(t, g.listen)
	ask := func(request []byte) rlsv3.RateLimitResponse_Code {
		t.Helper()
		var answer []byte
		if err := conn.Invoke(context.Background(), rlsv3.RateLimitService_ShouldRateLimit_FullMethodName, request, &answer, grpc.ForceCodecV2(asIs{})); err != nil {
			t.Fatalf("an error, which Envoy lets pass: %v", err)
		}
		out := &rlsv3.RateLimitResponse{}
		if err := proto.Unmarshal(answer, out); err != nil {
			t.Fatal(err)
		}
		return out.GetOverallCode()
	}
	whole, err := proto.Marshal(whoIs("user|shop|~"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.ReplaceAll(whole, []byte("~"), []byte{0xff})
	passed := 0
	for range 101 {
		if ask(foreign) == rlsv3.RateLimitResponse_OK {
			passed++
		}
	}
	if passed != 100 {
		t.Errorf("%d of 101 passed, the limit is 100", passed)
	}
	if got := ask(whole); got != rlsv3.RateLimitResponse_OK {
		t.Error("another client paid for it")
	}
	if got := ask([]byte{0xff}); got != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("what is no request got %v", got)
	}
	g.signal(terminate)
	g.wait()
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{`"verdict"`: 103, `"reason":"over_limit"`: 1, `"reason":"unjudged","detail":"undecodable"`: 1} {
		if got := bytes.Count(data, []byte(text)); got != want {
			t.Errorf("%d times %q in the audit log, want %d", got, text, want)
		}
	}
}

// Without its store a replica of two spends half a limit, less what it has seen pass already.
func TestStoreGone(t *testing.T) {
	for failure, want := range map[string]int{"local": 50, "open": 150, "closed": 0} {
		t.Run(failure, func(t *testing.T) {
			g := serve(t, "ratelimit", "--limits", limitsFile(t, failure), "--store", "redis://"+local(freePort(t)), "--replicas", "2", "--audit", "off")
			if got := admitted(t, "user|shop|alice", 150, g); got != want {
				t.Errorf("%d of 150 were admitted, want %d", got, want)
			}
			if got := g.metric("sallyport_ratelimit_store_errors_total"); got != 150 {
				t.Errorf("%v store errors are counted, of 150", got)
			}
		})
	}
	t.Run("error", func(t *testing.T) {
		g := serve(t, "ratelimit", "--limits", limitsFile(t, "error"), "--store", "redis://"+local(freePort(t)), "--audit", "off")
		_, err := rlsv3.NewRateLimitServiceClient(dial(t, g.listen)).ShouldRateLimit(context.Background(), whoIs("user|shop|alice"))
		if err == nil || strings.Contains(err.Error(), "refused") {
			t.Errorf("the error is absent, or tells what only the log should: %v", err)
		}
	})
}

// An outage of the store is told by the gate, once, and not by a library, once a request.
func TestStoreGoneIsQuiet(t *testing.T) {
	g := serve(t, "ratelimit", "--limits", limitsFile(t, "local"), "--store", "redis://"+local(freePort(t)), "--audit", "off", "--log-format", "json")
	admitted(t, "user|shop|alice", 50, g)
	for line := range strings.Lines(g.output.String()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a line that is not the log's: %s", line)
		}
	}
	if lines := strings.Count(g.output.String(), "\n"); lines > 10 {
		t.Errorf("%d lines for one outage", lines)
	}
}

// A sidecar that is bound to a domain spends no other's budget; what it asks there is over the limit, and counted.
func TestClientsAreBoundToDomains(t *testing.T) {
	dir := t.TempDir()
	authority, certificate, key := meshCertificate(t, dir)
	limits := filepath.Join(dir, "limits")
	if err := os.MkdirAll(limits, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(limits, "mesh.yaml"), generous)
	write(t, filepath.Join(limits, "edge.yaml"), edgeLimits)
	g := serve(t, "ratelimit", "--limits", limits, "--store", "memory", "--audit", "off", "--tls-cert", certificate, "--tls-key", key, "--tls-client-ca", authority,
		"--tls-client-ids", pin+" = mesh, spiffe://cluster.local/ns/edge/sa/gateway = edge")
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(local(g.listen), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
	})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := rlsv3.NewRateLimitServiceClient(conn)
	own := whoIs("alice")
	if resp, err := client.ShouldRateLimit(t.Context(), own); err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("its own domain: %v %v", resp, err)
	}
	for _, domain := range []string{"edge", "mesh ", "", "other"} {
		other := whoIs("alice")
		other.Domain = domain
		if resp, err := client.ShouldRateLimit(t.Context(), other); err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT || len(resp.GetStatuses()) != 1 {
			t.Errorf("the domain %q: %v %v", domain, resp, err)
		}
	}
	if n := g.metric("sallyport_ratelimit_unjudged_total", `why="foreign"`); n != 4 {
		t.Errorf("%v are counted", n)
	}
}

// A request that is longer than gRPC's own bound is refused, and no error, by which Envoy would let it pass.
func TestLongRequestsAreRefused(t *testing.T) {
	g := serve(t, "ratelimit", "--limits", limitsFile(t, "closed"), "--store", "memory", "--audit", "off")
	client := rlsv3.NewRateLimitServiceClient(dial(t, g.listen))
	req := &rlsv3.RateLimitRequest{Domain: "mesh"}
	for range 120 {
		req.Descriptors = append(req.Descriptors, whoIs(strings.Repeat("x", 60_000)).GetDescriptors()...)
	}
	resp, err := client.ShouldRateLimit(t.Context(), req)
	if err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("%v, %v", resp.GetOverallCode(), err)
	}
	req.Descriptors = req.GetDescriptors()[:80]
	if resp, err = client.ShouldRateLimit(t.Context(), req); err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("80 descriptors: %v, %v", resp.GetOverallCode(), err)
	}
}
