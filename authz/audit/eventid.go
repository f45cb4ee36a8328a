package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// eventIDs names lines by UUIDs of version 7 (RFC 9562 section 5.7): the milliseconds of the line's time, and behind them a counter that
// begins at a place of the run's own (section 6.2, method 2). So no line costs randomness, no two lines of a run have one name, and two
// runs have two beginnings of 74 bits.
type eventIDs struct {
	high uint16 // rand_a: 12 bits
	low  uint64 // rand_b: 62 bits
}

func newEventIDs(run string) eventIDs {
	seed := sha256.Sum256([]byte("sallyport audit run " + run))
	return eventIDs{high: binary.BigEndian.Uint16(seed[:]), low: binary.BigEndian.Uint64(seed[2:])}
}

// append appends the next name, for a line of this time.
func (ids *eventIDs) append(b []byte, t time.Time) []byte {
	ids.low++
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(max(t.UnixMilli(), 0))<<16|0x7000|uint64(ids.high&0xfff))
	binary.BigEndian.PutUint64(id[8:], 0x8<<60|ids.low&(1<<62-1))
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		start := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, id[start:end])
	}
	return b
}
