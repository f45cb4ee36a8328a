package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
)

const (
	// probeEvery is how often the store is asked whether it is fit, and probeWithin how long it may take to say so.
	probeEvery  = 5 * time.Second
	probeWithin = 2 * time.Second
)

// The names of the two stores: as parts of the status, in metrics, and as the reference calls their pools.
type storeNames struct{ part, metric, pool string }

var (
	mainStore      = storeNames{"store", "store", "redis_pool"}
	perSecondStore = storeNames{"per-second store", "per_second_store", "redis_per_second_pool"}
)

// sharedStore is one store of counters that replicas share.
type sharedStore struct {
	*redisstore.Store
	names  storeNames
	client redis.UniversalClient
	fit    atomic.Bool // it answered when it was asked last
}

// openStores makes the store of all counters, which may be two.
func (g *ratelimitGate) openStores() (ratelimit.Store, error) {
	f := g.flags
	dial, err := redisdial.Parse(f.store)
	if err != nil {
		return nil, daemon.Unable(fmt.Errorf("--store: %w (a user goes into --store-username, a password into the file of --store-password-file)", err))
	}
	f.dial.URL = dial.URL
	shared, err := g.openStore(mainStore, f.dial)
	if err != nil {
		return nil, err
	}
	store, parted := g.calm(shared), shared.Clustered()
	if f.perSecond != nil {
		second, err := g.openStore(perSecondStore, *f.perSecond)
		if err != nil {
			return nil, err
		}
		store, parted = ratelimit.Split(g.calm(second), store), true
	}
	return g.remember(store, parted), nil
}

// rememberFor is how long a counter is remembered to be over its limit, at most. A flood costs a store one trip in that time for each
// counter and replica; and hits that are given back by another replica or an operator are there after it. Where a batch is decided in parts,
// by a cluster or by two stores, a counter may be over for an instant, by hits that are taken back at once: there it is a second.
const (
	rememberFor        = 10 * time.Second
	rememberForInParts = time.Second
)

// remember keeps floods away from the stores.
func (g *ratelimitGate) remember(store ratelimit.Store, parted bool) ratelimit.Store {
	o := ratelimit.DenialsOptions{Longest: rememberFor}
	if parted {
		o.Longest = rememberForInParts
	}
	denials := ratelimit.NewDenials(store, o)
	g.daemon.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sallyport_ratelimit_refused_from_memory_total",
		Help: "Requests that were refused without asking the store about the counter that refused them: it was known to be over its limit.",
	}, func() float64 { return float64(denials.Refused()) }))
	return denials
}

// slotsPerLane is how many slots of a cluster stand or fall together for the breaker: few enough that a lane is seldom of two nodes.
const slotsPerLane = redisstore.Slots / 64

// calm keeps requests from a store that fails, and takes batches apart for a cluster.
func (g *ratelimitGate) calm(s *sharedStore) ratelimit.Store {
	d, part := g.daemon, s.names.part
	o := ratelimit.BreakerOptions{OnChange: func(open bool) {
		if open {
			d.Log.Warn("the " + part + " fails and is left alone until a probe succeeds")
		} else {
			d.Log.Info("the " + part + " is asked again")
		}
	}}
	if s.Clustered() {
		o.Lanes = redisstore.Slots / slotsPerLane
		o.Lane = func(key string) int { return s.Slot(key) / slotsPerLane }
		o.ProbeKey = func(lane int) string { return s.KeyIn(lane * slotsPerLane) }
	}
	breaker := ratelimit.NewBreaker(s, o)
	d.Task(part+" breaker", breaker.Run)
	name := "sallyport_ratelimit_" + s.names.metric
	d.Registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name + "_breaker_open", Help: "Parts of the store that are left alone because they failed: 1 for a server, up to 64 for a cluster."},
			func() float64 { return float64(breaker.Open()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name + "_breaker_opened_total", Help: "Times that a part of the store failed and was left alone."},
			func() float64 { return float64(breaker.Opened()) }),
	)
	if !s.Clustered() {
		return breaker
	}
	spread := ratelimit.NewSpread(breaker, s.Slot)
	d.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: name + "_unrefunded_total", Help: "Parts of refused requests whose hits may have stayed spent, because the store did not take them back.",
	}, func() float64 { return float64(spread.Unrefunded()) }))
	return spread
}

// openStore builds the client of a shared store. It does not dial: a store that is away is degraded, not a failed start.
func (g *ratelimitGate) openStore(names storeNames, o redisdial.Options) (*sharedStore, error) {
	d := g.daemon
	client, err := redisdial.New(o)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	d.Closer(names.part, func(context.Context) error { return client.Close() })
	store, err := redisstore.New(client, redisstore.Options{KeyPrefix: g.flags.keyPrefix})
	if err != nil {
		return nil, daemon.Unable(err)
	}
	shared := &sharedStore{Store: store, names: names, client: client}
	g.stores = append(g.stores, shared)
	d.Status.Expect(names.part)
	d.Task(names.part+" probe", func(ctx context.Context) error { return shared.watch(ctx, d, g.audit, g.probed) })
	shared.register(d.Registry)
	if g.stats != nil {
		shared.count(g.stats)
	}
	return shared, nil
}

func (s *sharedStore) register(registry *prometheus.Registry) {
	for name, counter := range map[string]struct {
		help string
		read func() uint64
	}{
		"clock_steps_total":   {"Batches that found a counter of a later time: the store's clock stepped back.", s.ClockSteps},
		"lost_counters_total": {"Counters that the store acknowledged and no longer has: it was emptied, evicts, or lost a failover.", s.LostCounters},
	} {
		name = "sallyport_ratelimit_" + s.names.metric + "_" + name
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: counter.help}, func() float64 { return float64(counter.read()) }))
	}
}

// watch keeps the store's condition up to date until the daemon ends, and calls probed after each look.
func (s *sharedStore) watch(ctx context.Context, d *daemon.Daemon, log *audit.Log, probed func()) error {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	last := ""
	for {
		condition, text := s.probe(ctx)
		probed()
		d.Status.Set(s.names.part, condition)
		d.Status.Tried(s.names.part)
		if text != last {
			log.Event(storeEvent(s.names.part, text, text == ""))
			if last = text; text == "" {
				d.Log.Info("the " + s.names.part + " answers")
			} else {
				d.Log.Warn("the "+s.names.part+" is degraded", "why", text)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *sharedStore) probe(ctx context.Context) (daemon.Condition, string) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	warnings, err := s.Probe(ctx)
	s.fit.Store(err == nil)
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
