package revocation

import (
	"iter"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
)

// DefaultLeeway is how much later than the revocation a token may claim to be issued and still be covered: the clocks of an
// issuer and of whoever revokes differ.
const DefaultLeeway = 10 * time.Second

// grace is how long an entry is kept, and written again where a store lost it, after it has expired by this clock: the clock may be
// ahead, and come back.
const grace = 10 * time.Minute

// View is the set of revocations in force. Requests read it without a lock or an allocation; entries come in by Apply and leave
// when they expire, and nothing else is ever touched. Make it with [NewView].
type View struct {
	leeway func(iss string) time.Duration
	// start is what freshness counts from, so that it goes by the monotonic clock.
	start   time.Time
	fresh   atomic.Int64 // nanoseconds since start; never is the zero knowledge
	applied atomic.Uint64
	current atomic.Pointer[marks]

	mu sync.Mutex // held by writers
	// latest is the latest instant by which entries were taken for expired, in Unix milliseconds. It goes by the wall clock, as
	// entries do.
	latest int64
}

const never = math.MinInt64

// key names what was revoked.
type key struct {
	issuer, value string
	kind          Kind
}

// mark is what is known of a key, in Unix milliseconds.
type mark struct{ at, until int64 }

// keep says whether an entry must be kept.
func (m mark) keep(now int64) bool { return now <= m.until+grace.Milliseconds() }

// merge joins two entries of one key: the later of each time.
func (m mark) merge(n mark) mark { return mark{at: max(m.at, n.at), until: max(m.until, n.until)} }

// marks is one immutable state: few new ones over many old ones, so that one more costs no copy of all.
type marks struct {
	base, delta map[key]mark
	n           int   // distinct keys
	kinds       uint8 // a bit for each kind that there may be: most views hold few, and are asked for all
}

func (m *marks) has(kind Kind) bool { return m.kinds&(1<<kind) != 0 }

func (m *marks) find(k key) (mark, bool) {
	if got, ok := m.delta[k]; ok {
		return got, true
	}
	got, ok := m.base[k]
	return got, ok
}

// deltaLimit is when new marks join the old ones. A mark costs a copy of the delta, and now and then of the base; this keeps both
// small.
func (m *marks) deltaLimit() int { return 256 + len(m.base)/64 }

// NewView makes an empty view that was never fresh. leeway is asked for the leeway of an issuer, by its `iss`, whenever one of its entries that go by
// time is met: it must be fast and safe for concurrent use; nil means DefaultLeeway for all.
func NewView(leeway func(iss string) time.Duration) *View {
	if leeway == nil {
		leeway = func(string) time.Duration { return DefaultLeeway }
	}
	v := &View{leeway: leeway, start: time.Now()}
	v.fresh.Store(never)
	v.current.Store(&marks{})
	return v
}

// Revoked implements [authz.Revocations]. A token is revoked by its jti; by its subject, client, session or issuer if it was
// issued until that revocation and the leeway, or does not say when it was issued.
func (v *View) Revoked(p *authz.Principal, now time.Time) (revoked bool, age time.Duration) {
	age = v.Age(now)
	m := v.current.Load()
	if m.n == 0 {
		return false, age
	}
	q := question{m: m, p: p, now: now.UnixMilli(), leeway: v.leeway}
	if got, ok := q.find(JTI, p.TokenID); ok && q.now <= got.until {
		return true, age
	}
	return q.before(Issuer, "") || q.before(Session, p.Session) || q.owner(), age
}

// question is one call of Revoked.
type question struct {
	m      *marks
	p      *authz.Principal
	now    int64
	leeway func(string) time.Duration
}

// find looks for the entry of a value; a token without the value has none.
func (q *question) find(kind Kind, value string) (mark, bool) {
	if !q.m.has(kind) || value == "" && kind != Issuer {
		return mark{}, false
	}
	return q.m.find(key{issuer: q.p.Issuer, kind: kind, value: value})
}

// owner says whether the subject or the application was revoked. The subject is the token's own word, whosever the token is; the
// application is revoked where it acts for itself, or where nobody can tell.
func (q *question) owner() bool {
	if q.before(Subject, q.p.Subject) {
		return true
	}
	switch q.p.Identity.Kind {
	case authz.Person:
		return false
	case authz.Machine:
		return q.before(Client, q.p.ClientID) || q.before(Client, q.p.Identity.Subject)
	default:
		return q.before(Client, q.p.ClientID) || q.before(Client, q.p.Subject)
	}
}

