package redisstore_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// whoKey is the key of a counter as the limits of the documentation make it.
func whoKey(t *testing.T) string {
	t.Helper()
	f, errs := limits.Decode("l.yaml", []byte("domain: mesh\ndescriptors: [{key: who, rate_limits: [{requests_per_unit: 1, unit: minute}]}]\n"))
	if errs != nil {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{f})
	if errs != nil {
		t.Fatal(errs)
	}
	return table.Match("mesh", []limits.Entry{{Key: "who", Value: "user|shop|alice-0001"}}).Key
}

// What a counter takes on the server, key and time to live included, as the server itself says. docs/limits.md has these figures.
func TestMemoryOfOneKey(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, storetest.StartValkey(t))
	s := open(t, client, redisstore.Options{})
	// Beside them what envoyproxy/ratelimit keeps of the same limit: a number under its key, with a time to live.
	if err := client.Set(t.Context(), "mesh_who_user|shop|alice-0001_1764000000", 1, time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	inPage(t, string(page), "envoyproxy/ratelimit, one window", memoryOf(t, client, "mesh_who_user|shop|alice-0001_1764000000"))
	minute, hour := window.Window{Limit: 100, Burst: 100, Span: time.Minute}, window.Window{Limit: 1000, Burst: 1000, Span: time.Hour}
	of := func(k int, windows ...window.Window) []window.Window {
		for i := range windows {
			windows[i].Cells = k
		}
		return windows
	}
	for name, c := range map[string]ratelimit.Charge{
		"fixed_window":                       {Algorithm: window.Fixed, Windows: of(0, minute)},
		"fixed_window, two windows":          {Algorithm: window.Fixed, Windows: of(0, minute, hour)},
		"token_bucket":                       {Algorithm: window.TokenBucket, Windows: of(0, minute)},
		"token_bucket, two windows":          {Algorithm: window.TokenBucket, Windows: of(0, minute, hour)},
		"sliding_window, resolution 10":      {Algorithm: window.Sliding, Windows: of(10, minute)},
		"sliding_window, two windows of 10":  {Algorithm: window.Sliding, Windows: of(10, minute, hour)},
		"sliding_window, resolution 60":      {Algorithm: window.Sliding, Windows: of(60, minute)},
		"sliding_window, two windows of 60":  {Algorithm: window.Sliding, Windows: of(60, minute, hour)},
		"fixed_window, a limit above 65,535": {Algorithm: window.Fixed, Windows: []window.Window{{Limit: 1 << 20, Span: time.Minute}}},
	} {
		c.Key, c.Rule, c.Hits = whoKey(t), "who", 1
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		spend(t, s, c)
		keys, err := client.Keys(t.Context(), redisstore.DefaultKeyPrefix+"*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatalf("keys %q, %v; want one", keys, err)
		}
		size := memoryOf(t, client, keys[0])
		if c.Algorithm == window.Fixed && len(c.Windows) == 1 && size > 115 {
			t.Errorf("a fixed window takes %d bytes, 115 at most", size)
		}
		inPage(t, string(page), name, size)
	}
}

func memoryOf(t *testing.T, client *redis.Client, key string) int64 {
	t.Helper()
	size, err := client.MemoryUsage(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func inPage(t *testing.T, page, name string, size int64) {
	t.Helper()
	t.Logf("%s: %d bytes", name, size)
	if row := fmt.Sprintf("| %s | %d |", name, size); !strings.Contains(page, row) {
		t.Errorf("docs/limits.md does not say\n%s", row)
	}
}
