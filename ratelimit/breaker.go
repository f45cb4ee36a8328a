package ratelimit

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// What zero fields of [BreakerOptions] mean.
const (
	// DefaultFailures in a row open a breaker.
	DefaultFailures = 5
	// DefaultProbeEvery is how often a store that is left alone is tried: writes resume this long after it can take them.
	DefaultProbeEvery = 500 * time.Millisecond
	// DefaultProbeWithin is how long it may take to be well again. It is more than requests give it, for a first connection, and
	// less than what would make them wait as soon as they come.
	DefaultProbeWithin = 100 * time.Millisecond
)

// fairWait is how long a store must have had for its silence to count against it: what comes too late for a caller in a greater hurry says
// something about the caller.
const fairWait = 5 * time.Millisecond

// ErrBreakerOpen is wrapped by the [*StoreError] of a store that was not asked.
var ErrBreakerOpen = errors.New("ratelimit: the store has failed and is left alone until a probe succeeds")

// errLeftAlone is made once: it is returned for every request while the store is away.
var errLeftAlone = &StoreError{Class: StoreBreaker, Err: ErrBreakerOpen}

// BreakerOptions configure a [Breaker]. The zero value is usable.
type BreakerOptions struct {
	// Failures in a row that open the breaker; zero means DefaultFailures.
	Failures int
	// ProbeEvery is the time between probes while it is open; zero means DefaultProbeEvery. ProbeWithin bounds one; zero means
	// DefaultProbeWithin.
	ProbeEvery, ProbeWithin time.Duration
	// Lanes are parts of the store that fail apart, such as ranges of a cluster's slots; zero means one.
	Lanes int
	// Lane is the lane of a key, from zero to Lanes-1; nil means that there is one. All charges of a batch are of one lane.
	Lane func(key string) int
	// ProbeKey is a key in a lane, that no limit has; nil means one that stands for no domain.
	ProbeKey func(lane int) string
	// OnChange is told that a lane was opened or closed, one after another; nil tells nobody. It must not block.
	OnChange func(open bool)
}

// Breaker is a [Store] in front of another that fails at once while the other is known to fail, so that a lost store costs no request its
// time. It opens after some failures in a row, by [Breaker.Run] tries the store beside the requests, and closes when a try succeeds: no
// request is ever spent on finding out.
//
// What counts as a failure is what another request would meet too: no connection, no answer in a fair time, a server that is loading, takes
// no writes or has no memory. An answer that makes no sense does not count, since it may depend on what was asked.
//
// A breaker that opens and closes hands out nothing anew. Counters in the store go on where they were, and those of [Options].Local have
// counted all along: so in any span of a sliding window at most its limit passes by the store and at most floor(limit/replicas) by each
// replica's own counters, at most twice the limit together, however often it opens.
type Breaker struct {
	store Refunder
	o     BreakerOptions
	lanes []lane
	wake  chan struct{}
	told  sync.Mutex // taken when a lane moves, never for a request that meets none that does

	opened atomic.Uint64
	open   atomic.Int64
}

// lane stands alone on its cache line: requests of other lanes do not wait for its counts.
type lane struct {
	failures atomic.Int64 // in a row
	open     atomic.Bool
	_        [48]byte
}

var _ Refunder = (*Breaker)(nil)

// NewBreaker makes a closed breaker. It opens without [Breaker.Run], and never closes again without it.
func NewBreaker(store Refunder, o BreakerOptions) *Breaker {
	if o.Failures <= 0 {
		o.Failures = DefaultFailures
	}
	if o.ProbeEvery <= 0 {
		o.ProbeEvery = DefaultProbeEvery
	}
	if o.ProbeWithin <= 0 {
		o.ProbeWithin = DefaultProbeWithin
	}
	if o.Lanes <= 0 || o.Lane == nil {
		o.Lanes, o.Lane = 1, func(string) int { return 0 }
	}
	if o.ProbeKey == nil {
		o.ProbeKey = func(lane int) string { return "!probe" + strconv.Itoa(lane) } // keys of limits begin with a letter
	}
	return &Breaker{store: store, o: o, lanes: make([]lane, o.Lanes), wake: make(chan struct{}, 1)}
}

// Open is how many lanes are open now.
func (b *Breaker) Open() int { return int(b.open.Load()) }

// Opened is how often a lane was opened.
func (b *Breaker) Opened() uint64 { return b.opened.Load() }

