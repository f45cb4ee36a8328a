package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors is how many errors of one file are shown: more than that is a wrong file, not a list to work through.
const maxErrors = 100

// Pos is a place in a file. Line and column count from one; the column counts characters, not bytes. The zero value means
// nowhere.
type Pos struct{ Line, Column int }

// Error is one complaint about one place of one file.
type Error struct {
	File string
	Pos  Pos
	// Msg says what is wrong.
	Msg string
	// Hint says what to write instead; it may be empty.
	Hint string
	// Line is the source line at Pos, without its line break; it may be empty.
	Line string
}

// Error is the complaint in one line: file:line:column: message; without a place of a file: file: message.
func (e *Error) Error() string {
	if e.Pos == (Pos{}) {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Column, e.Msg)
}

// shownLine is how much of a source line Pretty prints.
const shownLine = 160

// Pretty is the complaint for a person: the message, the source line, a caret under the column, and the hint.
func (e *Error) Pretty() string {
	var b strings.Builder
	b.WriteString(e.Error())
	if e.Line != "" {
		line, column := window(e.Line, e.Pos.Column)
		number := fmt.Sprintf("%5d", e.Pos.Line)
		fmt.Fprintf(&b, "\n%s | %s\n%s | %s^", number, line, strings.Repeat(" ", len(number)), strings.Repeat(" ", column-1))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n      = %s", e.Hint)
	}
	return b.String()
}

// window cuts a long line to the part around the column and makes every character printable and one column wide.
func window(line string, column int) (string, int) {
	runes := []rune(line)
	for i, r := range runes {
		if r < ' ' || hidden(r) {
			runes[i] = ' '
		}
	}
	column = min(max(column, 1), len(runes)+1)
	if len(runes) <= shownLine {
		return string(runes), column
	}
	from := min(max(column-1-shownLine/2, 0), len(runes)-shownLine)
	return string(runes[from : from+shownLine]), column - from
}

// Errors is every complaint about one or more files, sorted by file and position, at most 100 a file. It is empty exactly when
// nothing is wrong; use [Errors.Err] where an error value is wanted.
type Errors []*Error

// Error joins the complaints, one a line.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Pretty joins the complaints as a person reads them, a blank line between two.
func (es Errors) Pretty() string {
	blocks := make([]string, len(es))
	for i, e := range es {
		blocks[i] = e.Pretty()
	}
	return strings.Join(blocks, "\n\n")
}

// Err is nil when there are no complaints, and the complaints otherwise.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// Sort orders complaints by file, then position, keeping the order of complaints about one place.
func (es Errors) Sort() {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// collector gathers the complaints about one file.
type collector struct {
	file  string
	lines []string
	errs  Errors
	// quiet is set once so many errors were gathered that more would only cost.
	quiet bool
}

func (c *collector) add(at Pos, hint, format string, args ...any) {
	if c.quiet {
		return
	}
	e := &Error{File: c.file, Pos: at, Msg: fmt.Sprintf(format, args...), Hint: hint}
	if i := at.Line - 1; i >= 0 && i < len(c.lines) {
		e.Line = c.lines[i]
	}
	c.errs = append(c.errs, e)
	c.quiet = len(c.errs) >= 10*maxErrors
}

// errors returns the complaints so far, sorted and capped.
func (c *collector) errors() Errors {
	if len(c.errs) == 0 {
		return nil
	}
	out := slices.Clone(c.errs)
	out.Sort()
	if len(out) > maxErrors {
		out = out[:maxErrors]
	}
	return out
}
