package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// What a policy or limits folder may hold at most. People write these files; a bigger one is a mistake or an attack, and either
// would be parsed before anybody noticed.
const (
	// MaxFileBytes is the largest file that is read.
	MaxFileBytes = 1 << 20
	// MaxFolderBytes is the largest sum of a folder's files.
	MaxFolderBytes = 32 << 20
)

// ErrTooLarge is the File.Err of a file over MaxFileBytes.
var ErrTooLarge = errors.New("is larger than 1 MiB: split it, a folder of *.yaml files is read as one")

// stableReads is how often a folder is read before it is called unstable: two agreeing reads end the loop.
const stableReads = 6

// File is one file of a snapshot.
type File struct {
	// Name is the path as the operator would type it: the FILE given, or the DIR given joined with the entry's name.
	Name string
	// Data is the whole content. Nil when Err is set.
	Data []byte
	// Err says why this one file could not be read while others of its folder could, or wraps ErrTooLarge.
	Err error
}

type snapshot struct {
	files []File
	sum   [sha256.Size]byte
}

// ReadFiles reads FILE, or the *.yaml and *.yml files of DIR (sorted by name, no dot files, no sub-folders), as one consistent
// snapshot: a folder that changes while it is read is read again until two reads agree. The error means that there is no snapshot:
// path is absent or unreadable, a folder without such a file, more than MaxFolderBytes, or one that does not hold still. Errors
// of single files in a folder, and of a FILE that is too large, are in the snapshot.
//
// Files whose names end in one of also are read too, those in the folder and those beside FILE: data that the others speak of.
func ReadFiles(path string, also ...string) ([]File, error) {
	s, err := readStable(func() (snapshot, error) { return readOnce(path, also) })
	return s.files, err
}

func readStable(read func() (snapshot, error)) (snapshot, error) {
	last, err := read()
	for range stableReads - 1 {
		next, nextErr := read()
		if (err == nil) == (nextErr == nil) && last.sum == next.sum {
			return next, nextErr
		}
		last, err = next, nextErr
	}
	if err != nil {
		return snapshot{}, err
	}
	return snapshot{}, errors.New("daemon: the files change faster than they can be read")
}

func readOnce(path string, also []string) (snapshot, error) {
	info, err := os.Stat(path)
	if err != nil {
		return snapshot{}, fmt.Errorf("daemon: read files: %w", err)
	}
	if info.IsDir() {
		files, err := readFolder(path, func(name string) bool { return wanted(name) || endsIn(name, also) })
		if err == nil && !slices.ContainsFunc(files, func(f File) bool { return wanted(filepath.Base(f.Name)) }) {
			err = fmt.Errorf("daemon: read files: the folder %s holds no *.yaml or *.yml file", path)
		}
		if err != nil {
			return snapshot{}, err
		}
		return seal(files), nil
	}
	data, err := readCapped(path)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return snapshot{}, fmt.Errorf("daemon: read files: %w", err)
	}
	files := []File{{Name: path, Data: data, Err: err}}
	if len(also) > 0 {
		beside, err := readFolder(filepath.Dir(path), func(name string) bool { return endsIn(name, also) && name != filepath.Base(path) })
		if err != nil {
			return snapshot{}, err
		}
		files = append(files, beside...)
	}
	return seal(files), nil
}

// endsIn says whether a file's name ends in one of some suffixes.
func endsIn(name string, suffixes []string) bool {
	return !strings.HasPrefix(name, ".") && slices.ContainsFunc(suffixes, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

func readFolder(path string, wanted func(name string) bool) ([]File, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("daemon: read files: %w", err)
	}
	var files []File
	total := 0
	for _, entry := range entries {
		if !wanted(entry.Name()) {
			continue
		}
		name := filepath.Join(path, entry.Name())
		data, err := readCapped(name)
		if total += len(data); total > MaxFolderBytes {
			return nil, fmt.Errorf("daemon: read files: %s holds more than %d MiB of files", path, MaxFolderBytes>>20)
		}
		files = append(files, File{Name: name, Data: data, Err: err})
	}
	return files, nil
}

// wanted says whether a folder's entry belongs to its snapshot. Dot files are editors' and the kubelet's own.
func wanted(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml"))
}

// readCapped reads a regular file of at most MaxFileBytes. It opens without blocking: a named pipe would hang the gate.
func readCapped(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("%s %w", path, ErrTooLarge)
	}
	return data, nil
}

