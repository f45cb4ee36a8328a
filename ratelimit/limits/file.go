// Package limits turns limits files into a table that finds the limit of a request's descriptor. It reads the file format of
// envoyproxy/ratelimit, with the phrases of its errors, and our keys beside it; it is its own room because it is pure: bytes in,
// an immutable table out, no counter, no clock and no wire.
package limits

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// File is one limits file that was read without an error. It is immutable.
type File struct {
	// Name is the file's name in errors.
	Name string
	// Domain is the file's one domain, never empty.
	Domain string

	doc       *strictyaml.Document
	domainPos strictyaml.Pos
	root      *node
	composed  bool // of a Config: its places are descriptors, not lines
}

// complain makes one error about a place of the file.
func (f *File) complain(at strictyaml.Pos, hint, format string, args ...any) *strictyaml.Error {
	d := strictyaml.NewDecoder(f.doc)
	d.ErrorAt(at, hint, format, args...)
	errs := d.Errors()
	if f.composed {
		placed(errs)
	}
	return errs[0]
}

// The keys of the format. Those of the reference come first; the old service refuses ours loudly.
var (
	rootKeys       = []string{"domain", "descriptors"}
	descriptorKeys = []string{"key", "value", "rate_limit", "descriptors", "shadow_mode", "share_threshold", "quota_mode", "detailed_metric", "value_to_metric", "metadata",
		"rate_limits", "algorithm", "resolution", "on_store_failure"}
	plainKeys = []string{"requests_per_unit", "unit", "unlimited", "name", "replaces"}
	listKeys  = []string{"requests_per_unit", "unit", "name", "burst"}
)

// Decode reads one limits file. It returns either a file or every error in it, each at its line and column.
func Decode(name string, data []byte) (*File, strictyaml.Errors) {
	// The reference's files may share values by anchors and write yes for true, so those are read; whatever two readers could
	// read as two different limits (duplicate keys, a second document) stays refused.
	doc, errs := strictyaml.ParseWith(name, data, strictyaml.Options{Aliases: true})
	if len(errs) > 0 {
		for _, e := range errs {
			e.Msg = "error loading config file: " + e.Msg
		}
		return nil, errs
	}
	return (&File{Name: name, doc: doc}).read()
}

// read reads the file's document.
func (f *File) read() (*File, strictyaml.Errors) {
	r := &reader{Decoder: strictyaml.NewDecoder(f.doc), file: f}
	r.root()
	if errs := r.Errors(); len(errs) > 0 {
		return nil, errs
	}
	f.doc = f.doc.Places()
	return f, nil
}

// reader reads one file.
type reader struct {
	*strictyaml.Decoder
	file *File
}

func (r *reader) root() {
	m := r.mapOf(r.file.doc.Root, rootKeys)
	r.file.Domain = strictyaml.SourceText(m.Get("domain"))
	r.file.domainPos = m.Pos("domain")
	if m.OK() && r.file.Domain == "" {
		r.ErrorAt(m.Pos("domain"), "write domain: and the domain of Envoy's rate limit filter", "config file cannot have empty domain")
	}
	r.text(m, "domain")
	r.file.root = &node{below: map[Entry]*node{}}
	r.descriptors(r.file.root, m, level{})
}

// mapOf reads a map of known keys, with the reference's words for an unknown one.
func (r *reader) mapOf(n *strictyaml.Node, known []string) *strictyaml.Mapping {
	m := r.OpenMap(n)
	for _, key := range m.Keys() {
		if !slices.Contains(known, key) {
			r.ErrorAt(m.Pos(key), strictyaml.Suggest(key, known), "config error, unknown key '%s'", key)
		}
	}
	return m
}

// mapsOf reads a list of maps, with the reference's words for anything else in it.
func (r *reader) mapsOf(n *strictyaml.Node) []*strictyaml.Node {
	var out []*strictyaml.Node
	for _, item := range r.List(n) {
		if item.Kind() != strictyaml.Map {
			r.Errorf(item, "", "config error, yaml file contains list of type other than map: %s", item.Kind())
			continue
		}
		out = append(out, item)
	}
	return out
}

