package owner

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/sallyport-dev/sallyport/authz"
)

// outcome is how a question ended for one who asked it.
type outcome uint8

const (
	outcomeRemembered  outcome = iota // every object was remembered
	outcomeAnswered                   // the world was asked and answered
	outcomeTimeout                    // not within the lookup's timeout, or the caller's deadline
	outcomeGone                       // the caller left first
	outcomeBreaker                    // the world is left alone just now
	outcomeFull                       // too many questions wait
	outcomeUnavailable                // any other outage
	outcomeAnswer                     // an answer that cannot be read, or a question that cannot be put
	outcomePanic                      // a defect of ours
	outcomes
)

var outcomeNames = [outcomes]string{"remembered", "answered", "timeout", "gone", "breaker", "full", "unavailable", "answer", "panic"}

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return outcomeAnswered
	case errors.Is(err, errPanic):
		return outcomePanic
	case errors.Is(err, authz.ErrLookupAnswer):
		return outcomeAnswer
	case errors.Is(err, errFull):
		return outcomeFull
	case errors.Is(err, gobreaker.ErrOpenState), errors.Is(err, gobreaker.ErrTooManyRequests):
		return outcomeBreaker
	case errors.Is(err, context.DeadlineExceeded):
		return outcomeTimeout
	case errors.Is(err, context.Canceled):
		return outcomeGone
	}
	return outcomeUnavailable
}

// Metrics counts what lookups do. Its labels hold names of the policy and of outcomes, never a client's value. It is safe for concurrent
// use, and a nil Metrics counts nothing.
type Metrics struct {
	asked        *prometheus.CounterVec
	hits, misses *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	open         *prometheus.GaugeVec

	mu sync.Mutex // taken when a breaker moves or a policy is loaded, never for a request
	// newest are the meters of the lookup that was made last under each name: those before it must not say what its breaker is.
	newest map[string]*meters
}

// NewMetrics registers the collectors.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"lookup"}, labels...))
	}
	m := &Metrics{
		asked:  counter("sallyport_lookup_asked_total", "Questions of requests to a lookup, by outcome.", "outcome"),
		hits:   counter("sallyport_lookup_cache_hits_total", "Objects whose standing was remembered."),
		misses: counter("sallyport_lookup_cache_misses_total", "Objects whose standing was not remembered."),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sallyport_lookup_seconds", Help: "Time of one question to the world behind a lookup.",
			Buckets: []float64{100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1},
		}, []string{"lookup"}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_lookup_breaker_open", Help: "1 while a lookup leaves its world alone after failures, or lets one question through to try.",
		}, []string{"lookup"}),
		newest: map[string]*meters{},
	}
	registry.MustRegister(m.asked, m.hits, m.misses, m.seconds, m.open)
	return m
}

// Forget drops the series of a lookup that no policy in force names any more.
func (m *Metrics) Forget(name string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.newest, name)
	label := prometheus.Labels{"lookup": name}
	for _, vector := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{m.asked, m.hits, m.misses, m.seconds, m.open} {
		vector.DeletePartialMatch(label)
	}
}

// of makes the meters of a lookup: every label is resolved here, so that a request resolves none.
func (m *Metrics) of(name string) *meters {
	if m == nil {
		return nil
	}
	one := &meters{name: name, all: m, hits: m.hits.WithLabelValues(name), misses: m.misses.WithLabelValues(name), seconds: m.seconds.WithLabelValues(name)}
	for o := range one.asked {
		one.asked[o] = m.asked.WithLabelValues(name, outcomeNames[o])
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.newest[name] = one
	m.open.WithLabelValues(name).Set(0)
	return one
}

// meters are those of one lookup; nil counts nothing.
type meters struct {
	name         string
	all          *Metrics
	asked        [outcomes]prometheus.Counter
	hits, misses prometheus.Counter
	seconds      prometheus.Observer
}

func (m *meters) count(o outcome) {
	if m != nil {
		m.asked[o].Inc()
	}
}

func (m *meters) recalled(hits, misses int) {
	if m == nil {
		return
	}
	if hits > 0 {
		m.hits.Add(float64(hits))
	}
	if misses > 0 {
		m.misses.Add(float64(misses))
	}
}

func (m *meters) took(d time.Duration) {
	if m != nil {
		m.seconds.Observe(d.Seconds())
	}
}

func (m *meters) breaker(open bool) {
	if m == nil {
		return
	}
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	if m.all.newest[m.name] != m {
		return
	}
	state := 0.0
	if open {
		state = 1
	}
	m.all.open.WithLabelValues(m.name).Set(state)
}
