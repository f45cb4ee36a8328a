package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// edgePolicy is an edge of one service that reads bodies.
const edgePolicy = `version: 1
trust_domain: cluster.local
peers: envoy
issuers: {shop: {issuer: "https://issuer.test", audiences: [orders-api], machine: never}}
services:
  - name: orders
    hosts: [api.example.com]
    edge: true
    workloads: [shop/orders]
    probes: [/healthz]
    rules: [{name: place, match: "POST /orders", owner: {of: body.customer, is: token.sub}}]
`

// edgeLimits and meshLimits are a limit for everything that an edge sends.
const (
	edgeLimits = "domain: edge\ndescriptors: [{key: masked_remote_address, rate_limits: [{requests_per_unit: 1, unit: second}]}]\n"
	meshLimits = "domain: mesh\ndescriptors: [{key: who, rate_limits: [{requests_per_unit: 1, unit: second}]}, {key: service, descriptors: [{key: rule, rate_limit: {unlimited: true}, " +
		"descriptors: [{key: who, rate_limit: {unlimited: true}}]}]}]\n"
)

// gates and said are the flags for what no policy knows.
var (
	gates = []string{
		"--mesh-cert", "/c.pem", "--mesh-key", "/k.pem", "--mesh-ca", "/ca.pem", "--authz-host", "authz", "--authz-port", "9191", "--authz-id", "spiffe://cluster.local/ns/s/sa/authz",
		"--ratelimit-host", "ratelimit", "--ratelimit-port", "8081", "--ratelimit-id", "spiffe://cluster.local/ns/s/sa/ratelimit", "--listen-port", "8443",
	}
	said = append([]string{"--xff-trusted-hops", "0", "--tls-cert", "/t.pem", "--tls-key", "/tk.pem", "--upstream", "orders=orders.shop.svc:8443"}, gates...)
)

// What render writes, and what it says no to: exit codes, and that everything missing is named at once.
func TestEnvoyRender(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": edgePolicy, "bad.yaml": "version: 2\n", "edge.yaml": edgeLimits})
	both := folder(t, map[string]string{"edge.yaml": edgeLimits, "mesh.yaml": meshLimits})
	at := func(name string) string { return filepath.Join(dir, name) }
	edge := slices.Clip(append([]string{"--policy", at("policy.yaml"), "--for", "edge"}, said...))
	for name, test := range map[string]struct {
		args  []string
		code  int
		says  []string // on stdout for 0, else on stderr
		never string
	}{
		"an edge": {edge, 0, []string{"# The edge, written by", "No limits were given", "name: service-orders", "spiffe://cluster.local/ns/shop/sa/orders", `max_request_bytes: "65536"`}, "FILL_IN_"},
		"an edge and its limits": {
			append([]string{"--limits", both, "--max-request-bytes", "1000"}, edge...), 0, []string{"Each descriptor that is sent here finds a limit", "max_request_bytes: 2002,"}, "No limits",
		},
		"a sidecar": {
			append([]string{"--policy", at("policy.yaml"), "--for", "sidecar", "--service", "orders", "--probe-port", "8444", "--service-port", "8080"}, gates...), 0,
			[]string{"# The sidecar of orders, written by", `prefix: "spiffe://cluster.local/"`, "/healthz"}, "FILL_IN_",
		},
		"fragments": {[]string{"--policy", at("policy.yaml"), "--fragments"}, 0, []string{"http_connection_manager:", "FILL_IN_AUTHZ_HOST", "FILL_IN_ORDERS_PORT"}, "${"},
		"nothing said": {
			[]string{"--policy", at("policy.yaml")}, daemon.ExitUnable,
			[]string{"or write --fragments", "--listen-port: where clients come in", "--ratelimit-id: ", "--upstream orders=HOST:PORT: where orders is"}, "--admin-port:",
		},
		"no policy":             {nil, daemon.ExitUnable, []string{"--policy is missing"}, "panic"},
		"no such policy":        {[]string{"--policy", at("none.yaml")}, daemon.ExitUnable, []string{"none.yaml"}, "panic"},
		"an invalid policy":     {[]string{"--policy", at("bad.yaml")}, daemon.ExitInvalid, []string{"bad.yaml:1:"}, "panic"},
		"invalid limits":        {append([]string{"--limits", at("bad.yaml")}, edge...), daemon.ExitInvalid, []string{"bad.yaml:1:"}, "panic"},
		"limits without a gate": {append([]string{"--limits", at("edge.yaml")}, edge...), daemon.ExitInvalid, []string{"waits for these descriptors", "mesh: (service=orders)(rule=place)"}, "edge: ("},
		"no service":            {[]string{"--policy", at("policy.yaml"), "--for", "sidecar"}, daemon.ExitUnable, []string{"--service is missing"}, "panic"},
		"no such service":       {[]string{"--policy", at("policy.yaml"), "--for", "sidecar", "--service", "x"}, daemon.ExitUnable, []string{"there are orders"}, "panic"},
		"neither":               {[]string{"--policy", at("policy.yaml"), "--for", "waypoint"}, daemon.ExitUnable, []string{"an edge or a sidecar"}, "panic"},
		"a bad port":            {append(edge, "--listen-port", "x"), daemon.ExitUnable, []string{"is not a port"}, "panic"},
		"a bad upstream":        {append(edge, "--upstream", "orders"), daemon.ExitUnable, []string{"write NAME=HOST:PORT"}, "panic"},
		"an upstream twice":     {append(edge, "--upstream", "orders=a:1"), daemon.ExitUnable, []string{"once for each service"}, "panic"},
		"a bad identity":        {append(edge, "--upstream-id", "orders=x"), daemon.ExitUnable, []string{"is not a SPIFFE ID"}, "panic"},
		"an identity of nobody": {append(edge, "--upstream-id", "spiffe://x/y"), daemon.ExitUnable, []string{"write NAME=spiffe://"}, "panic"},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), streams{out: &out, err: &err}, append([]string{"envoy", "render"}, test.args...))
		text, other := err.String(), out.String()
		if code == 0 {
			text, other = other, text
		}
		if code != test.code || other != "" || strings.Contains(text, test.never) {
			t.Errorf("%s: exit %d, want %d; stdout %d bytes, stderr %q", name, code, test.code, out.Len(), err.String())
		}
		for _, want := range test.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in %.2000s", name, want, text)
			}
		}
	}
}