// before says whether an entry covers all tokens until then, this one among them.
func (q *question) before(kind Kind, value string) bool {
	got, ok := q.find(kind, value)
	if !ok || q.now > got.until {
		return false
	}
	if q.p.IssuedAt.IsZero() {
		return true
	}
	leeway := max(q.leeway(q.p.Issuer), 0)
	return q.p.IssuedAt.UnixMilli() <= got.at+int64((leeway+time.Millisecond-1)/time.Millisecond)
}

// Apply merges entries into the view and returns how many told it something new. Those long expired and invalid ones tell nothing.
func (v *View) Apply(now time.Time, entries ...Entry) (news int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, ms := v.current.Load(), v.at(now)
	next := &marks{base: old.base, delta: old.delta, n: old.n, kinds: old.kinds}
	for i := range entries {
		k, got := entries[i].mark()
		known, ok := next.find(k)
		if got = got.merge(known); !got.keep(ms) || got == known || entries[i].Validate() != nil {
			continue
		}
		if news == 0 {
			next.delta = cloneWithRoom(old.delta)
		}
		next.delta[k] = got
		next.kinds |= 1 << k.kind
		news++
		if !ok {
			next.n++
		}
	}
	if news == 0 {
		return 0
	}
	if len(next.delta) > next.deltaLimit() {
		next = next.without(ms)
	}
	v.current.Store(next)
	v.applied.Add(uint64(news))
	return news
}

// at notes and returns the instant by which entries are about to be dropped. The caller holds the lock.
func (v *View) at(now time.Time) int64 {
	ms := now.UnixMilli()
	v.latest = max(v.latest, ms)
	return ms
}

// rewound says, once, that the clock was set back by more than the grace: entries that are in force may have been taken for expired,
// so that the store must be read again from its beginning.
func (v *View) rewound(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	ms := now.UnixMilli()
	if v.latest <= ms+grace.Milliseconds() {
		return false
	}
	v.latest = ms
	return true
}

func (e *Entry) mark() (key, mark) {
	return key{issuer: e.Issuer, kind: e.Kind, value: e.Value}, mark{at: millis(e.At), until: millis(e.Until)}
}

func cloneWithRoom(m map[key]mark) map[key]mark {
	fresh := make(map[key]mark, len(m)+1)
	maps.Copy(fresh, m)
	return fresh
}

// without is the same state without what has long expired, all in the base.
func (m *marks) without(now int64) *marks {
	rest := &marks{base: make(map[key]mark, m.n)}
	for k, got := range m.each() {
		if got.keep(now) {
			rest.base[k] = got
			rest.kinds |= 1 << k.kind
		}
	}
	rest.n = len(rest.base)
	return rest
}

// each yields every key once.
func (m *marks) each() iter.Seq2[key, mark] {
	return func(yield func(key, mark) bool) {
		for k, got := range m.delta {
			if !yield(k, got) {
				return
			}
		}
		for k, got := range m.base {
			if _, newer := m.delta[k]; !newer && !yield(k, got) {
				return
			}
		}
	}
}

// Sweep forgets what has expired long ago, ten minutes or more. Memory is all that it changes: Revoked takes no notice of expired
// entries anyway.
func (v *View) Sweep(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	m, ms := v.current.Load(), v.at(now)
	for _, got := range m.each() {
		if !got.keep(ms) {
			v.current.Store(m.without(ms))
			return
		}
	}
}

// entries are those in force, or nearly so: those that a store must hold.
func (v *View) entries(now time.Time) iter.Seq2[key, mark] {
	return func(yield func(key, mark) bool) {
		for k, got := range v.current.Load().each() {
			if got.keep(now.UnixMilli()) && !yield(k, got) {
				return
			}
		}
	}
}

func (k key) entry(m mark) Entry {
	return Entry{Issuer: k.issuer, Kind: k.kind, Value: k.value, At: time.UnixMilli(m.at), Until: time.UnixMilli(m.until)}
}

// Len is the number of entries, those included that have expired and were not swept yet.
func (v *View) Len() int { return v.current.Load().n }

// Applied counts the entries that told the view something new.
func (v *View) Applied() uint64 { return v.applied.Load() }

// Fresh says that the view held, at the instant at, every revocation that the store had. An earlier instant than the last changes
// nothing.
func (v *View) Fresh(at time.Time) {
	since := int64(at.Sub(v.start))
	for {
		old := v.fresh.Load()
		if old >= since || v.fresh.CompareAndSwap(old, since) {
			return
		}
	}
}

// Age is the time since the view was last known to hold every revocation; the longest Duration if it never was.
func (v *View) Age(now time.Time) time.Duration {
	fresh := v.fresh.Load()
	if fresh == never {
		return math.MaxInt64
	}
	return max(now.Sub(v.start)-time.Duration(fresh), 0)
}

func (v *View) everFresh() bool { return v.fresh.Load() != never }
