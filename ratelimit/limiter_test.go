package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

const file = `domain: d
descriptors:
- key: who
  rate_limits:
  - {requests_per_unit: 3, unit: minute}
  - {requests_per_unit: 5, unit: hour, name: hourly}
- key: open
  on_store_failure: open
  rate_limits: [{requests_per_unit: 3, unit: minute}]
- key: closed
  on_store_failure: closed
  rate_limits: [{requests_per_unit: 3, unit: minute}]
- key: error
  on_store_failure: error
  rate_limits: [{requests_per_unit: 3, unit: minute}]
- key: fixed
  algorithm: fixed_window
  rate_limits: [{requests_per_unit: 3, unit: minute}]
- key: shadow
  shadow_mode: true
  on_store_failure: error
  rate_limits: [{requests_per_unit: 1, unit: minute}]
- key: plain
  rate_limit: {requests_per_unit: 3, unit: minute, name: plain}
- key: plainshadow
  shadow_mode: true
  rate_limit: {requests_per_unit: 1, unit: minute}
- key: never
  rate_limit: {requests_per_unit: 0, unit: minute}
- key: free
  rate_limit: {unlimited: true}
- key: better
  rate_limit: {requests_per_unit: 9, unit: minute, replaces: [{name: plain}]}
`

// gate is a limiter under test: its clock, its store, and what it was told about.
type gate struct {
	*ratelimit.Limiter
	now   time.Time
	store *faulty
	seen  *ledger
}

// faulty is a store that fails when it is told to.
type faulty struct {
	ratelimit.Store
	err   error
	wait  bool // until the context is over
	calls int
}

func (f *faulty) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	f.calls++
	if f.wait {
		<-ctx.Done()
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: ctx.Err()}
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.Store.Spend(ctx, batch)
}

// ledger is an observer that writes everything down.
type ledger struct {
	sync.Mutex
	tallies map[string]ratelimit.Tally
	events  []string
}

type page struct {
	l    *ledger
	path string
}

func (l *ledger) Rule(r *limits.Rule) ratelimit.RuleObserver { return page{l, r.Path} }
func (l *ledger) Values(r *limits.Rule, keys []string) ratelimit.RuleObserver {
	return page{l, strings.Join(append([]string{r.Domain}, keys...), ".")}
}
func (l *ledger) UnknownDomain(string, int)               { l.note("unknown domain") }
func (l *ledger) Stray(string, []limits.Entry)            {}
func (l *ledger) GlobalShadow()                           { l.note("global shadow") }
func (l *ledger) StoreFailed(c ratelimit.StoreErrorClass) { l.note("store " + string(c)) }
func (l *ledger) Fallback(how limits.Failure)             { l.note("fallback " + how.String()) }

func (l *ledger) note(s string) {
	l.Lock()
	defer l.Unlock()
	l.events = append(l.events, s)
}

func (p page) Count(t ratelimit.Tally) {
	p.l.Lock()
	defer p.l.Unlock()
	sum := p.l.tallies[p.path]
	sum.Total, sum.Over, sum.Near, sum.Within, sum.Shadow = sum.Total+t.Total, sum.Over+t.Over, sum.Near+t.Near, sum.Within+t.Within, sum.Shadow+t.Shadow
	sum.Negative, sum.OverLocal = sum.Negative+t.Negative, sum.OverLocal+t.OverLocal
	p.l.tallies[p.path] = sum
}

func table(t testing.TB, source string) *limits.Table {
	t.Helper()
	f, errs := limits.Decode("f.yaml", []byte(source))
	if errs != nil {
		t.Fatal(errs)
	}
	out, errs := limits.Build([]*limits.File{f})
	if errs != nil {
		t.Fatal(errs)
	}
	return out
}

func newGate(t testing.TB, o ratelimit.Options) *gate {
	t.Helper()
	g := &gate{now: time.UnixMilli(1_700_000_040_000), seen: &ledger{tallies: map[string]ratelimit.Tally{}}} // a minute's beginning
	clock := func() time.Time { return g.now }
	g.store = &faulty{Store: memstore.New(memstore.Options{Now: clock})}
	o.Store, o.Observer = g.store, g.seen
	if o.Replicas > 0 {
		o.Local = memstore.New(memstore.Options{Now: clock})
	}
	g.Limiter = ratelimit.New(o)
	g.Use(table(t, file))
	return g
}

