//go:build linux || darwin

package audit

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
)

// Free is how many bytes the file's disk has left for this process, as the system tells (statfs).
func (f *File) Free() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		return 0, fmt.Errorf("audit: free space: %w", os.ErrClosed)
	}
	var disk syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.f.Fd()), &disk); err != nil {
		return 0, fmt.Errorf("audit: free space: %w", err)
	}
	return bytesOf(disk.Bavail, uint64(disk.Bsize)), nil //nolint:unconvert // of another type on each system
}

// removed says that a file no longer has any name, so that what is written to it goes with the process.
func removed(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && stat.Nlink == 0
}

// lock takes the file for this process alone, until it is closed. Only a system that cannot lock (some network disks) lets two have it.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errInUse
	}
	return nil
}

// bytesOf is how many bytes so many blocks are, as far as a number goes.
func bytesOf(blocks, size uint64) int64 {
	if size > 0 && blocks > math.MaxInt64/size {
		return math.MaxInt64
	}
	return int64(blocks * size)
}
