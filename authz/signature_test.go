package authz_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/webhook"
)

// hooks is a policy of signed webhooks.
const hooks = `version: 1
services:
  - name: hooks
    hosts: [orders.example]
    rules:
      - {name: push, match: POST /push, public: true, signed_by: {hmac_sha256: x-hub-signature-256, key_file: push.key}}
      - name: pay
        match: POST /pay
        public: true
        signed_by: {hmac_sha256: x-signature, prefix: "v0=", timestamp: x-timestamp, signed: "{header.x-id}.{timestamp}.{body}", key_files: [new.key, old.key]}
      - {name: lost, match: POST /lost, public: true, signed_by: {hmac_sha256: x-signature, key_file: nobody.key}}
      - {name: empty, match: POST /empty, public: true, signed_by: {hmac_sha256: x-signature, key_file: empty.key}}
`

// heldKeys are keys that do not change.
type heldKeys []*webhook.Key

func (k heldKeys) Keys() []*webhook.Key { return k }

const (
	pushKey = "the key of the one who pushes"
	newKey  = "the new key of the one who pays"
	oldKey  = "the old key of the one who pays"
)

func hookGate(t testing.TB) *authz.Authorizer {
	t.Helper()
	p := mustParse(t, hooks)
	keys := map[string]authz.WebhookKeys{}
	for _, rule := range p.Services[0].Rules {
		var held heldKeys
		for _, file := range rule.SignedBy.Keys.Files {
			if secret := map[string]string{"push.key": pushKey, "new.key": newKey, "old.key": oldKey}[file]; secret != "" {
				key, err := webhook.NewKey([]byte(secret))
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, key)
			}
		}
		if rule.Name != "lost" {
			keys[rule.SignedBy.Keys.Name] = held
		}
	}
	a := gateWith(t, hooks, authz.Options{})
	a.Use(&authz.Bundle{Policy: p, WebhookKeys: keys})
	return a
}

// sent is a body as Envoy shows it whole.
func sent(body string, change ...func(*authz.Request)) option {
	return func(r *authz.Request) {
		r.Body = authz.Body{Data: []byte(body), Size: int64(len(body))}
		header("content-length", strconv.Itoa(len(body)))(r)
		header("x-envoy-auth-partial-body", "false")(r)
		for _, c := range change {
			c(r)
		}
	}
}

