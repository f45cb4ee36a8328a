package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// What contradicts itself or would have no effect ends before anything listens, with what to write instead.
func TestRatelimitRefusesFlags(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no limits", nil, "needs --limits"},
		{"no address", []string{"--limits", "x", "--listen", "name:1"}, `--listen "name:1": write an IP address`},
		{"off loopback without a store", []string{"--limits", "x", "--listen", "0.0.0.0:0"}, "--store must be written"},
		{"localhost is loopback", []string{"--limits", "/none", "--listen", "localhost:0", "--admin", ""}, "/none"},
		{"a user of memory", []string{"--limits", "x", "--store-username", "u"}, "are for a shared store"},
		{"a password of memory", []string{"--limits", "x", "--store", "memory", "--store-password-file", "p"}, "are for a shared store"},
		{"authorities of memory", []string{"--limits", "x", "--store-ca", "c"}, "are for a shared store"},
		{"a prefix in memory", []string{"--limits", "x", "--store-key-prefix", "p:"}, "are for a shared store"},
		{"a header that nobody knows", []string{"--limits", "x", "--response-headers", "retry"}, "--response-headers"},
		{"questions in plain text", []string{"--limits", "x", "--http", "0.0.0.0:0"}, "--http speaks plain text"},
		{"profiles nowhere", []string{"--limits", "x", "--pprof", "--admin", ""}, "--pprof"},
		{"no replicas", []string{"--limits", "x", "--replicas", "0"}, "--replicas is at least 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, errs := command(t, nil, append([]string{"ratelimit", "--audit", "off"}, tt.args...)...)
			if code != 2 || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, want 2 with %q: %s", code, tt.want, errs)
			}
		})
	}
}

// A migration that sets the old service's environment hears that it means nothing, in one line.
func TestReferenceEnvironmentIsNamed(t *testing.T) {
	limits := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(limits, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"REDIS_URL=secret:6379", "RUNTIME_ROOT=/data", "LOG_LEVEL=debug", "PATH=/bin", "REDIS_PORT=tcp://1.2.3.4:6379", "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES=1"}
	_, _, errs := command(t, environ, "ratelimit", "--limits", limits, "--listen", "127.0.0.1:0", "--admin", "", "--audit", "off")
	lines := slices.DeleteFunc(strings.Split(errs, "\n"), func(line string) bool { return !strings.Contains(line, "--compat") })
	if len(lines) != 1 || !strings.Contains(lines[0], "LOG_LEVEL REDIS_URL RUNTIME_ROOT XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES") || strings.Contains(errs, "secret") {
		t.Errorf("got %s", errs)
	}
}

// Limits of which a replica has no share are told: they refuse everything, which nobody means who writes one.
func TestLimitsWithoutAShare(t *testing.T) {
	file, errs := limits.Decode("l.yaml", []byte(`domain: d
descriptors:
- {key: small, rate_limits: [{requests_per_unit: 3, unit: minute}]}
- {key: burst, algorithm: token_bucket, rate_limits: [{requests_per_unit: 9, unit: minute, burst: 2}]}
- {key: plain, rate_limit: {requests_per_unit: 3, unit: minute}}
- {key: never, rate_limits: [{requests_per_unit: 0, unit: minute}]}
- {key: large, rate_limits: [{requests_per_unit: 4, unit: minute}]}
- {key: free, rate_limit: {unlimited: true}}
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{file})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for store, want := range map[string][]string{"memory": {"d.small", "d.burst", "d.plain"}, "redis://h": {"d.small", "d.burst"}} {
		g := &ratelimitGate{flags: &ratelimitFlags{store: store, replicas: 4}}
		if got := g.starved(table); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", store, got, want)
		}
		if g.flags.replicas = 1; len(g.starved(table)) > 0 {
			t.Errorf("%s: %q of one replica", store, g.starved(table))
		}
	}
}
