package e2e

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// What a person meets at the gates, through a real Envoy: who asks, for what, with which token, and the answer.
func TestStory(t *testing.T) {
	m := newMesh(t, meshOptions{})
	alice := m.token("alice", "read:orders")
	tests := []struct {
		name, path, token string
		status            int
		reason            string
	}{
		{"alice reads her orders", "/users/alice/orders", alice, 200, ""},
		{"alice reads bob's", "/users/bob/orders", alice, 403, "owner"},
		{"nobody reads alice's", "/users/alice/orders", "", 401, "no_token"},
		{"alice without the scope", "/users/alice/orders", m.token("alice", ""), 403, "insufficient_scope"},
		{"alice with a bent signature", "/users/alice/orders", alice[:len(alice)-4] + "AAAA", 401, "invalid_token"},
		{"anybody reads the catalogue", "/catalogue/tea", "", 200, ""},
		{"a path that no rule covers", "/admin", alice, 403, "no_rule"},
		{"a path in capitals", "/USERS/alice/orders", alice, 400, "ambiguous_path"},
		{"a final slash", "/users/alice/orders/", alice, 400, "ambiguous_path"},
		{"an extension", "/users/alice/orders.json", alice, 400, "ambiguous_path"},
		{"a token in the query", "/catalogue/tea?access_token=x", "", 400, "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := m.upstream.calls.Load()
			a := m.call(test.path, test.token)
			if a.status != test.status || a.reason() != test.reason {
				t.Errorf("%d %s, want %d %s: %s", a.status, a.reason(), test.status, test.reason, a.body)
			}
			if called := m.upstream.calls.Load() > before; called != (test.status == http.StatusOK) {
				t.Errorf("the upstream was called: %v", called)
			}
		})
	}
}

// The challenge of RFC 6750: no error code where no credentials came, and the scope that is missing.
func TestChallenge(t *testing.T) {
	m := newMesh(t, meshOptions{})
	for token, want := range map[string]string{
		"":                   `Bearer realm="sallyport"`,
		m.token("alice", ""): `Bearer realm="sallyport", error="insufficient_scope", scope="read:orders"`,
		"nonsense":           `Bearer realm="sallyport", error="invalid_token"`,
	} {
		a := m.call("/users/alice/orders", token)
		if got := a.header.Values("www-authenticate"); len(got) != 1 || got[0] != want {
			t.Errorf("www-authenticate %q, want %q", got, want)
		}
		if a.header.Get("cache-control") != "no-store" || a.header.Get("content-type") != "application/problem+json" {
			t.Errorf("headers of a denial: %v", a.header)
		}
	}
}

// The upstream sees our x-user-id, once, whatever a client sends; a second spelling never arrives.
func TestForgedIdentity(t *testing.T) {
	m := newMesh(t, meshOptions{})
	alice := m.token("alice", "read:orders")
	m.expect(http.StatusOK, "/users/alice/orders", alice, "x-user-id", "bob", "x-user-id", "admin")
	if seen, _ := m.upstream.seen(); len(seen.Values("x-user-id")) != 1 || seen.Get("x-user-id") != "alice" {
		t.Errorf("the upstream saw x-user-id %q", seen.Values("x-user-id"))
	}
	m.expect(http.StatusOK, "/catalogue/tea", "", "x-user-id", "bob", "x-http-method-override", "DELETE", "x-original-url", "/admin")
	seen, _ := m.upstream.seen()
	for _, name := range []string{"x-user-id", "x-http-method-override", "x-original-url"} {
		if seen.Get(name) != "" {
			t.Errorf("the upstream saw %s: %q", name, seen.Get(name))
		}
	}
	m.expect(http.StatusBadRequest, "/users/alice/orders", alice, "x_user_id", "bob")
}

// raw sends a request line as it is, which no client library would.
func (m *mesh) raw(t *testing.T, target, token string) (status int) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", local(m.gated), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nhost: shop.test\r\nauthorization: Bearer %s\r\nconnection: close\r\n\r\n", target, token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// Whatever a request line says, the path that was judged is the path that is served, or nothing is.
func TestBentPaths(t *testing.T) {
	m := newMesh(t, meshOptions{})
	alice := m.token("alice", "read:orders")
	for target, want := range map[string]struct {
		status int
		path   string // what the upstream saw
	}{
		"/users/alice/orders":                {200, "/users/alice/orders"},
		"/catalogue/../users/alice/orders":   {200, "/users/alice/orders"},
		"//users//alice/./orders":            {200, "/users/alice/orders"},
		"/users/%61lice/orders":              {200, "/users/alice/orders"},
		"/catalogue/../users/bob/orders":     {403, ""},
		"/catalogue/%2e%2e/users/bob/orders": {403, ""},
		"/catalogue/..;/users/bob/orders":    {403, ""},
		"/users/alice;x=1/orders":            {400, ""},
		"/users/alice%2forders":              {400, ""},
		"/users/alice%5corders":              {400, ""},
		"/users/alice%252forders":            {400, ""},
		"/users/bob%00/orders":               {400, ""},
		"/users/%c0%ae/orders":               {400, ""},
		"/users/alice/orders%3fx":            {400, ""},
		"/users/alice/orders#x":              {400, ""},
		"/users%40/alice/orders":             {403, ""},
		"/users/alice/orders?_method=DELETE": {400, ""},
		"http://shop.test/users/bob/orders":  {403, ""},
		"*":                                  {400, ""},
	} {
		before := m.upstream.calls.Load()
		status := m.raw(t, target, alice)
		called := m.upstream.calls.Load() > before
		_, path := m.upstream.seen()
		if status != want.status || called != (want.path != "") || called && path != want.path {
			t.Errorf("%s: %d, want %d; the upstream was called: %v, and saw %s", target, status, want.status, called, path)
		}
	}
}

// The 101st request of a minute, told as the client is told.
func TestFlood(t *testing.T) {
	m := newMesh(t, meshOptions{limits: strings.Replace(generous, "1000000, unit: minute", "100, unit: hour", 1)})
	alice := m.token("alice", "read:orders")
	for range 100 {
		m.expect(http.StatusOK, "/users/alice/orders", alice)
	}
	a := m.expect(http.StatusTooManyRequests, "/users/alice/orders", alice)
	for _, name := range []string{"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"} {
		if a.header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	m.expect(http.StatusOK, "/users/bob/orders", m.token("bob", "read:orders"))
	// A denial of the first gate never reaches the second: it burns nothing of a victim's limit.
	m.expect(http.StatusForbidden, "/users/alice/orders", m.token("bob", "read:orders"))
}
