package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// A fault in any step, before it or instead of it, is a denial with a name. It happened elsewhere that a deadline in the middle of
// the steps was read as "nobody objected" (Authorino issue 649).
func TestFaultInEachStep(t *testing.T) {
	alice := &Principal{Identity: Identity{Issuer: "shop", Kind: Person, Subject: "alice"}, Token: condition.NewToken(map[string]any{"sub": "alice", "roles": []string{"admin"}})}
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`version: 1
issuers: {shop: {issuer: "https://auth.example.com", audiences: [a], machine: never, claims: {roles: strings}}}
services:
  - name: orders
    hosts: ["*"]
    headers: {x-user-id: token.sub}
    rules: [{name: read, match: "GET /users/{id}", roles: [admin], owner: {of: path.id, is: token.sub, otherwise: 404}, metadata: {user: token.sub}}]
`)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	bundle := &Bundle{Policy: p, Verifiers: Verifiers{"shop": verifierFunc(func() (*Principal, error) { return alice, nil })}}
	request := &Request{HTTP: true, Method: "GET", Host: "orders", Target: "/users/alice", Headers: Headers{Fields: []Field{{"authorization", "Bearer x"}}}}

	faults := map[string]struct {
		reason Reason
		step   func(cancel context.CancelFunc, good func(*check) Reason) func(*check) Reason
	}{
		"it panics": {Panicked, func(context.CancelFunc, func(*check) Reason) func(*check) Reason {
			return func(*check) Reason { panic("a defect") }
		}},
		"it panics with nil": {Panicked, func(context.CancelFunc, func(*check) Reason) func(*check) Reason {
			return func(*check) Reason { panic(nil) } //nolint:govet // nilness: on purpose
		}},
		"it says nothing": {Undecided, func(context.CancelFunc, func(*check) Reason) func(*check) Reason {
			return func(*check) (reason Reason) { return }
		}},
		"it says what is no reason": {Undecided, func(context.CancelFunc, func(*check) Reason) func(*check) Reason {
			return func(*check) Reason { return proceed + 1 }
		}},
		"the caller goes": {Cancelled, func(cancel context.CancelFunc, good func(*check) Reason) func(*check) Reason {
			return func(c *check) Reason { cancel(); return good(c) }
		}},
	}
	for i := range steps {
		for name, fault := range faults {
			ctx, cancel := context.WithCancel(t.Context())
			records := 0
			a := New(Options{Recorder: recorder(func() { records++ })})
			a.steps = slices.Clone(a.steps)
			a.steps[i].take = fault.step(cancel, steps[i].take)
			a.Use(bundle)
			d := a.Check(ctx, request)
			if d.Verdict != Deny || d.Reason.String() != fault.reason.String() || d.Status() != 503 || d.Who == "" || records != 1 {
				t.Errorf("step %d, %s: %s, %s (%d), who %q, recorded %d times", i, name, d.Verdict, d.Reason, d.Status(), d.Who, records)
			}
			if d.Set != nil || d.Remove != nil || d.Metadata != nil {
				t.Errorf("step %d, %s: carries effects", i, name)
			}
			cancel()
		}
	}
	if d := use(bundle).Check(t.Context(), request); d.Verdict != Allow {
		t.Fatalf("the request that the faults spoil is denied anyway: %s", d.Reason)
	}
}

func use(b *Bundle) *Authorizer {
	a := New(Options{})
	a.Use(b)
	return a
}

type verifierFunc func() (*Principal, error)

func (f verifierFunc) Verify(context.Context, string, time.Time) (*Principal, error) { return f() }

type recorder func()

func (f recorder) Record(*Decision, *Request) { f() }

// Every reason has a name of its own and a status of its own choice: a denial answers 400 or more, and what was never written down
// answers 503.
func TestReasons(t *testing.T) {
	undecided := []Reason{Undecided, KeysUnavailable, LookupFailed, Deadline, Cancelled, Panicked, Stale, AuditUnavailable, NotReady}
	allows := []Reason{Allowed, Public, Probe, Preflight}
	names := map[string]Reason{}
	all := Reasons()
	if len(all) != int(reasonCount) {
		t.Errorf("%d reasons of %d", len(all), reasonCount)
	}
	for _, r := range all {
		if other, twice := names[r.String()]; twice || r.String() == "" {
			t.Errorf("reasons %d and %d are both called %q", r, other, r)
		}
		names[r.String()] = r
		d := &Decision{Reason: r}
		switch {
		case slices.Contains(allows, r) || slices.Contains(undecided, r):
			if d.Status() != 503 {
				t.Errorf("a denial by %s answers %d", r, d.Status())
			}
		case d.Status() < 400 || d.Status() >= 500 || statuses[r] == 0:
			t.Errorf("%s answers %d", r, d.Status())
		}
		if d.Hidden = true; d.Status() != 404 || d.PublicReason() != NotFound {
			t.Errorf("%s, hidden, answers %d", r, d.Status())
		}
	}
	for _, r := range []Reason{reasonCount, 255} {
		if r.String() != "undecided" || (&Decision{Reason: r}).Status() != 503 {
			t.Errorf("reason %d is %s", r, r)
		}
	}
	var zero Decision
	if zero.Verdict != Deny || zero.Reason != Undecided || zero.Status() != 503 || zero.RuleName() != "none" || zero.ServiceName() != "none" {
		t.Errorf("the zero decision: %s, %s", zero.Verdict, zero.Reason)
	}
	if Deny.String() != "deny" || Allow.String() != "allow" || Verdict(7).String() != "deny" {
		t.Error("verdicts have other names")
	}
	if got := fmt.Sprint(Undetermined, Person, Machine, Kind(9)); got != "undetermined person machine undetermined" {
		t.Errorf("kinds: %s", got)
	}
}

// The statuses that a client may be told, reason by reason.
func TestStatuses(t *testing.T) {
	for status, reasons := range map[int][]Reason{
		400: {BadTarget, AmbiguousPath, NotHTTP, InvalidRequest, BadParameter, BadHeader},
		401: {NoToken, InvalidToken},
		403: {NoRule, Caller, Address, Signature, ClientKey, InsufficientScope, Role, Owner, MetadataMissing, HeaderValue, Upgrade, Forbidden},
		404: {NotFound}, 410: {Gone}, 421: {WrongService},
	} {
		for _, r := range reasons {
			if got := (&Decision{Reason: r}).Status(); got != status {
				t.Errorf("%s answers %d, want %d", r, got, status)
			}
		}
	}
	if got := (&Decision{Verdict: Allow, Reason: Allowed}).Status(); got != 200 {
		t.Errorf("an allow answers %d", got)
	}
}

func TestTokenError(t *testing.T) {
	cause := fmt.Errorf("a cause")
	if got := (&TokenError{Detail: DetailExpired}).Error(); got != "token refused: expired" {
		t.Error(got)
	}
	err := &TokenError{Detail: DetailExpired, Err: cause}
	if got := err.Error(); got != "token refused: expired: a cause" || !errors.Is(err, cause) {
		t.Error(got)
	}
}
