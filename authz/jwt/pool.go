package jwt

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/maypok86/otter/v2"
)

// defaultPoolBytes holds some sixty thousand ordinary tokens.
const defaultPoolBytes = 32 << 20

// PoolOptions tune a Pool.
type PoolOptions struct {
	// Bytes bounds the memory of all that is remembered, estimated from above; 0 is 32 MiB, a negative value remembers nothing.
	Bytes int
	// Signatures is how many signatures are checked at once; 0 is half of the processors, and at least one. A negative value bounds
	// nothing, for a program that serves nobody else meanwhile.
	Signatures int
}

// Pool is what the verifiers of one process share: the memory for proofs and refusals, and the processors' time for signatures.
//
// Memory goes to whoever asks, a little at a time. When none is left, an issuer takes from the one that has most, as long as that one
// has more than itself: no issuer, however many tokens it floods us with, takes from one that has less, and what an idle issuer does
// not use is not kept from the others. Safe for concurrent use.
type Pool struct {
	remembers bool
	turns     turns
	commons   commons
	hot       hot
	refusals  refusals
	issuers   issuers
	// chunk is how much of the memory changes hands at once.
	chunk uint64

	mu     sync.Mutex // never taken for a remembered token, nor under a lock of a share's cache
	free   uint64
	shares []*share
}

// NewPool makes a pool. It starts nothing.
func NewPool(opt PoolOptions) *Pool {
	p := &Pool{remembers: opt.Bytes >= 0, turns: newTurns(opt.Signatures)}
	if !p.remembers {
		return p
	}
	bytes := opt.Bytes
	if bytes == 0 {
		bytes = defaultPoolBytes
	}
	// A quarter is for principals ready to be handed out, a sixteenth for what tokens have in common, another for the issuers that
	// unproved tokens claim, and a little for refusals.
	p.hot.slots = make([]atomic.Pointer[record], bytes/4/hotSlot)
	p.commons.most = bytes / 16
	p.issuers.slots = make([]atomic.Pointer[claimed], bytes/16/claimedBytes)
	p.refusals.slots = make([]atomic.Pointer[refusal], max(1, bytes/64/refusalBytes))
	p.free = uint64(bytes - bytes/4 - 2*(bytes/16) - bytes/64)
	p.chunk = max(1, p.free/64)
	return p
}

// share is one issuer's part of a pool.
type share struct {
	pool   *Pool
	proofs *otter.Cache[fingerprint, *record]
	// held estimates the bytes of its records; most is the bound of it, written under the pool's lock.
	held atomic.Int64
	most atomic.Uint64
}

// join gives a verifier a part of the pool, and takes it back when nobody holds the verifier any more: a reload of the policy makes
// new verifiers, and requests under way may still hold the old ones.
func (p *Pool) join(v *Verifier) *share {
	s := &share{pool: p}
	s.proofs = otter.Must(&otter.Options[fingerprint, *record]{
		// Expiry is not the cache's business: the clock of the caller is consulted on every hit.
		MaximumWeight: 1,
		Weigher:       func(_ fingerprint, r *record) uint32 { return r.weight() },
		// Housekeeping runs on the caller: it is short, and the request path starts no goroutines.
		Executor:   func(task func()) { task() },
		OnDeletion: func(e otter.DeletionEvent[fingerprint, *record]) { s.lost(e.Value) },
	})
	p.mu.Lock()
	p.shares = append(p.shares, s)
	p.mu.Unlock()
	runtime.AddCleanup(v, (*share).leave, s)
	return s
}

func (s *share) leave() {
	p := s.pool
	p.mu.Lock()
	p.shares = slices.DeleteFunc(p.shares, func(other *share) bool { return other == s })
	p.free += s.most.Load()
	s.most.Store(0)
	p.mu.Unlock()
	s.proofs.InvalidateAll()
}

// put remembers a record, for which the share may have to grow.
func (s *share) put(name fingerprint, r *record) {
	weight := r.weight()
	if held := s.held.Add(int64(weight)); uint64(held) > s.most.Load() {
		s.pool.grow(s)
	}
	s.proofs.Set(name, r)
}

func (s *share) lost(r *record) {
	s.held.Add(-int64(r.weight()))
	s.pool.commons.release(r.common)
}

// grow gives a full share more: of what is free, or else half of what the largest share has more than this one.
func (p *Pool) grow(s *share) {
	p.mu.Lock()
	defer p.mu.Unlock()
	amount := min(p.chunk, p.free)
	p.free -= amount
	if amount == 0 {
		rich := slices.MaxFunc(p.shares, func(a, b *share) int { return int(int64(a.most.Load()) - int64(b.most.Load())) })
		have, theirs := s.most.Load(), rich.most.Load()
		if theirs <= have {
			return
		}
		if amount = min(p.chunk, (theirs-have)/2); amount < p.chunk/16 {
			return // near enough to equal: what is worth less than the move stays where it is
		}
		rich.resize(theirs - amount)
	}
	s.resize(s.most.Load() + amount)
}

func (s *share) resize(most uint64) {
	s.most.Store(most)
	s.proofs.SetMaximum(most)
}
