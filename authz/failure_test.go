package authz_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// tape is a recorder that keeps what it hears.
type tape struct {
	mu    sync.Mutex
	heard []authz.Decision
}

func (r *tape) Record(d *authz.Decision, _ *authz.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, *d)
}

type recorderFunc func(*authz.Decision, *authz.Request)

func (f recorderFunc) Record(d *authz.Decision, r *authz.Request) { f(d, r) }

// use makes a bundle of the policy shop and one verifier.
func use(t *testing.T, a *authz.Authorizer, v authz.Verifier) *authz.Authorizer {
	a.Use(&authz.Bundle{Policy: mustParse(t, shop), Verifiers: authz.Verifiers{"shop": v}})
	return a
}

// A verifier that waits for the caller, or that ends only after the caller has gone, never makes an allow, though it found a good
// token. The gate's own ceiling holds where the caller set no deadline, or a later one.
func TestDeadlines(t *testing.T) {
	alice := person("alice", "read:orders", nil)
	waits := func(answer func(context.Context) (*authz.Principal, error)) authztest.VerifierFunc {
		return func(ctx context.Context, _ string, _ time.Time) (*authz.Principal, error) {
			<-ctx.Done()
			return answer(ctx)
		}
	}
	verifiers := map[string]authz.Verifier{
		"says so":            waits(func(ctx context.Context) (*authz.Principal, error) { return nil, fmt.Errorf("waiting: %w", ctx.Err()) }),
		"finds a good token": waits(func(context.Context) (*authz.Principal, error) { return alice, nil }),
	}
	callers := map[string]struct {
		timeout, want time.Duration
	}{
		"a short deadline": {200 * time.Millisecond, 200 * time.Millisecond},
		"a long deadline":  {time.Hour, time.Second},
		"none":             {0, time.Second},
	}
	for name, v := range verifiers {
		for patience, caller := range callers {
			t.Run(name+", "+patience, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx := t.Context()
					if caller.timeout > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, caller.timeout)
						defer cancel()
					}
					start := time.Now()
					d := use(t, authz.New(authz.Options{}), v).Check(ctx, get("/users/alice/orders", as("alice")))
					if got := verdict(d); got != "503 deadline list-orders" {
						t.Errorf("%s", got)
					}
					if took := time.Since(start); took != caller.want {
						t.Errorf("answered after %v, want %v", took, caller.want)
					}
					if d.Set != nil || d.Metadata != nil || d.Err == nil {
						t.Errorf("sets %v, metadata %v, error %v", d.Set, d.Metadata, d.Err)
					}
				})
			})
		}
	}
}

// A ceiling of the operator's.
func TestCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := use(t, authz.New(authz.Options{Ceiling: 50 * time.Millisecond}), authztest.VerifierFunc(func(ctx context.Context, _ string, _ time.Time) (*authz.Principal, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		start := time.Now()
		if d := a.Check(t.Context(), get("/me", as("alice"))); d.Reason != authz.Deadline || time.Since(start) != 50*time.Millisecond {
			t.Errorf("%s after %v", verdict(d), time.Since(start))
		}
	})
}

// A caller that went away is told nothing good, at whatever moment it went.
func TestCancellation(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()
	requests := map[string]*authz.Request{
		"a token rule": get("/me", as("alice")), "a public rule": get("/assets/app.js"), "a workload's": post("/internal/reindex", from(nightly)), "a probe": get("/healthz"),
	}
	for name, r := range requests {
		a := gate(t, shop)
		for ctx, want := range map[context.Context]authz.Reason{gone: authz.Cancelled, late: authz.Deadline} {
			if d := a.Check(ctx, r); d.Verdict != authz.Deny || d.Reason != want || d.Status() != 503 || d.Set != nil || d.Remove != nil {
				t.Errorf("%s, before: %s", name, verdict(d))
			}
		}
	}
	for name, answer := range map[string]error{"a good token": nil, "its own error": errors.New("a wire is loose"), "the caller's": context.Canceled} {
		ctx, cancel := context.WithCancel(t.Context())
		a := use(t, authz.New(authz.Options{}), authztest.VerifierFunc(func(context.Context, string, time.Time) (*authz.Principal, error) {
			cancel()
			if answer != nil {
				return nil, answer
			}
			return person("alice", "read:orders", nil), nil
		}))
		d := a.Check(ctx, get("/me", as("alice")))
		want := authz.Cancelled
		if name == "its own error" {
			want = authz.Undecided
		}
		if d.Verdict != authz.Deny || d.Reason != want {
			t.Errorf("during, with %s: %s", name, verdict(d))
		}
	}
	// A denial that was found in time keeps its reason.
	if d := gate(t, shop).Check(gone, get("/users/bob/orders", as("alice"))); verdict(d) != "403 owner list-orders" {
		t.Errorf("a denial: %s", verdict(d))
	}
}

