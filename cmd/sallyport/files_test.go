package main

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// What is said of a folder is true of each of its files: which is not in force, and what is served in its place.
func TestNotInForce(t *testing.T) {
	bad := func(name string, lastGood bool) fileState {
		return fileState{Name: name, LastGood: lastGood, Errors: strictyaml.Errors{{File: name, Pos: strictyaml.Pos{Line: 2, Column: 1}, Msg: "no"}}}
	}
	good := func(name string) fileState { return fileState{Name: name} }
	for _, c := range []struct {
		name        string
		before, now []fileState
		says        []string // nil: all is in force
		partly      bool
	}{
		{"all good", nil, []fileState{good("a"), good("b")}, nil, false},
		{"one never good", nil, []fileState{good("a"), bad("b", false)}, []string{"b is not in force, and nothing is in its place (unserved)", "b:2:1: no"}, true},
		{"one no longer good", []fileState{good("a"), good("b")}, []fileState{good("a"), bad("b", true)}, []string{"b is not in force, its last good version is", "b:2:1: no"}, true},
		{"both no longer good", []fileState{good("a"), good("b")}, []fileState{bad("a", true), bad("b", true)}, []string{"a:2:1: no", "b:2:1: no"}, false},
		{"one removed, the other no longer good", []fileState{good("a"), good("b")}, []fileState{bad("b", true)}, []string{"b:2:1: no"}, true},
		{"one renamed and no longer good", []fileState{good("a")}, []fileState{bad("b", false)}, []string{"b is not in force, and nothing is in its place"}, true},
		{"a single file", []fileState{good("a")}, []fileState{bad("a", true)}, []string{"a is not in force, its last good version is"}, false},
	} {
		err := notInForce(c.before, c.now, "unserved")
		if (err == nil) != (c.says == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %q", c.name, err, text)
			}
		}
		if partly := err != nil && daemon.IsPartly(err); partly != c.partly {
			t.Errorf("%s: in force in part is %t, want %t", c.name, partly, c.partly)
		}
	}
}
