package limits

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// What is wrong with values is wrong by the words of the file format, and told by the descriptor's path.
func TestComposeRefuses(t *testing.T) {
	perMinute := &RateLimit{RequestsPerUnit: 1, Unit: "MINUTE"}
	below := func(d Descriptor) []Descriptor {
		return []Descriptor{{Key: "a", Value: "b", Descriptors: []Descriptor{d}}}
	}
	for _, tt := range []struct {
		name   string
		config Config
		want   string
	}{
		{"no domain", Config{Descriptors: []Descriptor{{Key: "a", RateLimit: perMinute}}}, "conf: (no domain): config file cannot have empty domain"},
		{"no key", Config{Domain: "mesh", Descriptors: below(Descriptor{RateLimit: perMinute})}, "conf: mesh.a_b.: descriptor has empty key"},
		{"a repeated descriptor", Config{Domain: "mesh", Descriptors: append(below(Descriptor{Key: "c"}), below(Descriptor{Key: "d"})...)},
			"conf: mesh.a_b: duplicate descriptor composite key 'mesh.a_b'"},
		{"no unit", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", RateLimit: &RateLimit{RequestsPerUnit: 1}})}, "conf: mesh.a_b.c: invalid rate limit unit ''"},
		{"an unknown unit", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", RateLimit: &RateLimit{Unit: "UNKNOWN"}})}, "conf: mesh.a_b.c: invalid rate limit unit 'UNKNOWN'"},
		{"a unit of no limit", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", RateLimit: &RateLimit{Unit: "HOUR", Unlimited: true}})},
			"conf: mesh.a_b.c: should not specify rate limit unit when unlimited"},
		{"replaces nothing", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", RateLimit: &RateLimit{Unit: "HOUR", Replaces: []string{""}}})},
			"conf: mesh.a_b.c: should not have an empty replaces entry"},
		{"replaces itself", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", RateLimit: &RateLimit{Unit: "HOUR", Name: "n", Replaces: []string{"n"}}})},
			"conf: mesh.a_b.c: replaces should not contain name of same descriptor"},
		{"a wildcard in a key", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c*"})}, "conf: mesh.a_b.c*: a wildcard in a key is not supported"},
		{"a control character", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", Value: "\x00"})}, "holds a control character"},
		{"paths without end", Config{Domain: "mesh", Descriptors: []Descriptor{{Key: strings.Repeat("k", 1<<20), Descriptors: make([]Descriptor, 100)}}},
			"conf: mesh: the paths of its descriptors are longer than 67108864 bytes together"},
		{"metadata of no number", Config{Domain: "mesh", Descriptors: below(Descriptor{Key: "c", Metadata: map[string]any{"n": math.NaN()}})}, "conf: mesh.a_b.c: NaN means"},
		{"too deep", Config{Domain: "mesh", Descriptors: deep(strictyaml.MaxDepth)}, "nested more than 64 deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, errs := Compose("conf", &tt.config)
			if f != nil || len(errs) == 0 || !strings.Contains(errs.Error(), tt.want) {
				t.Errorf("got %v and %q, want %q", f, errs, tt.want)
			}
			if strings.Contains(errs.Pretty(), ":0:0") || strings.Contains(errs.Pretty(), "line") {
				t.Errorf("a place of no file is told: %s", errs.Pretty())
			}
		})
	}
}

func deep(n int) []Descriptor {
	if n == 0 {
		return nil
	}
	return []Descriptor{{Key: "k", Descriptors: deep(n - 1)}}
}

// Two Configs of one domain are told apart by name.
func TestComposedDomainTwice(t *testing.T) {
	first, _ := Compose("one", &Config{Domain: "mesh"})
	second, _ := Compose("two", &Config{Domain: "mesh"})
	_, errs := Build([]*File{first, second})
	if got, want := errs.Error(), "two: mesh: duplicate domain 'mesh' in config file"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A Config means what the file with the same keys means: the same rules, the same matches and the same complaints.
func TestComposeIsDecode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := &Config{Domain: drawn(t, "domain", "", "mesh", "mesh", "mesh"), Descriptors: drawDescriptors(t, 3)}
		composed, errs := Compose("f", config)
		decoded, twins := Decode("f", inJSON(t, config))
		if diff := cmp.Diff(complaints(twins), complaints(errs)); diff != "" {
			t.Fatalf("complaints (-file +config):\n%s", diff)
		}
		if len(errs) > 0 {
			return
		}
		a, _ := Build([]*File{decoded})
		b, _ := Build([]*File{composed})
		if diff := cmp.Diff(a.Rules(), b.Rules(), cmpopts.IgnoreFields(Rule{}, "Pos")); diff != "" {
			t.Fatalf("rules (-file +config):\n%s", diff)
		}
		for range 8 {
			entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Entry { return Entry{drawn(t, "k", keys...), drawn(t, "v", values...)} }), 1, 3).Draw(t, "entries")
			x, y := a.Match(config.Domain, entries), b.Match(config.Domain, entries)
			if x.Key != y.Key || (x.Rule == nil) != (y.Rule == nil) || x.Rule != nil && x.Rule.ID != y.Rule.ID {
				t.Fatalf("%v: the file matches %+v, the config %+v", entries, x, y)
			}
		}
	})
}

