package doctor

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// leaf is one way to an upstream: a route, or one of its weighted clusters.
type leaf struct {
	host   value   // the virtual host
	route  value   // the route
	action value   // its `route`, what forwards
	scopes []value // route configuration, virtual host, route and weighted cluster: the more specific last
}

// leaves are the routes of a door that reach an upstream. What is elsewhere, or not understood, is told; then they are not the whole.
func (e *exam) leaves(d *door) (all []leaf, whole bool) {
	whole = true
	config := d.hcm.get("route_config")
	if rds := d.hcm.get("rds"); rds.there() {
		held, ok := e.config.routes[rds.get("route_config_name").str()]
		if !ok {
			e.add("elsewhere", rds, d.subject, "routes %s come by RDS", quoted(rds.get("route_config_name")))
			return nil, false
		}
		config = held
	}
	if scoped := d.hcm.get("scoped_routes"); scoped.there() {
		whole = false
		e.add("elsewhere", scoped, d.subject, "scoped routes were not read")
	}
	if vhds := config.get("vhds"); vhds.there() {
		whole = false
		e.add("elsewhere", vhds, d.subject, "virtual hosts come by VHDS")
	}
	for _, host := range config.get("virtual_hosts").items() {
		if host.get("matcher").there() {
			whole = false
			e.add("not-understood", host.get("matcher"), d.subject, "routes chosen by a matcher were not read")
		}
		for _, route := range host.get("routes").items() {
			all = append(all, ways(config, host, route)...)
		}
	}
	return all, whole
}

func ways(config, host, route value) []leaf {
	action := route.get("route")
	if !action.there() {
		return nil // a redirect or an answer of Envoy's own
	}
	scopes := []value{config, host, route}
	weighted := action.get("weighted_clusters", "clusters").items()
	if len(weighted) == 0 {
		return []leaf{{host: host, route: route, action: action, scopes: scopes}}
	}
	var all []leaf
	for _, cluster := range weighted {
		all = append(all, leaf{host: host, route: route, action: action, scopes: append(slices.Clone(scopes), cluster)})
	}
	return all
}

// override is what a scope says of one filter.
type override struct {
	kind   string // "" for a wrapper with nothing in it
	config value
	off    value // the wrapper's `disabled`
}

// overrides are what the scopes of a leaf say of a filter, the more specific last.
func (l leaf) overrides(name string) []override {
	var all []override
	for _, scope := range l.scopes {
		if entry := scope.get("typed_per_filter_config").field(name); entry.there() {
			all = append(all, unwrapped(entry))
		}
	}
	return all
}

func unwrapped(entry value) override {
	kind, config := entry.unpack()
	if kind != typeFilter {
		return override{kind: kind, config: config}
	}
	inner, innerConfig := config.get("config").unpack()
	return override{kind: inner, config: innerConfig, off: config.get("disabled")}
}

// settled is the most specific of the check's own settings for a leaf. A wrapper with nothing in it does not count.
func (d *door) settled(l leaf, check int) (value, bool) {
	overrides := l.overrides(d.filters[check].name)
	for i := len(overrides) - 1; i >= 0; i-- {
		if overrides[i].kind == typeCheckRoute {
			return overrides[i].config, true
		}
	}
	return value{}, false
}

// asked is the first check that a leaf is put to; without one -1, and where the first is switched off.
func (d *door) asked(l leaf) (check int, off value) {
	for i, check := range d.checks {
		at, skipped := d.skipped(l, check)
		if !skipped {
			return check, value{}
		}
		if i == 0 {
			off = at
		}
	}
	return -1, off
}

// skipped is where a leaf is said not to be put to a check; false where it is. Two switches are in series, as Envoy has them: whether the
// filter is in the chain, by the most specific scope that names it in any way, and then the check's own, by the most specific settings.
func (d *door) skipped(l leaf, check int) (value, bool) {
	if off := d.switchedOff(l, d.filters[check]); off.yes() {
		return off, true
	}
	config, _ := d.settled(l, check)
	return config.get("disabled"), config.get("disabled").yes()
}

