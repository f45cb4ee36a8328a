package jwks

import (
	"crypto"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const (
	defaultInterval = 5 * time.Minute
	defaultCooldown = 30 * time.Second
	defaultTimeout  = 5 * time.Second
	defaultMaxStale = 24 * time.Hour
)

// Options tune a Set. The zero value is what production uses.
type Options struct {
	// Interval is the time between refreshes where the answer's Cache-Control does not say; 0 is five minutes. Cache-Control is
	// followed between five seconds and an hour.
	Interval time.Duration
	// Cooldown is the least time between two refreshes that unknown kids ask for; 0 is 30 seconds.
	Cooldown time.Duration
	// Timeout bounds one attempt, connecting and reading included; 0 is five seconds.
	Timeout time.Duration
	// MaxStale is how long the last good set serves while the source is away; 0 is 24 hours.
	MaxStale time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Observe, if set, is told of every finished attempt, on the goroutine that made it.
	Observe func(Attempt)
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&o.Interval, defaultInterval}, {&o.Cooldown, defaultCooldown}, {&o.Timeout, defaultTimeout}, {&o.MaxStale, defaultMaxStale}} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Attempt is the outcome of one refresh.
type Attempt struct {
	// Err is nil if the source answered with a good set, or that it has not changed. It is written for the operator.
	Err error
	// Changed says that the set's material is another than before.
	Changed bool
	// Added and Removed are the kids that came and went where Changed is true, in order. A key without one shows in neither.
	Added, Removed []string
	// Keys, Refused and Skipped count the keys of the set in service, as in Stats.
	Keys, Refused, Skipped int
	// Refusals say why keys were refused, at most eight of them, with their kids quoted.
	Refusals []string
}

// Stats is what a Set has seen so far.
type Stats struct {
	// Fetched is when the source last confirmed the set in service; zero if it never did.
	Fetched time.Time
	// Keys can be used, Refused are malformed, weak, symmetric or private, and Skipped are meant for another purpose or of a kind that
	// is not known here. Together they are the set in service.
	Keys, Refused, Skipped int
	// Attempts and Failures count since the start; Streak counts the failures since the last success.
	Attempts, Failures, Streak uint64
	// Generation is that of the set in service; 0 if there is none.
	Generation uint64
}

// Set is one issuer's keys. It implements [authz.Keys] and is safe for concurrent use.
type Set struct {
	source policy.KeySource
	issuer string
	opt    Options
	// resolver is nil for the system's; a test stands a hostile one in its place.
	resolver *net.Resolver

	// current is the set in service; nil until the first one came. Replaced whole, so that readers need no lock.
	current atomic.Pointer[published]
	// wake asks Run for a refresh now.
	wake chan struct{}
	// turn admits one attempt at a time.
	turn chan struct{}
	// origin is what the attempts remember of the source; guarded by turn.
	origin origin

	mu sync.Mutex
	// busy: a refresh is under way. Guarded by mu, like all below.
	busy    bool
	ended   time.Time // when the last attempt ended, well or not
	due     time.Time // when Run makes the next
	lastErr error     // of the last attempt
	stats   Stats     // Attempts, Failures and Streak only
}

// published is a key set and when its source last confirmed it.
type published struct {
	keys    *keySet
	fetched time.Time
}

var _ authz.Keys = (*Set)(nil)

// New makes the key set of the issuer whose `iss` is issuerURL (used for discovery, byte for byte). It fetches nothing: call Try for a
// first attempt and Run for the rest.
func New(source policy.KeySource, issuerURL string, opt Options) *Set {
	return &Set{
		source: source,
		issuer: issuerURL,
		opt:    opt.withDefaults(),
		wake:   make(chan struct{}, 1),
		turn:   make(chan struct{}, 1),
	}
}

// Key implements [authz.Keys] from memory. An unknown kid makes Run refresh the set, once per cooldown however many ask: until that
// refresh has ended the answer is [authz.ErrKeysUnavailable], so that a rotation logs nobody out; after it, [authz.ErrUnknownKey] at once.
func (s *Set) Key(kid, alg string, now time.Time) (crypto.PublicKey, uint64, error) {
	p := s.current.Load()
	if p == nil || now.Sub(p.fetched) > s.opt.MaxStale {
		return nil, 0, authz.ErrKeysUnavailable
	}
	switch key, outcome := p.keys.find(kid, alg); outcome {
	case found:
		return key, p.keys.generation, nil
	case unfit:
		return nil, 0, authz.ErrUnknownKey
	default:
		return s.unknown(kid, alg, now)
	}
}

// unknown decides about a kid that the set in service lacks. It looks again under the lock, because a refresh may have ended since.
func (s *Set) unknown(kid, alg string, now time.Time) (crypto.PublicKey, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.current.Load()
	if key, outcome := p.keys.find(kid, alg); outcome == found {
		return key, p.keys.generation, nil
	}
	switch {
	case s.busy:
		return nil, 0, authz.ErrKeysUnavailable
	case within(now, p.fetched, s.opt.Cooldown):
		return nil, 0, authz.ErrUnknownKey
	case within(now, s.ended, s.opt.Cooldown):
		// The last attempt failed, so it did not show that the key does not exist. Run tries again by itself.
		return nil, 0, authz.ErrKeysUnavailable
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return nil, 0, authz.ErrKeysUnavailable
}

// within reports whether two instants are less than d apart. A clock that was set back must not silence refreshes for hours.
func within(now, then time.Time, d time.Duration) bool {
	return now.Sub(then).Abs() < d
}

// Stats is a snapshot for metrics.
func (s *Set) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	if p := s.current.Load(); p != nil {
		stats.Fetched, stats.Generation = p.fetched, p.keys.generation
		stats.Keys, stats.Refused, stats.Skipped = p.keys.usable, len(p.keys.refusals), p.keys.skipped
	}
	return stats
}

// Health says in one line how the set is and what to do about it. ok is false if the last attempt failed, none was made, or the keys
// are too old to serve; tokens may nevertheless be verified by the last good set, and the text says so.
func (s *Set) Health() (ok bool, text string) {
	s.mu.Lock()
	err, streak := s.lastErr, s.stats.Streak
	s.mu.Unlock()
	p, now := s.current.Load(), s.opt.Now()
	switch {
	case p == nil && err == nil:
		return false, "no keys yet: not asked"
	case p == nil:
		return false, fmt.Sprintf("no keys: tokens of this issuer are answered 503; %d attempts failed, the last: %v", streak, err)
	}
	age := now.Sub(p.fetched).Round(time.Second)
	switch {
	case age > s.opt.MaxStale:
		return false, fmt.Sprintf("keys are %s old, older than max_stale %s: tokens of this issuer are answered 503; the last attempt: %v", age, s.opt.MaxStale, err)
	case err != nil:
		return false, fmt.Sprintf("serving %d keys that are %s old; %d attempts failed since, the last: %v", p.keys.usable, age, streak, err)
	}
	return true, fmt.Sprintf("%d keys, confirmed %s ago%s", p.keys.usable, age, p.keys.remarks())
}