// given is the value of one of the reference's keys. A key without a value, or with null, is as good as not there: templates that
// render nothing leave such keys behind.
func given(m *strictyaml.Mapping, key string) *strictyaml.Node {
	if n := m.Get(key); n.Kind() != strictyaml.Null {
		return n
	}
	return nil
}

// text reads a scalar of any kind as what stands in the file: key: 012 and value: 1.10 are text in this format.
func (r *reader) text(m *strictyaml.Mapping, key string) string {
	n := m.Get(key)
	if k := n.Kind(); k == strictyaml.Map || k == strictyaml.List {
		r.Errorf(n, "", "%s is text, not %s", key, k)
	}
	return strictyaml.SourceText(n)
}

func (r *reader) flag(m *strictyaml.Mapping, key string) bool {
	b, _ := r.Bool11(given(m, key))
	return b
}

// level is how far down the tree a descriptor stands.
type level struct {
	// path names the levels from below the domain: "key_value" or "key".
	path []string
	// byValue and sent are, for each level, whether value_to_metric stands there, and whether a value that the file does not
	// spell may be sent: of a key without a value and of a wildcard, unless its values are counted together.
	byValue, sent []bool
}

// below is the level of one descriptor at this one.
func (l level) below(e Entry, byValue, shared bool) level {
	sent := !shared && (e.Value == "" || strings.Contains(e.Value, "*"))
	// Siblings must not write into each other's slices.
	return level{append(slices.Clip(l.path), e.composite()), append(slices.Clip(l.byValue), byValue), append(slices.Clip(l.sent), sent)}
}

// shown is which levels metrics show as they were sent: all of them for detailed_metric. Nil for none.
func (l level) shown(detailed bool) []bool {
	out := make([]bool, len(l.path))
	for i := range out {
		out[i] = l.sent[i] && (detailed || l.byValue[i])
	}
	if !slices.Contains(out, true) {
		return nil
	}
	return out
}

// descriptors reads the descriptors of m and hangs them below n, which stands at a level.
func (r *reader) descriptors(n *node, m *strictyaml.Mapping, at level) {
	lines := map[Entry]int{}
	for _, item := range r.mapsOf(given(m, "descriptors")) {
		d := r.mapOf(item, descriptorKeys)
		e := Entry{r.text(d, "key"), r.text(d, "value")}
		shared := r.flag(d, "share_threshold")
		below := at.below(e, r.flag(d, "value_to_metric"), shared)
		switch {
		case e.Key == "":
			r.Errorf(item, "write key: and the key of a descriptor entry", "descriptor has empty key")
		case strings.Contains(e.Key, "*"):
			r.ErrorAt(d.Pos("key"), "write the key, and value: with the wildcard", "a wildcard in a key is not supported")
		case lines[e] > 0:
			r.ErrorAt(d.Pos("key"), "keep one of them", "duplicate descriptor composite key '%s'%s", r.pathOf(below.path), r.firstOn(lines[e]))
		default:
			lines[e] = d.Pos("key").Line
			n.order = append(n.order, e)
		}
		child := r.descriptor(d, below)
		if shared {
			child.shared = r.pattern(d, e)
		}
		if lines[e] > 0 && n.below[e] == nil {
			n.add(e, child)
		}
	}
}

// firstOn says where a descriptor stands that a second one repeats. A descriptor of a Config has no line, and its path is told.
func (r *reader) firstOn(line int) string {
	if r.file.composed {
		return ""
	}
	return fmt.Sprintf(" (first on line %d)", line)
}

func (r *reader) pathOf(path []string) string {
	return r.file.Domain + "." + strings.Join(path, ".")
}

// descriptor reads one descriptor and everything below it.
func (r *reader) descriptor(d *strictyaml.Mapping, at level) *node {
	n := &node{pos: d.Pos("key"), below: map[Entry]*node{}}
	n.rule = r.rule(d, at)
	r.descriptors(n, d, at)
	return n
}

// pattern is the wildcard whose values are counted together.
func (r *reader) pattern(d *strictyaml.Mapping, e Entry) string {
	if !strings.Contains(e.Value, "*") {
		r.ErrorAt(d.Pos("share_threshold"), "write a value with a *, or remove share_threshold", "share_threshold can only be used with wildcard values, but found key '%s'", e.composite())
	}
	return e.Value
}