// switchedOff is what decides whether a filter is in the chain for a leaf; true where it is not.
func (d *door) switchedOff(l leaf, f filter) value {
	if overrides := l.overrides(f.name); len(overrides) > 0 {
		return overrides[len(overrides)-1].off
	}
	return f.at.get("disabled")
}

// unchecked tells of a door that asks nobody, unless all that it passes on are probes of the policy. What is not here cannot clear it.
func (e *exam) unchecked(d *door, routes []leaf, whole bool) {
	fetched := slices.ContainsFunc(d.filters, func(f filter) bool { return f.fetched })
	if !whole && !fetched {
		e.unasked("unchecked-listener", d.hcm.get("http_filters"), d.subject, "its routes are not all here, and may reach an upstream")
		return
	}
	if fetched {
		return // a filter that is not here may be the check; that it is not here was told
	}
	if whole && e.ownListener(d, routes) {
		return
	}
	for _, l := range routes {
		if !e.probe(l) && !e.nowhere(l.action.get("cluster").str()) {
			e.unasked("unchecked-listener", d.hcm.get("http_filters"), d.subject, "route %s reaches %s", l.what(), l.upstream())
			return
		}
	}
}

// probe reports whether a leaf passes on a probe of the policy and nothing else: one exact path, GET or HEAD, to where and as it was sent.
func (e *exam) probe(l leaf) bool {
	if paths, hosts := l.rewrites(); len(paths)+len(hosts) > 0 {
		return false // what is served is another path, or another host's
	}
	match := l.route.get("match")
	path := match.get("path").str()
	if e.policy == nil || path == "" || match.get("case_sensitive").str() == "false" || l.fromClient().there() {
		return false
	}
	for _, method := range []string{"GET", "HEAD"} {
		if e.onlyMethod(match, method) && e.named(method, path) {
			return true
		}
	}
	return false
}

func (e *exam) onlyMethod(match value, method string) bool {
	return slices.ContainsFunc(match.get("headers").items(), func(h value) bool {
		exact := h.get("string_match", "exact").str() == method || h.get("exact_match").str() == method
		return h.get("name").str() == ":method" && exact && !h.get("invert_match").yes()
	})
}

// named reports whether the policy names a probe that asks for no particular caller.
func (e *exam) named(method, path string) bool {
	admits := func(p policy.Probe) bool { return p.Admits(method, path) && len(p.Callers) == 0 }
	return slices.ContainsFunc(e.policy.Probes, admits) ||
		slices.ContainsFunc(e.policy.Services, func(s *policy.Service) bool { return slices.ContainsFunc(s.Probes, admits) })
}

// what is a leaf in words.
func (l leaf) what() string {
	match := l.route.get("match")
	for _, key := range []string{"prefix", "path", "path_separated_prefix"} {
		if match.get(key).there() {
			return key + " " + quoted(match.get(key))
		}
	}
	return quoted(l.route.get("name"))
}

func (l leaf) upstream() string {
	if cluster := l.action.get("cluster"); cluster.there() {
		return "cluster " + quoted(cluster)
	}
	if header := l.fromClient(); header.there() {
		return "the cluster that header " + quoted(header) + " names"
	}
	return "an upstream"
}

// routes examines what the routes of a checked door say.
func (e *exam) routes(d *door, routes []leaf) {
	seen := map[*step]bool{}
	for _, l := range routes {
		for _, scope := range l.scopes {
			if !seen[scope.way] {
				seen[scope.way] = true
				e.scope(d, l, scope)
			}
		}
		e.chosenUpstream(d, l)
		check, off := d.asked(l)
		if check < 0 {
			if !e.probe(l) && !e.nowhere(l.action.get("cluster").str()) {
				e.add("unchecked-route", off, d.subject, "route %s reaches %s", l.what(), l.upstream())
			}
			continue
		}
		e.askedOnce(d, l, check)
		e.counted(d, l)
		e.rewrites(d, l)
		e.upstreamFilters(l)
		e.settings(d, l, check)
		e.body(d, l, check)
	}
	e.bodiesOfRules(d, routes)
}

