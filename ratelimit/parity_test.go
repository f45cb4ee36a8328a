package ratelimit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

// What envoyproxy/ratelimit decides, row by row; package rls shows the same rows on the wire.

const quotas = `domain: d
descriptors:
- {key: q, quota_mode: true, rate_limit: {requests_per_unit: 1, unit: minute}}
- {key: r, quota_mode: true, rate_limit: {requests_per_unit: 2, unit: minute}}
- {key: ours, quota_mode: true, rate_limits: [{requests_per_unit: 1, unit: minute}]}
- {key: ours2, quota_mode: true, rate_limits: [{requests_per_unit: 2, unit: minute}]}
- {key: hard, rate_limit: {requests_per_unit: 2, unit: minute}}
- {key: strict, rate_limits: [{requests_per_unit: 9, unit: minute}]}
- {key: shadow, quota_mode: true, shadow_mode: true, rate_limit: {requests_per_unit: 0, unit: minute}}
- {key: free, quota_mode: true, rate_limit: {unlimited: true}}
- {key: open, quota_mode: true, on_store_failure: open, rate_limits: [{requests_per_unit: 1, unit: minute}]}
- {key: closed, quota_mode: true, on_store_failure: closed, rate_limits: [{requests_per_unit: 1, unit: minute}]}
- {key: local, quota_mode: true, rate_limits: [{requests_per_unit: 2, unit: minute}]}
`

// gateOf is a gate of other limits.
func gateOf(t testing.TB, source string, o ratelimit.Options) *gate {
	t.Helper()
	g := newGate(t, o)
	g.seen.tallies = map[string]ratelimit.Tally{}
	g.Use(table(t, source))
	return g
}

// tell holds a gate to a story: "request -> answer", line by line.
func (g *gate) tell(t *testing.T, story []string) {
	t.Helper()
	for _, line := range story {
		ask, want, _ := strings.Cut(line, " -> ")
		if got := g.ask(ask); got != want {
			t.Errorf("%s: got %q, want %q", ask, got, want)
		}
	}
}

// A quota alone refuses like any limit; of several, each may be over as long as one is not.
func TestParityQuotaMode(t *testing.T) {
	for name, story := range map[string][]string{
		"one quota, over: every quota is over":           {"q=a -> ok: 0/1m", "q=a -> over: over 0/1m"},
		"one of two is over: the request passes":         {"q=a; r=a -> ok: 0/1m, 1/2m", "q=a; r=a -> ok: 0/1m, 0/2m", "q=a; r=a -> over: over 0/1m, over 0/2m"},
		"any other limit refuses as ever":                {"2*hard=a -> ok: 0/2m", "q=a; hard=a -> over: 0/1m, over 0/2m"},
		"every quota over, beside a limit with room":     {"q=a -> ok: 0/1m", "q=a; hard=a -> over: over 0/1m, 1/2m"},
		"our form: one over, the other spends":           {"ours=a -> ok: 0/1m", "ours=a; ours2=a -> ok: 0/1m, 1/2m", "ours=a; ours2=a -> ok: 0/1m, 0/2m", "ours=a; ours2=a -> over: over 0/1m, over 0/2m"},
		"our form: one quota that refuses burns nothing": {"ours=a -> ok: 0/1m", "ours=a; strict=a -> over: over 0/1m, 9/9m", "strict=a -> ok: 8/9m"},
		"a denied request burns no quota of our form":    {"9*strict=a -> ok: 0/9m", "ours=a; ours2=a; strict=a -> over: 1/1m, 2/2m, over 0/9m"},
		"the same descriptor twice is two quotas":        {"q=a; q=a -> ok: 0/1m, 0/1m", "q=a; q=a -> over: over 0/1m, over 0/1m"},
		"a shadow rule is no quota":                      {"q=a; shadow=x -> ok: 0/1m, 0/0m", "q=a; shadow=x -> over: over 0/1m, 0/0m"},
		"what counts nothing is no quota":                {"q=a; free=a; other=a -> ok: 0/1m, unlimited, -", "q=a; free=a; other=a -> over: over 0/1m, unlimited, -"},
	} {
		t.Run(name, func(t *testing.T) { gateOf(t, quotas, ratelimit.Options{}).tell(t, story) })
	}
}

