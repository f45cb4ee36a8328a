package ratelimit

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// DefaultStoreTimeout is how long the store may take when the caller sent no deadline.
const DefaultStoreTimeout = 50 * time.Millisecond

// DefaultNearLimitRatio is the part of a limit above which hits are near it.
const DefaultNearLimitRatio float32 = 0.8

// Options configure a [Limiter].
type Options struct {
	// Store holds the counters; it must not be nil.
	Store Store
	// Local counts in this process for rules that say `local` while Store cannot decide. Its counters run while Store is
	// healthy too, so that a failing store hands out nothing anew. Nil: such rules refuse instead. Leave it nil when Store
	// itself is in this process.
	Local Store
	// StoreIsLocal says that Store is this process's own, so that each of Replicas always counts for itself, within its share.
	StoreIsLocal bool
	// Replicas is how many processes share a limit when each counts for itself; zero or less means one. A share is rounded
	// down, so that all of them together stay within the limit; a limit below Replicas then refuses everything.
	Replicas int
	// StoreTimeout is the most time the store may take. Zero: DefaultStoreTimeout, or four fifths of the time that the caller
	// left, if it sent a deadline. The rest of the caller's time is for answering without the store.
	StoreTimeout time.Duration
	// ShadowMode lets every request pass, whatever its limits say: the overall code is OK, and the statuses say what they would
	// have said (SHADOW_MODE of envoyproxy/ratelimit). Each request that passes for this alone is told to the Observer. As long
	// as it is on, nothing is limited.
	ShadowMode bool
	// QuotaMode makes every limit a quota, as quota_mode does for one rule ([limits.Rule.Quota]; QUOTA_MODE of
	// envoyproxy/ratelimit).
	QuotaMode bool
	// NearLimitRatio is the part of a limit above which hits are near it, between 0 and 1; it changes metrics only. Zero:
	// DefaultNearLimitRatio (NEAR_LIMIT_RATIO of envoyproxy/ratelimit).
	NearLimitRatio float32
	// Observer may be nil.
	Observer Observer
}

// Limiter decides requests. It is safe for concurrent use, and decides nothing until [Limiter.Use] gave it a table.
type Limiter struct {
	store, local Store
	replicas     uint32
	shadow       bool // of every request
	quota        bool // of every limit
	nearRatio    float32
	divisor      uint32 // of what Store spends: replicas where each has a store of its own, else 1
	timeout      time.Duration
	observer     Observer
	current      atomic.Pointer[generation]

	using  sync.Mutex
	values map[string]*values // by rule, those of earlier tables too: guarded by using
}

// generation is a table with what is kept beside each of its rules, by the rule's ID. A request sees one generation.
type generation struct {
	table *limits.Table
	rules []beside
}

type beside struct {
	observer RuleObserver
	values   *values         // counts in place of observer, where metrics show the values that were sent
	windows  []window.Window // the rule's windows as Store spends them
	share    []window.Window // the rule's windows for one replica of several
}

// New makes a limiter without a table.
func New(o Options) *Limiter {
	l := &Limiter{
		store: o.Store, local: o.Local, replicas: uint32(min(max(o.Replicas, 1), math.MaxInt32)), shadow: o.ShadowMode, quota: o.QuotaMode, nearRatio: o.NearLimitRatio,
		timeout: o.StoreTimeout, observer: o.Observer, values: map[string]*values{},
	}
	if l.nearRatio == 0 {
		l.nearRatio = DefaultNearLimitRatio
	}
	if l.observer == nil {
		l.observer = unobserved{}
	}
	if l.divisor = 1; o.StoreIsLocal {
		l.divisor = l.replicas
	}
	return l
}

// Use takes a table into use for all requests that begin from now on. A nil table changes nothing.
func (l *Limiter) Use(t *limits.Table) {
	if t == nil {
		return
	}
	l.using.Lock()
	defer l.using.Unlock()
	g := &generation{table: t, rules: make([]beside, len(t.Rules()))}
	for i, r := range t.Rules() {
		b := beside{windows: divided(r.Windows, l.divisor), share: divided(r.Windows, l.replicas)}
		if r.ByValue == nil {
			b.observer = l.observer.Rule(r)
		} else {
			b.values = l.valuesOf(r)
		}
		g.rules[i] = b
	}
	l.current.Store(g)
}

// divided is windows with a part of each limit and burst, rounded down.
func divided(windows []window.Window, by uint32) []window.Window {
	out := slices.Clone(windows)
	for i := range out {
		out[i].Limit /= by
		out[i].Burst /= by
	}
	return out
}

// Table is the table in use; nil before the first.
func (l *Limiter) Table() *limits.Table {
	if g := l.current.Load(); g != nil {
		return g.table
	}
	return nil
}

