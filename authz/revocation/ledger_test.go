package revocation

import (
	"math"
	"testing"
	"time"
)

func minutesOf(n int) int64 { return noon.Add(time.Duration(n) * time.Minute).UnixMilli() }

func idOf(minute, seq uint64) streamID { return streamID{ms: minute * 60_000, seq: seq} }

// What may be trimmed is what has expired long ago, from the beginning on, as long as something behind it is in force.
func TestLedgerTrims(t *testing.T) {
	var l ledger
	want := func(after time.Duration, id string) {
		t.Helper()
		if got := l.trimBefore(noon.Add(after)); got != id {
			t.Errorf("%v later: %q, want %q", after, got, id)
		}
	}
	want(0, "")
	l.note(idOf(1, 1), minutesOf(0))
	l.note(idOf(1, 2), minutesOf(5)) // the same minute: the later one counts
	l.note(idOf(2, 7), minutesOf(3))
	want(time.Hour, "") // nothing stands behind them
	l.note(idOf(3, 4), minutesOf(600))
	l.note(idOf(4, 0), minutesOf(1))
	want(slack+5*time.Minute, "")
	want(slack+5*time.Minute+time.Millisecond, "180000-4")
	want(time.Hour, "180000-4")
	l.note(idOf(5, 0), forEver)
	want(24*time.Hour, "300000-0")
	l.reset()
	want(24*time.Hour, "")
}

// What a stream must hold: whatever it held and has not expired, and what follows its first entry as it was.
func TestLedgerLost(t *testing.T) {
	for _, tt := range []struct {
		name   string
		first  streamID // the zero one is an empty stream
		length int64
		after  time.Duration
		want   bool
	}{
		{"all of it", idOf(1, 1), 5, 0, false},
		{"and news", idOf(1, 1), 9, 0, false},
		{"one is gone from the middle", idOf(1, 1), 4, 0, true},
		{"empty", streamID{}, 0, 0, true},
		{"begins later", idOf(7, 0), 9, 0, true},
		{"begins later in the same minute", idOf(1, 2), 5, 0, true},
		{"begins earlier", idOf(0, 2), 5, 0, false},
		// The first minute has expired, of two entries.
		{"trimmed in whole", idOf(2, 7), 3, grace + 6*time.Minute, false},
		{"trimmed in part", idOf(1, 2), 4, grace + 6*time.Minute, false},
		{"trimmed to what came since", idOf(9, 0), 1, grace + 6*time.Minute, true},
		{"trimmed, and one is gone from the middle", idOf(2, 7), 2, grace + 6*time.Minute, true},
		{"trimmed too early", idOf(2, 7), 3, grace + 5*time.Minute, true},
		// All have.
		{"all trimmed", streamID{}, 0, 24 * time.Hour, false},
		{"all trimmed, one is new", idOf(9, 0), 1, 24 * time.Hour, false},
	} {
		var l ledger
		l.note(idOf(1, 1), minutesOf(0))
		l.note(idOf(1, 2), minutesOf(5))
		l.note(idOf(2, 7), minutesOf(600))
		l.note(idOf(3, 1), minutesOf(600))
		l.note(idOf(3, 2), minutesOf(600))
		found := state{first: tt.first, length: tt.length}
		if found.length == 0 {
			found.first = streamID{ms: math.MaxUint64}
		}
		for range 2 { // the second look forgets nothing that the first knew
			if got := l.lost(found, idOf(3, 2), noon.Add(tt.after)); got != tt.want {
				t.Errorf("%s: lost %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}

// What this process wrote must be there also before it was read.
func TestLedgerLostOwn(t *testing.T) {
	var l ledger
	l.wrote(idOf(5, 0), minutesOf(60))
	l.wrote(idOf(3, 0), minutesOf(1))
	for _, tt := range []struct {
		first, read streamID
		after       time.Duration
		want        bool
	}{
		{idOf(2, 0), idOf(2, 0), 0, false},
		{idOf(4, 0), idOf(2, 0), 0, true},                      // the other is gone
		{idOf(4, 0), idOf(2, 0), 2*time.Minute + grace, false}, // and expired
		{idOf(5, 1), idOf(2, 0), 2*time.Minute + grace, true},  // this one has not
		{idOf(5, 0), idOf(5, 0), 2*time.Minute + grace, false}, // and is read
		{idOf(5, 1), idOf(5, 0), 2 * time.Minute, false},       // so that it stands among the others
	} {
		if got := l.lost(state{first: tt.first, length: 1}, tt.read, noon.Add(tt.after)); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
