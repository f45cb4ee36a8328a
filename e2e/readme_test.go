package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/envoy"
)

var (
	block = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	link  = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// pages are the README and what it leads to.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, path := range append(found, "../README.md", "../k8s/README.md") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(data)
	}
	return texts
}

// lists are the lists of networks that a page has, by their names: blocks of text that begin with `# NAME.cidr`. They stand beside its policies.
func lists(page string) map[string]string {
	found := map[string]string{}
	for _, b := range block.FindAllStringSubmatch(page, -1) {
		first, _, _ := strings.Cut(b[2], "\n")
		if name := strings.TrimPrefix(first, "# "); b[1] == "text" && strings.HasSuffix(name, ".cidr") {
			found[name] = b[2]
		}
	}
	return found
}

// Every YAML block of the documents is a policy or a limits file, as its first line says, and loads.
func TestDocumentedFilesLoad(t *testing.T) {
	count := 0
	for page, text := range pages(t) {
		for _, found := range block.FindAllStringSubmatch(text, -1) {
			if found[1] != "yaml" {
				continue
			}
			count++
			name := strings.TrimSpace(strings.TrimPrefix(strings.SplitN(found[2], "\n", 2)[0], "#"))
			command := strings.TrimSuffix(name, ".yaml")
			if command != "policy" && command != "limits" {
				t.Errorf("%s: a block begins with %q, and should say `# policy.yaml` or `# limits.yaml`", page, name)
				continue
			}
			path := filepath.Join(t.TempDir(), name)
			write(t, path, found[2])
			for name, list := range lists(text) {
				write(t, filepath.Join(filepath.Dir(path), name), list)
			}
			p := start(t, "sallyport", sallyport(t), command, "check", path)
			if code := p.wait(); code != 0 {
				t.Errorf("%s: %s does not load:\n%s", page, name, p.output.String())
			}
		}
	}
	if count < 2 {
		t.Errorf("%d YAML blocks were found", count)
	}
}

// Every command of the documents runs. The two that are this test's own caller are held to the Makefile instead.
func TestDocumentedCommandsRun(t *testing.T) {
	dir := t.TempDir()
	for _, found := range block.FindAllStringSubmatch(pages(t)["../README.md"], -1) {
		if found[1] == "yaml" {
			name := strings.TrimSpace(strings.TrimPrefix(strings.SplitN(found[2], "\n", 2)[0], "#"))
			write(t, filepath.Join(dir, name), found[2])
		}
	}
	// What docs/envoy.md examines.
	config, _ := filledIn(t, "sidecar.yaml")
	write(t, filepath.Join(dir, "envoy.yaml"), config)
	if err := os.CopyFS(filepath.Join(dir, "limits"), envoy.Limits); err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for page, text := range pages(t) {
		for _, found := range block.FindAllStringSubmatch(text, -1) {
			if found[1] != "sh" {
				continue
			}
			for line := range strings.Lines(found[2]) {
				line, _, _ = strings.Cut(line, "#")
				words := strings.Fields(line)
				switch {
				case len(words) == 0:
					continue
				case words[0] == "make":
					if len(words) < 2 || !strings.Contains(string(makefile), "\n"+words[1]+":") {
						t.Errorf("%s: %q is no target of the Makefile", page, line)
					}
				case words[0] == "sallyport":
					cmd := exec.Command(sallyport(t), words[1:]...)
					cmd.Dir = dir
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%s: %q: %v\n%s", page, line, err, out)
					}
				default:
					t.Errorf("%s: %q is run by no test", page, line)
				}
				count++
			}
		}
	}
	if count < 4 {
		t.Errorf("%d commands were found", count)
	}
}

// Links within the repository lead somewhere.
func TestDocumentedLinks(t *testing.T) {
	for page, text := range pages(t) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), found[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
