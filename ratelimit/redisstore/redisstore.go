// Package redisstore keeps the counters of rate limits in Redis or Valkey, so that any number of replicas share one budget:
// one script decides a whole batch in one trip, on the server's clock. It is the door to go-redis for rate limits; the client
// comes from outside, ready made.
//
// Fixed windows of one span count in a plain number, under a key of its own for each window. A batch of such charges that count denials
// (the form of envoyproxy/ratelimit, whose hits are spent whatever is decided) needs no script: INCRBY spends, and gives each hit a number
// of its own, so that no more than the limit pass in a window of one number. Whatever else is asked of them, the script decides on
// the same number. The windows are numbered by the server's clock, as this process knows it from TIME: asked anew every ten seconds, and wrong
// by half of that trip, and what two clocks part in between. Replicas that disagree by so much spend from two neighbouring windows for so long,
// of which each holds its limit.
//
// The bound of the limits holds while one primary keeps what it has acknowledged. A failover may lose the last writes, and lets
// as many hits pass again; so does a server that evicts. Both are noticed: see [Store.LostCounters] and [Store.Probe].
package redisstore

import (
	"context"
	_ "embed"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// DefaultKeyPrefix stands before every key unless told otherwise. Its number changes with the meaning of the keys.
const DefaultKeyPrefix = "sp1:"

//go:embed spend.lua
var source string

var sourceHash = redis.NewScript(source).Hash()

// Client is what the store needs of go-redis; every [redis.UniversalClient] is one.
type Client interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// Options configure a [Store]; the zero value is usable.
type Options struct {
	// KeyPrefix stands before every key; empty means DefaultKeyPrefix. Services that share a server and a prefix share
	// counters.
	KeyPrefix string
}

// Store is a [ratelimit.Store] on a server, or on a cluster of them. It is safe for concurrent use.
//
// On a cluster a batch is decided on one server, by a script that has the keys of one slot: [Store.Slot] says which that is, and
// [ratelimit.Spread] takes batches of several apart. A key prefix with a hash tag, such as {limits}:, puts all counters into one slot: then
// every batch is decided as one, and one server bears it all.
type Store struct {
	client  Client
	cluster *redis.ClusterClient // client, if it is one
	// together sends commands to one server in company; nil for a cluster, where a trip would wait for the slowest node.
	together *coalescer
	prefix   string
	slots    slotter

	start      time.Time
	clocks     [Slots / laneSlots]serverClock // of the servers of the lanes of slots; the first alone where there is one server
	clockSteps atomic.Uint64
	recent     *recent
	lost       ledger

	// clockForTest, if set, decides instead of the server's clock.
	clockForTest func() int64
}

var (
	_ ratelimit.Store     = (*Store)(nil)
	_ ratelimit.Forgetter = (*Store)(nil)
)

// New makes a store that uses a client, which stays the caller's to close. It does not dial. It refuses a client that would
// break the promises of the store: go-redis ignores the deadlines of contexts unless ContextTimeoutEnabled is set, and a ring
// decides by itself which of its servers has a key.
func New(client Client, o Options) (*Store, error) {
	s := &Store{client: client, prefix: o.KeyPrefix, start: time.Now(), recent: newRecent()}
	if s.prefix == "" {
		s.prefix = DefaultKeyPrefix
	}
	obeys := true
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisstore: no client")
	case *redis.Ring:
		return nil, errors.New("redisstore: ring clients are not supported: what a ring loses with a server, it hands out anew")
	case *redis.Client:
		obeys = c.Options().ContextTimeoutEnabled
		s.together = &coalescer{client: c, patience: patience}
	case *redis.ClusterClient:
		obeys, s.cluster = c.Options().ContextTimeoutEnabled, c
	}
	if !obeys {
		return nil, errors.New("redisstore: the client ignores deadlines: set ContextTimeoutEnabled")
	}
	if s.cluster == nil {
		return s, nil
	}
	slots, err := newSlotter(s.prefix)
	if err != nil {
		return nil, err
	}
	s.slots = slots
	tagsOfSlots() // made at start and not for a request
	return s, nil
}

// Slot is the slot of a counter in a cluster; zero without one, where everything is in one place.
func (s *Store) Slot(key string) int {
	if s.cluster == nil {
		return 0
	}
	return s.slots.slot(key)
}

// KeyIn is a key in a slot, of no limit: for a [ratelimit.Breaker] that tries the server which has the slot. With a hash tag in the prefix,
// every key is in one slot whatever is asked.
func (s *Store) KeyIn(slot int) string { return "!{" + tagsOfSlots()[slot%Slots] + "}probe" }

// Clustered says whether the store is a cluster, so that a batch may be of several slots.
func (s *Store) Clustered() bool { return s.cluster != nil }

// ClockSteps is how many batches found a counter that had seen a later time, or an earlier answer to TIME: the server's clock has
// stepped back, or a server whose clock is behind has taken over.
func (s *Store) ClockSteps() uint64 { return s.clockSteps.Load() }

// LostCounters is how many counters were found missing although the server had acknowledged them so lately that it should have
// them still: it was emptied, it evicts, or a failover lost writes. A sample of the latest counters is watched, not all; plain ones only by
// what is spent from them.
func (s *Store) LostCounters() uint64 { return s.lost.missed.Load() }

// Spend implements [ratelimit.Store]. The batch is one script on one server, or plain commands in one trip; what may have run is never sent
// twice, since a lost answer does not tell whether it did.
func (s *Store) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	answer, err := s.spend(ctx, batch)
	if err != nil || answer == nil {
		return nil, err
	}
	return answer.outcomes, nil
}

