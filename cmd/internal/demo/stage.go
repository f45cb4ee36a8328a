package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Score counts the lines of the story.
type Score struct {
	Held    int // as expected
	Broken  int // not as expected
	Skipped int // not shown, because what shows them is not there
}

// stage is where the acts play: the world, and what has come of it so far.
type stage struct {
	*world
	ctx   context.Context //nolint:containedctx // one story, one context; it lives as long as the stage
	score Score
	err   error // why the story ended early
}

// line is one request of the story, sent to the service without the gates and then with them.
type line struct {
	says    string
	request request
	door    door // the gated door; nil is the people's
	without want
	with    want
	envoy   string // why only Envoy can show it; "" where the gates alone can
	notes   func(answered) string
}

// over says that the story has ended: interrupted, or there is nobody to tell it to.
func (s *stage) over() bool {
	if s.err == nil {
		if s.err = s.ctx.Err(); s.err == nil {
			s.err = s.p.err
		}
	}
	return s.err != nil
}

// act begins an act.
func (s *stage) act(title, tells string) {
	if !s.over() {
		s.p.heading(title, tells)
	}
}

// ask plays one line: without the gates, with them, and what is to be thought of it.
func (s *stage) ask(l line) {
	if s.over() || s.skip(l) {
		return
	}
	before, err := s.send(s.doors.ungated, l.request)
	if err != nil {
		s.fail(err)
		return
	}
	s.judge(l, before.text(), l.without.faults(before), nil)
}

// judge sends the gated half of a line and prints the whole. Tried is the other half's cell, faults what was wrong with it.
func (s *stage) judge(l line, tried string, faults []string, also func(answered) []string) {
	got, err := s.insist(l)
	if err != nil {
		s.fail(err)
		return
	}
	faults = l.faults(got, faults)
	if also != nil {
		faults = append(faults, also(got)...)
	}
	note := ""
	if l.notes != nil {
		note = l.notes(got)
	}
	s.tell(row{says: l.says, without: tried, with: got.text(), reason: got.why(), rule: got.which()}, note, faults)
}

// faults says what was wrong with a line: with its gated half, and with the other half, whose faults are given.
func (l line) faults(got answered, without []string) []string {
	var faults []string
	for _, fault := range without {
		faults = append(faults, "without the gates: "+fault)
	}
	return append(append(faults, l.with.faults(got)...), misplaced(got, l.request)...)
}

// A gate that does not answer within Envoy's patience is a 503, which on a busy machine says nothing about the gates: it is asked
// again, a few times.
const (
	tries      = 4
	tryAgainIn = 300 * time.Millisecond
)

// insist sends the gated half of a line.
func (s *stage) insist(l line) (got answered, err error) {
	for range tries {
		if got, err = s.send(s.gatedDoor(l), l.request); err != nil || !slow(got, l.with.status) {
			return got, err
		}
		if err := pause(s.ctx, tryAgainIn); err != nil {
			return got, err
		}
	}
	return got, nil
}

// slow says that an answer is one that came for want of another.
func slow(a answered, wanted int) bool {
	return a.status == http.StatusServiceUnavailable && wanted != http.StatusServiceUnavailable
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stage) gatedDoor(l line) door {
	if l.door != nil {
		return l.door
	}
	return s.doors.gated
}

// send sends one request and gathers everything about its answer.
func (s *stage) send(through door, r request) (answered, error) {
	a, err := s.exchange(through, r)
	if err == nil && through != s.doors.ungated {
		s.explain(&a)
	}
	return a, err
}

// exchange sends one request and notes what went on beside its answer.
func (s *stage) exchange(through door, r request) (answered, error) {
	calls, mark := s.service.calls(), s.limitsAudit.size()
	got, err := through.send(s.ctx, r)
	a := answered{reply: got, mark: mark, called: s.service.calls() != calls, refused: errors.Is(err, errNoEntry)}
	if a.refused {
		return a, nil
	}
	return a, err
}

// explain looks up what a gate wrote about an answer.
func (s *stage) explain(a *answered) {
	if a.status == http.StatusTooManyRequests {
		a.record = s.limitsAudit.refusal(s.ctx, a.mark)
		return
	}
	a.record = s.audit.find(s.ctx, a.reply)
}

// misplaced says that the gate took a request for one from another address. It matters: limits and the audit log go by it.
func misplaced(a answered, r request) []string {
	if a.status == http.StatusTooManyRequests || a.Address == "" || r.from == "" || a.Address == r.from {
		return nil
	}
	return []string{fmt.Sprintf("the address: expected %s, the gate judged %s", r.from, a.Address)}
}

