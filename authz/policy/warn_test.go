package policy

import (
	"fmt"
	"strings"
	"testing"
)

// doubtful is a policy with nothing to doubt in it, to which each line of the tables adds a rule.
const doubtful = `version: 1
trust_domain: t
peers: envoy
issuers:
  shop:
    issuer: https://auth.example
    audiences: [api]
lookups:
  fixed:
    static: {o-1: {viewer: [alice], editor: bob}, o-2: {viewer: []}}
  plain:
    static: {o-1: alice}
services:
  - name: orders
    hosts: [orders.example]
    callers: [web/*]
    probes: [/healthz, /grpc.health.v1.Health/Check]
    rules:
      - {name: base, match: "GET /base/{id}", owner: {of: path.id, is: token.sub, lookup: plain}}
      - {name: other, match: "GET /other/{id}", owner: {of: path.id, is: token.sub, lookup: fixed, relation: viewer}}
`

// doubts are the warnings of a policy, each with its hint.
func doubts(t *testing.T, text string) string {
	t.Helper()
	var lines []string
	for _, w := range mustParse(t, text).Warnings {
		if w.Line == "" {
			t.Errorf("no line is shown of %s", w)
		}
		lines = append(lines, fmt.Sprintf("%d:%d: %s (%s)", w.Pos.Line, w.Pos.Column, w.Msg, w.Hint))
	}
	return strings.Join(lines, "\n")
}

