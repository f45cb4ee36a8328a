package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A name may be bound to domains, and one that is not may spend from all; the commas are the flag's own.
func TestBindClients(t *testing.T) {
	for _, test := range []struct {
		flag  string
		names []string
		bound boundClients
	}{
		{"spiffe://td/ns/web/sa/envoy", []string{"spiffe://td/ns/web/sa/envoy"}, boundClients{nil}},
		{"spiffe://td/ns/web/sa/envoy = mesh,edge", []string{"spiffe://td/ns/web/sa/envoy"}, boundClients{{"mesh", "edge"}}},
		{"spiffe://td/ns/*/sa/e=mesh, edge,dns:gw.test,dns:x = edge", []string{"spiffe://td/ns/*/sa/e", "dns:gw.test", "dns:x"}, boundClients{{"mesh", "edge"}, nil, {"edge"}}},
		{"spiffe://td/ns/web/sa/envoy=mesh,mesh", []string{"spiffe://td/ns/web/sa/envoy"}, boundClients{{"mesh"}}},
		// What is no name and follows no binding is a name with a mistake in it, and the daemon says so.
		{"envoy", []string{"envoy"}, boundClients{nil}},
		{"dns:gw.test,mesh", []string{"dns:gw.test", "mesh"}, boundClients{nil, nil}},
		{"", []string{""}, boundClients{nil}},
	} {
		names, bound, err := bindClients(strings.Split(test.flag, ","))
		if err != nil || !cmp.Equal(names, test.names) || !cmp.Equal(bound, test.bound) {
			t.Errorf("%q: %q %q %v", test.flag, names, bound, err)
		}
	}
	for _, flag := range []string{"dns:x =", "dns:x = mesh,", "dns:x = ,mesh"} {
		if _, _, err := bindClients(strings.Split(flag, ",")); err == nil {
			t.Errorf("%q is taken", flag)
		}
	}
	bound := boundClients{{"mesh", "edge"}, nil}
	if err := bound.unknownDomains([]string{"mesh"}); err == nil || !strings.Contains(err.Error(), "edge") {
		t.Errorf("a domain without limits: %v", err)
	}
}
