package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/audit"
)

// flood records so many denials of which no two are alike.
func flood(l *audit.Log, n int) {
	for i := range n {
		l.Record(audit.Record{Time: noon, Verdict: "deny", Reason: "owner", Object: fmt.Sprint("o-", i)})
	}
}

// A flood of denials that fills the disk leaves the room that is kept for allows: each of those is on record as long as that room lasts,
// and every denial that is on no line is told by a gap. Without the reserve the first allow behind the flood is refused.
func TestFloodLeavesRoomOnDisk(t *testing.T) {
	const room, reserve = 300_000, 100_000
	for name, reserved := range map[string]bool{"reserved": true, "not reserved": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{room: room}
				opt := audit.Options{Fold: -1}
				if reserved {
					opt.Scarce = func() bool { return d.room < reserve }
				}
				l := audit.New(d, opt)
				end := running(t, l)
				for range 20 {
					flood(l, 100)
					synctest.Wait()
				}
				err := l.Commit(t.Context(), allow)
				if !reserved {
					if !errors.Is(err, syscall.ENOSPC) {
						t.Errorf("the flood did not fill the disk: %v", err)
					}
					end()
					return
				}
				if d.room < reserve-(64<<10)-4096 {
					t.Errorf("denials took %d bytes of the %d that are kept", reserve-d.room, reserve)
				}
				before := l.Counts()
				for i := range 100 {
					flood(l, 10)
					if i%10 == 0 {
						l.Event(audit.Event{Time: noon, Name: audit.EventStore, Outcome: "failed"})
						l.Record(audit.Record{Time: noon, Verdict: "deny", Reason: "cancelled", Kept: true})
					}
					if err := l.Commit(t.Context(), allow); err != nil {
						t.Fatalf("allow %d: %v", i, err)
					}
				}
				if got := l.Counts(); got.Dropped-before.Dropped != 1000 || got.WriteErrors != 0 {
					t.Errorf("%d of 1000 denials were dropped, %d write errors", got.Dropped-before.Dropped, got.WriteErrors)
				}
				end()
				lines := parse(t, d.out.String())
				if missing, greatest := unexplained(lines); missing != 0 || greatest < 3000 {
					t.Errorf("%v numbers of %v unexplained", missing, greatest)
				}
				count := map[any]int{}
				for _, line := range lines {
					count[line["reason"]]++
					count[line["event"]]++
				}
				if count["cancelled"] != 10 || count[audit.EventStore] != 10 {
					t.Errorf("lines that must be on record: %v", count)
				}
			})
		})
	}
}

// Where there is room for nothing but what must be on record, a flood of denials alone writes nothing at all, not even that it came; the
// next line that is written tells it.
func TestFloodWritesNoGapsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: 1 << 20}
		l := audit.New(d, audit.Options{Fold: time.Second, Scarce: func() bool { return true }})
		end := running(t, l)
		for range 5 {
			flood(l, 10)
			flood(l, 10) // like those, and counted by summaries
			synctestSleep(time.Second)
		}
		if d.out.Len() != 0 {
			t.Errorf("written: %s", d.out.String())
		}
		l.Record(allow)
		synctest.Wait()
		end()
		lines := parse(t, d.out.String())
		if diff := cmp.Diff([]any{"gap", 151.0}, shape(lines)); diff != "" || lines[0]["lost"] != 150.0 {
			t.Errorf("%v\n%s", lines, diff)
		}
	})
}

// A writer or a Sync that hangs is seen while it does.
func TestStalled(t *testing.T) {
	for _, where := range []string{"write", "sync"} {
		synctest.Test(t, func(t *testing.T) {
			g, turn := &gate{open: make(chan struct{})}, make(chan struct{})
			if where == "sync" {
				close(g.open)
			} else {
				close(turn)
			}
			l := audit.New(g, audit.Options{Sync: func() error { <-turn; return nil }})
			end := running(t, l)
			synctestSleep(time.Minute)
			if got := l.Stalled(); got != 0 {
				t.Errorf("%s: an idle log has stalled for %s", where, got)
			}
			answer := make(chan error, 1)
			go func() { answer <- l.Commit(context.Background(), allow) }()
			synctestSleep(7 * time.Second)
			if got := l.Stalled(); got != 7*time.Second {
				t.Errorf("%s: stalled for %s, want 7s", where, got)
			}
			if where == "sync" {
				close(turn)
			} else {
				close(g.open)
			}
			if err := <-answer; err != nil {
				t.Errorf("%s: %v", where, err)
			}
			synctest.Wait()
			if got := l.Stalled(); got != 0 {
				t.Errorf("%s: still stalled, for %s", where, got)
			}
			end()
		})
	}
	if (*audit.Log)(nil).Stalled() != 0 {
		t.Error("a log that is off has stalled")
	}
}

// Where lines can be written and cannot be made durable, that is one failure from the first batch to the last: no write between two
// Syncs, and no denial that waits for none, says that all is well.
func TestSyncFailsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var heard []error
		broken := syscall.EIO
		var failure error = broken
		l := audit.New(&out, audit.Options{Fold: -1, Sync: func() error { return failure }, Observe: func(err error) { heard = append(heard, err) }})
		end := running(t, l)
		for range 3 {
			if err := l.Commit(t.Context(), allow); !errors.Is(err, broken) {
				t.Errorf("an allow: %v", err)
			}
			flood(l, 1)
			synctest.Wait()
		}
		failure = nil
		flood(l, 1)
		synctest.Wait()
		if err := l.Commit(t.Context(), allow); err != nil {
			t.Errorf("an allow: %v", err)
		}
		end()
		want := append(slices.Repeat([]error{broken}, 6), nil)
		if diff := cmp.Diff(want, heard, cmp.Comparer(errors.Is)); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
		if got := l.WriteErrors(); got != 6 {
			t.Errorf("%d errors, want 6", got)
		}
	})
}

// Nothing stands behind `stop`: neither the counts of denials that were folded nor a gap.
func TestStopIsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		l := audit.New(d, audit.Options{Stop: true, Now: func() time.Time { return noon }})
		end := running(t, l)
		l.Record(allow) // lost
		synctest.Wait()
		d.room = 1 << 20
		for range 3 {
			l.Record(audit.Record{Time: noon, Verdict: "deny"})
		}
		end()
		l.Record(allow) // behind the end
		lines := parse(t, d.out.String())
		if diff := cmp.Diff([]any{"gap", 2.0, 5.0, "stop"}, shape(lines)); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if missing, greatest := unexplained(lines); missing != 0 || greatest != 6 {
			t.Errorf("%v numbers of %v unexplained", missing, greatest)
		}
	})
	t.Run("a gap", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &disk{}
			l := audit.New(d, audit.Options{Stop: true})
			end := running(t, l)
			l.Record(allow)
			synctest.Wait()
			d.room = 1 << 20
			end()
			if diff := cmp.Diff([]any{"gap", "stop"}, shape(parse(t, d.out.String()))); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	})
	t.Run("no room", func(t *testing.T) {
		l := audit.New(&disk{}, audit.Options{Stop: true})
		l.Record(allow)
		stop(t, l)
		if got := l.Dropped(); got != 2 {
			t.Errorf("%d were dropped, want the allow and the stop", got)
		}
	})
	if strings.Contains(logged(t, audit.Options{}, allow), "stop") {
		t.Error("a log that was not asked to tells its end")
	}
}
