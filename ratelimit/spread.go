package ratelimit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// DefaultRefundTimeout is how long a refund may take: longer than a caller's deadline, which does not end it, and well within
// [RefundWithin].
const DefaultRefundTimeout = time.Second

// maxRefunds is the most refunds under way at once. Beyond it hits stay spent: a store that answers none of them is no reason to hold
// ever more.
const maxRefunds = 1024

// Spread is a [Store] over one that decides only charges of one part together, such as a Redis Cluster, where a script has the keys of one
// slot. A batch of one part goes to it as it is. Of a longer one the parts are decided at the same time, so that it costs one trip; where
// one of them refuses, what the others spent is taken back, which costs another.
//
// It differs from a store that decides a batch as one in this. Between its two trips a refused batch has spent what it will get back, so
// others may be refused meanwhile: early, never late. Hits that are given back in a refused batch stay given back. The Reset of a
// charge that was taken back is that of before. And where a part fails and none refuses, what the others spent stays spent.
type Spread struct {
	store Refunder
	part  func(key string) int

	refunds    chan struct{}
	unrefunded atomic.Uint64
}

var _ Store = (*Spread)(nil)

// NewSpread makes a store over another one; part names the part of a key, and is pure.
func NewSpread(store Refunder, part func(key string) int) *Spread {
	return &Spread{store: store, part: part, refunds: make(chan struct{}, maxRefunds)}
}

// Unrefunded is how many parts of refused batches may have stayed spent, because the store did not take their refund.
func (s *Spread) Unrefunded() uint64 { return s.unrefunded.Load() }

// Spend implements [Store].
func (s *Spread) Spend(ctx context.Context, batch []Charge) ([]Outcome, error) {
	if err := ValidateBatch(batch); err != nil {
		return nil, err // before any part is written
	}
	parts := s.partsOf(batch)
	if len(parts) == 0 {
		return s.store.Spend(ctx, batch)
	}
	s.decide(ctx, parts)
	if slices.ContainsFunc(parts, func(p part) bool { return p.denied }) {
		// One refusal is enough, whatever has become of the parts that failed.
		s.takeBack(ctx, parts)
		return merged(parts, len(batch)), nil
	}
	for i := range parts {
		if parts[i].err != nil {
			return nil, parts[i].err
		}
	}
	return merged(parts, len(batch)), nil
}

