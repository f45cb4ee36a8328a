package jwt

import (
	"sync/atomic"

	"github.com/sallyport-dev/sallyport/authz"
)

// hotSlot is the unit of the ready principals' memory in bytes: an ordinary one, with its claims, takes one.
const hotSlot = 1 << 10

// hot keeps principals ready to be handed out. A record is a quarter of the size of its principal, so more tokens are remembered as
// records than have a principal; the ring says which have one. A token seen once gets none, and the oldest gives way, whose next
// request restores it for the price of a few allocations.
type hot struct {
	slots []atomic.Pointer[record]
	next  atomic.Uint64
}

// keep makes p the record's ready principal, and returns the one that is ready.
func (h *hot) keep(r *record, p *authz.Principal, bytes int) *authz.Principal {
	room, n := uint64(len(h.slots)), uint64(bytes+hotSlot-1)/hotSlot
	if n > room/4 {
		return p // larger than is worth the others' places
	}
	if !r.ready.CompareAndSwap(nil, p) {
		if other := r.ready.Load(); other != nil {
			return other
		}
		return p
	}
	first := h.next.Add(n) - n
	for i := range n {
		var in *record
		if i == 0 {
			in = r
		}
		if old := h.slots[(first+i)%room].Swap(in); old != nil {
			old.ready.Store(nil)
		}
	}
	return p
}
