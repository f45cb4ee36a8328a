package daemon

import (
	"context"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// watch calls look on a slow beat, and soon after the file system hints at a change. Folders are watched, not files: a file that is
// replaced by a rename takes its watch with it.
type watch struct {
	folders  []string
	relevant func(event string) bool // nil: every event is a hint
	now      <-chan struct{}         // look at once; nil: never asked for
	interval time.Duration           // zero: 10 s
	debounce time.Duration           // zero: 100 ms

	ticks   <-chan time.Time // instead of the beat; nil: a ticker
	noHints bool             // no file-system events
}

// run returns nil when ctx ends. A file system without events is no error, the beat alone carries on.
func (w watch) run(ctx context.Context, look func()) error {
	events, errs, rewatch, stop := w.hints()
	defer stop()
	ticks := w.ticks
	if ticks == nil {
		ticker := time.NewTicker(orDefault(w.interval, 10*time.Second))
		defer ticker.Stop()
		ticks = ticker.C
	}
	look() // what changed between the first load and the watch
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			// The first hint starts the wait and later ones do not prolong it, so a busy folder cannot postpone a look for ever.
			if settled == nil && (w.relevant == nil || w.relevant(event.Name)) {
				settled = time.After(orDefault(w.debounce, 100*time.Millisecond))
			}
		case <-errs: //nolint:errcheck // whatever the error says, it means that events were lost
			if settled == nil {
				settled = time.After(orDefault(w.debounce, 100*time.Millisecond))
			}
		case <-settled:
			settled = nil
			rewatch()
			look()
		case <-w.now:
			rewatch()
			look()
		case <-ticks:
			rewatch()
			look()
		}
	}
}

// hints starts file-system events on the folders. Rewatch must be called before each look, because a folder that was swapped by a
// rename is another folder under the same name.
func (w watch) hints() (events <-chan fsnotify.Event, errs <-chan error, rewatch, stop func()) {
	nothing := func() {}
	if w.noHints {
		return nil, nil, nothing, nothing
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, nil, nothing, nothing
	}
	rewatch = func() {
		for _, folder := range w.folders {
			if info, err := os.Stat(folder); err == nil && info.IsDir() {
				_ = watcher.Add(folder)
			}
		}
	}
	rewatch()
	return watcher.Events, watcher.Errors, rewatch, func() { _ = watcher.Close() }
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