// rule reads the limit of one descriptor; nil when it has none.
func (r *reader) rule(d *strictyaml.Mapping, at level) *Rule {
	rule := &Rule{
		Domain: r.file.Domain, Path: r.pathOf(at.path), Keys: at.path, File: r.file.Name,
		Shadow: r.flag(d, "shadow_mode"), Quota: r.flag(d, "quota_mode"), ByValue: at.shown(r.flag(d, "detailed_metric")),
		Metadata: r.metadata(given(d, "metadata")),
	}
	plain, list := given(d, "rate_limit"), d.Get("rate_limits")
	switch {
	case plain != nil && list != nil:
		r.ErrorAt(d.Pos("rate_limits"), "keep one of them", "rate_limit and rate_limits on one descriptor")
		return nil
	case list != nil:
		rule.Pos = d.Pos("rate_limits")
		r.listed(rule, d, list)
		return rule
	}
	for _, key := range []string{"algorithm", "resolution", "on_store_failure"} {
		if d.Get(key) != nil {
			r.ErrorAt(d.Pos(key), "write the limits as a list: rate_limits: [{requests_per_unit: 100, unit: minute}]", "%s belongs beside rate_limits", key)
		}
	}
	if plain == nil {
		return nil
	}
	rule.Pos = d.Pos("rate_limit")
	r.plain(rule, plain)
	return rule
}

// plain reads the reference's form: one fixed window that counts what it refuses.
func (r *reader) plain(rule *Rule, n *strictyaml.Node) {
	m := r.mapOf(n, plainKeys)
	rule.Algorithm, rule.CountDenied, rule.OnStoreFailure = window.Fixed, true, FailError
	rule.Name = r.text(m, "name")
	rule.Unlimited = r.flag(m, "unlimited")
	r.replaces(rule, m)
	requests, _ := r.Int(given(m, "requests_per_unit"), 0, math.MaxUint32) // the reference's default is 0, which refuses everything
	if !rule.Unlimited {
		word := r.text(m, "unit")
		unit := ParseUnit(word)
		if unit == NoUnit && m.OK() {
			r.invalidUnit(m, word)
		}
		r.window(rule, m, window.Window{Limit: uint32(requests), Span: unit.Span()}, length{unit: unit})
		return
	}
	if unit := r.text(m, "unit"); ParseUnit(unit) != NoUnit {
		r.ErrorAt(m.Pos("unit"), "remove the unit, or unlimited", "should not specify rate limit unit when unlimited")
	} else if unit != "" {
		r.invalidUnit(m, unit)
	}
}

func (r *reader) replaces(rule *Rule, m *strictyaml.Mapping) {
	for _, item := range r.mapsOf(given(m, "replaces")) {
		named := r.mapOf(item, []string{"name"})
		name := r.text(named, "name")
		switch {
		case name == "":
			r.Errorf(item, "", "should not have an empty replaces entry")
		case name == rule.Name:
			r.Errorf(item, "", "replaces should not contain name of same descriptor")
		default:
			rule.Replaces = append(rule.Replaces, name)
		}
	}
}

// listed reads our form: windows that must all have room, whose denied hits burn nothing.
func (r *reader) listed(rule *Rule, d *strictyaml.Mapping, n *strictyaml.Node) {
	var cells int
	rule.Algorithm, cells = r.algorithm(d)
	rule.OnStoreFailure = r.failure(d)
	items := r.mapsOf(n)
	if n.Kind() == strictyaml.List && len(r.List(n)) == 0 {
		r.Errorf(n, "write at least one {requests_per_unit: 100, unit: minute}, or rate_limit: {unlimited: true}", "rate_limits is empty")
	}
	seen := map[time.Duration]bool{}
	for _, item := range items {
		m := r.mapOf(item, listKeys)
		requests, _ := r.Int(r.Require(m, "requests_per_unit", "write requests_per_unit: 0 to refuse everything"), 0, math.MaxUint32)
		word := r.text(m, "unit")
		long, ok := parseLength(word)
		switch {
		case !ok && m.OK():
			r.invalidLength(m, word)
		case seen[long.span]:
			r.ErrorAt(m.Pos("unit"), "keep the smaller one", "two limits per %s on one descriptor", strings.ToLower(word))
		}
		seen[long.span] = ok
		w := window.Window{Limit: uint32(requests), Span: long.span, Cells: cells, Burst: r.burst(rule.Algorithm, m, requests)}
		r.window(rule, m, w, long)
	}
}

