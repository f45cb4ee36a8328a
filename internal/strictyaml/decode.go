package strictyaml

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Decoder reads values out of a document and gathers every complaint on the way. Its methods take a nil node as a value that is
// not there: they return the zero value and do not complain. A Decoder is for one goroutine.
type Decoder struct{ c *collector }

// NewDecoder starts with no complaints.
func NewDecoder(doc *Document) *Decoder {
	return &Decoder{c: &collector{file: doc.File, lines: doc.lines}}
}

// Errors returns the complaints so far, sorted by position, at most 100; nil when there are none.
func (d *Decoder) Errors() Errors { return d.c.errors() }

// Errorf complains about a node; about the top of the file when the node is nil. The hint says what to write instead.
func (d *Decoder) Errorf(n *Node, hint, format string, args ...any) {
	at := n.Pos()
	if at == (Pos{}) {
		at = Pos{1, 1}
	}
	d.ErrorAt(at, hint, format, args...)
}

// ErrorAt complains about a place.
func (d *Decoder) ErrorAt(at Pos, hint, format string, args ...any) {
	d.c.add(at, hint, format, args...)
}

// Mapping is a decoded map. A nil or empty Mapping has no keys.
type Mapping struct {
	node  *Node
	index map[string]*entry
}

// Node is the node the map was read from; nil when there was no map.
func (m *Mapping) Node() *Node { return m.node }

// OK says that there was a map, even an empty one.
func (m *Mapping) OK() bool { return m.node != nil }

// Get returns the value of a key, or nil when the key is not there. A key written with no value gives a Null node.
func (m *Mapping) Get(key string) *Node {
	if e := m.find(key); e != nil {
		return e.value
	}
	return nil
}

// Pos is where the key stands; the map's own place when the key is not there.
func (m *Mapping) Pos(key string) Pos {
	if e := m.find(key); e != nil {
		return e.pos
	}
	return m.node.Pos()
}

// Keys lists the keys in the order of the file.
func (m *Mapping) Keys() []string {
	if m.node == nil {
		return nil
	}
	keys := make([]string, len(m.node.entries))
	for i, e := range m.node.entries {
		keys[i] = e.key
	}
	return keys
}

// indexFrom is the number of keys from which a map is looked up by an index: claims and issuers can be many.
const indexFrom = 16

func (m *Mapping) find(key string) *entry {
	if m.node == nil {
		return nil
	}
	if m.index != nil {
		return m.index[key]
	}
	for i := range m.node.entries {
		if m.node.entries[i].key == key {
			return &m.node.entries[i]
		}
	}
	return nil
}

// OpenMap reads a map of any keys.
func (d *Decoder) OpenMap(n *Node) *Mapping {
	if n == nil {
		return &Mapping{}
	}
	if n.kind != Map {
		d.wrong(n, "a map")
		return &Mapping{}
	}
	m := &Mapping{node: n}
	if len(n.entries) >= indexFrom {
		m.index = make(map[string]*entry, len(n.entries))
		for i := range n.entries {
			m.index[n.entries[i].key] = &n.entries[i]
		}
	}
	return m
}

// Map reads a map whose keys must be among the known ones; each other key is an error that offers the nearest known one.
func (d *Decoder) Map(n *Node, known ...string) *Mapping {
	m := d.OpenMap(n)
	if m.node == nil {
		return m
	}
	for _, e := range m.node.entries {
		if !slices.Contains(known, e.key) {
			d.ErrorAt(e.pos, Suggest(e.key, known), "unknown key %q", clip(e.key))
		}
	}
	return m
}

// Require returns the value of a key and complains when the key is not there. It is silent when there was no map at all,
// because that was complained about already.
func (d *Decoder) Require(m *Mapping, key, hint string) *Node {
	n := m.Get(key)
	if n == nil && m.OK() {
		d.Errorf(m.node, hint, "missing key %q", key)
	}
	return n
}

// List reads the elements of a list; nil when it is none.
func (d *Decoder) List(n *Node) []*Node {
	if n == nil {
		return nil
	}
	if n.kind != List {
		d.wrong(n, "a list")
		return nil
	}
	return n.items
}

// Text reads text: a quoted or block scalar, or a plain one that no YAML reader takes for anything else.
func (d *Decoder) Text(n *Node) (string, bool) {
	if n == nil {
		return "", false
	}
	switch {
	case n.kind == String && n.plain && ambiguousWord(n.text):
		d.Errorf(n, quoted(n.text), "%s is a boolean to some YAML readers, not text", n.text)
		return "", false
	case n.kind == String:
		return n.text, true
	}
	d.wrong(n, "text")
	return "", false
}

// Texts reads a list of text. It returns false when any element is not text.
func (d *Decoder) Texts(n *Node) ([]string, bool) {
	if n == nil {
		return nil, false
	}
	if n.kind != List {
		d.wrong(n, "a list of text")
		return nil, false
	}
	out, ok := make([]string, 0, len(n.items)), true
	for _, item := range n.items {
		s, good := d.Text(item)
		out, ok = append(out, s), ok && good
	}
	return out, ok
}

// Bool reads true or false, the only two spellings all YAML readers agree on.
func (d *Decoder) Bool(n *Node) (value, ok bool) {
	if n == nil {
		return false, false
	}
	if n.kind == Bool && (n.text == "true" || n.text == "false") {
		return n.text == "true", true
	}
	d.wrong(n, "true or false")
	return false, false
}

