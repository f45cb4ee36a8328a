package authz

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Denials remembers the last denials, so that somebody may ask why. It is a Recorder, safe for concurrent use; an allow costs it nothing.
// It keeps what an [Explanation] needs and nothing else of a request: no token, no body, no header but those that name the request.
type Denials struct {
	shards [denialShards]denialShard
	seed   maphash.Seed
	kept   atomic.Int64
	since  time.Time
	size   int
}

// denialShards part the memory, so that a flood of denials does not queue for one lock.
const denialShards = 16

// maxKept is the longest text of a request that is kept, in bytes; a longer one ends with "…".
const maxKept = 512

type denialShard struct {
	mu   sync.Mutex
	ring []*denial // filled up to the size, then overwritten from next
	next int
	byID map[string]*denial
}

type denial struct {
	decision Decision
	request  Request
}

// NewDenials keeps the last size denials, give or take the uneven filling of its parts; since is when it began. Zero or less keeps none.
func NewDenials(size int, since time.Time) *Denials {
	d := &Denials{seed: maphash.MakeSeed(), since: since}
	each := (size + denialShards - 1) / denialShards
	if size <= 0 {
		return d
	}
	d.size = each * denialShards
	for i := range d.shards {
		d.shards[i].byID = make(map[string]*denial, each)
		d.shards[i].ring = make([]*denial, 0, each)
	}
	return d
}

// Size is how many denials are kept at most.
func (d *Denials) Size() int { return d.size }

// Len is how many denials are kept now, and Since when the memory began.
func (d *Denials) Len() int { return int(d.kept.Load()) }

// Since is when the memory began: a denial from before is not in it.
func (d *Denials) Since() time.Time { return d.since }

// Record implements Recorder.
func (d *Denials) Record(decision *Decision, r *Request) {
	if d.size == 0 || decision.Verdict == Allow && (decision.Shadow == nil || decision.Shadow.Verdict == Allow) {
		return
	}
	kept := &denial{decision: *decision, request: keep(r)}
	// What is a part of a longer text would keep all of it.
	kept.decision.Object = cut(decision.Object)
	kept.decision.Caller = cut(decision.Caller)
	kept.decision.Detail = cut(decision.Detail)
	kept.decision.Who = cut(decision.Who)
	if decision.Shadow != nil {
		shadow := *decision.Shadow
		shadow.Object, shadow.Caller, shadow.Detail, shadow.Who = cut(shadow.Object), cut(shadow.Caller), cut(shadow.Detail), cut(shadow.Who)
		kept.decision.Shadow = &shadow
	}
	shard := &d.shards[maphash.String(d.seed, decision.ID)%denialShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if len(shard.ring) < cap(shard.ring) {
		shard.ring = append(shard.ring, kept)
		d.kept.Add(1)
	} else {
		delete(shard.byID, shard.ring[shard.next].decision.ID)
		shard.ring[shard.next] = kept
		shard.next = (shard.next + 1) % len(shard.ring)
	}
	shard.byID[decision.ID] = kept
}

// keep is what an explanation needs of a request.
func keep(r *Request) Request {
	kept := Request{HTTP: r.HTTP, Method: cut(r.Method), Host: cut(r.Host), Target: cut(shownTarget(r.Target))}
	for _, name := range [...]string{"x-request-id", "traceparent"} {
		if value, count := r.Headers.One(name); count == 1 {
			kept.Headers.Fields = append(kept.Headers.Fields, Field{name, cut(value)})
		}
	}
	return kept
}

// cut is a text of its own, of a bounded length.
func cut(s string) string {
	if len(s) <= maxKept {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:maxKept], "") + "…"
}

// Explain tells the denial with this decision ID; false where it is not kept.
func (d *Denials) Explain(id string) (*Explanation, bool) {
	shard := &d.shards[maphash.String(d.seed, id)%denialShards]
	shard.mu.Lock()
	kept := shard.byID[id]
	shard.mu.Unlock()
	if kept == nil {
		return nil, false
	}
	return Explain(&kept.decision, &kept.request), true
}

// ExplainRequest tells the latest denial of the request that bears this x-request-id; false where none is kept. It looks at every denial.
func (d *Denials) ExplainRequest(requestID string) (*Explanation, bool) {
	var latest *denial
	for i := range d.shards {
		shard := &d.shards[i]
		shard.mu.Lock()
		for _, kept := range shard.ring {
			if id, count := kept.request.Headers.One("x-request-id"); count == 1 && id == requestID && (latest == nil || kept.decision.Time.After(latest.decision.Time)) {
				latest = kept
			}
		}
		shard.mu.Unlock()
	}
	if latest == nil {
		return nil, false
	}
	return Explain(&latest.decision, &latest.request), true
}

// Recorders tells several recorders of every decision, in their order.
type Recorders []Recorder

// Record implements Recorder.
func (r Recorders) Record(d *Decision, request *Request) {
	for _, recorder := range r {
		recorder.Record(d, request)
	}
}
