package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/sallyport-dev/sallyport/envoy"
)

// runEnvoy starts Envoy with a configuration and waits until it serves.
func runEnvoy(t *testing.T, config string, admin int) {
	t.Helper()
	p := start(t, "envoy", tool(t, "SALLYPORT_ENVOY", "tools/bin/envoy"), "-c", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
	eventually(t, "Envoy is ready", func() bool {
		if p.ended() {
			t.Fatal("Envoy ended")
		}
		status, _ := get(local(admin), "/ready")
		return status == http.StatusOK
	})
}

// diagnosis is what the doctor says: each finding as its id and what it is about. The paths differ between a file and a dump.
func diagnosis(t *testing.T, args ...string) (findings []string, code int) {
	t.Helper()
	cmd := exec.Command(sallyport(t), append([]string{"envoy", "doctor", "--json"}, args...)...)
	out, err := cmd.Output()
	code = cmd.ProcessState.ExitCode()
	if code == 2 {
		t.Fatalf("%v: %v", args, err)
	}
	var answer struct {
		Findings []struct {
			ID, Subject, Path, Reason, Mend string
			Line, Column                    int
		}
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	for _, f := range answer.Findings {
		if f.Path == "" || f.Reason == "" || f.Mend == "" || f.Line < 1 || f.Column < 1 {
			t.Errorf("%v: half a finding: %+v", args, f)
		}
		findings = append(findings, f.ID+" "+f.Subject)
	}
	slices.Sort(findings)
	return findings, code
}

// filledIn is a shipped file with values of each kind, its admin port, and files that exist.
func filledIn(t *testing.T, file string) (config string, admin int) {
	t.Helper()
	holes, err := envoy.Placeholders(file)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := serverCertificate(t, t.TempDir())
	admin = freePort(t)
	values := map[string]string{"ADMIN_PORT": strconv.Itoa(admin), "ACCESS_LOG": "/dev/null"}
	kinds := map[envoy.Kind]string{
		envoy.KindCount: "1", envoy.KindHost: "127.0.0.1", envoy.KindSPIFFE: "spiffe://cluster.local/ns/sallyport/sa/authz", envoy.KindPath: certificate,
		envoy.KindDomain: "cluster.local", envoy.KindName: "orders", envoy.KindOrigin: "https://app.example", envoy.KindTarget: "/healthz",
	}
	for _, hole := range holes {
		switch {
		case values[hole.Name] != "":
		case hole.Kind == envoy.KindPort:
			values[hole.Name] = strconv.Itoa(freePort(t))
		case strings.HasSuffix(hole.Name, "_KEY"):
			values[hole.Name] = key
		default:
			values[hole.Name] = kinds[hole.Kind]
		}
	}
	rendered, err := envoy.Render(file, values)
	if err != nil {
		t.Fatal(err)
	}
	return string(rendered), admin
}

const doctorPolicy = `version: 1
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
      - name: me
        match: GET /me
`

// What the doctor says of a file, it says of the dump of an Envoy that runs with it, whatever Envoy leaves out or writes otherwise.
func TestDoctorReadsARunningEnvoy(t *testing.T) {
	dir := t.TempDir()
	policy, limits := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "limits")
	write(t, policy, doctorPolicy)
	if err := os.CopyFS(limits, envoy.Limits); err != nil {
		t.Fatal(err)
	}
	sick := [][2]string{
		{"failure_mode_allow: false", "failure_mode_allow: true"},
		{"normalize_path: true", "normalize_path: false"},
		{"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT"},
		{"clear_route_cache: false", "clear_route_cache: true"},
		{"failure_mode_deny: true", "failure_mode_deny: false"},
		{"default_value: unknown, ", ""},
		{"tls_maximum_protocol_version: TLSv1_3", "tls_maximum_protocol_version: TLSv1_2"},
		{"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW"},
		{"{san_type: URI, matcher: {prefix: \"spiffe://cluster.local/\"}}", "{san_type: DNS, matcher: {prefix: \"spiffe://cluster.local/\"}}"},
		{"tls_minimum_protocol_version: TLSv1_3, tls_maximum", "tls_minimum_protocol_version: TLSv1_2, tls_maximum"},
		{"domain: mesh", "domain: mash"},
		{"timeout: 0.25s", "timeout: 0s"},
		{`check_settings: {context_extensions: {service: "orders"}, disable_request_body_buffering: true}`, "disabled: true"},
		{"typed_per_filter_config:\n                envoy.filters.http.cors:", "typed_per_filter_config:\n                sallyport.cors:"},
	}
	for _, c := range []struct {
		file  string
		edits [][2]string
		want  []string // nil: whatever the file has
		code  int
	}{
		{"edge.yaml", nil, nil, 0},
		{"sidecar.yaml", nil, nil, 0},
		{"demo.yaml", nil, []string{`unchecked-listener listener "ungated"`}, 1},
		{"sidecar.yaml", sick, []string{
			`caller-unproved listener "inbound"`, `descriptor-vanishes listener "inbound"`, `descriptor-without-limit listener "inbound"`, `descriptor-without-limit listener "inbound"`,
			`descriptor-without-limit listener "inbound"`, `escaped-slashes listener "inbound"`, `fail-open listener "inbound"`, `gate-tls-version cluster "authz"`,
			`limit-fails-open listener "inbound"`, `no-deadline listener "inbound"`, `path-not-normalized listener "inbound"`, `per-route-ignored listener "inbound"`,
			`route-cache-cleared listener "inbound"`, `service-not-here `, `unchecked-route listener "inbound"`, `underscores listener "inbound"`,
		}, 1},
	} {
		t.Run(c.file, func(t *testing.T) {
			config, admin := filledIn(t, c.file)
			for _, edit := range c.edits {
				if !strings.Contains(config, edit[0]) {
					t.Fatalf("%s has no %q", c.file, edit[0])
				}
				config = strings.Replace(config, edit[0], edit[1], 1)
			}
			path := filepath.Join(t.TempDir(), "envoy.yaml")
			write(t, path, config)
			flags := []string{"--policy", policy, "--limits", limits}
			fromFile, code := diagnosis(t, append(flags, path)...)
			if diff := cmp.Diff(c.want, fromFile); diff != "" || code != c.code {
				t.Errorf("of the file: exit %d\n%s", code, diff)
			}
			runEnvoy(t, path, admin)
			for _, query := range []string{"", "?include_eds"} {
				fromDump, code := diagnosis(t, append(flags, "http://"+local(admin)+"/config_dump"+query)...)
				// Envoy hides in a dump which service a route names, and the doctor says that it did not read it.
				hidden := func(f string) bool { return strings.HasPrefix(f, "redacted ") }
				if pins := strings.Contains(config, `{service: "orders"}, disable`); slices.ContainsFunc(fromDump, hidden) != pins {
					t.Errorf("the file names a service: %v; %q", pins, fromDump)
				}
				fromDump = slices.DeleteFunc(fromDump, hidden)
				if len(fromDump) == 0 {
					fromDump = nil
				}
				if diff := cmp.Diff(fromFile, fromDump); diff != "" || code != c.code {
					t.Errorf("of the dump: exit %d\n%s", code, diff)
				}
			}
		})
	}
}

// The demo's own policy, limits and Envoy fit each other, but for the door that is there to show what happens without a gate.
func TestDoctorOfTheDemo(t *testing.T) {
	config, _ := filledIn(t, "demo.yaml")
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	write(t, path, strings.ReplaceAll(config, "spiffe://cluster.local/", "spiffe://demo.test/"))
	found, code := diagnosis(t, "--policy", "../cmd/internal/demo/policy.yaml", "--limits", "../cmd/internal/demo/limits", path)
	if diff := cmp.Diff([]string{`unchecked-listener listener "ungated"`}, found); diff != "" || code != 1 {
		t.Errorf("exit %d\n%s", code, diff)
	}
}

// Which routes are not checked, Envoy shows: what the doctor calls unchecked is what passes while the gate is away.
func TestDoctorKnowsWhichRoutesAreChecked(t *testing.T) {
	const (
		perRoute = `{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, %s}`
		wrapper  = `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, %s}`
	)
	forms := map[string]string{
		"nothing":        "",
		"settings":       fmt.Sprintf(perRoute, "check_settings: {context_extensions: {service: a}}"),
		"disabled":       fmt.Sprintf(perRoute, "disabled: true"),
		"wrapper off":    fmt.Sprintf(wrapper, "disabled: true"),
		"wrapper empty":  fmt.Sprintf(wrapper, "config: {}"),
		"wrapper inside": fmt.Sprintf(wrapper, "config: "+fmt.Sprintf(perRoute, "disabled: true")),
	}
	upstream := newUpstream(t)
	for _, disabled := range []bool{false, true} {
		d := door{admin: freePort(t), listen: freePort(t), upstream: portIn(upstream.Listener.Addr()), filter: fmt.Sprintf("disabled: %v", disabled)}
		for _, ofHost := range slices.Sorted(maps.Keys(forms)) {
			for _, ofRoute := range slices.Sorted(maps.Keys(forms)) {
				d.hosts = append(d.hosts, vhost(fmt.Sprintf("h%d.example", len(d.hosts)), forms[ofHost], forms[ofRoute]))
			}
		}
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		write(t, path, d.config())
		runEnvoy(t, path, d.admin)
		passed := 0
		for i, host := range d.hosts {
			status := askHost(t, d.listen, fmt.Sprintf("h%d.example", i), "")
			one := d
			one.hosts = []string{host}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			write(t, file, one.config())
			found, _ := diagnosis(t, file)
			unchecked := slices.Contains(found, `unchecked-route listener "a"`)
			if status == http.StatusOK {
				passed++
			}
			if unchecked != (status == http.StatusOK) || status != http.StatusOK && status != http.StatusServiceUnavailable {
				t.Errorf("filter disabled %v, %s: Envoy answers %d, the doctor calls it unchecked: %v", disabled, host, status, unchecked)
			}
		}
		if passed == 0 || passed == len(d.hosts) {
			t.Errorf("%d of %d passed", passed, len(d.hosts))
		}
	}
}

// Why the doctor refuses a virtual host that several services share: a port or a final dot, which the gate cuts, takes a request out of the
// virtual host of its name and into `*`.
func TestHostsThatEnterAnotherVirtualHost(t *testing.T) {
	upstream := newUpstream(t)
	other := `{name: other, domains: ["*"], ` + setting(`{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}`) + ` routes: [{match: {prefix: /}, route: {cluster: up}}]}`
	d := door{admin: freePort(t), listen: freePort(t), upstream: portIn(upstream.Listener.Addr()), hosts: []string{vhost("a.example", "", ""), other}}
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	write(t, path, d.config())
	runEnvoy(t, path, d.admin)
	for host, want := range map[string]int{
		"a.example": http.StatusServiceUnavailable, "A.EXAMPLE": http.StatusServiceUnavailable, // checked, and the gate is away
		"a.example.": http.StatusOK, "a.example:81": http.StatusOK, "b.example": http.StatusOK,
	} {
		if got := askHost(t, d.listen, host, ""); got != want {
			t.Errorf("%s: %d, want %d", host, got, want)
		}
	}
}

func setting(form string) string {
	if form == "" {
		return ""
	}
	return "typed_per_filter_config: {envoy.filters.http.ext_authz: " + form + "},"
}

// door is a connection manager that asks a gate about everything.
type door struct {
	admin, listen  int
	upstream, gate string // ports; "" is a gate that is away
	filter         string // settings of the filter
	own            string // settings of its check
	hosts          []string
}

func (d door) config() string {
	endpoints := "[]"
	if d.gate != "" {
		endpoints = fmt.Sprintf("[{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]", d.gate)
	}
	return fmt.Sprintf(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: a
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: a
          route_config: {name: a, virtual_hosts: [%s]}
          http_filters:
          - name: envoy.filters.http.ext_authz
            %s
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              grpc_service: {envoy_grpc: {cluster_name: gate}, timeout: 5s}
              status_on_error: {code: ServiceUnavailable}
              %s
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: gate
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: gate, endpoints: %s}
  - name: up
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]}
`, d.admin, d.listen, strings.Join(d.hosts, ", "), d.filter, d.own, endpoints, d.upstream)
}

// vhost is a virtual host whose name is its domain, with settings of the check on itself and on its route.
func vhost(name, ofHost, ofRoute string) string {
	return fmt.Sprintf("{name: %s, domains: [%s], %s routes: [{match: {prefix: /}, route: {cluster: up}, %s}]}", name, name, setting(ofHost), setting(ofRoute))
}

// bodyGate allows everything and remembers how much of a body it was shown.
type bodyGate struct {
	authv3.UnimplementedAuthorizationServer
	shown atomic.Int64
}

func (g *bodyGate) Check(_ context.Context, req *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	request := req.GetAttributes().GetRequest().GetHttp()
	g.shown.Store(int64(len(request.GetBody()) + len(request.GetRawBody())))
	return &authv3.CheckResponse{Status: &statuspb.Status{}}, nil
}

// Which settings of bodies are in force, Envoy shows: what the doctor says of every request's body is what the gate is shown.
func TestDoctorKnowsWhoSeesBodies(t *testing.T) {
	const perRoute = `{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {%s}}`
	forms := map[string]string{
		"nothing":  "",
		"service":  fmt.Sprintf(perRoute, "context_extensions: {service: a}"),
		"body":     fmt.Sprintf(perRoute, "with_request_body: {max_request_bytes: 100, allow_partial_message: true}"),
		"no body":  fmt.Sprintf(perRoute, "disable_request_body_buffering: true"),
		"a config": `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}`,
	}
	gate := &bodyGate{}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, gate)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }() // ends with the test
	defer server.Stop()
	upstream := newUpstream(t)
	for _, own := range []string{"", "with_request_body: {max_request_bytes: 100, allow_partial_message: true}"} {
		d := door{admin: freePort(t), listen: freePort(t), upstream: portIn(upstream.Listener.Addr()), gate: portIn(listener.Addr()), own: own}
		for _, ofHost := range slices.Sorted(maps.Keys(forms)) {
			for _, ofRoute := range slices.Sorted(maps.Keys(forms)) {
				d.hosts = append(d.hosts, vhost(fmt.Sprintf("h%d.example", len(d.hosts)), forms[ofHost], forms[ofRoute]))
			}
		}
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		write(t, path, d.config())
		runEnvoy(t, path, d.admin)
		seen := 0
		for i, host := range d.hosts {
			gate.shown.Store(-1)
			status := askHost(t, d.listen, fmt.Sprintf("h%d.example", i), "a body")
			shown := gate.shown.Load()
			one := d
			one.hosts = []string{host}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			write(t, file, one.config())
			found, _ := diagnosis(t, file)
			if told := slices.Contains(found, `body-everywhere listener "a"`); told != (shown > 0) || status != http.StatusOK {
				t.Errorf("%q, %s: status %d, the gate is shown %d bytes, the doctor says so: %v", own, host, status, shown, told)
			}
			if shown > 0 {
				seen++
			}
		}
		if seen == 0 || seen == len(d.hosts) {
			t.Errorf("%d of %d bodies were shown", seen, len(d.hosts))
		}
	}
}

func portIn(address net.Addr) string { return strconv.Itoa(address.(*net.TCPAddr).Port) }

func askHost(t *testing.T, port int, host, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+local(port)+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// What other filters and early changes of headers write, Envoy believes, and the doctor says so of the same file.
func TestDoctorKnowsWhatOthersWrite(t *testing.T) {
	admin, listen := freePort(t), freePort(t)
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	write(t, path, fmt.Sprintf(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
  - name: a
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: a
          use_remote_address: true
          xff_num_trusted_hops: 1
          early_header_mutation_extensions:
          - name: e
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations: [{append: {header: {key: x-forwarded-for, value: "%%REQ(x-evil)%%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]
          route_config:
            virtual_hosts:
            - name: a
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 200}
                response_headers_to_add:
                - {header: {key: address, value: "%%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%%"}}
                - {header: {key: who, value: "%%DYNAMIC_METADATA(envoy.filters.http.ext_authz:who)%%"}}
                - {header: {key: plan, value: "%%DYNAMIC_METADATA(envoy.filters.http.ext_authz:plan)%%"}}
          http_filters:
          - {name: check, disabled: true, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, grpc_service: {envoy_grpc: {cluster_name: authz}}}}
          - {name: set, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: envoy.filters.http.ext_authz, value: {who: first, plan: free}}]}}
          - name: copy
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
              request_rules: [{header: x-who, on_header_present: {metadata_namespace: envoy.filters.http.ext_authz, key: who}}]
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
`, admin, listen))
	runEnvoy(t, path, admin)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/", listen), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"X-Evil": {"192.0.2.99"}, "X-Who": {"somebody"}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := []string{resp.Header.Get("address"), resp.Header.Get("who"), resp.Header.Get("plan")}
	if !slices.Equal(got, []string{"192.0.2.99", "somebody", "free"}) {
		t.Errorf("Envoy believes %q", got)
	}
	found, _ := diagnosis(t, path)
	for _, id := range []string{"metadata-forged", "forwarded-for-changed"} {
		if !slices.Contains(found, id+` listener "a"`) {
			t.Errorf("%s is not in %q", id, found)
		}
	}
}

