package revocation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultPoll is how often a [File] looks at its file.
	DefaultPoll = 250 * time.Millisecond
	// maxFile is the most that is read, in bytes: more than a million entries.
	maxFile = 256 << 20
	// halfGrace is how long a line without an end may stand, and grow: somebody may be writing it.
	halfGrace = 2 * time.Second
)

// FileOptions configure a [File]; the zero value is usable.
type FileOptions struct {
	// Leeway is [NewView]'s.
	Leeway func(iss string) time.Duration
	// Poll is how often the file is looked at; zero means DefaultPoll.
	Poll time.Duration
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// File is a [Store] in a file that one process follows: one entry a line, in JSON, for a single node. Others may append whole
// lines, or replace the file by one without its expired lines. An entry that vanishes while it is in force, or was minutes ago, is
// written again. A line that cannot be read may be a revocation, so the view is not fresh while there is one; the other lines hold.
// Nor is it fresh while others than the file's owner may write it. It is safe for concurrent use.
type File struct {
	path   string
	poll   time.Duration
	now    func() time.Time
	view   *View
	status status

	mu sync.Mutex // held while the file is written
	// again says that the file must be compared with the view from its beginning: either may hold an entry that the other lacks.
	again atomic.Bool

	// The rest belongs to Run.
	seen  fs.FileInfo // nil before the first look
	read  whole
	half  halfLine
	found error // what the last reading found wrong
}

// whole is what was read of the file: its lines up to the last newline.
type whole struct {
	sum   [sha256.Size]byte
	size  int
	lines int
}

// halfLine is a line without an end.
type halfLine struct {
	waits bool
	begin int       // where in the file it begins: from there on it is one line, however it grows
	since time.Time // when it was first seen
}

// NewFile makes a store in the file at path. It opens nothing; Run makes the file, for its owner alone, if there is none.
func NewFile(path string, o FileOptions) (*File, error) {
	if path == "" {
		return nil, errors.New("revocation: no file")
	}
	f := &File{path: path, poll: o.Poll, now: o.Now, view: NewView(o.Leeway)}
	if f.poll <= 0 {
		f.poll = DefaultPoll
	}
	if f.now == nil {
		f.now = time.Now
	}
	return f, nil
}

// View implements [Store].
func (f *File) View() *View { return f.view }

// Health implements [Store].
func (f *File) Health() (ok bool, text string) { return f.status.tell(f.view, f.now()) }

// Revoke implements [Store]. A nil error means that the entry is on the disk.
func (f *File) Revoke(ctx context.Context, e Entry) error {
	now := f.now()
	if err := e.mayWrite(now); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		err = f.write(append(encode(e), '\n'))
	}
	f.view.Apply(now, e)
	if err != nil {
		f.again.Store(true)
		return fmt.Errorf("revocation file: %w (the entry holds in this process, and is written when that works again)", err)
	}
	return nil
}

