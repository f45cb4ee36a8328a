package ratelimit

import "github.com/sallyport-dev/sallyport/ratelimit/limits"

// Observers tells several observers of everything, in their order.
func Observers(all ...Observer) Observer { return observers(all) }

type observers []Observer

// Rule implements [Observer].
func (o observers) Rule(r *limits.Rule) RuleObserver {
	out := make(ruleObservers, len(o))
	for i, one := range o {
		out[i] = one.Rule(r)
	}
	return out
}

// Values implements [Observer].
func (o observers) Values(r *limits.Rule, keys []string) RuleObserver {
	out := make(ruleObservers, len(o))
	for i, one := range o {
		out[i] = one.Values(r, keys)
	}
	return out
}

// UnknownDomain implements [Observer].
func (o observers) UnknownDomain(domain string, descriptors int) {
	for _, one := range o {
		one.UnknownDomain(domain, descriptors)
	}
}

// Stray implements [Observer].
func (o observers) Stray(domain string, entries []limits.Entry) {
	for _, one := range o {
		one.Stray(domain, entries)
	}
}

// GlobalShadow implements [Observer].
func (o observers) GlobalShadow() {
	for _, one := range o {
		one.GlobalShadow()
	}
}

// StoreFailed implements [Observer].
func (o observers) StoreFailed(class StoreErrorClass) {
	for _, one := range o {
		one.StoreFailed(class)
	}
}

// Fallback implements [Observer].
func (o observers) Fallback(how limits.Failure) {
	for _, one := range o {
		one.Fallback(how)
	}
}

type ruleObservers []RuleObserver

// Count implements [RuleObserver].
func (o ruleObservers) Count(t Tally) {
	for _, one := range o {
		one.Count(t)
	}
}
