package proto_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorded reads generated.sum, which `make generate` writes: the checksums of every .proto, of what was made of it, and of how.
func recorded(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("generated.sum")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	sums := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok {
			t.Fatalf("generated.sum: %q is not what sha256sum writes", lines.Text())
		}
		sums[name] = sum
	}
	return sums
}

// The generated code is what `make generate` made of the .proto beside it: neither was changed since without the other. The tools that
// make it take minutes to build, so the test looks at checksums alone.
func TestGeneratedCodeIsThatOfItsProto(t *testing.T) {
	found := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if path != "buf.gen.yaml" && !strings.HasSuffix(path, ".proto") && !strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		sum := sha256.Sum256(data)
		found[filepath.ToSlash(path)] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 4 {
		t.Fatalf("only %v was found", slices.Sorted(maps.Keys(found)))
	}
	sums := recorded(t)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if sums[name] != found[name] {
			t.Errorf("%s is not the one that the code was generated of or as: run `make generate` and commit all of proto/", name)
		}
		delete(sums, name)
	}
	for name := range sums {
		t.Errorf("%s is gone: run `make generate`", name)
	}
}
