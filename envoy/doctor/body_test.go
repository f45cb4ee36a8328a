package doctor_test

import (
	"slices"
	"strings"
	"testing"
)

// Which route a rule's requests take is Envoy's order: the first that matches, and before it those that may.
func TestBodiesByRoute(t *testing.T) {
	const (
		sends  = `typed_per_filter_config: {envoy.filters.http.ext_authz: {"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {with_request_body: {max_request_bytes: 100, allow_partial_message: true}}}}`
		serves = `route: {cluster: service}`
	)
	rules := map[string]string{
		"json":   "      - name: r\n        match: POST /orders:delete\n        owner: {of: \"body.id\", is: token.sub}\n",
		"named":  "      - name: r\n        match: [\"POST /o/{id}\", \"POST /o/{id}/{$}\"]\n        owner: {of: \"body.id\", is: token.sub}\n",
		"stream": "      - name: r\n        match: /shop.Orders/Watch\n",
	}
	for _, c := range []struct {
		rule   string
		routes []string // before the catch-all, which sends no body
		want   string
	}{
		{"json", nil, "body-unread"},
		{"json", []string{`{match: {path: "/orders:delete"}, ` + serves + `, ` + sends + `}`}, ""},
		{"json", []string{`{match: {path: "/ORDERS:delete", case_sensitive: false}, ` + serves + `, ` + sends + `}`}, ""},
		{"json", []string{`{match: {path: "/ORDERS:delete"}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		{"json", []string{`{match: {safe_regex: {regex: "/orders:.*"}}, ` + serves + `, ` + sends + `}`}, ""},
		{"json", []string{`{match: {safe_regex: {regex: "orders"}}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		{"json", []string{`{match: {prefix: "/orders"}, ` + serves + `, ` + sends + `}`}, ""},
		{"json", []string{`{match: {path_separated_prefix: "/orders"}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		// For other methods only; for the rule's; for all but it.
		{"json", []string{`{match: {path: "/orders:delete", headers: [{name: ":method", string_match: {exact: GET}}]}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		{"json", []string{`{match: {path: "/orders:delete", headers: [{name: ":method", exact_match: POST}]}, ` + serves + `, ` + sends + `}`}, ""},
		{"json", []string{`{match: {path: "/orders:delete", headers: [{name: ":method", string_match: {exact: POST}, invert_match: true}]}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		// Who has no such header takes the catch-all.
		{"json", []string{`{match: {path: "/orders:delete", headers: [{name: content-type, string_match: {exact: application/json}}]}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		// A route that shadows the one with the body.
		{"json", []string{`{match: {prefix: /orders}, ` + serves + `}`, `{match: {path: "/orders:delete"}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		// One of two weighted clusters.
		{"json", []string{`{match: {path: "/orders:delete"}, route: {weighted_clusters: {clusters: [{name: service, weight: 1, ` + sends + `}, {name: service, weight: 1}]}}}`}, "body-unread"},
		{"json", []string{`{match: {path: "/orders:delete"}, route: {weighted_clusters: {clusters: [{name: service, weight: 1, ` + sends + `}, {name: service, weight: 1, ` + sends + `}]}}}`}, ""},
		{"named", []string{`{match: {prefix: /o/}, ` + serves + `, ` + sends + `}`}, ""},
		{"named", []string{`{match: {safe_regex: {regex: "/o/[^/]+"}}, ` + serves + `, ` + sends + `}`}, "body-unread"},
		{"stream", nil, ""},
		{"stream", []string{`{match: {prefix: /shop.Orders/}, ` + serves + `, ` + sends + `}`}, "body-on-stream"},
		{"stream", []string{`{match: {prefix: /shop.Other/}, ` + serves + `, ` + sends + `}`}, ""},
	} {
		before := ""
		for _, route := range c.routes {
			before += "- " + route + "\n              "
		}
		text := strings.Replace(shipped(t, "edge.yaml"), catch, before+catch, 1)
		got := ids(examine(t, text, parse(t, fitting+rules[c.rule]), shippedLimits(t)))
		var want []string
		if c.want != "" {
			want = []string{c.want}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, %q: %q, want %q", c.rule, c.routes, got, want)
		}
	}
}
