package owner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
)

// takes answers after a time, or when it is told to stop.
func takes(d time.Duration, then func(context.Context, *authz.Question, []authz.Standing) error) func(context.Context, *authz.Question, []authz.Standing) error {
	return func(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
		select {
		case <-time.After(d):
			return then(ctx, q, answers)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

// Who asks the same at the same time shares one question, and only then.
func TestFlightsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{say: takes(10*time.Millisecond, all(authz.NotTheirs))}
		l := lookup(w, owner.Options{})
		var asking sync.WaitGroup
		for range 20 {
			asking.Go(func() { want(t, l, alices("house", "garden"), authz.NotTheirs, authz.NotTheirs) })
		}
		asking.Wait()
		wantTrips(t, w, 1)
		want(t, l, alices("house", "garden"), authz.NotTheirs, authz.NotTheirs)
		wantTrips(t, w, 2)
	})
}

// Questions that differ in anything are asked apart, also where their texts are one text when joined.
func TestFlightsAreKeptApart(t *testing.T) {
	questions := []*authz.Question{
		alices("house"), alices("garden"), alices("house", "garden"), alices("garden", "house"), alices("housegarden"), alices("house\x00\x00\x00\x06garden"),
	}
	for _, differ := range []func(*authz.Question){
		func(q *authz.Question) { q.Tenant = "" },
		func(q *authz.Question) { q.Tenant, q.Issuer = "acmes", "hop" },
		func(q *authz.Question) { q.Issuer = "bank" },
		func(q *authz.Question) { q.Kind = authz.Machine },
		func(q *authz.Question) { q.Subject = "bob" },
		func(q *authz.Question) { q.Relation = "" },
		func(q *authz.Question) { q.Relation, q.Objects = "", []string{"viewer", "house"} },
	} {
		q := alices("house")
		differ(q)
		questions = append(questions, q)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{say: takes(time.Millisecond, all(authz.Theirs))}
		l := lookup(w, owner.Options{})
		var asking sync.WaitGroup
		for _, q := range questions {
			for range 2 {
				asking.Go(func() { want(t, l, q, slices.Repeat([]authz.Standing{authz.Theirs}, len(q.Objects))...) })
			}
		}
		asking.Wait()
		wantTrips(t, w, len(questions))
		asked := map[string]bool{}
		for i := range w.asked {
			asked[fmt.Sprintf("%q", w.asked[i])] = true
		}
		for _, q := range questions {
			if !asked[fmt.Sprintf("%q", *q)] {
				t.Errorf("%q was not asked as it is", *q)
			}
		}
	})
}

// A caller who leaves takes nobody's answer along, not even where the question was theirs; and the answer is remembered.
func TestLeavingEndsNoFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{say: takes(20*time.Millisecond, all(authz.Theirs))}
		l := lookup(w, owner.Options{Cache: time.Minute})
		leaving, leave := context.WithCancel(t.Context())
		hasty, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		var asking sync.WaitGroup
		errs := make([]error, 2)
		for i, ctx := range []context.Context{leaving, hasty} {
			asking.Go(func() { errs[i] = l.Ask(ctx, alices("house"), make([]authz.Standing, 1)) })
			synctest.Wait()
		}
		asking.Go(func() { want(t, l, alices("house"), authz.Theirs) })
		synctest.Wait()
		leave()
		asking.Wait()
		for i, why := range []error{context.Canceled, context.DeadlineExceeded} {
			if !errors.Is(errs[i], authz.ErrLookupUnavailable) || !errors.Is(errs[i], why) || errors.Is(errs[i], authz.ErrLookupAnswer) {
				t.Errorf("who left got %v, want %v", errs[i], why)
			}
		}
		want(t, l, alices("house"), authz.Theirs)
		wantTrips(t, w, 1)
	})
}

// A caller who is gone before the question asks nobody, and still hears what is remembered.
func TestTheGoneAskNobody(t *testing.T) {
	w := &world{}
	l := lookup(w, owner.Options{Cache: time.Minute})
	want(t, l, alices("house"), authz.Theirs)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	answers := make([]authz.Standing, 2)
	if err := l.Ask(gone, alices("house"), answers[:1]); err != nil || answers[0] != authz.Theirs {
		t.Errorf("Ask: %v, %v", answers, err)
	}
	if err := l.Ask(gone, alices("house", "garden"), answers); !errors.Is(err, context.Canceled) || answers[0] != authz.StandingUnknown {
		t.Errorf("Ask: %v, %v", answers, err)
	}
	wantTrips(t, w, 1)
}

