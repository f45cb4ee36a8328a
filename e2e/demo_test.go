package e2e

import (
	"strings"
	"testing"
)

// `make demo ONCE=1` is this: the story holds, line by line, through a real Envoy and a real Valkey.
func TestDemoHolds(t *testing.T) {
	p := start(t, "demo", sallyport(t), "demo", "--once", "--require-envoy",
		"--envoy", tool(t, "SALLYPORT_ENVOY", "tools/bin/envoy"), "--valkey", tool(t, "SALLYPORT_VALKEY", "tools/bin/valkey-server"))
	code := p.waitFor(6 * patience)
	out := p.output.String()
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	for line := range strings.Lines(shownInReadme(t)) {
		if line = strings.TrimSpace(line); !strings.Contains(out, line) {
			t.Errorf("the README shows a line that the demo does not print: %s", line)
		}
	}
}

// shownInReadme is what the README says that the demo prints.
func shownInReadme(t *testing.T) string {
	t.Helper()
	for _, found := range block.FindAllStringSubmatch(pages(t)["../README.md"], -1) {
		if found[1] == "console" {
			return found[2]
		}
	}
	t.Fatal("the README shows nothing of the demo")
	return ""
}

// Without an Envoy the story is told against the gates, and says so; where one is required, it is not told at all.
func TestDemoWithoutEnvoy(t *testing.T) {
	absent := t.TempDir() + "/envoy"
	p := start(t, "demo", sallyport(t), "demo", "--once", "--require-envoy", "--envoy", absent)
	if code := p.wait(); code != 2 || !strings.Contains(p.output.String(), absent) {
		t.Errorf("exit code %d:\n%s", code, p.output.String())
	}
}
