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
	charge := ratelimit.Charge{Key: "k", Algorithm: window.Fixed, Windows: []window.Window{{Limit: 1, Span: 10 * time.Millisecond}}}
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
				l.note(charge, r.now, r.fate)
			}
			if got := l.missed.Load(); got != tt.want {
				t.Errorf("%d losses, want %d", got, tt.want)
			}
		})
	}
}
