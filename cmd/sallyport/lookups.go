package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/owner/grpc"
	"github.com/sallyport-dev/sallyport/authz/owner/http"
	"github.com/sallyport-dev/sallyport/authz/owner/openfga"
	"github.com/sallyport-dev/sallyport/authz/owner/redis"
	"github.com/sallyport-dev/sallyport/authz/owner/sql"
	"github.com/sallyport-dev/sallyport/authz/owner/static"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

const (
	// lookupEvery is how often a lookup's backend is tried, so that /readyz tells how it is now.
	lookupEvery = 10 * time.Second
	// lookupGrace is how long the connections of a lookup that a reload dropped are kept for the requests that still use them: longer
	// than any Check may take.
	lookupGrace = 2 * time.Second
)

// lookupDoors are the lookups of the policies in force. A reload keeps those whose settings did not change, with their connections and
// what they remember.
type lookupDoors struct {
	daemon  *daemon.Daemon
	metrics *owner.Metrics
	audit   *audit.Log // nil where it is off

	mu   sync.Mutex
	open map[[32]byte]*lookupDoor
}

// lookupDoor is one lookup, however many policies use it.
type lookupDoor struct {
	name   string
	lookup authz.Lookup
	try    func(context.Context) error // asks whether the backend can be had
	close  func()                      // lets its connections go
	stop   context.CancelFunc          // of the trying; nil until the daemon runs
	users  int
}

func newLookupDoors(d *daemon.Daemon) *lookupDoors {
	return &lookupDoors{daemon: d, metrics: owner.NewMetrics(d.Registry), open: map[[32]byte]*lookupDoor{}}
}

// take opens the lookups of a policy, or says what is wrong with each that cannot be opened, at its place; then none is taken. Nobody
// is asked. What was taken is given back by [lookupDoors.release].
func (l *lookupDoors) take(p *policy.Policy) (authz.Lookups, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lookups := authz.Lookups{}
	fresh := map[[32]byte]*lookupDoor{}
	var errs strictyaml.Errors
	for name, spec := range p.Lookups {
		door := l.open[spec.Digest]
		if door == nil {
			var err error
			if door, err = l.openDoor(spec); err != nil {
				errs = append(errs, cannotOpen(spec, err))
				continue
			}
			fresh[spec.Digest] = door
		}
		lookups[name] = door.lookup
	}
	if len(errs) > 0 {
		for _, door := range fresh {
			door.close() // it was never used
		}
		errs.Sort()
		return nil, errs
	}
	for digest, door := range fresh {
		l.open[digest] = door
	}
	for _, spec := range p.Lookups {
		l.open[spec.Digest].users++
	}
	return lookups, nil
}

// cannotOpen is the complaint about a lookup, at its place.
func cannotOpen(spec *policy.Lookup, err error) *strictyaml.Error {
	return &strictyaml.Error{File: spec.File, Pos: spec.Pos, Msg: fmt.Sprintf("the lookup `%s` cannot be opened: %s", spec.Name, err)}
}

// checkLookups says what would keep a gate from opening the lookups of a policy, whatever files and servers this machine has.
func checkLookups(p *policy.Policy) strictyaml.Errors {
	var errs strictyaml.Errors
	for _, spec := range p.Lookups {
		switch {
		case spec.Static != nil:
		case spec.Redis != nil: // opening it reads its files
			if _, err := redisdial.ParseOne(spec.Redis.URL); err != nil {
				errs = append(errs, cannotOpen(spec, err))
			}
		default:
			_, closer, err := openBackend(spec)
			if err != nil {
				errs = append(errs, cannotOpen(spec, err))
				continue
			}
			_ = closer.Close() // it was never used
		}
	}
	errs.Sort()
	return errs
}

// withLines shows the line that each complaint is about.
func withLines(errs strictyaml.Errors, files []daemon.File) strictyaml.Errors {
	for _, err := range errs {
		for _, file := range files {
			if lines := strings.Split(string(file.Data), "\n"); file.Name == err.File && err.Line == "" && err.Pos.Line >= 1 && err.Pos.Line <= len(lines) {
				err.Line = strings.TrimSuffix(lines[err.Pos.Line-1], "\r")
			}
		}
	}
	return errs
}

