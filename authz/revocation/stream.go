package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// What zero fields of [StreamOptions] mean.
const (
	// DefaultKeyPrefix stands before the stream's key. Its number changes with the meaning of the entries.
	DefaultKeyPrefix = "sp1:"
	// DefaultBlock is how long one look at the stream waits for news.
	DefaultBlock = 250 * time.Millisecond
	// DefaultTimeout bounds every other command, and what a look may take beyond its wait.
	DefaultTimeout = time.Second
)

// How a Stream behaves while its server does not.
const (
	firstPause = 20 * time.Millisecond
	longPause  = 500 * time.Millisecond
	// settle is the longest time that a replica waits for others to write again what a server has lost.
	settle = 200 * time.Millisecond
	// sweepEvery is how often expired entries are forgotten, and the server's settings are looked at again.
	sweepEvery = time.Minute
)

// Server is what a Stream needs of go-redis; every [redis.UniversalClient] of one server is one.
type Server interface {
	Process(ctx context.Context, cmd redis.Cmder) error
	Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error)
	XRead(ctx context.Context, a *redis.XReadArgs) *redis.XStreamSliceCmd
	XRange(ctx context.Context, stream, start, stop string) *redis.XMessageSliceCmd
	XInfoStream(ctx context.Context, key string) *redis.XInfoStreamCmd
}

// StreamOptions configure a [Stream]; the zero value is usable.
type StreamOptions struct {
	// KeyPrefix stands before the key "revocations"; empty means DefaultKeyPrefix. Replicas that share a server and a prefix
	// share revocations.
	KeyPrefix string
	// Leeway is [NewView]'s.
	Leeway func(iss string) time.Duration
	// Block is how long one look waits for news, in whole milliseconds: as old is a healthy view at least. Zero means
	// DefaultBlock.
	Block time.Duration
	// Timeout bounds a command that waits for nothing. Zero means DefaultTimeout.
	Timeout time.Duration
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Stream is a [Store] in one stream of a Redis or Valkey server, followed by every replica. It is safe for concurrent use.
//
// A reconnect misses nothing, since a follower reads on from the last entry it had. A server that has lost entries (it restarted
// empty, or a failover lost the last writes) gets them back from any replica that still knows them. The view is fresh only as
// long as the server is a primary, evicts nothing and holds every entry that the view holds. The user of the server needs the
// commands info, xinfo, xread, xrange, xadd and xtrim.
type Stream struct {
	client  Server
	key     string
	block   time.Duration
	timeout time.Duration
	now     func() time.Time
	view    *View
	status  status

	// serverTime is the server's clock when its settings were last seen, in Unix milliseconds; 0 where it does not say.
	serverTime atomic.Int64
	// unwritten says that a Revoke does not know whether the server has its entry.
	unwritten  atomic.Bool
	reasserted atomic.Uint64
	failures   atomic.Uint64
	ledger     ledger

	// The rest belongs to Run.
	last    streamID
	broken  map[string]error // entries on the server that nobody could read, by their id
	checked time.Time        // when the server's settings were last seen to be good
}

// NewStream makes a store that uses a client, which stays the caller's to close. It does not dial. It refuses a client that
// ignores deadlines (go-redis does, unless ContextTimeoutEnabled is set), or that spreads keys over servers.
func NewStream(client Server, o StreamOptions) (*Stream, error) {
	switch c := client.(type) {
	case nil:
		return nil, errors.New("revocation: no client")
	case *redis.ClusterClient, *redis.Ring:
		return nil, errors.New("revocation: cluster and ring clients are not supported: revocations live on one server")
	case *redis.Client:
		if !c.Options().ContextTimeoutEnabled {
			return nil, errors.New("revocation: the client ignores deadlines: set ContextTimeoutEnabled")
		}
	}
	s := &Stream{
		client: client, key: o.KeyPrefix, block: o.Block.Truncate(time.Millisecond), timeout: o.Timeout, now: o.Now,
		view: NewView(o.Leeway), broken: map[string]error{},
	}
	if s.key == "" {
		s.key = DefaultKeyPrefix
	}
	s.key += "revocations"
	if s.block <= 0 { // zero would wait for ever
		s.block = DefaultBlock
	}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s, nil
}

// View implements [Store].
func (s *Stream) View() *View { return s.view }

// Health implements [Store].
func (s *Stream) Health() (ok bool, text string) { return s.status.tell(s.view, s.now()) }

// Reasserted counts the entries that were written again because the server had lost them.
func (s *Stream) Reasserted() uint64 { return s.reasserted.Load() }

// Failures counts the looks at the server that failed.
func (s *Stream) Failures() uint64 { return s.failures.Load() }

// Probe asks the server once whether it is fit to hold revocations. An error says in words for an operator why not: it does not
// answer, evicts, takes no writes, or its key holds something else.
func (s *Stream) Probe(ctx context.Context) error {
	if err := s.fit(ctx); err != nil {
		return s.explain(err)
	}
	if _, err := s.look(ctx); err != nil {
		return s.explain(err)
	}
	return nil
}

// Revoke implements [Store]. It is one command, never sent twice: a lost answer does not tell whether it ran. Whatever became of
// it, Run sees to it that the server has the entry in the end, as long as this process lives.
func (s *Stream) Revoke(ctx context.Context, e Entry) error {
	now := s.now()
	if err := e.mayWrite(now); err != nil {
		return err
	}
	err := s.add(ctx, e, s.ledger.trimBefore(s.trimTime(now)))
	if err != nil {
		s.view.Apply(now, e)
		s.unwritten.Store(true)
		return fmt.Errorf("%w (it holds in this replica, and is written when the server is back)", s.explain(err))
	}
	s.view.Apply(now, e)
	return nil
}

// trimTime is the earlier of this replica's clock and the server's: a clock that runs ahead must not trim what is in force.
func (s *Stream) trimTime(now time.Time) time.Time {
	if server := time.UnixMilli(s.serverTime.Load()); server.UnixMilli() > 0 && server.Before(now) {
		return server
	}
	return now
}

// errMoved says that the server is not, or not in the state, that the view was last compared with.
var errMoved = errors.New("the server has changed")

// Run implements [Store].
func (s *Stream) Run(ctx context.Context) error {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		good, err := s.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if good {
			pause = 0
		}
		if !errors.Is(err, errMoved) {
			s.failures.Add(1)
			s.status.note(s.explain(err))
		}
		pause = min(max(2*pause, firstPause), longPause)
		wait(ctx, pause/2+jitter(pause/2))
	}
	return nil
}

