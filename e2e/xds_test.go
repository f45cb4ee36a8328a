package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// gatewayFiles writes what Envoy Gateway mounts into its rate limit service: ca.crt, tls.crt and tls.key; and returns the server's own
// configuration, which asks for a client of the same authority.
func gatewayFiles(t *testing.T, dir string) *tls.Config {
	t.Helper()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	pemFile := func(name, kind string, der []byte) {
		write(t, filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	authority := key()
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "envoy-gateway"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &authority.PublicKey, authority)
	if err != nil {
		t.Fatal(err)
	}
	pemFile("ca.crt", "CERTIFICATE", der)
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, dns := range map[string]string{"server": "envoy-gateway", "tls": "envoy-ratelimit"} {
		leafKey := key()
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{dns}, NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		der, err := x509.CreateCertificate(rand.Reader, leaf, signed, &leafKey.PublicKey, authority)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(leafKey)
		if err != nil {
			t.Fatal(err)
		}
		pemFile(name+".crt", "CERTIFICATE", der)
		pemFile(name+".key", "PRIVATE KEY", pkcs8)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(signed)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

// gateway is the part of Envoy Gateway that sends limits: go-control-plane's ADS server over a cache of snapshots.
type gateway struct {
	t      *testing.T
	cache  cachev3.SnapshotCache
	tls    *tls.Config
	port   int
	server *grpc.Server
}

func newGateway(t *testing.T, config *tls.Config) *gateway {
	t.Helper()
	g := &gateway{t: t, cache: cachev3.NewSnapshotCache(false, cachev3.IDHash{}, nil), tls: config, port: freePort(t)}
	g.start()
	t.Cleanup(func() { g.server.Stop() })
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	listener, err := net.Listen("tcp", local(g.port))
	if err != nil {
		g.t.Fatal(err)
	}
	g.server = grpc.NewServer(grpc.Creds(credentials.NewTLS(g.tls)))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g.server, serverv3.NewServer(g.t.Context(), g.cache, nil))
	go func() { _ = g.server.Serve(listener) }()
}

// limited is what Envoy Gateway makes of a BackendTrafficPolicy: so many requests of a route's rule an hour.
func (g *gateway) limited(version string, unit configv3.RateLimitUnit, requests uint32) {
	g.t.Helper()
	config := &configv3.RateLimitConfig{Name: gatewayDomain, Domain: gatewayDomain, Descriptors: []*configv3.RateLimitDescriptor{{
		Key: gatewayRoute, Value: gatewayRoute, Descriptors: []*configv3.RateLimitDescriptor{{
			Key: "rule-0-match-0", Value: "rule-0-match-0", RateLimit: &configv3.RateLimitPolicy{Unit: unit, RequestsPerUnit: requests},
		}},
	}}}
	snapshot, err := cachev3.NewSnapshot(version, map[string][]types.Resource{"type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig": {config}})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.cache.SetSnapshot(g.t.Context(), "envoy-ratelimit", snapshot); err != nil {
		g.t.Fatal(err)
	}
}

const (
	gatewayDomain = "default/eg/http"
	gatewayRoute  = "httproute/default/backend/rule/0/match/0/www_example_com"
)

// asked is what the gate says about one request of the route.
func (g *gate) asked(t *testing.T) *rlsv3.RateLimitResponse_DescriptorStatus {
	t.Helper()
	resp, err := rlsv3.NewRateLimitServiceClient(dial(t, g.listen)).ShouldRateLimit(context.Background(), routeRequest())
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetStatuses()[0]
}

// routeRequest is what Envoy asks for one request of the route.
func routeRequest() *rlsv3.RateLimitRequest {
	return &rlsv3.RateLimitRequest{Domain: gatewayDomain, Descriptors: []*ratelimitv3.RateLimitDescriptor{{
		Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: gatewayRoute, Value: gatewayRoute}, {Key: "rule-0-match-0", Value: "rule-0-match-0"}},
	}}}
}

