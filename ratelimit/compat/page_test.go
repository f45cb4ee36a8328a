package compat

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/compat.md names every variable where it belongs, and none that is not read.
func TestDocumentedVariables(t *testing.T) {
	page, err := os.ReadFile("../../docs/compat.md")
	if err != nil {
		t.Fatal(err)
	}
	mapped, rest, found := strings.Cut(string(page), "## No effect")
	without, _, more := strings.Cut(rest, "## What the process does differently")
	if !found || !more {
		t.Fatal("the page has lost its sections")
	}
	known := variables(defaults(), &raw{})
	for name, read := range known {
		value := other[name]
		if value == "" {
			value = "true"
		}
		why, err := read(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		section := mapped
		if why != "" {
			section = without
		}
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("%s stands in the wrong section or in none (no effect: %q)", name, why)
		}
	}
	for _, name := range regexp.MustCompile("`([A-Z][A-Z_]{3,})`").FindAllStringSubmatch(mapped+without, -1) {
		switch name[1] {
		case "SALLYPORT_", "FILE", "GRPC_XDS_SOTW", "SINGLE", "SENTINEL", "CLUSTER", "WAIT":
		default:
			if known[name[1]] == nil {
				t.Errorf("%s is read by nobody", name[1])
			}
		}
	}
}
