package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// outcome is an answer in one line.
func outcome(a answer) string { return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, a.reason())) }

// Where a request comes from is what the proxies say that the policy trusts, and never what the client says; a list in a file is in force as
// soon as it changes.
func TestOrigin(t *testing.T) {
	m := newMesh(t, meshOptions{
		policy: func(issuerURL string) string {
			return strings.Replace(strings.Replace(shopPolicy(issuerURL), "        public: true\n", "        public: true\n        from: {file: partners.cidr}\n", 1),
				"    edge: true\n", "    edge: true\n    not_from: [198.51.100.66]\n", 1)
		},
		files: map[string]string{"partners.cidr": "198.51.100.0/24 # the office\n"},
	})
	list := filepath.Join(m.dir, "partners.cidr")
	if got := outcome(m.call("/catalogue/tea", "")); got != "200" { // from 198.51.100.7, says the proxy that stands before Envoy
		t.Errorf("the office: %s", got)
	}
	calls := m.upstream.calls.Load()
	// What the client itself wrote stands left of what the proxy adds.
	for name, headers := range map[string][]string{
		"a forged X-Forwarded-For":      {"x-forwarded-for", "203.0.113.9"},
		"two forged ones":               {"x-forwarded-for", "198.51.100.8", "x-forwarded-for", "203.0.113.9"},
		"an octal spelling":             {"x-forwarded-for", "0306.0063.0144.07"},
		"a name":                        {"x-forwarded-for", "localhost"},
		"one that the service refuses":  {"x-forwarded-for", "198.51.100.66"},
		"other headers for an address":  {"x-forwarded-for", "203.0.113.9", "x-real-ip", "198.51.100.7", "forwarded", "for=198.51.100.7", "x-envoy-external-address", "198.51.100.7"},
		"a zone behind another address": {"x-forwarded-for", "198.51.100.7%eth0"},
	} {
		if got := outcome(m.call("/catalogue/tea", "", headers...)); got != "403 address" {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := outcome(m.call("/users/alice/orders", "not-a-token", "x-forwarded-for", "198.51.100.66")); got != "403 address" {
		t.Errorf("the token of a stranger was looked at: %s", got)
	}
	if again := m.upstream.calls.Load(); again != calls {
		t.Errorf("%d refused requests reached the upstream", again-calls)
	}
	write(t, list, "203.0.113.0/24\n")
	eventually(t, "the list is read again", func() bool {
		return outcome(m.call("/catalogue/tea", "", "x-forwarded-for", "203.0.113.9")) == "200" && outcome(m.call("/catalogue/tea", "")) == "403 address"
	})
	write(t, list, "203.0.113.9/24\n")
	eventually(t, "the bad list is told", func() bool {
		_, body := get(local(m.authz.admin), "/readyz")
		return strings.Contains(body, "partners.cidr")
	})
	if got := outcome(m.call("/catalogue/tea", "", "x-forwarded-for", "203.0.113.9")); got != "200" {
		t.Errorf("the last good list: %s", got)
	}
}

const hookPolicy = `version: 1
services:
  - name: orders
    hosts: [shop.test]
    edge: true
    rules:
      - name: push
        match: POST /hooks/push
        public: true
        signed_by: {hmac_sha256: x-hub-signature-256, key_file: DIR/push.key}
      - name: pay
        match: POST /hooks/pay
        public: true
        signed_by:
          hmac_sha256: stripe-signature
          prefix: "v1="
          timestamp: "t="
          signed: "{timestamp}.{body}"
          key_files: [DIR/new.key, DIR/old.key]
`

func macOf(key, text string) string {
	mac := hmac.New(sha256.New, []byte(key))
	_, _ = mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

// A webhook passes by its signature alone: byte for byte, whole, now, and by the keys of now.
func TestWebhooks(t *testing.T) {
	const newKey, oldKey = "the new key of the one who pays", "the old key of the one who pays"
	keys := t.TempDir()
	for name, key := range map[string]string{"push.key": pushKey, "new.key": newKey, "old.key": oldKey} {
		write(t, filepath.Join(keys, name), key+"\n")
	}
	m := newMesh(t, meshOptions{
		policy: func(string) string { return strings.ReplaceAll(hookPolicy, "DIR", keys) },
		bend: func(config string) string {
			return strings.Replace(config, `{path: "/orders:delete"}`, `{prefix: "/hooks/"}`, 1)
		},
	})
	push := func(body, signature string, headers ...string) string {
		return outcome(m.post("/hooks/push", "", "application/json", strings.NewReader(body), append([]string{"x-hub-signature-256", signature}, headers...)...))
	}
	binary := "\x00\xff\xfe!"
	for name, got := range map[string][2]string{
		"GitHub's":                {push(`{"zen":1}`, "sha256="+macOf(pushKey, `{"zen":1}`)), "200"},
		"bytes that are no text":  {push(binary, macOf(pushKey, binary)), "200"},
		"another body":            {push(`{"zen":2}`, "sha256="+macOf(pushKey, `{"zen":1}`)), "403 signature"},
		"another key":             {push(`{"zen":1}`, "sha256="+macOf(newKey, `{"zen":1}`)), "403 signature"},
		"no signature":            {outcome(m.post("/hooks/push", "", "application/json", strings.NewReader("{}"))), "403 signature"},
		"two signatures":          {push("{}", macOf(pushKey, "{}"), "x-hub-signature-256", macOf(pushKey, "{}")), "403 signature"},
		"no body":                 {push("", macOf(pushKey, "")), "400 bad_body"},
		"a body beyond the bound": {push(strings.Repeat("x", 65537), macOf(pushKey, strings.Repeat("x", 65537))), "413 body_too_large"},
		"a compressed body":       {push("{}", macOf(pushKey, "{}"), "content-encoding", "gzip"), "415 media_type"},
		"a forged mark":           {push("{}", macOf(pushKey, "{"), "x-envoy-auth-partial-body", "false"), "403 signature"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", name, got[0], got[1])
		}
	}
	pay := func(key string, ago time.Duration) string {
		at := strconv.FormatInt(time.Now().Add(-ago).Unix(), 10)
		return outcome(m.post("/hooks/pay", "", "application/json", strings.NewReader("{}"), "stripe-signature", "t="+at+",v1="+macOf(key, at+".{}")+",v0=00"))
	}
	for name, got := range map[string][2]string{
		"the new key": {pay(newKey, 0), "200"}, "the old key": {pay(oldKey, 0), "200"}, "another key": {pay(pushKey, 0), "403 signature"}, "an hour ago": {pay(newKey, time.Hour), "403 signature"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", name, got[0], got[1])
		}
	}
	write(t, filepath.Join(keys, "old.key"), "the next key of the one who pays\n")
	eventually(t, "the old key is taken no more", func() bool {
		return pay(oldKey, 0) == "403 signature" && pay("the next key of the one who pays", 0) == "200"
	})
	for _, secret := range []string{pushKey, newKey, oldKey, macOf(pushKey, `{"zen":1}`)} {
		if strings.Contains(m.authz.output.String(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}

// An application's key: never enough alone, never seen by the upstream, and the application's name in its place.
func TestClientKeys(t *testing.T) {
	const inFile, inRedis = "sk_a-key-that-a-partner-was-given-once", "sk_another-key-that-another-was-given"
	hash := func(key string) string {
		h, ok := clientkey.HashOf(key)
		if !ok {
			t.Fatal(key)
		}
		return h.String()
	}
	valkey := storetest.RunValkey(t)
	fill := redis.NewClient(&redis.Options{Addr: valkey.Addr})
	defer fill.Close()
	if err := fill.Set(t.Context(), "client-key:"+hash(inRedis), "other", 0).Err(); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "clients.keys")
	write(t, keys, "partner sha256:"+hash(inFile)+"\n")
	m := newMesh(t, meshOptions{policy: func(issuerURL string) string {
		return shopPolicy(issuerURL)[:strings.Index(shopPolicy(issuerURL), "    headers:")] + `    headers: {x-client: client, x-user-id: token.sub}
    rules:
      - {name: feed, match: GET /feed, client_key: {header: x-api-key, keys_file: ` + keys + `}}
      - {name: stored, match: GET /stored, client_key: {header: x-api-key, redis: {url: "redis://` + valkey.Addr + `/0", prefix: "client-key:", timeout: 500ms}}}
`
	}})
	alice := m.token("alice", "")
	for name, got := range map[string][2]string{
		"a token and a key":       {outcome(m.call("/feed", alice, "x-api-key", inFile)), "200"},
		"a key alone":             {outcome(m.call("/feed", "", "x-api-key", inFile)), "401 no_token"},
		"a token alone":           {outcome(m.call("/feed", alice)), "403 client_key"},
		"a key that nobody has":   {outcome(m.call("/feed", alice, "x-api-key", inRedis)), "403 client_key"},
		"two keys":                {outcome(m.call("/feed", alice, "x-api-key", inFile, "x-api-key", inFile)), "403 client_key"},
		"a key in Redis":          {outcome(m.call("/stored", alice, "x-api-key", inRedis)), "200"},
		"a key that Redis has no": {outcome(m.call("/stored", alice, "x-api-key", inFile)), "403 client_key"},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %s, want %s", name, got[0], got[1])
		}
	}
	m.expect(http.StatusOK, "/feed", alice, "x-api-key", inFile, "x-client", "admin")
	if seen, _ := m.upstream.seen(); len(seen.Values("x-client")) != 1 || seen.Get("x-client") != "partner" || seen.Get("x-api-key") != "" || seen.Get("x-user-id") != "alice" {
		t.Errorf("the upstream saw %v", seen)
	}
	// Changed by overlap: both keys are good, then the new one alone.
	next := "sk_the-next-key-that-a-partner-was-given"
	write(t, keys, "partner sha256:"+hash(inFile)+"\npartner sha256:"+hash(next)+"\n")
	eventually(t, "both keys are good", func() bool {
		return outcome(m.call("/feed", alice, "x-api-key", next)) == "200" && outcome(m.call("/feed", alice, "x-api-key", inFile)) == "200"
	})
	write(t, keys, "partner sha256:"+hash(next)+"\n")
	eventually(t, "the old key is taken no more", func() bool { return outcome(m.call("/feed", alice, "x-api-key", inFile)) == "403 client_key" })
	// Who was asked about lately is remembered for some seconds, and nobody else.
	valkey.Kill()
	if got := outcome(m.call("/stored", alice, "x-api-key", next)); got != "503 keys_unavailable" {
		t.Errorf("while Redis is away: %s", got)
	}
	eventually(t, "what was remembered is forgotten", func() bool { return outcome(m.call("/stored", alice, "x-api-key", inRedis)) == "503 keys_unavailable" })
	for _, secret := range []string{inFile, inRedis, next} {
		if strings.Contains(m.authz.output.String(), secret) {
			t.Errorf("the log shows %q", secret)
		}
	}
}
