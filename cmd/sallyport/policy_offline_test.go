package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// shopPolicy is what the offline tools are tried on.
const shopPolicy = `version: 1
trust_domain: mesh.test
peers: envoy
issuers:
  shop: {issuer: "https://issuer.test", jwks: "https://issuer.test/jwks.json", audiences: [orders-api], algorithms: [ES256], types: [at+jwt], claims: {roles: strings}}
lookups:
  orders: {redis: {url: "redis://127.0.0.1:6379", key: "order:{id}:owner"}}
services:
  - name: orders
    hosts: [orders.internal]
    headers: {x-user-id: token.sub}
    rules:
      - {name: list-orders, match: "GET /users/{user_id}/orders", scopes: ["read:orders"], owner: {of: path.user_id, is: token.sub}}
      - {name: one-order, match: "GET /orders/{id}", owner: {of: path.id, lookup: orders, is: token.sub}}
      - {name: reindex, match: "POST /reindex", callers: [shop/indexer], token: none}
      - {name: old, match: "GET /v0/{rest...}", deny: 410}
`

const shopCases = `policy: policy.yaml
now: "2026-11-25T12:00:00Z"
people:
  alice: {sub: alice, client_id: web, scopes: ["read:orders"]}
cases:
  - name: alice reads her own orders
    who: alice
    request: GET /users/alice/orders
    expect: {decision: allow, headers: {x-user-id: alice}}
  - name: alice does not read bob's
    who: alice
    request: GET /users/bob/orders
    expect: {decision: deny, status: 403, rule: list-orders, reason: owner, detail: not_theirs}
  - name: alice reads her order
    who: alice
    request: GET /orders/o-1
    lookups: {orders: {o-1: alice}}
    expect: allow
  - name: the old API is gone
    request: GET /v0/orders
    expect: {status: 410}
`

// folder writes files into a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Cases that come out as expected say so in one line, and what they did not touch is told when asked for.
func TestPolicyTest(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "cases.yaml": shopCases})
	code, out, errs := command(t, nil, "policy", "test", "--coverage", "--min-coverage", "75", filepath.Join(dir, "cases.yaml"))
	want := `DIR/policy.yaml: coverage: 75% of 4 rules were matched
  rules that no case matched:
    orders/reindex
  demands that refused nobody:
    orders/list-orders: token
    orders/list-orders: scopes
    orders/one-order: token
    orders/one-order: owner
  reasons that no case had: `
	_, last, _ := strings.Cut(strings.TrimSuffix(out, "\n"), "reasons that no case had: ")
	if code != 0 || errs != "" || !strings.HasPrefix(strings.ReplaceAll(out, dir, "DIR"), want) || !strings.HasSuffix(last, "\nok: 4 cases") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	if code, out, _ := command(t, nil, "policy", "test", "--min-coverage", "76", filepath.Join(dir, "cases.yaml")); code != 1 ||
		!strings.Contains(out, "75% of the rules were matched, and --min-coverage demands 76%") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// A case that does not is told with what was expected, what came, and the whole way of the decision.
func TestPolicyTestFails(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "cases.yaml": strings.Replace(shopCases, "status: 403, rule: list-orders", "status: 404, rule: one-order", 1)})
	junit := filepath.Join(dir, "junit.xml")
	code, out, errs := command(t, nil, "policy", "test", "--junit", junit, filepath.Join(dir, "cases.yaml"))
	want := `FAIL  DIR/cases.yaml:10  alice does not read bob's
      status: expected 404, came 403
      rule: expected one-order, came list-orders

      DENY  403 owner (not_theirs)
        request     GET orders.internal /users/bob/orders
        service     orders
        rule        list-orders  at DIR/policy.yaml:13:9
        who         user|shop|alice
        policy      DIGEST
        time        2026-11-25T12:00:00Z
`
	got := strings.ReplaceAll(out, dir, "DIR")
	if at := strings.Index(got, "policy      "); at >= 0 {
		got = got[:at] + "policy      DIGEST" + got[at+len("policy      ")+16:]
	}
	if code != 1 || errs != "" || !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\n1 of 4 cases failed\n") || !strings.Contains(got, "owner       FAILED") {
		t.Errorf("exit %d, %s\n%s", code, errs, cmp.Diff(want, got))
	}
	data, err := os.ReadFile(junit)
	if err != nil {
		t.Fatal(err)
	}
	var report junitReport
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if report.Tests != 4 || report.Failures != 1 || len(report.Suites) != 1 || report.Suites[0].Cases[1].Failure == nil ||
		report.Suites[0].Cases[1].Failure.Message != "status: expected 404, came 403" || report.Suites[0].Cases[0].Failure != nil {
		t.Errorf("%s", data)
	}
}

