package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// The bounds of one configuration. YAML is for what people write, and has those of [strictyaml].
const (
	// MaxBytes is the largest JSON read, a dump of a large mesh: 64 MiB.
	MaxBytes = 64 << 20

	maxDepth = 100
	maxNodes = 8 << 20
)

// file is a configuration as a tree.
type file struct {
	name string
	data []byte
	root *node
}

// readFile reads JSON or YAML, whichever it is. YAML that begins with a brace is YAML if it is not JSON.
func readFile(name string, data []byte) (*file, error) {
	first := bytes.TrimLeft(data, " \t\r\n")
	if len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		root, err := readJSON(name, data)
		if err == nil {
			return &file{name: name, data: data, root: root}, nil
		}
		if strings.HasSuffix(name, ".json") || len(data) > strictyaml.MaxBytes {
			return nil, err
		}
	}
	// Aliases: bootstrap files use them, and Envoy expands them.
	doc, errs := strictyaml.ParseWith(name, data, strictyaml.Options{Aliases: true})
	if len(errs) > 0 {
		return nil, fmt.Errorf("this is no JSON, and no YAML that every reader reads alike (a running Envoy's /config_dump can be examined instead):\n%s", errs.Pretty())
	}
	return &file{name: name, data: data, root: fromYAML(strictyaml.NewDecoder(doc), doc.Root)}, nil
}

// fromYAML turns a document's nodes into ours. The document's own bounds hold: depth, and the number of values with aliases expanded.
func fromYAML(d *strictyaml.Decoder, n *strictyaml.Node) *node {
	out := &node{pos: n.Pos()}
	switch n.Kind() {
	case strictyaml.Map:
		out.kind = object
		m := d.OpenMap(n)
		for _, key := range m.Keys() {
			out.fields = append(out.fields, field{name: key, pos: m.Pos(key), value: fromYAML(d, m.Get(key))})
		}
	case strictyaml.List:
		out.kind = list
		for _, item := range d.List(n) {
			out.items = append(out.items, fromYAML(d, item))
		}
	case strictyaml.Null, strictyaml.Absent:
		out.kind = null
	default:
		out.kind, out.text = scalar, strictyaml.SourceText(n)
	}
	return out.indexed()
}

// jsonReader reads JSON and remembers where everything stands.
type jsonReader struct {
	name    string
	data    []byte
	decoder *json.Decoder
	end     int // of the last token
	nodes   int

	// The cursor walks forward only, so that places cost one pass.
	at  int
	pos strictyaml.Pos
}

func readJSON(name string, data []byte) (*node, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, MaxBytes>>20)
	}
	r := &jsonReader{name: name, data: data, decoder: json.NewDecoder(bytes.NewReader(data)), pos: strictyaml.Pos{Line: 1, Column: 1}}
	r.decoder.UseNumber()
	root, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, r.failed(errors.New("something stands behind the end"))
	}
	return root, nil
}

// token is the next token and its place.
func (r *jsonReader) token() (json.Token, strictyaml.Pos, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return nil, r.pos, r.failed(err)
	}
	from := r.end
	for from < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[from]) >= 0 {
		from++
	}
	r.end = int(r.decoder.InputOffset())
	r.walk(from)
	return token, r.pos, nil
}

func (r *jsonReader) walk(to int) {
	for r.at < to {
		char, size := utf8.DecodeRune(r.data[r.at:])
		r.at += size
		r.pos.Column++
		if char == '\n' {
			r.pos.Line, r.pos.Column = r.pos.Line+1, 1
		}
	}
}

func (r *jsonReader) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too soon")
	}
	return fmt.Errorf("%s:%d:%d: this is no JSON: %w", r.name, r.pos.Line, r.pos.Column, err)
}

func (r *jsonReader) value(depth int) (*node, error) {
	token, pos, err := r.token()
	if err != nil {
		return nil, err
	}
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return nil, r.failed(fmt.Errorf("more than %d values, or nested more than %d deep", maxNodes, maxDepth))
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return r.object(pos, depth)
		}
		return r.list(pos, depth)
	case string:
		return &node{kind: scalar, text: token, pos: pos}, nil
	case json.Number:
		return &node{kind: scalar, text: token.String(), pos: pos}, nil
	case bool:
		return &node{kind: scalar, text: fmt.Sprint(token), pos: pos}, nil
	}
	return &node{kind: null, pos: pos}, nil
}

func (r *jsonReader) object(pos strictyaml.Pos, depth int) (*node, error) {
	out := &node{kind: object, pos: pos}
	seen := map[string]bool{}
	for r.decoder.More() {
		token, at, err := r.token()
		if err != nil {
			return nil, err
		}
		name, isText := token.(string)
		if !isText || seen[name] {
			return nil, r.failed(fmt.Errorf("the key %v twice, or no key", token))
		}
		seen[name] = true
		inner, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out.fields = append(out.fields, field{name: name, pos: at, value: inner})
	}
	_, _, err := r.token() // the closing brace
	return out.indexed(), err
}

func (r *jsonReader) list(pos strictyaml.Pos, depth int) (*node, error) {
	out := &node{kind: list, pos: pos}
	for r.decoder.More() {
		inner, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, inner)
	}
	_, _, err := r.token() // the closing bracket
	return out, err
}

// longestLine is how long a line may be to be shown: a dump without line ends is one line of megabytes.
const longestLine = 4096

// linesAt are the source lines of the given numbers, from one.
func (f *file) linesAt(wanted map[int]bool) map[int]string {
	found := make(map[int]string, len(wanted))
	number := 0
	for line := range bytes.Lines(f.data) {
		if number++; wanted[number] && len(line) <= longestLine {
			found[number] = strings.TrimRight(string(line), "\r\n")
		}
	}
	return found
}
