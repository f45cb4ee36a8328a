package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// Envoy shows headers in one of two encodings. Whichever it is, the decision is the same, or the poorer one denies.
func TestBothHeaderEncodingsAgree(t *testing.T) {
	m := newMesh(t, meshOptions{})
	// A second Envoy in front of the same gates, with the other encoding.
	other := &mesh{t: t, dir: m.dir, issuer: m.issuer, issuerAt: m.issuerAt, upstream: m.upstream, authz: m.authz, limits: m.limits, policy: m.policy, gated: freePort(t)}
	other.startEnvoy(meshOptions{authzPort: m.authz.listen, limitsPort: m.limits.listen, bend: func(config string) string {
		bent := strings.ReplaceAll(config, "encode_raw_headers: true", "encode_raw_headers: false")
		if bent == config {
			t.Fatal("the file does not say encode_raw_headers")
		}
		return bent
	}})
	alice := m.token("alice", "read:orders")
	for name, headers := range map[string][]string{
		"a plain request":       {},
		"a header twice":        {"x-one", "1", "x-one", "2"},
		"bytes of Latin-1":      {"x-name", "caf\xe9"},
		"a second credential":   {"authorization", "Bearer " + m.token("bob", "read:orders")},
		"another scheme beside": {"authorization", "Basic YTpi"},
		"two cookies":           {"cookie", "a=1", "cookie", "b=2"},
		"a forged identity":     {"x-user-id", "bob", "x-user-id", "admin"},
		"another address":       {"x-forwarded-for", "198.51.100.8"},
	} {
		raw, joined := m.call("/users/alice/orders", alice, headers...), other.call("/users/alice/orders", alice, headers...)
		if raw.status != joined.status && joined.status < 400 || raw.status == joined.status && raw.reason() != joined.reason() {
			t.Errorf("%s: %d %s with raw headers, %d %s with joined ones", name, raw.status, raw.reason(), joined.status, joined.reason())
		}
	}
}

// The same over gRPC, where both encodings can hold what no client can send through an Envoy.
func TestBothHeaderEncodingsAgreeOnTheWire(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := serve(t, "authz", "--policy", policy, "--audit", "off")
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	for name, fields := range map[string][][2]string{
		"no headers":           {},
		"another path inside":  {{":path", "/other"}},
		"another host inside":  {{":authority", "other"}},
		"an upgrade":           {{"upgrade", "websocket"}},
		"an underscore":        {{"x_user_id", "bob"}},
		"a hop-by-hop option":  {{"connection", "x-user-id"}},
		"a bearer credential":  {{"authorization", "Bearer x"}},
		"two in one":           {{"authorization", "Bearer x, Bearer y"}},
		"a content type":       {{"content-type", "application/grpc"}},
		"capitals in the name": {{"X_User_Id", "bob"}},
	} {
		check := func(http *authv3.AttributeContext_HttpRequest) string {
			http.Method, http.Path, http.Host = "GET", "/catalogue/tea", "shop.test"
			resp, err := client.Check(context.Background(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: http}}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return resp.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
		}
		raw, joined := &authv3.AttributeContext_HttpRequest{HeaderMap: &corev3.HeaderMap{}}, &authv3.AttributeContext_HttpRequest{Headers: map[string]string{}}
		for _, field := range fields {
			raw.HeaderMap.Headers = append(raw.HeaderMap.Headers, &corev3.HeaderValue{Key: field[0], RawValue: []byte(field[1])})
			joined.Headers[field[0]] = field[1]
		}
		if a, b := check(raw), check(joined); a != b || a == "" {
			t.Errorf("%s: %q with raw headers, %q with joined ones", name, a, b)
		}
	}
}

// A TCP check and an empty request are denied, never an error and never an allow.
func TestEmptyChecks(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := serve(t, "authz", "--policy", policy, "--audit", "off")
	client := authv3.NewAuthorizationClient(dial(t, g.listen))
	for name, request := range map[string]*authv3.CheckRequest{
		"empty":         {},
		"no request":    {Attributes: &authv3.AttributeContext{Source: &authv3.AttributeContext_Peer{Principal: "spiffe://td/x"}}},
		"empty request": {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{}}}},
		"connect":       {Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: "CONNECT", Host: "shop.test"}}}},
	} {
		resp, err := client.Check(context.Background(), request)
		if err != nil || resp.GetStatus().GetCode() == 0 || resp.GetDeniedResponse() == nil {
			t.Errorf("%s: %v %v", name, resp, err)
		}
	}
}
