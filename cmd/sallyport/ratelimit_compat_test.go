package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit/compat"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"
)

// The name that a process is started by chooses what it is, wherever the file stands.
func TestRunByAnotherName(t *testing.T) {
	for argv, want := range map[string]string{
		"sallyport version": "version", "/bin/ratelimit": "ratelimit --compat", "ratelimit --help": "ratelimit --compat --help",
		"/usr/local/bin/sallyport ratelimit": "ratelimit", "/ratelimit/sallyport": "", "": "",
	} {
		if got := strings.Join(compatArgs(strings.Fields(argv)), " "); got != want {
			t.Errorf("%s: %s, want %s", argv, got, want)
		}
	}
}

// followed is what an environment makes of the flags, where those of given were set by hand.
func followed(t *testing.T, environ string, given ...string) (*ratelimitFlags, error) {
	t.Helper()
	settings, err := compat.Parse(strings.Fields(environ))
	if err != nil {
		t.Fatal(err)
	}
	f := &ratelimitFlags{Options: daemon.Options{Listen: "127.0.0.1:1", Admin: "127.0.0.1:2", LogLevel: "info", LogFormat: "text"}, store: "memory", replicas: 1, maxKeys: 1}
	f.audit.destination = "stdout"
	if err := f.follow(settings, func(flag string) bool { return slices.Contains(given, flag) }); err != nil {
		return f, err
	}
	return f, f.check()
}

// What the reference's environment means for listeners, TLS and stores.
func TestCompatSettingsOfTheProcess(t *testing.T) {
	f, err := followed(t, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []any{"0.0.0.0:8081", "0.0.0.0:6070", "0.0.0.0:8080", true, 24 * time.Hour, time.Hour, "warn", "off", "unix:///var/run/nutcracker/ratelimit.sock"}
	got := []any{f.Listen, f.Admin, f.http, f.Plaintext, f.MaxConnectionAge, f.MaxConnectionAgeGrace, f.LogLevel, f.audit.destination, f.store}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("default %d: %v, want %v", i, got[i], want[i])
		}
	}

	f, err = followed(t, "GRPC_HOST=127.0.0.1 GRPC_PORT=9 HOST= DEBUG_HOST=::1 GRPC_SERVER_USE_TLS=true GRPC_SERVER_TLS_CERT=/c GRPC_SERVER_TLS_KEY=/k GRPC_CLIENT_TLS_CACERT=/ca GRPC_CLIENT_TLS_SAN=envoy "+
		"GRPC_MAX_CONNECTION_AGE_GRACE=0s CACHE_KEY_PREFIX=p REDIS_SOCKET_TYPE=tcp REDIS_URL=r:1 REDIS_AUTH=u:p REDIS_TIMEOUT=3s REDIS_PERSECOND=true REDIS_PERSECOND_SOCKET_TYPE=tcp REDIS_PERSECOND_URL=s:2")
	if err != nil {
		t.Fatal(err)
	}
	if f.Listen != "127.0.0.1:9" || f.http != "[::]:8080" || f.Admin != "[::1]:6070" || f.Plaintext || f.MaxConnectionAgeGrace != forEver {
		t.Errorf("listeners: %+v", f.Options)
	}
	tlsWant := daemon.TLSFiles{Cert: "/c", Key: "/k", ClientCA: "/ca", ClientName: "envoy", AnyClient: true, Min: tls.VersionTLS12}
	if f.TLS.Cert != tlsWant.Cert || f.TLS.Key != tlsWant.Key || f.TLS.ClientCA != tlsWant.ClientCA || f.TLS.ClientName != tlsWant.ClientName || !f.TLS.AnyClient || f.TLS.Min != tlsWant.Min {
		t.Errorf("TLS: %+v", f.TLS)
	}
	dial := redisdial.Options{URL: "redis://r:1", Username: "u", Password: "p", Timeout: 3 * time.Second, DialTimeout: 3 * time.Second}
	if f.dial != dial || f.perSecond == nil || f.perSecond.URL != "redis://s:2" || f.keyPrefix != "psp1:" || f.storeTimeout != 3*time.Second {
		t.Errorf("stores: %+v, %+v, prefix %q", f.dial, f.perSecond, f.keyPrefix)
	}

	f, err = followed(t, "GRPC_UDS=/run/x/rl.sock")
	if err != nil || f.Listen != "unix:/run/x/rl.sock" {
		t.Errorf("GRPC_UDS: %q, %v", f.Listen, err)
	}

	// A flag that is given beats its variable.
	f, err = followed(t, "GRPC_PORT=9 LOG_LEVEL=debug REDIS_URL=/elsewhere GRPC_UDS=/s CACHE_KEY_PREFIX=p", "listen", "log-level", "store", "audit", "admin", "http", "plaintext")
	if err != nil || f.Listen != "127.0.0.1:1" || f.LogLevel != "info" || f.store != "memory" || f.audit.destination != "stdout" || f.Admin != "127.0.0.1:2" || f.keyPrefix != "" {
		t.Errorf("flags: %+v %v", f, err)
	}

	for environ, name := range map[string]string{
		"GRPC_HOST=ratelimit.svc": "GRPC_HOST", "HOST=a.b": "HOST", "REDIS_SOCKET_TYPE=tcp REDIS_URL=h:0": "REDIS_URL", "REDIS_TYPE=SENTINEL REDIS_URL=a/b,h:1": "REDIS_URL",
		"REDIS_PERSECOND=true REDIS_PERSECOND_SOCKET_TYPE=tcp REDIS_PERSECOND_URL=h:x": "REDIS_PERSECOND_URL",
	} {
		if _, err := followed(t, environ); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", environ, err)
		}
	}
}