// fromClient is the name of the header by which a client chooses the upstream of a leaf.
func (l leaf) fromClient() value {
	if header := l.action.get("cluster_header"); header.there() {
		return header
	}
	return l.cluster().get("cluster_header")
}

// cluster is the leaf's weighted cluster; not there without one.
func (l leaf) cluster() value {
	if len(l.scopes) > 3 {
		return l.scopes[3]
	}
	return value{}
}

// chosenUpstream looks at upstreams that are no cluster by name.
func (e *exam) chosenUpstream(d *door, l leaf) {
	if header := l.fromClient(); header.there() {
		e.add("cluster-from-client", header, d.subject, "route %s reaches the cluster that header %s names", l.what(), quoted(header))
	}
	for _, key := range []string{"cluster_specifier_plugin", "inline_cluster_specifier_plugin"} {
		if plugin := l.action.get(key); plugin.there() {
			e.add("not-understood", plugin, d.subject, "route %s reaches a cluster that a plugin names", l.what())
		}
	}
}

// askedOnce looks for a second check of a leaf.
func (e *exam) askedOnce(d *door, l leaf, first int) {
	for _, check := range d.checks {
		if _, skipped := d.skipped(l, check); check > first && !skipped {
			e.add("two-checks", d.filters[check].at, d.subject, "")
		}
	}
}

// counted looks for limits that are switched off for a leaf.
func (e *exam) counted(d *door, l leaf) {
	for _, f := range d.filters {
		if f.kind != typeLimit {
			continue
		}
		if off := d.switchedOff(l, f); off.yes() {
			e.add("uncounted-route", off, d.subject, "route %s reaches %s", l.what(), l.upstream())
		}
	}
}

// scope examines what a route configuration, a virtual host, a route or a weighted cluster says by itself: settings under a name that no
// filter of the chain has, headers of the policy that Envoy adds, and what limits and CORS ignore or pass on.
func (e *exam) scope(d *door, l leaf, scope value) {
	settings := scope.get("typed_per_filter_config")
	for _, name := range settings.keys() {
		entry := settings.field(name)
		kind, config := entry.unpack()
		at := slices.IndexFunc(d.filters, func(f filter) bool { return f.name == name })
		if at < 0 && !e.elsewhereInChain(name, l) {
			e.add("per-route-ignored", entry, d.subject, "%s for a filter %q, and there is none", kind[strings.LastIndexByte(kind, '.')+1:], name)
			continue
		}
		if own := unwrapped(entry); at >= 0 {
			e.filterWrites(d, (filter{kind: own.kind}).short(), own.config, at < d.check)
		}
		forward := config.get("forward_not_matching_preflights")
		e.when(kind == typeCORSRoute && forward.str() != "false", "cors-forwards", forward, d.subject)
	}
	for _, add := range scope.get("request_headers_to_add").items() {
		if name := strings.ToLower(add.get("header", "key").str()); e.identity(name) {
			e.add("identity-header", add, d.subject, "%s is added", name)
		}
	}
	for _, limits := range []value{scope.get("rate_limits"), scope.get("route", "rate_limits")} {
		for _, entry := range limits.items() {
			e.when(entry.get("hits_addend").there(), "hits-ignored", entry.get("hits_addend"), d.subject)
		}
	}
}

// elsewhereInChain reports whether another door has a filter of this name and the same routes by RDS: what is said there is for it.
func (e *exam) elsewhereInChain(name string, l leaf) bool {
	if e.shared == nil {
		e.share()
	}
	config := l.scopes[0]
	routes := config.get("name").str()
	held, ok := e.config.routes[routes]
	return ok && held.way == config.way && e.shared[routes][name]
}

