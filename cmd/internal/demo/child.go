package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// spec is a process to be started.
type spec struct {
	name string // in messages and of its log file
	path string
	args []string
	env  []string
	log  string // where its output goes; appended to
}

// child is a process that this one started and must end. Its methods are safe for concurrent use.
type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and was waited for
	err  error         // how it ended; written before done is closed
}

// start runs a process in a group of its own, so that a Ctrl-C in the terminal reaches only us and we end it in order. On Linux it
// also dies with us, however we die.
func start(s spec) (*child, error) {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("demo: open the log of %s: %w", s.name, err)
	}
	defer log.Close()                      // the child has its own
	cmd := exec.Command(s.path, s.args...) //nolint:gosec // G204: the user named these programs
	cmd.Env, cmd.Dir = s.env, filepath.Dir(s.log)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("demo: start %s: %w", s.name, err)
	}
	c := &child{name: s.name, log: s.log, cmd: cmd, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// ended says whether the process is gone.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end and, if it has not within the grace, ends it. It returns when the process is gone. A nil child is gone.
func (c *child) stop(grace time.Duration) {
	if c == nil || c.ended() {
		return
	}
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // gone already is as good
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
		c.kill()
	}
}

// kill ends the process at once and returns when it is gone.
func (c *child) kill() {
	if c == nil || c.ended() {
		return
	}
	_ = c.cmd.Process.Kill()
	<-c.done
}

// trouble is an error about this child that ends with the last lines of its log.
func (c *child) trouble(why string) error {
	return fmt.Errorf("demo: %s %s; the end of %s:\n%s", c.name, why, c.log, tail(c.log, 12))
}

// tail is the last lines of a file, indented.
func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// errLate is until's answer when the time is over.
var errLate = errors.New("demo: waited in vain")

// until asks again and again, at the given interval, until ask says yes or fails, the limit is over or ctx ends.
func until(ctx context.Context, limit, every time.Duration, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
