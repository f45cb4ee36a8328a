package ratelimit

import (
	"context"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// DefaultDenials is how many counters [Denials] remembers at most: some 20 MiB when all of them are.
const DefaultDenials = 1 << 16

// maxDenials bounds the table that is made at start, 128 MiB of it.
const maxDenials = 1 << 24

// DenialsOptions configure [Denials]. The zero value is usable.
type DenialsOptions struct {
	// Places is how many counters are remembered at most, rounded up to a power of two; zero means DefaultDenials. Two counters that
	// fall on one place push each other out, which costs a trip and nothing else.
	Places int
	// Longest bounds how long a counter is remembered; zero means until its reset. What gives hits back elsewhere (another
	// replica, an operator, a batch that a cluster decides in parts) is noticed this late.
	Longest time.Duration
}

// Denials is a [Store] in front of another that remembers which counters are over their limit, and refuses for them without asking until
// they have room again, so that a flood costs the store nothing.
//
// A counter is remembered with the hits that were refused, until the instant by which the store said that those hits would pass: until
// then only hits that are given back could make room, so at least as many hits are refused rightly. Fewer hits and peeks go to the
// store, and so does a batch that gives hits back, which makes this process forget the counter. A limit that has changed has other
// windows, and is not what was remembered. Shadow charges refuse nobody, so nothing is saved by remembering them; a limit that a request brought may be
// another in the next.
//
// A refused batch burns nothing but the charges that count denials. Those whose counter is over in a Fixed window are remembered too, as
// the local cache of envoyproxy/ratelimit does: their count ends with the window, and what is not added to it until then is noticed only
// where hits are given back or the limit is raised. The others of their batch are sent, and spend or peek; with them goes the rest, as
// peeks, so that its answer is whole. Where there are none, nothing is sent, and the rest of the batch is answered as Uncounted; and so it
// is where the store fails, since an error would make of a refusal what it is for other reasons: in Envoy, a request that passes.
//
// Reading takes no lock and allocates nothing.
type Denials struct {
	store   Store
	longest time.Duration
	start   time.Time
	seed    maphash.Seed
	shift   int
	places  []place

	refused atomic.Uint64
}

// place holds one counter, and how often hits were given back to a counter that falls on it: an answer from before that says nothing of
// what came after.
type place struct {
	denial  atomic.Pointer[denial]
	returns atomic.Uint32
}

// denial is a counter that is over. It never changes.
type denial struct {
	key       string
	algorithm window.Algorithm
	windows   []window.Window
	counts    bool // CountDenied
	hits      int64
	asked     time.Duration // since start, before the store was asked
	until     time.Duration // since start
	states    []window.State
}

var _ Forgetter = (*Denials)(nil)

// NewDenials makes an empty memory in front of a store.
func NewDenials(store Store, o DenialsOptions) *Denials {
	n := o.Places
	if n <= 0 {
		n = DefaultDenials
	}
	n = 1 << bits.Len(uint(min(n, maxDenials)-1))
	return &Denials{
		store: store, longest: o.Longest, start: time.Now(), seed: maphash.MakeSeed(),
		shift: 64 - bits.TrailingZeros(uint(n)), places: make([]place, n),
	}
}

// Refused is how many batches were refused without asking the store about the counter that refused them.
func (d *Denials) Refused() uint64 { return d.refused.Load() }

// Spend implements [Store].
func (d *Denials) Spend(ctx context.Context, batch []Charge) ([]Outcome, error) {
	now := time.Since(d.start)
	if !d.knows(batch, now) {
		return d.ask(ctx, batch, now)
	}
	if err := ctx.Err(); err != nil {
		return nil, &StoreError{Class: StoreTimeout, Err: err}
	}
	if err := ValidateBatch(batch); err != nil {
		return nil, err
	}
	d.refused.Add(1)
	return d.refuse(ctx, batch, now)
}

// Forget implements [Forgetter]: the store's counter, and what is remembered of it here.
func (d *Denials) Forget(ctx context.Context, batch []Charge) error {
	err := forget(ctx, d.store, batch)
	for i := range batch {
		d.place(batch[i].Key).clear()
	}
	return err
}

// clear drops what is remembered, and what is on its way.
func (p *place) clear() {
	p.returns.Add(1)
	p.denial.Store(nil)
}

// knows says that a batch is refused. One that gives hits back is for the store: it may make room for what comes after in it.
func (d *Denials) knows(batch []Charge, now time.Duration) bool {
	known := false
	for i := range batch {
		if batch[i].Hits < 0 {
			return false
		}
		known = known || d.recall(&batch[i], now) != nil
	}
	return known
}

func (d *Denials) place(key string) *place {
	// The top bits choose: shifting by 64, for a single place, leaves zero.
	return &d.places[maphash.String(d.seed, key)>>d.shift]
}

// recall is what is remembered that refuses a charge; nil if nothing does.
func (d *Denials) recall(c *Charge, now time.Duration) *denial {
	if c.Hits <= 0 || c.Shadow {
		return nil
	}
	known := d.place(c.Key).denial.Load()
	if known == nil || now >= known.until || c.Hits < known.hits || known.key != c.Key || known.algorithm != c.Algorithm ||
		known.counts != c.CountDenied || !slices.Equal(known.windows, c.Windows) {
		return nil
	}
	return known
}

// ask sends a batch to the store, and learns from its answer.
func (d *Denials) ask(ctx context.Context, batch []Charge, now time.Duration) ([]Outcome, error) {
	var room [4]uint32
	returns := room[:0]
	for i := range batch {
		returns = append(returns, d.place(batch[i].Key).returns.Load())
	}
	out, err := d.store.Spend(ctx, batch)
	for i := range batch {
		p := d.place(batch[i].Key)
		switch {
		case batch[i].Hits < 0:
			// Even where it failed: it may have been done.
			p.clear()
		case err == nil && i < len(out):
			d.note(p, returns[i], &batch[i], &out[i], now)
		}
	}
	return out, err
}

// note remembers a charge that was found over.
func (d *Denials) note(p *place, returns uint32, c *Charge, o *Outcome, now time.Duration) {
	if !o.Over || c.Shadow || c.OwnLimit || c.Hits <= 0 || len(o.Windows) != len(c.Windows) || c.CountDenied && c.Algorithm != window.Fixed {
		return
	}
	wait := time.Duration(0)
	for _, s := range o.Windows {
		// One that has room once the batch is refused was full of what the batch itself had spent before.
		if s.Over && int64(s.Remaining) < c.Hits {
			wait = max(wait, s.Reset)
		}
	}
	if wait == 0 {
		return
	}
	if d.longest > 0 {
		wait = min(wait, d.longest)
	}
	// The store's clock ran on while the answer was on its way, so counting from before it was asked forgets early.
	known := &denial{
		key: c.Key, algorithm: c.Algorithm, windows: c.Windows, counts: c.CountDenied, hits: c.Hits,
		asked: now, until: now + wait, states: slices.Clone(o.Windows),
	}
	p.denial.Store(known)
	if p.returns.Load() != returns {
		p.denial.CompareAndSwap(known, nil) // hits were given back meanwhile
	}
}

// refuse answers a batch of which a charge is known to be over.
func (d *Denials) refuse(ctx context.Context, batch []Charge, now time.Duration) ([]Outcome, error) {
	out := make([]Outcome, len(batch))
	var rest []Charge
	var of []int
	send := false
	for i := range batch {
		if known := d.recall(&batch[i], now); known != nil {
			out[i] = known.outcome(now)
			continue
		}
		c := batch[i]
		if send = send || c.CountDenied; !c.CountDenied {
			c.Hits = 0 // a refused batch burns nothing else
		}
		rest, of = append(rest, c), append(of, i)
	}
	if !send {
		for _, i := range of {
			out[i].Uncounted = true
		}
		return out, nil
	}
	answers, err := d.ask(ctx, rest, now)
	for j, i := range of {
		if err != nil || len(answers) != len(rest) {
			out[i].Uncounted = true // one refusal is enough, whatever has become of the rest
			continue
		}
		out[i] = answers[j]
	}
	return out, nil
}

// outcome is what a charge that is known to be over is told.
func (n *denial) outcome(now time.Duration) Outcome {
	states := slices.Clone(n.states)
	for i := range states {
		// Windows that were not over may have been due before: what they say is at least a millisecond, as everywhere.
		states[i].Reset = max(states[i].Reset-(now-n.asked).Truncate(time.Millisecond), time.Millisecond)
	}
	return Outcome{Over: true, Windows: states, Remembered: true}
}
