package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/internal/bearer"
)

// MaxField is the most bytes of a text that are written; a longer one ends with "…" within them. A client chooses many of
// these texts, and must not choose how much disk they take.
const MaxField = 256

// version is the shape of a record, in every record: a reader must not guess.
const version = 1

// minSecret is the shortest pseudonymisation secret in bytes. Subjects can be guessed, so the key must not be.
const minSecret = 32

// Key makes pseudonyms. It is immutable and safe for concurrent use.
type Key struct {
	id     string
	secret []byte
}

// NewKey makes a Key of a secret of at least 32 bytes. The id is written into every record, so that a key can be changed
// and the old records still be told apart; it must not be empty.
func NewKey(id string, secret []byte) (*Key, error) {
	if id == "" {
		return nil, errors.New("audit: a pseudonymisation key needs an id")
	}
	if len(secret) < minSecret {
		return nil, errors.New("audit: a pseudonymisation secret needs at least 32 bytes")
	}
	return &Key{id: id, secret: slices.Clone(secret)}, nil
}

// ID is the name that the records made with the key bear.
func (k *Key) ID() string { return k.id }

// The domains of digests: a subject, an object and a token of one spelling have three digests.
const (
	domainSubject = "subject"
	domainObject  = "object"
	domainToken   = "token"
)

// encoder writes records as JSON without reflection and, in its own scratch space, without allocation. It belongs to one
// goroutine.
type encoder struct {
	instance, run string
	rate          string // of the allows that are recorded
	ids           eventIDs
	key           *Key
	hash          hash.Hash // keyed if there is a key
	scratch       []byte
}

func newEncoder(opt Options) encoder {
	e := encoder{instance: opt.Instance, run: opt.Run, rate: opt.Allows.rate, ids: newEventIDs(opt.Run)}
	e.use(opt.Pseudonymise)
	return e
}

// use makes pseudonyms by a key from now on; nil makes none.
func (e *encoder) use(k *Key) {
	e.key = k
	if k == nil {
		e.hash = sha256.New()
		return
	}
	e.hash = hmac.New(sha256.New, k.secret)
}

// entry appends what waited as one line.
func (e *encoder) entry(b []byte, in *entry) []byte {
	if in.event != nil {
		return e.event(b, in.record.Sequence, in.event)
	}
	return e.record(b, &in.record, &in.repeats)
}

// record appends r as one line; if it was repeated, as the line that counts the repetitions.
func (e *encoder) record(b []byte, r *Record, again *repeats) []byte {
	b = e.open(b, r.Time, r.Instance)
	b = appendNumber(b, "sequence", r.Sequence)
	if again.count > 0 {
		b = appendNumber(b, "repeated", again.count)
		b = appendTime(b, "first_time", again.since)
		b = appendNumber(b, "first_sequence", again.first)
		b = appendNumber(b, "last_sequence", again.last)
	}
	b = appendText(b, "decision_id", r.DecisionID)
	verdict := r.Verdict
	if verdict == "" {
		verdict = "deny"
	}
	b = appendText(b, "verdict", verdict)
	b = appendText(b, "reason", r.Reason)
	b = appendText(b, "detail", r.Detail)
	b = appendText(b, "place", r.Place)
	b = appendText(b, "keyword", r.Keyword)
	if r.Status > 0 {
		b = appendNumber(b, "status", uint64(r.Status))
	}
	b = appendText(b, "service", r.Service)
	b = appendText(b, "rule", r.Rule)
	b = appendText(b, "policy", r.PolicyDigest)
	b = appendText(b, "method", r.Method)
	b = appendText(b, "host", r.Host)
	b = appendText(b, "route", r.Route)
	b = e.who(b, r)
	b = appendText(b, "caller", r.Caller)
	b = appendText(b, "address", r.Address)
	if r.Forwarded {
		b = append(b, `,"forwarded":true`...)
	}
	b = e.person(b, domainObject, "", r.Object)
	b = appendText(b, "request_id", r.RequestID)
	b = appendText(b, "traceparent", r.Traceparent)
	b = appendText(b, "shadow_verdict", r.ShadowVerdict)
	b = appendText(b, "shadow_reason", r.ShadowReason)
	b = appendText(b, "shadow_detail", r.ShadowDetail)
	b = appendText(b, "shadow_rule", r.ShadowRule)
	b = appendText(b, "shadow_policy", r.ShadowPolicy)
	if r.sampled {
		b = append(append(b, `,"sample_rate":`...), e.rate...)
	}
	if again.count == 0 {
		b = appendNumber(b, "latency_us", uint64(max(r.Latency, 0)/time.Microsecond))
	}
	return append(b, "}\n"...)
}

