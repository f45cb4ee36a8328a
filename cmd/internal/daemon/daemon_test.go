package daemon

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// childVar makes this test binary a daemon of its own, for what a signal does to a process.
const childVar = "DAEMON_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVar); path != "" {
		os.Exit(child(path))
	}
	goleak.VerifyTestMain(m)
}

// child is a daemon with a call that never finishes. It says on stdout what a test waits for.
func child(path string) int {
	ctx, stop := WithSignals(context.Background())
	defer stop()
	d, err := Open(ctx, Config{Options: Options{Listen: "unix:" + path, DrainTimeout: time.Hour}})
	if err != nil {
		fmt.Println(err)
		return ExitCode(err)
	}
	register(d.Server, func(_ context.Context, in string) (string, error) {
		if in == "stuck" {
			fmt.Println("stuck")
			select {}
		}
		return in, nil
	})
	context.AfterFunc(ctx, func() { fmt.Println("draining") })
	return ExitCode(d.Run(ctx))
}

func startChild(t *testing.T) (path string, process *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	path = filepath.Join(privateDir(t), "g.sock")
	process = exec.Command(os.Args[0])
	process.Env = append(os.Environ(), childVar+"="+path)
	out, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Process.Kill() })
	return path, process, bufio.NewScanner(out)
}

// The first signal lets calls finish, the second one does not wait for them.
func TestSignals(t *testing.T) {
	t.Run("one, nothing in flight", func(t *testing.T) {
		path, process, _ := startChild(t)
		if _, err := ask(t.Context(), (&gate{Daemon: &Daemon{listener: socketAt(path)}, t: t}).dial(nil), "x", ready()...); err != nil {
			t.Fatal(err)
		}
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := process.Wait(); err != nil {
			t.Errorf("%v, want exit 0", err)
		}
	})
	t.Run("two, a call stuck", func(t *testing.T) {
		path, process, lines := startChild(t)
		conn := (&gate{Daemon: &Daemon{listener: socketAt(path)}, t: t}).dial(nil)
		go func() { _, _ = ask(context.Background(), conn, "stuck", ready()...) }()
		await := func(want string) {
			t.Helper()
			if !lines.Scan() || lines.Text() != want {
				t.Fatalf("the daemon says %q, want %q", lines.Text(), want)
			}
		}
		await("stuck")
		if err := process.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		await("draining")
		// The default action comes back a moment after the first signal, so ask until it is there.
		ended := make(chan error, 1)
		go func() { ended <- process.Wait() }()
		var err error
		eventually(t, "the second signal ends it", func() bool {
			_ = process.Process.Signal(syscall.SIGTERM)
			select {
			case err = <-ended:
				return true
			default:
				return false
			}
		})
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("%v, want an end by the signal", err)
		}
	})
}

// socketAt is a listener only by its address, for the gate of another process.
type addressOnly struct {
	net.Listener
	addr net.Addr
}

func (a addressOnly) Addr() net.Addr { return a.addr }

func socketAt(path string) net.Listener {
	return addressOnly{addr: &net.UnixAddr{Name: path, Net: "unix"}}
}

// ready makes a call wait until the other process listens.
func ready() []grpc.CallOption { return []grpc.CallOption{grpc.WaitForReady(true)} }

// The end of a gate, step by step: clients hear NOT_SERVING while it still listens and answers; then it stops listening; the call in
// flight finishes; then the tasks end; then the closers run; and only then Run returns.
func TestDrainOrder(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	inFlight, finish := make(chan struct{}), make(chan struct{})
	delay := make(chan struct{})
	g := startGate(t, Config{}, func(d *Daemon) {
		d.pause = func(context.Context, time.Duration) { <-delay }
		register(d.Server, func(_ context.Context, in string) (string, error) {
			if in == "slow" {
				close(inFlight)
				<-finish
				note("call finished")
			}
			return in, nil
		})
		d.Task("keys", func(ctx context.Context) error { <-ctx.Done(); note("task ended"); return nil })
		d.Closer("audit", func(context.Context) error { note("audit closed"); return nil })
		d.Closer("store", func(context.Context) error { note("store closed"); return nil })
	})
	conn := g.dial(nil)
	eventually(t, "SERVING", func() bool { return healthOf(t, conn, testService) == "SERVING" })
	slow := make(chan error, 1)
	go func() {
		out, err := ask(context.Background(), conn, "slow")
		if err == nil && out != "slow" {
			err = errors.New(out)
		}
		slow <- err
	}()
	<-inFlight

	g.stop()
	eventually(t, "NOT_SERVING", func() bool { return healthOf(t, conn, testService) == "NOT_SERVING" })
	if s := healthOf(t, conn, ""); s != "NOT_SERVING" {
		t.Errorf("the whole server: %s", s)
	}
	if code, body := page(t, g, "GET", "/readyz"); code != 503 || !strings.Contains(body, `"draining": true`) {
		t.Errorf("/readyz: %d %s, want 503 while draining", code, body)
	}
	if code, _ := page(t, g, "GET", "/healthz"); code != 200 {
		t.Errorf("/healthz: %d: a drain is no reason to restart", code)
	}
	if _, err := ask(t.Context(), g.dial(nil), "late"); err != nil {
		t.Errorf("a new connection within the delay: %v", err)
	}

	close(delay)
	eventually(t, "the end of listening", func() bool {
		probe, err := net.Dial("tcp", g.Addr().String())
		if err == nil {
			_ = probe.Close()
		}
		return err != nil
	})
	mu.Lock()
	if len(order) != 0 {
		t.Errorf("%v before the call has finished", order)
	}
	mu.Unlock()
	note("finish")
	close(finish)
	if err := <-slow; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := g.wait(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"finish", "call finished", "task ended", "audit closed", "store closed"}, order); diff != "" {
		t.Error(diff)
	}
}

