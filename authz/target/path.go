package target

import (
	"strings"
	"unicode/utf8"
)

// splitPath splits a path at '/' and checks each segment. why is empty when the path is accepted.
func splitPath(path string) (segments []Segment, why string) {
	switch {
	case path == "" || path[0] != '/':
		return nil, "does not begin with '/'"
	case len(path) > MaxPath:
		return nil, "is longer than 8 KiB"
	case strings.Contains(path, "//"):
		return nil, "holds '//'"
	}
	segments = make([]Segment, 0, strings.Count(path, "/"))
	for rest, more := path[1:], true; more; {
		var raw string
		raw, rest, more = strings.Cut(rest, "/")
		segment, why := parseSegment(raw)
		if why != "" {
			return nil, why
		}
		segments = append(segments, segment)
	}
	return segments, ""
}

func parseSegment(raw string) (segment Segment, why string) {
	escapes := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '%':
			escapes++
		case c == ';':
			return Segment{}, "holds ';'"
		case !is(c, segmentByte):
			return Segment{}, "holds a byte that must be escaped or must not stand in a path"
		}
	}
	// Escapes of '.' are refused below, so looking at the raw segment sees every dot.
	if raw == "." || strings.HasPrefix(raw, "..") || strings.HasSuffix(raw, "..") {
		return Segment{}, "holds a dot segment"
	}
	if escapes == 0 {
		return Segment{Raw: raw, Text: raw}, ""
	}
	return decodeSegment(raw, escapes)
}

// decodeSegment decodes the escapes of a segment once. It refuses those that a normalising reader would undo, those that stand
// for a separator or a cut, and %25, since a second decoding would find another path behind it.
func decodeSegment(raw string, escapes int) (segment Segment, why string) {
	text := make([]byte, 0, max(0, len(raw)-2*escapes))
	soft := false
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			text = append(text, raw[i])
			continue
		}
		c, ok := hexByte(raw[i+1:])
		switch {
		case !ok:
			return Segment{}, "holds a malformed escape"
		case is(c, unreserved):
			return Segment{}, "holds an escape of a byte that needs none"
		case is(c, barredEscape):
			return Segment{}, "holds an escape of a separator or a control byte"
		}
		soft = soft || is(c, segmentByte)
		text = append(text, c)
		i += 2
	}
	if !utf8.Valid(text) {
		return Segment{}, "holds escapes that are not UTF-8"
	}
	return Segment{Raw: raw, Text: string(text), SoftEscaped: soft}, ""
}

// SoftTail reports whether an escape that makes a segment SoftEscaped stands among the last n decoded bytes. A suffix in a
// rule asks this: in "a%40b.json" the escape belongs to what the rule captures, in "7%3Acancel" it spells the suffix.
func (s Segment) SoftTail(n int) bool {
	if !s.SoftEscaped {
		return false
	}
	for end := len(s.Raw); n > 0 && end > 0; n-- {
		// An accepted '%' is always followed by exactly two digits, so one that stands three from the end starts an escape.
		if end < 3 || s.Raw[end-3] != '%' {
			end--
			continue
		}
		if c, _ := hexByte(s.Raw[end-2:]); is(c, segmentByte) {
			return true
		}
		end -= 3
	}
	return false
}