func mac(key, text string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// Whoever signs may pass, whatever it sends; what is missing, twice, of another length, wrong, old or partial is a denial by its name.
func TestSignature(t *testing.T) {
	now := strconv.FormatInt(authztest.Now.Unix(), 10)
	old := strconv.FormatInt(authztest.Now.Unix()-301, 10)
	signed := func(key, text string) option { return header("x-hub-signature-256", "sha256="+mac(key, text)) }
	paid := func(key, id, at, text string) option {
		return func(r *authz.Request) {
			header("x-signature", "v0="+mac(key, id+"."+at+"."+text))(r)
			header("x-timestamp", at)(r)
			header("x-id", id)(r)
		}
	}
	partial := func(r *authz.Request) {
		for i := range r.Headers.Fields {
			if r.Headers.Fields[i].Name == "x-envoy-auth-partial-body" {
				r.Headers.Fields[i].Value = "true"
			}
		}
	}
	judge(t, hookGate(t), detail, []line{
		{"JSON", post("/push", sent("{}"), signed(pushKey, "{}"), header("content-type", "application/json")), "200 public push"},
		{"a form", post("/push", sent("a=b"), signed(pushKey, "a=b"), header("content-type", "application/x-www-form-urlencoded")), "200 public push"},
		{"no type", post("/push", sent("a"), signed(pushKey, "a")), "200 public push"},
		{"bytes that are no text", post("/push", sent("\x00\xff!"), signed(pushKey, "\x00\xff!")), "200 public push"},
		{"a token beside it is not looked at", post("/push", sent("{}"), signed(pushKey, "{}"), as("panic")), "200 public push"},

		{"missing", post("/push", sent("{}")), "403 signature push (missing)"},
		{"empty", post("/push", sent("{}"), header("x-hub-signature-256", "")), "403 signature push (missing)"},
		{"twice", post("/push", sent("{}"), signed(pushKey, "{}"), signed(pushKey, "{}")), "403 signature push (ambiguous)"},
		{"in two spellings", post("/push", sent("{}"), signed(pushKey, "{}"), header("x_hub_signature_256", "sha256=00")), "403 signature push (ambiguous)"},
		{"wrong length", post("/push", sent("{}"), header("x-hub-signature-256", "sha256="+mac(pushKey, "{}")[2:])), "403 signature push (form)"},
		{"wrong MAC", post("/push", sent("{}"), signed(newKey, "{}")), "403 signature push (mac)"},
		{"a changed body", post("/push", sent("{ }"), signed(pushKey, "{}")), "403 signature push (mac)"},

		{"the new key", post("/pay", sent("{}"), paid(newKey, "m-1", now, "{}")), "200 public pay"},
		{"the old key", post("/pay", sent("{}"), paid(oldKey, "m-1", now, "{}")), "200 public pay"},
		{"another's key", post("/pay", sent("{}"), paid(pushKey, "m-1", now, "{}")), "403 signature pay (mac)"},
		{"an old timestamp", post("/pay", sent("{}"), paid(newKey, "m-1", old, "{}")), "403 signature pay (timestamp)"},
		{"no timestamp", post("/pay", sent("{}"), header("x-id", "m-1"), header("x-signature", "v0="+mac(newKey, "m-1..{}"))), "403 signature pay (missing)"},
		{"two timestamps", post("/pay", sent("{}"), paid(newKey, "m-1", now, "{}"), header("x-timestamp", now)), "403 signature pay (ambiguous)"},
		{"no id", post("/pay", sent("{}"), header("x-timestamp", now), header("x-signature", "v0="+mac(newKey, "."+now+".{}"))), "403 signature pay (missing)"},

		{"no body", post("/push", signed(pushKey, "")), "400 bad_body push (no_body)"},
		{"no body, with a forged mark", post("/push", signed(pushKey, ""), header("x-envoy-auth-partial-body", "false")), "400 bad_body push (no_body)"},
		{"a partial body", post("/push", sent("{}", partial), signed(pushKey, "{}")), "413 body_too_large push (partial)"},
		{"a body shorter than it says", post("/push", sent("{}", func(r *authz.Request) { r.Body.Size = 3 }), signed(pushKey, "{}")), "400 bad_body push (partial)"},
		{"a compressed body", post("/push", sent("{}"), signed(pushKey, "{}"), header("content-encoding", "gzip")), "415 media_type push (compressed)"},
		{"bytes that Envoy replaced", post("/push", sent("{!}", func(r *authz.Request) { r.Body.Lossy = true }), signed(pushKey, "{!}")), "400 bad_body push (ambiguous)"},

		{"keys that nobody has", post("/lost", sent("{}"), header("x-signature", mac(pushKey, "{}"))), "503 keys_unavailable lost (unavailable)"},
		{"keys that nobody could read", post("/empty", sent("{}"), header("x-signature", mac("", "{}"))), "503 keys_unavailable empty (unavailable)"},
	})
}

// The explanation says who must have signed, and shows neither the signature nor the body.
func TestSignatureExplained(t *testing.T) {
	a := hookGate(t)
	ask := post("/pay", sent("a secret body"), header("x-signature", "v0="+mac(oldKey, "other")), header("x-timestamp", strconv.FormatInt(authztest.Now.Unix(), 10)), header("x-id", "m-1"))
	text := authz.Explain(a.Check(t.Context(), ask), ask).Text()
	for _, want := range []string{
		"DENY  403 signature (mac)", "signature   FAILED       a body signed in x-signature by a key of new.key, old.key within 5m0s",
		"what would have allowed it: a body signed in x-signature by a key of new.key, old.key within 5m0s",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	for _, secret := range []string{"a secret body", mac(oldKey, "other"), oldKey, newKey} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

func BenchmarkSignature(b *testing.B) {
	a := hookGate(b)
	body := strings.Repeat("x", 8<<10)
	ask := post("/push", sent(body), header("x-hub-signature-256", "sha256="+mac(pushKey, body)))
	b.ReportAllocs()
	for b.Loop() {
		if d := a.Check(b.Context(), ask); d.Verdict != authz.Allow {
			b.Fatal(verdict(d))
		}
	}
}
