package audit_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz/audit"
)

func open(t *testing.T, dest string) *audit.File {
	t.Helper()
	f, err := audit.Open(dest)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if n, err := io.WriteString(w, text); n != len(text) || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", filepath.Base(path), got, err, want)
	}
}

// A file is appended to, never cut, and is its owner's alone.
func TestFileAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, path)
	write(t, f, "one\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path), "two\n")
	wantFile(t, path, "one\ntwo\n")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
}

// After a rotation the next line stands in the new file.
func TestFileReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f := open(t, path)
	write(t, f, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "two\n")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "three\n")
	wantFile(t, path+".1", "one\ntwo\n")
	wantFile(t, path, "three\n")
}

// A rotation that cannot be followed leaves the old file in use.
func TestFileReopenFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(dir, "audit.jsonl"))
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err == nil {
		t.Fatal("reopened in a folder that is gone")
	}
	write(t, f, "one\n")
	wantFile(t, filepath.Join(dir+".old", "audit.jsonl"), "one\n")
}

func TestFileClosed(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "audit.jsonl"))
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if _, err := f.Write([]byte("x\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if err := f.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Reopen after Close: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	for _, dest := range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "no", "such", "folder")} {
		if _, err := audit.Open(dest); err == nil {
			t.Errorf("Open(%q) succeeded", dest)
		}
	}
}

