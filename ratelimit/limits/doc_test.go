package limits

import (
	"os"
	"regexp"
	"testing"
)

// Every file of limits in docs/limits.md loads.
func TestDocumentedLimits(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(# limits\\.yaml\n)?(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("the page shows no file")
	}
	for _, b := range blocks {
		if len(b[1]) == 0 {
			t.Errorf("a block that is not headed # limits.yaml:\n%s", b[2])
		}
		f, errs := Decode("docs/limits.md", b[2])
		if errs != nil {
			t.Errorf("%v", errs)
			continue
		}
		if _, errs := Build([]*File{f}); errs != nil {
			t.Errorf("%v", errs)
		}
	}
}
