package doctor

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// typeLimitRoute is a rate limit filter's settings for a route.
const typeLimitRoute = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"

// limitFilters examines the rate limit filters of a door, and the descriptors that they send.
func (e *exam) limitFilters(d *door, routes []leaf) {
	for i, f := range d.filters {
		if f.kind != typeLimit {
			continue
		}
		c := f.config
		e.when(!c.get("failure_mode_deny").yes(), "limit-fails-open", c.get("failure_mode_deny"), d.subject)
		percent := c.get("failure_mode_deny_percent")
		e.when(percent.there() && !full(percent), "limit-fails-open", percent, d.subject)
		for _, key := range []string{"filter_enabled", "filter_enforced"} {
			e.when(c.get(key).there() && !full(c.get(key)), "limit-partial", c.get(key), d.subject)
		}
		kind := c.get("request_type").str()
		e.when(kind != "" && kind != "both", "limit-partial", c.get("request_type"), d.subject)
		timeout, set := c.get("timeout").duration()
		e.when(!set, "limit-deadline", c.get("timeout"), d.subject)
		e.when(set && timeout <= 0, "no-deadline", c.get("timeout"), d.subject)
		e.service(d.subject, c.get("rate_limit_service", "grpc_service"), c)
		all := d.descriptors(f, routes)
		e.when(len(all) == 0, "limit-without-descriptor", c.get("rate_limits"), d.subject)
		for _, desc := range all {
			e.descriptor(d, desc, i < d.check)
			e.hits(d, desc)
		}
	}
	e.stages(d, routes)
}

// stages looks for rate limits of virtual hosts and routes that no filter sends: each sends those of its own stage.
func (e *exam) stages(d *door, routes []leaf) {
	limited := false
	stages := map[uint64]bool{}
	for _, f := range d.filters {
		if f.kind == typeLimit {
			limited, stages[f.config.get("stage").number()] = true, true
		}
	}
	seen := map[*node]bool{}
	for _, l := range routes {
		for _, list := range []value{l.host.get("rate_limits"), l.action.get("rate_limits")} {
			if !limited || !list.there() || seen[list.n] {
				continue
			}
			seen[list.n] = true
			for _, at := range list.items() {
				stage := at.get("stage")
				e.when(!stages[stage.number()], "stage-without-filter", stage, d.subject)
			}
		}
	}
}

// full reports whether a runtime fraction is all of it.
func full(v value) bool {
	fraction := v.get("default_value")
	whole := uint64(100)
	switch denominator := fraction.get("denominator"); {
	case denominator.is("TEN_THOUSAND", 1):
		whole = 10_000
	case denominator.is("MILLION", 2):
		whole = 1_000_000
	}
	return fraction.get("numerator").number() >= whole
}

// descriptor is one entry of rate_limits, and the domain that it is sent to.
type descriptor struct {
	at     value
	list   value // all of rate_limits
	domain string
}

// sending is a list of descriptors, and the domain that they are sent to.
type sending struct {
	list   *node
	domain string
}

// descriptors are all that a filter can send: its own, and those of routes.
func (d *door) descriptors(f filter, routes []leaf) []descriptor {
	domain := f.config.get("domain").str()
	var all []descriptor
	seen := map[sending]bool{} // a virtual host's stand on every one of its leaves
	add := func(list value, domain string, sent func(value) bool) {
		once := sending{list.n, domain}
		if !list.there() || seen[once] {
			return
		}
		seen[once] = true
		for _, at := range list.items() {
			if sent(at) {
				all = append(all, descriptor{at: at, list: list, domain: domain})
			}
		}
	}
	always := func(value) bool { return true }
	staged := func(at value) bool { return at.get("stage").number() == f.config.get("stage").number() }
	add(f.config.get("rate_limits"), domain, always)
	own := len(all) > 0
	for _, l := range routes {
		for _, o := range l.overrides(f.name) {
			if o.kind != typeLimitRoute {
				continue
			}
			to := domain
			if other := o.config.get("domain").str(); other != "" {
				to = other
			}
			add(o.config.get("rate_limits"), to, always)
		}
		if !own {
			add(l.host.get("rate_limits"), domain, staged)
			add(l.action.get("rate_limits"), domain, staged)
		}
	}
	return all
}

