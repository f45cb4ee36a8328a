package doctor_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

// fixture is one edit of a shipped file, and what is found then and was not before.
type fixture struct {
	id   string // the finding that the edit is made for
	file string
	old  string // its first occurrence becomes new
	new  string

	more   [2]string // a second edit of the file
	third  [2]string // and a third
	policy [2]string // an edit of the policy beside it
	twice  [2]string // a second edit of the policy
	limits bool      // false: without limits too, where the descriptors are edited away
	place  string    // what the finding's path ends with
	also   []string  // other findings of the same edit
}

const (
	checkAt = "          - name: envoy.filters.http.ext_authz\n            typed_config:\n"
	// meshFilters is where the chain of demo.yaml begins that has no limit by address before the check.
	meshFilters = "          # Those of the gated door, without the limit by address.\n"

	corsAt = "          - name: envoy.filters.http.cors\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}\n"
	catch  = "- match: {prefix: /}\n                # A streaming"
	bodyOn = "with_request_body: {max_request_bytes: 65536, allow_partial_message: true, pack_as_bytes: true}"
	router = "          - name: envoy.filters.http.router"
	lua    = "          - name: envoy.filters.http.lua\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}\n"
	tcp    = "    - filters:\n      - name: tcp\n        typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: service}\n"
	pinned = `check_settings: {context_extensions: {service: "orders"}, disable_request_body_buffering: true}`
	ofHost = "                envoy.filters.http.ext_authz:\n                  \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n" +
		"                  # Bodies stream through unseen; a route whose rule reads one says so (below).\n                  check_settings: {disable_request_body_buffering: true}\n"
	uri = `{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}`
)

// another is a second service of the policy.
const another = "  - name: pages\n    edge: true\n    hosts: [pages.example]\n    rules: [{name: page, match: \"GET /home\", public: true}]\n"

// filterSetting is an edit that adds a line to the ext_authz filter.
func filterSetting(line string) [2]string {
	return [2]string{"failure_mode_allow: false", "failure_mode_allow: false\n              " + line}
}

// add makes a fixture of a line added to the ext_authz filter of edge.yaml.
func add(id, line string) fixture {
	edit := filterSetting(line)
	return fixture{id: id, file: "edge.yaml", old: edit[0], new: edit[1], place: "." + strings.SplitN(line, ":", 2)[0]}
}

// httpFilter is an entry of http_filters.
func httpFilter(short, kind, config string) string {
	return "          - name: other\n            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http." + short + ".v3." + kind + ", " + config + "}\n"
}

// early is an edit of edge.yaml that adds a change of headers before everything else.
func early(mutation string) [2]string {
	return [2]string{"mutations: [", "mutations: [{" + mutation + "}, "}
}

// disallowed makes a fixture of edge.yaml that keeps a header from the gate, with a policy that needs it.
func disallowed(header string, policy [2]string) fixture {
	edit := filterSetting("disallowed_headers: {patterns: [{exact: " + header + "}]}")
	return fixture{id: "headers-withheld", file: "edge.yaml", old: edit[0], new: edit[1], policy: policy, place: ".patterns[0]"}
}

// second is another ext_authz filter.
func second(setting string) string {
	return "          - name: second\n" + setting + "            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, grpc_service: {envoy_grpc: {cluster_name: authz}}, " +
		"status_on_error: {code: ServiceUnavailable}, encode_raw_headers: true, validate_mutations: true, decoder_header_mutation_rules: {disallow_system: true, disallow_is_error: true}}\n"
}

// set makes a fixture of one changed text of a file.
func set(id, file, old, new, place string) fixture {
	return fixture{id: id, file: file, old: old, new: new, place: place}
}

// ownListener serves Envoy's own statistics.
const ownListener = "  - {name: stats, filter_chains: [{filters: [{name: h, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, " +
	"route_config: {virtual_hosts: [{name: a, domains: [\"*\"], routes: [{match: {path: /stats/prometheus}, route: {cluster: stats}}]}]}, http_filters: [{name: r}]}}]}]}\n"

// Edits of the policy that need headers.
var (
	keyed  = [2]string{"  - name: orders\n", "  - name: orders\n    client_key: {header: x-api-key, keys_file: clients.keys}\n"}
	signed = [2]string{"owner: {of: \"body.ids[*]\", is: token.sub}", "public: true\n        signed_by: {hmac_sha256: x-hub-signature-256, key_file: key.txt, timestamp: x-time, signed: \"{timestamp}.{body}\"}"}
	cors   = [2]string{"  - name: orders\n", "  - name: orders\n    cors: {origins: [https://app.example]}\n"}
)

// bounded is an edit of the policy beside demo.yaml: the rule says how long a body may be.
func bounded(bytes string) [2]string {
	return [2]string{"owner: {of: \"body.ids[*]\", is: token.sub}", "owner: {of: \"body.ids[*]\", is: token.sub}\n        body: {limits: {bytes: " + bytes + "}}"}
}

