package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/authz/jwks"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/revocation"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// firstTry bounds how long a new issuer's keys are waited for before a policy that names it comes into force.
const firstTry = 5 * time.Second

// wireAuthz makes a daemon the authorization gate.
func wireAuthz(ctx context.Context, s streams, d *daemon.Daemon, f *authzFlags) error {
	log, err := openAudit(s, d, &f.audit)
	if err != nil {
		return err
	}
	denials := f.revocations.denials(time.Now())
	audited := decisions{log, f.audit.strict()}
	recorders := authz.Recorders{audited}
	if denials != nil {
		recorders = append(recorders, denials)
	}
	record, err := openRecord(d, f.record, f.service)
	if err != nil {
		return err
	}
	if record != nil {
		recorders = append(recorders, record)
	}
	g := &authzGate{
		daemon:     d,
		service:    f.service,
		whole:      f.policy,
		authorizer: authz.New(authz.Options{Service: f.service, Recorder: recorders, Witness: audited.witness()}),
		denials:    denials,
		audit:      log,

		revocationsTried: new(atomic.Bool),
		issuers:          map[string]*issuerKeys{},
		pool:             jwt.NewPool(jwt.PoolOptions{}),
		fileOK: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_policy_file_ok", Help: "1 if the file on disk is in force, 0 if its last good version is, or nothing of it.",
		}, []string{"file"}),
		info: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_policy_info", Help: "Always 1; the label is the policy in force."}, []string{"digest"}),
	}
	g.install, g.lookups, g.shadows = g.authorizer.Use, newLookupDoors(d), newShadowState(d)
	g.keys = newKeyFiles(d, "")
	g.lookups.audit = log
	d.Registry.MustRegister(g.fileOK, g.info, keyAges{g})
	extauthz.Register(d.Server, extauthz.New(g.authorizer, extauthz.NewMetrics(d.Registry)))
	d.Task("issuer keys", g.run)
	if err := g.openRevocations(ctx, &f.revocations); err != nil {
		return err
	}
	if err := g.serveAdmin(ctx, &f.revocations, log); err != nil {
		return err
	}
	if err := d.WatchFiles(f.policy, g.load, policy.Beside()...); err != nil {
		return err
	}
	g.tryPolicy(f.shadowPolicy)
	return nil
}

// authzGate keeps the authorizer's bundle in step with the policy files: the policy, and one key set and verifier per issuer.
type authzGate struct {
	daemon     *daemon.Daemon
	service    string
	whole      string // the path given as --policy
	authorizer *authz.Authorizer
	install    func(*authz.Bundle)
	prefix     string         // of the names of its parts in the status: two policies may name one issuer
	denials    *authz.Denials // nil where nobody could ask
	audit      *audit.Log     // nil where it is off
	shadows    *shadowState
	fileOK     *prometheus.GaugeVec
	info       *prometheus.GaugeVec

	mu       sync.Mutex
	running  context.Context // of the key sets; nil until the daemon runs
	refresh  sync.WaitGroup
	snapshot *policy.Snapshot
	// lookups are those of the policy in force.
	lookups *lookupDoors
	// keys are those that stand in files of their own.
	keys *keyFiles
	// pool is what the issuers' verifiers share: the memory of proved tokens, and the turns at proving new ones.
	pool *jwt.Pool
	// revocations is nil where --revocations names none.
	revocations revocation.Store
	// revocationsTried says that the store was asked, well or badly.
	revocationsTried *atomic.Bool
	files            []fileState
	issuers          map[string]*issuerKeys
	// shown is issuers as a scrape sees them, which must not wait for a reload.
	shown atomic.Pointer[map[string]*issuerKeys]
}

// issuerKeys is one issuer's key set, its refreshing, and the verifier built on it.
type issuerKeys struct {
	issuer   *policy.Issuer
	keys     *jwks.Set
	verifier *jwt.Verifier
	stop     context.CancelFunc // nil until it refreshes
}

