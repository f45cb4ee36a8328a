package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// limitsText is the descriptor contract: a person has two sliding windows, and what is told for the rest is not limited.
const limitsText = `domain: mesh
descriptors:
  - key: who
    algorithm: sliding_window
    rate_limits:
      - {requests_per_unit: 1000000, unit: minute}
      - {requests_per_unit: 1000000, unit: hour}
  - key: service
    descriptors:
      - key: rule
        rate_limit: {unlimited: true}
        descriptors:
          - key: who
            rate_limit: {unlimited: true}
`

// people are as many counters as are in use at once.
const people = 1000

// BenchmarkShouldRateLimitRPC is one whole rate limit call as Envoy makes it behind ext_authz, by each store; beside a stock gRPC
// server that lets everything pass.
func BenchmarkShouldRateLimitRPC(b *testing.B) {
	requests := make([]*rlsv3.RateLimitRequest, people)
	for i := range requests {
		requests[i] = rateLimitRequest("user|shop|user-" + strconv.Itoa(i))
	}
	for _, store := range []struct {
		name string
		open func(b *testing.B) ratelimit.Store
	}{{"memory", fullMemory}, {"valkey", openValkey}} {
		b.Run(store.name, func(b *testing.B) {
			metrics := rls.NewMetrics()
			limiter := ratelimit.New(ratelimit.Options{Store: store.open(b), StoreTimeout: callTimeout, Observer: metrics})
			limiter.Use(table(b))
			ours := daemonServer()
			rls.New(limiter, rls.Options{Metrics: metrics}).Register(ours)
			noop := grpc.NewServer()
			rlsv3.RegisterRateLimitServiceServer(noop, passAll{})
			gate := limitCall(rlsv3.NewRateLimitServiceClient(serve(b, "tcp", ours)), requests, true)
			stock := limitCall(rlsv3.NewRateLimitServiceClient(serve(b, "tcp", noop)), requests, false)
			for _, c := range callers {
				b.Run(c.name, func(b *testing.B) { versus(b, c.n, gate, "noop", stock) })
			}
		})
	}
}

// limitCall asks, and holds the answer to a pass; judged, to one that the shared counters decided.
func limitCall(client rlsv3.RateLimitServiceClient, requests []*rlsv3.RateLimitRequest, judged bool) call {
	return func(i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		out, err := client.ShouldRateLimit(ctx, requests[i%len(requests)])
		switch {
		case err != nil:
			return err
		case out.GetOverallCode() != rlsv3.RateLimitResponse_OK:
			return fmt.Errorf("refused: %v", out)
		case judged && (len(out.GetStatuses()) != 3 || out.GetStatuses()[0].GetLimitRemaining() == 0 || out.GetDynamicMetadata() != nil):
			return fmt.Errorf("passed without having counted: %v", out)
		}
		return nil
	}
}

// passAll is the stock server.
type passAll struct {
	rlsv3.UnimplementedRateLimitServiceServer
}

// ShouldRateLimit implements the service.
func (passAll) ShouldRateLimit(context.Context, *rlsv3.RateLimitRequest) (*rlsv3.RateLimitResponse, error) {
	return &rlsv3.RateLimitResponse{OverallCode: rlsv3.RateLimitResponse_OK}, nil
}

func rateLimitRequest(who string) *rlsv3.RateLimitRequest {
	descriptor := func(entries ...string) *commonv3.RateLimitDescriptor {
		d := &commonv3.RateLimitDescriptor{}
		for i := 0; i < len(entries); i += 2 {
			d.Entries = append(d.Entries, &commonv3.RateLimitDescriptor_Entry{Key: entries[i], Value: entries[i+1]})
		}
		return d
	}
	return &rlsv3.RateLimitRequest{Domain: "mesh", Descriptors: []*commonv3.RateLimitDescriptor{
		descriptor("who", who),
		descriptor("service", "orders", "rule", "list-500"),
		descriptor("service", "orders", "rule", "list-500", "who", who),
	}}
}

func table(b *testing.B) *limits.Table {
	b.Helper()
	loaded := limits.Load(nil, []limits.Source{{Name: "mesh.yaml", Data: []byte(limitsText)}})
	if errs := loaded.Errors(); len(errs) > 0 {
		b.Fatal(errs.Pretty())
	}
	return loaded.Table
}

// fullMemory is a memory store whose counters look like those of people who have been active for an hour: every cell of both windows
// is in use. A fresh counter has one cell and would flatter the store.
func fullMemory(b *testing.B) ratelimit.Store {
	b.Helper()
	var behind atomic.Int64
	behind.Store(int64(time.Hour))
	store := memstore.New(memstore.Options{Now: func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }})
	limiter := ratelimit.New(ratelimit.Options{Store: store, StoreTimeout: callTimeout})
	limiter.Use(table(b))
	spend := func() {
		for i := range people {
			who := limits.Entry{Key: "who", Value: "user|shop|user-" + strconv.Itoa(i)}
			req := ratelimit.Request{Domain: "mesh", Descriptors: []ratelimit.Descriptor{{Entries: []limits.Entry{who}}}}
			if out, err := limiter.Spend(b.Context(), req); err != nil || out.Code != ratelimit.OK {
				b.Fatal(out, err)
			}
		}
	}
	for _, step := range []time.Duration{time.Minute, time.Second} {
		for behind.Load() > int64(step) {
			spend()
			behind.Add(-int64(step))
		}
	}
	spend()
	return store
}

// openValkey is a store on a server of its own, with a client like the binary's. The server's clock decides, so its counters are as
// old as the benchmark.
func openValkey(b *testing.B) ratelimit.Store {
	b.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: storetest.StartValkey(b), Protocol: 2, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true, PoolSize: 64,
	})
	b.Cleanup(func() { _ = client.Close() })
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return store
}
