package statsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// server is a statsd server of a test, as far as a connection can tell.
type server struct {
	net.Conn // nil: what is not written below is not used
	packets  []string
	down     bool // refuses connections
	cut      bool // fails writes
	closed   int
}

func (s *server) dial(context.Context) (net.Conn, error) {
	if s.down {
		return nil, errors.New("refused")
	}
	return s, nil
}

func (s *server) Write(p []byte) (int, error) {
	if s.cut {
		return 0, errors.New("cut")
	}
	s.packets = append(s.packets, string(p))
	return len(p), nil
}

func (s *server) Close() error                     { s.closed++; return nil }
func (s *server) SetWriteDeadline(time.Time) error { return nil }

// take returns the lines that arrived, sorted, and forgets them.
func (s *server) take() []string {
	lines := strings.Fields(strings.Join(s.packets, ""))
	s.packets = nil
	slices.Sort(lines)
	return lines
}

func sink(t *testing.T, stats *Stats, to *server, o Options) *Sink {
	t.Helper()
	if o.Network == "" {
		o.Network = "tcp"
	}
	o.FlushInterval, o.dial = time.Second, to.dial
	s, err := NewSink(stats, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shop() *limits.Rule { return &limits.Rule{Domain: "shop", Keys: []string{"user_alice", "path"}} }

// The names are those of contracts/ratelimit.md 2d, letter for letter.
func TestNamesAreTheReferences(t *testing.T) {
	stats := New()
	stats.Rule(shop()).Count(ratelimit.Tally{Total: 8, Over: 1, Near: 2, Within: 3, OverLocal: 4, Shadow: 5, Negative: 6})
	stats.UnknownDomain("nowhere", 2)
	stats.GlobalShadow()
	stats.Failed(true)
	stats.Failed(false)
	stats.Loaded(true)
	stats.Loaded(false)
	stats.Called(1500 * time.Microsecond)
	stats.Gauge("ratelimit.redis_pool.cx_active", func() uint64 { return 7 })
	stats.Counter("ratelimit.redis_pool.cx_total", func() uint64 { return 9 })
	to := new(server)
	sink(t, stats, to, Options{}).flush(t.Context())
	want := []string{
		"ratelimit.redis_pool.cx_active:7|g",
		"ratelimit.redis_pool.cx_total:9|c",
		"ratelimit.service.call.should_rate_limit.redis_error:1|c",
		"ratelimit.service.call.should_rate_limit.service_error:1|c",
		"ratelimit.service.config_load_error:1|c",
		"ratelimit.service.config_load_success:1|c",
		"ratelimit.service.global_shadow_mode:1|c",
		"ratelimit.service.rate_limit.nowhere.domain_not_found:2|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.near_limit:2|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.over_limit:1|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.over_limit_with_local_cache:4|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.shadow_mode:5|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.total_hits:8|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.total_negative_hits:6|c",
		"ratelimit.service.rate_limit.shop.user_alice.path.within_limit:3|c",
		"ratelimit_server.ShouldRateLimit.response_time:1.5|ms",
		"ratelimit_server.ShouldRateLimit.total_requests:1|c",
	}
	if diff := cmp.Diff(want, to.take()); diff != "" {
		t.Error(diff)
	}
	var page bytes.Buffer
	if _, err := stats.WriteTo(&page); err != nil || !strings.Contains(page.String(), "ratelimit.service.rate_limit.shop.user_alice.path.total_hits: 8\n") {
		t.Errorf("/stats: %v\n%s", err, page.String())
	}
}

// Nothing that a file or a caller says ends a line, a name or a value early.
func TestNamesAreSanitized(t *testing.T) {
	for name, want := range map[string]string{
		"a:b|c": "a_b_c", "client_10.0.0.1.path": "client_10_0_0_1.path", "a\nratelimit.fake:1|c": "a_ratelimit.fake_1_c", "plain.name": "plain.name",
		"\x7f\xff": "__", strings.Repeat("x", 600): strings.Repeat("x", 512),
	} {
		if got := sanitize(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// A batch holds what is new; gauges are told each time.
func TestDeltas(t *testing.T) {
	stats := New()
	observer := stats.Rule(shop())
	stats.Gauge("g", func() uint64 { return 0 })
	to := new(server)
	s := sink(t, stats, to, Options{})
	s.flush(t.Context())
	observer.Count(ratelimit.Tally{Total: 2})
	s.flush(t.Context())
	s.flush(t.Context())
	observer.Count(ratelimit.Tally{Total: 1})
	s.flush(t.Context())
	want := []string{"g:0|g", "g:0|g", "g:0|g", "g:0|g", "ratelimit.service.rate_limit.shop.user_alice.path.total_hits:1|c", "ratelimit.service.rate_limit.shop.user_alice.path.total_hits:2|c"}
	if diff := cmp.Diff(want, to.take()); diff != "" {
		t.Error(diff)
	}
}

// While the server is away nothing is lost, and its coming and going is told once each. A naive sum says what must arrive.
func TestNothingIsLostWhileTheServerIsAway(t *testing.T) {
	stats := New()
	observer := stats.Rule(shop())
	to, told := new(server), []string{}
	s := sink(t, stats, to, Options{Report: func(err error) { told = append(told, fmt.Sprint(err)) }})
	random := rand.New(rand.NewPCG(1, 2))
	counted := uint64(0)
	for range 1000 {
		n := random.Uint64N(5)
		observer.Count(ratelimit.Tally{Total: n})
		counted += n
		to.down = random.IntN(3) == 0
		if to.down {
			s.hangUp()
		}
		s.flush(t.Context())
	}
	to.down = false
	s.flush(t.Context())
	arrived := uint64(0)
	for _, line := range to.take() {
		text, _ := strings.CutPrefix(line, "ratelimit.service.rate_limit.shop.user_alice.path.total_hits:")
		n, err := strconv.ParseUint(strings.TrimSuffix(text, "|c"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		arrived += n
	}
	if arrived != counted {
		t.Errorf("%d arrived of %d", arrived, counted)
	}
	for i, text := range told {
		if want := []string{"statsd: connect: refused", "<nil>"}[i%2]; text != want {
			t.Fatalf("told %q at %d, want %q", text, i, want)
		}
	}
}

// A packet whose writing failed may have arrived in part, and is not sent again.
func TestAFailedPacketIsNotSentAgain(t *testing.T) {
	stats := New()
	stats.Loaded(true)
	to := &server{cut: true}
	s := sink(t, stats, to, Options{})
	s.flush(t.Context())
	to.cut = false
	s.flush(t.Context())
	if got := to.take(); len(got) != 0 || to.closed != 1 {
		t.Errorf("sent again: %v; closed %d times", got, to.closed)
	}
}

// Of more response times than are kept, the latest go out, with the part of all that they are.
func TestResponseTimesAreBounded(t *testing.T) {
	stats := New()
	for i := range 2 * samples {
		stats.Called(time.Duration(i/samples) * time.Millisecond)
	}
	to := new(server)
	s := sink(t, stats, to, Options{})
	s.flush(t.Context())
	lines := slices.DeleteFunc(to.take(), func(line string) bool { return !strings.Contains(line, "response_time") })
	if len(lines) != samples || lines[0] != "ratelimit_server.ShouldRateLimit.response_time:1|ms|@0.500000" || lines[samples-1] != lines[0] {
		t.Errorf("%d lines, the first %q", len(lines), lines[0])
	}
	s.flush(t.Context())
	if got := to.take(); len(got) != 0 {
		t.Errorf("sent again: %v", got[:1])
	}
}

func TestTags(t *testing.T) {
	count := func(o Options) []string {
		stats, to := New(), new(server)
		stats.Loaded(true)
		sink(t, stats, to, o).flush(t.Context())
		return to.take()
	}
	tags := map[string]string{"zone": "eu.1", "commit": "12|3", "empty": ""}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"none", Options{}, "ratelimit.service.config_load_success:1|c"},
		{"in statsd's name", Options{Tags: tags}, "ratelimit.service.config_load_success.__commit=12_3.__zone=eu_1:1|c"},
		{"beside it", Options{Tags: tags, Dog: true, Network: "udp"}, "ratelimit.service.config_load_success:1|c|#commit:12_3,zone:eu_1"},
		{"no tag at all", Options{Dog: true, Network: "udp"}, "ratelimit.service.config_load_success:1|c"},
		{"renamed", Options{Dog: true, Network: "udp", Tags: map[string]string{"a": "b"}, Mogrifiers: []Mogrifier{
			{Pattern: `^nothing`, Name: "x"}, {Pattern: `config_load_(\w+)$`, Name: "loads.$1x$7", Tags: map[string]string{"result": "$1"}}, {Pattern: `.`, Name: "late"},
		}}, "loads.successx$7:1|c|#a:b,result:success"},
	} {
		if got := count(tt.o); len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, got, tt.want)
		}
	}
	if _, err := NewSink(New(), Options{FlushInterval: time.Second, Mogrifiers: []Mogrifier{{Pattern: "("}}}); err == nil {
		t.Error("a pattern that is none is taken")
	}
	if _, err := NewSink(New(), Options{}); err == nil {
		t.Error("no interval is taken")
	}
}

// Datagrams fit a frame, and hold whole lines.
func TestPackets(t *testing.T) {
	stats := New()
	for i := range 500 {
		stats.Rule(&limits.Rule{Domain: "d", Keys: []string{fmt.Sprintf("key_%d", i)}}).Count(ratelimit.Tally{Total: 1})
	}
	to := new(server)
	sink(t, stats, to, Options{Network: "udp"}).flush(t.Context())
	whole := regexp.MustCompile(`^([^\n]+:1\|c\n)+$`)
	for _, packet := range to.packets {
		if len(packet) > packetUDP || !whole.MatchString(packet) {
			t.Errorf("%d bytes: %.60q", len(packet), packet)
		}
	}
	if got := len(to.take()); got != 500 || to.closed != 1 {
		t.Errorf("%d lines, closed %d times", got, to.closed)
	}
}

// What callers choose and files may grow to is bounded.
func TestNamesAreBounded(t *testing.T) {
	stats := New()
	before := len(stats.counters)
	for i := range 3 * maxDomains {
		stats.UnknownDomain(fmt.Sprint("domain", i), 1)
	}
	if got := len(stats.counters) - before; got != maxDomains+1 {
		t.Errorf("%d names of unknown domains", got)
	}
	if got := stats.counter(ruleScope + "other.domain_not_found").value.Load(); got != 2*maxDomains {
		t.Errorf("%d hits of the rest", got)
	}
	for i := range maxNames {
		stats.counter(fmt.Sprint("rule", i))
	}
	if got := len(stats.counters); got > maxNames+1 {
		t.Errorf("%d names", got)
	}
}

// Run sends at every tick, and once more at the end.
func TestRun(t *testing.T) {
	stats, to, ticks := New(), new(server), make(chan time.Time)
	s := sink(t, stats, to, Options{})
	s.o.ticks = ticks
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	stats.Loaded(true)
	ticks <- time.Time{}
	ticks <- time.Time{} // the first has been followed
	stats.Loaded(false)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"ratelimit.service.config_load_error:1|c", "ratelimit.service.config_load_success:1|c"}, to.take()); diff != "" || to.closed != 1 {
		t.Errorf("closed %d times; %s", to.closed, diff)
	}
}

// Counting a decision allocates nothing.
func BenchmarkCount(b *testing.B) {
	stats := New()
	observer := stats.Rule(shop())
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			observer.Count(ratelimit.Tally{Total: 1, Within: 1})
			stats.Called(time.Millisecond)
		}
	})
}
