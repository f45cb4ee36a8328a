package daemon

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Condition is how one part of a gate fares. The zero value is good.
type Condition struct{ detail string }

// OK is the condition of a part that does its work.
func OK() Condition { return Condition{} }

// Degraded is the condition of a part that does not. Detail is for an operator: what fails, what that means for requests, what to
// do. It is shown on the admin port, which asks nobody for a password: no secret, no token, no client's value.
func Degraded(detail string) Condition {
	if detail == "" {
		detail = "degraded"
	}
	return Condition{detail: detail}
}

// Status collects how the parts of one daemon fare and when it may first be called ready. Degraded is never "not ready": taking
// the replicas away because the identity provider or the store is away would turn a part's outage into everybody's. All methods are
// safe for concurrent use.
type Status struct {
	now func() time.Time

	mu       sync.Mutex
	waiting  map[string]bool
	parts    map[string]part
	serving  bool
	draining bool
	ready    chan struct{}
}

type part struct {
	detail string
	since  time.Time
}

// NewStatus makes a Status with no parts, which is not ready until the daemon serves. Now is the clock of "since".
func NewStatus(now func() time.Time) *Status {
	return &Status{now: now, waiting: map[string]bool{}, parts: map[string]part{}, ready: make(chan struct{})}
}

// Expect names parts that must be tried once, well or badly, before the daemon is called ready. It has no effect afterwards:
// readiness is reached once and then kept.
func (s *Status) Expect(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.waiting[name] = true
	}
}

// Tried says that the part was tried. How it went is for Set to say.
func (s *Status) Tried(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, name)
	s.readyLocked()
}

// Set says how the part fares from now on. Names come from configuration ("jwks:shop", "store"), never from a request.
func (s *Status) Set(name string, c Condition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.parts[name]
	if known && (last.detail == "") == (c.detail == "") {
		s.parts[name] = part{detail: c.detail, since: last.since}
		return
	}
	s.parts[name] = part{detail: c.detail, since: s.now()}
}

// Forget drops a part that a reload removed.
func (s *Status) Forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.parts, name)
	delete(s.waiting, name)
	s.readyLocked()
}

// WhenReady is closed at the moment the daemon serves and every expected part was tried.
func (s *Status) WhenReady() <-chan struct{} { return s.ready }

func (s *Status) serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = true
	s.readyLocked()
}

func (s *Status) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// readyLocked closes ready when its time has come. The caller holds mu.
func (s *Status) readyLocked() {
	if !s.serving || len(s.waiting) > 0 {
		return
	}
	select {
	case <-s.ready:
	default:
		close(s.ready)
	}
}

// Report is what /readyz shows, in the names of its JSON.
type Report struct {
	Ready    bool           `json:"ready"`
	Draining bool           `json:"draining,omitempty"`
	Starting bool           `json:"starting,omitempty"`
	Waiting  []string       `json:"waiting_for,omitempty"`
	Degraded []DegradedPart `json:"degraded"`
}

// DegradedPart is one part that does not do its work.
type DegradedPart struct {
	Part   string    `json:"part"`
	Detail string    `json:"detail"`
	Since  time.Time `json:"since"`
}

// Report is the state at this moment, sorted by name.
func (s *Status) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Draining: s.draining, Starting: !s.serving, Degraded: []DegradedPart{}}
	select {
	case <-s.ready:
		r.Ready = !s.draining
	default:
		r.Waiting = slices.Sorted(maps.Keys(s.waiting))
	}
	for _, name := range slices.Sorted(maps.Keys(s.parts)) {
		if p := s.parts[name]; p.detail != "" {
			r.Degraded = append(r.Degraded, DegradedPart{Part: name, Detail: p.detail, Since: p.since})
		}
	}
	return r
}

var degradedDesc = prometheus.NewDesc("sallyport_degraded", "1 while the part does not do its work; /readyz says why.", []string{"part"}, nil)

// Describe is part of prometheus.Collector.
func (s *Status) Describe(ch chan<- *prometheus.Desc) { ch <- degradedDesc }

// Collect is part of prometheus.Collector: one gauge for each part that was ever set.
func (s *Status) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.parts {
		v := 0.0
		if p.detail != "" {
			v = 1
		}
		ch <- prometheus.MustNewConstMetric(degradedDesc, prometheus.GaugeValue, v, name)
	}
}
