package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Rotation says when a file is set aside, and how many of those are kept. The zero value sets none aside.
type Rotation struct {
	// Size is how many bytes a file holds at most, unless a single write is larger; 0 is any number.
	Size int64
	// Keep is how many files are kept beside the one that is written, as PATH.1 (the latest) to PATH.Keep; at least 1 where Size is set.
	Keep int
	// Observe, if set, is told of every rotation, with what kept it from being one. The lines are then written where they were before.
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

// rotateLocked sets the file aside if n more bytes would make it too large. The caller holds mu.
func (f *File) rotateLocked(n int) {
	if f.rotation.Size <= 0 || f.size == 0 || f.size+int64(n) <= f.rotation.Size {
		return
	}
	err := f.shiftLocked()
	if f.rotation.Observe != nil {
		f.rotation.Observe(err)
	}
}

// shiftLocked renames PATH.1 to PATH.2 and so on, and PATH to PATH.1, and begins a new file. Each name is one rename, from the oldest on:
// whatever this is interrupted by, no file but the oldest is lost.
func (f *File) shiftLocked() error {
	if err := f.settleLocked(); err != nil {
		return err // a file that is set aside is on disk
	}
	name := func(i int) string { return f.path + "." + strconv.Itoa(i) }
	for i := f.rotation.Keep; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("audit: rotate: %w", err)
		}
	}
	if err := os.Rename(f.path, name(1)); err != nil {
		return fmt.Errorf("audit: rotate: %w", err)
	}
	fresh, size, err := openAppend(f.path)
	if err != nil {
		return err // the file that was renamed stays in use
	}
	return f.swapLocked(fresh, size)
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
	case info.Size() == 0:
		syncFolder(path)
		return f, 0, nil
	}
	size := info.Size()
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
