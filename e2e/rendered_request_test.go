package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
)

// requestPolicy asks of a request whatever a policy can: its shape, its fields, where it comes from, who signed it, which application sent it.
const requestPolicy = `version: 1
trust_domain: cluster.local
peers: envoy
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
    workloads: [shop/orders]
    headers: {x-user-id: token.sub}
    cors: {origins: ["https://app.example"]}
    rules:
      - name: profile
        match: PATCH /users/{user_id}
        owner: {of: path.user_id, is: token.sub}
        body: {schema: {type: object, properties: {name: {type: string, maxLength: 1900}, role: {type: string}}}}
        writable: {everyone: [name], roles: {admin: [role]}}
      - {name: list, match: GET /orders, params: {query.page: {type: integer, maximum: 9}}}
      - {name: inside, match: GET /inside, public: true, from: [10.0.0.0/8]}
      - {name: here, match: GET /here, public: true, from: [127.0.0.0/8]}
      - {name: push, match: POST /push, public: true, signed_by: {hmac_sha256: x-hub-signature-256, key_file: DIR/push.key}}
      - {name: feed, match: GET /feed, client_key: {header: x-api-key, keys_file: DIR/clients.keys}}
`

const (
	pushKey    = "the key of the one who pushes"
	partnerKey = "sk_a-key-that-a-partner-was-given-once"
)

func newRenderedRequest(t *testing.T) *rendered {
	t.Helper()
	hash, ok := clientkey.HashOf(partnerKey)
	if !ok {
		t.Fatal("no key")
	}
	keys := t.TempDir()
	write(t, filepath.Join(keys, "push.key"), pushKey+"\n")
	write(t, filepath.Join(keys, "clients.keys"), "partner sha256:"+hash.String()+"\n")
	return newRenderedOf(t, "edge", strings.ReplaceAll(requestPolicy, "DIR", keys), nil)
}

