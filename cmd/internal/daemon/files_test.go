package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// contents is a snapshot as a test reads it: names without their folder, and "!" for a file that could not be read.
func contents(files []File) map[string]string {
	m := map[string]string{}
	for _, f := range files {
		m[filepath.Base(f.Name)] = string(f.Data)
		if f.Err != nil {
			m[filepath.Base(f.Name)] = "!"
		}
	}
	return m
}

// Data beside the files is read with them: in a folder, and beside a single file.
func TestReadFilesAlso(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yml", "shop.binpb", ".hidden.binpb", "notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	names := func(path string, also ...string) string {
		files, err := ReadFiles(path, also...)
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, file := range files {
			all = append(all, filepath.Base(file.Name))
		}
		return strings.Join(all, " ")
	}
	file := filepath.Join(dir, "b.yml")
	for _, test := range []struct{ got, want string }{
		{names(dir), "a.yaml b.yml"},
		{names(dir, ".binpb"), "a.yaml b.yml shop.binpb"},
		{names(file), "b.yml"},
		{names(file, ".binpb"), "b.yml shop.binpb"},
	} {
		if test.got != test.want {
			t.Errorf("read %s, want %s", test.got, test.want)
		}
	}
	only := t.TempDir()
	if err := os.WriteFile(filepath.Join(only, "shop.binpb"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(only, ".binpb"); !strings.Contains(got, "holds no *.yaml") {
		t.Errorf("a folder without a policy: %s", got)
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{
		"b.yaml": "b", "a.yml": "a", "README.md": "no", ".hidden.yaml": "no", "c.yaml.bak": "no", "d.json": "no", "empty.yaml": "",
	} {
		write(t, filepath.Join(dir, name), []byte(data))
	}
	write(t, filepath.Join(dir, "large.yaml"), bytes.Repeat([]byte("x"), MaxFileBytes+1))
	write(t, filepath.Join(dir, "full.yaml"), bytes.Repeat([]byte("x"), MaxFileBytes))
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600),
		os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")),
		os.Symlink("b.yaml", filepath.Join(dir, "link.yaml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files, err := ReadFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a.yml": "a", "b.yaml": "b", "link.yaml": "b", "empty.yaml": "", "full.yaml": strings.Repeat("x", MaxFileBytes),
		"large.yaml": "!", "folder.yaml": "!", "pipe.yaml": "!", "dangling.yaml": "!",
	}
	if diff := cmp.Diff(want, contents(files)); diff != "" {
		t.Error(diff)
	}
	for i := 1; i < len(files); i++ {
		if files[i-1].Name >= files[i].Name {
			t.Errorf("%s stands before %s", files[i-1].Name, files[i].Name)
		}
	}
	for _, f := range files {
		if filepath.Base(f.Name) == "large.yaml" && !errors.Is(f.Err, ErrTooLarge) {
			t.Errorf("large.yaml: %v, want ErrTooLarge", f.Err)
		}
		if filepath.Dir(f.Name) != dir {
			t.Errorf("%s is not what an operator would type", f.Name)
		}
	}
}

func TestReadOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.conf") // a FILE may have any name
	write(t, path, []byte("one"))
	files, err := ReadFiles(path)
	if diff := cmp.Diff([]File{{Name: path, Data: []byte("one")}}, files); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	write(t, path, bytes.Repeat([]byte("x"), MaxFileBytes+1))
	files, err = ReadFiles(path)
	if err != nil || len(files) != 1 || !errors.Is(files[0].Err, ErrTooLarge) {
		t.Errorf("too large: %v, %v", files, err)
	}
}

// What gives no snapshot at all.
func TestNoSnapshot(t *testing.T) {
	many := t.TempDir()
	for i := range 33 {
		write(t, filepath.Join(many, fmt.Sprintf("%02d.yaml", i)), bytes.Repeat([]byte("x"), MaxFileBytes))
	}
	for name, path := range map[string]string{
		"absent":             filepath.Join(t.TempDir(), "gone"),
		"an empty folder":    t.TempDir(),
		"33 MiB in a folder": many,
		"a device":           "/dev/null",
	} {
		if files, err := ReadFiles(path); err == nil || files != nil {
			t.Errorf("%s: %d files, %v; want an error", name, len(files), err)
		}
	}
}

// A folder that is written while it is read is read again, until two reads agree.
func TestSnapshotIsConsistent(t *testing.T) {
	a, b := seal([]File{{Name: "x", Data: []byte("old")}}), seal([]File{{Name: "x", Data: []byte("new")}})
	torn := seal([]File{{Name: "x", Data: []byte("ne")}})
	gone := errors.New("gone")
	for _, c := range []struct {
		name  string
		reads []any
		want  any
	}{
		{"at rest", []any{a, a}, a},
		{"torn once", []any{torn, b, b}, b},
		{"swapped between", []any{a, torn, b, b}, b},
		{"gone for a moment", []any{gone, b, b}, b},
		{"gone", []any{gone, gone}, gone},
		{"never at rest", []any{a, b, a, b, a, b}, errors.New("daemon: the files change faster than they can be read")},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := 0
			s, err := readStable(func() (snapshot, error) {
				n++
				if e, ok := c.reads[n-1].(error); ok {
					return snapshot{}, e
				}
				return c.reads[n-1].(snapshot), nil
			})
			if want, ok := c.want.(error); ok {
				if err == nil || err.Error() != want.Error() {
					t.Errorf("error %v, want %v", err, want)
				}
				return
			}
			if err != nil || s.sum != c.want.(snapshot).sum {
				t.Errorf("%q, %v", s.files, err)
			}
			if n != len(c.reads) {
				t.Errorf("%d reads, want %d", n, len(c.reads))
			}
		})
	}
}

