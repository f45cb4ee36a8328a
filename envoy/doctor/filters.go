package doctor

import (
	"slices"
	"strings"
)

// hitsState is the filter state from which a rate limit filter takes the number of hits.
const hitsState = "envoy.ratelimit.hits_addend"

// filterWrites looks at what a filter writes where the gates, or the service behind them, believe only the gate: its metadata, the headers
// of identities, credentials and addresses. The filter is named by the short form of its type; its settings may be a route's.
func (e *exam) filterWrites(d *door, short string, config value, before bool) {
	if short == "" || short == "ext_authz" || short == "ratelimit" {
		return
	}
	e.metadataWrites(d, short, config)
	switch short {
	case "jwt_authn":
		e.verifier(d, config, before)
	case "basic_auth":
		e.headerSet(d, config.get("forward_username_header"), before)
	case "api_key_auth":
		e.headerSet(d, config.get("forwarding", "header"), before)
		for _, source := range config.get("key_sources").items() {
			if config.get("forwarding", "hide_credentials").yes() && before {
				e.headerRemoved(d, source, func(name string) bool { return strings.EqualFold(source.get("header").str(), name) })
			}
		}
	case "credential_injector":
		e.injector(d, config, before)
	case "gcp_authn":
		e.injected(d, config, config.get("token_header", "name"), before)
	case "header_to_metadata":
		for _, rule := range config.get("request_rules").items() {
			if rule.get("remove").yes() && before {
				e.headerRemoved(d, rule.get("remove"), func(name string) bool { return strings.EqualFold(rule.get("header").str(), name) })
			}
		}
	case "header_mutation":
		for _, mutation := range config.get("mutations", "request_mutations").items() {
			e.mutation(d, mutation, before)
		}
	}
}

// metadataWrites looks for the names of what only the gate may write, wherever in its settings a filter says what it writes to.
func (e *exam) metadataWrites(d *door, short string, v value) {
	for _, key := range v.keys() {
		inner := v.field(key)
		switch name := inner.str(); {
		case (key == "metadata_namespace" || key == "metadataNamespace") && name == namespace,
			(key == "object_key" || key == "objectKey") && name == hitsState:
			e.add("metadata-forged", inner, d.subject, "%s writes %s", short, name)
		case key == "receiving_namespaces" || key == "receivingNamespaces":
			for _, item := range slices.Concat(inner.get("untyped").items(), inner.get("typed").items()) {
				e.when(item.str() == namespace, "metadata-forged", item, d.subject)
			}
		default:
			e.metadataWrites(d, short, inner)
		}
	}
	for _, item := range v.items() {
		e.metadataWrites(d, short, item)
	}
}

// verifier examines jwt_authn: what it makes of a token that it has verified, and whether it leaves the token there.
func (e *exam) verifier(d *door, config value, before bool) {
	providers := config.get("providers")
	for _, name := range providers.keys() {
		provider := providers.field(name)
		e.headerSet(d, provider.get("forward_payload_header"), before)
		for _, claim := range provider.get("claim_to_headers").items() {
			e.headerSet(d, claim.get("header_name"), before)
		}
		if before && !provider.get("forward").yes() {
			e.headerRemoved(d, provider.get("forward"), func(header string) bool { return takesFrom(provider, header) })
		}
	}
}

// takesFrom reports whether a provider finds its token in a header: in Authorization, unless it is told where.
func takesFrom(provider value, header string) bool {
	from := provider.get("from_headers").items()
	if len(from)+len(provider.get("from_params").items())+len(provider.get("from_cookies").items()) == 0 {
		return header == "authorization"
	}
	return slices.ContainsFunc(from, func(v value) bool { return strings.EqualFold(v.get("name").str(), header) })
}

// injector examines credential_injector: a credential stands in Authorization unless it says where.
func (e *exam) injector(d *door, config value, before bool) {
	_, credential := config.get("credential", "typed_config").unpack()
	e.injected(d, config, credential.get("header"), before)
}

// injected looks at a credential of Envoy's own, which goes into Authorization where no header is named.
func (e *exam) injected(d *door, config, header value, before bool) {
	switch {
	case header.str() != "":
		e.headerSet(d, header, before)
	case before:
		e.add("credential-injected", config, d.subject, "authorization is written before the check")
	}
}

// headerSet looks at a header that Envoy writes; at is the header's name.
func (e *exam) headerSet(d *door, at value, before bool) {
	e.headerWritten(d, at, strings.ToLower(at.str()), before)
}

func (e *exam) headerWritten(d *door, at value, name string, before bool) {
	when := "behind"
	if before {
		when = "before"
	}
	switch {
	case name == "":
	case e.identity(name):
		e.add("identity-header", at, d.subject, "%s is set %s the check", name, when)
	case !before: // what the gate has judged by
	case e.credential(name):
		e.add("credential-injected", at, d.subject, "%s is written before the check", name)
	case name == "x-forwarded-for":
		e.add("forwarded-for-changed", at, d.subject, "it is written before the check")
	case name == "host" || strings.HasPrefix(name, ":"):
		e.add("rewriting-filter", at, d.subject, "%s is set before the check", name)
	}
}

// headerRemoved looks at headers that are gone before the gate is asked. Envoy writes a new x-request-id where there is none.
func (e *exam) headerRemoved(d *door, at value, removed func(name string) bool) {
	for _, w := range e.wanted() {
		switch {
		case w.name == "x-request-id" || strings.HasPrefix(w.name, ":") || !removed(w.name):
		case w.name == "x-forwarded-for":
			e.add("forwarded-for-changed", at, d.subject, "it is removed before the check")
		default:
			e.add("headers-withheld", at, d.subject, "%s is removed before the check: %s", w.name, w.why)
			return
		}
	}
}

// mutation examines one change of a request's headers (envoy.config.common.mutation_rules.v3.HeaderMutation).
func (e *exam) mutation(d *door, mutation value, before bool) {
	e.headerWritten(d, mutation, strings.ToLower(mutation.get("append", "header", "key").str()), before)
	if before {
		e.headerRemoved(d, mutation, func(name string) bool { return e.removes(mutation, name) })
	}
}

// removes reports whether a change of headers removes one.
func (e *exam) removes(mutation value, name string) bool {
	if m := mutation.get("remove_on_match", "key_matcher"); m.there() {
		return e.matches(m, name)
	}
	return strings.EqualFold(mutation.get("remove").str(), name)
}
