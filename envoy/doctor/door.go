package doctor

import (
	"net/netip"
	"slices"
	"strings"
)

// The types of extensions that are looked into, as their URLs end.
const (
	typeHCM           = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	typeTCPProxy      = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
	typeNetCheck      = "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
	typeCheck         = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
	typeCheckRoute    = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
	typeLimit         = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
	typeCORSRoute     = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
	typeCORS          = "envoy.extensions.filters.http.cors.v3.Cors"
	typeFilter        = "envoy.config.route.v3.FilterConfig"
	typeMatched       = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
	typeDownstream    = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
	typeUpstream      = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
	typeEarly         = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
	typeCustomHeader  = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
	typeXFF           = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
	typeProxyProtocol = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
	typeStartTLS      = "envoy.extensions.transport_sockets.starttls.v3.StartTlsConfig"
	typeUnknown       = "?" // a transport socket that was not understood
	typeSPIFFE        = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
)

// keyHTTPOptions is where a cluster says how it speaks HTTP.
const keyHTTPOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// namespace is where the gate's answers stand, whatever the filter is called.
const namespace = "envoy.filters.http.ext_authz"

// Filters that change nothing of a request that a policy judges, and filters that can. Every other one is not understood.
var (
	harmless = []string{
		"cors", "ratelimit", "local_ratelimit", "router", "jwt_authn", "rbac", "fault", "buffer", "compressor", "csrf", "grpc_stats", "grpc_web",
		"header_to_metadata", "set_metadata", "tap", "bandwidth_limit", "admission_control", "ext_authz", "stateful_session", "health_check",
		"set_filter_state", "adaptive_concurrency", "gcp_authn", "geoip", "ip_tagging", "basic_auth", "api_key_auth", "credential_injector",
	}
	rewriting = []string{
		"lua", "wasm", "ext_proc", "golang", "dynamic_modules", "header_mutation", "grpc_json_transcoder", "grpc_json_reverse_transcoder",
		"grpc_http1_bridge", "grpc_http1_reverse_bridge", "decompressor", "composite", "proto_message_extraction",
	}
)

// filter is one filter of a chain.
type filter struct {
	name     string
	at       value // its entry in the chain
	kind     string
	config   value
	whole    value // what config stands in: the same, or with the matcher and its actions
	disabled bool  // unless a route says otherwise
	fetched  bool  // by ECDS, and not here: it may be anything
}

// short is the part of an HTTP filter's type that says which it is: cors, ext_authz.
func (f filter) short() string {
	rest, ok := strings.CutPrefix(f.kind, "envoy.extensions.filters.http.")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, ".")
	return name
}

// door is one connection manager: a way in for HTTP.
type door struct {
	subject string
	hcm     value
	filters []filter
	check   int   // the index of the first ext_authz filter; -1
	checks  []int // the indexes of all: Envoy Gateway has one for each of its policies, switched on by route
}

func (e *exam) listener(v value) {
	e.outbound = v.get("traffic_direction").is("OUTBOUND", 2)
	e.here = v
	subject := "listener " + quoted(v.get("name"))
	for _, chain := range append(v.get("filter_chains").items(), v.get("default_filter_chain")) {
		if chain.there() {
			e.chain(subject, chain)
		}
	}
	if v.get("filter_chain_matcher").there() {
		e.add("not-understood", v.get("filter_chain_matcher"), subject, "which chain serves whom was not read; each was examined")
	}
}

// unasked tells of a way that asks nobody, unless it leads out: then the other side's gate is asked, and one note says so.
func (e *exam) unasked(id string, at value, subject, format string, args ...any) {
	if e.outbound {
		e.add("outbound-unchecked", e.here, subject, "")
		return
	}
	e.add(id, at, subject, format, args...)
}

func quoted(v value) string {
	if v.str() == "" {
		return "without a name"
	}
	return `"` + v.str() + `"`
}

