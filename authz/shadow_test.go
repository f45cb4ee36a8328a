package authz_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// shadowed is shop's policy with its service in shadow until a day after the tests' now.
func shadowed(answer string) string {
	return strings.Replace(shop, "    audience: orders-api\n", "    audience: orders-api\n    shadow: {answer: "+answer+", until: \"2026-11-21\"}\n", 1)
}

// told is what was answered, and what would have been.
func told(d *authz.Decision) string {
	text := detail(d)
	if d.Shadow != nil {
		text += "; would be " + detail(d.Shadow)
	}
	return text
}

// A service in shadow answers as it is written, and keeps what its rules decided beside it. What was refused before it was known, and
// what could not be decided, is refused as ever.
func TestShadow(t *testing.T) {
	allow := gate(t, shadowed("allow"))
	for _, test := range []struct {
		name string
		ask  *authz.Request
		want string
	}{
		{"allowed", get("/me", as("alice")), "200 shadow me; would be 200 allowed me"},
		{"another's", get("/users/bob/orders", as("alice")), "200 shadow list-orders; would be 403 owner list-orders (not_theirs)"},
		{"no token", get("/me"), "200 shadow me; would be 401 no_token me"},
		{"a forged token", get("/me", as("nonsense")), "200 shadow me; would be 401 invalid_token me (malformed)"},
		{"no rule", get("/nowhere", as("alice")), "200 shadow none; would be 403 no_rule none"},
		{"a rule that refuses", get("/closed", as("alice")), "200 shadow closed; would be 403 forbidden closed"},
		{"hidden", get("/invoices/alice", as("bob")), "200 shadow invoice; would be 404 owner invoice (not_theirs)"},
		{"no keys", get("/me", as("no-keys")), "200 shadow me; would be 503 keys_unavailable me"},
		{"a probe", get("/healthz"), "200 probe probe"},
		// Not the rules' business.
		{"a path that is none", get("/a/../me", as("alice")), "400 bad_target none (target: path holds a dot segment)"},
		{"another host", get("/me", as("alice"), host("else.example")), "421 wrong_service none"},
		{"a forged identity", get("/me", as("alice"), header("x_user_id", "bob")), "400 bad_header none"},
		{"not HTTP", &authz.Request{}, "400 not_http none"},
		// Nothing internal ever becomes an allow.
		{"it panics", get("/me", as("panic")), "503 panic me"},
		{"it is late", get("/me", as("late")), "503 deadline me"},
		{"it is cancelled", get("/me", as("gone")), "503 cancelled me"},
		{"it is not decided", get("/me", as("broken")), "503 undecided me"},
	} {
		if got := told(allow.Check(t.Context(), test.ask)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	deny := gate(t, shadowed("deny"))
	for _, test := range []struct {
		ask  *authz.Request
		want string
	}{
		{get("/me", as("alice")), "403 shadow me; would be 200 allowed me"},
		{get("/users/bob/orders", as("alice")), "403 shadow list-orders; would be 403 owner list-orders (not_theirs)"},
		{get("/healthz"), "200 probe probe"},
	} {
		if got := told(deny.Check(t.Context(), test.ask)); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// Whoever passes in shadow is nobody to the upstream, whatever he calls himself.
func TestShadowHasNoEffects(t *testing.T) {
	a := gate(t, shadowed("allow"))
	for _, ask := range []*authz.Request{get("/me", as("alice")), get("/users/bob/orders", as("alice")), get("/me", as("nonsense")), get("/limits", as("bob"))} {
		d := a.Check(t.Context(), ask)
		if d.Verdict != authz.Allow || d.Set != nil || d.Metadata != nil {
			t.Errorf("%s: sets %v, metadata %v", detail(d), d.Set, d.Metadata)
		}
		removed := strings.Join(d.Remove, " ")
		for _, name := range []string{"x-user-id", "x-user-name", "x-roles", "x-caller"} {
			if !strings.Contains(removed, name) {
				t.Errorf("%s: a client's %s arrives", detail(d), name)
			}
		}
	}
}

// On the day, the rules are enforced, without anybody's doing.
func TestShadowEnds(t *testing.T) {
	until := time.Date(2026, time.November, 21, 0, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{
		until.Add(-time.Nanosecond): "200 shadow list-orders; would be 403 owner list-orders (not_theirs)",
		until:                       "403 owner list-orders (not_theirs)",
		until.Add(time.Hour):        "403 owner list-orders (not_theirs)",
	} {
		a := authz.New(authz.Options{Now: func() time.Time { return at }})
		a.Use(&authz.Bundle{Policy: mustParse(t, shadowed("allow")), Verifiers: authz.Verifiers{"shop": verifier()}})
		if got := told(a.Check(t.Context(), get("/users/bob/orders", as("alice")))); got != want {
			t.Errorf("at %s: %s, want %s", at, got, want)
		}
	}
}

// trial puts a second policy beside the one in force.
func trial(t *testing.T, a *authz.Authorizer, text string, v authz.Verifier) {
	t.Helper()
	a.UseTrial(&authz.Bundle{Policy: mustParse(t, text), Verifiers: authz.Verifiers{"shop": v}})
}

// A second policy decides beside the first, and changes nothing, whatever becomes of it.
func TestTrial(t *testing.T) {
	stricter := strings.Replace(shop, "      - name: me\n        match: GET /me\n", "      - name: me\n        match: GET /me\n        scopes: [\"me:read\"]\n", 1)
	a := gate(t, shop)
	trial(t, a, stricter, verifier())
	for _, test := range []struct {
		ask  *authz.Request
		want string
	}{
		{get("/me", as("alice")), "200 allowed me; would be 403 insufficient_scope me"},
		{get("/users/bob/orders", as("alice")), "403 owner list-orders (not_theirs); would be 403 owner list-orders (not_theirs)"},
		{get("/healthz"), "200 probe probe; would be 200 probe probe"},
		{get("/a/../b"), "400 bad_target none (target: path holds a dot segment); would be 400 bad_target none (target: path holds a dot segment)"},
	} {
		d := a.Check(t.Context(), test.ask)
		if got := told(d); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
		if d.Shadow.Set != nil || d.Shadow.Remove != nil || d.Shadow.ID != d.ID {
			t.Errorf("a trial has effects: %+v", d.Shadow)
		}
	}
	// The answer keeps what it carries.
	plain := gate(t, shop).Check(t.Context(), get("/users/bob/orders", as("bob")))
	with := a.Check(t.Context(), get("/users/bob/orders", as("bob")))
	if len(with.Set) != len(plain.Set) || len(with.Metadata) != len(plain.Metadata) || len(with.Remove) != len(plain.Remove) || with.Step != plain.Step {
		t.Errorf("with a trial %+v, without %+v", with, plain)
	}
	for name, fails := range map[string]struct {
		v    authztest.VerifierFunc
		want string
	}{
		"it panics": {func(context.Context, string, time.Time) (*authz.Principal, error) {
			panic("a policy that nobody tried")
		}, "200 allowed me; would be 503 panic me"},
		"it fails": {func(context.Context, string, time.Time) (*authz.Principal, error) { return nil, context.Canceled }, "200 allowed me; would be 503 cancelled me"},
	} {
		trial(t, a, shop, fails.v)
		if got := told(a.Check(t.Context(), get("/me", as("alice")))); got != fails.want {
			t.Errorf("%s: %s, want %s", name, got, fails.want)
		}
	}
	a.UseTrial(&authz.Bundle{})
	if got := told(a.Check(t.Context(), get("/me", as("alice")))); got != "200 allowed me; would be 503 not_ready none" {
		t.Errorf("a trial without a policy: %s", got)
	}
	a.UseTrial(nil)
	if got := told(a.Check(t.Context(), get("/me", as("alice")))); got != "200 allowed me" {
		t.Errorf("no trial: %s", got)
	}
}

// A trial that waits is left in time: it gets 20 ms, or half of what the caller has left.
func TestTrialIsLeftInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gate(t, shop)
		trial(t, a, shop, authztest.VerifierFunc(func(ctx context.Context, _ string, _ time.Time) (*authz.Principal, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		for within, spent := range map[time.Duration]time.Duration{time.Second: 20 * time.Millisecond, 10 * time.Millisecond: 5 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			began := time.Now()
			if got := told(a.Check(ctx, get("/me", as("alice")))); got != "200 allowed me; would be 503 deadline me" {
				t.Errorf("within %s: %s", within, got)
			}
			if took := time.Since(began); took != spent {
				t.Errorf("within %s it took %s", within, took)
			}
			cancel()
		}
	})
}

// Without a trial nothing is paid for one.
func TestNoShadowCostsNothing(t *testing.T) {
	a := gate(t, shop)
	ask := get("/me", as("alice"))
	before := testing.AllocsPerRun(200, func() { a.Check(t.Context(), ask) })
	trial(t, a, shop, verifier())
	during := testing.AllocsPerRun(200, func() { a.Check(t.Context(), ask) })
	a.UseTrial(nil)
	after := testing.AllocsPerRun(200, func() { a.Check(t.Context(), ask) })
	if after != before || during <= before {
		t.Errorf("%v allocations before, %v during, %v after", before, during, after)
	}
}

// What the rules need and cannot have is what they would have decided; a defect of ours on the way is not.
func TestShadowInAnOutage(t *testing.T) {
	text := strings.Replace(store, "    hosts: [orders.example]\n", "    hosts: [orders.example]\n    shadow: {answer: allow, until: 2026-11-21}\n", 1)
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}, {Name: "shop.binpb", Data: descriptors()}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	bundle := authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": verifier()}, Lookups: authz.Lookups{"orders": &owned{owners: map[string]string{"o-1": "alice"}}}}
	stale := bundle
	stale.Revocations = view{age: time.Hour}
	for _, test := range []struct {
		name   string
		bundle authz.Bundle
		ask    *authz.Request
		want   string
	}{
		{"hers", bundle, get("/orders/o-1", as("alice")), "200 shadow read; would be 200 allowed read"},
		{"the lookup is away", bundle, get("/orders/away", as("alice")), "200 shadow read; would be 503 lookup read (unavailable)"},
		{"the lookup's answer is odd", bundle, get("/orders/odd", as("alice")), "200 shadow read; would be 503 lookup read (answer)"},
		{"the lookup panics", bundle, get("/orders/panic", as("alice")), "503 panic read"},
		{"a body that cannot be read", bundle, post("/json", as("alice"), jsonBody("{")), "200 shadow json; would be 400 bad_body json (malformed)"},
		{"revocations are stale", stale, get("/orders/o-1", as("alice")), "200 shadow read; would be 503 revocation_stale read"},
		{"no policy", authz.Bundle{}, get("/orders/o-1", as("alice")), "503 not_ready none"},
	} {
		a := authz.New(authz.Options{Now: func() time.Time { return authztest.Now }})
		a.Use(&test.bundle)
		if got := told(a.Check(t.Context(), test.ask)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
