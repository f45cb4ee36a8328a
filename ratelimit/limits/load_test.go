package limits

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func limitsFile(domain, count string) string {
	return "domain: " + domain + "\ndescriptors:\n  - key: who\n    rate_limit: {unit: minute, requests_per_unit: " + count + "}\n"
}

func sources(pairs ...string) []Source {
	var out []Source
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, Source{Name: pairs[i], Data: []byte(pairs[i+1])})
		if pairs[i+1] == "unreadable" {
			out[len(out)-1] = Source{Name: pairs[i], Err: errors.New("permission denied")}
		}
	}
	return out
}

// limit is the limit of `who` in a domain, 0 for none.
func limit(s *Snapshot, domain string) uint32 {
	if s.Table == nil {
		return 0
	}
	if m := s.Table.Match(domain, []Entry{{Key: "who", Value: "x"}}); m.Rule != nil {
		return m.Rule.Windows[0].Limit
	}
	return 0
}

// The unit is the file: each step is a folder as it is found, what becomes of its files, and the limits of domains a and b.
func TestLoad(t *testing.T) {
	type step struct {
		files []Source
		state string
		a, b  uint32
	}
	tests := map[string][]step{
		"a bad file keeps its last good version": {
			{sources("a.yaml", limitsFile("a", "1"), "b.yaml", limitsFile("b", "2")), "ok ok", 1, 2},
			{sources("a.yaml", "domain: a\nnonsense: 1\n", "b.yaml", limitsFile("b", "3")), "good ok", 1, 3},
			{sources("a.yaml", "unreadable", "b.yaml", limitsFile("b", "3")), "good ok", 1, 3},
			{sources("a.yaml", limitsFile("a", "4"), "b.yaml", limitsFile("b", "3")), "ok ok", 4, 3},
		},
		"one that never was good is out": {
			{sources("a.yaml", "nonsense", "b.yaml", limitsFile("b", "2")), "out ok", 0, 2},
			{sources("a.yaml", limitsFile("a", "1"), "b.yaml", limitsFile("b", "2")), "ok ok", 1, 2},
		},
		"a second file of a domain is the error of the one that changed": {
			{sources("a.yaml", limitsFile("a", "1"), "b.yaml", limitsFile("b", "2")), "ok ok", 1, 2},
			{sources("a.yaml", limitsFile("b", "9"), "b.yaml", limitsFile("b", "2")), "good ok", 1, 2},
		},
		"at the start it is the error of the later by name": {
			{sources("a.yaml", limitsFile("a", "1"), "b.yaml", limitsFile("a", "2")), "ok out", 1, 0},
		},
		"losing every file loses no limit": {
			{sources("a.yaml", limitsFile("a", "1")), "ok", 1, 0},
			{sources(), "good", 1, 0},
		},
		"nothing good at all": {
			{sources("a.yaml", "nonsense"), "out", 0, 0},
			{sources("a.yaml", limitsFile("a", "1")), "ok", 1, 0},
		},
		"a rotation that ends at a file that stays keeps every file's last good version": {
			{sources("x.yaml", limitsFile("a", "1"), "y.yaml", limitsFile("b", "2"), "z.yaml", limitsFile("c", "3")), "ok ok ok", 1, 2},
			{sources("x.yaml", limitsFile("b", "4"), "y.yaml", limitsFile("c", "5"), "z.yaml", limitsFile("c", "3")), "good good ok", 1, 2},
			{sources("x.yaml", limitsFile("b", "4"), "y.yaml", limitsFile("c", "5"), "z.yaml", limitsFile("a", "6")), "ok ok ok", 6, 4},
		},
		"a contradiction does not keep others from changing": {
			{sources("x.yaml", limitsFile("a", "1"), "y.yaml", limitsFile("b", "2")), "ok ok", 1, 2},
			{sources("x.yaml", limitsFile("b", "3"), "y.yaml", limitsFile("b", "4")), "good ok", 1, 4},
		},
		"two domains change places": {
			{sources("a.yaml", limitsFile("a", "1"), "b.yaml", limitsFile("b", "2")), "ok ok", 1, 2},
			{sources("a.yaml", limitsFile("b", "3"), "b.yaml", limitsFile("a", "4")), "ok ok", 4, 3},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			var s *Snapshot
			for i, step := range steps {
				s = Load(s, step.files)
				var words []string
				for _, file := range s.Files {
					switch {
					case file.OK():
						words = append(words, "ok")
					case file.LastGood:
						words = append(words, "good")
					default:
						words = append(words, "out")
					}
				}
				if got := strings.Join(words, " "); got != step.state {
					t.Errorf("step %d: files are %q, want %q\n%s", i, got, step.state, s.Errors().Pretty())
				}
				if a, b := limit(s, "a"), limit(s, "b"); a != step.a || b != step.b {
					t.Errorf("step %d: limits %d and %d, want %d and %d", i, a, b, step.a, step.b)
				}
			}
		})
	}
}

// Whatever becomes of a folder, a file that is called good is in force, and one that is not has a reason.
func TestLoadTellsTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s *Snapshot
		count := 0
		data := map[string]string{}
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			var pairs []string
			for _, name := range []string{"1.yaml", "2.yaml", "3.yaml", "4.yaml"} {
				switch rapid.IntRange(0, 4).Draw(t, "change") {
				case 0:
					delete(data, name)
				case 1:
					data[name] = "nonsense"
				case 2, 3:
					count++
					data[name] = limitsFile(rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "domain"), fmt.Sprint(count))
				}
				if text, ok := data[name]; ok {
					pairs = append(pairs, name, text)
				}
			}
			had := s != nil && s.Table != nil
			s = Load(s, sources(pairs...))
			if had && s.Table == nil {
				t.Fatal("the limits are gone")
			}
			for _, state := range s.Files {
				text := data[state.Name]
				inForce := false
				if f, errs := Decode(state.Name, []byte(text)); errs == nil {
					inForce = text == limitsFile(f.Domain, fmt.Sprint(limit(s, f.Domain)))
				}
				if state.OK() != inForce {
					t.Fatalf("%s is called %v, and in force is %v: %q", state.Name, state.OK(), inForce, text)
				}
			}
		}
	})
}
