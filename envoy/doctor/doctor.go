// Package doctor reads the configuration of an Envoy and finds what would make a policy lie: a door that asks nobody, a failure that
// opens, a body that the gate never sees, a limit that no descriptor reaches. It is a room of its own because it is pure: bytes in,
// findings out. It walks the tree of a file, not the protos, so that an extension which it does not know is a note and never an error.
//
// What it knows of Envoy was seen on Envoy 1.40 with real traffic. It looks at what a configuration says, not at who can reach whom:
// an upstream that can be had past Envoy is for the network's rules.
package doctor

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Severity says what a finding means for the policy.
type Severity uint8

// The severities, the worst first.
const (
	// Open lets something pass unchecked or uncounted. It is the zero value.
	Open Severity = iota
	// Weak leaves the gates less to judge by than the policy supposes, or more to a client than it should have.
	Weak
	// Broken makes requests fail that the policy would allow.
	Broken
	// Note is what was not understood and might matter, or is good to know. A note alone is no finding.
	Note
)

var severities = [...]string{"open", "weak", "broken", "note"}

// String is the word that the output uses.
func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return "unknown"
}

// MarshalText writes the severity as its word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is one thing that is wrong at one place.
type Finding struct {
	// ID is a [Kind]'s, stable over versions.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	// Subject is the listener or the cluster that is meant, in words; it may be empty.
	Subject string `json:"subject,omitempty"`
	// Path is the way to the place as jq takes it. What is missing has the path that it would have.
	Path string `json:"path"`
	// Line and Column count from one; of something that is missing they are those of what would hold it. Column counts characters.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Text is the source line; empty where it is too long to be shown.
	Text string `json:"text,omitempty"`
	// Detail is what was seen here; it may be empty.
	Detail string `json:"detail,omitempty"`
	// Reason is why it matters, Mend what to write.
	Reason string `json:"reason"`
	Mend   string `json:"mend"`
}

// String is the finding for a person: the place, what it is, the source line, why, and what to write.
func (f Finding) String(file string) string {
	what := fmt.Sprintf("%s: %s", f.Severity, f.ID)
	if f.Subject != "" {
		what += ": " + f.Subject
	}
	if f.Detail != "" {
		what += ": " + f.Detail
	}
	line := strings.Map(func(r rune) rune {
		if hidden(r) {
			return ' ' // one column wide, so that the caret stands where it should
		}
		return r
	}, f.Text)
	at := &strictyaml.Error{File: file, Pos: strictyaml.Pos{Line: f.Line, Column: f.Column}, Msg: what, Line: line}
	return fmt.Sprintf("%s\n      . %s\n      = %s\n      @ %s", at.Pretty(), f.Reason, f.Mend, f.Path)
}

// most is how many findings are told. A configuration with more is not mended by a longer list.
const most = 1000

// place is where a kind of finding was found. Neither tells all apart: long keys are cut in paths, and what is missing has the place of what would hold it.
type place struct {
	id, path string
	pos      strictyaml.Pos
}

// exam is one examination.
type exam struct {
	config *Config
	policy *policy.Policy // nil: not given
	limits *limits.Table  // nil: not given
	found  []Finding

	ignored []Ignore // set aside
	matched []bool   // which of them met a finding
	aside   int      // findings that were

	here     value // the listener that is being examined
	outbound bool  // it is for requests of the app itself

	seen  map[place]bool  // a route configuration may serve many listeners
	sites map[string]bool // services of the policy that some route asks for

	wants []want // headers that the gate must see; nil until they are asked for

	expressions map[string]*regexp.Regexp  // compiled; nil where wrong
	shared      map[string]map[string]bool // by route configuration: the filters of all doors that use it
	hosts       map[hosting]bool           // whether a service's requests can enter a virtual host
}

// Examine finds what is wrong with a configuration, and with what it means for a policy and for limits; each may be nil, and is then
// not spoken of. The findings are in the order of the file, at most 1,000. It is safe for concurrent use.
func Examine(c *Config, p *policy.Policy, t *limits.Table) []Finding {
	return ExamineBut(c, p, t, nil).Findings
}

// Diagnosis is what an examination found.
type Diagnosis struct {
	// Findings as [Examine] returns them, without those that were set aside; Ignored counts these.
	Findings []Finding
	Ignored  int
	// Unmatched are orders to set aside that no finding met: what they were for is gone, or has moved.
	Unmatched []Ignore
}

// ExamineBut is [Examine] with findings set aside. They do not count among the 1,000.
func ExamineBut(c *Config, p *policy.Policy, t *limits.Table, ignored []Ignore) Diagnosis {
	e := &exam{
		config: c, policy: p, limits: t, ignored: ignored, matched: make([]bool, len(ignored)), seen: map[place]bool{}, sites: map[string]bool{}, expressions: map[string]*regexp.Regexp{}, hosts: map[hosting]bool{},
	}
	e.admin()
	if c.listenersElsewhere.there() {
		e.add("elsewhere", c.listenersElsewhere, "", "listeners come from a management server too")
	}
	for _, listener := range c.listeners {
		e.listener(listener)
	}
	e.services()
	slices.SortStableFunc(e.found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.ID, b.ID))
	})
	e.showLines()
	d := Diagnosis{Findings: e.found, Ignored: e.aside}
	for i, ignore := range ignored {
		if !e.matched[i] {
			d.Unmatched = append(d.Unmatched, ignore)
		}
	}
	return d
}

// Wrong reports whether findings hold more than notes.
func Wrong(found []Finding) bool {
	return slices.ContainsFunc(found, func(f Finding) bool { return f.Severity != Note })
}

// add tells a finding, once for each place.
func (e *exam) add(id string, at value, subject, format string, args ...any) {
	k, known := byID[id]
	if !known {
		panic("envoy/doctor: internal error: no kind of finding is called " + id) // every id is a constant, and has a test
	}
	if len(e.found) >= most {
		return
	}
	path := at.path()
	key := place{id: id, path: path, pos: at.pos}
	if e.seen[key] {
		return
	}
	e.seen[key] = true
	if e.ignores(id, path) {
		e.aside++
		return
	}
	e.found = append(e.found, Finding{
		ID: id, Severity: k.Severity, Subject: shown(subject), Path: path, Line: at.pos.Line, Column: at.pos.Column,
		Detail: shown(fmt.Sprintf(format, args...)), Reason: k.Reason, Mend: k.Mend,
	})
}

// mostShown bounds the text of a configuration in a finding.
const mostShown = 300

// shown is text of the configuration as a terminal may have it: what is no character that shows is escaped, and it is not without end.
func shown(text string) string {
	runes := []rune(text)
	if len(runes) > mostShown {
		runes = append(runes[:mostShown], []rune("...")...)
	}
	return Visible(string(runes))
}

// Visible writes what does not show of a text, such as control characters and marks of direction, as JSON escapes it: \u009b.
func Visible(text string) string {
	if !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

// when adds a finding without detail if a condition holds.
func (e *exam) when(wrong bool, id string, at value, subject string) {
	if wrong {
		e.add(id, at, subject, "")
	}
}

func (e *exam) showLines() {
	wanted := map[int]bool{}
	for _, f := range e.found {
		wanted[f.Line] = true
	}
	lines := e.config.file.linesAt(wanted)
	for i := range e.found {
		e.found[i].Text = lines[e.found[i].Line]
	}
}