// who appends what a verified token said.
func (e *encoder) who(b []byte, r *Record) []byte {
	b = appendText(b, "issuer", r.Issuer)
	b = e.person(b, domainSubject, r.Issuer, r.Subject)
	b = appendText(b, "kind", r.Kind)
	b = appendText(b, "client_id", r.ClientID)
	b = appendText(b, "client", r.Client)
	if r.TokenID != "" {
		b = e.appendDigest(appendKey(b, "token_id"), domainToken, r.Issuer, r.TokenID)
	}
	b = appendText(b, "token_kid", r.TokenKey)
	b = appendText(b, "token_alg", r.Algorithm)
	b = appendText(b, "token_cnf", r.Confirmation)
	if e.key != nil {
		b = appendText(b, "key_id", e.key.id)
	}
	return b
}

// person appends a text that may name a person: as it is, or, under a key, as its pseudonym.
func (e *encoder) person(b []byte, domain, issuer, text string) []byte {
	if e.key == nil || text == "" {
		return appendText(b, domain, text)
	}
	return e.appendDigest(appendKey(b, domain), domain, issuer, text)
}

// appendDigest appends the digest of text in hex, in quotes. Each part is framed by its length, so that no two inputs are
// one.
func (e *encoder) appendDigest(b []byte, domain, issuer, text string) []byte {
	e.hash.Reset()
	for _, part := range [...]string{domain, issuer, text} {
		e.scratch = strconv.AppendInt(e.scratch[:0], int64(len(part)), 10)
		e.scratch = append(append(e.scratch, ':'), part...)
		e.hash.Write(e.scratch)
	}
	e.scratch = e.hash.Sum(e.scratch[:0])
	b = append(b, '"')
	b = hex.AppendEncode(b, e.scratch)
	return append(b, '"')
}

// gap is the record of records that are not there.
type gap struct {
	Time  time.Time
	Lost  loss   // since the gap record before
	Total uint64 // since the start
	After uint64 // sequence of the last record that was written
}

// gap appends g as one line. It has no number of its own: it speaks of those that no line has.
func (e *encoder) gap(b []byte, g gap) []byte {
	b = e.open(b, g.Time, "")
	b = appendText(b, "event", eventGap)
	b = appendNumber(b, "lost", g.Lost.count)
	b = appendNumber(b, "lost_total", g.Total)
	b = appendNumber(b, "after", g.After)
	b = appendNumber(b, "first_sequence", g.Lost.first)
	b = appendNumber(b, "last_sequence", g.Lost.last)
	return append(b, "}\n"...)
}

// event appends an event as one line.
func (e *encoder) event(b []byte, sequence uint64, v *Event) []byte {
	b = e.open(b, v.Time, "")
	b = appendNumber(b, "sequence", sequence)
	b = appendText(b, "event", v.Name)
	b = appendText(b, "outcome", v.Outcome)
	b = appendText(b, "part", v.Part)
	b = appendText(b, "detail", v.Detail)
	b = appendText(b, "policy", v.Policy)
	b = appendText(b, "policy_before", v.PolicyBefore)
	b = appendList(b, "files", v.Files)
	b = appendList(b, "added", v.Added)
	b = appendList(b, "removed", v.Removed)
	if v.Count > 0 {
		b = appendNumber(b, "count", v.Count)
	}
	b = appendText(b, "mode", v.Mode)
	b = appendText(b, "allows", v.Allows)
	if v.Fold > 0 {
		b = appendText(b, "fold", v.Fold.String())
	}
	return append(b, "}\n"...)
}

