package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/audit/otlp"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// openAudit opens the audit log that the flags name and lets the daemon drive it. Off is a nil log, which records nothing.
func openAudit(s streams, d *daemon.Daemon, f *auditFlags) (*audit.Log, error) {
	set, err := f.read()
	if err != nil {
		return nil, daemon.Unable(err)
	}
	if f.destination == auditOff {
		return nil, nil //nolint:nilnil // a nil log is the one that is off
	}
	sink, err := openSink(s, d, f, set.rotation)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	options := audit.Options{Instance: hostname(), Allows: set.share, Fold: set.fold, Pseudonymise: set.key, Sync: sink.sync, Stop: true}
	health := newAuditHealth(d.Status, d.Log, time.Now, f.strict())
	options.Observe = health.wrote
	if f.strict() {
		room := reserve{free: sink.free, bytes: set.reserve, health: health}
		if err := room.known(); err != nil {
			return nil, errors.Join(daemon.Unable(err), sink.close(context.Background()))
		}
		options.Scarce = room.scarce
	}
	log := audit.New(sink, options)
	d.Task("audit health", func(ctx context.Context) error { return health.watch(ctx, log.Stalled) })
	if err := watchKey(d, f, log); err != nil {
		return nil, errors.Join(err, sink.close(context.Background()))
	}
	log.Event(audit.Event{Time: time.Now(), Name: audit.EventStart, Mode: cmp.Or(f.mode, auditBounded), Allows: set.share.String(), Fold: max(set.fold, 0)})
	driveAudit(d, log, sink)
	registerAudit(d.Registry, log)
	return log, nil
}

// auditSink is where the lines go: the standard output, a file, or a collector.
type auditSink struct {
	io.Writer
	sync func() error          // nil where nothing is durable
	free func() (int64, error) // bytes of the disk; nil where there is none
	// abandon ends a Write that waits for somebody else; nil where none does.
	abandon func()
	close   func(context.Context) error
}

func openSink(s streams, d *daemon.Daemon, f *auditFlags, rotation audit.Rotation) (auditSink, error) {
	switch {
	case f.file():
		file, err := openAuditFile(d, f, rotation)
		if err != nil {
			return auditSink{}, err
		}
		return auditSink{Writer: file, sync: file.Sync, free: file.Free, close: func(context.Context) error { return file.Close() }}, nil
	case f.destination == auditOTLP:
		sink, err := otlp.New(context.Background())
		if err != nil {
			return auditSink{}, fmt.Errorf("--audit otlp: %w", err)
		}
		return auditSink{Writer: sink, abandon: sink.Abandon, close: sink.Close}, nil
	}
	return auditSink{Writer: s.out, close: func(context.Context) error { return nil }}, nil
}

// openAuditFile opens the file, has SIGHUP open it anew, and counts how often it is set aside.
func openAuditFile(d *daemon.Daemon, f *auditFlags, rotation audit.Rotation) (*audit.File, error) {
	rotations := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_audit_rotations_total", Help: "Times that the audit file was set aside, or could not be.",
	}, []string{"outcome"})
	rotation.Observe = func(err error) {
		if err == nil {
			rotations.WithLabelValues("done").Inc()
			return
		}
		rotations.WithLabelValues("failed").Inc()
		d.Log.Error("the audit file could not be set aside, it grows on", "err", err)
	}
	file, err := audit.OpenRotated(f.destination, rotation)
	if err != nil {
		return nil, err
	}
	if f.strict() && !file.Durable() {
		return nil, errors.Join(fmt.Errorf("--audit-mode strict: %s is no regular file, and nothing on it is durable", f.destination), file.Close())
	}
	d.OnHangup("audit", file.Reopen)
	if rotation.Size > 0 {
		d.Registry.MustRegister(rotations)
	}
	return file, nil
}

// watchKey reads the key of pseudonyms, now and whenever its file changes.
func watchKey(d *daemon.Daemon, f *auditFlags, log *audit.Log) error {
	if f.secret == "" {
		return nil
	}
	first := true
	return d.WatchFiles(f.secret, func(files []daemon.File) error {
		if len(files) != 1 || files[0].Err != nil {
			return daemon.Invalid(errors.New("--audit-pseudonym-key-file is one file of at least 32 bytes"))
		}
		key, err := readKey(files[0].Data)
		if err != nil {
			return daemon.Invalid(fmt.Errorf("--audit-pseudonym-key-file: %w", err))
		}
		log.SetKey(key)
		if !first {
			log.Event(audit.Event{Time: time.Now(), Name: audit.EventPseudonyms, Outcome: outcomeOK, Added: []string{key.ID()}})
		}
		first = false
		return nil
	})
}

// driveAudit runs the log until the last call was answered, so that no decision is missing from it.
func driveAudit(d *daemon.Daemon, log *audit.Log, sink auditSink) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	d.Closer("audit", func(ctx context.Context) error {
		stop()
		lost := log.Dropped()
		if sink.abandon != nil {
			defer time.AfterFunc(flushWithin, sink.abandon).Stop()
		}
		var err error
		select {
		case err = <-done:
			err = errors.Join(err, sink.close(ctx))
		case <-ctx.Done():
			// The writer hangs to the end: what waits behind it is lost, and what it has in hand may be.
			d.Log.Error("the audit log's writer does not return; records that waited for it are lost", "lost", log.Counts().Waiting)
			return context.Cause(ctx)
		}
		if n := log.Dropped(); n > lost {
			d.Log.Error("audit records could not be written at the end", "lost", n-lost)
		}
		return err
	})
}

