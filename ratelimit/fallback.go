package ratelimit

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// refusedReset is what a client is told to wait when a limit refuses without having counted.
const refusedReset = time.Second

// withoutStore answers a request that the store could not decide, each limit as its rule says.
func (s *spending) withoutStore(ctx context.Context, cause error) error {
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return err // the caller has gone: nobody to answer, nothing to blame the store for
	}
	class := StoreOther
	var failed *StoreError
	if errors.As(cause, &failed) {
		class = failed.Class
	} else {
		failed = &StoreError{Class: class, Err: cause}
	}
	s.limiter.observer.StoreFailed(class)
	if ctx.Err() != nil {
		return failed // the caller's time is up, and it is the store that spent it
	}
	s.response.Degraded = true
	var local, unanswered []int
	for i := range s.charges {
		switch how := s.onFailure(i); how {
		case limits.FailError:
			unanswered = append(unanswered, i)
		case limits.FailLocal:
			local = append(local, i)
		case limits.FailClosed:
			s.limiter.observer.Fallback(how)
			s.refuse(i)
		case limits.FailOpen:
			s.limiter.observer.Fallback(how)
		}
	}
	s.judge()
	s.locally(ctx, local)
	s.judge()
	for _, i := range unanswered {
		s.limiter.observer.Fallback(limits.FailError)
		if s.response.Code == OK {
			return failed
		}
		// One refusal is enough: an error would let the request pass in Envoy.
		s.count(i, uncounted(s.charges[i].Hits))
	}
	return nil
}

// onFailure is what a charge's rule does without the store. A shadow rule of our form never refuses, so it never fails a
// request either; the reference's form does, as the reference itself.
func (s *spending) onFailure(charge int) limits.Failure {
	rule := s.response.Statuses[s.of[charge]].Rule
	how := rule.OnStoreFailure
	if rule.Shadow && !rule.CountDenied && how != limits.FailLocal {
		return limits.FailOpen
	}
	if how == limits.FailLocal && s.limiter.local == nil {
		if rule.Shadow {
			return limits.FailOpen
		}
		return limits.FailClosed
	}
	return how
}

// refuse answers a charge without having counted it.
func (s *spending) refuse(charge int) {
	status := &s.response.Statuses[s.of[charge]]
	if !status.Rule.Override {
		status.show(status.Rule.Limits[0])
	}
	status.Remaining, status.Reset, status.Over = 0, refusedReset, true
	if hits := s.charges[charge].Hits; hits > 0 {
		s.count(charge, Tally{Total: uint64(hits), Over: uint64(hits)})
	}
}

// locally decides charges in this process, within this replica's share.
func (s *spending) locally(ctx context.Context, charges []int) {
	if len(charges) == 0 {
		return
	}
	batch := make([]Charge, len(charges))
	for j, i := range charges {
		batch[j] = s.share(i)
		if s.response.Code == OverLimit && batch[j].Hits > 0 {
			// The request is refused already, and a refused request burns nothing.
			batch[j].Hits = 0
		}
	}
	outcomes, err := s.limiter.local.Spend(ctx, batch)
	for j, i := range charges {
		if err != nil || len(outcomes) != len(batch) {
			s.limiter.observer.Fallback(limits.FailClosed)
			s.refuse(i)
			continue
		}
		s.limiter.observer.Fallback(limits.FailLocal)
		s.settle(i, &batch[j], &outcomes[j])
	}
}

// share is a charge against this replica's part of the limit.
func (s *spending) share(charge int) Charge {
	c := s.charges[charge]
	c.Windows = s.generation.rules[s.response.Statuses[s.of[charge]].Rule.ID].share
	return c
}

// mirror counts what the store let pass in the local counters too, so that they know what this replica gave out when the store
// fails. It is charged in shadow, since the store has decided, and whole, since it has passed.
func (s *spending) mirror(ctx context.Context, outcomes []Outcome) {
	if s.limiter.local == nil || s.response.Code == OverLimit {
		return
	}
	var batch []Charge
	for i := range s.charges {
		// What is over and passed nevertheless is a shadow rule's, and burnt nothing.
		if s.charges[i].Hits == 0 || outcomes[i].Over || s.response.Statuses[s.of[i]].Rule.OnStoreFailure != limits.FailLocal {
			continue
		}
		c := s.share(i)
		c.Shadow, c.CountDenied = true, true
		batch = append(batch, c)
	}
	if len(batch) > 0 {
		// The local store fails only when the caller has gone, and then nobody needs the answer that was counted.
		_, _ = s.limiter.local.Spend(ctx, batch)
	}
}
