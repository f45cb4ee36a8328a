package strictyaml

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/scanner"
	"github.com/goccy/go-yaml/token"
)

// checkBytes refuses what an editor may hide from a reader or what YAML readers disagree about. It reports the first few of
// each, one a line.
func checkBytes(c *collector, source string, opts Options) {
	for i, line := range c.lines {
		column, indent := 1, true
		for j := 0; j < len(line); column++ {
			r, size := utf8.DecodeRuneInString(line[j:])
			if msg, hint := badRune(r, size, opts, indent); msg != "" {
				c.add(Pos{i + 1, column}, hint, "%s", msg)
				break
			}
			indent = indent && r == ' '
			j += size
		}
	}
}

func badRune(r rune, size int, opts Options, indent bool) (msg, hint string) {
	switch {
	case r == utf8.RuneError && size == 1:
		return "invalid UTF-8", "save the file as UTF-8"
	case r == '\ufeff':
		return "a byte order mark", "save the file as UTF-8 without one"
	case r == '\t' && (indent || !opts.Aliases):
		return "a tab", `use spaces; inside double quotes write \t`
	case r == '\t':
		return "", ""
	case r < ' ', hidden(r):
		return "a control character", "remove it, or write it as an escape inside double quotes"
	}
	return "", ""
}

// hidden says that a character does not show, or reorders what shows around it (CVE-2021-42574).
func hidden(r rune) bool {
	switch {
	case r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xfeff:
		return true
	case r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2069:
		return true
	}
	return false
}

// level is one open map or list.
type level struct {
	kind   token.Type // MappingStart or SequenceStart for flow, MappingValue or SequenceEntry for block
	column int        // of the first key or dash; block only
	key    int        // bytes of the newest key
	colon  bool       // the newest entry of a flow map has its colon
}

// watcher looks at each token before the parser does, and stops there when the parser would be slow: scanning is linear in the
// file, parsing is not. It knows the nesting, the keys, and the constructs that are refused.
type watcher struct {
	c    *collector
	opts Options
	open []level
	flow int // how many of open are flow
	path int // bytes of the newest keys of all open levels: what the library spends on each node's path

	spent, nulls, count int
	last                *token.Token // the newest one that is not a comment
	content             bool         // something other than a comment or a first "---" was seen
}

// scan splits the source into tokens. It reports refused constructs and stops at the first bound that is passed.
func scan(c *collector, source string, opts Options) token.Tokens {
	var (
		s      scanner.Scanner
		tokens token.Tokens
		w      = &watcher{c: c, opts: opts}
	)
	s.Init(source)
	for {
		// The only error is the end of the source; a token that cannot be read is among the tokens, marked.
		fresh, err := s.Scan()
		tokens.Add(fresh...)
		for _, t := range fresh {
			if !w.see(t) {
				return tokens
			}
		}
		if err != nil {
			break
		}
	}
	if !w.content && len(c.errs) == 0 {
		c.add(Pos{1, 1}, "", "the file is empty")
	}
	return tokens
}

// see looks at one token and says whether to go on.
func (w *watcher) see(t *token.Token) bool {
	at := tokenPos(t)
	if t.Type == token.InvalidType {
		w.c.add(at, "", "%s", t.Error)
		return false
	}
	if w.count++; w.count > maxTokens {
		w.c.add(at, "split it into several files", "the file holds too many values")
		return false
	}
	if t.Type == token.CommentType {
		return true
	}
	w.refuse(t, at)
	w.last = t
	switch t.Type {
	case token.MappingStartType, token.SequenceStartType:
		w.push(level{kind: t.Type})
	case token.MappingEndType, token.SequenceEndType:
		w.empty(t, t.Type == token.MappingEndType)
		w.closeFlow()
	case token.CollectEntryType:
		w.empty(t, true)
	case token.SequenceEntryType:
		w.block(t, at.Column, true)
	case token.MappingValueType:
		if !w.colon(t, at) {
			return false
		}
	}
	w.content = w.content || t.Type != token.DocumentHeaderType
	return w.bounded(at)
}

func (w *watcher) bounded(at Pos) bool {
	w.spent += w.path + 8*len(w.open)
	switch {
	case len(w.open) > MaxDepth:
		w.c.add(at, "", "nested more than %d deep", MaxDepth)
	case w.nulls > maxNulls:
		w.c.add(at, "remove the keys that have no value", "more than %d empty values", maxNulls)
	case w.spent > maxPathBytes:
		w.c.add(at, "split the file, or shorten its keys", "the file is too large for its nesting and the length of its keys")
	default:
		return true
	}
	return false
}

