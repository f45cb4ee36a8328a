package limits

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Source is one limits file as it is found: its name and its bytes, or why it could not be read.
type Source struct {
	Name string
	Data []byte
	Err  error
	// Config is the file as values, where it did not come as text; Data is then what they were decoded from, and only tells one
	// version of it from another.
	Config *Config
}

func (s Source) decode() (*File, strictyaml.Errors) {
	if s.Config != nil {
		return Compose(s.Name, s.Config)
	}
	return Decode(s.Name, s.Data)
}

// Snapshot is a folder of limits files as it is in force. The unit is the file: one that is bad keeps its last good version, and the
// others load. A Snapshot is immutable.
type Snapshot struct {
	// Table is nil only where no file ever was good.
	Table *Table
	// Files in the order of their names.
	Files []FileState

	good map[string]loaded
}

type loaded struct {
	data []byte
	file *File
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

// Errors are those of all files.
func (s *Snapshot) Errors() strictyaml.Errors {
	var all strictyaml.Errors
	for _, file := range s.Files {
		all = append(all, file.Errors...)
	}
	return all
}

// candidate is the version of a file that is being tried.
type candidate struct {
	loaded
	name string
	// moved says that the version takes what the one before did not have, and another file may: a domain, or where files of one
	// domain are merged any descriptor.
	moved  bool
	errors strictyaml.Errors
}

// Load takes the files of a folder as they are now. It keeps what it must of the snapshot before, which is nil at the start. A folder
// that has lost all its files keeps everything: without limits everything would pass, and nobody asks for that by removing a file.
func Load(before *Snapshot, sources []Source) *Snapshot {
	return LoadWith(before, sources, BuildOptions{})
}

// LoadWith is [Load] with options, which must be those of the snapshot before.
func LoadWith(before *Snapshot, sources []Source, o BuildOptions) *Snapshot {
	if before == nil {
		before = &Snapshot{}
	}
	candidates := make([]*candidate, len(sources))
	for i, source := range sources {
		candidates[i] = read(before, source, o)
	}
	for {
		settledFirst(candidates)
		table, errs := BuildWith(files(candidates), o)
		if len(errs) == 0 {
			return snapshot(table, candidates)
		}
		if !sendBack(before, candidates, errs) {
			// Not one file has a version to serve, so no candidate is without an error of its own here.
			kept := snapshot(before.Table, candidates)
			kept.good = before.good
			if len(sources) == 0 {
				kept.Files = []FileState{{Name: errs[0].File, Errors: errs, LastGood: before.Table != nil}}
			}
			return kept
		}
	}
}

// settledFirst puts the files that keep what they had before those that take something, so that a second file of one domain is the
// error of the one that took it. What was sent back counts as settled: the last good versions never contradict each other, so the
// loop ends with those at the latest.
func settledFirst(candidates []*candidate) {
	slices.SortFunc(candidates, func(a, b *candidate) int {
		if a.moved != b.moved {
			if b.moved {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.name, b.name)
	})
}

// read decodes one file, or falls back to its last good version.
func read(before *Snapshot, source Source, o BuildOptions) *candidate {
	good, known := before.good[source.Name]
	if source.Err != nil {
		return &candidate{loaded: good, name: source.Name, errors: strictyaml.Errors{{File: source.Name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: source.Err.Error()}}}
	}
	if known && bytes.Equal(good.data, source.Data) {
		return &candidate{loaded: good, name: source.Name}
	}
	file, errs := source.decode()
	if len(errs) > 0 {
		return &candidate{loaded: good, name: source.Name, errors: errs}
	}
	return &candidate{loaded: loaded{source.Data, file}, name: source.Name, moved: o.MergeDomains || !known || good.file.Domain != file.Domain}
}

// sendBack returns the moved files that errs are about to their last good versions, or out. False: there is none to send.
func sendBack(before *Snapshot, candidates []*candidate, errs strictyaml.Errors) bool {
	sent := false
	for _, c := range candidates {
		if !c.moved {
			continue
		}
		for _, err := range errs {
			if err.File == c.name {
				c.errors = append(c.errors, err)
			}
		}
		if len(c.errors) > 0 {
			c.loaded, c.moved = before.good[c.name], false
			sent = true
		}
	}
	return sent
}

func files(candidates []*candidate) []*File {
	var files []*File
	for _, c := range candidates {
		if c.file != nil {
			files = append(files, c.file)
		}
	}
	return files
}

func snapshot(table *Table, candidates []*candidate) *Snapshot {
	s := &Snapshot{Table: table, good: map[string]loaded{}}
	for _, c := range candidates {
		if c.file != nil {
			s.good[c.name] = c.loaded
		}
		s.Files = append(s.Files, FileState{Name: c.name, Errors: c.errors, LastGood: len(c.errors) > 0 && c.file != nil})
	}
	slices.SortFunc(s.Files, func(a, b FileState) int { return cmp.Compare(a.Name, b.Name) })
	return s
}
