package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs a command line and returns its exit code and what it wrote.
func command(t *testing.T, environ []string, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(context.Background(), streams{out: &stdout, err: &stderr, environ: environ}, args)
	return code, stdout.String(), stderr.String()
}

// One run shows every error of a folder: of each file's text, of what files say together, and of files that cannot be read.
func TestLimitsCheckShowsEverything(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.yaml", "domain: a\n")
	if code, out, _ := command(t, nil, "limits", "check", dir); code != 0 || out != "ok: 1 domains, 0 limits\n" {
		t.Errorf("exit %d: %s", code, out)
	}
	put("b.yaml", "domain: b\nnonsense: 1\n")
	put("c.yaml", "domain: a\n")
	put("d.yaml", "# "+strings.Repeat("x", 1<<20))
	code, out, _ := command(t, nil, "limits", "check", dir)
	if code != 1 {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{
		"b.yaml:2:1: config error, unknown key 'nonsense'", "c.yaml:1:1: duplicate domain 'a' in config file",
		"d.yaml:1:1: is larger than 1 MiB: a limits file holds one domain, and at most that", "\n3 errors\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if code, _, _ := command(t, nil, "limits", "check", filepath.Join(dir, "none")); code != 2 {
		t.Errorf("a folder that is not there: exit %d", code)
	}
}