// Spend decides one request and spends its hits, in one trip to the store. It fails with one of the errors of this package, with
// the context's error when the caller has gone, or with a [*StoreError] when the store could not decide and a rule wants an
// error then.
func (l *Limiter) Spend(ctx context.Context, req Request) (Response, error) {
	if err := req.check(); err != nil {
		return Response{}, err
	}
	if err := ctx.Err(); err != nil {
		return Response{}, err
	}
	g := l.current.Load()
	if g == nil {
		return Response{}, ErrNoTable
	}
	s := spending{limiter: l, generation: g, asked: req.Descriptors}
	s.match(&req)
	if err := s.spend(ctx); err != nil {
		return Response{}, err
	}
	s.shadow()
	return s.response, nil
}

// spend has the charges decided, by the store or without it.
func (s *spending) spend(ctx context.Context) error {
	if len(s.charges) == 0 {
		s.judge()
		return nil
	}
	outcomes, err := s.limiter.ask(ctx, s.charges)
	if err != nil {
		return s.withoutStore(ctx, err)
	}
	s.take(outcomes)
	s.mirror(ctx, outcomes)
	return nil
}

// errUnanswered is a store that breaks its promise.
var errUnanswered error = &StoreError{Class: StoreOther, Err: errors.New("the store did not answer for every charge")}

// take takes in what the store said of each charge: first what it counted, since the rest is believed only of a refused request.
func (s *spending) take(outcomes []Outcome) {
	for _, uncounted := range [...]bool{false, true} {
		for i := range s.charges {
			if outcomes[i].Uncounted == uncounted {
				s.settle(i, &s.charges[i], &outcomes[i])
			}
		}
		s.judge()
	}
}

// ask spends a batch in the store, within the store's part of the caller's time.
func (l *Limiter) ask(ctx context.Context, batch []Charge) ([]Outcome, error) {
	allowed := l.timeout
	if deadline, ok := ctx.Deadline(); ok {
		if part := time.Until(deadline) * 4 / 5; allowed == 0 || part < allowed {
			allowed = part
		}
	} else if allowed == 0 {
		allowed = DefaultStoreTimeout
	}
	within, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	outcomes, err := l.store.Spend(within, batch)
	if err == nil && len(outcomes) != len(batch) {
		err = errUnanswered
	}
	return outcomes, err
}

// spending is one request on its way.
type spending struct {
	limiter    *Limiter
	generation *generation
	asked      []Descriptor // the request's
	response   Response
	charges    []Charge
	of         []int // the descriptor of each charge
}

// match finds each descriptor's limit, and makes the charges.
func (s *spending) match(req *Request) {
	table := s.generation.table
	s.response = Response{Statuses: make([]Status, len(req.Descriptors))}
	override := table.Override(req.Domain)
	if override == nil {
		s.limiter.observer.UnknownDomain(req.Domain, len(req.Descriptors))
	}
	s.charges = make([]Charge, 0, len(req.Descriptors))
	s.of = make([]int, 0, len(req.Descriptors))
	replacing := false
	for i := range req.Descriptors {
		d, status := &req.Descriptors[i], &s.response.Statuses[i]
		status.Code = OK
		if override == nil || len(d.Entries) == 0 {
			continue
		}
		if d.Override != nil {
			s.override(req, i, override)
			continue
		}
		m := table.Match(req.Domain, d.Entries)
		if m.Rule == nil {
			if m.Stray {
				s.limiter.observer.Stray(req.Domain, d.Entries)
			}
			continue
		}
		status.Rule = m.Rule
		replacing = replacing || len(m.Rule.Replaces) > 0
		s.charge(i, Charge{
			Key: m.Key, Rule: m.Rule.Path, Windows: s.generation.rules[m.Rule.ID].windows, Algorithm: m.Rule.Algorithm, Hits: req.hits(d),
			CountDenied: m.Rule.CountDenied, Shadow: m.Rule.Shadow,
		})
	}
	if replacing {
		s.replace()
	}
	s.unlimited()
	s.quotas()
}

// quotas marks the limits that refuse only together. Each may be over while the request passes, so none of several may deny it in
// the store; one alone may.
//
// So a request that all of several quotas refuse has burnt its hits on its other limits. That errs on the safe side, and to take them
// back would take a second trip.
func (s *spending) quotas() {
	var several []int
	for c := range s.charges {
		status := &s.response.Statuses[s.of[c]]
		if (s.limiter.quota || status.Rule.Quota) && !status.Rule.Shadow {
			status.Quota = true
			several = append(several, c)
		}
	}
	if len(several) < 2 {
		return
	}
	for _, c := range several {
		s.charges[c].Shadow = true
	}
}

// judge makes the codes of what the limits say. Until then the response refuses.
func (s *spending) judge() {
	refused, quotas, exhausted := false, 0, 0
	for c := range s.charges {
		switch status := &s.response.Statuses[s.of[c]]; {
		case status.Rule.Shadow:
		case status.Quota:
			quotas++
			if status.Over {
				exhausted++
			}
		default:
			refused = refused || status.Over
		}
	}
	all := quotas > 0 && exhausted == quotas
	for c := range s.charges {
		status := &s.response.Statuses[s.of[c]]
		status.Code = OK
		if status.Over && !status.Rule.Shadow && (all || !status.Quota) {
			status.Code = OverLimit
		}
	}
	s.response.Code = OK
	if refused || all {
		s.response.Code = OverLimit
	}
}

