package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// keysInUse are the counters that calls are spread over.
const keysInUse = 10_000

// fixedLimits is one window on one descriptor, which both services read alike.
const fixedLimits = `domain: mesh
descriptors:
  - key: user
    rate_limit: {requests_per_unit: 1000000, unit: hour}
`

// twoOfTheirs is a minute and an hour as the reference can say it: two descriptors, each with a fixed window.
const twoOfTheirs = `domain: mesh
descriptors:
  - key: user
    rate_limit: {requests_per_unit: 1000000, unit: minute}
  - key: user_hourly
    rate_limit: {requests_per_unit: 1000000, unit: hour}
`

// twoOfOurs is both on one descriptor, sliding, all or nothing.
const twoOfOurs = `domain: mesh
descriptors:
  - key: user
    rate_limits:
      - {requests_per_unit: 1000000, unit: minute}
      - {requests_per_unit: 1000000, unit: hour}
`

// contender is a running service with a store of its own.
type contender struct {
	pid      int
	store    *redis.Client
	clients  []rlsv3.RateLimitServiceClient
	requests []*rlsv3.RateLimitRequest

	service, stored time.Duration // processor time, of all turns
	took            []time.Duration
}

// BenchmarkReference sets the whole service beside envoyproxy/ratelimit: the same calls, in turns, each with a Valkey of its own. What
// counts is processor time for a decision, of the service and of its store, since that is what a fleet pays for; the ratios are ours
// through theirs.
func BenchmarkReference(b *testing.B) {
	for _, form := range []struct {
		name, ours, theirs string
		keys               []string // of the reference's descriptors
	}{
		{"fixed", fixedLimits, fixedLimits, []string{"user"}},
		{"two-windows", twoOfOurs, twoOfTheirs, []string{"user", "user_hourly"}},
	} {
		for _, load := range []struct {
			name           string
			conns, streams int
			drive          func(c *contender, n, streams int) error
		}{{"1x1", 1, 1, (*contender).closedLoop}, {"4x16", 4, 16, (*contender).closedLoop}, {"open-5000", 4, 0, (*contender).openLoop}} {
			b.Run(form.name+"/"+load.name, func(b *testing.B) {
				ours, theirs := startOurs(b, form.ours, load.conns), startTheirs(b, form.theirs, load.conns, form.keys)
				const turn = 4096
				for _, c := range []*contender{ours, theirs} {
					if err := c.closedLoop(keysInUse, 16); err != nil { // every key, every connection
						b.Fatal(err)
					}
					c.took = nil
				}
				b.ResetTimer()
				for done := 0; done < b.N; done += turn {
					for _, c := range []*contender{ours, theirs} {
						if err := c.measured(min(turn, b.N-done), func(n int) error { return load.drive(c, n, load.streams) }); err != nil {
							b.Fatal(err)
						}
					}
				}
				report(b, ours, theirs)
			})
		}
	}
}

func report(b *testing.B, ours, theirs *contender) {
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(0, "ns/op") // it would be the sum of both
	b.ReportMetric(per(ours.service), "service-us/op")
	b.ReportMetric(per(theirs.service), "reference-service-us/op")
	b.ReportMetric(float64(ours.service)/float64(theirs.service), "service-ratio")
	b.ReportMetric(per(ours.stored), "store-us/op")
	b.ReportMetric(per(theirs.stored), "reference-store-us/op")
	b.ReportMetric(float64(ours.stored)/float64(theirs.stored), "store-ratio")
	for name, c := range map[string]*contender{"": ours, "reference-": theirs} {
		slices.Sort(c.took)
		b.ReportMetric(float64(c.took[len(c.took)/2].Microseconds()), name+"p50-us")
		b.ReportMetric(float64(c.took[len(c.took)*99/100].Microseconds()), name+"p99-us")
	}
}

// startOurs runs the real binary on a limits file.
func startOurs(b *testing.B, limits string, conns int) *contender {
	b.Helper()
	dir := b.TempDir()
	port, admin := freePort(b), freePort(b)
	store := storetest.StartValkey(b)
	pid := start(b, "ratelimit", local(admin)+"/readyz", nil, tool(b, "SALLYPORT_BIN", "bin/sallyport"),
		"ratelimit", "--limits", write(b, dir, "mesh.yaml", limits), "--store", "redis://"+store+"/0", "--audit", "off", "--listen", local(port), "--admin", local(admin))
	return newContender(b, pid, port, store, conns, []string{"user"})
}