// request reads "who=a,rule=b; who=c": descriptors, each a list of entries. A number before a descriptor is its hits: "0*who=a"
// peeks, "-2*who=a" gives back.
func request(s string) ratelimit.Request {
	r := ratelimit.Request{Domain: "d"}
	for part := range strings.SplitSeq(s, ";") {
		var d ratelimit.Descriptor
		part = strings.TrimSpace(part)
		if hits, rest, ok := strings.Cut(part, "*"); ok {
			part, d.HasHits = rest, true
			d.Negative = strings.HasPrefix(hits, "-")
			if _, err := fmt.Sscan(strings.TrimPrefix(hits, "-"), &d.Hits); err != nil {
				panic(err)
			}
		}
		for entry := range strings.SplitSeq(part, ",") {
			key, value, _ := strings.Cut(entry, "=")
			d.Entries = append(d.Entries, limits.Entry{Key: key, Value: value})
		}
		r.Descriptors = append(r.Descriptors, d)
	}
	return r
}

// told writes a response as "over: 2/3m, over 0/5h": the verdict, then each status as remaining of limit.
func told(r ratelimit.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	words := map[ratelimit.Code]string{ratelimit.OK: "ok", ratelimit.OverLimit: "over"}
	var parts []string
	for _, s := range r.Statuses {
		text := ""
		switch {
		case s.Limit.Unit != limits.NoUnit:
			text = fmt.Sprintf("%d/%d%c", s.Remaining, s.Limit.Requests, s.Limit.Unit.String()[0])
		case s.Remaining == math.MaxUint32:
			text = "unlimited"
		default:
			text = "-"
		}
		if s.Code == ratelimit.OverLimit {
			text = "over " + text
		}
		parts = append(parts, text)
	}
	return words[r.Code] + ": " + strings.Join(parts, ", ")
}

func (g *gate) ask(s string) string { return told(g.Spend(context.Background(), request(s))) }

// Each story is a list of requests and answers at one instant; "+30s" lets time pass.
func TestStories(t *testing.T) {
	for _, tt := range []struct {
		name  string
		story []string
	}{
		{"a minute and an hour: both must have room, the tighter one is reported", []string{
			"who=a -> ok: 2/3m", "who=a -> ok: 1/3m", "who=a -> ok: 0/3m", "who=a -> over: over 0/3m",
			"+2m", "who=a -> ok: 1/5h", "who=a -> ok: 0/5h", "who=a -> over: over 0/5h",
		}},
		{"each value has its own budget", []string{"3*who=a -> ok: 0/3m", "who=a -> over: over 0/3m", "who=b -> ok: 2/3m"}},
		{"our form: a denied hit burns nothing", []string{"5*who=a -> over: over 3/3m", "3*who=a -> ok: 0/3m"}},
		{"our form, fixed: a denied hit burns nothing", []string{"5*fixed=a -> over: over 3/3m", "3*fixed=a -> ok: 0/3m"}},
		{"the reference's form: a denied hit burns", []string{"2*plain=a -> ok: 1/3m", "2*plain=a -> over: over 0/3m", "plain=a -> over: over 0/3m", "+1m", "plain=a -> ok: 2/3m"}},
		{"all or nothing over descriptors", []string{"3*who=a -> ok: 0/3m", "who=a; fixed=b -> over: over 0/3m, 3/3m", "fixed=b -> ok: 2/3m"}},
		{"the reference's form counts in a denied request", []string{"3*who=a -> ok: 0/3m", "who=a; plain=b -> over: over 0/3m, 2/3m", "plain=b -> ok: 1/3m"}},
		{"the same descriptor twice counts twice", []string{"fixed=a; fixed=a -> ok: 2/3m, 1/3m", "plain=a; plain=a -> ok: 2/3m, 1/3m"}},
		{"a peek spends nothing", []string{"0*who=a -> ok: 3/3m", "3*who=a -> ok: 0/3m", "0*who=a -> ok: 0/3m", "who=a -> over: over 0/3m"}},
		{"a give-back is never refused", []string{"3*who=a -> ok: 0/3m", "-2*who=a -> ok: 2/3m", "-9*who=a -> ok: 3/3m", "who=a -> ok: 2/3m"}},
		{"a limit of zero refuses", []string{"never=a -> over: over 0/0m", "0*never=a -> over: over 0/0m"}},
		{"a shadow rule refuses nobody", []string{"shadow=a -> ok: 0/1m", "shadow=a -> ok: 0/1m", "plainshadow=a; who=a -> ok: 0/1m, 2/3m", "plainshadow=a -> ok: 0/1m"}},
		{"nothing to count", []string{"free=a -> ok: unlimited", "other=a -> ok: -", "who=a,x=y -> ok: -"}},
		{"replaces", []string{"plain=a; better=a -> ok: -, 8/9m", "plain=a -> ok: 2/3m"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, ratelimit.Options{})
			for _, line := range tt.story {
				if wait, ok := strings.CutPrefix(line, "+"); ok {
					d, err := time.ParseDuration(wait)
					if err != nil {
						t.Fatal(err)
					}
					g.now = g.now.Add(d)
					continue
				}
				ask, want, _ := strings.Cut(line, " -> ")
				if got := g.ask(ask); got != want {
					t.Errorf("%s: got %q, want %q", ask, got, want)
				}
			}
		})
	}
}

