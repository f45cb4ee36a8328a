package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// shapedPolicy says what a body and a query may be; its one body route is the one that the Envoy file has.
func shapedPolicy(issuerURL string) string {
	return strings.NewReplacer("ISSUER", issuerURL, "LOCAL", localAddresses()).Replace(`version: 1
trusted_proxies: [LOCAL]
issuers:
  shop:
    issuer: ISSUER
    jwks: ISSUER/jwks.json
    audiences: [orders-api]
    machine: token.sub == token.client_id
    claims: {roles: strings}
services:
  - name: orders
    hosts: [shop.test]
    edge: true
    rules:
      - name: change
        match: POST /orders:delete
        body: {schema: order.json, types: [application/json, application/merge-patch+json]}
        writable: {everyone: [name, "lines[*].n"], roles: {admin: [role]}}
      - name: list
        match: GET /orders
        params: {query.page: {type: integer, maximum: 9}}
`)
}

const shapedOrder = `{"type": "object", "properties": {"name": {"type": ["string", "null"], "maxLength": 9}, "lines": {"type": "array", "maxItems": 2}}}`

// What may be asked, and what a body may say, through Envoy: nothing else reaches the service, and no answer shows a value.
func TestRequestsAreHeldToTheirShape(t *testing.T) {
	m := newMesh(t, meshOptions{policy: shapedPolicy, files: map[string]string{"order.json": shapedOrder}})
	alice := m.token("alice", "")
	const canary = "canary-5f1e"
	long := func(n int) io.Reader {
		return bytes.NewReader(append([]byte(`{"name":"`), bytes.Repeat([]byte("a"), n)...))
	}
	for _, test := range []struct {
		name, path, kind string
		body             io.Reader
		headers          []string
		want, says       string
	}{
		{"good", "/orders:delete", "application/json", strings.NewReader(`{"name":"al","lines":[{"n":1}]}`), nil, "200 ", ""},
		{"a merge patch", "/orders:delete", "application/merge-patch+json", strings.NewReader(`{"name":null}`), nil, "200 ", ""},
		{"Alice makes herself admin", "/orders:delete", "application/json", strings.NewReader(`{"role":"` + canary + `"}`), nil, "403 field_not_writable", `"pointer":"/role"`},
		{"a field of an element", "/orders:delete", "application/json", strings.NewReader(`{"lines":[{"n":1},{"n":1,"price":"` + canary + `"}]}`), nil, "403 field_not_writable", `"pointer":"/lines/1/price"`},
		{"the schema", "/orders:delete", "application/json", strings.NewReader(`{"name":"` + canary + `"}`), nil, "400 bad_body", `"pointer":"/name","keyword":"maxLength"`},
		{"a form", "/orders:delete", "application/x-www-form-urlencoded", strings.NewReader("name=a"), nil, "415 media_type", ""},
		{"compressed", "/orders:delete", "application/json", strings.NewReader("\x1f\x8b\x08"), []string{"content-encoding", "gzip"}, "415 media_type", ""},
		{"one byte over", "/orders:delete", "application/json", long(32767 - len(`{"name":"`) + 1), nil, "413 body_too_large", ""},
		{"all that the route takes", "/orders:delete", "application/json", long(32767 - len(`{"name":"`)), nil, "400 bad_body", ""},
		{"an unknown parameter", "/orders:delete?admin=" + canary, "application/json", strings.NewReader(`{"name":"a"}`), nil, "400 bad_parameter", ""},
	} {
		before := m.upstream.calls.Load()
		a := m.post(test.path, alice, test.kind, test.body, test.headers...)
		if got := fmt.Sprintf("%d %s", a.status, a.reason()); got != test.want || !strings.Contains(a.body, test.says) || test.want != "200 " && strings.Contains(a.body, canary) {
			t.Errorf("%s: %s, want %s %s: %s", test.name, got, test.want, test.says, a.body)
		}
		if called := m.upstream.calls.Load() > before; called != (a.status == http.StatusOK) {
			t.Errorf("%s: the upstream was called: %v", test.name, called)
		}
	}
	for path, want := range map[string]string{"/orders?page=9": "200 ", "/orders": "200 ", "/orders?page=10": "400 bad_parameter", "/orders?page=1&all=" + canary: "400 bad_parameter"} {
		a := m.call(path, alice)
		if got := fmt.Sprintf("%d %s", a.status, a.reason()); got != want || strings.Contains(a.body, canary) {
			t.Errorf("%s: %s, want %s: %s", path, got, want, a.body)
		}
	}
	audited := func() string {
		data, _ := os.ReadFile(filepath.Join(m.dir, "audit.jsonl")) // none yet is none
		return string(data)
	}
	for _, want := range []string{`"place":"/role"`, `"place":"/name","keyword":"maxLength"`, `"place":"query.page","keyword":"maximum"`} {
		eventually(t, "the audit log says "+want, func() bool { return strings.Contains(audited(), want) })
	}
	if out := audited() + m.authz.output.String(); strings.Contains(out, canary) {
		t.Errorf("a value is in the logs:\n%s", out)
	}
	// The schema is a file like the policy: a new one is in force at once, and a broken one changes nothing.
	order := filepath.Join(filepath.Dir(m.policy), "order.json")
	write(t, order, `{"type": "object", "properties": {"name": {"maxLengt": 2}}}`)
	eventually(t, "the broken schema is refused", func() bool { return strings.Contains(m.authz.output.String(), "maxLengt") })
	if a := m.post("/orders:delete", alice, "application/json", strings.NewReader(`{"name":"alice"}`)); a.status != http.StatusOK {
		t.Errorf("under the last good schema: %d %s", a.status, a.body)
	}
	write(t, order, `{"properties": {"name": {"maxLength": 2}}}`)
	eventually(t, "the new schema is in force", func() bool {
		return m.post("/orders:delete", alice, "application/json", strings.NewReader(`{"name":"alice"}`)).status == http.StatusBadRequest
	})
}
