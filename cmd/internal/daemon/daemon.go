package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// closeTimeout bounds each closer, and each wait for something that should have ended by itself.
const closeTimeout = 5 * time.Second

// Config is what Open needs beside the flags.
type Config struct {
	Options
	// Service is the full name of the gRPC service, which the health service answers for beside "".
	Service string
	// HealthNames are further names that the health service answers for.
	HealthNames []string
	// AdminPages are further pages of the admin port, by path, for GET and HEAD. They may hold no secret, for nobody is asked for
	// one there.
	AdminPages map[string]http.Handler
	// MaxRecvBytes is the largest message; zero is DefaultRecvBytes.
	MaxRecvBytes int
	// Build is shown by sallyport_build_info.
	Build Build
	// Log receives what the daemon has to say; nil says nothing.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Daemon is one gate's shell. Open makes it, the command wires its service into the exported fields, Run serves. The fields may be
// used from anywhere; the methods are for one goroutine, before Run.
type Daemon struct {
	// Server is where the gate registers its service, before Run.
	Server *grpc.Server
	// Status is where parts say how they fare.
	Status *Status
	// Registry is where parts put their metrics.
	Registry *prometheus.Registry
	// Log is the daemon's log.
	Log *slog.Logger

	config       Config
	metrics      metrics
	health       *health.Server
	serving      serving
	listener     net.Listener
	admin        *http.Server
	adminAddress net.Listener // nil: no admin port
	web          []webServer
	endStreams   context.CancelFunc
	tasks        []named
	closers      []named
	hangup       hangup
	pause        func(context.Context, time.Duration) // the drain delay
}

type named struct {
	name string
	run  func(context.Context) error
}

// Open reads the TLS files and binds the sockets, so that a taken port or a bad key ends the start before anything else is tried.
// Calls wait in the sockets' queues until Run. From here on SIGHUP and SIGPIPE end the process no more. Every error is an ExitUnable error. A daemon that is not run must be closed.
func Open(ctx context.Context, c Config) (*Daemon, error) {
	d, err := open(ctx, c)
	return d, Unable(err)
}

func open(ctx context.Context, c Config) (*Daemon, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	listen, admin, err := c.endpoints()
	if err != nil {
		return nil, err
	}
	d := &Daemon{Status: NewStatus(c.Now), Log: c.Log, config: c, health: health.NewServer(), pause: pause}
	d.Registry, d.metrics = newRegistry(c.Build)
	d.Registry.MustRegister(d.Status)
	ending, endStreams := context.WithCancel(context.WithoutCancel(ctx))
	d.endStreams = endStreams
	server := serverConfig{recvBytes: c.MaxRecvBytes, age: c.MaxConnectionAge, grace: c.MaxConnectionAgeGrace, ending: ending, panics: d.metrics.panics, log: c.Log}
	if c.TLS.Enabled() {
		certificates, err := d.loadTLS()
		if err != nil {
			return nil, err
		}
		server.credentials = newHandshakes(certificates)
	}
	d.Server = newServer(server)
	grpc_health_v1.RegisterHealthServer(d.Server, d.health)
	d.setHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if err := d.bind(ctx, listen, admin); err != nil {
		return nil, err
	}
	// To a daemon, a pipe that nobody reads any more (its log's or its audit log's) is a write that failed, not a reason to end: by
	// default the signal ends a process that writes to such a standard output.
	signal.Ignore(syscall.SIGPIPE)
	d.hangup.listen()
	d.Task("hangups", func(ctx context.Context) error { return d.hangup.run(ctx, d.Log) })
	return d, nil
}

// loadTLS reads the TLS files and has them watched.
func (d *Daemon) loadTLS() (*certificates, error) {
	c := &certificates{files: d.config.TLS, log: d.Log, now: d.config.Now, refused: d.metrics.refused, lines: throttle{now: d.config.Now},
		report: d.reporter("tls", "the last good certificate and authorities stay in use")}
	if err := c.load(); err != nil {
		return nil, err
	}
	registerExpiry(d.Registry, c)
	looks := d.hangup.look()
	d.Task("tls files", func(ctx context.Context) error { return c.watch(ctx, watch{now: looks}) })
	return c, nil
}

func (d *Daemon) bind(ctx context.Context, listen, admin endpoint) (err error) {
	mode := orDefault(d.config.SocketMode, 0o660)
	if d.listener, err = listen.listen(ctx, "--listen", mode); err != nil {
		return err
	}
	if d.config.Admin == "" {
		return nil
	}
	if d.adminAddress, err = admin.listen(ctx, "--admin", mode); err != nil {
		return errors.Join(err, d.listener.Close())
	}
	d.admin = newWebServer(adminHandler(d.Status, d.Registry, d.Log, d.config.AdminPages), d.Log)
	return nil
}

// Addr is where the gRPC service stands; with port 0 it holds the port that was found.
func (d *Daemon) Addr() net.Addr { return d.listener.Addr() }

// AdminAddr is where the admin port stands, or nil.
func (d *Daemon) AdminAddr() net.Addr {
	if d.adminAddress == nil {
		return nil
	}
	return d.adminAddress.Addr()
}

// Task adds long-lived work. It starts with Run and its context ends after the last call was answered, not at the signal: calls that
// finish still need their keys and their store. A task that returns an error ends the daemon, nil is allowed at any time.
func (d *Daemon) Task(name string, run func(context.Context) error) {
	d.tasks = append(d.tasks, named{name, run})
}

// Closer adds what is to be flushed or closed after the calls and the tasks have ended: the audit log, the store's connections. They
// run in the order of adding, each within 5 s.
func (d *Daemon) Closer(name string, run func(context.Context) error) {
	d.closers = append(d.closers, named{name, run})
}

// OnHangup adds what SIGHUP asks for beside a look at all files: a log that was moved away is opened anew. Its error is logged, and
// the gate serves on.
func (d *Daemon) OnHangup(name string, run func() error) {
	d.hangup.actions = append(d.hangup.actions, action{name, run})
}

// WatchFiles loads FILE or DIR now and hands over every later change while the daemon runs. An error of this first load is the
// start's: ExitUnable without a snapshot, ExitInvalid when changed refuses it; one marked by Partly is none. That one, and every later
// error of changed, is logged, counted, and shown in /readyz as "files:PATH" until the files are in force whole.
func (d *Daemon) WatchFiles(path string, changed func([]File) error, also ...string) error {
	w := &FileWatcher{Path: path, Also: also, Changed: changed, now: d.hangup.look(), Report: d.reporter("files:"+path, "what was in force stays in force")}
	if err := w.Load(); err != nil {
		return err
	}
	d.Task("files "+path, w.Run)
	return nil
}

// TryFiles is [Daemon.WatchFiles] for files that the daemon can do without: whatever is wrong with them at the start is told as a later
// error is, and waited out, even a path where nothing is yet.
func (d *Daemon) TryFiles(path string, changed func([]File) error, also ...string) {
	w := &FileWatcher{Path: path, Also: also, Changed: changed, now: d.hangup.look(), Report: d.reporter("files:"+path, "nothing of it is used")}
	w.look()
	w.Report = d.reporter("files:"+path, "what was used stays in use")
	d.Task("files "+path, w.Run)
}

// reporter tells log, metrics and status how a reload ended.
func (d *Daemon) reporter(part, kept string) func(error) {
	return func(err error) {
		switch {
		case IsPartly(err):
			d.metrics.reloads.WithLabelValues("partly").Inc()
			d.Status.Set(part, Degraded("what is on disk is in force in part: "+err.Error()))
			d.Log.Error("loaded in part", "part", part, "err", err)
		case err != nil:
			d.metrics.reloads.WithLabelValues("refused").Inc()
			d.Status.Set(part, Degraded(kept+"; what is on disk was refused: "+err.Error()))
			d.Log.Error("reload refused: "+kept, "part", part, "err", err)
		default:
			d.metrics.reloads.WithLabelValues("loaded").Inc()
			d.Status.Set(part, OK())
			d.Log.Info("reloaded", "part", part)
		}
	}
}

// Close gives the sockets back when Run was never reached. After Run it does nothing.
func (d *Daemon) Close() error {
	d.hangup.stop()
	d.endStreams()
	d.Server.Stop()
	err := ignore(net.ErrClosed, d.listener.Close())
	if d.adminAddress != nil {
		err = errors.Join(err, ignore(net.ErrClosed, d.adminAddress.Close()))
	}
	for _, w := range d.web {
		err = errors.Join(err, ignore(net.ErrClosed, w.listener.Close()))
	}
	return err
}

// WithSignals ends the context at the first SIGINT or SIGTERM. The second one finds the system's own default again and ends the
// process at once.
func WithSignals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Run serves until ctx ends, or a listener or a task fails, and then drains: NOT_SERVING and not ready, the drain delay, the calls
// in flight within the drain timeout, tasks, closers, the admin port last. It returns nil after a drain that ctx asked for, and
// what failed otherwise. Run is called once.
func (d *Daemon) Run(ctx context.Context) error {
	tasks, stopTasks := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTasks()
	defer d.hangup.stop()
	var running sync.WaitGroup
	group, failed := errgroup.WithContext(ctx)
	for _, t := range d.tasks {
		done := make(chan error, 1)
		running.Go(func() { done <- d.runTask(tasks, t) })
		group.Go(func() error { return firstOf(failed, done) })
	}
	group.Go(func() error { return wrap("serve", ignore(grpc.ErrServerStopped, d.Server.Serve(d.listener))) })
	if d.admin != nil {
		group.Go(func() error { return wrap("serve admin", ignore(http.ErrServerClosed, d.admin.Serve(d.adminAddress))) })
	}
	for _, w := range d.web {
		group.Go(func() error { return wrap("serve "+w.name, ignore(http.ErrServerClosed, w.server.Serve(w.listener))) })
	}
	group.Go(func() error { return d.becomeReady(failed) })
	group.Go(func() error {
		<-failed.Done()
		return d.drain(func() { stopTasks(); running.Wait() })
	})
	d.Status.serve()
	d.Log.Info("serving", "service", d.config.Service, "listen", d.Addr().String(), "tls", d.config.TLS.Enabled())
	return group.Wait()
}

// runTask logs a failure where it happens, since Run returns only the first of several.
func (d *Daemon) runTask(ctx context.Context, t named) error {
	err := t.run(ctx)
	if err != nil && ctx.Err() == nil {
		d.Log.Error("a background task failed", "task", t.name, "err", err)
	}
	return wrap(t.name, err)
}

// becomeReady lets the health service say SERVING once the status is ready, so that Envoy and Kubernetes see the same moment.
func (d *Daemon) becomeReady(ctx context.Context) error {
	select {
	case <-d.Status.WhenReady():
		d.serving.change(func() { d.serving.ready = true }, d.setHealth)
	case <-ctx.Done():
	}
	return nil
}

// serving is what the health service says of a gate that runs.
type serving struct {
	mu            sync.Mutex
	ready, refuse bool
}

// change changes the state, and then says what follows from it.
func (s *serving) change(to func(), say func(grpc_health_v1.HealthCheckResponse_ServingStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to()
	if s.ready && !s.refuse {
		say(grpc_health_v1.HealthCheckResponse_SERVING)
		return
	}
	say(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
}

// RefuseHealth has the health service say NOT_SERVING though the gate is ready, until it is called with false. It is for gates that are
// told to, for taking every replica away because a part of them is makes that part's outage everybody's. Safe for concurrent use.
func (d *Daemon) RefuseHealth(refuse bool) {
	d.serving.change(func() { d.serving.refuse = refuse }, d.setHealth)
}

func (d *Daemon) setHealth(s grpc_health_v1.HealthCheckResponse_ServingStatus) {
	d.health.SetServingStatus("", s)
	if d.config.Service != "" {
		d.health.SetServingStatus(d.config.Service, s)
	}
	for _, name := range d.config.HealthNames {
		d.health.SetServingStatus(name, s)
	}
}

func (d *Daemon) drain(stopTasks func()) error {
	ctx := context.Background() // what asked for the drain has ended; each step below has a bound of its own
	d.Status.drain()
	d.health.Shutdown()
	d.Log.Info("draining", "delay", d.config.DrainDelay, "timeout", d.drainTimeout())
	d.pause(ctx, d.config.DrainDelay)
	d.finishCalls()
	for _, w := range d.web {
		stopWeb(ctx, w.server)
	}
	if !within(closeTimeout, stopTasks) {
		d.Log.Warn("background tasks did not end in time")
	}
	var errs []error
	for _, c := range d.closers {
		errs = append(errs, d.close(ctx, c))
	}
	if d.admin != nil {
		stopWeb(ctx, d.admin)
	}
	d.Log.Info("drained")
	return errors.Join(errs...)
}

// finishCalls lets the calls in flight finish, and cuts them off at the drain timeout.
func (d *Daemon) finishCalls() {
	d.endStreams()
	finished := make(chan struct{})
	go func() {
		d.Server.GracefulStop()
		close(finished)
	}()
	limit := time.NewTimer(d.drainTimeout())
	defer limit.Stop()
	select {
	case <-finished:
	case <-limit.C:
		d.Log.Warn("calls did not finish within the drain timeout and were cut off")
		within(closeTimeout, d.Server.Stop)
	}
}

func (d *Daemon) close(ctx context.Context, c named) error {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	var err error
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return wrap("close "+c.name, err)
}

func (d *Daemon) drainTimeout() time.Duration {
	return orDefault(d.config.DrainTimeout, defaultDrainTimeout)
}

// pause waits, or returns at once for nothing to wait.
func pause(ctx context.Context, delay time.Duration) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// within runs f and says whether it ended in time. If it did not, it is left behind: the process is about to end.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// firstOf is the task's error, or nil when the daemon ends first.
func firstOf(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return nil
	}
}

// ignore is err, or nil when it only says that what was meant to end has ended. The expected end is named exactly: a listener that
// was closed under a server is a failure, and looks alike.
func ignore(expected, err error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("daemon: %s: %w", what, err)
}
