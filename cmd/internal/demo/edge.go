package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
)

// perMinute is the limit of act 6, in the algorithm that is asked for.
const perMinute = `domain: mesh
descriptors:
  - key: who
    algorithm: %s
    rate_limits: [{requests_per_unit: 100, unit: minute}]
`

// edgeOfAMinute sends a hundred requests half a second before a full minute and a hundred half a second after it, on a clock of
// their own, and says how many pass in that second.
func edgeOfAMinute(ctx context.Context, algorithm string) (int, error) {
	file, errs := limits.Decode(algorithm, fmt.Appendf(nil, perMinute, algorithm))
	if len(errs) > 0 {
		return 0, errs
	}
	table, errs := limits.Build([]*limits.File{file})
	if len(errs) > 0 {
		return 0, errs
	}
	now := time.Unix(0, 0)
	limiter := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{Now: func() time.Time { return now }})})
	limiter.Use(table)
	who := ratelimit.Request{Domain: "mesh", Descriptors: []ratelimit.Descriptor{{Entries: []limits.Entry{{Key: "who", Value: "user|shop|dora"}}}}}
	passed := 0
	for _, at := range []time.Duration{-500 * time.Millisecond, 500 * time.Millisecond} {
		now = time.Unix(60, 0).Add(at)
		for range 100 {
			answer, err := limiter.Spend(ctx, who)
			if err != nil {
				return 0, err
			}
			if answer.Code == ratelimit.OK {
				passed++
			}
		}
	}
	return passed, nil
}

// edge tells what a limit is worth where one window ends and the next begins: the same requests, under both ways to count. It takes
// no gate, because nobody wants to wait for a full minute.
func (s *stage) edge() {
	if s.over() {
		return
	}
	fixed, err := edgeOfAMinute(s.ctx, "fixed_window")
	if err != nil {
		s.fail(err)
		return
	}
	sliding, err := edgeOfAMinute(s.ctx, "sliding_window")
	if err != nil {
		s.fail(err)
		return
	}
	var faults []string
	if fixed != 200 || sliding != 100 {
		faults = []string{fmt.Sprintf("expected 200 in a fixed window and 100 in a sliding one; %d and %d passed", fixed, sliding)}
	}
	s.tell(row{says: "The edge of a minute", without: fmt.Sprintf("fixed window: %d", fixed), with: fmt.Sprintf("%d of 200", sliding), reason: "over_limit", rule: "mesh.who"},
		"100 requests half a second before a full minute, 100 half a second after, reckoned: a fixed window begins anew, a sliding one does not", faults)
}