// Bool11 reads a boolean as YAML 1.1 does: yes, no, on, off, y, n, true and false, in lower case, upper case or capitalised,
// without quotes. Only files in a format that is not ours need it.
func (d *Decoder) Bool11(n *Node) (value, ok bool) {
	if n == nil {
		return false, false
	}
	if n.plain && (n.kind == Bool || n.kind == String) {
		lower := strings.ToLower(n.text)
		if n.text == lower || n.text == strings.ToUpper(n.text) || n.text == strings.ToUpper(lower[:1])+lower[1:] {
			switch lower {
			case "true", "yes", "on", "y":
				return true, true
			case "false", "no", "off", "n":
				return false, true
			}
		}
	}
	d.wrong(n, "true or false")
	return false, false
}

// Int reads a whole number in plain decimal, within the bounds, both included.
func (d *Decoder) Int(n *Node, least, most int64) (int64, bool) {
	if n == nil {
		return 0, false
	}
	if n.kind != Int {
		d.wrong(n, "a whole number")
		return 0, false
	}
	if !decimal(n.text) {
		d.Errorf(n, "write it in plain decimal, like 12", "%s means different numbers to different YAML readers", clip(n.text))
		return 0, false
	}
	value, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil || value < least || value > most {
		d.Errorf(n, bounds(least, most), "%s is out of range", clip(n.text))
		return 0, false
	}
	return value, true
}

func bounds(least, most int64) string {
	if most == math.MaxInt64 {
		return fmt.Sprintf("at least %d", least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// Duration reads a length of time like "15m" or "1h30m", within the bounds, both included.
func (d *Decoder) Duration(n *Node, least, most time.Duration) (time.Duration, bool) {
	if n == nil {
		return 0, false
	}
	if n.kind == Int || n.kind == Float {
		d.Errorf(n, fmt.Sprintf("write the unit: %ss, %sm or %sh", n.text, n.text, n.text), "a length of time needs its unit")
		return 0, false
	}
	s, ok := d.Text(n)
	if !ok {
		return 0, false
	}
	value, err := time.ParseDuration(s)
	if err != nil {
		d.Errorf(n, "write it like 500ms, 10s, 15m or 1h30m", "%q is not a length of time", clip(s))
		return 0, false
	}
	if value < least || value > most {
		d.Errorf(n, fmt.Sprintf("%v to %v", least, most), "%s is out of range", clip(s))
		return 0, false
	}
	return value, true
}

// SourceText returns what stands in the file for a scalar: 012 and 1.10 as they are written, quoted text without its quotes. It
// is empty for null, for maps and lists, and for nil. Formats in which any scalar is text read it.
func SourceText(n *Node) string {
	switch n.Kind() {
	case String, Int, Float, Bool:
		return n.text
	}
	return ""
}

// wrong complains that a node is not of the wanted kind.
func (d *Decoder) wrong(n *Node, wanted string) {
	hint := ""
	switch {
	case n.kind == Null && n.text == "":
		d.Errorf(n, "write the value, or remove the key", "%s is missing", wanted)
		return
	case wanted == "text" && (n.kind == Int || n.kind == Float || n.kind == Bool || n.kind == Null):
		hint = quoted(n.text)
	case wanted == "text" && n.kind == List && len(n.items) == 1:
		hint = "write it without brackets or dash"
	case wanted == "text" && n.kind == Map:
		hint = "quote text that holds braces or a colon and a space"
	case wanted == "a list of text" && n.kind == String:
		hint = fmt.Sprintf("write [%s]", clip(n.text))
	case wanted == "true or false" && (n.kind == String || n.kind == Bool):
		hint = "write true or false"
	case n.kind == String && !n.plain && wanted == "a whole number":
		hint = "remove the quotes"
	}
	if n.kind == Map || n.kind == List {
		d.Errorf(n, hint, "this is %s where %s is meant", n.kind, wanted)
		return
	}
	d.Errorf(n, hint, "%s is %s where %s is meant", shown(n), n.kind, wanted)
}

// shown is a scalar as it stands in the file, shortened.
func shown(n *Node) string {
	if n.kind == String {
		return strconv.Quote(clip(n.text))
	}
	return clip(n.text)
}

func quoted(s string) string { return `write it in quotes: "` + clip(s) + `"` }

// Suggest is the hint for a word that is not among the known ones: the nearest of them, or the whole list.
func Suggest(key string, known []string) string {
	if best, ok := Nearest(key, known); ok {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(known) == 0 {
		return "nothing is allowed here"
	}
	return "one of: " + strings.Join(known, ", ")
}

// Nearest is the known word that a word is probably a misspelling of; false if it resembles none of them.
func Nearest(word string, known []string) (string, bool) {
	best, least := "", 3
	folded := fold(word)
	for _, k := range known {
		if n := distance(folded, fold(k), least); n < least && n <= max(1, len(k)/3) {
			best, least = k, n
		}
	}
	return best, best != ""
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(clip(s)), "-", "_") }

// distance counts the edits between two short words, giving up at most. Two neighbours that changed places are one edit: no slip of the
// fingers is more frequent.
func distance(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last, row = last, row, before
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = last[j]
			if a[i] != b[j] {
				row[j+1] = 1 + min(last[j], row[j], last[j+1])
			}
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], 1+before[j-1])
			}
		}
	}
	return row[len(b)]
}
