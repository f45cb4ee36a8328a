package policy

import (
	"strings"
	"testing"
)

// keyed is a policy whose service and rule say what is asked of applications.
func keyed(service, rule string) string {
	return "version: 1\ntrust_domain: t\npeers: envoy\nissuers: {shop: {issuer: \"https://shop.example\", audiences: [a]}}\nservices:\n  - name: a\n    hosts: [a.example]\n    " +
		service + "\n    rules:\n      - {name: r, match: GET /r, " + rule + "}\n"
}

const oneKey = "client_key: {header: x-api-key, keys_file: clients.keys}"

// A key is never enough alone, and is said once.
func TestClientKeyRefused(t *testing.T) {
	for name, test := range map[string]struct{ service, rule, want string }{
		"a public rule":              {"", "public: true, " + oneKey, "an API key names an application and never who asks: it is never enough alone"},
		"a workload's rule":          {"", "token: none, callers: [web/x], " + oneKey, "it is never enough alone"},
		"a branch without a token":   {"", "either: [{issuer: shop}, {token: none, callers: [web/x]}], " + oneKey, "it is never enough alone"},
		"a refusal":                  {"", "deny: 403, " + oneKey, "a `deny` rule refuses everybody and asks nothing"},
		"twice":                      {oneKey, oneKey, "the service demands a key already"},
		"a public rule of a service": {oneKey, "public: true", "the rule asks for no token and its service demands an API key"},
		"a branch of a service":      {oneKey, "either: [{issuer: shop}, {token: none, callers: [web/x]}]", "the rule asks for no token and its service demands an API key"},
		"none, with a token":         {oneKey, "client_key: none", "which only a rule without a token may"},
		"none, of nothing":           {"", "public: true, client_key: none", "sets the service's demand aside"},
		"another word":               {"", "client_key: any", `a client_key cannot be "any"`},
		"a list":                     {"", "client_key: [a]", "a map is meant"},
		"no header":                  {"", "client_key: {keys_file: k}", `missing key "header"`},
		"no keys":                    {"", "client_key: {header: x-api-key}", "the keys stand in one place, a file or Redis"},
		"two places":                 {"", `client_key: {header: x-api-key, keys_file: k, redis: {url: "redis://h/0", prefix: "k:"}}`, "the keys stand in one place, a file or Redis"},
		"a credential":               {"", "client_key: {header: authorization, keys_file: k}", "header authorization holds a credential"},
		"a header of the connection": {"", "client_key: {header: content-length, keys_file: k}", "cannot be removed"},
		"a header with _":            {"", "client_key: {header: x_api_key, keys_file: k}", "is no header name"},
		"Redis without a prefix":     {"", `client_key: {header: x-api-key, redis: {url: "redis://h/0"}}`, "`prefix` is missing"},
		"a password in a URL":        {"", `client_key: {header: x-api-key, redis: {url: "redis://u:p@h/0", prefix: "k:"}}`, "a URL with a password in it is refused"},
		"another store":              {"", `client_key: {header: x-api-key, redis: {url: "https://h", prefix: "k:"}}`, "not a URL that this lookup can ask"},
		"a header for the upstream":  {"headers: {x-api-key: token.sub}", oneKey, "holds a client's key, and is set for the upstream"},
		"a client that nobody names": {"headers: {x-client: client}", "issuer: shop", "no rule of the service demands an API key"},
		"metadata that nobody names": {"", "metadata: {app: client}", "the rule demands no API key"},
		"metadata by the built-in":   {"", oneKey + ", metadata: {client: client}", "it is built in"},
	} {
		if _, errs := parse(keyed(test.service, test.rule)); !strings.Contains(errs, test.want) {
			t.Errorf("%s: %s", name, errs)
		}
	}
}

// Who holds the demand, and what is removed before the upstream.
func TestClientKeyHeld(t *testing.T) {
	strip := func(r *Rule) string {
		var keys []string
		for _, name := range r.Strip {
			if strings.HasPrefix(name, "x-api") {
				keys = append(keys, name)
			}
		}
		return strings.Join(keys, " ")
	}
	p := mustParse(t, keyed("", oneKey)+"      - {name: other, match: GET /other, client_key: {header: x-api-token, keys_file: clients.keys, forward: true}}\n"+
		"      - {name: plain, match: GET /plain}\n      - {name: open, match: GET /open, public: true}\n")
	for i, want := range []string{"x-api-key x-api-token", "x-api-key", "x-api-key x-api-token", "x-api-key x-api-token"} {
		if rule := p.Services[0].Rules[i]; strip(rule) != want || (rule.ClientKey != nil) != (i < 2) {
			t.Errorf("%s removes %s and demands %v", rule.Name, strip(rule), rule.ClientKey)
		}
	}
	if all := p.ClientKeys(); len(all) != 1 || all[0].File != "clients.keys" {
		t.Errorf("%d stores of keys", len(all))
	}
	inherited := mustParse(t, strings.Replace(keyed(oneKey+"\n    headers: {x-client: client}", "either: [{issuer: shop}, {issuer: other}], metadata: {app: client}"),
		"issuers: {", "issuers: {other: {issuer: \"https://other.example\", audiences: [a]}, ", 1)+"      - {name: open, match: GET /open, public: true, client_key: none}\n      - {name: gone, match: GET /gone, deny: 410}\n")
	rules := inherited.Services[0].Rules
	if rules[0].Either[0].ClientKey == nil || rules[0].Either[1].ClientKey == nil || rules[1].ClientKey != nil || rules[2].ClientKey != nil {
		t.Error("the service's demand is held by others than those who ask for a token")
	}
	if strip(rules[0].Either[0]) != "x-api-key" || strip(rules[1]) != "x-api-key" {
		t.Error("a key reaches the upstream")
	}
}
