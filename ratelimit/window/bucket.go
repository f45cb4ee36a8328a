package window

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"time"
)

// bucket is the level of one token bucket: a slice of the counter's bytes, laid out as a ring that has no cells.
//
//	grain    6  milliseconds of the span
//	cells    2  zero
//	last     6  the latest instant that it was charged at, milliseconds
//	hits     6  whole hits in it at that instant
//	part     6  and grain-ths of a hit
//	limit    4  hits a span that it drains by, as of the latest charge
//	taken    6  hits that left it other than by draining, rounded up, modulo 2^48
//
// The limit only says when the bucket can be forgotten: every decision drains by the limit that it is made under. What was taken
// only says what a later refund can still find. It begins at the bucket's first instant, 2^32 for each millisecond, so that a mark
// of an earlier bucket, which was forgotten when it was empty, finds here that everything is gone.
type bucket ring

const bucketSize = headerSize + 16

// sizeOf is how many bytes a window of a shape takes.
func sizeOf(s Shape, width int) int {
	if s.Cells == 0 {
		return bucketSize
	}
	return headerSize + s.Cells*width
}

func (k bucket) grain() int64  { return int64(uint48(k.b)) }
func (k bucket) last() int64   { return ring(k).newest() }
func (k bucket) limit() uint32 { return binary.BigEndian.Uint32(k.b[headerSize+6:]) }
func (k bucket) taken() uint64 { return uint48(k.b[headerSize+10:]) }
func (k bucket) level() Level {
	return Level{Hits: int64(ring(k).total()), Part: int64(uint48(k.b[headerSize:]))}
}

func (k bucket) set(l Level, at int64, limit uint32) {
	ring(k).setNewest(at)
	ring(k).setTotal(uint64(l.Hits))
	putUint48(k.b[headerSize:], uint64(l.Part))
	binary.BigEndian.PutUint32(k.b[headerSize+6:], limit)
}

// take notes that something left the bucket other than by draining.
func (k bucket) take(l Level) { putUint48(k.b[headerSize+10:], (k.taken()+l.ceil())%takenModulus) }

const takenModulus = 1 << 48

// begin makes a new bucket, empty at an instant.
func (k bucket) begin(now int64) {
	ring(k).setNewest(now)
	putUint48(k.b[headerSize+10:], uint64(now)%(1<<16)<<32)
}

// check says what is wrong with a bucket that came from elsewhere.
func (k bucket) check() error {
	l := k.level()
	switch {
	case k.grain() < 1:
		return fmt.Errorf("impossible shape %+v", ring(k).shape())
	case k.last() > maxInstant:
		return fmt.Errorf("instant %d lies beyond all time", k.last())
	case l.Hits > MaxHits || l.Part >= k.grain():
		return fmt.Errorf("impossible level %+v of %d ms", l, k.grain())
	case k.limit() == 0 && l != Level{}:
		return errors.New("a bucket that never drains holds hits")
	}
	return nil
}

// drained is a level of the latest instant seen as it is at another. An instant in the past changes nothing: the latest one stays
// "now", so a clock that steps back never gives capacity back.
func (k bucket) drained(l Level, limit uint32, now int64) Level {
	return l.drained(k.grain(), limit, now-k.last())
}

// levelAt is the level at an instant under a window's limit and burst, as if both had been in force since the latest charge:
// after a burst was lowered the bucket is full at most, and drains from there whether or not anybody asks meanwhile. A bucket
// that has drained by the limit it was charged under is empty, since a store may have forgotten it by then.
func (k bucket) levelAt(w Window, now int64) Level {
	if w.Limit < k.limit() && k.expires() <= now {
		return Level{}
	}
	return k.drained(k.level().within(w), w.Limit, now)
}

// spend adds hits to the level as it is now, up to the burst at most; negative hits lower it, to zero at the lowest.
func (k bucket) spend(w Window, hits, now int64) {
	k.take(k.level().less(k.level().within(w), k.grain()))
	l := k.levelAt(w, now)
	if hits < 0 {
		k.take(Level{Hits: min(-hits, int64(l.ceil()))})
		l = l.less(Level{Hits: -hits}, k.grain())
	} else {
		l.Hits += hits
	}
	k.set(l.within(w), max(now, k.last()), w.Limit)
}

