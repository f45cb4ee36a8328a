package authz_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// A denial can be asked about by its decision ID and by what the request was called; an allow cannot.
func TestDenials(t *testing.T) {
	denials := authz.NewDenials(100, authztest.Now)
	a := gateWith(t, shop, authz.Options{Recorder: authz.Recorders{denials}})
	refused := a.Check(t.Context(), get("/users/bob/orders?x=secret", as("alice"), header("x-request-id", "r-1"), header("traceparent", "00-ab-cd-01")))
	allowed := a.Check(t.Context(), get("/me", as("alice"), header("x-request-id", "r-2")))
	told, ok := denials.Explain(refused.ID)
	if !ok {
		t.Fatal("the denial is not kept")
	}
	if told.Reason != "owner" || told.Path != "/users/bob/orders?x=…" || told.RequestID != "r-1" || told.Traceparent != "00-ab-cd-01" || told.Rule != "list-orders" {
		t.Errorf("%+v", told)
	}
	if strings.Contains(told.Text(), "secret") {
		t.Errorf("a value of the query is kept:\n%s", told.Text())
	}
	if byRequest, ok := denials.ExplainRequest("r-1"); !ok || byRequest.DecisionID != refused.ID {
		t.Error("the request's own name does not lead there")
	}
	for _, id := range []string{allowed.ID, "", "nothing"} {
		if _, ok := denials.Explain(id); ok {
			t.Errorf("%q is kept", id)
		}
	}
	if _, ok := denials.ExplainRequest("r-2"); ok {
		t.Error("an allow is kept")
	}
	if denials.Len() != 1 || !denials.Since().Equal(authztest.Now) || denials.Size() < 100 {
		t.Errorf("%d kept since %s, at most %d", denials.Len(), denials.Since(), denials.Size())
	}
}

// The memory is bounded: the oldest make room, whatever requests hold.
func TestDenialsAreBounded(t *testing.T) {
	denials := authz.NewDenials(64, authztest.Now)
	a := gateWith(t, shop, authz.Options{Recorder: denials})
	long := "/nowhere/" + strings.Repeat("a", 8000)
	var first, last string
	for i := range 5000 {
		d := a.Check(t.Context(), get(long, as("alice"), header("x-request-id", fmt.Sprint(i))))
		if i == 0 {
			first = d.ID
		}
		last = d.ID
	}
	if _, ok := denials.Explain(first); ok {
		t.Error("the first of thousands is still kept")
	}
	told, ok := denials.Explain(last)
	if !ok || len(told.Path) > 600 {
		t.Errorf("the last: kept %v, path of %d bytes", ok, len(told.Path))
	}
	if denials.Len() > denials.Size() || denials.Size() > 64+16 {
		t.Errorf("%d of %d", denials.Len(), denials.Size())
	}
	if off := authz.NewDenials(0, time.Time{}); off.Size() != 0 {
		t.Error("none are kept, and some are")
	} else {
		off.Record(&authz.Decision{ID: "x"}, get("/"))
		if _, ok := off.Explain("x"); ok {
			t.Error("a memory of none remembers")
		}
	}
}

func TestDenialsUnderConcurrency(t *testing.T) {
	denials := authz.NewDenials(32, authztest.Now)
	a := gateWith(t, shop, authz.Options{Recorder: denials})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				d := a.Check(t.Context(), get("/nowhere", header("x-request-id", "same")))
				denials.Explain(d.ID)
				denials.ExplainRequest("same")
			}
		})
	}
	all.Wait()
	if denials.Len() > denials.Size() {
		t.Errorf("%d of %d", denials.Len(), denials.Size())
	}
}

// What a denial costs to remember, and what an allow costs: nothing.
// What a trial would have decided is kept as short as the decision beside it.
func TestTrialsAreKeptShort(t *testing.T) {
	denials := authz.NewDenials(64, authztest.Now)
	ask := get("/me", as("alice"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range denials.Size() {
		long := strings.Repeat("a", 1<<20)
		denials.Record(&authz.Decision{ID: fmt.Sprint(i), Verdict: authz.Allow, Object: long, Shadow: &authz.Decision{Object: long, Who: long}}, ask)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); denials.Len() < 32 || grown > 8<<20 {
		t.Errorf("%d denials hold %d bytes", denials.Len(), grown)
	}
	runtime.KeepAlive(denials)
}

func BenchmarkDenials(b *testing.B) {
	denials := authz.NewDenials(10_000, authztest.Now)
	ask := get("/users/bob/orders", as("alice"), header("x-request-id", "4f1c6f5e-0000-4000-8000-000000000000"))
	a := gateWith(b, shop, authz.Options{})
	refused, allowed := a.Check(b.Context(), ask), a.Check(b.Context(), get("/me", as("alice")))
	b.Run("denial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			denials.Record(refused, ask)
		}
	})
	b.Run("allow", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			denials.Record(allowed, ask)
		}
	})
	b.Run("memory", func(b *testing.B) {
		for b.Loop() {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			full := authz.NewDenials(10_000, authztest.Now)
			for range 12_000 {
				d := *refused
				d.ID = fmt.Sprintf("%p%d", &d, full.Len())
				full.Record(&d, ask)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(full.Len()), "bytes/denial")
			runtime.KeepAlive(full)
		}
	})
}
