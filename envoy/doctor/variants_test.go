package doctor_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

const (
	firstAction = "{metadata: {descriptor_key: who, source: DYNAMIC, default_value: unknown, metadata_key: {key: envoy.filters.http.ext_authz, path: [{key: who}]}}}"
	theMask     = "{masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}"
	byMask      = "rate_limits:\n              - actions: [{masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}]"
	byAddress   = "rate_limits: [{actions: [{masked_remote_address: {}}]}]"
	onHost      = "domains: [\"*\"]\n              "
	asksAuthz   = "envoy_grpc: {cluster_name: authz, authority: authz}"
	wholeNames  = "match_typed_subject_alt_names:\n              - " + uri
)

// byPeer is an edit of edge.yaml: whose address a request comes from is no longer what the connection says.
var byPeer = [2]string{"use_remote_address: true", "use_remote_address: false"}

// probeTo is an unchecked route for a probe of the policy, and where it leads.
func probeTo(action string) string {
	return "- match: {path: /healthz, headers: [{name: \":method\", string_match: {exact: GET}}]}\n                route: {" + action + "}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: " +
		"{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n              " + catch
}

func unprobed(rewrite string) fixture {
	return set("unchecked-route", "edge.yaml", catch, probeTo("cluster: service, "+rewrite), ".disabled")
}

// right is a fixture without a finding.
func (f fixture) right() fixture {
	f.id, f.place = "", ""
	return f
}