// flushWithin is how long an ending gate waits for a collector.
const flushWithin = 3 * time.Second

// registerAudit exports the log's figures, as of the scrape.
func registerAudit(registry *prometheus.Registry, log *audit.Log) {
	for name, metric := range map[string]struct {
		help string
		read func(audit.Counts) uint64
	}{
		"sallyport_audit_records_total":      {"What was meant for the audit log: decisions and events, the greatest sequence.", func(c audit.Counts) uint64 { return c.Recorded }},
		"sallyport_audit_folded_total":       {"Denials that are told by their count, since one like them was just recorded.", func(c audit.Counts) uint64 { return c.Folded }},
		"sallyport_audit_sampled_out_total":  {"Allows that --audit-allows left out.", func(c audit.Counts) uint64 { return c.Unsampled }},
		"sallyport_audit_dropped_total":      {"Audit records that were lost: the queue was full, or the write failed. The log says so in their place.", func(c audit.Counts) uint64 { return c.Dropped }},
		"sallyport_audit_write_errors_total": {"Writes of the audit log that failed.", func(c audit.Counts) uint64 { return c.WriteErrors }},
	} {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: metric.help}, func() float64 { return float64(metric.read(log.Counts())) }))
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_audit_waiting", Help: "Audit records that wait for the writer."},
		func() float64 { return float64(log.Counts().Waiting) }))
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_audit_stalled_seconds", Help: "How long the writer has had the batch that is under way."},
		func() float64 { return log.Stalled().Seconds() }))
}

// The outcomes of events.
const (
	outcomeOK        = "ok"
	outcomePartly    = "partly"
	outcomeFailed    = "failed"
	outcomeRecovered = "recovered"
)

// eventOf is an event that went as err says.
func eventOf(name, part string, err error) audit.Event {
	e := audit.Event{Time: time.Now(), Name: name, Part: part, Outcome: outcomeOK}
	switch {
	case daemon.IsPartly(err):
		e.Outcome, e.Detail = outcomePartly, err.Error()
	case err != nil:
		e.Outcome, e.Detail = outcomeFailed, err.Error()
	}
	return e
}

// loadEvent is a load of files, good or bad. It names those that are in force as they stand on disk, without the data beside them that
// others speak of, whose names end in one of beside: a folder may hold any number of those, and the digest knows them.
func loadEvent(files []fileState, part string, err error, beside ...string) audit.Event {
	e := eventOf(audit.EventConfig, part, err)
	for _, file := range files {
		data := slices.ContainsFunc(beside, func(suffix string) bool { return strings.HasSuffix(file.Name, suffix) })
		if file.ok() && !data {
			e.Files = append(e.Files, file.Name)
		}
	}
	e.Count = uint64(len(e.Files))
	return e
}

// storeEvent is a store that failed, or is there again.
func storeEvent(part, detail string, ok bool) audit.Event {
	e := audit.Event{Time: time.Now(), Name: audit.EventStore, Part: part, Outcome: outcomeFailed, Detail: detail}
	if ok {
		e.Outcome = outcomeRecovered
	}
	return e
}

// decisions writes authorization decisions into the audit log.
type decisions struct {
	log *audit.Log
	// strict says that allows are written by Witness.
	strict bool
}

// Record implements authz.Recorder.
func (a decisions) Record(d *authz.Decision, r *authz.Request) {
	if a.log == nil || a.strict && d.Verdict == authz.Allow {
		return
	}
	record := decisionRecord(d, r)
	// What Witness could not see through may stand in the log as an allow, and only this line says that it was not answered. Other denials
	// have no claim to a line of their own: whoever hangs up a thousand times would have a thousand.
	record.Kept = d.Witnessed
	a.log.Record(record)
}

// Witness implements authz.Witness, for a log whose records are durable before an allow is answered.
func (a decisions) Witness(ctx context.Context, d *authz.Decision, r *authz.Request) error {
	return a.log.Commit(ctx, decisionRecord(d, r))
}

// witness is nil where allows do not wait for the log.
func (a decisions) witness() authz.Witness {
	if !a.strict {
		return nil
	}
	return a
}

// boundToCertificate is the kind of `cnf` that can be proved here (RFC 8705 section 3.1).
const boundToCertificate = "x5t#S256"

func decisionRecord(d *authz.Decision, r *authz.Request) audit.Record {
	requestID, _ := r.Headers.One("x-request-id")
	traceparent, _ := r.Headers.One("traceparent")
	_, forwarded := r.Headers.One("x-forwarded-for")
	record := audit.Record{
		Time: d.Time, DecisionID: d.ID, Verdict: d.Verdict.String(), Reason: d.Reason.String(), Detail: d.Detail,
		Client: d.Client, Place: d.Fault.Told(), Keyword: d.Fault.Keyword, Service: d.ServiceName(), Rule: d.RuleName(), PolicyDigest: d.Policy,
		Method: r.Method, Host: r.Host, Caller: d.Caller, Object: d.Object, Forwarded: forwarded > 0,
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
		record.TokenKey, record.Algorithm = p.KeyID, p.Algorithm
		if p.Confirmation.Bound {
			record.Confirmation = boundToCertificate
		}
	}
	if s := d.Shadow; s != nil {
		record.ShadowVerdict, record.ShadowReason, record.ShadowDetail = s.Verdict.String(), s.Reason.String(), s.Detail
		record.ShadowRule, record.ShadowPolicy = s.RuleName(), s.Policy
	}
	return record
}
