package ratelimit

import (
	"context"
	"errors"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Forgetter is a [Store] that can forget counters. All of ours can.
type Forgetter interface {
	// Forget makes the counters of the charges empty; their hits do not matter. It answers within ctx's deadline; an error is a
	// [*StoreError], after which nothing may be assumed.
	Forget(ctx context.Context, batch []Charge) error
}

// forget has a store forget, if it can.
func forget(ctx context.Context, store Store, batch []Charge) error {
	forgetful, ok := store.(Forgetter)
	if !ok {
		return &StoreError{Class: StoreOther, Err: errors.New("this store cannot forget")}
	}
	return forgetful.Forget(ctx, batch)
}

// Inspection is one counter as an operator sees it.
type Inspection struct {
	// Rule counts; never nil.
	Rule *limits.Rule
	// Windows is what is counted, and States what each of them says, in the rule's order.
	Windows []window.Window
	States  []window.State
}

// ErrUncounted is wrapped by the errors of operators' questions about descriptors that nothing counts; the text says why.
var ErrUncounted = errors.New("no limit counts this descriptor")

// Peek tells a counter and spends nothing. Errors: [ErrNoTable], one that wraps [ErrUncounted], a [*StoreError].
func (l *Limiter) Peek(ctx context.Context, domain string, entries []limits.Entry) (Inspection, error) {
	return l.inspect(ctx, domain, entries, 0)
}

// Grant gives hits back to a counter, the newest first, down to none spent, in the shared store and in this process's fallback. Errors
// are those of Peek.
func (l *Limiter) Grant(ctx context.Context, domain string, entries []limits.Entry, hits uint32) (Inspection, error) {
	return l.inspect(ctx, domain, entries, -int64(hits))
}

// Reset forgets a counter, in the shared store and in this process's fallback. Errors are those of Peek.
func (l *Limiter) Reset(ctx context.Context, domain string, entries []limits.Entry) (Inspection, error) {
	charge, rule, err := l.counter(domain, entries)
	if err != nil {
		return Inspection{}, err
	}
	for _, store := range []Store{l.store, l.local} {
		if store == nil {
			continue
		}
		if err := forget(ctx, store, []Charge{charge}); err != nil {
			return Inspection{}, err
		}
	}
	return l.look(ctx, l.store, charge, rule)
}

// counter is what counts a descriptor, as a charge of no hits.
func (l *Limiter) counter(domain string, entries []limits.Entry) (Charge, *limits.Rule, error) {
	g := l.current.Load()
	if g == nil {
		return Charge{}, nil, ErrNoTable
	}
	m := g.table.Match(domain, entries)
	if m.Rule == nil || m.Rule.Unlimited {
		x := g.table.Explain(domain, entries)
		return Charge{}, nil, &notCounted{x.Why}
	}
	return Charge{
		Key: m.Key, Rule: m.Rule.Path, Windows: g.rules[m.Rule.ID].windows, Algorithm: m.Rule.Algorithm, CountDenied: m.Rule.CountDenied,
	}, m.Rule, nil
}

func (l *Limiter) inspect(ctx context.Context, domain string, entries []limits.Entry, hits int64) (Inspection, error) {
	charge, rule, err := l.counter(domain, entries)
	if err != nil {
		return Inspection{}, err
	}
	charge.Hits = hits
	seen, err := l.look(ctx, l.store, charge, rule)
	if err == nil && hits != 0 && l.local != nil {
		// The store has given back; that this process's own counter follows is a courtesy to the day when the store is away.
		_, _ = l.look(ctx, l.local, charge, rule)
	}
	return seen, err
}

func (l *Limiter) look(ctx context.Context, store Store, charge Charge, rule *limits.Rule) (Inspection, error) {
	outcomes, err := store.Spend(ctx, []Charge{charge})
	if err != nil {
		return Inspection{}, err
	}
	if len(outcomes) != 1 || len(outcomes[0].Windows) != len(charge.Windows) {
		return Inspection{}, &StoreError{Class: StoreOther, Err: errors.New("the store did not answer for every window")}
	}
	return Inspection{Rule: rule, Windows: charge.Windows, States: outcomes[0].Windows}, nil
}

// notCounted says why nothing counts a descriptor.
type notCounted struct{ why string }

func (u *notCounted) Error() string { return ErrUncounted.Error() + ": " + u.why }

func (u *notCounted) Unwrap() error { return ErrUncounted }
