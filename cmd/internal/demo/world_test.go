package demo

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/issuer"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

func shipped(t *testing.T, name string) string {
	t.Helper()
	data, err := fs.ReadFile(files, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The policy loads as it is shipped and after the edit of the last act; with the slip of the finger it does not.
func TestPolicyFile(t *testing.T) {
	text := shipped(t, "policy.yaml")
	load := func(text string) int {
		_, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}})
		return len(errs)
	}
	if n := load(text); n != 0 {
		t.Errorf("the shipped policy has %d errors", n)
	}
	for _, place := range []string{issuerInFile, loopbackInFile} {
		if !strings.Contains(text, place) {
			t.Errorf("%s does not stand in the policy: nothing would be filled in", place)
		}
	}
	if read, _ := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}}); read == nil || read.Revocation == nil || read.Revocation.AllowStale || read.Issuers[issuerName] == nil {
		t.Errorf("the policy asks for no revocation, or an operator would name another issuer than %s", issuerName)
	}
	filled := strings.Replace(text, loopbackInFile, loopbackInFile+", 192.0.2.2", 1)
	if n := load(filled); n != 0 {
		t.Errorf("with this machine's addresses the policy has %d errors", n)
	}
	edited := strings.Replace(text, adminLine, auditorLine, 1)
	if edited == text || load(edited) != 0 {
		t.Error("the edit changes nothing, or breaks the policy")
	}
	slipped := strings.Replace(edited, ownerKey, mistyped, 1)
	if slipped == edited || load(slipped) == 0 {
		t.Error("the slip of the finger changes nothing, or goes unnoticed")
	}
	for _, place := range []string{adminLine, ownerKey} {
		if n := strings.Count(edited+"\n"+adminLine, place); n != 1 {
			t.Errorf("%q stands %d times in the policy", place, n)
		}
	}
}

func TestLimitsFiles(t *testing.T) {
	domains := map[string]bool{}
	for _, name := range []string{"limits/edge.yaml", "limits/mesh.yaml"} {
		file, errs := limits.Decode(name, []byte(shipped(t, name)))
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
			continue
		}
		domains[file.Domain] = true
	}
	if !domains["edge"] || !domains["mesh"] {
		t.Errorf("domains %v, want edge and mesh", domains)
	}
}

