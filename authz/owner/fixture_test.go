package owner_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
)

// world is a backend that does what a test says, and remembers what it was asked.
type world struct {
	// say, unless nil, answers; else everything is everybody's.
	say func(ctx context.Context, q *authz.Question, answers []authz.Standing) error

	mu    sync.Mutex
	asked []authz.Question
}

func (w *world) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	w.mu.Lock()
	w.asked = append(w.asked, *q)
	w.mu.Unlock()
	if w.say != nil {
		return w.say(ctx, q, answers)
	}
	return all(authz.Theirs)(ctx, q, answers)
}

func (w *world) trips() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

// all says the same of every object.
func all(s authz.Standing) func(context.Context, *authz.Question, []authz.Standing) error {
	return func(_ context.Context, _ *authz.Question, answers []authz.Standing) error {
		for i := range answers {
			answers[i] = s
		}
		return nil
	}
}

func fails(err error) func(context.Context, *authz.Question, []authz.Standing) error {
	return func(_ context.Context, _ *authz.Question, answers []authz.Standing) error {
		for i := range answers {
			answers[i] = authz.Theirs // whatever an error leaves behind must not be believed
		}
		return err
	}
}

// clock is a time that tests move.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func alices(objects ...string) *authz.Question {
	return &authz.Question{Tenant: "acme", Issuer: "shop", Kind: authz.Person, Subject: "alice", Relation: "viewer", Objects: objects}
}

// ask asks for answers that hold nonsense before.
func ask(t testing.TB, l authz.Lookup, q *authz.Question) ([]authz.Standing, error) {
	t.Helper()
	answers := slices.Repeat([]authz.Standing{authz.Theirs}, len(q.Objects))
	err := l.Ask(t.Context(), q, answers)
	return answers, err
}

// want asks what must be answered.
func want(t testing.TB, l authz.Lookup, q *authz.Question, standings ...authz.Standing) {
	t.Helper()
	got, err := ask(t, l, q)
	if err != nil {
		t.Errorf("Ask: %v", err)
	} else if !slices.Equal(got, standings) {
		t.Errorf("Ask says %v, want %v", got, standings)
	}
}

func wantTrips(t testing.TB, w *world, trips int) {
	t.Helper()
	if got := w.trips(); got != trips {
		t.Errorf("the world was asked %d times, want %d", got, trips)
	}
}

// samples are the values of all series by name and labels; of a histogram, the count.
func samples(t testing.TB, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			if value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount()); value != 0 {
				found[name] = value
			}
		}
	}
	return found
}

func lookup(w *world, o owner.Options) *owner.Lookup {
	if o.Name == "" {
		o.Name = "docs"
	}
	return owner.New(w, o)
}
