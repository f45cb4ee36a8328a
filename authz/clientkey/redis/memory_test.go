package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/authz/clientkey/redis"
)

// server is a Redis that can be asked for values alone. The calls of its embedded client panic.
type server struct {
	goredis.UniversalClient
	asked atomic.Int32
	get   func(ctx context.Context) (string, error)
}

func (s *server) Get(ctx context.Context, _ string) *goredis.StringCmd {
	s.asked.Add(1)
	return goredis.NewStringResult(s.get(ctx))
}

func hashOf(t *testing.T, n int) clientkey.Hash {
	t.Helper()
	h, ok := clientkey.HashOf(fmt.Sprintf("a-key-that-is-long-enough-%d", n))
	if !ok {
		t.Fatal("no key")
	}
	return h
}

// A client is remembered for five seconds and the lack of one for a second; a clock that was set back is not believed.
func TestAnswersAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := "partner"
		s := &server{get: func(context.Context) (string, error) {
			if name == "" {
				return "", goredis.Nil
			}
			return name, nil
		}}
		store := redis.New(s, "k:", time.Second)
		step := func(what string, after time.Duration, want string, asked int32) {
			t.Helper()
			<-time.After(after)
			if got, err := store.Client(t.Context(), hashOf(t, 1), time.Now()); got != want || err != nil || s.asked.Load() != asked {
				t.Errorf("%s: %q, %v, asked %d times; want %q, %d", what, got, err, s.asked.Load(), want, asked)
			}
		}
		step("first", 0, "partner", 1)
		name = "" // taken back
		step("remembered", 5*time.Second-1, "partner", 1)
		step("forgotten", 1, "", 2)
		name = "another"
		step("nobody is remembered", time.Second-1, "", 2)
		step("and forgotten", 1, "another", 3)
		if got, err := store.Client(t.Context(), hashOf(t, 1), time.Now().Add(-time.Hour)); got != "another" || err != nil || s.asked.Load() != 4 {
			t.Errorf("before it was asked: %q, %v, %d", got, err, s.asked.Load())
		}
		if got, err := store.Client(t.Context(), hashOf(t, 2), time.Now()); got != "another" || err != nil || s.asked.Load() != 5 {
			t.Errorf("another key: %q, %v, %d", got, err, s.asked.Load())
		}
	})
}

// Who wants the same at once shares one question, which none of them ends by leaving.
func TestOneQuestionForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{get: func(ctx context.Context) (string, error) {
			select {
			case <-time.After(100 * time.Millisecond):
				return "partner", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}}
		store := redis.New(s, "k:", time.Second)
		impatient, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var left atomic.Bool
		go func() {
			_, err := store.Client(impatient, hashOf(t, 1), time.Now())
			left.Store(errors.Is(err, context.DeadlineExceeded))
		}()
		synctest.Wait()
		var got atomic.Int32
		for range 10 {
			go func() {
				if name, err := store.Client(t.Context(), hashOf(t, 1), time.Now()); name == "partner" && err == nil {
					got.Add(1)
				}
			}()
		}
		<-time.After(time.Second)
		synctest.Wait()
		if s.asked.Load() != 1 || got.Load() != 10 || !left.Load() {
			t.Errorf("asked %d times, %d answers, left %v", s.asked.Load(), got.Load(), left.Load())
		}
	})
}

// A server that is away is left alone after five failures: who comes then hears so at once. A second later one question tries it.
func TestServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := true
		s := &server{get: func(ctx context.Context) (string, error) {
			if away {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "partner", nil
		}}
		store := redis.New(s, "k:", 50*time.Millisecond)
		for n := range 5 {
			if _, err := store.Client(t.Context(), hashOf(t, n), time.Now()); err == nil {
				t.Fatal("an answer from nowhere")
			}
			synctest.Wait()
		}
		before := time.Now()
		if name, err := store.Client(t.Context(), hashOf(t, 6), time.Now()); name != "" || err == nil || time.Since(before) > 0 || s.asked.Load() != 5 {
			t.Errorf("%q, %v after %v, asked %d times", name, err, time.Since(before), s.asked.Load())
		}
		away = false
		<-time.After(time.Second + 1)
		if name, err := store.Client(t.Context(), hashOf(t, 6), time.Now()); name != "partner" || err != nil {
			t.Errorf("after the pause: %q, %v", name, err)
		}
	})
}

// A record that cannot be read, and a client that panics, refuse their own key and no other.
func TestOddAnswersAreNoOutage(t *testing.T) {
	for name, odd := range map[string]func() (string, error){
		"another type": func() (string, error) {
			return "", goredis.NewStringResult("", replied("WRONGTYPE Operation against a key holding the wrong kind of value")).Err()
		},
		"a panic": func() (string, error) { panic("a wire is loose") },
	} {
		s := &server{get: func(context.Context) (string, error) { return odd() }}
		store := redis.New(s, "k:", time.Second)
		for n := range int32(7) {
			if got, err := store.Client(t.Context(), hashOf(t, 1), time.Now()); got != "" || err == nil || s.asked.Load() != n+1 {
				t.Errorf("%s: %q, %v, asked %d times", name, got, err, s.asked.Load())
			}
		}
	}
}

// replied is an error that a server replied.
type replied string

func (r replied) Error() string { return string(r) }
func (replied) RedisError()     {}
