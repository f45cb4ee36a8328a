// Package audit writes one line of JSON for every decision: who asked for what, what was answered and why, and never a
// token or a secret. It is a room of its own because it sits between a request that must not wait and a disk that may: a
// bounded queue takes records without waiting, one goroutine writes them, and what does not fit is counted and said in the
// log itself, so that a reader of the log knows what the log does not know.
//
// Everything that is meant for the log has a number of its own, from 1 without gaps for each run of a process. A number stands on a line,
// is counted by the summary of denials that were alike, or is told by a gap record; what is none of these was lost with the process, or
// taken out of the log. An allow that sampling leaves out has no number. docs/audit.md is the page for readers of the log.
package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport-dev/sallyport/internal/bearer"
)

// Record is one decision. Every text is written cut to 256 bytes, as valid UTF-8, with control and direction characters
// escaped; an empty text is left out. Nothing in it may be a secret, and a text that holds a JSON Web Token is not
// written even so.
type Record struct {
	// Time is when the decision fell; it is written in UTC.
	Time time.Time
	// Sequence is the record's number, set by the log.
	Sequence uint64
	// Instance names the process; "" is Options.Instance.
	Instance string
	// DecisionID is the name under which the answer, the metadata and this line can be brought together.
	DecisionID string
	// Verdict is "allow" or "deny"; "" is written as "deny".
	Verdict string
	// Reason is the true reason, which may be more than the client was told, and Detail the cause behind it.
	Reason, Detail string
	// Place is where the request fails what is demanded of its shape: a parameter (query.page) or a JSON Pointer into the body, of names
	// and no values. Keyword is the keyword of JSON Schema that fails there.
	Place, Keyword string
	// Service and Rule are the policy's names; PolicyDigest is the policy they stand in.
	Service, Rule, PolicyDigest string
	// Method and Host are the request's. Route is the rule's pattern: the path itself holds identifiers.
	Method, Host, Route string
	// Issuer is the policy's name of the issuer, Subject the verified subject, Kind "person" or "machine".
	Issuer, Subject, Kind string
	// ClientID is the application that the token was issued to.
	ClientID string
	// Client is the application that an API key names; it is no caller, and "" where none was asked for.
	Client string
	// TokenID is the token's identifier (jti), or another text that names the token. It is never written, only a digest.
	TokenID string
	// TokenKey is the `kid` of the key that verified the token, Algorithm its `alg`, and Confirmation the kind of its `cnf` that was proved
	// (RFC 7800), such as "x5t#S256". "" where there is none.
	TokenKey, Algorithm, Confirmation string
	// Caller is the SPIFFE ID of the connection; Address is the judged address.
	Caller, Address string
	// Forwarded says that the request spoke of its origin itself, in X-Forwarded-For; whether that was believed shows in Address.
	Forwarded bool
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
	// Kept has a line of its own whatever else holds: it is neither sampled nor folded. What an operator did, for instance.
	Kept bool

	sampled bool // it stands for others too, which sampling left out
}

// verdictAllow is the one Verdict that is no denial.
const verdictAllow = "allow"

// DefaultQueue is how many records wait when Options.Queue is 0: a second of a busy gate.
const DefaultQueue = 8192

// DefaultFold is how long denials that are alike are counted together when Options.Fold is 0.
const DefaultFold = 10 * time.Second

// batchSize is how many bytes of encoded records are handed to the writer at once.
const batchSize = 64 << 10