// burst reads how many hits a bucket takes at once: as many as the limit, unless it says so.
func (r *reader) burst(a window.Algorithm, m *strictyaml.Mapping, requests int64) uint32 {
	burst, set := r.Int(m.Get("burst"), 1, math.MaxUint32)
	switch {
	case a != window.TokenBucket && m.Get("burst") != nil:
		r.ErrorAt(m.Pos("burst"), "write algorithm: token_bucket beside rate_limits, or remove burst", "only a token_bucket has a burst")
		return 0
	case a != window.TokenBucket:
		return 0
	case set:
		return uint32(burst)
	default:
		return uint32(requests)
	}
}

// defaultCells is k, the sub-buckets of a sliding window: quota returns up to a 60th of the window late.
const defaultCells = 60

func (r *reader) algorithm(d *strictyaml.Mapping) (window.Algorithm, int) {
	name, ok := r.Text(d.Get("algorithm"))
	if !ok {
		name = "sliding_window"
	}
	cells, set := r.Int(d.Get("resolution"), 10, 60)
	if set && cells != 10 && cells != 60 {
		r.ErrorAt(d.Pos("resolution"), "60 is exact to 1.7 % of the window; 10 is cheaper and stricter", "resolution is 10 or 60")
	}
	if !set {
		cells = defaultCells
	}
	switch name {
	case "sliding_window":
		return window.Sliding, int(cells)
	case "fixed_window":
		if set {
			r.ErrorAt(d.Pos("resolution"), "remove it", "a fixed_window has no resolution")
		}
		return window.Fixed, 0
	case "token_bucket":
		if set {
			r.ErrorAt(d.Pos("resolution"), "remove it; a bucket is exact", "a token_bucket has no resolution")
		}
		return window.TokenBucket, 0
	case "approximate", "exact":
		r.ErrorAt(d.Pos("algorithm"), "write sliding_window, token_bucket or fixed_window", "algorithm %s is not supported yet", name)
	default:
		r.ErrorAt(d.Pos("algorithm"), strictyaml.Suggest(name, []string{"sliding_window", "token_bucket", "fixed_window"}), "unknown algorithm '%s'", name)
	}
	return window.Sliding, defaultCells
}

func (r *reader) failure(d *strictyaml.Mapping) Failure {
	n := d.Get("on_store_failure")
	word, ok := r.Text(n)
	if !ok {
		return FailLocal
	}
	for f, name := range failures {
		if word == name {
			return Failure(f)
		}
	}
	r.Errorf(n, strictyaml.Suggest(word, failures[:]), "unknown on_store_failure '%s'", word)
	return FailLocal
}

// window adds one limit to the rule.
func (r *reader) window(rule *Rule, m *strictyaml.Mapping, w window.Window, long length) {
	rule.Limits = append(rule.Limits, Limit{Name: visibleName(r.text(m, "name")), Requests: w.Limit, Unit: long.unit, Multiplier: long.multiplier})
	rule.Windows = append(rule.Windows, w)
}

func (r *reader) invalidUnit(m *strictyaml.Mapping, word string) {
	names := make([]string, 0, len(units))
	for u := Second; u <= Year; u++ {
		names = append(names, u.String())
	}
	hint := strictyaml.Suggest(word, names)
	if _, ours := parseLength(word); ours {
		hint = "write the limit as a list, which takes any length: rate_limits: [{requests_per_unit: 100, unit: " + word + "}]"
	}
	r.ErrorAt(m.Pos("unit"), hint, "invalid rate limit unit '%s'", word)
}

// invalidLength complains of a unit in a list, where a number and a letter would do as well.
func (r *reader) invalidLength(m *strictyaml.Mapping, word string) {
	if strings.ContainsAny(word, "0123456789") {
		r.ErrorAt(m.Pos("unit"), "write a whole number and one of ms, s, m, h, d, w, as in 30s, 5m or 90d; 68 years at most", "invalid rate limit unit '%s'", word)
		return
	}
	r.invalidUnit(m, word)
}
