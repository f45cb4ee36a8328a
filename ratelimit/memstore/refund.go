package memstore

import (
	"context"
	"crypto/rand"
	"hash/maphash"
	"sync"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

var _ ratelimit.Refunder = (*Store)(nil)

// SpendRefundable implements [ratelimit.Refunder].
func (s *Store) SpendRefundable(ctx context.Context, batch []ratelimit.Charge) ([]ratelimit.Outcome, ratelimit.Receipt, error) {
	var receipt ratelimit.Receipt
	outcomes, err := s.spend(ctx, batch, &receipt)
	if err != nil {
		return nil, ratelimit.Receipt{}, err
	}
	// Its error is always nil: the Go runtime ends the program rather than hand out what is not random.
	_, _ = rand.Read(receipt.Nonce[:])
	return outcomes, receipt, nil
}

// note writes what an item has just spent into a receipt, if there is one.
func (it *item) note(receipt *ratelimit.Receipt) {
	c := it.charge
	if receipt == nil || c.Hits <= 0 || c.CountDenied {
		return
	}
	receipt.Spent = append(receipt.Spent, ratelimit.Spent{
		Key: c.Key, Rule: c.Rule, Hits: c.Hits, Marks: it.counter.AppendMarks(nil, c.Ask()), Shared: it.shared,
	})
}

// Refund implements [ratelimit.Refunder].
func (s *Store) Refund(ctx context.Context, r ratelimit.Receipt) error {
	if err := ctx.Err(); err != nil {
		return &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: err}
	}
	if len(r.Spent) == 0 || !s.refunded.honour(r, s.millis()) {
		return nil
	}
	for i := range r.Spent {
		s.giveBack(&r.Spent[i])
	}
	return nil
}

func (s *Store) giveBack(spent *ratelimit.Spent) {
	if spent.Shared {
		s.overflow.Lock()
		defer s.overflow.Unlock()
		if c := s.overflow.byRule[spent.Rule]; c != nil {
			c.Refund(spent.Marks, spent.Hits, s.millis())
		}
		return
	}
	home := &s.shards[maphash.String(s.seed, spent.Key)%shardCount]
	home.Lock()
	defer home.Unlock()
	if c := home.find(spent.Key); c != nil {
		c.Refund(spent.Marks, spent.Hits, s.millis())
	}
}

// maxNonces is how many receipts are remembered: some thousands a second. Beyond it nothing more is refunded for a while, which
// refuses early and never late.
const maxNonces = 1 << 16

// nonces remembers which receipts were honoured, for as long as they would be.
type nonces struct {
	sync.Mutex
	until map[[16]byte]int64
	order [][16]byte // by when they came
}

// honour says that a receipt is to be refunded: it is young enough, and has not come before.
func (n *nonces) honour(r ratelimit.Receipt, now int64) bool {
	within := ratelimit.RefundWithin.Milliseconds()
	if now-r.At > within {
		return false
	}
	n.Lock()
	defer n.Unlock()
	for len(n.order) > 0 && n.until[n.order[0]] < now {
		delete(n.until, n.order[0])
		n.order = n.order[1:]
	}
	if _, known := n.until[r.Nonce]; known || len(n.order) >= maxNonces {
		return false
	}
	if n.until == nil {
		n.until = make(map[[16]byte]int64)
	}
	n.until[r.Nonce] = max(now, r.At) + within
	n.order = append(n.order, r.Nonce)
	return true
}
