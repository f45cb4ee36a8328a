package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// The status follows every write. The log is told of a failure at most once a minute, and of its end if it was told of its beginning.
func TestAuditHealth(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var out bytes.Buffer
	status := daemon.NewStatus(func() time.Time { return now })
	h := &auditHealth{status: status, log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
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
