package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// recordShop is what a gate with the shop's policy writes of some requests.
func recordShop(t *testing.T, cases ...string) string {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(shopPolicy)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	room, lines := offline.NewRoom(p), ""
	for _, text := range cases {
		c, errs := offline.ReadCase("case", []byte("now: \"2026-11-25T12:00:00Z\"\n"+text))
		if len(errs) > 0 {
			t.Fatal(errs.Pretty())
		}
		result, err := room.Decide(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		line, ok := offline.Line(result.Decision, result.Request, "", offline.ReadsOf(p.Services[0]))
		if !ok {
			t.Fatalf("not recorded: %s", text)
		}
		lines += string(line)
	}
	return lines
}

const shopAlice = "who: {sub: alice, client_id: web, scopes: ['read:orders'], claims: {roles: [support]}}\n"

// shopRequests are some of a day.
var shopRequests = []string{
	shopAlice + "request: GET /users/alice/orders",
	shopAlice + "request: GET /users/bob/orders",
	shopAlice + "request: GET /users/carol/orders",
	shopAlice + "request: GET /orders/o-1\nlookups: {orders: {o-1: alice}}",
	shopAlice + "request: GET /orders/o-2\nlookups: {orders: {o-2: bob}}",
	"request: GET /users/alice/orders",
	"caller: shop/indexer\nrequest: POST /reindex",
	"request: GET /v0/orders",
}

// Each kind of change is told with both decisions, how many requests have it, and where to find one.
func TestPolicyDiff(t *testing.T) {
	lines := recordShop(t, shopRequests...)
	for name, c := range map[string]struct {
		from, to string
		args     []string
		code     int
		want     string
	}{
		"nothing": {"", "", nil, 0, "8 requests: 0 newly allowed, 0 newly denied, 0 otherwise different, 0 cannot be told\n"},
		"opened by a role": {"is: token.sub}}\n      - {name: one", "is: token.sub, unless_role: support}}\n      - {name: one", nil, 1, `denied before, ALLOWED now: 2
       2  403 owner (not_theirs) by orders/list-orders  ->  200 allowed by orders/list-orders
          FILE:2  GET orders.internal/users/bob/orders
8 requests: 2 newly allowed, 0 newly denied, 0 otherwise different, 0 cannot be told
`},
		"closed by a scope": {`scopes: ["read:orders"]`, `scopes: ["list:orders"]`, nil, 0, `allowed before, denied now: 1
       1  200 allowed by orders/list-orders  ->  403 insufficient_scope by orders/list-orders
          FILE:1  GET orders.internal/users/alice/orders
the same answer, by another rule or for another reason: 2
       2  403 owner (not_theirs) by orders/list-orders  ->  403 insufficient_scope by orders/list-orders
          FILE:2  GET orders.internal/users/bob/orders
8 requests: 0 newly allowed, 1 newly denied, 2 otherwise different, 0 cannot be told
`},
		"closed, and any change counts": {`scopes: ["read:orders"]`, `scopes: ["list:orders"]`, []string{"--fail-on", "any"}, 1, "1 newly denied"},
		"a token that nobody looked at": {"deny: 410}", "owner: none}", nil, 0, `cannot be told: 1
       1  the token was not looked at when the request was recorded
          FILE:8
8 requests: 0 newly allowed, 0 newly denied, 0 otherwise different, 1 cannot be told
`},
		"a claim that nobody recorded": {"claims: {roles: strings}", "claims: {roles: strings, tenant: string}", nil, 0, "0 cannot be told"},
		"a query that nobody recorded": {"owner: {of: path.user_id, is: token.sub}}", "owner: {of: query.user, is: token.sub}}", nil, 0, "       3  the new policy reads query.user, which was not recorded\n"},
		"opened by a trial":            {"    hosts:", "    shadow: {answer: allow, until: 2027-01-15}\n    hosts:", nil, 1, "8 requests: 5 newly allowed, 0 newly denied, 0 otherwise different, 0 cannot be told"},
		"a body that nobody recorded":  {"deny: 410}", "owner: {of: \"body.ids[*]\", is: token.sub, allow_empty: true}}", nil, 0, "cannot be told: 1\n"},
		"another issuer":               {`issuer: "https://issuer.test"`, `issuer: "https://other.test"`, nil, 0, "allowed before, denied now: 2\n"},
		"an issuer by another name":    {"  shop: {issuer", "  store: {issuer", nil, 0, "0 newly allowed, 0 newly denied"},
		"a rule by another name":       {"name: old", "name: retired", []string{"--fail-on", "any"}, 1, "410 gone by orders/old  ->  410 gone by orders/retired"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"old.yaml": shopPolicy, "new.yaml": strings.Replace(shopPolicy, c.from, c.to, 1), "requests.jsonl": lines})
			file := filepath.Join(dir, "requests.jsonl")
			code, out, errs := command(t, nil, append([]string{"policy", "diff", filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml"), "-f", file}, c.args...)...)
			got := strings.ReplaceAll(out, file, "FILE")
			if code != c.code || (errs != "") != (code == 2) || !strings.Contains(got, c.want) || strings.HasSuffix(c.want, "told\n") && got != c.want {
				t.Errorf("exit %d, %s\n%s\n%s", code, errs, got, cmp.Diff(c.want, got))
			}
		})
	}
}

// A rule that reads what no rule read before is not judged by its absence.
func TestPolicyDiffUnrecorded(t *testing.T) {
	lines := recordShop(t, shopRequests[3])
	for name, c := range map[string]struct{ to, want string }{
		"a claim":  {`condition: token.tenant == "x"`, "the new policy reads token.tenant, which was not recorded"},
		"a query":  {`condition: query.t == "x"`, "the new policy reads query.t, which was not recorded"},
		"a header": {`condition: header["x-t"] == "x"`, "the new policy reads header.x-t, which was not recorded"},
	} {
		t.Run(name, func(t *testing.T) {
			next := strings.Replace(shopPolicy, "claims: {roles: strings}", "claims: {roles: strings, tenant: string}", 1)
			next = strings.Replace(next, "lookup: orders, is: token.sub}}", "lookup: orders, is: token.sub}, "+strings.ReplaceAll(c.to, `"`, `'`)+"}", 1)
			next = strings.Replace(next, strings.ReplaceAll(c.to, `"`, `'`), "condition: '"+strings.TrimPrefix(c.to, "condition: ")+"'", 1)
			dir := folder(t, map[string]string{"old.yaml": shopPolicy, "new.yaml": next, "requests.jsonl": lines})
			code, out, errs := command(t, nil, "policy", "diff", filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml"), "-f", filepath.Join(dir, "requests.jsonl"))
			if code != 0 || errs != "" || !strings.Contains(out, c.want) {
				t.Errorf("exit %d, %s\n%s", code, errs, out)
			}
		})
	}
}

// Roles that the old policy could not name were not recorded: whoever reads them first is told so.
func TestPolicyDiffRoles(t *testing.T) {
	old := strings.Replace(shopPolicy, ", claims: {roles: strings}", "", 1)
	next := strings.Replace(shopPolicy, "is: token.sub}}\n      - {name: one", "is: token.sub, unless_role: support}}\n      - {name: one", 1)
	lines := strings.ReplaceAll(recordShop(t, shopRequests[1]), `"claims":{"roles":["support"]},`, "")
	dir := folder(t, map[string]string{"old.yaml": old, "new.yaml": next, "requests.jsonl": lines})
	code, out, errs := command(t, nil, "policy", "diff", filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml"), "-f", filepath.Join(dir, "requests.jsonl"))
	if code != 0 || errs != "" || !strings.Contains(out, "the new policy reads token.roles, which was not recorded") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

// A policy that believes no peers records no callers.
func TestPolicyDiffCallers(t *testing.T) {
	next := shopPolicy
	old := strings.Replace(strings.Replace(shopPolicy, "peers: envoy\n", "", 1), "callers: [shop/indexer], token: none}", "deny: 403}", 1)
	lines := recordShop(t, "request: POST /reindex")
	dir := folder(t, map[string]string{"old.yaml": old, "new.yaml": next, "requests.jsonl": lines})
	code, out, errs := command(t, nil, "policy", "diff", filepath.Join(dir, "old.yaml"), filepath.Join(dir, "new.yaml"), "-f", filepath.Join(dir, "requests.jsonl"))
	if code != 0 || errs != "" || !strings.Contains(out, "the new policy reads callers, which were not recorded") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

// A line that cannot be read ends the comparison, unless it is the one that a gate is still writing.
func TestPolicyDiffLines(t *testing.T) {
	lines := recordShop(t, shopRequests[0])
	for name, c := range map[string]struct {
		lines string
		code  int
		want  string
	}{
		"a torn line at the end":  {lines + lines[:40], 0, "1 requests"},
		"a last line without end": {strings.TrimSuffix(lines+lines, "\n"), 0, "2 requests"},
		"a torn line within":      {lines[:40] + "\n" + lines, 2, "requests.jsonl:1: not a recorded request"},
		"nothing":                 {"\n", 2, "holds no requests"},
		"too long":                {`{"request": "GET /` + strings.Repeat("a", offline.MaxLine) + "\"}\n", 2, "requests.jsonl:1: "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"old.yaml": shopPolicy, "requests.jsonl": c.lines})
			code, out, errs := command(t, nil, "policy", "diff", filepath.Join(dir, "old.yaml"), filepath.Join(dir, "old.yaml"), "-f", filepath.Join(dir, "requests.jsonl"))
			if code != c.code || !strings.Contains(out+errs, c.want) {
				t.Errorf("exit %d, %s\n%s", code, errs, out)
			}
		})
	}
	for _, args := range [][]string{{"a", "b"}, {"a", "b", "-f", "c"}, {"a"}, {"a", "b", "-f", "c", "--fail-on", "all"}} {
		if code, _, errs := command(t, nil, append([]string{"policy", "diff"}, args...)...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
