package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/revocation"
	"github.com/sallyport-dev/sallyport/cmd/internal/adminapi"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
)

// defaultWhy is how many denials a gate with an admin API keeps.
const defaultWhy = 10_000

// denials is the gate's memory of its denials; nil where nobody could ask.
func (f *revocationFlags) denials(now time.Time) *authz.Denials {
	if f.adminAPI == "" {
		return nil
	}
	return authz.NewDenials(cmp.Or(f.why, defaultWhy), now)
}

// revocationFlags say where revoked tokens are kept, and where an operator can add to them and ask.
type revocationFlags struct {
	store    string
	dial     redisdial.Options
	replicas int
	adminAPI string
	why      int
}

func (f *revocationFlags) bind(flags *pflag.FlagSet) {
	flags.StringVar(&f.store, "revocations", "", "where revoked tokens are kept: redis://HOST:PORT/DB and its kin, shared by all replicas, or file:///PATH for one gate alone (--replicas 1)")
	flags.StringVar(&f.dial.Username, "revocations-username", "", "the store's user (ACL)")
	flags.StringVar(&f.dial.PasswordFile, "revocations-password-file", "", "file with the store's password; read again for every connection")
	flags.StringVar(&f.dial.CAFile, "revocations-ca", "", "authorities that sign the store's certificate, PEM")
	flags.IntVar(&f.replicas, "replicas", 0, "how many gates there are; a file of revocations is only for 1, which must be said")
	flags.StringVar(&f.adminAPI, "admin-api", "", "unix:/PATH of the admin API, by which sallyport why and sallyport token revoke ask; mode 0600, off unless given")
	flags.IntVar(&f.why, "why", 0, "how many denials are kept for sallyport why, about 1 KB each (default 10000 with --admin-api)")
}

func (f *revocationFlags) check() error {
	path, isFile := strings.CutPrefix(f.store, "file://")
	switch {
	case isFile && !strings.HasPrefix(path, "/"):
		return errors.New("--revocations: a file needs an absolute path: file:///var/lib/sallyport/revoked")
	case isFile && f.replicas != 1:
		return errors.New("--revocations: a file is read by this gate alone: say --replicas 1, or give all gates one redis:// URL")
	case (isFile || f.store == "") && f.dial != redisdial.Options{}:
		return errors.New("--revocations-username, --revocations-password-file and --revocations-ca belong to a redis:// URL in --revocations")
	case f.why < 0:
		return errors.New("--why: how many denials are kept cannot be negative")
	case f.why > 0 && f.adminAPI == "":
		return errors.New("--why: denials are asked about over --admin-api, which is not given")
	}
	return nil
}

// openRevocations builds the store that the flags name, nil for none. It does not dial: a store that is away makes its view stale,
// and what that means is the policy's to say.
func (g *authzGate) openRevocations(ctx context.Context, f *revocationFlags) error {
	if err := f.check(); err != nil {
		return daemon.Unable(err)
	}
	if f.store == "" {
		return nil
	}
	store, err := g.revocationStore(ctx, f)
	if err != nil {
		return daemon.Unable(err)
	}
	g.revocations = store
	d := g.daemon
	d.Status.Expect("revocations")
	d.Task("revocations", store.Run)
	d.Task("revocations health", g.watchRevocations)
	view := store.View()
	d.Registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_revocation_age_seconds", Help: "Time since the view of revoked tokens was last known to be whole."},
			func() float64 { return view.Age(time.Now()).Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "sallyport_revocations", Help: "Revocations in force."},
			func() float64 { return float64(view.Len()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_revocations_applied_total", Help: "Revocations that came to this gate."},
			func() float64 { return float64(view.Applied()) }),
	)
	return nil
}

