package daemon

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Build is what the binary says of itself. Empty fields are shown as "unknown".
type Build struct{ Version, Revision string }

// metrics are the daemon's own instruments; the services add theirs to the same registry.
type metrics struct {
	panics  prometheus.Counter
	reloads *prometheus.CounterVec
	refused *prometheus.CounterVec
}

// newRegistry makes a registry that is nobody else's, with the runtime's and the process's own figures.
func newRegistry(b Build) (*prometheus.Registry, metrics) {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sallyport_build_info", Help: "Always 1; the labels say what runs.",
	}, []string{"version", "revision", "go"})
	info.WithLabelValues(orDefault(b.Version, "unknown"), orDefault(b.Revision, "unknown"), runtime.Version()).Set(1)
	m := metrics{
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_grpc_panics_total", Help: "Panics that reached the last net and were answered with Internal. Each one is a defect.",
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_reloads_total", Help: "Changes found on disk: loaded, refused while what was in force stays, or loaded partly (also at the start).",
		}, []string{"result"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_tls_refused_total", Help: "TLS handshakes that failed, by reason: version, client_id, handshake, gone.",
		}, []string{"reason"}),
	}
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		info, m.panics, m.reloads, m.refused)
	return registry, m
}

// registerExpiry shows when the certificate in use ends, so that an alert can come before the outage.
func registerExpiry(registry *prometheus.Registry, c *certificates) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_tls_certificate_expiry_seconds", Help: "When the certificate in use expires, in seconds since 1970.",
	}, func() float64 { return float64(c.current.Load().leaf.NotAfter.Unix()) }))
}
