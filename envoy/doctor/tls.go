package doctor

import (
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// clientTLS examines what a door demands of its clients' certificates.
func (e *exam) clientTLS(subject string, tls value) {
	if !tls.there() {
		return
	}
	common := tls.get("common_tls_context")
	v, elsewhere := e.validation(common)
	required := tls.get("require_client_certificate")
	asks := v.get("trusted_ca").there() || v.get("custom_validator_config").there() || v.get("ca_certificate_provider_instance").there()
	if !asks && !elsewhere.there() {
		e.when(required.yes(), "certificate-not-asked", required, subject)
		return
	}
	untrusted := v.get("trust_chain_verification")
	e.when(untrusted.is("ACCEPT_UNTRUSTED", 1), "untrusted-certificate", untrusted, subject)
	e.when(v.get("allow_expired_certificate").yes(), "untrusted-certificate", v.get("allow_expired_certificate"), subject)
	stateless := tls.get("disable_stateless_session_resumption").yes() && tls.get("disable_stateful_session_resumption").yes()
	e.when(!stateless, "resumption", tls.get("disable_stateful_session_resumption"), subject)
	if e.policy != nil && e.policy.Peers == policy.PeersEnvoy {
		e.proved(subject, v, elsewhere)
	}
}

// validation is a context's demand on the other side's certificate, and where the rest of it comes from if that is not here.
func (e *exam) validation(common value) (v, elsewhere value) {
	secret := common.get("validation_context_sds_secret_config")
	v = common.get("validation_context")
	if combined := common.get("combined_validation_context"); combined.there() {
		v, secret = combined.get("default_validation_context"), combined.get("validation_context_sds_secret_config")
	}
	if !secret.there() {
		return v, value{}
	}
	held, ok := e.config.secrets[secret.get("name").str()]
	switch {
	case !ok:
		return v, secret
	case v.get("match_typed_subject_alt_names").there():
		return v, held // the CA is there, and the names are the default's
	}
	return held.get("validation_context"), value{}
}

// proved looks whether Envoy holds a client's name to a URI of the trust domain.
func (e *exam) proved(subject string, v, elsewhere value) {
	if kind, _ := v.get("custom_validator_config", "typed_config").unpack(); kind == typeSPIFFE {
		return // it takes URIs of its trust domains only
	}
	names := v.get("match_typed_subject_alt_names")
	if len(names.items()) == 0 {
		if elsewhere.there() {
			e.add("caller-by-reference", elsewhere, subject, "")
			return
		}
		e.add("caller-unproved", names, subject, "no name is demanded")
		return
	}
	for _, name := range names.items() {
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
	kind, tls := cluster.get("transport_socket", "typed_config").unpack()
	if kind != typeUpstream {
		e.when(!near(cluster), "gate-in-plaintext", cluster.get("transport_socket"), subject)
		return
	}
	common := tls.get("common_tls_context")
	newest := common.get("tls_params", "tls_maximum_protocol_version")
	e.when(!newest.is("TLSv1_3", 4), "gate-tls-version", newest, subject)
	v, elsewhere := e.validation(common)
	named := len(v.get("match_typed_subject_alt_names").items()) > 0 || v.get("custom_validator_config").there()
	trusted := v.get("trusted_ca").there() || v.get("ca_certificate_provider_instance").there() || v.get("custom_validator_config").there() || elsewhere.there()
	loose := v.get("trust_chain_verification").is("ACCEPT_UNTRUSTED", 1)
	e.when(!named || !trusted || loose, "gate-unverified", common.get("validation_context"), subject)
	shows := common.get("tls_certificates").there() || common.get("tls_certificate_sds_secret_configs").there() || common.get("tls_certificate_provider_instance").there()
	e.when(!shows, "gate-no-certificate", common.get("tls_certificates"), subject)
}

// near reports whether all endpoints of a cluster are on this machine.
func near(cluster value) bool {
	count := 0
	for _, locality := range cluster.get("load_assignment", "endpoints").items() {
		for _, endpoint := range locality.get("lb_endpoints").items() {
			count++
			address := endpoint.get("endpoint", "address")
			if !address.get("pipe").there() && !loopback(address.get("socket_address", "address").str()) {
				return false
			}
		}
	}
	return count > 0
}
