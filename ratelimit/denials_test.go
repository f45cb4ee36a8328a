package ratelimit_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// counting counts the trips to a store, and what they ask.
type counting struct {
	ratelimit.Store
	trips  atomic.Int64
	before func() // called before the store is asked, if set
}

func (c *counting) Spend(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	c.trips.Add(1)
	out, err := c.Store.Spend(ctx, batch)
	if c.before != nil {
		c.before()
	}
	return out, err
}

func newDenials(o ratelimit.DenialsOptions) (*ratelimit.Denials, *counting) {
	store := &counting{Store: memstore.New(memstore.Options{})}
	return ratelimit.NewDenials(store, o), store
}

func spendAll(t *testing.T, s ratelimit.Store, batch ...ratelimit.Charge) []ratelimit.Outcome {
	t.Helper()
	out, err := s.Spend(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func withHits(c ratelimit.Charge, n int64) ratelimit.Charge { c.Hits = n; return c }

// referenceForm is a charge as the reference's form makes it: a fixed window, in which denied hits count.
func referenceForm(key string, limit uint32) ratelimit.Charge {
	return ratelimit.Charge{
		Key: key, Rule: key, Algorithm: window.Fixed, Hits: 1, CountDenied: true,
		Windows: []window.Window{{Limit: limit, Span: time.Minute}},
	}
}

// A flood costs the store one trip, is told the truth all along, and ends when the counter has room.
func TestFloodCostsTheStoreNothing(t *testing.T) {
	for name, c := range map[string]ratelimit.Charge{"sliding": sliding("a", 2), "the reference's form": referenceForm("a", 2)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, store := newDenials(ratelimit.DenialsOptions{})
				for range 3 {
					spendAll(t, d, c)
				}
				first := spendAll(t, d, c)[0]
				for range 1000 {
					pass(10 * time.Millisecond)
					got := spendAll(t, d, c)[0]
					if !got.Over || !got.Remembered || got.Windows[0].Remaining != 0 || !got.Windows[0].Over {
						t.Fatalf("in the flood: %+v", got)
					}
				}
				if got := spendAll(t, d, c)[0]; store.trips.Load() != 3 || d.Refused() != 1002 || got.Windows[0].Reset != first.Windows[0].Reset-10*time.Second {
					t.Errorf("%d trips, %d refused, reset after 10 s %v where it was %v", store.trips.Load(), d.Refused(), got.Windows[0].Reset, first.Windows[0].Reset)
				}
				pass(first.Windows[0].Reset - 10*time.Second)
				if got := spendAll(t, d, c)[0]; got.Over || store.trips.Load() != 4 {
					t.Errorf("after the reset: %+v, %d trips", got, store.trips.Load())
				}
			})
		})
	}
}

// What must be asked is asked, though the counter is over.
func TestDenialsPassBy(t *testing.T) {
	full := sliding("a", 2)
	other := sliding("a", 3)
	shadow := full
	shadow.Shadow = true
	for name, tt := range map[string]struct {
		c    ratelimit.Charge
		over bool
	}{
		"a peek":                     {withHits(full, 0), false},
		"hits that are given back":   {withHits(full, -1), false},
		"another limit":              {other, false},
		"a shadow":                   {shadow, true},
		"another counter":            {sliding("b", 2), false},
		"another algorithm":          {referenceForm("a", 2), false},
		"the same, but counting it":  {func(c ratelimit.Charge) ratelimit.Charge { c.CountDenied = true; return c }(full), true},
		"more hits (this one stays)": {withHits(full, 2), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, store := newDenials(ratelimit.DenialsOptions{})
				spendAll(t, d, withHits(full, 2))
				spendAll(t, d, full)
				want := int64(3)
				if tt.c.Hits == 2 {
					want = 2
				}
				if got := spendAll(t, d, tt.c)[0]; got.Over != tt.over || store.trips.Load() != want {
					t.Errorf("%+v after %d trips, want over %v after %d", got, store.trips.Load(), tt.over, want)
				}
			})
		})
	}
	t.Run("fewer hits than were refused", func(t *testing.T) {
		d, _ := newDenials(ratelimit.DenialsOptions{})
		spendAll(t, d, full)
		spendAll(t, d, withHits(full, 2))
		if got := spendAll(t, d, full)[0]; got.Over {
			t.Errorf("one hit, where two had no room: %+v", got)
		}
	})
}

