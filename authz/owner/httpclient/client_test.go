package httpclient

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Who answers is who was named: no proxy of the environment, no redirect. And an answer has a bound.
func TestClient(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("a", 200))
	}))
	defer long.Close()
	client, err := New(Options{MaxAnswer: 100})
	if err != nil {
		t.Fatal(err)
	}
	if transport := client.Transport.(*transport); transport.base.Proxy != nil || transport.base.MaxConnsPerHost != defaultConnections {
		t.Errorf("a proxy is asked for, or connections have no bound: %+v", transport.base)
	}
	response, err := client.Get(long.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if data, err := io.ReadAll(response.Body); err == nil || len(data) > 100 {
		t.Errorf("%d bytes are read, %v", len(data), err)
	}
	moved, err := client.Get(long.URL + "/away")
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Body.Close()
	if moved.StatusCode != http.StatusFound {
		t.Errorf("a redirect is followed: %d", moved.StatusCode)
	}
	if _, err := New(Options{CertFile: "x"}); err == nil {
		t.Error("a certificate without its key")
	}
}
