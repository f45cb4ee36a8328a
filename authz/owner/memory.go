package owner

import (
	"strings"
	"time"
	"unsafe"

	"github.com/maypok86/otter/v2"

	"github.com/sallyport-dev/sallyport/authz"
)

// key is everything that an answer depends on, of one lookup.
type key struct {
	tenant, issuer, subject, relation, object string
	kind                                      authz.Kind
}

// keyOf is the key of q's objects but for the object.
func keyOf(q *authz.Question) key {
	return key{tenant: q.Tenant, issuer: q.Issuer, subject: q.Subject, relation: q.Relation, kind: q.Kind}
}

// remembered is one answer. Its times count from the lookup's epoch.
type remembered struct {
	asked, until time.Duration
	standing     authz.Standing
}

// entryBytes is what the cache holds for an entry besides its texts: key and value, the node that holds them, its place in the hash table
// and in the policy's queues, and its share of the frequency sketch.
const entryBytes = int(unsafe.Sizeof(key{})+unsafe.Sizeof(remembered{})) + 160

func newMemory(bytes int64) *otter.Cache[key, remembered] {
	return otter.Must(&otter.Options[key, remembered]{
		// Expiry is not the cache's business: the lookup's clock is consulted on every hit.
		MaximumWeight: uint64(bytes),
		Weigher: func(k key, _ remembered) uint32 {
			return uint32(entryBytes + len(k.tenant) + len(k.issuer) + len(k.subject) + len(k.relation) + len(k.object)) // texts of requests are short
		},
		// Housekeeping runs on the caller: it is short, and the request path starts no goroutines.
		Executor: func(task func()) { task() },
	})
}

// elapsed is the time since the epoch, by the monotonic clock where Options.Now has one.
func (l *Lookup) elapsed() time.Duration { return l.o.Now().Sub(l.epoch) }

// recall fills in what is remembered and says how many answers are missing; those are StandingUnknown.
func (l *Lookup) recall(q *authz.Question, answers []authz.Standing) (missing int) {
	clear(answers)
	if l.memory == nil {
		return len(answers)
	}
	k, now := keyOf(q), l.elapsed()
	for i, object := range q.Objects {
		k.object = object
		if r, ok := l.memory.GetIfPresent(k); ok && now < r.until {
			answers[i] = r.standing
		} else {
			missing++
		}
	}
	return missing
}

// remember keeps the answers to a question that was put at some time. An answer is as old as its question: what took long to arrive
// may be out of date.
func (l *Lookup) remember(q *authz.Question, standings []authz.Standing, asked time.Duration) {
	if l.memory == nil {
		return
	}
	// Texts of requests may be parts of larger ones, such as a body, which a small entry would keep alive.
	k := keyOf(q)
	k.tenant, k.issuer, k.subject, k.relation = strings.Clone(k.tenant), strings.Clone(k.issuer), strings.Clone(k.subject), strings.Clone(k.relation)
	for i, object := range q.Objects {
		k.object = strings.Clone(object)
		l.rememberOne(k, remembered{asked: asked, until: asked + l.lifetime(standings[i]), standing: standings[i]})
	}
}

func (l *Lookup) lifetime(s authz.Standing) time.Duration {
	if s == authz.Theirs {
		return l.o.Cache
	}
	return l.o.CacheDenials
}

// rememberOne lets no older answer replace a newer one, and a newer one that may not be kept take an older one's place.
func (l *Lookup) rememberOne(k key, r remembered) {
	l.memory.Compute(k, func(old remembered, found bool) (remembered, otter.ComputeOp) {
		switch {
		case found && old.asked > r.asked, !found && r.until <= r.asked:
			return old, otter.CancelOp
		case r.until <= r.asked:
			return old, otter.InvalidateOp
		}
		return r, otter.WriteOp
	})
}
