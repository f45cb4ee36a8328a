package envoy

import (
	"fmt"
	"strings"
)

// file is a reference file on its way into a configuration. Its parts are found by the lines that begin them, so that what is hardened is
// written once, in the reference file; a line that is not there is a defect of ours, which the tests of every file would show.
type file struct {
	text string
	err  error
}

// replace puts something else in the place of what begins with one line and ends before another.
func (f *file) replace(from, to string, with func(string) string) {
	if f.err != nil {
		return
	}
	before, rest, begins := f.cut(f.text, from)
	middle, after, ends := f.cut(from+rest, to)
	if !begins || !ends {
		f.err = fmt.Errorf("envoy: internal error: no part from %q to %q", from, to)
		return
	}
	f.text = before + with(middle) + to + after
}

// cut parts a text before the line that begins with a text.
func (f *file) cut(text, at string) (before, after string, ok bool) {
	if strings.HasPrefix(text, at) {
		return "", text[len(at):], true
	}
	before, after, ok = strings.Cut(text, "\n"+at)
	return before + "\n", after, ok
}

// drop takes out what ends before a line; from "" it is all that stands there.
func (f *file) drop(from, to string) { f.replace(from, to, func(string) string { return "" }) }

// after puts something behind a line.
func (f *file) after(line, more string) {
	if f.err != nil {
		return
	}
	before, rest, ok := f.cut(f.text, line)
	if !ok {
		f.err = fmt.Errorf("envoy: internal error: no line %q", line)
		return
	}
	f.text = before + line + more + rest
}

// fragments leaves what goes into a listener of one's own, each part under a key.
func (f *file) fragments(kind string) {
	if f.err != nil {
		return
	}
	begins, ends := "          stat_prefix: edge\n", "  clusters:\n"
	if kind == "sidecar" {
		begins, ends = "          stat_prefix: inbound\n", "  # For the kubelet"
	}
	_, runtime, ok := f.cut(f.text, "# Patterns of the policy")
	runtime, _, ok2 := f.cut("# Patterns of the policy"+runtime, "static_resources:\n")
	_, manager, ok3 := f.cut(f.text, begins)
	manager, _, ok4 := f.cut(begins+manager, ends)
	_, clusters, ok5 := f.cut(f.text, "  clusters:\n")
	if !ok || !ok2 || !ok3 || !ok4 || !ok5 {
		f.err = fmt.Errorf("envoy: internal error: %s.yaml has no part for a listener of one's own", kind)
		return
	}
	f.text = "http_connection_manager:\n" + outdent(manager, 8) + runtime + "clusters:\n" + outdent(clusters, 2)
}

// outdent moves lines to the left.
func outdent(text string, by int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimPrefix(line, strings.Repeat(" ", by)))
	}
	return out.String()
}
