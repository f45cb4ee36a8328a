package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/audit"
)

// running lets a log run until end is called, which waits for it.
func running(t testing.TB, l *audit.Log) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

// unexplained is how many numbers no line of a log explains, and the greatest number on any. This is the rule for readers of the log,
// as docs/audit.md has it: lines with a number, and what summaries and gaps count.
func unexplained(lines []map[string]any) (missing, greatest float64) {
	explained := 0.0
	for _, m := range lines {
		if m["sequence"] != nil {
			explained++
		}
		for _, key := range []string{"repeated", "lost"} {
			if n, ok := m[key].(float64); ok {
				explained += n
			}
		}
		for _, key := range []string{"sequence", "last_sequence"} {
			if n, ok := m[key].(float64); ok {
				greatest = max(greatest, n)
			}
		}
	}
	return greatest - explained, greatest
}

// Denials that are alike become a line for the first, at once, and one for all others, with their exact count and the range of their
// numbers. What differs in who, what or why is another denial.
func TestFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &slow{} // whose Sync nobody calls
		l := audit.New(out, audit.Options{Fold: time.Minute, Run: "run-1"})
		end := running(t, l)
		denial := audit.Record{Verdict: "deny", Reason: "owner", Service: "orders", Rule: "read", Subject: "alice", Object: "17", Address: "192.0.2.1"}
		begun := time.Now()
		for i := range 5 {
			r := denial
			r.Time, r.DecisionID, r.RequestID, r.Latency = begun.Add(time.Duration(i)*time.Second), fmt.Sprint("d-", i+1), fmt.Sprint("r-", i+1), time.Duration(i)
			l.Record(r)
		}
		for _, change := range []func(*audit.Record){
			func(r *audit.Record) { r.Address = "192.0.2.2" }, func(r *audit.Record) { r.Object = "18" }, func(r *audit.Record) { r.Subject = "bob" },
			func(r *audit.Record) { r.Reason = "role" }, func(r *audit.Record) { r.Verdict = "allow" }, func(r *audit.Record) { r.Verdict = "allow" },
		} {
			r := denial
			change(&r)
			l.Record(r)
		}
		synctest.Wait()
		if lines := parse(t, out.String()); len(lines) != 7 {
			t.Errorf("%d lines at once, want 7:\n%s", len(lines), out.String())
		}
		synctestSleep(time.Minute)
		lines := parse(t, out.String())
		if len(lines) != 8 {
			t.Fatalf("%d lines after the window, want 8", len(lines))
		}
		got := lines[7]
		want := map[string]any{
			"sequence": 12.0, "repeated": 4.0, "first_sequence": 2.0, "last_sequence": 5.0, "decision_id": "d-5", "reason": "owner", "object": "17",
			"first_time": begun.Add(time.Second).UTC().Format(time.RFC3339Nano), "time": begun.Add(4 * time.Second).UTC().Format(time.RFC3339Nano),
		}
		maps.DeleteFunc(got, func(key string, _ any) bool { return want[key] == nil && key != "latency_us" && key != "request_id" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the summary (-want +got):\n%s", diff)
		}
		l.Record(denial) // in a new window: at once again
		synctest.Wait()
		l.Record(denial)
		end() // and the window that is open is told at the end
		lines = parse(t, out.String())
		if missing, greatest := unexplained(lines); len(lines) != 10 || missing != 0 || greatest != 15 {
			t.Errorf("%d lines, %v numbers of %v unexplained:\n%s", len(lines), missing, greatest, out.String())
		}
		if c := l.Counts(); c.Folded != 5 || c.Dropped != 0 || c.Recorded != 15 {
			t.Errorf("counts are %+v", c)
		}
	})
}

// Hosts and methods that no service and no rule knows are a client's invention, and are one kind; those of a rule are not.
func TestFoldUnknownHosts(t *testing.T) {
	for name, test := range map[string]struct {
		service, rule string
		lines         int
	}{
		"no service": {"none", "none", 2}, "no rule": {"orders", "none", 2}, "no names": {"", "", 2}, "a rule": {"orders", "read", 5},
	} {
		var records []audit.Record
		for i := range 5 {
			records = append(records, audit.Record{Verdict: "deny", Service: test.service, Rule: test.rule, Host: fmt.Sprint("h", i), Method: fmt.Sprint("M", i)})
		}
		lines := parse(t, logged(t, audit.Options{}, records...))
		if missing, _ := unexplained(lines); len(lines) != test.lines || missing != 0 {
			t.Errorf("%s: %d lines, want %d; %v numbers unexplained", name, len(lines), test.lines, missing)
		}
		if last := lines[len(lines)-1]; test.lines == 2 && (last["repeated"] != 4.0 || last["host"] != nil || last["method"] != nil) {
			t.Errorf("%s: the summary is %v", name, last)
		}
	}
}

