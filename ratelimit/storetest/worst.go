package storetest

import (
	"math/rand/v2"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// worstDecisions is how many random decisions each algorithm is held to its worst case for, in every store. Package window does the
// same a million times; here the store stands in between.
const worstDecisions = 3_000

// admission is an entry of a log.
type admission struct{ at, hits int64 }

// neverBeyondTheWorstCase plays an adversary to each algorithm, all windows of a charge at once: in no span, wherever it begins,
// does more pass than is promised.
func neverBeyondTheWorstCase(b bench) {
	for name, algorithm := range map[string]window.Algorithm{"fixed": window.Fixed, "sliding": window.Sliding, "bucket": window.TokenBucket} {
		random := rand.New(rand.NewPCG(1, uint64(algorithm)))
		charge := ratelimit.Charge{Key: name, Rule: name, Algorithm: algorithm, Windows: []window.Window{
			{Limit: 7, Burst: 5, Span: time.Second, Cells: 10}, {Limit: 40, Burst: 30, Span: 30 * time.Second, Cells: 60},
		}}
		var log []admission
		passed := 0
		for range worstDecisions {
			b.clock.Advance(adversaryStep(random))
			charge.Hits = 1 + random.Int64N(3)
			now := b.clock.Millis()
			if b.spend(charge)[0].Over {
				continue
			}
			passed++
			log = append(log, admission{now, charge.Hits})
			for _, w := range charge.Windows {
				if got, most := inSpan(log, now, w.Span), promised(algorithm, w); got > most {
					b.Fatalf("%s: %d hits within %v, at most %d promised", name, got, w.Span, most)
				}
			}
			if old := now - 31_000; log[0].at < old {
				log = log[1:]
			}
		}
		if passed < worstDecisions/100 {
			b.Errorf("%s: %d of %d passed: that proves nothing", name, passed, worstDecisions)
		}
	}
}

// promised is the most that may pass in any span of a window's length.
func promised(a window.Algorithm, w window.Window) int64 {
	switch a {
	case window.Fixed:
		return 2 * int64(w.Limit)
	case window.TokenBucket:
		return int64(w.Burst) + int64(w.Limit)
	default:
		return int64(w.Limit)
	}
}

func inSpan(log []admission, now int64, span time.Duration) (sum int64) {
	for _, a := range log {
		if a.at > now-span.Milliseconds() {
			sum += a.hits
		}
	}
	return sum
}

// adversaryStep is mostly no time at all, or a little, or about what a window needs to forget.
func adversaryStep(r *rand.Rand) time.Duration {
	switch r.IntN(8) {
	case 0, 1, 2:
		return 0
	case 3:
		return time.Second + time.Duration(r.Int64N(3)-1)*time.Millisecond
	case 4:
		return time.Duration(r.Int64N(5_000)) * time.Millisecond
	default:
		return time.Duration(r.Int64N(200)) * time.Millisecond
	}
}
