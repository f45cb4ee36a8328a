package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

// A large mesh's dump: 5,000 routes of one door, in JSON as Envoy writes it. It is no hot path; it must not take minutes either.
func BenchmarkExamine(b *testing.B) {
	root := tree(b, "edge.yaml")
	host := in(b, root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config", "route_config", "virtual_hosts", 0).(map[string]any)
	var routes []any
	for i := range 5000 {
		routes = append(routes, map[string]any{"match": map[string]any{"path_separated_prefix": fmt.Sprintf("/r%d", i)}, "route": map[string]any{"cluster": "service"}})
	}
	host["routes"] = routes
	text := asJSON(b, root)
	var rules strings.Builder
	rules.WriteString(fitting)
	for i := range 100 {
		fmt.Fprintf(&rules, "      - name: rule-%d\n        match: POST /r%d/x\n        owner: {of: \"body.id\", is: token.sub}\n", i, i*50)
	}
	p, l := parse(b, rules.String()), shippedLimits(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		config, err := doctor.Read("dump.json", []byte(text))
		if err != nil {
			b.Fatal(err)
		}
		if found := doctor.Examine(config, p, l); len(found) != 100 {
			b.Fatalf("%d findings", len(found))
		}
	}
}