// Run implements [Store].
func (f *File) Run(ctx context.Context) error {
	tick := time.NewTicker(f.poll)
	defer tick.Stop()
	swept := f.now()
	for {
		f.step()
		if now := f.now(); now.Sub(swept) >= sweepEvery || swept.After(now) {
			f.view.Sweep(now)
			swept = now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// step is one look at the file.
func (f *File) step() {
	at := f.now()
	if f.view.rewound(at) {
		f.again.Store(true)
	}
	err := f.look(at)
	if err != nil {
		err = fmt.Errorf("revocation file: %w", err)
	} else {
		f.view.Fresh(at)
	}
	f.status.note(err)
}

// look reads what is new in the file. An error says what is wrong with it as it stands.
func (f *File) look(at time.Time) error {
	file, err := f.open()
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", f.path)
	}
	shared := f.shared(info)
	if f.unchanged(info) {
		return errors.Join(shared, f.found)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s is larger than %d MiB: drop the lines whose until has long passed", f.path, maxFile>>20)
	}
	f.found = f.take(data, at)
	f.seen = info
	return errors.Join(shared, f.found)
}

// shared says that others than the owner may write the file. What they add is taken, since to deny is safe; what they take away
// would be missed at the next start.
func (f *File) shared(info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 == 0 {
		return nil
	}
	return fmt.Errorf("%s can be written by others than its owner: chmod go-w", f.path)
}

// open opens the file, and makes it where it has never been: once seen, a file that is gone is an error.
func (f *File) open() (*os.File, error) {
	file, err := os.Open(f.path)
	if f.seen == nil && errors.Is(err, fs.ErrNotExist) {
		if err := f.write(nil); err != nil {
			return nil, err
		}
		return os.Open(f.path)
	}
	return file, err
}

func (f *File) unchanged(info fs.FileInfo) bool {
	return f.seen != nil && os.SameFile(f.seen, info) && f.seen.Size() == info.Size() && f.seen.ModTime().Equal(info.ModTime()) &&
		!f.half.waits && !f.again.Load()
}

// take applies the content of the file: what follows the lines that were read before, or all of it where those have changed or
// were not all good.
func (f *File) take(data []byte, at time.Time) error {
	rest := data
	if f.found == nil && f.read.size > 0 && !f.again.Load() && len(data) >= f.read.size && sha256.Sum256(data[:f.read.size]) == f.read.sum {
		rest = data[f.read.size:]
	} else {
		f.read = whole{}
		f.again.Store(false)
	}
	all := f.read.size == 0
	got := parse(rest, f.read.lines)
	f.view.Apply(at, got.entries...)
	end := len(data) - len(got.half)
	f.read = whole{sum: sha256.Sum256(data[:end]), size: end, lines: got.lines}
	err := errors.Join(got.err, f.judgeHalf(got, at))
	if all {
		err = errors.Join(err, f.reassert(got.entries, at))
	}
	return err
}

// judgeHalf looks at what stands behind the last newline and is no entry. It may wait a while for its end.
func (f *File) judgeHalf(got parsed, at time.Time) error {
	if !got.waits {
		f.half = halfLine{}
		return nil
	}
	if !f.half.waits || f.half.begin != f.read.size || f.half.since.After(at) {
		f.half = halfLine{waits: true, begin: f.read.size, since: at}
	}
	if at.Sub(f.half.since) < halfGrace {
		return nil
	}
	return fmt.Errorf("line %d has no end: complete it, or remove it", got.lines+1)
}

// reassert writes again what the view holds and the file does not.
func (f *File) reassert(held []Entry, at time.Time) error {
	there := make(map[key]mark, len(held))
	for i := range held {
		k, got := held[i].mark()
		there[k] = there[k].merge(got)
	}
	var lost []byte
	for k, got := range f.view.entries(at) {
		if m := there[k]; m.merge(got) != m {
			lost = append(append(lost, encode(k.entry(got))...), '\n')
		}
	}
	if lost == nil {
		return nil
	}
	err := f.write(lost)
	if err != nil {
		f.again.Store(true)
	}
	return err
}

// parsed is what some lines hold.
type parsed struct {
	entries []Entry
	lines   int    // whole lines, with those before
	half    []byte // what follows the last newline
	waits   bool   // half is not an entry
	err     error  // of the first line that is none
}

// parse reads the lines of data, which follow the first `before` lines. The last line may lack its newline if it is an entry
// as it stands: no beginning of an entry is one.
func parse(data []byte, before int) parsed {
	p := parsed{lines: before}
	bad := 0
	for {
		text, rest, ended := bytes.Cut(data, []byte{'\n'})
		if !ended {
			break
		}
		data = rest
		p.lines++
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		e, err := decode(text)
		if err != nil {
			if bad++; bad == 1 {
				p.err = fmt.Errorf("line %d: %w", p.lines, err)
			}
			continue
		}
		p.entries = append(p.entries, e)
	}
	if bad > 1 {
		p.err = fmt.Errorf("%w, and %d more lines", p.err, bad-1)
	}
	p.half = data
	if len(bytes.TrimSpace(data)) > 0 {
		e, err := decode(data)
		if p.waits = err != nil; !p.waits {
			p.entries = append(p.entries, e)
		}
	}
	return p
}

// write appends lines to the file and returns when they are on the disk. What it could not write whole it takes back.
func (f *File) write(lines []byte) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, statErr := os.Stat(f.path)
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := appendLines(file, info.Size(), lines); err != nil {
		return errors.Join(err, file.Truncate(info.Size()))
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		return syncFolder(filepath.Dir(f.path))
	}
	return nil
}

// appendLines begins a line of its own, whatever stands at the end of the file.
func appendLines(file *os.File, size int64, lines []byte) error {
	last := []byte{'\n'}
	if size > 0 {
		if _, err := file.ReadAt(last, size-1); err != nil {
			return err
		}
	}
	if last[0] != '\n' && len(lines) > 0 {
		lines = append([]byte{'\n'}, lines...)
	}
	if _, err := file.Write(lines); err != nil {
		return err
	}
	return file.Sync()
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
