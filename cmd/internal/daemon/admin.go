package daemon

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newAdmin makes the admin port's server: three read-only pages for probes and scrapers, with no password because there is nothing
// to protect, and therefore nothing else. No profiler, no configuration, no decisions.
func newAdmin(status *Status, registry *prometheus.Registry, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:                      adminHandler(status, registry, log),
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 30 * time.Second,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               16 << 10,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// adminHandler compares whole paths. A ServeMux would also answer with redirects to cleaned ones.
func adminHandler(status *Status, registry *prometheus.Registry, log *slog.Logger) http.Handler {
	scrape := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), MaxRequestsInFlight: 8, Timeout: 20 * time.Second,
	})
	pages := map[string]http.Handler{
		"/healthz": http.HandlerFunc(healthz),
		"/readyz":  readyz(status),
		"/metrics": scrape,
	}
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