// run lets the key sets refresh until the daemon ends.
func (g *authzGate) run(ctx context.Context) error {
	g.mu.Lock()
	g.running = ctx
	for name, keys := range g.issuers {
		g.start(name, keys)
	}
	g.lookups.watch(ctx, &g.refresh)
	g.refresh.Go(func() { g.keys.watch(ctx) })
	g.mu.Unlock()
	<-ctx.Done()
	g.refresh.Wait()
	return nil
}

// load takes a snapshot of the policy files. What is good of it is in force when load returns; the error says what is not.
func (g *authzGate) load(files []daemon.File) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.digest()
	err := g.loadLocked(files)
	e := loadEvent(g.files, g.prefix+g.whole, err, policy.Beside()...)
	e.PolicyBefore, e.Policy = before, g.digest()
	g.audit.Event(e)
	return err
}

// digest is that of the policy in force; "" if there is none.
func (g *authzGate) digest() string {
	if g.snapshot == nil {
		return ""
	}
	return g.snapshot.Policy.Digest
}

func (g *authzGate) loadLocked(files []daemon.File) error {
	first := g.snapshot == nil
	next, states := g.read(files)
	var errs strictyaml.Errors
	for _, file := range states {
		errs = append(errs, file.Errors...)
	}
	single := len(files) > 0 && files[0].Name == g.whole
	if first && single && len(errs) > 0 {
		return daemon.Invalid(errors.New("the policy does not load:\n" + errs.Pretty()))
	}
	if g.service != "" && next.Policy.Service(g.service) == nil {
		return daemon.Invalid(fmt.Errorf("the policy has no service `%s`, which --service names: %w", g.service, orNone(errs)))
	}
	if next.Policy.Revocation != nil && g.revocations == nil {
		return daemon.Invalid(errors.New("the policy asks for `revocation`, and no --revocations says where revoked tokens are kept"))
	}
	keys, err := g.keys.take(next.Policy)
	if err != nil {
		return cannotRead(err)
	}
	lookups, err := g.lookups.take(next.Policy)
	if err != nil {
		g.keys.drop(keys)
		return daemon.Invalid(fmt.Errorf("the policy's lookups cannot be opened:\n%w", err))
	}
	g.use(next, lookups, keys)
	g.report(next, states)
	err = notInForce(g.files, states, "what it names is answered with 421")
	if first && err != nil {
		err = daemon.Partly(err) // a folder without one good file serves nothing, and waits for one
	}
	g.files = states
	return err
}

// read makes the policy of what can be read, and says what became of each file.
func (g *authzGate) read(files []daemon.File) (*policy.Snapshot, []fileState) {
	var readable []policy.File
	var states []fileState
	unreadable := map[string]bool{}
	for _, file := range files {
		if file.Err == nil {
			readable = append(readable, policy.File{Name: file.Name, Data: file.Data})
			continue
		}
		data, ok := g.snapshot.LastGood(file.Name)
		if ok {
			readable = append(readable, policy.File{Name: file.Name, Data: data})
		}
		unreadable[file.Name] = true
		states = append(states, fileState{Name: file.Name, LastGood: ok, Errors: strictyaml.Errors{
			{File: file.Name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: file.Err.Error()},
		}})
	}
	next := policy.LoadAt(g.snapshot, readable, time.Now())
	for _, file := range next.Files {
		if !unreadable[file.Name] {
			states = append(states, fileState(file))
		}
	}
	slices.SortFunc(states, func(a, b fileState) int { return cmp.Compare(a.Name, b.Name) })
	return next, states
}

func orNone(errs strictyaml.Errors) error {
	if len(errs) == 0 {
		return errors.New("write the service's name as the policy has it")
	}
	return errs
}

