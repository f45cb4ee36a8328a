package bench

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// batch is how many calls one side makes before it is the other side's turn: long enough for a clock, short enough that a
// neighbour's burst falls on both.
const batch = 256

// call makes the i-th call of a side.
type call func(i int) error

// cost is what a turn, or all turns of a side, took: time, processor time of this process, and objects on the heap.
type cost struct {
	time, cpu time.Duration
	mallocs   uint64
}

// versus measures ours and reports it beside another call, which has a name. The two take turns in batches, and each ratio is the
// median of the turns' ratios, so that noise hits both sides and one bad turn says nothing. ns/op, B/op and allocs/op are those of
// ours, client included; the figures with the other's name are the other's. The processor's time leaves out what neighbours take, and
// what a store in another process takes.
func versus(b *testing.B, callers int, ours call, name string, other call) {
	b.Helper()
	for _, warm := range []call{ours, other} { // connections, caches, the token's proof
		if err := turn(batch, callers, 0, warm); err != nil {
			b.Fatal(err)
		}
	}
	var wall, cpu []float64
	var our, theirs cost
	measure := func(n, first int, c call, sum *cost) cost {
		before := spent()
		if err := turn(n, callers, first, c); err != nil {
			b.Fatal(err)
		}
		took := spent().less(before)
		*sum = sum.plus(took)
		return took
	}
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += batch {
		n := min(batch, b.N-done)
		took := measure(n, done, ours, &our)
		b.StopTimer()
		base := measure(n, done, other, &theirs)
		wall = append(wall, float64(took.time)/float64(base.time))
		cpu = append(cpu, float64(took.cpu)/float64(base.cpu))
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(median(wall), "x-of-"+name)
	b.ReportMetric(median(cpu), "cpu-x-of-"+name)
	per := func(total uint64) float64 { return float64(total) / float64(b.N) }
	b.ReportMetric(per(uint64(our.cpu)), "cpu-ns/op")
	b.ReportMetric(per(uint64(theirs.time)), name+"-ns/op")
	b.ReportMetric(per(uint64(theirs.cpu)), name+"-cpu-ns/op")
	b.ReportMetric(per(theirs.mallocs), name+"-allocs/op")
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// turn makes n calls from first on, by so many callers at once.
func turn(n, callers, first int, c call) error {
	if callers == 1 {
		for i := range n {
			if err := c(first + i); err != nil {
				return err
			}
		}
		return nil
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
		return *err
	}
	return nil
}

var begun = time.Now()

// spent is what this process has cost since it began.
func spent() cost {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails only where its arguments are wrong
	return cost{time: time.Since(begun), cpu: time.Duration(u.Utime.Nano() + u.Stime.Nano()), mallocs: m.Mallocs}
}

func (c cost) less(d cost) cost { return cost{c.time - d.time, c.cpu - d.cpu, c.mallocs - d.mallocs} }
func (c cost) plus(d cost) cost { return cost{c.time + d.time, c.cpu + d.cpu, c.mallocs + d.mallocs} }
