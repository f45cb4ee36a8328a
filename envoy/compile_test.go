package envoy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/goccy/go-yaml"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// market is a policy with one of everything that Envoy has to be told: two services that share a host, one of its own, bodies, upgrades,
// web pages.
const market = `version: 1
trust_domain: cluster.local
peers: envoy
trusted_proxies: [10.0.0.0/8]
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [shop], machine: never, claims: {team: string}}
services:
  - name: orders
    hosts: [api.example.com, orders.example.com]
    edge: true
    workloads: [shop/orders]
    probes: [/healthz, {path: /metrics, callers: [monitoring/prometheus]}, /readyz]
    cors: {origins: ["https://app.example.com", "https://*.preview.example.com"], credentials: true, max_age: 5m}
    security_headers: default
    rules:
      - {name: list, match: "GET,HEAD /orders"}
      - {name: place, match: "POST /orders", owner: {of: body.customer, is: token.sub}}
      - {name: item, match: "PUT,PATCH /orders/{id}", owner: {of: body.customer, is: token.sub}}
      - {name: draft, match: "PUT /orders/draft"}
      - {name: cancel, match: "POST /orders/{id}:cancel", owner: none}
      - {name: note, match: "POST /orders/{id}/notes/{rest...}", owner: {of: form.author, is: token.sub}}
      - {name: menu, match: "PUT /café du/{name}.json", owner: {of: body.customer, is: token.sub}}
      - {name: live, match: "GET /live/{id}", owner: none, upgrades: [websocket], max_connection: 10m}
      - {name: old, match: "GET /v0/{rest...}", deny: 410}
  - name: stock
    hosts: [api.example.com, "*.stock.example.com"]
    edge: true
    rules:
      - {name: count, match: "GET /stock/{item}", owner: none}
      - {name: set, match: "PUT /stock/{item}", owner: {of: body.team, is: token.team}}
  - name: batch
    hosts: [batch.shop.svc.cluster.local]
    callers: [web/frontend]
    rules: [{name: run, match: "POST /run", token: none, callers: [web/frontend]}]
`

func mustParse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	return p
}

// whole is what an edge or a sidecar of the mesh needs beside the policy.
func (m *mesh) whole(t testing.TB, kind string, p *policy.Policy, service string) Wanted {
	t.Helper()
	values := m.values(t, kind+".yaml")
	w := Wanted{For: kind, Service: service, Values: values, Upstreams: map[string]Upstream{}}
	for _, name := range []string{"CORS_ORIGIN", "SERVICE_HOST", "SERVICE_ID", "SERVICE"} {
		delete(values, name)
	}
	if kind == "edge" {
		delete(values, "SERVICE_PORT")
		for _, s := range p.Services {
			if s.Edge || len(p.Services) == 1 {
				w.Upstreams[s.Name] = Upstream{Host: s.Name + ".shop.svc", Port: "8443", ID: "spiffe://cluster.local/ns/shop/sa/" + s.Name}
			}
		}
	}
	return w
}

func mustCompile(t testing.TB, p *policy.Policy, table *limits.Table, w Wanted) []byte {
	t.Helper()
	compiled, err := Compile(p, table, w)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// policies are those of the documents, the demo and the tests, by where they stand.
func policies(t *testing.T) map[string]*policy.Policy {
	t.Helper()
	texts := map[string][]byte{"market": []byte(market)}
	for _, name := range []string{"../cmd/internal/demo/policy.yaml", "../cmd/internal/schematest/testdata/policy.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		texts[name] = data
	}
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	issuers, err := filepath.Glob("../docs/issuers/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(append(pages, "../README.md"), issuers...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(name) == ".yaml" {
			texts[name] = data
			continue
		}
		for _, fence := range regexp.MustCompile("(?s)```yaml\n(# policy.yaml\n.*?)\n```").FindAllSubmatch(data, -1) {
			texts[name+": "+string(bytes.SplitN(fence[1], []byte("\n"), 4)[1])] = append(fence[1], '\n')
		}
	}
	e2e, err := os.ReadFile("../e2e/harness_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if _, text, ok := bytes.Cut(e2e, []byte("const policyText = `")); ok {
		text, _, _ = bytes.Cut(text, []byte("`"))
		texts["e2e"] = []byte(strings.NewReplacer("ISSUER", "https://auth.example.com", "LOCAL", "127.0.0.0/8").Replace(string(text)))
	}
	found := map[string]*policy.Policy{}
	for name, text := range texts {
		if p, _ := policy.Parse([]policy.File{{Name: "policy.yaml", Data: text}}); p != nil {
			found[name] = p
		}
	}
	if len(found) < 7 || found["e2e"] == nil || found["market"] == nil {
		t.Fatalf("only %d of %d policies load", len(found), len(texts))
	}
	return found
}