// refuse reports constructs that no file of ours needs and that change what the reader sees elsewhere.
func (w *watcher) refuse(t *token.Token, at Pos) {
	if w.flow > 0 && t.Prev != nil && t.Prev.Type == token.MappingValueType && at == after(tokenPos(t.Prev)) && bare(t.Prev.Prev) {
		w.c.add(tokenPos(t.Prev), "write a space after the colon, or quote the text that holds it", "{a:b} and [a:b] are a map to some YAML readers and text to others")
	}
	if dash := w.last; dash != nil && dash.Type == token.SequenceEntryType && at.Line > dash.Position.Line && at.Column <= dash.Position.Column {
		// The library would take a key of the map around the list for the item.
		w.c.add(tokenPos(dash), "write the item, or remove the dash", "a list item without a value")
	}
	if !w.opts.PlainLines && t.Type == token.StringType && !literal(w.last) && strings.Contains(strings.Trim(t.Origin, " \n"), "\n") {
		w.c.add(at, "write it on one line, in quotes, or after | or >-", "plain text on several lines")
	}
	if t.Type == token.StringType && (t.Value == "?" || strings.HasPrefix(t.Value, "? ")) {
		w.c.add(at, `write "key: value"`, `an explicit key ("?")`)
	}
	switch t.Type {
	case token.DocumentHeaderType:
		if w.content || w.count > 1 && t.Prev != nil && t.Prev.Type == token.DocumentHeaderType {
			w.c.add(at, "put it into a file of its own", "a second document")
		}
	case token.TagType:
		w.c.add(at, "quote text; write nothing before other values", "a tag (%s)", clip(t.Value))
	case token.DirectiveType:
		w.c.add(at, "remove it", "a YAML directive")
	case token.MappingKeyType:
		w.c.add(at, `write "key: value"`, `an explicit key ("?")`)
	case token.AnchorType:
		if !w.opts.Aliases {
			w.c.add(at, "write the value out where it is used", "an anchor")
		} else if t.Prev != nil && t.Prev.Prev != nil && t.Prev.Prev.Type == token.AnchorType {
			w.c.add(at, "", "two anchors on one value")
		}
	case token.AliasType:
		if !w.opts.Aliases {
			w.c.add(at, "write the value out; quote text that begins with *", "an alias")
		}
	case token.MergeKeyType:
		if !w.opts.Aliases {
			w.c.add(at, "write the keys out", "a merge key (<<)")
		}
	}
}

// literal says that a token announces a block scalar, whose text is the next token but for comments.
func literal(t *token.Token) bool {
	return t != nil && (t.Type == token.LiteralType || t.Type == token.FoldedType)
}

func after(p Pos) Pos { return Pos{p.Line, p.Column + 1} }

// bare says that a key has no quotes; after quotes a colon is a colon to every reader.
func bare(key *token.Token) bool {
	return key != nil && key.Type != token.DoubleQuoteType && key.Type != token.SingleQuoteType
}

func (w *watcher) push(l level) {
	if l.kind == token.MappingStartType || l.kind == token.SequenceStartType {
		w.flow++
	}
	w.open = append(w.open, l)
}

func (w *watcher) pop() {
	last := w.open[len(w.open)-1]
	w.path -= last.key
	w.open = w.open[:len(w.open)-1]
}

// closeFlow closes the innermost flow collection, whatever its bracket: the parser complains about a wrong one.
func (w *watcher) closeFlow() {
	if w.flow == 0 {
		return
	}
	w.flow--
	w.pop()
}

// block opens or continues the block list or map whose dash or key stands at the column.
func (w *watcher) block(t *token.Token, column int, list bool) {
	if list {
		w.emptyBefore(t, column, true)
	}
	if w.flow > 0 {
		return
	}
	kind := token.MappingValueType
	if list {
		kind = token.SequenceEntryType
	}
	for len(w.open) > 0 {
		top := w.open[len(w.open)-1]
		if top.column < column || top.column == column && (top.kind == kind || list) {
			break
		}
		w.pop()
	}
	if n := len(w.open); n > 0 && w.open[n-1].column == column && w.open[n-1].kind == kind {
		return
	}
	w.push(level{kind: kind, column: column})
}

// colon sees the ":" of a map entry, whose key is the token before it.
func (w *watcher) colon(t *token.Token, at Pos) bool {
	key := t.Prev
	if key == nil {
		return true // the parser complains
	}
	if key.Type == token.CommentType || key.Position.Line != t.Position.Line {
		w.c.add(at, "write the key and its colon on one line", "a colon without its key")
		return false
	}
	if len(key.Value) > MaxKeyBytes {
		w.c.add(tokenPos(key), "", "a key of more than %d bytes", MaxKeyBytes)
		return false
	}
	w.emptyBefore(key, tokenPos(key).Column, false)
	w.block(t, tokenPos(key).Column, false)
	if n := len(w.open); n > 0 {
		top := &w.open[n-1]
		w.path += len(key.Value) - top.key
		top.key, top.colon = len(key.Value), true
	}
	return true
}

// emptyBefore counts the empty value of a colon that is followed by the key or dash at the column. A list may stand under its key
// without an indent.
func (w *watcher) emptyBefore(t *token.Token, column int, list bool) {
	prev := t.Prev
	if prev == nil || w.flow > 0 || prev.Position.Line == t.Position.Line {
		return
	}
	if prev.Type != token.MappingValueType || prev.Prev == nil {
		return
	}
	if under := tokenPos(prev.Prev).Column; column < under || column == under && !list {
		w.nulls++
	}
}

// empty counts an entry of a flow collection that ends without a value.
func (w *watcher) empty(t *token.Token, inMap bool) {
	if t.Prev != nil && t.Prev.Type == token.MappingValueType {
		w.nulls++
	}
	if n := len(w.open); inMap && n > 0 && w.open[n-1].kind == token.MappingStartType {
		if !w.open[n-1].colon {
			w.nulls++
		}
		w.open[n-1].colon = false
	}
}

// clip shortens text of the file for a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.ToValidUTF8(s[:cut], "") + "..."
}
