package storetest

import (
	"maps"
	"math"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// twin is a store written to be obviously right rather than fast: cells in maps, whole copies to undo, every reset found by
// trying. It shares no code with the arithmetic that it checks.
type twin struct {
	counters map[string]counter
	// loneApart is that of the [Harness].
	loneApart bool
}

// name is that of the counter of a charge.
func (s twin) name(c ratelimit.Charge) string {
	if s.loneApart && c.Algorithm == window.Fixed && len(cutsOf(c)) == 1 {
		return c.Key + loneMark + c.Windows[0].Span.String()
	}
	return c.Key
}

// loneMark stands in no key of a schedule.
const loneMark = "\x00lone "

func cutsOf(c ratelimit.Charge) map[cut]bool {
	cuts := map[cut]bool{}
	for _, w := range c.Windows {
		cuts[cutOf(c.Algorithm, w)] = true
	}
	return cuts
}

// dead says that nothing under a key counts any more.
func (s twin) dead(key string, now int64) bool {
	unused := true
	for name, c := range s.counters {
		if name == key || strings.HasPrefix(name, key+loneMark) {
			if len(c) > 0 && c.dead(now) {
				return true
			}
			unused = unused && len(c) == 0
		}
	}
	return unused
}

type counter map[cut]ring

// cut is how a window is cut into cells: milliseconds a cell, and how many cells count.
type cut struct{ grain, cells int64 }

type ring struct {
	newest int64
	cells  map[int64]int64
	bucket *bucket // instead of cells, where the cut has none
}

func cutOf(a window.Algorithm, w window.Window) cut {
	ms := int64(w.Span / time.Millisecond)
	switch a {
	case window.Fixed:
		return cut{grain: ms, cells: 1}
	case window.TokenBucket:
		return cut{grain: ms}
	}
	k := int64(w.Cells)
	grain := ms / k
	if ms%k != 0 {
		grain++
	}
	return cut{grain: grain, cells: k + 1}
}

func (c counter) clone() counter {
	out := counter{}
	for k, r := range c {
		out[k] = ring{newest: r.newest, cells: maps.Clone(r.cells), bucket: r.bucket}
	}
	return out
}

// sum is what counts at a cell, or at the newest cell seen if that is later.
func (r ring) sum(k cut, cell int64) int64 {
	var sum int64
	cell = max(cell, r.newest)
	for c, n := range r.cells {
		if c > cell-k.cells {
			sum += n
		}
	}
	return sum
}

// dead says that nothing in the counter counts any more.
func (c counter) dead(now int64) bool {
	for k, r := range c {
		if !r.dead(k, now) {
			return false
		}
	}
	return true
}

func (r ring) dead(k cut, now int64) bool {
	if r.bucket != nil {
		return r.bucket.dead(now)
	}
	return now/k.grain >= r.newest+k.cells
}

// holds says that something in the counter still counts.
func (c counter) holds(now int64) bool {
	for k, r := range c {
		if r.bucket != nil && !r.bucket.dead(now) || r.bucket == nil && r.sum(k, now/k.grain) > 0 {
			return true
		}
	}
	return false
}

// spend decides a batch, and remembers what may be taken back.
func (s twin) spend(batch []ratelimit.Charge, now int64) ([]ratelimit.Outcome, []spent) {
	over := make([][]bool, len(batch))
	names := make([]string, len(batch))
	for i := range batch {
		names[i] = s.name(batch[i])
	}
	trial := s.copyOf(names)
	denied := false
	for i, c := range batch {
		over[i] = trial[names[i]].judge(c, now)
		if c.CountDenied || !anyOf(over[i]) {
			trial[names[i]].write(c, now)
		}
		denied = denied || (anyOf(over[i]) && !c.Shadow)
	}
	final := s.copyOf(names)
	var out []ratelimit.Outcome
	var wrote []spent
	for i, c := range batch {
		if c.CountDenied || (!denied && !anyOf(over[i])) {
			final[names[i]].write(c, now)
			if c.Hits > 0 && !c.CountDenied {
				wrote = append(wrote, final[names[i]].spent(c, names[i]))
			}
		}
		out = append(out, ratelimit.Outcome{Over: anyOf(over[i]), Windows: final[names[i]].states(c, now, over[i])})
	}
	maps.Copy(s.counters, final)
	return out, wrote
}

func (s twin) copyOf(names []string) map[string]counter {
	out := map[string]counter{}
	for _, name := range names {
		out[name] = s.counters[name].clone()
	}
	return out
}

func (c counter) judge(ch ratelimit.Charge, now int64) []bool {
	var over []bool
	for _, w := range ch.Windows {
		used, limit := c.used(ch.Algorithm, w, now), int64(w.Capacity(ch.Algorithm))
		over = append(over, ch.Hits >= 0 && (limit == 0 || used+ch.Hits > limit))
	}
	return over
}

// used is how many hits of a window's capacity are taken.
func (c counter) used(a window.Algorithm, w window.Window, now int64) int64 {
	k := cutOf(a, w)
	if a == window.TokenBucket {
		return c[k].bucket.used(w, now)
	}
	return c[k].sum(k, now/k.grain)
}

func (c counter) write(ch ratelimit.Charge, now int64) {
	if ch.Hits == 0 || (ch.Hits < 0 && !c.holds(now)) {
		return
	}
	most := int64(1<<16 - 1)
	if cuts := cutsOf(ch); ch.Algorithm == window.Fixed && len(cuts) == 1 {
		most = 1<<32 - 1
	}
	asked := map[cut]bool{}
	for _, w := range ch.Windows {
		k := cutOf(ch.Algorithm, w)
		asked[k] = true
		if ch.Algorithm == window.TokenBucket {
			c[k] = ring{bucket: c[k].bucket.after(w, ch.Hits, now)}
		}
		if int64(w.Limit) > 1<<16-1 {
			most = 1<<32 - 1
		}
	}
	for k, r := range c {
		if !asked[k] && r.dead(k, now) {
			delete(c, k)
		}
	}
	for k := range asked {
		r, known := c[k]
		if r.bucket != nil {
			continue
		}
		if !known {
			r = ring{newest: now / k.grain, cells: map[int64]int64{}}
		}
		r.newest = max(r.newest, now/k.grain)
		maps.DeleteFunc(r.cells, func(cell, _ int64) bool { return cell <= r.newest-k.cells })
		if ch.Hits > 0 {
			r.cells[r.newest] = max(r.cells[r.newest], min(r.cells[r.newest]+ch.Hits, most))
		}
		for back, cell := -ch.Hits, r.newest; back > 0 && cell > r.newest-k.cells; cell-- {
			take := min(back, r.cells[cell])
			r.cells[cell] -= take
			back -= take
		}
		c[k] = r
	}
}

func (c counter) states(ch ratelimit.Charge, now int64, over []bool) []window.State {
	var out []window.State
	for i, w := range ch.Windows {
		k, capacity := cutOf(ch.Algorithm, w), int64(w.Capacity(ch.Algorithm))
		f := waitFor{over[i], ch.Hits, capacity}
		wait := int64(0)
		if ch.Algorithm == window.TokenBucket {
			wait = c[k].bucket.wait(w, now, f)
		} else {
			wait = c[k].wait(k, now, f)
		}
		used := c.used(ch.Algorithm, w, now)
		out = append(out, window.State{
			Remaining: uint32(max(capacity-used, 0)), Beyond: uint32(min(max(used-capacity, 0), math.MaxUint32)),
			Reset: time.Duration(wait) * time.Millisecond, Over: over[i],
		})
	}
	return out
}

// waitFor is what a reset waits for: room for hits, where they were refused.
type waitFor struct {
	over        bool
	hits, limit int64
}

// wait tries the edges of the cells to come, one after the other, until what is waited for has come true.
func (r ring) wait(k cut, now int64, f waitFor) int64 {
	cell := max(now/k.grain, r.newest)
	now = max(now, cell*k.grain)
	used := r.sum(k, cell)
	for i := int64(1); i < k.cells; i++ {
		left := r.sum(k, cell+i)
		falls := left < used || used == 0
		fits := left+f.hits <= f.limit && f.limit > 0
		possible := f.hits <= f.limit && f.limit > 0
		if (!f.over && falls) || (f.over && possible && falls && (fits || used == 0)) {
			return (cell+i)*k.grain - now
		}
	}
	return (cell+k.cells)*k.grain - now
}

func anyOf(bs []bool) bool {
	for _, b := range bs {
		if b {
			return true
		}
	}
	return false
}