// What cannot be asked is no failure of the policy: exit code 2.
func TestPolicyTestUnable(t *testing.T) {
	for name, c := range map[string]struct{ cases, want string }{
		"no policy":                  {"cases: [{name: a, request: GET /, expect: deny}]", "names no policy"},
		"no such policy":             {"policy: other.yaml\ncases: [{name: a, request: GET /, expect: deny}]", "other.yaml"},
		"a policy that is none":      {"policy: cases.yaml\ncases: [{name: a, request: GET /, expect: deny}]", "the policy does not load"},
		"cases that are none":        {"cases: 7", "cases.yaml:1:8"},
		"a rule that does not exist": {"policy: policy.yaml\ncases: [{name: a, request: GET /, expect: {rule: x}}]", `the policy has no rule "x"`},
		"a claim of a typing error":  {"policy: policy.yaml\npeople: {eve: {sub: eve, claims: {rolse: [support]}}}\ncases: [{name: a, who: eve, request: GET /, expect: deny}]", "cases.yaml:2:35: issuer shop declares no claim `rolse`\n      = did you mean `roles`?"},
		"a claim of another type":    {"policy: policy.yaml\ncases: [{name: a, who: {sub: eve, claims: {roles: support}}, request: GET /, expect: deny}]", "cases.yaml:2:51: issuer shop declares claim `roles` as strings"},
		"what none can set":          {"policy: policy.yaml\ncases: [{name: a, request: GET /, expect: {headers: {x-user-idd: null}}}]", "cases.yaml:2:54: no rule sets the header \"x-user-idd\""},
		"nothing of headers":         {"policy: policy.yaml\ncases: [{name: a, request: GET /, expect: {headers: {}}}]", "cases.yaml:2:53: none are expected"},
		"a refusal of no gate":       {"policy: policy.yaml\ncases: [{name: a, who: {refused: expird}, request: GET /, expect: deny}]", "cases.yaml:2:34: no token is refused as \"expird\""},
		"a word that is none":        {"policy: policy.yaml\ncases: [{name: a, request: GET /, lookups: {orders: {o-1: not_theirs}}, expect: deny}]", "cases.yaml:2:59: \"not_theirs\" would be an owner of that name"},
		"a caller of half a name":    {"policy: policy.yaml\ncases: [{name: a, caller: shop, request: GET /, expect: deny}]", "cases.yaml:2:27: \"shop\" is no identity of a workload"},
		"a mistake behind a failure": {"policy: policy.yaml\ncases:\n- {name: a, request: GET /v0/x, expect: allow}\n- {name: b, request: GET /, expect: {rule: x}}", "cases.yaml:4:44: the policy has no rule \"x\""},
		"a caller of nowhere":        {"policy: policy.yaml\ncases: [{name: a, who: {issuer: x}, request: GET /, expect: deny}]", `the policy has no issuer "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "cases.yaml": c.cases})
			code, out, errs := command(t, nil, "policy", "test", filepath.Join(dir, "cases.yaml"))
			if code != 2 || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, %q, %q; want %s", code, out, errs, c.want)
			}
		})
	}
}

// A file that is named twice, by whatever path, is not counted twice.
func TestPolicyTestOfOneFileTwice(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "cases.yaml": shopCases})
	file := filepath.Join(dir, "cases.yaml")
	if err := os.Symlink(file, filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{file, dir + "/./cases.yaml", filepath.Join(dir, "link.yaml")} {
		code, out, errs := command(t, nil, "policy", "test", file, other)
		if code != 2 || out != "" || !strings.Contains(errs, "are one file, whose cases would count twice: name it once") {
			t.Errorf("%s: exit %d, %q, %q", other, code, out, errs)
		}
	}
}

// A recorded line with a name is a case, unless what its rule reads was not recorded.
func TestPolicyTestOfRecordedLines(t *testing.T) {
	cases := "policy: policy.yaml\ncases:\n"
	for i, line := range strings.Split(strings.TrimSpace(recordShop(t, shopRequests[:6]...)), "\n") {
		cases += fmt.Sprintf("- {\"name\":\"%d\",%s\n", i, strings.TrimPrefix(line, "{"))
	}
	reads := shopPolicy + "      - {name: move, match: \"POST /move\", owner: {of: form.from, is: token.sub}}\n"
	lost := "policy: reads.yaml\ncases: [{name: a, who: {sub: a}, request: POST /move, recorded: {lacks: [body]}, expect: deny}]"
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "cases.yaml": cases, "reads.yaml": reads, "lost.yaml": lost})
	if code, out, errs := command(t, nil, "policy", "test", filepath.Join(dir, "cases.yaml")); code != 0 || out != "ok: 6 cases\n" {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	if code, out, errs := command(t, nil, "policy", "test", filepath.Join(dir, "lost.yaml")); code != 2 || out != "" ||
		!strings.Contains(errs, "lost.yaml:2: a: the body was not recorded: a test would be about another request") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

// An explanation tells every step, by the same words as the gate's own, and its exit code is the decision.
func TestPolicyExplain(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "case.yaml": `now: "2026-11-25T12:00:00Z"
who: {sub: alice}
request: GET /orders/o-1
lookups: {orders: {o-1: bob}}
`})
	code, out, errs := command(t, nil, "policy", "explain", "--policy", filepath.Join(dir, "policy.yaml"), "-f", filepath.Join(dir, "case.yaml"))
	got := strings.ReplaceAll(out, dir, "DIR")
	for _, want := range []string{
		"DENY  403 owner (not_theirs)\n", "  request     GET orders.internal /orders/o-1\n", "  rule        one-order  at DIR/policy.yaml:14:9\n",
		"  token       passed       a token of issuer shop; found person \"alice\", client \"offline-client\"\n",
		"  owner       FAILED       path.id owned by token.sub, as orders (redis) knows; found \"o-1\"\n", "\nwhat would have allowed it: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not told:\n%s", want, got)
		}
	}
	if code != 1 || errs != "" {
		t.Errorf("exit %d, %s", code, errs)
	}
}

// A token in a curl line is read, not believed in silence, and never shown.
func TestPolicyExplainCurl(t *testing.T) {
	policyFile := filepath.Join(folder(t, map[string]string{"policy.yaml": shopPolicy}), "policy.yaml")
	token := authztest.Mint(authztest.EC(), nil, map[string]any{
		"iss": authztest.Issuer, "aud": authztest.Audience, "sub": "alice", "client_id": "web", "jti": "1", "scope": "read:orders",
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	line := "curl -s https://orders.internal/users/alice/orders \\\n  -H 'Authorization: Bearer " + token + "'"
	code, out, errs := command(t, nil, "policy", "explain", "--policy", policyFile, "--curl", line)
	if code != 0 || errs != "" || !strings.HasPrefix(out, "note: THE TOKEN'S SIGNATURE WAS NOT CHECKED") || !strings.Contains(out, "\nALLOW  200 allowed\n") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	code, asJSON, _ := command(t, nil, "policy", "explain", "--policy", policyFile, "--json", "--curl", line)
	var told struct {
		Notes                 []string
		Verdict, Rule, Reason string
	}
	if err := json.Unmarshal([]byte(asJSON), &told); err != nil || code != 0 || len(told.Notes) != 1 || told.Verdict != "allow" || told.Rule != "list-orders" {
		t.Errorf("exit %d, %v\n%s", code, err, asJSON)
	}
	for _, part := range strings.Split(token, ".") {
		if strings.Contains(out+asJSON, part) {
			t.Errorf("a part of the token is shown:\n%s", out)
		}
	}
}

// Beside a curl line stands what the lookups know, in the words of a case.
func TestPolicyExplainLookups(t *testing.T) {
	policyFile := filepath.Join(folder(t, map[string]string{"policy.yaml": shopPolicy}), "policy.yaml")
	token := authztest.Mint(authztest.EC(), nil, map[string]any{
		"iss": authztest.Issuer, "aud": authztest.Audience, "sub": "alice", "client_id": "web", "jti": "1", "scope": "read:orders",
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	line := "curl https://orders.internal/orders/o-1 -H 'Authorization: Bearer " + token + "'"
	for lookups, want := range map[string]struct {
		code int
		told string
	}{
		"orders: {o-1: alice}":       {0, "ALLOW  200 allowed\n"},
		"orders: {o-1: bob}":         {1, "DENY  403 owner (not_theirs)\n"},
		"orders: {o-1: unavailable}": {1, "DENY  503 lookup (unavailable)\n"},
		"orders: {o-2: alice}":       {2, "say it: --lookups"},
		"orders: [alice]":            {2, "--lookups:1:9"},
		"ordres: {o-1: alice}":       {2, "the policy has no lookup \"ordres\""},
	} {
		code, out, errs := command(t, nil, "policy", "explain", "--policy", policyFile, "--curl", line, "--lookups", lookups)
		if code != want.code || !strings.Contains(out+errs, want.told) {
			t.Errorf("%s: exit %d, %s\n%s", lookups, code, errs, out)
		}
	}
}

// With the issuer's keys at hand a signature is checked, and nothing needs to be said of it.
func TestPolicyExplainProves(t *testing.T) {
	set := authztest.JWKS(authztest.EC())
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "jwks.json": string(set), "none.json": "{}", "case.yaml": "who: {sub: alice}\nrequest: GET /users/alice/orders\n"})
	token := authztest.Mint(authztest.EC(), nil, map[string]any{
		"iss": authztest.Issuer, "aud": authztest.Audience, "sub": "alice", "client_id": "web", "jti": "1", "scope": "read:orders",
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
	line := func(token string) string {
		return "curl https://orders.internal/users/alice/orders -H 'Authorization: Bearer " + token + "'"
	}
	for name, c := range map[string]struct {
		jwks string
		args []string
		code int
		want string
	}{
		"good":       {"jwks.json", []string{"--curl", line(token)}, 0, "ALLOW  200 allowed\n"},
		"forged":     {"jwks.json", []string{"--curl", line(authztest.SignedPart(token) + ".c2lnbmF0dXJl")}, 1, "found one that is refused: signature\n"},
		"no keys":    {"none.json", []string{"--curl", line(token)}, 2, "--jwks: "},
		"no file":    {"other.json", []string{"--curl", line(token)}, 2, "--jwks: "},
		"no token":   {"jwks.json", []string{"--curl", "curl https://orders.internal/"}, 2, "the request brings none"},
		"only words": {"jwks.json", []string{"-f", filepath.Join(dir, "case.yaml")}, 2, "the request brings none"},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"policy", "explain", "--policy", filepath.Join(dir, "policy.yaml"), "--jwks", filepath.Join(dir, c.jwks)}, c.args...)
			code, out, errs := command(t, nil, args...)
			if code != c.code || !strings.Contains(out+errs, c.want) || strings.Contains(out, "NOT CHECKED") {
				t.Errorf("exit %d, %s\n%s", code, errs, out)
			}
		})
	}
}

// What cannot be explained is exit code 2, and no decision.
func TestPolicyExplainUnable(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yaml": shopPolicy, "case.yaml": "who: {sub: alice}\nrequest: GET /orders/o-1\n",
		"unseen.yaml": "who: unknown\nrequest: GET /users/alice/orders\n", "rolse.yaml": "who: {sub: eve, claims: {rolse: [a]}}\nrequest: GET /users/alice/orders\n"})
	unseen, rolse := filepath.Join(dir, "unseen.yaml"), filepath.Join(dir, "rolse.yaml")
	policyFile, caseFile := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "case.yaml")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no policy":         {[]string{"-f", caseFile}, "--policy is missing"},
		"no request":        {[]string{"--policy", policyFile}, "say which request"},
		"two requests":      {[]string{"--policy", policyFile, "-f", caseFile, "--curl", "curl http://h"}, "say one request"},
		"an unknown option": {[]string{"--policy", policyFile, "--curl", "curl -F a=b http://h"}, "the option -F is not understood"},
		"no such file":      {[]string{"--policy", policyFile, "-f", caseFile + "x"}, "case.yamlx"},
		"no token seen":     {[]string{"--policy", policyFile, "-f", unseen}, "cannot be explained: the token was not looked at"},
		"no such claim":     {[]string{"--policy", policyFile, "-f", rolse}, "rolse.yaml:1:26: issuer shop declares no claim `rolse`"},
		"no answer":         {[]string{"--policy", policyFile, "-f", caseFile}, `lookup orders was asked about "o-1", and the case gives no answer`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := command(t, nil, append([]string{"policy", "explain"}, c.args...)...)
			if code != 2 || out != "" || !strings.Contains(errs, c.want) {
				t.Errorf("exit %d, %q, %q; want %s", code, out, errs, c.want)
			}
		})
	}
}

// The cases of the documentation come out as they say, and touch every rule of their policy.
func TestDocumentedCases(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy-tests.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, block := range strings.Split(string(page), "\n```")[1:] {
		_, text, _ := strings.Cut(block, "\n")
		first, _, _ := strings.Cut(text, "\n")
		if name, ok := strings.CutPrefix(first, "# "); ok {
			files[name] = text + "\n"
		}
	}
	dir := folder(t, files)
	code, out, errs := command(t, nil, "policy", "test", "--min-coverage", "100", filepath.Join(dir, "cases.yaml"))
	if code != 0 || out != "ok: 9 cases\n" {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}
