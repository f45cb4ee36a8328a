package xds

import (
	"fmt"
	"runtime"
	"testing"

	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// BenchmarkTake takes 5 MB of limits, about 100,000 descriptors, into an empty book: what a start, or an update of everything, costs.
func BenchmarkTake(b *testing.B) {
	config := &configv3.RateLimitConfig{Name: "mesh", Domain: "mesh"}
	for i := range 110_000 {
		config.Descriptors = append(config.Descriptors, &configv3.RateLimitDescriptor{Key: "user", Value: fmt.Sprintf("somebody-with-a-name-%08d", i),
			RateLimit: &configv3.RateLimitPolicy{Unit: configv3.RateLimitUnit_HOUR, RequestsPerUnit: 100}})
	}
	resource, err := anypb.New(config)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(proto.Size(config)))
	b.ReportAllocs()
	var held *book
	for b.Loop() {
		held = &book{}
		if _, err := held.take([]*anypb.Any{resource}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MB-held")
	runtime.KeepAlive(held)
}
