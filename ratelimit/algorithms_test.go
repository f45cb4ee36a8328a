package ratelimit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

// sliced is a limiter whose store is one replica's own, of so many.
func sliced(t *testing.T, replicas int, text string) (*ratelimit.Limiter, *time.Time) {
	t.Helper()
	now := time.UnixMilli(1_700_000_040_000)
	l := ratelimit.New(ratelimit.Options{
		Store: memstore.New(memstore.Options{Now: func() time.Time { return now }}), StoreIsLocal: true, Replicas: replicas,
	})
	l.Use(table(t, text))
	return l, &now
}

const buckets = `domain: d
descriptors:
  - key: who
    algorithm: token_bucket
    rate_limits:
      - {requests_per_unit: 12, unit: minute, burst: 4}
      - {requests_per_unit: 60, unit: 1h, burst: 6}
`

// Two buckets on one descriptor: the burst of both, then the rate of the one that is empty; and a replica of two has half of both.
func TestBucketsAreAllOrNothing(t *testing.T) {
	for replicas, want := range map[int][]string{
		1: {"ok: 3/12m", "ok: 2/12m", "ok: 1/12m", "ok: 0/12m", "over: over 0/12m", "+10s", "ok: 1/12m", "ok: 0/12m", "over: over 0/60h"},
		2: {"ok: 1/12m", "ok: 0/12m", "over: over 0/12m", "+10s", "ok: 0/12m", "over: over 0/60h", "+10s", "over: over 0/60h"},
	} {
		l, now := sliced(t, replicas, buckets)
		var got []string
		for _, w := range want {
			if w == "+10s" {
				*now = now.Add(10 * time.Second)
				got = append(got, w)
				continue
			}
			got = append(got, told(l.Spend(t.Context(), request("who=a"))))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d replicas (-want +got):\n%s", replicas, diff)
		}
	}
}

// A file that changes a limit, while requests come, changes what is left and not what was spent, in every algorithm.
func TestAChangedFileKeepsTheCounts(t *testing.T) {
	const before = "domain: d\ndescriptors:\n" +
		"- {key: sliding_window, rate_limits: [{requests_per_unit: 10, unit: 5m}]}\n" +
		"- {key: fixed_window, algorithm: fixed_window, rate_limits: [{requests_per_unit: 10, unit: 5m}]}\n" +
		"- {key: token_bucket, algorithm: token_bucket, rate_limits: [{requests_per_unit: 10, unit: 5m}]}\n" +
		"- {key: rate_limit, rate_limit: {requests_per_unit: 10, unit: hour}}\n"
	change := func(limit string) string { return strings.ReplaceAll(before, "unit: 10,", "unit: "+limit+",") }
	const all = "sliding_window=a; fixed_window=a; token_bucket=a; rate_limit=a"
	l, _ := sliced(t, 1, before)
	for range 6 {
		if got, err := l.Spend(t.Context(), request(all)); err != nil || got.Code != ratelimit.OK {
			t.Fatal(told(got, err))
		}
	}
	for _, tt := range []struct{ limit, want string }{
		{"20", "ok: 13/20m, 13/20m, 13/20m, 13/20h"},
		{"8", "ok: 0/8m, 0/8m, 0/8m, 0/8h"},
		{"5", "over: over 0/5m, over 0/5m, over 0/5m, over 0/5h"},
	} {
		l.Use(table(t, change(tt.limit)))
		if got := told(l.Spend(t.Context(), request(all))); got != tt.want {
			t.Errorf("limit %s: %s, want %s", tt.limit, got, tt.want)
		}
	}
}
