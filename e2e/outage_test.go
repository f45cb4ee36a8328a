package e2e

import (
	"net/http"
	"syscall"
	"testing"
)

// While a gate is away, nobody passes: Envoy answers 503, and the upstream's own counter says that it was not asked.

func (m *mesh) unavailable(t *testing.T) {
	t.Helper()
	before := m.upstream.calls.Load()
	for _, token := range []string{m.token("alice", "read:orders"), ""} {
		m.expect(http.StatusServiceUnavailable, "/users/alice/orders", token)
	}
	m.expect(http.StatusServiceUnavailable, "/catalogue/tea", "")
	if got := m.upstream.calls.Load(); got != before {
		t.Errorf("the upstream was called %d times behind a gate that is away", got-before)
	}
}

func TestAuthzDown(t *testing.T) {
	m := newMesh(t, meshOptions{})
	m.expect(http.StatusOK, "/users/alice/orders", m.token("alice", "read:orders"))
	m.authz.kill()
	m.unavailable(t)
}

func TestAuthzNeverThere(t *testing.T) {
	m := newMesh(t, meshOptions{authzPort: freePort(t)})
	m.unavailable(t)
}

// A stopped process is a gate that answers too late: the kernel still takes its connections.
func TestAuthzSlow(t *testing.T) {
	m := newMesh(t, meshOptions{})
	m.expect(http.StatusOK, "/users/alice/orders", m.token("alice", "read:orders"))
	m.authz.signal(syscall.SIGSTOP)
	m.unavailable(t)
	m.authz.signal(syscall.SIGCONT)
	eventually(t, "the gate that woke up is asked again", func() bool {
		return m.call("/users/alice/orders", m.token("alice", "read:orders")).status == http.StatusOK
	})
}

func TestAuthzKilledMidFlight(t *testing.T) {
	m := newMesh(t, meshOptions{})
	m.expect(http.StatusOK, "/users/alice/orders", m.token("alice", "read:orders"))
	m.authz.signal(syscall.SIGSTOP)
	before := m.upstream.calls.Load()
	token := m.token("alice", "read:orders")
	answers := make(chan int, 1)
	go func() {
		a, err := m.try("/users/alice/orders", token)
		if err != nil {
			a.status = -1
		}
		answers <- a.status
	}()
	m.authz.kill()
	if got := <-answers; got != http.StatusServiceUnavailable {
		t.Errorf("a check whose gate was killed: %d", got)
	}
	if m.upstream.calls.Load() != before {
		t.Error("the upstream was called")
	}
}

// The files under envoy/ say failure_mode_deny: without the rate limiter nobody passes either.
func TestRatelimitDown(t *testing.T) {
	m := newMesh(t, meshOptions{})
	m.expect(http.StatusOK, "/catalogue/tea", "")
	m.limits.kill()
	m.unavailable(t)
}
