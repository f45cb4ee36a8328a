// Package audit writes one line of JSON for every decision: who asked for what, what was answered and why, and never a
// token or a secret. It is a room of its own because it sits between a request that must not wait and a disk that may: a
// bounded queue takes records without waiting, one goroutine writes them, and what does not fit is counted and said in the
// log itself, so that a reader of the log knows what the log does not know.
package audit

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"time"
)

// Record is one decision. Every text is written cut to 256 bytes, as valid UTF-8, with control and direction characters
// escaped; an empty text is left out. Nothing in it may be a secret, and a text that holds a JSON Web Token is not
// written even so.
type Record struct {
	// Time is when the decision fell; it is written in UTC.
	Time time.Time
	// Sequence is the record's number, set by [Log.Record] from 1 without gaps: a number that is missing in the log was lost.
	Sequence uint64
	// Instance names the process; "" is Options.Instance.
	Instance string
	// DecisionID is the name under which the answer, the metadata and this line can be brought together.
	DecisionID string
	// Verdict is "allow" or "deny"; "" is written as "deny".
	Verdict string
	// Reason is the public reason, Detail the true cause that the client did not hear.
	Reason, Detail string
	// Service and Rule are the policy's names; PolicyDigest is the policy they stand in.
	Service, Rule, PolicyDigest string
	// Method and Host are the request's. Route is the rule's pattern: the path itself holds identifiers.
	Method, Host, Route string
	// Issuer is the policy's name of the issuer, Subject the verified subject, Kind "person" or "machine".
	Issuer, Subject, Kind string
	// ClientID is the application that the token was issued to.
	ClientID string
	// TokenID is the token's identifier (jti), or another text that names the token. It is never written, only a digest.
	TokenID string
	// Caller is the SPIFFE ID of the connection; Address is the judged address.
	Caller, Address string
	// Object is what the request was about, as the rule read it.
	Object string
	// RequestID and Traceparent are what the request was called on its way (W3C Trace Context for the second).
	RequestID, Traceparent string
	// ShadowVerdict, ShadowReason, ShadowDetail, ShadowRule and ShadowPolicy are what a trial beside the decision came to; "" where none ran.
	ShadowVerdict, ShadowReason, ShadowDetail, ShadowRule, ShadowPolicy string
	// Status is the HTTP status of the answer; 0 is left out.
	Status int
	// Latency is how long the decision took; it is written in microseconds, rounded down.
	Latency time.Duration
}

// DefaultQueue is how many records wait when Options.Queue is 0: a second of a busy gate.
const DefaultQueue = 8192

// batchSize is when a batch of encoded records is written, in bytes, although more records wait.
const batchSize = 64 << 10

// Options are the settings of a Log; the zero value is usable.
type Options struct {
	// Queue is how many records may wait for the writer; 0 or less is DefaultQueue.
	Queue int
	// Instance names this process in every record that names none.
	Instance string
	// Pseudonymise, if set, replaces subjects and objects by keyed pseudonyms, and keys the digests of token identifiers:
	// whoever has the key can look a person up, and destroying it makes the log forget people.
	Pseudonymise *Key
	// Now is the clock of gap records; nil is time.Now.
	Now func() time.Time
	// Observe, if set, is told the error of every write that fails, and nil when the first one succeeds again. It is called by Run,
	// which waits for it.
	Observe func(error)
}

// Log takes records and writes them in the order they came. Record, Dropped and WriteErrors are safe for concurrent use.
// A nil *Log is an audit log that is off: it records nothing and has lost nothing.
type Log struct {
	w       io.Writer
	now     func() time.Time
	observe func(error)
	queue   chan Record
	encoder encoder

	sequence atomic.Uint64
	lost     atomic.Uint64 // records that will never be written
	failed   atomic.Uint64 // writes that returned an error
	stopping atomic.Bool   // Run takes no more records than are queued
	stopped  atomic.Bool   // what is queued now stays there

	// The rest belongs to Run.
	buf  []byte
	told uint64 // of lost, how many a gap record has told
	last uint64 // sequence of the last record handed to the writer
	torn bool   // the last write ended within a line
	bad  bool   // the last write failed
}

