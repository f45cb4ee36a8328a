package openapi

import (
	"bytes"
	"errors"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// node is one value of the document, whatever it was written in. A nil node is a value that is not there.
type node struct {
	kind strictyaml.Kind
	pos  strictyaml.Pos
	// text is a string's own, or JSON's spelling of another scalar.
	text string
	// wrong says why the scalar has no one meaning; the words of an example may.
	wrong string
	keys  []string
	at    []strictyaml.Pos // of the keys
	items []*node          // of a list, or beside keys
	index map[string]int   // of a map with many keys
}

// indexFrom is how many keys make looking one up cheaper by a table.
const indexFrom = 16

func (n *node) is(kind strictyaml.Kind) bool { return n != nil && n.kind == kind }

func (n *node) place() strictyaml.Pos {
	if n == nil {
		return strictyaml.Pos{Line: 1, Column: 1}
	}
	return n.pos
}

// get returns the value of a key, nil where there is none or n is no map.
func (n *node) get(key string) *node {
	if i := n.find(key); i >= 0 {
		return n.items[i]
	}
	return nil
}

// keyPos is the place of a key, or the node's own.
func (n *node) keyPos(key string) strictyaml.Pos {
	if i := n.find(key); i >= 0 {
		return n.at[i]
	}
	return n.place()
}

func (n *node) find(key string) int {
	if !n.is(strictyaml.Map) {
		return -1
	}
	if n.index != nil {
		if i, ok := n.index[key]; ok {
			return i
		}
		return -1
	}
	for i, k := range n.keys {
		if k == key {
			return i
		}
	}
	return -1
}

// str is the text of a string, "" for all else.
func (n *node) str() string {
	if n.is(strictyaml.String) {
		return n.text
	}
	return ""
}

func (n *node) truth() bool { return n.is(strictyaml.Bool) && n.text == "true" }

// list are the elements of a list, none for all else.
func (n *node) list() []*node {
	if n.is(strictyaml.List) {
		return n.items
	}
	return nil
}

// put adds an entry to a map that is being built.
func (n *node) put(key string, at strictyaml.Pos, value *node) {
	n.keys, n.at, n.items = append(n.keys, key), append(n.at, at), append(n.items, value)
	switch {
	case n.index != nil:
		n.index[key] = len(n.keys) - 1
	case len(n.keys) == indexFrom:
		n.index = make(map[string]int, 2*indexFrom)
		for i, k := range n.keys {
			n.index[k] = i
		}
	}
}

// parse reads the text. A document that begins with a brace is JSON.
func parse(r *report, data []byte) *node {
	if len(data) > MaxBytes {
		r.add(strictyaml.Pos{Line: 1, Column: 1}, "split it, one document a service", "the document is larger than %d bytes", MaxBytes)
		return nil
	}
	var root *node
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		root = parseJSON(r, data)
	} else {
		root = parseYAML(r, data)
	}
	if !r.failed() && root.kind != strictyaml.Map {
		r.add(root.pos, "", "an OpenAPI document is a map: openapi, info, paths")
	}
	return root
}

func parseYAML(r *report, data []byte) *node {
	r.lines = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	doc, errs := strictyaml.ParseWith(r.file, data, strictyaml.Options{NumberKeys: true, PlainLines: true, MaxBytes: MaxBytes})
	if len(errs) > 0 {
		r.errs = append(r.errs, errs...)
		return nil
	}
	return fromYAML(strictyaml.NewDecoder(doc), doc.Root)
}

// fromYAML takes over a node. A scalar that YAML readers understand differently is marked, and complained about where it is read.
func fromYAML(d *strictyaml.Decoder, n *strictyaml.Node) *node {
	out := &node{kind: n.Kind(), pos: n.Pos(), text: strictyaml.SourceText(n)}
	switch n.Kind() {
	case strictyaml.Map:
		m := d.OpenMap(n)
		for _, key := range m.Keys() {
			out.put(key, m.Pos(key), fromYAML(d, m.Get(key)))
		}
	case strictyaml.List:
		for _, item := range d.List(n) {
			out.items = append(out.items, fromYAML(d, item))
		}
	case strictyaml.Null:
		out.text = "null"
	case strictyaml.String:
		if _, ok := d.Text(n); !ok {
			out.wrong = "is a boolean to some YAML readers and text to others: write it in quotes"
		}
	case strictyaml.Bool:
		if out.text != "true" && out.text != "false" {
			out.wrong = "is no boolean to some YAML readers: write true or false, or quote it"
		}
	case strictyaml.Int, strictyaml.Float:
		if !jsontext.Value(out.text).IsValid() {
			out.wrong = "is not the same number to all YAML readers: write it as JSON would, or quote it"
		}
	}
	return out
}

