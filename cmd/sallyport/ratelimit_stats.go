package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/compat"
	"github.com/sallyport-dev/sallyport/ratelimit/statsd"
)

// counted tells the reference's statistics of each call.
type counted struct {
	audited
	stats *statsd.Stats
}

// Spend implements rls.Limiter.
func (c counted) Spend(ctx context.Context, req ratelimit.Request) (ratelimit.Response, error) {
	begun := time.Now()
	resp, err := c.audited.Spend(ctx, req)
	c.stats.Called(time.Since(begun))
	if err != nil {
		var store *ratelimit.StoreError
		c.stats.Failed(errors.As(err, &store))
	}
	return resp, err
}

// count shows the connections of a store as the reference does.
func (s *sharedStore) count(stats *statsd.Stats) {
	scope := "ratelimit." + s.names.pool + "."
	// The pool makes a connection where it has none idle, and says how many it has.
	made := func() uint64 { return uint64(s.client.PoolStats().Misses) }
	active := func() uint64 { return uint64(s.client.PoolStats().TotalConns) }
	stats.Gauge(scope+"cx_active", active)
	stats.Counter(scope+"cx_total", made)
	stats.Counter(scope+"cx_local_close", func() uint64 {
		m, a := made(), active()
		return m - min(m, a)
	})
}

// pushStats sends the reference's statistics where its environment says.
func (g *ratelimitGate) pushStats() error {
	r := g.flags.reference
	if r == nil || r.Sink != compat.Statsd && r.Sink != compat.DogStatsd {
		return nil
	}
	o := statsd.Options{
		Network: r.Stats.Network, Address: net.JoinHostPort(r.Stats.Server.Host, strconv.Itoa(r.Stats.Server.Port)),
		Tags: r.Stats.Tags, FlushInterval: r.Stats.FlushInterval, Dog: r.Sink == compat.DogStatsd, Report: g.statsReport,
	}
	if o.Dog {
		o.Network = "udp"
		for _, m := range r.Stats.Mogrifiers {
			o.Mogrifiers = append(o.Mogrifiers, statsd.Mogrifier(m))
		}
	}
	sink, err := statsd.NewSink(g.stats, o)
	if err != nil {
		return daemon.Unable(err)
	}
	g.daemon.Task("statsd", sink.Run)
	return nil
}

// statsReport tells log and status whether statistics arrive.
func (g *ratelimitGate) statsReport(err error) {
	if err != nil {
		g.daemon.Status.Set("statsd", daemon.Degraded("statistics wait for their server: "+err.Error()))
		g.daemon.Log.Warn("statistics wait for their server", "err", err)
		return
	}
	g.daemon.Status.Set("statsd", daemon.OK())
	g.daemon.Log.Info("statistics arrive at their server again")
}
