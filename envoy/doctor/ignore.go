package doctor

import (
	"fmt"
	"strings"
)

// Ignore sets a kind of finding aside, where somebody looked and it is right as it is: everywhere, or at one path.
type Ignore struct {
	// ID is a [Kind]'s. Path is a [Finding]'s; "" is every path.
	ID, Path string
}

// ParseIgnore reads `id` or `id@path`, as a finding shows both. The error of an id that nobody knows names all that are known.
func ParseIgnore(text string) (Ignore, error) {
	id, path, at := strings.Cut(text, "@")
	if _, known := byID[id]; !known {
		ids := make([]string, len(Kinds))
		for i, k := range Kinds {
			ids[i] = k.ID
		}
		return Ignore{}, fmt.Errorf("no kind of finding is called %q; known are %s", id, strings.Join(ids, ", "))
	}
	if at && !strings.HasPrefix(path, ".") {
		return Ignore{}, fmt.Errorf("%q: behind @ stands the path of a finding, which begins with a dot", text)
	}
	return Ignore{ID: id, Path: path}, nil
}

// String is the text that [ParseIgnore] reads.
func (i Ignore) String() string {
	if i.Path == "" {
		return i.ID
	}
	return i.ID + "@" + i.Path
}

// ignores reports whether a finding is set aside, and remembers which of the orders did it.
func (e *exam) ignores(id, path string) bool {
	set := false
	for i, ignore := range e.ignored {
		if ignore.ID == id && (ignore.Path == "" || ignore.Path == path) {
			e.matched[i], set = true, true
		}
	}
	return set
}