// The limits come from Envoy Gateway over mTLS, before and after an update; a bad update and a server that is away change nothing but
// what /readyz shows.
func TestLimitsFromManagementServer(t *testing.T) {
	dir := t.TempDir()
	server := newGateway(t, gatewayFiles(t, dir))
	g := launch(t, "ratelimit", freePort(t), "--audit", "off", "--xds", local(server.port), "--xds-server-name", "envoy-gateway", "--xds-retry", "100ms",
		"--xds-ca", filepath.Join(dir, "ca.crt"), "--xds-cert", filepath.Join(dir, "tls.crt"), "--xds-key", filepath.Join(dir, "tls.key"))
	shows := func(part string) string {
		t.Helper()
		_, body := get(local(g.admin), "/readyz")
		_, after, found := strings.Cut(body, `"part": "`+part+`",`)
		detail, _, _ := strings.Cut(after, "}")
		if !found {
			return ""
		}
		return detail
	}
	eventually(t, "it is connected", func() bool { return g.metric("sallyport_ratelimit_xds_connected") == 1 })
	if status, body := get(local(g.admin), "/readyz"); status == 200 || !strings.Contains(body, "xds:limits") {
		t.Errorf("ready without limits: %d %s", status, body)
	}

	server.limited("1", configv3.RateLimitUnit_HOUR, 2)
	g.ready()
	for i, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		if s := g.asked(t); s.GetCode() != want || s.GetCurrentLimit().GetRequestsPerUnit() != 2 {
			t.Errorf("request %d: %v", i+1, s)
		}
	}

	server.limited("2", configv3.RateLimitUnit_HOUR, 1000)
	eventually(t, "the update is in force", func() bool { return g.asked(t).GetCurrentLimit().GetRequestsPerUnit() == 1000 })
	if s := g.asked(t); s.GetCode() != rlsv3.RateLimitResponse_OK || s.GetLimitRemaining() > 996 {
		t.Errorf("after the update, with the count kept: %v", s)
	}

	server.limited("3", configv3.RateLimitUnit_UNKNOWN, 1)
	eventually(t, "the refusal shows", func() bool {
		return strings.Contains(shows("xds:limits"), gatewayDomain+"."+gatewayRoute+"_"+gatewayRoute+".rule-0-match-0_rule-0-match-0: invalid rate limit unit 'UNKNOWN'")
	})
	if s := g.asked(t); s.GetCurrentLimit().GetRequestsPerUnit() != 1000 || g.metric("ratelimit_service_config_load_error") != 1 {
		t.Errorf("after a bad update: %v", s)
	}

	server.server.Stop()
	eventually(t, "the loss shows", func() bool { return strings.Contains(shows("xds"), "the limits in force stay in force") })
	if status, _ := get(local(g.admin), "/readyz"); status != 200 {
		t.Errorf("/readyz without a server: %d", status)
	}
	if s := g.asked(t); s.GetCurrentLimit().GetRequestsPerUnit() != 1000 {
		t.Errorf("without a server: %v", s)
	}
	server.limited("4", configv3.RateLimitUnit_HOUR, 7)
	server.start()
	eventually(t, "the new server's limits are in force", func() bool { return g.asked(t).GetCurrentLimit().GetRequestsPerUnit() == 7 })
	if g.metric("sallyport_ratelimit_xds_version_info", `version="4"`) != 1 || shows("xds") != "" || shows("xds:limits") != "" {
		t.Errorf("recovered: %s%s", shows("xds"), shows("xds:limits"))
	}
	g.signal(terminate)
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Run as Envoy Gateway's own deployment runs its rate limit service, by a file called ratelimit and by its environment alone: it waits
// for no limits, serves TLS with the certificate that is mounted, takes the limits from Envoy Gateway and counts in Redis.
func TestEnvoyGatewayDeployment(t *testing.T) {
	dir := t.TempDir()
	server := newGateway(t, gatewayFiles(t, dir))
	store := storetest.RunValkey(t)
	metricsPort := freePort(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	r := runReference(t, // healthy without limits
		"RUNTIME_ROOT=/data", "RUNTIME_SUBDIRECTORY=ratelimit", "RUNTIME_IGNOREDOTFILES=true", "RUNTIME_WATCH_ROOT=false", "LOG_LEVEL=info", "USE_STATSD=false",
		"CONFIG_TYPE=GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_URL="+local(server.port), "CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit",
		"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT="+at("tls.crt"), "GRPC_SERVER_TLS_KEY="+at("tls.key"), "GRPC_SERVER_TLS_CA_CERT="+at("ca.crt"),
		"CONFIG_GRPC_XDS_SERVER_USE_TLS=true", "CONFIG_GRPC_XDS_CLIENT_TLS_CERT="+at("tls.crt"), "CONFIG_GRPC_XDS_CLIENT_TLS_KEY="+at("tls.key"),
		"CONFIG_GRPC_XDS_SERVER_TLS_CACERT="+at("ca.crt"), "FORCE_START_WITHOUT_INITIAL_CONFIG=true", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL="+store.Addr,
		"USE_PROMETHEUS=true", "PROMETHEUS_ADDR="+local(metricsPort), "PROMETHEUS_MAPPER_YAML=/etc/statsd-exporter/conf.yaml",
		// What Envoy Gateway does not set: its own address carries the name, and the test does not wait as long.
		"CONFIG_GRPC_XDS_SERVER_TLS_SAN=envoy-gateway", "XDS_CLIENT_BACKOFF_INITIAL_INTERVAL=100ms")
	roots := x509.NewCertPool()
	pool, err := os.ReadFile(at("ca.crt"))
	if err != nil || !roots.AppendCertsFromPEM(pool) {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(local(r.grpc), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "envoy-ratelimit"})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ask := func() (*rlsv3.RateLimitResponse, error) {
		return rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(context.Background(), routeRequest())
	}
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "no rate limit configuration loaded") {
		t.Errorf("without limits: %v", err)
	}

	server.limited("1", configv3.RateLimitUnit_HOUR, 2)
	asked := 0
	eventually(t, "the limits are in force", func() bool {
		resp, err := ask()
		if err == nil {
			asked++
		}
		return err == nil && resp.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT
	})
	if asked != 3 {
		t.Errorf("over the limit of 2 at request %d", asked)
	}
	server.limited("2", configv3.RateLimitUnit_HOUR, 100)
	eventually(t, "the update is in force", func() bool {
		resp, err := ask()
		return err == nil && resp.GetOverallCode() == rlsv3.RateLimitResponse_OK && resp.GetStatuses()[0].GetCurrentLimit().GetRequestsPerUnit() == 100
	})
	if _, list := get(local(r.debug), "/rlconfig"); !strings.Contains(list, "rule-0-match-0_rule-0-match-0: unit=HOUR requests_per_unit=100") {
		t.Errorf("/rlconfig: %s", list)
	}
	if _, body := get(local(metricsPort), "/metrics"); !strings.Contains(body, "ratelimit_service_config_load_success 2") {
		t.Errorf("/metrics does not count two loads: %s", body)
	}
	r.signal(terminate)
	if code := r.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// Without a server the gate can be ready if it is told to, and says to each request that it has no limits.
func TestReadyWithoutLimits(t *testing.T) {
	g := serve(t, "ratelimit", "--audit", "off", "--xds", local(freePort(t)), "--xds-ready-without-limits")
	_, err := rlsv3.NewRateLimitServiceClient(dial(t, g.listen)).ShouldRateLimit(context.Background(), whoIs("user|shop|alice"))
	if err == nil || !strings.Contains(err.Error(), "no rate limit configuration loaded") {
		t.Errorf("got %v", err)
	}
}

// Each command of docs/xds.md takes its limits from the server that it names.
func TestDocumentedXDSCommands(t *testing.T) {
	dir := t.TempDir()
	server := newGateway(t, gatewayFiles(t, dir))
	server.limited("1", configv3.RateLimitUnit_HOUR, 5)
	write(t, filepath.Join(dir, "token"), "Bearer x\n")
	page, err := os.ReadFile("../docs/xds.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, found := range block.FindAllStringSubmatch(string(page), -1) {
		if found[1] != "console" {
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(found[2], "\\\n", "")) {
			words := strings.Fields(line)
			if len(words) < 2 || words[0] != "sallyport" {
				t.Fatalf("%q is run by no test", line)
			}
			count++
			for i, word := range words {
				words[i] = strings.NewReplacer("/certs/", dir+"/", "/secrets/", dir+"/", "envoy-gateway:18001", local(server.port)).Replace(word)
			}
			// The name stands in the address on the page, and here in a flag.
			g := serve(t, words[1], append(words[2:], "--audit", "off", "--xds-server-name", "envoy-gateway")...)
			if s := g.asked(t); s.GetCurrentLimit().GetRequestsPerUnit() != 5 {
				t.Errorf("%q: %v", line, s)
			}
			g.kill()
		}
	}
	if count < 2 {
		t.Errorf("%d commands were found", count)
	}
}
