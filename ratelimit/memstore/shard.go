package memstore

import (
	"sync"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// How many entries are looked at for having expired. Two for every new key keep a store that new keys flow through within
// twice the keys that are alive; one for every use lets it shrink when no new keys come.
const (
	sweepOnUse    = 1
	sweepOnInsert = 2
	sweepWhenFull = 64
)

// shard is one lock and the counters behind it.
type shard struct {
	sync.Mutex
	index   map[string]int // of a key in entries
	entries []entry
	hand    int // where the sweep goes on
}

type entry struct {
	key     string
	counter *window.Counter
}

// find is the counter of a key, nil if there is none.
func (h *shard) find(key string) *window.Counter {
	if i, ok := h.index[key]; ok {
		return h.entries[i].counter
	}
	return nil
}

func (h *shard) insert(key string, c *window.Counter) {
	h.index[key] = len(h.entries)
	h.entries = append(h.entries, entry{key, c})
}

// sweep looks at the next few entries, forgets those that hold nothing any more, and says how many that were.
func (h *shard) sweep(few int, now int64) (gone int) {
	for range min(few, len(h.entries)) {
		if h.hand >= len(h.entries) {
			h.hand = 0
		}
		if h.entries[h.hand].counter.Expires() > now {
			h.hand++
			continue
		}
		h.remove(h.hand)
		gone++
	}
	return gone
}

// remove forgets the entry at i, which the last one replaces.
func (h *shard) remove(i int) {
	last := len(h.entries) - 1
	delete(h.index, h.entries[i].key)
	if i != last {
		h.entries[i] = h.entries[last]
		h.index[h.entries[i].key] = i
	}
	h.entries[last] = entry{}
	h.entries = h.entries[:last]
}
