package redisstore

import (
	"hash/maphash"
	"sync"
)

// The places of recent: some 2 MiB, for about 130,000 counters.
const (
	recentSets = 1 << 15
	recentWays = 4
)

// recent remembers which windows of plain counters this process has charged lately: so long they need not be given a time to live again,
// and a clock that steps back does not lead to an earlier window. A counter that is pushed out by others costs one command more.
type recent struct {
	seed maphash.Seed
	sets [recentSets]struct {
		sync.Mutex
		ways [recentWays]charged
	}
}

// charged is the newest window in which a counter was charged.
type charged struct {
	counter uint64 // hash of its key and span, zero for none
	cell    int64
}

func newRecent() *recent { return &recent{seed: maphash.MakeSeed()} }

// of names a counter.
func (r *recent) of(key string, grain int64) uint64 {
	return maphash.String(r.seed, key) ^ uint64(grain)*0x9e3779b97f4a7c15 | 1
}

// newest is the newest window of a counter that was charged, if that is remembered.
func (r *recent) newest(counter uint64) (cell int64, ok bool) {
	set := &r.sets[counter>>32%recentSets]
	set.Lock()
	defer set.Unlock()
	for i := range set.ways {
		if set.ways[i].counter == counter {
			return set.ways[i].cell, true
		}
	}
	return 0, false
}

// note remembers that a window was charged, and lives. The one that has waited longest makes room.
func (r *recent) note(counter uint64, cell int64) {
	set := &r.sets[counter>>32%recentSets]
	set.Lock()
	defer set.Unlock()
	last := 0
	for last < recentWays-1 && set.ways[last].counter != counter {
		last++
	}
	if set.ways[last].counter == counter {
		cell = max(cell, set.ways[last].cell)
	}
	copy(set.ways[1:last+1], set.ways[:last])
	set.ways[0] = charged{counter, cell}
}

// forget makes the next charge begin as the first did.
func (r *recent) forget(counter uint64) {
	set := &r.sets[counter>>32%recentSets]
	set.Lock()
	defer set.Unlock()
	for i := range set.ways {
		if set.ways[i].counter == counter {
			set.ways[i] = charged{}
		}
	}
}
