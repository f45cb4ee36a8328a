package policy

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Snapshot is a folder of policy files as it is in force. The unit is the file: one that is bad keeps its last good version, and
// one that was never good leaves its services unserved, while the others load. A Snapshot is immutable.
type Snapshot struct {
	// Policy is never nil. With no good file at all it has no services, and every request is for the wrong one.
	Policy *Policy
	// Files in the order of their names.
	Files []FileState

	good map[string][]byte
}

// FileState says what became of one file.
type FileState struct {
	Name string
	// Errors are those of the version on disk; none where that version is in force.
	Errors strictyaml.Errors
	// LastGood says that an earlier version is in force instead. Errors and not LastGood: nothing of the file is.
	LastGood bool
}

// OK reports whether the file on disk is in force.
func (f FileState) OK() bool { return len(f.Errors) == 0 }

// Load takes the files of a folder as they are now. It keeps what it must of the snapshot before, which is nil at the start.
func Load(before *Snapshot, files []File) *Snapshot { return LoadAt(before, files, time.Time{}) }

// LoadAt is [Load] at a moment, by which the days that a policy names are judged as [ParseAt] judges them.
func LoadAt(before *Snapshot, files []File, now time.Time) *Snapshot {
	l := &loader{before: before, now: now, errors: map[string]strictyaml.Errors{}, restored: map[string]bool{}}
	if before == nil {
		l.before = &Snapshot{Policy: newCompiler(nil).compile()}
	}
	for _, file := range files {
		l.use = append(l.use, candidate{file: file, fresh: true})
	}
	// Each round either ends or sends at least one file back to its last good version, or out.
	for range 2*len(files) + 3 {
		policy, stuck := l.round()
		if policy != nil {
			return l.snapshot(policy, files)
		}
		if stuck {
			break
		}
	}
	return l.snapshot(l.before.Policy, files)
}

// candidate is the version of a file that is being tried.
type candidate struct {
	file  File
	fresh bool // the version on disk, not the last good one
}

type loader struct {
	before *Snapshot
	now    time.Time
	use    []candidate
	errors map[string]strictyaml.Errors
	// restored are files that are gone from the folder and still in force, because others need what they say.
	restored map[string]bool
}

// miss notes that nothing of a file is in force: what it would serve is answered by nobody else.
func (p *Policy) miss(file File) {
	if isData(file.Name) {
		return // it serves nothing by itself: what needs it does not load without it
	}
	p.partial = true
	doc, errs := strictyaml.Parse(file.Name, file.Data)
	if len(errs) > 0 {
		p.unread, p.gatewaysUnknown = true, true
		return
	}
	d := strictyaml.NewDecoder(doc)
	if d.OpenMap(doc.Root).Get("gateways") != nil {
		p.gatewaysUnknown = true
	}
	for _, n := range d.List(d.OpenMap(doc.Root).Get("services")) {
		m := d.OpenMap(n)
		for _, host := range d.List(m.Get("hosts")) {
			if text, ok := d.Text(host); ok {
				p.reserved = append(p.reserved, text)
			}
		}
		text, _ := d.Text(m.Get("kubernetes"))
		if namespace, service, ok := strings.Cut(text, "/"); ok {
			p.reserved = append(p.reserved, service, service+"."+namespace, service+"."+namespace+".svc", service+"."+namespace+".svc.*")
		}
	}
	if len(d.Errors()) > 0 {
		p.unread = true
	}
}

// round compiles the candidates. It returns the policy if they are good together; otherwise it has put the guilty aside, or is
// stuck with files that are no longer good although nothing about them changed.
func (l *loader) round() (policy *Policy, stuck bool) {
	policy, guilty := l.compile(l.use)
	if policy != nil {
		return policy, false
	}
	if slices.ContainsFunc(l.use, func(c candidate) bool { return l.changed(c) && len(guilty[c.file.Name]) > 0 }) {
		l.sendBack(func(c candidate) strictyaml.Errors { return guilty[c.file.Name] })
		return nil, false
	}
	// Only files that did not change complain: a change elsewhere took something from them that is no issuer.
	var complaint strictyaml.Errors
	for _, errs := range guilty {
		complaint = append(complaint, errs...)
	}
	complaint.Sort()
	switch {
	case l.restore(complaint):
	case l.sendBackOne(complaint):
	case slices.ContainsFunc(l.use, l.changed):
		l.sendBack(func(c candidate) strictyaml.Errors {
			return because(c.file.Name, "with the changed files another no longer loads: ", complaint)
		})
	default:
		maps.Copy(l.errors, guilty)
		return nil, true
	}
	return nil, false
}

// because is the complaint of one file about what its change does to others.
func because(name, why string, complaint strictyaml.Errors) strictyaml.Errors {
	return strictyaml.Errors{{File: name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: why + complaint[0].Error()}}
}