// Hits that are given back are there at once, also when the refusal was on its way meanwhile.
func TestGivenBackIsForgotten(t *testing.T) {
	d, store := newDenials(ratelimit.DenialsOptions{})
	c := sliding("a", 1)
	spendAll(t, d, c)
	spendAll(t, d, c)
	spendAll(t, d, withHits(c, -1))
	if got := spendAll(t, d, c)[0]; got.Over {
		t.Errorf("given back, and refused: %+v", got)
	}
	store.before = func() {
		store.before = nil
		spendAll(t, d, withHits(c, -1))
	}
	if got := spendAll(t, d, c)[0]; !got.Over {
		t.Fatalf("%+v", got)
	}
	if got := spendAll(t, d, c)[0]; got.Over {
		t.Errorf("given back while the refusal was on its way, and refused: %+v", got)
	}
}

// What an operator resets is counted anew, through every layer that stands before the store.
func TestForgetReachesTheStore(t *testing.T) {
	store := &forgetful{naive: naive{t: t, Store: memstore.New(memstore.Options{})}}
	b := ratelimit.NewBreaker(store, ratelimit.BreakerOptions{})
	s := ratelimit.NewSpread(b, partOf)
	d := ratelimit.NewDenials(ratelimit.Split(memstore.New(memstore.Options{}), s), ratelimit.DenialsOptions{})
	spendAll(t, d, sliding("a", 1))
	spendAll(t, d, sliding("a", 1))
	if err := d.Forget(t.Context(), []ratelimit.Charge{sliding("a", 1), sliding("b", 1)}); err != nil {
		t.Fatal(err)
	}
	if got := spendAll(t, d, sliding("a", 1))[0]; got.Over {
		t.Errorf("forgotten, and refused: %+v", got)
	}
}

type forgetful struct{ naive }

func (f *forgetful) Forget(ctx context.Context, batch []ratelimit.Charge) error {
	return f.Store.(ratelimit.Forgetter).Forget(ctx, batch)
}

// Nothing is remembered for longer than it is told to be, and no more counters than there are places.
func TestDenialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := newDenials(ratelimit.DenialsOptions{Longest: time.Second, Places: 1})
		spendAll(t, d, sliding("a", 0))
		pass(time.Second - time.Millisecond)
		if spendAll(t, d, sliding("a", 0)); store.trips.Load() != 1 {
			t.Errorf("asked within the second")
		}
		pass(time.Millisecond)
		if spendAll(t, d, sliding("a", 0)); store.trips.Load() != 2 {
			t.Errorf("not asked after a second")
		}
		spendAll(t, d, sliding("b", 0))
		if spendAll(t, d, sliding("a", 0)); store.trips.Load() != 4 {
			t.Errorf("one place holds two counters")
		}
	})
}

// A request of several descriptors that is known to be refused burns nothing: what counts denials is sent, and nothing else.
func TestKnownRefusalsOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := newDenials(ratelimit.DenialsOptions{})
		full, other, reference := sliding("full", 0), sliding("other", 5), referenceForm("reference", 5)
		spendAll(t, d, full)
		got := spendAll(t, d, other, full)
		if !got[0].Uncounted || got[0].Over || !got[1].Remembered || store.trips.Load() != 1 {
			t.Errorf("%+v after %d trips", got, store.trips.Load())
		}
		got = spendAll(t, d, other, full, reference)
		if got[0].Windows[0].Remaining != 5 || !got[1].Remembered || got[2].Windows[0].Remaining != 4 || store.trips.Load() != 2 {
			t.Errorf("%+v after %d trips", got, store.trips.Load())
		}
		if got := spendAll(t, d, other, reference); got[0].Windows[0].Remaining != 4 || got[1].Windows[0].Remaining != 3 {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

// A request that is known to be refused stays refused when the store fails for the rest of it: the error would let it pass in Envoy.
func TestKnownRefusalOutlastsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, broken := range map[string]brokenStore{"away": {&ratelimit.StoreError{Class: ratelimit.StoreRefused}}, "unanswered": {}} {
			d, store := newDenials(ratelimit.DenialsOptions{})
			spendAll(t, d, sliding("full", 0))
			store.Store = broken
			got, err := d.Spend(t.Context(), []ratelimit.Charge{sliding("other", 5), sliding("full", 0), referenceForm("reference", 5)})
			if err != nil || len(got) != 3 || !got[0].Uncounted || !got[1].Over || !got[1].Remembered || !got[2].Uncounted {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}

// A caller that has gone, and a batch that no store could decide, are refused as they always are.
func TestDenialsRefuseTheGone(t *testing.T) {
	d, _ := newDenials(ratelimit.DenialsOptions{})
	spendAll(t, d, sliding("a", 0))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := d.Spend(gone, []ratelimit.Charge{sliding("a", 0)}); err == nil {
		t.Errorf("the gone were told %+v", out)
	}
	if out, err := d.Spend(t.Context(), []ratelimit.Charge{sliding("a", 0), {Key: "b"}}); err == nil {
		t.Errorf("nonsense was told %+v", out)
	}
}

// A limit that the request brought itself may be another in the next request, so what it refused is asked about again, and counted.
func TestOwnLimitsAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := newDenials(ratelimit.DenialsOptions{})
		own := referenceForm("a", 1)
		own.OwnLimit = true
		for range 3 {
			spendAll(t, d, own)
		}
		if store.trips.Load() != 3 {
			t.Errorf("the store was asked %d times, want 3", store.trips.Load())
		}
		own.Windows = []window.Window{own.Windows[0]}
		own.Windows[0].Limit = 4
		if out := spendAll(t, d, own); out[0].Over || out[0].Windows[0].Remaining != 0 {
			t.Errorf("under the next limit: %+v", out[0])
		}
	})
}

