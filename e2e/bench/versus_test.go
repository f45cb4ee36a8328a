package bench

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// batch is how many calls one side makes before it is the other side's turn: long enough for a clock, short enough that a
// neighbour's burst falls on both.
const batch = 256

// call makes the i-th call of a side.
type call func(i int) error

// versus measures ours and reports it beside a call that does nothing. The two take turns in batches, and the ratio is the median of
// the turns' ratios, so that noise hits both sides and one bad turn says nothing. ns/op, B/op and allocs/op are those of ours, client
// included; of what the other side costs, noop-ns/op and noop-allocs/op tell.
func versus(b *testing.B, callers int, ours, noop call) {
	b.Helper()
	for _, warm := range []call{ours, noop} { // connections, caches, the token's proof
		if _, err := turn(batch, callers, 0, warm); err != nil {
			b.Fatal(err)
		}
	}
	var ratios []float64
	var idle time.Duration
	var idleAllocs uint64
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		n := min(batch, b.N-done)
		took, err := turn(n, callers, done, ours)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		before := mallocs()
		base, err := turn(n, callers, done, noop)
		if err != nil {
			b.Fatal(err)
		}
		idleAllocs += mallocs() - before
		idle += base
		ratios = append(ratios, float64(took)/float64(base))
		b.StartTimer()
	}
	b.StopTimer()
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-of-noop")
	b.ReportMetric(float64(idle)/float64(b.N), "noop-ns/op")
	b.ReportMetric(float64(idleAllocs)/float64(b.N), "noop-allocs/op")
}

// turn makes n calls from first on, by so many callers at once, and says how long all of them took.
func turn(n, callers, first int, c call) (time.Duration, error) {
	start := time.Now()
	if callers == 1 {
		for i := range n {
			if err := c(first + i); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := c(first + i); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(start), nil
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