func healthOf(t *testing.T, conn *grpc.ClientConn, service string) string {
	t.Helper()
	r, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return status.Code(err).String()
	}
	return r.GetStatus().String()
}

// A health Watch never ends by itself. It must not hold up the drain; and a call that never ends is cut off at the timeout.
func TestWhatNeverEndsDoesNotHoldTheDrain(t *testing.T) {
	t.Run("a health watch", func(t *testing.T) {
		g := startGate(t, Config{Options: Options{DrainTimeout: time.Hour}}, nil)
		watch, err := grpc_health_v1.NewHealthClient(g.dial(nil)).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		g.stop()
		if err := g.wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a call", func(t *testing.T) {
		started := make(chan struct{})
		g := startGate(t, Config{Options: Options{DrainTimeout: time.Millisecond}}, func(d *Daemon) {
			register(d.Server, func(ctx context.Context, _ string) (string, error) {
				close(started)
				<-ctx.Done()
				return "", ctx.Err()
			})
		})
		conn := g.dial(nil)
		go func() { _, _ = ask(context.Background(), conn, "x") }()
		<-started
		g.stop()
		if err := g.wait(); err != nil {
			t.Error(err)
		}
		if !g.log.has("cut off") {
			t.Errorf("the log does not say that a call was cut off:\n%s", g.log)
		}
	})
}

// Run returns what failed: a task, a closer. A task may end well without ending the daemon.
func TestRunReturnsWhatFailed(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		wire func(*Daemon)
		stop bool
		want string
	}{
		{"a task", func(d *Daemon) { d.Task("keys", func(context.Context) error { return boom }) }, false, "daemon: keys: boom"},
		{"a closer", func(d *Daemon) { d.Closer("audit", func(context.Context) error { return boom }) }, true, "daemon: close audit: boom"},
		{"a task that is done", func(d *Daemon) { d.Task("once", func(context.Context) error { return nil }) }, true, ""},
		{"the listener", func(d *Daemon) { _ = d.listener.Close() }, false, "daemon: serve:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Open(t.Context(), Config{Options: Options{Listen: "127.0.0.1:0"}})
			if err != nil {
				t.Fatal(err)
			}
			c.wire(d)
			ctx, cancel := context.WithCancel(t.Context())
			if c.stop {
				cancel()
			}
			defer cancel()
			err = d.Run(ctx)
			if c.want == "" && err != nil {
				t.Fatal(err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Fatalf("%v, want %q", err, c.want)
			}
		})
	}
}

// The health service and /readyz say yes at the same moment: when what was expected has been tried. How it went does not matter.
func TestReadinessWaitsForTheFirstTry(t *testing.T) {
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		d.Status.Expect("jwks:shop")
		d.Status.Set("jwks:shop", Degraded("cannot reach https://auth.example.com"))
	})
	conn := g.dial(nil)
	eventually(t, "serving", func() bool { _, err := ask(t.Context(), conn, "x"); return err == nil })
	if s := healthOf(t, conn, testService); s != "NOT_SERVING" {
		t.Errorf("health is %s before the first try", s)
	}
	if code, body := page(t, g, "GET", "/readyz"); code != 503 || !strings.Contains(body, "jwks:shop") {
		t.Errorf("/readyz: %d %s, want 503 and what it waits for", code, body)
	}
	g.Status.Tried("jwks:shop")
	eventually(t, "SERVING", func() bool {
		return healthOf(t, conn, testService) == "SERVING" && healthOf(t, conn, "") == "SERVING"
	})
	if code, body := page(t, g, "GET", "/readyz"); code != 200 || !strings.Contains(body, "cannot reach") {
		t.Errorf("/readyz: %d %s, want 200 with the detail", code, body)
	}
	if s := healthOf(t, conn, "other.Service"); s != "NotFound" {
		t.Errorf("an unknown service is %s", s)
	}
}

