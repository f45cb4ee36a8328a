package doctor

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// kind is what a node of a configuration holds.
type kind uint8

const (
	absent kind = iota
	object
	list
	scalar // text, a number or a boolean: protobuf's JSON writes the same value as any of them
	null
)

// node is one value of a file, with its place. It is immutable.
type node struct {
	kind   kind
	text   string // of a scalar, as it is written, without quotes
	fields []field
	items  []*node
	index  map[string]int // of the fields, where they are many
	pos    strictyaml.Pos
}

// indexFrom is the number of fields from which they are looked up by an index: a dump may hold a map of any size.
const indexFrom = 32

// indexed ends an object.
func (n *node) indexed() *node {
	if len(n.fields) < indexFrom {
		return n
	}
	n.index = make(map[string]int, len(n.fields))
	for i, f := range n.fields {
		n.index[f.name] = i
	}
	return n
}

type field struct {
	name  string
	pos   strictyaml.Pos
	value *node
}

// step is one step of the way from the top of the file to a value.
type step struct {
	before *step
	name   string
	index  int // of a list; -1 for a field
}

// value is a node and the way to it. A value that is not there knows where it would be, so that what is missing has a place too.
type value struct {
	n   *node
	way *step
	pos strictyaml.Pos // of its key, or of what would hold it
}

// get is a field by its name in the proto. Files may spell it in camel case, as protobuf's JSON does.
func (v value) get(names ...string) value {
	for _, name := range names {
		v = v.field(name)
	}
	return v
}

func (v value) field(name string) value {
	out := value{way: &step{before: v.way, name: name, index: -1}, pos: v.pos}
	if v.n == nil {
		return out
	}
	found := v.n.find(name)
	if found == nil && strings.Contains(name, "_") {
		found = v.n.find(camel(name))
	}
	if found != nil && found.value.kind != null {
		out.n, out.pos = found.value, found.pos
	}
	return out
}

func (n *node) find(name string) *field {
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return &n.fields[i]
		}
		return nil
	}
	for i := range n.fields {
		if n.fields[i].name == name {
			return &n.fields[i]
		}
	}
	return nil
}

// respelled finds a field that stands in an object in both spellings, the proto's (which is returned as name) and that of its JSON.
func (n *node) respelled() (again field, name string, twice bool) {
	known := map[string]string{}
	for _, f := range n.fields {
		if strings.Contains(f.name, "_") {
			known[camel(f.name)] = f.name
		}
	}
	if len(known) == 0 {
		return field{}, "", false
	}
	for _, f := range n.fields {
		if name, twice := known[f.name]; twice && name != f.name {
			return f, name, true
		}
	}
	return field{}, "", false
}

// camel spells a proto field's name as protobuf's JSON does.
func camel(name string) string {
	var b strings.Builder
	words := strings.Split(name, "_")
	b.WriteString(words[0])
	for _, word := range words[1:] {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// items are the elements of a list; none of what is no list.
func (v value) items() []value {
	if v.n == nil {
		return nil
	}
	all := make([]value, len(v.n.items))
	for i, item := range v.n.items {
		all[i] = value{n: item, way: &step{before: v.way, index: i}, pos: item.pos}
	}
	return all
}

// keys are the keys of a map in the order of the file.
func (v value) keys() []string {
	if v.n == nil {
		return nil
	}
	all := make([]string, len(v.n.fields))
	for i, f := range v.n.fields {
		all[i] = f.name
	}
	return all
}

func (v value) there() bool { return v.n != nil }

// str is the text of a scalar, "" for everything else.
func (v value) str() string {
	if v.n == nil || v.n.kind != scalar {
		return ""
	}
	return v.n.text
}

// yes reports whether the value is true. What is absent is false, as in proto3.
func (v value) yes() bool { return v.str() == "true" }

// is reports whether the value is an enum's member, by name or by number: protobuf's JSON takes both, and no other spelling of the number.
func (v value) is(name string, number int) bool {
	return v.str() == name || v.str() == strconv.Itoa(number)
}

// number is a whole number, or 0 for everything else.
func (v value) number() uint64 {
	n, _ := whole(v.str())
	return n
}

// mostExact is where numbers of JSON end that every reader has exactly (RFC 7493 section 2.2).
const mostExact = 1<<53 - 1

// whole reads a whole number as protobuf's JSON does, in quotes or not: in decimal digits, as 1e2 and 1.5e1, or hexadecimal.
func whole(text string) (uint64, bool) {
	digits := strings.TrimPrefix(text, "+")
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		return n, true
	}
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		n, err := strconv.ParseUint(digits[2:], 16, 64)
		return n, err == nil
	}
	if strings.Trim(digits, "0123456789.eE+-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || f < 0 || f > mostExact || f != math.Trunc(f) {
		return 0, false
	}
	return uint64(f), true
}

// duration is a protobuf duration; false where there is none.
func (v value) duration() (time.Duration, bool) {
	d, err := time.ParseDuration(v.str())
	return d, err == nil
}

// mostOfKey bounds a key in a path, in bytes: a key may be as long as the file, and be on the way to a thousand findings.
const mostOfKey = 100

// path is the way to the value as jq takes it, but for keys that are too long.
func (v value) path() string {
	var steps []*step
	for s := v.way; s != nil; s = s.before {
		steps = append(steps, s)
	}
	var b strings.Builder
	for i := len(steps) - 1; i >= 0; i-- {
		switch s := steps[i]; {
		case s.index >= 0:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case len(s.name) > mostOfKey:
			b.WriteString("[" + strconv.Quote(strings.ToValidUTF8(s.name[:mostOfKey], "")+"...") + "]")
		case plainKey(s.name):
			b.WriteString("." + s.name)
		default:
			b.WriteString("[" + strconv.Quote(s.name) + "]")
		}
	}
	if b.Len() == 0 {
		return "."
	}
	return b.String()
}

func plainKey(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}

// unpack is an extension's configuration and its type, without what wraps it: Any, or a struct that names its type.
func (v value) unpack() (kind string, config value) {
	kind = typeName(v.field("@type").str())
	if kind == "xds.type.v3.TypedStruct" || kind == "udpa.type.v1.TypedStruct" {
		return typeName(v.field("type_url").str()), v.field("value")
	}
	return kind, v
}

// typeName is the name in a type's URL: what stands behind the last slash.
func typeName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }
