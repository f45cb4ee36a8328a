package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// hangup is what SIGHUP means to a gate: look at everything anew. By default it would end the process without a drain, and those who
// send it (logrotate, a terminal that closes, an operator's habit) mean no such thing. The zero value waits for no signal.
type hangup struct {
	signals chan os.Signal
	looks   []chan struct{}
	actions []action
}

type action struct {
	name string
	run  func() error
}

// listen begins to catch the signal. One that comes before run is kept for it.
func (h *hangup) listen() {
	h.signals = make(chan os.Signal, 1)
	signal.Notify(h.signals, syscall.SIGHUP)
}

// stop gives the signal its default meaning back.
func (h *hangup) stop() {
	if h.signals != nil {
		signal.Stop(h.signals)
	}
}

// look is the channel on which one watcher hears that it should look at once.
func (h *hangup) look() <-chan struct{} {
	c := make(chan struct{}, 1)
	h.looks = append(h.looks, c)
	return c
}

// run does what is asked for until ctx ends, and returns nil then.
func (h *hangup) run(ctx context.Context, log *slog.Logger) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.signals:
		}
		log.Info("SIGHUP: looking at the files and opening logs anew")
		for _, c := range h.looks {
			select {
			case c <- struct{}{}:
			default: // asked already
			}
		}
		for _, a := range h.actions { // last: an action may wait for a disk that hangs
			if err := a.run(); err != nil {
				log.Error("SIGHUP could not be followed", "part", a.name, "err", err)
			}
		}
	}
}
