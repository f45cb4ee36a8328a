package ratelimit

import (
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Observer is told what the limiter does, for metrics. Its methods must be safe for concurrent use and must not block.
type Observer interface {
	// Rule is asked for each rule when a table is taken into use, so that counting a hit looks nothing up. Rules of earlier
	// tables are asked for again, and are the same rule where their domain and keys are.
	Rule(r *limits.Rule) RuleObserver
	// UnknownDomain is a request for a domain that no file names.
	UnknownDomain()
	// Stray is a descriptor about which the file of a known domain has nothing to say, so that it is not limited. The entries are the
	// request's, and must not be kept.
	Stray(domain string, entries []limits.Entry)
	// StoreFailed is a request that the store could not decide.
	StoreFailed(class StoreErrorClass)
	// Fallback is one limit that was answered without the store, and how.
	Fallback(how limits.Failure)
}

// RuleObserver counts the hits of one rule.
type RuleObserver interface {
	Count(t Tally)
}

// Tally is the hits of one charge, sorted as envoyproxy/ratelimit does. Peeks and hits given back are not counted.
type Tally struct {
	// Total is all of them.
	Total uint64
	// Over is those beyond the limit, Within those that the limit had room for.
	Over, Within uint64
	// Near is those of Within that landed above four fifths of the limit.
	Near uint64
	// Shadow is those beyond the limit of a rule that refuses nobody.
	Shadow uint64
}

// nearOf is the count above which hits are near a limit: floor(limit * 0.8).
func nearOf(limit uint32) uint64 { return uint64(limit) * 4 / 5 }

// tally sorts the hits of a charge by what one of its windows says after them.
func tally(hits int64, w window.Window, s window.State, over, shadow bool) Tally {
	if hits <= 0 {
		return Tally{}
	}
	n := uint64(hits)
	t := Tally{Total: n}
	if over {
		t.Over = n
		if shadow {
			t.Shadow = n
		}
		return t
	}
	t.Within = n
	after := uint64(w.Limit) - min(uint64(s.Remaining), uint64(w.Limit))
	if near := nearOf(w.Limit); after > near {
		t.Near = min(n, after-near)
	}
	return t
}

// unobserved is the observer of a limiter that has none.
type unobserved struct{}

func (unobserved) Rule(*limits.Rule) RuleObserver { return unobserved{} }
func (unobserved) UnknownDomain()                 {}
func (unobserved) Stray(string, []limits.Entry)   {}
func (unobserved) StoreFailed(StoreErrorClass)    {}
func (unobserved) Fallback(limits.Failure)        {}
func (unobserved) Count(Tally)                    {}
