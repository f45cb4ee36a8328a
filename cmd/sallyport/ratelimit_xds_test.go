package main

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// What contradicts itself, names no server or cannot be read ends the start, with what to write instead.
func TestXDSRefusesFlags(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"files and a server":        {[]string{"--limits", "x", "--xds", "127.0.0.1:1"}, "--limits and --xds contradict each other"},
		"no server":                 {[]string{"--limits", "x", "--xds-ca", "ca.crt"}, "name it with --xds"},
		"ready for no server":       {[]string{"--limits", "x", "--xds-ready-without-limits"}, "name it with --xds"},
		"no port":                   {[]string{"--xds", "envoy-gateway"}, "write host:port"},
		"plain text and TLS":        {[]string{"--xds", "127.0.0.1:1", "--xds-plaintext", "--xds-ca", "ca.crt"}, "contradict each other"},
		"a certificate and no key":  {[]string{"--xds", "127.0.0.1:1", "--xds-cert", "c.crt"}, "belong together"},
		"authorities not there":     {[]string{"--xds", "127.0.0.1:1", "--xds-ca", "/none/ca.crt"}, "/none/ca.crt"},
		"a token not there":         {[]string{"--xds", "127.0.0.1:1", "--xds-header-file", "authorization=/none/token"}, "/none/token"},
		"no wait":                   {[]string{"--xds", "127.0.0.1:1", "--xds-retry", "0s"}, "above zero"},
		"nobody":                    {[]string{"--xds", "127.0.0.1:1", "--xds-node-id", ""}, "needs an ID"},
		"neither files nor servers": {nil, "or --xds"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"ratelimit", "--audit", "off", "--listen", "127.0.0.1:0", "--admin", ""}, tt.args...)
			if code, _, errs := command(t, nil, args...); code != 2 || !strings.Contains(errs, tt.want) {
				t.Errorf("exit %d, want 2 with %q: %s", code, tt.want, errs)
			}
		})
	}
}

// Who speaks for the management server can remove every limit, so off loopback it must prove who it is unless the mesh does that.
func TestXDSIsProtectedOffLoopback(t *testing.T) {
	for _, tt := range []struct {
		flags xdsFlags
		tls   bool
	}{
		{xdsFlags{server: "127.0.0.1:18001"}, false},
		{xdsFlags{server: "127.0.0.1:18001", serverName: "envoy-gateway"}, true},
		{xdsFlags{server: "unix:/run/xds.sock"}, false},
		{xdsFlags{server: "envoy-gateway:18001"}, true},
		{xdsFlags{server: "10.0.0.1:18001", ca: "ca.crt"}, true},
		{xdsFlags{server: "envoy-gateway:18001", plaintext: true}, false},
	} {
		source, err := tt.flags.source()
		if err != nil || (source.TLS != nil) != tt.tls {
			t.Errorf("%+v: TLS %v, %v", tt.flags, source.TLS, err)
		}
	}
}

// A response that is in force in part says so, with what became of each domain.
func TestXDSPartly(t *testing.T) {
	bad := strictyaml.Errors{{File: "b", Msg: "bad"}}
	good, last, out := limits.FileState{Name: "a"}, limits.FileState{Name: "b", Errors: bad, LastGood: true}, limits.FileState{Name: "c", Errors: bad}
	if err := partly(xds.Update{Domains: []limits.FileState{good}}); err != nil {
		t.Error(err)
	}
	if err := partly(xds.Update{Domains: []limits.FileState{last, out}, Err: bad}); err == nil || daemon.IsPartly(err) {
		t.Errorf("nothing is in force of it: %v", err)
	}
	if err := partly(xds.Update{Domains: []limits.FileState{good, out}, Err: bad}); !daemon.IsPartly(err) {
		t.Errorf("a part is in force: %v", err)
	}
	if got, want := inForce([]limits.FileState{good, last, out}), "a: new, b: last good, c: none"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
