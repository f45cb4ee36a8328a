package strictjson

import (
	"fmt"
	"strings"
)

// State says what stands at one selected place.
type State uint8

const (
	// Missing: nothing stands there, or what should hold it is of another kind. It is the zero value.
	Missing State = iota
	// One: one value.
	One
	// Many: the elements of a list, one or more.
	Many
	// EmptyList: a list without elements.
	EmptyList
	// NullList: null where a list was selected.
	NullList
	// NoList: a scalar or an object where a list was selected.
	NoList
)

// Found is one value of a selected place. Kind Invalid is an element that does not hold the place.
type Found struct {
	Kind Kind
	// Text is a string's text or a number's source; "" for other kinds.
	Text string
}

// Place is what was found at one selected path.
type Place struct {
	State  State
	Values []Found
}

// maxPaths is the most places of one selection: the members of an object that were seen are counted in one word.
const maxPaths = 64

// Selection is a set of paths to read in one go. It is immutable and safe for concurrent use.
type Selection struct {
	root  *place
	paths int
}

// place is one node of the tree that paths make.
type place struct {
	names    []string
	folds    [][]byte // the names again, for comparing without making bytes of them each time
	children []*place
	each     *place
	leaf     int // index of the path that ends here, -1 for none
	many     bool
	within   []leafOf // all paths that end at or below, for when nothing can be read here
}

// leafOf is one path that ends below a place, and whether a [*] stands between them.
type leafOf struct {
	index int
	each  bool
}

// PathError says what is wrong with a path, and where.
type PathError struct {
	Path   string
	Offset int // byte
	Why    string
}

func (e *PathError) Error() string {
	return fmt.Sprintf("%q, at byte %d: %s", e.Path, e.Offset+1, e.Why)
}

// NewSelection compiles paths: names joined by dots, each with any number of [*] behind it, as in items[*].id. The error is a *PathError.
func NewSelection(paths []string) (*Selection, error) {
	if len(paths) > maxPaths {
		return nil, &PathError{paths[maxPaths], 0, "a document is read in 64 places at most"}
	}
	s := &Selection{root: &place{leaf: -1}, paths: len(paths)}
	for i, path := range paths {
		if err := s.add(path, i); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Selection) add(path string, index int) error {
	trail := []*place{s.root}
	eachAt := []bool{false}
	at := s.root
	offset := 0
	for part := range strings.SplitSeq(path, ".") {
		name, suffix := part, ""
		if i := strings.IndexByte(part, '['); i >= 0 {
			name, suffix = part[:i], part[i:]
		}
		switch {
		case name == "":
			return &PathError{path, offset, "a name is missing: write a.b or items[*].id"}
		case strings.ContainsAny(name, "]*\"' \x00"):
			return &PathError{path, offset, "not a name"}
		case strings.Trim(suffix, "[*]") != "" || strings.ReplaceAll(suffix, "[*]", "") != "":
			return &PathError{path, offset + len(name), "all elements are written [*]; one of them cannot be chosen"}
		}
		at = at.child(name)
		trail, eachAt = append(trail, at), append(eachAt, false)
		for range len(suffix) / len("[*]") {
			if at.each == nil {
				at.each = &place{leaf: -1, many: true}
			}
			at = at.each
			trail, eachAt = append(trail, at), append(eachAt, true)
		}
		offset += len(part) + 1
	}
	if at.leaf >= 0 {
		return &PathError{path, 0, "the path is read twice"}
	}
	at.leaf = index
	each := false
	for i := len(trail) - 1; i >= 0; i-- {
		trail[i].within = append(trail[i].within, leafOf{index, each})
		each = each || eachAt[i]
	}
	return nil
}

// child finds or makes the place of a member.
func (p *place) child(name string) *place {
	for i := range p.names {
		if p.names[i] == name {
			return p.children[i]
		}
	}
	made := &place{leaf: -1, many: p.many}
	p.names, p.folds, p.children = append(p.names, name), append(p.folds, []byte(name)), append(p.children, made)
	return made
}