// The standard output is never closed and never reopened.
func TestStdout(t *testing.T) {
	f := open(t, audit.Stdout)
	if err := f.Reopen(); err != nil {
		t.Errorf("Reopen: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if _, err := os.Stdout.Stat(); err != nil {
		t.Errorf("the standard output is closed: %v", err)
	}
}

// A file that would grow too large is set aside under the next name; of those so many are kept; lines stay whole.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	rotations := 0
	f, err := audit.OpenRotated(path, audit.Rotation{Size: 10, Keep: 2, Observe: func(err error) {
		if rotations++; err != nil {
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\n", "two\n", "three\n", "four\nfive\n", "longer than ten\n", "six\n"} {
		write(t, f, text)
	}
	wantFile(t, path, "six\n")
	wantFile(t, path+".1", "longer than ten\n")
	wantFile(t, path+".2", "four\nfive\n")
	if _, err := os.Stat(path + ".3"); err == nil || rotations != 4 {
		t.Errorf("%d rotations, want 4 and no third file", rotations)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	// A file is never set aside empty, however much is written at once.
	whole := filepath.Join(t.TempDir(), "audit.jsonl")
	empty, err := audit.OpenRotated(whole, audit.Rotation{Size: 3, Keep: 1, Observe: func(error) { t.Error("an empty file was set aside") }})
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	write(t, empty, "longer\n")
	// What was there before counts.
	f, err = audit.OpenRotated(path, audit.Rotation{Size: 10, Keep: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "seven\n")
	write(t, f, "eight\n")
	wantFile(t, path+".1", "six\nseven\n")
}

// A rotation that fails loses no line: the file in use stays in use, and the operator is told.
func TestRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.MkdirAll(filepath.Join(path+".1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	var heard []error
	f, err := audit.OpenRotated(path, audit.Rotation{Size: 5, Keep: 1, Observe: func(err error) { heard = append(heard, err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write(t, f, "one\n")
	write(t, f, "two\n")
	wantFile(t, path, "one\ntwo\n")
	if len(heard) != 1 || heard[0] == nil {
		t.Errorf("heard %v", heard)
	}
}

// rotated opens a file of at most ten bytes, of which so many are kept, and collects what its rotations came to.
func rotated(t *testing.T, path string, keep int, heard *[]error) *audit.File {
	t.Helper()
	f, err := audit.OpenRotated(path, audit.Rotation{Size: 10, Keep: keep, Observe: func(err error) { *heard = append(*heard, err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Where somebody else has moved the file away, whether or not another stands in its place, what is kept stays as it is.
func TestRotationOfAMovedFile(t *testing.T) {
	for name, there := range map[string]string{"missing": "", "another": "other\n"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			put(t, path+".1", "kept 1\n")
			put(t, path+".2", "kept 2\n")
			var heard []error
			f := rotated(t, path, 2, &heard)
			write(t, f, "one two\n")
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			if there != "" {
				put(t, path, there)
			}
			write(t, f, "three\n")
			wantFile(t, path, there+"three\n")
			wantFile(t, path+".1", "kept 1\n")
			wantFile(t, path+".2", "kept 2\n")
			wantFile(t, path+".moved", "one two\n")
			if len(heard) != 1 || heard[0] != nil {
				t.Errorf("heard %v", heard)
			}
		})
	}
}

// Where no new file can be made, nothing is shifted, and it is tried once a minute; an empty file that a killed process left is no obstacle.
func TestRotationWithoutANewFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		put(t, path+".1", "kept 1\n")
		put(t, path+".new", "not ours\n")
		var heard []error
		f := rotated(t, path, 2, &heard)
		write(t, f, "one two\n")
		for range 3 {
			write(t, f, "three\n")
		}
		wantFile(t, path+".1", "kept 1\n")
		wantFile(t, path+".new", "not ours\n")
		synctestSleep(time.Minute)
		write(t, f, "four\n")
		wantFile(t, path, "one two\nthree\nthree\nthree\nfour\n")
		if len(heard) != 2 || heard[0] == nil || heard[1] == nil {
			t.Fatalf("heard %v, want two failures", heard)
		}
		put(t, path+".new", "")
		synctestSleep(time.Minute)
		write(t, f, "five\n")
		write(t, f, "six\n")
		wantFile(t, path, "five\nsix\n")
		wantFile(t, path+".1", "one two\nthree\nthree\nthree\nfour\n")
		wantFile(t, path+".2", "kept 1\n")
		if _, err := os.Stat(path + ".new"); err == nil || len(heard) != 3 || heard[2] != nil {
			t.Errorf("heard %v, and the new file is left over: %v", heard, err == nil)
		}
	})
}

// What stands beyond a free name is not shifted, so that an attempt after one that failed half way pushes nothing off the end.
func TestRotationShiftsToAFreeName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	put(t, path+".2", "kept 2\n")
	put(t, path+".3", "kept 3\n")
	var heard []error
	f := rotated(t, path, 3, &heard)
	write(t, f, "one two\n")
	write(t, f, "three\n")
	wantFile(t, path, "three\n")
	wantFile(t, path+".1", "one two\n")
	wantFile(t, path+".2", "kept 2\n")
	wantFile(t, path+".3", "kept 3\n")
}

func TestOpenRotatedErrors(t *testing.T) {
	if _, err := audit.OpenRotated(filepath.Join(t.TempDir(), "a"), audit.Rotation{Size: 1}); err == nil {
		t.Error("kept nothing")
	}
	if _, err := audit.OpenRotated(os.DevNull, audit.Rotation{Size: 1, Keep: 1}); err == nil {
		t.Error("rotated a device")
	}
	if _, err := audit.OpenRotated(audit.Stdout, audit.Rotation{Size: 1, Keep: 1}); err == nil {
		t.Error("rotated the standard output")
	}
}

// A rotation that was killed between any two of its renames is gone on with by the next run: no line is lost, and what stands under each
// name is what the next rotation would have left there.
func TestKilledInARotation(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"the new file was made":           {"": "b\n", ".1": "a\n", ".new": ""},
		"the oldest was moved":            {"": "b\n", ".2": "a\n", ".new": ""},
		"no file stands under the path":   {".1": "b\n", ".2": "a\n", ".new": ""},
		"the new one was put in place":    {"": "", ".1": "b\n", ".2": "a\n"},
		"and the last line of it is torn": {"": "b", ".1": "a\n", ".new": ""},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "audit.jsonl")
			for suffix, text := range files {
				put(t, path+suffix, text)
			}
			var heard []error
			f := rotated(t, path, 5, &heard)
			write(t, f, "c\n")
			write(t, f, "longer line\n")
			write(t, f, "the last line\n")
			var all strings.Builder
			for _, suffix := range []string{".5", ".4", ".3", ".2", ".1", ""} {
				data, err := os.ReadFile(path + suffix)
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				all.Write(data)
			}
			if got, want := all.String(), "a\nb\nc\nlonger line\nthe last line\n"; got != want {
				t.Errorf("the files hold %q, want %q", got, want)
			}
			if _, err := os.Stat(path + ".new"); err == nil {
				t.Error("the new file is left over")
			}
			for _, err := range heard {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A file has one writer. A second is refused, also after the first has set files aside or opened its own anew, and not once it is closed.
func TestOneWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	refused := func(when string) {
		t.Helper()
		if _, err := audit.Open(path); err == nil || !strings.Contains(err.Error(), "another process writes this file") {
			t.Errorf("%s: %v", when, err)
		}
	}
	var heard []error
	f := rotated(t, path, 2, &heard)
	refused("at once")
	write(t, f, "one two\n")
	write(t, f, "three\n")
	refused("after a rotation")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	refused("opened anew, and nobody moved it")
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	refused("opened anew")
	write(t, open(t, path+".moved"), "of another\n") // nobody's any more
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path), "four\n")
	wantFile(t, path, "four\n")
}

// A signal that opens the file anew, again and again, while lines fill it, loses none and tears none.
func TestReopenDuringRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := audit.OpenRotated(path, audit.Rotation{Size: 40, Keep: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var signals sync.WaitGroup
	done := make(chan struct{})
	signals.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := f.Reopen(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	const lines = 200
	for i := range lines {
		write(t, f, fmt.Sprintf("line %d\n", i))
		if i%50 == 0 {
			if err := f.Sync(); err != nil {
				t.Error(err)
			}
		}
	}
	close(done)
	signals.Wait()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			found[line]++
		}
	}
	for i := range lines {
		if n := found[fmt.Sprintf("line %d\n", i)]; n != 1 {
			t.Errorf("line %d stands %d times", i, n)
		}
	}
	if len(names) < 20 || len(found) != lines {
		t.Errorf("%d files, %d different lines", len(names), len(found))
	}
}

// The torn last line of a process that was killed is ended where the next begins.
func TestTornLastLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	if err := os.WriteFile(path, []byte("one\ntw"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, open(t, path), "three\n")
	wantFile(t, path, "one\ntw\nthree\n")
}

// Only what is on a disk can be made durable.
func TestDurable(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "audit.jsonl"))
	write(t, f, "one\n")
	if err := f.Sync(); err != nil || !f.Durable() {
		t.Errorf("a file: %v", err)
	}
	if open(t, os.DevNull).Durable() {
		t.Error("a device is durable")
	}
	_ = f.Close()
	if err := f.Sync(); !errors.Is(err, os.ErrClosed) || f.Durable() {
		t.Errorf("a closed file: %v", err)
	}
}

// A file that was removed is begun anew under its path, before a line is lost; where that cannot be, the write fails, and strict denies.
func TestFileThatWasRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(dir, "audit.jsonl")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := audit.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	say := func(line string) error {
		_, err := f.Write([]byte(line + "\n"))
		return errors.Join(err, f.Sync())
	}
	if err := errors.Join(say("one"), os.Remove(path), say("two"), say("three")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "two\nthree\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := say("four"); err == nil {
		t.Error("a line for a folder that is gone was written")
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), say("five")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "five\n" {
		t.Errorf("%q, %v", data, err)
	}
}
