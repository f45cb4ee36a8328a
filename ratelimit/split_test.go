package ratelimit_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

type brokenStore struct{ err error }

func (b brokenStore) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return nil, b.err
}

// Limits per second stand in one store and all others in another; a request that meets both is decided as one.
func TestSplit(t *testing.T) {
	now := func() time.Time { return time.UnixMilli(1_699_999_200_500) }
	second := func(n uint32) []window.Window { return []window.Window{{Limit: n, Span: time.Second}} }
	minute := func(n uint32) []window.Window { return []window.Window{{Limit: n, Span: time.Minute}} }
	both := []window.Window{{Limit: 9, Span: time.Second}, {Limit: 9, Span: time.Minute}}
	charge := func(key string, w []window.Window, counts bool) ratelimit.Charge {
		return ratelimit.Charge{Key: key, Rule: key, Windows: w, Algorithm: window.Fixed, Hits: 1, CountDenied: counts}
	}
	for _, tt := range []struct {
		name        string
		batch       []ratelimit.Charge
		over        []bool
		short, long int // counters made in each store
		left        []uint32
	}{
		{"per second", []ratelimit.Charge{charge("s", second(5), true)}, []bool{false}, 1, 0, []uint32{4}},
		{"per minute", []ratelimit.Charge{charge("m", minute(5), true)}, []bool{false}, 0, 1, []uint32{4}},
		{"several windows stay together", []ratelimit.Charge{charge("b", both, false)}, []bool{false}, 0, 1, []uint32{8}},
		{"both pass, in the order of the request", []ratelimit.Charge{charge("m", minute(5), false), charge("s", second(3), false)}, []bool{false, false}, 1, 1, []uint32{4, 2}},
		{"one denies: the other gets its hit back", []ratelimit.Charge{charge("m", minute(5), false), charge("s", second(0), false)}, []bool{false, true}, 0, 1, []uint32{5, 0}},
		{"one denies: what counts denied hits keeps it", []ratelimit.Charge{charge("m", minute(5), true), charge("s", second(0), false)}, []bool{false, true}, 0, 1, []uint32{4, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			short, long := memstore.New(memstore.Options{Now: now}), memstore.New(memstore.Options{Now: now})
			outcomes, err := ratelimit.Split(short, long).Spend(t.Context(), tt.batch)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range outcomes {
				if o.Over != tt.over[i] || o.Windows[0].Remaining != tt.left[i] {
					t.Errorf("charge %d: %+v", i, o)
				}
			}
			if short.Len() > tt.short || long.Len() > tt.long || tt.over[len(tt.over)-1] == false && (short.Len() != tt.short || long.Len() != tt.long) {
				t.Errorf("%d counters per second and %d others, want %d and %d", short.Len(), long.Len(), tt.short, tt.long)
			}
		})
	}
	// A store that takes nothing back keeps what was spent: early refusals, no late ones.
	plain := struct{ ratelimit.Store }{memstore.New(memstore.Options{Now: now})}
	outcomes, err := ratelimit.Split(memstore.New(memstore.Options{Now: now}), plain).Spend(t.Context(), []ratelimit.Charge{charge("m", minute(5), false), charge("s", second(0), false)})
	if err != nil || outcomes[0].Windows[0].Remaining != 4 || !outcomes[1].Over {
		t.Errorf("without refunds: %+v, %v", outcomes, err)
	}
	// One refusal is enough: the error of the other half would let the request pass in Envoy.
	away := brokenStore{&ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("away")}}
	for name, store := range map[string]ratelimit.Store{
		"per second": ratelimit.Split(away, memstore.New(memstore.Options{Now: now})), "others": ratelimit.Split(memstore.New(memstore.Options{Now: now}), away),
	} {
		outcomes, err := store.Spend(t.Context(), []ratelimit.Charge{charge("m", minute(0), false), charge("s", second(0), false)})
		if err != nil || outcomes[0].Uncounted == outcomes[1].Uncounted || outcomes[0].Over == outcomes[1].Over {
			t.Errorf("%s is away and the other refuses: %+v, %v", name, outcomes, err)
		}
	}
	// An error of either is an error of both: nothing internal becomes an allow.
	broken := brokenStore{&ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("away")}}
	good := memstore.New(memstore.Options{Now: now})
	for name, store := range map[string]ratelimit.Store{
		"per second": ratelimit.Split(broken, good), "others": ratelimit.Split(good, broken), "unanswered": ratelimit.Split(brokenStore{}, good),
	} {
		var failed *ratelimit.StoreError
		if _, err := store.Spend(t.Context(), []ratelimit.Charge{charge("m", minute(5), true), charge("s", second(5), true)}); !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stuck takes nothing back, and says so late.
type stuck struct{ ratelimit.Refunder }

func (stuck) Refund(ctx context.Context, _ ratelimit.Receipt) error { <-ctx.Done(); return ctx.Err() }

// A refusal is told in the caller's time, though what the other store spent is not taken back by then: Envoy would let it pass.
func TestSplitRefusesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		charge := func(key string, limit uint32, span time.Duration) ratelimit.Charge {
			return ratelimit.Charge{Key: key, Rule: key, Windows: []window.Window{{Limit: limit, Span: span}}, Algorithm: window.Fixed, Hits: 1}
		}
		store := ratelimit.Split(memstore.New(memstore.Options{}), stuck{memstore.New(memstore.Options{})})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		begun := time.Now()
		out, err := store.Spend(ctx, []ratelimit.Charge{charge("m", 5, time.Minute), charge("s", 0, time.Second)})
		if took := time.Since(begun); err != nil || !out[1].Over || out[0].Windows[0].Remaining != 4 || took > 20*time.Millisecond {
			t.Errorf("after %v: %+v, %v", took, out, err)
		}
		pass(2 * ratelimit.DefaultRefundTimeout) // the refund ends
	})
}