// One trip to the store for any number of descriptors, and none where there is nothing to count.
func TestOneTrip(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	for _, tt := range []struct {
		ask   string
		calls int
	}{{"who=a; fixed=a; plain=a", 1}, {"free=a; other=b", 0}} {
		g.store.calls = 0
		g.ask(tt.ask)
		if g.store.calls != tt.calls {
			t.Errorf("%s: %d trips, want %d", tt.ask, g.store.calls, tt.calls)
		}
	}
}

func TestReset(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.now = g.now.Add(20 * time.Second)
	for ask, want := range map[string]time.Duration{"plain=a": 40 * time.Second, "other=a": 0, "free=a": 0} {
		r, err := g.Spend(context.Background(), request(ask))
		if err != nil || r.Statuses[0].Reset != want {
			t.Errorf("%s: reset %v, want %v (%v)", ask, r.Statuses[0].Reset, want, err)
		}
	}
}

func TestErrors(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	valid := request("who=a")
	noEntries := ratelimit.Request{Domain: "d", Descriptors: []ratelimit.Descriptor{{}}}
	with := func(edit func(*ratelimit.Descriptor)) ratelimit.Request {
		r := request("who=a")
		edit(&r.Descriptors[0])
		return r
	}
	for _, tt := range []struct {
		name string
		req  ratelimit.Request
		want error
		text string
	}{
		{"no domain", ratelimit.Request{Descriptors: valid.Descriptors}, ratelimit.ErrNoDomain, "rate limit domain must not be empty"},
		{"no descriptors", ratelimit.Request{Domain: "d"}, ratelimit.ErrNoDescriptors, "rate limit descriptor list must not be empty"},
		{"too many descriptors", ratelimit.Request{Domain: "d", Descriptors: make([]ratelimit.Descriptor, 257)}, ratelimit.ErrInvalid, ""},
		{"too many hits", with(func(d *ratelimit.Descriptor) { d.HasHits, d.Hits = true, 1<<32 }), ratelimit.ErrInvalid, ""},
		{"an override without a unit", with(func(d *ratelimit.Descriptor) { d.Override = &ratelimit.Override{Requests: 1} }), ratelimit.ErrInvalid, ""},
		{"an override of a made-up unit", with(func(d *ratelimit.Descriptor) { d.Override = &ratelimit.Override{Requests: 1, Unit: 77} }), ratelimit.ErrInvalid, ""},
		{"an override of a million years", with(func(d *ratelimit.Descriptor) {
			d.Override = &ratelimit.Override{Requests: 1, Unit: limits.Year, Multiplier: 1_000_000}
		}), ratelimit.ErrInvalid, ""},
		{"no entries: not limited", noEntries, nil, ""},
		{"most hits there are", with(func(d *ratelimit.Descriptor) { d.HasHits, d.Hits = true, math.MaxUint32 }), nil, ""},
	} {
		_, err := g.Spend(context.Background(), tt.req)
		if !errors.Is(err, tt.want) || tt.text != "" && err.Error() != tt.text {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}

	if _, err := ratelimit.New(ratelimit.Options{}).Spend(context.Background(), valid); !errors.Is(err, ratelimit.ErrNoTable) || err.Error() != "no rate limit configuration loaded" {
		t.Errorf("no table: %v", err)
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := g.Spend(gone, valid); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
}

// A limit that the request brings counts by itself: not in the file's budget, and not in another span's.
func TestOverride(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	ask := func(entry string, o ratelimit.Override) string {
		r := request(entry)
		r.Descriptors[0].Override = &o
		return told(g.Spend(context.Background(), r))
	}
	for _, tt := range []struct {
		entry string
		o     ratelimit.Override
		want  string
	}{
		{"who=a", ratelimit.Override{Requests: 2, Unit: limits.Minute}, "ok: 1/2m"},
		{"who=a", ratelimit.Override{Requests: 2, Unit: limits.Hour}, "ok: 1/2h"},
		{"who=a", ratelimit.Override{Requests: 9, Unit: limits.Minute}, "ok: 7/9m"},
		{"who=a", ratelimit.Override{Requests: 2, Unit: limits.Minute, Multiplier: 5}, "ok: 1/2m"},
		{"unmatched=a", ratelimit.Override{Requests: 0, Unit: limits.Second}, "over: over 0/0s"},
		{"who=a", ratelimit.Override{Requests: 2, Unit: limits.Minute}, "over: over 0/2m"},
	} {
		if got := ask(tt.entry, tt.o); got != tt.want {
			t.Errorf("%s %+v: %q, want %q", tt.entry, tt.o, got, tt.want)
		}
	}
	if got := g.ask("who=a"); got != "ok: 2/3m" {
		t.Errorf("the file's budget: %q", got)
	}
	r := request("who=a")
	r.Domain, r.Descriptors[0].Override = "other", &ratelimit.Override{Requests: 0, Unit: limits.Second}
	if got := told(g.Spend(context.Background(), r)); got != "ok: -" {
		t.Errorf("an unknown domain: %q", got)
	}
	if diff := cmp.Diff([]string{"unknown domain"}, g.seen.events); diff != "" {
		t.Error(diff)
	}
}

var errDown = &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("connection refused")}

func TestStoreFailure(t *testing.T) {
	for _, tt := range []struct {
		name, ask, want string
		local           bool
		events          []string
	}{
		{"error", "error=a", errDown.Error(), true, []string{"store refused", "fallback error"}},
		{"the reference's form", "plain=a", errDown.Error(), true, []string{"store refused", "fallback error"}},
		{"one rule that wants an error", "who=a; error=a", errDown.Error(), true, []string{"store refused", "fallback local", "fallback error"}},
		{"an error does not undo a refusal", "error=a; closed=a", "over: -, over 0/3m", true, []string{"store refused", "fallback closed", "fallback error"}},
		{"nor one of this replica's share", "plain=a; 2*who=a", "over: -, over 1/3m", true, []string{"store refused", "fallback local", "fallback error"}},
		{"open", "open=a", "ok: -", true, []string{"store refused", "fallback open"}},
		{"closed", "closed=a", "over: over 0/3m", true, []string{"store refused", "fallback closed"}},
		{"local", "who=a", "ok: 0/3m", true, []string{"store refused", "fallback local"}},
		{"local, over its share", "2*who=a", "over: over 1/3m", true, []string{"store refused", "fallback local"}},
		{"local without local counters refuses", "who=a", "over: over 0/3m", false, []string{"store refused", "fallback closed"}},
		{"a shadow rule is open", "shadow=a", "ok: -", true, []string{"store refused", "fallback open"}},
		{"a refused request burns nothing locally", "who=a; closed=a", "over: 1/3m, over 0/3m", true, []string{"store refused", "fallback closed", "fallback local"}},
		{"nothing to count", "free=a", "ok: unlimited", true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := ratelimit.Options{}
			if tt.local {
				o.Replicas = 2 // a share of 3 is 1
			}
			g := newGate(t, o)
			g.store.err = errDown
			if got := g.ask(tt.ask); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(tt.events, g.seen.events); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What this replica gave out while the store was healthy stands in its local counters when the store fails; what was refused,
// peeked at or given back does not.
func TestLocalCountersRunWhileTheStoreIsHealthy(t *testing.T) {
	for _, tt := range []struct {
		name    string
		healthy []string
		want    string // of "0*who=a" after the failure; a share is 2 of 5 and 1 of 3
	}{
		{"spent", []string{"who=a"}, "ok: 0/3m"},
		{"spent beyond the share", []string{"3*who=a"}, "over: over 0/5h"},
		{"refused", []string{"9*who=a"}, "ok: 1/3m"},
		{"refused by another descriptor", []string{"who=a; never=x"}, "ok: 1/3m"},
		{"peeked", []string{"0*who=a"}, "ok: 1/3m"},
		{"given back", []string{"who=a", "-1*who=a"}, "ok: 1/3m"},
		{"another value", []string{"who=b"}, "ok: 1/3m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, ratelimit.Options{Replicas: 2})
			for _, ask := range tt.healthy {
				g.ask(ask)
			}
			g.store.err = errDown
			if got := g.ask("0*who=a"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			r, _ := g.Spend(context.Background(), request("who=a"))
			if !r.Degraded {
				t.Error("an answer without the store does not say so")
			}
		})
	}
}

// Without a shared store each replica spends its share, of the limits that requests bring too, and shows the whole limit.
func TestShareOfAStoreOfOnesOwn(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{Now: func() time.Time { return now }}), StoreIsLocal: true, Replicas: 2})
	l.Use(table(t, file))
	for _, step := range []struct{ ask, want string }{
		{"who=a", "ok: 0/3m"}, // a share of 3 is 1
		{"who=a", "over: over 0/3m"},
		{"better=a; plain=a", "ok: 3/9m, -"}, // and of 9 is 4
		{"free=a", "ok: unlimited"},
	} {
		got := told(l.Spend(context.Background(), request(step.ask)))
		if got != step.want {
			t.Errorf("%s: got %q, want %q", step.ask, got, step.want)
		}
	}
	brought := request("x=a")
	brought.Descriptors[0].Override = &ratelimit.Override{Requests: 5, Unit: limits.Minute}
	if got := told(l.Spend(context.Background(), brought)); got != "ok: 1/5m" {
		t.Errorf("an override: got %q, want the share of 5, which is 2", got)
	}
}

// A store that hangs costs four fifths of the caller's time, and the answer still comes in time.
func TestSlowStore(t *testing.T) {
	for _, tt := range []struct {
		name          string
		caller, store time.Duration // zero: none
		want          time.Duration
	}{
		{"the caller's deadline", 20 * time.Millisecond, 0, 16 * time.Millisecond},
		{"no deadline", 0, 0, ratelimit.DefaultStoreTimeout},
		{"a tighter setting", time.Second, 30 * time.Millisecond, 30 * time.Millisecond},
		{"a wider setting", 20 * time.Millisecond, time.Second, 16 * time.Millisecond},
		{"a setting alone", 0, 70 * time.Millisecond, 70 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate(t, ratelimit.Options{Replicas: 1, StoreTimeout: tt.store})
				g.store.wait = true
				ctx, cancel := context.Background(), context.CancelFunc(func() {})
				if tt.caller > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.caller)
				}
				defer cancel()
				before := time.Now()
				if got := told(g.Spend(ctx, request("who=a"))); got != "ok: 2/3m" {
					t.Errorf("answer %q", got)
				}
				if took := time.Since(before); took != tt.want {
					t.Errorf("after %v, want %v", took, tt.want)
				}
				if diff := cmp.Diff([]string{"store timeout", "fallback local"}, g.seen.events); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A caller that goes while the store works is told so, and the store is not blamed.
func TestCallerGoes(t *testing.T) {
	g := newGate(t, ratelimit.Options{Replicas: 1})
	ctx, cancel := context.WithCancel(context.Background())
	g.store.Store = goer{cancel}
	if _, err := g.Spend(ctx, request("who=a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if len(g.seen.events) != 0 {
		t.Errorf("blamed: %v", g.seen.events)
	}
}

// A store that takes all of the caller's time is a failure of the store, not of the service.
func TestStoreOutlastsTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(t, ratelimit.Options{Replicas: 1})
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		g.store.Store = stubborn{ctx}
		_, err := g.Spend(ctx, request("who=a"))
		if failed := (*ratelimit.StoreError)(nil); !errors.As(err, &failed) || failed.Class != ratelimit.StoreTimeout {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff([]string{"store timeout"}, g.seen.events); diff != "" {
			t.Error(diff)
		}
	})
}

// stubborn answers when the caller's time is up, whatever the time it was given.
type stubborn struct{ caller context.Context }

func (s stubborn) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	<-s.caller.Done()
	return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: s.caller.Err()}
}

