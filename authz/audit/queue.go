package audit

import (
	"errors"
	"sync"
	"time"
)

// ErrFull says that a record found no place in the queue, ErrStopped that the log has ended.
var (
	ErrFull    = errors.New("audit: the queue is full")
	ErrStopped = errors.New("audit: the log has ended")
)

// eventReserve is how many events find a place although decisions have filled the queue: they are few, and why decisions change. As many
// denials that have a line of their own find one beside them: without it, the allow that they take back would stand.
const eventReserve = 64

// maxFolds bounds how many kinds of denials are counted at once, about 1 KB each. What is beyond is written one by one.
const maxFolds = 4096

// entry is what waits for the writer: a decision, the summary of denials that were folded, or an event.
type entry struct {
	record  Record
	repeats repeats // of a summary; else zero
	event   *Event
}

// numbers is how many sequence numbers are lost with the entry.
func (e *entry) numbers() uint64 { return 1 + e.repeats.count }

// needed says that the entry must be on record where there is little room: an allow, a denial that may take one back, an event.
func (e *entry) needed() bool {
	return e.event != nil || e.record.Verdict == verdictAllow || e.record.Kept
}

// first is the least of them.
func (e *entry) first() uint64 {
	if e.repeats.count > 0 {
		return e.repeats.first
	}
	return e.record.Sequence
}

// repeats counts denials that were not written because they were like one that was.
type repeats struct {
	count       uint64
	first, last uint64 // their sequence numbers; others may lie between
	since       time.Time
	until       time.Time
	decisionID  string // of the last
}

// loss is numbers of records that no line bears.
type loss struct {
	count       uint64
	first, last uint64
}

// add counts numbers in.
func (l *loss) add(count, first, last uint64) {
	if l.count == 0 || first < l.first {
		l.first = first
	}
	l.last = max(l.last, last)
	l.count += count
}

// commit is a promise to tell those who wait for one batch what became of it. err is set before done is closed.
type commit struct {
	done chan struct{}
	err  error
}

// batch is what the writer took at once.
type batch struct {
	entries []entry
	commit  *commit // nil if nobody waits
}

// queue holds what waits for the writer. Numbers are given under its lock, so that the order of the lines is that of the numbers, and a
// number that was given is on a line, folded into a summary, told by a gap, or was lost with the process.
type queue struct {
	size, denialsMost int
	fold              bool

	mu       sync.Mutex
	filling  []entry
	denials  int // in filling, without those that are Kept
	kept     int // denials in filling that are Kept and beyond size
	sequence uint64
	folds    map[Record]*repeats // by what identical denials have alike
	commit   *commit
	lost     uint64 // since the start
	untold   loss   // what of it no gap has told yet
	folded   uint64
	closed   bool
}

// alike is what a denial has in common with its repetitions: everything but when it was and what it was called. Where the policy knows no
// service or no rule, host and method are whatever a client came up with, and many of those are one kind.
func alike(r *Record) Record {
	key := *r
	key.Time, key.Sequence, key.Latency = time.Time{}, 0, 0
	key.DecisionID, key.RequestID, key.Traceparent = "", "", ""
	if unknown(r.Service) || unknown(r.Rule) {
		key.Host, key.Method = "", ""
	}
	return key
}

// unknown says that a name of the policy is none.
func unknown(name string) bool { return name == "" || name == "none" }

