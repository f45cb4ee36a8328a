package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/compat"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
	"github.com/sallyport-dev/sallyport/ratelimit/statsd"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// ratelimitGate is the second gate: its parts, and the limits in force.
type ratelimitGate struct {
	flags    *ratelimitFlags
	daemon   *daemon.Daemon
	audit    *audit.Log // nil where it is off
	limiter  *ratelimit.Limiter
	metrics  *rls.Metrics
	stats    *statsd.Stats // nil without --compat
	server   *rls.Server
	stores   []*sharedStore
	strays   *ratelimit.Strays // nil where nobody can ask for them
	whole    string            // the path that the limits come from
	snapshot *limits.Snapshot
	files    []fileState
}

func newRatelimitGate(f *ratelimitFlags) *ratelimitGate {
	g := &ratelimitGate{flags: f, metrics: rls.NewMetrics(), whole: f.limits}
	if f.adminAPI != "" {
		g.strays = &ratelimit.Strays{}
	}
	if f.reference != nil {
		g.stats = statsd.New()
		g.metrics = rls.NewMetricsWith(rls.MetricsOptions{Milliseconds: f.reference.Scrape.Milliseconds, TwoKeys: true})
	}
	return g
}

// wire makes a daemon the rate-limit gate.
func (g *ratelimitGate) wire(ctx context.Context, s streams, d *daemon.Daemon) error {
	g.daemon = d
	log, err := openAudit(s, d, &g.flags.audit)
	if err != nil {
		return err
	}
	g.audit = log
	d.Registry.MustRegister(g.metrics)
	options, err := g.limiterOptions()
	if err != nil {
		return err
	}
	g.limiter = ratelimit.New(options)
	if err := g.serve(); err != nil {
		return err
	}
	if err := g.serveAdmin(ctx); err != nil {
		return err
	}
	if err := g.serveHTTP(ctx); err != nil {
		return err
	}
	if err := g.pushStats(); err != nil {
		return err
	}
	return g.watchLimits()
}

// limiterOptions opens the stores and says how requests are decided.
func (g *ratelimitGate) limiterOptions() (ratelimit.Options, error) {
	f := g.flags
	options := ratelimit.Options{Replicas: f.replicas, Observer: g.metrics, StoreTimeout: f.storeTimeout}
	if r := f.reference; r != nil {
		options.Observer = ratelimit.Observers(g.metrics, g.stats)
		options.ShadowMode, options.QuotaMode = r.Shadow, r.Quota
		// Zero stands for the default, and a ratio of zero calls every hit near.
		options.NearLimitRatio = max(float32(r.NearLimitRatio), math.SmallestNonzeroFloat32)
	}
	if g.strays != nil {
		options.Observer = watched{options.Observer, g.strays}
	}
	memory := memstore.New(memstore.Options{MaxKeys: f.maxKeys})
	registerMemory(g.daemon, memory)
	if f.inMemory() {
		options.Store, options.StoreIsLocal = memory, true
		return options, nil
	}
	store, err := g.openStores()
	options.Store, options.Local = store, memory
	return options, err
}

// serve registers the service.
func (g *ratelimitGate) serve() error {
	decisions := audited{g.limiter, g.audit}
	headers, err := g.flags.responseHeaders()
	if err != nil {
		return daemon.Unable(err)
	}
	options := rls.Options{Metrics: g.metrics, Headers: headers, OnUnjudged: decisions.unjudged, OnPanic: func(value any, stack []byte) {
		g.daemon.Log.Error("a panic was caught while a request was decided", "panic", panicText(value), "stack", string(stack))
	}}
	if g.flags.bound.any() {
		options.Admits = g.flags.bound.admits
	}
	var limiter rls.Limiter = decisions
	if r := g.flags.reference; r != nil {
		limiter = counted{decisions, g.stats}
		options.ReferenceErrors, options.DynamicMetadata = true, r.DynamicMetadata
	}
	g.server = rls.New(limiter, options)
	g.server.Register(g.daemon.Server)
	return nil
}

// watchLimits loads the limits and keeps them in step with their source.
func (g *ratelimitGate) watchLimits() error {
	f := g.flags
	switch r := f.reference; {
	case f.limits != "":
		return g.daemon.WatchFiles(f.limits, g.load)
	case f.xds.given():
		source, err := f.xds.source()
		if err != nil {
			return daemon.Unable(err)
		}
		return g.watchXDS(source)
	case r.ConfigType == compat.FromXDS:
		return g.watchXDS(referenceXDS(r))
	default:
		return g.watchRuntime(r)
	}
}

