package doctor

import "slices"

// What a mesh gives every one of its Envoys: listeners of Envoy's own, ways that lead nowhere, and a check of what an RBAC filter marks.

// own reports whether a leaf serves Envoy's own statistics or readiness, and what else passes on it: the path is not normalized there.
func (e *exam) own(d *door, l leaf) (own bool, beside string) {
	if paths, hosts := l.rewrites(); len(paths)+len(hosts) > 0 {
		return false, ""
	}
	match := l.route.get("match")
	path := match.get("path").str() + match.get("prefix").str()
	cluster := e.config.clusters[l.action.get("cluster").str()]
	switch {
	case path == "/stats/prometheus" && e.reaches(cluster, e.config.admin.get("address", "socket_address")):
		if match.get("prefix").there() && !d.hcm.get("normalize_path").yes() {
			beside = "; /stats/prometheus/../../config_dump passes as well, and POST /stats/prometheus/../../quitquitquit: whoever gets here has the whole admin interface"
		}
		return true, beside
	case path == "/healthz/ready":
		return agent(cluster), ""
	}
	return false, ""
}

// reaches reports whether all endpoints of a cluster are one address.
func (e *exam) reaches(cluster, socket value) bool {
	all := endpoints(cluster)
	return socket.there() && len(all) > 0 && !slices.ContainsFunc(all, func(address value) bool {
		at := address.get("socket_address")
		return at.get("address").str() != socket.get("address").str() || at.get("port_value").number() != socket.get("port_value").number()
	})
}

// agent reports whether a cluster is Istio's agent beside its Envoy, which answers for both on port 15020.
func agent(cluster value) bool {
	return cluster.get("name").str() == "agent" && near(cluster) && !slices.ContainsFunc(endpoints(cluster), func(address value) bool {
		return address.get("socket_address", "port_value").number() != 15020
	})
}

// ownListener tells of a door that serves Envoy's own statistics and readiness and nothing else.
func (e *exam) ownListener(d *door, routes []leaf) bool {
	var beside string
	for _, l := range routes {
		own, more := e.own(d, l)
		if !own {
			return false
		}
		beside += more
	}
	if len(routes) > 0 {
		e.add("own-listener", d.hcm.get("http_filters"), d.subject, "route %s%s", routes[0].what(), beside)
	}
	return len(routes) > 0
}

// nowhere reports whether a cluster is known to have no endpoint: what is passed on to it is refused.
func (e *exam) nowhere(name string) bool {
	cluster, known := e.config.clusters[name]
	fixed := !cluster.get("type").there() || cluster.get("type").is("STATIC", 0)
	return name != "" && known && fixed && !cluster.get("cluster_type").there() && len(endpoints(cluster)) == 0
}

// marked says which requests a check is asked about that asks only about those that have some metadata: all of them, or those that an RBAC
// filter before it marks, whose rules are known or not. The filters are those before the check, as types and settings.
func (e *exam) marked(matcher value, before []filter) (all, byRules bool) {
	path := matcher.get("path").items()
	if len(path) != 1 || matcher.get("invert").yes() {
		return false, false
	}
	for _, f := range before {
		prefix := f.config.get("shadow_rules_stat_prefix").str()
		rules := f.config.get("shadow_rules")
		if !marks(f, matcher.get("filter").str()) || path[0].get("key").str() != prefix+"shadow_effective_policy_id" || f.disabled {
			continue
		}
		policies := rules.get("policies")
		every, some, others := false, false, false
		for _, name := range policies.keys() {
			if !e.matches(matcher.get("value", "string_match"), name) {
				others = true // which may match first
				continue
			}
			some = true
			every = every || everything(policies.field(name))
		}
		return every && !others, some
	}
	return false, false
}

// marks reports whether a filter is an RBAC filter that writes a namespace.
func marks(f filter, namespace string) bool {
	switch f.kind {
	case "envoy.extensions.filters.http.rbac.v3.RBAC":
		return namespace == "envoy.filters.http.rbac"
	case "envoy.extensions.filters.network.rbac.v3.RBAC":
		return namespace == "envoy.filters.network.rbac"
	}
	return false
}

// everything reports whether an RBAC policy takes every request.
func everything(policy value) bool {
	if policy.get("condition").there() || policy.get("checked_condition").there() {
		return false
	}
	takes := func(list string) bool {
		return slices.ContainsFunc(policy.get(list).items(), func(v value) bool { return takesAll(v) })
	}
	return takes("permissions") && takes("principals")
}

// takesAll reports whether a permission or a principal is `any`, or is made of such.
func takesAll(v value) bool {
	not := func(v value) bool { return !takesAll(v) }
	for _, key := range []string{"and_rules", "and_ids"} {
		for _, list := range []string{"rules", "ids"} {
			if all := v.get(key, list).items(); len(all) > 0 {
				return !slices.ContainsFunc(all, not)
			}
		}
	}
	for _, key := range []string{"or_rules", "or_ids"} {
		for _, list := range []string{"rules", "ids"} {
			if slices.ContainsFunc(v.get(key, list).items(), takesAll) {
				return true
			}
		}
	}
	return v.get("any").yes()
}

// switched examines what decides whether a check takes place at all.
func (e *exam) switched(subject string, c value, before []filter) {
	if c.get("deny_at_disable", "default_value").yes() {
		return
	}
	enabled, metadata := c.get("filter_enabled"), c.get("filter_enabled_metadata")
	e.when(enabled.there(), "check-switchable", enabled, subject)
	if !metadata.there() {
		return
	}
	switch all, byRules := e.marked(metadata, before); {
	case all:
	case byRules:
		e.add("check-by-rules", metadata, subject, "metadata of %s", quoted(metadata.get("filter")))
	default:
		e.add("check-switchable", metadata, subject, "%s is written by nothing before it whose rules can be read here", quoted(metadata.get("filter")))
	}
}