// A flight belongs to nobody: its deadline is the lookup's, and nothing of a caller's context reaches the world.
func TestFlightHasItsOwnContext(t *testing.T) {
	type secret struct{}
	synctest.Test(t, func(t *testing.T) {
		w := &world{say: func(ctx context.Context, _ *authz.Question, answers []authz.Standing) error {
			end, bounded := ctx.Deadline()
			if left := time.Until(end); !bounded || left != 50*time.Millisecond {
				t.Errorf("the world has %v, want the lookup's timeout", left)
			}
			if ctx.Value(secret{}) != nil {
				t.Error("the world sees its first caller's values")
			}
			answers[0] = authz.Theirs
			return nil
		}}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), secret{}, "alice's"), time.Millisecond)
		defer cancel()
		if err := lookup(w, owner.Options{}).Ask(ctx, alices("house"), make([]authz.Standing, 1)); err != nil {
			t.Error(err)
		}
	})
}

// Nobody waits longer than the timeout, not even for a backend that has forgotten its own.
func TestTimeout(t *testing.T) {
	for name, deaf := range map[string]bool{"a backend that listens": false, "a deaf one": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{say: takes(time.Hour, all(authz.Theirs))}
				if deaf {
					w.say = func(context.Context, *authz.Question, []authz.Standing) error { pass(time.Hour); return nil }
				}
				begun := time.Now()
				_, err := ask(t, lookup(w, owner.Options{Timeout: 30 * time.Millisecond}), alices("house"))
				if !errors.Is(err, authz.ErrLookupUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Ask: %v", err)
				}
				if took := time.Since(begun); took != 30*time.Millisecond {
					t.Errorf("Ask took %v of the bubble's time", took)
				}
				pass(2 * time.Hour)
			})
		})
	}
}

// A panic is an error for all who wait, and nobody else's.
func TestPanicIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.say = takes(time.Millisecond, func(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
			if q.Objects[0] == "poison" {
				panic("a defect")
			}
			return all(authz.Theirs)(ctx, q, answers)
		})
		l := lookup(w, owner.Options{Breaker: owner.Breaker{Failures: 1}})
		var asking sync.WaitGroup
		for range 3 {
			asking.Go(func() {
				if _, err := ask(t, l, alices("poison")); !errors.Is(err, authz.ErrLookupAnswer) || errors.Is(err, authz.ErrLookupUnavailable) {
					t.Errorf("Ask: %v", err)
				}
			})
		}
		asking.Wait()
		want(t, l, alices("house"), authz.Theirs)
		wantTrips(t, w, 2)
	})
}

// Only so many questions wait for the world; one more is refused at once, and who asks what is being asked may join.
func TestFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{say: takes(10*time.Millisecond, all(authz.Theirs))}
		l := lookup(w, owner.Options{MaxWaiting: 2, Breaker: owner.Breaker{Failures: 1}})
		var asking sync.WaitGroup
		for _, object := range []string{"house", "garden", "house"} {
			asking.Go(func() { want(t, l, alices(object), authz.Theirs) })
		}
		synctest.Wait()
		begun := time.Now()
		if _, err := ask(t, l, alices("shed")); !errors.Is(err, authz.ErrLookupUnavailable) || time.Since(begun) != 0 {
			t.Errorf("Ask: %v", err)
		}
		asking.Wait()
		want(t, l, alices("shed"), authz.Theirs) // a full house is no failure of the world's
		wantTrips(t, w, 3)
	})
}

// After failures in a row the world is left alone, then tried by one question.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		cut := errors.New("cut")
		w := &world{say: fails(cut)}
		l := lookup(w, owner.Options{Metrics: owner.NewMetrics(registry)})
		open := func() bool { return samples(t, registry)["sallyport_lookup_breaker_open docs"] == 1 }
		refused := func(trips int) {
			t.Helper()
			if _, err := ask(t, l, alices("house")); !errors.Is(err, authz.ErrLookupUnavailable) {
				t.Errorf("Ask: %v", err)
			}
			wantTrips(t, w, trips)
		}
		for i := range 4 {
			refused(i + 1)
		}
		w.say = all(authz.Theirs)
		want(t, l, alices("house"), authz.Theirs) // a success begins the count anew
		w.say = fails(cut)
		for i := range 5 {
			if open() {
				t.Error("open too soon")
			}
			refused(6 + i)
		}
		if !open() {
			t.Error("not open after five failures")
		}
		refused(10)
		pass(time.Second + 1)
		refused(11) // the one that tries
		refused(11)
		pass(time.Second + 1)
		w.say = takes(time.Millisecond, all(authz.Theirs))
		var asking sync.WaitGroup
		asking.Go(func() { want(t, l, alices("house"), authz.Theirs) })
		synctest.Wait()
		if _, err := ask(t, l, alices("garden")); !errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("Ask beside the one that tries: %v", err)
		}
		asking.Wait()
		want(t, l, alices("garden"), authz.Theirs)
		if open() {
			t.Error("open after a success")
		}
	})
}

