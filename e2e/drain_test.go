package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// secondEndpoint lets Envoy know a second replica of the gate on a port.
func secondEndpoint(config string, first, second int) string {
	one := fmt.Sprintf("{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}", first)
	two := strings.Replace(one, fmt.Sprint(first), fmt.Sprint(second), 1)
	return strings.Replace(config, one, one+", "+two, 1)
}

// A gate that is asked to leave says so, finishes what it has begun, and goes: with a second replica nobody notices.
func TestSIGTERMUnderLoad(t *testing.T) {
	second := freePort(t)
	var first int
	// Longer than the two health checks after which Envoy asks the other replica.
	m := newMesh(t, meshOptions{authz: []string{"--drain-delay", "4s"}, bend: func(config string) string {
		bent := secondEndpoint(config, first, second)
		if bent == config {
			t.Fatal("the file has no such endpoint")
		}
		return bent
	}, before: func(m *mesh) {
		first = m.authz.listen
		launch(t, "authz", second, "--policy", m.policy, "--audit", "off").ready()
	}})
	m.expect(http.StatusOK, "/users/alice/orders", m.token("alice", "read:orders"))
	l := m.load(4)
	eventually(t, "the load has begun", func() bool { return l.good.Load() > 50 })
	m.authz.signal(terminate)
	if code := m.authz.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	after := l.good.Load()
	eventually(t, "the load goes on", func() bool { return l.good.Load() > after+50 })
	l.end(t)
}

// The last audit line is written before the process ends.
func TestSIGTERMFlushesAudit(t *testing.T) {
	m := newMesh(t, meshOptions{})
	want := 0
	for range 25 {
		m.expect(http.StatusOK, "/catalogue/tea", "")
		want++
	}
	m.authz.signal(terminate)
	if code := m.authz.wait(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, m.authz.output.String())
	}
	if got := len(auditLines(t, m)); got != want {
		t.Errorf("%d audit lines of %d decisions", got, want)
	}
}
