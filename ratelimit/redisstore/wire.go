package redisstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Flags of a charge, as the script reads them.
const (
	giveBack    = 1
	countDenied = 2
	shadow      = 4
	refund      = 8
	plain       = 16
)

// fate is what became of a key, as the script reports it.
type fate uint8

const (
	existed fate = 1
	written fate = 2
)

// latestTime (in milliseconds since the epoch, beyond the year 6000) bounds the times that a server is believed.
const latestTime = 1 << 47

// appendCharge appends a charge in the form that the script reads: numbers only.
func appendCharge(b []byte, c *ratelimit.Charge, t *target) []byte {
	hits, flags := c.Hits, byte(0)
	if hits < 0 {
		hits, flags = -hits, giveBack
	}
	if c.CountDenied {
		flags |= countDenied
	}
	if c.Shadow {
		flags |= shadow
	}
	if t.plain {
		flags |= plain
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(hits))
	b = append(b, byte(len(c.Windows)))
	for _, w := range c.Windows {
		b = appendShape(b, w.Shape(c.Algorithm))
		b = binary.BigEndian.AppendUint32(b, w.Limit)
		b = binary.BigEndian.AppendUint32(b, w.Burst)
	}
	if t.plain {
		b = appendUint48(b, t.cell)
	}
	return b
}

func appendShape(b []byte, s window.Shape) []byte {
	b = appendUint48(b, s.Grain)
	return binary.BigEndian.AppendUint16(b, uint16(s.Cells))
}

func appendUint48(b []byte, v int64) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(v>>32))
	return binary.BigEndian.AppendUint32(b, uint32(v))
}

// answer is what the server said of a batch; fates, counters and targets are there if the script decided it.
type answer struct {
	now      int64 // the server's time, milliseconds since the epoch
	stepped  bool
	fates    []fate
	counters []window.Counter // as each charge left its own; empty for a plain one
	targets  []target
	outcomes []ratelimit.Outcome
}

var errGarbage = errors.New("redisstore: the server's answer makes no sense")

// readAnswer reads the script's reply, and believes nothing of it that does not fit the batch.
func readAnswer(reply any, batch []ratelimit.Charge, targets []target) (*answer, error) {
	parts, ok := reply.([]any)
	if !ok || len(parts) != 2+len(batch) {
		return nil, fmt.Errorf("%w: %T for a batch of %d", errGarbage, reply, len(batch))
	}
	now, ok := parts[0].(int64)
	stepped, ok2 := parts[1].(int64)
	if !ok || !ok2 || now < 0 || now > latestTime || stepped < 0 || stepped > 1 {
		return nil, fmt.Errorf("%w: time %v, step %v", errGarbage, parts[0], parts[1])
	}
	windows := 0
	for i := range batch {
		windows += len(batch[i].Windows)
	}
	states := make([]window.State, 0, windows)
	a := &answer{
		now: now, stepped: stepped == 1, targets: targets, fates: make([]fate, len(batch)), counters: make([]window.Counter, len(batch)), outcomes: make([]ratelimit.Outcome, len(batch)),
	}
	for i := range batch {
		part, ok := parts[2+i].(string)
		if !ok {
			return nil, fmt.Errorf("%w: %T for charge %d", errGarbage, parts[2+i], i)
		}
		from := len(states)
		v, f, err := readCounter(part, &batch[i], &targets[i])
		if err != nil {
			return nil, fmt.Errorf("%w: charge %d: %w", errGarbage, i, err)
		}
		if t := &targets[i]; t.plain {
			states = window.AppendLoneStates(states, batch[i].Ask(), window.LoneCell{Cell: t.cell, Held: v.held, Now: now}, v.verdict)
		} else {
			states = v.counter.AppendStates(states, batch[i].Ask(), now, v.verdict)
		}
		a.fates[i], a.counters[i] = f, v.counter
		a.outcomes[i] = ratelimit.Outcome{Over: v.verdict.Denied(), Windows: states[from:len(states):len(states)]}
	}
	return a, nil
}

// judged is a counter with what the script found of it.
type judged struct {
	counter window.Counter
	held    uint64 // of a plain counter
	verdict window.Verdict
}

// readCounter reads what the script said of one charge.
func readCounter(part string, c *ratelimit.Charge, t *target) (judged, fate, error) {
	if len(part) < 2 {
		return judged{}, 0, errors.New("truncated")
	}
	over, f := part[0], fate(part[1])
	if int(over) >= 1<<len(c.Windows) || f > existed|written {
		return judged{}, 0, fmt.Errorf("verdict %#x and fate %#x", over, f)
	}
	if over != 0 && c.Hits < 0 {
		return judged{}, 0, errors.New("hits given back are over")
	}
	if t.plain {
		held, err := readHeld(part[2:])
		return judged{held: held, verdict: window.Verdict{Over: over}}, f, err
	}
	counter, err := window.Decode([]byte(part[2:]))
	if err != nil {
		return judged{}, 0, err
	}
	if f&written != 0 && len(counter.Bytes()) == 0 {
		return judged{}, 0, errors.New("a counter that was written holds nothing")
	}
	return judged{counter: counter, verdict: window.Verdict{Over: over}}, f, nil
}

// readHeld reads what a plain counter holds.
func readHeld(b string) (uint64, error) {
	if len(b) != 6 {
		return 0, fmt.Errorf("%d bytes of a plain counter", len(b))
	}
	held := uint64(0)
	for i := range len(b) {
		held = held<<8 | uint64(b[i])
	}
	if held > window.MaxHits {
		return 0, fmt.Errorf("%d hits in a plain counter", held)
	}
	return held, nil
}
