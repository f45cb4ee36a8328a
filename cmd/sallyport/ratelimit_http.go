package main

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/pprof" // the default mux, which it registers with, is served nowhere
	"slices"

	"github.com/sallyport-dev/sallyport/ratelimit/compat"
)

// serveHTTP opens the ports that speak HTTP beside the admin port: /json and /healthcheck, and the reference's Prometheus port.
func (g *ratelimitGate) serveHTTP(ctx context.Context) error {
	if g.flags.http != "" {
		pages := map[string]http.Handler{"/json": g.server.JSON(), "/healthcheck": http.HandlerFunc(g.healthcheck)}
		if err := g.daemon.ServeHTTP(ctx, "--http", g.flags.http, paths(pages)); err != nil {
			return err
		}
	}
	r := g.flags.reference
	if r == nil || r.Sink != compat.Prometheus {
		return nil
	}
	address, err := listenAt("PROMETHEUS_ADDR", r.Scrape.Address)
	if err != nil {
		return err
	}
	return g.daemon.ServeHTTP(ctx, "PROMETHEUS_ADDR", address, paths(map[string]http.Handler{r.Scrape.Path: g.daemon.Scrape()}))
}

// paths serves whole paths and nothing else.
func paths(pages map[string]http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		page.ServeHTTP(w, r)
	})
}

// healthcheck says whether to send calls here, in the reference's words. A store that is away is no reason not to, unless
// REDIS_HEALTH_CHECK_ACTIVE_CONNECTION says so: then each rule's on_store_failure is not asked, for nobody asks.
func (g *ratelimitGate) healthcheck(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if !g.healthy() {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "OK")
}

func (g *ratelimitGate) healthy() bool { return !g.missesStore() && g.daemon.Status.Report().Ready }

// missesStore says that a store is away and that the health check is to say so.
func (g *ratelimitGate) missesStore() bool {
	r := g.flags.reference
	return r != nil && r.HealthyWithStore && slices.ContainsFunc(g.stores, func(s *sharedStore) bool { return !s.fit.Load() })
}

// probed has gRPC's health service say what /healthcheck does.
func (g *ratelimitGate) probed() { g.daemon.RefuseHealth(g.missesStore()) }

// pages are those of the admin port that the flags add: the reference's debug port, and profiles.
func (g *ratelimitGate) pages() map[string]http.Handler {
	pages := map[string]http.Handler{}
	if g.flags.reference != nil {
		pages["/"] = http.HandlerFunc(index)
		pages["/rlconfig"] = http.HandlerFunc(g.listLimits)
		pages["/stats"] = http.HandlerFunc(g.listStats)
	}
	if g.flags.pprof {
		for _, path := range []string{"", "allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
			pages["/debug/pprof/"+path] = http.HandlerFunc(pprof.Index)
		}
		pages["/debug/pprof/profile"] = http.HandlerFunc(pprof.Profile)
		pages["/debug/pprof/trace"] = http.HandlerFunc(pprof.Trace)
	}
	return pages
}

// debugPages are the pages of the reference's debug port, as its index lists them. The profiles are a flag's here.
var debugPages = map[string]string{
	"/rlconfig": "print out the currently loaded configuration for debugging",
	"/stats":    "print out stats",
	"/healthz":  "say that the process serves",
	"/readyz":   "say whether to send calls here, and what is degraded",
	"/metrics":  "metrics for Prometheus",
}

func index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, path := range slices.Sorted(maps.Keys(debugPages)) {
		_, _ = io.WriteString(w, path+": "+debugPages[path]+"\n")
	}
}

func (g *ratelimitGate) listLimits(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if table := g.limiter.Table(); table != nil {
		_ = table.WriteList(w)
	}
}

func (g *ratelimitGate) listStats(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = g.stats.WriteTo(w)
}