// What loads and cannot be meant, with what is told of it; "" tells nothing.
func TestDoubts(t *testing.T) {
	for name, test := range map[string]struct{ rules, want string }{
		"nothing": {"", ""},

		// Patterns that no request reaches.
		"a probe's path": {`{name: x, match: GET /healthz}`,
			"21:26: the probe /healthz answers first: of `GET /healthz`, only requests with a query reach the rule (take the path out of `probes`, or out of the rule)"},
		"a probe's path, by both methods": {`{name: x, match: ["GET /x", "GET,HEAD /healthz"]}`,
			"21:37: the probe /healthz answers first: of `GET,HEAD /healthz`, only requests with a query reach the rule (take the path out of `probes`, or out of the rule)"},
		"a probe's path, by a method that is none of its": {`{name: x, match: "GET,POST /healthz"}`, ""},
		"a probe's path, in another rule's names":         {`{name: x, match: "GET /{page}", owner: none}`, ""},
		"a probe of gRPC": {`{name: x, match: /grpc.health.v1.Health/Check}`,
			"21:26: the probe /grpc.health.v1.Health/Check answers first: of `/grpc.health.v1.Health/Check`, only requests with a query reach the rule (take the path out of `probes`, or out of the rule)"},
		"a rest that others leave something": {`{name: x, match: "GET /a/{rest...}", owner: none}`, ""},

		// Bodies that nobody sends.
		"a body of a GET": {`{name: x, match: "GET,HEAD /x", owner: {of: body.id, is: token.sub}}`,
			"21:19: the rule reads a body, and clients send GET and HEAD without one: nobody will pass (match POST, or read the path or the query)"},
		"a body of a GET and a POST": {`{name: x, match: "GET,POST /x", owner: {of: body.id, is: token.sub}}`, ""},

		// Shapes that refuse more, or take less, than is meant.
		"a parameter of a GET": {`{name: x, match: GET /x, params: {query.n: integer}}`,
			"21:34: a body could hold query.n too: clients that always send `content-type: application/json` are refused (write `body_parameters: separate` if the upstream never merges a body's fields into the query)"},
		"a parameter of a POST": {`{name: x, match: "GET,POST /x", params: {query.n: integer}}`,
			"21:41: a body could hold query.n too: `GET,POST /x` is refused with a form, a JSON document, or no `content-type`, unless `content-length: 0` says that it has no body (write `body_parameters: separate` if the upstream never merges a body's fields into the query)"},
		"a parameter that no body holds":  {`{name: x, match: GET /x, params: {query.n: integer}, body_parameters: separate}`, ""},
		"a parameter that is in no query": {`{name: x, match: GET /x, params: {header.x-n: integer}}`, ""},
		"no parameter":                    {`{name: x, match: GET /x, params: {}}`, ""},
		"a list that is an object": {`{name: x, match: POST /x, writable: {everyone: ["a[*].b", a.c]}}`,
			"21:35: `a` is a list to one pattern and an object to another, and a body can write one of them only (keep the patterns of what it is)"},

		// Exceptions.
		"except everything": {`{name: x, match: "GET /a/{rest...}", public: true, callers: any, except: [/a/]}`,
			"21:26: no request reaches `GET /a/{rest...}`: `except` takes /a/ from it, and that is all of it (except less, or leave the pattern out)"},
		"except everything, in capitals": {`{name: x, match: "GET /a/{rest...}", public: true, callers: any, except: [/A]}`,
			"21:26: no request reaches `GET /a/{rest...}`: `except` takes /A from it, and that is all of it (except less, or leave the pattern out)"},
		"except one of two": {`{name: x, match: ["GET /a/{rest...}", "GET /b/{rest...}"], public: true, callers: any, except: [/b]}`,
			"21:47: no request reaches `GET /b/{rest...}`: `except` takes /b from it, and that is all of it (except less, or leave the pattern out)"},
		"except something": {`{name: x, match: "GET /a/{rest...}", public: true, callers: any, except: [/a/private/]}`, ""},
		"except nothing, by a mistake": {`{name: x, match: "GET /a/{rest...}", public: true, callers: any, except: [/a/private/, /private/]}`,
			"21:96: no pattern of the rule covers /private/, so that nothing is excepted by it (write the whole path, as it stands in `match`)"},
		"except nothing, on purpose": {`{name: x, match: "GET /a/{rest...}", public: true, callers: any, except: []}`, ""},

		// Rules that can allow nobody.
		"callers that the service does not admit": {`{name: x, match: GET /x, callers: [batch/nightly]}`,
			"21:34: nobody can be allowed: none of the rule's callers is one of the service's (both are demanded: name them in the service's `callers` too)"},
		"one caller that it admits":   {`{name: x, match: GET /x, callers: [batch/nightly, "*/shop"]}`, ""},
		"callers without a token":     {`{name: x, match: GET /x, token: none, callers: [batch/nightly]}`, "21:47: nobody can be allowed: none of the rule's callers is one of the service's (both are demanded: name them in the service's `callers` too)"},
		"callers of one of two kinds": {`{name: x, match: GET /x, either: [{issuer: shop}, {token: none, callers: [batch/nightly]}]}`, "21:73: nobody can be allowed: none of the rule's callers is one of the service's (both are demanded: name them in the service's `callers` too)"},
		"a client from elsewhere": {`{name: x, match: GET /x, callers: [web/a], clients: {app: [web/a], other: [web/b]}}`,
			"21:76: no token of client \"other\" can be allowed: none of its workloads is one of the rule's callers (name its workload in `callers` too)"},
		"a client from outside": {`{name: x, match: GET /x, clients: {other: [batch/b]}}`,
			"21:44: no token of client \"other\" can be allowed: none of its workloads is one of the service's callers (name its workload in `callers` too)"},
		"a relation that nobody has": {`{name: x, match: "GET /o/{id}", owner: {of: path.id, is: token.sub, lookup: fixed, relation: veiwer}}`,
			"21:92: no object of the lookup `fixed` has a `veiwer` (did you mean \"viewer\"?)"},
		"a relation that somebody has": {`{name: x, match: "GET /o/{id}", owner: {of: path.id, is: token.sub, lookup: fixed, relation: editor}}`, ""},
		"an owner where there are only relations": {`{name: x, match: "GET /o/{id}", owner: {of: path.id, is: token.sub, lookup: fixed}}`,
			"21:77: no object of the lookup `fixed` has an owner (write `o-1: alice` into it, or name a `relation`)"},
		"an owner":                              {`{name: x, match: "GET /o/{id}", owner: {of: path.id, is: token.sub, lookup: plain}}`, ""},
		"a rule that refuses everybody by name": {`{name: x, match: GET /x, deny: 410}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := doubtful
			if test.rules != "" {
				text += "      - " + test.rules + "\n"
			}
			if got := doubts(t, text); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// Where the upstream is exact about paths, rules can take every path from another's rest.
func TestDoubtsOfRests(t *testing.T) {
	text := strings.Replace(doubtful, "    callers: [web/*]\n", "    spelling: exact\n", 1) + `      - {name: x, match: "GET /a/{rest...}", owner: none}
      - {name: y, match: "GET /a/{$}"}
      - {name: z, match: "GET /a/{page}/{below...}", owner: none}
`
	if got := doubts(t, text); got != "" {
		t.Errorf("x has the pages: %s", got)
	}
	text += "      - {name: w, match: \"GET /a/{page}\", owner: none}\n"
	if got, want := doubts(t, text), "21:26: no request reaches `GET /a/{rest...}`: more specific patterns take every path below it (leave it out)"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Probes: an edge service's own do not answer for a host, so that its rule is reached; the edge's do.
func TestDoubtsOfProbes(t *testing.T) {
	rule := doubtful + "      - {name: x, match: GET /healthz}\n"
	if got := doubts(t, strings.Replace(rule, "    callers: [web/*]\n", "    callers: [web/*]\n    edge: true\n", 1)); got != "" {
		t.Errorf("an edge service's own probe: %s", got)
	}
	text := strings.Replace(strings.Replace(rule, "    callers: [web/*]\n", "    callers: [web/*]\n    edge: true\n", 1), "services:\n", "probes: [/healthz]\nservices:\n", 1)
	if got, want := doubts(t, text), "23:26: the probe /healthz answers first: of `GET /healthz`, only requests with a query reach the rule (take the path out of `probes`, or out of the rule)"; got != want {
		t.Errorf("an edge's probe: %s", got)
	}
	text = strings.Replace(doubtful, "[/healthz, ", "[{path: /healthz, callers: [mon/prom]}, /healthz, ", 1)
	if got, want := doubts(t, text), "17:53: the probe /healthz stands here twice, and the first answers (leave one out)"; got != want {
		t.Errorf("a probe that stands twice: %s", got)
	}
}

// An issuer that says which scopes it grants: what is demanded beyond them does not load, and what is demanded by nobody is told.
func TestGrantedScopes(t *testing.T) {
	with := func(scopes, rules string) string {
		return strings.Replace(doubtful, "    audiences: [api]\n", "    audiences: [api]\n    scopes: "+scopes+"\n", 1) + rules
	}
	const (
		read  = "      - {name: r, match: GET /r, scopes: [\"read:orders\"]}\n"
		write = "      - {name: w, match: GET /w, any_scope: [\"write:orders\", \"read:orders\"]}\n"
	)
	for name, test := range map[string]struct{ scopes, rules, want string }{
		"all are demanded": {`["read:orders", "write:orders"]`, read + write, ""},
		"one is demanded by no rule": {`["read:orders", "write:orders"]`, read,
			"8:29: no rule demands the scope \"write:orders\", which issuer `shop` grants (write the rule that demands it, or leave it out)"},
		"in the long form": {`{from: scp, type: strings, granted: ["read:orders", "write:orders"]}`, read,
			"8:65: no rule demands the scope \"write:orders\", which issuer `shop` grants (write the rule that demands it, or leave it out)"},
		"demanded in a branch":    {`["read:orders"]`, "      - {name: b, match: GET /b, either: [{issuer: shop, scopes: [\"read:orders\"]}, {token: none, callers: [web/a]}]}\n", ""},
		"demanded by a condition": {`["read:orders"]`, "      - {name: c, match: GET /c, condition: '\"read:orders\" in token.scope'}\n", ""},
		"it does not say":         {`{from: scp, type: strings}`, read, ""},
	} {
		if got := doubts(t, with(test.scopes, test.rules)); got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
	for name, test := range map[string]struct{ scopes, rules, want string }{
		"a misspelling":        {`["read:orders"]`, "      - {name: r, match: GET /r, scopes: [\"read:oders\"]}\n", "policy.yaml:22:43: issuer `shop` grants no scope \"read:oders\" = did you mean \"read:orders\"?"},
		"one of several":       {`["read:orders"]`, write, "policy.yaml:22:46: issuer `shop` grants no scope \"write:orders\" = one of: read:orders"},
		"another altogether":   {`["a"]`, read, "policy.yaml:22:43: issuer `shop` grants no scope \"read:orders\" = one of: a"},
		"in a branch":          {`["a"]`, "      - {name: b, match: GET /b, either: [{issuer: shop, scopes: [b]}, {token: none, callers: [web/a]}]}\n", "policy.yaml:22:67: issuer `shop` grants no scope \"b\" = did you mean \"a\"?"},
		"nothing is granted":   {`[]`, "", "policy.yaml:8:13: an issuer that grants no scope lets no rule demand one = leave it out, or name what is granted"},
		"no scope":             {`["a b"]`, "", "policy.yaml:8:14: \"a b\" cannot be a scope = one scope an entry (RFC 6749 section 3.3)"},
		"a scope that is none": {`[7]`, "", "policy.yaml:8:13: `scopes` holds an empty or repeated value"},
		"a text":               {`"a b"`, "", "policy.yaml:8:13: \"a b\" is text where a map is meant"},
		"granted as a text":    {`{granted: a}`, "", "policy.yaml:8:23: \"a\" is text where a list of text is meant = write [a]"},
	} {
		_, errs := Parse([]File{{Name: "policy.yaml", Data: []byte(with(test.scopes, test.rules))}})
		if len(errs) == 0 {
			t.Errorf("%s: it loads", name)
			continue
		}
		got := errs[0].Error()
		if errs[0].Hint != "" {
			got += " = " + errs[0].Hint
		}
		if got != test.want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, test.want)
		}
	}
}

// A lookup that no rule asks, in a branch or outside.
func TestDoubtsOfLookups(t *testing.T) {
	text := strings.Replace(doubtful, "  plain:\n", "  spare:\n    static: {o-1: alice}\n  plain:\n", 1)
	if got, want := doubts(t, text), "11:3: no rule asks the lookup `spare` (name it in a rule's `owner`, or leave it out)"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	text += "      - {name: b, match: \"GET /b/{id}\", either: [{issuer: shop, owner: {of: path.id, is: token.sub, lookup: spare}}, {token: none, callers: [web/a]}]}\n"
	if got := doubts(t, text); got != "" {
		t.Errorf("a branch asks: %s", got)
	}
}

// A list is asked about in one question, where the backend has been told how.
func TestDoubtsOfLists(t *testing.T) {
	text := strings.Replace(doubtful, "  plain:\n    static: {o-1: alice}\n", "  plain:\n    http: {url: \"https://orders.internal/owners/{id}\", owner: owner}\n", 1) +
		"      - {name: l, match: POST /l, owner: {of: \"body.ids[*]\", is: token.sub, lookup: plain}}\n"
	if got, want := doubts(t, text), "21:35: the rule reads a list, and the lookup `plain` asks for one id at a time: a long list is answered by 503 (write `batch: URL` at the lookup)"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := doubts(t, strings.Replace(text, ", owner: owner}", ", owner: owner, batch: \"https://orders.internal/owners\"}", 1)); got != "" {
		t.Error(got)
	}
}

// A folder of which a file is missing is not doubted for what that file may demand.
func TestNoDoubtsOfWhatIsMissing(t *testing.T) {
	issuers := "version: 1\ntrust_domain: t\npeers: envoy\nissuers:\n  shop:\n    issuer: https://auth.example\n    audiences: [api]\n    scopes: [\"read:orders\"]\n"
	service := "version: 1\nservices:\n  - {name: orders, hosts: [o.example], rules: [{name: r, match: GET /r, issuer: shop, scopes: [\"read:orders\"]}]}\n"
	for name, test := range map[string]struct {
		service string
		want    int
	}{
		"the file is there": {service, 0},
		"it is not good":    {"version: 2\n", 0},
		"it is not there":   {"version: 1\n", 1},
	} {
		s := Load(nil, []File{{Name: "a.yaml", Data: []byte(issuers)}, {Name: "b.yaml", Data: []byte(test.service)}})
		if len(s.Policy.Warnings) != test.want {
			t.Errorf("%s: %s", name, s.Policy.Warnings.Pretty())
		}
	}
}

// However much there is to doubt, it is told and found within bounds.
func TestDoubtsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(doubtful)
	for i := range 2 * maxWarnings {
		fmt.Fprintf(&b, "      - {name: r%d, match: GET /r%d, callers: [batch/a]}\n", i, i)
	}
	if n := len(mustParse(t, b.String()).Warnings); n != maxWarnings {
		t.Errorf("%d warnings", n)
	}
	c := newCompiler(nil)
	many := make([]CallerPattern, maxCallers)
	for i := range many {
		many[i] = CallerPattern{domain: fmt.Sprint(i), segments: []string{"x"}}
	}
	other := []CallerPattern{{domain: "x", segments: []string{"x"}}}
	for range maxCompared / maxCallers {
		if c.overlap(many, other) {
			t.Fatal("they overlap")
		}
	}
	if !c.overlap(many, other) {
		t.Error("there is no end to comparing")
	}
}

// A second id that nobody is held to is told; one that any demand reads is not.
func TestUnheldCaptures(t *testing.T) {
	for rule, want := range map[string]bool{
		`{name: r, match: "GET /users/{user_id}/orders/{order_id}", owner: {of: path.order_id, is: token.sub}}`:                                       true,
		`{name: r, match: "GET /users/{user_id}/orders/{order_id}", owner: {of: path.order_id, is: token.sub}, condition: path.user_id == token.sub}`: false,
		`{name: r, match: "GET /users/{user_id}/orders/{order_id}", owner: {of: "{path.user_id}/{path.order_id}", is: token.sub}}`:                    false,
		`{name: r, match: "GET /users/{user_id}/orders/{order_id}", owner: {of: path.order_id, is: token.sub}, agrees: [path.user_id, query.user]}`:   false,
		`{name: r, match: "GET /users/{user_id}/orders/{order_id}", owner: none}`:                                                                     false,
		`{name: r, match: "GET /users/{user_id}", owner: {of: path.user_id, is: token.sub}}`:                                                          false,
		`{name: r, match: "GET /users/{user_id}/{rest...}", owner: {of: path.user_id, is: token.sub}}`:                                                false,
	} {
		p := mustParse(t, "version: 1\nissuers: {shop: {issuer: \"https://auth.example.com\", audiences: [x]}}\nservices: [{name: s, hosts: [s], rules: ["+rule+"]}]\n")
		if got := strings.Contains(p.Warnings.Error(), "holds it to nothing"); got != want {
			t.Errorf("%s: warned %v:\n%s", rule, got, p.Warnings.Error())
		}
	}
}