// Two snapshots that differ in anything have different sums, also where their bytes run together alike.
func TestSumsTellSnapshotsApart(t *testing.T) {
	all := [][]File{
		nil,
		{{Name: "a"}},
		{{Name: "a", Data: []byte("b")}},
		{{Name: "ab"}},
		{{Name: "a", Err: errors.New("b")}},
		{{Name: "a"}, {Name: "b"}},
		{{Name: "a", Data: []byte("b")}, {Name: "c"}},
		{{Name: "a", Data: []byte("bc")}},
	}
	seen := map[[32]byte]int{}
	for i, files := range all {
		s := seal(files)
		if j, ok := seen[s.sum]; ok {
			t.Errorf("%v and %v share a sum", all[j], files)
		}
		seen[s.sum] = i
	}
}

// history is what a FileWatcher handed over.
type history struct {
	mu      sync.Mutex
	changes []map[string]string
	reports []error
	refuse  error
}

func (h *history) watcher(path string) *FileWatcher {
	return &FileWatcher{Path: path, Interval: time.Hour, // so that in these tests only hints, or ticks, lead to a look
		Changed: func(files []File) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.changes = append(h.changes, contents(files))
			return h.refuse
		},
		Report: func(err error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.reports = append(h.reports, err)
		}}
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.changes)
}

func (h *history) last() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changes[len(h.changes)-1]
}

