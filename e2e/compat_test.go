package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// reference is the binary, run by the name and with the environment of envoyproxy/ratelimit.
type reference struct {
	*process
	grpc, http, debug int
}

// runReference starts the binary through a link named ratelimit, as the image has it. The variables of the test come on top of
// those that keep it on loopback and on ports of its own.
func runReference(t *testing.T, environ ...string) *reference {
	t.Helper()
	link := filepath.Join(t.TempDir(), "ratelimit")
	if err := os.Symlink(sallyport(t), link); err != nil {
		t.Fatal(err)
	}
	r := &reference{grpc: freePort(t), http: freePort(t), debug: freePort(t)}
	args := []string{
		"SALLYPORT_DRAIN_DELAY=1s", "HOST=127.0.0.1", "PORT=" + strconv.Itoa(r.http), "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + strconv.Itoa(r.grpc),
		"DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + strconv.Itoa(r.debug),
	}
	args = append(append(args, environ...), link)
	r.process = start(t, "ratelimit", "/usr/bin/env", args...)
	eventually(t, "/healthcheck says OK", func() bool {
		if r.ended() {
			t.Fatalf("it ended:\n%s", r.output.String())
		}
		code, body := get(local(r.http), "/healthcheck")
		return code == http.StatusOK && body == "OK"
	})
	return r
}

// json asks over HTTP.
func (r *reference) json(body string) (int, string) {
	resp, err := client.Post("http://"+local(r.http)+"/json", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

// statsdServer takes statistics over TCP, and keeps the lines.
type statsdServer struct {
	port  int
	mu    sync.Mutex
	lines []string
}

func newStatsdServer(t *testing.T) *statsdServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &statsdServer{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.read(conn)
		}
	}()
	return s
}

func (s *statsdServer) read(conn net.Conn) {
	defer conn.Close()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		s.mu.Lock()
		s.lines = append(s.lines, lines.Text())
		s.mu.Unlock()
	}
}

func (s *statsdServer) has(line string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.lines, func(l string) bool { return strings.HasPrefix(l, line) })
}

// referenceLimits is in the form of the reference's example.
const referenceLimits = `domain: rl
descriptors:
  - key: source_cluster
    value: proxy
    descriptors:
      - key: destination_cluster
        value: mock
        rate_limit:
          unit: day
          requests_per_unit: 2
  - key: foo
    rate_limit:
      unit: hour
      requests_per_unit: 1
`

// frontProxy is an Envoy as the reference's example has it: one rate limit filter, and a route whose actions name two clusters.
const frontProxy = `node: {cluster: proxy, id: proxy}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ADMIN}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: FRONT}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          http_filters:
          - name: envoy.filters.http.ratelimit
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
              domain: rl
              timeout: 5s
              failure_mode_deny: true
              enable_x_ratelimit_headers: DRAFT_VERSION_03
              rate_limit_service:
                transport_api_version: V3
                grpc_service: {envoy_grpc: {cluster_name: ratelimit}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /test}
                route:
                  cluster: mock
                  rate_limits: [{actions: [{source_cluster: {}}, {destination_cluster: {}}]}]
              - match: {prefix: /header}
                route:
                  cluster: mock
                  rate_limits: [{actions: [{request_headers: {header_name: foo, descriptor_key: foo}}]}]
  clusters:
  - name: mock
    type: STATIC
    load_assignment: {cluster_name: mock, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: UPSTREAM}}}}]}]}
  - name: ratelimit
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: ratelimit, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: RATELIMIT}}}}]}]}
`

// startFront runs an Envoy in front of an upstream and a rate limit service.
func startFront(t *testing.T, ratelimit int, to *upstream) int {
	t.Helper()
	admin, front := freePort(t), freePort(t)
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	write(t, path, strings.NewReplacer(
		"ADMIN", strconv.Itoa(admin), "FRONT", strconv.Itoa(front), "UPSTREAM", strconv.Itoa(portOf(t, to.URL)), "RATELIMIT", strconv.Itoa(ratelimit),
	).Replace(frontProxy))
	p := start(t, "envoy", tool(t, "SALLYPORT_ENVOY", "tools/bin/envoy"), "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--disable-hot-restart")
	eventually(t, "envoy is ready", func() bool {
		if p.ended() {
			t.Fatalf("envoy ended:\n%s", p.output.String())
		}
		code, _ := get(local(admin), "/ready")
		return code == http.StatusOK
	})
	return front
}