func (g *authzGate) revocationStore(ctx context.Context, f *revocationFlags) (revocation.Store, error) {
	if path, ok := strings.CutPrefix(f.store, "file://"); ok {
		return revocation.NewFile(path, revocation.FileOptions{Leeway: g.leeway})
	}
	parsed, err := redisdial.Parse(f.store)
	if err != nil {
		return nil, fmt.Errorf("--revocations: %w (a user goes into --revocations-username, a password into the file of --revocations-password-file)", err)
	}
	parsed.Username, parsed.PasswordFile, parsed.CAFile = f.dial.Username, f.dial.PasswordFile, f.dial.CAFile
	client, err := redisdial.New(parsed)
	if err != nil {
		return nil, err
	}
	g.daemon.Closer("revocations", func(context.Context) error { return client.Close() })
	stream, err := revocation.NewStream(client, revocation.StreamOptions{Leeway: g.leeway})
	if err != nil {
		return nil, err
	}
	g.daemon.Registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_revocations_reasserted_total", Help: "Revocations that the store had lost and this gate wrote again."},
			func() float64 { return float64(stream.Reasserted()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "sallyport_revocation_failures_total", Help: "Looks at the store of revocations that failed."},
			func() float64 { return float64(stream.Failures()) }),
	)
	// A store that is away may come back; one that forgets must not be begun with.
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if err := stream.Probe(ctx); errors.Is(err, revocation.ErrUnfit) {
		return nil, err
	}
	return stream, nil
}

