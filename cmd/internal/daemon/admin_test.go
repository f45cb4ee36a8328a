package daemon

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// page asks the admin port, without following redirects.
func page(t *testing.T, g *gate, method, path string) (code int, body string) {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+g.AdminAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// Three pages, two methods, nothing else: no profiler, no redirects, no listing.
func TestAdminOffersThreePages(t *testing.T) {
	g := startGate(t, Config{Build: Build{Version: "1.2.3"}}, nil)
	eventually(t, "ready", func() bool { code, _ := page(t, g, "GET", "/readyz"); return code == 200 })
	for _, c := range []struct {
		method, path string
		want         int
		body         string
	}{
		{"GET", "/healthz", 200, "ok"},
		{"HEAD", "/healthz", 200, ""},
		{"GET", "/readyz", 200, `"ready": true`},
		{"HEAD", "/readyz", 200, ""},
		{"GET", "/metrics", 200, `sallyport_build_info{go="go1`},
		{"GET", "/metrics", 200, `version="1.2.3"`},
		{"GET", "/metrics", 200, "go_goroutines"},
		{"GET", "/metrics", 200, "process_open_fds"},
		{"HEAD", "/metrics", 200, ""},
		{"GET", "/healthz?verbose=1", 200, "ok"},

		{"POST", "/healthz", 405, "read-only"},
		{"PUT", "/readyz", 405, "read-only"},
		{"DELETE", "/metrics", 405, "read-only"},
		{"OPTIONS", "/metrics", 405, "read-only"},
		{"PATCH", "/healthz", 405, "read-only"},
		{"GET", "/", 404, "not found"},
		{"GET", "/debug/pprof/", 404, "not found"},
		{"GET", "/debug/vars", 404, "not found"},
		{"GET", "/healthz/", 404, "not found"},
		{"GET", "//healthz", 404, "not found"},
		{"GET", "/x/../healthz", 404, "not found"},
		{"GET", "/config", 404, "not found"},
	} {
		code, body := page(t, g, c.method, c.path)
		if code != c.want || !strings.Contains(body, c.body) || c.method == "HEAD" && body != "" {
			t.Errorf("%s %s: %d %q, want %d with %q", c.method, c.path, code, body, c.want, c.body)
		}
	}
	// "OPTIONS *" is answered by net/http itself unless told otherwise.
	conn, err := net.Dial("tcp", g.AdminAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 404 ") {
		t.Errorf("OPTIONS *: %q, %v", answer, err)
	}
}

func TestAdminIsOffWithoutAnAddress(t *testing.T) {
	d, err := Open(t.Context(), Config{Options: Options{Listen: "127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	if d.AdminAddr() != nil {
		t.Errorf("it listens on %v", d.AdminAddr())
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// The report in JSON is a face: its names are what people alert on.
func TestReport(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	s := NewStatus(func() time.Time { return now })
	shows := func(step, want string) {
		t.Helper()
		got, err := json.Marshal(s.Report())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: %s", step, diff)
		}
	}
	s.Expect("store", "jwks:shop")
	shows("at the start", `{"ready":false,"starting":true,"waiting_for":["jwks:shop","store"],"degraded":[]}`)
	s.Tried("store")
	s.serve()
	s.Set("store", OK())
	s.Set("jwks:shop", Degraded("first"))
	shows("one is missing", `{"ready":false,"waiting_for":["jwks:shop"],"degraded":[{"part":"jwks:shop","detail":"first","since":"2026-11-01T12:00:00Z"}]}`)
	now = now.Add(time.Minute)
	s.Tried("jwks:shop")
	s.Set("jwks:shop", Degraded("second"))
	shows("tried and degraded is ready, since when it began", `{"ready":true,"degraded":[{"part":"jwks:shop","detail":"second","since":"2026-11-01T12:00:00Z"}]}`)
	s.Expect("late")
	s.Set("store", Degraded(""))
	shows("ready is kept", `{"ready":true,"degraded":[{"part":"jwks:shop","detail":"second","since":"2026-11-01T12:00:00Z"},{"part":"store","detail":"degraded","since":"2026-11-01T12:01:00Z"}]}`)
	s.Forget("jwks:shop")
	s.Set("store", OK())
	shows("mended", `{"ready":true,"degraded":[]}`)
	s.drain()
	shows("draining", `{"ready":false,"draining":true,"degraded":[]}`)
}

// Forgetting the last expected part is as good as trying it: a reload may drop an issuer before its first answer.
func TestForgottenPartIsNotWaitedFor(t *testing.T) {
	s := NewStatus(time.Now)
	s.Expect("jwks:old")
	s.serve()
	s.Forget("jwks:old")
	if !s.Report().Ready {
		t.Errorf("%+v", s.Report())
	}
}