// Each step is one edit and one look: what is handed over, and what is reported.
func TestWatcherHandsOverChangesAndKeepsTheOldWhenReadingFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.yaml")
	write(t, file, []byte("1"))
	h := new(history)
	w := h.watcher(dir)
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	for _, step := range []struct {
		name    string
		edit    func() error
		refuse  error
		changes int
		reports []bool // good or not
	}{
		{"nothing", func() error { return nil }, nil, 1, nil},
		{"touched", func() error { return os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)) }, nil, 1, nil},
		{"a file that is not ours", func() error { return os.WriteFile(filepath.Join(dir, "note.txt"), nil, 0o600) }, nil, 1, nil},
		{"edited", func() error { return os.WriteFile(file, []byte("2"), 0o600) }, nil, 2, []bool{true}},
		{"edited badly", func() error { return os.WriteFile(file, []byte("3"), 0o600) }, refused, 3, []bool{false}},
		{"left so", func() error { return nil }, nil, 3, nil},
		{"the folder is moved away", func() error { return os.Rename(dir, dir+".old") }, nil, 3, []bool{false}},
		{"left so", func() error { return nil }, nil, 3, nil},
		{"and comes back as it was: still refused", func() error { return os.Rename(dir+".old", dir) }, nil, 3, []bool{false}},
		{"mended", func() error { return os.WriteFile(file, []byte("4"), 0o600) }, nil, 4, []bool{true}},
		{"all files are gone", func() error { return os.Remove(file) }, nil, 4, []bool{false}},
		{"and back", func() error { return os.WriteFile(file, []byte("4"), 0o600) }, nil, 4, []bool{true}},
		{"one becomes unreadable: the others are handed over", func() error { return os.Symlink("nowhere", filepath.Join(dir, "b.yaml")) }, nil, 5, []bool{true}},
	} {
		h.refuse, h.reports = step.refuse, nil
		if err := step.edit(); err != nil {
			t.Fatal(err)
		}
		w.look()
		var got []bool
		for _, err := range h.reports {
			got = append(got, err == nil)
		}
		if h.count() != step.changes || !cmp.Equal(got, step.reports) {
			t.Fatalf("%s: %d changes, reports %v; want %d, %v", step.name, h.count(), h.reports, step.changes, step.reports)
		}
	}
	if diff := cmp.Diff(map[string]string{"a.yaml": "4", "b.yaml": "!"}, h.last()); diff != "" {
		t.Error(diff)
	}
}

// A start that is good in part is a start. What is wrong with it is reported at once, and again after the files could not be read for a
// while: it has not become good by that.
func TestPartlyLoadedStaysReported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "b.yaml"), []byte("bad"))
	cause := errors.New("b.yaml:1:1: bad")
	h := &history{refuse: Partly(cause)}
	w := h.watcher(dir)
	if err := w.Load(); err != nil {
		t.Fatalf("a folder that is good in part ended the start: %v", err)
	}
	for _, edit := range []func() error{
		func() error { return os.Rename(dir, dir+".old") },
		func() error { return os.Rename(dir+".old", dir) },
	} {
		if err := edit(); err != nil {
			t.Fatal(err)
		}
		w.look()
	}
	if len(h.reports) != 3 || !errors.Is(h.reports[0], cause) || errors.Is(h.reports[1], cause) || !errors.Is(h.reports[2], cause) {
		t.Errorf("reports %v, want the cause, that the folder is gone, and the cause", h.reports)
	}
	if h.count() != 1 {
		t.Errorf("%d changes, want 1", h.count())
	}
}

// The first load's errors carry the exit code: no snapshot is 2, refused content is 1.
func TestFirstLoadErrors(t *testing.T) {
	h := &history{refuse: errors.New("policy.yaml:3:1: no")}
	if code := ExitCode(h.watcher(filepath.Join(t.TempDir(), "gone")).Load()); code != ExitUnable || h.count() != 0 {
		t.Errorf("absent: exit %d after %d calls, want %d after none", code, h.count(), ExitUnable)
	}
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, []byte("bad"))
	if code := ExitCode(h.watcher(path).Load()); code != ExitInvalid {
		t.Errorf("refused: exit %d, want %d", code, ExitInvalid)
	}
}