// withRule gives the policy another rule.
func withRule(demand string) [2]string {
	return [2]string{"    rules:\n", "    rules:\n      - name: other\n        match: GET /other\n        " + demand + "\n"}
}

// on is the fixture for another file.
func (f fixture) on(file string) fixture {
	f.file = file
	return f
}

// injected are the settings of a credential_injector.
func injected(more string) string {
	return "credential: {name: g, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.http.injected_credentials.generic.v3.Generic, credential: {name: a}" + more + "}}"
}

var fixtures = []fixture{
	// Is the gate asked?
	{id: "unchecked-listener", file: "edge.yaml", old: checkAt + "              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n",
		new: checkAt + "              \"@type\": type.googleapis.com/envoy.extensions.filters.http.other.v3.Other\n", place: ".http_filters", also: []string{"service-not-here"}},
	{id: "unchecked-route", file: "sidecar.yaml", old: pinned, new: "disabled: true", place: ".disabled", also: []string{"service-not-here"}},
	{id: "unchecked-route", file: "edge.yaml", old: checkAt, new: "          - name: envoy.filters.http.ext_authz\n            disabled: true\n            typed_config:\n",
		more: [2]string{ofHost, ""}, place: ".disabled", also: []string{"service-not-here"}},
	{id: "unchecked-route", file: "edge.yaml", old: catch, new: "- match: {prefix: /public}\n                route: {cluster: service}\n                typed_per_filter_config:\n" +
		"                  envoy.filters.http.ext_authz: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}\n              " + catch, place: ".disabled"},
	{id: "unchecked-route", file: "edge.yaml", old: catch, new: "- match: {path: /healthz}\n                route: {weighted_clusters: {clusters: [{name: a, weight: 1, typed_per_filter_config: {envoy.filters.http.ext_authz: " +
		"{\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}}]}}\n              " + catch, place: ".disabled"},
	set("unchecked-upgrade", "edge.yaml", "normalize_path: true", "normalize_path: true\n          upgrade_configs: [{upgrade_type: websocket, filters: [{name: envoy.filters.http.router}]}]", ".upgrade_configs[0]"),
	set("unchecked-tcp", "edge.yaml", "    filter_chains:\n", "    filter_chains:\n"+tcp, ".filters[0]"),
	set("unchecked-tcp", "edge.yaml", "    filter_chains:\n", "    default_filter_chain:\n"+strings.Replace(tcp, "    - filters", "      filters", 1)+"    filter_chains:\n", ".filters[0]"),
	set("outbound-unchecked", "edge.yaml", "  listeners:\n", "  listeners:\n  - {name: out, traffic_direction: OUTBOUND, filter_chains: [{filters: [{name: t, typed_config: {\"@type\": "+
		"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: service}}]}]}\n", ".listeners[0]"),
	set("per-route-ignored", "edge.yaml", "typed_per_filter_config:\n                envoy.filters.http.cors:", "typed_per_filter_config:\n                sallyport.cors:", `["sallyport.cors"]`),
	set("optional-filter", "edge.yaml", checkAt, checkAt[:len(checkAt)-len("            typed_config:\n")]+"            is_optional: true\n            typed_config:\n", ".is_optional"),
	{id: "two-checks", file: "edge.yaml", old: router, new: second("") + router, place: ".http_filters[4]"},
	set("check-by-http", "edge.yaml", "              grpc_service:\n                envoy_grpc: {cluster_name: authz, authority: authz}\n                timeout: 0.25s\n                retry_policy: {retry_on: \"connect-failure,refused-stream,reset\", num_retries: 1}\n",
		"              http_service: {server_uri: {uri: http://a, cluster: authz, timeout: 1s}}\n", ".http_service"),
	set("filter-without-service", "edge.yaml", "envoy_grpc: {cluster_name: authz, authority: authz}", "initial_metadata: []", ".typed_config"),
	set("unknown-cluster", "edge.yaml", "envoy_grpc: {cluster_name: authz, authority: authz}", "envoy_grpc: {cluster_name: auth, authority: authz}", ".cluster_name"),
	set("service-override", "sidecar.yaml", pinned, strings.Replace(pinned, "check_settings: {", "check_settings: {grpc_service: {envoy_grpc: {cluster_name: other}}, ", 1), ".check_settings.grpc_service"),
	set("cluster-from-client", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {cluster_header: x-cluster, timeout: 15s}\n          http", ".route.cluster_header"),
	set("cluster-from-client", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {weighted_clusters: {clusters: [{cluster_header: x-cluster, weight: 1}]}}\n          http", ".clusters[0].cluster_header"),
	{id: "service-unknown", file: "sidecar.yaml", old: `service: "orders"`, new: `service: "order"`, place: ".service", also: []string{"service-not-here"}},
	{id: "service-by-host", file: "edge.yaml", policy: [2]string{"services:\n", "services:\n" + another}, place: ".domains"},
	{id: "service-by-host", file: "edge.yaml", old: "domains: [\"*\"]", new: "domains: [orders.example, \"*.example:8443\"]", policy: [2]string{"services:\n", "services:\n" + another}, place: ".domains"},
	{id: "service-unnamed", file: "edge.yaml", policy: [2]string{"    edge: true\n", ""}, more: [2]string{}, place: ".routes[0]", twice: [2]string{"services:\n", "services:\n" + strings.Replace(another, "    edge: true\n", "", 1)}, also: []string{"service-not-here"}},
	{id: "service-not-here", file: "edge.yaml", old: "domains: [\"*\"]", new: "domains: [\"other.example\"]", place: "."},

	set("own-listener", "edge.yaml", "  clusters:\n", ownListener+"  clusters:\n  - {name: stats, load_assignment: {endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 8443}}}}]}]}}\n", ".http_filters"),

	// What does a failure do?
	set("fail-open", "edge.yaml", "failure_mode_allow: false", "failure_mode_allow: true", ".failure_mode_allow"),
	set("fail-open", "edge.yaml", "    filter_chains:\n", "    filter_chains:\n"+strings.Replace(tcp, "      - name: tcp", "      - name: check\n        typed_config: {\"@type\": "+
		"type.googleapis.com/envoy.extensions.filters.network.ext_authz.v3.ExtAuthz, stat_prefix: t, failure_mode_allow: true, grpc_service: {envoy_grpc: {cluster_name: authz}}}\n      - name: tcp", 1), ".failure_mode_allow"),
	add("fail-open-header", "failure_mode_allow_header_add: true"),
	add("check-switchable", "filter_enabled: {default_value: {numerator: 100}, runtime_key: check}"),
	{id: "check-by-rules", file: "edge.yaml", old: checkAt, new: httpFilter("rbac", "RBAC", "shadow_rules: {policies: {mine: {permissions: [{any: true}], principals: [{authenticated: {}}]}}}") + checkAt,
		more: filterSetting("filter_enabled_metadata: {filter: envoy.filters.http.rbac, path: [{key: shadow_effective_policy_id}], value: {string_match: {exact: mine}}}"), place: ".filter_enabled_metadata"},
	set("check-conditional", "edge.yaml", "typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n",
		"typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher\n              xds_matcher: {matcher_list: {}}\n"+
			"              extension_config: {name: a, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz, "+
			"grpc_service: {envoy_grpc: {cluster_name: authz}}, status_on_error: {code: ServiceUnavailable}, encode_raw_headers: true, validate_mutations: true, "+
			"decoder_header_mutation_rules: {disallow_system: true, disallow_is_error: true}}}\n", ".xds_matcher"),
	add("shadow-mode", "shadow_mode: true"),
	set("outage-as-denial", "sidecar.yaml", "status_on_error: {code: ServiceUnavailable}\n              encode", "encode", ".status_on_error"),
	set("no-deadline", "edge.yaml", "timeout: 0.25s\n                retry", "timeout: 0s\n                retry", ".timeout"),
	set("no-deadline", "edge.yaml", "timeout: 0.1s", "timeout: 0s", ".timeout"),
	set("limit-deadline", "edge.yaml", "              timeout: 0.1s\n", "", ".timeout"),
	set("limit-fails-open", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: false", ".failure_mode_deny"),
	set("limit-fails-open", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: true\n              failure_mode_deny_percent: {default_value: {numerator: 5000, denominator: MILLION}}", ".failure_mode_deny_percent"),

	// Is the path that is judged the path that is served?
	set("path-not-normalized", "edge.yaml", "normalize_path: true", "normalize_path: false", ".normalize_path"),
	set("slashes-not-merged", "edge.yaml", "          merge_slashes: true\n", "", ".merge_slashes"),
	set("escaped-slashes", "edge.yaml", "path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT", ".path_with_escaped_slashes_action"),
	set("underscores", "edge.yaml", "headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: DROP_HEADER", ".headers_with_underscores_action"),
	set("host-cut", "edge.yaml", "normalize_path: true", "normalize_path: true\n          strip_any_host_port: true", ".strip_any_host_port"),
	set("scheme-from-client", "edge.yaml", "scheme_header_transformation: {scheme_to_overwrite: https}", "server_name: a", ".scheme_header_transformation"),
	set("rewrite-after-check", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {cluster: service, timeout: 15s, prefix_rewrite: /v1/}\n          http", ".prefix_rewrite"),
	set("rewrite-after-check", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {cluster: service, timeout: 15s, regex_rewrite: {pattern: {regex: a}, substitution: b}}\n          http", ".regex_rewrite"),
	set("host-rewrite", "edge.yaml", "route: {cluster: service, timeout: 15s}\n          http", "route: {cluster: service, timeout: 15s, hostRewriteLiteral: other}\n          http", ".host_rewrite_literal"),
	set("rewriting-filter", "edge.yaml", router, lua+router, ".http_filters[4]"),
	set("rewriting-filter", "edge.yaml", corsAt, lua+corsAt, ".http_filters[0]"),
	set("rewriting-filter", "edge.yaml", "mutations: [", "mutations: [{append: {header: {key: \":path\", value: /}}}, ", ".mutations[0]"),
	set("rewriting-filter", "edge.yaml", "auto_config: {http2_protocol_options: {}}", "auto_config: {http2_protocol_options: {}}\n        http_filters: [{name: m, typed_config: {\"@type\": type.googleapis.com/"+
		"envoy.extensions.filters.http.header_mutation.v3.HeaderMutation}}, {name: c, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec}}]", ".http_filters[0]"),
	set("route-cache-cleared", "edge.yaml", "clear_route_cache: false", "clear_route_cache: true", ".clear_route_cache"),

	// Who comes?
	set("certificate-not-asked", "sidecar.yaml", "trusted_ca: {filename: \"/dev/stdout\"}", "max_verify_depth: 2", ".require_client_certificate"),
	set("untrusted-certificate", "sidecar.yaml", "trusted_ca: {filename: \"/dev/stdout\"}", "trusted_ca: {filename: \"/dev/stdout\"}\n              trust_chain_verification: ACCEPT_UNTRUSTED", ".trust_chain_verification"),
	set("caller-unproved", "sidecar.yaml", "match_typed_subject_alt_names:\n              - "+uri, "max_verify_depth: 2", ".match_typed_subject_alt_names"),
	set("caller-unproved", "sidecar.yaml", uri, strings.Replace(uri, "URI", "DNS", 1), ".match_typed_subject_alt_names[0]"),
	set("caller-unproved", "sidecar.yaml", uri, strings.Replace(uri, "local/", "local", 1), ".match_typed_subject_alt_names[0]"),
	set("caller-unproved", "sidecar.yaml", uri, strings.Replace(uri, "cluster.local", "other.local", 1), ".match_typed_subject_alt_names[0]"),
	set("caller-unproved", "sidecar.yaml", uri, `{san_type: URI, matcher: {safe_regex: {regex: "spiffe://.*/ns/.*"}}}`, ".match_typed_subject_alt_names[0]"),
	set("caller-by-reference", "sidecar.yaml", "            validation_context:\n              trusted_ca: {filename: \"/dev/stdout\"}\n              # A URI name of the trust domain: a DNS name that spells spiffe://... does not pass.\n"+
		"              match_typed_subject_alt_names:\n              - "+uri, "            validation_context_sds_secret_config: {name: mesh}", ".validation_context_sds_secret_config"),
	set("resumption", "sidecar.yaml", "disable_stateful_session_resumption: true", "disable_stateful_session_resumption: false", ".disable_stateful_session_resumption"),
	{id: "certificate-withheld", file: "sidecar.yaml", policy: [2]string{"peers: envoy", "peers: certificate"}, place: ".include_peer_certificate"},
	{id: "certificate-withheld", file: "edge.yaml", policy: [2]string{"owner: none", "owner: none\n        sender: mtls"}, place: ".include_peer_certificate"},
	set("forwarded-certificate", "sidecar.yaml", "forward_client_cert_details: SANITIZE_SET", "forward_client_cert_details: APPEND_FORWARD", ".forward_client_cert_details"),
	set("address-from-client", "edge.yaml", "use_remote_address: true", "use_remote_address: false", ".use_remote_address"),
	set("address-from-client", "edge.yaml", "use_remote_address: true\n          xff_num_trusted_hops: 1\n", "original_ip_detection_extensions: [{name: a, typed_config: {\"@type\": type.googleapis.com/"+
		"envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig, header_name: x-real-ip}}]\n", ".original_ip_detection_extensions[0]"),
	set("address-from-client", "edge.yaml", "use_remote_address: true\n          xff_num_trusted_hops: 1\n", "original_ip_detection_extensions: [{name: a, typed_config: {\"@type\": type.googleapis.com/"+
		"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig, xff_num_trusted_hops: 1}}]\n", ".original_ip_detection_extensions[0]"),
	set("address-from-client", "sidecar.yaml", "    listener_filters:\n", "    listener_filters:\n    - {name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}\n",
		".allow_requests_without_proxy_protocol"),
	{id: "hops-without-proxies", file: "edge.yaml", policy: [2]string{"trusted_proxies: [10.0.0.0/8]\n", ""}, place: ".xff_num_trusted_hops"},
	set("proxies-without-hops", "edge.yaml", "xff_num_trusted_hops: 1", "xff_num_trusted_hops: 0", ".xff_num_trusted_hops"),
	set("forwarded-for-hidden", "edge.yaml", "normalize_path: true", "normalize_path: true\n          skip_xff_append: true", ".skip_xff_append"),
	set("envoy-headers", "edge.yaml", "prefix: x-envoy-,", "prefix: x-envoy-u,", ".early_header_mutation_extensions"),
	set("identity-header", "edge.yaml", "domains: [\"*\"]", "domains: [\"*\"]\n              request_headers_to_add: [{header: {key: X-User-ID, value: a}}]", ".request_headers_to_add[0]"),
	set("identity-header", "edge.yaml", "mutations: [", "mutations: [{append: {header: {key: x-user-id, value: a}}}, ", ".mutations[0]"),
	{id: "identity-header", file: "edge.yaml", old: corsAt, new: httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {forward: true, claim_to_headers: [{header_name: X-User-Id, claim_name: sub}]}}") + corsAt, place: ".claim_to_headers[0].header_name"},
	{id: "identity-header", file: "edge.yaml", old: router, new: httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {forward_payload_header: x-user-id}}") + router, place: ".forward_payload_header"},
	{id: "identity-header", file: "edge.yaml", old: router, new: httpFilter("basic_auth", "BasicAuth", "forward_username_header: x-user-id") + router, place: ".forward_username_header"},
	{id: "identity-header", file: "edge.yaml", old: router, new: httpFilter("api_key_auth", "ApiKeyAuth", "forwarding: {header: x-user-id}") + router, place: ".forwarding.header"},
	{id: "credential-injected", file: "edge.yaml", old: corsAt, new: httpFilter("credential_injector", "CredentialInjector", injected("")) + corsAt, place: ".typed_config"},
	{id: "credential-injected", file: "edge.yaml", old: corsAt, new: httpFilter("credential_injector", "CredentialInjector", injected(", header: x-api-key")) + corsAt, policy: keyed, place: ".header"},
	{id: "credential-injected", file: "edge.yaml", old: corsAt, new: httpFilter("gcp_authn", "GcpAuthnFilterConfig", "cluster: service") + corsAt, place: ".typed_config"},
	{id: "credential-injected", file: "edge.yaml", old: early("")[0], new: early("append: {header: {key: Authorization, value: Bearer a}}")[1], place: ".mutations[0]"},
	{id: "credential-injected", file: "edge.yaml", old: early("")[0], new: early("append: {header: {key: x-api-key, value: a}}")[1], policy: keyed, place: ".mutations[0]"},
	{id: "forwarded-for-changed", file: "edge.yaml", old: early("")[0], new: early(`append: {header: {key: x-forwarded-for, value: "%REQ(x-real-ip)%"}}`)[1], place: ".mutations[0]"},
	{id: "forwarded-for-changed", file: "edge.yaml", old: early("")[0], new: early("remove: X-Forwarded-For")[1], place: ".mutations[0]"},
	{id: "forwarded-for-changed", file: "edge.yaml", old: early("")[0], new: early("remove_on_match: {key_matcher: {prefix: x-forwarded-}}")[1], place: ".mutations[0]"},

	// What does the gate see?
	set("headers-joined", "edge.yaml", "encode_raw_headers: true", "encode_raw_headers: false", ".encode_raw_headers"),
	add("headers-withheld", "allowed_headers: {patterns: [{exact: authorization}]}"),
	{id: "headers-withheld", file: "edge.yaml", old: filterSetting("")[0], new: filterSetting("disallowed_headers: {patterns: [{prefix: x-forwarded-}]}")[1], place: ".patterns[0]"},
	disallowed("content-type", withRule("owner: {of: query.o, is: token.sub}")),
	disallowed("content-type", [2]string{}).on("demo.yaml"),
	disallowed("content-encoding", [2]string{}).on("demo.yaml"),
	disallowed("content-length", [2]string{}).on("demo.yaml"),
	disallowed("x-api-key", keyed),
	disallowed("x-page", withRule("owner: none\n        params: {header.x-page: {type: integer}}")),
	disallowed("x-hub-signature-256", signed).on("demo.yaml"),
	disallowed("x-time", signed).on("demo.yaml"),
	disallowed("origin", cors),
	disallowed("access-control-request-method", cors),
	disallowed("access-control-request-headers", cors),
	disallowed("upgrade", [2]string{}),
	{id: "headers-withheld", file: "edge.yaml", old: corsAt, new: httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {issuer: b}}") + corsAt, place: ".providers.a.forward"},
	{id: "headers-withheld", file: "edge.yaml", old: corsAt, new: httpFilter("jwt_authn", "JwtAuthentication", "providers: {a: {from_headers: [{name: Authorization}]}}") + corsAt, place: ".providers.a.forward"},
	{id: "headers-withheld", file: "edge.yaml", old: corsAt, new: httpFilter("header_to_metadata", "Config", "request_rules: [{header: Authorization, on_header_present: {key: a}, remove: true}]") + corsAt, place: ".remove"},
	{id: "headers-withheld", file: "edge.yaml", old: corsAt, new: httpFilter("api_key_auth", "ApiKeyAuth", "key_sources: [{header: X-Api-Key}], forwarding: {hide_credentials: true}") + corsAt, policy: keyed, place: ".key_sources[0]"},
	{id: "headers-withheld", file: "edge.yaml", old: early("")[0], new: early("remove: Authorization")[1], place: ".mutations[0]"},
	{id: "headers-withheld", file: "edge.yaml", old: corsAt, new: httpFilter("header_mutation", "HeaderMutation", "mutations: {request_mutations: [{remove: authorization}]}") + corsAt, place: ".request_mutations[0]", also: []string{"rewriting-filter"}},
	set("mutations-unvalidated", "edge.yaml", "validate_mutations: true", "validate_mutations: false", ".validate_mutations"),
	set("mutation-rules", "edge.yaml", "disallow_system: true", "disallow_system: false", ".decoder_header_mutation_rules"),
	set("mutation-rules", "edge.yaml", "disallow_is_error: true", "disallow_is_error: false", ".decoder_header_mutation_rules"),
	{id: "metadata-forged", file: "edge.yaml", old: router, new: httpFilter("set_metadata", "Config", "metadata: [{metadata_namespace: envoy.filters.http.ext_authz, value: {who: me}}]") + router, place: ".metadata[0].metadata_namespace"},
	{id: "metadata-forged", file: "edge.yaml", old: corsAt, new: httpFilter("header_to_metadata", "Config", "request_rules: [{header: x-plan, on_header_missing: {metadataNamespace: envoy.filters.http.ext_authz, key: plan, value: a}}]") + corsAt, place: ".metadataNamespace"},
	{id: "metadata-forged", file: "edge.yaml", old: corsAt, new: httpFilter("set_filter_state", "Config", "on_request_headers: [{object_key: envoy.ratelimit.hits_addend, format_string: {text_format_source: {inline_string: \"%REQ(x-hits)%\"}}}]") + corsAt, place: ".object_key"},
	{id: "metadata-forged", file: "edge.yaml", old: router, new: httpFilter("ext_proc", "ExternalProcessor", "metadata_options: {receiving_namespaces: {untyped: [envoy.filters.http.ext_authz]}}") + router, place: ".untyped[0]", also: []string{"rewriting-filter"}},
	{id: "metadata-forged", file: "edge.yaml", old: corsAt, new: strings.Replace(httpFilter("header_to_metadata", "Config", "request_rules: []"), "name: other", "name: h", 1) + corsAt,
		more: [2]string{"typed_per_filter_config:\n", "typed_per_filter_config:\n                h: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config, request_rules: " +
			"[{header: x-who, on_header_present: {metadata_namespace: envoy.filters.http.ext_authz, key: who}}]}\n"}, place: ".metadata_namespace"},
	add("metadata-dropped", "enable_dynamic_metadata_ingestion: false"),
	{id: "cors-after-check", file: "edge.yaml", old: router, new: corsAt + router, place: ".http_filters[4]"},

	set("cors-forwards", "edge.yaml", "forward_not_matching_preflights: false", "forward_not_matching_preflights: true", ".forward_not_matching_preflights"),
	set("denials-rewritten", "edge.yaml", "normalize_path: true", "normalize_path: true\n          local_reply_config: {mappers: [{status_code: 404}]}", ".status_code"),

	// Bodies
	{id: "body-unread", file: "edge.yaml", policy: [2]string{"    rules:\n", "    rules:\n" + withBody}, place: ".routes[0]"},
	set("body-not-bytes", "demo.yaml", "allow_partial_message: false, pack_as_bytes: true", "allow_partial_message: false", ".pack_as_bytes"),
	set("body-hangs", "demo.yaml", bodyOn, strings.Replace(bodyOn, "allow_partial_message: true", "allow_partial_message: false", 1), ".with_request_body"),
	{id: "body-cut", file: "demo.yaml", policy: bounded("32768"), place: ".max_request_bytes"},
	set("body-too-large", "demo.yaml", bodyOn, strings.Replace(bodyOn, "65536", "1048577", 1), ".max_request_bytes"),
	set("body-part", "demo.yaml", `max_request_bytes: "32767"`, `max_request_bytes: "32768"`, ".max_request_bytes"),
	set("body-part", "demo.yaml", `max_request_bytes: "32767"`, `max_request_bytes: "many"`, ".max_request_bytes"),
	set("body-part", "demo.yaml", `max_request_bytes: "65535"`, `max_request_bytes: "65536"`, ".max_request_bytes"),
	set("body-part", "demo.yaml", meshFilters, meshFilters+httpFilter("fault", "HTTPFault", "delay: {header_delay: {}}"), ".max_request_bytes"),
	set("body-part", "demo.yaml", meshFilters, meshFilters+httpFilter("gcp_authn", "GcpAuthnFilterConfig", "token_header: {name: x-gcp}"), ".max_request_bytes"),
	{id: "body-everywhere", file: "edge.yaml", old: "check_settings: {disable_request_body_buffering: true}", new: "check_settings: {with_request_body: {max_request_bytes: 10, allow_partial_message: true}}", place: ".with_request_body"},
	set("body-on-stream", "demo.yaml", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, timeout: 15s}", "- match: {path: \"/orders:delete\"}\n                route: {cluster: service, timeout: 0s}", ".with_request_body"),
	{id: "body-on-stream", file: "demo.yaml", policy: [2]string{"owner: {of: \"body.ids[*]\", is: token.sub}", "upgrades: [websocket]"}, place: ".with_request_body"},

	// Limits
	{id: "limit-before-check", file: "edge.yaml", old: "{masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}",
		new: "{metadata: {descriptor_key: who, default_value: unknown, metadata_key: {key: envoy.filters.http.ext_authz, path: [{key: who}]}}}", place: ".metadata", also: []string{"descriptor-without-limit"}},
	{id: "limit-without-descriptor", file: "edge.yaml", old: "rate_limits:\n              - actions: [{masked_remote_address: {v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}]", new: "stat_prefix: a", place: ".rate_limits"},
	set("uncounted-route", "edge.yaml", "typed_per_filter_config:\n                envoy.filters.http.cors:", "typed_per_filter_config:\n                sallyport.edge: "+
		"{\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}\n                envoy.filters.http.cors:", ".disabled"),
	set("limit-partial", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: true\n              filter_enforced: {default_value: {numerator: 0}}", ".filter_enforced"),
	set("limit-partial", "edge.yaml", "failure_mode_deny: true", "failure_mode_deny: true\n              request_type: external", ".request_type"),
	{id: "descriptor-without-limit", file: "sidecar.yaml", old: "descriptor_key: who,", new: "descriptor_key: whom,", place: ".rate_limits[0]", limits: true},
	{id: "descriptor-without-limit", file: "sidecar.yaml", old: "domain: mesh", new: "domain: mash", place: ".rate_limits[0]", limits: true},
	set("descriptor-vanishes", "sidecar.yaml", "descriptor_key: who, source: DYNAMIC, default_value: unknown", "descriptor_key: who, source: DYNAMIC", ".metadata"),
	set("descriptor-vanishes", "sidecar.yaml", "descriptor_key: who, source: DYNAMIC, default_value: unknown", "descriptor_key: who, source: DYNAMIC, default_value: unknown, skip_if_absent: true", ".skip_if_absent"),
	set("descriptor-namespace", "sidecar.yaml", "metadata_key: {key: envoy.filters.http.ext_authz, path: [{key: who}]}", "metadata_key: {key: sallyport, path: [{key: who}]}", ".metadata_key"),
	set("descriptor-namespace", "sidecar.yaml", "descriptor_key: who, source: DYNAMIC", "descriptor_key: who, source: ROUTE_ENTRY", ".metadata_key"),
	set("descriptor-unknown", "sidecar.yaml", "path: [{key: who}]", "path: [{key: whom}]", ".path"),

	{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{request_headers: {header_name: x-tenant, descriptor_key: tenant}}", place: ".request_headers"},
	{id: "descriptor-vanishes", file: "edge.yaml", old: theMask, new: "{query_parameters: {query_parameter_name: q, descriptor_key: q, skip_if_absent: true}}", place: ".skip_if_absent"},
	set("stage-without-filter", "edge.yaml", onHost, onHost+"rate_limits: [{stage: 1, actions: ["+theMask+"]}]\n              ", ".stage"),
	set("address-shared", "edge.yaml", "v4_prefix_mask_len: 32", "v4_prefix_mask_len: 0", ".v4_prefix_mask_len"),
	set("address-shared", "edge.yaml", "v6_prefix_mask_len: 64", "v6_prefix_mask_len: 0", ".v6_prefix_mask_len"),
	set("hits-from-client", "edge.yaml", byMask, byMask+"\n                hits_addend: {format: \"%REQ(x-hits)%\"}", ".format"),
	set("hits-from-client", "edge.yaml", byMask, byMask+"\n                hits_addend: {format: \"%REQUEST_HEADER(x-hits)%\"}", ".format"),
	set("hits-from-client", "edge.yaml", byMask, byMask+"\n                hits_addend: {format: '%COALESCE({\"operators\": [{\"command\": \"REQ\", \"param\": \"x-hits\"}]})%'}", ".format"),
	set("hits-from-client", "edge.yaml", byMask, byMask+"\n                hits_addend: {number: 0}", ".number"),
	set("hits-from-client", "edge.yaml", byMask, byMask+"\n                hits_addend: {number: 1, is_negative_hits: true}", ".is_negative_hits"),
	set("hits-ignored", "edge.yaml", "domains: [\"*\"]", "domains: [\"*\"]\n              rate_limits: [{actions: [{generic_key: {descriptor_value: a}}], hits_addend: {number: 2}}]", ".hits_addend"),

	// The way to the gates
	{id: "gate-in-plaintext", file: "demo.yaml", old: "cluster_name: authz\n      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1",
		new: "cluster_name: authz\n      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 192.0.2.1", place: ".transport_socket"},
	set("gate-tls-version", "sidecar.yaml", "tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3", "tls_minimum_protocol_version: TLSv1_2", ".tls_maximum_protocol_version"),
	set("gate-unverified", "sidecar.yaml", "match_typed_subject_alt_names:\n            - {san_type: URI, matcher: {exact: \"spiffe://cluster.local/ns/sallyport/sa/authz\"}}", "max_verify_depth: 2", ".validation_context"),
	set("gate-no-certificate", "sidecar.yaml", "tls_maximum_protocol_version: TLSv1_3}\n          tls_certificates:\n          - {certificate_chain: {filename: \"/dev/stdout\"}, private_key: {filename: \"/dev/stdout\"}}",
		"tls_maximum_protocol_version: TLSv1_3}", ".tls_certificates"),
	set("gate-not-http2", "sidecar.yaml", "http2_protocol_options: {connection_keepalive: {interval: 30s, timeout: 5s}}", "http_protocol_options: {}", ".typed_extension_protocol_options"),

	// The rest
	set("admin-exposed", "edge.yaml", "admin: {address: {socket_address: {address: 127.0.0.1", "admin: {address: {socket_address: {address: 0.0.0.0", ".socket_address"),
	set("elsewhere", "edge.yaml", "node: {id: edge, cluster: edge}", "node: {id: edge, cluster: edge}\ndynamic_resources: {lds_config: {ads: {}}}", ".lds_config"),
	set("elsewhere", "edge.yaml", corsAt, corsAt+"          - {name: fetched, config_discovery: {config_source: {ads: {}}, type_urls: [a]}}\n", ".config_discovery"),
	set("redacted", "sidecar.yaml", `service: "orders"`, `service: "[redacted]"`, ".service"),
	set("not-understood", "edge.yaml", router, "          - name: our.own\n            typed_config: {\"@type\": type.googleapis.com/our.own.Filter}\n"+router, ".http_filters[4]"),
	set("not-understood", "edge.yaml", "    filter_chains:\n", "    filter_chains:\n"+strings.Replace(tcp, "tcp_proxy.v3.TcpProxy", "redis_proxy.v3.RedisProxy", 1), ".filters[0]"),
}

// edited is the file and the policy of a fixture.
func (f fixture) edited(t *testing.T) (config, policy string) {
	t.Helper()
	config, policy = shipped(t, f.file), fitting
	if f.file == "demo.yaml" {
		policy += withBody
		// The door without a gate is a finding of its own.
		config = config[:strings.Index(config, "  # The same service with no gate in front")] + config[strings.Index(config, "  clusters:\n"):]
	}
	change := func(text string, edit [2]string) string {
		if edit[0] != "" && !strings.Contains(text, edit[0]) {
			t.Fatalf("%s: nothing says %q", f.id, edit[0])
		}
		return strings.Replace(text, edit[0], edit[1], 1)
	}
	return change(change(change(config, [2]string{f.old, f.new}), f.more), f.third), change(change(policy, f.policy), f.twice)
}

// Each kind of finding has an edit that makes it, at the place that was edited, and makes nothing else.
func TestEachFindingHasAFixture(t *testing.T) {
	covered := map[string]bool{}
	for _, f := range fixtures {
		covered[f.id] = true
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
			}
			at := slices.IndexFunc(found, func(g doctor.Finding) bool { return g.ID == f.id && strings.HasSuffix(g.Path, f.place) })
			if at < 0 {
				t.Errorf("no finding ends with %q", f.place)
			}
			for _, g := range found {
				if g.Line < 1 || g.Column < 1 || g.Text == "" {
					t.Errorf("no place: %+v", g)
				}
			}
			if t.Failed() {
				for _, g := range found {
					t.Log(g.String(f.file))
				}
			}
		})
	}
	for _, k := range doctor.Kinds {
		if !covered[k.ID] {
			t.Errorf("%s has no fixture", k.ID)
		}
	}
}

// Ids are kebab-case and unique, and everyone says why it matters and what to write.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range doctor.Kinds {
		if seen[k.ID] || strings.Trim(k.ID, "abcdefghijklmnopqrstuvwxyz-2") != "" {
			t.Errorf("id %q", k.ID)
		}
		seen[k.ID] = true
		if !strings.HasSuffix(k.Reason, ".") || !strings.HasSuffix(k.Mend, ".") || strings.Contains(k.Reason+k.Mend, "|") {
			t.Errorf("%s: %q, %q", k.ID, k.Reason, k.Mend)
		}
	}
}