// tell prints a line with its mark and counts it.
func (s *stage) tell(r row, note string, faults []string) {
	if s.over() {
		return
	}
	r.mark = markHeld
	if len(faults) > 0 {
		r.mark = markBroken
		s.score.Broken++
	} else {
		s.score.Held++
	}
	if s.standIn != nil {
		r.says += " (no Envoy)"
	}
	s.p.row(r)
	if note != "" {
		s.p.note("%s", note)
	}
	for _, fault := range faults {
		s.p.note("%s", s.p.paint(red, fault))
	}
}

// fail is a line that could not be played at all: it ends the story.
func (s *stage) fail(err error) {
	if s.over() {
		return
	}
	s.err = err
	for _, c := range s.children() {
		if c.ended() {
			s.err = errors.Join(err, c.trouble("has ended"))
		}
	}
}

// skip tells what cannot be shown here, and why.
func (s *stage) skip(l line) bool {
	if l.envoy == "" || s.standIn == nil {
		return false
	}
	s.omit(l.says, l.envoy)
	return true
}

func (s *stage) omit(says, why string) {
	s.score.Skipped++
	s.p.row(row{mark: markSkipped, says: says, reason: "skipped: " + why})
}

// flood is the same request again and again, until it is refused.
type flood struct {
	says    string
	request request
	door    door
	room    int  // how many are answered before
	before  int  // the status of those
	sent    int  // how many of them were answered already
	lost    int  // and how many beside them were not answered in time
	without bool // also sent without the gates
	with    want // of the one that is refused
	notes   func(answered) string
}

// pour plays a flood: room requests are answered, the next one is not.
func (s *stage) pour(f flood) {
	if s.over() {
		return
	}
	tried := ""
	if f.without {
		all, err := s.burst(s.doors.ungated, f.request, f.room+1-f.sent, http.StatusOK)
		if err != nil {
			s.fail(err)
			return
		}
		tried = fmt.Sprintf("%d, %d times", all.last.status, all.count)
	}
	all, err := s.burst(s.gatedDoor(line{door: f.door}), f.request, f.room+1-f.sent, f.before)
	if err != nil {
		s.fail(err)
		return
	}
	note := ""
	if f.notes != nil {
		note = f.notes(all.last)
	}
	at := f.sent + all.count
	s.tell(row{says: f.says, without: tried, with: fmt.Sprintf("%d at request %d", all.last.status, at), reason: all.last.why(), rule: all.last.which()},
		note, append(f.with.faults(all.last), f.faults(at, f.lost+all.lost)...))
}

// faults says what is wrong with the place of the refusal. A request that got no answer in time may have been counted or not, so for
// each of those it may come one earlier.
func (f flood) faults(at, lost int) []string {
	if at > f.room+1 || at < f.room+1-lost {
		return []string{fmt.Sprintf("expected %d, %d times, and the refusal at request %d; it came at request %d", f.before, f.room, f.room+1, at)}
	}
	return nil
}

// poured is what came of a burst.
type poured struct {
	last  answered // the last answer
	count int      // answers
	lost  int      // requests that no gate answered in time
}

// burst sends the same request until it has most answers, or one of another status than the given one.
func (s *stage) burst(through door, r request, most, status int) (poured, error) {
	var all poured
	for all.count < most && (all.count == 0 || all.last.status == status) {
		if err := s.ctx.Err(); err != nil {
			return all, err
		}
		a, err := s.exchange(through, r)
		if err != nil {
			return all, err
		}
		if slow(a, status) && all.lost < most {
			all.lost++
			continue
		}
		all.last = a
		all.count++
	}
	if through != s.doors.ungated {
		s.explain(&all.last)
	}
	return all, nil
}

// reloadPatience bounds how long a change may take to show.
const reloadPatience = 15 * time.Second

// eventually asks with the gates alone, until the answer is as wished or the patience is over.
func (s *stage) eventually(l line) {
	if s.over() || s.skip(l) {
		return
	}
	var got answered
	err := until(s.ctx, reloadPatience, 150*time.Millisecond, func() (bool, error) {
		var err error
		got, err = s.send(s.gatedDoor(l), l.request)
		return err == nil && len(l.with.faults(got)) == 0, err
	})
	if err != nil && !errors.Is(err, errLate) {
		s.fail(err)
		return
	}
	note := ""
	if l.notes != nil {
		note = l.notes(got)
	}
	s.tell(row{says: l.says, with: got.text(), reason: got.why(), rule: got.which()}, note, l.with.faults(got))
}

// pointed shows which part of the request the answer points at.
func pointed(a answered) string { return "the answer points at " + a.reply.problem.Pointer }

// heard shows header fields of an answer.
func heard(names ...string) func(answered) string {
	return func(a answered) string {
		var shown []string
		for _, name := range names {
			if value := a.header.Get(name); value != "" {
				shown = append(shown, name+": "+value)
			}
		}
		return strings.Join(shown, " | ")
	}
}
