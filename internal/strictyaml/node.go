package strictyaml

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Kind is what a node holds.
type Kind uint8

// The kinds of nodes. Absent is the kind of a nil node.
const (
	Absent Kind = iota
	Map
	List
	String
	Int
	Float
	Bool
	Null
)

var kindNames = [...]string{"nothing", "a map", "a list", "text", "a whole number", "a fraction", "true or false", "null"}

// String names the kind with its article, for messages.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Node is one value of a document. It is immutable; a nil *Node is a value that is not there.
type Node struct {
	kind    Kind
	pos     Pos
	text    string // the decoded text, or for other scalars the source text
	plain   bool   // a scalar without quotes or block indicator
	entries []entry
	items   []*Node

	size   int // nodes, aliases expanded
	height int // levels, aliases expanded
}

type entry struct {
	key   string
	pos   Pos
	value *Node
}

// Kind says what the node holds; Absent for nil.
func (n *Node) Kind() Kind {
	if n == nil {
		return Absent
	}
	return n.kind
}

// Pos is where the node begins: its first key for a block map, its first dash for a block list. Zero for nil.
func (n *Node) Pos() Pos {
	if n == nil {
		return Pos{}
	}
	return n.pos
}

// Texts are the texts of the strings at and under the node, in their order; keys are not among them.
func (n *Node) Texts() []string {
	switch n.Kind() {
	case String:
		return []string{n.text}
	case List:
		var all []string
		for _, item := range n.items {
			all = append(all, item.Texts()...)
		}
		return all
	case Map:
		var all []string
		for _, e := range n.entries {
			all = append(all, e.value.Texts()...)
		}
		return all
	}
	return nil
}

// builder converts the library's tree into nodes.
type builder struct {
	c       *collector
	opts    Options
	anchors map[string]*Node
	merged  int // entries copied by merge keys so far
}

func (b *builder) node(n ast.Node) *Node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return b.mapping(n.Start, n.Values)
	case *ast.MappingValueNode:
		return b.mapping(n.Start, []*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		return b.sequence(n)
	case *ast.AnchorNode:
		value := b.node(n.Value)
		// Registered only now, so that a value cannot hold itself.
		b.anchors[scalarText(n.Name)] = value
		return value
	case *ast.AliasNode:
		if known := b.anchors[scalarText(n.Value)]; known != nil {
			return known
		}
		b.c.add(tokenPos(n.Start), "define it above its first use", "no anchor is called %q", clip(scalarText(n.Value)))
		return leaf(Null, tokenPos(n.Start))
	case *ast.LiteralNode:
		return b.text(tokenPos(n.Start), n.Value.Value, false)
	case *ast.StringNode:
		t := n.Token
		return b.text(tokenPos(t), n.Value, t.Type == token.StringType)
	case *ast.NullNode, *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		t := n.GetToken()
		if t.Type == token.ImplicitNullType {
			return leaf(Null, tokenPos(t))
		}
		return b.text(tokenPos(t), t.Value, true)
	}
	if n == nil {
		return leaf(Null, Pos{1, 1})
	}
	b.c.add(tokenPos(n.GetToken()), "", "this is not allowed here")
	return leaf(Null, tokenPos(n.GetToken()))
}

func leaf(kind Kind, pos Pos) *Node {
	return &Node{kind: kind, pos: pos, plain: true, size: 1, height: 1}
}

// text makes a scalar. What an unquoted one means is decided here, by its characters, not by the library.
func (b *builder) text(pos Pos, s string, plain bool) *Node {
	n := &Node{kind: String, pos: pos, text: s, plain: plain, size: 1, height: 1}
	if plain {
		n.kind = plainKind(s)
		n.pos = b.c.beforeSpaces(pos, s)
	}
	if !utf8.ValidString(s) {
		b.c.add(pos, "", "an escape that is not a character")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
		b.c.add(pos, "", "an escaped control character")
	}
	return n
}

// beforeSpaces mends the place of a plain scalar: the library moves one that ends its line right by the spaces after it. Very
// long lines are left, so that looking costs no more than the file.
func (c *collector) beforeSpaces(at Pos, s string) Pos {
	line := c.lines[min(at.Line, len(c.lines))-1]
	trimmed := strings.TrimRight(line, " ")
	spaces := len(line) - len(trimmed)
	if spaces == 0 || len(line) > 4096 || s == "" || !strings.HasSuffix(trimmed, s) {
		return at
	}
	if want := utf8.RuneCountInString(trimmed) - utf8.RuneCountInString(s) + 1; at.Column == want+spaces {
		at.Column = want
	}
	return at
}

func (b *builder) sequence(n *ast.SequenceNode) *Node {
	out := &Node{kind: List, pos: tokenPos(n.Start), size: 1}
	for _, v := range n.Values {
		item := b.node(v)
		out.items = append(out.items, item)
		out.grow(item)
	}
	return b.closed(out)
}