// descriptor examines the actions of one descriptor, and looks for its limit.
func (e *exam) descriptor(d *door, desc descriptor, before bool) {
	known := true
	entries := []choice{}
	for _, action := range desc.at.get("actions").items() {
		if metadata := action.get("metadata"); metadata.there() {
			e.metadataAction(d, metadata, before)
		}
		e.evadable(d, desc, action)
		e.mask(d, action)
		c, ok := e.choices(action)
		if !ok {
			known = false
			e.add("not-understood", action, d.subject, "an action of a descriptor")
		}
		entries = append(entries, c)
	}
	if e.limits == nil || !known || len(entries) == 0 {
		return
	}
	if missing, found := e.unlimited(desc.domain, entries); found {
		e.add("descriptor-without-limit", desc.at, d.subject, "domain %q, %s", desc.domain, missing)
	}
}

// evadable looks at an action that reads what a client may leave out: then the whole descriptor is left out. A match is no evasion where
// another descriptor is sent whatever a client does.
func (e *exam) evadable(d *door, desc descriptor, action value) {
	at, match := byClient(action)
	if !at.there() || match && slices.ContainsFunc(desc.list.items(), steadfast) {
		return
	}
	e.add("descriptor-vanishes", at, d.subject, "a client chooses whether it is there")
	e.when(at.get("skip_if_absent").yes(), "descriptor-vanishes", at.get("skip_if_absent"), d.subject)
}

// byClient is what an action reads if a client may leave it out or write it at will, and whether the action only looks whether it matches.
// Every request has a method, a path and a host: whoever writes limits for some of them knows which.
func byClient(action value) (at value, match bool) {
	if at = action.get("request_headers"); at.there() {
		if strings.HasPrefix(at.get("header_name").str(), ":") {
			return value{}, false
		}
		return at, false
	}
	if at = action.get("query_parameters"); at.there() {
		return at, false
	}
	if at = action.get("query_parameter_value_match"); at.there() {
		return at, true
	}
	at = action.get("header_value_match")
	ofClient := func(header value) bool { return !strings.HasPrefix(header.get("name").str(), ":") }
	if slices.ContainsFunc(at.get("headers").items(), ofClient) {
		return at, true
	}
	return value{}, false
}

// steadfast reports whether a descriptor is sent, and counted before the request is answered, whatever a client does.
func steadfast(desc value) bool {
	evaded := slices.ContainsFunc(desc.get("actions").items(), func(action value) bool {
		at, _ := byClient(action)
		metadata := action.get("metadata")
		known := slices.ContainsFunc(stable, func(key string) bool { return action.get(key).there() })
		return at.there() || metadata.there() && metadata.get("default_value").str() == "" || !metadata.there() && !known
	})
	return !evaded && !desc.get("apply_on_stream_done").yes()
}

// stable are actions that always have an entry; request_headers where no client can leave the header out.
var stable = []string{"remote_address", "masked_remote_address", "source_cluster", "destination_cluster", "generic_key", "request_headers"}

// mask looks at an address of which nothing is left.
func (e *exam) mask(d *door, action value) {
	for _, key := range []string{"v4_prefix_mask_len", "v6_prefix_mask_len"} {
		length := action.get("masked_remote_address", key)
		e.when(length.there() && length.number() == 0, "address-shared", length, d.subject)
	}
}

// hits looks at how many hits a descriptor counts for. None is right for one that is asked about first and counted at the end.
func (e *exam) hits(d *door, desc descriptor) {
	addend := desc.at.get("hits_addend")
	if !addend.there() {
		return
	}
	late := func(at value) bool { return at.get("apply_on_stream_done").yes() }
	number, format := addend.get("number"), addend.get("format")
	for _, word := range []string{"%REQ(", "%REQUEST_HEADER(", "%REQ_WITHOUT_QUERY(", "%QUERY_PARAM", "%PATH(", "%CEL(", "%COALESCE("} {
		if strings.Contains(format.str(), word) {
			e.add("hits-from-client", format, d.subject, "%s", format.str())
			break
		}
	}
	none := number.there() && number.number() == 0
	e.when(none && !slices.ContainsFunc(desc.list.items(), late), "hits-from-client", number, d.subject)
	e.when(addend.get("is_negative_hits").yes() && !late(desc.at), "hits-from-client", addend.get("is_negative_hits"), d.subject)
}