// The docker-compose example of envoyproxy/ratelimit with its image's name changed and nothing else: its environment, its limits, its
// Redis, its statsd and an Envoy in front.
func TestCompatComposeExample(t *testing.T) {
	valkey, statsd := storetest.RunValkey(t), newStatsdServer(t)
	data := t.TempDir()
	config := filepath.Join(data, "ratelimit", "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "config.yaml"), referenceLimits)
	r := runReference(t, "USE_STATSD=true", "STATSD_HOST=127.0.0.1", "STATSD_PORT="+strconv.Itoa(statsd.port), "LOG_LEVEL=debug", "REDIS_SOCKET_TYPE=tcp",
		"REDIS_URL="+valkey.Addr, "RUNTIME_ROOT="+data, "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_WATCH_ROOT=false", "STATS_FLUSH_INTERVAL=100ms")
	to := newUpstream(t)
	front := startFront(t, r.grpc, to)

	// Two a day, and then 429, with the headers that Envoy writes of the statuses.
	for i, want := range []int{200, 200, 429, 429} {
		resp, err := client.Get("http://" + local(front) + "/test")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("request %d: %d, want %d", i+1, resp.StatusCode, want)
		}
		if limit, left := resp.Header.Get("x-ratelimit-limit"), resp.Header.Get("x-ratelimit-remaining"); limit != "2, 2;w=86400" || left != strconv.Itoa(max(0, 1-i)) {
			t.Errorf("request %d: x-ratelimit-limit %q, remaining %q", i+1, limit, left)
		}
	}
	if got := to.calls.Load(); got != 2 {
		t.Errorf("the upstream was asked %d times", got)
	}

	// 8080: /json, by the same counters, with the reference's statuses.
	for _, tt := range []struct {
		body string
		want int
		says string
	}{
		{`{"domain":"rl","descriptors":[{"entries":[{"key":"foo","value":"a"}]}]}`, 200, `"OK"`},
		{`{"domain":"rl","descriptors":[{"entries":[{"key":"foo","value":"a"}]}]}`, 429, `"OVER_LIMIT"`},
		{`{"domain":"unheard-of","descriptors":[{"entries":[{"key":"foo"}]}]}`, 200, `"OK"`},
		{`{"domain":"rl"}`, 400, "Bad Request"},
		{`{"domain":`, 400, "Bad Request"},
	} {
		if code, body := r.json(tt.body); code != tt.want || !strings.Contains(body, tt.says) {
			t.Errorf("/json %s: %d %s, want %d", tt.body, code, body, tt.want)
		}
	}

	// 6070: the index, the limits and the statistics, and no profiles.
	for path, want := range map[string]string{
		"/":         "/rlconfig: print out the currently loaded configuration for debugging",
		"/rlconfig": "rl.source_cluster_proxy.destination_cluster_mock: unit=DAY requests_per_unit=2, shadow_mode: false, quota_mode: false\n",
		"/stats":    "ratelimit.service.rate_limit.rl.source_cluster_proxy.destination_cluster_mock.total_hits: 4\n",
	} {
		if code, body := get(local(r.debug), path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get(local(r.debug), "/debug/pprof/"); code != 404 {
		t.Errorf("profiles without a flag: %d", code)
	}

	// statsd: the names of the reference.
	for _, name := range []string{
		"rate_limit.rl.source_cluster_proxy.destination_cluster_mock.over_limit:", "rate_limit.rl.source_cluster_proxy.destination_cluster_mock.within_limit:",
		"rate_limit.unheard-of.domain_not_found:1|c", "call.should_rate_limit.service_error:1|c", "config_load_success:1|c",
	} {
		eventually(t, "statsd hears of "+name, func() bool { return statsd.has("ratelimit.service." + name) })
	}
	for _, name := range []string{"ratelimit_server.ShouldRateLimit.total_requests:", "ratelimit_server.ShouldRateLimit.response_time:", "ratelimit.redis_pool.cx_active:"} {
		eventually(t, "statsd hears of "+name, func() bool { return statsd.has(name) })
	}

	// 8081: health by both names, and the limits of a file that changed.
	conn := dial(t, r.grpc)
	for _, name := range []string{"", "ratelimit"} {
		resp, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v %v", name, resp, err)
		}
	}
	write(t, filepath.Join(config, "config.yaml"), strings.Replace(referenceLimits, "requests_per_unit: 1", "requests_per_unit: 7", 1))
	eventually(t, "the new limit is listed", func() bool {
		_, body := get(local(r.debug), "/rlconfig")
		return strings.Contains(body, "rl.foo: unit=HOUR requests_per_unit=7,")
	})
	write(t, filepath.Join(config, "config.yaml"), "domain: rl\nnonsense: 1\n")
	eventually(t, "the bad file is counted", func() bool { return statsd.has("ratelimit.service.config_load_error:") })
	if _, body := get(local(r.debug), "/rlconfig"); !strings.Contains(body, "rl.foo: unit=HOUR requests_per_unit=7,") {
		t.Errorf("a bad file took the limits away: %s", body)
	}

	// SIGTERM: the health check says no before anything ends.
	r.signal(terminate)
	eventually(t, "/healthcheck says no", func() bool {
		code, _ := get(local(r.http), "/healthcheck")
		return code == http.StatusInternalServerError
	})
	if code := r.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The deployment that Envoy Gateway makes, with files in place of its management server: TLS 1.2 without client certificates, Prometheus
// on a port of its own, three probes on /healthcheck, and a start before any limits are there.
func TestCompatEnvoyGatewayDeployment(t *testing.T) {
	valkey := storetest.RunValkey(t)
	data, scrape := t.TempDir(), freePort(t)
	certificate, key := serverCertificate(t, data)
	r := runReference(t, "RUNTIME_ROOT="+data, "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_IGNOREDOTFILES=true", "RUNTIME_WATCH_ROOT=false", "LOG_LEVEL=info", "USE_STATSD=false",
		"CONFIG_TYPE=FILE", "CONFIG_GRPC_XDS_SERVER_URL=envoy-gateway:18001", "CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit", "GRPC_SERVER_USE_TLS=true",
		"GRPC_SERVER_TLS_CERT="+certificate, "GRPC_SERVER_TLS_KEY="+key, "GRPC_SERVER_TLS_CA_CERT="+certificate, "CONFIG_GRPC_XDS_SERVER_USE_TLS=true",
		"CONFIG_GRPC_XDS_CLIENT_TLS_CERT="+certificate, "CONFIG_GRPC_XDS_CLIENT_TLS_KEY="+key, "CONFIG_GRPC_XDS_SERVER_TLS_CACERT="+certificate,
		"FORCE_START_WITHOUT_INITIAL_CONFIG=true", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL="+valkey.Addr, "USE_PROMETHEUS=true",
		"PROMETHEUS_ADDR=127.0.0.1:"+strconv.Itoa(scrape), "PROMETHEUS_MAPPER_YAML=/etc/statsd-exporter/conf.yaml")

	// The line of what has no effect here, which the gateway sets all the same.
	lines := slices.DeleteFunc(strings.Split(r.output.String(), "\n"), func(line string) bool { return !strings.Contains(line, "no effect") })
	if len(lines) != 1 || !strings.Contains(lines[0], "GRPC_SERVER_TLS_CA_CERT: ") || !strings.Contains(lines[0], "PROMETHEUS_MAPPER_YAML: ") {
		t.Errorf("lines about what has no effect: %q", lines)
	}

	pem, err := os.ReadFile(certificate)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := grpc.NewClient(local(r.grpc), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS12})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask := func() (*rlsv3.RateLimitResponse, error) {
		return rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{
			Domain: "rl", Descriptors: []*ratelimitv3.RateLimitDescriptor{{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "foo", Value: "a"}}}},
		})
	}
	if _, err := ask(); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "no rate limit configuration loaded") {
		t.Errorf("before any limits: %v", err)
	}

	// A ConfigMap arrives: its files once, by their links, and its dot files not at all.
	config := filepath.Join(data, "ratelimit", "config")
	version := filepath.Join(config, "..2026_11_25")
	if err := os.MkdirAll(version, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(version, "config.yaml"), referenceLimits)
	write(t, filepath.Join(config, ".editor.swp"), "domain: rl\n")
	for _, link := range [][2]string{{"..2026_11_25", "..data"}, {"..data/config.yaml", "config.yaml"}} {
		if err := os.Symlink(link[0], filepath.Join(config, link[1])); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the limits are loaded", func() bool { _, body := get(local(r.debug), "/rlconfig"); return strings.Contains(body, "rl.foo: ") })
	for i, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		if resp, err := ask(); err != nil || resp.GetOverallCode() != want {
			t.Errorf("call %d: %v %v, want %v", i+1, resp, err, want)
		}
	}
	code, body := get(local(scrape), "/metrics")
	for _, want := range []string{
		`ratelimit_service_rate_limit_total_hits{domain="rl",key1="foo",key2=""} 2`, `ratelimit_service_rate_limit_over_limit{domain="rl",key1="foo",key2=""} 1`,
		`ratelimit_service_should_rate_limit_error{err_type="service_error"} 1`, `ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 3`,
		"ratelimit_service_config_load_success 1", "ratelimit_service_response_time_seconds_count",
	} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, and no %s in:\n%s", code, want, grepLines(body, "ratelimit_service"))
		}
	}

	// Redis away: the health check stays, the call is an error as the reference's is.
	valkey.Kill()
	eventually(t, "the store's failure is an error", func() bool { _, err := ask(); return status.Code(err) == codes.Unknown })
	if code, _ := get(local(r.http), "/healthcheck"); code != http.StatusOK {
		t.Errorf("/healthcheck without Redis: %d", code)
	}
	r.signal(terminate)
	if code := r.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// The same deployment as Envoy Gateway makes it, with the limits from its management server. Only the server's address differs, and so the
