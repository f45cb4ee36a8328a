package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// auditHealth tells operators that decisions are made which the audit log does not show, or that wait for it. It is safe for concurrent use.
type auditHealth struct {
	status *daemon.Status
	log    *slog.Logger
	now    func() time.Time
	strict bool // allows wait for the log

	mu      sync.Mutex
	failed  string // what the last batch failed by
	waits   string // how long the writer has been at one batch, if that is long
	little  string // that there is room for allows alone
	failure told
	stall   told
	room    told
}

func newAuditHealth(status *daemon.Status, log *slog.Logger, now func() time.Time, strict bool) *auditHealth {
	h := &auditHealth{status: status, log: log, now: now, strict: strict}
	h.showLocked()
	return h
}

// told is what the log knows of one trouble: that it is there at most once in auditQuiet, and its end if its beginning was told.
type told struct {
	last time.Time
	open bool
}

// auditQuiet is how often the log is told that writes fail: each decision may be one.
const auditQuiet = time.Minute

// stalledAfter is how long a batch may be with its writer before operators are told: far more than a disk takes, and more than most
// requests can wait.
const stalledAfter = 2 * time.Second

// begins says whether the log is to be told that a trouble is there.
func (t *told) begins(now time.Time) bool {
	if !t.last.IsZero() && now.Sub(t.last) < auditQuiet {
		return false
	}
	t.last, t.open = now, true
	return true
}

// ends says whether the log is to be told that it is over.
func (t *told) ends() bool {
	open := t.open
	t.open = false
	return open
}

// wrote takes the outcome of a batch.
func (h *auditHealth) wrote(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.failed = ""
		h.showLocked()
		if h.failure.ends() {
			h.log.Info("the audit log is written again")
		}
		return
	}
	means := "decisions go on and are not in the audit log; the records are counted as dropped: "
	says := "the audit log is not written, decisions go on"
	if h.strict {
		means = "what would be allowed is denied (audit_unavailable), because it is not in the audit log: "
		says = "the audit log is not written, nothing is allowed"
	}
	h.failed = means + err.Error()
	h.showLocked()
	if h.failure.begins(h.now()) {
		h.log.Error(says, "err", err)
	}
}

// stalled takes how long the writer has had the batch that is under way.
func (h *auditHealth) stalled(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d < stalledAfter {
		if h.waits == "" {
			return
		}
		h.waits = ""
		h.showLocked()
		if h.stall.ends() {
			h.log.Info("the audit log's writer goes on")
		}
		return
	}
	means := "decisions go on, and are lost to the audit log once its queue is full"
	if h.strict {
		means = "what would be allowed waits for it, and is denied at its deadline (audit_unavailable)"
	}
	h.waits = fmt.Sprintf("the disk or the collector has not answered a write for %s: %s", d.Truncate(time.Second), means)
	h.showLocked()
	if h.stall.begins(h.now()) {
		h.log.Error("the audit log's writer hangs", "for", d)
	}
}

// scarce takes how much of the disk is left, where denials find no room any more; with enough is true they do.
func (h *auditHealth) scarce(enough bool, left string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if enough {
		if h.little == "" {
			return
		}
		h.little = ""
		h.showLocked()
		if h.room.ends() {
			h.log.Info("the audit log has room for denials again")
		}
		return
	}
	h.little = "what is left of the disk is kept for allows (--audit-reserve): denials are counted and not written: " + left
	h.showLocked()
	if h.room.begins(h.now()) {
		h.log.Error("the audit log has no room for denials", "disk", left)
	}
}

// showLocked says how the log fares. The caller holds mu.
func (h *auditHealth) showLocked() {
	var all []string
	for _, trouble := range []string{h.failed, h.waits, h.little} {
		if trouble != "" {
			all = append(all, trouble)
		}
	}
	if len(all) == 0 {
		h.status.Set("audit", daemon.OK())
		return
	}
	h.status.Set("audit", daemon.Degraded(strings.Join(all, "; ")))
}

// watch looks every second how long the writer has been at one batch, until ctx ends: a writer that hangs cannot say so itself.
func (h *auditHealth) watch(ctx context.Context, stalled func() time.Duration) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			h.stalled(stalled())
		}
	}
}

// reserve is what of a disk is kept for allows.
type reserve struct {
	free   func() (int64, error)
	bytes  int64
	health *auditHealth
}

// known is nil where the system says how much of the disk is left.
func (r reserve) known() error {
	if _, err := r.free(); err != nil {
		return fmt.Errorf("--audit-mode strict keeps room for allows, and cannot learn how much there is: %w", err)
	}
	return nil
}

// scarce says that no more than the reserve is left. What cannot be learned is taken for that.
func (r reserve) scarce() bool {
	left, err := r.free()
	switch {
	case err != nil:
		r.health.scarce(false, err.Error())
	case left < r.bytes:
		r.health.scarce(false, fmt.Sprintf("%d bytes of %d are left", left, r.bytes))
	default:
		r.health.scarce(true, "")
		return false
	}
	return true
}