// What a policy says of requests is what a real Envoy does with the configuration that was rendered from it, and the service hears of
// nothing else.
func TestRenderedRequest(t *testing.T) {
	m := newRenderedRequest(t)
	alice := []string{"authorization", "Bearer " + m.token("alice", ""), "content-type", "application/json"}
	with := func(headers ...string) []string { return append(headers, alice...) }
	named := func(length int) []byte {
		return []byte(`{"name":"` + strings.Repeat("x", length-len(`{"name":""}`)) + `"}`)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = zip.Write(named(50)) // a buffer takes everything
	_ = zip.Close()
	for _, test := range []struct {
		name, method, path string
		body               []byte
		headers            []string
		want, says         string
	}{
		{"her name", "PATCH", "/users/alice", []byte(`{"name":"al"}`), alice, "200", ""},
		{"Alice makes herself admin", "PATCH", "/users/alice", []byte(`{"name":"al","role":"admin"}`), alice, "403 field_not_writable", `"pointer":"/role"`},
		{"in another case", "PATCH", "/users/alice", []byte(`{"Role":"admin"}`), alice, "403 field_not_writable", ""},
		{"twice", "PATCH", "/users/alice", []byte(`{"name":"a","name":"b"}`), alice, "400 bad_body", ""},
		{"by the query", "PATCH", "/users/alice?role=admin", []byte(`{"name":"al"}`), alice, "400 bad_parameter", ""},
		{"another's name", "PATCH", "/users/bob", []byte(`{"name":"al"}`), alice, "403 owner", ""},
		{"as long as may be", "PATCH", "/users/alice", named(maxBody), alice, "400 bad_body", `"pointer":"/name","keyword":"maxLength"`},
		{"one byte over", "PATCH", "/users/alice", named(maxBody + 1), alice, "413 body_too_large", ""},
		{"gzip", "PATCH", "/users/alice", packed.Bytes(), with("content-encoding", "gzip"), "415 media_type", ""},
		{"a form", "PATCH", "/users/alice", []byte("name=al"), []string{"authorization", alice[1], "content-type", "application/x-www-form-urlencoded"}, "415 media_type", ""},
		{"no body", "PATCH", "/users/alice", nil, alice, "400 bad_body", ""},
		{"a page", "GET", "/orders?page=9", nil, alice[:2], "200", ""},
		{"a page beyond", "GET", "/orders?page=10", nil, alice[:2], "400 bad_parameter", `"parameter":"query.page"`},
		{"an unknown parameter", "GET", "/orders?page=9&all=1", nil, alice[:2], "400 bad_parameter", ""},
		{"from here", "GET", "/here", nil, nil, "200", ""},
		{"from elsewhere", "GET", "/inside", nil, nil, "403 address", ""},
		{"a forged X-Forwarded-For", "GET", "/inside", nil, []string{"x-forwarded-for", "10.1.2.3"}, "403 address", ""},
		{"forged in every way", "GET", "/inside", nil, []string{
			"x-forwarded-for", "10.1.2.3, 10.1.2.4", "x-real-ip", "10.1.2.3", "forwarded", "for=10.1.2.3", "x-envoy-external-address", "10.1.2.3", "true-client-ip", "10.1.2.3", "x-envoy-internal", "true",
		}, "403 address", ""},
		{"a signed event", "POST", "/push", []byte(`{"zen":1}`), []string{"x-hub-signature-256", "sha256=" + macOf(pushKey, `{"zen":1}`)}, "200", ""},
		{"an event that is not", "POST", "/push", []byte(`{"zen":2}`), []string{"x-hub-signature-256", "sha256=" + macOf(pushKey, `{"zen":1}`)}, "403 signature", ""},
		{"an application, and somebody", "GET", "/feed", nil, append([]string{"x-api-key", partnerKey}, alice[:2]...), "200", ""},
		{"an application alone", "GET", "/feed", nil, []string{"x-api-key", partnerKey}, "401 no_token", ""},
	} {
		before := m.calls.Load() + m.reads.Load()
		a := m.send(test.method, test.path, test.body, test.headers...)
		if outcome(a) != test.want || !strings.Contains(a.body, test.says) {
			t.Errorf("%s: %s, want %s %s: %s", test.name, outcome(a), test.want, test.says, a.body)
		}
		if called := m.calls.Load()+m.reads.Load() > before; called != (a.status == http.StatusOK) {
			t.Errorf("%s: the service was asked: %v", test.name, called)
		}
	}
	before := m.calls.Load()
	if a := m.send("OPTIONS", "/users/alice", nil, "origin", "https://app.example", "access-control-request-method", "PATCH"); !strings.HasPrefix(cors(a), "200 https://app.example ") || m.calls.Load() != before {
		t.Errorf("a preflight: %s", cors(a))
	}
}

// Thirty secrets and more, wherever a client can put one, stand nowhere: not in the audit log, on no output of a gate or of Envoy, in no
// metric, in no answer. Envoy's access log has the path as it was sent, so that an operator finds a request; of all the rest it has nothing.
func TestRenderedKeepsSecrets(t *testing.T) {
	m := newRenderedRequest(t)
	alice := m.token("alice", "")
	count := 0
	secret := func() string { count++; return fmt.Sprintf("CANARY%02dq7Zk", count) }
	var told strings.Builder
	ask := func(method, path, body string, headers ...string) {
		a := m.send(method, path, []byte(body), headers...)
		told.WriteString(a.body + fmt.Sprint(a.header))
	}
	bearer := []string{"authorization", "Bearer " + alice}
	ask("GET", "/orders", "", "authorization", "Bearer "+secret())
	ask("GET", "/orders", "", "authorization", "Bearer "+alice+secret())
	ask("GET", "/orders", "", "authorization", "Bearer eyJhbGciOiJub25lIn0."+secret()+".x")
	ask("GET", "/orders", "", "authorization", "Basic "+secret())
	ask("GET", "/orders", "", append([]string{"authorization", "Bearer " + secret()}, bearer...)...)
	for _, name := range []string{
		"cookie", "proxy-authorization", "x-api-key", "x-secret", "user-agent", "referer", "origin", "accept-language", "x-user-id", "x_user_id",
		"x-forwarded-for", "forwarded", "dpop", "x-csrf-token", "if-none-match", "content-type", "x-request-id", "x-hub-signature-256",
	} {
		ask("GET", "/orders", "", append([]string{name, secret()}, bearer...)...)
	}
	ask("GET", "/feed", "", append([]string{"x-api-key", "sk_" + secret() + strings.Repeat("x", 30)}, bearer...)...)
	ask("POST", "/push", secret(), "x-hub-signature-256", secret())
	for _, query := range []string{"page=", "password=", "access_token=", ""} {
		ask("GET", "/orders?"+query+secret(), "", bearer...)
	}
	var inPaths []string
	for _, path := range []string{"/users/alice;jsessionid=", "/nothing/", "/orders/%2e%2e/", "/users/"} {
		inPaths = append(inPaths, secret())
		ask("PATCH", path+inPaths[len(inPaths)-1], `{"name":"al"}`, append([]string{"content-type", "application/json"}, bearer...)...)
	}
	for _, body := range []string{`{"name":"` + secret() + `","x":1}`, `{"name":["` + secret() + `"]}`, `{"name":"` + secret() + strings.Repeat("x", 1900) + `"}`, `{"name":"` + secret()} {
		ask("PATCH", "/users/alice", body, append([]string{"content-type", "application/json"}, bearer...)...)
	}
	// A field's name is told to the one who sent it, and to nobody else unless it looks like a name.
	m.send("PATCH", "/users/alice", []byte(`{"a `+secret()+`":1}`), append([]string{"content-type", "application/json"}, bearer...)...)
	ask("OPTIONS", "/orders", "", "origin", "https://"+strings.ToLower(secret())+".example", "access-control-request-method", "GET")
	if count < 30 {
		t.Fatalf("%d secrets were planted, want 30", count)
	}
	_, metrics := get(local(m.authz.admin), "/metrics")
	_, limits := get(local(m.limits.admin), "/metrics")
	_, ready := get(local(m.authz.admin), "/readyz")
	for _, p := range []*process{m.envoy, m.authz.process, m.limits.process} {
		p.signal(terminate)
		p.wait()
	}
	outputs := map[string]string{
		"gate's output": m.authz.output.String(), "limiter's output": m.limits.output.String(), "Envoy's output": m.envoy.output.String(),
		"metrics": metrics, "limiter's metrics": limits, "/readyz": ready, "client's answers": told.String(),
	}
	for _, file := range []string{"audit.jsonl", "access.log"} {
		data, err := os.ReadFile(filepath.Join(m.dir, file))
		if err != nil || bytes.Count(data, []byte("\n")) < 20 {
			t.Errorf("%s: %d lines, %v", file, bytes.Count(data, []byte("\n")), err)
		}
		outputs[file] = string(data)
	}
	for _, of := range inPaths {
		outputs["access.log"] = strings.ReplaceAll(outputs["access.log"], of, "")
	}
	for where, text := range outputs {
		if at := strings.Index(strings.ToUpper(text), "CANARY"); at >= 0 {
			t.Errorf("the %s holds a secret: ...%s", where, text[max(0, at-200):min(len(text), at+60)])
		}
		for _, of := range []string{alice[strings.LastIndexByte(alice, '.')+1:], pushKey, partnerKey} {
			if strings.Contains(text, of) {
				t.Errorf("the %s holds %q", where, of)
			}
		}
	}
}
