// Package statsd counts what the rate limit service does under the names that envoyproxy/ratelimit sends to statsd, and sends
// them there, in the forms of statsd and of DogStatsD. Counting is one atomic addition; the sending happens elsewhere, in its own
// time, and holds up nobody: while the server is away the counts wait, and of response times the latest are kept.
package statsd

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

const (
	// maxNames bounds the counters that are kept; those of further rules share one name.
	maxNames = 100_000
	// maxDomains bounds the unknown domains that are counted apart, for callers choose them.
	maxDomains = 1000
	// maxName is the most bytes of a name that stand in it; a longer one is cut.
	maxName = 512
	// samples is how many response times are kept between two flushes. Of more, the latest are sent, with their sample rate.
	samples = 4096
)

// The parts of names.
const (
	serviceScope = "ratelimit.service."
	ruleScope    = serviceScope + "rate_limit."
	callScope    = serviceScope + "call.should_rate_limit."
	serverScope  = "ratelimit_server.ShouldRateLimit."
)

// Stats are the counters. They are safe for concurrent use; New makes them.
type Stats struct {
	mu       sync.Mutex
	counters map[string]*counter
	gauges   map[string]func() uint64
	counts   map[string]func() uint64 // counters that others count

	domains struct {
		sync.Map // domain -> *counter
		known    atomic.Int64
	}
	loaded, notLoaded, globalShadow *counter
	redisErrors, serviceErrors      *counter
	requests                        *counter
	times                           ring
}

var _ ratelimit.Observer = (*Stats)(nil)

// counter is one sum. Sent is the sink's, what of it is on its way or arrived.
type counter struct {
	value atomic.Uint64
	sent  uint64
}

// ring keeps the latest response times, in microseconds.
type ring struct {
	next  atomic.Uint64
	slots [samples]atomic.Uint32
}

// New makes stats that are all zero.
func New() *Stats {
	s := &Stats{counters: map[string]*counter{}, gauges: map[string]func() uint64{}, counts: map[string]func() uint64{}}
	s.loaded, s.notLoaded = s.counter(serviceScope+"config_load_success"), s.counter(serviceScope+"config_load_error")
	s.globalShadow = s.counter(serviceScope + "global_shadow_mode")
	s.redisErrors, s.serviceErrors = s.counter(callScope+"redis_error"), s.counter(callScope+"service_error")
	s.requests = s.counter(serverScope + "total_requests")
	return s
}

// counter is the counter of a name, which is made at its first use.
func (s *Stats) counter(name string) *counter {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counters[name]
	if c == nil && len(s.counters) >= maxNames {
		name = ruleScope + ratelimit.OtherValue
		c = s.counters[name]
	}
	if c == nil {
		c = new(counter)
		s.counters[name] = c
	}
	return c
}

// Gauge shows a value that somebody else knows. Read must be safe for concurrent use and not block.
func (s *Stats) Gauge(name string, read func() uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gauges[name] = read
}

// Counter shows a sum that somebody else counts, and that only grows. Read must be safe for concurrent use and not block.
func (s *Stats) Counter(name string, read func() uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[name] = read
}

// Loaded counts a configuration that was taken into use, or refused.
func (s *Stats) Loaded(ok bool) {
	if ok {
		s.loaded.value.Add(1)
		return
	}
	s.notLoaded.value.Add(1)
}

// Called counts a call and how long it took.
func (s *Stats) Called(took time.Duration) {
	s.requests.value.Add(1)
	micros := min(max(took.Microseconds(), 0), 1<<32-1)
	s.times.slots[(s.times.next.Add(1)-1)%samples].Store(uint32(micros))
}

// Failed counts a call that ended with an error: byStore says that the store could not decide.
func (s *Stats) Failed(byStore bool) {
	if byStore {
		s.redisErrors.value.Add(1)
		return
	}
	s.serviceErrors.value.Add(1)
}

// Rule implements [ratelimit.Observer].
func (s *Stats) Rule(r *limits.Rule) ratelimit.RuleObserver { return s.Values(r, r.Keys) }