// Every decision is recorded exactly once, as it was answered, whatever became of it.
func TestRecordedOnce(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx context.Context
		ask *authz.Request
	}{
		"an allow": {t.Context(), get("/me", as("alice"))}, "a denial": {t.Context(), get("/me")}, "a panic": {t.Context(), get("/me", as("panic"))}, "a probe": {t.Context(), get("/healthz")},
		"no HTTP": {t.Context(), &authz.Request{}}, "no request": {t.Context(), nil}, "cancelled": {gone, get("/me", as("alice"))}, "hidden": {t.Context(), get("/invoices/alice", as("bob"))},
	} {
		r := &tape{}
		d := gateWith(t, shop, authz.Options{Recorder: r}).Check(test.ctx, test.ask)
		if len(r.heard) != 1 || r.heard[0].ID != d.ID || r.heard[0].Verdict != d.Verdict || r.heard[0].Reason != d.Reason {
			t.Errorf("%s: recorded %d times, as %+v", name, len(r.heard), r.heard)
		}
	}
	r := &tape{}
	if d := authz.New(authz.Options{Recorder: r}).Check(t.Context(), get("/me")); d.Reason != authz.NotReady || len(r.heard) != 1 {
		t.Errorf("without a policy: %s, recorded %d times", verdict(d), len(r.heard))
	}
}

// A recorder that panics makes a denial: what cannot be recorded did not happen.
func TestRecorderPanics(t *testing.T) {
	calls := 0
	a := gateWith(t, shop, authz.Options{Recorder: recorderFunc(func(*authz.Decision, *authz.Request) { calls++; panic("the disk is full") })})
	d := a.Check(t.Context(), get("/me", as("alice")))
	if d.Verdict != authz.Deny || d.Reason != authz.Panicked || d.Status() != 503 || d.Set != nil || d.Remove != nil || calls != 1 {
		t.Errorf("%s after %d calls, sets %v", verdict(d), calls, d.Set)
	}
}

// A request sees one generation: the policy of one bundle is never judged with the verifier of another.
func TestOneGeneration(t *testing.T) {
	var bundles [3]*authz.Bundle
	want := map[string]string{}
	for i := range bundles {
		p := mustParse(t, fmt.Sprintf("%s# generation %d\n", shop, i))
		name := fmt.Sprintf("user-%d", i)
		want[p.Digest] = name
		bundles[i] = &authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": authztest.VerifierFunc(func(context.Context, string, time.Time) (*authz.Principal, error) {
			return person(name, "read:orders", nil), nil
		})}}
	}
	a := authz.New(authz.Options{Recorder: &tape{}})
	a.Use(bundles[0])
	var done atomic.Bool
	var swapping, asking sync.WaitGroup
	swapping.Go(func() {
		for i := 0; !done.Load(); i++ {
			a.Use(bundles[i%len(bundles)])
		}
	})
	for range 16 {
		asking.Go(func() {
			r := get("/me", as("anybody"))
			for range 500 {
				d := a.Check(t.Context(), r)
				if d.Verdict != authz.Allow || d.Principal.Identity.Subject != want[d.Policy] || d.Rule.Service != d.Service {
					t.Errorf("%s of %s under policy %s, whose user is %s", verdict(d), d.Who, d.Policy, want[d.Policy])
					return
				}
			}
		})
	}
	asking.Wait()
	done.Store(true)
	swapping.Wait()
}

