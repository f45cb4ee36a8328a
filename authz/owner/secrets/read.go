package secrets

import (
	"fmt"
	"io"
	"os"
	"time"
)

// maxBytes bounds a file: a bundle of every public root is a quarter of it.
const maxBytes = 1 << 20

// stamp tells one version of a file from another without reading it. Those who replace files by rename or by a symbolic link, as
// Kubernetes does, change the inode and with it at least one of these.
type stamp struct {
	changed time.Time
	size    int64
	file    os.FileInfo
}

func (s stamp) same(t stamp) bool {
	return s.file != nil && t.file != nil && s.changed.Equal(t.changed) && s.size == t.size && os.SameFile(s.file, t.file)
}

func stampOf(path string) (stamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, fmt.Errorf("secrets: %w", err)
	}
	// A pipe or a device could block the question, or never end.
	if !info.Mode().IsRegular() {
		return stamp{}, fmt.Errorf("secrets: %s is not a regular file", path)
	}
	return stamp{changed: info.ModTime(), size: info.Size(), file: info}, nil
}

func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("secrets: %s is larger than %d bytes", path, maxBytes)
	}
	return data, nil
}
