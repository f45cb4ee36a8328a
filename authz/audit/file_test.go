package audit_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

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