// spend decides a batch; there is no answer for an empty one.
func (s *Store) spend(ctx context.Context, batch []ratelimit.Charge) (*answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: err}
	}
	if err := ratelimit.ValidateBatch(batch); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return nil, nil
	}
	targets, now, err := s.aim(ctx, batch)
	if err != nil {
		return nil, err
	}
	if s.isFast(batch, targets) {
		return s.spendPlain(ctx, batch, targets, now)
	}
	a, err := s.spendScript(ctx, batch, targets)
	if err != nil {
		return nil, err
	}
	for i := range batch {
		t, f := &targets[i], a.fates[i]
		seen := sighting{key: t.key, from: a.now, to: a.now, fate: f}
		switch {
		case t.plain && f&written != 0:
			s.recent.note(t.counter, t.cell)
			seen.life = t.end() - a.now
		case f&written != 0:
			seen.life = lifetime(batch[i])
		}
		s.lost.note(seen)
	}
	return a, nil
}

// spendScript decides a batch by the script.
func (s *Store) spendScript(ctx context.Context, batch []ratelimit.Charge, targets []target) (*answer, error) {
	reply, err := s.run(ctx, s.arguments(batch, targets))
	if err != nil {
		return nil, classified(err)
	}
	a, err := readAnswer(reply, batch, targets)
	if err != nil {
		return nil, &ratelimit.StoreError{Class: ratelimit.StoreOther, Err: err}
	}
	if a.stepped {
		s.clockSteps.Add(1)
	}
	return a, nil
}

// Forget implements [ratelimit.Forgetter].
func (s *Store) Forget(ctx context.Context, batch []ratelimit.Charge) error {
	for i := range batch {
		if err := s.forget(ctx, &batch[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) forget(ctx context.Context, c *ratelimit.Charge) error {
	keys := []string{s.prefix + c.Key}
	if c.Ask().Lone() {
		now, err := s.now(ctx, c.Key)
		if err != nil {
			return err
		}
		t := s.plainTarget(c, now)
		keys = append(keys, t.key)
		defer s.recent.forget(t.counter)
	}
	words := []any{"del"}
	for _, key := range keys {
		words = append(words, key)
	}
	// Deleting twice is deleting once, but the same rule holds for every command here: nothing is sent twice.
	cmd := onceCmd{redis.NewCmd(ctx, words...)}
	if err := s.client.Process(ctx, cmd); err != nil {
		return classified(err)
	}
	for _, key := range keys {
		s.lost.forget(key)
	}
	return nil
}

// arguments are those of EVALSHA for a batch. What a client sent stands in keys only, and nothing but numbers in arguments.
func (s *Store) arguments(batch []ratelimit.Charge, targets []target) []any {
	args := make([]any, 0, 4+2*len(batch))
	args = append(args, "evalsha", sourceHash, len(batch))
	for i := range targets {
		args = append(args, targets[i].key)
	}
	clock := ""
	if s.clockForTest != nil {
		clock = strconv.FormatInt(s.clockForTest(), 10)
	}
	args = append(args, clock)
	for i := range batch {
		args = append(args, appendCharge(nil, &batch[i], &targets[i]))
	}
	return args
}

// run sends the script by its hash, and by its text where the server does not know it: then, and only then, it is known not to
// have run.
func (s *Store) run(ctx context.Context, args []any) (any, error) {
	reply, err := s.once(ctx, args)
	if err == nil || !isNoScript(err) {
		return reply, err
	}
	args[0], args[1] = "eval", source
	return s.once(ctx, args)
}

func (s *Store) once(ctx context.Context, args []any) (any, error) {
	cmd := onceCmd{redis.NewCmd(ctx, args...)}
	if err := s.send(ctx, cmd); err != nil {
		return nil, err
	}
	reply, err := cmd.Result()
	if err != nil {
		s.lookAround(ctx, err)
		return nil, err
	}
	return reply, nil
}

// send sends commands to the one server, in one trip; to a cluster a single one. Each command has its own error; one that is returned says
// that nobody waits for their answers any more.
func (s *Store) send(ctx context.Context, cmds ...redis.Cmder) error {
	if s.together != nil {
		return s.together.process(ctx, cmds)
	}
	_ = s.client.Process(ctx, cmds[0]) // the command has its error
	return nil
}

// lookAround has the map of a cluster drawn anew, beside the requests, when a server does not do what it should: another may have taken its
// place, and go-redis, told not to send again, would go on asking this one until its map is old.
func (s *Store) lookAround(ctx context.Context, err error) {
	if isNoScript(err) {
		return
	}
	switch classOf(err) {
	case ratelimit.StoreOther, ratelimit.StoreOOM:
		return
	case ratelimit.StoreReadOnly, ratelimit.StoreRefused, ratelimit.StoreLoading:
		for i := range s.clocks {
			s.clocks[i].forget() // the next server has another
		}
	}
	if s.cluster != nil {
		s.cluster.ReloadState(ctx)
	}
}

// onceCmd is a command that go-redis does not send again, whatever the client's retries are set to: a script whose answer was
// lost may have run. A cluster's client still follows MOVED and ASK, and asks again after READONLY: those servers have written nothing.
type onceCmd struct{ *redis.Cmd }

// NoRetry implements [redis.Cmder].
func (onceCmd) NoRetry() bool { return true }

func isNoScript(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "NOSCRIPT")
}
