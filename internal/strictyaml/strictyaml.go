// Package strictyaml reads the files that people write for the two gates, and refuses whatever two readers could read
// differently: duplicate keys, a second document, aliases, numbers where text is meant, tabs, bytes an editor hides. It is its
// own room because both gates need the same strictness, every error at once, and each with its file, line and column; the YAML
// library underneath decodes into structs with surprises (012 becomes 10, null becomes zero) and stops at the first error.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of one file. They keep the time and the memory of a hostile or generated file proportional to its size: the
// library beneath is quadratic in nesting, in empty values and in long keys.
const (
	// MaxBytes is the largest file read: 1 MiB.
	MaxBytes = 1 << 20
	// MaxDepth is the deepest nesting of maps and lists.
	MaxDepth = 64
	// MaxKeyBytes is the longest key, YAML's own limit for a key without "?".
	MaxKeyBytes = 1024

	maxTokens    = 400_000
	maxNulls     = 1_000
	maxPathBytes = 64 << 20
	maxNodes     = 1 << 20
)

// Options relaxes [Parse] for files in a format that is not ours. The zero value is the strict one.
type Options struct {
	// Aliases permits anchors, aliases and the merge key "<<" (explicit keys win over merged ones), and tabs outside of the
	// indentation. Tags, explicit "?" keys, duplicate keys and second documents stay refused.
	Aliases bool
	// NumberKeys takes a key that is a whole number in plain decimal for its text: the `200:` of an OpenAPI document.
	NumberKeys bool
	// PlainLines permits plain text on several lines, folded as YAML says.
	PlainLines bool
	// MaxBytes is the largest file read; zero is [MaxBytes]. The other bounds stay, and are met earlier by a larger file.
	MaxBytes int
}

// Document is one parsed file. It is immutable and safe for concurrent use.
type Document struct {
	// File is the name used in errors; it is never opened.
	File string
	// Root is the value of the document, never nil.
	Root *Node

	lines []string
}

// Places is the document with no values, for who keeps it only to complain about its places later.
func (d *Document) Places() *Document {
	return &Document{File: d.File, Root: leaf(Null, Pos{1, 1}), lines: d.lines}
}

// Parse reads one strict YAML document. It returns either a document or at least one error; it never panics.
func Parse(file string, data []byte) (*Document, Errors) {
	return ParseWith(file, data, Options{})
}

// ParseWith is [Parse] with some strictness lifted.
func ParseWith(file string, data []byte, opts Options) (doc *Document, errs Errors) {
	if most := cmp.Or(opts.MaxBytes, MaxBytes); len(data) > most {
		return nil, Errors{{File: file, Pos: Pos{1, 1}, Msg: fmt.Sprintf("file is larger than %d bytes", most), Hint: "split it into several files"}}
	}
	source := string(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))
	if !strings.HasSuffix(source, "\n") {
		// The library forgets a tag that the file ends with, and so would let it pass.
		source += "\n"
	}
	c := &collector{file: file, lines: strings.Split(source, "\n")}
	// The library is fuzzed by us, but it is not ours: a panic in it is a file we cannot read, never a dead gate.
	defer func() {
		if r := recover(); r != nil {
			c.add(Pos{1, 1}, "", "this file cannot be read as YAML")
			doc, errs = nil, c.errors()
		}
	}()
	checkBytes(c, source, opts)
	if len(c.errs) > 0 {
		return nil, c.errors()
	}
	tokens := scan(c, source, opts)
	if len(c.errs) > 0 {
		return nil, c.errors()
	}
	root := build(c, tokens, opts)
	if len(c.errs) > 0 {
		return nil, c.errors()
	}
	return &Document{File: file, Root: root, lines: c.lines}, nil
}

// build turns tokens into nodes. On any problem it reports and its result is not used.
func build(c *collector, tokens token.Tokens, opts Options) *Node {
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		c.addSyntax(err)
		return nil
	}
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			c.add((&builder{c: c}).node(d.Body).pos, "put it into a file of its own", "a second document")
			return nil
		}
		body = d.Body
	}
	if body == nil {
		c.add(Pos{1, 1}, "", "the file is empty")
		return nil
	}
	b := &builder{c: c, opts: opts, anchors: map[string]*Node{}}
	root := b.node(body)
	if len(c.errs) == 0 && root.size > maxNodes {
		c.add(root.pos, "write the values out, or split the file", "the aliases of this file expand to more than %d values", maxNodes)
	}
	return root
}

// addSyntax reports the library's one error at its token.
func (c *collector) addSyntax(err error) {
	var at interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &at) {
		hint := ""
		if strings.HasSuffix(at.GetMessage(), "must be specified") {
			hint = "quote text that holds braces, brackets, commas or quotes"
		}
		c.add(tokenPos(at.GetToken()), hint, "%s", at.GetMessage())
		return
	}
	c.add(Pos{1, 1}, "", "this file cannot be read as YAML")
}

func tokenPos(t *token.Token) Pos {
	if t == nil || t.Position == nil {
		return Pos{1, 1}
	}
	return Pos{Line: max(t.Position.Line, 1), Column: max(t.Position.Column, 1)}
}