// watchRuntime is watchLimits of the reference's runtime folder.
func (g *ratelimitGate) watchRuntime(r *compat.Settings) error {
	if r.HealthyWithConfig {
		g.daemon.Status.Expect(partLimits)
	}
	root, keep, links := r.Runtime.Folder()
	g.whole = root
	tree := daemon.Tree{Root: root, Keep: keep, Links: links}
	if r.StartWithoutConfig {
		g.daemon.TryTree(tree, g.load)
		return nil
	}
	return g.daemon.WatchTree(tree, g.load)
}

// panicText is what a panic may say in the log: a runtime error's text, and of any other value its type, for it may hold what the
// request held.
func panicText(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}

func registerMemory(d *daemon.Daemon, memory *memstore.Store) {
	d.Registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_ratelimit_memory_keys", Help: "Counters that this process holds."},
			func() float64 { return float64(memory.Len()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_ratelimit_memory_overflowed_total", Help: "Charges that shared their rule's one counter because --store-max-keys was reached."},
			func() float64 { return float64(memory.Overflowed()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_ratelimit_memory_clock_steps_total", Help: "Times that this process's clock stepped back."},
			func() float64 { return float64(memory.ClockSteps()) }),
	)
}

// use takes limits into use.
func (g *ratelimitGate) use(table *limits.Table) {
	g.limiter.Use(table)
	if table == nil {
		return
	}
	if rules := g.starved(table); len(rules) > 0 {
		g.daemon.Log.Warn("limits are below --replicas, so that the share of each is nothing: they refuse everything wherever this process counts for itself",
			"replicas", g.flags.replicas, "rules", strings.Join(rules[:min(len(rules), maxStarvedTold)], " "), "count", len(rules))
	}
	if err := g.flags.bound.unknownDomains(table.Domains()); err != nil {
		g.daemon.Log.Warn("a client is bound to a domain without limits", "why", err)
	}
}

// maxStarvedTold is how many rules without a share are named.
const maxStarvedTold = 10

// starved are the rules that have a limit and, of it, no share for one of --replicas, as far as this process ever counts for itself.
func (g *ratelimitGate) starved(table *limits.Table) []string {
	var paths []string
	by := uint64(max(g.flags.replicas, 1))
	for _, r := range table.Rules() {
		if !g.flags.inMemory() && r.OnStoreFailure != limits.FailLocal {
			continue
		}
		if slices.ContainsFunc(r.Windows, func(w window.Window) bool {
			full := w.Capacity(r.Algorithm)
			return full > 0 && uint64(min(full, w.Limit)) < by
		}) {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// load takes a snapshot of the limits files. What is good of it is in force when load returns; the error says what is not.
func (g *ratelimitGate) load(files []daemon.File) error {
	err := g.take(files)
	g.audit.Event(loadEvent(g.files, g.whole, err))
	return err
}

func (g *ratelimitGate) take(files []daemon.File) error {
	next := limits.LoadWith(g.snapshot, limitsSources(files), g.buildOptions())
	errs := next.Errors()
	states := make([]fileState, len(next.Files))
	for i, file := range next.Files {
		states[i] = fileState(file)
		g.loaded(file.OK())
	}
	first := g.snapshot == nil
	if first && next.Table == nil {
		return daemon.Invalid(errors.New("the limits do not load:\n" + errs.Pretty()))
	}
	g.use(next.Table)
	g.daemon.Status.Tried(partLimits)
	g.snapshot = next
	err := notInForce(g.files, states, "its domain has no limits")
	g.files = states
	return err
}

// loaded counts a file or a domain that was taken into use, or refused.
func (g *ratelimitGate) loaded(ok bool) {
	g.metrics.Loaded(ok)
	if g.stats != nil {
		g.stats.Loaded(ok)
	}
}

// partLimits is what readiness waits for where HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED asks it to.
const partLimits = "limits"

// buildOptions say how files become limits.
func (g *ratelimitGate) buildOptions() limits.BuildOptions {
	if r := g.flags.reference; r != nil {
		return limits.BuildOptions{MergeDomains: r.MergeDomains, SpareDenied: r.SpareDenied}
	}
	return limits.BuildOptions{}
}