// What is over is told apart from what refuses, for the metadata.
func TestParityQuotaModeSaysWhatIsOver(t *testing.T) {
	g := gateOf(t, quotas, ratelimit.Options{})
	g.ask("q=a; hard=a")
	r, err := g.Spend(context.Background(), request("q=a; r=a; hard=a; shadow=x"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range r.Statuses {
		got = append(got, fmt.Sprintf("over %t quota %t", s.Over, s.Quota))
	}
	if diff := cmp.Diff([]string{"over true quota true", "over false quota true", "over false quota false", "over true quota false"}, got); diff != "" {
		t.Error(diff)
	}
}

// QUOTA_MODE makes every limit a quota, those that requests bring too.
func TestParityGlobalQuotaMode(t *testing.T) {
	g := gateOf(t, quotas, ratelimit.Options{QuotaMode: true})
	g.tell(t, []string{"2*hard=a; 9*strict=a -> ok: 0/2m, 0/9m", "hard=a; strict=b -> ok: 0/2m, 8/9m", "hard=a; strict=a -> over: over 0/2m, over 0/9m"})
	r := request("hard=a; strict=b")
	r.Descriptors[0].Override = &ratelimit.Override{Requests: 0, Unit: limits.Minute}
	if got := told(g.Spend(context.Background(), r)); got != "ok: 0/0m, 7/9m" {
		t.Errorf("an override: %q", got)
	}
}

// Without the store a quota does what its rule says, and refuses only with all the others.
func TestParityQuotaModeWithoutTheStore(t *testing.T) {
	for ask, want := range map[string]string{
		"open=a":            "ok: -",
		"closed=a":          "over: over 0/1m",
		"closed=a; open=a":  "ok: 0/1m, -",
		"local=a; closed=a": "ok: 0/2m, 0/1m",
		"9*local=a":         "over: over 1/2m",
		"q=a; open=a":       errDown.Error(),
	} {
		g := gateOf(t, quotas, ratelimit.Options{Replicas: 2})
		g.store.err = errDown
		if got := g.ask(ask); got != want {
			t.Errorf("%s: got %q, want %q", ask, got, want)
		}
	}
}

// What nobody counted, since another limit refuses anyway, is not over, and of a quota no reason to pass.
func TestParityQuotaModeUncounted(t *testing.T) {
	g := gateOf(t, quotas, ratelimit.Options{})
	g.store.Store = uncounting{g.store.Store}
	g.tell(t, []string{"9*hard=a; q=a; r=a -> over: over 0/2m, -, -", "9*ours=a; strict=a -> over: over 1/1m, -"})
	// A store that says so of a request that it does not refuse is not believed.
	g.tell(t, []string{"hard=b; strict=a -> over: 1/2m, over 0/9m"})
}

// uncounting counts the first charge alone.
type uncounting struct{ ratelimit.Store }

func (u uncounting) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	out, err := u.Store.Spend(ctx, batch[:1])
	for range batch[1:] {
		out = append(out, ratelimit.Outcome{Uncounted: true})
	}
	return out, err
}

// SHADOW_MODE lets everything pass and shows what would not have.
func TestParityGlobalShadowMode(t *testing.T) {
	g := newGate(t, ratelimit.Options{ShadowMode: true})
	g.tell(t, []string{"2*plain=a -> ok: 1/3m", "2*plain=a -> ok: over 0/3m", "5*who=a -> ok: over 3/3m", "who=a -> ok: 2/3m"})
	if diff := cmp.Diff([]string{"global shadow", "global shadow"}, g.seen.events); diff != "" {
		t.Error(diff)
	}
	r, err := g.Spend(context.Background(), request("never=a"))
	if err != nil || !r.Shadowed || r.Code != ratelimit.OK {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err := g.Spend(context.Background(), request("who=a")); err != nil || r.Shadowed {
		t.Errorf("a request that passes anyway: %+v, %v", r, err)
	}
	// An error is none of it: nobody knows what would have been.
	g.store.err, g.seen.events = errDown, nil
	if _, err := g.Spend(context.Background(), request("error=a")); !errors.Is(err, errDown) || slices.Contains(g.seen.events, "global shadow") {
		t.Errorf("a store that fails: %v, %v", err, g.seen.events)
	}
}

// One large hit is split: what lies beyond the limit is over, what filled it up is near as far as it was, and where the charge passed
// all of it is within.
func TestParityNearLimit(t *testing.T) {
	const file = "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 10, unit: minute}}\n- {key: s, shadow_mode: true, rate_limit: {requests_per_unit: 10, unit: minute}}\n- {key: ours, rate_limits: [{requests_per_unit: 10, unit: minute}]}\n"
	for _, tt := range []struct {
		name  string
		ratio float32
		asks  []string
		want  ratelimit.Tally
	}{
		{"far", 0, []string{"8*a=x"}, ratelimit.Tally{Total: 8, Within: 8}},
		{"across near", 0, []string{"9*a=x"}, ratelimit.Tally{Total: 9, Within: 9, Near: 1}},
		{"near already", 0, []string{"8*a=x", "2*a=x"}, ratelimit.Tally{Total: 10, Within: 10, Near: 2}},
		{"across all of it", 0, []string{"12*a=x"}, ratelimit.Tally{Total: 12, Near: 2, Over: 2}},
		{"from near to over", 0, []string{"9*a=x", "3*a=x"}, ratelimit.Tally{Total: 12, Within: 9, Near: 2, Over: 2}},
		{"over already", 0, []string{"10*a=x", "3*a=x"}, ratelimit.Tally{Total: 13, Within: 10, Near: 2, Over: 3}},
		{"another ratio", 0.5, []string{"7*a=x"}, ratelimit.Tally{Total: 7, Within: 7, Near: 2}},
		{"nothing is near", 1, []string{"10*a=x", "a=x"}, ratelimit.Tally{Total: 11, Within: 10, Over: 1}},
		{"in shadow", 0, []string{"9*s=x", "3*s=x"}, ratelimit.Tally{Total: 12, Within: 9, Near: 2, Over: 2, Shadow: 2}},
		{"our form: a denied charge is over whole", 0, []string{"9*ours=x", "3*ours=x"}, ratelimit.Tally{Total: 12, Within: 9, Near: 1, Over: 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := gateOf(t, file, ratelimit.Options{NearLimitRatio: tt.ratio})
			for _, ask := range tt.asks {
				g.ask(ask)
			}
			if diff := cmp.Diff([]ratelimit.Tally{tt.want}, slices.Collect(maps.Values(g.seen.tallies))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Hits given back are never refused, take nothing below zero, and are counted by themselves.
func TestParityNegativeHits(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.tell(t, []string{"-5*plain=a -> ok: 3/3m", "3*plain=a -> ok: 0/3m", "plain=a -> over: over 0/3m", "-1*plain=a -> ok: 0/3m", "-2*plain=a -> ok: 2/3m"})
	if got, want := g.seen.tallies["d.plain"], (ratelimit.Tally{Total: 4, Within: 3, Near: 1, Over: 1, Negative: 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What is refused from memory is over, and counted apart.
func TestParityOverLimitWithLocalCache(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.store.Store = remembering{g.store.Store}
	g.tell(t, []string{"2*plain=a -> over: over 0/3m", "2*plainshadow=a -> ok: 0/1m"})
	want := map[string]ratelimit.Tally{"d.plain": {Total: 2, Over: 2, OverLocal: 2}, "d.plainshadow": {Total: 2, Over: 2, OverLocal: 2, Shadow: 2}}
	if diff := cmp.Diff(want, g.seen.tallies); diff != "" {
		t.Error(diff)
	}
}

// remembering finds everything over from memory.
type remembering struct{ ratelimit.Store }

func (r remembering) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	out, err := r.Store.Spend(ctx, batch)
	for i := range out {
		out[i].Over, out[i].Remembered = true, true
		out[i].Windows[0].Over, out[i].Windows[0].Remaining = true, 0
	}
	return out, err
}

const shown = `domain: d
descriptors:
- key: route
  value_to_metric: true
  descriptors:
  - {key: who, rate_limit: {requests_per_unit: 9, unit: minute}}
- key: wild
  value: "a*"
  value_to_metric: true
  rate_limit: {requests_per_unit: 9, unit: minute}
- key: shared
  value: "a*"
  share_threshold: true
  value_to_metric: true
  descriptors:
  - {key: who, detailed_metric: true, rate_limit: {requests_per_unit: 9, unit: minute}}
- key: detailed
  descriptors:
  - {key: who, detailed_metric: true, metadata: {kept: yes!}, rate_limit: {requests_per_unit: 9, unit: minute}}
- {key: free, value_to_metric: true, rate_limit: {unlimited: true}}
`

// value_to_metric and detailed_metric change names, and nothing else.
func TestParityValueToMetric(t *testing.T) {
	for ask, want := range map[string]string{
		"route=r,who=x":                     "d.route_r.who",
		"route=,who=x":                      "d.route.who",
		"wild=ab":                           "d.wild_ab",
		"shared=ab,who=x":                   "d.shared_a*.who_x",
		"detailed=d,who=x":                  "d.detailed_d.who_x",
		"free=x":                            "d.free_x",
		"detailed=a\nb,who=\xff":            "d.detailed_a_b.who__",
		"wild=a" + strings.Repeat("b", 127): "d.wild_a" + strings.Repeat("b", 127),
		"wild=a" + strings.Repeat("b", 128): "d.wild_other",
		"route=" + strings.Repeat("b", 1<<20) + ",who=": "d.route_other.who",
	} {
		g := gateOf(t, shown, ratelimit.Options{})
		g.ask(ask)
		if diff := cmp.Diff([]string{want}, slices.Collect(maps.Keys(g.seen.tallies))); diff != "" {
			t.Errorf("%.40q: %s", ask, diff)
		}
	}
	// A rule keeps its metadata beside them.
	r, err := gateOf(t, shown, ratelimit.Options{}).Spend(context.Background(), request("detailed=d,who=x"))
	if err != nil || r.Statuses[0].Rule.Metadata["kept"] != "yes!" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// A client chooses the values, so a rule's first thousand have a count of their own, and a reload gives it no others.
func TestMetricValuesAreBounded(t *testing.T) {
	g := gateOf(t, shown, ratelimit.Options{})
	for i := range ratelimit.MaxMetricValues + 5 {
		g.ask(fmt.Sprintf("wild=a%d", i))
	}
	g.Use(table(t, strings.Replace(shown, "requests_per_unit: 9", "requests_per_unit: 8", 2)))
	g.ask("wild=a0")
	g.ask("wild=anew")
	g.ask("route=r,who=x") // another rule has a thousand of its own
	if n := len(g.seen.tallies); n != ratelimit.MaxMetricValues+2 {
		t.Errorf("%d counts, want the first %d, one for the rest and one of another rule", n, ratelimit.MaxMetricValues)
	}
	for path, want := range map[string]uint64{"d.wild_a0": 2, "d.wild_other": 6, "d.wild_anew": 0, "d.route_r.who": 1} {
		if got := g.seen.tallies[path].Total; got != want {
			t.Errorf("%s has %d hits, want %d", path, got, want)
		}
	}
}

// Many clients at once lose no hit.
func TestMetricValuesAtOnce(t *testing.T) {
	seen := &ledger{tallies: map[string]ratelimit.Tally{}}
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{}), StoreTimeout: time.Hour, Observer: seen})
	l.Use(table(t, shown))
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for i := range 2 * ratelimit.MaxMetricValues {
				if _, err := l.Spend(context.Background(), request(fmt.Sprintf("wild=a%d", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	total := uint64(0)
	for _, tally := range seen.tallies {
		total += tally.Total
	}
	if total != 16*ratelimit.MaxMetricValues || len(seen.tallies) != ratelimit.MaxMetricValues+1 {
		t.Errorf("%d hits under %d names", total, len(seen.tallies))
	}
}