// name in its certificate must be said.
func TestCompatEnvoyGatewayXDS(t *testing.T) {
	valkey, certs := storetest.RunValkey(t), t.TempDir()
	server := newGateway(t, gatewayFiles(t, certs))
	file := func(name string) string { return filepath.Join(certs, name) }
	r := runReference(t, "RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_IGNOREDOTFILES=true", "RUNTIME_WATCH_ROOT=false", "LOG_LEVEL=info", "USE_STATSD=false",
		"CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_URL="+local(server.port), "CONFIG_GRPC_XDS_SERVER_TLS_SAN=envoy-gateway", "CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit",
		"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT="+file("tls.crt"), "GRPC_SERVER_TLS_KEY="+file("tls.key"), "GRPC_SERVER_TLS_CA_CERT="+file("ca.crt"),
		"CONFIG_GRPC_XDS_SERVER_USE_TLS=true", "CONFIG_GRPC_XDS_CLIENT_TLS_CERT="+file("tls.crt"), "CONFIG_GRPC_XDS_CLIENT_TLS_KEY="+file("tls.key"),
		"CONFIG_GRPC_XDS_SERVER_TLS_CACERT="+file("ca.crt"), "FORCE_START_WITHOUT_INITIAL_CONFIG=true", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL="+valkey.Addr)
	pem, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := grpc.NewClient(local(r.grpc), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "envoy-ratelimit"})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ask := func() (*rlsv3.RateLimitResponse, error) {
		return rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: gatewayDomain, Descriptors: []*ratelimitv3.RateLimitDescriptor{{
			Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: gatewayRoute, Value: gatewayRoute}, {Key: "rule-0-match-0", Value: "rule-0-match-0"}},
		}}})
	}
	if _, err := ask(); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "no rate limit configuration loaded") {
		t.Errorf("before any limits: %v", err)
	}
	server.limited("1", configv3.RateLimitUnit_HOUR, 1)
	eventually(t, "the limits are there", func() bool {
		_, body := get(local(r.debug), "/rlconfig")
		return strings.Contains(body, "requests_per_unit=1,")
	})
	for i, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		if resp, err := ask(); err != nil || resp.GetOverallCode() != want {
			t.Errorf("call %d: %v %v, want %v", i+1, resp, err, want)
		}
	}
	if _, body := get(local(r.debug), "/stats"); !strings.Contains(body, "ratelimit.service.config_load_success: 1\n") {
		t.Errorf("/stats: %s", grepLines(body, "config_load"))
	}
}

