package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Stdout is the destination name of the standard output.
const Stdout = "stdout"

// File is where a log is written: a file, or the standard output. It is safe for concurrent use.
type File struct {
	path     string // "" is the standard output
	rotation Rotation

	mu   sync.Mutex
	f    *os.File
	size int64 // of a regular file
	// unsettled is why lines of before may not be durable; the next Sync returns it.
	unsettled error
	failed    time.Time // when it could not be set aside; zero if it could
}

// Open opens a destination: Stdout, or the path of a file. A file is appended to; a new one can be read by its owner only. A regular file
// is locked until it is closed, and one that another process has locked so is refused.
func Open(dest string) (*File, error) {
	switch dest {
	case "":
		return nil, errors.New("audit: open: no destination")
	case Stdout:
		return &File{f: os.Stdout}, nil
	}
	f, size, err := openAppend(dest)
	if err != nil {
		return nil, err
	}
	return &File{path: dest, f: f, size: size}, nil
}

// Write appends whole lines. Where somebody has removed the file it begins a new one under the path, in which the sequence shows what went
// with the old one. If a regular file takes a part only (the disk is full), what stands of a line that is not
// whole is cut off again, and the result says how many bytes of whole lines were kept.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return 0, fmt.Errorf("audit: write: %w", os.ErrClosed)
	}
	if err := f.refoundLocked(); err != nil {
		return 0, err
	}
	f.rotateLocked(len(p))
	n, err := f.f.Write(p)
	if err == nil {
		f.size += int64(n)
		return n, nil
	}
	whole := bytes.LastIndexByte(p[:n], '\n') + 1
	if f.cutLocked(n-whole) == nil {
		n = whole
	}
	f.size += int64(n)
	return n, fmt.Errorf("audit: write: %w", err)
}

// refoundLocked begins a new file in the place of one that was removed: into one without a name lines would be written, and vouched for, in
// vain. The caller holds mu.
func (f *File) refoundLocked() error {
	if f.path == "" {
		return nil
	}
	info, err := f.f.Stat()
	if err != nil || !removed(info) {
		return nil //nolint:nilerr // what is wrong with the file, the write will say
	}
	fresh, size, err := openAppend(f.path)
	if err != nil {
		return fmt.Errorf("audit: write: the file was removed: %w", err)
	}
	return f.swapLocked(fresh, size)
}

// cutLocked takes the last n bytes off a regular file. The caller holds mu.
func (f *File) cutLocked(n int) error {
	if n == 0 {
		return nil
	}
	info, err := f.f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("audit: not a regular file")
	}
	return f.f.Truncate(info.Size() - int64(n))
}

// Reopen opens the path anew, after a rotation has moved the old file away. What stands in the old one is durable then. If that fails, the
// old file stays in use. For the standard output, and where the file in use still stands under the path, it opens nothing.
func (f *File) Reopen() error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return fmt.Errorf("audit: open: %w", os.ErrClosed)
	}
	return f.reopenLocked()
}

// reopenLocked goes on in what stands under the path now, or in a new file. The caller holds mu.
func (f *File) reopenLocked() error {
	if err := f.settleLocked(); err != nil {
		return err
	}
	if named, err := f.namedLocked(); named && err == nil {
		return nil
	}
	fresh, size, err := openAppend(f.path)
	if err != nil {
		return err
	}
	f.failed = time.Time{}
	return f.swapLocked(fresh, size)
}

// settleLocked makes durable what stands in a regular file, before another takes its place: whoever waits for a Sync waits for these lines
// too, and it will see the other file only. A system may tell of lines that it could not keep just once, so the failure is also that Sync's.
func (f *File) settleLocked() error {
	info, err := f.f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = f.f.Sync()
	}
	if err != nil {
		f.unsettled = fmt.Errorf("audit: sync: %w", err)
		return f.unsettled
	}
	return nil
}

// swapLocked puts a fresh file in the place of the one in use.
func (f *File) swapLocked(fresh *os.File, size int64) error {
	old := f.f
	f.f, f.size = fresh, size
	if err := old.Close(); err != nil {
		return fmt.Errorf("audit: close the rotated file: %w", err)
	}
	return nil
}

// Close closes a file; the standard output stays open. A second Close does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil || f.path == "" {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	if err != nil {
		return fmt.Errorf("audit: close: %w", err)
	}
	return nil
}
