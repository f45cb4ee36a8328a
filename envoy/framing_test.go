package envoy

import (
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