// New makes a Log that writes to w, one Write for one or more whole lines. It writes nothing until Run is called.
func New(w io.Writer, opt Options) *Log {
	if opt.Queue <= 0 {
		opt.Queue = DefaultQueue
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Observe == nil {
		opt.Observe = func(error) {}
	}
	return &Log{w: w, now: opt.Now, observe: opt.Observe, queue: make(chan Record, opt.Queue), encoder: newEncoder(opt)}
}

// Record queues one record and returns at once. If the queue is full, or Run has ended, the record is dropped and counted.
func (l *Log) Record(r Record) {
	if l == nil {
		return
	}
	r.Sequence = l.sequence.Add(1)
	if l.stopping.Load() {
		l.lost.Add(1)
		return
	}
	select {
	case l.queue <- r:
	default:
		l.lost.Add(1)
	}
}

// Dropped counts the records that were lost: the queue was full, the writer failed, or Run had ended.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	n := l.lost.Load()
	if l.stopped.Load() {
		n += uint64(len(l.queue)) // came in while Run was ending
	}
	return n
}

// WriteErrors counts the writes that returned an error, a full disk for example. The records in them count as dropped.
func (l *Log) WriteErrors() uint64 {
	if l == nil {
		return 0
	}
	return l.failed.Load()
}

// Run writes records until ctx ends, then writes what is queued and returns nil. It is called once. A writer that fails
// does not end it: the records are lost and counted, and the next are tried. A writer that blocks blocks it, and the
// requests go on.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	defer l.stopped.Store(true)
	for {
		select {
		case r := <-l.queue:
			l.writeFrom(&r)
		case <-ctx.Done():
			l.stopping.Store(true)
			for len(l.queue) > 0 {
				r := <-l.queue
				l.writeFrom(&r)
			}
			l.writeGap()
			return nil
		}
	}
}

// writeFrom writes one batch: the first record and those that wait behind it, as far as they fit.
func (l *Log) writeFrom(first *Record) {
	l.writeGap()
	l.buf = l.encoder.record(l.buf[:0], first)
	last, n := first.Sequence, uint64(1)
	for len(l.buf) < batchSize {
		select {
		case r := <-l.queue:
			l.buf = l.encoder.record(l.buf, &r)
			last = r.Sequence
			n++
			continue
		default:
		}
		break
	}
	if written := l.write(l.buf); written < n {
		l.lost.Add(n - written)
		return
	}
	l.last = last
}

// writeGap says in the log how many records the log lost since it last said so. If that cannot be written either, it is
// said later.
func (l *Log) writeGap() {
	lost := l.lost.Load()
	if lost == l.told {
		return
	}
	l.buf = l.encoder.gap(l.buf[:0], gap{Time: l.now(), Lost: lost - l.told, Total: lost, After: l.last})
	if l.write(l.buf) == 1 {
		l.told = lost
	}
}

// write hands whole lines to the writer and returns how many of them arrived whole. After a write that ended within a
// line, the next begins with a line feed, so that the torn line spoils no other.
func (l *Log) write(p []byte) uint64 {
	if l.torn {
		p = append(p, 0)
		copy(p[1:], p)
		p[0] = '\n'
	}
	n, err := l.w.Write(p)
	n = min(max(n, 0), len(p))
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	l.judge(err)
	lines := bytes.Count(p[:n], []byte{'\n'})
	if l.torn && n > 0 {
		lines--
	}
	if n > 0 {
		l.torn = p[n-1] != '\n'
	}
	return uint64(lines)
}

// judge counts a write that failed, and tells the observer of it and of its end.
func (l *Log) judge(err error) {
	if err != nil {
		l.failed.Add(1)
	}
	if err != nil || l.bad {
		l.observe(err)
	}
	l.bad = err != nil
}