// What must have a line of its own has one, however alike: an allow that was not answered is told by the denial behind it.
func TestKeptIsNotFolded(t *testing.T) {
	out := logged(t, audit.Options{}, audit.Record{DecisionID: "d-1", Kept: true}, audit.Record{DecisionID: "d-2", Kept: true}, audit.Record{DecisionID: "d-3", Kept: true})
	if lines := parse(t, out); len(lines) != 3 || lines[1]["decision_id"] != "d-2" {
		t.Errorf("%s", out)
	}
}

// A denial that is like one that is counted already costs a request no allocation and no place in the queue.
func BenchmarkFolded(b *testing.B) {
	l := audit.New(&bytes.Buffer{}, audit.Options{})
	r := full()
	r.Verdict = "deny"
	b.ReportAllocs()
	for b.Loop() {
		l.Record(r)
	}
	if c := l.Counts(); c.Dropped != 0 || c.Waiting != 1 {
		b.Errorf("%+v", c)
	}
}

// synctestSleep lets the bubble's clock go on.
func synctestSleep(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// Only allows are sampled, each that is recorded says the rate, and one that is left out takes no number: it looks like no loss.
func TestSampling(t *testing.T) {
	for _, text := range []string{"10%", "off", "all"} {
		share, err := audit.ParseShare(text)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		l := audit.New(&out, audit.Options{Allows: share, Queue: 1 << 15, Fold: -1})
		for range 2000 {
			l.Record(allow)
			l.Record(audit.Record{Verdict: "deny"})
			l.Record(audit.Record{Verdict: "allow", Kept: true})
			l.Record(audit.Record{Verdict: "allow", ShadowVerdict: "deny"})
		}
		l.Event(audit.Event{Name: audit.EventConfig})
		stop(t, l)
		lines := parse(t, out.String())
		sampled := 0
		for _, m := range lines {
			if m["sample_rate"] != nil {
				sampled++
				if m["sample_rate"] != 0.1 || m["verdict"] != "allow" || m["shadow_verdict"] != nil {
					t.Fatalf("sampled at 10%%: %v", m)
				}
			}
		}
		want := map[string]bool{"10%": sampled > 100 && sampled < 400, "off": sampled == 0, "all": sampled == 0}[text]
		unsampled := map[string]uint64{"10%": uint64(2000 - sampled), "off": 2000}[text]
		if missing, _ := unexplained(lines); !want || l.Counts().Unsampled != unsampled || missing != 0 || len(lines) != 8001-int(unsampled) {
			t.Errorf("%s: %d sampled of 2000, %d lines, %v unexplained, %+v", text, sampled, len(lines), missing, l.Counts())
		}
	}
}

func TestParseShare(t *testing.T) {
	for text, want := range map[string]string{"all": "all", "100%": "all", "off": "off", "0%": "off", "1%": "1%", "0.05%": "0.05%", "7%": "7%"} {
		if got, err := audit.ParseShare(text); err != nil || got.String() != want || got.All() != (want == "all") {
			t.Errorf("%s is %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "1", "-1%", "101%", "1e2%", "some", "0.0%", "% "} {
		if got, err := audit.ParseShare(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
	var out bytes.Buffer
	share, _ := audit.ParseShare("7%")
	l := audit.New(&out, audit.Options{Allows: share})
	for range 1000 {
		l.Record(allow)
	}
	stop(t, l)
	if !strings.Contains(out.String(), `"sample_rate":0.07,`) && !strings.Contains(out.String(), `"sample_rate":0.07}`) {
		t.Errorf("the rate of 7%% is written as %.300s", out.String())
	}
}

// A flood of denials leaves room for allows, and events find a place even where allows leave none.
func TestReservedSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		l := audit.New(g, audit.Options{Queue: 8, Fold: -1})
		end := running(t, l)
		l.Record(allow)
		synctest.Wait() // in the writer's hands, which the flood finds closed
		for range 100 {
			l.Record(audit.Record{Verdict: "deny"})
		}
		if got := l.Dropped(); got != 94 {
			t.Errorf("of 100 denials %d were dropped, want 94: three quarters of 8 find a place", got)
		}
		for range 3 {
			l.Record(allow)
		}
		if got := l.Dropped(); got != 95 {
			t.Errorf("of 3 allows %d were dropped, want 1: two places are left", got-94)
		}
		for range 65 {
			l.Event(audit.Event{Name: audit.EventStore})
		}
		if got := l.Dropped(); got != 96 {
			t.Errorf("of 65 events %d were dropped, want 1", got-95)
		}
		close(g.open)
		end()
		if missing, greatest := unexplained(parse(t, g.out.String())); missing != 0 || greatest != 169 {
			t.Errorf("%v numbers of %v unexplained", missing, greatest)
		}
	})
}

// A denial that takes an allow back finds a place where denials, allows and events have left none, and takes none from events.
func TestReservedForKept(t *testing.T) {
	for _, first := range []string{"events", "denials"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{open: make(chan struct{})}
				l := audit.New(g, audit.Options{Queue: 8})
				end := running(t, l)
				l.Record(allow)
				synctest.Wait()
				for range 8 {
					l.Record(allow)
				}
				events := func() {
					for range 65 {
						l.Event(audit.Event{Name: audit.EventStore})
					}
				}
				if first == "events" {
					events()
				}
				for range 65 {
					l.Record(audit.Record{Verdict: "deny", Kept: true})
				}
				if first == "denials" {
					events()
				}
				l.Record(audit.Record{Verdict: "deny"})
				if got := l.Dropped(); got != 3 {
					t.Errorf("%d were dropped, want one of each", got)
				}
				close(g.open)
				end()
				if missing, greatest := unexplained(parse(t, g.out.String())); missing != 0 || greatest != 140 {
					t.Errorf("%v numbers of %v unexplained", missing, greatest)
				}
			})
		})
	}
}