// use brings a snapshot into force, as one bundle.
func (g *authzGate) use(next *policy.Snapshot, lookups authz.Lookups, held keySet) {
	issuers := map[string]*issuerKeys{}
	verifiers := authz.Verifiers{}
	var fresh []*issuerKeys
	for name, issuer := range next.Policy.Issuers {
		keys := g.keysFor(name, issuer)
		if keys.stop == nil {
			fresh = append(fresh, keys)
		}
		issuers[name] = keys
		verifiers[name] = keys.verifier
	}
	if g.running != nil {
		g.try(fresh)
	}
	for name, old := range g.issuers {
		if kept := issuers[name]; kept == nil || kept.keys != old.keys {
			g.drop(name, old, kept == nil)
		}
	}
	for name, keys := range issuers {
		if g.issuers[name] == nil && g.running == nil && g.prefix == "" {
			g.daemon.Status.Expect(g.prefix + "jwks:" + name)
		}
		g.start(name, keys)
	}
	switch {
	case g.running != nil:
		g.lookups.watch(g.running, &g.refresh)
	case g.prefix == "": // nobody waits for what a trial needs
		g.lookups.expect()
	}
	var before *policy.Policy
	if g.snapshot != nil {
		before = g.snapshot.Policy
		g.info.DeleteLabelValues(before.Digest)
	}
	g.info.WithLabelValues(next.Policy.Digest).Set(1)
	g.issuers, g.snapshot = issuers, next
	g.shown.Store(&issuers)
	bundle := &authz.Bundle{Policy: next.Policy, Verifiers: verifiers, UnverifiedIssuer: g.pool.UnverifiedIssuer, Lookups: lookups}
	held.into(bundle)
	if g.revocations != nil {
		bundle.Revocations = startView{g.revocations.View(), g.revocationsTried}
	}
	g.install(bundle)
	g.keys.keep(held)
	g.lookups.release(before)
}

// keysFor keeps what did not change: an unchanged issuer keeps its keys, its verified tokens and its counters; one whose rules for
// tokens changed keeps its keys.
func (g *authzGate) keysFor(name string, issuer *policy.Issuer) *issuerKeys {
	old := g.issuers[name]
	switch {
	case old != nil && old.issuer.Digest == issuer.Digest:
		return old
	case old != nil && sameSource(old.issuer, issuer):
		return &issuerKeys{issuer: issuer, keys: old.keys, verifier: jwt.New(issuer, old.keys, jwt.Options{Pool: g.pool}), stop: old.stop}
	}
	keys := jwks.New(issuer.Keys, issuer.Issuer, jwks.Options{MaxStale: issuer.MaxStale, Observe: g.observe(name)})
	return &issuerKeys{issuer: issuer, keys: keys, verifier: jwt.New(issuer, keys, jwt.Options{Pool: g.pool})}
}

func sameSource(a, b *policy.Issuer) bool {
	x, y := a.Keys, b.Keys
	return a.Issuer == b.Issuer && a.MaxStale == b.MaxStale && x.URL == y.URL && x.File == y.File && x.Discovery == y.Discovery &&
		x.CAFile == y.CAFile && x.PlainHTTP == y.PlainHTTP && slices.Equal(x.Networks, y.Networks)
}

// try asks new issuers for their keys once, together, before requests depend on them.
func (g *authzGate) try(fresh []*issuerKeys) {
	ctx, cancel := context.WithTimeout(g.running, firstTry)
	defer cancel()
	var all sync.WaitGroup
	for _, keys := range fresh {
		all.Go(func() { _ = keys.keys.Try(ctx) }) // how it went is in the set's health
	}
	all.Wait()
}

// start lets a key set refresh, once the daemon runs.
func (g *authzGate) start(name string, keys *issuerKeys) {
	if g.running == nil || keys.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(g.running)
	keys.stop = cancel
	g.refresh.Go(func() {
		if err := keys.keys.Run(ctx); err != nil && ctx.Err() == nil {
			g.daemon.Log.Error("an issuer's keys are no longer refreshed", "issuer", name, "err", err)
		}
	})
}

