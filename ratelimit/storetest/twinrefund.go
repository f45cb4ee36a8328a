package storetest

import (
	"math/big"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// spent is what the twin remembers of one charge: the cell that it went into, or the bucket as it was left.
type spent struct {
	name  string // of the counter
	hits  int64
	cells map[cut]int64
	left  map[cut]*bucket
}

func (c counter) spent(ch ratelimit.Charge, name string) spent {
	s := spent{name: name, hits: ch.Hits, cells: map[cut]int64{}, left: map[cut]*bucket{}}
	for _, w := range ch.Windows {
		k := cutOf(ch.Algorithm, w)
		if b := c[k].bucket; b != nil {
			s.left[k] = b
		} else {
			s.cells[k] = c[k].newest
		}
	}
	return s
}

// refund takes hits back.
func (s twin) refund(spent []spent, now int64) {
	for _, sp := range spent {
		c := s.counters[sp.name]
		for k, cell := range sp.cells {
			r, known := c[k]
			if known && cell > max(r.newest, now/k.grain)-k.cells {
				r.cells[cell] = max(r.cells[cell]-sp.hits, 0)
			}
		}
		for k, then := range sp.left {
			if r, known := c[k]; known && r.bucket.origin == then.origin && r.bucket.limit == then.limit {
				c[k] = ring{bucket: r.bucket.refunded(then, sp.hits, now)}
			}
		}
	}
}

// refunded is the bucket without what is certain to be left of a charge, which left the bucket as it was then.
func (b *bucket) refunded(then *bucket, hits, now int64) *bucket {
	now = b.seen(now)
	back := positive(new(big.Rat).Sub(then.level, drain(then.limit, then.span, now-then.last)))
	back = positive(back.Sub(back, new(big.Rat).SetInt64(b.taken-then.taken)))
	if most := new(big.Rat).SetInt64(hits); back.Cmp(most) > 0 {
		back = most
	}
	level := positive(new(big.Rat).Sub(b.level, drain(b.limit, b.span, now-b.last)))
	return &bucket{
		level: positive(level.Sub(level, back)), last: now, span: b.span, limit: b.limit, taken: b.taken + roundUp(back), origin: b.origin,
	}
}

func positive(r *big.Rat) *big.Rat {
	if r.Sign() < 0 {
		return new(big.Rat)
	}
	return r
}

func roundUp(r *big.Rat) int64 {
	whole := new(big.Int).Quo(r.Num(), r.Denom()).Int64()
	if r.IsInt() {
		return whole
	}
	return whole + 1
}
