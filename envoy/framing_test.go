package envoy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// What a gate can know of a body before it comes: its content-length. Envoy takes transfer-encoding away before it asks, so a request
// that says no length may have a body all the same, and a gate must not take it for one without.
func TestGateIsNotToldOfChunks(t *testing.T) {
	values, m, g, u, _ := sidecar(t, authzID, ratelimitID)
	frontend := client(m.certificate(t, frontendID))
	url := "https://127.0.0.1:" + values["LISTEN_PORT"] + "/search?user=alice"
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   string // the content-length that the gate is told
	}{
		"no body":          {http.NoBody, 0, ""},
		"a body":           {strings.NewReader("user=bob"), 8, "8"},
		"a body in chunks": {strings.NewReader("user=bob"), -1, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, c.body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = c.length
		transport := &http.Transport{TLSClientConfig: frontend, DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = resp.Body.Close() // only the status matters
		checks, _ := g.taken()
		if seen := u.taken(); resp.StatusCode != http.StatusOK || len(checks) != 1 || len(seen) != 1 {
			t.Fatalf("%s: %d, %d checks, %d requests at the service", name, resp.StatusCode, len(checks), len(seen))
		}
		asked := checks[0].GetAttributes().GetRequest().GetHttp()
		told := ""
		for _, header := range asked.GetHeaderMap().GetHeaders() {
			switch header.GetKey() {
			case "content-length":
				told = string(header.GetRawValue())
			case "transfer-encoding":
				t.Errorf("%s: the gate is told of chunks: it could tell no body from one of unknown length", name)
			}
		}
		if told != c.want || asked.GetSize() != 0 || asked.GetProtocol() != "HTTP/1.1" {
			t.Errorf("%s: the gate is told of %q bytes, size %d, by %s", name, told, asked.GetSize(), asked.GetProtocol())
		}
	}
}

// On a route that Envoy buffers, the gate is shown every body, of whatever framing: where it is shown none, nothing follows. The size says
// nothing more.
func TestGateIsToldOfNoBody(t *testing.T) {
	const unread, read = "disable_request_body_buffering: true}\n          http_filters", "with_request_body: {max_request_bytes: 65536, allow_partial_message: true, pack_as_bytes: true}}\n          http_filters"
	values, m, g, _, _ := changedSidecar(t, authzID, ratelimitID, func(text string) string {
		if !strings.Contains(text, unread) {
			t.Fatal("sidecar.yaml does not hold the route that this test changes")
		}
		return strings.Replace(text, unread, read, 1)
	})
	url := "https://127.0.0.1:" + values["LISTEN_PORT"] + "/search?user=alice"
	type asked struct {
		name   string
		body   func() io.Reader
		length int64
		mark   string // what the client writes
		want   string // the mark, the bytes and the size that the gate is told
	}
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
		transport := &http.Transport{TLSClientConfig: client(m.certificate(t, frontendID)), DisableKeepAlives: true, ForceAttemptHTTP2: protocol == "HTTP/2"}
		for _, c := range []asked{
			{"no body", func() io.Reader { return http.NoBody }, 0, "", "none 0 0"},
			{"no body, and a mark", func() io.Reader { return http.NoBody }, 0, "false", "none 0 0"}, // sidecar.yaml takes a client's away
			{"a body", func() io.Reader { return strings.NewReader("user=bob") }, 8, "", "false 8 8"},
			{"a body of unknown length", func() io.Reader { return strings.NewReader("user=bob") }, -1, "", "false 8 8"},
			{"a body that ends at once", func() io.Reader { return io.MultiReader(strings.NewReader("")) }, -1, "", map[string]string{"HTTP/1.1": "none 0 0", "HTTP/2": "false 0 0"}[protocol]},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, url, c.body())
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = c.length
			if c.mark != "" {
				req.Header.Set("x-envoy-auth-partial-body", c.mark)
			}
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatalf("%s, %s: %v", protocol, c.name, err)
			}
			_ = resp.Body.Close() // only what the gate is told matters
			checks, _ := g.taken()
			if len(checks) != 1 {
				t.Fatalf("%s, %s: %d checks", protocol, c.name, len(checks))
			}
			told := checks[0].GetAttributes().GetRequest().GetHttp()
			mark := "none"
			for _, header := range told.GetHeaderMap().GetHeaders() {
				if header.GetKey() == "x-envoy-auth-partial-body" {
					mark = string(header.GetRawValue())
				}
			}
			if got := fmt.Sprintf("%s %d %d", mark, len(told.GetRawBody()), told.GetSize()); got != c.want || told.GetProtocol() != protocol {
				t.Errorf("%s, %s: the gate is told %q by %s, want %q", protocol, c.name, got, told.GetProtocol(), c.want)
			}
		}
	}
}