// Values implements [ratelimit.Observer].
func (s *Stats) Values(r *limits.Rule, keys []string) ratelimit.RuleObserver {
	name := ruleScope + sanitize(strings.Join(append([]string{r.Domain}, keys...), ".")) + "."
	return &rule{
		total: s.counter(name + "total_hits"), over: s.counter(name + "over_limit"), near: s.counter(name + "near_limit"),
		within: s.counter(name + "within_limit"), local: s.counter(name + "over_limit_with_local_cache"),
		shadow: s.counter(name + "shadow_mode"), negative: s.counter(name + "total_negative_hits"),
	}
}

// UnknownDomain implements [ratelimit.Observer]. The caller chooses the name, so only the first ones are counted apart.
func (s *Stats) UnknownDomain(domain string, descriptors int) {
	found, ok := s.domains.Load(domain)
	if !ok {
		name := domain
		if s.domains.known.Add(1) > maxDomains {
			s.domains.known.Add(-1)
			name = ratelimit.OtherValue
		}
		made := s.counter(ruleScope + sanitize(name) + ".domain_not_found")
		if name == domain {
			s.domains.Store(domain, made)
		}
		found = made
	}
	if c, ok := found.(*counter); ok {
		c.value.Add(uint64(max(descriptors, 0)))
	}
}

// Stray implements [ratelimit.Observer]. The reference has no name for it.
func (s *Stats) Stray(string, []limits.Entry) {}

// GlobalShadow implements [ratelimit.Observer].
func (s *Stats) GlobalShadow() { s.globalShadow.value.Add(1) }

// StoreFailed implements [ratelimit.Observer]. The call that ends with an error for it is told by Failed.
func (s *Stats) StoreFailed(ratelimit.StoreErrorClass) {}

// Fallback implements [ratelimit.Observer]. The reference has no such thing, and no name for it.
func (s *Stats) Fallback(limits.Failure) {}

// rule is the counters of one rule, looked up when its table was loaded.
type rule struct{ total, over, near, within, local, shadow, negative *counter }

// Count implements [ratelimit.RuleObserver].
func (r *rule) Count(t ratelimit.Tally) {
	add(r.total, t.Total)
	add(r.over, t.Over)
	add(r.near, t.Near)
	add(r.within, t.Within)
	add(r.local, t.OverLocal)
	add(r.shadow, t.Shadow)
	add(r.negative, t.Negative)
}

func add(c *counter, n uint64) {
	if n > 0 {
		c.value.Add(n)
	}
}

// ipv4 finds addresses, whose dots would make levels of a name.
var ipv4 = regexp.MustCompile(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`)

// sanitize writes a name as the reference does: statsd keeps ":" and "|" for itself. Control characters, which would end the line
// and begin another statistic, have no place in one either.
func sanitize(name string) string {
	if len(name) > maxName {
		name = name[:maxName]
	}
	name = strings.Map(func(r rune) rune {
		if r == ':' || r == '|' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	return ipv4.ReplaceAllStringFunc(name, func(ip string) string { return strings.ReplaceAll(ip, ".", "_") })
}

// WriteTo writes every count and gauge, sorted, one "name: value" a line.
func (s *Stats) WriteTo(to io.Writer) (int64, error) {
	w := bufio.NewWriter(to)
	n := int64(0)
	for _, v := range s.values() {
		m, _ := fmt.Fprintf(w, "%s: %d\n", v.name, v.value)
		n += int64(m)
	}
	return n, w.Flush()
}

// value is one statistic at one moment. Of is the counter whose sink it is for; nil for a gauge and for what others count.
type value struct {
	name  string
	value uint64
	of    *counter
	gauge bool
}

// values are all statistics, sorted by name.
func (s *Stats) values() []value {
	s.mu.Lock()
	all := make([]value, 0, len(s.counters)+len(s.gauges)+len(s.counts))
	for name, c := range s.counters {
		all = append(all, value{name: name, value: c.value.Load(), of: c})
	}
	for name, read := range s.gauges {
		all = append(all, value{name: name, value: read(), gauge: true})
	}
	for name, read := range s.counts {
		all = append(all, value{name: name, value: read()})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b value) int { return strings.Compare(a.name, b.name) })
	return all
}