// A listener for statistics that goes by a prefix, and does not normalize paths, leads to all of the admin interface, which does.
func TestDoctorKnowsWhereDotSegmentsLead(t *testing.T) {
	for _, c := range []struct {
		setting, match string
		open           bool
	}{
		{"stat_prefix: stats", "prefix: /stats/prometheus", true},
		{"stat_prefix: stats", "path: /stats/prometheus", false},
		{"stat_prefix: stats, normalize_path: true", "prefix: /stats/prometheus", false},
	} {
		admin, listen := freePort(t), freePort(t)
		path := filepath.Join(t.TempDir(), "envoy.yaml")
		write(t, path, fmt.Sprintf(`admin: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}}
static_resources:
  clusters:
  - {name: stats, type: STATIC, load_assignment: {cluster_name: stats, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}}}]}]}}
  listeners:
  - name: a
    address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
    filter_chains:
    - filters:
      - name: h
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, %[3]s,
          route_config: {virtual_hosts: [{name: a, domains: ["*"], routes: [{match: {%[4]s}, route: {cluster: stats}}]}]},
          http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}
`, admin, listen, c.setting, c.match))
		runEnvoy(t, path, admin)
		if status, _ := get(local(listen), "/stats/prometheus"); status != http.StatusOK {
			t.Errorf("%s, %s: statistics are %d", c.setting, c.match, status)
		}
		if status, _ := get(local(listen), "/stats/prometheus/../../server_info"); (status == http.StatusOK) != c.open {
			t.Errorf("%s, %s: the admin interface is %d", c.setting, c.match, status)
		}
		out, err := exec.Command(sallyport(t), "envoy", "doctor", path).Output()
		if err != nil || !strings.Contains(string(out), "note: own-listener") || strings.Contains(string(out), "quitquitquit") != c.open {
			t.Errorf("%s, %s: %v\n%s", c.setting, c.match, err, out)
		}
	}
}
