package redis_test

import (
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/authz/clientkey/redis"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// A key that is there names its client, one that is not or has ended is nobody's, and a server that is away answers nothing.
func TestStore(t *testing.T) {
	valkey := storetest.RunValkey(t)
	client := goredis.NewClient(&goredis.Options{Addr: valkey.Addr, Protocol: 2, MaxRetries: -1, ContextTimeoutEnabled: true, DialTimeout: time.Second})
	defer client.Close()
	hash := func(key string) clientkey.Hash {
		h, ok := clientkey.HashOf(key)
		if !ok {
			t.Fatalf("%q can be no key", key)
		}
		return h
	}
	known, ended, odd := hash("the-key-of-a-partner-that-is-long"), hash("the-key-of-a-partner-that-ended"), hash("the-key-of-nobody-at-all-but-long")
	for key, value := range map[clientkey.Hash]string{known: "partner", ended: "partner", odd: ""} {
		if err := client.Set(t.Context(), "k:"+key.String(), value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.PExpireAt(t.Context(), "k:"+ended.String(), time.Unix(1, 0)).Err(); err != nil {
		t.Fatal(err)
	}
	store := redis.New(client, "k:", 5*time.Second)
	for key, want := range map[clientkey.Hash]string{known: "partner", ended: "", odd: "", hash("a-key-that-nobody-has-ever-had"): ""} {
		if got, err := store.Client(t.Context(), key, time.Time{}); got != want || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
	if got, err := redis.New(client, "other:", 5*time.Second).Client(t.Context(), known, time.Time{}); got != "" || err != nil {
		t.Errorf("under another prefix: %q, %v", got, err)
	}
	if err := store.Try(t.Context()); err != nil {
		t.Error(err)
	}
	if err := client.LPush(t.Context(), "k:"+hash("a-key-whose-record-is-a-list").String(), "partner").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Client(t.Context(), hash("a-key-whose-record-is-a-list"), time.Time{}); got != "" || err == nil {
		t.Errorf("a record of another type: %q, %v", got, err)
	}
	valkey.Kill()
	if got, err := store.Client(t.Context(), known, time.Time{}.Add(time.Minute)); got != "" || err == nil {
		t.Errorf("a server that is away: %q, %v", got, err)
	}
	if store.Try(t.Context()) == nil {
		t.Error("a server that is away can be had")
	}
}
