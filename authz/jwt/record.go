package jwt

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/scope"
)

// record is what does not change about a token that was good once, as small as it can be: its signature under one generation of keys,
// and its static claims. What many tokens of an issuer say alike is in common; what is this token's own is in text, packed.
type record struct {
	// ready is the principal, if it is asked for often enough; see hot.
	ready      atomic.Pointer[authz.Principal]
	common     *common
	text       string
	generation uint64
	// Nanoseconds since 1970; notBefore is never if the token has none.
	issued, notBefore, expires int64
}

// never is the notBefore of a token that has none.
const never = math.MinInt64

// recordBytes estimates a record without its text from above, with the cache's own entry (80 bytes), its place in the hash table and
// the policy's sketch (some 40), and the padding of two allocations.
const recordBytes = 224

func (r *record) weight() uint32 {
	weight := uint32(recordBytes + len(r.text))
	if r.common.private {
		weight += uint32(r.common.bytes())
	}
	return weight
}

func (r *record) times() times {
	t := times{issued: time.Unix(0, r.issued).UTC(), expires: time.Unix(0, r.expires).UTC()}
	if r.notBefore != never {
		t.notBefore = time.Unix(0, r.notBefore).UTC()
	}
	return t
}

// record packs a proof; false if its dates do not fit.
func (v *Verifier) record(p *proof) (*record, bool) {
	for _, at := range []time.Time{p.times.issued, p.times.expires} {
		if at.Year() > 2200 {
			return nil, false
		}
	}
	r := &record{
		generation: p.generation, issued: p.times.issued.UnixNano(), expires: p.times.expires.UnixNano(), notBefore: never,
		text: v.pack(p.principal), common: v.pool.commons.take(commonOf(p)),
	}
	if !p.times.notBefore.IsZero() {
		r.notBefore = p.times.notBefore.UnixNano()
	}
	return r, true
}

// principal is the record's principal: the one that is ready, or restored.
func (v *Verifier) principal(r *record) *authz.Principal {
	if p := r.ready.Load(); p != nil {
		return p
	}
	p := v.restore(r)
	return v.pool.hot.keep(r, p, principalBytes+2*len(r.text)+64*len(v.issuer.Claims))
}

// principalBytes estimates a restored principal from above, with the map of a few claims but without their texts.
const principalBytes = 800

// bound marks the text of a token with a confirmation. The bits below it are the identity's kind.
const bound = 1 << 7

// pack writes what only this token says. restore reads it in the same order.
func (v *Verifier) pack(p *authz.Principal) string {
	room := [512]byte{byte(p.Identity.Kind)}
	b := room[:1]
	if p.Confirmation.Bound {
		b[0] |= bound
		b = append(b, p.Confirmation.Thumbprint[:]...)
	}
	b = appendText(appendText(appendText(b, p.Subject), p.TokenID), p.Session)
	for _, c := range v.issuer.Claims {
		value, _ := p.Token.Value(c.Name)
		b = appendValue(b, value)
	}
	return string(b)
}

