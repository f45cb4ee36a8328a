package owner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sony/gobreaker/v2"

	"github.com/sallyport-dev/sallyport/authz"
)

var (
	errFull  = errors.New("too many questions wait")
	errPanic = errors.New("the backend panicked")
	errLong  = errors.New("a long list was not answered in time")
)

// fewObjects is how many objects a backend that is well answers in time, one by one if it must.
const fewObjects = 8

// fetch asks the world for what is missing among the answers, or joins those who are asking just that.
func (l *Lookup) fetch(ctx context.Context, q *authz.Question, answers []authz.Standing, missing int) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout) // also for a backend that forgets its own deadline
	defer cancel()
	if ctx.Err() != nil {
		return unavailable(ctx.Err())
	}
	name, asked := flightOf(q, answers, missing)
	select {
	case landed := <-l.flights.DoChan(name, func() (any, error) { return l.fly(asked) }):
		if landed.Err != nil {
			return landed.Err
		}
		return fill(answers, landed.Val)
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// fill puts what a flight brought where answers are missing.
func fill(answers []authz.Standing, brought any) error {
	standings, _ := brought.([]authz.Standing)
	for i := range answers {
		if answers[i] != authz.StandingUnknown {
			continue
		}
		if len(standings) == 0 {
			return fmt.Errorf("%w: an answer is missing", authz.ErrLookupAnswer)
		}
		answers[i], standings = standings[0], standings[1:]
	}
	return nil
}

// flightOf is the question about the missing objects, and the name under which others can join it. The name holds every part of the
// question behind its length, so two questions never have one name. The question's texts are parts of the name: nothing of the request
// that began the flight is read after that request has left.
func flightOf(q *authz.Question, answers []authz.Standing, missing int) (name string, asked *authz.Question) {
	parts := append(make([]string, 0, 4+missing), q.Tenant, q.Issuer, q.Subject, q.Relation)
	for i, object := range q.Objects {
		if answers[i] == authz.StandingUnknown {
			parts = append(parts, object)
		}
	}
	const head = 4 // bytes of a length
	size := 1
	for _, part := range parts {
		size += head + len(part)
	}
	text := append(make([]byte, 0, size), byte(q.Kind))
	for _, part := range parts {
		text = append(binary.BigEndian.AppendUint32(text, uint32(len(part))), part...) // a request is far smaller than 4 GiB
	}
	name = string(text)
	end := 1
	for i, part := range parts {
		end += head + len(part)
		parts[i] = name[end-len(part) : end]
	}
	return name, &authz.Question{Tenant: parts[0], Issuer: parts[1], Kind: q.Kind, Subject: parts[2], Relation: parts[3], Objects: parts[4:]}
}

// fly puts one question to the world, for all who want to know. It lets no panic out, which on this goroutine would end the process.
func (l *Lookup) fly(q *authz.Question) ([]authz.Standing, error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return nil, unavailable(errFull)
	}
	asked := l.elapsed()
	standings, err := l.breaker.Execute(func() ([]authz.Standing, error) { return l.put(q) })
	switch {
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return nil, unavailable(err)
	case err != nil:
		return nil, err
	}
	l.remember(q, standings, asked)
	return standings, nil
}

// put asks the backend in a context that no caller's leaving ends, and in which nothing of a caller stands: an answer may depend on the
// question alone.
func (l *Lookup) put(q *authz.Question) (standings []authz.Standing, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.o.Timeout)
	defer cancel()
	begun := l.o.Now()
	defer func() {
		l.meters.took(l.o.Now().Sub(begun))
		if r := recover(); r != nil { // it was this question that the backend could not take: no reason to refuse others
			standings, err = nil, fmt.Errorf("%w: %w: %v", authz.ErrLookupAnswer, errPanic, r)
		}
	}()
	standings = make([]authz.Standing, len(q.Objects))
	if err := l.backend.Ask(ctx, q, standings); err != nil {
		if ctx.Err() != nil && len(q.Objects) > fewObjects {
			return nil, unavailable(errLong)
		}
		return nil, classified(err)
	}
	for _, standing := range standings {
		if standing < authz.NotThere || standing > authz.Theirs {
			return nil, fmt.Errorf("%w: nothing is said about an object that was asked for", authz.ErrLookupAnswer)
		}
	}
	return standings, nil
}

// classified makes an error exactly one of the two that callers know. Where some of a batch could not be asked, the outage counts.
func classified(err error) error {
	switch outage := errors.Is(err, authz.ErrLookupUnavailable); {
	case !errors.Is(err, authz.ErrLookupAnswer) && !outage:
		return unavailable(err)
	case outage && errors.Is(err, authz.ErrLookupAnswer):
		return fmt.Errorf("%w: %s", authz.ErrLookupUnavailable, err.Error()) // not wrapped: it is one of the two, never both
	}
	return err
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", authz.ErrLookupUnavailable, err) }
