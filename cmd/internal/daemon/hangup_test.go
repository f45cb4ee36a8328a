package daemon

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// SIGHUP ends nothing: every action is taken, also after one that failed, and the gate serves on.
func TestHangup(t *testing.T) {
	var reopened atomic.Int64
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		d.OnHangup("broken", func() error { return errors.New("no such folder") })
		d.OnHangup("audit", func() error { reopened.Add(1); return nil })
	})
	for n := range int64(2) {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the log is opened anew", func() bool { return reopened.Load() == n+1 })
	}
	if !g.log.has("no such folder") {
		t.Errorf("the log does not say what failed:\n%s", g.log)
	}
	if _, err := ask(context.Background(), g.dial(nil), "x"); err != nil {
		t.Error(err)
	}
}

// Each watcher is asked to look, and one that was asked already is not waited for.
func TestHangupAsksEveryWatcher(t *testing.T) {
	var h hangup
	a, b := h.look(), h.look()
	h.listen()
	defer h.stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx, new(logbook).logger()) }()
	for range 2 {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-b // a is never read
	}
	if len(a) != 1 {
		t.Errorf("the first watcher was asked %d times, want once until it looks", len(a))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// An action that waits for a disk which hangs keeps no watcher from looking at its files.
func TestHangupLooksBeforeItActs(t *testing.T) {
	var h hangup
	look, hangs := h.look(), make(chan struct{})
	h.actions = []action{{"audit", func() error { <-hangs; return nil }}}
	h.listen()
	defer h.stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx, new(logbook).logger()) }()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-look:
	case <-time.After(10 * time.Second):
		t.Error("the files are looked at once the disk answers")
	}
	close(hangs)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Without a hint and before the beat, the files are looked at when that is asked for.
func TestLookAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	write(t, path, []byte("1"))
	h := new(history)
	w := h.watcher(path)
	now := make(chan struct{})
	w.now, w.hooks = now, watch{ticks: make(chan time.Time), noHints: true}
	run(t, w)
	now <- struct{}{} // received: the first look is over
	now <- struct{}{} // received: the second is over
	if h.count() != 1 {
		t.Fatalf("%d changes of nothing", h.count())
	}
	replace(t, path, "2")
	now <- struct{}{}
	now <- struct{}{} // received: the look before it is over
	if h.count() != 2 || h.last()["p.yaml"] != "2" {
		t.Errorf("changes %v, want the second content", h.changes)
	}
}