// The forms of REDIS_URL reach their stores, with a password; and limits per second stand in a store of their own.
func TestCompatStores(t *testing.T) {
	data := t.TempDir()
	config := filepath.Join(data, "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "config.yaml"), referenceLimits+"  - key: fast\n    rate_limit: {unit: second, requests_per_unit: 1000}\n")
	single, second := storetest.RunValkey(t, "--requirepass", "word"), storetest.RunValkey(t, "--user", "gate", "on", ">word", "~*", "+@all")
	cluster := storetest.RunCluster(t, 3, 0)
	for name, environ := range map[string][]string{
		"single, and another per second": {"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + single.Addr, "REDIS_AUTH=word", "REDIS_PERSECOND=true",
			"REDIS_PERSECOND_SOCKET_TYPE=tcp", "REDIS_PERSECOND_URL=" + second.Addr, "REDIS_PERSECOND_AUTH=gate:word"},
		"cluster": {"REDIS_TYPE=CLUSTER", "REDIS_URL=" + strings.Join(cluster.Addrs(), ",")},
	} {
		t.Run(name, func(t *testing.T) {
			r := runReference(t, append(environ, "USE_STATSD=false", "RUNTIME_ROOT="+data, "RUNTIME_WATCH_ROOT=false")...)
			const both = `{"domain":"rl","descriptors":[{"entries":[{"key":"foo","value":"a"}]},{"entries":[{"key":"fast","value":"b"}]}]}`
			for i, want := range []int{200, 429} {
				if code, body := r.json(both); code != want || strings.Count(body, "currentLimit") != 2 {
					t.Errorf("call %d: %d %s", i+1, code, body)
				}
			}
			if _, body := get(local(r.debug), "/stats"); name != "cluster" && !strings.Contains(body, "ratelimit.redis_per_second_pool.cx_total: ") {
				t.Errorf("/stats: %s", grepLines(body, "pool"))
			}
		})
	}
	// A counter of a second is soon gone, and the server remembers that it was asked to count.
	client := redis.NewClient(&redis.Options{Addr: second.Addr, Username: "gate", Password: "word", Protocol: 2})
	defer client.Close()
	if stats, err := client.Info(t.Context(), "commandstats").Result(); err != nil || !strings.Contains(stats, "cmdstat_incrby") {
		t.Errorf("the store per second counted nothing: %v\n%s", err, stats)
	}
}

// The command of docs/compat.md is a service.
func TestDocumentedCompatCommand(t *testing.T) {
	page, err := os.ReadFile("../docs/compat.md")
	if err != nil {
		t.Fatal(err)
	}
	valkey, data := storetest.RunValkey(t), t.TempDir()
	config := filepath.Join(data, "ratelimit", "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "config.yaml"), referenceLimits)
	count := 0
	for _, found := range block.FindAllStringSubmatch(string(page), -1) {
		if found[1] != "console" {
			t.Fatalf("a block of %s is run by no test", found[1])
		}
		for line := range strings.Lines(found[2]) {
			words := strings.Fields(strings.NewReplacer("127.0.0.1:6379", valkey.Addr, "/data", data, "sallyport", sallyport(t)).Replace(line))
			count++
			at := freePort(t)
			around := []string{"HOST=127.0.0.1", "PORT=" + strconv.Itoa(at), "GRPC_HOST=127.0.0.1", "GRPC_PORT=0", "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=0", "SALLYPORT_DRAIN_DELAY=0s"}
			p := start(t, "ratelimit", "/usr/bin/env", append(around, words...)...)
			eventually(t, "it is healthy", func() bool { code, _ := get(local(at), "/healthcheck"); return code == http.StatusOK })
			if code, body := (&reference{http: at}).json(`{"domain":"rl","descriptors":[{"entries":[{"key":"foo","value":"a"}]}]}`); code != http.StatusOK || !strings.Contains(body, "currentLimit") {
				t.Errorf("%s: %d %s", line, code, body)
			}
			p.signal(terminate)
			if code := p.wait(); code != 0 {
				t.Errorf("%s: exit code %d", line, code)
			}
		}
	}
	if count == 0 {
		t.Error("no command was found")
	}
}

func grepLines(text, part string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// What of the health check the environment decides, and how a socket stands in place of a port.
func TestCompatHealthAndSocket(t *testing.T) {
	valkey := storetest.RunValkey(t)
	dir := t.TempDir()
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o777); err != nil { // a volume that two containers share
		t.Fatal(err)
	}
	config := filepath.Join(dir, "ratelimit", "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "config.yaml"), referenceLimits)
	socket := filepath.Join(shared, "rl.sock")
	r := runReference(t, "GRPC_UDS="+socket, "RUNTIME_ROOT="+dir, "RUNTIME_SUBDIRECTORY=ratelimit", "USE_STATSD=false", "REDIS_SOCKET_TYPE=tcp",
		"REDIS_URL="+valkey.Addr, "REDIS_HEALTH_CHECK_ACTIVE_CONNECTION=true", "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED=true")
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	resp, err := rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(t.Context(), whoIs("x"))
	if err != nil || resp.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("over the socket: %v %v", resp, err)
	}
	valkey.Kill()
	eventually(t, "gRPC's health service says no without Redis", func() bool {
		resp, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "ratelimit"})
		return err == nil && resp.GetStatus() == grpc_health_v1.HealthCheckResponse_NOT_SERVING
	})
	eventually(t, "/healthcheck says no without Redis", func() bool {
		code, _ := get(local(r.http), "/healthcheck")
		return code == http.StatusInternalServerError
	})
}

