package limits

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteList writes the rules in force as envoyproxy/ratelimit lists them under /rlconfig, one line for each limit: of a rule with
// several windows, several lines. Unlike there, where the order is the chance of a map, the lines are sorted.
func (t *Table) WriteList(w io.Writer) error {
	var lines []string
	for _, r := range t.rules {
		switch {
		case r.Override:
		case r.Unlimited:
			lines = append(lines, line(r, Limit{}))
		}
		for _, l := range r.Limits {
			lines = append(lines, line(r, l))
		}
	}
	slices.Sort(lines)
	_, err := io.WriteString(w, strings.Join(lines, ""))
	return err
}

func line(r *Rule, l Limit) string {
	s := fmt.Sprintf("%s: unit=%s requests_per_unit=%d, shadow_mode: %t, quota_mode: %t", r.Path, strings.ToUpper(l.Unit.String()), l.Requests, r.Shadow, r.Quota)
	if l.Multiplier > 1 {
		s += fmt.Sprintf(", unit_multiplier: %d", l.Multiplier) // only our form has windows of several units
	}
	return s + "\n"
}
