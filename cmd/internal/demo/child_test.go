package demo

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the children too.
const (
	roleVariable = "DEMO_TEST_ROLE"
	callVariable = "DEMO_TEST_CALL" // where a child says that it is ready
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(m.Run())
}

// play is a child: it says that it is ready, and then waits as its role does.
func play(role string) int {
	term := make(chan os.Signal, 1)
	switch role {
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "obedient":
		signal.Notify(term, syscall.SIGTERM)
	case "failing":
		_, _ = io.WriteString(os.Stderr, "one\ntwo\ncannot go on\n")
		return 3
	}
	conn, err := net.Dial("tcp", os.Getenv(callVariable))
	if err != nil {
		return 4
	}
	defer conn.Close()
	if role == "obedient" {
		<-term
		return 0
	}
	_, _ = io.Copy(io.Discard, conn) // until the test is gone
	return 5
}

// launch starts a child of a role and waits until it is ready.
func launch(t *testing.T, role string) *child {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c, err := start(spec{name: role, path: self, log: filepath.Join(t.TempDir(), "log"),
		env: append(os.Environ(), roleVariable+"="+role, callVariable+"="+listener.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	if role != "failing" {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
	return c
}

// status is how a child ended.
func status(t *testing.T, c *child) syscall.WaitStatus {
	t.Helper()
	<-c.done
	state, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatal("no wait status on this system")
	}
	return state
}

// A child that ends when asked is not killed; one that does not, is.
func TestStop(t *testing.T) {
	obedient := launch(t, "obedient")
	obedient.stop(time.Minute)
	if s := status(t, obedient); !s.Exited() || s.ExitStatus() != 0 {
		t.Errorf("the child that ends when asked ended with %v", s)
	}
	stubborn := launch(t, "stubborn")
	stubborn.stop(time.Millisecond)
	if s := status(t, stubborn); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Errorf("the child that ignores SIGTERM ended with %v, want SIGKILL", s)
	}
	for _, c := range []*child{obedient, stubborn} {
		if err := syscall.Kill(c.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("%s is still there: %v", c.name, err)
		}
		c.stop(0) // once more does nothing
		c.kill()
	}
}

// A child stands in a group of its own, so that the terminal's Ctrl-C is ours alone.
func TestGroup(t *testing.T) {
	c := launch(t, "obedient")
	group, err := syscall.Getpgid(c.cmd.Process.Pid)
	if err != nil || group != c.cmd.Process.Pid {
		t.Errorf("process group %d, %v; want the child's own, %d", group, err, c.cmd.Process.Pid)
	}
}

// A child that ends by itself is trouble, told with the end of its log and where the rest is.
func TestTrouble(t *testing.T) {
	c := launch(t, "failing")
	err := (&world{}).ready(t.Context(), c, func() bool { return false })
	if err == nil {
		t.Fatal("a child that has ended is ready")
	}
	for _, part := range []string{"failing ended", c.log, "  cannot go on"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if last := tail(c.log, 2); last != "  two\n  cannot go on" {
		t.Errorf("the last two lines are %q", last)
	}
	if _, err := start(spec{name: "nobody", path: filepath.Join(t.TempDir(), "nobody"), log: filepath.Join(t.TempDir(), "log")}); err == nil {
		t.Error("a program that is not there was started")
	}
	var none *child
	none.stop(0)
	none.kill()
}

// Waiting ends with a yes, an error, the limit or the context.
func TestUntil(t *testing.T) {
	asked := 0
	third := func() (bool, error) { asked++; return asked == 3, nil }
	if err := until(t.Context(), time.Minute, time.Microsecond, third); err != nil || asked != 3 {
		t.Errorf("asked %d times, %v; want 3 times and no error", asked, err)
	}
	broken := errors.New("broken")
	if err := until(t.Context(), time.Minute, time.Microsecond, func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("an error of the question: %v", err)
	}
	never := func() (bool, error) { return false, nil }
	if err := until(t.Context(), time.Millisecond, time.Microsecond, never); !errors.Is(err, errLate) {
		t.Errorf("too late: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := until(ended, time.Minute, time.Hour, never); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(11)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || port < lowestPort || port >= highestPort {
			t.Errorf("port %d is given twice or out of range", port)
		}
		seen[port] = true
		listener, err := net.Listen("tcp", local(port))
		if err != nil {
			t.Errorf("port %d is not free: %v", port, err)
			continue
		}
		listener.Close()
	}
}
