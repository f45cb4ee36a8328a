package ratelimit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Split keeps limits of a second or less in one store and all others in another, as REDIS_PERSECOND of envoyproxy/ratelimit does:
// counters that live for a second need no server that keeps what it has. A request whose limits stand in both is decided by both at
// once; where one of them refuses, what the other spent is taken back, if that store is a [Refunder]. What is not taken back stays
// spent: others may be refused early, never late.
func Split(perSecond, others Store) Store { return &split{perSecond, others} }

type split struct{ perSecond, others Store }

var _ Store = (*split)(nil)

// Spend implements [Store].
func (s *split) Spend(ctx context.Context, batch []Charge) ([]Outcome, error) {
	if err := ValidateBatch(batch); err != nil {
		return nil, err // before any of it is written
	}
	halves := [2]half{{store: s.perSecond}, {store: s.others}}
	for i := range batch {
		h := &halves[1]
		if isPerSecond(&batch[i]) {
			h = &halves[0]
		}
		h.of, h.batch = append(h.of, i), append(h.batch, batch[i])
	}
	switch {
	case len(halves[0].batch) == 0:
		return s.others.Spend(ctx, batch)
	case len(halves[1].batch) == 0:
		return s.perSecond.Spend(ctx, batch)
	}
	var other sync.WaitGroup
	other.Go(func() { halves[0].spend(ctx) })
	halves[1].spend(ctx)
	other.Wait()
	if !halves[0].denied && !halves[1].denied {
		// One refusal is enough, whatever has become of the other half.
		for i := range halves {
			if halves[i].err != nil {
				return nil, halves[i].err
			}
		}
	}
	for i := range halves {
		if halves[1-i].denied && !halves[i].denied {
			halves[i].takeBack(ctx)
		}
	}
	return merged([]part{halves[0].part, halves[1].part}, len(batch)), nil
}

// Forget implements [Forgetter].
func (s *split) Forget(ctx context.Context, batch []Charge) error {
	for i := range batch {
		store := s.others
		if isPerSecond(&batch[i]) {
			store = s.perSecond
		}
		if err := forget(ctx, store, batch[i:i+1]); err != nil {
			return err
		}
	}
	return nil
}

// isPerSecond says whether every window of a charge is a second or less.
func isPerSecond(c *Charge) bool {
	for _, w := range c.Windows {
		if w.Span > time.Second {
			return false
		}
	}
	return true
}

// half is what one of the two stores decides.
type half struct {
	part
	store Store
}

func (h *half) spend(ctx context.Context) {
	defer func() {
		if value := recover(); value != nil { // on a goroutine of ours, where it would end the process
			h.err = &StoreError{Class: StoreOther, Err: errors.New("the store panicked")}
		}
	}()
	if refunder, ok := h.store.(Refunder); ok && mayOwe(h.batch) {
		h.outcomes, h.receipt, h.err = refunder.SpendRefundable(ctx, h.batch)
	} else {
		h.outcomes, h.err = h.store.Spend(ctx, h.batch)
	}
	if h.err == nil && len(h.outcomes) != len(h.batch) {
		h.err = errUnanswered
	}
	if h.err != nil {
		return
	}
	for i, o := range h.outcomes {
		h.denied = h.denied || o.Over && !h.batch[i].Shadow
	}
}

// takeBack returns what was spent for a request that the other store refused. It waits for that as long as the caller does, for a refusal
// that comes too late lets the request pass in Envoy; it goes on when the caller has left.
func (h *half) takeBack(ctx context.Context) {
	refunder, ok := h.store.(Refunder)
	if !ok || len(h.receipt.Spent) == 0 {
		return
	}
	done := make(chan bool, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), DefaultRefundTimeout)
		defer cancel()
		taken := false
		defer func() {
			if !taken {
				_ = recover() // a store that panics has not taken it, and this goroutine would end the process
			}
			done <- taken
		}()
		taken = refunder.Refund(ctx, h.receipt) == nil
	}()
	select {
	case taken := <-done:
		if taken {
			h.restore()
		}
	case <-ctx.Done():
	}
}
