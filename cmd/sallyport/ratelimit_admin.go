package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// watched are the limiter's events: counted in metrics, and the strays among them kept for whoever asks.
type watched struct {
	ratelimit.Observer
	strays *ratelimit.Strays
}

// Stray implements ratelimit.Observer.
func (w watched) Stray(domain string, entries []limits.Entry) {
	w.Observer.Stray(domain, entries)
	w.strays.Note(domain, entries)
}

// UnknownDomain implements ratelimit.Observer.
func (w watched) UnknownDomain(domain string, descriptors int) {
	w.Observer.UnknownDomain(domain, descriptors)
	w.strays.Note(domain, nil)
}

// counters are a gate's, as the admin API sees them.
type counters struct {
	*ratelimit.Limiter
	strays *ratelimit.Strays
}

// Strays implements adminapi.Limits.
func (c counters) Strays() []ratelimit.Stray { return c.strays.Latest() }

// serveAdmin opens the admin API's socket and serves it while the daemon runs.
func (g *ratelimitGate) serveAdmin(ctx context.Context) error {
	if g.flags.adminAPI == "" {
		return nil
	}
	listener, err := adminapi.Listen(ctx, g.flags.adminAPI)
	if err != nil {
		return daemon.Unable(err)
	}
	g.daemon.Task("admin API", func(ctx context.Context) error {
		return adminapi.Serve(ctx, listener, nil, adminapi.Options{
			Limits: counters{g.limiter, g.strays}, Counted: func(c adminapi.Counted) { tellCounted(g.daemon, g.audit, c) },
		})
	})
	return nil
}

// tellCounted writes down who looked at which counter, or changed it: a change in the audit log too.
func tellCounted(d *daemon.Daemon, log *audit.Log, c adminapi.Counted) {
	who := callerName(c.Caller)
	keys := make([]string, len(c.Entries))
	for i, e := range c.Entries {
		keys[i] = e.Key
	}
	attributes := []any{"call", c.Call, "domain", c.Domain, "keys", strings.Join(keys, " "), "caller", who}
	if c.Call == "grant" {
		attributes = append(attributes, "hits", c.Hits)
	}
	if c.Err != nil {
		attributes = append(attributes, "err", c.Err)
		d.Log.Warn("a call of the admin API failed", attributes...)
	} else {
		d.Log.Info("a counter was asked about or changed", attributes...)
	}
	if c.Call != "reset" && c.Call != "grant" {
		return
	}
	record := audit.Record{Time: time.Now(), Verdict: "allow", Reason: c.Call, Service: "admin", Rule: "limits", Host: c.Domain, Caller: who, Kept: true}
	for _, e := range c.Entries {
		nameWho(&record, e.Key, e.Value)
	}
	if c.Err != nil {
		record.Verdict, record.Detail = "deny", "not_done"
	}
	log.Record(record)
}

// errNoAdminAPI is what the commands say that ask a running gate.
var errNoAdminAPI = errors.New("--admin-api is missing: unix:/path, as the gate was given it")