func (e *exam) share() {
	e.shared = map[string]map[string]bool{}
	for _, listener := range e.config.listeners {
		for _, chain := range append(listener.get("filter_chains").items(), listener.get("default_filter_chain")) {
			for _, entry := range chain.get("filters").items() {
				_, hcm := entry.get("typed_config").unpack()
				routes := hcm.get("rds", "route_config_name").str()
				if e.shared[routes] == nil {
					e.shared[routes] = map[string]bool{}
				}
				for _, f := range hcm.get("http_filters").items() {
					e.shared[routes][f.get("name").str()] = true
				}
			}
		}
	}
}

// rewrites are where a leaf changes the path, and where it changes the host, behind the check.
func (l leaf) rewrites() (paths, hosts []value) {
	for _, key := range []string{"prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite"} {
		if at := l.action.get(key); at.there() {
			paths = append(paths, at)
		}
	}
	for _, key := range []string{"host_rewrite_literal", "host_rewrite_header", "host_rewrite_path_regex", "host_rewrite"} {
		if at := l.action.get(key); at.there() {
			hosts = append(hosts, at)
		}
	}
	if at := l.action.get("auto_host_rewrite"); at.yes() {
		hosts = append(hosts, at)
	}
	if at := l.cluster().get("host_rewrite_literal"); at.there() {
		hosts = append(hosts, at)
	}
	return paths, hosts
}

// rewrites tells of what changes the path or the host behind the check.
func (e *exam) rewrites(d *door, l leaf) {
	paths, hosts := l.rewrites()
	for _, at := range paths {
		e.add("rewrite-after-check", at, d.subject, "")
	}
	for _, at := range hosts {
		e.add("host-rewrite", at, d.subject, "")
	}
}

// upstreamFilters looks at filters that a cluster runs behind the router, and so behind the check.
func (e *exam) upstreamFilters(l leaf) {
	name := l.action.get("cluster").str()
	if len(l.scopes) > 3 {
		name = l.scopes[3].get("name").str()
	}
	_, options := e.config.clusters[name].get("typed_extension_protocol_options").field(keyHTTPOptions).unpack()
	for _, entry := range options.get("http_filters").items() {
		kind, config := entry.get("typed_config").unpack()
		switch f := (filter{kind: kind, config: config}); {
		case slices.Contains(rewriting, f.short()):
			e.add("rewriting-filter", entry, `cluster "`+name+`"`, "%s stands behind the check", f.short())
		case f.short() != "upstream_codec" && !slices.Contains(harmless, f.short()):
			e.add("not-understood", entry, `cluster "`+name+`"`, "HTTP filter %s", quoted(entry.get("name")))
		}
	}
}

// settings looks at what a route's ext_authz settings say beside bodies: whom they ask, and for which service.
func (e *exam) settings(d *door, l leaf, asked int) {
	for _, o := range l.overrides(d.filters[asked].name) {
		check := o.config.get("check_settings")
		for _, key := range []string{"grpc_service", "http_service"} {
			e.when(check.get(key).there(), "service-override", check.get(key), d.subject)
		}
	}
	if e.policy == nil {
		return
	}
	name, at := d.service(l, asked)
	switch {
	case name == redacted:
		e.add("redacted", at, d.subject, "")
	case at.there() && e.policy.Service(name) == nil:
		e.add("service-unknown", at, d.subject, "%q", name)
	}
	e.ask(l, name, at.there())
	if !at.there() {
		e.chosenByHost(d, l)
	}
}

