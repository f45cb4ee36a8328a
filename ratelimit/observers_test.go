package ratelimit_test

import (
	"slices"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// witness notes what it is told.
type witness struct{ heard []string }

func (w *witness) note(s string) { w.heard = append(w.heard, s) }

func (w *witness) Rule(r *limits.Rule) ratelimit.RuleObserver { w.note("rule " + r.Path); return w }
func (w *witness) Values(r *limits.Rule, keys []string) ratelimit.RuleObserver {
	w.note("values " + keys[0])
	return w
}
func (w *witness) UnknownDomain(domain string, _ int)      { w.note("unknown " + domain) }
func (w *witness) Stray(domain string, _ []limits.Entry)   { w.note("stray " + domain) }
func (w *witness) GlobalShadow()                           { w.note("shadow") }
func (w *witness) StoreFailed(c ratelimit.StoreErrorClass) { w.note("failed " + string(c)) }
func (w *witness) Fallback(how limits.Failure)             { w.note("fallback " + how.String()) }
func (w *witness) Count(t ratelimit.Tally)                 { w.note("counted") }

// Every one of several observers hears everything.
func TestObserversAllHear(t *testing.T) {
	a, b := new(witness), new(witness)
	both := ratelimit.Observers(a, b)
	rule := &limits.Rule{Path: "d.k"}
	both.Rule(rule).Count(ratelimit.Tally{})
	both.Values(rule, []string{"v"}).Count(ratelimit.Tally{})
	both.UnknownDomain("x", 1)
	both.Stray("d", nil)
	both.GlobalShadow()
	both.StoreFailed(ratelimit.StoreOOM)
	both.Fallback(limits.FailOpen)
	want := []string{"rule d.k", "counted", "values v", "counted", "unknown x", "stray d", "shadow", "failed oom", "fallback open"}
	for _, w := range []*witness{a, b} {
		if !slices.Equal(w.heard, want) {
			t.Errorf("heard %v, want %v", w.heard, want)
		}
	}
}
