package redisstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

const (
	// clockAge is how old an estimate of a server's clock grows before one caller asks for it anew; at twice that age it is not used.
	clockAge = 10 * time.Second
	// clockDrift is how much two clocks part at most, in parts of the time that passes: five times what NTP allows a clock.
	clockDrift = 1.0 / 400
	// laneSlots is how many slots of a cluster share an estimate: neighbours are nearly always on one server.
	laneSlots = 64
)

// serverClock knows what the clock of a server shows, from its answer to TIME and this process's monotonic clock since.
//
// It is wrong by half of the trip of that TIME at most, and by what the two clocks have parted since. Replicas that disagree by so much count
// in different windows for so long at a window's edge, each of which still holds its limit.
type serverClock struct {
	known  atomic.Pointer[estimate]
	asking atomic.Bool
}

// estimate is an answer to TIME. It never changes.
type estimate struct {
	micros int64         // the server's time at the middle of the trip, since the epoch
	at     time.Duration // when that was, since the store was made
	off    time.Duration // half of the trip
	// past says that the server may be another since: it is good for nothing but to see the clock step back.
	past bool
}

// later is the server's time later on, in microseconds since the epoch.
func (e *estimate) later(at time.Duration) int64 { return e.micros + (at - e.at).Microseconds() }

// unsure is how wrong the estimate may be later on.
func (e *estimate) unsure(at time.Duration) time.Duration {
	return e.off + time.Duration(float64(at-e.at)*clockDrift) + time.Millisecond
}

// set takes in a newer estimate, and says whether the server's clock has stepped back, by more than both may be wrong.
func (c *serverClock) set(e *estimate) (stepped bool) {
	old := c.known.Swap(e)
	return old != nil && e.micros < old.later(e.at)-(old.unsure(e.at)+e.off).Microseconds()
}

// forget makes the next caller ask: the server may be another.
func (c *serverClock) forget() {
	if e := c.known.Load(); e != nil && !e.past {
		past := *e
		past.past = true
		c.known.CompareAndSwap(e, &past)
	}
}

// clockOf is the clock of the server that has a key.
func (s *Store) clockOf(key string) *serverClock { return &s.clocks[s.Slot(key)/laneSlots] }

// now is the time of the server that has a key, in milliseconds since the epoch.
func (s *Store) now(ctx context.Context, key string) (int64, error) {
	if s.clockForTest != nil {
		return s.clockForTest(), nil
	}
	c := s.clockOf(key)
	at := time.Since(s.start)
	e := c.known.Load()
	switch {
	case e == nil || e.past || at-e.at > 2*clockAge:
		fresh, err := s.askTime(ctx, key)
		if err != nil {
			return 0, err
		}
		e = fresh
	case at-e.at > clockAge && c.asking.CompareAndSwap(false, true):
		fresh, err := s.askTime(ctx, key)
		c.asking.Store(false)
		if err != nil {
			return 0, err
		}
		e = fresh
	}
	return e.later(time.Since(s.start)) / 1000, nil
}

// guess is the time of the server that has a key, as far as it is known without asking; now is an earlier answer of [Store.now].
func (s *Store) guess(key string, now int64) int64 {
	if e := s.clockOf(key).known.Load(); e != nil && s.clockForTest == nil {
		return max(now, e.later(time.Since(s.start))/1000)
	}
	return now
}

// askTime asks the server that has a key for its time.
func (s *Store) askTime(ctx context.Context, key string) (*estimate, error) {
	client := s.client
	if s.cluster != nil {
		master, err := s.cluster.MasterForKey(ctx, s.prefix+key)
		if err != nil {
			s.lookAround(ctx, err)
			return nil, classified(err)
		}
		client = master
	}
	cmd := redis.NewTimeCmd(ctx, "time")
	before := time.Since(s.start)
	if err := client.Process(ctx, cmd); err != nil {
		s.lookAround(ctx, err)
		return nil, classified(err)
	}
	after := time.Since(s.start)
	micros := cmd.Val().UnixMicro()
	if micros < 0 || micros/1000 > latestTime {
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreOther, Err: fmt.Errorf("%w: the time is %v", errGarbage, cmd.Val())}
	}
	e := &estimate{micros: micros, at: (before + after) / 2, off: (after - before) / 2}
	if s.clockOf(key).set(e) {
		s.clockSteps.Add(1)
	}
	return e, nil
}
