package revocation

import (
	"slices"
	"sync"
	"time"
)

// slack is how long a stream keeps what has expired. It exceeds the grace of a view by what others' clocks may be behind, so that no
// replica misses what another has trimmed.
const slack = 30 * time.Minute

const forEver = int64(1) << 62

// ledger knows what a server that lost nothing holds: to the minute, how many entries there are and when they have expired. So it
// knows also what may be trimmed.
type ledger struct {
	mu      sync.Mutex
	minutes []minute
	own     []written // by this process, until it was read
}

// minute is what was read of one minute of the stream.
type minute struct {
	first streamID
	n     int64 // entries, none of those before first
	until int64 // when the last of them expires
}

// written is an entry that the server gave an id.
type written struct {
	id    streamID
	until int64
}

func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.minutes, l.own = nil, nil
}

// note takes in an entry that was read; they come in the order of the stream.
func (l *ledger) note(id streamID, until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const span = uint64(time.Minute / time.Millisecond)
	if n := len(l.minutes); n > 0 && l.minutes[n-1].first.ms/span == id.ms/span {
		last := &l.minutes[n-1]
		last.until = max(last.until, until)
		last.n++
		return
	}
	l.minutes = append(l.minutes, minute{first: id, n: 1, until: until})
}

// wrote takes in an entry that the server has taken.
func (l *ledger) wrote(id streamID, until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own = append(l.own, written{id: id, until: until})
}

// lost says whether the stream lacks an entry that it held and must hold: one in force that stood before its first, or any behind
// that. Trimming takes entries from the beginning on, and none in force. read is how far the stream was read.
func (l *ledger) lost(found state, read streamID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	alive := now.Add(-grace).UnixMilli()
	for _, w := range l.own {
		if w.id.before(found.first) && w.until >= alive {
			return true
		}
	}
	for _, m := range l.minutes {
		if m.first.before(found.first) && m.until >= alive {
			return true
		}
	}
	l.own = slices.DeleteFunc(l.own, func(w written) bool { return !read.before(w.id) })
	l.forget(found.first)
	var held int64
	for _, m := range l.minutes {
		held += m.n
	}
	return found.length < held
}

// forget drops what stood before the first entry that is left. Of a minute that was trimmed in part nobody knows how much is left.
func (l *ledger) forget(first streamID) {
	gone := 0
	for gone+1 < len(l.minutes) && !first.before(l.minutes[gone+1].first) {
		gone++
	}
	l.minutes = slices.Delete(l.minutes, 0, gone)
	if len(l.minutes) > 0 && l.minutes[0].first.before(first) {
		l.minutes[0].first, l.minutes[0].n = first, 0
	}
}

// trimBefore is the first id that must stay, "" if nothing is known to go.
func (l *ledger) trimBefore(now time.Time) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	expired := 0
	for expired < len(l.minutes) && l.minutes[expired].until < now.Add(-slack).UnixMilli() {
		expired++
	}
	if expired == 0 || expired == len(l.minutes) {
		return ""
	}
	return l.minutes[expired].first.String()
}