// handed are the names that the gate hands out with every answer, but for what it writes for logs.
var handed = []string{
	"decision", "reason", "rule", "service", "decision_id", "policy", "who", "subject", "issuer", "client_id", "caller", "address", "max_connection",
}

// metadataAction examines an action that reads what the gate found out.
func (e *exam) metadataAction(d *door, m value, before bool) {
	key, first := m.get("metadata_key", "key"), ""
	if path := m.get("metadata_key", "path").items(); len(path) > 0 {
		first = path[0].get("key").str()
	}
	dynamic := !m.get("source").there() || m.get("source").is("DYNAMIC", 0)
	ours := key.str() == namespace
	if !ours && (slices.Contains(handed, first) || d.named(key.str())) || ours && !dynamic {
		e.add("descriptor-namespace", m.get("metadata_key"), d.subject, "%s of %s", first, quoted(key))
		return
	}
	if !ours {
		// Metadata of a route or a cluster is the operator's: whoever leaves it out means it.
		e.when(dynamic && m.get("default_value").str() == "", "descriptor-vanishes", m, d.subject)
		return
	}
	e.when(before, "limit-before-check", m, d.subject)
	e.when(m.get("default_value").str() == "", "descriptor-vanishes", m, d.subject)
	e.when(m.get("skip_if_absent").yes(), "descriptor-vanishes", m.get("skip_if_absent"), d.subject)
	if e.policy != nil && !slices.Contains(handed, first) && !e.given(first) {
		e.add("descriptor-unknown", m.get("metadata_key", "path"), d.subject, "%q", first)
	}
}

// named reports whether the name is that of a check of the chain: the namespace is not.
func (d *door) named(name string) bool {
	return strings.Contains(name, "ext_authz") || slices.ContainsFunc(d.filters, func(f filter) bool { return f.kind == typeCheck && f.name == name })
}

// given reports whether a rule of the policy hands out metadata of a name.
func (e *exam) given(name string) bool {
	for _, service := range e.policy.Services {
		for _, rule := range service.Rules {
			for _, m := range rule.Metadata {
				if m.Name == name {
					return true
				}
			}
		}
	}
	return false
}

// choice is one entry of a descriptor: a key, and values that it can have.
type choice struct {
	key    string
	values []string
}

// whoever are the forms of `who`, as the gate writes it.
var whoever = []string{"user|shop|alice", "client|shop|app", "workload|spiffe://cluster.local/ns/a/sa/b", "ip|192.0.2.1"}

// choices are what an action can put into its entry; false where that is not known.
func (e *exam) choices(action value) (choice, bool) {
	text := func(v value, otherwise string) string {
		if v.str() == "" {
			return otherwise
		}
		return v.str()
	}
	switch {
	case action.get("masked_remote_address").there():
		return choice{"masked_remote_address", []string{"192.0.2.1/32", "2001:db8::/64"}}, true
	case action.get("remote_address").there():
		return choice{"remote_address", []string{"192.0.2.1", "2001:db8::1"}}, true
	case action.get("source_cluster").there():
		return choice{"source_cluster", []string{"x"}}, true
	case action.get("destination_cluster").there():
		return choice{"destination_cluster", []string{"x"}}, true
	case action.get("request_headers").there():
		return choice{action.get("request_headers", "descriptor_key").str(), []string{"x"}}, true
	case action.get("query_parameters").there():
		return choice{action.get("query_parameters", "descriptor_key").str(), []string{"x"}}, true
	case action.get("generic_key").there():
		a := action.get("generic_key")
		return choice{text(a.get("descriptor_key"), "generic_key"), []string{a.get("descriptor_value").str()}}, true
	case action.get("header_value_match").there():
		a := action.get("header_value_match")
		return choice{text(a.get("descriptor_key"), "header_match"), []string{a.get("descriptor_value").str()}}, true
	case action.get("query_parameter_value_match").there():
		a := action.get("query_parameter_value_match")
		return choice{text(a.get("descriptor_key"), "query_match"), []string{a.get("descriptor_value").str()}}, true
	case action.get("metadata").there():
		return e.metadataChoices(action.get("metadata")), true
	}
	return choice{}, false
}

