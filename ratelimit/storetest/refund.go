package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// spendRefundable decides a batch that must not fail, and keeps its receipt.
func (b bench) spendRefundable(batch ...ratelimit.Charge) ratelimit.Receipt {
	b.Helper()
	got, receipt, err := b.Store.SpendRefundable(b.Context(), batch)
	if err != nil || len(got) != len(batch) {
		b.Fatalf("SpendRefundable: %d outcomes of %d charges, %v", len(got), len(batch), err)
	}
	return receipt
}

func (b bench) refund(r ratelimit.Receipt) {
	b.Helper()
	if err := b.Store.Refund(b.Context(), r); err != nil {
		b.Fatalf("Refund: %v", err)
	}
}

// left is what a peek says.
func (b bench) left(want uint32, c ratelimit.Charge) {
	b.Helper()
	if got := b.spend(hits(c, 0))[0].Windows[0].Remaining; got != want {
		b.Errorf("%d left of %s, want %d", got, c.Key, want)
	}
}

// refundStories are what a refund promises: it gives back what was spent, once, and never anybody else's hits.
var refundStories = map[string]func(b bench){
	"a batch is taken back, every counter of it": func(b bench) {
		r := b.spendRefundable(hits(per("a", 9), 3), fixed(per("b", 9)), hits(tokens(per("c", 9), 9), 4))
		b.spend(per("a", 9), fixed(per("b", 9)), tokens(per("c", 9), 9))
		b.refund(r)
		b.left(8, per("a", 9))
		b.left(8, fixed(per("b", 9)))
		b.left(8, tokens(per("c", 9), 9))
	},
	"a receipt is honoured once": func(b bench) {
		r := b.spendRefundable(hits(per("a", 9), 2))
		b.spend(hits(per("a", 9), 5))
		for range 3 {
			b.refund(r)
		}
		b.left(4, per("a", 9))
	},
	"a denied batch has nothing to take back": func(b bench) {
		b.spend(per("full", 1))
		r := b.spendRefundable(per("a", 9), per("full", 1))
		if len(r.Spent) != 0 {
			b.Errorf("a receipt for %+v", r.Spent)
		}
		b.refund(r)
		b.left(9, per("a", 9))
		b.left(0, per("full", 1))
	},
	"counted denials stay, and so does what was given back": func(b bench) {
		b.spend(hits(per("back", 9), 5))
		b.refund(b.spendRefundable(counting(per("a", 9)), hits(per("back", 9), -2), hits(per("peek", 9), 0), shadow(per("s", 9))))
		b.left(8, per("a", 9))
		b.left(6, per("back", 9))
		b.left(9, per("s", 9))
	},
	"the same counter twice is taken back twice": func(b bench) {
		b.refund(b.spendRefundable(per("a", 9), hits(per("a", 9), 2), tokens(per("b", 9), 9), hits(tokens(per("b", 9), 9), 2)))
		b.left(9, per("a", 9))
		b.left(9, tokens(per("b", 9), 9))
	},
	"a cell that has left gives nothing back": func(b bench) {
		short := func(c ratelimit.Charge) ratelimit.Charge { c.Windows[0].Span = time.Second; return c }
		r := b.spendRefundable(hits(short(per("a", 9)), 4), hits(fixed(short(per("b", 9))), 4), hits(tokens(short(per("c", 9)), 9), 4))
		b.clock.Advance(1_100 * time.Millisecond)
		b.spend(hits(short(per("a", 9)), 4), hits(fixed(short(per("b", 9))), 4), hits(tokens(short(per("c", 9)), 9), 4))
		b.refund(r)
		b.left(5, short(per("a", 9)))
		b.left(5, fixed(short(per("b", 9))))
		b.left(5, tokens(short(per("c", 9)), 9))
	},
	"an old receipt is worth nothing": func(b bench) {
		r := b.spendRefundable(hits(per("a", 9), 4))
		b.clock.Advance(ratelimit.RefundWithin + time.Millisecond)
		b.refund(r)
		b.left(5, per("a", 9))
	},
	"a receipt for what the store never had, or has lost": func(b bench) {
		r := b.spendRefundable(per("a", 9))
		r.Spent[0].Key = "b"
		b.refund(r)
		b.refund(ratelimit.Receipt{})
		b.left(8, per("a", 9))
		b.left(9, per("b", 9))
	},
	"nothing is taken back for a caller that has gone": func(b bench) {
		r := b.spendRefundable(per("a", 9))
		gone, cancel := context.WithCancel(b.Context())
		cancel()
		var se *ratelimit.StoreError
		if err := b.Store.Refund(gone, r); !errors.As(err, &se) || se.Class != ratelimit.StoreTimeout {
			b.Errorf("error %v, want a StoreError of class timeout", err)
		}
		b.left(8, per("a", 9))
		b.refund(r)
		b.left(9, per("a", 9))
	},
}
