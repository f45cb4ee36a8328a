package redisstore

import (
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Each case is the replies about one counter in the order in which they arrive, and the losses that are counted after them. The
// counter lives for 10 ms after each write.
func TestLedger(t *testing.T) {
	type reply struct {
		now int64
		fate
	}
	const made, kept, absent, denied = written, existed | written, fate(0), existed
	for name, tt := range map[string]struct {
		replies []reply
		want    uint64
	}{
		"a new counter":                             {[]reply{{1, made}, {2, kept}, {3, denied}}, 0},
		"made anew while it should live":            {[]reply{{1, made}, {2, kept}, {5, made}}, 1},
		"made anew after it could expire":           {[]reply{{1, made}, {11, made}}, 0},
		"kept alive by each write":                  {[]reply{{1, made}, {9, kept}, {15, made}}, 1},
		"the finder is overtaken":                   {[]reply{{1, made}, {6, kept}, {5, made}}, 1},
		"the finder is overtaken twice":             {[]reply{{1, made}, {7, kept}, {6, kept}, {5, made}, {8, kept}}, 1},
		"the maker of a new counter is overtaken":   {[]reply{{2, kept}, {1, made}, {3, kept}}, 0},
		"expired, and the new maker is overtaken":   {[]reply{{1, made}, {13, kept}, {12, made}}, 0},
		"an answer from before the loss comes last": {[]reply{{1, made}, {5, made}, {4, kept}, {6, kept}}, 1},
		"found gone by a peek":                      {[]reply{{1, made}, {5, absent}, {6, made}}, 1},
		"found gone by a peek that was overtaken":   {[]reply{{1, made}, {6, made}, {5, absent}}, 1},
		"two losses": {[]reply{{1, made}, {5, made}, {8, made}}, 2},
		"within one millisecond nothing is known": {[]reply{{1, made}, {1, made}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			for _, r := range tt.replies {
				l.note(sighting{key: "k", from: r.now, to: r.now, life: 10, fate: r.fate})
			}
			if got := l.missed.Load(); got != tt.want {
				t.Errorf("%d losses, want %d", got, tt.want)
			}
		})
	}
}

// The server is held to keep a counter for as long as it is sure to: cells until they leave, a bucket until the hits of its charge have
// drained.
func TestLifetime(t *testing.T) {
	of := func(a window.Algorithm, hits int64, w window.Window) ratelimit.Charge {
		return ratelimit.Charge{Key: "k", Algorithm: a, Hits: hits, Windows: []window.Window{w}}
	}
	minute := window.Window{Limit: 60, Burst: 10, Span: time.Minute, Cells: 60}
	for name, tt := range map[string]struct {
		charge ratelimit.Charge
		want   int64
	}{
		"fixed":                      {of(window.Fixed, 1, minute), 60_000},
		"sliding":                    {of(window.Sliding, 1, minute), 61_000},
		"bucket":                     {of(window.TokenBucket, 3, minute), 3_000},
		"bucket, beyond its burst":   {of(window.TokenBucket, 90, minute), 10_000},
		"bucket, hits given back":    {of(window.TokenBucket, -1, minute), 0},
		"bucket that never drains":   {of(window.TokenBucket, 1, window.Window{Burst: 1, Span: time.Minute}), 0},
		"bucket faster than a clock": {of(window.TokenBucket, 1, window.Window{Limit: 5000, Burst: 9, Span: time.Second}), 0},
	} {
		if got := lifetime(tt.charge); got != tt.want {
			t.Errorf("%s: %d ms, want %d", name, got, tt.want)
		}
	}
}
