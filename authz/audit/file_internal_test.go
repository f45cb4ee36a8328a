package audit

import (
	"os"
	"path/filepath"
	"testing"
)

// Of a torn line only the torn part is taken back, and only from a file that has an end.
func TestCutTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("one\ntwo\nthr")); err != nil {
		t.Fatal(err)
	}
	if err := f.cutLocked(3); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("four\n")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "one\ntwo\nfour\n" {
		t.Errorf("the file holds %q, %v", got, err)
	}

	null, err := Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := null.cutLocked(3); err == nil {
		t.Error("a device was cut")
	}
}

// A file whose lines may not be on disk is not exchanged for another, whose Sync would say nothing of them; and the next Sync, which may
// succeed by then, says so still.
func TestReopenSettles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good := f.f
	bad, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	_ = bad.Close() // neither Stat nor Sync succeeds
	f.f = bad
	if err := f.Reopen(); err == nil || f.f != bad {
		t.Fatalf("reopened: %v", err)
	}
	f.f = good
	if err := f.Sync(); err == nil {
		t.Error("Sync knows nothing of the lines that were not kept")
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); err != nil || f.f == good {
		t.Errorf("not reopened: %v", err)
	}
}
