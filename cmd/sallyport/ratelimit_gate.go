package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

const (
	// probeEvery is how often the store is asked whether it is fit, and probeWithin how long it may take to say so.
	probeEvery  = 5 * time.Second
	probeWithin = 2 * time.Second
)

// wireRatelimit makes a daemon the rate-limit gate.
func wireRatelimit(s streams, d *daemon.Daemon, f *ratelimitFlags) error {
	log, err := openAudit(s, d, &f.audit)
	if err != nil {
		return err
	}
	metrics := rls.NewMetrics()
	d.Registry.MustRegister(metrics)
	options := ratelimit.Options{Replicas: f.replicas, Observer: metrics}
	memory := memstore.New(memstore.Options{MaxKeys: f.maxKeys})
	registerMemory(d, memory)
	if f.inMemory() {
		options.Store, options.StoreIsLocal = memory, true
	} else {
		store, err := openStore(d, f, log)
		if err != nil {
			return err
		}
		options.Store, options.Local = store, memory
	}
	limiter := ratelimit.New(options)
	decisions := audited{limiter, log}
	server := rls.New(decisions, rls.Options{Metrics: metrics, OnUnjudged: decisions.unjudged, OnPanic: func(value any, stack []byte) {
		d.Log.Error("a panic was caught while a request was decided", "panic", panicText(value), "stack", string(stack))
	}})
	server.Register(d.Server)
	g := &ratelimitGate{daemon: d, audit: log, whole: f.limits, limiter: limiter, metrics: metrics}
	return d.WatchFiles(f.limits, g.load)
}

// panicText is what a panic may say in the log: a runtime error's text, and of any other value its type, for it may hold what the
// request held.
func panicText(value any) string {
	if err, ok := value.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("a value of type %T", value)
}

// openStore builds the client of a shared store. It does not dial: a store that is away is degraded, not a failed start.
func openStore(d *daemon.Daemon, f *ratelimitFlags, log *audit.Log) (*redisstore.Store, error) {
	parsed, err := redisdial.Parse(f.store)
	if err != nil {
		return nil, daemon.Unable(fmt.Errorf("--store: %w (a user goes into --store-username, a password into the file of --store-password-file)", err))
	}
	parsed.Username, parsed.PasswordFile, parsed.CAFile = f.dial.Username, f.dial.PasswordFile, f.dial.CAFile
	client, err := redisdial.New(parsed)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	d.Closer("store", func(context.Context) error { return client.Close() })
	store, err := redisstore.New(client, redisstore.Options{KeyPrefix: f.keyPrefix})
	if err != nil {
		return nil, daemon.Unable(err)
	}
	d.Status.Expect("store")
	d.Task("store probe", func(ctx context.Context) error { return watchStore(ctx, d, store, log) })
	for name, counter := range map[string]struct {
		help string
		read func() uint64
	}{
		"sallyport_ratelimit_store_clock_steps_total":   {"Batches that found a counter of a later time: the store's clock stepped back.", store.ClockSteps},
		"sallyport_ratelimit_store_lost_counters_total": {"Counters that the store acknowledged and no longer has: it was emptied, evicts, or lost a failover.", store.LostCounters},
	} {
		d.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: counter.help}, func() float64 { return float64(counter.read()) }))
	}
	return store, nil
}

// watchStore keeps the store's condition up to date until the daemon ends.
func watchStore(ctx context.Context, d *daemon.Daemon, store *redisstore.Store, log *audit.Log) error {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	last := ""
	for {
		condition, text := probe(ctx, store)
		d.Status.Set("store", condition)
		d.Status.Tried("store")
		if text != last {
			log.Event(storeEvent("store", text, text == ""))
			if last = text; text == "" {
				d.Log.Info("the store answers")
			} else {
				d.Log.Warn("the store is degraded", "why", text)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func probe(ctx context.Context, store *redisstore.Store) (daemon.Condition, string) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	warnings, err := store.Probe(ctx)
	switch {
	case err != nil:
		text := err.Error() + "; each rule does what its on_store_failure says until the store answers"
		return daemon.Degraded(text), text
	case len(warnings) > 0:
		text := strings.Join(warnings, "; ")
		return daemon.Degraded(text), text
	}
	return daemon.OK(), ""
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

// ratelimitGate keeps the limiter's table in step with the limits files.
type ratelimitGate struct {
	daemon   *daemon.Daemon
	audit    *audit.Log // nil where it is off
	whole    string     // the path given as --limits
	limiter  *ratelimit.Limiter
	metrics  *rls.Metrics
	snapshot *limits.Snapshot
	files    []fileState
}

// load takes a snapshot of the limits files. What is good of it is in force when load returns; the error says what is not.
func (g *ratelimitGate) load(files []daemon.File) error {
	err := g.take(files)
	g.audit.Event(loadEvent(g.files, g.whole, err))
	return err
}

func (g *ratelimitGate) take(files []daemon.File) error {
	next := limits.Load(g.snapshot, limitsSources(files))
	errs := next.Errors()
	states := make([]fileState, len(next.Files))
	for i, file := range next.Files {
		states[i] = fileState(file)
		g.metrics.Loaded(file.OK())
	}
	first := g.snapshot == nil
	if first && next.Table == nil {
		return daemon.Invalid(errors.New("the limits do not load:\n" + errs.Pretty()))
	}
	g.limiter.Use(next.Table)
	g.snapshot = next
	err := notInForce(g.files, states, "its domain has no limits")
	g.files = states
	return err
}
