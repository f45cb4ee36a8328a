package authz

import (
	"context"
	"time"
)

// A trial beside the decision gets at most this, and at most half of what is left of the caller's time.
const maxTrial = 20 * time.Millisecond

// shadow answers for a service whose rules are on trial, and keeps what they decided beside the answer. It answers for the rules alone:
// what was refused before the service was known stays refused, and so does what was never decided. Keys or a lookup that are away are
// among what rules decide: a trial that broke the traffic when they fail would be none.
func (c *check) shadow() {
	d := c.d
	if d.Service == nil || d.Service.Shadow == nil || d.Step <= StepService || !d.Time.Before(d.Service.Shadow.Until) {
		return
	}
	switch d.Reason {
	case Undecided, Deadline, Cancelled, Panicked, NotReady:
		return
	}
	if d.Verdict == Allow && c.ctx.Err() != nil {
		return // late, and about to be denied for it
	}
	would := *d
	d.Shadow = &would
	d.Reason, d.Detail, d.Err, d.Hidden = Shadow, "", nil, false
	d.Set, d.Remove, d.Respond, d.Metadata = nil, nil, nil, nil
	if d.Verdict = Deny; d.Service.Shadow.Allow {
		// Who asks was not necessarily proved, so nobody is named, and no client can name itself.
		d.Verdict, d.Remove = Allow, d.Service.StripAll
	}
}

// try evaluates a second policy when the answer is settled, and notes what it would have decided. It changes nothing of the answer,
// whatever becomes of it.
func (a *Authorizer) try(ctx context.Context, d *Decision, r *Request, trial *Bundle) {
	within := maxTrial
	if deadline, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	would := &Decision{ID: d.ID, Time: d.Time}
	if ctx.Err() == nil {
		a.decide(ctx, would, r, trial, false)
	}
	if err := ctx.Err(); err != nil && (would.Verdict == Allow || would.Reason == Undecided) {
		deny(would, Deadline, err)
	}
	would.Set, would.Remove, would.Respond, would.Metadata = nil, nil, nil, nil // a trial has no effects
	d.Shadow = would
}
