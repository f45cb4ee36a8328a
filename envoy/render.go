package envoy

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed edge.yaml sidecar.yaml demo.yaml limits/edge.yaml limits/mesh.yaml
var embedded embed.FS

// Limits are the shipped limits, mesh.yaml and edge.yaml: one for every descriptor that the files of this package
// send, or a written `unlimited`. Read-only; os.CopyFS writes them out.
var Limits = subtree("limits")

func subtree(dir string) fs.FS {
	sub, err := fs.Sub(embedded, dir)
	if err != nil {
		// fs.Sub refuses only names that are no valid path, and dir is a constant of this file.
		panic("envoy: internal error: " + err.Error())
	}
	return sub
}

// Files are the names that [Render] takes, in a fixed order.
func Files() []string { return []string{"demo.yaml", "edge.yaml", "sidecar.yaml"} }

// Placeholder is one hole of a file, as the comment at the file's top declares it.
type Placeholder struct {
	Name string // in the file: ${NAME}
	Kind Kind   // what may stand there
	Doc  string // what it means, in a few words
}

// Placeholders lists the holes of a file in the order of its comment.
func Placeholders(file string) ([]Placeholder, error) {
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	return declared(file, text)
}

// Render fills in a file. The values must be exactly those that the file declares: one too few or one too many is
// an error, and so is a value that is not of its kind, because a path or a host that could end its YAML scalar could
// add a filter, or take one away. All errors are reported at once.
//
// The result is what Envoy reads; it is still to be tried with `envoy --mode validate`, and even that proves only
// that Envoy starts.
func Render(file string, values map[string]string) ([]byte, error) {
	text, err := read(file)
	if err != nil {
		return nil, err
	}
	holes, err := declared(file, text)
	if err != nil {
		return nil, err
	}
	if err := check(file, holes, values); err != nil {
		return nil, err
	}
	return []byte(fill(text, values)), nil
}

func read(file string) (string, error) {
	if !slices.Contains(Files(), file) {
		return "", fmt.Errorf("envoy: no file %q: there are %s", file, strings.Join(Files(), ", "))
	}
	text, err := embedded.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("envoy: read %s: %w", file, err)
	}
	return string(text), nil
}

// declared reads the comment at the top: lines of the form "#   ${NAME}  kind  what it means".
func declared(file, text string) ([]Placeholder, error) {
	var holes []Placeholder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		name, rest, found := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "#")), "}")
		name, hole := strings.CutPrefix(name, "${")
		if !found || !hole {
			continue
		}
		kind, doc, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if _, known := kinds[Kind(kind)]; !known {
			return nil, fmt.Errorf("envoy: %s: ${%s} is declared with the unknown kind %q", file, name, kind)
		}
		holes = append(holes, Placeholder{Name: name, Kind: Kind(kind), Doc: strings.TrimSpace(doc)})
	}
	return holes, nil
}

func check(file string, holes []Placeholder, values map[string]string) error {
	var errs []error
	known := make(map[string]bool, len(holes))
	for _, hole := range holes {
		known[hole.Name] = true
		value, given := values[hole.Name]
		if !given {
			errs = append(errs, fmt.Errorf("envoy: %s: ${%s} has no value: it is %s", file, hole.Name, hole.Doc))
			continue
		}
		if err := hole.Kind.check(value); err != nil {
			errs = append(errs, fmt.Errorf("envoy: %s: ${%s}: %w", file, hole.Name, err))
		}
	}
	for name := range values {
		if !known[name] {
			errs = append(errs, fmt.Errorf("envoy: %s: there is no ${%s} in this file", file, name))
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// fill replaces each hole once, from left to right; what a value holds is never looked at again. Comments stay.
func fill(text string, values map[string]string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			out.WriteString(line)
			continue
		}
		for {
			before, rest, hole := strings.Cut(line, "${")
			out.WriteString(before)
			if !hole {
				break
			}
			name, after, _ := strings.Cut(rest, "}")
			out.WriteString(values[name])
			line = after
		}
	}
	return out.String()
}