// startTheirs runs the pinned envoyproxy/ratelimit, without its sink of statistics, which would be one more thing to pay for.
func startTheirs(b *testing.B, limits string, conns int, keys []string) *contender {
	b.Helper()
	dir := b.TempDir()
	port, admin, debug := freePort(b), freePort(b), freePort(b)
	store := storetest.StartValkey(b)
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o700); err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(dir, "config"), "mesh.yaml", limits)
	env := []string{
		"HOST=127.0.0.1", "PORT=" + strconv.Itoa(admin), "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + strconv.Itoa(port), "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + strconv.Itoa(debug),
		"USE_STATSD=false", "DISABLE_STATS=true", "LOG_LEVEL=error", "RUNTIME_ROOT=" + dir, "RUNTIME_WATCH_ROOT=false", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + store,
	}
	pid := start(b, "reference", local(admin)+"/healthcheck", env, tool(b, "SALLYPORT_REFERENCE", "tools/bin/service_cmd"))
	return newContender(b, pid, port, store, conns, keys)
}

func newContender(b *testing.B, pid, port int, store string, conns int, keys []string) *contender {
	b.Helper()
	c := &contender{pid: pid, store: redis.NewClient(&redis.Options{Addr: store, Protocol: 2})}
	b.Cleanup(func() { _ = c.store.Close() })
	for range conns {
		conn, err := grpc.NewClient(local(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		c.clients = append(c.clients, rlsv3.NewRateLimitServiceClient(conn))
	}
	for i := range keysInUse {
		req := &rlsv3.RateLimitRequest{Domain: "mesh"}
		for _, key := range keys {
			req.Descriptors = append(req.Descriptors, &commonv3.RateLimitDescriptor{
				Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: key, Value: "user-" + strconv.Itoa(i)}},
			})
		}
		c.requests = append(c.requests, req)
	}
	return c
}

// measured runs a turn and adds up what it cost.
func (c *contender) measured(n int, turn func(n int) error) error {
	service, stored, err := c.spent()
	if err != nil {
		return err
	}
	if err := turn(n); err != nil {
		return err
	}
	serviceAfter, storedAfter, err := c.spent()
	c.service += serviceAfter - service
	c.stored += storedAfter - stored
	return err
}

// spent is the processor time of the service and of its store so far.
func (c *contender) spent() (service, stored time.Duration, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", c.pid))
	if err != nil || len(tasks) == 0 {
		return 0, 0, fmt.Errorf("no tasks of %d: %w", c.pid, err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		ran, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, 0, err
		}
		service += time.Duration(n)
	}
	info, err := c.store.Info(context.Background(), "cpu").Result()
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, 0, err
			}
			stored += time.Duration(seconds * float64(time.Second))
		}
	}
	return service, stored, err
}

// ask makes the i-th call of a turn, and holds the answer to one that was counted.
func (c *contender) ask(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	out, err := c.clients[i%len(c.clients)].ShouldRateLimit(ctx, c.requests[i%len(c.requests)])
	if err == nil && (out.GetOverallCode() != rlsv3.RateLimitResponse_OK || out.GetStatuses()[0].GetLimitRemaining() == 0) {
		err = fmt.Errorf("passed without having counted: %v", out)
	}
	return err
}

// closedLoop makes n calls, as many at once on each connection.
func (c *contender) closedLoop(n, streams int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	took := make([]time.Duration, n)
	for range len(c.clients) * streams {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if err := c.ask(i); err != nil {
					failed.Store(&err)
					return
				}
				took[i] = time.Since(began)
			}
		})
	}
	all.Wait()
	c.took = append(c.took, took...)
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// openLoop makes n calls at 5,000 a second, whether or not earlier ones were answered; what a call took is counted from when it was due.
func (c *contender) openLoop(n, _ int) error {
	const every = 200 * time.Microsecond
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	took := make([]time.Duration, n)
	began := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for i := range n {
		due := began.Add(time.Duration(i) * every)
		timer.Reset(time.Until(due))
		<-timer.C
		all.Go(func() {
			if err := c.ask(i); err != nil {
				failed.Store(&err)
			}
			took[i] = time.Since(due)
		})
	}
	all.Wait()
	c.took = append(c.took, took...)
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}
