package doctor

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// socket is the TLS context of a transport socket, whatever wraps it; not there where none is, or where it was not understood. The type
// is that of the innermost socket, "" for none, which is plaintext.
func (e *exam) socket(subject string, socket value) (kind string, tls value) {
	const mostWraps = 8
	entry := socket
	for range mostWraps {
		kind, config := entry.get("typed_config").unpack()
		short, _ := strings.CutPrefix(kind, "envoy.extensions.transport_sockets.")
		switch name, _, _ := strings.Cut(short, "."); name {
		case "tls":
			return kind, config
		case "quic":
			for _, inner := range []string{"downstream_tls_context", "upstream_tls_context"} {
				if tls := config.get(inner); tls.there() {
					return map[string]string{"downstream_tls_context": typeDownstream, "upstream_tls_context": typeUpstream}[inner], tls
				}
			}
		case "starttls":
			return typeStartTLS, config.get("tls_socket_config")
		case "tap", "tcp_stats", "proxy_protocol", "internal_upstream", "http_11_proxy":
			entry = config.get("transport_socket")
			continue
		case "raw_buffer", "":
			return "", value{way: config.way, pos: config.pos}
		}
		break
	}
	e.add("not-understood", socket, subject, "transport socket %s", quoted(entry.get("name")))
	return typeUnknown, value{}
}

// clientTLS examines what a door demands of its clients' certificates.
func (e *exam) clientTLS(subject string, tls value) {
	if !tls.there() {
		return
	}
	demand := e.validation(tls.get("common_tls_context"))
	required := tls.get("require_client_certificate")
	asks := demand.get("trusted_ca").there() || demand.get("custom_validator_config").there() || demand.get("ca_certificate_provider_instance").there()
	if !asks && !demand.elsewhere.there() {
		e.when(required.yes(), "certificate-not-asked", required, subject)
		return
	}
	for _, part := range demand.parts {
		untrusted, expired := part.get("trust_chain_verification"), part.get("allow_expired_certificate")
		e.when(untrusted.is("ACCEPT_UNTRUSTED", 1), "untrusted-certificate", untrusted, subject)
		e.when(expired.yes(), "untrusted-certificate", expired, subject)
	}
	stateless := tls.get("disable_stateless_session_resumption").yes() && tls.get("disable_stateful_session_resumption").yes()
	e.when(!stateless, "resumption", tls.get("disable_stateful_session_resumption"), subject)
	if e.policy != nil && e.policy.Peers == policy.PeersEnvoy {
		e.proved(subject, demand)
	}
}

// demand is what a context demands of the other side's certificate: its own words, and those of a secret, which Envoy merges into them
// as protobuf merges messages. Lists are joined, and of anything else the secret's counts where it says it.
type demand struct {
	parts     []value // never empty; the secret's last
	elsewhere value   // the reference to a secret that is not here
}

// get is a field of the merged message; where nobody has it, where it would stand first.
func (d demand) get(name string) value {
	for i := len(d.parts) - 1; i > 0; i-- {
		if at := d.parts[i].get(name); at.there() {
			return at
		}
	}
	return d.parts[0].get(name)
}

// names are the matchers of names, of which one must take a name of the certificate.
func (d demand) names() []value {
	var all []value
	for _, part := range d.parts {
		all = append(all, part.get("match_typed_subject_alt_names").items()...)
	}
	return all
}

// validation is a context's demand on the other side's certificate.
func (e *exam) validation(common value) demand {
	secret := common.get("validation_context_sds_secret_config")
	d := demand{parts: []value{common.get("validation_context")}}
	if combined := common.get("combined_validation_context"); combined.there() {
		d.parts[0], secret = combined.get("default_validation_context"), combined.get("validation_context_sds_secret_config")
	}
	if !secret.there() {
		return d
	}
	held, ok := e.config.secrets[secret.get("name").str()]
	if !ok {
		d.elsewhere = secret
		return d
	}
	if own := held.get("validation_context"); d.parts[0].there() {
		d.parts = append(d.parts, own)
	} else {
		d.parts[0] = own
	}
	return d
}

// proved looks whether Envoy holds a client's name to a URI of the trust domain.
func (e *exam) proved(subject string, d demand) {
	if kind, _ := d.get("custom_validator_config").get("typed_config").unpack(); kind == typeSPIFFE {
		return // it takes URIs of its trust domains only
	}
	names := d.names()
	if len(names) == 0 {
		if d.elsewhere.there() {
			e.add("caller-by-reference", d.elsewhere, subject, "")
			return
		}
		e.add("caller-unproved", d.get("match_typed_subject_alt_names"), subject, "no name is demanded")
		return
	}
	for _, name := range names {
		if why := e.loose(name); why != "" {
			e.add("caller-unproved", name, subject, "%s", why)
		}
	}
}

