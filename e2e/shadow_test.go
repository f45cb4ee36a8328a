package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// inShadow is the shop's policy, its service in shadow until tomorrow.
func inShadow(issuerURL string) string {
	until := time.Now().UTC().AddDate(0, 0, 2).Format(time.DateOnly)
	return strings.Replace(shopPolicy(issuerURL), "    edge: true\n", "    edge: true\n    shadow: {answer: allow, until: \""+until+"\"}\n", 1)
}

// A service in shadow lets everything pass, names nobody, and says in audit, metric and /readyz what its rules would have said.
func TestShadowService(t *testing.T) {
	m := newMesh(t, meshOptions{policy: inShadow})
	alice := m.token("alice", "read:orders")
	m.expect(http.StatusOK, "/users/bob/orders", alice, "x-user-id", "bob")
	if seen, _ := m.upstream.seen(); seen.Get("x-user-id") != "" {
		t.Errorf("in shadow the upstream is told %q", seen.Get("x-user-id"))
	}
	m.expect(http.StatusOK, "/users/alice/orders", "")
	m.expect(http.StatusBadRequest, "/users/alice;x=1/orders", alice)
	eventually(t, "the audit log tells what would have been", func() bool {
		data, _ := os.ReadFile(filepath.Join(m.dir, "audit.jsonl"))
		return strings.Contains(string(data), `"reason":"shadow"`) && strings.Contains(string(data), `"shadow_verdict":"deny","shadow_reason":"owner","shadow_detail":"not_theirs","shadow_rule":"list-orders"`)
	})
	if n := m.authz.metric("sallyport_authz_shadow_total", `verdict="deny"`, `reason="owner"`, `answered="allow"`); n != 1 {
		t.Errorf("the metric counts %v", n)
	}
	if n := m.authz.metric("sallyport_shadow", `service="orders"`); n < float64(time.Now().Unix()) {
		t.Errorf("sallyport_shadow is %v", n)
	}
	if status, body := get(local(m.authz.admin), "/readyz"); status != http.StatusOK || !strings.Contains(body, "in shadow: it allows whatever its rules say") {
		t.Errorf("/readyz: %d %s", status, body)
	}
	// Its end needs only a day that has come, or a file that says nothing of it.
	write(t, m.policy, shopPolicy(m.issuerAt.URL))
	eventually(t, "the rules are enforced", func() bool { return m.call("/users/bob/orders", alice).status == http.StatusForbidden })
	if _, body := get(local(m.authz.admin), "/readyz"); strings.Contains(body, "in shadow") {
		t.Errorf("/readyz still says so: %s", body)
	}
}

// A second policy is evaluated beside the first and changes nothing, however bad it is.
func TestShadowPolicy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "next.yaml")
	m := newMesh(t, meshOptions{authz: []string{"--shadow-policy", path}}) // where nothing is yet
	alice := m.token("alice", "read:orders")
	m.expect(http.StatusOK, "/users/alice/orders", alice)
	write(t, path, "version: 1\nnot a policy\n")
	eventually(t, "/readyz tells that it is none", func() bool {
		status, body := get(local(m.authz.admin), "/readyz")
		return status == http.StatusOK && strings.Contains(body, "the policy does not load")
	})
	m.expect(http.StatusOK, "/users/alice/orders", alice)
	write(t, path, strings.Replace(shopPolicy(m.issuerAt.URL), `scopes: ["read:orders"]`, `scopes: ["orders:read"]`, 1))
	eventually(t, "the second policy decides too", func() bool {
		m.expect(http.StatusOK, "/users/alice/orders", alice)
		return m.authz.metric("sallyport_authz_shadow_total", `verdict="deny"`, `reason="insufficient_scope"`, `answered="allow"`) > 0
	})
	m.expect(http.StatusForbidden, "/users/bob/orders", alice)
	if seen, _ := m.upstream.seen(); seen.Get("x-user-id") != "alice" {
		t.Errorf("beside a trial the upstream is told %q", seen.Get("x-user-id"))
	}
	write(t, path, "version: 1\n")
	m.expect(http.StatusOK, "/users/alice/orders", alice)
}