// open begins a line with what every line has.
func (e *encoder) open(b []byte, t time.Time, instance string) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendUint(b, version, 10)
	b = appendTime(b, "time", t)
	if instance == "" {
		instance = e.instance
	}
	b = appendText(b, "instance", instance)
	b = appendText(b, "run", e.run)
	b = append(appendKey(b, "event_id"), '"')
	b = e.ids.append(b, t)
	return append(b, '"')
}

// appendTime appends an instant in UTC (RFC 3339).
func appendTime(b []byte, key string, t time.Time) []byte {
	b = append(appendKey(b, key), '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// appendList appends a list of texts; nothing if it is empty.
func appendList(b []byte, key string, texts []string) []byte {
	if len(texts) == 0 {
		return b
	}
	b = append(appendKey(b, key), '[')
	for i, text := range texts[:min(len(texts), maxList)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendQuoted(b, text)
	}
	return append(b, ']')
}

func appendKey(b []byte, key string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	return append(b, '"', ':')
}

func appendNumber(b []byte, key string, n uint64) []byte {
	return strconv.AppendUint(appendKey(b, key), n, 10)
}

// appendText appends a text field; nothing if it is empty.
func appendText(b []byte, key, text string) []byte {
	if text == "" {
		return b
	}
	return appendQuoted(appendKey(b, key), text)
}

// appendQuoted appends a text as a JSON string.
func appendQuoted(b []byte, text string) []byte {
	b = append(b, '"')
	if bearer.In(text) {
		return append(append(b, token...), '"')
	}
	if len(text) <= MaxField {
		b = appendEscaped(b, text)
	} else {
		b = append(appendEscaped(b, cut(text)), "…"...)
	}
	return append(b, '"')
}

// token is written in place of one. A client can put its token anywhere, a request id for example.
const token = "[token]"

// cut shortens text so that it has MaxField bytes together with "…", and ends between characters.
func cut(text string) string {
	n := MaxField - len("…")
	for n > MaxField-len("…")-utf8.UTFMax && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// appendEscaped appends text as the inside of a JSON string (RFC 8259 7). Beyond what JSON demands, it escapes whatever
// could move a terminal or fool an eye: C1 controls, line separators, and characters that change the direction of
// writing. A byte that is no UTF-8 becomes U+FFFD.
func appendEscaped(b []byte, text string) []byte {
	for i := 0; i < len(text); {
		if c := text[i]; c < utf8.RuneSelf {
			i++
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else if c < ' ' || c == 0x7f {
				b = appendUnicode(b, rune(c))
			} else {
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, "\ufffd"...)
		case hidden(r):
			b = appendUnicode(b, r)
		default:
			b = append(b, text[i:i+size]...)
		}
		i += size
	}
	return b
}

// hidden tells whether a character above ASCII acts on a reader without being seen.
func hidden(r rune) bool {
	switch {
	case r < 0xa0: // C1 controls
		return true
	case r == 0xad, r == 0x61c, r == 0xfeff: // soft hyphen, Arabic letter mark, byte order mark
		return true
	case 0x200b <= r && r <= 0x200f: // zero width, direction marks
		return true
	case 0x2028 <= r && r <= 0x202e: // line separators, direction embeddings
		return true
	case 0x2060 <= r && r <= 0x206f: // invisible operators, direction isolates
		return true
	}
	return false
}

// appendUnicode appends a character of the basic plane as \uXXXX.
func appendUnicode(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
