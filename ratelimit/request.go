package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Request asks whether something may happen now, and spends it.
type Request struct {
	// Domain chooses the limits file; it must not be empty.
	Domain string
	// Descriptors say what is limited, each by its own rule; at least one, at most [MaxBatch].
	Descriptors []Descriptor
	// Hits is what each descriptor spends that does not say so itself; zero means one.
	Hits uint32
}

// Descriptor is one thing to count.
type Descriptor struct {
	// Entries are the keys and values, in order. A descriptor without entries is not limited.
	Entries []limits.Entry
	// HasHits says that Hits overrides the request's: 0 to 2^32-1, and zero is a peek, which spends nothing.
	HasHits bool
	Hits    uint64
	// Negative gives the hits back instead of spending them; it is never refused.
	Negative bool
	// Override is a limit that the request brings itself, instead of the file's; nil for none. It is honoured in a known
	// domain.
	Override *Override
}

// Override is a limit that the request brings itself.
type Override struct {
	// Requests is the limit, per Multiplier units.
	Requests uint32
	Unit     limits.Unit
	// Multiplier is the number of units; zero means one.
	Multiplier uint32
}

// Code is a verdict. The zero value refuses.
type Code uint8

const (
	// OverLimit refuses.
	OverLimit Code = iota
	// OK lets pass.
	OK
)

// Response is the verdict on a request.
type Response struct {
	// Code is OverLimit if any descriptor is over a limit that is neither in shadow mode nor a quota, or if every quota is over.
	// Under [Options.ShadowMode] it is always OK.
	Code Code
	// Statuses has one status for each descriptor, in their order.
	Statuses []Status
	// Degraded says that the store could not decide and something else did, as the rules ask.
	Degraded bool
	// Shadowed says that the request passed only because [Options.ShadowMode] is on.
	Shadowed bool
}

// Status is what one descriptor's limit says.
type Status struct {
	// Code is OK for a shadow rule, whatever it counted, and for a quota that is over while another quota of the request is not.
	Code Code
	// Over says that the limit has no room for the hits, whatever Code says.
	Over bool
	// Quota says that the limit is a quota: alone among several it refuses nobody.
	Quota bool
	// Rule is the rule that applied; nil where none did.
	Rule *limits.Rule
	// Limit is the window that is reported: the one that is over (of several, the one that stays so longest), else the one
	// with the least remaining. Its unit is NoUnit where no limit was counted (no rule, an unlimited one, or an open one without
	// its store), and where the protocol has no word for the window.
	Limit limits.Limit
	// Multiplier is the number of Limit's units in the window; zero means one.
	Multiplier uint32
	// Remaining is the hits that would still pass.
	Remaining uint32
	// Reset is the time until the window has room again; zero where no limit was counted.
	Reset time.Duration
	// Windows is what each of the rule's windows says, in the order of its Limits; nil where none was counted. The states are
	// of what the store spends, which is a share of the limit where each replica counts for itself.
	Windows []window.State
}

// show reports a limit of the rule.
func (s *Status) show(l limits.Limit) { s.Limit, s.Multiplier = l, l.Multiplier }

// Why a request could not be decided. The first three carry the words of envoyproxy/ratelimit, which people grep for.
var (
	ErrNoDomain      = errors.New("rate limit domain must not be empty")
	ErrNoDescriptors = errors.New("rate limit descriptor list must not be empty")
	ErrNoTable       = errors.New("no rate limit configuration loaded")
	// ErrInvalid is wrapped by the errors of requests that make no sense.
	ErrInvalid = errors.New("invalid rate limit request")
)

// check refuses what no table could answer.
func (r *Request) check() error {
	switch {
	case r.Domain == "":
		return ErrNoDomain
	case len(r.Descriptors) == 0:
		return ErrNoDescriptors
	case len(r.Descriptors) > MaxBatch:
		return fmt.Errorf("%w: %d descriptors, at most %d", ErrInvalid, len(r.Descriptors), MaxBatch)
	}
	for i := range r.Descriptors {
		if err := r.Descriptors[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Descriptor) check() error {
	if d.HasHits && d.Hits > math.MaxUint32 {
		return fmt.Errorf("%w: %d hits, at most %d", ErrInvalid, d.Hits, uint32(math.MaxUint32))
	}
	if d.Override == nil {
		return nil
	}
	switch unit := d.Override.Unit.Span(); {
	case unit == 0:
		return fmt.Errorf("%w: limit override without a unit", ErrInvalid)
	case time.Duration(d.Override.Multiplier) > window.MaxSpan/unit:
		return fmt.Errorf("%w: limit override of %d %ss", ErrInvalid, d.Override.Multiplier, d.Override.Unit)
	}
	return nil
}

// span is the override's window.
func (o *Override) span() time.Duration { return time.Duration(max(o.Multiplier, 1)) * o.Unit.Span() }

// hits is what a descriptor spends: negative to give back.
func (r *Request) hits(d *Descriptor) int64 {
	n := int64(max(r.Hits, 1))
	if d.HasHits {
		n = int64(d.Hits)
	}
	if d.Negative {
		return -n
	}
	return n
}