// Spend implements [Store].
func (b *Breaker) Spend(ctx context.Context, batch []Charge) ([]Outcome, error) {
	l, err := b.enter(batch)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	out, err := b.store.Spend(ctx, batch)
	b.leave(ctx, l, begun, err)
	return out, err
}

// SpendRefundable implements [Refunder].
func (b *Breaker) SpendRefundable(ctx context.Context, batch []Charge) ([]Outcome, Receipt, error) {
	l, err := b.enter(batch)
	if err != nil {
		return nil, Receipt{}, err
	}
	begun := time.Now()
	out, receipt, err := b.store.SpendRefundable(ctx, batch)
	b.leave(ctx, l, begun, err)
	return out, receipt, err
}

// Refund implements [Refunder]. It goes to the store whatever the breaker thinks of it, and tells it nothing: no request waits for
// much of it, and what is owed should not be lost for a failure that may be over.
func (b *Breaker) Refund(ctx context.Context, r Receipt) error { return b.store.Refund(ctx, r) }

// Forget implements [Forgetter]. An operator's word goes to the store as a refund does.
func (b *Breaker) Forget(ctx context.Context, batch []Charge) error {
	return forget(ctx, b.store, batch)
}

func (b *Breaker) enter(batch []Charge) (*lane, error) {
	if len(batch) == 0 {
		return &b.lanes[0], nil
	}
	l := &b.lanes[b.o.Lane(batch[0].Key)]
	if l.open.Load() {
		return nil, errLeftAlone
	}
	return l, nil
}

// leave takes in how a request fared. The shared counter is written only around failures, so that requests of a healthy store share
// nothing but reads.
func (b *Breaker) leave(ctx context.Context, l *lane, begun time.Time, err error) {
	if err == nil {
		if l.failures.Load() != 0 {
			l.failures.Store(0)
		}
		return
	}
	if !blames(ctx, err, begun) || l.failures.Add(1) < int64(b.o.Failures) || l.open.Load() {
		return
	}
	b.move(l, true)
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// blames says that an error is the store's fault, whoever asks.
func blames(ctx context.Context, err error, begun time.Time) bool {
	var failed *StoreError
	if !errors.As(err, &failed) || errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	switch failed.Class {
	case StoreRefused, StoreLoading, StoreReadOnly, StoreOOM:
		return true
	case StoreTimeout:
		return time.Since(begun) >= fairWait
	}
	return false
}

// move opens or closes a lane.
func (b *Breaker) move(l *lane, open bool) {
	b.told.Lock()
	defer b.told.Unlock()
	if l.open.Load() == open {
		return
	}
	l.failures.Store(0)
	if open {
		b.opened.Add(1)
		b.open.Add(1)
	} else {
		b.open.Add(-1)
	}
	l.open.Store(open)
	if b.o.OnChange != nil {
		b.o.OnChange(open)
	}
}

// Run probes the lanes that are open, until ctx is over; then it returns nil.
func (b *Breaker) Run(ctx context.Context) error {
	timer := time.NewTimer(b.o.ProbeEvery)
	defer timer.Stop()
	for {
		if b.open.Load() == 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-b.wake:
			}
		}
		timer.Reset(b.o.ProbeEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			b.probe(ctx)
		}
	}
}

// probe tries all open lanes at once: on a server that answers nothing each takes its whole time.
func (b *Breaker) probe(ctx context.Context) {
	var tries sync.WaitGroup
	for i := range b.lanes {
		if b.lanes[i].open.Load() {
			tries.Go(func() {
				if b.well(ctx, i) {
					b.move(&b.lanes[i], false)
				}
			})
		}
	}
	tries.Wait()
}

// well says that a lane decides and writes: only a hit that is counted shows both. Its limit is beyond what all replicas send.
func (b *Breaker) well(ctx context.Context, lane int) (ok bool) {
	ctx, cancel := context.WithTimeout(ctx, b.o.ProbeWithin)
	defer cancel()
	defer func() {
		if value := recover(); value != nil { // on a goroutine of ours, where it would end the process
			ok = false
		}
	}()
	out, err := b.store.Spend(ctx, []Charge{{
		Key: b.o.ProbeKey(lane), Rule: "probe", Algorithm: window.Fixed, Hits: 1, CountDenied: true,
		Windows: []window.Window{{Limit: window.MaxHits, Span: time.Second}},
	}})
	return err == nil && len(out) == 1
}
