package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is the most columns of a line: a terminal of this size shows every row whole.
const width = 120

// The widths of a row's cells; one space stands between them, and the last needs no width.
const (
	markWidth    = 2
	saysWidth    = 40
	withoutWidth = 19
	withWidth    = 19
	reasonWidth  = 24
)

// The marks of a row: as expected, not as expected, not shown.
const (
	markHeld    = "ok"
	markBroken  = "XX"
	markSkipped = "--"
)

// row is one line of the story.
type row struct{ mark, says, without, with, reason, rule string }

// printer writes the story. After the first failure to write it writes nothing more.
type printer struct {
	out   io.Writer
	color bool
	err   error
}

func (p *printer) say(text string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.out, text)
	}
}

func (p *printer) line(format string, args ...any) { p.say(fmt.Sprintf(format, args...) + "\n") }

// The few colours; each also has a word or a mark, so nothing is lost without them.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p *printer) paint(color, text string) string {
	if !p.color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// heading begins an act: its name, and what it is about.
func (p *printer) heading(title, tells string) {
	p.line("\n%s", p.paint(bold, title))
	for _, line := range wrap(tells, width) {
		p.line("%s", line)
	}
	p.line("%s", p.paint(dim, cells("", "what is tried", "without the gates", "with the gates", "reason", "rule")))
}

// row prints one line of a table.
func (p *printer) row(r row) {
	color := green
	switch r.mark {
	case markBroken:
		color = red
	case markSkipped:
		p.line("%s", p.paint(dim, fmt.Sprintf("%s %s %s", r.mark, pad(r.says, saysWidth), r.reason)))
		return
	}
	text := cells(r.mark, r.says, orDash(r.without), orDash(r.with), orDash(r.reason), orDash(r.rule))
	p.line("%s%s", p.paint(color, text[:markWidth]), text[markWidth:])
}

// note prints what belongs to the row above.
func (p *printer) note(format string, args ...any) {
	for _, line := range wrap(fmt.Sprintf(format, args...), width-markWidth-3) {
		p.line("%s", p.paint(dim, strings.Repeat(" ", markWidth+3)+line))
	}
}

func cells(mark, says, without, with, reason, rule string) string {
	text := strings.Join([]string{
		pad(mark, markWidth), pad(says, saysWidth), pad(without, withoutWidth), pad(with, withWidth), pad(reason, reasonWidth), rule,
	}, " ")
	return strings.TrimRight(text, " ")
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func pad(text string, columns int) string {
	return text + strings.Repeat(" ", max(0, columns-utf8.RuneCountInString(text)))
}

// wrap breaks a text at spaces into lines of at most the given columns; a longer word stands alone.
func wrap(text string, columns int) []string {
	var lines []string
	current := ""
	for _, word := range strings.Fields(text) {
		switch {
		case current == "":
			current = word
		case utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) <= columns:
			current += " " + word
		default:
			lines = append(lines, current)
			current = word
		}
	}
	return append(lines, current)
}
