package ratelimit

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// longestMetricValue is the most bytes of a value that metrics show; a longer one is OtherValue.
const longestMetricValue = 128

// values counts one rule by the values that are sent for it. Looking one up takes no lock; a new one does, which happens
// MaxMetricValues times in a rule's life. It is safe for concurrent use.
type values struct {
	rule    *limits.Rule
	observe func(r *limits.Rule, keys []string) RuleObserver

	known atomic.Pointer[map[string]RuleObserver]
	write sync.Mutex
	full  atomic.Pointer[RuleObserver] // where the rest is counted; nil while there is room
}

// valuesOf finds the counts of a rule, which outlive its table: a reload must not give a client another thousand.
func (l *Limiter) valuesOf(r *limits.Rule) *values {
	var id strings.Builder
	id.WriteString(r.Path)
	for _, shown := range r.ByValue {
		id.WriteByte(' ')
		if shown {
			id.WriteByte('*')
		}
	}
	v := l.values[id.String()]
	if v == nil {
		v = &values{rule: r, observe: l.observer.Values}
		v.known.Store(&map[string]RuleObserver{})
		l.values[id.String()] = v
	}
	return v
}

// of is where the hits of a descriptor are counted. The rule has matched it, so there is an entry for each of its levels.
func (v *values) of(entries []limits.Entry) RuleObserver {
	var buf [256]byte
	key := buf[:0]
	for i, shown := range v.rule.ByValue {
		if shown {
			value := metricValue(entries[i].Value)
			key = binary.AppendUvarint(key, uint64(len(value)))
			key = append(key, value...)
		}
	}
	if o := (*v.known.Load())[string(key)]; o != nil {
		return o
	}
	if rest := v.full.Load(); rest != nil {
		return *rest
	}
	return v.add(string(key), entries)
}

// add counts values that have not been seen, or says where the rest is counted.
func (v *values) add(key string, entries []limits.Entry) RuleObserver {
	v.write.Lock()
	defer v.write.Unlock()
	known := *v.known.Load()
	if o := known[key]; o != nil {
		return o
	}
	if len(known) >= MaxMetricValues {
		if v.full.Load() == nil {
			rest := v.observe(v.rule, v.keys(entries, func(limits.Entry) string { return OtherValue }))
			v.full.Store(&rest)
		}
		return *v.full.Load()
	}
	o := v.observe(v.rule, v.keys(entries, func(e limits.Entry) string { return printable(metricValue(e.Value)) }))
	grown := maps.Clone(known)
	grown[key] = o
	v.known.Store(&grown)
	return o
}

// keys are the rule's levels, with the values of those that metrics show.
func (v *values) keys(entries []limits.Entry, value func(limits.Entry) string) []string {
	keys := slices.Clone(v.rule.Keys)
	for i, shown := range v.rule.ByValue {
		if !shown {
			continue
		}
		keys[i] = entries[i].Key
		if s := value(entries[i]); s != "" {
			keys[i] += "_" + s
		}
	}
	return keys
}

func metricValue(s string) string {
	if len(s) > longestMetricValue {
		return OtherValue
	}
	return s
}

// printable makes a value that a client chose fit for a label: any bytes can arrive, and a line's end would begin another metric.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
}
