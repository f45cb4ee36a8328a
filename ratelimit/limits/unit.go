package limits

import (
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// Unit is a length of time that the rate limit protocol has a name for. The zero value is no unit.
type Unit uint8

// The units of the protocol. A month is 30 days and a year 365, as envoyproxy/ratelimit counts them.
const (
	NoUnit Unit = iota
	Second
	Minute
	Hour
	Day
	Week
	Month
	Year
)

var units = [...]struct {
	name string
	span time.Duration
}{
	NoUnit: {"unknown", 0},
	Second: {"second", time.Second},
	Minute: {"minute", time.Minute},
	Hour:   {"hour", time.Hour},
	Day:    {"day", 24 * time.Hour},
	Week:   {"week", 7 * 24 * time.Hour},
	Month:  {"month", 30 * 24 * time.Hour},
	Year:   {"year", 365 * 24 * time.Hour},
}

// String is the unit's name in lower case.
func (u Unit) String() string {
	if int(u) < len(units) {
		return units[u].name
	}
	return units[NoUnit].name
}

// Span is the unit's length; zero for no unit.
func (u Unit) Span() time.Duration {
	if int(u) < len(units) {
		return units[u].span
	}
	return 0
}

// ParseUnit reads a unit's name in any letter case; NoUnit for any other word.
func ParseUnit(s string) Unit {
	for u := Second; u <= Year; u++ {
		if strings.EqualFold(s, units[u].name) {
			return u
		}
	}
	return NoUnit
}

// length is how long a window is: a span, and how the protocol says it, in so many units; NoUnit where it cannot, because the span
// is no whole number of seconds.
type length struct {
	span       time.Duration
	unit       Unit
	multiplier uint32 // zero means one
}

// The letters of a length. The protocol's months and years are written as words: a letter for them would say minutes.
var letters = []struct {
	suffix string // no earlier one ends with a later one
	span   time.Duration
	unit   Unit
}{
	{"ms", time.Millisecond, NoUnit}, {"s", time.Second, Second}, {"m", time.Minute, Minute}, {"h", time.Hour, Hour}, {"d", 24 * time.Hour, Day}, {"w", 7 * 24 * time.Hour, Week},
}

// parseLength reads a unit's name in any letter case, or a whole number and a letter: 30s, 5m, 90d. False for anything else, and
// for what no window can be.
func parseLength(word string) (length, bool) {
	if unit := ParseUnit(word); unit != NoUnit {
		return length{span: unit.Span(), unit: unit}, true
	}
	for _, l := range letters {
		digits, ok := strings.CutSuffix(word, l.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || digits[0] == '0' || n > uint64(window.MaxSpan/l.span) {
			return length{}, false
		}
		return lengthOf(time.Duration(n)*l.span, uint32(n), l.unit), true
	}
	return length{}, false
}

// lengthOf is a span of n units; one of no unit is said in seconds where it is whole ones.
func lengthOf(span time.Duration, n uint32, unit Unit) length {
	if unit == NoUnit {
		if span%time.Second != 0 {
			return length{span: span}
		}
		n, unit = uint32(span/time.Second), Second
	}
	if n == 1 {
		n = 0
	}
	return length{span: span, unit: unit, multiplier: n}
}
