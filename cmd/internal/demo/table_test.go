package demo

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// A table is read down as well as across: every cell begins where its heading does.
func TestRowsLineUp(t *testing.T) {
	var out strings.Builder
	p := &printer{out: &out}
	p.heading("1. A stolen object", "Alice asks for what is Bob's.")
	p.row(row{mark: markHeld, says: "Alice reads Bob's orders", without: "200 bob's orders", with: "403", reason: "owner", rule: "list-orders"})
	p.note("a note")
	p.row(row{mark: markBroken, says: "Alice", with: "200"})
	p.row(row{mark: markSkipped, says: "/a/../b", reason: "skipped: it is Envoy that cleans paths"})
	want := `
1. A stolen object
Alice asks for what is Bob's.
   what is tried                            without the gates   with the gates      reason                   rule
ok Alice reads Bob's orders                 200 bob's orders    403                 owner                    list-orders
     a note
XX Alice                                    -                   200                 -                        -
-- /a/../b                                  skipped: it is Envoy that cleans paths
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// The widest cells still fit a line.
func TestRowsFit(t *testing.T) {
	full := cells(markHeld, strings.Repeat("s", saysWidth), strings.Repeat("w", withoutWidth), strings.Repeat("w", withWidth),
		strings.Repeat("r", reasonWidth), strings.Repeat("n", longestRule))
	if got := utf8.RuneCountInString(full); got > width {
		t.Errorf("a full row takes %d columns, more than %d", got, width)
	}
	for _, line := range wrap(strings.Repeat("words of a sentence ", 50), width) {
		if len(line) > width {
			t.Errorf("a wrapped line takes %d columns: %s", len(line), line)
		}
	}
}

// Colour is an addition: without it the text is plain, and with it the text is the same.
func TestColour(t *testing.T) {
	tell := func(color bool) string {
		var out strings.Builder
		p := &printer{out: &out, color: color}
		p.heading("title", "text")
		p.row(row{mark: markHeld, says: "a", with: "403"})
		p.row(row{mark: markBroken, says: "b", with: "200"})
		p.note("note")
		return out.String()
	}
	plain, coloured := tell(false), tell(true)
	if strings.Contains(plain, "\x1b") {
		t.Errorf("plain text holds an escape sequence: %q", plain)
	}
	for _, sequence := range []string{"\x1b[0m", "\x1b[" + bold + "m", "\x1b[" + dim + "m", "\x1b[" + red + "m", "\x1b[" + green + "m"} {
		if !strings.Contains(coloured, sequence) {
			t.Errorf("the coloured text lacks %q", sequence)
		}
		coloured = strings.ReplaceAll(coloured, sequence, "")
	}
	if diff := cmp.Diff(plain, coloured); diff != "" {
		t.Errorf("colour changes the words: %s", diff)
	}
}

func TestWrap(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"one two three", []string{"one two", "three"}},
		{"one", []string{"one"}},
		{"averyverylongword b", []string{"averyverylongword", "b"}},
		{"", []string{""}},
	} {
		if diff := cmp.Diff(test.want, wrap(test.text, 8)); diff != "" {
			t.Errorf("%q: %s", test.text, diff)
		}
	}
}

type closedPipe struct{ writes int }

func (c *closedPipe) Write([]byte) (int, error) { c.writes++; return 0, errors.New("broken pipe") }

// A reader that left is written to once, and the story learns of it.
func TestNobodyListens(t *testing.T) {
	pipe := &closedPipe{}
	p := &printer{out: pipe}
	p.line("a")
	p.line("b")
	if p.err == nil || pipe.writes != 1 {
		t.Errorf("err %v after %d writes, want an error after one", p.err, pipe.writes)
	}
	s := &stage{world: &world{p: p}, ctx: t.Context()}
	if !s.over() || s.err == nil {
		t.Error("the story goes on although nobody reads it")
	}
}