// A store behind the memory means what the store means alone: the same verdicts and, where it was asked or refused just that before, the
// same numbers. Limits of our form change on the way.
func TestDenialsMeanTheSame(t *testing.T) {
	remembered := 0
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			plain := memstore.New(memstore.Options{})
			d, _ := newDenials(ratelimit.DenialsOptions{Places: 4})
			more := uint32(0)
			for range 200 {
				if r.IntN(40) == 0 {
					more = uint32(r.IntN(3))
				}
				batch := drawFlood(r, more)
				want, got := spendAll(t, plain, batch...), spendAll(t, d, batch...)
				wantSame(t, seed, batch, got, want)
				for _, o := range got {
					if o.Remembered {
						remembered++
					}
				}
				pass(time.Duration(r.IntN(8000)) * time.Millisecond)
			}
		})
	}
	if remembered < 5000 {
		t.Errorf("%d refusals from memory: too few to prove anything", remembered)
	}
}

// drawFlood draws one to three charges of few counters: of our form with one window or two, and of the reference's.
func drawFlood(r *rand.Rand, more uint32) []ratelimit.Charge {
	batch := make([]ratelimit.Charge, 1+r.IntN(3))
	for i := range batch {
		key := fmt.Sprintf("%d", r.IntN(4))
		switch key {
		case "0":
			batch[i] = referenceForm(key, 2)
		case "1":
			batch[i] = sliding(key, 3+more)
			batch[i].Windows = append(batch[i].Windows, window.Window{Limit: 5 + more, Span: 3 * time.Minute, Cells: 10})
		case "2":
			batch[i] = sliding(key, 2)
			batch[i].Shadow = r.IntN(8) == 0
		default:
			batch[i] = sliding(key, 4)
			batch[i].Algorithm = window.Fixed
		}
		batch[i].Hits = int64(r.IntN(4))
		if batch[i].Hits == 0 && !batch[i].CountDenied {
			batch[i].Hits = -int64(r.IntN(2))
		}
	}
	return batch
}

func wantSame(t *testing.T, seed uint64, batch []ratelimit.Charge, got, want []ratelimit.Outcome) {
	t.Helper()
	denied := func(out []ratelimit.Outcome) (yes, known bool) {
		for i, o := range out {
			yes, known = yes || o.Over && !batch[i].Shadow, known || o.Remembered
		}
		return yes, known
	}
	refused, _ := denied(want)
	if again, known := denied(got); again != refused || known && !refused {
		t.Fatalf("seed %d: %+v is refused %v, and alone %v:\n%+v\n%+v", seed, batch, again, refused, got, want)
	}
	_, known := denied(got)
	for i := range batch {
		switch g, w := got[i], want[i]; {
		case g.Remembered:
			if !w.Over {
				t.Fatalf("seed %d: charge %d of %+v is remembered to be over, and is not: %+v", seed, i, batch, w)
			}
		case !known:
			// What was refused from memory was not counted, so a window is less far beyond its limit.
			if g.Over != w.Over || fmt.Sprint(withinLimit(g.Windows)) != fmt.Sprint(withinLimit(w.Windows)) {
				t.Fatalf("seed %d: charge %d of %+v: %+v, alone %+v", seed, i, batch, g, w)
			}
		}
	}
}

// withinLimit are states without what lies beyond their limits.
func withinLimit(states []window.State) []window.State {
	states = slices.Clone(states)
	for i := range states {
		states[i].Beyond = 0
	}
	return states
}

func BenchmarkDenials(b *testing.B) {
	for name, limit := range map[string]uint32{"room": 1 << 31, "over": 0} {
		b.Run(name, func(b *testing.B) {
			d := ratelimit.NewDenials(instant{&naive{t: b}}, ratelimit.DenialsOptions{})
			if limit == 0 {
				d, _ = newDenials(ratelimit.DenialsOptions{})
			}
			batch := []ratelimit.Charge{sliding("a", limit)}
			_, _ = d.Spend(b.Context(), batch)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := d.Spend(b.Context(), batch); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
