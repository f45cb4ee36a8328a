package authz_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
)

// What an operator reads at three in the morning.
func TestExplanationText(t *testing.T) {
	a, _ := storeGate(t)
	for _, test := range []struct {
		ask  *authz.Request
		want string
	}{
		{post("/each", as("alice"), jsonBody(`{"items":[{"id":"o-1"},{"id":"o-3"}]}`), header("x-request-id", "r-7")), `
DENY  403 owner (not_theirs)
  request     POST orders.example /each
  service     store
  rule        each  at policy.yaml:18:9
  who         user|shop|alice
  decision    ID
  request id  r-7
  policy      POLICY
  time        2026-11-20T12:00:00Z

  target      passed       a request line that every upstream reads alike
  service     passed       the service that this gate or this host stands for; found store
  rule        passed       a rule for the method and path; found each (POST /each)
  caller      not asked
  address     not asked
  token       passed       a token of issuer shop; found person "alice", client "web"
  revoked     passed       a token that was not taken back
  bound       not asked
  client      not asked
  scopes      not asked
  roles       not asked
  params      not asked
  condition   not asked
  signature   not asked
  body        passed       a whole body with body.items[*].id
  owner       FAILED       every body.items[*].id owned by token.sub, as orders (static) knows; found "o-3" (of 2)

what would have allowed it: every body.items[*].id owned by token.sub, as orders (static) knows
`},
		{get("/orders/o-1?page=secret&bare", as("noscope")), `
DENY  403 insufficient_scope
  request     GET orders.example /orders/o-1?page=…&…
  service     store
  rule        read  at policy.yaml:32:9
  who         user|shop|alice
  decision    ID
  policy      POLICY
  time        2026-11-20T12:00:00Z

  target      passed       a request line that every upstream reads alike
  service     passed       the service that this gate or this host stands for; found store
  rule        passed       a rule for the method and path; found read (GET /orders/{id})
  caller      not asked
  address     not asked
  token       passed       a token of issuer shop; found person "alice", client "web"
  revoked     passed       a token that was not taken back
  bound       not asked
  client      not asked
  scopes      FAILED       scopes read:orders; found no scopes
  roles       not reached
  params      not reached
  condition   not reached
  signature   not reached
  body        not reached
  owner       not reached  path.id owned by token.sub, as orders (static) knows, unless the role admin

what would have allowed it: a token with the scopes read:orders
`},
	} {
		d := a.Check(t.Context(), test.ask)
		got := strings.NewReplacer(d.ID, "ID", d.Policy, "POLICY").Replace(authz.Explain(d, test.ask).Text())
		if got != strings.TrimPrefix(test.want, "\n") {
			t.Errorf("got:\n%s\nwant:%s", got, test.want)
		}
	}
}

// A condition that reads the object is told where it was taken: behind the body.
func TestExplanationFollowsTheDecision(t *testing.T) {
	a, _ := storeGate(t)
	ask := post("/object", as("alice"), jsonBody(`{"id":"7"}`))
	var told []string
	for _, step := range authz.Explain(a.Check(t.Context(), ask), ask).Steps {
		told = append(told, step.Step+" "+step.Outcome.String())
	}
	if got := strings.Join(told[13:], ", "); got != "body passed, condition FAILED, owner not reached" {
		t.Errorf("%s", got)
	}
}

