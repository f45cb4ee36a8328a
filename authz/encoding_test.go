package authz_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
)

// encodingsDiffer says how the map's answer is neither the raw one's nor a denial; "" if it is one of them. Where a request reads the
// same in both, the answers are the same.
func encodingsDiffer(raw, mapped *authz.Decision) string {
	if mapped.Verdict == authz.Deny {
		return ""
	}
	show := func(d *authz.Decision) []any {
		return []any{verdict(d), d.Who, d.Address.String(), d.Caller, d.Object, d.Set, d.Remove, d.Metadata}
	}
	return cmp.Diff(show(raw), show(mapped))
}

// plain reports whether a request reads the same in both encodings.
func plain(r *authz.Request) bool {
	if !utf8.ValidString(r.Target) || strings.Contains(r.Target, "!") {
		return false
	}
	for i, field := range r.Headers.Fields {
		if !utf8.ValidString(field.Value) || strings.Contains(field.Value, "!") ||
			slices.ContainsFunc(r.Headers.Fields[:i], func(f authz.Field) bool { return f.Name == field.Name }) {
			return false
		}
	}
	return true
}

// requests draws requests that come near to the policy shop: paths, tokens and headers that it reads, bent here and there.
func requests(t *rapid.T) *authz.Request {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	path := pick("path", "/me", "/users/alice/orders", "/users/bob/orders", "/invoices/bob", "/search", "/report", "/inbox", "/live", "/limits",
		"/internal/stats", "/assets/app.js", "/assets/private/x", "/healthz", "/teams/red", "/folders/alice", "/catalogue/x", "/catalogue/al!ce", "/folders/al!ce", "/folders/al\xffce", "/catalogue/al\xffce", "/v0/", "/", "//", "/ME")
	path += pick("query", "", "", "", "?", "?user=alice", "?user=alice&user=bob", "?user=bob", "?user=al!ce", "?user=al\xffce", "?q=x\xff", "?access_token=x", "?_method=PUT")
	options := []option{
		at(pick("address", "203.0.113.9", "10.0.0.1", "2001:db8::1", "", "nonsense")),
		from(pick("caller", "", "", frontend, nightly, ingress, "CN=x")),
		host(pick("host", "orders.example", "orders.example", "orders.example", "ORDERS.example:80", "evil.example", "a,b")),
	}
	names := []string{"authorization", "x-account", "x-forwarded-for", "content-type", "content-length", "upgrade", "connection", "x-user-id", "x_user_id", ":path", "cookie"}
	values := []string{"", "alice", "bob", "a,b", "al!ce", "\xff", "caf\xc3\xa9", "Bearer alice", "Bearer bob", "Bearer alice,Bearer bob", "Basic x", "bearer\talice", "198.51.100.7", "10.0.0.2",
		"1.1.1.1, 198.51.100.7", "application/json", "text/plain", "0", "8", "websocket", "h2c", "close", "x-user-id", "/me", "root"}
	options = append(options, as(pick("token", "alice", "bob", "root", "shout", "robot", "neither", "comma", "auditor", "no-keys", "panic", "forged")))
	if rapid.Bool().Draw(t, "anonymous") {
		options = options[:3]
	}
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		options = append(options, header(rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(values).Draw(t, "value")))
	}
	return ask(pick("method", "GET", "GET", "GET", "POST", "HEAD", "CONNECT"), path, options...)
}

// Raw and joined headers give the same decision, or a denial; a request that reads alike in both gives the same decision.
func TestEncodingsAgree(t *testing.T) {
	a := gate(t, shop)
	rapid.Check(t, func(t *rapid.T) {
		r := requests(t)
		raw, mapped := a.Check(t.Context(), r), a.Check(t.Context(), joined(r))
		if problem := encodingsDiffer(raw, mapped); problem != "" {
			t.Fatalf("%s", problem)
		}
		if plain(r) && verdict(raw) != verdict(mapped) {
			t.Fatalf("one request, two decisions: %s raw, %s joined", verdict(raw), verdict(mapped))
		}
	})
}

// Whatever is asked, a decision is whole: never an allow by a reason that denies or the reverse, never without a name for limits, and
// never with a header both set and removed.
func TestDecisionsAreWhole(t *testing.T) {
	a := gate(t, shop)
	rapid.Check(t, func(t *rapid.T) {
		d := a.Check(t.Context(), requests(t))
		allows := d.Reason == authz.Allowed || d.Reason == authz.Public || d.Reason == authz.Probe || d.Reason == authz.Preflight
		switch {
		case allows != (d.Verdict == authz.Allow), allows != (d.Status() == 200):
			t.Fatalf("%s by %s with %d", d.Verdict, d.Reason, d.Status())
		case d.Who == "" || strings.HasSuffix(d.Who, "|") || d.ID == "":
			t.Fatalf("who %q, id %q", d.Who, d.ID)
		case !allows && (d.Set != nil || d.Remove != nil || d.Metadata != nil):
			t.Fatal("a denial carries effects")
		case d.Verdict == authz.Allow && d.Reason == authz.Allowed && d.Principal == nil && d.Rule.Name != "reindex":
			t.Fatal("a token rule allows without a principal")
		}
		for i, field := range d.Set {
			if field.Value == "" || slices.Contains(d.Remove, field.Name) || slices.ContainsFunc(d.Set[:i], func(f authz.Field) bool { return f.Name == field.Name }) {
				t.Fatalf("%s is set empty, twice, or removed too", field.Name)
			}
		}
	})
}

// The zero bundle, and none, allow nothing.
func TestZeroBundle(t *testing.T) {
	for name, bundle := range map[string]*authz.Bundle{"none": nil, "zero": {}, "no policy": {Verifiers: authz.Verifiers{"shop": verifier()}}} {
		a := authz.New(authz.Options{})
		if bundle != nil {
			a.Use(bundle)
		}
		rapid.Check(t, func(t *rapid.T) {
			if d := a.Check(t.Context(), requests(t)); d.Verdict != authz.Deny || d.Reason != authz.NotReady || d.Status() != 503 {
				t.Fatalf("%s: %s", name, verdict(d))
			}
		})
	}
}