// record numbers a decision and queues it, counts it with those like it, or loses it. With wait it returns what becomes of its batch.
// wake says that the writer has nothing to do yet and is to be woken.
func (q *queue) record(r *Record, wait bool) (c *commit, wake bool, err error) {
	denial := r.Verdict != verdictAllow
	folds := denial && q.fold && !r.Kept
	var key Record
	if folds {
		key = alike(r)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sequence++
	r.Sequence = q.sequence
	if folds && !q.closed {
		if known := q.folds[key]; known != nil {
			q.folded++
			known.count++
			if known.count == 1 {
				known.first, known.since = r.Sequence, r.Time
			}
			known.last, known.until, known.decisionID = r.Sequence, r.Time, r.DecisionID
			return nil, false, nil
		}
	}
	kept, beyond := denial && r.Kept, len(q.filling) >= q.size
	var full bool
	switch {
	case kept:
		full = beyond && q.kept >= eventReserve
	case denial:
		full = beyond || q.denials >= q.denialsMost
	default:
		full = beyond
	}
	if q.closed || full {
		q.loseLocked(1, r.Sequence, r.Sequence)
		if q.closed {
			return nil, false, ErrStopped
		}
		return nil, false, ErrFull
	}
	switch {
	case kept && beyond:
		q.kept++
	case denial && !kept:
		q.denials++
		if folds && len(q.folds) < maxFolds {
			q.folds[key] = &repeats{}
		}
	}
	wake = len(q.filling) == 0
	q.filling = append(q.filling, entry{record: *r})
	if !wait {
		return nil, wake, nil
	}
	if q.commit == nil {
		q.commit = &commit{done: make(chan struct{})}
	}
	return q.commit, wake, nil
}

// event numbers an event and queues it.
func (q *queue) event(e *Event) (wake bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sequence++
	if q.closed || len(q.filling) >= q.size+eventReserve+q.kept {
		q.loseLocked(1, q.sequence, q.sequence)
		return false
	}
	wake = len(q.filling) == 0
	q.filling = append(q.filling, entry{record: Record{Sequence: q.sequence, Time: e.Time}, event: e})
	return wake
}

// summarise queues a summary of each kind of denials that was repeated, and begins to count anew. The summaries are beyond the queue's
// size, bounded by maxFolds: what they stand for was never lost, and is not to be lost now.
func (q *queue) summarise() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.summariseLocked()
}

func (q *queue) summariseLocked() {
	for key, known := range q.folds {
		if known.count == 0 {
			continue
		}
		q.sequence++
		key.Sequence, key.Time, key.DecisionID = q.sequence, known.until, known.decisionID
		q.filling = append(q.filling, entry{record: key, repeats: *known})
	}
	clear(q.folds)
}

// take hands over everything that waits, in exchange for room to fill. It must be cleared of what it held.
func (q *queue) take(room []entry) batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := batch{entries: q.filling, commit: q.commit}
	q.filling, q.denials, q.kept, q.commit = room[:0], 0, 0, nil
	return b
}

// close takes no more, and summarises what was folded.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.summariseLocked()
	q.closed = true
}

// lose counts entries that could not be written.
func (q *queue) lose(entries []entry) {
	var lost loss
	for i := range entries {
		e := &entries[i]
		lost.add(e.numbers(), e.first(), e.record.Sequence)
	}
	q.forgo(lost)
}

// forgo counts numbers that are on no line.
func (q *queue) forgo(lost loss) {
	if lost.count == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.loseLocked(lost.count, lost.first, lost.last)
}

func (q *queue) loseLocked(count, first, last uint64) {
	q.lost += count
	q.untold.add(count, first, last)
}

// takeUntold hands over what no gap has told yet, and how many were lost in all.
func (q *queue) takeUntold() (untold loss, total uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	untold, q.untold = q.untold, loss{}
	return untold, q.lost
}

// end hands over what no gap has told yet and, for a line that is the last, the number behind it: both at once, so that what is lost later
// has numbers beyond that of the last line.
func (q *queue) end(numbered bool) (untold loss, total, sequence uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	untold, q.untold = q.untold, loss{}
	if numbered {
		q.sequence++
		sequence = q.sequence
	}
	return untold, q.lost, sequence
}

// giveBack takes a loss back that could not be told.
func (q *queue) giveBack(untold loss) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.untold.add(untold.count, untold.first, untold.last)
}

// counts are the figures of metrics.
func (q *queue) counts() Counts {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Counts{Recorded: q.sequence, Dropped: q.lost, Folded: q.folded, Waiting: len(q.filling)}
}
