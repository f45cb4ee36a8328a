package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// instructions reads a Dockerfile: one entry an instruction, continued lines joined, comments left out.
func instructions(text string) []string {
	var found []string
	open := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		body, more := strings.CutSuffix(line, `\`)
		if open {
			found[len(found)-1] += " " + strings.TrimSpace(body)
		} else {
			found = append(found, strings.TrimSpace(body))
		}
		open = more
	}
	return found
}

// The image: built static in one stage, copied into one without a shell, run by a number that is not root's.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var stages [][]string
	for _, instruction := range instructions(string(text)) {
		if strings.HasPrefix(instruction, "FROM ") {
			stages = append(stages, nil)
		}
		if len(stages) > 0 {
			stages[len(stages)-1] = append(stages[len(stages)-1], instruction)
		}
	}
	if len(stages) != 2 {
		t.Fatalf("%d stages, want 2", len(stages))
	}
	build, final := strings.Join(stages[0], "\n"), strings.Join(stages[1], "\n")
	for what, found := range map[string]bool{
		"a pinned Go":             regexp.MustCompile(`^FROM --platform=\$BUILDPLATFORM golang:1\.26-\w+ AS build\n`).MatchString(build),
		"no cgo":                  strings.Contains(build, "CGO_ENABLED=0"),
		"no paths of the builder": strings.Contains(build, "-trimpath"),
		"the version":             strings.Contains(build, "-X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE"),
		"our command":             strings.Contains(build, "./cmd/sallyport"),
		"distroless, static":      strings.HasPrefix(final, "FROM gcr.io/distroless/static-debian12:nonroot\n"),
		"the binary and a link":   strings.Count(final, "COPY ") == 2 && strings.Contains(final, "COPY --from=build /out/sallyport "),
		// The folder is copied and not the link itself, which would be followed, and the image would hold the binary twice.
		"the reference's name":      strings.Contains(build, "ln -s /usr/local/bin/sallyport /out/bin/ratelimit") && strings.Contains(final, "\nCOPY --from=build /out/bin/ /bin/\n"),
		"a number that is not root": strings.Contains(final, "\nUSER 65532:65532\n"),
		"the binary as entry point": strings.HasSuffix(final, "\n"+`ENTRYPOINT ["/usr/local/bin/sallyport"]`),
		"nothing run in the image":  !strings.Contains(final, "\nRUN "),
	} {
		if !found {
			t.Errorf("the Dockerfile lacks: %s", what)
		}
	}
}

// The context is named file by file, and names what the build needs.
func TestDockerContext(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	lines := instructions(string(text))
	if len(lines) == 0 || lines[0] != "*" {
		t.Fatal("the context is open")
	}
	named := map[string]bool{}
	for _, line := range lines[1:] {
		name, wanted := strings.CutPrefix(line, "!")
		if !wanted {
			continue
		}
		named[name] = true
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("the context names %s: %v", name, err)
		}
	}
	const module = "github.com/sallyport-dev/sallyport/"
	packages, err := exec.Command("go", "-C", root, "list", "-deps", "./cmd/sallyport").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(packages)) {
		inside, ours := strings.CutPrefix(strings.TrimSpace(line), module)
		if folder, _, _ := strings.Cut(inside, "/"); ours && !named[folder] {
			t.Errorf("the binary needs %s, which the context leaves out", folder)
		}
	}
}