// chosenByHost examines a leaf that names no service: whose rules can hold for it?
func (e *exam) chosenByHost(d *door, l leaf) {
	var here []*policy.Service
	known := len(e.policy.Services) == 1
	for _, service := range e.policy.Services {
		known = known || len(service.Workloads) > 0
		if service.Edge && e.hosted(l.host, service) {
			here = append(here, service)
		}
	}
	if len(here) == 0 && !known {
		e.add("service-unnamed", l.route, d.subject, "route %s", l.what())
		return
	}
	for _, other := range here {
		// Services of one host are one to the gate: it looks for the rule among all of them.
		shared := slices.ContainsFunc(here[0].Hosts, func(host string) bool { return slices.Contains(other.Hosts, host) })
		if !shared {
			e.add("service-by-host", l.host.get("domains"), d.subject, "%s and %s", here[0].Name, other.Name)
		}
	}
}

// redacted is what a dump says in place of a value that may be a secret: of context extensions too.
const redacted = "[redacted]"

// service is the service that a leaf names for the gate. Context extensions of all scopes are merged; the more specific wins by key.
func (d *door) service(l leaf, check int) (string, value) {
	return d.extension(l, check, "service")
}

// extension is a context extension that is in force on a leaf: the most specific settings that have it.
func (d *door) extension(l leaf, check int, name string) (string, value) {
	overrides := l.overrides(d.filters[check].name)
	for i := len(overrides) - 1; i >= 0; i-- {
		if at := overrides[i].config.get("check_settings", "context_extensions").field(name); at.there() {
			return at.str(), at
		}
	}
	return "", value{}
}

// ask remembers the services that a leaf can be for.
func (e *exam) ask(l leaf, pin string, pinned bool) {
	if pinned && pin != redacted {
		e.sites[pin] = true
		return
	}
	for _, service := range e.policy.Services {
		if (service.Edge || pinned) && e.hosted(l.host, service) {
			e.sites[service.Name] = true
		}
	}
}

// hosting is a question that many routes ask alike.
type hosting struct {
	host    *node
	service *policy.Service
}

// hosted reports whether requests for a service can enter a virtual host.
func (e *exam) hosted(host value, service *policy.Service) bool {
	question := hosting{host: host.n, service: service}
	answer, asked := e.hosts[question]
	if !asked {
		answer = enters(host, service)
		e.hosts[question] = answer
	}
	return answer
}

func enters(host value, service *policy.Service) bool {
	for _, domain := range host.get("domains").items() {
		name := withoutPort(strings.ToLower(domain.str()))
		for _, own := range service.Hosts {
			if meet(name, own) {
				return true
			}
		}
	}
	return false
}

// withoutPort cuts a port, which Envoy's domains may name and the gate cuts.
func withoutPort(domain string) string {
	if i := strings.LastIndexByte(domain, ':'); i > 0 && !strings.HasSuffix(domain, "]") {
		return domain[:i]
	}
	return domain
}

// meet reports whether some host is taken by both patterns; each is exact, "*", "*.suffix" or, as Envoy has it, "prefix.*".
func meet(a, b string) bool {
	switch {
	case a == "*" || b == "*" || a == b:
		return true
	case strings.HasSuffix(a, "*"):
		return strings.HasPrefix(b, a[:len(a)-1]) || strings.HasPrefix(b, "*")
	case strings.HasPrefix(a, "*") && strings.HasPrefix(b, "*"):
		return strings.HasSuffix(a, b[1:]) || strings.HasSuffix(b, a[1:])
	case strings.HasPrefix(a, "*"):
		return strings.HasSuffix(b, a[1:])
	case strings.HasPrefix(b, "*"):
		return strings.HasSuffix(a, b[1:])
	}
	return false
}

// services names those of the policy that no route asks for.
func (e *exam) services() {
	if e.policy == nil {
		return
	}
	var missing []string
	for _, service := range e.policy.Services {
		if !e.sites[service.Name] {
			missing = append(missing, service.Name)
		}
	}
	if n := len(missing); n > 0 {
		if n > 5 {
			missing = append(missing[:5], "and more")
		}
		root := e.config.file.root
		e.add("service-not-here", value{n: root, pos: root.pos}, "", "%s", strings.Join(missing, ", "))
	}
}
