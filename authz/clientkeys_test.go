package authz_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
)

const partners = `version: 1
issuers:
  shop:
    issuer: https://auth.example.com
    audiences: [orders-api]
services:
  - name: orders
    hosts: [orders.example]
    headers: {x-client: client, x-user-id: token.sub}
    rules:
      - {name: feed, match: GET /feed, client_key: {header: x-api-key, keys_file: clients.keys}, metadata: {app: client}}
      - {name: scoped, match: GET /scoped, scopes: ["read:orders"], client_key: {header: x-api-key, keys_file: clients.keys, forward: true}}
      - {name: away, match: GET /away, client_key: {header: x-api-key, keys_file: away.keys}}
      - {name: odd, match: GET /odd, client_key: {header: x-api-key, keys_file: odd.keys}}
      - {name: lost, match: GET /lost, client_key: {header: x-api-key, keys_file: lost.keys}}
      - {name: open, match: GET /open, public: true}
`

// clientsOf answers by a function.
type clientsOf func(clientkey.Hash, time.Time) (string, error)

func (f clientsOf) Client(_ context.Context, h clientkey.Hash, now time.Time) (string, error) {
	return f(h, now)
}

const partnerKey = "sk_the-key-of-a-partner-that-is-long"

func partnerGate(t testing.TB) *authz.Authorizer {
	t.Helper()
	p := mustParse(t, partners)
	known, _ := clientkey.HashOf(partnerKey)
	set, err := clientkey.Parse([]byte(clientkey.Line("partner", known, "", "")))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]authz.ClientKeys{}
	for _, rule := range p.Services[0].Rules {
		if rule.ClientKey == nil {
			continue
		}
		switch rule.Name {
		case "lost":
		case "away":
			keys[rule.ClientKey.Keys.Name] = clientsOf(func(clientkey.Hash, time.Time) (string, error) { return "partner", errors.New("it is away") })
		case "odd":
			keys[rule.ClientKey.Keys.Name] = clientsOf(func(clientkey.Hash, time.Time) (string, error) { return "a|b", nil })
		default:
			keys[rule.ClientKey.Keys.Name] = clientsOf(func(h clientkey.Hash, now time.Time) (string, error) {
				client, _ := set.Client(h, now)
				return client, nil
			})
		}
	}
	a := gateWith(t, partners, authz.Options{})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}, ClientKeys: keys})
	return a
}

// A token and a key: neither is enough alone.
func TestClientKey(t *testing.T) {
	key := header("x-api-key", partnerKey)
	judge(t, partnerGate(t), detail, []line{
		{"a token and a key", get("/feed", as("alice"), key), "200 allowed feed"},
		{"a key alone", get("/feed", key), "401 no_token feed"},
		{"a token alone", get("/feed", as("alice")), "403 client_key feed (missing)"},
		{"an empty key", get("/feed", as("alice"), header("x-api-key", "")), "403 client_key feed (missing)"},
		{"two keys", get("/feed", as("alice"), key, header("x-api-key", "sk_another-key-that-is-as-long")), "403 client_key feed (ambiguous)"},
		{"one key twice", get("/feed", as("alice"), key, key), "403 client_key feed (ambiguous)"},
		{"a key in two spellings", get("/feed", as("alice"), key, header("x_api_key", partnerKey)), "400 bad_header none"},
		{"an unknown key", get("/feed", as("alice"), header("x-api-key", partnerKey+"x")), "403 client_key feed (unknown)"},
		{"a short key", get("/feed", as("alice"), header("x-api-key", "short")), "403 client_key feed (form)"},
		{"a long key", get("/feed", as("alice"), header("x-api-key", strings.Repeat("k", 513))), "403 client_key feed (form)"},
		{"the hash of a key", get("/feed", as("alice"), header("x-api-key", "sha256:"+strings.Repeat("ab", 32))), "403 client_key feed (unknown)"},
		{"a bad token beside a key", get("/feed", as("nonsense"), key), "401 invalid_token feed (malformed)"},
		{"a key lends no scopes", get("/scoped", as("noscope"), key), "403 insufficient_scope scoped"},
		{"a store that is away", get("/away", as("alice"), key), "503 keys_unavailable away (unavailable)"},
		{"a store that answers nonsense", get("/odd", as("alice"), key), "503 keys_unavailable odd (answer)"},
		{"a store that nobody opened", get("/lost", as("alice"), key), "503 keys_unavailable lost (unavailable)"},
		{"a key where none is asked for", get("/open", key), "200 public open"},
	})
}

