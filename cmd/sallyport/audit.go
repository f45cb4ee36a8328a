package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// openAudit opens the audit log that --audit names and lets the daemon drive it. Off is a nil log, which records nothing.
func openAudit(s streams, d *daemon.Daemon, destination string) (*audit.Log, error) {
	if destination == "off" {
		return nil, nil //nolint:nilnil // a nil log is the one that is off
	}
	w := s.out
	var file *audit.File
	if destination != "stdout" {
		var err error
		if file, err = audit.Open(destination); err != nil {
			return nil, daemon.Unable(err)
		}
		w = file
		d.OnHangup("audit", file.Reopen)
	}
	host, _ := os.Hostname()
	health := &auditHealth{status: d.Status, log: d.Log, now: time.Now}
	health.wrote(nil)
	log := audit.New(w, audit.Options{Instance: host, Observe: health.wrote})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	// Flushed after the last call was answered, so that no decision is missing from the log.
	d.Closer("audit", func(context.Context) error {
		stop()
		err := <-done
		if file != nil {
			if closed := file.Close(); err == nil {
				err = closed
			}
		}
		return err
	})
	d.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sallyport_audit_dropped_total", Help: "Audit records that found the queue full. The log says so in its place.",
	}, func() float64 { return float64(log.Dropped()) }))
	d.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "sallyport_audit_write_errors_total", Help: "Writes of the audit log that failed.",
	}, func() float64 { return float64(log.WriteErrors()) }))
	return log, nil
}

// auditHealth tells operators that decisions are made which the audit log does not show. It is for one goroutine.
type auditHealth struct {
	status *daemon.Status
	log    *slog.Logger
	now    func() time.Time

	said    time.Time // when the log was last told of a failure
	telling bool      // the failure that goes on was told
}

// auditQuiet is how often the log is told that writes fail: each decision may be one.
const auditQuiet = time.Minute

// wrote takes the outcome of a write.
func (h *auditHealth) wrote(err error) {
	if err == nil {
		h.status.Set("audit", daemon.OK())
		if h.telling {
			h.telling = false
			h.log.Info("the audit log is written again")
		}
		return
	}
	h.status.Set("audit", daemon.Degraded("decisions go on and are not in the audit log; the records are counted as dropped: "+err.Error()))
	if now := h.now(); h.said.IsZero() || now.Sub(h.said) >= auditQuiet {
		h.said, h.telling = now, true
		h.log.Error("the audit log is not written, decisions go on", "err", err)
	}
}

// decisions writes authorization decisions into the audit log.
type decisions struct{ log *audit.Log }

// Record implements authz.Recorder.
func (a decisions) Record(d *authz.Decision, r *authz.Request) {
	requestID, _ := r.Headers.One("x-request-id")
	traceparent, _ := r.Headers.One("traceparent")
	record := audit.Record{
		Time: d.Time, DecisionID: d.ID, Verdict: d.Verdict.String(), Reason: d.Reason.String(), Detail: d.Detail,
		Service: d.ServiceName(), Rule: d.RuleName(), PolicyDigest: d.Policy,
		Method: r.Method, Host: r.Host, Caller: d.Caller, Object: d.Object,
		RequestID: requestID, Traceparent: traceparent, Status: d.Status(), Latency: time.Since(d.Time),
	}
	if d.Address.IsValid() {
		record.Address = d.Address.String()
	}
	if d.Rule != nil && len(d.Rule.Patterns) > 0 {
		record.Route = d.Rule.Patterns[0].String()
	}
	if p := d.Principal; p != nil {
		record.Issuer, record.Subject, record.Kind = p.Identity.Issuer, p.Identity.Subject, p.Identity.Kind.String()
		record.ClientID, record.TokenID = p.ClientID, p.TokenID
	}
	if s := d.Shadow; s != nil {
		record.ShadowVerdict, record.ShadowReason, record.ShadowDetail = s.Verdict.String(), s.Reason.String(), s.Detail
		record.ShadowRule, record.ShadowPolicy = s.RuleName(), s.Policy
	}
	a.log.Record(record)
}
