package pattern

import (
	"strings"

	"github.com/sallyport-dev/sallyport/authz/target"
)

// Prefix is a path of whole segments and all that is below it: "/assets/private/" covers "/assets/private" and
// "/assets/private/key", not "/assets/privateer". It is immutable. It takes paths out of a rule that asks for no token, so
// every doubt is decided by covering; the zero value covers everything.
type Prefix struct {
	source   string
	segments []string
}

// ParsePrefix reads a prefix, written decoded like the literals of a pattern; a final slash changes nothing. The error is a
// *ParseError.
func ParsePrefix(s string) (Prefix, error) {
	if len(s) > maxPattern {
		return Prefix{}, fault(0, "a prefix is at most 4096 bytes")
	}
	if !strings.HasPrefix(s, "/") {
		return Prefix{}, fault(0, "a prefix is a path and begins with `/`, without methods")
	}
	path := strings.TrimSuffix(s, "/")
	if path == "" {
		return Prefix{}, fault(0, "`/` excepts every path: leave the rule out instead")
	}
	var segments []string
	offset := 1
	for text := range strings.SplitSeq(path[1:], "/") {
		if text == "" {
			return Prefix{}, fault(offset, "`//` never reaches a rule: write one `/`")
		}
		if at := strings.IndexAny(text, "{}"); at >= 0 {
			return Prefix{}, fault(offset+at, "a prefix is literal and has no names: write for example `/assets/private/`")
		}
		literal, err := parseLiteral(text, offset)
		if err != nil {
			return Prefix{}, err
		}
		segments = append(segments, literal.text)
		offset += len(text) + 1
	}
	return Prefix{source: s, segments: segments}, nil
}

// String returns the prefix as it was written.
func (p Prefix) String() string { return p.source }

// Covers reports whether the path of a target is the prefix or below it. Unless the spelling is Exact it compares as a
// forgiving upstream may: in ASCII lower case, and with the last segment of both cut at its extension. A nil target is
// covered.
func (p Prefix) Covers(tg *target.Target, spelling Spelling) bool {
	if tg == nil {
		return true
	}
	if len(tg.Segments) < len(p.segments) {
		return false
	}
	for i, want := range p.segments {
		got := tg.Segments[i].Text
		if got == want || spelling != Exact && equalFold(got, want) {
			continue
		}
		// Only the end of the path itself can have an extension that is cut.
		if spelling == Exact || !endsAt(tg.Segments, i) || !equalFold(withoutExtension(got), withoutExtension(want)) {
			return false
		}
	}
	return true
}

// endsAt reports whether segment i is the last, a final slash not counted.
func endsAt(segments []target.Segment, i int) bool {
	return i == len(segments)-1 || i == len(segments)-2 && segments[i+1].Text == ""
}

func withoutExtension(s string) string {
	s, _ = cutExtension(s)
	return s
}
