package ratelimit

import (
	"context"
	"sync"
	"time"
)

// Split keeps limits of a second or less in one store and all others in another, as REDIS_PERSECOND of envoyproxy/ratelimit does:
// counters that live for a second need no server that keeps what it has. A request whose limits stand in both is decided by both at
// once; where one of them denies, the other gets back what it was charged, unless it counts denied hits. What could not be given
// back stays spent, so a server that fails in between admits less, never more.
func Split(perSecond, others Store) Store { return &split{perSecond, others} }

type split struct{ perSecond, others Store }

var _ Store = (*split)(nil)

// half is what one of the two stores decides.
type half struct {
	store    Store
	charges  []Charge
	at       []int // the place of each in the whole batch
	outcomes []Outcome
	err      error
}

// Spend implements [Store].
func (s *split) Spend(ctx context.Context, batch []Charge) ([]Outcome, error) {
	short, long := half{store: s.perSecond}, half{store: s.others}
	for i := range batch {
		to := &long
		if isPerSecond(&batch[i]) {
			to = &short
		}
		to.charges, to.at = append(to.charges, batch[i]), append(to.at, i)
	}
	switch {
	case len(short.charges) == 0:
		return s.others.Spend(ctx, batch)
	case len(long.charges) == 0:
		return s.perSecond.Spend(ctx, batch)
	}
	var both sync.WaitGroup
	both.Go(func() { short.spend(ctx) })
	long.spend(ctx)
	both.Wait()
	outcomes := make([]Outcome, len(batch))
	for _, p := range []*half{&short, &long} {
		if p.err != nil {
			return nil, p.err
		}
	}
	if short.denies() != long.denies() {
		for _, p := range []*half{&short, &long} {
			if !p.denies() {
				p.giveBack(ctx)
			}
		}
	}
	for _, p := range []*half{&short, &long} {
		for j, i := range p.at {
			outcomes[i] = p.outcomes[j]
		}
	}
	return outcomes, nil
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

func (p *half) spend(ctx context.Context) {
	p.outcomes, p.err = p.store.Spend(ctx, p.charges)
	if p.err == nil && len(p.outcomes) != len(p.charges) {
		p.err = errUnanswered
	}
}

// denies says whether the part alone refuses the request.
func (p *half) denies() bool {
	for i := range p.charges {
		if p.outcomes[i].Over && !p.charges[i].Shadow {
			return true
		}
	}
	return false
}

// giveBack returns what was spent for a request that the other store denied.
func (p *half) giveBack(ctx context.Context) {
	var back []Charge
	var at []int
	for i, c := range p.charges {
		if c.CountDenied || c.Hits <= 0 || p.outcomes[i].Over {
			continue
		}
		c.Hits, c.Shadow = -c.Hits, true
		back, at = append(back, c), append(at, i)
	}
	if len(back) == 0 {
		return
	}
	outcomes, err := p.store.Spend(ctx, back)
	if err != nil || len(outcomes) != len(back) {
		return
	}
	for j, i := range at {
		p.outcomes[i].Windows = outcomes[j].Windows
	}
}
