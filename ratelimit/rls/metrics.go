package rls

import (
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Metrics are the counters of the rate limit gate, under the names that envoyproxy/ratelimit exports to Prometheus, so that
// dashboards stay as they are. The labels domain, key1 and key2 hold what the limits files say; what
// a client sent only where a rule asks for it, and then no more than [ratelimit.MaxMetricValues] of it.
// Register it as one collector. It is safe for concurrent use.
type Metrics struct {
	total, over, near, within, shadow, overLocal, negative *prometheus.CounterVec

	failures *prometheus.CounterVec
	calls    prometheus.Counter
	seconds  prometheus.Observer
	unit     float64 // of seconds, as parts of one
	twoKeys  bool

	loaded, notLoaded, globalShadow prometheus.Counter

	storeErrors, fallbacks *prometheus.CounterVec
	unjudged, strays       *prometheus.CounterVec
	unknownDomains, panics prometheus.Counter
	collectors             []prometheus.Collector
}

var (
	_ prometheus.Collector = (*Metrics)(nil)
	_ ratelimit.Observer   = (*Metrics)(nil)
)

// MetricsOptions say how metrics follow envoyproxy/ratelimit where it is stranger than we are. The zero value is our own way.
type MetricsOptions struct {
	// Milliseconds writes response times in milliseconds under the same name, as dashboards expect that were made for older versions
	// (PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS there).
	Milliseconds bool
	// TwoKeys counts rules of more than two keys together with those of their first two, as its mapping does. False: the second label
	// has all but the first, joined by dots.
	TwoKeys bool
}

// NewMetrics makes unregistered metrics, all of them zero.
func NewMetrics() *Metrics { return NewMetricsWith(MetricsOptions{}) }

// NewMetricsWith is [NewMetrics] with options.
func NewMetricsWith(o MetricsOptions) *Metrics {
	m := &Metrics{unit: 1, twoKeys: o.TwoKeys}
	if o.Milliseconds {
		m.unit = 1000
	}
	rule := func(name, help string) *prometheus.CounterVec {
		return m.vec("ratelimit_service_rate_limit_"+name, help, "domain", "key1", "key2")
	}
	m.total = rule("total_hits", "Hits of a rule, passed and refused.")
	m.over = rule("over_limit", "Hits beyond a rule's limit.")
	m.near = rule("near_limit", "Hits within a rule's limit and close to it: above four fifths of it, unless told otherwise.")
	m.within = rule("within_limit", "Hits within a rule's limit.")
	m.shadow = rule("shadow_mode", "Hits beyond the limit of a rule in shadow mode, which passed.")
	m.overLocal = rule("over_limit_with_local_cache", "Hits beyond a rule's limit that were refused from memory, without asking the store.")
	m.negative = rule("total_negative_hits", "Hits that were given back to a rule.")
	m.failures = m.vec("ratelimit_service_should_rate_limit_error", "Calls that ended with an error.", "err_type")
	m.calls = m.vec("ratelimit_service_total_requests", "Calls.", "grpc_method").WithLabelValues("ShouldRateLimit")
	buckets := []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .02, .05, .1, .25, 1}
	for i := range buckets {
		buckets[i] *= m.unit
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ratelimit_service_response_time_seconds", Help: "Time of a call.", Buckets: buckets,
	}, []string{"grpc_method"})
	m.collectors = append(m.collectors, seconds)
	m.seconds = seconds.WithLabelValues("ShouldRateLimit")
	m.loaded = m.counter("ratelimit_service_config_load_success", "Limits files taken into use.")
	m.notLoaded = m.counter("ratelimit_service_config_load_error", "Limits files refused; the last good ones stay.")
	m.globalShadow = m.counter("ratelimit_service_global_shadow_mode", "Requests that passed only because the shadow mode of the whole service is on.")
	m.storeErrors = m.vec("sallyport_ratelimit_store_errors_total", "Requests that the store could not decide.", "class")
	m.fallbacks = m.vec("sallyport_ratelimit_fallbacks_total", "Limits answered without the store, by what answered.", "how")
	m.unknownDomains = m.counter("sallyport_ratelimit_unknown_domain_total", "Requests for a domain that no limits file names.")
	m.strays = m.vec("sallyport_ratelimit_stray_descriptors_total", "Descriptors of a known domain about which its limits file has nothing to say, so that they pass unlimited.", "domain")
	m.panics = m.counter("sallyport_ratelimit_panics_total", "Panics caught while a request was decided.")
	m.unjudged = m.vec("sallyport_ratelimit_unjudged_total", "Requests that were refused because they could not be judged.", "why")
	m.touch()
	return m
}