// Options are the settings of a Log; the zero value is usable.
type Options struct {
	// Queue is how many records may wait for the writer; 0 or less is DefaultQueue. A quarter of it is kept for what is no denial, so
	// that a flood of denials neither hides an allow nor, where allows wait for the log, refuses one.
	Queue int
	// Allows is how many of the allows are recorded; the zero value is all. An allow beside which a trial denies is always recorded.
	Allows Share
	// Fold is how long denials that are alike in all but their time and their names are counted together: the first is written at once,
	// the others as one summary at the end. 0 is DefaultFold, less than 0 writes each.
	Fold time.Duration
	// Sync makes durable what was written; it is called once for everybody who waits in [Log.Commit] meanwhile. Nil does nothing.
	Sync func() error
	// Instance names this process in every record that names none.
	Instance string
	// Run tells this run of the process from others in every line, since each counts from 1; "" is a random one.
	Run string
	// Pseudonymise, if set, replaces subjects and objects by keyed pseudonyms, and keys the digests of token identifiers:
	// whoever has the key can look a person up, and destroying it makes the log forget people.
	Pseudonymise *Key
	// Now is the clock of gap records; nil is time.Now.
	Now func() time.Time
	// Observe, if set, is told the error of every batch that could not be written or made durable, and nil when the first one could again.
	// It is called by Run, which waits for it.
	Observe func(error)
	// Scarce, if set, is asked before each write whether there is room for no more than what must be on record. While there is not,
	// denials are counted and told by gaps instead of being written: allows, what takes one back, and events have the room for
	// themselves. It is called by Run, which waits for it. Nil is never.
	Scarce func() bool
	// Stop has Run write [EventStop] as the last line, behind all that is told of what came before.
	Stop bool
}

// Counts is what a Log has seen.
type Counts struct {
	// Recorded is everything that was meant for the log, Folded of it what is in summaries only, and Dropped what was lost: the queue
	// was full, the writer failed, or Run had ended.
	Recorded, Folded, Dropped uint64
	// Unsampled are the allows that sampling left out.
	Unsampled uint64
	// WriteErrors counts the writes that returned an error, a full disk for example.
	WriteErrors uint64
	// Waiting is how many lines wait for the writer now.
	Waiting int
}

// Log takes records and writes them in the order of their numbers. Its methods but Run are safe for concurrent use.
// A nil *Log is an audit log that is off: it records nothing and has lost nothing.
type Log struct {
	w       io.Writer
	sync    func() error
	now     func() time.Time
	observe func(error)
	scarce  func() bool
	stop    bool
	allows  Share
	every   time.Duration // between summaries; 0 where nothing is folded
	queue   *queue
	wake    chan struct{}

	unsampled atomic.Uint64
	failed    atomic.Uint64 // writes that returned an error
	key       atomic.Pointer[Key]
	made      time.Time
	busy      atomic.Int64 // when the batch under way was begun, in nanoseconds since made; 0 where none is

	// The rest belongs to Run.
	encoder  encoder
	buf      []byte
	last     uint64 // sequence of the last record handed to the writer
	torn     bool   // the last write ended within a line
	bad      bool   // the last batch failed
	tried    bool   // something of this batch was handed to the writer
	failure  error  // the first of this batch
	unsynced bool   // the last Sync failed
}

