package authz

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Recorder is told of every decision, exactly once, before it is answered. It must not wait: a slow record is dropped and counted,
// never waited for. It must not keep or change either argument.
type Recorder interface {
	Record(d *Decision, r *Request)
}

// Witness has every allow on record before it is answered. It is told of an allow once, before the [Recorder] hears of the decision, and
// of a denial never.
type Witness interface {
	// Witness returns nil when the allow is on record for good. It may wait, within ctx; with an error, or late, the request is denied. It
	// must not keep or change either argument.
	Witness(ctx context.Context, d *Decision, r *Request) error
}

// Options of an [Authorizer]. The zero value works.
type Options struct {
	// Service pins every request to one service of the policy (a sidecar's --service); "" pins none.
	Service string
	// Ceiling is the longest that one Check may take, whatever its caller allows. Zero means one second.
	Ceiling time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Recorder hears every decision; nil records nothing.
	Recorder Recorder
	// Witness must have an allow on record before it is answered; nil lets allows be answered at once.
	Witness Witness
}

// Authorizer decides requests by the bundle in use. It is safe for concurrent use.
type Authorizer struct {
	options Options
	bundle  atomic.Pointer[Bundle]
	trial   atomic.Pointer[Bundle] // nil where none runs
	steps   []step                 // never changed, except by tests before the first Check
}

// New returns an Authorizer that denies everything until [Authorizer.Use].
func New(options Options) *Authorizer {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Ceiling <= 0 {
		options.Ceiling = time.Second
	}
	return &Authorizer{options: options, steps: steps[:]}
}

// Use puts a bundle in force. Requests under way keep the one that they began with.
func (a *Authorizer) Use(b *Bundle) { a.bundle.Store(b) }

// UseTrial puts a second policy beside the one in force, to see what it would decide; nil ends the trial. It never changes an answer.
func (a *Authorizer) UseTrial(b *Bundle) { a.trial.Store(b) }

// Check decides one request. It never fails and never panics: what cannot be decided is denied, with its reason.
func (a *Authorizer) Check(ctx context.Context, r *Request) *Decision {
	now := a.options.Now()
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > a.options.Ceiling {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.options.Ceiling)
		defer cancel()
	}
	d := &Decision{ID: rand.Text(), Time: now}
	a.decide(ctx, d, r, a.bundle.Load(), true)
	if err := ctx.Err(); err != nil && d.Verdict == Allow {
		// Whatever was found, the caller has stopped waiting, and a late allow is an answer that nobody checked the time of.
		deny(d, Deadline, err)
		if errors.Is(err, context.Canceled) {
			d.Reason = Cancelled
		}
	}
	if trial := a.trial.Load(); trial != nil && d.Shadow == nil {
		a.try(ctx, d, r, trial)
	}
	if a.options.Witness != nil && d.Verdict == Allow {
		a.witness(ctx, d, r)
	}
	if a.options.Recorder != nil {
		a.record(d, r)
	}
	return d
}

// witness denies an allow that is not on record. That it may yet come to stand there is told by the denial, which is recorded behind it.
func (a *Authorizer) witness(ctx context.Context, d *Decision, r *Request) {
	defer func() {
		if p := recover(); p != nil {
			deny(d, Panicked, fmt.Errorf("authz: recovered while recording: %v", p))
		}
	}()
	d.Witnessed = true
	err := a.options.Witness.Witness(ctx, d, r)
	if late := ctx.Err(); err == nil && late != nil {
		err = late // on record, and nobody waits for the answer any more
	}
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled):
		deny(d, Cancelled, err)
	default:
		deny(d, AuditUnavailable, err)
	}
}

// decide fills in the decision by a bundle; a panic on the way becomes a denial. With shadows a service in shadow answers for its rules.
func (a *Authorizer) decide(ctx context.Context, d *Decision, r *Request, bundle *Bundle, shadows bool) {
	defer func() {
		if p := recover(); p != nil {
			deny(d, Panicked, fmt.Errorf("authz: recovered while deciding: %v", p))
			d.Who = "ip|" + policy.LimitGroup(d.Address)
		}
	}()
	c := check{ctx: ctx, pin: a.options.Service, r: r, d: d, bundle: bundle}
	d.Reason = c.decide(a.steps)
	switch d.Reason {
	case Allowed, Public, Probe, Preflight:
		d.Verdict = Allow
	default:
		deny(d, d.Reason, d.Err)
		d.Hidden = c.hidden && hides(d)
	}
	d.Who = c.who()
	if shadows {
		c.shadow()
	}
}

// hides reports whether a denial could tell whether an object exists. What we could not find out for reasons of our own cannot, and a
// client that is told "not there" in an outage would forget what it has. A record that the lookup cannot read is there.
func hides(d *Decision) bool {
	return d.Reason.status() != 503 || d.Reason == LookupFailed && d.Detail == DetailAnswer
}

// record keeps a defect in a recorder from becoming an answer.
func (a *Authorizer) record(d *Decision, r *Request) {
	defer func() {
		if p := recover(); p != nil {
			deny(d, Panicked, fmt.Errorf("authz: recovered while recording: %v", p))
		}
	}()
	a.options.Recorder.Record(d, r)
}

// deny makes a decision a denial, and takes back what only an allow carries.
func deny(d *Decision, reason Reason, err error) {
	d.Verdict, d.Reason, d.Err = Deny, reason, err
	d.Set, d.Remove, d.Respond, d.Metadata = nil, nil, nil, nil
}
