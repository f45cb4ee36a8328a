package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"
)

// NewLogger makes the log of one daemon. Format is "text" or "json", level is "debug", "info", "warn" or "error"; anything else
// is an ExitUnable error, for a typo must not silence a gate.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[level]
	if !ok {
		return nil, Unable(fmt.Errorf("daemon: --log-level %q is unknown: write debug, info, warn or error", level))
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, Unable(fmt.Errorf("daemon: --log-format %q is unknown: write text or json", format))
}

// quiet is how often one reason may be logged: an attacker decides how often a handshake fails, not how much disk we fill.
const quiet = 10 * time.Second

// throttle lets one line per key through in every quiet period and counts the rest. Keys must come from a fixed set, since they
// are kept for ever. Safe for concurrent use.
type throttle struct {
	now  func() time.Time
	mu   sync.Mutex
	keys map[string]*throttled
}

type throttled struct {
	last    time.Time
	skipped int
}

// allow says whether to log now, with the number of lines that were held back since the last one.
func (t *throttle) allow(key string) (skipped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.keys[key]
	now := t.now()
	if k == nil {
		if t.keys == nil {
			t.keys = make(map[string]*throttled)
		}
		t.keys[key] = &throttled{last: now}
		return 0, true
	}
	if now.Sub(k.last) < quiet {
		k.skipped++
		return 0, false
	}
	skipped, k.skipped, k.last = k.skipped, 0, now
	return skipped, true
}
