package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plant makes files, folders on the way, and links ("path -> target").
func plant(t *testing.T, root string, entries ...string) {
	t.Helper()
	for _, entry := range entries {
		path, target, link := strings.Cut(entry, " -> ")
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if link {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(filepath.Base(path)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// What of a runtime folder counts.
func TestTreeRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		keep  func(string) bool
		want  []string
	}{
		{"at any depth, whatever the name ends in", []string{"a.yaml", "sub/b", "sub/deep/c.txt"}, nil, []string{"a.yaml", "sub/b", "sub/deep/c.txt"}},
		{"a ConfigMap's files once, by their links", []string{"..2026/a.yaml", "..data -> ..2026", "a.yaml -> ..data/a.yaml"}, nil, []string{"a.yaml"}},
		{"no link to a folder, none to nothing", []string{"a", "dir/b", "more -> dir", "gone -> nowhere"}, nil, []string{"a", "dir/b"}},
		{"what is kept", []string{"config/a", "config.yaml", "other/b"}, func(rel string) bool { return strings.HasPrefix(rel, "config") }, []string{"config/a", "config.yaml"}},
		{"nothing is an error", nil, nil, nil},
		{"nothing that counts is an error", []string{"a"}, func(string) bool { return false }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			real, root := filepath.Join(base, "real"), filepath.Join(base, "root")
			if err := os.Mkdir(real, 0o700); err != nil {
				t.Fatal(err)
			}
			plant(t, real, tt.files...)
			if err := os.Symlink(real, root); err != nil {
				t.Fatal(err)
			}
			files, err := Tree{Root: root, Keep: tt.keep}.Read()
			if tt.want == nil {
				if err == nil || !strings.Contains(err.Error(), "no file that counts") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range files {
				got = append(got, strings.TrimPrefix(f.Name, root+"/"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, err := (Tree{Root: filepath.Join(t.TempDir(), "none")}).Read(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a root that is not there: %v", err)
	}
}

// Swapping the link that the root is, or that stands above it, is one change; taking every file away is none, and is told.
func TestTreeFollowsASwappedLink(t *testing.T) {
	base := t.TempDir()
	plant(t, base, "one/sub/limits.yaml", "two/sub/other.yaml", "empty/sub/.keep", "current -> one")
	current := filepath.Join(base, "current")
	seen := make(chan string, 10)
	tree := Tree{Root: filepath.Join(current, "sub"), Links: []string{current}, Keep: func(rel string) bool { return !strings.HasPrefix(rel, ".") }}
	g := startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		if err := d.WatchTree(tree, func(files []File) error { seen <- filepath.Base(files[0].Name); return nil }); err != nil {
			t.Fatal(err)
		}
	})
	swap := func(to string) {
		t.Helper()
		next := filepath.Join(base, "next")
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, current); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-seen; got != "limits.yaml" {
		t.Fatalf("loaded %s", got)
	}
	swap("two")
	if got := <-seen; got != "other.yaml" {
		t.Fatalf("loaded %s", got)
	}
	swap("empty")
	eventually(t, "the loss is told", func() bool {
		_, body := page(t, g, "GET", "/readyz")
		return strings.Contains(body, "what was in force stays in force") && strings.Contains(body, "no file that counts")
	})
	if len(seen) != 0 {
		t.Errorf("an empty folder was taken: %s", <-seen)
	}
}

// A folder that may come later ends no start, and is used once it is there.
func TestTreeThatIsTried(t *testing.T) {
	base := t.TempDir()
	seen := make(chan string, 10)
	startGate(t, Config{}, func(d *Daemon) {
		register(d.Server, echo)
		d.TryTree(Tree{Root: filepath.Join(base, "config")}, func(files []File) error { seen <- filepath.Base(files[0].Name); return nil })
	})
	plant(t, base, "config/a.yaml")
	if got := <-seen; got != "a.yaml" {
		t.Errorf("loaded %s", got)
	}
}