// jsonReader turns JSON into nodes. jsontext refuses duplicate names, broken UTF-8 and lone surrogates.
type jsonReader struct {
	r      *report
	dec    *jsontext.Decoder
	data   []byte
	starts []int // of the lines
	// seen and at are the newest place asked for: on one long line, counting from its start each time would take for ever.
	seen int
	at   strictyaml.Pos
}

func parseJSON(r *report, data []byte) *node {
	r.lines = strings.Split(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n")
	j := &jsonReader{r: r, dec: jsontext.NewDecoder(bytes.NewReader(data)), data: data, starts: []int{0}}
	for i, c := range data {
		if c == '\n' {
			j.starts = append(j.starts, i+1)
		}
	}
	root := j.value(0)
	if !r.failed() {
		if rest := bytes.TrimLeft(data[j.dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
			r.add(j.pos(len(data)-len(rest)), "", "something follows the document")
		}
	}
	return root
}

// pos is the place of a byte.
func (j *jsonReader) pos(offset int) strictyaml.Pos {
	offset = min(max(offset, 0), len(j.data))
	line := sort.SearchInts(j.starts, offset+1) - 1
	if j.at.Line == line+1 && offset >= j.seen {
		j.at.Column += utf8.RuneCount(j.data[j.seen:offset])
	} else {
		j.at = strictyaml.Pos{Line: line + 1, Column: utf8.RuneCount(j.data[j.starts[line]:offset]) + 1}
	}
	j.seen = offset
	return j.at
}

// value reads the next value, at a depth of open maps and lists.
func (j *jsonReader) value(depth int) *node {
	kind := j.dec.PeekKind()
	if kind == '{' || kind == '[' {
		return j.composite(kind, depth)
	}
	raw, ok := j.scalar()
	if !ok {
		return nil
	}
	out := &node{pos: j.pos(int(j.dec.InputOffset()) - len(raw)), text: string(raw)}
	switch raw[0] {
	case '"':
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			j.fail(err)
			return nil
		}
		out.kind, out.text = strictyaml.String, string(text)
	case 't', 'f':
		out.kind = strictyaml.Bool
	case 'n':
		out.kind = strictyaml.Null
	default:
		out.kind = strictyaml.Float
	}
	return out
}

func (j *jsonReader) scalar() (jsontext.Value, bool) {
	raw, err := j.dec.ReadValue()
	if err != nil {
		j.fail(err)
		return nil, false
	}
	return raw, true
}

func (j *jsonReader) composite(kind jsontext.Kind, depth int) *node {
	if _, err := j.dec.ReadToken(); err != nil {
		j.fail(err)
		return nil
	}
	out := &node{kind: strictyaml.Map, pos: j.pos(int(j.dec.InputOffset()) - 1)}
	if kind == '[' {
		out.kind = strictyaml.List
	}
	if depth >= MaxDepth {
		j.r.add(out.pos, "", "nested more than %d deep", MaxDepth)
		return nil
	}
	for end := j.dec.PeekKind(); end != '}' && end != ']'; end = j.dec.PeekKind() {
		if !j.element(out, depth) {
			return nil
		}
	}
	if _, err := j.dec.ReadToken(); err != nil {
		j.fail(err)
		return nil
	}
	return out
}

func (j *jsonReader) element(out *node, depth int) bool {
	key, at := "", strictyaml.Pos{}
	if out.kind == strictyaml.Map {
		raw, ok := j.scalar()
		if !ok {
			return false
		}
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			j.fail(err)
			return false
		}
		key, at = string(text), j.pos(int(j.dec.InputOffset())-len(raw))
	}
	value := j.value(depth + 1)
	if value == nil {
		return false
	}
	if out.kind == strictyaml.Map {
		out.put(key, at, value)
	} else {
		out.items = append(out.items, value)
	}
	return true
}

// fail reports jsontext's error at its byte.
func (j *jsonReader) fail(err error) {
	at := j.pos(int(j.dec.InputOffset()))
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		at = j.pos(int(syntax.ByteOffset))
		if errors.Is(err, jsontext.ErrDuplicateName) {
			j.r.add(at, "keep one of them", "duplicate key %q", clip(syntax.JSONPointer.LastToken()))
			return
		}
	}
	j.r.add(at, "", "this is not JSON: %s", strings.TrimPrefix(err.Error(), "jsontext: "))
}

// clip shortens text of the document for a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// names are the keys of a map, none for all else.
func (n *node) names() []string {
	if n.is(strictyaml.Map) {
		return n.keys
	}
	return nil
}

// values are the values of a map, none for all else.
func (n *node) values() []*node {
	if n.is(strictyaml.Map) {
		return n.items
	}
	return nil
}