// seal sums up a snapshot: names, contents and errors, each with its length before it, so that no two snapshots share a sum.
func seal(files []File) snapshot {
	h := sha256.New()
	put := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		_, _ = h.Write(b)
	}
	for _, f := range files {
		put([]byte(f.Name))
		put(f.Data)
		if f.Err != nil {
			put([]byte(f.Err.Error()))
		} else {
			put(nil)
		}
	}
	s := snapshot{files: files}
	h.Sum(s.sum[:0])
	return s
}

// partly marks an error of files that are in force in part.
type partly struct{ error }

// Unwrap gives errors.Is and errors.As the cause.
func (p partly) Unwrap() error { return p.error }

// Partly marks what is wrong with some files while others of the same snapshot came into force. Err says for each what is served
// instead. Nil stays nil.
func Partly(err error) error {
	if err == nil {
		return nil
	}
	return partly{err}
}

// IsPartly says whether Partly marked err.
func IsPartly(err error) bool {
	_, ok := errors.AsType[partly](err)
	return ok
}

// FileWatcher hands over a FILE or DIR whenever its content changes. The content's hash decides; file-system events only make it
// look sooner, since they are lost on some volumes and overflow on others. So a ConfigMap's symlink swap, an editor's rename and a
// touch are one change, one change and none. Load first, then Run, from one goroutine at a time.
type FileWatcher struct {
	// Path is a FILE or a DIR, read as ReadFiles does, and Also what else it reads.
	Path string
	Also []string
	// Tree is read instead of Path, if set; Path then only names it.
	Tree *Tree
	// Changed receives every new snapshot. Its error means that what was in force stays in force, or, marked by Partly, that a part
	// of the snapshot came into force; the same content is not offered again.
	Changed func([]File) error
	// Report is told each time the outcome changes: nil when what is on disk is in force, else why not, or why in part only. Load
	// reports a part only. Nil: nobody is told.
	Report func(error)
	// Interval is the time between two looks without a hint; zero is 10 s.
	Interval time.Duration
	// Debounce is how long to wait after a hint, so that the rest of the change arrives; zero is 100 ms.
	Debounce time.Duration

	now     <-chan struct{} // look at once; nil: never asked for
	hooks   watch           // ticks and hints of tests
	seen    [sha256.Size]byte
	outcome error  // what Changed said to the content that was seen last
	broken  string // the error of reading that was reported last; empty while reading works
}

// Load reads the files and offers them for the first time. A path that cannot be read at all is an ExitUnable error; an error of
// Changed is an ExitInvalid error, unless it carries a code of its own. One marked by Partly is reported and ends nothing.
func (w *FileWatcher) Load() error {
	s, err := readStable(w.read)
	if err != nil {
		return Unable(err)
	}
	w.seen = s.sum
	w.outcome = w.Changed(s.files)
	if IsPartly(w.outcome) {
		w.report(w.outcome)
		return nil
	}
	return Invalid(w.outcome)
}

// Run looks for changes until ctx ends, and then returns nil.
func (w *FileWatcher) Run(ctx context.Context) error {
	loop := w.hooks
	loop.interval, loop.debounce, loop.now = w.Interval, w.Debounce, w.now
	loop.folders, loop.relevant = w.hints()
	return loop.run(ctx, w.look)
}

// hints are the folders to watch, and which of their events mean something.
func (w *FileWatcher) hints() (folders []string, relevant func(event string) bool) {
	folders = []string{filepath.Dir(w.Path), w.Path}
	if w.Tree != nil {
		for _, link := range w.Tree.Links {
			folders = append(folders, filepath.Dir(link))
		}
		return folders, w.Tree.relevant
	}
	base := filepath.Base(w.Path)
	return folders, func(event string) bool {
		name := filepath.Base(event)
		return name == base || wanted(name) || endsIn(name, w.Also) || strings.HasPrefix(name, "..")
	}
}

// read reads once what is watched.
func (w *FileWatcher) read() (snapshot, error) {
	if w.Tree == nil {
		return readOnce(w.Path, w.Also)
	}
	files, err := w.Tree.Read()
	if err != nil {
		return snapshot{}, err
	}
	return seal(files), nil
}

func (w *FileWatcher) look() {
	s, err := w.read()
	if err != nil || s.sum != w.seen {
		// Only what is news is read twice.
		s, err = readStable(w.read)
	}
	switch {
	case err != nil:
		if w.broken != err.Error() {
			w.broken = err.Error()
			w.report(err)
		}
	case s.sum != w.seen:
		w.seen, w.broken = s.sum, ""
		w.outcome = w.Changed(s.files)
		w.report(w.outcome)
	case w.broken != "":
		w.broken = ""
		w.report(w.outcome)
	}
}

func (w *FileWatcher) report(err error) {
	if w.Report != nil {
		w.Report(err)
	}
}