// Many at once, each with a token of its own: nobody is answered as another (CVE-2026-33544 was a shared field).
func TestNobodyIsMixedUp(t *testing.T) {
	a := use(t, authz.New(authz.Options{}), authztest.VerifierFunc(func(_ context.Context, token string, _ time.Time) (*authz.Principal, error) {
		return person(token, "read:orders", nil), nil
	}))
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			name, other := fmt.Sprintf("user-%d", i), fmt.Sprintf("user-%d", i+1)
			for range 100 {
				mine := a.Check(t.Context(), get("/users/"+name+"/orders", as(name)))
				theirs := a.Check(t.Context(), get("/users/"+other+"/orders", as(name)))
				if mine.Verdict != authz.Allow || mine.Set[0].Value != name || theirs.Reason != authz.Owner || theirs.Who != "user|shop|"+name {
					t.Errorf("%s: %s as %v; %s as %s", name, verdict(mine), mine.Set, verdict(theirs), theirs.Who)
					return
				}
			}
		})
	}
	all.Wait()
}

type witnessFunc func(context.Context, *authz.Decision, *authz.Request) error

func (f witnessFunc) Witness(ctx context.Context, d *authz.Decision, r *authz.Request) error {
	return f(ctx, d, r)
}

// What must be on record before it is answered is denied where it is not, and the denial is what is recorded, counted and answered. A
// denial waits for nobody.
func TestWitness(t *testing.T) {
	full := errors.New("no space left on device")
	tests := map[string]struct {
		witness witnessFunc
		want    string
	}{
		"it is on record":    {func(context.Context, *authz.Decision, *authz.Request) error { return nil }, "200 allowed me"},
		"the disk is full":   {func(context.Context, *authz.Decision, *authz.Request) error { return full }, "503 audit_unavailable me"},
		"the disk is slow":   {func(ctx context.Context, _ *authz.Decision, _ *authz.Request) error { <-ctx.Done(); return ctx.Err() }, "503 audit_unavailable me"},
		"on record too late": {func(ctx context.Context, _ *authz.Decision, _ *authz.Request) error { <-ctx.Done(); return nil }, "503 audit_unavailable me"},
		"a defect":           {func(context.Context, *authz.Decision, *authz.Request) error { panic("a defect") }, "503 panic me"},
	}
	for name, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			asked, r := 0, &tape{}
			a := gateWith(t, shop, authz.Options{Recorder: r, Witness: witnessFunc(func(ctx context.Context, d *authz.Decision, q *authz.Request) error {
				if asked++; d.Verdict != authz.Allow || len(r.heard) != 0 {
					t.Errorf("%s: told of %s after %d records", name, verdict(d), len(r.heard))
				}
				return test.witness(ctx, d, q)
			})})
			d := a.Check(t.Context(), get("/me", as("alice")))
			if verdict(d) != test.want || asked != 1 || !d.Witnessed || len(r.heard) != 1 || r.heard[0].Reason != d.Reason {
				t.Errorf("%s: %s, want %s; asked %d times, recorded %d", name, verdict(d), test.want, asked, len(r.heard))
			}
			if d.Verdict == authz.Deny && (d.Set != nil || d.Remove != nil || d.Metadata != nil) {
				t.Errorf("%s: the denial carries effects", name)
			}
			r.heard = nil
			if d := a.Check(t.Context(), get("/me")); d.Reason != authz.NoToken || asked != 1 || d.Witnessed {
				t.Errorf("%s: a denial asked the witness: %s", name, verdict(d))
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	a := gateWith(t, shop, authz.Options{Witness: witnessFunc(func(ctx context.Context, _ *authz.Decision, _ *authz.Request) error { cancel(); return ctx.Err() })})
	if d := a.Check(gone, get("/me", as("alice"))); d.Reason != authz.Cancelled {
		t.Errorf("a caller that goes meanwhile: %s", verdict(d))
	}
}