// refund takes out of the level what is certain to be left in it of a charge. The bucket drains in the order in which it was
// filled, so no more is left than it held after the charge, less what has drained since and less what was taken out since, as
// if all of that had stood before the charge: otherwise two refunds could find the same hit. A bucket that has changed its limit
// in between cannot tell what has drained, and gives nothing back.
func (k bucket) refund(m Mark, hits, now int64) {
	now = max(now, k.last())
	if m.Limit != k.limit() || m.At > now {
		return
	}
	gone := (k.taken() - m.Taken) % takenModulus
	back := m.Level.drained(k.grain(), m.Limit, now-m.At).less(Level{Hits: int64(gone)}, k.grain())
	if back.Hits >= hits {
		back = Level{Hits: hits}
	}
	l := k.drained(k.level(), m.Limit, now)
	k.take(back)
	k.set(l.less(back, k.grain()), now, m.Limit)
}

// within is the level with what fits into a window's burst.
func (l Level) within(w Window) Level {
	if capacity := int64(w.Capacity(TokenBucket)); l.Hits >= capacity {
		return Level{Hits: capacity}
	}
	return l
}

// ceil is the level in whole hits, of which the last may be in part.
func (l Level) ceil() uint64 {
	if l.Part > 0 {
		return uint64(l.Hits) + 1
	}
	return uint64(l.Hits)
}

// drained is the level after so many milliseconds; none where they are not positive.
func (l Level) drained(grain int64, limit uint32, millis int64) Level {
	if millis <= 0 {
		return l
	}
	hi, lo := bits.Mul64(uint64(limit), uint64(millis))
	if hi >= uint64(grain) {
		return Level{}
	}
	hits, part := bits.Div64(hi, lo, uint64(grain))
	if hits > MaxHits {
		return Level{}
	}
	return l.less(Level{Hits: int64(hits), Part: int64(part)}, grain)
}

// less is l without m, zero at the lowest.
func (l Level) less(m Level, grain int64) Level {
	l.Hits -= m.Hits
	l.Part -= m.Part
	if l.Part < 0 {
		l.Part += grain
		l.Hits--
	}
	if l.Hits < 0 {
		return Level{}
	}
	return l
}

// time is how many milliseconds a bucket takes to drain by l, rounded up, and MaxSpan at most.
func (l Level) time(grain int64, limit uint32) int64 {
	most := MaxSpan.Milliseconds()
	if limit == 0 {
		return most
	}
	hi, lo := bits.Mul64(uint64(l.Hits), uint64(grain))
	lo, carry := bits.Add64(lo, uint64(l.Part)+uint64(limit)-1, 0)
	hi += carry
	if hi >= uint64(limit) {
		return most
	}
	millis, _ := bits.Div64(hi, lo, uint64(limit))
	return int64(min(millis, uint64(most)))
}

// expires is the instant from which the bucket holds nothing, after the latest charge.
func (k bucket) expires() int64 {
	if k.level() == (Level{}) {
		return k.last() + 1
	}
	return k.last() + k.level().time(k.grain(), k.limit())
}

// refill is the time until the level has fallen to want. k is empty where the counter has no such bucket.
func refill(k bucket, w Window, now, want int64) time.Duration {
	grain := w.Span.Milliseconds()
	if w.Limit == 0 {
		return w.Span // it never drains
	}
	var l Level
	if len(k.b) > 0 {
		l = k.levelAt(w, now)
	}
	var fall Level
	switch want {
	case never:
		fall = l
	case anyFall:
	default:
		fall = l.less(Level{Hits: want}, grain)
	}
	if fall == (Level{}) {
		fall = Level{Hits: 1}
		if l.Part > 0 {
			fall = Level{Part: l.Part}
		}
	}
	wait := fall.time(grain, w.Limit)
	if l != (Level{}) && w.Limit < k.limit() {
		// By the limit of before it will be empty, and may be forgotten, perhaps sooner.
		if whole := k.level().time(grain, k.limit()); whole < MaxSpan.Milliseconds() {
			wait = min(wait, k.last()+whole-max(now, k.last()))
		}
	}
	return time.Duration(wait) * time.Millisecond
}