// chain examines one filter chain: each is a way in of its own, the one for clients without SNI too.
func (e *exam) chain(subject string, chain value) {
	kind, socket := e.socket(subject, chain.get("transport_socket"))
	if kind == typeStartTLS {
		e.add("not-understood", chain.get("transport_socket"), subject, "transport socket starttls: a client may stay in the clear, and then shows no certificate")
	}
	asked := false
	var before []filter
	for _, entry := range chain.get("filters").items() {
		kind, config := entry.get("typed_config").unpack()
		switch {
		case kind == typeNetCheck:
			asked = true
			e.networkCheck(subject, config, before)
			e.clientTLS(subject, socket)
		case kind == typeTCPProxy:
			if !asked && !e.nowhere(config.get("cluster").str()) {
				e.unasked("unchecked-tcp", entry, subject, "")
			}
		case kind == typeHCM:
			e.door(subject, socket, config)
		case entry.get("config_discovery").there():
			e.add("elsewhere", entry.get("config_discovery"), subject, "network filter %s", quoted(entry.get("name")))
		case strings.Contains(kind, ".ratelimit.") || strings.Contains(kind, ".rbac.") || strings.Contains(kind, "connection_limit"):
			// They only refuse.
		default:
			e.add("not-understood", entry, subject, "network filter %s", quoted(entry.get("name")))
		}
		before = append(before, filter{kind: kind, config: config})
	}
}

func (e *exam) networkCheck(subject string, config value, before []filter) {
	e.switched(subject, config, before)
	e.when(config.get("failure_mode_allow").yes(), "fail-open", config.get("failure_mode_allow"), subject)
	e.when(config.get("shadow_mode").yes(), "shadow-mode", config.get("shadow_mode"), subject)
	e.service(subject, config.get("grpc_service"), config)
}

// door examines a connection manager. One that asks nobody is one finding; its other settings serve no policy.
func (e *exam) door(subject string, socket, hcm value) {
	d := &door{subject: subject, hcm: hcm, check: -1}
	for _, entry := range hcm.get("http_filters").items() {
		d.filters = append(d.filters, e.filter(subject, entry))
	}
	for i, f := range d.filters {
		if f.kind == typeCheck {
			d.checks = append(d.checks, i)
			d.check = d.checks[0]
		}
	}
	routes, whole := e.leaves(d)
	if d.check < 0 {
		e.unchecked(d, routes, whole)
		return
	}
	e.order(d, routes)
	e.hardening(d)
	for _, check := range d.checks {
		e.checkFilter(d, check)
	}
	e.clientTLS(subject, socket)
	e.routes(d, routes)
	e.limitFilters(d, routes)
	e.addresses(d, routes)
	e.proxied(d)
}

func (e *exam) filter(subject string, entry value) filter {
	f := filter{name: entry.get("name").str(), at: entry, disabled: entry.get("disabled").yes()}
	f.kind, f.config = entry.get("typed_config").unpack()
	if by := entry.get("config_discovery"); by.there() {
		held, ok := e.config.filters[f.name]
		if !ok {
			e.add("elsewhere", by, subject, "filter %s comes by ECDS", quoted(entry.get("name")))
			f.fetched = true
			return f
		}
		f.kind, f.config = held.get("typed_config").unpack()
	}
	f.whole = f.config
	if f.kind == typeMatched {
		inner, config := f.config.get("extension_config", "typed_config").unpack()
		if inner == typeCheck {
			e.add("check-conditional", f.config.get("xds_matcher"), subject, "")
		}
		e.when(inner == typeLimit, "limit-partial", f.config.get("xds_matcher"), subject)
		f.kind, f.config = inner, config
	}
	optional := entry.get("is_optional")
	e.when(optional.yes() && (f.kind == typeCheck || f.kind == typeLimit), "optional-filter", optional, subject)
	return f
}

// order looks at what stands before and behind the check.
func (e *exam) order(d *door, routes []leaf) {
	for i, f := range d.filters {
		e.filterWrites(d, f.short(), f.config, i < d.check)
		if f.whole.n != f.config.n {
			e.metadataWrites(d, f.short(), f.whole) // the actions of its matcher are filters too
		}
		switch {
		case f.fetched: // told already
		case f.kind == typeCORS:
			e.when(i > d.check && answers(f, routes), "cors-after-check", f.at, d.subject)
		case slices.Contains(rewriting, f.short()):
			e.add("rewriting-filter", f.at, d.subject, "%s stands %s the check", f.short(), map[bool]string{true: "before", false: "behind"}[i < d.check])
		case !slices.Contains(harmless, f.short()):
			e.add("not-understood", f.at, d.subject, "HTTP filter %s", quoted(f.at.get("name")))
		}
	}
	for _, upgrade := range d.hcm.get("upgrade_configs").items() {
		own := upgrade.get("filters").items()
		asks := slices.ContainsFunc(own, func(v value) bool { kind, _ := v.get("typed_config").unpack(); return kind == typeCheck })
		e.when(len(own) > 0 && !asks, "unchecked-upgrade", upgrade, d.subject)
	}
}