type goer struct{ cancel context.CancelFunc }

func (g goer) Spend(ctx context.Context, _ []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	g.cancel()
	return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: ctx.Err()}
}

// A store that answers with nonsense is not believed.
func TestStoreThatLies(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.store.Store = liar{}
	if got := g.ask("open=a; open=b"); got != "ok: -, -" || g.seen.events[0] != "store other" {
		t.Errorf("too few outcomes: %q, %v", got, g.seen.events)
	}
	if got := g.ask("open=a"); got != "over: over 0/3m" {
		t.Errorf("too few windows: %q", got)
	}
}

type liar struct{}

func (liar) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return make([]ratelimit.Outcome, 1), nil
}

func TestTallies(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	for _, ask := range []string{
		"7*better=a", "2*better=a", "better=a", // 7 of 9 are the last that are not near
		"2*plain=a", "2*plain=a", "-1*plain=a", "0*plain=a",
		"shadow=a", "2*shadow=a",
		"3*free=a",
	} {
		g.ask(ask)
	}
	want := map[string]ratelimit.Tally{
		"d.better": {Total: 10, Within: 9, Near: 2, Over: 1},
		"d.plain":  {Total: 4, Within: 2, Near: 1, Over: 1, Negative: 1}, // the third of 3 came with the fourth
		"d.shadow": {Total: 3, Within: 1, Near: 1, Over: 2, Shadow: 2},
		"d.free":   {Total: 3, Within: 3},
	}
	if diff := cmp.Diff(want, g.seen.tallies); diff != "" {
		t.Error(diff)
	}
}

