// Package redis asks Redis, or a server that speaks like it, which application has an API key: the client's name stands under a prefix and the
// key's hash. It is a room of its own because what a reply means, and which of its errors is an outage, is knowledge of that protocol alone.
// It only reads, it sends nothing twice, and the client comes from outside. When a key ends is the server's to know: it has an expiry there,
// which counts as soon as what is remembered of the key is forgotten.
package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/sync/singleflight"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
)

// What is remembered of an answer, and for how long. A key that was taken back is taken for as long as it was remembered, and one that was
// just made is refused for as long as it was not there.
const (
	rememberClient = 5 * time.Second
	rememberNobody = time.Second
	maxRemembered  = 10_000 // keys, some 150 bytes each
)

// When a server is left alone: after so many failures in a row, for so long, and then one question tries it.
const (
	failuresInARow = 5
	pause          = time.Second
)

var errPanic = errors.New("clientkey/redis: the client panicked")

// Store is safe for concurrent use. It remembers what it was told for a few seconds, asks one question for all who wait for it, and answers at
// once that it cannot know while its server is away.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
	memory  *otter.Cache[clientkey.Hash, answer]
	flights singleflight.Group
	breaker *gobreaker.CircuitBreaker[string]
}

// answer is what was told of a key, and the instants between which it holds.
type answer struct {
	client       string
	asked, until time.Time
}

var _ authz.ClientKeys = (*Store)(nil)

// New makes a store of a client whose owner closes it. The client must not retry, and must end what it does with the context's deadline. One
// question takes timeout at most. New asks nobody.
func New(client redis.UniversalClient, prefix string, timeout time.Duration) *Store {
	return &Store{
		client: client, prefix: prefix, timeout: timeout,
		memory: otter.Must(&otter.Options[clientkey.Hash, answer]{
			MaximumSize: maxRemembered,
			Executor:    func(task func()) { task() }, // housekeeping is short, and the request path starts no goroutine for it
		}),
		breaker: gobreaker.NewCircuitBreaker[string](gobreaker.Settings{
			Timeout:     pause,
			ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresInARow },
			// A reply is a reply, whatever it says: one record that cannot be read is no outage of the others.
			IsSuccessful: func(err error) bool {
				return err == nil || redis.HasErrorPrefix(err, "WRONGTYPE") || errors.Is(err, errPanic)
			},
		}),
	}
}

// Client implements [authz.ClientKeys]. A key that is not there, or whose value is empty, is nobody's. Errors are not remembered.
func (s *Store) Client(ctx context.Context, key clientkey.Hash, now time.Time) (string, error) {
	if a, ok := s.memory.GetIfPresent(key); ok && now.Before(a.until) && !now.Before(a.asked) {
		return a.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	select {
	case landed := <-s.flights.DoChan(string(key[:]), func() (any, error) { return s.fly(key, now) }):
		name, _ := landed.Val.(string)
		return name, landed.Err
	case <-ctx.Done():
		return "", fmt.Errorf("clientkey/redis: %w", ctx.Err())
	}
}

// fly asks for all who wait, of whom each may leave. It lets no panic out, which on this goroutine would end the process.
func (s *Store) fly(key clientkey.Hash, now time.Time) (string, error) {
	name, err := s.breaker.Execute(func() (name string, err error) {
		defer func() {
			if p := recover(); p != nil {
				name, err = "", fmt.Errorf("%w: %v", errPanic, p)
			}
		}()
		return s.get(key)
	})
	if err != nil {
		return "", fmt.Errorf("clientkey/redis: %w", err)
	}
	lasts := rememberClient
	if name == "" {
		lasts = rememberNobody
	}
	s.memory.Set(key, answer{client: name, asked: now, until: now.Add(lasts)})
	return name, nil
}

func (s *Store) get(key clientkey.Hash) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	name, err := s.client.Get(ctx, s.prefix+key.String()).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	return name, err
}

// Try asks whether the server can be had.
func (s *Store) Try(ctx context.Context) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("clientkey/redis: %w", err)
	}
	return nil
}
