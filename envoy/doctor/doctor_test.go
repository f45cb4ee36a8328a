package doctor_test

import (
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/envoy"
	"github.com/sallyport-dev/sallyport/envoy/doctor"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// samples are values of each kind of hole in the shipped files.
var samples = map[envoy.Kind]string{
	envoy.KindCount:  "1",
	envoy.KindPath:   "/dev/stdout",
	envoy.KindHost:   "192.0.2.7",
	envoy.KindSPIFFE: "spiffe://cluster.local/ns/sallyport/sa/authz",
	envoy.KindDomain: "cluster.local",
	envoy.KindName:   "orders",
	envoy.KindOrigin: "https://app.example",
	envoy.KindTarget: "/healthz",
}

// shipped is a file of package envoy, filled in.
func shipped(t testing.TB, file string) string {
	t.Helper()
	holes, err := envoy.Placeholders(file)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for i, hole := range holes {
		values[hole.Name] = samples[hole.Kind]
		if hole.Kind == envoy.KindPort {
			values[hole.Name] = strconv.Itoa(8443 + i)
		}
	}
	rendered, err := envoy.Render(file, values)
	if err != nil {
		t.Fatal(err)
	}
	return string(rendered)
}

// fitting is a policy for the shipped files.
const fitting = `version: 1
trust_domain: cluster.local
peers: envoy
trusted_proxies: [10.0.0.0/8]
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
services:
  - name: orders
    edge: true
    hosts: [orders.example]
    headers: {x-user-id: token.sub}
    probes: [/healthz]
    rules:
      - name: read-order
        match: GET /orders/{order_id}
        owner: none
        metadata: {plan: {value: token.client_id, default: free}}
`

// withBody is the rule for which demo.yaml has a route.
const withBody = `      - name: delete
        match: POST /orders:delete
        owner: {of: "body.ids[*]", is: token.sub}
`

func parse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return p
}

func shippedLimits(t testing.TB) *limits.Table {
	t.Helper()
	var files []*limits.File
	for _, name := range []string{"edge.yaml", "mesh.yaml"} {
		text, err := fs.ReadFile(envoy.Limits, name)
		if err != nil {
			t.Fatal(err)
		}
		file, errs := limits.Decode(name, text)
		if len(errs) > 0 {
			t.Fatal(errs.Pretty())
		}
		files = append(files, file)
	}
	table, errs := limits.Build(files)
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return table
}

func examine(t testing.TB, text string, p *policy.Policy, l *limits.Table) []doctor.Finding {
	t.Helper()
	config, err := doctor.Read("envoy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doctor.Examine(config, p, l)
}

func ids(found []doctor.Finding) []string {
	var all []string
	for _, f := range found {
		all = append(all, f.ID)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// The shipped files have no finding and no note, but for the demo's door that is there to show what happens without a gate.
func TestShippedFiles(t *testing.T) {
	for file, want := range map[string][]string{"edge.yaml": nil, "sidecar.yaml": nil, "demo.yaml": {"unchecked-listener"}} {
		text := fitting
		if file == "demo.yaml" {
			text += withBody
		}
		found := examine(t, shipped(t, file), parse(t, text), shippedLimits(t))
		if diff := cmp.Diff(want, ids(found)); diff != "" {
			t.Errorf("%s:\n%s", file, diff)
			for _, f := range found {
				t.Log(f.String(file))
			}
		}
	}
	ungated := examine(t, shipped(t, "demo.yaml"), nil, nil)
	if len(ungated) != 1 || ungated[0].Subject != `listener "ungated"` {
		t.Errorf("demo.yaml: %+v", ungated)
	}
}

// Without a policy nothing says which paths are probes, and a door that asks nobody is one.
func TestProbesNeedThePolicy(t *testing.T) {
	found := examine(t, shipped(t, "sidecar.yaml"), nil, nil)
	if diff := cmp.Diff([]string{"unchecked-listener"}, ids(found)); diff != "" {
		t.Error(diff)
	}
	for _, edit := range [][2]string{
		{`string_match: {exact: GET}}, {name: ":path"`, `string_match: {exact: POST}}, {name: ":path"`},
		{`match: {path: "/healthz", headers`, `match: {prefix: "/healthz", headers`},
		{`match: {path: "/healthz", headers`, `match: {path: "/other", headers`},
		{`{name: ":method", string_match: {exact: GET}}, {name: ":path"`, `{name: ":path"`},
	} {
		text := strings.Replace(shipped(t, "sidecar.yaml"), edit[0], edit[1], 1)
		if text == shipped(t, "sidecar.yaml") {
			t.Fatalf("sidecar.yaml has no %q", edit[0])
		}
		if got := ids(examine(t, text, parse(t, fitting), shippedLimits(t))); !slices.Contains(got, "unchecked-listener") {
			t.Errorf("%q: %q", edit[1], got)
		}
	}
}

// As Envoy Gateway has it: a check for each of its policies, switched off, and each route switches its own on.
func TestChecksByRoute(t *testing.T) {
	text := strings.Replace(shipped(t, "edge.yaml"), checkAt, "          - name: envoy.filters.http.ext_authz\n            disabled: true\n            typed_config:\n", 1)
	text = strings.Replace(text, router, second("            disabled: true\n")+router, 1)
	text = strings.Replace(text, ofHost, "", 1)
	if got := ids(examine(t, text, nil, nil)); !slices.Equal(got, []string{"unchecked-route"}) {
		t.Errorf("none is switched on: %q", got)
	}
	on := "{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}"
	for _, c := range []struct{ settings, want string }{
		{"second: " + on, ""},
		{"second: " + on + ", envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {disable_request_body_buffering: true}}", "two-checks"},
	} {
		routed := strings.Replace(text, catch, "- match: {prefix: /}\n                typed_per_filter_config: {"+c.settings+"}\n                # A streaming", 1)
		if routed == text {
			t.Fatal("edge.yaml has no such route")
		}
		if got := strings.Join(ids(examine(t, routed, nil, nil)), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.settings, got, c.want)
		}
	}
}
