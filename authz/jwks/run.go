package jwks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// The bounds of how long an issuer's Cache-Control may make a set stay, and of how soon a failed attempt is repeated.
const (
	shortestStay = 5 * time.Second
	longestStay  = time.Hour
	firstRetry   = time.Second
	lastRetry    = 30 * time.Second
)

// Run refreshes the set until ctx ends, and returns nil then: at the time that the last answer's Cache-Control asked for, sooner after
// a failure, and at once when an unknown kid asks for it. Call it once.
func (s *Set) Run(ctx context.Context) error {
	for {
		timer := time.NewTimer(s.wait())
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-s.wake:
			timer.Stop()
		}
		// The outcome is kept for Health, Stats and Observe; there is nobody here to return it to.
		_ = s.Try(ctx)
	}
}

// wait is the time until the next refresh is due; a set that was never asked for is due at once.
func (s *Set) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.due.IsZero() {
		return 0
	}
	return max(0, s.due.Sub(s.opt.Now()))
}

// Try makes one attempt to refresh the set and says how it went. It waits for an attempt that is under way, and for no longer than ctx
// and Options.Timeout.
func (s *Set) Try(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("jwks: wait for an attempt that is under way: %w", ctx.Err())
	}
	s.begin()
	limited, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	answer, err := s.fetch(limited)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		s.abandon()
		return fmt.Errorf("jwks: %w", ctx.Err())
	}
	var keys *keySet
	if err == nil && !answer.unchanged {
		keys, err = read(answer.body)
		if err != nil && answer.kind != "" {
			err = fmt.Errorf("%w (the answer says that it is %q)", err, clip(answer.kind))
		}
	}
	if err == nil {
		s.remember(answer)
	}
	return s.end(keys, answer, err)
}

// begin marks the set as being refreshed. A wish that was waiting for Run is granted by this attempt.
func (s *Set) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = true
	select {
	case <-s.wake:
	default:
	}
}

// abandon forgets an attempt that was called off: that says nothing about the source.
func (s *Set) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
}

// end publishes what an attempt brought. Only a good set replaces the one in service.
func (s *Set) end(keys *keySet, answer answer, err error) error {
	s.mu.Lock()
	now, old := s.opt.Now(), s.current.Load()
	attempt := Attempt{Err: err}
	switch {
	case err == nil && answer.unchanged && old == nil:
		err = errors.New("the source says that the set has not changed, and there is none yet")
		attempt.Err = err
	case err == nil && answer.unchanged:
		s.current.Store(&published{keys: old.keys, fetched: now})
	case err == nil:
		if attempt.Changed = s.publish(keys, old, now); attempt.Changed {
			attempt.Added, attempt.Removed = keys.without(old.set()), old.set().without(keys)
		}
	}
	s.account(err, now, answer.stay)
	if p := s.current.Load(); p != nil {
		attempt.Keys, attempt.Refused, attempt.Skipped = p.keys.usable, len(p.keys.refusals), p.keys.skipped
		attempt.Refusals = firstFew(p.keys.refusals)
	}
	s.mu.Unlock()
	if s.opt.Observe != nil {
		s.opt.Observe(attempt)
	}
	return err
}

// generations numbers the sets of the whole process, so that no two have one number: an issuer that leaves and comes back with other
// keys must not meet what was remembered about the first.
var generations atomic.Uint64

// publish puts a new set into service. A set that says the same keeps its generation, so that caches stay warm across refreshes.
func (s *Set) publish(keys *keySet, old *published, now time.Time) (changed bool) {
	if changed = old == nil || keys.digest != old.keys.digest; changed {
		keys.generation = generations.Add(1)
	} else {
		keys.generation = old.keys.generation
	}
	s.current.Store(&published{keys: keys, fetched: now})
	return changed
}

// set is the published keys; nil where there are none.
func (p *published) set() *keySet {
	if p == nil {
		return nil
	}
	return p.keys
}

// without lists the kids of k that the other does not have, in order. Either may be nil.
func (k *keySet) without(other *keySet) []string {
	if k == nil {
		return nil
	}
	var names []string
	for kid := range k.kids {
		if other != nil {
			if _, known := other.kids[kid]; known {
				continue
			}
		}
		names = append(names, kid)
	}
	slices.Sort(names)
	return names
}

// account keeps the books after an attempt and sets the time of the next. Called with mu held.
func (s *Set) account(err error, now time.Time, stay time.Duration) {
	s.busy, s.ended, s.lastErr = false, now, err
	s.stats.Attempts++
	if err == nil {
		s.stats.Streak = 0
		s.due = now.Add(early(s.stay(stay)))
		return
	}
	s.stats.Failures++
	s.stats.Streak++
	retry := lastRetry
	if s.stats.Streak < 6 {
		retry = firstRetry << (s.stats.Streak - 1)
	}
	s.due = now.Add(early(min(retry, s.opt.Interval)))
}

// stay is how long a good answer is kept. A file costs nothing to look at, so it is looked at often.
func (s *Set) stay(asked time.Duration) time.Duration {
	switch {
	case s.source.File != "":
		return min(shortestStay, s.opt.Interval)
	case asked <= 0:
		return s.opt.Interval
	}
	return min(max(asked, shortestStay), longestStay)
}

// early shortens a wait by up to a tenth, so that many replicas that started together do not ask together for ever.
func early(d time.Duration) time.Duration {
	return d - rand.N(d/10+1) //nolint:gosec // G404: jitter keeps replicas apart and hides nothing
}