// The key names the application in metadata and headers, never who asks, and does not reach the upstream unless the rule hands it on.
func TestClientKeyEffects(t *testing.T) {
	a := partnerGate(t)
	key := header("x-api-key", partnerKey)
	d := a.Check(t.Context(), get("/feed", as("alice"), key))
	if d.Client != "partner" || d.Who != "user|shop|alice" || !slices.Contains(d.Remove, "x-api-key") || !slices.Contains(d.Set, authz.Field{Name: "x-client", Value: "partner"}) ||
		!slices.Contains(d.Metadata, authz.Field{Name: "app", Value: "partner"}) {
		t.Errorf("client %q, who %q, removed %v, set %v, metadata %v", d.Client, d.Who, d.Remove, d.Set, d.Metadata)
	}
	if d := a.Check(t.Context(), get("/scoped", as("alice"), key)); d.Verdict != authz.Allow || slices.Contains(d.Remove, "x-api-key") {
		t.Errorf("%s removes %v", verdict(d), d.Remove)
	}
	if d := a.Check(t.Context(), get("/open", key)); d.Client != "" || !slices.Contains(d.Remove, "x-api-key") {
		t.Errorf("a public rule: client %q, removed %v", d.Client, d.Remove)
	}
	if d := a.Check(t.Context(), get("/open", header("x_api_key", partnerKey))); d.Reason != authz.BadHeader {
		t.Errorf("a spelling that is not removed: %s", verdict(d))
	}
	if d := a.Check(t.Context(), get("/feed", as("alice"))); d.Client != "" {
		t.Errorf("a denial names %q", d.Client)
	}
}

// While a service is in shadow its keys do not reach the upstream either, whatever its rules would say.
func TestClientKeyInShadow(t *testing.T) {
	text := strings.Replace(partners, "    rules:\n", "    shadow: {answer: allow, until: 2099-01-15}\n    rules:\n", 1)
	a := gate(t, text)
	for _, target := range []string{"/feed", "/nowhere", "/open"} {
		d := a.Check(t.Context(), get(target, header("x-api-key", partnerKey)))
		if d.Verdict != authz.Allow || !slices.Contains(d.Remove, "x-api-key") || !slices.Contains(d.Remove, "x-user-id") {
			t.Errorf("%s: %s removes %v", target, verdict(d), d.Remove)
		}
	}
}

// No explanation shows a key.
func TestClientKeyExplained(t *testing.T) {
	a := partnerGate(t)
	for ask, want := range map[*authz.Request]string{
		get("/feed", as("alice"), header("x-api-key", partnerKey)):                  `client      passed       an application's key in x-api-key; found that of "partner"`,
		get("/feed", as("alice"), header("x-api-key", strings.ToUpper(partnerKey))): "client      FAILED       an application's key in x-api-key; found none that names one",
		get("/feed", as("alice"), header("x-api-key", "a short one")):               "what would have allowed it: an application's key in x-api-key",
	} {
		text := authz.Explain(a.Check(t.Context(), ask), ask).Text()
		if !strings.Contains(text, want) || strings.Contains(strings.ToLower(text), partnerKey) || strings.Contains(text, "a short one") {
			t.Errorf("%q is not in, or a key is, in\n%s", want, text)
		}
	}
}
