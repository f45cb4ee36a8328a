package limits

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What envoyproxy/ratelimit reads, row by row: the tests TestParityFile... are its configuration file, and TestParityMatch... how
// a descriptor finds its limit. docs/migrating.md says where we differ on purpose; such a row is marked "ours".

// decode reads a file that must load.
func decode(t testing.TB, name, source string) *File {
	t.Helper()
	f, errs := Decode(name, []byte(source))
	if errs != nil {
		t.Fatalf("%v\n%s", errs, source)
	}
	return f
}

// built is a table of files a.yaml, b.yaml, ... with options.
func built(t testing.TB, o BuildOptions, sources ...string) *Table {
	t.Helper()
	var files []*File
	for i, source := range sources {
		files = append(files, decode(t, string(rune('a'+i))+".yaml", source))
	}
	table, errs := BuildWith(files, o)
	if errs != nil {
		t.Fatal(errs)
	}
	return table
}

// refused is the first error of a file, or of files that do not go together.
func refused(t testing.TB, o BuildOptions, sources ...string) string {
	t.Helper()
	var files []*File
	for i, source := range sources {
		f, errs := Decode(string(rune('a'+i))+".yaml", []byte(source))
		if errs != nil {
			return errs[0].Error()
		}
		files = append(files, f)
	}
	if _, errs := BuildWith(files, o); errs != nil {
		return errs[0].Error()
	}
	return ""
}