// Without limits a process that must have some is not healthy, and one that need not wait for them ends.
func TestCompatWithoutLimits(t *testing.T) {
	dir := t.TempDir()
	environ := func(more ...string) []string {
		return append([]string{"USE_STATSD=false", "RUNTIME_ROOT=" + dir, "RUNTIME_SUBDIRECTORY=none", "HOST=127.0.0.1", "GRPC_HOST=127.0.0.1", "DEBUG_HOST=127.0.0.1",
			"SALLYPORT_STORE=memory", "SALLYPORT_DRAIN_DELAY=0s", "GRPC_PORT=0", "DEBUG_PORT=0"}, more...)
	}
	link := filepath.Join(t.TempDir(), "ratelimit")
	if err := os.Symlink(sallyport(t), link); err != nil {
		t.Fatal(err)
	}
	p := start(t, "ratelimit", "/usr/bin/env", append(environ("PORT=0"), link)...)
	if code := p.wait(); code != 2 || !strings.Contains(p.output.String(), filepath.Join(dir, "none")) {
		t.Errorf("exit code %d: %s", code, p.output.String())
	}
	port := freePort(t)
	start(t, "ratelimit", "/usr/bin/env", append(environ("PORT="+strconv.Itoa(port), "FORCE_START_WITHOUT_INITIAL_CONFIG=true", "HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED=true"), link)...)
	eventually(t, "/healthcheck says no", func() bool {
		code, _ := get(local(port), "/healthcheck")
		return code == http.StatusInternalServerError
	})
	config := filepath.Join(dir, "none", "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(config, "a.yaml"), referenceLimits)
	eventually(t, "/healthcheck says OK with limits", func() bool { code, _ := get(local(port), "/healthcheck"); return code == http.StatusOK })
}
