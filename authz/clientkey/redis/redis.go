// Package redis asks Redis, or a server that speaks like it, which application has an API key: the client's name stands under a prefix and the
// key's hash. It is a room of its own because what a reply means, and which of its errors is an outage, is knowledge of that protocol alone.
// It only reads, it sends nothing twice, and the client comes from outside. When a key ends is the server's to know: it has an expiry there.
package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
)

// Store is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
}

var _ authz.ClientKeys = (*Store)(nil)

// New makes a store of a client whose owner closes it. The client must not retry, and must end what it does with the context's deadline. One
// question takes timeout at most. New asks nobody.
func New(client redis.UniversalClient, prefix string, timeout time.Duration) *Store {
	return &Store{client: client, prefix: prefix, timeout: timeout}
}

// Client implements [authz.ClientKeys]. A key that is not there, or whose value is empty, is nobody's.
func (s *Store) Client(ctx context.Context, key clientkey.Hash, _ time.Time) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	name, err := s.client.Get(ctx, s.prefix+key.String()).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("clientkey/redis: %w", err)
	}
	return name, nil
}

// Try asks whether the server can be had.
func (s *Store) Try(ctx context.Context) error {
	if err := s.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("clientkey/redis: %w", err)
	}
	return nil
}