// New makes a Log that writes to w, one Write for one or more whole lines. It writes nothing until Run is called.
func New(w io.Writer, opt Options) *Log {
	if opt.Queue <= 0 {
		opt.Queue = DefaultQueue
	}
	if opt.Fold == 0 {
		opt.Fold = DefaultFold
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Observe == nil {
		opt.Observe = func(error) {}
	}
	if opt.Scarce == nil {
		opt.Scarce = func() bool { return false }
	}
	if opt.Sync == nil {
		opt.Sync = func() error { return nil }
	}
	if opt.Run == "" {
		opt.Run = rand.Text()
	}
	l := &Log{
		w: w, sync: opt.Sync, now: opt.Now, observe: opt.Observe, scarce: opt.Scarce, stop: opt.Stop, allows: opt.Allows, every: max(opt.Fold, 0),
		encoder: newEncoder(opt), made: time.Now(),
		queue: &queue{size: opt.Queue, denialsMost: opt.Queue - opt.Queue/4, fold: opt.Fold > 0, folds: map[Record]*repeats{}},
		wake:  make(chan struct{}, 1),
	}
	l.key.Store(opt.Pseudonymise)
	return l
}

// Record queues one record and returns at once. If there is no place, or Run has ended, the record is dropped and counted.
func (l *Log) Record(r Record) {
	if l == nil || l.leavesOut(&r) {
		return
	}
	bound(&r)
	if _, wake, _ := l.queue.record(&r, false); wake { // a loss is counted, and told by the log itself
		l.wakeUp()
	}
}

// Commit queues one record and waits until it is durable, together with whatever else waits. It returns nil then, and otherwise why it
// is not known to be: [ErrFull] and [ErrStopped] at once, the context's error, or that of the writer. A record whose Commit failed may
// yet come to stand in the log.
func (l *Log) Commit(ctx context.Context, r Record) error {
	if l == nil {
		return ErrStopped
	}
	bound(&r)
	c, wake, err := l.queue.record(&r, true)
	if wake {
		l.wakeUp()
	}
	if err != nil {
		return err
	}
	if c == nil {
		return nil // a denial like one that is on record; nobody waits for those
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("audit: wait for the record: %w", ctx.Err())
	}
}

// Event queues an event and returns at once. Where decisions have filled the queue there is still a place for some.
func (l *Log) Event(e Event) {
	if l == nil {
		return
	}
	if l.queue.event(&e) {
		l.wakeUp()
	}
}

// SetKey makes pseudonyms by another key from the next batch on; nil makes none.
func (l *Log) SetKey(k *Key) {
	if l != nil {
		l.key.Store(k)
	}
}

// Counts are the log's figures at this moment.
func (l *Log) Counts() Counts {
	if l == nil {
		return Counts{}
	}
	c := l.queue.counts()
	c.Unsampled, c.WriteErrors = l.unsampled.Load(), l.failed.Load()
	return c
}

// Dropped counts the records that were lost: the queue was full, the writer failed, or Run had ended.
func (l *Log) Dropped() uint64 { return l.Counts().Dropped }

// WriteErrors counts the writes that returned an error, a full disk for example. The records in them count as dropped.
func (l *Log) WriteErrors() uint64 { return l.Counts().WriteErrors }

// Stalled is how long the writer has had the batch that is under way; 0 where it has none. Whoever waits in [Log.Commit] waits for that
// batch and for the next.
func (l *Log) Stalled() time.Duration {
	if l == nil {
		return 0
	}
	began := l.busy.Load()
	if began == 0 {
		return 0
	}
	return time.Since(l.made) - time.Duration(began)
}

// leavesOut draws whether an allow is one that sampling leaves out.
func (l *Log) leavesOut(r *Record) bool {
	if l.allows.All() || r.Verdict != verdictAllow || r.Kept || r.ShadowVerdict != "" && r.ShadowVerdict != verdictAllow {
		return false
	}
	if l.allows.leavesOut() {
		l.unsampled.Add(1)
		return true
	}
	r.sampled = true
	return false
}

// bound cuts the texts that a client chooses before they are queued: what is never written is not to fill the memory meanwhile. What goes
// into a digest stays whole, and is bounded where it is read.
func bound(r *Record) {
	for _, text := range [...]*string{&r.Method, &r.Host, &r.Detail, &r.RequestID, &r.Traceparent} {
		switch {
		case len(*text) <= MaxField:
		case bearer.In(*text):
			*text = token // which a shorter text might not show any more
		default:
			*text = strings.Clone((*text)[:MaxField+1]) // still too long, so that the line says that it was cut
		}
	}
}

func (l *Log) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Run writes records until ctx ends, then writes what is queued and returns nil. It is called once. A writer that fails
// does not end it: the records are lost and counted, and the next are tried. A writer that blocks blocks it, and the
// requests go on.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	var summaries <-chan time.Time
	if l.every > 0 {
		ticker := time.NewTicker(l.every)
		defer ticker.Stop()
		summaries = ticker.C
	}
	var room []entry
	for ended := false; !ended; {
		select {
		case <-l.wake:
		case <-summaries:
			l.queue.summarise()
		case <-ctx.Done():
			l.queue.close()
			ended = true
		}
		b := l.queue.take(room)
		l.writeBatch(&b)
		clear(b.entries) // what it holds of requests is not to live until the batch after the next
		room = b.entries
	}
	l.writeEnd()
	return nil
}

// writeBatch writes what was taken, tells those who wait what became of it, and judges it as one.
func (l *Log) writeBatch(b *batch) {
	l.busy.Store(max(int64(time.Since(l.made)), 1))
	l.settle(b, l.writeEntries(b.entries))
	l.busy.Store(0)
	l.judge()
}

