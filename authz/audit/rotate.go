package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Rotation says when a file is set aside, and how many of those are kept. The zero value sets none aside.
type Rotation struct {
	// Size is how many bytes a file holds at most, unless a single write is larger; 0 is any number.
	Size int64
	// Keep is how many files are kept beside the one that is written, as PATH.1 (the latest) to PATH.Keep; at least 1 where Size is set.
	Keep int
	// Observe, if set, is told of every rotation, with what kept it from being one. The lines are then written where they were before, and
	// the next attempt is a minute later.
	Observe func(error)
}

// OpenRotated opens the path of a file as [Open] does, and sets it aside by itself.
func OpenRotated(path string, r Rotation) (*File, error) {
	if r.Size > 0 && r.Keep < 1 {
		return nil, errors.New("audit: a file that is set aside must be kept: at least 1")
	}
	if r.Size > 0 && path == Stdout {
		return nil, errors.New("audit: the standard output cannot be rotated")
	}
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	if r.Size > 0 && !f.Durable() {
		return nil, errors.Join(fmt.Errorf("audit: %s is no regular file, which could be set aside", path), f.Close())
	}
	f.rotation = r
	return f, nil
}

// retryRotation is how long a file grows on after it could not be set aside.
const retryRotation = time.Minute

// rotateLocked sets the file aside if n more bytes would make it too large. The caller holds mu.
func (f *File) rotateLocked(n int) {
	if f.rotation.Size <= 0 || f.size == 0 || f.size+int64(n) <= f.rotation.Size {
		return
	}
	if !f.failed.IsZero() && time.Since(f.failed) < retryRotation {
		return
	}
	f.failed = time.Time{}
	err := f.shiftLocked()
	if err != nil {
		f.failed = time.Now()
	}
	if f.rotation.Observe != nil {
		f.rotation.Observe(err)
	}
}

// shiftLocked renames PATH.1 to PATH.2 and so on, and PATH to PATH.1, and puts a new file in its place, which is made first. Each name is
// one rename, from the oldest on: whatever this is interrupted by, no file but the oldest is lost. If PATH is not the file in use, somebody
// else has set that aside, and what is kept is left alone.
func (f *File) shiftLocked() error {
	if err := f.settleLocked(); err != nil {
		return err // a file that is set aside is on disk
	}
	if named, err := f.namedLocked(); err != nil {
		return fmt.Errorf("audit: rotate: %w", err)
	} else if !named {
		return f.reopenLocked()
	}
	next := f.path + ".new"
	fresh, err := create(next)
	if err != nil {
		return fmt.Errorf("audit: rotate: %w", err)
	}
	if err := f.renameLocked(next); err != nil {
		_ = os.Remove(next)
		return errors.Join(fmt.Errorf("audit: rotate: %w", err), fresh.Close()) // the file in use stays so, whatever it is called
	}
	syncFolder(f.path)
	return f.swapLocked(fresh, 0)
}

// namedLocked says whether the file in use still stands under its path.
func (f *File) namedLocked() (bool, error) {
	used, err := f.f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(used, there), err
}

// renameLocked does the renames of a rotation. Files beyond the first free name stay where they are: an attempt that goes on after one that
// failed half way does not shift them again, and off the end.
func (f *File) renameLocked(next string) error {
	name := func(i int) string { return f.path + "." + strconv.Itoa(i) }
	free := 1
	for ; free < f.rotation.Keep; free++ {
		if _, err := os.Lstat(name(free)); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	for i := free; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil {
			return err
		}
	}
	if err := os.Rename(f.path, name(1)); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}

// create makes a file to append to. An empty one in its place is what a process left that was killed.
func create(path string) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		_ = os.Remove(path) // if it stays, the next call says so
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// errInUse says that another process, or another log of this one, writes the file: their lines would have two counts, and each would set
// aside what the other writes.
var errInUse = errors.New("another process writes this file: each log needs one of its own")

// take has a regular file for this log alone. That it is still the one under its path is looked at behind the lock: whoever had it may have
// set it aside meanwhile.
func take(f *os.File, path string, opened os.FileInfo) error {
	if err := lock(f); err != nil {
		return fmt.Errorf("audit: open %s: %w", path, err)
	}
	there, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("audit: open: %w", err)
	}
	if !os.SameFile(opened, there) {
		return fmt.Errorf("audit: open %s: it was set aside meanwhile", path)
	}
	return nil
}

// Sync makes durable what was written. What is no regular file has nothing to make durable, which is an error.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return fmt.Errorf("audit: sync: %w", os.ErrClosed)
	}
	if err := f.unsettled; err != nil {
		f.unsettled = nil
		return err
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("audit: sync: %w", err)
	}
	return nil
}

// Durable says whether Sync can hold what it promises: on a regular file, and not on a pipe or a terminal.
func (f *File) Durable() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return false
	}
	info, err := f.f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// openAppend opens a file to append to. The last line of a process that was killed may be torn: it is ended, so that it spoils no other.
func openAppend(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrPermission) {
		f, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) // a pipe, or a file that this process may not read
	}
	if err != nil {
		return nil, 0, fmt.Errorf("audit: open: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, 0, errors.Join(fmt.Errorf("audit: open: %w", err), f.Close())
	case !info.Mode().IsRegular():
		return f, 0, nil
	}
	if err := take(f, path, info); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	size := info.Size()
	if size == 0 {
		syncFolder(path)
		return f, 0, nil
	}
	var last [1]byte
	if n, _ := f.ReadAt(last[:], size-1); n == 1 && last[0] != '\n' {
		n, _ = f.Write([]byte{'\n'}) // if the disk is full, the next write says so
		size += int64(n)
	}
	return f, size, nil
}

// syncFolder makes the name of a new file durable, where the system can.
func syncFolder(path string) {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return
	}
	defer folder.Close()
	_ = folder.Sync()
}
