package ratelimit_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// naive takes charges back by giving hits back, which is the same while the clock stands still. It refuses to decide several parts
// together, as a cluster does.
type naive struct {
	t interface{ Errorf(string, ...any) }
	ratelimit.Store

	sync.Mutex
	trips   int
	refunds int
	down    string        // the part that does not answer
	hang    chan struct{} // refunds wait for it, if set
}

// partOf is the first letter of a key.
func partOf(key string) int { return int(key[0]) }

var errPartDown = &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("down")}

func (n *naive) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	n.Lock()
	defer n.Unlock()
	n.trips++
	for _, c := range batch {
		if partOf(c.Key) != partOf(batch[0].Key) {
			n.t.Errorf("%s and %s are not of one part", batch[0].Key, c.Key)
		}
	}
	if len(batch) > 0 && n.down != "" && strings.HasPrefix(batch[0].Key, n.down) {
		return nil, errPartDown
	}
	return n.Store.Spend(ctx, batch)
}

func (n *naive) SpendRefundable(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, ratelimit.Receipt, error) {
	out, err := n.Spend(ctx, batch)
	var r ratelimit.Receipt
	denied := false
	for i, o := range out {
		denied = denied || o.Over && !batch[i].Shadow
	}
	for i, o := range out {
		if c := batch[i]; !denied && !o.Over && c.Hits > 0 && !c.CountDenied {
			r.Spent = append(r.Spent, ratelimit.Spent{Key: c.Key, Rule: c.Rule, Hits: c.Hits, Marks: []window.Mark{{Shape: c.Windows[0].Shape(c.Algorithm)}}})
		}
	}
	return out, r, err
}

func (n *naive) Refund(ctx context.Context, r ratelimit.Receipt) error {
	if n.hang != nil {
		select {
		case <-n.hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.Lock()
	defer n.Unlock()
	n.refunds++
	for _, s := range r.Spent {
		c := sliding(s.Key, 1)
		c.Hits = -s.Hits
		if _, err := n.Store.Spend(ctx, []ratelimit.Charge{c}); err != nil {
			return err
		}
	}
	return nil
}

// sliding is one hit against a limit in a minute.
func sliding(key string, limit uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: key, Algorithm: window.Sliding, Hits: 1,
		Windows: []window.Window{{Limit: limit, Span: time.Minute, Cells: 10}},
	}
}

// A batch that is decided in parts means what it means when it is decided as one: the same verdicts, the same hits left, and the same
// counts afterwards.
func TestSpreadMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.UnixMilli(1_700_000_040_000)
		clock := func() time.Time { return now }
		whole := memstore.New(memstore.Options{Now: clock})
		spread := ratelimit.NewSpread(&naive{t: t, Store: memstore.New(memstore.Options{Now: clock})}, partOf)
		for range rapid.IntRange(1, 25).Draw(t, "batches") {
			batch := drawBatch(t)
			want, err1 := whole.Spend(context.Background(), slices.Clone(batch))
			got, err2 := spread.Spend(context.Background(), batch)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			for i := range want {
				w, g := want[i], got[i]
				if w.Over != g.Over || w.Windows[0].Remaining != g.Windows[0].Remaining || g.Uncounted {
					t.Fatalf("charge %d of %+v: in parts %+v, as one %+v", i, batch, g, w)
				}
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "seconds")) * time.Second)
		}
	})
}

// drawBatch draws charges on few keys of three parts, with every flag. Nothing is given back: that stays, in a refused batch in parts.
func drawBatch(t *rapid.T) []ratelimit.Charge {
	batch := make([]ratelimit.Charge, rapid.IntRange(1, 6).Draw(t, "charges"))
	for i := range batch {
		key := rapid.SampledFrom([]string{"a1", "a2", "b1", "b2", "c1"}).Draw(t, "key")
		c := sliding(key, uint32(key[0]-'a')*2+1) // limits of 1, 3 and 5
		c.Hits = rapid.Int64Range(0, 3).Draw(t, "hits")
		c.Shadow = rapid.IntRange(0, 4).Draw(t, "shadow") == 0
		c.CountDenied = key[1] == '2' // of one rule, as all charges on one key
		batch[i] = c
	}
	return batch
}

// What a request costs in trips: one part is one, several are one each and at the same time, and a refund only where it is owed.
func TestSpreadTrips(t *testing.T) {
	counted := func(c ratelimit.Charge) ratelimit.Charge { c.CountDenied = true; return c }
	shadow := func(c ratelimit.Charge) ratelimit.Charge { c.Shadow = true; return c }
	never := sliding("z", 0)
	for name, tt := range map[string]struct {
		batch          []ratelimit.Charge
		trips, refunds int
	}{
		"one part":                              {[]ratelimit.Charge{sliding("a1", 5), sliding("a2", 5), sliding("a3", 5)}, 1, 0},
		"three parts that pass":                 {[]ratelimit.Charge{sliding("a", 5), sliding("b", 5), sliding("c", 5)}, 3, 0},
		"one of three refuses":                  {[]ratelimit.Charge{sliding("a", 5), never, sliding("c", 5)}, 3, 2},
		"one refuses what counts denials":       {[]ratelimit.Charge{counted(sliding("a", 5)), never}, 2, 0},
		"a shadow refuses nobody":               {[]ratelimit.Charge{sliding("a", 5), shadow(never)}, 2, 0},
		"one refuses a part that refuses alone": {[]ratelimit.Charge{sliding("a", 0), never}, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			store := &naive{t: t, Store: memstore.New(memstore.Options{})}
			if _, err := ratelimit.NewSpread(store, partOf).Spend(t.Context(), tt.batch); err != nil {
				t.Fatal(err)
			}
			if store.trips != tt.trips || store.refunds != tt.refunds {
				t.Errorf("%d trips and %d refunds, want %d and %d", store.trips, store.refunds, tt.trips, tt.refunds)
			}
		})
	}
}