// shadow lets pass what would be refused, where the whole service is in shadow mode.
func (s *spending) shadow() {
	if s.limiter.shadow && s.response.Code == OverLimit {
		s.response.Code, s.response.Shadowed = OK, true
		s.limiter.observer.GlobalShadow()
	}
}

func (s *spending) charge(descriptor int, c Charge) {
	s.charges = append(s.charges, c)
	s.of = append(s.of, descriptor)
}

// override charges a limit that the request brought itself: accounted like the reference's form, never in shadow.
func (s *spending) override(req *Request, i int, rule *limits.Rule) {
	d := &req.Descriptors[i]
	o := d.Override
	status := &s.response.Statuses[i]
	status.Rule, status.Multiplier = rule, o.Multiplier
	status.Limit = limits.Limit{Requests: o.Requests, Unit: o.Unit}
	s.charge(i, Charge{
		Key: limits.OverrideKey(req.Domain, d.Entries, o.span()), Rule: rule.Path + "." + o.Unit.String(),
		Windows: []window.Window{{Limit: o.Requests / s.limiter.divisor, Span: o.span()}}, Algorithm: window.Fixed, Hits: req.hits(d), CountDenied: rule.CountDenied, OwnLimit: true,
	})
}

// replace takes out the limits that another limit of the same request names: they say OK, and count nothing. A rule that is unlimited
// limits nothing that could be taken out.
func (s *spending) replace() {
	replaced := func(name string) bool {
		for _, status := range s.response.Statuses {
			if status.Rule != nil && slices.Contains(status.Rule.Replaces, name) {
				return true
			}
		}
		return false
	}
	out := make([]bool, len(s.response.Statuses))
	for i, status := range s.response.Statuses {
		out[i] = status.Rule != nil && !status.Rule.Unlimited && status.Rule.Name != "" && replaced(status.Rule.Name)
	}
	s.keep(func(charge int) bool { return !out[s.of[charge]] })
	for i := range out {
		if out[i] {
			s.response.Statuses[i] = Status{Code: OK}
		}
	}
}

// unlimited answers the rules that count nothing.
func (s *spending) unlimited() {
	s.keep(func(charge int) bool {
		i := s.of[charge]
		status := &s.response.Statuses[i]
		if !status.Rule.Unlimited {
			return true
		}
		status.Remaining = ^uint32(0)
		if hits := s.charges[charge].Hits; hits > 0 {
			s.count(charge, Tally{Total: uint64(hits), Within: uint64(hits)})
		}
		return false
	})
}

// keep drops the charges that do not pass.
func (s *spending) keep(pass func(charge int) bool) {
	n := 0
	for c := range s.charges {
		if pass(c) {
			s.charges[n], s.of[n] = s.charges[c], s.of[c]
			n++
		}
	}
	s.charges, s.of = s.charges[:n], s.of[:n]
}

// settle writes a charge's outcome into its status. The windows of c are what the outcome speaks of; the status shows the
// rule's own limits.
func (s *spending) settle(i int, c *Charge, o *Outcome) {
	status := &s.response.Statuses[s.of[i]]
	if o.Uncounted && s.response.Code == OverLimit {
		s.count(i, uncounted(s.charges[i].Hits))
		return // it says OK, and nothing of its limit
	}
	if len(o.Windows) != len(c.Windows) {
		// Every store reports every window; one that does not cannot be believed, and the zero value refuses.
		s.refuse(i)
		return
	}
	w := reported(o.Windows)
	if !status.Rule.Override {
		status.show(status.Rule.Limits[w])
	}
	state := o.Windows[w]
	status.Remaining, status.Reset, status.Windows = state.Remaining, state.Reset, o.Windows
	status.Over = o.Over
	capacity := c.Windows[w].Capacity(c.Algorithm)
	t := tally(s.charges[i].Hits, capacity, nearOf(capacity, s.limiter.nearRatio), c.CountDenied, o, state)
	if status.Rule.Shadow {
		t.Shadow = t.Over
	}
	s.count(i, t)
}

// count tells the observer of a charge's hits.
func (s *spending) count(charge int, t Tally) {
	if t == (Tally{}) {
		return
	}
	d := s.of[charge]
	b := &s.generation.rules[s.response.Statuses[d].Rule.ID]
	if b.values != nil {
		b.values.of(s.asked[d].Entries).Count(t)
		return
	}
	b.observer.Count(t)
}

// reported picks the window that a status shows.
func reported(states []window.State) int {
	best := 0
	for i, s := range states[1:] {
		b := states[best]
		if s.Over != b.Over {
			if s.Over {
				best = i + 1
			}
			continue
		}
		if s.Over && s.Reset > b.Reset || !s.Over && s.Remaining < b.Remaining {
			best = i + 1
		}
	}
	return best
}