// settle makes a batch durable for those who wait for it, and tells them what became of it. After a Sync that failed, only another tells
// whether the disk is well again, so that each batch has one, whoever waits.
func (l *Log) settle(b *batch, err error) {
	if err == nil && (b.commit != nil || l.unsynced && l.tried) {
		if err = l.sync(); err != nil {
			l.fail(err)
		}
		l.unsynced = err != nil
	}
	if b.commit == nil {
		return
	}
	if err != nil {
		err = fmt.Errorf("audit: not on record: %w", err)
	}
	b.commit.err = err
	close(b.commit.done)
}

// writeEntries writes what was taken, in parts. The error is the first of those that lost something.
func (l *Log) writeEntries(entries []entry) (failed error) {
	if k := l.key.Load(); k != l.encoder.key {
		l.encoder.use(k)
	}
	for len(entries) > 0 {
		if l.scarce() {
			if entries = l.spare(entries); len(entries) == 0 {
				break // a gap for nothing but denials would take the room that they do not have
			}
		}
		l.writeGap()
		l.buf = l.buf[:0]
		n := 0
		for n < len(entries) && len(l.buf) < batchSize {
			l.buf = l.encoder.entry(l.buf, &entries[n])
			n++
		}
		written, err := l.write(l.buf)
		if written > 0 {
			l.last = entries[written-1].record.Sequence
		}
		if written < n {
			l.queue.lose(entries[written:n])
			if failed == nil {
				failed = err
			}
		}
		entries = entries[n:]
	}
	return failed
}

// spare leaves of entries what must be on record, and counts the rest as lost.
func (l *Log) spare(entries []entry) []entry {
	var lost loss
	kept := slices.DeleteFunc(entries, func(e entry) bool {
		if e.needed() {
			return false
		}
		lost.add(e.numbers(), e.first(), e.record.Sequence)
		return true
	})
	l.queue.forgo(lost)
	return kept
}

// writeGap says in the log how many records the log lost since it last said so. If that cannot be written either, it is
// said later.
func (l *Log) writeGap() {
	untold, total := l.queue.takeUntold()
	if untold.count == 0 {
		return
	}
	l.buf = l.encoder.gap(l.buf[:0], gap{Time: l.now(), Lost: untold, Total: total, After: l.last})
	if written, _ := l.write(l.buf); written == 0 {
		l.queue.giveBack(untold)
	}
}

// write hands whole lines to the writer and returns how many of them arrived whole. After a write that ended within a
// line, the next begins with a line feed, so that the torn line spoils no other.
func (l *Log) write(p []byte) (whole int, err error) {
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
	l.tried = true
	if err != nil {
		l.fail(err)
	}
	lines := bytes.Count(p[:n], []byte{'\n'})
	if l.torn && n > 0 {
		lines--
	}
	if n > 0 {
		l.torn = p[n-1] != '\n'
	}
	return lines, err
}

// writeEnd writes what no gap has told yet, and, if it is asked to, that the run ends here.
func (l *Log) writeEnd() {
	untold, total, sequence := l.queue.end(l.stop)
	l.buf = l.buf[:0]
	gaps, lines := 0, 0
	if untold.count > 0 {
		l.buf = l.encoder.gap(l.buf, gap{Time: l.now(), Lost: untold, Total: total, After: l.last})
		gaps, lines = 1, 1
	}
	if l.stop {
		l.buf = l.encoder.event(l.buf, sequence, &Event{Time: l.now(), Name: EventStop})
		lines++
	}
	if lines == 0 {
		return
	}
	written, _ := l.write(l.buf)
	if l.stop && written < lines {
		l.queue.forgo(loss{count: 1, first: sequence, last: sequence})
	}
	if written < gaps {
		l.queue.giveBack(untold)
	}
	l.judge()
}

// fail counts a failure of the batch under way.
func (l *Log) fail(err error) {
	l.failed.Add(1)
	if l.failure == nil {
		l.failure = err
	}
}

// judge tells the observer of a batch that failed, and of the first that did not. A batch that nothing was tried for says nothing.
func (l *Log) judge() {
	if !l.tried {
		return
	}
	err := l.failure
	l.tried, l.failure = false, nil
	if err != nil || l.bad {
		l.observe(err)
	}
	l.bad = err != nil
}
