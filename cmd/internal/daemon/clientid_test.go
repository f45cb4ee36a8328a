package daemon

import (
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// An entry is one workload, or one segment's worth of them. Nothing shorter.
func TestParseClientID(t *testing.T) {
	for _, good := range []string{
		"spiffe://td/ns/web/sa/frontend", "spiffe://td/ns/*/sa/x", "spiffe://cluster.local/*", "dns:envoy.example.com", "dns:envoy",
	} {
		if _, err := parseClientID(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "*", "spiffe://", "spiffe://td", "spiffe://td/", "spiffe://*/ns/a", "spiffe://td/ns/a*", "spiffe://td/ns/**", "spiffe://td//x",
		"spiffe://td/ns/../x", "spiffe://TD/ns/x", "spiffe://td/ns/x?y", "SPIFFE://td/ns/x", "https://td/x", "dns:", "dns:*.example.com",
		"dns:a b", "envoy.example.com", " spiffe://td/ns/x",
	} {
		if _, err := parseClientIDs([]string{bad}); err == nil || !strings.Contains(err.Error(), "--tls-client-ids") {
			t.Errorf("%q: error %v, want one that names the flag", bad, err)
		}
	}
}

func TestClientIDMatches(t *testing.T) {
	for _, c := range []struct {
		entry string
		id    string
		dns   []string
		want  bool
	}{
		{"spiffe://td/ns/a/sa/x", "spiffe://td/ns/a/sa/x", nil, true},
		{"spiffe://td/ns/*/sa/x", "spiffe://td/ns/a/sa/x", nil, true},
		{"spiffe://td/ns/*/sa/*", "spiffe://td/ns/a/sa/y", nil, true},
		{"dns:envoy.example.com", "", []string{"other", "ENVOY.example.com"}, true},

		{"spiffe://td/ns/*/sa/x", "spiffe://td/ns/a/sa/y", nil, false},
		{"spiffe://td/ns/*/sa/x", "spiffe://td/ns/a/b/sa/x", nil, false},
		{"spiffe://td/ns/*/sa/x", "spiffe://td/ns/a/sa/x/y", nil, false},
		{"spiffe://td/ns/*", "spiffe://td/ns", nil, false},
		{"spiffe://td/ns/*/sa/x", "spiffe://td2/ns/a/sa/x", nil, false},
		{"spiffe://td/ns/a/sa/x", "spiffe://td/ns/A/sa/x", nil, false},
		{"spiffe://td/ns/a/sa/x", "", []string{"spiffe://td/ns/a/sa/x"}, false},
		{"dns:envoy.example.com", "spiffe://td/ns/a/sa/x", []string{"a.envoy.example.com"}, false},
		{"dns:envoy.example.com", "", nil, false},
	} {
		entry, err := parseClientID(c.entry)
		if err != nil {
			t.Fatal(err)
		}
		var id spiffeid.ID
		if c.id != "" {
			id = spiffeid.RequireFromString(c.id)
		}
		if got := entry.matches(id, c.dns); got != c.want {
			t.Errorf("%s admits %q %q: %v, want %v", c.entry, c.id, c.dns, got, c.want)
		}
	}
}