// metadataChoices are what the gate can say under a name, and the default.
func (e *exam) metadataChoices(m value) choice {
	c := choice{key: m.get("descriptor_key").str()}
	name := ""
	if path := m.get("metadata_key", "path").items(); len(path) > 0 && m.get("metadata_key", "key").str() == namespace {
		name = path[0].get("key").str()
	}
	switch {
	case name == "who":
		c.values = slices.Clone(whoever)
	case name == "service" && e.policy != nil && len(e.policy.Services) > 0:
		c.values = []string{e.policy.Services[0].Name}
	case name == "rule" && e.policy != nil && len(e.policy.Services) > 0 && len(e.policy.Services[0].Rules) > 0:
		c.values = []string{e.policy.Services[0].Rules[0].Name}
	default:
		c.values = []string{"x"}
	}
	if otherwise := m.get("default_value").str(); otherwise != "" {
		c.values = append(c.values, otherwise)
	}
	return c
}

// mostDescriptors bounds the descriptors that are tried for one entry of rate_limits.
const mostDescriptors = 256

// unlimited finds a descriptor that reaches no limit, in words.
func (e *exam) unlimited(domain string, entries []choice) (string, bool) {
	all := [][]limits.Entry{nil}
	for _, c := range entries {
		var longer [][]limits.Entry
		for _, before := range all {
			for _, v := range c.values {
				if len(longer) < mostDescriptors {
					longer = append(longer, append(slices.Clone(before), limits.Entry{Key: c.key, Value: v}))
				}
			}
		}
		all = longer
	}
	for _, d := range all {
		if e.limits.Match(domain, d).Rule == nil {
			words := make([]string, len(d))
			for i, entry := range d {
				words[i] = entry.Key + "=" + entry.Value
			}
			return "(" + strings.Join(words, "), (") + ")", true
		}
	}
	return "", false
}

// addresses looks whether a limit by address counts the client's address, and the same one that the gate judges.
func (e *exam) addresses(d *door, routes []leaf) {
	at, counted := d.byAddress(routes)
	remote, hops := d.hcm.get("use_remote_address"), d.hcm.get("xff_num_trusted_hops")
	if counted && !remote.yes() && len(d.hcm.get("original_ip_detection_extensions").items()) == 0 {
		e.add("address-from-client", remote, d.subject, "a limit counts by address (%s)", at.path())
	}
	for _, extension := range d.hcm.get("original_ip_detection_extensions").items() {
		e.detection(d, extension, counted)
	}
	if e.policy == nil || !remote.yes() {
		return
	}
	trusted := len(e.policy.TrustedProxies.Networks)+len(e.policy.TrustedProxies.Callers) > 0
	e.when(hops.number() > 0 && !trusted, "hops-without-proxies", hops, d.subject)
	e.when(hops.number() == 0 && trusted && counted, "proxies-without-hops", hops, d.subject)
}

// detection examines an extension that says which address is the client's.
func (e *exam) detection(d *door, extension value, counted bool) {
	switch kind, config := extension.get("typed_config").unpack(); kind {
	case typeCustomHeader:
		if counted {
			e.add("address-from-client", extension, d.subject, "the address is what header %s says", quoted(config.get("header_name")))
		}
	case typeXFF:
		if counted && len(config.get("xff_trusted_cidrs", "cidrs").items()) == 0 {
			e.add("address-from-client", extension, d.subject, "no xff_trusted_cidrs say whose x-forwarded-for is believed")
		}
	default:
		e.add("not-understood", extension, d.subject, "original IP detection %s", quoted(extension.get("name")))
	}
}

// byAddress finds an action that counts by address: of a filter, of a virtual host or of a route.
func (d *door) byAddress(routes []leaf) (value, bool) {
	for _, f := range d.filters {
		if f.kind != typeLimit {
			continue
		}
		for _, desc := range d.descriptors(f, routes) {
			for _, action := range desc.at.get("actions").items() {
				for _, key := range []string{"remote_address", "masked_remote_address", "remote_address_match"} {
					if action.get(key).there() {
						return action.get(key), true
					}
				}
			}
		}
	}
	return value{}, false
}

// proxied looks whether a client may leave out the PROXY protocol, and so whether it may write it: the address is then its own word.
func (e *exam) proxied(d *door) {
	for _, entry := range e.here.get("listener_filters").items() {
		kind, config := entry.get("typed_config").unpack()
		if optional := config.get("allow_requests_without_proxy_protocol"); kind == typeProxyProtocol && optional.yes() {
			e.add("address-from-client", optional, d.subject, "who sends a PROXY header chooses an address, and who sends none is taken as well")
		}
	}
}
