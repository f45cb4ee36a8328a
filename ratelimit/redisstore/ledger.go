package redisstore

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// ledgerSize is how many counters are watched: enough that a server that was emptied under load is noticed at once, few enough
// to cost nothing.
const ledgerSize = 1024

var ledgerSeed = maphash.MakeSeed()

// ledger remembers which counters the server acknowledged lately, to notice that it has lost them. The latest counter of each
// place is watched. Times are the server's own, so that answers that overtake each other are not mistaken for a loss, nor hide
// one: with several workers on a counter, the answer that found it gone is seldom the first to arrive.
type ledger struct {
	missed atomic.Uint64
	places [ledgerSize]struct {
		sync.Mutex
		key     uint64 // hash of the key; zero: nothing is watched
		since   int64  // from when on the server should have held it without a gap
		held    int64  // when the server is last known to have held it
		expires int64  // when the server may forget it
	}
}

// sighting is what an answer says about a counter.
type sighting struct {
	key string
	// from and to are the server's times between which it was seen; a script knows the moment.
	from, to int64
	// life is how long, in milliseconds, the server keeps it at least; it counts only where the counter was written.
	life int64
	fate fate
}

// note takes in a sighting. That a counter was there is believed of to and later, that it was not of from and earlier: so answers that
// overtake each other within their trips prove nothing.
func (l *ledger) note(s sighting) {
	hash := maphash.String(ledgerSeed, s.key) | 1
	place := &l.places[(hash>>1)%ledgerSize]
	place.Lock()
	defer place.Unlock()
	if place.key == hash && s.from >= place.expires {
		place.key = 0
	}
	if s.fate&existed == 0 && place.key == hash && place.since < s.from {
		l.missed.Add(1)
		// One loss is found once: whoever wrote it anew is the beginning, whatever later answers arrived before.
		if place.since = s.to; s.fate&written == 0 {
			place.key = 0
		}
	}
	switch {
	case s.fate&written == 0:
	case place.key != hash:
		place.key, place.since, place.held, place.expires = hash, s.to, s.to, s.to+s.life
	case place.held < s.to:
		place.held, place.expires = s.to, s.to+s.life
	}
}

// forget stops watching a counter that was deleted on purpose.
func (l *ledger) forget(key string) {
	hash := maphash.String(ledgerSeed, key) | 1
	place := &l.places[(hash>>1)%ledgerSize]
	place.Lock()
	defer place.Unlock()
	if place.key == hash {
		place.key = 0
	}
}

// lifetime is how long, in milliseconds, the server keeps the counter of a charge at least: cells until they have left, a bucket
// until the hits of the charge have drained.
func lifetime(c ratelimit.Charge) int64 {
	var longest int64
	for _, w := range c.Windows {
		s := w.Shape(c.Algorithm)
		least := s.Grain * int64(s.Cells)
		if drains := int64(w.Limit); s.Cells == 0 && drains > 0 && c.Hits > 0 {
			// Not exact, but never too long: at least so many whole hits drain at least so slowly.
			least = min(c.Hits, int64(w.Burst)) * (s.Grain / drains)
		}
		longest = max(longest, least)
	}
	return longest
}