// compile tries some versions together. It returns either a policy or the complaints by file.
func (l *loader) compile(use []candidate) (*Policy, map[string]strictyaml.Errors) {
	c := newCompiler(l.before.Policy)
	c.now = l.now
	c.partial = len(l.errors) > 0
	guilty := map[string]strictyaml.Errors{}
	for _, candidate := range use {
		src, errs := readSource(candidate.file)
		if src == nil {
			guilty[candidate.file.Name] = errs
			continue
		}
		src.changed = !bytes.Equal(candidate.file.Data, l.before.good[candidate.file.Name])
		c.add(src)
	}
	if len(guilty) > 0 {
		return nil, guilty
	}
	policy, errs := c.finish()
	for _, err := range errs {
		guilty[err.File] = append(guilty[err.File], err)
	}
	if len(guilty) > 0 {
		return nil, guilty
	}
	return policy, nil
}

// sendBack returns the changed files that complaints are about to their last good versions, or puts them out.
func (l *loader) sendBack(about func(candidate) strictyaml.Errors) {
	for i := range l.use {
		c := &l.use[i]
		if errs := about(*c); len(errs) > 0 && l.changed(*c) {
			l.errors[c.file.Name] = append(l.errors[c.file.Name], errs...)
			c.file.Data, c.fresh = l.before.good[c.file.Name], false
		}
	}
	l.use = slices.DeleteFunc(l.use, func(c candidate) bool { return !c.fresh && c.file.Data == nil })
}

// sendBackOne finds the one changed file whose last good version satisfies the files that did not change.
func (l *loader) sendBackOne(complaint strictyaml.Errors) bool {
	for i, c := range l.use {
		if !l.changed(c) {
			continue
		}
		trial := slices.Clone(l.use)
		if trial[i].file.Data = l.before.good[c.file.Name]; trial[i].file.Data == nil {
			trial = slices.Delete(trial, i, i+1)
		}
		_, guilty := l.compile(trial)
		if !slices.ContainsFunc(trial, func(t candidate) bool {
			return len(guilty[t.file.Name]) > 0 && bytes.Equal(t.file.Data, l.before.good[t.file.Name])
		}) {
			l.sendBack(func(other candidate) strictyaml.Errors {
				if other.file.Name == c.file.Name {
					return because(c.file.Name, "with this version another file no longer loads: ", complaint)
				}
				return nil
			})
			return true
		}
	}
	return false
}

// restore brings back files that were deleted although others live on what they say.
func (l *loader) restore(complaint strictyaml.Errors) bool {
	restored := false
	for _, name := range slices.Sorted(maps.Keys(l.before.good)) {
		if l.restored[name] || slices.ContainsFunc(l.use, func(c candidate) bool { return c.file.Name == name }) || len(l.errors[name]) > 0 {
			continue
		}
		l.restored[name] = true
		l.errors[name] = because(name, "the file is gone, and others need what it says, so that its last good version stays: ", complaint)
		l.use = append(l.use, candidate{file: File{Name: name, Data: l.before.good[name]}})
		restored = true
	}
	return restored
}

func (l *loader) changed(c candidate) bool {
	return c.fresh && !bytes.Equal(c.file.Data, l.before.good[c.file.Name])
}

func (l *loader) snapshot(policy *Policy, files []File) *Snapshot {
	whole := *policy
	s := &Snapshot{Policy: &whole, good: map[string][]byte{}}
	for _, c := range l.use {
		s.good[c.file.Name] = c.file.Data
	}
	kept := policy == l.before.Policy
	if kept {
		s.good = maps.Clone(l.before.good)
	}
	whole.partial, whole.unread, whole.gatewaysUnknown, whole.reserved = false, false, false, nil
	for _, file := range files {
		state := FileState{Name: file.Name, Errors: l.errors[file.Name]}
		if kept && state.OK() && !bytes.Equal(file.Data, s.good[file.Name]) {
			state.Errors = strictyaml.Errors{{File: file.Name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: "not in force: the folder as a whole does not load, and stays as it was"}}
		}
		_, state.LastGood = s.good[file.Name]
		state.LastGood = state.LastGood && !state.OK()
		if !state.OK() && !state.LastGood {
			whole.miss(file)
		}
		s.Files = append(s.Files, state)
	}
	for name := range l.restored {
		s.Files = append(s.Files, FileState{Name: name, Errors: l.errors[name], LastGood: true})
	}
	slices.SortFunc(s.Files, func(a, b FileState) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return s
}

// LastGood returns the bytes of a file as they are in force; false where nothing of it is. A nil Snapshot holds nothing.
func (s *Snapshot) LastGood(name string) ([]byte, bool) {
	if s == nil {
		return nil, false
	}
	data, ok := s.good[name]
	return data, ok
}
