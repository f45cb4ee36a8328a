package rls

import (
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// The protocol's word for each code and unit. UNKNOWN lets pass in Envoy, so no code maps to it.
var (
	codeWords = [...]rlsv3.RateLimitResponse_Code{
		ratelimit.OverLimit: rlsv3.RateLimitResponse_OVER_LIMIT,
		ratelimit.OK:        rlsv3.RateLimitResponse_OK,
	}
	unitWords = [...]rlsv3.RateLimitResponse_RateLimit_Unit{
		limits.NoUnit: rlsv3.RateLimitResponse_RateLimit_UNKNOWN,
		limits.Second: rlsv3.RateLimitResponse_RateLimit_SECOND,
		limits.Minute: rlsv3.RateLimitResponse_RateLimit_MINUTE,
		limits.Hour:   rlsv3.RateLimitResponse_RateLimit_HOUR,
		limits.Day:    rlsv3.RateLimitResponse_RateLimit_DAY,
		limits.Week:   rlsv3.RateLimitResponse_RateLimit_WEEK,
		limits.Month:  rlsv3.RateLimitResponse_RateLimit_MONTH,
		limits.Year:   rlsv3.RateLimitResponse_RateLimit_YEAR,
	}
)

// wordOf refuses with any code that does not exist.
func wordOf(c ratelimit.Code) rlsv3.RateLimitResponse_Code {
	if int(c) < len(codeWords) {
		return codeWords[c]
	}
	return rlsv3.RateLimitResponse_OVER_LIMIT
}

// encode writes a verdict: one status for each descriptor, in their order, because Envoy's x-ratelimit headers come from them.
func (s *Server) encode(req *ratelimit.Request, r *ratelimit.Response) *rlsv3.RateLimitResponse {
	out := &rlsv3.RateLimitResponse{
		OverallCode: wordOf(r.Code),
		Statuses:    make([]*rlsv3.RateLimitResponse_DescriptorStatus, len(r.Statuses)),
	}
	for i := range r.Statuses {
		out.Statuses[i] = encodeStatus(&r.Statuses[i])
	}
	out.ResponseHeadersToAdd = s.options.Headers.of(r)
	if s.options.DynamicMetadata {
		out.DynamicMetadata = metadataOf(req, r)
	}
	if r.Degraded {
		// For access logs: this verdict did not come from the shared counters.
		if out.DynamicMetadata == nil {
			out.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{}}
		}
		out.DynamicMetadata.Fields["degraded"] = structpb.NewBoolValue(true)
	}
	return out
}

func encodeStatus(s *ratelimit.Status) *rlsv3.RateLimitResponse_DescriptorStatus {
	out := &rlsv3.RateLimitResponse_DescriptorStatus{Code: wordOf(s.Code), LimitRemaining: s.Remaining}
	if s.Reset > 0 {
		out.DurationUntilReset = &durationpb.Duration{Seconds: wholeSeconds(s.Reset)}
	}
	if s.Limit.Unit == limits.NoUnit || int(s.Limit.Unit) >= len(unitWords) {
		// Without a current limit Envoy shows no x-ratelimit header for this descriptor, which is what "no limit" means, and what
		// is left to say of a window that the protocol has no word for.
		return out
	}
	// A limit's name is made safe where the file is read: Envoy writes it into a header as it is.
	out.CurrentLimit = &rlsv3.RateLimitResponse_RateLimit{Name: s.Limit.Name, RequestsPerUnit: s.Limit.Requests, Unit: unitWords[s.Limit.Unit]}
	if s.Multiplier > 1 {
		out.CurrentLimit.UnitMultiplier = wrapperspb.UInt32(s.Multiplier)
	}
	return out
}

// wholeSeconds rounds up, because Envoy cuts off: a client that is told 12 when the truth is 12.7 comes back too early.
func wholeSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}