func (g *authzGate) drop(name string, old *issuerKeys, forget bool) {
	if old.stop != nil {
		old.stop()
	}
	if forget {
		g.daemon.Status.Forget(g.prefix + "jwks:" + name)
	}
}

// observe tells log and status how each attempt to read an issuer's keys went.
func (g *authzGate) observe(name string) func(jwks.Attempt) {
	part := g.prefix + "jwks:" + name
	well := true // one attempt is made at a time
	return func(a jwks.Attempt) {
		if e, worth := keysEvent(g.prefix+name, a, well); worth {
			g.audit.Event(e)
		}
		well = a.Err == nil
		defer g.daemon.Status.Tried(part)
		if a.Err != nil {
			g.daemon.Status.Set(part, daemon.Degraded(a.Err.Error()))
			g.daemon.Log.Warn("an issuer's keys could not be read", "issuer", name, "err", a.Err)
			return
		}
		g.daemon.Status.Set(part, daemon.OK())
		if a.Changed {
			g.daemon.Log.Info("an issuer's keys changed", "issuer", name, "keys", a.Keys, "refused", a.Refused, "skipped", a.Skipped)
		}
		for _, refusal := range a.Refusals {
			g.daemon.Log.Warn("a key was refused", "issuer", name, "why", refusal)
		}
	}
}

// keysEvent is what the audit log is told of an attempt: a change, a first failure and its end.
func keysEvent(issuer string, a jwks.Attempt, well bool) (e audit.Event, worth bool) {
	e = eventOf(audit.EventKeys, issuer, a.Err)
	e.Added, e.Removed, e.Count = a.Added, a.Removed, uint64(max(a.Keys, 0))
	if a.Err == nil && !well {
		e.Outcome = outcomeRecovered
	}
	return e, a.Changed || well != (a.Err == nil)
}

// report tells metrics and log what became of each file.
func (g *authzGate) report(next *policy.Snapshot, states []fileState) {
	g.fileOK.Reset()
	for _, file := range states {
		ok := 0.0
		if file.ok() {
			ok = 1
		}
		g.fileOK.WithLabelValues(file.Name).Set(ok)
	}
	if g.prefix == "" {
		g.shadows.services(next.Policy, time.Now())
	}
	for _, warning := range next.Policy.Warnings {
		g.daemon.Log.Warn("policy: "+strings.ReplaceAll(warning.Error(), "\n", " "), slog.String("hint", warning.Hint))
	}
}

// keyAges exports how old each issuer's keys are, as of the scrape.
type keyAges struct{ gate *authzGate }

var (
	ageDesc   = prometheus.NewDesc("sallyport_jwks_age_seconds", "Time since the issuer last confirmed its key set; absent until it has.", []string{"issuer"}, nil)
	countDesc = prometheus.NewDesc("sallyport_jwks_keys", "Usable keys of the issuer.", []string{"issuer"}, nil)
	failDesc  = prometheus.NewDesc("sallyport_jwks_failures_total", "Attempts to read the issuer's keys that failed.", []string{"issuer"}, nil)
)

// Describe implements prometheus.Collector.
func (keyAges) Describe(ch chan<- *prometheus.Desc) { ch <- ageDesc; ch <- countDesc; ch <- failDesc }

// Collect implements prometheus.Collector.
func (k keyAges) Collect(ch chan<- prometheus.Metric) {
	issuers := k.gate.shown.Load()
	if issuers == nil {
		return
	}
	for name, keys := range *issuers {
		stats := keys.keys.Stats()
		if !stats.Fetched.IsZero() {
			ch <- prometheus.MustNewConstMetric(ageDesc, prometheus.GaugeValue, time.Since(stats.Fetched).Seconds(), name)
		}
		ch <- prometheus.MustNewConstMetric(countDesc, prometheus.GaugeValue, float64(stats.Keys), name)
		ch <- prometheus.MustNewConstMetric(failDesc, prometheus.CounterValue, float64(stats.Failures), name)
	}
}