// A new table applies to the next request, and counts that do not depend on the limit stay.
func TestUse(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.ask("2*who=a")
	g.Use(nil)
	if got := g.ask("who=a"); got != "ok: 0/3m" {
		t.Errorf("a nil table: %q", got)
	}
	next := table(t, strings.Replace(file, "requests_per_unit: 3, unit: minute}", "requests_per_unit: 4, unit: minute}", 1))
	g.Use(next)
	if got := g.ask("who=a"); got != "ok: 0/4m" || g.Table() != next {
		t.Errorf("a raised limit: %q", got)
	}
}

func BenchmarkSpend(b *testing.B) {
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{})})
	l.Use(table(b, strings.NewReplacer("requests_per_unit: 3", "requests_per_unit: 4000000000", "requests_per_unit: 5", "requests_per_unit: 4000000000").Replace(file)))
	for _, tt := range []struct{ name, ask string }{
		{"one", "who=user|shop|alice"},
		{"three", "who=user|shop|alice; fixed=orders; open=list"},
		{"none", "other=x"},
	} {
		req := request(tt.ask)
		b.Run(tt.name, func(b *testing.B) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if r, err := l.Spend(ctx, req); err != nil || r.Code != ratelimit.OK {
					b.Fatal(r, err)
				}
			}
		})
	}
}

// More replicas than a limit can be shared among leave nothing, and end nothing.
func TestReplicasBeyondAllLimits(t *testing.T) {
	for _, n := range []int{1 << 32, 1<<32 + 1} {
		g := newGate(t, ratelimit.Options{Replicas: n, StoreIsLocal: true})
		if got := g.ask("who=a"); got != "over: over 0/3m" && got != "over: over 0/5h" {
			t.Errorf("%d replicas: %q", n, got)
		}
	}
}
