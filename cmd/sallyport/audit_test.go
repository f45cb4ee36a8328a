package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// The status follows every write. The log is told of a failure at most once a minute, and of its end if it was told of its beginning.
func TestAuditHealth(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	status := daemon.NewStatus(func() time.Time { return now })
	h := newAuditHealth(status, slog.New(slog.NewTextHandler(&out, nil)), func() time.Time { return now }, false)
	full := errors.New("no space left on device")
	for _, step := range []struct {
		after  time.Duration
		err    error
		logged string // part of the one line that is logged; empty: none
	}{
		{0, nil, ""},
		{0, full, "level=ERROR msg=\"the audit log is not written"},
		{auditQuiet - 1, full, ""},
		{0, nil, "the audit log is written again"},
		{0, full, ""},
		{0, nil, ""},
		{1, full, "level=ERROR"},
		{auditQuiet, full, "level=ERROR"},
		{auditQuiet, nil, "written again"},
	} {
		out.Reset()
		now = now.Add(step.after)
		h.wrote(step.err)
		lines := strings.Count(out.String(), "\n")
		if (step.logged == "") != (lines == 0) || lines > 1 || !strings.Contains(out.String(), step.logged) {
			t.Errorf("at %s: logged %q, want %q", now, out.String(), step.logged)
		}
		degraded := status.Report().Degraded
		if (step.err != nil) != (len(degraded) == 1) {
			t.Errorf("at %s: degraded %v after %v", now, degraded, step.err)
		}
		if len(degraded) == 1 && (degraded[0].Part != "audit" || !strings.Contains(degraded[0].Detail, full.Error())) {
			t.Errorf("at %s: %v", now, degraded)
		}
	}
}

// degradedBy is what /readyz says of the audit log; "" is nothing.
func degradedBy(status *daemon.Status) string {
	for _, part := range status.Report().Degraded {
		if part.Part == "audit" {
			return part.Detail
		}
	}
	return ""
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// A writer that hangs cannot say so: /readyz does within seconds, with what that means in each mode, and until it goes on.
func TestAuditHealthOfAHangingWriter(t *testing.T) {
	for mode, means := range map[string]string{"strict": "denied at its deadline (audit_unavailable)", "bounded": "lost to the audit log once its queue is full"} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			status := daemon.NewStatus(time.Now)
			h := newAuditHealth(status, slog.New(slog.NewTextHandler(&out, nil)), time.Now, mode == "strict")
			hang := make(chan struct{})
			log := audit.New(io.Discard, audit.Options{Sync: func() error { <-hang; return nil }, Observe: h.wrote})
			ctx, stop := context.WithCancel(t.Context())
			go func() { _ = h.watch(ctx, log.Stalled) }()
			go func() { _ = log.Run(ctx) }()
			go func() { _ = log.Commit(ctx, audit.Record{Verdict: "allow"}) }()
			pass(stalledAfter / 2)
			if got := degradedBy(status); got != "" {
				t.Errorf("%s: at once: %s", mode, got)
			}
			pass(stalledAfter)
			if got := degradedBy(status); !strings.Contains(got, "has not answered a write for") || !strings.Contains(got, means) {
				t.Errorf("%s: /readyz says %q", mode, got)
			}
			close(hang)
			pass(time.Second)
			if got := degradedBy(status); got != "" {
				t.Errorf("%s: when it went on: %s", mode, got)
			}
			if text := out.String(); strings.Count(text, "hangs") != 1 || strings.Count(text, "goes on") != 1 {
				t.Errorf("%s: logged\n%s", mode, text)
			}
			stop()
		})
	}
}

// Whatever is wrong shows, and nothing that is well hides it.
func TestAuditHealthOfTwoTroubles(t *testing.T) {
	status := daemon.NewStatus(time.Now)
	h := newAuditHealth(status, slog.New(slog.DiscardHandler), time.Now, true)
	free, unknown := int64(99), error(nil)
	room := reserve{free: func() (int64, error) { return free, unknown }, bytes: 100, health: h}
	if !room.scarce() || !strings.Contains(degradedBy(status), "99 bytes of 100 are left") {
		t.Errorf("%q", degradedBy(status))
	}
	h.wrote(nil)
	h.stalled(0)
	if degradedBy(status) == "" {
		t.Error("a write that succeeds hides that denials are not written")
	}
	h.wrote(errors.New("broken"))
	if got := degradedBy(status); !strings.Contains(got, "broken") || !strings.Contains(got, "--audit-reserve") {
		t.Errorf("%q", got)
	}
	free = 100
	if room.scarce() || strings.Contains(degradedBy(status), "--audit-reserve") {
		t.Errorf("%q", degradedBy(status))
	}
	h.wrote(nil)
	if got := degradedBy(status); got != "" {
		t.Errorf("%q", got)
	}
	if unknown = errors.New("no such disk"); !room.scarce() || room.known() == nil || !strings.Contains(degradedBy(status), "no such disk") {
		t.Error("what is not known is enough")
	}
}