// Envoy Gateway's management server, as its deployment names it.
func TestCompatXDS(t *testing.T) {
	f, err := followed(t, "CONFIG_TYPE=GRPC_XDS_SOTW CONFIG_GRPC_XDS_SERVER_URL=envoy-gateway:18001 CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit CONFIG_GRPC_XDS_SERVER_USE_TLS=true "+
		"CONFIG_GRPC_XDS_CLIENT_TLS_CERT=/c CONFIG_GRPC_XDS_CLIENT_TLS_KEY=/k CONFIG_GRPC_XDS_SERVER_TLS_CACERT=/ca CONFIG_GRPC_XDS_SERVER_TLS_SAN=gw FORCE_START_WITHOUT_INITIAL_CONFIG=true "+
		"CONFIG_GRPC_XDS_NODE_METADATA=a=b CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=x:y XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES=9 XDS_CLIENT_BACKOFF_JITTER=false MERGE_DOMAIN_CONFIG=true "+
		"STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT=true")
	if err != nil {
		t.Fatal(err)
	}
	want := xdsSource{readyWithoutLimits: true, Options: xds.Options{
		Server: "envoy-gateway:18001", Node: xds.Node{ID: "envoy-ratelimit", Metadata: map[string]string{"a": "b"}}, Headers: map[string]string{"x": "y"}, MaxMessageBytes: 9,
		TLS: &xds.TLS{CA: "/ca", Cert: "/c", Key: "/k", ServerName: "gw", Min: tls.VersionTLS12}, MergeDomains: true, SpareDenied: true,
		Retry: xds.Backoff{Initial: 10 * time.Second, Max: time.Minute}, Reach: xds.Backoff{Initial: 3 * time.Second, Max: 3 * time.Second},
	}}
	if diff := cmp.Diff(want, referenceXDS(f.reference), cmp.AllowUnexported(xdsSource{}), cmpopts.IgnoreFields(xds.Options{}, "OnConnection", "OnUpdate")); diff != "" {
		t.Error(diff)
	}
	if f, err = followed(t, "CONFIG_TYPE=GRPC_XDS_SOTW FORCE_START_WITHOUT_INITIAL_CONFIG=true HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED=true"); err != nil {
		t.Fatal(err)
	}
	if source := referenceXDS(f.reference); source.readyWithoutLimits || source.TLS != nil || source.Retry.Jitter != 0.5 {
		t.Errorf("defaults: %+v", source)
	}
}

// A value that cannot be read ends the start, by its name and without itself; so does every other one.
func TestCompatRefusesValues(t *testing.T) {
	code, _, errs := command(t, []string{"PORT=s3cr3t", "USE_STATSD=maybe"}, "ratelimit", "--compat")
	if code != 2 || !strings.Contains(errs, "PORT does not hold a number") || !strings.Contains(errs, "USE_STATSD does not hold") || strings.Contains(errs, "s3cr3t") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// What has no effect is named in one line, with its reason.
func TestCompatNamesWhatHasNoEffect(t *testing.T) {
	code, _, errs := command(t, []string{
		"GRPC_HOST=127.0.0.1", "GRPC_PORT=0", "HOST=127.0.0.1", "PORT=0", "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=0", "USE_STATSD=false", "RUNTIME_ROOT=" + filepath.Join(t.TempDir(), "none"),
		"TRACING_ENABLED=true", "REDIS_PIPELINE_WINDOW=1ms", "MEMCACHE_SRV=x", "GRPC_SERVER_TLS_CA_CERT=/ca",
	}, "ratelimit", "--compat", "--store", "memory")
	lines := slices.DeleteFunc(strings.Split(errs, "\n"), func(line string) bool { return !strings.Contains(line, "no effect") })
	if code != 2 || len(lines) != 1 {
		t.Fatalf("exit %d, %d lines: %s", code, len(lines), errs)
	}
	for _, want := range []string{"TRACING_ENABLED: no traces are written", "REDIS_PIPELINE_WINDOW: ", "MEMCACHE_SRV: ", "GRPC_SERVER_TLS_CA_CERT: "} {
		if !strings.Contains(lines[0], want) {
			t.Errorf("no %q in %s", want, lines[0])
		}
	}
}

// The debug port has the reference's pages, and profiles only where a flag asks for them.
func TestDebugPages(t *testing.T) {
	ask := func(f *ratelimitFlags, path string) (int, string) {
		page := newRatelimitGate(f).pages()[path]
		if page == nil {
			return http.StatusNotFound, ""
		}
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	settings, err := compat.Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	reference := &ratelimitFlags{reference: settings}
	if code, body := ask(reference, "/"); code != 200 || !strings.Contains(body, "/rlconfig: print out the currently loaded configuration for debugging\n") {
		t.Errorf("/: %d %s", code, body)
	}
	if code, body := ask(reference, "/stats"); code != 200 || !strings.Contains(body, "ratelimit.service.config_load_success: 0\n") {
		t.Errorf("/stats: %d %s", code, body)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap"} {
		if code, _ := ask(reference, path); code != 404 {
			t.Errorf("%s without the flag: %d", path, code)
		}
		if code, _ := ask(&ratelimitFlags{pprof: true}, path); code != 200 {
			t.Errorf("%s with the flag: %d", path, code)
		}
	}
	if code, _ := ask(&ratelimitFlags{}, "/rlconfig"); code != 404 {
		t.Errorf("/rlconfig without --compat: %d", code)
	}
}
