package daemon

import (
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminHandler serves the admin port: three read-only pages for probes and scrapers, with no password because there is nothing to
// protect, and therefore nothing else unless the command adds it. No profiler, no configuration, no decisions. It compares whole
// paths, for a ServeMux would also answer with redirects to cleaned ones.
func adminHandler(status *Status, registry *prometheus.Registry, log *slog.Logger, more map[string]http.Handler) http.Handler {
	pages := map[string]http.Handler{
		"/healthz": http.HandlerFunc(healthz),
		"/readyz":  readyz(status),
		"/metrics": scrape(registry, log),
	}
	maps.Copy(pages, more)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		page, ok := pages[r.URL.Path]
		switch {
		case !ok:
			http.Error(w, "not found: /healthz, /readyz and /metrics are here", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "this port is read-only", http.StatusMethodNotAllowed)
		default:
			page.ServeHTTP(w, r)
		}
	})
}

// healthz says that the process serves, whatever its parts say: a restart would mend none of them.
func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// readyz says whether to send calls here: not before everything was tried once, and not while draining.
func readyz(status *Status) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		report := status.Report()
		w.Header().Set("Content-Type", "application/json")
		if !report.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		_ = e.Encode(report)
	})
}

// scrape shows the metrics to a Prometheus server.
func scrape(registry *prometheus.Registry, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 8, Timeout: 20 * time.Second,
	})
}