// watchRevocations keeps the store's condition up to date until the daemon ends. At the start it looks often, until the store has
// answered or had its time: the gate is not called ready before.
func (g *authzGate) watchRevocations(ctx context.Context) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	begun, trying, last := time.Now(), true, true
	told := g.tellRevocations(0)
	for {
		ok, text := g.revocations.Health()
		if trying && (ok || time.Since(begun) > firstTry) {
			trying = false
			g.revocationsTried.Store(true)
			g.daemon.Status.Tried("revocations")
			ticker.Reset(time.Second)
		}
		condition := daemon.OK()
		if !ok {
			condition = daemon.Degraded(text + "; once the view is stale, the policy's when_stale decides")
		}
		g.daemon.Status.Set("revocations", condition)
		told = g.tellRevocations(told)
		if ok != last && !trying {
			g.audit.Event(storeEvent("revocations", text, ok))
			if last = ok; ok {
				g.daemon.Log.Info("the store of revocations answers", "state", text)
			} else {
				g.daemon.Log.Warn("the store of revocations is degraded", "why", text)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// tellRevocations tells the audit log of the revocations that came since so many were told, and returns how many are told now.
func (g *authzGate) tellRevocations(told uint64) uint64 {
	applied := g.revocations.View().Applied()
	if applied != told {
		g.audit.Event(audit.Event{Time: time.Now(), Name: audit.EventRevocations, Outcome: outcomeOK, Part: "revocations", Count: applied - told})
	}
	return applied
}

// leeway is how far the clock of an issuer, named by its `iss`, may be from ours: of its names in the policy, the most patient's.
func (g *authzGate) leeway(iss string) time.Duration {
	most := time.Duration(-1)
	for _, issuer := range g.named(iss) {
		most = max(most, issuer.Leeway)
	}
	if most < 0 {
		return revocation.DefaultLeeway
	}
	return most
}

// named are the issuers of the policy in force whose `iss` it is. It takes no lock, so that a reload keeps nobody waiting.
func (g *authzGate) named(iss string) []*policy.Issuer {
	var issuers []*policy.Issuer
	if shown := g.shown.Load(); shown != nil {
		for _, known := range *shown {
			if known.issuer.Issuer == iss {
				issuers = append(issuers, known.issuer)
			}
		}
	}
	return issuers
}

// startView is the store's view as requests see it. Until the store was asked for the first time, nothing is known, and no policy
// allows that; after it, a view that could not be read is merely as old as can be.
type startView struct {
	*revocation.View
	tried *atomic.Bool
}

// Revoked implements authz.Revocations.
func (v startView) Revoked(p *authz.Principal, now time.Time) (revoked bool, age time.Duration) {
	if revoked, age = v.View.Revoked(p, now); age == authz.NeverKnown && v.tried.Load() {
		age--
	}
	return revoked, age
}

// keptAtLeast is how long an entry is kept whatever the policy says of its issuer today: a reload that lets tokens live longer must not
// find them forgotten.
const keptAtLeast = 24 * time.Hour

// Revoke implements adminapi.Revoker by the policy in force. The operator names an issuer as the policy does; what is kept is its
// `iss`, which no reload changes and which two names of one issuer share.
func (g *authzGate) Revoke(ctx context.Context, r adminapi.Request) (until time.Time, err error) {
	if g.revocations == nil {
		return time.Time{}, adminapi.ErrOff
	}
	var iss string
	if shown := g.shown.Load(); shown != nil && (*shown)[r.Issuer] != nil {
		iss = (*shown)[r.Issuer].issuer.Issuer
	}
	issuers := g.named(iss)
	if len(issuers) == 0 {
		return time.Time{}, fmt.Errorf("%q: %w", r.Issuer, adminapi.ErrNoIssuer)
	}
	entry := revocation.Entry{Issuer: iss, Value: r.Value, At: r.At, Kind: map[adminapi.Kind]revocation.Kind{
		adminapi.Token: revocation.JTI, adminapi.Subject: revocation.Subject, adminapi.Client: revocation.Client,
		adminapi.Session: revocation.Session, adminapi.WholeIssuer: revocation.Issuer,
	}[r.Kind]}
	if entry.At.IsZero() {
		entry.At = time.Now()
	}
	entry.Until = lastOf(issuers, r, entry.At, time.Now())
	if err := g.revocations.Revoke(ctx, entry); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", adminapi.ErrStore, err)
	}
	return entry.Until, nil
}

// lastOf is when no token that a request speaks of can live any more: it was issued by At, or is in somebody's hands now, within both
// clocks' leeway, for at most the longest lifetime.
func lastOf(issuers []*policy.Issuer, r adminapi.Request, at, now time.Time) time.Time {
	kept := keptAtLeast
	for _, issuer := range issuers {
		kept = max(kept, issuer.MaxLifetime+3*issuer.Leeway)
	}
	if r.Kind == adminapi.Token {
		return now.Add(kept)
	}
	return at.Add(kept)
}

// serveAdmin opens the admin API's socket and serves it while the daemon runs.
func (g *authzGate) serveAdmin(ctx context.Context, f *revocationFlags, log *audit.Log) error {
	if f.adminAPI == "" {
		return nil
	}
	listener, err := adminapi.Listen(ctx, f.adminAPI)
	if err != nil {
		return daemon.Unable(err)
	}
	g.daemon.Task("admin API", func(ctx context.Context) error {
		return adminapi.Serve(ctx, listener, g, adminapi.Options{
			Audit: func(c adminapi.Call) { g.auditCall(log, c) }, Denials: g.denials,
			Asked: func(a adminapi.Asked) {
				g.daemon.Log.Info("somebody asked why", "decision", a.Question.DecisionID, "request", a.Question.RequestID, "caller", callerName(a.Caller), "err", a.Err)
			},
		})
	})
	return nil
}

// callerName is who called, as far as the kernel knows.
func callerName(c adminapi.Caller) string {
	if !c.Known {
		return "unknown"
	}
	return "uid " + strconv.FormatUint(uint64(c.UID), 10) + ", pid " + strconv.FormatInt(int64(c.PID), 10)
}

// auditCall writes down who revoked what, in the log and in the audit log.
func (g *authzGate) auditCall(log *audit.Log, c adminapi.Call) {
	who := callerName(c.Caller)
	record := audit.Record{
		Time: time.Now(), Verdict: "allow", Reason: "revoked", Service: "admin", Rule: "revoke", Detail: c.Request.Kind.String(),
		Issuer: c.Request.Issuer, Caller: who, Kept: true,
	}
	switch c.Request.Kind {
	case adminapi.Token:
		record.TokenID = c.Request.Value
	case adminapi.Client:
		record.ClientID = c.Request.Value
	case adminapi.Subject, adminapi.Session:
		record.Subject = c.Request.Value
	}
	if c.Err != nil {
		record.Verdict, record.Reason = "deny", "not_revoked"
		g.daemon.Log.Warn("a call of the admin API failed", "kind", c.Request.Kind.String(), "issuer", c.Request.Issuer, "caller", who, "err", c.Err)
	} else {
		g.daemon.Log.Info("tokens were revoked", "kind", c.Request.Kind.String(), "issuer", c.Request.Issuer, "caller", who, "until", c.Until)
	}
	log.Record(record)
}