// The real Envoy takes what is compiled from each policy, for the edge and beside each service, and every message keeps its constraints.
func TestEnvoyAcceptsWhatIsCompiled(t *testing.T) {
	m, edges, sidecars := newMesh(t), 0, 0
	for name, p := range policies(t) {
		if slices.ContainsFunc(p.Services, func(s *policy.Service) bool { return s.Edge }) || len(p.Services) == 1 {
			edges++
			m.accepted(t, name+", edge", mustCompile(t, p, nil, m.whole(t, "edge", p, "")))
		}
		if sidecars > 3 && name != "market" {
			continue
		}
		for _, service := range p.Services {
			sidecars++
			m.accepted(t, name+", sidecar of "+service.Name, mustCompile(t, p, nil, m.whole(t, "sidecar", p, service.Name)))
		}
	}
	if edges < 4 || sidecars < 4 {
		t.Errorf("only %d edges and %d sidecars were tried", edges, sidecars)
	}
}

func (m *mesh) accepted(t *testing.T, name string, compiled []byte) {
	t.Helper()
	bootstrap, err := decode(compiled)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, host := range all[*extauthzv3.ExtAuthzPerRoute](bootstrap) {
		if err := host.ValidateAll(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if output, err := validate(t, compiled); err != nil {
		t.Errorf("%s: %v\n%s", name, err, output)
	}
}

// What is compiled is as hardened as the reference file that it follows: everything but routes, and the services behind an edge, is the same.
func TestCompiledIsTheReference(t *testing.T) {
	m, p := newMesh(t), mustParse(t, market)
	for kind, service := range map[string]string{"edge": "", "sidecar": "orders"} {
		w := m.whole(t, kind, p, service)
		compiled, err := decode(mustCompile(t, p, nil, w))
		if err != nil {
			t.Fatal(err)
		}
		values := sampleValues(t, kind+".yaml")
		for name, value := range w.Values {
			values[name] = value
		}
		rendered, err := Render(kind+".yaml", values)
		if err != nil {
			t.Fatal(err)
		}
		reference, err := decode(rendered)
		if err != nil {
			t.Fatal(err)
		}
		compiled.LayeredRuntime = nil
		for _, hcm := range slices.Concat(all[*hcmv3.HttpConnectionManager](compiled), all[*hcmv3.HttpConnectionManager](reference)) {
			if hcm.GetStatPrefix() != "probes" {
				hcm.RouteSpecifier = nil
			}
		}
		for name := range listeners(reference) {
			if diff := gocmp.Diff(withoutRoutes(listeners(reference)[name]), withoutRoutes(listeners(compiled)[name]), protocmp.Transform()); diff != "" {
				t.Errorf("%s: listener %s:\n%s", kind, name, diff)
			}
		}
		gates := func(clusters []*clusterv3.Cluster) []*clusterv3.Cluster {
			return slices.DeleteFunc(slices.Clone(clusters), func(c *clusterv3.Cluster) bool { return strings.HasPrefix(c.GetName(), "service") && kind == "edge" })
		}
		if diff := gocmp.Diff(gates(reference.GetStaticResources().GetClusters()), gates(compiled.GetStaticResources().GetClusters()), protocmp.Transform()); diff != "" {
			t.Errorf("%s: clusters:\n%s", kind, diff)
		}
		if diff := gocmp.Diff(reference.GetOverloadManager(), compiled.GetOverloadManager(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: overload manager:\n%s", kind, diff)
		}
	}
}

// withoutRoutes is a connection manager but for what the policy decides. The probe listener's routes are the reference's.
func withoutRoutes(hcm *hcmv3.HttpConnectionManager) *hcmv3.HttpConnectionManager {
	bare := proto.Clone(hcm).(*hcmv3.HttpConnectionManager)
	if bare.GetStatPrefix() != "probes" {
		bare.RouteSpecifier = nil
	}
	return bare
}

// routeLine is one compiled route in words: what it takes, which service it pins, whether the gate sees the body, and whether pages may call.
type routeLine struct{ Name, Match, Pin, Body, Pages string }

const showsBody, noBody = "body", "no body"

// routeLines are the routes of a configuration by the domains of their hosts; the probe listener's are the reference's.
func routeLines(t *testing.T, compiled []byte) map[string][]routeLine {
	t.Helper()
	bootstrap, err := decode(compiled)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]routeLine{}
	for name, hcm := range listeners(bootstrap) {
		for _, host := range hcm.GetRouteConfig().GetVirtualHosts() {
			for _, r := range host.GetRoutes() {
				if key := strings.Join(host.GetDomains(), " "); name != "probes" {
					found[key] = append(found[key], lineOf(t, host, r))
				}
			}
		}
	}
	return found
}

func lineOf(t *testing.T, host *routev3.VirtualHost, r *routev3.Route) routeLine {
	t.Helper()
	line := routeLine{Name: r.GetName(), Match: r.GetMatch().GetPath() + r.GetMatch().GetPrefix() + r.GetMatch().GetSafeRegex().GetRegex(), Body: noBody}
	for _, h := range r.GetMatch().GetHeaders() {
		line.Match = h.GetStringMatch().GetExact() + h.GetStringMatch().GetSafeRegex().GetRegex() + " " + line.Match
	}
	if d := r.GetDirectResponse(); d != nil {
		line.Match += map[uint32]string{404: " 404", 421: " 421"}[d.GetStatus()]
	}
	// The route's own settings count, else the host's.
	setting := func(filter string) *anypb.Any {
		return cmp.Or(r.GetTypedPerFilterConfig()[filter], host.GetTypedPerFilterConfig()[filter])
	}
	for _, settings := range perRoute(t, setting("envoy.filters.http.ext_authz")) {
		line.Pin = settings.GetCheckSettings().GetContextExtensions()["service"]
		if b := settings.GetCheckSettings().GetWithRequestBody(); b != nil {
			line.Body = showsBody
			held := uint32(65537)
			if len(host.GetDomains()) != 1 || host.GetDomains()[0] != "*" {
				held *= 2 // at an edge
			}
			if b.GetMaxRequestBytes() != held || settings.GetCheckSettings().GetContextExtensions()["max_request_bytes"] != "65536" || r.GetRequestBodyBufferLimit().GetValue() != uint64(held)+65536 || !b.GetAllowPartialMessage() || !b.GetPackAsBytes() {
				t.Errorf("%s: %v", line.Name, b)
			}
		}
	}
	if setting("envoy.filters.http.cors") != nil {
		line.Pages = "pages"
	}
	return line
}

// Each host has its services behind it, each rule that reads a body its route, each service its pin and its pages.
func TestCompiledRoutes(t *testing.T) {
	m, p := newMesh(t), mustParse(t, market)
	orders := []routeLine{
		{"orders.menu", `PUT /caf%[Cc]3%[Aa]9%20du/[^/]+\.json`, "orders", showsBody, "pages"},
		{"orders.place", "POST /orders", "orders", showsBody, "pages"},
		{"orders.draft", "PUT /orders/draft", "orders", noBody, "pages"}, // or it would be taken for the next
		{"orders.item", "PUT|PATCH /orders/[^/]+", "orders", showsBody, "pages"},
		{"orders.note", "POST /orders/[^/]+/notes/.*", "orders", showsBody, "pages"},
		{"orders.live", "GET /live/[^/]+", "orders", noBody, "pages"},
		{"", "/", "orders", noBody, "pages"},
	}
	want := map[string][]routeLine{
		"orders.example.com":  orders,
		"*.stock.example.com": {{"stock.set", "PUT /stock/[^/]+", "stock", showsBody, ""}, {"", "/", "stock", noBody, ""}},
		"*":                   {{"", "/ 421", "", noBody, ""}},
		"api.example.com": {
			{"orders.menu", `PUT|OPTIONS /caf%[Cc]3%[Aa]9%20du/[^/]+\.json`, "orders", showsBody, "pages"},
			{"orders.list", "GET|HEAD|OPTIONS /orders", "orders", noBody, "pages"},
			{"orders.place", "POST|OPTIONS /orders", "orders", showsBody, "pages"},
			{"orders.draft", "PUT|OPTIONS /orders/draft", "orders", noBody, "pages"},
			{"orders.cancel", "POST|OPTIONS /orders/[^/]+:cancel", "orders", noBody, "pages"},
			{"orders.item", "PUT|PATCH|OPTIONS /orders/[^/]+", "orders", showsBody, "pages"},
			{"orders.note", "POST|OPTIONS /orders/[^/]+/notes/.*", "orders", showsBody, "pages"},
			{"stock.count", "GET /stock/[^/]+", "stock", noBody, ""},
			{"stock.set", "PUT /stock/[^/]+", "stock", showsBody, ""},
			{"orders.live", "GET|OPTIONS /live/[^/]+", "orders", noBody, "pages"},
			{"orders.old", "GET|OPTIONS /v0/", "orders", noBody, "pages"},
			{"", "/ 404", "", noBody, ""},
		},
	}
	if diff := gocmp.Diff(want, routeLines(t, mustCompile(t, p, shippedLimits(t), m.whole(t, "edge", p, "")))); diff != "" {
		t.Error(diff)
	}
	if diff := gocmp.Diff(map[string][]routeLine{"*": orders}, routeLines(t, mustCompile(t, p, shippedLimits(t), m.whole(t, "sidecar", p, "orders")))); diff != "" {
		t.Error(diff)
	}
}

// Probes are let through whatever the host, so they lead somewhere whatever the host.
func TestCompiledProbes(t *testing.T) {
	m := newMesh(t)
	for name, test := range map[string]struct {
		policy string
		host   string
		want   []routeLine
	}{
		"at the top, another host": {"probes: [/live, /grpc.health.v1.Health/Check]\n" + market, "*", []routeLine{
			{Match: "GET|HEAD /live", Body: noBody}, {Match: "POST /grpc.health.v1.Health/Check", Body: noBody}, {Match: "/ 421", Body: noBody},
		}},
		"of the only service, another host": {`version: 1
services: [{name: open, hosts: [a.test], probes: [/healthz], rules: [{name: all, match: "GET /{rest...}", public: true, except: []}]}]
`, "*", []routeLine{{Match: "GET|HEAD /healthz", Body: noBody}, {Match: "/ 421", Body: noBody}}},
		"of the only service, its own": {`version: 1
services: [{name: open, hosts: [a.test], probes: [/healthz], rules: [{name: all, match: "GET /{rest...}", public: true, except: []}]}]
`, "a.test", []routeLine{{Match: "/", Pin: "open", Body: noBody}}},
		"on any host": {`version: 1
services: [{name: open, hosts: ["*"], rules: [{name: all, match: "GET /{rest...}", public: true, except: []}]}]
`, "*", []routeLine{{Match: "/", Pin: "open", Body: noBody}}},
	} {
		p := mustParse(t, test.policy)
		compiled := mustCompile(t, p, nil, m.whole(t, "edge", p, ""))
		if diff := gocmp.Diff(test.want, routeLines(t, compiled)[test.host]); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		m.accepted(t, name, compiled)
	}
}

// Envoy's route takes exactly the paths that the pattern does, whatever they look like. What the gate refuses may go anywhere: it is refused.
func TestPathMatchAgreesWithThePattern(t *testing.T) {
	words := []string{"a", "orders", "a.json", ":go", "x:go", "é", "a b", "(a)", "a+b", "$", "a|b", "[", "~", "*a"}
	rapid.Check(t, func(t *rapid.T) {
		text := "GET "
		for i := range rapid.IntRange(1, 3).Draw(t, "length") {
			segment := rapid.SampledFrom(append([]string{"{N}", "{N}.json", "{N}:go", "{N}é"}, words...)).Draw(t, "segment")
			if strings.HasPrefix(segment, ":") {
				segment = "x" + segment
			}
			text += "/" + strings.ReplaceAll(segment, "N", string(rune('a'+i)))
		}
		text += rapid.SampledFrom([]string{"", "", "/{$}", "/{rest...}"}).Draw(t, "end")
		p, err := pattern.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		tree, _ := pattern.Build([]pattern.Entry{{Pattern: p}}, pattern.Exact)
		path := ""
		for range rapid.IntRange(1, 4).Draw(t, "segments") {
			path += "/"
			word := rapid.SampledFrom(append([]string{"", "xé", "y.json", ".json"}, words...)).Draw(t, "word")
			for i := range len(word) {
				b := word[i]
				if standsForItself(b) {
					path += string(b)
				} else {
					path += rapid.SampledFrom([]string{"%02X", "%02x"}).Draw(t, "case")
					path = strings.Replace(path, "%02X", "%"+strings.ToUpper(hexOf(b)), 1)
					path = strings.Replace(path, "%02x", "%"+hexOf(b), 1)
				}
			}
		}
		tg, err := target.Parse("GET", "h", path)
		if err != nil {
			t.Skip(err)
		}
		_, outcome := tree.Lookup(&tg, nil)
		if got := envoyTakes(t, pathMatch(p), path); got != (outcome == pattern.Found) {
			t.Fatalf("%s and %s: the gate %s, Envoy's %s %v", text, path, outcome, pathMatch(p), got)
		}
	})
}

func hexOf(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

// envoyTakes is how Envoy compares a path: exactly, by a prefix, or by an expression that is the whole.
func envoyTakes(t rapid.TB, match, path string) bool {
	var m struct {
		Path, Prefix string
		SafeRegex    struct{ Regex string } `yaml:"safe_regex"`
	}
	if err := yaml.Unmarshal([]byte("{"+match+"}"), &m); err != nil {
		t.Fatalf("%s: %v", match, err)
	}
	switch {
	case m.Path != "":
		return path == m.Path
	case m.Prefix != "":
		return strings.HasPrefix(path, m.Prefix)
	}
	return regexp.MustCompile(`^(?:` + m.SafeRegex.Regex + `)$`).MatchString(path)
}

// The pages that Envoy answers are those that the policy admits.
func TestOriginMatchAgreesWithThePolicy(t *testing.T) {
	orders := mustParse(t, market).Service("orders")
	for _, value := range []string{
		"https://app.example.com", "https://app.example.com:1", "https://appXexample.com", "https://a.preview.example.com", "https://a.b.preview.example.com", "https://preview.example.com",
		"https://evilpreview.example.com", "https://evil.test/.preview.example.com", "https://evil.test?.preview.example.com", "https://.preview.example.com", "https://a..preview.example.com",
		"http://a.preview.example.com", "https://a.previewXexample.com", "null", "",
	} {
		envoys := slices.ContainsFunc(orders.CORS.Origins, func(o policy.WebOrigin) bool { return envoyAdmits(t, originMatch(o), value) })
		if envoys != orders.CORS.Admits(value) {
			t.Errorf("%q: Envoy %v, the gate %v", value, envoys, !envoys)
		}
	}
}

func envoyAdmits(t *testing.T, match, origin string) bool {
	t.Helper()
	var m struct {
		Exact     string
		SafeRegex struct{ Regex string } `yaml:"safe_regex"`
	}
	if err := yaml.Unmarshal([]byte(match), &m); err != nil {
		t.Fatalf("%s: %v", match, err)
	}
	if m.Exact != "" {
		return origin == m.Exact
	}
	return regexp.MustCompile(`^(?:` + m.SafeRegex.Regex + `)$`).MatchString(origin)
}

// The same input gives the same bytes.
func TestCompiledIsStable(t *testing.T) {
	m, p := newMesh(t), mustParse(t, market)
	w := m.whole(t, "edge", p, "")
	first := mustCompile(t, p, shippedLimits(t), w)
	for range 20 {
		if !bytes.Equal(first, mustCompile(t, mustParse(t, market), shippedLimits(t), w)) {
			t.Fatal("two compilations differ")
		}
	}
	if !bytes.Contains(first, []byte(p.Digest)) || !bytes.Contains(first, []byte("# Not served here, because they do not say `edge: true`: batch.")) {
		t.Error("the heading does not say what it was made of")
	}
}

// What nobody said is asked for at once, what the policy says itself is not, and what makes no sense is refused.
func TestCompileAsksForWhatIsMissing(t *testing.T) {
	p := mustParse(t, market)
	var missing *MissingError
	_, err := Compile(p, nil, Wanted{For: "edge"})
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	want := "envoy: no value for ${LISTEN_PORT}, ${XFF_TRUSTED_HOPS}, ${TLS_CERT}, ${TLS_KEY}, ${MESH_CERT}, ${MESH_KEY}, ${MESH_CA}, ${AUTHZ_HOST}, ${AUTHZ_PORT}, ${AUTHZ_ID}, " +
		"${RATELIMIT_HOST}, ${RATELIMIT_PORT}, ${RATELIMIT_ID}, the upstream of orders, the upstream of stock, who answers for stock"
	if err.Error() != want {
		t.Errorf("%s\nwant %s", err, want)
	}
	_, err = Compile(p, nil, Wanted{For: "sidecar", Service: "batch"})
	if want := "envoy: no value for ${LISTEN_PORT}, ${PROBE_PORT}, ${LIVENESS_PATH}, ${READINESS_PATH}, ${SERVICE_PORT}, ${MESH_CERT}, ${MESH_KEY}, ${MESH_CA}, " +
		"${AUTHZ_HOST}, ${AUTHZ_PORT}, ${AUTHZ_ID}, ${RATELIMIT_HOST}, ${RATELIMIT_PORT}, ${RATELIMIT_ID}"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	_, err = Compile(p, nil, Wanted{For: "sidecar", Service: "orders"})
	if err == nil || strings.Contains(err.Error(), "LIVENESS") || strings.Contains(err.Error(), "TRUST_DOMAIN") {
		t.Errorf("what the policy says is asked for: %v", err)
	}
	for name, test := range map[string]struct {
		wanted Wanted
		want   string
	}{
		"neither":              {Wanted{}, "for an edge or a sidecar"},
		"no such service":      {Wanted{For: "sidecar", Service: "x"}, "there are orders, stock, batch"},
		"an edge of one":       {Wanted{For: "edge", Service: "orders"}, "not one by its name"},
		"a bad value":          {Wanted{For: "edge", Values: map[string]string{"LISTEN_PORT": "99999"}}, "${LISTEN_PORT}: \"99999\" is not a port"},
		"a value that escapes": {Wanted{For: "edge", Values: map[string]string{"TLS_CERT": "/a\"}\nx: y"}}, "${TLS_CERT}"},
		"the other file's":     {Wanted{For: "edge", Values: map[string]string{"PROBE_PORT": "1"}}, "edge has no ${PROBE_PORT} to fill in"},
		"the policy's own":     {Wanted{For: "edge", Values: map[string]string{"SERVICE_HOST": "a"}}, "edge has no ${SERVICE_HOST} to fill in"},
		"an upstream too many": {Wanted{For: "edge", Upstreams: map[string]Upstream{"batch": {Host: "a", Port: "1"}}}, "the edge serves no service \"batch\""},
		"a bad upstream":       {Wanted{For: "edge", Upstreams: map[string]Upstream{"orders": {Host: "a b", Port: "1"}}}, "the upstream of orders: \"a b\""},
		"a body without end":   {Wanted{For: "edge", MaxRequestBytes: 2 << 20}, "it can be 1 to 524287"},
	} {
		if _, err := Compile(p, nil, test.wanted); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	closed := mustParse(t, strings.NewReplacer("    edge: true\n", "", "hosts: [api.example.com, orders.example.com]", "hosts: [orders.example.com]").Replace(market))
	if _, err := Compile(closed, nil, Wanted{For: "edge"}); err == nil || !strings.Contains(err.Error(), "no service of the policy says `edge: true`") {
		t.Errorf("an edge without services: %v", err)
	}
}

// A descriptor that no limit waits for is named: what it counts would be unlimited.
func TestCompileFindsUnlimitedDescriptors(t *testing.T) {
	m, p := newMesh(t), mustParse(t, market)
	build := func(texts ...string) *limits.Table {
		var files []*limits.File
		for i, text := range texts {
			file, errs := limits.Decode(string(rune('a'+i))+".yaml", []byte(text))
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
	const edge = "domain: edge\ndescriptors: [{key: masked_remote_address, rate_limits: [{requests_per_unit: 1, unit: second}]}]\n"
	const users = `domain: mesh
descriptors:
  - {key: who, value: "user|*", rate_limits: [{requests_per_unit: 1, unit: second}]}
  - key: service
    value: stock
    descriptors: [{key: rule, rate_limit: {unlimited: true}, descriptors: [{key: who, rate_limit: {unlimited: true}}]}]
`
	var unlimited *UnlimitedError
	_, err := Compile(p, build(edge, users), m.whole(t, "edge", p, ""))
	if !errors.As(err, &unlimited) {
		t.Fatal(err)
	}
	for _, want := range []string{"mesh: (who=ip|192.0.2.1)", "mesh: (who=client|shop|batch)", "mesh: (service=orders)(rule=list)", "mesh: (service=orders)(rule=probe)", "mesh: (service=orders)(rule=list)(who=user|shop|alice)", "mesh: (service=unknown)(rule=unknown)"} {
		if !slices.Contains(unlimited.Descriptors, want) {
			t.Errorf("%s is not named", want)
		}
	}
	for _, not := range []string{"mesh: (who=user|shop|alice)", "mesh: (service=stock)(rule=count)", "mesh: (service=orders)(rule=old)", "mesh: (service=batch)(rule=run)", "edge: (masked_remote_address=192.0.2.1/32)"} {
		if slices.Contains(unlimited.Descriptors, not) {
			t.Errorf("%s is named", not)
		}
	}
	if _, err := Compile(p, build(users), m.whole(t, "edge", p, "")); err == nil || !strings.Contains(err.Error(), "edge: (masked_remote_address=192.0.2.1/32)") {
		t.Errorf("without the domain of the edge: %v", err)
	}
	if _, err := Compile(p, build(users), m.whole(t, "sidecar", p, "batch")); err == nil || !strings.Contains(err.Error(), "(who=workload|spiffe://cluster.local/ns/web/sa/frontend)") || strings.Contains(err.Error(), "edge:") {
		t.Errorf("a sidecar: %v", err)
	}
	for kind, service := range map[string]string{"edge": "", "sidecar": "batch"} {
		if _, err := Compile(p, shippedLimits(t), m.whole(t, kind, p, service)); err != nil {
			t.Errorf("with the shipped limits: %v", err)
		}
	}
}

// Where tokens or callers are held to a certificate, Envoy shows it.
func TestCompiledShowsCertificates(t *testing.T) {
	m := newMesh(t)
	for text, want := range map[string]bool{
		market: false,
		strings.Replace(market, "peers: envoy", "peers: certificate", 1):                              true,
		strings.Replace(market, `match: "GET,HEAD /orders"`, `match: "GET /orders", sender: mtls`, 1): true,
	} {
		p := mustParse(t, text)
		bootstrap, err := decode(mustCompile(t, p, nil, m.whole(t, "sidecar", p, "orders")))
		if err != nil {
			t.Fatal(err)
		}
		filters := all[*extauthzv3.ExtAuthz](bootstrap)
		if len(filters) != 1 || filters[0].GetIncludePeerCertificate() != want {
			t.Errorf("include_peer_certificate is %v, want %v", filters[0].GetIncludePeerCertificate(), want)
		}
	}
}

// Fragments are the same parts for a listener of one's own; what nobody said is marked, and Envoy would not start with it.
func TestFragments(t *testing.T) {
	m, p := newMesh(t), mustParse(t, market)
	for kind, service := range map[string]string{"edge": "", "sidecar": "orders"} {
		w := m.whole(t, kind, p, service)
		whole, err := decode(mustCompile(t, p, nil, w))
		if err != nil {
			t.Fatal(err)
		}
		w.Fragments = true
		text := mustCompile(t, p, nil, w)
		if bytes.Contains(text, []byte("FILL_IN_")) && !bytes.Contains(text, []byte("for you to say:\n#   nothing.")) {
			t.Errorf("%s: a placeholder although everything was said", kind)
		}
		manager, clusters := fragments(t, text)
		name := map[string]string{"edge": "edge", "sidecar": "inbound"}[kind]
		if diff := gocmp.Diff(listeners(whole)[name], manager, protocmp.Transform()); diff != "" {
			t.Errorf("%s: the connection manager: %s", kind, diff)
		}
		if diff := gocmp.Diff(whole.GetStaticResources().GetClusters(), clusters, protocmp.Transform()); diff != "" {
			t.Errorf("%s: the clusters: %s", kind, diff)
		}
		bare := mustCompile(t, p, nil, Wanted{For: kind, Service: service, Fragments: true})
		for _, hole := range []string{"AUTHZ_HOST", "AUTHZ_PORT", "AUTHZ_ID", "MESH_CERT"} {
			if !bytes.Contains(bare, []byte("#   FILL_IN_"+hole+": ")) || bytes.Count(bare, []byte("FILL_IN_"+hole)) < 2 {
				t.Errorf("%s: %s is not marked", kind, hole)
			}
		}
		if bytes.Contains(bare, []byte("${")) || bytes.Contains(bare, []byte("TLS_CERT")) {
			t.Errorf("%s: holes that are none of these parts' are left", kind)
		}
	}
	edge := mustCompile(t, p, nil, Wanted{For: "edge", Fragments: true})
	for _, want := range []string{"FILL_IN_ORDERS_HOST", "FILL_IN_STOCK_PORT", "FILL_IN_STOCK_ID"} {
		if !bytes.Contains(edge, []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
}

// fragments reads the parts strictly.
func fragments(t *testing.T, text []byte) (*hcmv3.HttpConnectionManager, []*clusterv3.Cluster) {
	t.Helper()
	var parts struct {
		Manager  any   `yaml:"http_connection_manager"`
		Clusters []any `yaml:"clusters"`
		Runtime  any   `yaml:"layered_runtime"`
	}
	if err := yaml.UnmarshalWithOptions(text, &parts, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	into := func(part any, message proto.Message) {
		encoded, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(encoded, message); err != nil {
			t.Fatal(err)
		}
	}
	manager := &hcmv3.HttpConnectionManager{}
	into(parts.Manager, manager)
	var clusters []*clusterv3.Cluster
	for _, part := range parts.Clusters {
		cluster := &clusterv3.Cluster{}
		into(part, cluster)
		clusters = append(clusters, cluster)
	}
	return manager, clusters
}