// Too much is refused before the service sees it.
func TestSizeLimits(t *testing.T) {
	var called sync.Map
	g := startGate(t, Config{MaxRecvBytes: 1 << 10}, func(d *Daemon) {
		register(d.Server, func(_ context.Context, in string) (string, error) { called.Store(len(in), true); return "", nil })
	})
	conn := g.dial(nil)
	for _, c := range []struct {
		name    string
		message int
		header  int
		want    codes.Code
	}{
		{"within", 1000, 1000, codes.OK},
		{"headers within", 10, 60 << 10, codes.OK},
		{"a message over the limit", 1 << 10, 0, codes.ResourceExhausted},
		{"headers over the limit", 11, MaxHeaderBytes, codes.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "x-fill", strings.Repeat("x", c.header))
			_, err := ask(ctx, conn, strings.Repeat("x", c.message))
			if status.Code(err) != c.want {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, ok := called.Load(c.message); ok != (c.want == codes.OK) {
				t.Errorf("the service was called: %v", ok)
			}
		})
	}
}

// What the server tells every client in its first frame: Envoy opens up to 1,024 streams before it has read it, and takes a smaller
// number for errors; without a number, a client may open as many as it likes.
func TestSettingsFrame(t *testing.T) {
	g := startGate(t, Config{}, nil)
	conn, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	header := make([]byte, 9)
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, header); err != nil || header[3] != 4 {
		t.Fatalf("%v, %v: not a SETTINGS frame", header, err)
	}
	frame := make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
	if _, err := io.ReadFull(conn, frame); err != nil {
		t.Fatal(err)
	}
	settings := map[uint16]uint32{}
	for ; len(frame) >= 6; frame = frame[6:] {
		settings[binary.BigEndian.Uint16(frame)] = binary.BigEndian.Uint32(frame[2:])
	}
	const maxConcurrentStreams, maxHeaderListSize = 3, 6 // RFC 9113, section 6.5.2
	if n := settings[maxConcurrentStreams]; n < 1024 || n > 65536 {
		t.Errorf("%d streams on a connection, want at least 1,024 and not any number", n)
	}
	if n := settings[maxHeaderListSize]; n != MaxHeaderBytes {
		t.Errorf("%d bytes of headers, want %d", n, MaxHeaderBytes)
	}
}

// A panic is one Internal, one count, one line without what the panic held; the process and the connection live.
func TestPanicIsCaught(t *testing.T) {
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, func(_ context.Context, in string) (string, error) {
			switch in {
			case "value":
				panic("secret-token")
			case "runtime":
				return in[len(in)+1:], nil
			}
			return in, nil
		})
	})
	conn := g.dial(nil)
	for i, in := range []string{"value", "runtime"} {
		if _, err := ask(t.Context(), conn, in); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want a bare Internal", in, err)
		}
		if n := testutil.ToFloat64(g.metrics.panics); n != float64(i+1) {
			t.Errorf("%s: %v panics counted, want %d", in, n, i+1)
		}
	}
	if _, err := ask(t.Context(), conn, "fine"); err != nil {
		t.Error(err)
	}
	if g.log.has("secret-token") || !g.log.has("a value of type string") || !g.log.has("out of range") {
		t.Errorf("the log:\n%s", g.log)
	}
}

// No reflection, no channelz: the service, and health.
func TestServicesOffered(t *testing.T) {
	g := startGate(t, Config{}, nil)
	var names []string
	for name := range g.Server.GetServiceInfo() {
		names = append(names, name)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"grpc.health.v1.Health", testService}, names); diff != "" {
		t.Error(diff)
	}
}

