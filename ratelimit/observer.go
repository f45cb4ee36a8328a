package ratelimit

import (
	"math"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Observer is told what the limiter does, for metrics. Its methods must be safe for concurrent use and must not block.
type Observer interface {
	// Rule is asked for each rule when a table is taken into use, so that counting a hit looks nothing up. Rules of earlier
	// tables are asked for again, and are the same rule where their domain and keys are.
	Rule(r *limits.Rule) RuleObserver
	// Values is asked in place of Rule for each set of values that a rule is to be counted by (detailed_metric,
	// value_to_metric): keys are the rule's levels as [limits.Rule.Keys] has them, with the values that were sent, made valid
	// UTF-8 without control characters. A client chooses them, so the limiter asks for at most [MaxMetricValues] sets of a rule,
	// reloads included, and then counts the rest under [OtherValue].
	Values(r *limits.Rule, keys []string) RuleObserver
	// UnknownDomain is a request for a domain that no file names, with so many descriptors. The domain is the caller's word.
	UnknownDomain(domain string, descriptors int)
	// Stray is a descriptor about which the file of a known domain has nothing to say, so that it is not limited. The entries are the
	// request's, and must not be kept.
	Stray(domain string, entries []limits.Entry)
	// GlobalShadow is a request that passed only because [Options.ShadowMode] is on.
	GlobalShadow()
	// StoreFailed is a request that the store could not decide.
	StoreFailed(class StoreErrorClass)
	// Fallback is one limit that was answered without the store, and how.
	Fallback(how limits.Failure)
}

// RuleObserver counts the hits of one rule.
type RuleObserver interface {
	Count(t Tally)
}

// MaxMetricValues is how many sets of values of one rule have a count of their own; the rest are counted together.
const MaxMetricValues = 1000

// OtherValue stands in metrics for the values beyond MaxMetricValues, and for those too long to be a label.
const OtherValue = "other"

// Tally is the hits of one charge, sorted as envoyproxy/ratelimit does. Peeks are not counted.
type Tally struct {
	// Total is all hits that were to be spent.
	Total uint64
	// Negative is the hits given back, whether or not there were as many to give back. No other field counts them.
	Negative uint64
	// Over is those beyond the limit, Within those of charges that the limit had room for. Hits that filled up a limit which the
	// rest of their charge ran over are neither.
	Over, Within uint64
	// Near is those that landed within the limit, above [Options.NearLimitRatio] of it.
	Near uint64
	// Shadow is those beyond the limit of a rule that refuses nobody.
	Shadow uint64
	// OverLocal is those of Over that were refused from memory, without asking the store ([Outcome.Remembered]).
	OverLocal uint64
}

// nearOf is the count above which hits are near a limit. The reference counts in single precision, which decides whether the
// hundredth of a limit's hits is near or not.
func nearOf(limit uint32, ratio float32) uint64 {
	return uint64(math.Floor(float64(float32(limit) * ratio)))
}

// uncounted is the tally of a charge that stands in a refused request and was not counted: nothing says that its limit refused it.
func uncounted(hits int64) Tally {
	n := uint64(max(hits, 0))
	return Tally{Total: n, Within: n}
}

// tally sorts the hits of a charge by the outcome, whose state is that of the window with this limit.
func tally(hits int64, limit uint32, near uint64, countDenied bool, o *Outcome, state window.State) Tally {
	switch {
	case hits < 0:
		return Tally{Negative: uint64(-hits)}
	case hits == 0:
		return Tally{}
	case o.Over:
		return tallyOver(uint64(hits), uint64(limit), near, countDenied, o, state)
	}
	t := Tally{Total: uint64(hits), Within: uint64(hits)}
	if after := uint64(limit - min(state.Remaining, limit)); after > near {
		t.Near = min(t.Total, after-near)
	}
	return t
}

// tallyOver sorts hits of which some at least were over. Where denied hits are counted, a charge fills the window up before it runs
// over, and the reference counts the hits that did so as near the limit, as far as they were, and nowhere else.
func tallyOver(hits, limit, near uint64, countDenied bool, o *Outcome, state window.State) Tally {
	t := Tally{Total: hits, Over: hits}
	switch {
	case o.Remembered:
		t.OverLocal = hits
	case countDenied && uint64(state.Beyond) < hits:
		t.Over = uint64(state.Beyond)
		before := limit - min(hits-t.Over, limit)
		t.Near = limit - max(min(near, limit), before)
	}
	return t
}

// unobserved is the observer of a limiter that has none.
type unobserved struct{}

func (unobserved) Rule(*limits.Rule) RuleObserver             { return unobserved{} }
func (unobserved) Values(*limits.Rule, []string) RuleObserver { return unobserved{} }
func (unobserved) UnknownDomain(string, int)                  {}
func (unobserved) Stray(string, []limits.Entry)               {}
func (unobserved) GlobalShadow()                              {}
func (unobserved) StoreFailed(StoreErrorClass)                {}
func (unobserved) Fallback(limits.Failure)                    {}
func (unobserved) Count(Tally)                                {}
