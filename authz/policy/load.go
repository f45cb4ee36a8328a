package policy

import (
	"bytes"
	"maps"
	"slices"

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
func Load(before *Snapshot, files []File) *Snapshot {
	l := &loader{before: before, errors: map[string]strictyaml.Errors{}}
	if before == nil {
		l.before = &Snapshot{Policy: newCompiler(nil).compile()}
	}
	for _, file := range files {
		l.use = append(l.use, candidate{file: file, fresh: true})
	}
	// Each round either ends or sends at least one file back to its last good version, or out.
	for range 2*len(files) + 1 {
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
	use    []candidate
	errors map[string]strictyaml.Errors
}

// round compiles the candidates. It returns the policy if they are good together; otherwise it has put the guilty aside, or is
// stuck: files that did not change are no longer good, because one that held a setting of theirs was deleted.
func (l *loader) round() (policy *Policy, stuck bool) {
	c := newCompiler(l.before.Policy.Issuers)
	guilty := map[string]strictyaml.Errors{}
	for _, candidate := range l.use {
		src, errs := readSource(candidate.file)
		if src == nil {
			guilty[candidate.file.Name] = errs
			continue
		}
		src.changed = !bytes.Equal(candidate.file.Data, l.before.good[candidate.file.Name])
		c.sources = append(c.sources, src)
	}
	if len(guilty) == 0 {
		policy = c.compile()
		for _, err := range c.errors() {
			guilty[err.File] = append(guilty[err.File], err)
		}
		if len(guilty) == 0 {
			return policy, false
		}
	}
	if !l.anyChanged() {
		maps.Copy(l.errors, guilty)
		return nil, true
	}
	l.setAside(guilty)
	return nil, false
}

// setAside sends guilty files back. Where only unchanged files complain, a change elsewhere took something from them that is no
// issuer: then every changed file goes back, with that complaint.
func (l *loader) setAside(guilty map[string]strictyaml.Errors) {
	var complaint strictyaml.Errors
	freshGuilt := false
	for _, candidate := range l.use {
		if errs := guilty[candidate.file.Name]; len(errs) > 0 {
			complaint = append(complaint, errs...)
			freshGuilt = freshGuilt || l.changed(candidate)
		}
	}
	for i := range l.use {
		c := &l.use[i]
		errs := guilty[c.file.Name]
		if len(errs) == 0 && !freshGuilt {
			errs = complaint
		}
		if len(errs) > 0 && l.changed(*c) {
			l.errors[c.file.Name] = append(l.errors[c.file.Name], errs...)
			c.file.Data, c.fresh = l.before.good[c.file.Name], false
		}
	}
	l.use = slices.DeleteFunc(l.use, func(c candidate) bool { return !c.fresh && c.file.Data == nil })
}

func (l *loader) changed(c candidate) bool {
	return c.fresh && !bytes.Equal(c.file.Data, l.before.good[c.file.Name])
}

func (l *loader) anyChanged() bool { return slices.ContainsFunc(l.use, l.changed) }

func (l *loader) snapshot(policy *Policy, files []File) *Snapshot {
	s := &Snapshot{Policy: policy, good: map[string][]byte{}}
	for _, c := range l.use {
		s.good[c.file.Name] = c.file.Data
	}
	if policy == l.before.Policy {
		s.good = maps.Clone(l.before.good)
	}
	for _, file := range files {
		state := FileState{Name: file.Name, Errors: l.errors[file.Name]}
		_, state.LastGood = s.good[file.Name]
		state.LastGood = state.LastGood && !state.OK()
		s.Files = append(s.Files, state)
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
