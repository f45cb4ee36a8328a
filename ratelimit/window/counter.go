package window

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Counter holds the counts of one key: a ring of cells, or a bucket's level, for each shape of window it was charged under. The
// zero value is an empty counter. Its counts do not depend on the limits, so a changed limit applies at once; windows of another shape start
// from zero, and the rings they leave behind are kept while they hold hits, so that replicas which disagree for a moment
// about the configuration do not wipe each other's counts.
//
// Instants are milliseconds since the Unix epoch. A Counter is not safe for concurrent use.
type Counter struct {
	b []byte // the layout is at ring
}

// Verdict is what [Counter.Evaluate] found. The zero value says that there is room.
type Verdict struct {
	// Over has bit i set where window i has no room.
	Over uint8
	// SteppedBack says that the instant lies before one that the counter has seen.
	SteppedBack bool
}

// Denied says that a window has no room.
func (v Verdict) Denied() bool { return v.Over != 0 }

// Decode reads the bytes of a counter, which it keeps. It refuses whatever [Counter.Bytes] does not write: bytes that came from
// a store are a claim, not a count.
func Decode(b []byte) (Counter, error) {
	if len(b) == 0 {
		return Counter{}, nil
	}
	if b[0] != narrow && b[0] != wide {
		return Counter{}, fmt.Errorf("window: decode counter: unknown layout %d", b[0])
	}
	c := Counter{b: b}
	rest := b[1:]
	for count := 1; len(rest) > 0; count++ {
		if count > MaxWindows {
			return Counter{}, fmt.Errorf("window: decode counter: more than %d windows", MaxWindows)
		}
		size, err := check(rest, int(b[0]))
		if err != nil {
			return Counter{}, fmt.Errorf("window: decode counter: %w", err)
		}
		if r, _ := c.find(ring{b: rest}.shape()); &r.b[0] != &rest[0] {
			return Counter{}, errors.New("window: decode counter: two windows of one shape")
		}
		rest = rest[size:]
	}
	return c, nil
}

// check says how long the ring at the head of b is, or what is wrong with it.
func check(b []byte, width int) (size int, err error) {
	if len(b) < headerSize {
		return 0, errors.New("truncated header")
	}
	r := ring{b: b, width: width}
	s := r.shape()
	size = sizeOf(s, width)
	if s.Cells == 0 {
		if len(b) < size {
			return 0, errors.New("truncated bucket")
		}
		return size, bucket(r).check()
	}
	switch {
	case s.Grain < 1 || s.Cells > MaxCells+1:
		return 0, fmt.Errorf("impossible shape %+v", s)
	case r.newest() > maxInstant/s.Grain:
		return 0, fmt.Errorf("cell %d of %d ms lies beyond all time", r.newest(), s.Grain)
	case len(b) < size:
		return 0, errors.New("truncated cells")
	case r.cellSum() != r.total():
		return 0, fmt.Errorf("total %d where the cells hold %d", r.total(), r.cellSum())
	}
	return size, nil
}

// Bytes is the counter as [Decode] reads it. The slice is the counter's own.
func (c *Counter) Bytes() []byte { return c.b }

// Clone is a counter with counts of its own.
func (c *Counter) Clone() Counter { return Counter{b: bytes.Clone(c.b)} }

// Evaluate says whether the ask has room now, and writes nothing.
func (c *Counter) Evaluate(a Ask, now int64) Verdict {
	now = bound(now)
	var v Verdict
	for i, w := range a.Windows {
		var sum uint64
		if r, ok := c.find(w.Shape(a.Algorithm)); ok {
			v.SteppedBack = v.SteppedBack || r.seenLater(now)
			sum = r.held(w, now)
		}
		if over(w.Capacity(a.Algorithm), sum, a.Hits) {
			v.Over |= 1 << i
		}
	}
	return v
}

// Spend writes the ask's hits into every window, whether or not there is room: what [Counter.Evaluate] said is the caller's to
// obey. A peek, and a give-back to a counter that holds nothing, write nothing.
func (c *Counter) Spend(a Ask, now int64) {
	now = bound(now)
	if a.Hits == 0 || (a.Hits < 0 && !c.holds(now)) {
		return
	}
	c.prepare(a, now)
	for i, w := range a.Windows {
		if a.repeats(i) {
			continue
		}
		s := w.Shape(a.Algorithm)
		r, _ := c.find(s)
		if r.drains() {
			bucket(r).spend(w, a.Hits, now)
			continue
		}
		r.advance(now / s.Grain)
		if a.Hits > 0 {
			r.charge(uint64(a.Hits), a.Cap())
		} else {
			r.drain(uint64(-a.Hits))
		}
	}
}

// AppendStates appends to dst what each window of the ask says of the counter as it is now; v is what [Counter.Evaluate] said
// of the ask.
func (c *Counter) AppendStates(dst []State, a Ask, now int64, v Verdict) []State {
	now = bound(now)
	for i, w := range a.Windows {
		s := w.Shape(a.Algorithm)
		r, ok := c.find(s)
		var sum uint64
		if ok {
			sum = r.held(w, now)
		}
		isOver := v.Over&(1<<i) != 0
		capacity := w.Capacity(a.Algorithm)
		within := min(sum, uint64(capacity))
		want := wanted(capacity, a.Hits, isOver)
		wait := time.Duration(0)
		if a.Algorithm == TokenBucket {
			wait = refill(bucket(r), w, now, want)
		} else {
			wait = reset(r, s, now, want)
		}
		dst = append(dst, State{Remaining: capacity - uint32(within), Beyond: uint32(min(sum-within, math.MaxUint32)), Reset: wait, Over: isOver})
	}
	return dst
}