// slow is a disk whose Sync waits for its turn, and what was durable when it ended.
type slow struct {
	mu      sync.Mutex
	out     bytes.Buffer
	durable string
	err     error
	turn    chan struct{}
	syncs   atomic.Int64
}

func (s *slow) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(p)
}

// String is what was written.
func (s *slow) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

func (s *slow) Sync() error {
	<-s.turn
	s.syncs.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = s.out.String()
	return s.err
}

// Commit returns when the record is durable and not before, and those who come together wait for one Sync together.
func TestCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{turn: make(chan struct{})}
		l := audit.New(s, audit.Options{Sync: s.Sync})
		end := running(t, l)
		var answered atomic.Int64
		ask := func(id string) {
			if err := l.Commit(t.Context(), audit.Record{Verdict: "allow", DecisionID: id}); err != nil {
				t.Errorf("%s: %v", id, err)
			}
			if !strings.Contains(s.durable, `"`+id+`"`) {
				t.Errorf("%s was answered and is not durable", id)
			}
			answered.Add(1)
		}
		go ask("first")
		synctest.Wait() // written, and not synced
		for i := range 50 {
			go ask(fmt.Sprint("d-", i))
		}
		synctest.Wait()
		if answered.Load() != 0 {
			t.Error("answered before Sync")
		}
		s.turn <- struct{}{}
		synctest.Wait()
		if answered.Load() != 1 {
			t.Errorf("%d answered after the first Sync, want 1", answered.Load())
		}
		s.turn <- struct{}{}
		synctest.Wait()
		if answered.Load() != 51 || s.syncs.Load() != 2 {
			t.Errorf("%d answered after %d Syncs, want 51 after 2", answered.Load(), s.syncs.Load())
		}
		l.Record(audit.Record{Verdict: "deny"}) // nobody waits for a denial, so it costs no Sync
		end()
		if s.syncs.Load() != 2 {
			t.Errorf("%d Syncs", s.syncs.Load())
		}
	})
}

// What is not durable in time, or at all, is an error that says why.
func TestCommitFails(t *testing.T) {
	full := &disk{}
	for name, test := range map[string]struct {
		log  func(slow *gate) *audit.Log
		want error
	}{
		"the disk is full": {func(*gate) *audit.Log { return audit.New(full, audit.Options{}) }, syscall.ENOSPC},
		"Sync fails": {func(*gate) *audit.Log {
			return audit.New(&bytes.Buffer{}, audit.Options{Sync: func() error { return syscall.EIO }})
		}, syscall.EIO},
		"the disk is slow": {func(slow *gate) *audit.Log { return audit.New(slow, audit.Options{}) }, context.DeadlineExceeded},
		"the log is off":   {func(*gate) *audit.Log { return nil }, audit.ErrStopped},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{open: make(chan struct{})}
			l := test.log(g)
			stopped, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- l.Run(stopped) }()
			ctx, late := context.WithTimeout(t.Context(), time.Second)
			defer late()
			if err := l.Commit(ctx, allow); !errors.Is(err, test.want) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
			close(g.open)
			cancel()
			<-done
			if err := l.Commit(ctx, allow); !errors.Is(err, audit.ErrStopped) {
				t.Errorf("%s, at the end: %v", name, err)
			}
		})
	}
	l := audit.New(&bytes.Buffer{}, audit.Options{Queue: 1}) // and nobody writes
	l.Record(allow)
	if err := l.Commit(t.Context(), allow); !errors.Is(err, audit.ErrFull) {
		t.Errorf("no place: %v", err)
	}
	stop(t, l)
}

