package limits

import (
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// mesh is the example of the documentation: both forms in one file.
const mesh = `domain: mesh
descriptors:
  - key: who
    value: "workload|*"
    rate_limit: {unlimited: true}
  - key: who
    algorithm: sliding_window
    rate_limits:
      - {requests_per_unit: 100, unit: minute}
      - {requests_per_unit: 1000, unit: hour, name: hourly}
    on_store_failure: local
  - key: service
    descriptors:
      - key: rule
        rate_limits: [{requests_per_unit: 2000, unit: second}]
        descriptors:
          - key: who
            resolution: 10
            shadow_mode: true
            on_store_failure: open
            rate_limits: [{requests_per_unit: 50, unit: second}]
  - key: plain
    shadow_mode: yes
    rate_limit: {requests_per_unit: 5, unit: MINUTE, name: 'five "a", minute'}
  - key: fixed
    algorithm: fixed_window
    on_store_failure: closed
    rate_limits: [{requests_per_unit: 7, unit: week}]
`

func mustBuild(t testing.TB, sources ...string) *Table {
	t.Helper()
	var files []*File
	for i, s := range sources {
		f, errs := Decode(fmt.Sprintf("f%d.yaml", i), []byte(s))
		if errs != nil {
			t.Fatalf("Decode: %v", errs)
		}
		files = append(files, f)
	}
	table, errs := Build(files)
	if errs != nil {
		t.Fatalf("Build: %v", errs)
	}
	return table
}

// entries reads "who=a, rule=b".
func entries(s string) []Entry {
	var out []Entry
	for part := range strings.SplitSeq(s, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		out = append(out, Entry{key, value})
	}
	return out
}

func TestRules(t *testing.T) {
	table := mustBuild(t, mesh)
	type seen struct {
		Windows    []window.Window
		Names      []string
		Algorithm  window.Algorithm
		Denied     bool
		Shadow     bool
		Unlimited  bool
		OnFailure  string
		PathInFile string
	}
	for _, tt := range []struct {
		descriptor string
		want       seen
	}{
		// Our form: strict, nothing burnt by a denied hit, local without its store.
		{"who=user|shop|alice", seen{[]window.Window{{Limit: 100, Span: time.Minute, Cells: 60}, {Limit: 1000, Span: time.Hour, Cells: 60}}, []string{"", "hourly"}, window.Sliding, false, false, false, "local", "mesh.who:8"}},
		{"service=orders,rule=list", seen{[]window.Window{{Limit: 2000, Span: time.Second, Cells: 60}}, []string{""}, window.Sliding, false, false, false, "local", "mesh.service.rule:15"}},
		{"service=orders,rule=list,who=alice", seen{[]window.Window{{Limit: 50, Span: time.Second, Cells: 10}}, []string{""}, window.Sliding, false, true, false, "open", "mesh.service.rule.who:21"}},
		{"fixed=", seen{[]window.Window{{Limit: 7, Span: 7 * 24 * time.Hour}}, []string{""}, window.Fixed, false, false, false, "closed", "mesh.fixed:28"}},
		// The reference's form: fixed windows, denied hits counted, an error without its store.
		{"plain=x", seen{[]window.Window{{Limit: 5, Span: time.Minute}}, []string{"five _a__ minute"}, window.Fixed, true, true, false, "error", "mesh.plain:24"}},
		{"who=workload|spiffe://a/b", seen{nil, nil, window.Fixed, true, false, true, "error", "mesh.who_workload|*:5"}},
	} {
		t.Run(tt.descriptor, func(t *testing.T) {
			r := table.Match("mesh", entries(tt.descriptor)).Rule
			if r == nil {
				t.Fatal("no rule")
			}
			got := seen{r.Windows, nil, r.Algorithm, r.CountDenied, r.Shadow, r.Unlimited, r.OnStoreFailure.String(), fmt.Sprintf("%s:%d", r.Path, r.Pos.Line)}
			for _, l := range r.Limits {
				got.Names = append(got.Names, l.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if table.Rules()[r.ID] != r {
				t.Error("a rule does not stand at its ID")
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	limit := "rate_limit: {requests_per_unit: 1, unit: minute}"
	for _, tt := range []struct{ name, source, want string }{
		// The reference's phrases.
		{"no domain", "descriptors: []\n", "f.yaml:1:1: config file cannot have empty domain"},
		{"empty domain", "domain: ''\n", "f.yaml:1:1: config file cannot have empty domain"},
		{"null domain", "domain:\n", "f.yaml:1:1: config file cannot have empty domain"},
		{"no key", "domain: d\ndescriptors:\n- value: v\n  " + limit + "\n", "f.yaml:3:3: descriptor has empty key"},
		{"empty key", "domain: d\ndescriptors:\n- key: ''\n", "f.yaml:3:3: descriptor has empty key"},
		{"duplicate", "domain: d\ndescriptors:\n- key: a\n  value: b\n- key: a\n  value: b\n", "f.yaml:5:3: duplicate descriptor composite key 'd.a_b' (first on line 3)"},
		{"duplicate, nested, once as null", "domain: d\ndescriptors:\n- key: a\n  descriptors:\n  - key: b\n  - {key: b, value: }\n", "f.yaml:6:6: duplicate descriptor composite key 'd.a.b' (first on line 5)"},
		{"no unit", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1}\n", "f.yaml:4:15: invalid rate limit unit ''"},
		{"bad unit", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: minutes}\n", "f.yaml:4:38: invalid rate limit unit 'minutes'"},
		{"unit unknown", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: unknown}\n", "f.yaml:4:38: invalid rate limit unit 'unknown'"},
		{"unlimited with a unit", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {unlimited: true, unit: day}\n", "f.yaml:4:33: should not specify rate limit unit when unlimited"},
		{"unknown key at the top", "domain: d\ndescriptor: []\n", "f.yaml:2:1: config error, unknown key 'descriptor'"},
		{"unknown key in a descriptor", "domain: d\ndescriptors:\n- key: a\n  ratelimit: {}\n", "f.yaml:4:3: config error, unknown key 'ratelimit'"},
		{"key on the wrong level", "domain: d\ndescriptors:\n- key: a\n  unit: day\n", "f.yaml:4:3: config error, unknown key 'unit'"},
		{"key that is no text", "domain: d\n1: x\n", "f.yaml:2:1: error loading config file: config error, key is not of type string: 1 is not text"},
		{"list of text", "domain: d\ndescriptors: [a]\n", "f.yaml:2:15: config error, yaml file contains list of type other than map: text"},
		{"empty replaces", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: day, replaces: [{name: ''}]}\n", "f.yaml:4:60: should not have an empty replaces entry"},
		{"replaces itself", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: day, name: x, replaces: [{name: x}]}\n", "f.yaml:4:69: replaces should not contain name of same descriptor"},
		{"share_threshold without a star", "domain: d\ndescriptors:\n- key: a\n  value: b\n  share_threshold: true\n", "f.yaml:5:3: share_threshold can only be used with wildcard values, but found key 'a_b'"},
		{"not YAML", "domain: [d\n", "f.yaml:1:9: error loading config file: sequence end token ']' not found"},
		{"not a map", "- a\n", "f.yaml:1:1: this is a list where a map is meant"},

		// What the reference lets pass by accident.
		{"duplicate YAML key", "domain: d\ndomain: e\n", `f.yaml:2:1: error loading config file: duplicate key "domain" (first on line 1)`},
		{"second document", "domain: d\n---\ndomain: e\n", "f.yaml:2:1: error loading config file: a second document"},
		{"limit of nothing", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {}\n", "f.yaml:4:15: invalid rate limit unit ''"},
		{"no number", "domain: d\ndescriptors:\n- key: a\n  rate_limits: [{unit: day}]\n", `f.yaml:4:17: missing key "requests_per_unit"`},
		{"no number, as null", "domain: d\ndescriptors:\n- key: a\n  rate_limits: [{unit: day, requests_per_unit: }]\n", "f.yaml:4:47: a whole number is missing"},
		{"a list of nothing", "domain: d\ndescriptors:\n- key: a\n  rate_limits:\n", "f.yaml:4:16: a list is missing"},
		{"number as text", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: '5', unit: day}\n", `f.yaml:4:35: "5" is text where a whole number is meant`},
		{"octal number", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 010, unit: day}\n", "f.yaml:4:35: 010 means different numbers to different YAML readers"},
		{"too many", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 4294967296, unit: day}\n", "f.yaml:4:35: 4294967296 is out of range"},
		{"wildcard in a key", "domain: d\ndescriptors:\n- key: a*\n", "f.yaml:3:3: a wildcard in a key is not supported"},

		// Our form.
		{"both forms", "domain: d\ndescriptors:\n- key: a\n  " + limit + "\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:5:3: rate_limit and rate_limits on one descriptor"},
		{"our key, their form", "domain: d\ndescriptors:\n- key: a\n  " + limit + "\n  on_store_failure: open\n", "f.yaml:5:3: on_store_failure belongs beside rate_limits"},
		{"no window", "domain: d\ndescriptors:\n- key: a\n  rate_limits: []\n", "f.yaml:4:16: rate_limits is empty"},
		{"unlimited in a list", "domain: d\ndescriptors:\n- key: a\n  rate_limits: [{unit: day, requests_per_unit: 1, unlimited: true}]\n", "f.yaml:4:51: config error, unknown key 'unlimited'"},
		{"same span twice", "domain: d\ndescriptors:\n- key: a\n  rate_limits:\n  - {requests_per_unit: 1, unit: day}\n  - {requests_per_unit: 2, unit: DAY}\n", "f.yaml:6:28: two limits per day on one descriptor"},
		{"same length twice", "domain: d\ndescriptors:\n- key: a\n  rate_limits:\n  - {requests_per_unit: 1, unit: day}\n  - {requests_per_unit: 2, unit: 24h}\n", "f.yaml:6:28: two limits per 24h on one descriptor"},
		{"resolution of a bucket", "domain: d\ndescriptors:\n- key: a\n  algorithm: token_bucket\n  resolution: 10\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:5:3: a token_bucket has no resolution"},
		{"burst of a window", "domain: d\ndescriptors:\n- key: a\n  rate_limits: [{requests_per_unit: 1, unit: day, burst: 5}]\n", "f.yaml:4:51: only a token_bucket has a burst"},
		{"no burst", "domain: d\ndescriptors:\n- key: a\n  algorithm: token_bucket\n  rate_limits: [{requests_per_unit: 1, unit: day, burst: 0}]\n", "f.yaml:5:58: 0 is out of range"},
		{"length in their form", "domain: d\ndescriptors:\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: 5m}\n", "f.yaml:4:38: invalid rate limit unit '5m'"},
		{"exact", "domain: d\ndescriptors:\n- key: a\n  algorithm: exact\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:4:3: algorithm exact is not supported yet"},
		{"unknown algorithm", "domain: d\ndescriptors:\n- key: a\n  algorithm: slide\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:4:3: unknown algorithm 'slide'"},
		{"resolution", "domain: d\ndescriptors:\n- key: a\n  resolution: 30\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:4:3: resolution is 10 or 60"},
		{"resolution of a fixed window", "domain: d\ndescriptors:\n- key: a\n  algorithm: fixed_window\n  resolution: 10\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:5:3: a fixed_window has no resolution"},
		{"unknown failure", "domain: d\ndescriptors:\n- key: a\n  on_store_failure: locl\n  rate_limits: [{requests_per_unit: 1, unit: day}]\n", "f.yaml:4:21: unknown on_store_failure 'locl'"},
		{"replaces in a list", "domain: d\ndescriptors:\n- key: a\n  rate_limits: [{requests_per_unit: 1, unit: day, replaces: []}]\n", "f.yaml:4:51: config error, unknown key 'replaces'"},

		// Metadata is free, but each value means one thing.
		{"metadata that is no map", "domain: d\ndescriptors:\n- key: a\n  metadata: x\n", `f.yaml:4:13: "x" is text where a map is meant`},
		{"metadata of a doubtful number", "domain: d\ndescriptors:\n- key: a\n  metadata: {x: [{y: 010}]}\n", "f.yaml:4:22: 010 means different numbers to different YAML readers"},
		{"metadata of no number", "domain: d\ndescriptors:\n- key: a\n  metadata: {x: .inf}\n", "f.yaml:4:17: .inf means different numbers to different YAML readers"},
		{"metadata of a doubtful word", "domain: d\ndescriptors:\n- key: a\n  metadata: {x: yes}\n", "f.yaml:4:17: yes is a boolean to some YAML readers, not text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, errs := Decode("f.yaml", []byte(tt.source))
			if f != nil || len(errs) == 0 {
				t.Fatal("accepted")
			}
			if got := errs[0].Error(); got != tt.want {
				t.Errorf("first error\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// One run shows every error of a file, each with what to write instead.
func TestDecodeCollects(t *testing.T) {
	_, errs := Decode("f.yaml", []byte(`descriptors:
- value: v
  quota_mode: maybe
- key: a
  rate_limit: {requests_per_unit: x, unit: fortnight, nme: y}
  descriptors:
  - key: b
    rate_limits: [{requests_per_unit: 1, unit: day}, {requests_per_unit: 1, unit: day}]
`))
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Pos.Line)
	}
	if diff := cmp.Diff([]int{1, 2, 3, 5, 5, 5, 8}, lines); diff != "" {
		t.Errorf("%s\n%v", diff, errs)
	}
	for _, e := range errs {
		if !strings.Contains(e.Pretty(), "^") {
			t.Errorf("no caret: %s", e.Pretty())
		}
	}
}

// The reference's files load as they are: text is what stands in the file, and values may be shared.
func TestReferenceFormat(t *testing.T) {
	table := mustBuild(t, `domain: 012
descriptors:
  - key: version
    value: 1.10
    rate_limit: &shared
      unit: Second
      requests_per_unit: 1
    quota_mode: no
    detailed_metric: false
  - key: version
    value: yes
    rate_limit: *shared
  - key: version
    value: null
    rate_limit:
      <<: *shared
      requests_per_unit: 3
`)
	for value, want := range map[string]uint32{"1.10": 1, "yes": 1, "1.1": 3, "true": 3, "": 3} {
		m := table.Match("012", []Entry{{"version", value}})
		if m.Rule == nil || m.Rule.Limits[0].Requests != want {
			t.Errorf("version=%s: got %+v, want %d", value, m.Rule, want)
		}
	}
}

// What templates leave behind loads as the reference reads it: null is nothing, a limit without a number is none at all, and
// shadow_mode may stand where no limit is.
func TestReferenceDefaults(t *testing.T) {
	table := mustBuild(t, `domain: d
descriptors:
  - key: a
    value:
    rate_limit: {unit: day, replaces: , name: , unlimited: }
    descriptors:
    shadow_mode:
    metadata:
  - key: b
    rate_limit:
    shadow_mode: true
    descriptors:
      - key: c
        rate_limit: {unit: day, requests_per_unit: }
`, "domain: e\ndescriptors:\n")
	for descriptor, limited := range map[string]bool{"a=x": true, "b=x": false, "b=x,c=y": true} {
		m := table.Match("d", entries(descriptor))
		if got := m.Rule != nil; got != limited || got && (len(m.Rule.Limits) != 1 || m.Rule.Limits[0].Requests != 0 || m.Rule.Shadow) {
			t.Errorf("%s: got %+v", descriptor, m.Rule)
		}
	}
	if table.Override("e") == nil {
		t.Error("a domain of no descriptors is not known")
	}
}

func TestBuild(t *testing.T) {
	decode := func(name, s string) *File {
		f, errs := Decode(name, []byte(s))
		if errs != nil {
			t.Fatal(errs)
		}
		return f
	}
	_, errs := Build([]*File{decode("a.yaml", "domain: d\n"), decode("b.yaml", "# second\ndomain: d\n")})
	if len(errs) != 1 || errs[0].Error() != "b.yaml:2:1: duplicate domain 'd' in config file" || errs[0].Hint != "the other file is a.yaml" {
		t.Errorf("duplicate domain: %v", errs)
	}
	if table, errs := Build(nil); table != nil || len(errs) != 1 {
		t.Errorf("no files: %v, %v", table, errs)
	}

	// A domain without descriptors is known, and limits nothing by itself.
	table := mustBuild(t, "domain: d\n", "domain: e\n")
	if table.Override("d") == nil || table.Override("e") == nil || table.Override("f") != nil {
		t.Error("domains are not known by their names")
	}

	// A file serves in several tables, with other files, and each table numbers its rules for itself.
	f := decode("mesh.yaml", mesh)
	one, _ := Build([]*File{f})
	two, _ := Build([]*File{decode("e.yaml", "domain: e\n"), f})
	for _, tb := range []*Table{one, two} {
		for i, r := range tb.Rules() {
			if r.ID != i {
				t.Errorf("rule %s has ID %d at %d", r.Path, r.ID, i)
			}
		}
	}
}

func TestMatch(t *testing.T) {
	const file = `domain: d
descriptors:
  - key: path
    value: "/a/*"
    rate_limit: {requests_per_unit: 1, unit: day}
  - key: path
    value: "/a/b*"
    rate_limit: {requests_per_unit: 2, unit: day}
  - key: path
    value: /a/exact
    rate_limit: {requests_per_unit: 3, unit: day}
  - key: path
    rate_limit: {requests_per_unit: 4, unit: day}
  - key: path
    value: /white
  - key: path
    value: "*.png"
    rate_limit: {requests_per_unit: 5, unit: day}
  - key: path
    value: "x*y*z"
    rate_limit: {requests_per_unit: 6, unit: day}
  - key: a
    value: b
    descriptors:
      - key: c
        rate_limit: {requests_per_unit: 7, unit: day}
  - key: a
    rate_limit: {requests_per_unit: 8, unit: day}
    descriptors:
      - key: d
        rate_limit: {requests_per_unit: 9, unit: day}
  - key: a
    value: b_c
    rate_limit: {requests_per_unit: 10, unit: day}
  - key: a_b
    value: c
    rate_limit: {requests_per_unit: 11, unit: day}
  - key: w
    value: "*"
    rate_limit: {requests_per_unit: 12, unit: day}
  - key: v
    rate_limit: {requests_per_unit: 13, unit: day}
  - key: v
    value: "*"
`
	table := mustBuild(t, file)
	for _, tt := range []struct {
		descriptor string
		want       uint32 // zero: no limit
	}{
		// Exact, then the first wildcard of the file (not the most specific), then the key alone.
		{"path=/a/exact", 3},
		{"path=/a/x", 1},
		{"path=/a/bc", 1},
		{"path=/a/", 1},
		{"path=/a", 4},
		{"path=/other", 4},
		{"path=", 4},
		{"path", 4},
		{"path=/b.png", 5},
		{"path=/a/b.png", 1},
		{"path=xyz", 6},
		{"path=x1y2y3z", 6},
		{"path=xz", 4},
		{"path=xzy", 4},
		{"other=x", 0},
		{"w=x", 12},
		// An empty value is the key alone, before any wildcard; without such a key "*" limits it, so that nobody passes by showing none.
		{"w=", 12},
		{"v=x", 0},
		{"v=", 13},
		// A value that spells a pattern is that pattern's node.
		{"path=/a/b*", 2},
		// A value without a limit whitelists, and does not fall back to the key alone.
		{"path=/white", 0},
		// Only the node of the last entry limits: no shorter, no longer descriptor, and no way back from an exact value.
		{"a=b", 0},
		{"a=b,c=x", 7},
		{"a=b,d=x", 0},
		{"a=x", 8},
		{"a=x,d=x", 9},
		{"a=x,c=x", 0},
		{"a=x,d=x,e=x", 0},
		{"c=x,a=b", 0},
		// An underscore joins nothing.
		{"a=b_c", 10},
		{"a_b=c", 11},
		{"a_b=d", 0},
	} {
		got := table.Match("d", entries(tt.descriptor))
		if n := requests(got); n != tt.want {
			t.Errorf("%s: limit %d, want %d", tt.descriptor, n, tt.want)
		}
		if (got.Rule == nil) != (got.Key == "") {
			t.Errorf("%s: key %q with rule %v", tt.descriptor, got.Key, got.Rule)
		}
	}
	// A descriptor without entries matches nothing, and a domain that no file names has no limits.
	if m := table.Match("d", nil); m != (Match{}) {
		t.Errorf("no entries: %+v", m)
	}
	if m := table.Match("e", entries("path=/a/x")); m != (Match{}) {
		t.Errorf("unknown domain: %+v", m)
	}
}

func requests(m Match) uint32 {
	if m.Rule == nil {
		return 0
	}
	return m.Rule.Limits[0].Requests
}

func TestSharedThreshold(t *testing.T) {
	table := mustBuild(t, `domain: d
descriptors:
- key: path
  value: /files/*
  share_threshold: true
  rate_limit: {requests_per_unit: 1, unit: day}
  descriptors:
  - key: who
    rate_limit: {requests_per_unit: 1, unit: day}
- key: path
  value: /dirs/*
  rate_limit: {requests_per_unit: 1, unit: day}
`)
	key := func(s string) string { return table.Match("d", entries(s)).Key }
	if key("path=/files/a") != key("path=/files/b") || key("path=/files/a,who=x") != key("path=/files/b,who=x") {
		t.Error("values of a shared wildcard have counters of their own")
	}
	if key("path=/files/a,who=x") == key("path=/files/a,who=y") || key("path=/dirs/a") == key("path=/dirs/b") {
		t.Error("values that are not shared share a counter")
	}
	if key("path=/files/a") != key("path=/files/*") {
		t.Error("a value that spells the shared pattern has a counter of its own")
	}
}

// Distinct descriptors have distinct counters, whatever bytes a client sends, and whatever limits a request brings.
func TestKeysAreDistinct(t *testing.T) {
	const file = "domain: %s\ndescriptors: &all\n- key: a\n  rate_limit: {requests_per_unit: 1, unit: day}\n  descriptors:\n  - key: b\n    rate_limit: {requests_per_unit: 1, unit: day}\n- key: a_b\n  rate_limit: {requests_per_unit: 1, unit: day}\n- key: l1:a\n  rate_limit: {requests_per_unit: 1, unit: day}\n"
	table := mustBuild(t, fmt.Sprintf(file, "d"), fmt.Sprintf(file, "dl1"))
	value := rapid.OneOf(
		rapid.StringMatching(`[lhps:0-9a_]{0,6}`),
		rapid.SampledFrom([]string{"", "1:a", "l1:b", "b_c", "l1:al1:b", strings.Repeat("x", longest), strings.Repeat("x", longest+1), strings.Repeat("x", longest) + "y", strings.Repeat("z", 2000)}),
	)
	type input struct {
		domain string
		span   time.Duration
		list   string // the entries, written unambiguously
	}
	rapid.Check(t, func(t *rapid.T) {
		seen := map[string]input{}
		for range rapid.IntRange(2, 12).Draw(t, "n") {
			domain := rapid.SampledFrom([]string{"d", "dl1"}).Draw(t, "domain")
			keys := rapid.SampledFrom([][]string{{"a"}, {"a", "b"}, {"a_b"}, {"l1:a"}}).Draw(t, "keys")
			var list []Entry
			for _, k := range keys {
				list = append(list, Entry{k, value.Draw(t, "value")})
			}
			in := input{domain: domain, list: fmt.Sprintf("%q", list)}
			key := table.Match(domain, list).Key
			if in.span = rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "span"); in.span > 0 {
				key = OverrideKey(domain, list, in.span)
			}
			if key == "" || len(key) > longestKey {
				t.Fatalf("%+v: key of %d bytes", in, len(key))
			}
			if other, taken := seen[key]; taken && other != in {
				t.Fatalf("%+v and %+v share key %q", in, other, key)
			}
			seen[key] = in
		}
	})
}

// A key stays within what a store takes, however many long entries a descriptor has.
func TestKeyOfManyEntries(t *testing.T) {
	var one, two []Entry
	for i := range 32 {
		k := strings.Repeat("k", 60) + fmt.Sprint(i)
		one, two = append(one, Entry{k, "v"}), append(two, Entry{k, "v"})
	}
	two[31].Value = "w"
	a, b := OverrideKey("d", one, time.Second), OverrideKey("d", two, time.Second)
	if a == b || len(a) > longestKey {
		t.Errorf("keys %q and %q", a, b)
	}
}

// twin is Match as the documentation says it, over the flat list of a file's descriptors, with no index of any kind.
type twin struct {
	key, value string
	limit      uint32
	below      []twin
}

func (d twin) yaml(b *strings.Builder, indent string) {
	fmt.Fprintf(b, "%s- key: %s\n", indent, d.key)
	if d.value != "" {
		fmt.Fprintf(b, "%s  value: '%s'\n", indent, d.value)
	}
	if d.limit > 0 {
		fmt.Fprintf(b, "%s  rate_limit: {requests_per_unit: %d, unit: day}\n", indent, d.limit)
	}
	if len(d.below) > 0 {
		fmt.Fprintf(b, "%s  descriptors:\n", indent)
	}
	for _, x := range d.below {
		x.yaml(b, indent+"  ")
	}
}

func match(list []twin, request []Entry) uint32 {
	e := request[0]
	pick := func(fits func(twin) bool) *twin {
		for i := range list {
			if list[i].key == e.Key && fits(list[i]) {
				return &list[i]
			}
		}
		return nil
	}
	found := pick(func(d twin) bool { return d.value == e.Value }) // the key alone, where the request's value is empty
	if found == nil {
		// path.Match's star stops at a slash, and the values drawn hold none.
		found = pick(func(d twin) bool {
			ok, _ := path.Match(d.value, e.Value)
			return strings.Contains(d.value, "*") && ok
		})
	}
	if found == nil {
		found = pick(func(d twin) bool { return d.value == "" })
	}
	switch {
	case found == nil:
		return 0
	case len(request) == 1:
		return found.limit
	}
	return match(found.below, request[1:])
}

func TestMatchAgreesWithTwin(t *testing.T) {
	key := rapid.SampledFrom([]string{"a", "b"})
	pattern := rapid.StringMatching(`[xy*]{0,4}`)
	var limit uint32
	var draw func(t *rapid.T, depth int) []twin
	draw = func(t *rapid.T, depth int) []twin {
		taken := map[Entry]bool{}
		var list []twin
		for range rapid.IntRange(0, 5).Draw(t, "width") {
			d := twin{key: key.Draw(t, "key"), value: pattern.Draw(t, "pattern")}
			if taken[Entry{d.key, d.value}] {
				continue
			}
			taken[Entry{d.key, d.value}] = true
			if limit++; rapid.Bool().Draw(t, "limited") {
				d.limit = limit
			}
			if depth < 3 {
				d.below = draw(t, depth+1)
			}
			list = append(list, d)
		}
		return list
	}
	rapid.Check(t, func(t *rapid.T) {
		limit = 0
		list := draw(t, 1)
		var b strings.Builder
		b.WriteString("domain: d\ndescriptors: [")
		if len(list) > 0 {
			b.Reset()
			b.WriteString("domain: d\ndescriptors:\n")
			for _, d := range list {
				d.yaml(&b, "")
			}
		} else {
			b.WriteString("]\n")
		}
		f, errs := Decode("f.yaml", []byte(b.String()))
		if errs != nil {
			t.Fatalf("%v\n%s", errs, b.String())
		}
		table, _ := Build([]*File{f})
		for range 10 {
			request := []Entry{{key.Draw(t, "key"), pattern.Draw(t, "value")}}
			for range rapid.IntRange(0, 2).Draw(t, "more") {
				request = append(request, Entry{key.Draw(t, "key"), rapid.StringMatching(`[xy]{0,4}`).Draw(t, "value")})
			}
			if got, want := requests(table.Match("d", request)), match(list, request); got != want {
				t.Fatalf("%v: %d, want %d, in\n%s", request, got, want, b.String())
			}
		}
	})
}

func TestUnits(t *testing.T) {
	for word, want := range map[string]time.Duration{
		"second": time.Second, "MINUTE": time.Minute, "Hour": time.Hour, "day": 24 * time.Hour, "week": 604_800 * time.Second, "month": 30 * 24 * time.Hour, "year": 365 * 24 * time.Hour,
		"unknown": 0, "": 0, "minutes": 0,
	} {
		if got := ParseUnit(word).Span(); got != want {
			t.Errorf("%q: %v, want %v", word, got, want)
		}
	}
	if Unit(200).Span() != 0 || Unit(200).String() != "unknown" || Failure(200).String() != "error" {
		t.Error("a unit or a failure that does not exist has a meaning")
	}
}

// Our form takes any length: the protocol says it in units where it can, and the window is what was written.
func TestLengths(t *testing.T) {
	for word, want := range map[string]Limit{
		"minute": {Unit: Minute}, "30s": {Unit: Second, Multiplier: 30}, "5m": {Unit: Minute, Multiplier: 5}, "1h": {Unit: Hour}, "90d": {Unit: Day, Multiplier: 90},
		"2w": {Unit: Week, Multiplier: 2}, "250ms": {}, "1500ms": {}, "60000ms": {Unit: Second, Multiplier: 60}, "24855d": {Unit: Day, Multiplier: 24855},
	} {
		file, errs := Decode("f.yaml", []byte("domain: d\ndescriptors: [{key: a, rate_limits: [{requests_per_unit: 7, unit: "+word+"}]}]\n"))
		if errs != nil {
			t.Errorf("%s: %v", word, errs)
			continue
		}
		rule := file.root.below[Entry{Key: "a"}].rule
		want.Requests = 7
		if diff := cmp.Diff(want, rule.Limits[0]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", word, diff)
		}
		if err := (window.Ask{Algorithm: rule.Algorithm, Windows: rule.Windows}).Validate(); err != nil {
			t.Errorf("%s: %v", word, err)
		}
		if long := want.Unit.Span() * time.Duration(max(want.Multiplier, 1)); long > 0 && rule.Windows[0].Span != long {
			t.Errorf("%s: a window of %v, shown as %v", word, rule.Windows[0].Span, long)
		}
	}
	for _, word := range []string{"0s", "05s", "5", "s", "-5s", "+5s", "1.5s", "5 s", "5S", "1h30m", "5min", "5y", "24856d", "99999999999999999999s", "1e3s", "5us"} {
		_, errs := Decode("f.yaml", []byte("domain: d\ndescriptors: [{key: a, rate_limits: [{requests_per_unit: 7, unit: '"+word+"'}]}]\n"))
		if len(errs) != 1 || !strings.Contains(errs[0].Msg, "invalid rate limit unit '"+word+"'") || errs[0].Hint == "" {
			t.Errorf("%s: %v, want one error about the unit, with a hint", word, errs)
		}
	}
}

func TestBursts(t *testing.T) {
	table := mustBuild(t, `domain: d
descriptors:
  - key: a
    algorithm: token_bucket
    rate_limits:
      - {requests_per_unit: 10, unit: second}
      - {requests_per_unit: 100, unit: 5m, burst: 20}
`)
	want := []window.Window{{Limit: 10, Burst: 10, Span: time.Second}, {Limit: 100, Burst: 20, Span: 5 * time.Minute}}
	rule := table.Match("d", []Entry{{Key: "a"}}).Rule
	if diff := cmp.Diff(want, rule.Windows); diff != "" || rule.Algorithm != window.TokenBucket || rule.CountDenied {
		t.Errorf("algorithm %v (-want +got):\n%s", rule.Algorithm, diff)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(mesh))
	f.Add([]byte("domain: d\ndescriptors:\n- {key: a, value: '*', share_threshold: true, rate_limit: {requests_per_unit: 1, unit: day, replaces: [{name: x}]}}\n"))
	f.Add([]byte("domain: d\ndescriptors: [{key: a, quota_mode: on, detailed_metric: yes, metadata: {x: [1e3, .5, {y: }]}, rate_limit: {unit: day}}]\n"))
	f.Add([]byte("domain: &d d\ndescriptors: [{key: *d, descriptors: [{key: *d}]}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, errs := Decode("f.yaml", data)
		if (file == nil) == (len(errs) == 0) {
			t.Fatalf("file %v and %d errors", file != nil, len(errs))
		}
		if file == nil {
			return
		}
		table, errs := Build([]*File{file})
		if errs != nil {
			t.Fatal(errs)
		}
		for _, r := range table.Rules() {
			var list []Entry
			for _, k := range r.Keys {
				list = append(list, Entry{Key: k})
			}
			table.Match(r.Domain, list)
			if len(r.Limits) != len(r.Windows) {
				t.Fatalf("%s: %d limits and %d windows", r.Path, len(r.Limits), len(r.Windows))
			}
			if r.Unlimited || r.Override {
				continue
			}
			if err := (window.Ask{Algorithm: r.Algorithm, Windows: r.Windows, Hits: 1}).Validate(); err != nil {
				t.Fatalf("%s: %v", r.Path, err)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		var s strings.Builder
		s.WriteString("domain: mesh\ndescriptors:\n")
		for i := range n {
			fmt.Fprintf(&s, "- {key: svc, value: s%d, descriptors: [{key: who, rate_limits: [{requests_per_unit: 9, unit: day}]}]}\n", i)
		}
		table := mustBuild(b, s.String())
		request := []Entry{{"svc", fmt.Sprintf("s%d", n/2)}, {"who", "user|shop|01890a5d-ac96-774b-bcce-b302099a8057"}}
		b.Run(fmt.Sprintf("descriptors=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if table.Match("mesh", request).Rule == nil {
					b.Fatal("no match")
				}
			}
		})
	}
}
