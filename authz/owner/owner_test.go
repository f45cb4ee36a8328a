package owner_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
)

// books are a backend that learns who owns what.
type books map[[3]string][]string

func (b books) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	for i, object := range q.Objects {
		answers[i] = owner.Judge(b[[3]string{q.Tenant, q.Relation, object}], q.Subject)
	}
	return nil
}

// Whatever a backend passes, it passes behind a lookup too, one that remembers as well as one that does not.
func TestLookupConforms(t *testing.T) {
	for name, o := range map[string]owner.Options{
		"remembering": {Cache: time.Minute, CacheDenials: time.Second, Timeout: time.Minute},
		"forgetful":   {Timeout: time.Minute},
		"cramped":     {Cache: time.Minute, CacheBytes: 1000, Timeout: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			ownertest.Run(t, ownertest.Traits{}, func(_ *testing.T, facts []ownertest.Fact) ownertest.World {
				b := books{}
				for _, f := range facts {
					b[[3]string{f.Tenant, f.Relation, f.Object}] = f.Owners
				}
				return ownertest.World{Lookup: owner.New(b, o)}
			})
		})
	}
}

// Bytes equal bytes, nothing equals nothing, and an owner without a name is none.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		owners  []string
		subject string
		want    authz.Standing
	}{
		"the one owner":        {[]string{"alice"}, "alice", authz.Theirs},
		"one of the owners":    {[]string{"bob", "alice"}, "alice", authz.Theirs},
		"another's":            {[]string{"bob"}, "alice", authz.NotTheirs},
		"nobody's":             {nil, "alice", authz.NotThere},
		"an empty owner's":     {[]string{""}, "alice", authz.NotThere},
		"an empty owner first": {[]string{"", "alice"}, "alice", authz.Theirs},
		"nobody asks":          {[]string{"", "alice"}, "", authz.NotTheirs},
		"nobody of nobody":     {[]string{""}, "", authz.NotThere},
		"another case":         {[]string{"Alice"}, "alice", authz.NotTheirs},
		"a space":              {[]string{"alice "}, "alice", authz.NotTheirs},
		"another composition":  {[]string{"e\u0301"}, "é", authz.NotTheirs},
	} {
		t.Run(name, func(t *testing.T) {
			if got := owner.Judge(c.owners, c.subject); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// What is no question is answered by nobody.
func TestUnaskable(t *testing.T) {
	w := &world{}
	l := lookup(w, owner.Options{Cache: time.Minute})
	nobody := alices("house")
	nobody.Subject = ""
	for name, q := range map[string]*authz.Question{"no subject": nobody, "no id": alices("house", "")} {
		if _, err := ask(t, l, q); !errors.Is(err, authz.ErrLookupAnswer) || errors.Is(err, authz.ErrLookupUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.Ask(t.Context(), alices("house", "garden"), make([]authz.Standing, 1)); !errors.Is(err, authz.ErrLookupAnswer) {
		t.Errorf("too few answers: %v", err)
	}
	wantTrips(t, w, 0)
}

// probed is a backend that says how it is.
type probed struct {
	world
	probe func(context.Context) error
}

func (p *probed) Probe(ctx context.Context) error { return p.probe(ctx) }

// Trying says whether the world is there, in time, and opens no breaker.
func TestTry(t *testing.T) {
	cut := errors.New("cut")
	for name, c := range map[string]struct {
		probe func(context.Context) error
		want  []error
	}{
		"there":     {func(context.Context) error { return nil }, nil},
		"away":      {func(context.Context) error { return cut }, []error{authz.ErrLookupUnavailable, cut}},
		"too slow":  {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []error{authz.ErrLookupUnavailable, context.DeadlineExceeded}},
		"defective": {func(context.Context) error { panic("a defect") }, []error{authz.ErrLookupUnavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := owner.New(&probed{probe: c.probe}, owner.Options{Name: "docs", Breaker: owner.Breaker{Failures: 1}})
				err := l.Try(t.Context())
				if (err == nil) != (c.want == nil) {
					t.Errorf("Try: %v", err)
				}
				for _, want := range c.want {
					if !errors.Is(err, want) {
						t.Errorf("Try: %v, want %v", err, want)
					}
				}
				want(t, l, alices("house"), authz.Theirs)
			})
		})
	}
	if err := lookup(&world{}, owner.Options{}).Try(t.Context()); err != nil {
		t.Errorf("Try of a backend that cannot be tried: %v", err)
	}
}
