package revocation

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// silence keeps go-redis from printing every dial that fails; cmd's clients are silent too.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silence{})
	m.Run()
}

// findValkey is the path of the real server. A machine without one fails, it does not skip.
func findValkey(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("SALLYPORT_VALKEY"); path != "" {
		return path
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "build", "tools", "bin", "valkey-server"))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("find valkey-server: %v: run make tools, or set SALLYPORT_VALKEY", err)
	}
	return path
}

// valkey is a running server of a test's own, on the loopback.
type valkey struct {
	addr string
	cmd  *exec.Cmd
	kill func()
}

func (v *valkey) port() string { _, port, _ := net.SplitHostPort(v.addr); return port }

// signal freezes and thaws the server.
func (v *valkey) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := v.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// startValkey starts an empty server that keeps nothing on disk and ends with the test.
func startValkey(t testing.TB, args ...string) *valkey {
	t.Helper()
	var err error
	for range 5 { // somebody else may take the port between our looking for it and the server's
		var v *valkey
		if v, err = runValkey(t, freePort(t), "Ready to accept connections", args...); err == nil {
			return v
		}
	}
	t.Fatalf("start valkey-server: %v", err)
	return nil
}

// startAgain starts an empty server where another was.
func startAgain(t *testing.T, gone *valkey, args ...string) *valkey {
	t.Helper()
	v, err := runValkey(t, gone.port(), "Ready to accept connections", args...)
	if err != nil {
		t.Fatalf("start valkey-server again: %v", err)
	}
	return v
}

// startSentinel starts a sentinel that watches a primary named "main" and fails over by itself in about a second.
func startSentinel(t *testing.T, primary *valkey) *valkey {
	t.Helper()
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %s 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 3000\n", primary.port())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	v, err := runCommand(t, port, "+monitor master", exec.Command(findValkey(t), config, "--sentinel", "--bind", "127.0.0.1", "--port", port))
	if err != nil {
		t.Fatalf("start sentinel: %v", err)
	}
	return v
}

func runValkey(t testing.TB, port, ready string, extra ...string) (*valkey, error) {
	args := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--daemonize", "no"}
	return runCommand(t, port, ready, exec.Command(findValkey(t), append(args, extra...)...))
}

// runCommand returns when the server has said that it is ready.
func runCommand(t testing.TB, port, ready string, cmd *exec.Cmd) (*valkey, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var drained sync.WaitGroup
	v := &valkey{addr: "127.0.0.1:" + port, cmd: cmd, kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // an error means that it has ended already
		drained.Wait()
		_ = cmd.Wait() // reports the kill
	})}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), ready) {
			drained.Go(func() {
				for lines.Scan() {
				}
			})
			t.Cleanup(v.kill)
			return v, nil
		}
	}
	v.kill()
	return nil, fmt.Errorf("it ended before it was ready:\n%s", strings.Join(said, "\n"))
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func serverOptions(addr string) *redis.Options {
	return &redis.Options{
		Addr: addr, Protocol: 2, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: time.Second, DialerRetries: 1, ReadTimeout: time.Second, WriteTimeout: time.Second,
	}
}

// dial makes a client of one server that keeps the promises of the real ones: deadlines, no retries.
func dial(t testing.TB, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(serverOptions(addr))
	t.Cleanup(func() { client.Close() })
	return client
}

// follow starts a replica of the gate.
func follow(t testing.TB, client Server) *Stream {
	t.Helper()
	s, err := NewStream(client, StreamOptions{Block: 50 * time.Millisecond, Timeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s)
	return s
}

// run runs a store until the test ends.
func run(t testing.TB, s Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
}

// eventually waits for what must become true; the bound only ends a test that has failed.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	end := time.NewTimer(30 * time.Second)
	defer end.Stop()
	for !so() {
		select {
		case <-beat.C:
		case <-end.C:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
