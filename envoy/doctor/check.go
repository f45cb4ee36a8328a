package doctor

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// checkFilter examines an ext_authz filter's own settings.
func (e *exam) checkFilter(d *door, check int) {
	c := d.filters[check].config
	e.when(c.get("failure_mode_allow").yes(), "fail-open", c.get("failure_mode_allow"), d.subject)
	e.when(c.get("failure_mode_allow_header_add").yes(), "fail-open-header", c.get("failure_mode_allow_header_add"), d.subject)
	e.when(c.get("shadow_mode").yes(), "shadow-mode", c.get("shadow_mode"), d.subject)
	e.when(!c.get("status_on_error").there(), "outage-as-denial", c.get("status_on_error"), d.subject)
	e.switched(d.subject, c, d.filters[:check])
	cleared := c.get("clear_route_cache")
	e.when(cleared.yes(), "route-cache-cleared", cleared, d.subject)
	e.when(!c.get("encode_raw_headers").yes(), "headers-joined", c.get("encode_raw_headers"), d.subject)
	e.when(!c.get("validate_mutations").yes(), "mutations-unvalidated", c.get("validate_mutations"), d.subject)
	rules := c.get("decoder_header_mutation_rules")
	held := rules.get("disallow_system").yes() && rules.get("disallow_is_error").yes()
	e.when(!held, "mutation-rules", rules, d.subject)
	ingest := c.get("enable_dynamic_metadata_ingestion")
	e.when(ingest.str() == "false", "metadata-dropped", ingest, d.subject)
	e.withheld(d, c)
	e.certificate(d, c)
	if c.get("http_service").there() {
		e.add("check-by-http", c.get("http_service"), d.subject, "")
		return
	}
	e.service(d.subject, c.get("grpc_service"), c)
}

// withheld looks for headers that do not reach the gate.
func (e *exam) withheld(d *door, c value) {
	if allowed := c.get("allowed_headers"); allowed.there() {
		e.add("headers-withheld", allowed, d.subject, "only some are allowed%s", e.missing(allowed))
	}
	disallowed := c.get("disallowed_headers", "patterns")
	for _, pattern := range disallowed.items() {
		for _, w := range e.wanted() {
			if e.matches(pattern, w.name) {
				e.add("headers-withheld", pattern, d.subject, "%s is among those that are not sent: %s", w.name, w.why)
				break
			}
		}
	}
}

// missing names the headers that the policy needs and a list of allowed ones does not have, as the end of a sentence.
func (e *exam) missing(allowed value) string {
	patterns := allowed.get("patterns").items()
	var names []string
	for _, w := range e.wanted() {
		if !slices.ContainsFunc(patterns, func(m value) bool { return e.matches(m, w.name) }) {
			names = append(names, w.name)
		}
	}
	if len(names) == 0 {
		return ", and the gate denies by others that it must see as well"
	}
	return ", and not " + strings.Join(names, ", ")
}

// certificate looks whether the gate gets the certificates that the policy reads.
func (e *exam) certificate(d *door, c value) {
	if e.policy == nil || c.get("include_peer_certificate").yes() {
		return
	}
	if e.policy.Peers == policy.PeersCertificate {
		e.add("certificate-withheld", c.get("include_peer_certificate"), d.subject, "the policy says `peers: certificate`")
		return
	}
	e.eachRule(func(r *policy.Rule) {
		if r.Sender == policy.SenderMTLS {
			e.add("certificate-withheld", c.get("include_peer_certificate"), d.subject, "rule %s of %s takes tokens bound to a certificate", r.Name, r.Service.Name)
		}
	})
}

// service examines whom a filter asks: its gRPC service, and the cluster behind it.
func (e *exam) service(subject string, grpc, filter value) {
	if timeout, ok := grpc.get("timeout").duration(); ok && timeout <= 0 {
		e.add("no-deadline", grpc.get("timeout"), subject, "")
	}
	if grpc.get("google_grpc").there() {
		e.add("not-understood", grpc.get("google_grpc"), subject, "google_grpc was not looked into")
		return
	}
	name := grpc.get("envoy_grpc", "cluster_name")
	if name.str() == "" {
		e.add("filter-without-service", filter, subject, "")
		return
	}
	cluster, known := e.config.clusters[name.str()]
	switch {
	case known:
		e.gate(cluster)
	case e.config.clustersElsewhere.there() || len(e.config.clusters) == 0:
		e.add("elsewhere", name, subject, "cluster %s comes from a management server", quoted(name))
	default:
		e.add("unknown-cluster", name, subject, "%s", quoted(name))
	}
}
