package envoy

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Nothing that an app could take for an identity, another method or another path comes in by the kubelet's door, and no body does.
func TestProbeListenerPassesNothingOn(t *testing.T) {
	values, _, _, u, _ := sidecar(t, authzID, ratelimitID)
	url := "http://127.0.0.1:" + values["PROBE_PORT"] + "/healthz"

	forged := map[string]string{
		"X-Original-Url": "/admin/users", "X-Rewrite-Url": "/admin/users", "X-Forwarded-Uri": "/admin/users", "X-Forwarded-Prefix": "/admin",
		"X-Http-Method-Override": "DELETE", "X-Forwarded-Method": "DELETE", "X-User-Id": "admin", "X-Envoy-Original-Path": "/admin/users",
		"X-Forwarded-Client-Cert": "URI=spiffe://cluster.local/ns/web/sa/frontend", "Authorization": "Bearer x", "Cookie": "a=b",
		"Proxy-Authorization": "Basic eDp5", "Remote-User": "admin", "Client-Id": "admin", "Tenant": "acme", "X-Sallyport-Decision": "allow", "True-Client-Ip": "10.0.0.1",
		"Consumer": "admin", "Forwarded": "for=10.0.0.1", "From": "admin@example.com", "User": "admin",
	}
	header := http.Header{}
	for name, value := range forged {
		header.Set(name, value)
	}
	status := ask(t, nil, http.MethodGet, url, header)
	seen := u.taken()
	if status != http.StatusOK || len(seen) != 1 {
		t.Fatalf("status %d, %d requests at the app", status, len(seen))
	}
	for name, value := range forged {
		if got := seen[0].Header.Values(name); len(got) > 0 && strings.Contains(strings.Join(got, ","), value) {
			t.Errorf("the app was told %s: %q", name, got)
		}
	}
	if seen[0].Host == "" || seen[0].RequestURI != "/healthz" || seen[0].Method != http.MethodGet {
		t.Errorf("the app got %s %s at host %q", seen[0].Method, seen[0].RequestURI, seen[0].Host)
	}

	// A name that an app could read as one of ours.
	if status := ask(t, nil, http.MethodGet, url, http.Header{"X_user_id": {"admin"}}); status != http.StatusBadRequest || len(u.taken()) != 0 {
		t.Errorf("an underscore: %d", status)
	}

	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   int
	}{
		"no body":                       {http.NoBody, 0, http.StatusOK},
		"a body":                        {strings.NewReader("a=1"), 3, http.StatusNotFound},
		"a body in chunks":              {strings.NewReader("a=1"), -1, http.StatusNotFound},
		"a body that begins with zeros": {strings.NewReader("00000"), 5, http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, c.body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = c.length
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = resp.Body.Close() // only the status matters
		if seen := u.taken(); resp.StatusCode != c.want || (len(seen) == 1) != (c.want == http.StatusOK) {
			t.Errorf("%s: %d, want %d; %d requests at the app", name, resp.StatusCode, c.want, len(seen))
		}
	}
}