func (b *builder) mapping(start *token.Token, values []*ast.MappingValueNode) *Node {
	out := &Node{kind: Map, pos: tokenPos(start), size: 1}
	seen := make(map[string]Pos, len(values))
	var merges []*Node
	for i, v := range values {
		at := tokenPos(v.Key.GetToken())
		if i == 0 && (start == nil || start.Type != token.MappingStartType) {
			out.pos = at
		}
		key, ok := b.key(v.Key)
		if !ok {
			continue
		}
		if first, twice := seen[key]; twice {
			b.c.add(at, "keep one of them", "duplicate key %q (first on line %d)", clip(key), first.Line)
			continue
		}
		seen[key] = at
		value := b.node(v.Value)
		if v.Key.IsMergeKey() {
			merges = append(merges, value)
			continue
		}
		out.entries = append(out.entries, entry{key, at, value})
		out.grow(value)
	}
	for _, m := range merges {
		b.merge(out, m, seen)
	}
	return b.closed(out)
}

// key reads a map's key: text only, since 1 and "1" are one key to some readers and two to others.
func (b *builder) key(k ast.MapKeyNode) (string, bool) {
	at := tokenPos(k.GetToken())
	if k.IsMergeKey() {
		return "<<", true
	}
	n := b.node(k)
	if b.opts.NumberKeys && n.kind == Int && n.plain && decimal(n.text) {
		return n.text, true
	}
	if n.kind != String || n.plain && ambiguousWord(n.text) {
		b.c.add(at, `write it in quotes`, "config error, key is not of type string: %s is not text", clip(n.text))
		return "", false
	}
	return n.text, true
}

// decimal says that a whole number has one spelling and one meaning to every YAML reader.
func decimal(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == "" && (digits == "0" || digits[0] != '0')
}

// merge copies the entries of a "<<" value that the map does not have itself.
func (b *builder) merge(out, from *Node, seen map[string]Pos) {
	maps := from.items
	if from.kind != List {
		maps = []*Node{from}
	}
	for _, m := range maps {
		if m.kind != Map {
			b.c.add(from.pos, "", "a merge key (<<) takes a map or a list of maps")
			return
		}
		if b.merged += len(m.entries); b.merged > maxNodes {
			b.c.add(from.pos, "write the keys out, or split the file", "the merge keys of this file copy more than %d values", maxNodes)
			return
		}
		for _, e := range m.entries {
			if _, own := seen[e.key]; own {
				continue
			}
			seen[e.key] = e.pos
			out.entries = append(out.entries, e)
			out.grow(e.value)
		}
	}
}

func (n *Node) grow(child *Node) {
	n.size = min(n.size+child.size, maxNodes+1)
	n.height = max(n.height, child.height)
}

// closed ends a map or a list, with its own level counted.
func (b *builder) closed(n *Node) *Node {
	n.height++
	if n.height > MaxDepth+1 {
		b.c.add(n.pos, "", "nested more than %d deep", MaxDepth)
		return leaf(Null, n.pos)
	}
	return n
}

func scalarText(n ast.Node) string {
	if s, ok := n.(*ast.StringNode); ok {
		return s.Value
	}
	if n == nil || n.GetToken() == nil {
		return ""
	}
	return n.GetToken().Value
}

// plainKind says what an unquoted scalar is to the more generous YAML readers, so that text which any of them takes for a
// number, a boolean or null has to be quoted.
func plainKind(s string) Kind {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return Null
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return Bool
	}
	unsigned := strings.TrimPrefix(strings.TrimPrefix(s, "+"), "-")
	switch strings.ToLower(unsigned) {
	case ".inf", ".nan":
		return Float
	}
	if isInt(unsigned) {
		return Int
	}
	if isFloat(unsigned) {
		return Float
	}
	return String
}

func isInt(s string) bool {
	digits := func(s, set string) bool {
		return strings.Trim(s, "_") != "" && strings.Trim(s, set+"_") == ""
	}
	if len(s) > 2 && s[0] == '0' {
		switch s[1] {
		case 'x', 'X':
			return digits(s[2:], "0123456789abcdefABCDEF")
		case 'o', 'O':
			return digits(s[2:], "01234567")
		case 'b', 'B':
			return digits(s[2:], "01")
		}
	}
	return s != "" && s[0] != '_' && digits(s, "0123456789")
}

func isFloat(s string) bool {
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(s), "e")
	if hasExponent {
		exponent = strings.TrimPrefix(strings.TrimPrefix(exponent, "+"), "-")
		if exponent == "" || strings.Trim(exponent, "0123456789_") != "" {
			return false
		}
	}
	whole, fraction, hasPoint := strings.Cut(mantissa, ".")
	if whole+fraction == "" || strings.HasPrefix(mantissa, "_") || !hasPoint && !hasExponent {
		return false
	}
	return strings.Trim(whole+fraction, "_") != "" && strings.Trim(whole+fraction, "0123456789_") == ""
}

// ambiguousWord says that a word is a boolean to a reader of YAML 1.1.
func ambiguousWord(s string) bool {
	switch s {
	case "yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF":
		return true
	}
	return false
}