// The folder is private, holds what a person may edit with the true port in it, and an edit is all or nothing.
func TestLay(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	w := &world{p: &printer{}}
	if err := w.lay(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(w.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder's mode is %v, %v; it holds tokens", info.Mode(), err)
	}
	text, err := os.ReadFile(w.file("policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), issuerInFile) || !strings.Contains(string(text), "http://"+local(w.ports.issuer)) {
		t.Error("the policy does not name the issuer of this run")
	}
	if err := w.edit(adminLine, auditorLine); err != nil {
		t.Error(err)
	}
	if err := w.edit(adminLine, auditorLine); err == nil {
		t.Error("a line that is not there was replaced")
	}
	if err := w.edit("token.sub", "x"); err == nil {
		t.Error("a text that stands there more than once was replaced")
	}
	for name := range map[string]bool{"alice": true, "bob": true, "carol": true} {
		if token, err := os.ReadFile(w.file("tokens/" + name)); err != nil || strings.Count(string(token), ".") != 2 {
			t.Errorf("%s has no token: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(w.file("*.new")); len(left) > 0 {
		t.Errorf("half-written files are left: %v", left)
	}
	if err := w.close(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.dir); err != nil {
		t.Error("the folder is gone although it was to be kept")
	}
	if err := w.close(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(w.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// What would change the gates' own settings does not reach them.
func TestEnviron(t *testing.T) {
	w := &world{opt: Options{Environ: []string{"PATH=/bin", "SALLYPORT_POLICY=/etc/other", "SALLYPORT_ENVOY=/x", "HOME=/root"}}}
	if diff := cmp.Diff([]string{"PATH=/bin", "HOME=/root"}, w.environ()); diff != "" {
		t.Error(diff)
	}
}

// Where the servers are looked for.
func TestLocate(t *testing.T) {
	folder, inPath := t.TempDir(), t.TempDir()
	t.Chdir(folder)
	t.Setenv("PATH", inPath)
	executable := func(path string) string {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	find := func(given, want string) {
		t.Helper()
		if got, err := Locate("envoy", given); err != nil || got != want {
			t.Errorf("--envoy %q: %q, %v; want %q", given, got, err, want)
		}
	}
	find("", "")
	fetched := executable(filepath.Join(folder, "build/tools/bin/envoy"))
	find("", fetched)
	first := executable(filepath.Join(inPath, "envoy"))
	find("", first)
	find(fetched, fetched)
	find("build/tools/bin/envoy", fetched)
	find(None, "")
	if got, err := Locate("envoy", filepath.Join(folder, "nowhere")); err == nil {
		t.Errorf("a given path that is not there was taken for %q", got)
	}
}

// The service is naive: each of these spellings is Bob's orders to it, or the story would prove nothing.
func TestServiceIsNaive(t *testing.T) {
	s := &service{}
	ask := func(method, target string, fields ...string) echo {
		r := httptest.NewRequest(method, "/", nil)
		r.RequestURI = target
		for i := 0; i < len(fields); i += 2 {
			r.Header[fields[i]] = append(r.Header[fields[i]], fields[i+1])
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		var e echo
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	targets := []string{
		"/users/bob/orders", "/users/bob/orders/", "/USERS/bob/orders", "//users//bob//orders", "/users/bob;v=1/orders", "/users%2Fbob%2Forders",
		"/catalogue/../users/bob/orders", "/users/alice/%2e%2e/bob/orders", "/users/b%6Fb/orders", "/v0/users/bob/orders", "/users/bob/orders?x=1",
	}
	for _, target := range targets {
		if got := ask("GET", target); got.Says != "bob's orders" || got.Target != target {
			t.Errorf("%s: %+v", target, got)
		}
	}
	if got := s.calls(); got != int64(len(targets)) {
		t.Errorf("%d calls counted, want %d", got, len(targets))
	}
	for _, test := range []struct {
		name, says string
		fields     []string
	}{
		{"nobody", "hello nobody", nil},
		{"whoever is named", "hello admin", []string{"X-User-Id", "admin"}},
		{"the last of two", "hello admin", []string{"X-User-Id", "bob", "X-User-Id", "admin"}},
		{"an underscore is a hyphen", "hello admin", []string{"X-User-Id", "alice", "X_user_id", "admin"}},
	} {
		if got := ask("GET", "/me", test.fields...); got.Says != test.says {
			t.Errorf("%s: %q, want %q", test.name, got.Says, test.says)
		}
	}
	if got := ask("GET", "/nowhere"); got.Says != "no such page" {
		t.Errorf("a page that is not there: %q", got.Says)
	}
}

// The bad tokens are bad in the one way that their name says.
func TestTokens(t *testing.T) {
	now := time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)
	i, err := issuer.New(issuer.Options{Issuer: "http://127.0.0.1:1", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	all, err := mint(i, now)
	if err != nil {
		t.Fatal(err)
	}
	decode := func(part string) map[string]any {
		data, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	read := func(token string) (head, claims map[string]any) {
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			t.Fatalf("a token of %d parts", len(parts))
		}
		return decode(parts[0]), decode(parts[1])
	}
	_, alice := read(all.alice)
	if alice["sub"] != "alice" || alice["exp"].(float64)-alice["iat"].(float64) != tokenLife.Seconds() {
		t.Errorf("Alice's token says %v", alice)
	}
	if _, carol := read(all.carol); !slices.Equal(carol["roles"].([]any), []any{"admin"}) {
		t.Errorf("Carol's token says %v", carol)
	}
	if _, expired := read(all.expired); expired["exp"].(float64) >= float64(now.Unix()) || expired["exp"].(float64) <= expired["iat"].(float64) {
		t.Errorf("the expired token says %v", expired)
	}
	if _, frank := read(all.frank); frank["jti"] != franksPhone || frank["sub"] != "frank" {
		t.Errorf("Frank's token says %v", frank)
	}
	if _, other := read(all.otherAudience); other["aud"] != "payments-api" {
		t.Errorf("the token for another API says %v", other)
	}
	head, _ := read(all.unsigned)
	if head["alg"] != "none" || !strings.HasSuffix(all.unsigned, ".") || payload(all.unsigned) != payload(all.alice) {
		t.Errorf("the unsigned token begins with %v", head)
	}
	if head, claims := read(all.idToken); head["typ"] != "JWT" || claims["nonce"] == nil || claims["aud"] != webPage {
		t.Errorf("the ID token says %v %v", head, claims)
	}
	if _, claims := read(all.unscoped); claims["scope"] == readOrders {
		t.Error("the token without the scope has it")
	}
	holdsPublicKey(t, all.hs256, i.KeySet())
}

// holdsPublicKey verifies the confused token as a confused verifier would: by HMAC with the issuer's public key.
func holdsPublicKey(t *testing.T, token string, keySet []byte) {
	t.Helper()
	_, secret, err := publicPEM(keySet)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(secret)
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err != nil {
		t.Fatalf("the secret is no public key: %v", err)
	}
	end := strings.LastIndex(token, ".")
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(token[:end]))
	if token[end+1:] != base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) {
		t.Error("the token is not signed with the public key: it would be refused for a dull reason")
	}
	if _, _, err := publicPEM([]byte(`{"keys":[]}`)); err == nil {
		t.Error("a set without an RSA key gave one")
	}
}

// A decision is found by its own name or by the request's, and a later line is the truer one.
func TestAuditLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	lines := `{"decision_id":"A","request_id":"r1","verdict":"allow","reason":"allowed","rule":"list-orders"}
{"decision_id":"B","request_id":"r2","verdict":"deny","reason":"owner","rule":"list-orders"}
{"decision_id":"C","verdict":"deny","reason":"over_limit","rule":"mesh.who","detail":"A"}
`
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	log := auditLog(path)
	byRequest := log.find(t.Context(), reply{echo: echo{RequestID: "r1"}})
	byDecision := log.find(t.Context(), reply{problem: problem{DecisionID: "B"}})
	if byRequest.Reason != "allowed" || byDecision.Reason != "owner" {
		t.Errorf("found %+v and %+v", byRequest, byDecision)
	}
	if got := log.find(t.Context(), reply{}); got != (record{}) {
		t.Errorf("an answer without any name was found as %+v", got)
	}
	second := int64(strings.Index(lines, `{"decision_id":"C"`))
	if got := log.refusal(t.Context(), second); got.DecisionID != "C" {
		t.Errorf("the refusal is %+v", got)
	}
	if got := lastDenial([]byte(lines[:strings.Index(lines, "\n")])); got != (record{}) {
		t.Errorf("an allow was taken for a refusal: %+v", got)
	}
	if log.size() != int64(len(lines)) || auditLog(path+"x").size() != 0 {
		t.Error("the log's size is wrong")
	}
}
