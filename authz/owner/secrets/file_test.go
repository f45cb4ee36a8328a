package secrets

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The value is the last good version's, whatever becomes of the file.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	file := NewFile(path, func(data []byte) (string, error) {
		if strings.HasPrefix(string(data), "bad") {
			return "", errors.New("it is bad")
		}
		return string(data), nil
	})
	expect := func(step, want string, wantChanged bool, wrong string) {
		t.Helper()
		changed, err := file.Refresh()
		value, ok := file.Value()
		if changed != wantChanged || value != want || ok != (want != "") || (err != nil) != (wrong != "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %q, %v, changed %v, %v", step, value, ok, changed, err)
		}
	}
	expect("before there is one", "", false, "no such file")
	write(t, path, "bad at first")
	expect("a bad one", "", false, path+": it is bad")
	write(t, path, "one")
	expect("a good one", "one", true, "")
	expect("the same", "one", false, "")
	write(t, path, "two")
	expect("another of the same length", "two", true, "")
	write(t, path, "bad")
	expect("a bad one", "two", false, "it is bad")
	expect("a bad one still", "two", false, "it is bad")
	write(t, path, "three")
	expect("a good one after it", "three", true, "")
	write(t, path, strings.Repeat("a", maxBytes+1))
	expect("one that is too large", "three", false, "larger than")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("none any more", "three", false, "no such file")
	if file.Path() != path {
		t.Error(file.Path())
	}
}
