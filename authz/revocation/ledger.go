package revocation

import (
	"sync"
	"time"
)

// slack is how long a stream keeps what has expired. It exceeds the grace of a view by what others' clocks may be behind, so that no
// replica misses what another has trimmed.
const slack = 30 * time.Minute

const forEver = int64(1) << 62

// ledger knows how much of the stream's beginning has expired, to the minute.
type ledger struct {
	mu      sync.Mutex
	minutes []minute
}

// minute is when the last entry of a minute of the stream expires.
type minute struct {
	first streamID
	until int64
}

func (l *ledger) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.minutes = nil
}

// note takes an entry in; they come in the order of the stream.
func (l *ledger) note(id streamID, until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	const span = uint64(time.Minute / time.Millisecond)
	if n := len(l.minutes); n > 0 && l.minutes[n-1].first.ms/span == id.ms/span {
		l.minutes[n-1].until = max(l.minutes[n-1].until, until)
		return
	}
	l.minutes = append(l.minutes, minute{first: id, until: until})
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
	l.minutes = append([]minute(nil), l.minutes[expired:]...)
	return l.minutes[0].first.String()
}