func TestParityFileRoot(t *testing.T) {
	const one, two = "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1, unit: day}}\n", "domain: d\ndescriptors:\n- {key: b, rate_limit: {requests_per_unit: 2, unit: day}}\n"
	merge := BuildOptions{MergeDomains: true}
	for name, tt := range map[string]struct {
		options BuildOptions
		sources []string
		want    string
	}{
		"a domain and its descriptors":        {sources: []string{one}},
		"a domain alone":                      {sources: []string{"domain: d\n"}},
		"several files":                       {sources: []string{one, strings.Replace(two, "domain: d", "domain: e", 1)}},
		"an empty domain":                     {sources: []string{"domain: ''\n"}, want: "a.yaml:1:1: config file cannot have empty domain"},
		"one domain twice":                    {sources: []string{one, two}, want: "b.yaml:1:1: duplicate domain 'd' in config file"},
		"one domain twice, merged":            {options: merge, sources: []string{one, two}},
		"merged, one descriptor twice":        {options: merge, sources: []string{one, two, one}, want: "c.yaml:3:4: duplicate descriptor composite key 'd.a'"},
		"merged, nothing is merged deeper":    {options: merge, sources: []string{one, "domain: d\ndescriptors:\n- {key: a, descriptors: [{key: c}]}\n"}, want: "b.yaml:3:4: duplicate descriptor composite key 'd.a'"},
		"ours: no file is no way to say this": {want: "limits:1:1: no limits file: without limits everything passes"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, tt.options, tt.sources...); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	table := built(t, merge, one, two)
	for descriptor, want := range map[string]uint32{"a=x": 1, "b=x": 2} {
		if got := requests(table.Match("d", entries(descriptor))); got != want {
			t.Errorf("merged: %s has limit %d, want %d", descriptor, got, want)
		}
	}
	if n := len(table.Rules()); n != 3 {
		t.Errorf("merged: %d rules, want two and one for the overrides of the domain", n)
	}
}

// The first wildcard wins, and in merged files that is the first by the files' names, whichever changed last.
func TestParityFileRootMergesInTheOrderOfNames(t *testing.T) {
	wild := func(value, count string) string {
		return "domain: d\ndescriptors:\n- {key: who, value: '" + value + "', rate_limit: {requests_per_unit: " + count + ", unit: day}}\n"
	}
	o := BuildOptions{MergeDomains: true}
	s := LoadWith(nil, sources("a.yaml", wild("x*", "1"), "b.yaml", wild("*", "2")), o)
	s = LoadWith(s, sources("a.yaml", wild("x*", "3"), "b.yaml", wild("*", "2")), o)
	if got := limit(s, "d"); got != 3 || len(s.Errors()) > 0 {
		t.Errorf("limit %d, want that of a.yaml, 3 (%v)", got, s.Errors())
	}
	// A file that comes to contradict another keeps its last good version.
	s = LoadWith(s, sources("a.yaml", wild("x*", "4"), "b.yaml", wild("x*", "5")), o)
	if got := limit(s, "d"); got != 4 || len(s.Errors()) != 1 || s.Errors()[0].File != "b.yaml" {
		t.Errorf("limit %d, want 4 (%v)", got, s.Errors())
	}
	if m := s.Table.Match("d", []Entry{{"who", "y"}}); requests(m) != 2 {
		t.Errorf("what b.yaml said last is not in force: %+v", m)
	}
}

func TestParityFileDescriptorFields(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- key: a
  value: v
  rate_limit: {requests_per_unit: 1, unit: day}
  shadow_mode: true
  quota_mode: true
  metadata: {tier: gold, n: 7, ok: true, none: , deep: {list: [1.5, x, "no"]}}
  descriptors:
  - key: b
    detailed_metric: true
    rate_limit: {requests_per_unit: 2, unit: day}
- key: path
  value: /a/*
  share_threshold: true
  value_to_metric: true
  descriptors:
  - key: who
    value_to_metric: true
    rate_limit: {requests_per_unit: 3, unit: day}
`)
	type fields struct {
		Shadow, Quota bool
		ByValue       []bool
		Metadata      map[string]any
	}
	for descriptor, want := range map[string]fields{
		"a=v": {Shadow: true, Quota: true, Metadata: map[string]any{
			"tier": "gold", "n": 7.0, "ok": true, "none": nil, "deep": map[string]any{"list": []any{1.5, "x", "no"}},
		}},
		"a=v,b=x":        {ByValue: []bool{false, true}}, // a value that the file spells is no other than was sent
		"path=/a/1,who=": {ByValue: []bool{false, true}}, // and values that share one counter share one metric
	} {
		rule := table.Match("d", entries(descriptor)).Rule
		if diff := cmp.Diff(want, fields{rule.Shadow, rule.Quota, rule.ByValue, rule.Metadata}); diff != "" {
			t.Errorf("%s: %s", descriptor, diff)
		}
	}
	if a, b := table.Match("d", entries("path=/a/1,who=x")), table.Match("d", entries("path=/a/2,who=x")); a.Key != b.Key {
		t.Error("values that share a threshold have counters of their own")
	}
	// A descriptor needs a key, and nothing else.
	if got := refused(t, BuildOptions{}, "domain: d\ndescriptors:\n- key: a\n"); got != "" {
		t.Error(got)
	}
}

func TestParityFileRateLimitFields(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- key: all
  rate_limit: {requests_per_unit: 4294967295, unit: day, name: one, replaces: [{name: two}, {name: three}]}
- key: free
  rate_limit: {unlimited: true}
- key: none
  rate_limit: {unit: day}
`)
	rule := func(key string) *Rule { return table.Match("d", []Entry{{Key: key}}).Rule }
	if r := rule("all"); r.Limits[0] != (Limit{Name: "one", Requests: 4294967295, Unit: Day}) || r.Name != "one" || !cmp.Equal(r.Replaces, []string{"two", "three"}) {
		t.Errorf("got %+v", r)
	}
	if r := rule("free"); !r.Unlimited || len(r.Limits) != 0 {
		t.Errorf("got %+v", r)
	}
	if r := rule("none"); r.Limits[0].Requests != 0 {
		t.Errorf("got %+v", r)
	}
}

// Ours stand on an allow-list, and everything unknown is refused at each level, but in metadata.
func TestParityFileUnknownKeys(t *testing.T) {
	for where, source := range map[string]string{
		"a.yaml:2:1":  "domain: d\nzzz: 1\n",
		"a.yaml:3:12": "domain: d\ndescriptors:\n- {key: a, zzz: 1}\n",
		"a.yaml:4:3":  "domain: d\ndescriptors:\n- key: a\n  zzz: 1\n",
		"a.yaml:3:26": "domain: d\ndescriptors:\n- {key: a, rate_limit: { zzz: 1, unit: day}}\n",
		"a.yaml:3:57": "domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, replaces: [{name: a, zzz: 1}]}}\n",
	} {
		got := refused(t, BuildOptions{}, source)
		if got != where+": config error, unknown key 'zzz'" {
			t.Errorf("%s: %q", where, got)
		}
	}
	if got := refused(t, BuildOptions{}, "domain: d\ndescriptors:\n- {key: a, metadata: {zzz: {zzz: 1}}}\n"); got != "" {
		t.Error(got)
	}
}

func TestParityFileUnits(t *testing.T) {
	for word, span := range map[string]time.Duration{
		"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 604_800 * time.Second, "month": 30 * 24 * time.Hour, "year": 365 * 24 * time.Hour,
	} {
		for _, spelt := range []string{word, strings.ToUpper(word), strings.ToUpper(word[:1]) + word[1:]} {
			table := built(t, BuildOptions{}, "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1, unit: "+spelt+"}}\n")
			if got := table.Match("d", []Entry{{Key: "a"}}).Rule.Windows[0].Span; got != span {
				t.Errorf("%s: %v, want %v", spelt, got, span)
			}
		}
	}
}

// Each has its words, which people grep for, after the file's name.
func TestParityFileLoadErrors(t *testing.T) {
	in := func(descriptor string) string { return "domain: d\ndescriptors:\n- " + descriptor + "\n" }
	for phrase, source := range map[string]string{
		"config file cannot have empty domain":                         "descriptors: []\n",
		"descriptor has empty key":                                     in("{value: v}"),
		"duplicate descriptor composite key 'd.a_b'":                   in("{key: a, value: b}\n- {key: a, value: b}"),
		"invalid rate limit unit 'fortnight'":                          in("{key: a, rate_limit: {requests_per_unit: 1, unit: fortnight}}"),
		"should not specify rate limit unit when unlimited":            in("{key: a, rate_limit: {unlimited: true, unit: day}}"),
		"should not have an empty replaces entry":                      in("{key: a, rate_limit: {requests_per_unit: 1, unit: day, replaces: [{name: }]}}"),
		"replaces should not contain name of same descriptor":          in("{key: a, rate_limit: {requests_per_unit: 1, unit: day, name: n, replaces: [{name: n}]}}"),
		"share_threshold can only be used with wildcard values":        in("{key: a, value: b, share_threshold: true}"),
		"config error, unknown key 'limit'":                            in("{key: a, limit: 1}"),
		"config error, key is not of type string":                      "domain: d\n1: x\n",
		"config error, yaml file contains list of type other than map": "domain: d\ndescriptors: [a]\n",
		"error loading config file":                                    "domain: [d\n",
	} {
		if got := refused(t, BuildOptions{}, source); !strings.HasPrefix(got, "a.yaml:") || !strings.Contains(got, phrase) {
			t.Errorf("want %q, got %q", phrase, got)
		}
	}
}

// A bad reload changes nothing (the counting is the gate's, cmd/sallyport), and neither does one that has lost all files: ours.
func TestParityFileBadReload(t *testing.T) {
	good := Load(nil, sources("a.yaml", limitsFile("d", "1")))
	for name, files := range map[string][]Source{
		"a bad file":   sources("a.yaml", "domain: d\nnonsense: 1\n"),
		"an empty one": sources("a.yaml", ""),
		"no file":      sources(),
		"unreadable":   sources("a.yaml", "unreadable"),
	} {
		if s := Load(good, files); limit(s, "d") != 1 || len(s.Errors()) == 0 {
			t.Errorf("%s: limit %d, errors %v", name, limit(s, "d"), s.Errors())
		}
	}
}

// Where the limit of a descriptor comes from, by the number of requests of the rule; 0 is none.
func TestParityMatchOrderAtEachLevel(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- {key: k, value: "a*", rate_limit: {requests_per_unit: 1, unit: day}}
- {key: k, value: "ab*", rate_limit: {requests_per_unit: 2, unit: day}}
- {key: k, value: abc, rate_limit: {requests_per_unit: 3, unit: day}}
- {key: k, rate_limit: {requests_per_unit: 4, unit: day}}
- key: up
  descriptors:
  - {key: k, value: "a*", rate_limit: {requests_per_unit: 5, unit: day}}
  - {key: k, rate_limit: {requests_per_unit: 6, unit: day}}
`)
	matches(t, table, map[string]uint32{
		"k=abc":    3, // exact, though two wildcards stand before it
		"k=abd":    1, // the first wildcard of the file, not the most specific
		"k=x":      4, // the key alone
		"l=x":      0, // nothing
		"up=1,k=a": 5, "up=1,k=x": 6,
	})
}

func TestParityMatchWildcard(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- {key: end, value: "a*", rate_limit: {requests_per_unit: 1, unit: day}}
- {key: begin, value: "*a", rate_limit: {requests_per_unit: 2, unit: day}}
- {key: middle, value: "a*z", rate_limit: {requests_per_unit: 3, unit: day}}
- {key: several, value: "a*b*c*", rate_limit: {requests_per_unit: 4, unit: day}}
- {key: all, value: "*", rate_limit: {requests_per_unit: 5, unit: day}}
`)
	matches(t, table, map[string]uint32{
		"end=a": 1, "end=ab": 1, "end=b": 0,
		"begin=a": 2, "begin=ba": 2, "begin=ab": 0,
		"middle=az": 3, "middle=abcz": 3, "middle=a": 0,
		"several=abc": 4, "several=a1b2c3": 4, "several=acb": 0,
		"all=x": 5,
	})
	// Ours: a wildcard stands in a value. The reference takes one at the end of a key too, where it matches values and other keys.
	if got := refused(t, BuildOptions{}, "domain: d\ndescriptors:\n- key: a*\n"); got != "a.yaml:3:3: a wildcard in a key is not supported" {
		t.Error(got)
	}
}

func TestParityMatchDepth(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- key: a
  rate_limit: {requests_per_unit: 1, unit: day}
  descriptors:
  - key: b
    descriptors:
    - {key: c, rate_limit: {requests_per_unit: 3, unit: day}}
`)
	matches(t, table, map[string]uint32{"a=1": 1, "a=1,b=1": 0, "a=1,b=1,c=1": 3, "a=1,b=1,c=1,d=1": 0, "a=1,x=1": 0})
}

func TestParityMatchWhitelist(t *testing.T) {
	table := built(t, BuildOptions{}, "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1, unit: day}}\n- {key: a, value: friend}\n")
	matches(t, table, map[string]uint32{"a=x": 1, "a=friend": 0})
}

func TestParityMatchEmptyValue(t *testing.T) {
	table := built(t, BuildOptions{}, "domain: d\ndescriptors:\n- {key: a, value: '*', rate_limit: {requests_per_unit: 1, unit: day}}\n- {key: a, rate_limit: {requests_per_unit: 2, unit: day}}\n")
	matches(t, table, map[string]uint32{"a=": 2, "a=x": 1})
}

// Ours: key a with value b_c is not key a_b with value c, neither in matching nor in the counter.
func TestParityMatchAmbiguity(t *testing.T) {
	table := built(t, BuildOptions{}, "domain: d\ndescriptors:\n- {key: a_b, value: c, rate_limit: {requests_per_unit: 1, unit: day}}\n- {key: x, rate_limit: {requests_per_unit: 1, unit: day}}\n- {key: x_y, rate_limit: {requests_per_unit: 1, unit: day}}\n")
	matches(t, table, map[string]uint32{"a_b=c": 1, "a=b_c": 0})
	if table.Match("d", entries("x=y_z")).Key == table.Match("d", entries("x_y=z")).Key {
		t.Error("two descriptors share a counter")
	}
}

func TestParityMatchShareThreshold(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: d
descriptors:
- {key: f, value: "a*", share_threshold: true, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: f, value: "b*", rate_limit: {requests_per_unit: 1, unit: day}}
- {key: g, value: "a*", share_threshold: true, descriptors: [{key: who, rate_limit: {requests_per_unit: 1, unit: day}}]}
`)
	same := func(a, b string) bool { return table.Match("d", entries(a)).Key == table.Match("d", entries(b)).Key }
	if !same("f=a1", "f=a2") || !same("g=a1,who=x", "g=a2,who=x") {
		t.Error("the values of one wildcard have counters of their own")
	}
	if same("f=b1", "f=b2") || same("g=a1,who=x", "g=a1,who=y") {
		t.Error("values that share nothing share a counter")
	}
}

// Which levels metrics show as they were sent; limiter tests show the names.
func TestParityMatchMetrics(t *testing.T) {
	const levels = `domain: d
descriptors:
- {key: plain, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: key, %[1]s: true, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: exact, value: v, %[1]s: true, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: wild, value: "v*", %[1]s: true, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: shared, value: "v*", %[1]s: true, share_threshold: true, rate_limit: {requests_per_unit: 1, unit: day}}
- key: up
  descriptors: [{key: below, %[1]s: true, rate_limit: {requests_per_unit: 1, unit: day}}]
- key: above
  %[1]s: true
  descriptors: [{key: down, rate_limit: {requests_per_unit: 1, unit: day}}]
`
	for flag, want := range map[string]map[string]string{
		"value_to_metric": {"plain=x": "-", "key=x": "[true]", "exact=v": "-", "wild=vx": "[true]", "shared=vx": "-", "up=x,below=y": "[false true]", "above=x,down=y": "[true false]"},
		// All levels of the last descriptor, and nothing for those above it.
		"detailed_metric": {"plain=x": "-", "key=x": "[true]", "exact=v": "-", "wild=vx": "[true]", "shared=vx": "-", "up=x,below=y": "[true true]", "above=x,down=y": "-"},
	} {
		table := built(t, BuildOptions{}, fmt.Sprintf(levels, flag))
		for descriptor, want := range want {
			got := "-"
			if by := table.Match("d", entries(descriptor)).Rule.ByValue; by != nil {
				got = fmt.Sprint(by)
			}
			if got != want {
				t.Errorf("%s, %s: %s, want %s", flag, descriptor, got, want)
			}
		}
	}
}

// matches holds a table to the limits of descriptors.
func matches(t *testing.T, table *Table, want map[string]uint32) {
	t.Helper()
	for descriptor, want := range want {
		if got := requests(table.Match("d", entries(descriptor))); got != want {
			t.Errorf("%s: limit %d, want %d", descriptor, got, want)
		}
	}
}

// STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT is a question of what a denied hit burns.
func TestSpareDenied(t *testing.T) {
	const file = "domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1, unit: day}}\n"
	for _, spare := range []bool{false, true} {
		for _, r := range built(t, BuildOptions{SpareDenied: spare}, file).Rules() {
			if r.CountDenied == spare {
				t.Errorf("spare %t: %s counts denied hits: %t", spare, r.Path, r.CountDenied)
			}
		}
	}
}

// The lines of /rlconfig, as the reference writes them.
func TestParityList(t *testing.T) {
	table := built(t, BuildOptions{}, `domain: mongo_cps
descriptors:
- key: database
  value: users
  shadow_mode: true
  rate_limit: {unit: second, requests_per_unit: 500}
  descriptors:
  - {key: who, quota_mode: true, rate_limit: {unit: MINUTE, requests_per_unit: 5}}
- {key: database, rate_limit: {unlimited: true}}
- {key: none}
- {key: both, rate_limits: [{unit: hour, requests_per_unit: 9}, {unit: day, requests_per_unit: 10}, {unit: 5m, requests_per_unit: 3}]}
`)
	var b strings.Builder
	if err := table.WriteList(&b); err != nil {
		t.Fatal(err)
	}
	const want = `mongo_cps.both: unit=DAY requests_per_unit=10, shadow_mode: false, quota_mode: false
mongo_cps.both: unit=HOUR requests_per_unit=9, shadow_mode: false, quota_mode: false
mongo_cps.both: unit=MINUTE requests_per_unit=3, shadow_mode: false, quota_mode: false, unit_multiplier: 5
mongo_cps.database: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false
mongo_cps.database_users.who: unit=MINUTE requests_per_unit=5, shadow_mode: false, quota_mode: true
mongo_cps.database_users: unit=SECOND requests_per_unit=500, shadow_mode: true, quota_mode: false
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