// touch makes the series of the closed label sets exist before their first event, so that a rate of them is never absent.
func (m *Metrics) touch() {
	for _, class := range ratelimit.StoreErrorClasses() {
		m.storeErrors.WithLabelValues(string(class))
	}
	for _, how := range []limits.Failure{limits.FailError, limits.FailLocal, limits.FailOpen, limits.FailClosed} {
		m.fallbacks.WithLabelValues(how.String())
	}
	for _, why := range []string{undecodable, oversize, foreign, panicked} {
		m.unjudged.WithLabelValues(why)
	}
	m.failures.WithLabelValues(kindStore)
	m.failures.WithLabelValues(kindService)
}

func (m *Metrics) vec(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.collectors = append(m.collectors, v)
	return v
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.collectors = append(m.collectors, c)
	return c
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors {
		c.Collect(ch)
	}
}

// Loaded counts a limits file that was taken into use, or refused.
func (m *Metrics) Loaded(ok bool) {
	if ok {
		m.loaded.Inc()
		return
	}
	m.notLoaded.Inc()
}

func (m *Metrics) called(since time.Time) {
	m.calls.Inc()
	m.seconds.Observe(time.Since(since).Seconds() * m.unit)
}

// UnknownDomain implements [ratelimit.Observer]. The domain is the caller's word, and no label.
func (m *Metrics) UnknownDomain(string, int) { m.unknownDomains.Inc() }

// GlobalShadow implements [ratelimit.Observer].
func (m *Metrics) GlobalShadow() { m.globalShadow.Inc() }

// Stray implements [ratelimit.Observer]. The domain is one that a file names.
func (m *Metrics) Stray(domain string, _ []limits.Entry) {
	m.strays.WithLabelValues(label(domain)).Inc()
}

// StoreFailed implements [ratelimit.Observer].
func (m *Metrics) StoreFailed(class ratelimit.StoreErrorClass) {
	m.storeErrors.WithLabelValues(string(class)).Inc()
}

// Fallback implements [ratelimit.Observer].
func (m *Metrics) Fallback(how limits.Failure) { m.fallbacks.WithLabelValues(how.String()).Inc() }

// Rule implements [ratelimit.Observer].
func (m *Metrics) Rule(r *limits.Rule) ratelimit.RuleObserver { return m.Values(r, r.Keys) }

// Values implements [ratelimit.Observer].
func (m *Metrics) Values(r *limits.Rule, keys []string) ratelimit.RuleObserver {
	if m.twoKeys {
		keys = keys[:min(len(keys), 2)]
	}
	key1, key2 := "", ""
	if len(keys) > 0 {
		key1, key2 = label(keys[0]), label(strings.Join(keys[1:], "."))
	}
	domain := label(r.Domain)
	with := func(v *prometheus.CounterVec) prometheus.Counter { return v.WithLabelValues(domain, key1, key2) }
	return &ruleCounters{
		total: with(m.total), over: with(m.over), near: with(m.near), within: with(m.within), shadow: with(m.shadow), overLocal: with(m.overLocal), negative: with(m.negative),
	}
}

// label writes a name as the reference does: statsd, through which it counts, keeps ":" and "|" for itself, and the dots of an
// address would part a name.
func label(s string) string {
	s = strings.NewReplacer(":", "_", "|", "_").Replace(s)
	return address.ReplaceAllStringFunc(s, func(ip string) string { return strings.ReplaceAll(ip, ".", "_") })
}

var address = regexp.MustCompile(`[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}`)

// ruleCounters are one rule's series, looked up when its table was loaded.
type ruleCounters struct {
	total, over, near, within, shadow, overLocal, negative prometheus.Counter
}

// Count implements [ratelimit.RuleObserver].
func (c *ruleCounters) Count(t ratelimit.Tally) {
	add(c.total, t.Total)
	add(c.over, t.Over)
	add(c.near, t.Near)
	add(c.within, t.Within)
	add(c.shadow, t.Shadow)
	add(c.overLocal, t.OverLocal)
	add(c.negative, t.Negative)
}

func add(c prometheus.Counter, n uint64) {
	if n > 0 {
		c.Add(float64(n))
	}
}
