package storetest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// ValkeyVariable names the environment variable that holds the path of the valkey-server binary.
const ValkeyVariable = "SALLYPORT_VALKEY"

// FindValkey is the path of the real server that the tests need. A machine without one fails, it does not skip: a suite that
// passes without having run proves nothing.
func FindValkey(t testing.TB) string {
	t.Helper()
	if path := os.Getenv(ValkeyVariable); path != "" {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatalf("find valkey-server: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("find valkey-server: no go.mod above the working directory; set " + ValkeyVariable)
		}
		dir = parent
	}
	path := filepath.Join(dir, "build", "tools", "bin", "valkey-server")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("find valkey-server: %v: run make tools, or set %s", err, ValkeyVariable)
	}
	return path
}

// Valkey is a running server of a test's own.
type Valkey struct {
	// Addr is host:port on the loopback.
	Addr string

	bus  string // the port by which nodes of a cluster talk
	kill func()
}

// Kill ends the server at once, as a crash would, and returns when it is gone.
func (v *Valkey) Kill() { v.kill() }

// StartValkey starts an empty server that keeps nothing on disk and ends with the test, and returns its address.
func StartValkey(t testing.TB) (addr string) {
	t.Helper()
	return RunValkey(t).Addr
}

// RunValkey is [StartValkey] for tests that also kill the server or give it further arguments, such as "--maxmemory", "2mb".
func RunValkey(t testing.TB, args ...string) *Valkey {
	t.Helper()
	return persist(t, func(binary string) (*Valkey, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		return startValkey(binary, port, serves, append(serverArgs(port, t.TempDir()), args...))
	})
}

// persist starts a server, several times if it must: somebody else may take a port between our looking for it and the server's.
func persist(t testing.TB, start func(binary string) (*Valkey, error)) *Valkey {
	t.Helper()
	const attempts = 5
	var err error
	for range attempts {
		var v *Valkey
		if v, err = start(FindValkey(t)); err == nil {
			t.Cleanup(v.Kill)
			return v
		}
	}
	t.Fatalf("start valkey-server: %v", err)
	return nil
}

// What servers say when they are up.
const (
	serves  = "Ready to accept connections"
	watches = "Sentinel ID is"
)

func serverArgs(port, dir string) []string {
	return []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir, "--daemonize", "no"}
}

// startValkey starts a server and returns when it says that it is up.
func startValkey(binary, port, up string, args []string) (*Valkey, error) {
	cmd := exec.Command(binary, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var drained sync.WaitGroup
	v := &Valkey{Addr: "127.0.0.1:" + port, kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // an error means that it has ended already
		drained.Wait()
		_ = cmd.Wait() // reports the kill
	})}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), up) {
			drained.Go(func() {
				for lines.Scan() {
				}
			})
			return v, nil
		}
	}
	v.Kill()
	return nil, fmt.Errorf("%s ended before it served:\n%s", binary, strings.Join(said, "\n"))
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