// Expires is the instant from which the counter holds nothing, zero for one that holds nothing already.
func (c *Counter) Expires() int64 {
	var at int64
	for pos := 1; pos < len(c.b); {
		r := c.at(pos)
		at = max(at, r.expires())
		pos += len(r.b)
	}
	return at
}

// holds says that some ring has a hit that still counts.
func (c *Counter) holds(now int64) bool {
	for pos := 1; pos < len(c.b); {
		r := c.at(pos)
		if r.holds(now) {
			return true
		}
		pos += len(r.b)
	}
	return false
}

// wanted is how low the sum of the window must fall for the charge to pass: any fall at all (-1) for one that did pass, and
// never (-2) for one that asks for more than the capacity.
func wanted(capacity uint32, hits int64, isOver bool) int64 {
	switch {
	case !isOver:
		return anyFall
	case capacity == 0 || hits > int64(capacity):
		return never
	default:
		return int64(capacity) - hits
	}
}

const (
	anyFall = -1
	never   = -2
)

// reset is the time until the sum of the window has fallen to want. r is empty where the counter has no such ring.
func reset(r ring, s Shape, now, want int64) time.Duration {
	newest := now / s.Grain
	if len(r.b) > 0 {
		newest = max(newest, r.newest())
	}
	// Where the clock has stepped back, the newest cell seen has just begun.
	now = max(now, newest*s.Grain)
	leaves := func(cell int64) time.Duration {
		return time.Duration((cell+int64(s.Cells))*s.Grain-now) * time.Millisecond
	}
	if want == never {
		return leaves(newest)
	}
	first := newest - int64(s.Cells) + 1
	if len(r.b) == 0 || first > r.newest() {
		return leaves(first)
	}
	sum := int64(r.sumAt(newest))
	for cell := max(first, 0); cell <= r.newest(); cell++ {
		n := int64(r.cell(cell))
		sum -= n
		if n > 0 && (want == anyFall || sum <= want) {
			return leaves(cell)
		}
	}
	// Nothing to wait for: the current grain ends.
	return leaves(first)
}

// find is the ring of a shape.
func (c *Counter) find(s Shape) (ring, bool) {
	for pos := 1; pos < len(c.b); {
		r := c.at(pos)
		if r.shape() == s {
			return r, true
		}
		pos += len(r.b)
	}
	return ring{}, false
}

// at is the ring that begins at byte pos.
func (c *Counter) at(pos int) ring {
	width := int(c.b[0])
	r := ring{b: c.b[pos:], width: width}
	r.b = r.b[:sizeOf(r.shape(), width)]
	return r
}

// prepare lays the counter out for an ask: a ring for each of its shapes in its order, then the rings of other shapes that
// still hold hits, MaxWindows in all, with cells wide enough for its cap.
func (c *Counter) prepare(a Ask, now int64) {
	width := narrow
	if a.Cap() > 1<<16-1 || (len(c.b) > 0 && c.b[0] == wide) {
		width = wide
	}
	if c.fits(a, width) {
		return
	}
	next := Counter{b: make([]byte, 1, c.size(a, width))}
	next.b[0] = byte(width)
	rings := 0
	for i, w := range a.Windows {
		if a.repeats(i) {
			continue
		}
		s := w.Shape(a.Algorithm)
		old, _ := c.find(s)
		next.add(s, now, old)
		rings++
	}
	for pos := 1; pos < len(c.b) && rings < MaxWindows; {
		r := c.at(pos)
		pos += len(r.b)
		s := r.shape()
		if _, taken := next.find(s); !taken && r.lives(now) {
			next.add(s, now, r)
			rings++
		}
	}
	c.b = next.b
}

// fits says that the counter is laid out for the ask already: its shapes in its order, and nothing else.
func (c *Counter) fits(a Ask, width int) bool {
	if len(c.b) == 0 || int(c.b[0]) != width {
		return false
	}
	pos := 1
	for i, w := range a.Windows {
		if a.repeats(i) {
			continue
		}
		if pos >= len(c.b) || c.at(pos).shape() != w.Shape(a.Algorithm) {
			return false
		}
		pos += len(c.at(pos).b)
	}
	return pos == len(c.b)
}

// size is how many bytes the windows of an ask need, for allocating once in the common case that the counter holds no other.
func (c *Counter) size(a Ask, width int) int {
	size := 1
	for _, w := range a.Windows {
		size += sizeOf(w.Shape(a.Algorithm), width)
	}
	return size
}

// add appends a ring of a shape, with the counts of old unless that is empty.
func (c *Counter) add(s Shape, now int64, old ring) {
	width := int(c.b[0])
	start := len(c.b)
	c.b = append(c.b, make([]byte, sizeOf(s, width))...)
	r := ring{b: c.b[start:], width: width}
	putUint48(r.b, uint64(s.Grain))
	binary.BigEndian.PutUint16(r.b[6:], uint16(s.Cells))
	switch {
	case len(old.b) == 0 && s.Cells == 0:
		bucket(r).begin(now)
		return
	case len(old.b) == 0:
		r.setNewest(now / s.Grain)
		return
	case s.Cells == 0:
		copy(r.b, old.b)
		return
	}
	copy(r.b[8:headerSize], old.b[8:headerSize])
	for cell := old.oldest(); cell <= old.newest(); cell++ {
		r.setCell(cell, old.cell(cell))
	}
}

func bound(now int64) int64 { return min(max(now, 0), maxInstant) }
