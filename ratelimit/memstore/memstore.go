// Package memstore keeps the counters of rate limits in memory: the default of a single node that needs no other process, and
// what limits fall back on while a shared store is away. It is bounded, starts no goroutine, and forgets what has expired as
// it goes.
package memstore

import (
	"context"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// DefaultMaxKeys is how many counters a store holds unless told otherwise. With a minute and an hour of 60 cells each, that
// many take some 500 MB.
const DefaultMaxKeys = 1_000_000

// shardCount is how many locks the keys are spread over; a set of shards fits one word.
const shardCount = 64

// Options configure a [Store]; the zero value is usable.
type Options struct {
	// MaxKeys bounds the counters that have a key of their own. Beyond it the new keys of one rule share one counter, which
	// refuses early rather than late. Zero or less means DefaultMaxKeys.
	MaxKeys int
	// Now is the clock; nil means time.Now. Only its first answer is read as a date: from there on a monotonic reading
	// counts, where there is one, so that setting the machine's clock moves no window.
	Now func() time.Time
}

// Store is a [ratelimit.Store] in memory. It is safe for concurrent use; charges meet only on the locks of the shards that
// their keys fall into.
type Store struct {
	maxKeys int64
	now     func() time.Time
	start   time.Time
	seed    maphash.Seed

	keys       atomic.Int64 // counters with a key of their own, reserved ones included
	overflowed atomic.Uint64
	clockSteps atomic.Uint64
	refunded   nonces

	shards [shardCount]shard
	// overflow is locked after any shard, never before one.
	overflow struct {
		sync.Mutex
		byRule map[string]*window.Counter
	}
}

var (
	_ ratelimit.Store     = (*Store)(nil)
	_ ratelimit.Forgetter = (*Store)(nil)
)

// New makes an empty store.
func New(o Options) *Store {
	s := &Store{maxKeys: int64(o.MaxKeys), now: o.Now, seed: maphash.MakeSeed()}
	if s.maxKeys <= 0 {
		s.maxKeys = DefaultMaxKeys
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.start = s.now()
	for i := range s.shards {
		s.shards[i].index = make(map[string]int)
	}
	s.overflow.byRule = make(map[string]*window.Counter)
	return s
}

// Len is how many counters have a key of their own now, expired ones that have not been swept yet included. It never passes
// MaxKeys.
func (s *Store) Len() int { return int(s.keys.Load()) }

// Overflowed is how many charges have been counted under their rule, because the store had no room for their key.
func (s *Store) Overflowed() uint64 { return s.overflowed.Load() }

// ClockSteps is how many batches found a counter that had seen a later instant: the clock had stepped back by a cell or more.
func (s *Store) ClockSteps() uint64 { return s.clockSteps.Load() }

// Spend implements [ratelimit.Store]. It does not wait for anything but locks that are held for microseconds; a context that is
// over already is honoured, so that nothing is spent for a caller that has gone.
func (s *Store) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return s.spend(ctx, batch, nil)
}

// spend decides a batch, and notes what it wrote in a receipt that is not nil.
func (s *Store) spend(ctx context.Context, batch []ratelimit.Charge, receipt *ratelimit.Receipt) ([]ratelimit.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: err}
	}
	if err := ratelimit.ValidateBatch(batch); err != nil {
		return nil, err
	}
	var room [4]item
	items := room[:0]
	var locked uint64
	for i := range batch {
		home := maphash.String(s.seed, batch[i].Key) % shardCount
		locked |= 1 << home
		items = append(items, item{charge: &batch[i], shard: &s.shards[home]})
	}
	s.lock(locked)
	defer s.unlock(locked)
	// The clock is read under the locks, so that for every counter it only runs forward, unless it has truly been set back.
	now := s.millis()
	if s.resolve(items, now) {
		defer s.overflow.Unlock()
	}
	if receipt != nil {
		receipt.At = now
	}
	outcomes, stepped := decide(items, now, receipt)
	s.settle(items, now)
	if stepped {
		s.clockSteps.Add(1)
	}
	return outcomes, nil
}

// Forget implements [ratelimit.Forgetter]. A counter that the keys of a rule share, because the store was full, stays.
func (s *Store) Forget(ctx context.Context, batch []ratelimit.Charge) error {
	if err := ctx.Err(); err != nil {
		return &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: err}
	}
	for i := range batch {
		home := &s.shards[maphash.String(s.seed, batch[i].Key)%shardCount]
		home.Lock()
		at, found := home.index[batch[i].Key]
		if found {
			home.remove(at)
			s.release(1)
		}
		home.Unlock()
	}
	return nil
}

// lock takes the locks of a set of shards in one order, so that no two batches wait for each other.
func (s *Store) lock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].Lock()
	}
}

func (s *Store) unlock(set uint64) {
	for ; set != 0; set &= set - 1 {
		s.shards[bits.TrailingZeros64(set)].Unlock()
	}
}

func (s *Store) millis() int64 {
	elapsed := s.now().Sub(s.start)
	return s.start.Add(elapsed).UnixMilli()
}

// item is one charge of a batch on its way through Spend.
type item struct {
	charge  *ratelimit.Charge
	shard   *shard
	counter *window.Counter
	verdict window.Verdict
	// fresh says that the counter is new and stands in no shard yet.
	fresh bool
	// shared says that the counter is the rule's, in a store that is full.
	shared bool
	// again says that an earlier item of the batch has the same counter.
	again bool
}