// A part that does not answer fails the batch, unless another refuses it: then the refusal stands, and the request is refused without
// asking what the rules say of a lost store.
func TestSpreadWithAPartDown(t *testing.T) {
	store := &naive{t: t, Store: memstore.New(memstore.Options{}), down: "b"}
	s := ratelimit.NewSpread(store, partOf)
	if out, err := s.Spend(t.Context(), []ratelimit.Charge{sliding("a", 1), sliding("b", 1)}); !errors.Is(err, errPartDown) || out != nil {
		t.Errorf("with b down: %+v, %v", out, err)
	}
	// a's one hit stays spent: refused early, never late.
	out, err := s.Spend(t.Context(), []ratelimit.Charge{sliding("c", 5), sliding("b", 1), sliding("a", 1)})
	if err != nil || out[0].Over || out[0].Windows[0].Remaining != 5 || !out[1].Uncounted || out[1].Over || !out[2].Over {
		t.Errorf("with a refusing and b down: %+v, %v", out, err)
	}
	if store.refunds != 1 {
		t.Errorf("%d refunds, want c's", store.refunds)
	}
}

// A refund that does not come back costs the caller its deadline, not its refusal, and is counted.
func TestSpreadRefundOutlastsTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &naive{t: t, Store: memstore.New(memstore.Options{}), hang: make(chan struct{})}
		s := ratelimit.NewSpread(store, partOf)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		begun := time.Now()
		out, err := s.Spend(ctx, []ratelimit.Charge{sliding("a", 1), sliding("b", 0)})
		if err != nil || out[0].Over || !out[1].Over || time.Since(begun) != 20*time.Millisecond {
			t.Errorf("after %v: %+v, %v", time.Since(begun), out, err)
		}
		close(store.hang)
		synctest.Wait()
		if store.refunds != 1 || s.Unrefunded() != 0 {
			t.Errorf("%d refunds once the store answers again, %d given up; want 1 and 0", store.refunds, s.Unrefunded())
		}
		store.hang = make(chan struct{})
		if _, err := s.Spend(t.Context(), []ratelimit.Charge{sliding("a", 1), sliding("b", 0)}); err != nil {
			t.Error(err)
		}
		if store.refunds != 1 || s.Unrefunded() != 1 {
			t.Errorf("%d refunds, %d given up; want 1 and 1", store.refunds, s.Unrefunded())
		}
	})
}

// What no store could decide is refused before any part is written.
func TestSpreadRefusesBadBatches(t *testing.T) {
	store := &naive{t: t, Store: memstore.New(memstore.Options{})}
	if _, err := ratelimit.NewSpread(store, partOf).Spend(t.Context(), []ratelimit.Charge{sliding("a", 1), {Key: "b"}}); err == nil || store.trips != 0 {
		t.Errorf("%v after %d trips", err, store.trips)
	}
}

// A panic of the store on one of the goroutines is a store that could not decide, and does not end the process.
func TestSpreadSurvivesPanics(t *testing.T) {
	_, err := ratelimit.NewSpread(broken{}, partOf).Spend(t.Context(), []ratelimit.Charge{sliding("a", 1), sliding("b", 1)})
	var failed *ratelimit.StoreError
	if !errors.As(err, &failed) || failed.Class != ratelimit.StoreOther {
		t.Errorf("%v, want a StoreError", err)
	}
}

type broken struct{ ratelimit.Refunder }

func (broken) SpendRefundable(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, ratelimit.Receipt, error) {
	panic("broken")
}

// A request that is refused by one part while another is down is refused, and says nothing of the limit that nobody counted.
func TestRefusalStandsWithoutTheOthers(t *testing.T) {
	g := newGate(t, ratelimit.Options{})
	g.store.Store = halfway{}
	if got := g.ask("open=x; plain=x"); got != "over: -, over 0/3m" {
		t.Error(got)
	}
	g.store.Store = half{}
	if got := g.ask("open=x"); !strings.HasPrefix(got, "over: ") {
		t.Errorf("uncounted, though nobody refuses: %s", got)
	}
}

// half says that nobody asked, though nobody refuses.
type half struct{}

func (half) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return []ratelimit.Outcome{{Uncounted: true}}, nil
}

// halfway refuses the second of two charges, and has not counted the first.
type halfway struct{}

func (halfway) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return []ratelimit.Outcome{{Uncounted: true}, {Over: true, Windows: []window.State{{Over: true, Reset: time.Second}}}}, nil
}
