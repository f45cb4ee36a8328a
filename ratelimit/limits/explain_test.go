package limits

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const explainedFile = `domain: mesh
descriptors:
  - key: who
    value: workload|*
    rate_limit: {unlimited: true}
  - key: who
    value: trusted
  - key: who
    rate_limits:
      - {requests_per_unit: 100, unit: minute}
      - {requests_per_unit: 1000, unit: hour}
  - key: path
    value: /img/*
    share_threshold: true
    rate_limit: {requests_per_unit: 5, unit: second}
  - key: api
    algorithm: token_bucket
    rate_limits: [{requests_per_unit: 100, unit: 30s, burst: 20}]
  - key: plan
    quota_mode: true
    rate_limit: {requests_per_unit: 5, unit: month}
  - key: service
    descriptors:
      - key: rule
        shadow_mode: true
        rate_limit: {requests_per_unit: 2000, unit: second}
        descriptors:
          - key: who
            rate_limits: [{requests_per_unit: 50, unit: second}]
`

func explained(t *testing.T) *Table {
	t.Helper()
	loaded := Load(nil, []Source{{Name: "mesh.yaml", Data: []byte(explainedFile)}})
	if errs := loaded.Errors(); len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return loaded.Table
}

// entriesOf reads "key=value key=value".
func entriesOf(text string) (entries []Entry) {
	for _, word := range strings.Fields(text) {
		key, value, _ := strings.Cut(word, "=")
		entries = append(entries, Entry{Key: key, Value: value})
	}
	return entries
}

func TestExplain(t *testing.T) {
	table := explained(t)
	for _, test := range []struct{ name, domain, asked, want string }{
		{"any value of a key", "mesh", "who=alice", `domain mesh
  who=alice  is any value of who
mesh.who: 100 per minute and 1000 per hour, sliding_window (mesh.yaml:9)
`},
		{"a pattern", "mesh", "who=workload|shop/web", `domain mesh
  who=workload|shop/web  matches the pattern who_workload|*
mesh.who_workload|*: unlimited (mesh.yaml:5)
`},
		{"a pattern that shares", "mesh", "path=/img/a.png", `domain mesh
  path=/img/a.png  matches the pattern path_/img/*, whose values share one budget
mesh.path_/img/*: 5 per second, fixed_window, denied hits count too (mesh.yaml:15)
`},
		{"a value without a limit", "mesh", "who=trusted", `domain mesh
  who=trusted  is the value who_trusted
no limit: the last entry reaches a level without a limit: it passes unlimited, and nothing less specific applies
`},
		{"a bucket", "mesh", "api=x", `domain mesh
  api=x  is any value of api
mesh.api: 100 per 30s with bursts of 20, token_bucket (mesh.yaml:18)
`},
		{"a quota", "mesh", "plan=free", `domain mesh
  plan=free  is any value of plan
mesh.plan: 5 per month, fixed_window, denied hits count too, a quota (mesh.yaml:21)
`},
		{"below", "mesh", "service=orders rule=list", `domain mesh
  service=orders  is any value of service
  rule=list       is any value of rule
mesh.service.rule: 2000 per second, fixed_window, denied hits count too, in shadow: nobody is refused (mesh.yaml:26)
`},
		{"too short", "mesh", "service=orders", `domain mesh
  service=orders  is any value of service
no limit: the last entry reaches a level that has no limit itself, only levels below; a limit applies only where the last entry ends
`},
		{"several descriptors in one", "mesh", "who=alice service=orders rule=list", `domain mesh
  who=alice       is any value of who
  service=orders  matches nothing
no limit: the file has nothing below, so the descriptor is longer than any limit here and is not limited
descriptors of the same entries that find one:
  who=alice
      mesh.who: 100 per minute and 1000 per hour, sliding_window (mesh.yaml:9)
  service=orders rule=list
      mesh.service.rule: 2000 per second, fixed_window, denied hits count too, in shadow: nobody is refused (mesh.yaml:26)
  service=orders rule=list who=alice
      mesh.service.rule.who: 50 per second, sliding_window (mesh.yaml:29)
`},
		{"a key that the file does not have", "mesh", "user=alice", `domain mesh
  user=alice  matches nothing; here are: who_workload|*, who_trusted, who, path_/img/*, api, plan, service
no limit: the file has no user=alice here, so the descriptor is not limited
`},
		{"another domain", "edge", "who=alice", `domain edge
  known: mesh
no limit: no file has this domain, so nothing in it is limited
`},
		{"nothing", "mesh", "", `domain mesh
no limit: a descriptor without entries is not limited
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := table.Explain(test.domain, entriesOf(test.asked))
			if diff := cmp.Diff(test.want, x.Text()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What is explained is what happens: rule and counter are those of the decision, for any descriptor.
func TestExplainAgreesWithMatch(t *testing.T) {
	table := explained(t)
	r := rand.New(rand.NewPCG(8, 7))
	words := []string{"who=alice", "who=", "who=trusted", "who=workload|x", "path=/img/x", "path=/", "service=orders", "service=", "rule=list", "user=x"}
	for range 5000 {
		var entries []Entry
		for range r.IntN(5) {
			entries = append(entries, entriesOf(words[r.IntN(len(words))])...)
		}
		m, x := table.Match("mesh", entries), table.Explain("mesh", entries)
		if m.Rule != x.Rule || m.Key != x.Key {
			t.Fatalf("%v: decided by %v %q, explained by %v %q", entries, m.Rule, m.Key, x.Rule, x.Key)
		}
		for _, e := range x.Elsewhere {
			if table.Match("mesh", e.Entries).Rule != e.Rule {
				t.Fatalf("%v is said to reach %v", e.Entries, e.Rule)
			}
		}
	}
}