// What one caller can bring about opens no breaker: leaving, and asking what cannot be answered. What the world does wrong opens it.
func TestWhatOpensABreaker(t *testing.T) {
	for name, c := range map[string]struct {
		say     func(context.Context, *authz.Question, []authz.Standing) error
		leaves  bool
		objects int // in a question; 0 is one
		opens   bool
	}{
		"outage":      {say: fails(errors.New("cut")), opens: true},
		"unavailable": {say: fails(authz.ErrLookupUnavailable), opens: true},
		"some of both": {
			say: fails(errors.Join(authz.ErrLookupAnswer, authz.ErrLookupUnavailable)), opens: true,
		},
		"timeout":             {say: takes(time.Hour, all(authz.Theirs)), opens: true},
		"unreadable":          {say: fails(fmt.Errorf("docs: %w: a list", authz.ErrLookupAnswer))},
		"no standing said":    {say: all(authz.StandingUnknown)},
		"a timeout of few":    {say: takes(time.Hour, all(authz.Theirs)), objects: 8, opens: true},
		"a long list":         {say: takes(time.Hour, all(authz.Theirs)), objects: 9},
		"an outage of a list": {say: fails(errors.New("cut")), objects: 9, opens: true},
		"leaving":             {say: takes(40*time.Millisecond, all(authz.Theirs)), leaves: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{say: c.say}
				l := lookup(w, owner.Options{Breaker: owner.Breaker{Failures: 2, Pause: time.Minute}})
				for i := range 4 {
					ctx, cancel := context.WithCancel(t.Context())
					if c.leaves {
						ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
					}
					objects := []string{fmt.Sprint(i)}
					for n := 1; n < c.objects; n++ {
						objects = append(objects, fmt.Sprint(i, "-", n))
					}
					_ = l.Ask(ctx, alices(objects...), make([]authz.Standing, len(objects)))
					cancel()
					if !c.leaves {
						synctest.Wait() // a flight may land just after its last caller's timeout
					}
				}
				pass(time.Second)
				trips := 4
				if c.opens {
					trips = 2
				}
				wantTrips(t, w, trips)
			})
		})
	}
}

// Every outcome is counted under the lookup's name, and nothing under a client's.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		metrics := owner.NewMetrics(registry)
		w := &world{}
		l := lookup(w, owner.Options{Cache: time.Minute, MaxWaiting: 1, Metrics: metrics, Breaker: owner.Breaker{Failures: 2, Pause: time.Minute}})
		want(t, l, alices("house"), authz.Theirs)
		want(t, l, alices("house"), authz.Theirs)
		want(t, l, alices("house", "garden"), authz.Theirs, authz.Theirs)
		w.say = fails(authz.ErrLookupAnswer)
		_, _ = ask(t, l, alices("list"))
		w.say = func(context.Context, *authz.Question, []authz.Standing) error { panic("a defect") }
		_, _ = ask(t, l, alices("poison"))
		w.say = takes(20*time.Millisecond, all(authz.Theirs))
		gone, leave := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() { _ = l.Ask(gone, alices("shed"), make([]authz.Standing, 1)) })
		synctest.Wait()
		_, _ = ask(t, l, alices("attic"))
		leave()
		asking.Wait()
		pass(time.Second)
		w.say = takes(time.Hour, nil)
		_, _ = ask(t, l, alices("cellar"))
		synctest.Wait() // the flight lands just after its caller's timeout
		w.say = fails(errors.New("cut"))
		_, _ = ask(t, l, alices("cellar"))
		_, _ = ask(t, l, alices("cellar"))
		counted := map[string]float64{
			"sallyport_lookup_asked_total docs remembered": 1, "sallyport_lookup_asked_total docs answered": 2, "sallyport_lookup_asked_total docs answer": 1,
			"sallyport_lookup_asked_total docs panic": 1, "sallyport_lookup_asked_total docs gone": 1, "sallyport_lookup_asked_total docs full": 1,
			"sallyport_lookup_asked_total docs timeout": 1, "sallyport_lookup_asked_total docs unavailable": 1, "sallyport_lookup_asked_total docs breaker": 1,
			"sallyport_lookup_cache_hits_total docs": 2, "sallyport_lookup_cache_misses_total docs": 9, "sallyport_lookup_seconds docs": 7,
			"sallyport_lookup_breaker_open docs": 1,
		}
		if diff := cmp.Diff(counted, samples(t, registry)); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
		metrics.Forget("docs")
		if left := samples(t, registry); len(left) != 0 {
			t.Errorf("after Forget: %v", left)
		}
	})
}

// A lookup that a reload replaced says no longer what the breaker of its name is.
func TestReplacedLookupsBreakerIsSilent(t *testing.T) {
	registry := prometheus.NewRegistry()
	metrics := owner.NewMetrics(registry)
	broken := &world{say: fails(errors.New("cut"))}
	o := owner.Options{Metrics: metrics, Breaker: owner.Breaker{Failures: 1}}
	before := lookup(broken, o)
	lookup(&world{}, o)
	_, _ = ask(t, before, alices("house"))
	if open := samples(t, registry)["sallyport_lookup_breaker_open docs"]; open != 0 {
		t.Errorf("the breaker's gauge is %v", open)
	}
	var none *owner.Metrics
	none.Forget("docs") // as a gate without metrics does
}