// release gives back the lookups of a policy that is no longer in force. Nil is none.
func (l *lookupDoors) release(p *policy.Policy) {
	if p == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, spec := range p.Lookups {
		door := l.open[spec.Digest]
		if door == nil {
			continue
		}
		if door.users--; door.users > 0 {
			continue
		}
		delete(l.open, spec.Digest)
		if door.stop != nil {
			door.stop()
		}
		l.forget(door.name)
		time.AfterFunc(lookupGrace, door.close)
	}
}

// forget takes a name out of status and metrics, unless another version of the lookup has it now.
func (l *lookupDoors) forget(name string) {
	for _, door := range l.open {
		if door.name == name {
			return
		}
	}
	l.daemon.Status.Forget("lookup:" + name)
	l.metrics.Forget(name)
}

// watch tries each lookup that is not tried yet, now and again and again, until ctx or the lookup ends.
func (l *lookupDoors) watch(ctx context.Context, tasks *sync.WaitGroup) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, door := range l.open {
		if door.stop != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		door.stop = stop
		tasks.Go(func() { l.keepTrying(ctx, door) })
	}
}

// expect makes readiness wait for the first trial of each lookup.
func (l *lookupDoors) expect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, door := range l.open {
		l.daemon.Status.Expect("lookup:" + door.name)
	}
}

func (l *lookupDoors) keepTrying(ctx context.Context, door *lookupDoor) {
	part := "lookup:" + door.name
	ticker := time.NewTicker(lookupEvery)
	defer ticker.Stop()
	for well := true; ; {
		trial, cancel := context.WithTimeout(ctx, firstTry)
		err := door.try(trial)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.daemon.Status.Set(part, daemon.Degraded("it cannot be asked, why is in the log; what it would decide is answered with 503"))
			if well {
				l.daemon.Log.Warn("a lookup cannot be asked", "lookup", door.name, "err", err)
				l.audit.Event(storeEvent(part, err.Error(), false))
			}
		} else {
			l.daemon.Status.Set(part, daemon.OK())
			if !well {
				l.daemon.Log.Info("a lookup answers again", "lookup", door.name)
				l.audit.Event(storeEvent(part, "", true))
			}
		}
		well = err == nil
		l.daemon.Status.Tried(part)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// openDoor opens one lookup, without asking it anything. What is written in the policy needs neither a cache nor a breaker.
func (l *lookupDoors) openDoor(spec *policy.Lookup) (*lookupDoor, error) {
	if spec.Static != nil {
		return &lookupDoor{name: spec.Name, lookup: static.New(spec.Static), try: func(context.Context) error { return nil }, close: func() {}}, nil
	}
	backend, closer, err := openBackend(spec)
	if err != nil {
		return nil, err
	}
	lookup := owner.New(backend, owner.Options{
		Name: spec.Name, Timeout: spec.Timeout, Cache: spec.Cache, CacheDenials: spec.CacheDenials, CacheBytes: spec.CacheBytes, Metrics: l.metrics,
	})
	return &lookupDoor{name: spec.Name, lookup: lookup, try: lookup.Try, close: func() { _ = closer.Close() }}, nil
}

// openBackend opens the door to one foreign world, and hands out what closes it.
func openBackend(spec *policy.Lookup) (owner.Backend, io.Closer, error) {
	switch {
	case spec.Redis != nil:
		o, err := redisdial.ParseOne(spec.Redis.URL)
		if err != nil {
			return nil, nil, err
		}
		o.Username, o.PasswordFile, o.CAFile = spec.Redis.Username, spec.Redis.PasswordFile, spec.Redis.CAFile
		o.PoolSize, o.Timeout = spec.Connections, spec.Timeout
		client, err := redisdial.New(o)
		if err != nil {
			return nil, nil, err
		}
		return redis.New(client, spec.Redis), client, nil
	case spec.SQL != nil:
		return closing(sql.New(spec.SQL, sql.Options{Timeout: spec.Timeout, Connections: spec.Connections}))
	case spec.HTTP != nil:
		return closing(http.New(spec.HTTP, spec.Connections))
	case spec.GRPC != nil:
		return closing(grpc.New(spec.GRPC))
	case spec.OpenFGA != nil:
		return closing(openfga.New(spec.OpenFGA, spec.Connections))
	}
	return nil, nil, errors.New("it names no backend")
}

// closing is a backend that closes itself.
func closing[B interface {
	owner.Backend
	io.Closer
}](backend B, err error) (owner.Backend, io.Closer, error) {
	if err != nil {
		return nil, nil, err
	}
	return backend, backend, nil
}