// answers reports whether some route says what a cors filter answers to preflights. Istio puts the filter into every chain.
func answers(f filter, routes []leaf) bool {
	return slices.ContainsFunc(routes, func(l leaf) bool {
		said := func(o override) bool { return o.kind == typeCORSRoute }
		return slices.ContainsFunc(l.overrides(f.name), said) || l.host.get("cors").there() || l.action.get("cors").there()
	})
}

// hardening looks at the settings that a policy by paths and headers depends on.
func (e *exam) hardening(d *door) {
	hcm := d.hcm
	common := hcm.get("common_http_protocol_options", "headers_with_underscores_action")
	e.when(!hcm.get("normalize_path").yes(), "path-not-normalized", hcm.get("normalize_path"), d.subject)
	e.when(!hcm.get("merge_slashes").yes(), "slashes-not-merged", hcm.get("merge_slashes"), d.subject)
	escaped := hcm.get("path_with_escaped_slashes_action")
	e.when(!escaped.is("REJECT_REQUEST", 2), "escaped-slashes", escaped, d.subject)
	e.when(!common.is("REJECT_REQUEST", 1), "underscores", common, d.subject)
	for _, cut := range []string{"strip_any_host_port", "strip_matching_host_port", "strip_trailing_host_dot"} {
		e.when(hcm.get(cut).yes(), "host-cut", hcm.get(cut), d.subject)
	}
	scheme := hcm.get("scheme_header_transformation")
	e.when(scheme.get("scheme_to_overwrite").str() == "" && !scheme.get("match_upstream").yes(), "scheme-from-client", scheme, d.subject)
	for _, mapper := range hcm.get("local_reply_config", "mappers").items() {
		e.when(mapper.get("status_code").there(), "denials-rewritten", mapper.get("status_code"), d.subject)
	}
	e.when(hcm.get("skip_xff_append").yes(), "forwarded-for-hidden", hcm.get("skip_xff_append"), d.subject)
	details := hcm.get("forward_client_cert_details")
	sanitized := !details.there() || details.is("SANITIZE", 0) || details.is("SANITIZE_SET", 3)
	e.when(!sanitized, "forwarded-certificate", details, d.subject)
	e.early(d)
}

// steering are some of the headers by which a client would steer Envoy, or tell the service what the gate saw.
var steering = []string{
	"x-envoy-auth-partial-body", "x-envoy-original-path", "x-envoy-external-address", "x-envoy-retry-on", "x-envoy-upstream-rq-timeout-ms",
}

// early looks at what happens to the headers of a request before anything else does, and for the removal of x-envoy-* there.
func (e *exam) early(d *door) {
	at := d.hcm.get("early_header_mutation_extensions")
	removed := map[string]bool{}
	for _, extension := range at.items() {
		kind, config := extension.get("typed_config").unpack()
		if kind != typeEarly {
			e.add("not-understood", extension, d.subject, "early header mutation %s", quoted(extension.get("name")))
		}
		for _, mutation := range config.get("mutations").items() {
			for _, name := range steering {
				if e.removes(mutation, name) {
					removed[name] = true
				}
			}
			e.mutation(d, mutation, true)
		}
	}
	for _, name := range steering {
		if !removed[name] {
			e.add("envoy-headers", at, d.subject, "%s passes", name)
			return
		}
	}
}

// identity reports whether only the gate may set a header.
func (e *exam) identity(name string) bool {
	return name != "" && e.policy != nil && e.policy.IdentityHeader(name)
}

// admin looks at Envoy's own interface.
func (e *exam) admin() {
	address := e.config.admin.get("address")
	if socket := address.get("socket_address"); socket.there() && !loopback(socket.get("address").str()) {
		e.add("admin-exposed", socket, "", "it listens on %s", socket.get("address").str())
	}
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}
