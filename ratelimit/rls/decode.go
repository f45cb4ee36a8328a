package rls

import (
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// decode reads a request. It refuses only what is out of all proportion; whether the rest makes sense is the limiter's to say.
func decode(in *rlsv3.RateLimitRequest) (ratelimit.Request, error) {
	descriptors := in.GetDescriptors()
	req := ratelimit.Request{Domain: in.GetDomain(), Hits: in.GetHitsAddend()}
	if len(req.Domain) > MaxKeyBytes {
		return req, invalid("a domain of %d bytes, at most %d", len(req.Domain), MaxKeyBytes)
	}
	if len(descriptors) > MaxDescriptors {
		return req, invalid("%d descriptors, at most %d", len(descriptors), MaxDescriptors)
	}
	total := 0
	for _, d := range descriptors {
		if n := len(d.GetEntries()); n > MaxEntries {
			return req, invalid("a descriptor of %d entries, at most %d", n, MaxEntries)
		}
		total += len(d.GetEntries())
	}
	entries := make([]limits.Entry, 0, total)
	req.Descriptors = make([]ratelimit.Descriptor, len(descriptors))
	for i, d := range descriptors {
		first := len(entries)
		for _, e := range d.GetEntries() {
			if len(e.GetKey()) > MaxKeyBytes || len(e.GetValue()) > MaxValueBytes {
				return req, invalid("an entry with a key of %d bytes and a value of %d, at most %d and %d", len(e.GetKey()), len(e.GetValue()), MaxKeyBytes, MaxValueBytes)
			}
			entries = append(entries, limits.Entry{Key: e.GetKey(), Value: e.GetValue()})
		}
		out := &req.Descriptors[i]
		out.Entries = entries[first:len(entries):len(entries)]
		out.Negative = d.GetIsNegativeHits()
		if hits := d.GetHitsAddend(); hits != nil {
			out.HasHits, out.Hits = true, hits.GetValue()
		}
		out.Override = overrideOf(d.GetLimit())
	}
	return req, nil
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