// replace puts a whole content in place at one moment, for a watcher that may be looking.
func replace(t *testing.T, path, data string) {
	t.Helper()
	write(t, path+".new", []byte(data))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// run starts the watcher until the test ends. An edit that comes before its watch is found by its first look, a later one by a hint.
func run(t *testing.T, w *FileWatcher) {
	t.Helper()
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// configMap writes a folder as the kubelet does: real files in a dated folder, ..data links to it, names link through ..data.
type configMap struct {
	t    *testing.T
	dir  string
	turn int
}

func (c *configMap) swap(files map[string]string) {
	c.t.Helper()
	c.turn++
	dated := fmt.Sprintf("..2026_%d", c.turn)
	check := func(err error) {
		if err != nil {
			c.t.Helper()
			c.t.Fatal(err)
		}
	}
	check(os.Mkdir(filepath.Join(c.dir, dated), 0o700))
	for name, data := range files {
		check(os.WriteFile(filepath.Join(c.dir, dated, name), []byte(data), 0o600))
	}
	before, _ := os.Readlink(filepath.Join(c.dir, "..data"))
	check(os.Symlink(dated, filepath.Join(c.dir, "..data_tmp")))
	check(os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data")))
	for name := range files {
		if _, err := os.Lstat(filepath.Join(c.dir, name)); err != nil {
			check(os.Symlink(filepath.Join("..data", name), filepath.Join(c.dir, name)))
		}
	}
	if before != "" {
		check(os.RemoveAll(filepath.Join(c.dir, before)))
	}
}

// A ConfigMap's swap changes every file at the same moment, in three steps on disk. It is one change, for DIR and for FILE.
func TestConfigMapSwapIsOneChange(t *testing.T) {
	for _, path := range []string{".", "a.yaml"} {
		t.Run(path, func(t *testing.T) {
			c := &configMap{t: t, dir: t.TempDir()}
			c.swap(map[string]string{"a.yaml": "1", "b.yaml": "1"})
			h := new(history)
			run(t, h.watcher(filepath.Join(c.dir, path)))
			for n := 2; n <= 5; n++ {
				now := fmt.Sprint(n)
				c.swap(map[string]string{"a.yaml": now, "b.yaml": now})
				eventually(t, "swap "+now, func() bool { return h.last()["a.yaml"] == now })
				if h.count() != n {
					t.Fatalf("after swap %d: %d changes %v, want one each", n, h.count(), h.changes)
				}
				if b, ok := h.last()["b.yaml"]; ok && b != now {
					t.Fatalf("a.yaml is %s with b.yaml %s: a torn snapshot", now, b)
				}
			}
		})
	}
}

// Editors write beside the file and rename; some remove it first; deployment tools swap the whole folder.
func TestReplacementsAreSeen(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace func(dir string, data string) error
	}{
		{"written in place", func(dir, data string) error {
			return os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(data), 0o600)
		}},
		{"renamed over", func(dir, data string) error {
			next := filepath.Join(dir, ".p.yaml.swp")
			return errors.Join(os.WriteFile(next, []byte(data), 0o600), os.Rename(next, filepath.Join(dir, "p.yaml")))
		}},
		{"removed and written", func(dir, data string) error {
			path := filepath.Join(dir, "p.yaml")
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte(data), 0o600))
		}},
		{"the folder is swapped", func(dir, data string) error {
			return errors.Join(os.Mkdir(dir+".new", 0o700), os.WriteFile(filepath.Join(dir+".new", "p.yaml"), []byte(data), 0o600),
				os.Rename(dir, dir+"."+data), os.Rename(dir+".new", dir))
		}},
	} {
		for _, path := range []string{".", "p.yaml"} {
			if path != "." && strings.HasPrefix(c.name, "the folder") {
				continue // seen by the slow beat
			}
			t.Run(c.name+" "+path, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "policy")
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "p.yaml"), []byte("1"))
				h := new(history)
				run(t, h.watcher(filepath.Join(dir, path)))
				for _, data := range []string{"2", "3"} {
					if err := c.replace(dir, data); err != nil {
						t.Fatal(err)
					}
					eventually(t, "the content "+data, func() bool { return h.last()["p.yaml"] == data })
				}
			})
		}
	}
}

// Without any event the slow beat finds the change: events are hints, the content is the truth.
func TestSlowBeatFindsChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.yaml")
	write(t, path, []byte("1"))
	h := new(history)
	w := h.watcher(path)
	ticks := make(chan time.Time)
	w.hooks = watch{ticks: ticks, noHints: true}
	run(t, w)
	ticks <- time.Time{} // received: the first look is over, and the second under way: whole contents only
	replace(t, path, "2")
	ticks <- time.Time{}
	ticks <- time.Time{} // received: the look before it is over
	if h.count() != 2 || h.last()["p.yaml"] != "2" {
		t.Errorf("changes %v, want the second content", h.changes)
	}
}