// follow reads all that the server has, gives back what it has lost, and then reads on until something fails; good says that it
// came as far as reading on.
func (s *Stream) follow(ctx context.Context) (good bool, err error) {
	who, err := s.catchUp(ctx)
	if err != nil {
		return false, err
	}
	for block := time.Duration(-1); ; block = s.block {
		at := s.now()
		n, err := s.read(ctx, block, nil)
		if err != nil {
			return good, err
		}
		if err := s.compare(ctx, who); err != nil {
			return good, err
		}
		good = true
		if n == page {
			continue // there may be more
		}
		err = s.readable(ctx)
		if err == nil {
			s.view.Fresh(at)
		}
		s.status.note(err)
	}
}

// compare holds the server to what the view knows: the same server as before, a primary that evicts nothing and has not lost
// what it had. What it cannot see is an old primary that a failover has left behind unaware; min-replicas-to-write on the server
// makes such a one refuse to lie.
func (s *Stream) compare(ctx context.Context, who string) error {
	now := s.now()
	if s.view.rewound(now) {
		return errMoved
	}
	if now.Sub(s.checked) >= sweepEvery || s.checked.After(now) {
		if err := s.fit(ctx); err != nil {
			return err
		}
		s.view.Sweep(now)
		s.checked = now
	}
	held := s.view.Len() // before looking: what is revoked meanwhile reaches the server first
	found, err := s.look(ctx)
	if err == nil && found.length < int64(held) {
		s.view.Sweep(now)
		held = s.view.Len()
		found, err = s.look(ctx)
	}
	switch {
	case err != nil:
		return err
	case found.who != who, found.last.before(s.last), found.length < int64(held), s.unwritten.Load(), s.ledger.lost(found, s.last, now):
		return errMoved
	}
	return nil
}

// catchUp reads the stream from its beginning and writes again whatever the view holds and the server does not.
func (s *Stream) catchUp(ctx context.Context) (who string, err error) {
	if err := s.fit(ctx); err != nil {
		return "", err
	}
	s.checked = s.now()
	found, err := s.look(ctx)
	if err != nil {
		return "", err
	}
	s.unwritten.Store(false)
	s.last, s.broken = streamID{}, map[string]error{}
	s.ledger.reset()
	held := map[key]mark{}
	if err := s.readAll(ctx, held); err != nil {
		return "", err
	}
	if len(s.missing(held)) > 0 {
		// The other replicas notice at the same time; one that comes later need not write what another has written.
		wait(ctx, jitter(settle))
		if err := s.readAll(ctx, held); err != nil {
			return "", err
		}
	}
	return found.who, s.reassert(ctx, s.missing(held))
}

// missing are the entries in force that the server does not hold.
func (s *Stream) missing(held map[key]mark) []Entry {
	var lost []Entry
	for k, got := range s.view.entries(s.now()) {
		if server := held[k]; server.merge(got) != server {
			lost = append(lost, k.entry(got))
		}
	}
	return lost
}

// readAll reads on to the end of the stream.
func (s *Stream) readAll(ctx context.Context, held map[key]mark) error {
	for {
		n, err := s.read(ctx, -1, held)
		if err != nil || n < page {
			return err
		}
	}
}

// read applies the next entries, up to a page, and returns how many there were. block is how long it waits for the first,
// negative for not at all. What it read is also noted in held, if there is one.
func (s *Stream) read(ctx context.Context, block time.Duration, held map[key]mark) (int, error) {
	messages, err := s.next(ctx, block)
	if err != nil {
		return 0, err
	}
	entries := make([]Entry, 0, len(messages))
	for _, m := range messages {
		id, err := parseStreamID(m.ID)
		if err != nil {
			return 0, err
		}
		s.last = id
		e, err := decodeMessage(m)
		if err != nil {
			s.broken[m.ID] = err
			s.ledger.note(id, forEver)
			continue
		}
		k, got := e.mark()
		if held != nil {
			held[k] = held[k].merge(got)
		}
		s.ledger.note(id, got.until)
		entries = append(entries, e)
	}
	s.view.Apply(s.now(), entries...)
	return len(messages), nil
}

// readable says which entry on the server nobody could read, if there is one: it may be a revocation, so the view is not fresh
// until the entry is gone.
func (s *Stream) readable(ctx context.Context) error {
	for id, cause := range s.broken {
		there, err := s.exists(ctx, id)
		if err != nil {
			return s.explain(err)
		}
		if there {
			return fmt.Errorf("entry %s of %s cannot be read (%w): if no newer version wrote it, remove it with XDEL", id, s.key, cause)
		}
		delete(s.broken, id)
	}
	return nil
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func jitter(most time.Duration) time.Duration {
	return rand.N(most + 1) //nolint:gosec // G404: jitter keeps replicas apart and hides nothing
}
