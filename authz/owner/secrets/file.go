package secrets

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// File is what a file holds, as the last version that could be read says it. Reading it costs nothing but a load: whoever has it looks now and
// then whether the file changed. It is safe for concurrent use.
type File[T any] struct {
	path  string
	parse func([]byte) (T, error)
	value atomic.Pointer[T]

	mu    sync.Mutex
	stamp stamp
}

// NewFile is the file at path, which is not opened yet. What parse says of a bad version holds nothing of it that is secret.
func NewFile[T any](path string, parse func([]byte) (T, error)) *File[T] {
	return &File[T]{path: path, parse: parse}
}

// Path is the file's.
func (f *File[T]) Path() string { return f.path }

// Value is what the last good version says; false before the first.
func (f *File[T]) Value() (value T, ok bool) {
	if p := f.value.Load(); p != nil {
		return *p, true
	}
	return value, false
}

// Refresh reads the file if it changed, and says whether another version is good now. An error leaves the last good one, and the file is read
// again the next time. It costs a stat(2) where nothing changed.
func (f *File[T]) Refresh() (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := stampOf(f.path)
	if err != nil {
		return false, err
	}
	if now.same(f.stamp) {
		return false, nil
	}
	data, err := read(f.path)
	if err != nil {
		return false, err
	}
	value, err := f.parse(data)
	if err != nil {
		return false, fmt.Errorf("secrets: %s: %w", f.path, err)
	}
	f.value.Store(&value)
	f.stamp = now
	return true, nil
}
