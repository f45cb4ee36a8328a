package extauthz

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
)

// Metrics counts decisions. Its labels hold names of the policy and of reasons, never a client's value. It is safe for concurrent
// use, and a nil Metrics counts nothing.
type Metrics struct {
	decisions *prometheus.CounterVec
	shadow    *prometheus.CounterVec
	seconds   prometheus.Histogram
	// counters remembers each label set's counter, so that requests share no lock.
	counters sync.Map // counterKey -> prometheus.Counter
}

type counterKey struct {
	service, rule string
	reason        authz.Reason
	verdict       authz.Verdict
}

// NewMetrics registers the collectors.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_authz_decisions_total",
			Help: "Decisions by service, rule, verdict and reason.",
		}, []string{"service", "rule", "verdict", "reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "sallyport_authz_check_seconds",
			Help:    "Time from a Check's arrival to its answer.",
			Buckets: []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 100e-3, 1},
		}),
	}
	m.shadow = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_authz_shadow_total",
		Help: "Decisions of trials by service, rule, verdict and reason, and the verdict that was answered.",
	}, []string{"service", "rule", "verdict", "reason", "answered"})
	registry.MustRegister(m.decisions, m.shadow, m.seconds)
	return m
}

func (m *Metrics) observe(d *authz.Decision, took time.Duration) {
	if m == nil {
		return
	}
	m.seconds.Observe(took.Seconds())
	key := counterKey{d.ServiceName(), d.RuleName(), d.Reason, d.Verdict}
	known, ok := m.counters.Load(key)
	if !ok {
		known, _ = m.counters.LoadOrStore(key, m.decisions.WithLabelValues(key.service, key.rule, key.verdict.String(), key.reason.String()))
	}
	if counter, ok := known.(prometheus.Counter); ok {
		counter.Inc()
	}
	if s := d.Shadow; s != nil {
		m.shadow.WithLabelValues(s.ServiceName(), s.RuleName(), s.Verdict.String(), s.Reason.String(), d.Verdict.String()).Inc()
	}
}