// loose says how a matcher of names takes more than URIs of the policy's trust domain.
func (e *exam) loose(name value) string {
	if !name.get("san_type").is("URI", 3) {
		return "it is not for URIs"
	}
	m := name.get("matcher")
	text := m.get("exact").str()
	if m.get("prefix").there() {
		text = m.get("prefix").str()
		if strings.Count(text, "/") < 3 {
			return "the prefix has no slash behind the trust domain, and takes others that begin alike"
		}
	}
	if m.get("safe_regex").there() {
		return e.looseExpression(m)
	}
	if text == "" {
		return "it is no exact name and no prefix"
	}
	domain, isID := strings.CutPrefix(text, "spiffe://")
	domain, _, _ = strings.Cut(domain, "/")
	switch {
	case !isID:
		return "it takes what is no SPIFFE ID"
	case e.policy.TrustDomain != "" && domain != e.policy.TrustDomain:
		return "the trust domain is " + domain + ", the policy's is " + e.policy.TrustDomain
	}
	return ""
}

// looseExpression tries an expression with names of other domains.
func (e *exam) looseExpression(m value) string {
	for _, other := range []string{"spiffe://other.example/ns/a/sa/b", "https://other.example/", "spiffe://" + e.policy.TrustDomain + ".other.example/ns/a/sa/b"} {
		if e.matches(m, other) {
			return "it takes " + other
		}
	}
	return ""
}

// gate examines the way to a gate: its cluster.
func (e *exam) gate(cluster value) {
	subject := "cluster " + quoted(cluster.get("name"))
	_, options := cluster.get("typed_extension_protocol_options").field(keyHTTPOptions).unpack()
	http2 := options.get("explicit_http_config", "http2_protocol_options").there() || options.get("auto_config").there() ||
		options.get("use_downstream_protocol_config").there() || cluster.get("http2_protocol_options").there()
	e.when(!http2, "gate-not-http2", cluster.get("typed_extension_protocol_options"), subject)
	if matched := cluster.get("transport_socket_matches"); matched.there() {
		e.add("not-understood", matched, subject, "which endpoint gets which transport socket was not read")
		return
	}
	kind, tls := e.socket(subject, cluster.get("transport_socket"))
	switch kind {
	case "", typeStartTLS: // which begins in plaintext, and no gate asks for more
		e.when(!near(cluster), "gate-in-plaintext", cluster.get("transport_socket"), subject)
		return
	case typeUnknown:
		return
	}
	common := tls.get("common_tls_context")
	newest := common.get("tls_params", "tls_maximum_protocol_version")
	e.when(!newest.is("TLSv1_3", 4), "gate-tls-version", newest, subject)
	e.gateVerified(subject, common)
	shows := common.get("tls_certificates").there() || common.get("tls_certificate_sds_secret_configs").there() || common.get("tls_certificate_provider_instance").there()
	e.when(!shows, "gate-no-certificate", common.get("tls_certificates"), subject)
}

// gateVerified looks whether Envoy knows who answers in a gate's name: a CA that it trusts, and a name that it demands.
func (e *exam) gateVerified(subject string, common value) {
	d := e.validation(common)
	own := d.get("custom_validator_config").there()
	trusted := d.get("trusted_ca").there() || d.get("ca_certificate_provider_instance").there() || own || d.elsewhere.there()
	loose := slices.ContainsFunc(d.parts, func(part value) bool { return part.get("trust_chain_verification").is("ACCEPT_UNTRUSTED", 1) })
	named := len(d.names()) > 0 || own
	if !named && trusted && !loose && d.elsewhere.there() {
		e.add("elsewhere", d.elsewhere, subject, "whether a name is demanded of the gate")
		return
	}
	e.when(!named || !trusted || loose, "gate-unverified", common.get("validation_context"), subject)
}

// endpoints are the addresses of a cluster's endpoints, as far as they stand in it.
func endpoints(cluster value) []value {
	var all []value
	for _, locality := range cluster.get("load_assignment", "endpoints").items() {
		for _, endpoint := range locality.get("lb_endpoints").items() {
			all = append(all, endpoint.get("endpoint", "address"))
		}
	}
	return all
}

// near reports whether all endpoints of a cluster are on this machine.
func near(cluster value) bool {
	all := endpoints(cluster)
	return len(all) > 0 && !slices.ContainsFunc(all, func(address value) bool {
		return !address.get("pipe").there() && !loopback(address.get("socket_address", "address").str())
	})
}