// A change on disk reaches the gate, and what it refuses is seen by log, metric and /readyz, without the gate being called unready.
func TestReloadIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, []byte("good"))
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		err := d.WatchFiles(path, func(files []File) error {
			if string(files[0].Data) != "good" {
				return errors.New("policy.yaml:1:1: not good")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	eventually(t, "ready", func() bool { code, _ := page(t, g, "GET", "/readyz"); return code == 200 })
	write(t, path, []byte("bad"))
	eventually(t, "the refusal shows in /readyz", func() bool {
		code, body := page(t, g, "GET", "/readyz")
		return code == 200 && strings.Contains(body, "policy.yaml:1:1: not good")
	})
	if _, body := page(t, g, "GET", "/metrics"); !strings.Contains(body, `sallyport_degraded{part="files:`+path+`"} 1`) ||
		!strings.Contains(body, `sallyport_reloads_total{result="refused"} `) {
		t.Errorf("the metrics do not show it:\n%s", body)
	}
	write(t, path, []byte("good"))
	eventually(t, "and is gone again", func() bool {
		_, body := page(t, g, "GET", "/readyz")
		return !strings.Contains(body, "not good")
	})
}

// Files that the gate can do without keep nobody from starting: their absence is told, and ends when they come.
func TestFilesThatAreTried(t *testing.T) {
	path := filepath.Join(t.TempDir(), "next.yaml")
	var offered atomic.Int64
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		d.TryFiles(path, func(files []File) error {
			offered.Add(1)
			if string(files[0].Data) != "good" {
				return errors.New("next.yaml:1:1: not good")
			}
			return nil
		})
	})
	says := func(text string) func() bool {
		return func() bool {
			code, body := page(t, g, "GET", "/readyz")
			return code == 200 && strings.Contains(body, text)
		}
	}
	eventually(t, "that nothing is there", says("nothing of it is used; what is on disk was refused: daemon: read files"))
	write(t, path, []byte("bad"))
	eventually(t, "that it is bad", says("what was used stays in use; what is on disk was refused: next.yaml:1:1: not good"))
	write(t, path, []byte("good"))
	eventually(t, "that it is good", func() bool {
		_, body := page(t, g, "GET", "/readyz")
		return !strings.Contains(body, "next.yaml")
	})
	if n := offered.Load(); n != 2 {
		t.Errorf("it was offered %d times", n)
	}
}

// What is in force in part is no refusal, and says so in log, metric and /readyz; at the start too.
func TestPartlyLoadedIsReported(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), []byte("bad"))
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		err := d.WatchFiles(dir, func([]File) error { return Partly(errors.New("nothing of b.yaml is in force")) })
		if err != nil {
			t.Fatal(err)
		}
	})
	eventually(t, "ready", func() bool { code, _ := page(t, g, "GET", "/readyz"); return code == 200 })
	_, body := page(t, g, "GET", "/readyz")
	if !strings.Contains(body, "in force in part: nothing of b.yaml is in force") || strings.Contains(body, "stays in force") {
		t.Errorf("/readyz: %s", body)
	}
	if _, body := page(t, g, "GET", "/metrics"); !strings.Contains(body, `sallyport_reloads_total{result="partly"} 1`) {
		t.Errorf("the metrics do not show it:\n%s", body)
	}
	if !g.log.has("loaded in part") {
		t.Errorf("the log does not show it:\n%s", g.log)
	}
}

// Two daemons share a process: what one counts and says, the other does not.
func TestDaemonsShareNothing(t *testing.T) {
	a, b := startGate(t, Config{}, nil), startGate(t, Config{}, nil)
	a.Status.Set("store", Degraded("gone"))
	a.metrics.panics.Inc()
	if len(b.Status.Report().Degraded) != 0 || testutil.ToFloat64(b.metrics.panics) != 0 {
		t.Error("b knows what happened to a")
	}
	a.stop()
	if err := a.wait(); err != nil {
		t.Error(err)
	}
	if _, err := ask(t.Context(), b.dial(nil), "x"); err != nil {
		t.Errorf("b ended with a: %v", err)
	}
}

func TestExitCodes(t *testing.T) {
	plain := errors.New("x")
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {plain, 2}, {Invalid(plain), 1}, {Unable(plain), 2}, {fmt.Errorf("a: %w", Invalid(plain)), 1}, {Unable(Invalid(plain)), 1},
		{&ExitError{Err: plain}, 2}, {Invalid(nil), 0}, {Unable(nil), 0},
		{Invalid(Partly(plain)), 1}, {Partly(nil), 0},
	} {
		if got := ExitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
	if err := Invalid(plain); err.Error() != "x" || !errors.Is(err, plain) {
		t.Errorf("%v hides its cause", err)
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct {
		format, level string
		want          string // part of an info line; empty: none
		ok            bool
	}{
		{"text", "info", "msg=hello", true}, {"json", "debug", `"msg":"hello"`, true}, {"json", "error", "", true},
		{"xml", "info", "", false}, {"text", "verbose", "", false}, {"", "", "", false},
	} {
		log := new(logbook)
		l, err := NewLogger(log, c.format, c.level)
		if (err == nil) != c.ok || !c.ok && ExitCode(err) != ExitUnable {
			t.Fatalf("%s %s: %v", c.format, c.level, err)
		}
		if !c.ok {
			continue
		}
		l.Info("hello")
		if !log.has(c.want) || c.want == "" && log.String() != "" {
			t.Errorf("%s %s: %s", c.format, c.level, log)
		}
	}
}