// The same mistakes in the other ways of making them, and what is not here or not known.
func TestVariants(t *testing.T) {
	headerRule := [2]string{"owner: none", "owner: {of: header.x-order, is: token.sub}"}
	for _, f := range []fixture{
		// Headers that a rule reads, by each kind of matcher.
		{id: "headers-withheld", file: "edge.yaml", old: filterSetting("")[0], new: filterSetting("disallowed_headers: {patterns: [{exact: X-Order, ignore_case: true}]}")[1], policy: headerRule},
		{id: "headers-withheld", file: "edge.yaml", old: filterSetting("")[0], new: filterSetting("disallowed_headers: {patterns: [{suffix: -order}]}")[1], policy: headerRule},
		{id: "headers-withheld", file: "edge.yaml", old: filterSetting("")[0], new: filterSetting("disallowed_headers: {patterns: [{contains: -ord}]}")[1], policy: headerRule},
		{id: "headers-withheld", file: "edge.yaml", old: filterSetting("")[0], new: filterSetting("disallowed_headers: {patterns: [{safe_regex: {regex: \"x-.*\"}}]}")[1]},

		// Not here, or not known.
		{id: "elsewhere", file: "edge.yaml", old: asksAuthz, new: "envoy_grpc: {cluster_name: other}", more: [2]string{"node: {id: edge, cluster: edge}", "node: {id: edge, cluster: edge}\ndynamic_resources: {cds_config: {ads: {}}}"}, place: ".cluster_name"},
		set("elsewhere", "edge.yaml", "          route_config:\n", "          scoped_routes: {name: a}\n          route_config:\n", ".scoped_routes"),
		set("elsewhere", "edge.yaml", "          route_config:\n", "          route_config:\n            vhds: {config_source: {ads: {}}}\n", ".vhds"),
		set("elsewhere", "edge.yaml", "    filter_chains:\n    - transport_socket:", "    filter_chains:\n    - filters: [{name: a, config_discovery: {type_urls: []}}]\n    - transport_socket:", ".config_discovery"),
		{id: "not-understood", file: "edge.yaml", old: asksAuthz, new: "google_grpc: {target_uri: a, stat_prefix: a}", place: ".google_grpc"},
		set("not-understood", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {cluster_specifier_plugin: own, timeout: 15s}\n          http", ".cluster_specifier_plugin"),
		set("not-understood", "edge.yaml", "use_remote_address: true\n          xff_num_trusted_hops: 1\n", "original_ip_detection_extensions: [{name: a}]\n", ".original_ip_detection_extensions[0]"),
		{id: "not-understood", file: "edge.yaml", old: onHost, new: onHost + "matcher: {}\n              ", place: ".matcher"},
		{id: "not-understood", file: "sidecar.yaml", old: firstAction, new: "{extension: {name: envoy.rate_limit_descriptors.expr}}", place: ".actions[0]"},
		{id: "not-understood", file: "edge.yaml", old: "    filter_chains:\n", new: "    filter_chain_matcher: {}\n    filter_chains:\n", place: ".filter_chain_matcher"},
		{id: "not-understood", file: "sidecar.yaml", old: "  - name: authz\n", new: "  - name: authz\n    transport_socket_matches: []\n", place: ".transport_socket_matches"},

		// Each action of a descriptor, none of which the shipped limits know.
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{generic_key: {descriptor_value: a}}", limits: true},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{header_value_match: {descriptor_value: a, headers: []}}", limits: true},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{query_parameter_value_match: {descriptor_value: a, query_parameters: []}}", limits: true},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{request_headers: {header_name: a, descriptor_key: a}}", limits: true, also: []string{"descriptor-vanishes"}},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{query_parameters: {query_parameter_name: a, descriptor_key: a}}", limits: true, also: []string{"descriptor-vanishes"}},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{source_cluster: {}}", limits: true},
		{id: "descriptor-without-limit", file: "sidecar.yaml", old: firstAction, new: "{destination_cluster: {}}", limits: true},
		{id: "address-from-client", file: "sidecar.yaml", old: firstAction, new: "{remote_address: {}}", limits: true, also: []string{"descriptor-without-limit"}},
		// Descriptors of a route's own settings go to their own domain; those of a virtual host count where the filter has none.
		{id: "descriptor-without-limit", file: "edge.yaml", old: onHost + "typed_per_filter_config:\n", new: onHost + "typed_per_filter_config:\n                sallyport.edge: {\"@type\": type.googleapis.com/" +
			"envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute, domain: other, rate_limits: [{actions: [{masked_remote_address: {}}]}]}\n", place: ".rate_limits[0]", limits: true},
		{id: "descriptor-without-limit", file: "edge.yaml", old: byMask, new: "stat_prefix: a", more: [2]string{onHost, onHost + "rate_limits: [{actions: [{generic_key: {descriptor_value: a}}]}]\n              "}, place: ".virtual_hosts[0].rate_limits[0]", limits: true},
		// What a client sends or does not send decides whether anything is counted at all.
		{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{header_value_match: {descriptor_value: a, headers: [{name: user-agent, present_match: true}]}}", place: ".header_value_match"},
		{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{header_value_match: {descriptor_value: a, expect_match: false, headers: [{name: \":method\"}, {name: x-skip}]}}", place: ".header_value_match"},
		{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{query_parameter_value_match: {descriptor_value: a, expect_match: false, query_parameters: [{name: skip}]}}", place: ".query_parameter_value_match"},
		{id: "descriptor-vanishes", file: "edge.yaml", old: byMask, new: byMask + "\n                apply_on_stream_done: true\n              - actions: [{header_value_match: {descriptor_value: a, headers: [{name: x-skip}]}}]", place: ".header_value_match"},
		{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{metadata: {descriptor_key: masked_remote_address, metadata_key: {key: our.own, path: [{key: plan}]}}}", place: ".metadata"},
		// The filter behind a matcher counts what the matcher takes.
		{id: "limit-partial", file: "edge.yaml", old: "              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit\n              domain: edge\n", new: "              \"@type\": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher\n" +
			"              xds_matcher: {matcher_list: {}}\n              extension_config: {name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit, domain: edge, timeout: 0.1s, failure_mode_deny: true, " +
			byAddress + ", rate_limit_service: {grpc_service: {envoy_grpc: {cluster_name: ratelimit}}}}}\n", place: ".xds_matcher"},
		// A filter among the actions of a matcher.
		{id: "metadata-forged", file: "edge.yaml", old: router, new: "          - name: m\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher, extension_config: {name: c, typed_config: " +
			"{\"@type\": type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite}}, xds_matcher: {on_no_match: {action: {name: a, typed_config: {typed_config: {typed_config: " +
			"{\"@type\": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: envoy.filters.http.ext_authz}]}}}}}}}\n" + router, place: ".metadata_namespace", also: []string{"rewriting-filter"}},
		// Limits by address on a virtual host, on a route, and in a route's settings of the filter.
		{id: "address-from-client", file: "edge.yaml", old: byMask, new: "stat_prefix: a", more: [2]string{onHost, onHost + byAddress + "\n              "}, third: byPeer, place: ".use_remote_address"},
		{id: "address-from-client", file: "edge.yaml", old: byMask, new: "stat_prefix: a", more: [2]string{"route: {cluster: service, timeout: 15s}\n          http", "route: {cluster: service, timeout: 15s, " + byAddress + "}\n          http"}, third: byPeer, place: ".use_remote_address"},
		{id: "address-from-client", file: "edge.yaml", old: byMask, new: "stat_prefix: a", more: [2]string{onHost + "typed_per_filter_config:\n", onHost + "typed_per_filter_config:\n                sallyport.edge: {\"@type\": type.googleapis.com/" +
			"envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute, " + byAddress + "}\n"}, third: byPeer, place: ".use_remote_address"},
		{id: "limit-partial", file: "edge.yaml", old: "failure_mode_deny: true", new: "failure_mode_deny: true\n              filter_enabled: {default_value: {numerator: 9999, denominator: TEN_THOUSAND}}"},
		set("descriptor-namespace", "sidecar.yaml", "metadata_key: {key: envoy.filters.http.ext_authz, path: [{key: who}]}", "metadata_key: {key: envoy.filters.http.ext_authz/orders, path: [{key: plan}]}", ".metadata_key"),

		// A probe's route that leads elsewhere is no probe's.
		unprobed(`prefix_rewrite: /admin`),
		unprobed(`path_rewrite: /admin`),
		unprobed(`regex_rewrite: {pattern: {regex: ".*"}, substitution: /admin}`),
		unprobed(`path_rewrite_policy: {name: a}`),
		unprobed(`host_rewrite_literal: a`),
		unprobed(`host_rewrite_header: a`),
		unprobed(`host_rewrite_path_regex: {pattern: {regex: ".*"}, substitution: a}`),
		unprobed(`auto_host_rewrite: true`),
		{id: "unchecked-route", file: "edge.yaml", old: catch, new: probeTo("cluster_header: x-cluster"), place: ".disabled", also: []string{"cluster-from-client"}},

		// Bodies of streams.
		set("body-on-stream", "demo.yaml", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, timeout: 15s}", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, max_stream_duration: {max_stream_duration: 60s}}", ".with_request_body"),
		set("body-on-stream", "demo.yaml", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, timeout: 15s}", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, upgrade_configs: [{upgrade_type: websocket}]}", ".with_request_body"),

		// Hosts and names in other ways.
		{id: "service-by-host", file: "edge.yaml", old: "domains: [\"*\"]", new: "domains: [\"orders.*\", \"pages.*\"]", policy: [2]string{"services:\n", "services:\n" + another}, place: ".domains"},
		set("caller-unproved", "sidecar.yaml", uri, `{san_type: URI, matcher: {suffix: /sa/orders}}`, ".match_typed_subject_alt_names[0]"),
		set("caller-unproved", "sidecar.yaml", uri, `{san_type: URI, matcher: {exact: "https://cluster.local/ns/a"}}`, ".match_typed_subject_alt_names[0]"),
		set("caller-unproved", "sidecar.yaml", uri, uri+"\n              - {san_type: DNS, matcher: {exact: orders.shop.svc}}", ".match_typed_subject_alt_names[1]"),
		set("untrusted-certificate", "sidecar.yaml", "trusted_ca: {filename: \"/dev/stdout\"}", "trusted_ca: {filename: \"/dev/stdout\"}\n              allow_expired_certificate: true", ".allow_expired_certificate"),
		{id: "host-rewrite", file: "edge.yaml", old: "route: {cluster: service, timeout: 15s}\n          http", new: "route: {weighted_clusters: {clusters: [{name: service, weight: 1, host_rewrite_literal: a}]}}\n          http", place: ".host_rewrite_literal"},
	} {
		t.Run(f.id, func(t *testing.T) {
			config, text := f.edited(t)
			table := shippedLimits(t)
			if !f.limits && strings.Contains(f.old+f.id, "descriptor") {
				table = nil
			}
			found := examine(t, config, parse(t, text), table)
			want := append([]string{f.id}, f.also...)
			slices.Sort(want)
			if diff := cmp.Diff(want, ids(found)); diff != "" {
				t.Errorf("%q in place of %q: %s", f.new, f.old, diff)
				for _, g := range found {
					t.Log(g.String(f.file))
				}
			}
			for _, g := range found {
				if g.ID == f.id && !strings.HasSuffix(g.Path, f.place) {
					t.Errorf("%s, want %s", g.Path, f.place)
				}
			}
		})
	}
}

// A cookie that a service's OpenAPI document holds to a form must reach the gate, and only then.
func TestDeclaredCookies(t *testing.T) {
	const document = "openapi: 3.0.3\ninfo: {title: shop, version: \"1\"}\npaths:\n  /orders/{order_id}:\n    get:\n      parameters:\n" +
		"        - {name: order_id, in: path, required: true, schema: {type: string}}\n        - {name: theme, in: %s, schema: {type: string}}\n      responses: {default: {description: d}}\n"
	for in, want := range map[string][]string{"cookie": {"headers-withheld"}, "query": nil} {
		f := disallowed("cookie", [2]string{"    edge: true\n", "    edge: true\n    openapi: shop.openapi.yaml\n"})
		config, text := f.edited(t)
		p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}, {Name: "shop.openapi.yaml", Data: fmt.Appendf(nil, document, in)}})
		if len(errs) > 0 {
			t.Fatal(errs.Pretty())
		}
		if got := ids(examine(t, config, p, shippedLimits(t))); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// A header or a cookie that the document describes for one of a rule's methods alone must reach the gate too.
func TestDeclaredForOneMethod(t *testing.T) {
	const document = "openapi: 3.0.3\ninfo: {title: shop, version: \"1\"}\npaths:\n  /orders/{order_id}:\n    get:\n      parameters:\n" +
		"        - {name: order_id, in: path, required: true, schema: {type: string}}\n        - {name: x-debug, in: %s, schema: {type: string}}\n      responses: {default: {description: d}}\n"
	for in, header := range map[string]string{"cookie": "cookie", "header": "x-debug"} {
		f := disallowed(header, [2]string{"    edge: true\n", "    edge: true\n    openapi: shop.openapi.yaml\n"})
		config, text := f.edited(t)
		text = strings.ReplaceAll(text, "GET /orders/{order_id}", "GET,DELETE /orders/{order_id}")
		p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(text)}, {Name: "shop.openapi.yaml", Data: fmt.Appendf(nil, document, in)}})
		if len(errs) > 0 {
			t.Fatal(errs.Pretty())
		}
		if got, want := ids(examine(t, config, p, shippedLimits(t))), []string{"headers-withheld"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// A list of allowed headers is told by what it lacks.
func TestAllowedHeaders(t *testing.T) {
	for allowed, want := range map[string]string{
		"[{exact: authorization}]":                "only some are allowed, and not :path, :method, :authority, x-forwarded-for, x-request-id, upgrade, connection, x-api-key",
		"[{prefix: \":\"}, {prefix: x-}]":         "only some are allowed, and not authorization, upgrade, connection",
		"[{safe_regex: {regex: \"[^b].*\"}}]":     "only some are allowed, and the gate denies by others that it must see as well",
		"[{exact: X-API-KEY, ignore_case: true}]": "only some are allowed, and not :path, :method, :authority, authorization, x-forwarded-for, x-request-id, upgrade, connection",
	} {
		edit := filterSetting("allowed_headers: {patterns: " + allowed + "}")
		f := fixture{file: "edge.yaml", old: edit[0], new: edit[1], policy: keyed}
		config, text := f.edited(t)
		if found := examine(t, config, parse(t, text), shippedLimits(t)); len(found) != 1 || found[0].Detail != want {
			t.Errorf("%s: %+v, want %s", allowed, found, want)
		}
	}
}

// What is right in another way than the shipped files have it is no finding, and no note either.
func TestRightInOtherWays(t *testing.T) {
	for _, f := range []fixture{
		set("", "edge.yaml", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 8443}}}", "admin: {address: {pipe: {path: /run/envoy/admin.sock}}}", ""),
		set("", "edge.yaml", "admin: {address: {socket_address: {address: 127.0.0.1", "admin: {address: {socket_address: {address: \"::1\"", ""),
		set("", "edge.yaml", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 8443}}}", "stats_flush_interval: 5s", ""),
		add("", "filter_enabled: {default_value: {numerator: 100}, runtime_key: check}\n              deny_at_disable: {default_value: true, runtime_key: closed}"),
		add("", "disallowed_headers: {patterns: [{exact: cookie}]}"),
		set("", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: true\n              filter_enforced: {default_value: {numerator: 1000000, denominator: MILLION}}\n              request_type: both", ""),
		set("", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: true\n              failure_mode_deny_percent: {default_value: {numerator: 100}}", ""),
		set("", "edge.yaml", "path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: 2", ""),
		set("", "edge.yaml", "scheme_header_transformation: {scheme_to_overwrite: https}", "scheme_header_transformation: {match_upstream: true}", ""),
		set("", "edge.yaml", "mutations: [{remove_on_match: {key_matcher: {prefix: x-envoy-, ignore_case: true}}}]", "mutations: [{remove_on_match: {key_matcher: {safe_regex: {regex: \"x-envoy-.*\"}}}}]", ""),
		set("", "edge.yaml", "mutations: [{remove_on_match: {key_matcher: {prefix: x-envoy-, ignore_case: true}}}]", "mutations: [{remove: x-envoy-auth-partial-body}, {remove: x-envoy-original-path}, "+
			"{remove: x-envoy-external-address}, {remove: X-Envoy-Retry-On}, {remove: x-envoy-upstream-rq-timeout-ms}]", ""),
		set("", "edge.yaml", "    filter_chains:\n    - transport_socket:", "    filter_chains:\n    - filters: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz, "+
			"grpc_service: {envoy_grpc: {cluster_name: authz}}}}, {name: b, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy}}]\n    - transport_socket:", ""),
		set("", "edge.yaml", "    filter_chains:\n    - transport_socket:", "    filter_chains:\n    - filters: [{name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC}}]\n    - transport_socket:", ""),
		set("", "edge.yaml", "use_remote_address: true\n          xff_num_trusted_hops: 1\n", "original_ip_detection_extensions: [{name: a, typed_config: {\"@type\": type.googleapis.com/"+
			"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_trusted_cidrs: {cidrs: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}}]\n", ""),
		set("", "edge.yaml", catch, "- match: {prefix: /old}\n                redirect: {path_redirect: /new}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: "+
			"{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n              "+catch, ""),
		set("", "edge.yaml", catch, probeTo("cluster: service"), ""),
		set("", "edge.yaml", catch, "- match: {connect_matcher: {}}\n                route: {cluster: service}\n              "+catch, ""),
		set("", "edge.yaml", catch, "- match: {path: /healthz, headers: [{name: \":method\", string_match: {exact: HEAD}}]}\n                route: {cluster: service}\n                typed_per_filter_config: {envoy.filters.http.ext_authz: "+
			"{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n              "+catch, ""),
		// Filters that leave the token where it is and write elsewhere, or behind the check; changes of headers that nobody judges by.
		set("", "edge.yaml", corsAt, httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {forward: true, claim_to_headers: [{header_name: x-plan, claim_name: plan}]}}")+corsAt, ""),
		set("", "edge.yaml", corsAt, httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {from_headers: [{name: x-jwt}]}, b: {from_params: [jwt]}}")+corsAt, ""),
		set("", "edge.yaml", router, httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {}}")+router, ""),
		set("", "edge.yaml", router, httpFilter("credential_injector", "CredentialInjector", injected(""))+router, ""),
		set("", "edge.yaml", corsAt, httpFilter("credential_injector", "CredentialInjector", injected(", header: x-upstream-key"))+corsAt, ""),
		set("", "edge.yaml", corsAt, httpFilter("header_to_metadata", "Config", "request_rules: [{header: x-plan, on_header_present: {key: plan}, remove: true}]")+corsAt, ""),
		set("", "edge.yaml", corsAt, httpFilter("set_metadata", "Config", "metadata: [{metadata_namespace: our.own, value: {a: envoy.filters.http.ext_authz}}]")+corsAt, ""),
		set("", "edge.yaml", early("")[0], early("remove: x-user-id}, {remove: x-request-id")[1], ""),
		set("", "demo.yaml", meshFilters, meshFilters+httpFilter("fault", "HTTPFault", "abort: {http_status: 503}"), ""),
		disallowed("origin", [2]string{}).right(), disallowed("content-encoding", [2]string{}).right(), disallowed("x-hub-signature-256", [2]string{}).right(),
		disallowed("content-type", withRule("owner: {of: query.o, is: token.sub}\n        body_parameters: separate")).right(),
		set("", "edge.yaml", "    listener_filters:\n", "    listener_filters:\n    - {name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}\n", ""),
		set("", "edge.yaml", theMask, "{metadata: {descriptor_key: masked_remote_address, source: ROUTE_ENTRY, metadata_key: {key: our.own, path: [{key: plan}]}}}", ""),
		set("", "edge.yaml", theMask, "{metadata: {descriptor_key: masked_remote_address, default_value: a, metadata_key: {key: our.own, path: [{key: plan}]}}}", ""),
		// A match beside a descriptor that is always sent; of what every request has; hits that are counted at the end; another filter's stage.
		set("", "edge.yaml", byMask, byMask+"\n              - actions: [{header_value_match: {descriptor_key: masked_remote_address, descriptor_value: a, headers: [{name: user-agent, present_match: true}]}}]", ""),
		set("", "edge.yaml", theMask, "{request_headers: {header_name: \":path\", descriptor_key: masked_remote_address}}", ""),
		set("", "edge.yaml", theMask, "{header_value_match: {descriptor_key: masked_remote_address, descriptor_value: a, headers: [{name: \":method\", string_match: {exact: POST}}]}}", ""),
		set("", "edge.yaml", byMask, byMask+"\n                hits_addend: {number: 0}\n              - actions: ["+theMask+"]\n                apply_on_stream_done: true\n                hits_addend: {format: \"%BYTES_SENT%\"}", ""),
		set("", "edge.yaml", byMask, byMask+"\n                hits_addend: {number: 2}", ""),
		{file: "edge.yaml", old: byMask, new: "stage: 1", more: [2]string{onHost, onHost + "rate_limits: [{stage: 1, actions: [" + theMask + "]}]\n              "}},
		{file: "demo.yaml", policy: bounded("32767")}, {file: "demo.yaml", policy: bounded("100")},
		// Clusters that are here, though others are not; a virtual host of the service's own names.
		set("", "edge.yaml", "node: {id: edge, cluster: edge}", "node: {id: edge, cluster: edge}\ndynamic_resources: {cds_config: {ads: {}}}", ""),
		set("", "edge.yaml", "domains: [\"*\"]", "domains: [orders.example, \"orders.example:*\"]", ""),
		set("", "sidecar.yaml", uri, `{san_type: URI, matcher: {exact: "spiffe://cluster.local/ns/web/sa/frontend"}}`, ""),
		set("", "sidecar.yaml", uri, `{san_type: URI, matcher: {safe_regex: {regex: "spiffe://cluster\\.local/ns/.*"}}}`, ""),
		set("", "sidecar.yaml", wholeNames, "custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig}}", ""),
		{file: "sidecar.yaml", policy: [2]string{"peers: envoy", "peers: certificate"}, old: "failure_mode_allow: false", new: "failure_mode_allow: false\n              include_peer_certificate: true", more: [2]string{wholeNames, "max_verify_depth: 2"}},
		// Metadata that a rule hands out.
		set("", "sidecar.yaml", "path: [{key: who}]", "path: [{key: plan}]", ""),
		// A limit by something that is not the gate's, before it.
		{file: "edge.yaml", old: "{masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}", new: "{generic_key: {descriptor_key: masked_remote_address, descriptor_value: all}}"},
		set("", "sidecar.yaml", "tls_certificates:\n          - {certificate_chain: {filename: \"/dev/stdout\"}, private_key: {filename: \"/dev/stdout\"}}\n          validation", "tls_certificate_sds_secret_configs: [{name: a}]\n          validation", ""),
		set("", "demo.yaml", "route: {cluster: service, timeout: 15s}", "route: {cluster: service, timeout: 1.5s}", ""),
	} {
		config, text := f.edited(t)
		if found := examine(t, config, parse(t, text), shippedLimits(t)); len(found) > 0 {
			t.Errorf("%q in place of %q: %q", f.new, f.old, ids(found))
			for _, g := range found {
				t.Log(g.String(f.file))
			}
		}
	}
}
