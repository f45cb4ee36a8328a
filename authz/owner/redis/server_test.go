package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "build", "tools", "bin", "valkey-server"))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("find valkey-server: %v: run make tools, or set SALLYPORT_VALKEY", err)
	}
	return path
}

// startValkey starts an empty server that keeps nothing on disk and ends with the test, and says where it is.
func startValkey(t testing.TB, args ...string) (addr string) {
	t.Helper()
	var err error
	for range 5 { // somebody else may take the port between our looking for it and the server's
		if addr, err = runValkey(t, args); err == nil {
			return addr
		}
	}
	t.Fatalf("start valkey-server: %v", err)
	return ""
}

// runValkey returns when the server has said that it is ready.
func runValkey(t testing.TB, extra []string) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	l.Close()
	args := []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir(), "--daemonize", "no"}
	cmd := exec.Command(findValkey(t), append(args, extra...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", err
	}
	var drained sync.WaitGroup
	kill := func() {
		_ = cmd.Process.Kill() // an error means that it has ended already
		drained.Wait()
		_ = cmd.Wait() // reports the kill
	}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "Ready to accept connections") {
			drained.Go(func() {
				for lines.Scan() {
				}
			})
			t.Cleanup(kill)
			return addr, nil
		}
	}
	kill()
	return "", fmt.Errorf("it ended before it was ready:\n%s", strings.Join(said, "\n"))
}

// options keep the promises of the real clients: deadlines, no retries.
func options(addr string) *redis.Options {
	return &redis.Options{
		Addr: addr, Protocol: 2, ContextTimeoutEnabled: true, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: time.Minute, DialerRetries: 1, ReadTimeout: time.Minute, WriteTimeout: time.Minute, PoolTimeout: time.Minute,
	}
}

func dial(t testing.TB, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(options(addr))
	t.Cleanup(func() { client.Close() })
	return client
}

// fake speaks the protocol of Redis over real connections and answers what reads as a test says.
type fake struct {
	addr string

	mu sync.Mutex
	// say gives the answer to a command, sent as it is. After hangUp and what follows it the connection ends; silent keeps it open.
	say  func(command []string) string
	read [][]string // the commands that arrived, without those of the connection itself
}

const (
	hangUp = "hang up"
	silent = "silent"
)

func startFake(t testing.TB, say func(command []string) string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().String(), say: say}
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			serving.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return f
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		answer := "+OK\r\n"
		switch command[0] {
		case "hello":
			answer = "-ERR unknown command 'hello'\r\n"
		case "get", "hget", "sismember", "ping":
			f.mu.Lock()
			f.read = append(f.read, command)
			answer = f.say(command)
			f.mu.Unlock()
		}
		if answer == silent {
			continue
		}
		said, cut := strings.CutPrefix(answer, hangUp)
		if _, err := io.WriteString(c, said); err != nil || cut {
			return
		}
	}
}

func (f *fake) commands() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.read)
}

// readCommand reads an array of bulk strings.
func readCommand(in *bufio.Reader) ([]string, error) {
	n, err := readNumber(in, '*')
	if err != nil {
		return nil, err
	}
	command := make([]string, n)
	for i := range command {
		size, err := readNumber(in, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		command[i] = string(b[:size])
	}
	return command, nil
}

func readNumber(in *bufio.Reader, mark byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != mark {
		return 0, fmt.Errorf("got %q, want %q and a number", line, mark)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}
