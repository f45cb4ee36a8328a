package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a folder whose files count at any depth, as envoyproxy/ratelimit reads its runtime folder: whatever their names end in.
// What begins with two dots is the kubelet's own and never counts: the files that a ConfigMap's `..data` holds are linked beside it,
// and would count twice. The root may be a link, and is resolved at each read, so that swapping it is one change; links to
// files are followed, links to folders below the root are not.
type Tree struct {
	// Root is the folder.
	Root string
	// Keep says whether a file counts, by its path below Root with slashes; nil keeps every one.
	Keep func(rel string) bool
	// Links are Root and paths above it that may be swapped, or come later: a look follows when one does.
	Links []string
}

// Read reads the files that count, sorted by name, each named by its path under Root. The error means that there is nothing to
// speak of: no such folder, no file that counts, or more than MaxFolderBytes.
func (t Tree) Read() ([]File, error) {
	root, err := filepath.EvalSymlinks(t.Root)
	if err != nil {
		return nil, fmt.Errorf("daemon: read files: %w", err)
	}
	total := 0
	var files []File
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil && path == root:
			return err
		case err != nil:
			files = append(files, File{Name: t.name(root, path), Err: err})
			return nil
		case path != root && strings.HasPrefix(entry.Name(), ".."):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir() || !t.counts(root, path):
			return nil
		}
		data, err := readCapped(path)
		if total += len(data); total > MaxFolderBytes {
			return fmt.Errorf("%s holds more than %d MiB of files", t.Root, MaxFolderBytes>>20)
		}
		files = append(files, File{Name: t.name(root, path), Data: data, Err: err})
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("daemon: read files: %w", err)
	case len(files) == 0:
		return nil, fmt.Errorf("daemon: read files: the folder %s holds no file that counts", t.Root)
	}
	return files, nil
}

// name is a file's path as the operator would type it, whatever the root is a link to.
func (t Tree) name(root, path string) string {
	return filepath.Join(t.Root, strings.TrimPrefix(path, root))
}

// counts says whether a file counts. A link to a folder is none.
func (t Tree) counts(root, path string) bool {
	rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(path, root), string(filepath.Separator)))
	if t.Keep != nil && !t.Keep(rel) {
		return false
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // a link to nothing is a file that is not there
	}
	info, err := os.Lstat(target)
	return err != nil || !info.IsDir()
}

// relevant says whether an event is about the root, something directly in it, or one of the links above it. What changes deeper is
// found by the beat.
func (t Tree) relevant(event string) bool {
	return event == t.Root || filepath.Dir(event) == t.Root || slices.Contains(t.Links, event)
}

// WatchTree is [Daemon.WatchFiles] for a Tree.
func (d *Daemon) WatchTree(t Tree, changed func([]File) error) error {
	w := d.treeWatcher(t, changed, "what was in force stays in force")
	if err := w.Load(); err != nil {
		return err
	}
	d.Task("files "+t.Root, w.Run)
	return nil
}

// TryTree is [Daemon.TryFiles] for a Tree.
func (d *Daemon) TryTree(t Tree, changed func([]File) error) {
	w := d.treeWatcher(t, changed, "nothing of it is used")
	w.look()
	w.Report = d.reporter("files:"+t.Root, "what was used stays in use")
	d.Task("files "+t.Root, w.Run)
}

func (d *Daemon) treeWatcher(t Tree, changed func([]File) error, kept string) *FileWatcher {
	return &FileWatcher{Path: t.Root, Tree: &t, Changed: changed, now: d.hangup.look(), Report: d.reporter("files:"+t.Root, kept)}
}