// restore makes the principal that pack and commonOf took apart, equal to the first in all that anybody can read of it.
func (v *Verifier) restore(r *record) *authz.Principal {
	c, in := r.common, unpacker(r.text)
	p := &authz.Principal{
		Identity: authz.Identity{Issuer: v.issuer.Name}, Issuer: v.issuer.Issuer, ClientID: c.clientID, Scopes: c.scopes, Audiences: c.audiences,
		KeyID: c.kid, Algorithm: c.alg,
		Expires: time.Unix(0, r.expires).UTC(), IssuedAt: time.Unix(0, r.issued).UTC(),
	}
	flags := in.next(1)[0]
	p.Identity.Kind = authz.Kind(flags &^ bound)
	if flags&bound != 0 {
		p.Confirmation.Bound = true
		copy(p.Confirmation.Thumbprint[:], in.next(len(p.Confirmation.Thumbprint)))
	}
	p.Subject, p.TokenID, p.Session = in.text(), in.text(), in.text()
	switch p.Identity.Kind {
	case authz.Person:
		p.Identity.Subject = p.Subject
	case authz.Machine:
		p.Identity.Subject = c.clientID
	}
	values := make(map[string]any, 4+len(v.issuer.Claims))
	name := func(name, value string) {
		if value != "" {
			values[name] = value
		}
	}
	if p.Identity.Kind == authz.Person {
		name("sub", p.Subject)
	}
	name("client_id", p.ClientID)
	name("jti", p.TokenID)
	values["scope"] = c.listed
	for _, claim := range v.issuer.Claims {
		if value := in.value(); value != nil {
			values[claim.Name] = value
		}
	}
	p.Token = condition.NewToken(values)
	return p
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Values are told apart by their first byte; absent is a claim that is not set.
const (
	absent = iota
	isFalse
	isTrue
	isText
	isInt
	isList
)

func appendValue(b []byte, value any) []byte {
	switch value := value.(type) {
	case bool:
		if value {
			return append(b, isTrue)
		}
		return append(b, isFalse)
	case string:
		return appendText(append(b, isText), value)
	case int64:
		return binary.AppendVarint(append(b, isInt), value)
	case []string:
		b = binary.AppendUvarint(append(b, isList), uint64(len(value)))
		for _, text := range value {
			b = appendText(b, text)
		}
		return b
	}
	return append(b, absent)
}

// unpacker reads what pack wrote. Nobody else writes it, so there is nothing to refuse.
type unpacker string

func (u *unpacker) next(n int) string {
	part := string((*u)[:n])
	*u = (*u)[n:]
	return part
}

func (u *unpacker) uvarint() uint64 {
	value, shift := uint64(0), 0
	for {
		c := u.next(1)[0]
		value |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return value
		}
		shift += 7
	}
}

func (u *unpacker) text() string { return u.next(int(u.uvarint())) }

func (u *unpacker) value() any {
	switch u.next(1)[0] {
	case isFalse:
		return false
	case isTrue:
		return true
	case isText:
		return u.text()
	case isInt:
		zigzag := u.uvarint()
		return int64(zigzag>>1) ^ -int64(zigzag&1)
	case isList:
		list := make([]string, u.uvarint())
		for i := range list {
			list[i] = u.text()
		}
		return list
	}
	return nil
}

// common is what many tokens of an issuer say alike: who signed, for which application, with which scopes, for whom.
type common struct {
	kid, alg, clientID string
	scopes             scope.Set
	// listed are the scopes as the token orders them.
	listed    []string
	audiences []string

	name string
	// private says that the table had no room, and that the one record that has it pays for it.
	private bool
	users   int // guarded by the table
}

func commonOf(p *proof) *common {
	c := &common{kid: p.kid, alg: p.alg, clientID: p.principal.ClientID, scopes: p.principal.Scopes, audiences: p.principal.Audiences}
	c.listed, _ = p.principal.Token.List("scope")
	b := appendText(appendText(appendText(nil, c.kid), c.alg), c.clientID)
	for _, list := range [][]string{c.listed, c.audiences} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, text := range list {
			b = appendText(b, text)
		}
	}
	c.name = string(b)
	return c
}

// bytes estimates from above: the texts twice (once in the name), a string header for every scope twice and every audience, the
// struct, and its place in the table.
func (c *common) bytes() int {
	return 384 + 2*len(c.name) + 16*(2*len(c.listed)+len(c.audiences))
}

// commons is the table of what records have in common. It holds what some record uses, within a bound; its lock is taken when a token
// is remembered or forgotten, never when it is found.
type commons struct {
	most int

	mu   sync.Mutex
	all  map[string]*common
	held int
}

// take returns the table's own of c for one more record.
func (t *commons) take(c *common) *common {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.all[c.name]; known != nil {
		known.users++
		return known
	}
	if t.held+c.bytes() > t.most {
		c.private = true
		return c
	}
	if t.all == nil {
		t.all = map[string]*common{}
	}
	c.users = 1
	t.all[c.name] = c
	t.held += c.bytes()
	return c
}

// release says that one record less uses c.
func (t *commons) release(c *common) {
	if c.private {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.users--; c.users == 0 {
		delete(t.all, c.name)
		t.held -= c.bytes()
	}
}