// resolve finds the counter of every item. It says whether it has locked the overflow on the way. All sweeping comes first:
// from then on the counters in hand must stay where they are.
func (s *Store) resolve(items []item, now int64) (overflowing bool) {
	for i := range items {
		if it := &items[i]; it.shard.find(it.charge.Key) == nil {
			s.makeRoom(it.shard, now)
		}
	}
	for i := range items {
		it := &items[i]
		if it.counter = it.shard.find(it.charge.Key); it.counter == nil {
			s.resolveNew(items[:i], it, &overflowing)
		}
		for j := range i {
			it.again = it.again || items[j].counter == it.counter
		}
	}
	return overflowing
}

// resolveNew gives an item whose key is unknown the counter of an earlier item of that key, or a new one, or its rule's.
func (s *Store) resolveNew(earlier []item, it *item, overflowing *bool) {
	for j := range earlier {
		if e := &earlier[j]; e.charge.Key == it.charge.Key {
			it.counter, it.shared = e.counter, e.shared
			return
		}
	}
	if s.reserve() {
		it.counter, it.fresh = new(window.Counter), true
		return
	}
	if !*overflowing {
		s.overflow.Lock()
		*overflowing = true
	}
	s.overflowed.Add(1)
	c := s.overflow.byRule[it.charge.Rule]
	if c == nil {
		c = new(window.Counter)
		s.overflow.byRule[it.charge.Rule] = c
	}
	it.counter, it.shared = c, true
}

// makeRoom looks for the dead in the shard that a new key will fall into, harder when the store is full.
func (s *Store) makeRoom(home *shard, now int64) {
	s.release(home.sweep(sweepOnInsert, now))
	if s.keys.Load() >= s.maxKeys {
		s.release(home.sweep(sweepWhenFull, now))
	}
}

// reserve claims room for one more key.
func (s *Store) reserve() bool {
	for {
		n := s.keys.Load()
		if n >= s.maxKeys {
			return false
		}
		if s.keys.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release gives the room of n keys back. The common case of none leaves the shared word alone.
func (s *Store) release(n int) {
	if n > 0 {
		s.keys.Add(-int64(n))
	}
}

// settle puts new counters that hold something into their shards, and gives the room of the others back.
func (s *Store) settle(items []item, now int64) {
	for i := range items {
		it := &items[i]
		switch {
		case !it.fresh:
			s.release(it.shard.sweep(sweepOnUse, now))
		case len(it.counter.Bytes()) > 0:
			it.shard.insert(it.charge.Key, it.counter)
		default:
			s.release(1)
		}
	}
}

// decide judges and writes the batch, and says whether a counter had seen a later instant.
func decide(items []item, now int64, receipt *ratelimit.Receipt) (outcomes []ratelimit.Outcome, stepped bool) {
	repeated, windows := false, 0
	for i := range items {
		repeated = repeated || items[i].again
		windows += len(items[i].charge.Windows)
	}
	outcomes = make([]ratelimit.Outcome, len(items))
	states := make([]window.State, 0, windows)
	if repeated {
		judgeRepeated(items, now)
	} else {
		judgeDistinct(items, now)
	}
	states = write(items, now, states, receipt)
	for i := range items {
		it := &items[i]
		n := len(it.charge.Windows)
		outcomes[i] = ratelimit.Outcome{Over: it.verdict.Denied(), Windows: states[:n:n]}
		states = states[n:]
		stepped = stepped || it.verdict.SteppedBack
	}
	return outcomes, stepped
}

// judgeDistinct judges a batch in which every charge has its own counter.
func judgeDistinct(items []item, now int64) {
	for i := range items {
		items[i].verdict = items[i].counter.Evaluate(items[i].charge.Ask(), now)
	}
}

// judgeRepeated judges a batch in which charges share counters: each must see what the earlier ones spend, and all of that must be
// undone if the batch is denied. It judges on copies.
func judgeRepeated(items []item, now int64) {
	copies := make([]window.Counter, len(items))
	for i := range items {
		it := &items[i]
		scratch := &copies[i]
		if it.again {
			for j := range i {
				if items[j].counter == it.counter {
					scratch = &copies[j]
					break
				}
			}
		} else {
			*scratch = it.counter.Clone()
		}
		it.verdict = scratch.Evaluate(it.charge.Ask(), now)
		if it.spends(false) {
			scratch.Spend(it.charge.Ask(), now)
		}
	}
}

// write spends what the verdicts allow, in order, and reports the counters as each charge leaves them.
func write(items []item, now int64, states []window.State, receipt *ratelimit.Receipt) []window.State {
	denied := slices.ContainsFunc(items, func(it item) bool { return it.vetoes() })
	for i := range items {
		it := &items[i]
		if it.spends(denied) {
			it.counter.Spend(it.charge.Ask(), now)
			it.note(receipt)
		}
		states = it.counter.AppendStates(states, it.charge.Ask(), now, it.verdict)
	}
	return states
}

// vetoes says that the item denies the whole batch.
func (it *item) vetoes() bool { return it.verdict.Denied() && !it.charge.Shadow }

// spends says that the item is written in a batch that is denied or not.
func (it *item) spends(denied bool) bool {
	return it.charge.CountDenied || (!denied && !it.verdict.Denied())
}
