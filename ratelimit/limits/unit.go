package limits

import (
	"strings"
	"time"
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
