// Package owner asks foreign worlds whose objects are. It is the part that all of them share: what an answer is remembered under and how
// long, questions that are asked once for all who wait, a deadline, a breaker, and what becomes of answers that cannot be. The worlds are
// the rooms below, one for each; none knows more than how to put a question. What an answer may be taken for is decided once, here.
package owner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"

	"github.com/sallyport-dev/sallyport/authz"
)

// Backend asks one foreign world, at most once a question: nothing here or below asks again. It is safe for concurrent use.
type Backend interface {
	// Ask is as [authz.Lookup] says, about some of the objects of a request; answers comes zeroed. It returns within ctx, and touches
	// neither q nor answers afterwards. An error that is [authz.ErrLookupAnswer] blames the question or the record; every other error is
	// an outage. What depends on a client's bytes must never look like an outage: outages open the breaker for everybody.
	Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error
}

// Prober is a backend that can find out whether its world is there without asking about anybody.
type Prober interface {
	// Probe returns within ctx.
	Probe(ctx context.Context) error
}

// Options tune a lookup. The zero value remembers nothing.
type Options struct {
	// Name is the policy's name of the lookup, for metrics and errors.
	Name string
	// Timeout bounds one question, within the deadline of its caller; 0 is 50 ms.
	Timeout time.Duration
	// Cache is how long it is remembered that an object is theirs, from before the world was asked; 0 remembers none.
	Cache time.Duration
	// CacheDenials is how long anything else is remembered; 0 remembers none, and more than a second is a second: who has just been given
	// an object must not be told for long that it is not theirs.
	CacheDenials time.Duration
	// CacheBytes bounds the memory of what is remembered, estimated from above; 0 is 16 MiB.
	CacheBytes int64
	// MaxWaiting bounds the questions that wait for the world at once, each with all its callers; 0 is 256. One more is refused at once.
	MaxWaiting int
	Breaker    Breaker
	// Now is the time; nil is time.Now. Only differences matter.
	Now func() time.Time
	// Metrics counts; nil counts nothing.
	Metrics *Metrics
}

// Breaker says when a world is left alone. Its pauses go by the machine's clock.
type Breaker struct {
	// Failures in a row open it; 0 is 5.
	Failures int
	// Pause is how long nobody asks; then one question is let through to try. 0 is a second.
	Pause time.Duration
}

const (
	defaultTimeout  = 50 * time.Millisecond
	defaultBytes    = 16 << 20
	defaultWaiting  = 256
	defaultFailures = 5
	defaultPause    = time.Second
	longestDenial   = time.Second
)

// Lookup is a backend with all that backends share. It is safe for concurrent use.
type Lookup struct {
	backend Backend
	o       Options
	epoch   time.Time
	memory  *otter.Cache[key, remembered] // nil where nothing is remembered
	flights singleflight.Group
	slots   chan struct{}
	breaker *gobreaker.CircuitBreaker[[]authz.Standing]
	meters  *meters
}

var _ authz.Lookup = (*Lookup)(nil)

// New makes a lookup. It asks nobody and starts nothing.
func New(b Backend, o Options) *Lookup {
	o = o.withDefaults()
	l := &Lookup{backend: b, o: o, epoch: o.Now(), slots: make(chan struct{}, o.MaxWaiting), meters: o.Metrics.of(o.Name)}
	if o.Cache > 0 || o.CacheDenials > 0 {
		l.memory = newMemory(o.CacheBytes)
	}
	l.breaker = gobreaker.NewCircuitBreaker[[]authz.Standing](gobreaker.Settings{
		Timeout:     o.Breaker.Pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= o.Breaker.Failures },
		// An answer that cannot be read is an answer: the world is there.
		IsSuccessful: func(err error) bool { return err == nil || errors.Is(err, authz.ErrLookupAnswer) },
		// How long a list is, its caller chooses: one that took too long says nothing about the world.
		IsExcluded:    func(err error) bool { return errors.Is(err, errLong) },
		OnStateChange: func(_ string, _, to gobreaker.State) { l.meters.breaker(to != gobreaker.StateClosed) },
	})
	return l
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultBytes
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = defaultWaiting
	}
	if o.Breaker.Failures <= 0 {
		o.Breaker.Failures = defaultFailures
	}
	if o.Breaker.Pause <= 0 {
		o.Breaker.Pause = defaultPause
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.CacheDenials = min(o.CacheDenials, longestDenial)
	return o
}

// Ask is [authz.Lookup.Ask]. What is remembered costs no trip and no allocation; the rest of a batch is asked in one question. Callers who
// want the same at the same time share one question to the world, which none of them can end by leaving. An error is [authz.ErrLookupAnswer]
// or [authz.ErrLookupUnavailable], never both; the latter is also what ended the caller's own context, if that did.
func (l *Lookup) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	if why := unaskable(q, answers); why != "" {
		clear(answers)
		l.meters.count(outcomeAnswer)
		return fmt.Errorf("owner: ask %s: %w: %s", l.o.Name, authz.ErrLookupAnswer, why)
	}
	missing := l.recall(q, answers)
	l.meters.recalled(len(q.Objects)-missing, missing)
	if missing == 0 {
		l.meters.count(outcomeRemembered)
		return nil
	}
	err := l.fetch(ctx, q, answers, missing)
	l.meters.count(outcomeOf(err))
	if err != nil {
		clear(answers)
		return fmt.Errorf("owner: ask %s: %w", l.o.Name, err)
	}
	return nil
}

// unaskable says why a question is none. Nobody is nobody's owner, and no key may lack a part.
func unaskable(q *authz.Question, answers []authz.Standing) string {
	switch {
	case len(answers) != len(q.Objects):
		return "another number of answers than of objects"
	case q.Subject == "":
		return "no subject"
	}
	for _, object := range q.Objects {
		if object == "" {
			return "an object without an id"
		}
	}
	return ""
}

// Try finds out whether the world is there, where the backend can: nil means that it is, or that only a question will tell. It takes at
// most the lookup's timeout, and does not touch the breaker: a start that finds nobody must not make the first request wait.
func (l *Lookup) Try(ctx context.Context) (err error) {
	prober, ok := l.backend.(Prober)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("owner: try %s: %w: %w: %v", l.o.Name, authz.ErrLookupUnavailable, errPanic, r)
		}
	}()
	if err := prober.Probe(ctx); err != nil {
		return fmt.Errorf("owner: try %s: %w", l.o.Name, classified(err))
	}
	return nil
}

// Judge says how a subject stands to an object of these owners, for backends that learn whose it is. An owner without a name is no
// owner, and equal is what has equal bytes.
func Judge(owners []string, subject string) authz.Standing {
	standing := authz.NotThere
	for _, owner := range owners {
		switch owner {
		case "":
			continue
		case subject:
			return authz.Theirs
		}
		standing = authz.NotTheirs
	}
	return standing
}
