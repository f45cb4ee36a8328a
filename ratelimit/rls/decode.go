package rls

import (
	"math"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// decode reads a request. False: it is out of all proportion, and only its domain was read; whether the rest makes sense is the
// limiter's to say. Long texts are in proportion, since the limits hash them.
func decode(in *rlsv3.RateLimitRequest) (ratelimit.Request, bool) {
	descriptors := in.GetDescriptors()
	req := ratelimit.Request{Domain: in.GetDomain(), Hits: in.GetHitsAddend()}
	if len(descriptors) > MaxDescriptors {
		return req, false
	}
	total := 0
	for _, d := range descriptors {
		if len(d.GetEntries()) > MaxEntries {
			return req, false
		}
		total += len(d.GetEntries())
	}
	entries := make([]limits.Entry, 0, total)
	req.Descriptors = make([]ratelimit.Descriptor, len(descriptors))
	for i, d := range descriptors {
		first := len(entries)
		for _, e := range d.GetEntries() {
			entries = append(entries, limits.Entry{Key: e.GetKey(), Value: e.GetValue()})
		}
		out := &req.Descriptors[i]
		out.Entries = entries[first:len(entries):len(entries)]
		out.Negative = d.GetIsNegativeHits()
		if hits := d.GetHitsAddend(); hits != nil {
			// Envoy can take the hits from a header, so too many of them are as many as there are, and no error, which would let
			// the request pass.
			out.HasHits, out.Hits = true, min(hits.GetValue(), math.MaxUint32)
		}
		out.Override = overrideOf(d.GetLimit())
	}
	return req, true
}

func overrideOf(l *commonv3.RateLimitDescriptor_RateLimitOverride) *ratelimit.Override {
	if l == nil {
		return nil
	}
	return &ratelimit.Override{Requests: l.GetRequestsPerUnit(), Unit: unitOf(l.GetUnit()), Multiplier: l.GetUnitMultiplier().GetValue()}
}

// unitOf maps the unit of an override, which has no week; NoUnit for what this version does not know.
func unitOf(u typev3.RateLimitUnit) limits.Unit {
	switch u {
	case typev3.RateLimitUnit_SECOND:
		return limits.Second
	case typev3.RateLimitUnit_MINUTE:
		return limits.Minute
	case typev3.RateLimitUnit_HOUR:
		return limits.Hour
	case typev3.RateLimitUnit_DAY:
		return limits.Day
	case typev3.RateLimitUnit_MONTH:
		return limits.Month
	case typev3.RateLimitUnit_YEAR:
		return limits.Year
	}
	return limits.NoUnit
}
