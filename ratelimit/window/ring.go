package window

import "encoding/binary"

// Layout of a counter in bytes, big endian, in memory as in Redis:
//
//	width    1  bytes of a cell, 2 or 4: it names the layout, and a layout that is not known is an error, never overwritten
//	then for each window:
//	grain    6  milliseconds
//	cells    2  n
//	newest   6  number of the newest cell, floor(instant/grain)
//	total    6  sum of the cells, so that a decision reads only the cells that leave
//	cell     n times the width; cell number c stands at c mod n
//
// A token bucket stands in the same order with n = 0, which no ring has; bucket has its layout.
const (
	narrow     = 2
	wide       = 4
	headerSize = 20
)

// ring is one window's counts: a slice of the counter's bytes.
type ring struct {
	b     []byte
	width int // bytes of a cell, narrow or wide
}

func (r ring) shape() Shape {
	return Shape{Grain: int64(uint48(r.b)), Cells: int(r.cells())}
}
func (r ring) cells() int64      { return int64(binary.BigEndian.Uint16(r.b[6:])) }
func (r ring) newest() int64     { return int64(uint48(r.b[8:])) }
func (r ring) total() uint64     { return uint48(r.b[14:]) }
func (r ring) setNewest(c int64) { putUint48(r.b[8:], uint64(c)) }
func (r ring) setTotal(t uint64) { putUint48(r.b[14:], t) }
func (r ring) slot(c int64) int  { return headerSize + int(c%r.cells())*r.width }

// oldest is the number of the oldest cell that is summed; cell numbers are never negative.
func (r ring) oldest() int64 { return max(r.newest()-r.cells()+1, 0) }

// cell is the count of cell number c, which must be one of the newest n.
func (r ring) cell(c int64) uint32 {
	p := r.slot(c)
	if r.width == narrow {
		return uint32(binary.BigEndian.Uint16(r.b[p:]))
	}
	return binary.BigEndian.Uint32(r.b[p:])
}

func (r ring) setCell(c int64, v uint32) {
	p := r.slot(c)
	if r.width == narrow {
		binary.BigEndian.PutUint16(r.b[p:], uint16(v))
		return
	}
	binary.BigEndian.PutUint32(r.b[p:], v)
}

// sumAt is the sum of the newest cells once cell number c is the newest. A c in the past changes nothing: the newest cell seen
// stays "now", so a clock that steps back never gives capacity back.
func (r ring) sumAt(c int64) uint64 {
	if c-r.newest() >= r.cells() {
		return 0
	}
	sum := r.total()
	for gone := r.oldest(); gone <= c-r.cells(); gone++ {
		sum -= uint64(r.cell(gone))
	}
	return sum
}

// advance makes cell number c the newest and forgets the cells that leave.
func (r ring) advance(c int64) {
	if c <= r.newest() {
		return
	}
	r.setTotal(r.sumAt(c))
	for fresh := max(r.newest()+1, c-r.cells()+1); fresh <= c; fresh++ {
		r.setCell(fresh, 0)
	}
	r.setNewest(c)
}

// charge adds hits to the newest cell, which saturates at most.
func (r ring) charge(hits uint64, most uint32) {
	old := r.cell(r.newest())
	v := max(old, uint32(min(uint64(old)+hits, uint64(most))))
	r.setCell(r.newest(), v)
	r.setTotal(r.total() + uint64(v-old))
}

// drain takes hits out of the newest cells first.
func (r ring) drain(hits uint64) {
	for c := r.newest(); c >= r.oldest() && hits > 0 && r.total() > 0; c-- {
		hits -= r.take(c, hits)
	}
}

// take takes hits out of one of the newest n cells, to zero at the lowest, and says how many there were.
func (r ring) take(c int64, hits uint64) uint64 {
	taken := min(uint64(r.cell(c)), hits)
	r.setCell(c, r.cell(c)-uint32(taken))
	r.setTotal(r.total() - taken)
	return taken
}

// What follows asks a window of either kind: a ring, or a bucket in its place.

// drains says that this is a bucket.
func (r ring) drains() bool { return r.cells() == 0 }

// held is the hits that count against a window now; of a bucket's, the last may count in part.
func (r ring) held(w Window, now int64) uint64 {
	if r.drains() {
		return bucket(r).levelAt(w, now).ceil()
	}
	return r.sumAt(now / r.shape().Grain)
}

// holds says that some hit still counts.
func (r ring) holds(now int64) bool {
	if r.drains() {
		return r.lives(now)
	}
	return r.sumAt(now/r.shape().Grain) > 0
}

// lives says that the window has yet to be forgotten.
func (r ring) lives(now int64) bool {
	return r.expires() > now && !(r.drains() && bucket(r).level() == Level{})
}

// seenLater says that an instant lies before one that the window has seen, as finely as the window tells them apart.
func (r ring) seenLater(now int64) bool {
	if r.drains() {
		return now < r.newest()
	}
	return now/r.shape().Grain < r.newest()
}

// expires is the instant from which nothing can count any more.
func (r ring) expires() int64 {
	if r.drains() {
		return bucket(r).expires()
	}
	return (r.newest() + r.cells()) * r.shape().Grain
}

// cellSum adds up the cells, for checking a total that came from elsewhere.
func (r ring) cellSum() uint64 {
	var sum uint64
	for c := range r.cells() {
		sum += uint64(r.cell(c))
	}
	return sum
}

// maxInstant (in milliseconds, beyond the year 6000) bounds what a counter may name, so that no cell number outgrows its six
// bytes and no product of a cell number and a grain overflows.
const maxInstant = 1 << 47

func uint48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

func putUint48(b []byte, v uint64) {
	binary.BigEndian.PutUint16(b, uint16(v>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(v))
}
