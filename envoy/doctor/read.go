package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
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
	r := &yamlReader{name: name, decoder: strictyaml.NewDecoder(doc)}
	root := r.node(doc.Root)
	if r.err != nil {
		return nil, r.err
	}
	return &file{name: name, data: data, root: root}, nil
}

// yamlReader turns a document's nodes into ours. The document's own bounds hold: depth, and the number of values with aliases expanded.
type yamlReader struct {
	name    string
	decoder *strictyaml.Decoder
	err     error // the first
}

func (r *yamlReader) node(n *strictyaml.Node) *node {
	out := &node{pos: n.Pos()}
	switch n.Kind() {
	case strictyaml.Map:
		out.kind = object
		m := r.decoder.OpenMap(n)
		for _, key := range m.Keys() {
			out.fields = append(out.fields, field{name: key, pos: m.Pos(key), value: r.node(m.Get(key))})
		}
		if again, name, twice := out.respelled(); twice && r.err == nil {
			r.err = fmt.Errorf("%s:%d:%d: %w", r.name, again.pos.Line, again.pos.Column, errRespelled(again.name, name))
		}
	case strictyaml.List:
		out.kind = list
		for _, item := range r.decoder.List(n) {
			out.items = append(out.items, r.node(item))
		}
	case strictyaml.Null, strictyaml.Absent:
		out.kind = null
	default:
		out.kind, out.text = scalar, r.scalar(n)
	}
	return out.indexed()
}

// scalar is the text of a scalar as Envoy's reader (yaml-cpp) has it: without quotes, yes, on and their like are booleans, and a whole
// number that begins with 0x or 0 is hexadecimal or octal.
func (r *yamlReader) scalar(n *strictyaml.Node) string {
	text := strictyaml.SourceText(n)
	switch n.Kind() {
	case strictyaml.Bool, strictyaml.String:
		if len(text) > len("false") || !slices.Contains(booleans, strings.ToLower(text)) {
			return text
		}
		if yes, ok := r.decoder.Bool11(n); ok { // without quotes, which it sees
			return strconv.FormatBool(yes)
		}
	case strictyaml.Int:
		if digits := strings.TrimLeft(text, "+-"); strings.Contains(digits, "_") || len(digits) > 1 && strings.ContainsRune("oObB", rune(digits[1])) {
			return text // a number to other readers
		}
		if number, err := strconv.ParseInt(text, 0, 64); err == nil {
			return strconv.FormatInt(number, 10)
		}
	}
	return text
}

// booleans are the words that yaml-cpp takes for one.
var booleans = []string{"y", "yes", "on", "true", "n", "no", "off", "false"}

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
	if again, name, twice := out.respelled(); twice {
		return nil, r.failed(errRespelled(again.name, name))
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

// errRespelled refuses an object that says one thing of a proto in both spellings: which one holds is the reader's choice.
func errRespelled(again, name string) error {
	return fmt.Errorf("the key %s twice: %s is another spelling of it", shown(name), shown(again))
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