var (
	keys   = []string{"a", "a", "b", "b", "c", "d", "e", "x*", ""}
	values = []string{"", "", "v", "w", "*", "v*", `q"\`, "é", "012", "\u2028"}
)

func drawn(t *rapid.T, label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(t, label)
}

func drawDescriptors(t *rapid.T, depth int) []Descriptor {
	if depth == 0 {
		return nil
	}
	out := make([]Descriptor, rapid.IntRange(0, 3).Draw(t, "width"))
	for i := range out {
		d := Descriptor{Key: drawn(t, "key", keys...), Value: drawn(t, "value", values...), ShadowMode: rapid.Bool().Draw(t, "shadow"), QuotaMode: rapid.Bool().Draw(t, "quota"), DetailedMetric: rapid.Bool().Draw(t, "detailed"),
			Metadata: rapid.SampledFrom([]map[string]any{nil, nil, {}, {"a": 1.5, "b": []any{true, nil, "yes", 1e21}, "c": map[string]any{"": "012"}}}).Draw(t, "metadata"), Descriptors: drawDescriptors(t, depth-1)}
		if rapid.Bool().Draw(t, "limited") {
			d.RateLimit = &RateLimit{
				RequestsPerUnit: rapid.Uint32().Draw(t, "requests"), Unit: drawn(t, "unit", "SECOND", "MINUTE", "hour", "DAY", "WEEK", "MONTH", "YEAR", "UNKNOWN", ""),
				Unlimited: rapid.IntRange(0, 5).Draw(t, "unlimited") == 0, Name: drawn(t, "name", "", "n", "m"),
			}
			if rapid.IntRange(0, 5).Draw(t, "replaces") == 0 {
				d.RateLimit.Replaces = []string{drawn(t, "replaced", "n", "m", "o", "")}
			}
		}
		out[i] = d
	}
	return out
}

// inJSON writes a Config as a file: the naive way, since JSON is YAML.
func inJSON(t *rapid.T, c *Config) []byte {
	data, err := json.Marshal(map[string]any{"domain": c.Domain, "descriptors": asMaps(c.Descriptors)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func asMaps(ds []Descriptor) []any {
	out := []any{}
	for _, d := range ds {
		m := map[string]any{"key": d.Key, "value": d.Value, "shadow_mode": d.ShadowMode, "quota_mode": d.QuotaMode, "detailed_metric": d.DetailedMetric, "metadata": d.Metadata, "descriptors": asMaps(d.Descriptors)}
		if l := d.RateLimit; l != nil {
			replaces := []any{}
			for _, name := range l.Replaces {
				replaces = append(replaces, map[string]any{"name": name})
			}
			m["rate_limit"] = map[string]any{"requests_per_unit": l.RequestsPerUnit, "unit": l.Unit, "unlimited": l.Unlimited, "name": l.Name, "replaces": replaces}
		}
		out = append(out, m)
	}
	return out
}

// complaints are the messages alone, sorted: without places, which only a file has.
func complaints(errs strictyaml.Errors) []string {
	out := []string{}
	for _, e := range errs {
		msg := e.Msg
		if e.Pos == (strictyaml.Pos{}) {
			_, msg, _ = strings.Cut(msg, ": ")
		}
		msg, _, _ = strings.Cut(msg, " (first on line")
		out = append(out, msg)
	}
	slices.Sort(out)
	return out
}

// A version of a domain as values follows the rules of files: a bad one keeps the last good one.
func TestLoadConfigs(t *testing.T) {
	source := func(version string, c Config) Source {
		return Source{Name: c.Domain, Data: []byte(version), Config: &c}
	}
	limited := func(requests uint32) Config {
		return Config{Domain: "a", Descriptors: []Descriptor{{Key: "who", RateLimit: &RateLimit{RequestsPerUnit: requests, Unit: "MINUTE"}}}}
	}
	s := Load(nil, []Source{source("1", limited(5))})
	if got := limit(s, "a"); got != 5 || len(s.Errors()) > 0 {
		t.Fatalf("limit %d, %v", got, s.Errors())
	}
	bad := limited(6)
	bad.Descriptors[0].RateLimit.Unit = "UNKNOWN"
	s = Load(s, []Source{source("2", bad)})
	if got := limit(s, "a"); got != 5 || !s.Files[0].LastGood || s.Errors().Error() != "a: a.who: invalid rate limit unit 'UNKNOWN'" {
		t.Errorf("limit %d, %+v", got, s.Files)
	}
	s = Load(s, []Source{source("3", limited(7))})
	if got := limit(s, "a"); got != 7 || len(s.Errors()) > 0 {
		t.Errorf("limit %d, %v", got, s.Errors())
	}
}

func BenchmarkCompose(b *testing.B) {
	config := &Config{Domain: "mesh"}
	for i := range 10_000 {
		config.Descriptors = append(config.Descriptors, Descriptor{Key: "who", Value: fmt.Sprint("user-", i), RateLimit: &RateLimit{RequestsPerUnit: 100, Unit: "MINUTE"}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, errs := Compose("mesh", config); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
