package doctor_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

// istio is the dump of a sidecar of Istio, with an edit.
func istio(t *testing.T, old, new string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/istio.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(data), old) {
		t.Fatalf("nothing says %q", old)
	}
	return strings.Replace(string(data), old, new, 1)
}

// What every sidecar of Istio has by itself is no finding: listeners of its own are notes, and ways that lead nowhere, a check of all that an
// RBAC filter marks and a cors filter that nobody uses are nothing.
func TestIstio(t *testing.T) {
	found := examine(t, istio(t, "", ""), nil, nil)
	if doctor.Wrong(found) {
		for _, f := range found {
			t.Log(f.String("istio.yaml"))
		}
		t.Fatalf("%q", ids(found))
	}
	want := []string{"not-understood", "outbound-unchecked", "own-listener"} // a filter of Istio's, transport_socket_matches
	if got := ids(found); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	told := 0
	for _, f := range found {
		if f.ID == "own-listener" {
			told++
			if exposed := strings.Contains(f.Detail, "quitquitquit"); exposed != strings.Contains(f.Detail, "/stats/prometheus") {
				t.Errorf("%s", f.Detail) // seen on Envoy 1.40: the admin interface normalizes what the listener did not
			}
		}
	}
	if told != 2 {
		t.Errorf("%d listeners of Istio's own", told)
	}
}

// The same things with what makes them dangerous are findings, or say what is not known.
func TestIstioGoneWrong(t *testing.T) {
	const (
		rules  = `policies:` + "\n" + `                      "istio-ext-authz-ns[shop]-policy[sallyport]-rule[0]": {permissions: [{and_rules: {rules: [{any: true}]}}]`
		marked = "{filter: envoy.filters.http.rbac, path: [{key: istio_ext_authz_shadow"
	)
	for _, c := range []struct{ old, new, want string }{
		// Its own listeners that serve more, or something else.
		{"{match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}", "{match: {prefix: /stats}, route: {cluster: prometheus_stats}}", "unchecked-listener"},
		{"{match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}", "{match: {path: /stats/prometheus}, route: {cluster: prometheus_stats, prefix_rewrite: /quitquitquit}}", "unchecked-listener"},
		{"{match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}", `{match: {prefix: /stats/prometheus}, route: {cluster: "inbound|8080||"}}`, "unchecked-listener"},
		{"{match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}", `{match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}, {match: {prefix: /}, route: {cluster: "inbound|8080||"}}`, "unchecked-listener"},
		{"{match: {prefix: /healthz/ready}, route: {cluster: agent}}", "{match: {prefix: /}, route: {cluster: agent}}", "unchecked-listener"},
		{"address: 127.0.0.1, port_value: 15020", "address: 127.0.0.1, port_value: 8080", "unchecked-listener"},
		{"address: 127.0.0.1, port_value: 15020", "address: 192.0.2.1, port_value: 15020", "unchecked-listener"},
		{"admin: {address: {socket_address: {address: 127.0.0.1, port_value: 15000}}}", "admin: {address: {pipe: {path: /a}}}", "unchecked-listener"},
		// A hole that has endpoints, or may have.
		{"name: BlackHoleCluster, connect_timeout: 10s", "name: BlackHoleCluster, type: EDS", "unchecked-tcp"},
		{"name: BlackHoleCluster, connect_timeout: 10s", "name: BlackHoleCluster, load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /a}}}}]}]}", "unchecked-tcp"},
		{"name: BlackHoleCluster, connect_timeout: 10s", "name: OtherCluster", "unchecked-tcp"},
		// A check of some, and one that nothing or nobody known switches on.
		{rules, strings.Replace(rules, "{any: true}", "{url_path: {path: {prefix: /admin}}}", 1), "check-by-rules"},
		{rules, strings.Replace(rules, "policies:", "policies:\n                      other: {permissions: [{any: true}], principals: [{any: true}]}", 1), "check-by-rules"},
		{rules, strings.Replace(rules, "{permissions:", "{condition: {}, permissions:", 1), "check-by-rules"},
		{rules, strings.Replace(rules, "istio-ext-authz-ns", "other-ns", 1), "check-switchable"},
		{marked, strings.Replace(marked, "envoy.filters.http.rbac", "envoy.filters.http.header_to_metadata", 1), "check-switchable"},
		{marked, strings.Replace(marked, "istio_ext_authz_", "other_", 1), "check-switchable"},
		{marked, strings.Replace(marked, "{filter", "{invert: true, filter", 1), "check-switchable"},
		{"{filter: envoy.filters.network.rbac", "{filter: envoy.filters.network.other", "check-switchable"},
		// A cors filter that answers.
		{`domains: ["*"]` + "\n" + `                  routes`, `domains: ["*"]` + "\n" + `                  typed_per_filter_config: {envoy.filters.http.cors: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, forward_not_matching_preflights: false}}` + "\n" + `                  routes`, "cors-after-check"},
	} {
		before := ids(examine(t, istio(t, "", ""), nil, nil))
		got := ids(examine(t, istio(t, c.old, c.new), nil, nil))
		if !slices.Contains(got, c.want) || slices.ContainsFunc(got, func(id string) bool { return id != c.want && !slices.Contains(before, id) }) {
			t.Errorf("%q: %q, want %s", c.new, got, c.want)
		}
	}
	// Dot segments lead nowhere from a path that is exact, or is normalized.
	for _, edit := range [][2]string{{"{match: {prefix: /stats/prometheus}", "{match: {path: /stats/prometheus}"}, {"stat_prefix: stats", "normalize_path: true"}} {
		for _, f := range examine(t, istio(t, edit[0], edit[1]), nil, nil) {
			if strings.Contains(f.Detail, "quitquitquit") {
				t.Errorf("%s: %s", edit[1], f.Detail)
			}
		}
	}
}
