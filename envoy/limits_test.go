package envoy

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// shippedLimits loads the limits of this package as the service loads them.
func shippedLimits(t *testing.T) *limits.Table {
	t.Helper()
	names, err := fs.Glob(Limits, "*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no limits: %v", err)
	}
	var files []*limits.File
	for _, name := range names {
		text, err := fs.ReadFile(Limits, name)
		if err != nil {
			t.Fatal(err)
		}
		file, errs := limits.Decode(filepath.Join("limits", name), text)
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		files = append(files, file)
	}
	table, errs := limits.Build(files)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return table
}

// whoever is one of each kind that the first gate can name, and what Envoy sends when it named nobody.
var whoever = []string{"user|shop|alice", "client|shop|batch", "workload|spiffe://cluster.local/ns/web/sa/frontend", "ip|192.0.2.1", "ip|2001:db8::/64", "ip|unknown", "unknown"}

// values are what an action of Envoy can put into its entry.
func values(t *testing.T, action *routev3.RateLimit_Action) (key string, possible []string) {
	t.Helper()
	switch {
	case action.GetMaskedRemoteAddress() != nil:
		return "masked_remote_address", []string{"192.0.2.1/32", "2001:db8::/64"}
	case action.GetMetadata() != nil:
		key, fallback := action.GetMetadata().GetDescriptorKey(), action.GetMetadata().GetDefaultValue()
		possible := map[string][]string{"who": whoever, "service": {"orders", fallback}, "rule": {"list-orders", "probe", fallback}}[key]
		return key, possible
	}
	t.Fatalf("no test knows the action %v", action)
	return "", nil
}

// sent is every descriptor that one entry of rate_limits can send.
func sent(t *testing.T, actions []*routev3.RateLimit_Action) [][]limits.Entry {
	t.Helper()
	descriptors := [][]limits.Entry{nil}
	for _, action := range actions {
		key, possible := values(t, action)
		var longer [][]limits.Entry
		for _, before := range descriptors {
			for _, value := range possible {
				longer = append(longer, append(slices.Clone(before), limits.Entry{Key: key, Value: value}))
			}
		}
		descriptors = longer
	}
	return descriptors
}

// Every descriptor of every file finds a limit, and one that holds without the store, or a written `unlimited`: that
// of a workload, alone. A descriptor that nobody limits would be a hole that no request shows.
func TestEveryDescriptorFindsALimit(t *testing.T) {
	table := shippedLimits(t)
	reached := map[int]bool{}
	for _, file := range Files() {
		for _, filter := range all[*ratelimitv3.RateLimit](mustDecode(t, file)) {
			for _, limit := range filter.GetRateLimits() {
				descriptors := sent(t, limit.GetActions())
				if len(descriptors) == 0 {
					t.Errorf("%s: a descriptor without entries", file)
				}
				for _, entries := range descriptors {
					rule := table.Match(filter.GetDomain(), entries).Rule
					if rule == nil {
						t.Errorf("%s: nothing limits %v in domain %s", file, entries, filter.GetDomain())
						continue
					}
					reached[rule.ID] = true
					workload := len(entries) == 1 && strings.HasPrefix(entries[0].Value, "workload|")
					if rule.Unlimited != workload {
						t.Errorf("%s: %v: unlimited is %v", file, entries, rule.Unlimited)
					}
					if !rule.Unlimited && (len(rule.Limits) == 0 || rule.OnStoreFailure != limits.FailLocal || rule.Shadow) {
						t.Errorf("%s: %v: %+v", file, entries, rule)
					}
				}
			}
		}
	}
	for _, rule := range table.Rules() {
		if !rule.Override && !reached[rule.ID] {
			t.Errorf("no file sends what would reach %s", rule.Path)
		}
	}
}

// The shipped numbers.
func TestShippedLimits(t *testing.T) {
	table := shippedLimits(t)
	for _, c := range []struct {
		domain  string
		entries []limits.Entry
		want    []limits.Limit
	}{
		{"edge", []limits.Entry{{Key: "masked_remote_address", Value: "192.0.2.1/32"}}, []limits.Limit{{Requests: 200, Unit: limits.Second}, {Requests: 6000, Unit: limits.Minute}}},
		{"mesh", []limits.Entry{{Key: "who", Value: "user|shop|alice"}}, []limits.Limit{{Requests: 100, Unit: limits.Minute}, {Requests: 1000, Unit: limits.Hour}}},
		{"mesh", []limits.Entry{{Key: "service", Value: "orders"}, {Key: "rule", Value: "list-orders"}}, []limits.Limit{{Requests: 2000, Unit: limits.Second}}},
		{"mesh", []limits.Entry{{Key: "service", Value: "orders"}, {Key: "rule", Value: "list-orders"}, {Key: "who", Value: "user|shop|alice"}}, []limits.Limit{{Requests: 50, Unit: limits.Second}}},
	} {
		rule := table.Match(c.domain, c.entries).Rule
		if rule == nil {
			t.Errorf("nothing limits %v", c.entries)
			continue
		}
		if diff := cmp.Diff(c.want, rule.Limits); diff != "" || rule.CountDenied {
			t.Errorf("%v (denied hits count: %v):\n%s", c.entries, rule.CountDenied, diff)
		}
	}
}