// Events have a number as decisions have, and a line with what they say; lists are bounded, and a token stands in none.
func TestEvent(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprint("kid-", i))
	}
	out := logged(t, audit.Options{Instance: "gate-1"}, allow)
	var b bytes.Buffer
	l := audit.New(&b, audit.Options{Instance: "gate-1", Run: "run-1"})
	l.Event(audit.Event{
		Time: noon, Name: audit.EventConfig, Outcome: "partly", Part: "/etc/policy", Detail: "a.yaml:1:2: \"x\"", Policy: "bb", PolicyBefore: "aa",
		Files: []string{"a.yaml", "b.yaml"}, Count: 2,
	})
	l.Event(audit.Event{Time: noon, Name: audit.EventKeys, Part: "shop", Added: many, Removed: []string{jwt}})
	stop(t, l)
	const want = `"sequence":1,"event":"config_load","outcome":"partly","part":"/etc/policy","detail":"a.yaml:1:2: \"x\"","policy":"bb","policy_before":"aa","files":["a.yaml","b.yaml"],"count":2}` + "\n"
	if !strings.Contains(b.String(), want) || out == "" {
		t.Errorf("%s lacks %s", b.String(), want)
	}
	lines := parse(t, b.String())
	if added := lines[1]["added"].([]any); len(added) != 16 || added[15] != "kid-15" {
		t.Errorf("added is %v", added)
	}
	if diff := cmp.Diff([]any{"[token]"}, lines[1]["removed"]); diff != "" {
		t.Error(diff)
	}
}

// A key that changes while the log runs shows in the records that follow.
func TestSetKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := audit.New(&out, audit.Options{Fold: -1, Pseudonymise: key(t, "k1", 1)})
		end := running(t, l)
		for _, k := range []*audit.Key{nil, key(t, "k2", 2), nil} {
			l.Record(audit.Record{Subject: "alice"})
			synctest.Wait()
			l.SetKey(k)
		}
		end()
		var ids []any
		for _, m := range parse(t, out.String()) {
			ids = append(ids, m["key_id"])
		}
		if diff := cmp.Diff([]any{"k1", nil, "k2"}, ids); diff != "" {
			t.Error(diff)
		}
	})
}

// Whatever comes in whatever order, to a disk that fails now and then: the numbers on the lines rise, none stands twice, and each that
// was given is on a line, in a summary or in a gap. The naive twin is a count of calls.
func TestEveryNumberIsExplained(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var out bytes.Buffer
		var broken atomic.Bool
		w := writerFunc(func(p []byte) (int, error) {
			if broken.Load() {
				return 0, syscall.ENOSPC
			}
			return out.Write(p)
		})
		var l *audit.Log
		calls := 0
		synctest.Test(t, func(t *testing.T) {
			l = audit.New(w, audit.Options{Queue: rapid.IntRange(1, 12).Draw(rt, "queue"), Run: "run-1"})
			end := running(t, l)
			for range rapid.IntRange(0, 60).Draw(rt, "steps") {
				switch rapid.IntRange(0, 6).Draw(rt, "step") {
				case 0:
					l.Record(allow)
					calls++
				case 1, 2:
					l.Record(audit.Record{Verdict: "deny", Object: fmt.Sprint(rapid.IntRange(0, 2).Draw(rt, "object"))})
					calls++
				case 3:
					l.Event(audit.Event{Name: audit.EventStore})
					calls++
				case 4:
					synctest.Wait()
				case 5:
					synctestSleep(audit.DefaultFold)
				case 6:
					synctest.Wait()
					broken.Store(!broken.Load())
				}
			}
			synctest.Wait()
			broken.Store(false)
			end()
		})
		lines := parse(t, out.String())
		missing, greatest := unexplained(lines)
		summaries, last := 0.0, 0.0
		for _, m := range lines {
			if n, ok := m["sequence"].(float64); ok {
				if n <= last {
					rt.Fatalf("%v follows %v", n, last)
				}
				last = n
			}
			if m["repeated"] != nil {
				summaries++
			}
		}
		if given := l.Counts().Recorded; missing != 0 || uint64(greatest) != given || given < uint64(calls) {
			rt.Fatalf("%d calls, %d numbers given, greatest %v, %v unexplained:\n%s", calls, given, greatest, missing, out.String())
		}
	})
}
