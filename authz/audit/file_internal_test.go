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
