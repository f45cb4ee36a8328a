package doctor_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

var update = flag.Bool("update", false, "write the doctor's parts of docs/envoy.md anew")

const page = "../../docs/envoy.md"

// findingsTable is the table of docs/envoy.md.
func findingsTable() string {
	var b strings.Builder
	b.WriteString("| Finding | Severity | Why | What to write |\n|---|---|---|---|\n")
	for _, k := range doctor.Kinds {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.ID, k.Severity, k.Reason, k.Mend)
	}
	return b.String()
}

// example is the finding that docs/envoy.md shows.
func example(t *testing.T) string {
	t.Helper()
	text := strings.Replace(shipped(t, "edge.yaml"), catch, "- match: {path: /export}\n                route: {cluster: service}\n                typed_per_filter_config:\n"+
		"                  envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}\n              "+catch, 1)
	found := examine(t, text, parse(t, fitting), shippedLimits(t))
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	return "```text\n" + found[0].String("envoy.yaml") + "\n```\n"
}

// part is what stands between a page's markers of a name.
func part(t *testing.T, text, name string) (before, inside, after string) {
	t.Helper()
	before, rest, begins := strings.Cut(text, "<!-- "+name+" -->\n")
	inside, after, ends := strings.Cut(rest, "<!-- /"+name+" -->\n")
	if !begins || !ends {
		t.Fatalf("%s has no markers of %s", page, name)
	}
	return before + "<!-- " + name + " -->\n", inside, "<!-- /" + name + " -->\n" + after
}

// docs/envoy.md lists what the doctor finds and shows what it says (go test ./envoy/doctor -run TestDocumentedFindings -update).
func TestDocumentedFindings(t *testing.T) {
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range map[string]string{"findings": findingsTable(), "example": example(t)} {
		before, inside, after := part(t, text, name)
		if *update {
			text = before + want + after
		} else if diff := cmp.Diff(want, inside); diff != "" {
			t.Errorf("%s, %s:\n%s", page, name, diff)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
