package offline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/sallyport-dev/sallyport/authz"
)

// Misses says in what a result is not what its case expects, one line each; nil if it is.
func (r *Result) Misses() []string {
	misses := slices.Clone(r.Unanswered)
	e := r.Case.Expect
	if e == nil {
		return misses
	}
	d := r.Ruled()
	for _, field := range []struct{ name, want, came string }{
		{"decision", e.Decision, d.Verdict.String()},
		{"status", number0(e.Status), strconv.Itoa(d.Status())},
		{"reason", e.Reason, d.Reason.String()},
		{"detail", e.Detail, d.Detail},
		{"service", e.Service, d.ServiceName()},
		{"rule", e.Rule, d.RuleName()},
		{"step", e.Step, d.Step.String()},
	} {
		if field.want != "" && field.want != field.came {
			misses = append(misses, fmt.Sprintf("%s: expected %s, came %s", field.name, field.want, orNone(field.came)))
		}
	}
	misses = append(misses, missingFields("header", e.Headers, d.Set)...)
	return append(misses, missingFields("metadata", e.Metadata, d.Metadata)...)
}

func number0(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func missingFields(kind string, want map[string]*string, came []authz.Field) []string {
	var misses []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		at := slices.IndexFunc(came, func(f authz.Field) bool { return f.Name == name })
		switch value := want[name]; {
		case value == nil && at >= 0:
			misses = append(misses, fmt.Sprintf("%s %s: expected none, came %q", kind, name, came[at].Value))
		case value != nil && at < 0:
			misses = append(misses, fmt.Sprintf("%s %s: expected %q, came none", kind, name, *value))
		case value != nil && came[at].Value != *value:
			misses = append(misses, fmt.Sprintf("%s %s: expected %q, came %q", kind, name, *value, came[at].Value))
		}
	}
	return misses
}