// Every decision can be told: one step fails in a denial and none in an allow, and a denial says what would have allowed it. No
// telling holds what the client sent in secret.
func TestEveryDecisionIsTold(t *testing.T) {
	shopGate := gate(t, shop)
	storeDoor, _ := storeGate(t)
	canary := "CANARY" + strings.Repeat("x", 8)
	secret := []option{header("cookie", canary), header("x-secret", canary), header("authorization", "Bearer "+canary)}
	for _, test := range []struct {
		gate *authz.Authorizer
		ask  *authz.Request
	}{
		{shopGate, &authz.Request{}},
		{shopGate, get("/me", as("alice"))},
		{shopGate, get("/me", secret...)},
		{shopGate, get("/me?access_token="+canary, as("alice"))},
		{shopGate, get("/me?x="+canary+"&"+canary, as("alice"))},
		{shopGate, get("/users/bob/orders", as("alice"))},
		{shopGate, get("/users/bob/orders", as("root"))},
		{shopGate, get("/healthz")},
		{shopGate, get("/metrics")},
		{shopGate, get("/metrics", from(prometheus))},
		{shopGate, get("/nowhere", as("alice"))},
		{shopGate, get("/closed", as("alice"))},
		{shopGate, get("/assets/x")},
		{shopGate, get("/internal/stats", as("alice"))},
		{shopGate, post("/internal/reindex", from(nightly))},
		{shopGate, get("/me", host("else.example"))},
		{shopGate, get("/live", as("alice"), header("upgrade", "h2c"))},
		{shopGate, get("/limits", as("alice"))},
		{shopGate, get("/me", as("panic"))},
		{shopGate, get("/me", as("late"))},
		{shopGate, get("/me", as("no-keys"))},
		{shopGate, get("/invoices/bob", as("bob"))},
		{authz.New(authz.Options{}), get("/me")},
		{storeDoor, post("/json", as("alice"), jsonBody(`{"user":{"id":"bob"},"note":"`+canary+`"}`))},
		{storeDoor, post("/json", as("alice"), jsonBody(`{"`+canary))},
		{storeDoor, post("/json", as("alice"), body("text/plain", canary))},
		{storeDoor, get("/c/bob?dry="+canary, as("alice"))},
		{storeDoor, get("/orders/away", as("alice"))},
		{storeDoor, get("/secrets/o-3", as("alice"))},
		{storeDoor, get("/t/blue/1", as("bob"))},
		{storeDoor, post("/users/alice/orders", as("alice"), jsonBody(`{"userId":"bob"}`))},
		{storeDoor, post("/ids", as("alice"), jsonBody(`{"ids":[]}`))},
	} {
		d := test.gate.Check(t.Context(), test.ask)
		e := authz.Explain(d, test.ask)
		failed := 0
		for _, step := range e.Steps {
			if step.Outcome == authz.Failed {
				failed++
			}
		}
		want := 1
		if d.Verdict == authz.Allow {
			want = 0
		}
		name := fmt.Sprintf("%s %s: %s", test.ask.Method, test.ask.Target, detail(d))
		if failed != want || (e.Mend == "") != (d.Verdict == authz.Allow) {
			t.Errorf("%s: %d steps failed, mend %q", name, failed, e.Mend)
		}
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data)+e.Text(), canary) || strings.Contains(e.Text(), "Bearer") {
			t.Errorf("%s tells a secret:\n%s", name, e.Text())
		}
		if strings.Contains(e.Text(), "\n  \n") {
			t.Errorf("%s: an empty line within:\n%s", name, e.Text())
		}
	}
}

// Every reason that denies says what would have allowed the request, with a rule and without.
func TestEveryReasonHasAMend(t *testing.T) {
	p := mustParse(t, shop)
	for _, reason := range authz.Reasons() {
		switch reason {
		case authz.Allowed, authz.Public, authz.Probe, authz.Preflight:
			continue
		}
		for name, d := range map[string]*authz.Decision{
			"without a rule": {Reason: reason}, "with one": {Reason: reason, Service: p.Services[0], Rule: p.Services[0].Rules[0]},
			"with another": {Reason: reason, Service: p.Services[0], Rule: p.Services[0].Rules[1]},
		} {
			if mend := authz.Explain(d, nil).Mend; mend == "" || strings.HasSuffix(mend, " ") {
				t.Errorf("%s %s: %q", reason, name, mend)
			}
		}
	}
}

// A client's bytes do not move the terminal of whoever reads them.
func TestExplanationIsPlain(t *testing.T) {
	a := gate(t, shop)
	ask := get("/me", as("alice"), host("evil\x1b[2J\u202e.example"), header("x-request-id", "a\nb"))
	if text := authz.Explain(a.Check(t.Context(), ask), ask).Text(); strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "a\nb") {
		t.Errorf("%q", text)
	}
}

func BenchmarkExplain(b *testing.B) {
	a, _ := storeGate(b)
	ask := get("/orders/o-3", as("alice"))
	d := a.Check(b.Context(), ask)
	b.ReportAllocs()
	for b.Loop() {
		_ = authz.Explain(d, ask)
	}
}

// A condition that waits for the object was not held to a request whose object could not be read.
func TestConditionWaitsForTheObject(t *testing.T) {
	a, _ := storeGate(t)
	for _, c := range []struct{ body, condition, owner string }{
		{`{"id":7}`, "not reached", "FAILED"},
		{`{"id":"x-1"}`, "FAILED", "not reached"},
		{`{"id":"o-3"}`, "passed", "FAILED"},
	} {
		r := post("/object", as("alice"), jsonBody(c.body))
		got := map[string]string{}
		for _, step := range authz.Explain(a.Check(t.Context(), r), r).Steps {
			got[step.Step] = fmt.Sprint(step.Outcome)
		}
		if !strings.EqualFold(got["condition"], c.condition) || !strings.EqualFold(got["owner"], c.owner) {
			t.Errorf("%s: condition %s, owner %s, want %s and %s", c.body, got["condition"], got["owner"], c.condition, c.owner)
		}
	}
}
