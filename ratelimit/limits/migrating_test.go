package limits

import (
	"os"
	"regexp"
	"testing"
)

// Each file that docs/migrating.md shows as refused is refused with the words that it shows.
func TestDocumentedRefusals(t *testing.T) {
	page, err := os.ReadFile("../../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```text\n(.*?)\n=> (.*?)\n```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 4 {
		t.Errorf("%d files were found", len(blocks))
	}
	for _, block := range blocks {
		_, errs := Decode("limits.yaml", []byte(block[1]+"\n"))
		if len(errs) != 1 || errs[0].Error() != block[2] {
			t.Errorf("%s\nis said to be refused with %q, and is with %v", block[1], block[2], errs)
		}
	}
}