// Forget implements [Forgetter], part by part.
func (s *Spread) Forget(ctx context.Context, batch []Charge) error {
	for i := range batch {
		if err := forget(ctx, s.store, batch[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// part is what one part of a batch asks, and what became of it.
type part struct {
	name   int
	of     []int // where its charges stand in the batch
	batch  []Charge
	refund bool // another part may refuse what this one spends

	outcomes []Outcome
	receipt  Receipt
	denied   bool
	err      error
}

// partsOf takes a batch apart, keeping the order of charges; nil if it is of one part.
func (s *Spread) partsOf(batch []Charge) []part {
	if len(batch) < 2 {
		return nil
	}
	first, i := s.part(batch[0].Key), 1
	for i < len(batch) && s.part(batch[i].Key) == first {
		i++
	}
	if i == len(batch) {
		return nil
	}
	parts := make([]part, 0, 4)
	for i := range batch {
		p := find(&parts, s.part(batch[i].Key))
		p.of, p.batch = append(p.of, i), append(p.batch, batch[i])
	}
	vetoes := 0 // how many parts may refuse
	for i := range parts {
		if mayDeny(parts[i].batch) {
			vetoes++
		}
	}
	for i := range parts {
		others := vetoes
		if mayDeny(parts[i].batch) {
			others--
		}
		parts[i].refund = others > 0 && mayOwe(parts[i].batch)
	}
	return parts
}

func find(parts *[]part, name int) *part {
	for i := range *parts {
		if (*parts)[i].name == name {
			return &(*parts)[i]
		}
	}
	*parts = append(*parts, part{name: name})
	return &(*parts)[len(*parts)-1]
}

// mayDeny says that a charge of the batch can refuse it.
func mayDeny(batch []Charge) bool {
	for i := range batch {
		if c := &batch[i]; !c.Shadow && c.Hits >= 0 {
			return true
		}
	}
	return false
}

// mayOwe says that the batch can spend what is to be taken back when another refuses.
func mayOwe(batch []Charge) bool {
	for i := range batch {
		if c := &batch[i]; !c.CountDenied && c.Hits > 0 {
			return true
		}
	}
	return false
}

// decide asks for all parts at once, and returns when each has its answer or its error.
func (s *Spread) decide(ctx context.Context, parts []part) {
	var others sync.WaitGroup
	for i := range parts[1:] {
		others.Go(func() { s.ask(ctx, &parts[1+i]) })
	}
	s.ask(ctx, &parts[0])
	others.Wait()
}

func (s *Spread) ask(ctx context.Context, p *part) {
	defer func() {
		if value := recover(); value != nil { // on a goroutine of ours, where it would end the process
			p.err = &StoreError{Class: StoreOther, Err: errors.New("the store panicked")}
		}
	}()
	if p.refund {
		p.outcomes, p.receipt, p.err = s.store.SpendRefundable(ctx, p.batch)
	} else {
		p.outcomes, p.err = s.store.Spend(ctx, p.batch)
	}
	if p.err == nil && len(p.outcomes) != len(p.batch) {
		p.err = &StoreError{Class: StoreOther, Err: errors.New("the store did not answer for every charge")}
	}
	if p.err != nil {
		return
	}
	for i, o := range p.outcomes {
		p.denied = p.denied || o.Over && !p.batch[i].Shadow
	}
}

// takeBack refunds what parts spent that another part refused. It waits for that as long as the caller does, so that whoever hears of
// the refusal finds nothing burnt; it goes on when the caller has left.
func (s *Spread) takeBack(ctx context.Context, parts []part) {
	var pending sync.WaitGroup
	for i := range parts {
		p := &parts[i]
		if p.err != nil || p.denied || len(p.receipt.Spent) == 0 {
			continue // a part that refuses has spent nothing that it owes
		}
		p.restore()
		select {
		case s.refunds <- struct{}{}:
			receipt := p.receipt
			pending.Go(func() {
				defer func() { <-s.refunds }()
				s.refund(ctx, receipt)
			})
		default:
			s.unrefunded.Add(1)
		}
	}
	done := make(chan struct{})
	go func() { pending.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (s *Spread) refund(ctx context.Context, r Receipt) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DefaultRefundTimeout)
	defer cancel()
	taken := false
	defer func() {
		if !taken {
			_ = recover() // a store that panics has not taken it, and this goroutine would end the process
			s.unrefunded.Add(1)
		}
	}()
	taken = s.store.Refund(ctx, r) == nil
}

// restore writes into the outcomes of a part what its counters hold once its hits are taken back.
func (p *part) restore() {
	for i := range p.batch {
		for j := range p.batch[:i+1] {
			if spent := &p.batch[j]; spent.Key == p.batch[i].Key && spent.Hits > 0 && !spent.CountDenied && !p.outcomes[j].Over {
				giveBack(p.outcomes[i].Windows, p.batch[i], uint64(spent.Hits))
			}
		}
	}
}

// giveBack adds hits to what the windows of a charge have left.
func giveBack(states []window.State, c Charge, hits uint64) {
	for w := range states {
		if w >= len(c.Windows) {
			return // the store reports windows that nobody asked for; whoever reads them believes none
		}
		full := uint64(c.Windows[w].Capacity(c.Algorithm))
		states[w].Remaining = uint32(min(uint64(states[w].Remaining)+hits, max(full, uint64(states[w].Remaining))))
	}
}

// merged puts the outcomes of parts where their charges stand in the batch. A part that failed in a refused batch is uncounted.
func merged(parts []part, n int) []Outcome {
	out := make([]Outcome, n)
	for i := range parts {
		p := &parts[i]
		for j, at := range p.of {
			if p.err != nil {
				out[at] = Outcome{Uncounted: true}
				continue
			}
			out[at] = p.outcomes[j]
		}
	}
	return out
}
