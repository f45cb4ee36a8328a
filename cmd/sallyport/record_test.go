package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// How much is recorded is said in percent, and nothing is recorded by accident.
func TestRecordFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no sample":  {[]string{"--record", "f"}, "--record needs --sample"},
		"no record":  {[]string{"--sample", "1%"}, "there is no --record"},
		"a fraction": {[]string{"--record", "f", "--sample", "0.001"}, "--sample 0.001 is no percentage"},
		"none":       {[]string{"--record", "f", "--sample", "0%"}, "more than 0% and at most 100%"},
		"too many":   {[]string{"--record", "f", "--sample", "101%"}, "more than 0% and at most 100%"},
		"no folder":  {[]string{"--record", "/nonexistent/f", "--sample", "1%"}, "--record: "},
	} {
		policyFile := put(t, "policy.yaml", []byte(shopPolicy))
		args := append([]string{"authz", "--policy", policyFile, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--audit", "off"}, c.args...)
		if code, _, errs := command(t, nil, args...); code != 2 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q; want %s", name, code, errs, c.want)
		}
	}
	for sample, want := range map[string]uint64{"100%": math.MaxUint64, "50%": 1 << 63, "0.1%": 18446744073709551} {
		got, err := (&recordFlags{sample: sample}).share()
		if err != nil || math.Abs(float64(got)-float64(want)) > 4096 {
			t.Errorf("%s: %d, %v; want %d", sample, got, err, want)
		}
	}
}

// disk takes lines, or fails.
type disk struct {
	mu    sync.Mutex
	lines bytes.Buffer
	err   error
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0, d.err
	}
	return d.lines.Write(p)
}

// oneDecision is an allow of the shop's policy.
func oneDecision(t *testing.T) *offline.Result {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shopPolicy)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	c, errs := offline.ReadCase("case", []byte("who: {sub: alice, scopes: ['read:orders']}\nrequest: GET /users/alice/orders"))
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	result, err := offline.NewRoom(p).Decide(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// Every sampled request becomes a line, also those that wait when the gate ends; what the disk does not take is counted.
func TestRecordWrites(t *testing.T) {
	result := oneDecision(t)
	synctest.Test(t, func(t *testing.T) {
		to := &disk{}
		var log bytes.Buffer
		r := newRequestRecord(math.MaxUint64, "", to.Write, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.run(ctx) }()
		for range 10 {
			r.Record(result.Decision, result.Request)
		}
		synctest.Wait()
		to.err = errors.New("full")
		r.Record(result.Decision, result.Request)
		r.Record(result.Decision, result.Request)
		synctest.Wait()
		to.err = nil
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(to.lines.String(), "\n"); got != 10 || testutil.ToFloat64(r.lines) != 10 || testutil.ToFloat64(r.failed) != 2 {
			t.Errorf("%d lines, counted %v written and %v failed", got, testutil.ToFloat64(r.lines), testutil.ToFloat64(r.failed))
		}
		if strings.Count(log.String(), "requests are not recorded") != 1 {
			t.Errorf("the log says\n%s", log.String())
		}
	})
}

// A disk that does not keep up costs lines and never time, and what cannot be replayed is counted apart.
func TestRecordDrops(t *testing.T) {
	result := oneDecision(t)
	r := newRequestRecord(math.MaxUint64, "", nil, nil)
	for range recordQueue + 7 {
		r.Record(result.Decision, result.Request)
	}
	if got := testutil.ToFloat64(r.full); got != 7 || len(r.queue) != recordQueue {
		t.Errorf("%v were dropped, %d wait", got, len(r.queue))
	}
	<-r.queue
	r.Record(&authz.Decision{Reason: authz.BadTarget}, &authz.Request{})
	if got := testutil.ToFloat64(r.unfit); got != 1 {
		t.Errorf("%v did not fit", got)
	}
}

// A request that is not in the sample costs a random number and no memory.
func TestUnsampledCostsNothing(t *testing.T) {
	result := oneDecision(t)
	r := newRequestRecord(0, "", nil, nil)
	if allocs := testing.AllocsPerRun(1000, func() { r.Record(result.Decision, result.Request) }); allocs != 0 || len(r.queue) != 0 {
		t.Errorf("%v allocations, %d wait", allocs, len(r.queue))
	}
}

// What a policy reads is gathered once, and anew for another policy.
func TestRecordReads(t *testing.T) {
	result := oneDecision(t)
	r := newRequestRecord(math.MaxUint64, "", nil, nil)
	first := r.readsOf(result.Decision)
	if r.readsOf(result.Decision) != first {
		t.Error("the same policy was read twice")
	}
	later := *result.Decision
	later.Policy, later.Time = "another", time.Time{}
	if r.readsOf(&later) == first {
		t.Error("another policy was not read")
	}
}

func BenchmarkRecord(b *testing.B) {
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shopPolicy)}})
	if len(errs) > 0 {
		b.Fatal(errs.Pretty())
	}
	c, _ := offline.ReadCase("case", []byte("who: {sub: alice, scopes: ['read:orders']}\nrequest: GET /users/alice/orders"))
	result, err := offline.NewRoom(p).Decide(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	for name, share := range map[string]uint64{"unsampled": 0, "sampled": math.MaxUint64} {
		b.Run(name, func(b *testing.B) {
			r := newRequestRecord(share, "", nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				r.Record(result.Decision, result.Request)
				if share > 0 {
					<-r.queue
				}
			}
		})
	}
}
