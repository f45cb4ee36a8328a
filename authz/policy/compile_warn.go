package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

const (
	// maxWarnings bounds what is told of one policy: more than that is one mistake, made often.
	maxWarnings = 100
	// maxCompared bounds how many pairs of callers are compared to find rules that admit nobody. What lies beyond is not doubted.
	maxCompared = 10_000_000
)

// warn notes a doubt about a place of a file, which does not keep the policy from loading.
func (c *compiler) warn(src *source, at strictyaml.Pos, hint, format string, args ...any) {
	if len(c.warnings) >= maxWarnings {
		return
	}
	d := strictyaml.NewDecoder(src.doc)
	d.ErrorAt(at, hint, format, args...)
	c.warnings = append(c.warnings, d.Errors()...)
}

// doubts warns of what loads and cannot be meant: rules that nothing reaches, rules that let nobody pass, exceptions that except nothing,
// scopes that are granted and lookups that are kept in vain. It says only what can be proved.
func (c *compiler) doubts() {
	if len(c.errors()) > 0 {
		return // what is half read proves nothing
	}
	for _, s := range c.policy.Services {
		c.undescribed(s)
		entry := 0
		for _, r := range s.rules.sources {
			c.unreached(s, r, entry)
			entry += len(r.rule.Patterns)
			c.vainExceptions(s, r)
			c.unheldCaptures(r)
			c.bodiless(r)
			c.mergedParams(r)
			c.mixedFields(r)
			c.disjointOrigins(r)
			for _, b := range r.branches() {
				c.disjointCallers(b)
				c.disjointClients(b)
				c.ownerless(b)
				c.oneByOne(b)
			}
		}
	}
	if !c.partial {
		c.unusedScopes()
		c.unusedLookups()
	}
}

// unheldCaptures warns of names that a rule captures and holds to nothing, although it holds another to an owner: whoever owns the order in
// /users/{user_id}/orders/{order_id} could still be asked for it under another's name.
func (c *compiler) unheldCaptures(r *ruleSource) {
	held := false
	for _, b := range r.branches() {
		held = held || b.rule.Owner != nil
	}
	for _, name := range r.captures() {
		rest := slices.ContainsFunc(r.rule.Patterns, func(p pattern.Pattern) bool { n, ok := p.Rest(); return ok && n == name })
		if held && !rest && !r.mayRead(name) {
			c.warn(r.source, r.m.Pos("match"), "hold it too: `agrees`, `tenant`, a `condition`, or a text of both in `of`",
				"the rule captures `%s` and holds it to nothing: it owns one id and lets the other be anybody's", name)
		}
	}
}

// bodiless warns of a rule that reads a body of requests which clients send without one (RFC 9110 sections 9.3.1 and 9.3.2).
func (c *compiler) bodiless(r *ruleSource) {
	if !r.rule.ReadsBody() {
		return
	}
	for _, p := range r.rule.Patterns {
		if slices.ContainsFunc(p.Methods(), func(method string) bool { return method != "GET" && method != "HEAD" }) {
			return
		}
	}
	c.warn(r.source, r.m.Pos("match"), "match POST, or read the path or the query", "the rule reads a body, and clients send GET and HEAD without one: nobody will pass")
}

// mergedParams warns of declared query parameters of which requests are refused for a body that nobody reads: many upstreams merge its fields
// into the query, and a type alone says that there may be one.
func (c *compiler) mergedParams(r *ruleSource) {
	b := r.branches()[0].rule
	i := slices.IndexFunc(b.Params, func(p Param) bool { return p.Described == nil && p.Ref.Source == SourceQuery })
	if i < 0 || b.SeparateBody || r.rule.ReadsBody() {
		return
	}
	const hint = "write `body_parameters: separate` if the upstream never merges a body's fields into the query"
	name := b.Params[i].Name()
	for _, p := range r.rule.Patterns {
		if slices.ContainsFunc(p.Methods(), func(m string) bool { return m == "POST" || m == "PUT" || m == "PATCH" }) {
			c.warn(r.source, r.m.Pos("params"), hint,
				"a body could hold %s too: `%s` is refused with a form, a JSON document, or no `content-type`, unless `content-length: 0` says that it has no body", name, p)
			return
		}
	}
	c.warn(r.source, r.m.Pos("params"), hint, "a body could hold %s too: clients that always send `content-type: application/json` are refused", name)
}

// mixedFields warns of fields that are a list to one pattern of `writable` and an object to another.
func (c *compiler) mixedFields(r *ruleSource) {
	w := r.branches()[0].rule.Writable
	if w == nil {
		return
	}
	for _, place := range w.Mixed() {
		c.warn(r.source, r.m.Pos("writable"), "keep the patterns of what it is", "`%s` is a list to one pattern and an object to another, and a body can write one of them only", place)
	}
}

// oneByOne warns of a list whose ids are asked about one after another, which is slow and can be made so by whoever writes the list.
func (c *compiler) oneByOne(b *ruleSource) {
	owner := b.rule.Owner
	if owner != nil && owner.Of.List() && owner.Lookup != nil && owner.Lookup.HTTP != nil && owner.Lookup.HTTP.Batch == "" {
		c.warn(b.source, b.m.Pos("owner"), "write `batch: URL` at the lookup",
			"the rule reads a list, and the lookup `%s` asks for one id at a time: a long list is answered by 503", owner.Lookup.Name)
	}
}

// branches are a rule's, or the rule alone.
func (r *ruleSource) branches() []*ruleSource {
	if r.rule.Either == nil {
		return []*ruleSource{r}
	}
	var all []*ruleSource
	for i, item := range r.List(r.m.Get("either")) {
		all = append(all, &ruleSource{source: r.source, n: item, m: r.OpenMap(item), rule: r.rule.Either[i], service: r.service})
	}
	return all
}

// unreached warns of patterns for which others answer. entry is the place of the rule's first pattern in its service's tree.
func (c *compiler) unreached(s *Service, r *ruleSource, entry int) {
	items := []*strictyaml.Node{r.m.Get("match")}
	if items[0].Kind() == strictyaml.List {
		items = r.List(items[0])
	}
	for i, p := range r.rule.Patterns {
		if s.rules.tree.Taken(entry + i) {
			c.warn(r.source, items[i].Pos(), "leave it out", "no request reaches `%s`: more specific patterns take every path below it", p)
			continue
		}
		for _, except := range r.rule.Except {
			if except.CoversAll(p, s.Spelling) {
				c.warn(r.source, items[i].Pos(), "except less, or leave the pattern out", "no request reaches `%s`: `except` takes %s from it, and that is all of it", p, except)
				break
			}
		}
		probes := s.Probes
		if s.Edge {
			probes = c.policy.Probes // a host alone does not choose the service's own
		}
		if path, ok := p.Path(); ok && probed(probes, p.Methods(), path) {
			c.warn(r.source, items[i].Pos(), "take the path out of `probes`, or out of the rule",
				"the probe %s answers first: of `%s`, only requests with a query reach the rule", path, p)
		}
	}
}

// probed reports whether probes answer a path by every method.
func probed(probes []Probe, methods []string, path string) bool {
	for _, method := range methods {
		if !slices.ContainsFunc(probes, func(p Probe) bool { return p.Admits(method, path) }) {
			return false
		}
	}
	return true
}

// vainExceptions warns of exceptions that take nothing away: whoever wrote them thinks that something is shut.
func (c *compiler) vainExceptions(s *Service, r *ruleSource) {
	items := r.List(r.m.Get("except"))
	for i, except := range r.rule.Except {
		if len(r.rule.Patterns) == 0 {
			return
		}
		vain := true
		for _, p := range r.rule.Patterns {
			vain = vain && except.Misses(p, s.Spelling)
		}
		if vain {
			c.warn(r.source, items[i].Pos(), "write the whole path, as it stands in `match`", "no pattern of the rule covers %s, so that nothing is excepted by it", except)
		}
	}
}

// overlap reports whether somebody is of both lists. In doubt, and when too much was compared already, somebody is.
func (c *compiler) overlap(a, b []CallerPattern) bool {
	if c.compared += len(a) * len(b); c.compared > maxCompared {
		return true
	}
	return slices.ContainsFunc(a, func(x CallerPattern) bool { return slices.ContainsFunc(b, x.Overlaps) })
}

// disjointCallers warns of a rule whose callers the service does not admit: both are demanded.
func (c *compiler) disjointCallers(r *ruleSource) {
	own, service := r.rule.Callers, r.rule.Service.Callers
	if len(own) > 0 && len(service) > 0 && !r.rule.AnyCaller && !c.overlap(own, service) {
		c.warn(r.source, r.m.Pos("callers"), "both are demanded: name them in the service's `callers` too",
			"nobody can be allowed: none of the rule's callers is one of the service's")
	}
}

// disjointClients warns of applications that may come only from workloads that the rule does not admit.
func (c *compiler) disjointClients(r *ruleSource) {
	clients := r.OpenMap(r.m.Get("clients"))
	for _, key := range clients.Keys() {
		workloads := r.rule.Clients[key]
		whose := ""
		switch own, service := r.rule.Callers, r.rule.Service.Callers; {
		case len(own) > 0 && !c.overlap(workloads, own):
			whose = "rule"
		case len(service) > 0 && !c.overlap(workloads, service):
			whose = "service"
		default:
			continue
		}
		c.warn(r.source, clients.Pos(key), "name its workload in `callers` too", "no token of client %q can be allowed: none of its workloads is one of the %s's callers", key, whose)
	}
}

// ownerless warns of a lookup that is written in the policy and knows no owner in the relation that the rule asks for.
func (c *compiler) ownerless(r *ruleSource) {
	owner := r.rule.Owner
	if owner == nil || owner.Lookup == nil || owner.Lookup.Static == nil {
		return
	}
	var relations []string
	for _, object := range owner.Lookup.Static.Owners {
		for relation, owners := range object {
			if len(owners) == 0 {
				continue
			}
			if relation == owner.Relation {
				return
			}
			if !slices.Contains(relations, relation) {
				relations = append(relations, relation)
			}
		}
	}
	m := r.OpenMap(r.m.Get("owner"))
	if owner.Relation == "" {
		c.warn(r.source, m.Pos("lookup"), "write `o-1: alice` into it, or name a `relation`", "no object of the lookup `%s` has an owner", owner.Lookup.Name)
		return
	}
	slices.Sort(relations)
	relations = slices.DeleteFunc(relations, func(s string) bool { return s == "" })
	c.warn(r.source, m.Pos("relation"), strictyaml.Suggest(owner.Relation, relations), "no object of the lookup `%s` has a `%s`", owner.Lookup.Name, owner.Relation)
}

// twice warns of a probe that an earlier one answers for.
func (c *compiler) twice(src *source, n *strictyaml.Node, probes []Probe, probe Probe) {
	if slices.ContainsFunc(probes, func(p Probe) bool { return p.Path == probe.Path }) {
		c.warn(src, n.Pos(), "leave one out", "the probe %s stands here twice, and the first answers", probe.Path)
	}
}

// granted reads the scopes that an issuer says it grants: those that rules may demand of its tokens.
func granted(src *source, m *strictyaml.Mapping, key string) []string {
	n := m.Get(key)
	list := texts(src, m, key, nil)
	if n.Kind() == strictyaml.List && len(src.List(n)) == 0 {
		src.Errorf(n, "leave it out, or name what is granted", "an issuer that grants no scope lets no rule demand one")
	}
	for i, item := range list {
		if !validScope(item) {
			src.Errorf(src.List(n)[i], "one scope an entry (RFC 6749 section 3.3)", "%q cannot be a scope", item)
		}
	}
	return list
}

// validScope is the alphabet of a scope-token, RFC 6749 section 3.3.
func validScope(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == '"' || c == '\\' || c > '~' })
}

// grants refuses a scope that the issuer says it does not grant: it would be a misspelling, and nobody would ever pass.
func (r *ruleSource) grants(n *strictyaml.Node, list []string) {
	issuer := r.rule.Issuer
	if issuer == nil || issuer.Granted == nil {
		return
	}
	for i, item := range list {
		if !slices.Contains(issuer.Granted, item) {
			r.Errorf(r.List(n)[i], strictyaml.Suggest(item, issuer.Granted), "issuer `%s` grants no scope %q", issuer.Name, item)
		}
	}
}

// unusedScopes warns of scopes that an issuer grants and no rule of its tokens demands, in a list or in an expression.
func (c *compiler) unusedScopes() {
	for name, src := range c.issuerFiles {
		issuer := c.policy.Issuers[name]
		m := src.OpenMap(src.OpenMap(src.root.Get("issuers")).Get(name))
		n := m.Get("scopes")
		if n.Kind() == strictyaml.Map {
			n = src.OpenMap(n).Get("granted")
		}
		for i, item := range issuer.Granted {
			if !c.demanded(issuer, item) && !mentions(m.Get("machine"), item) {
				c.warn(src, src.List(n)[i].Pos(), "write the rule that demands it, or leave it out", "no rule demands the scope %q, which issuer `%s` grants", item, name)
			}
		}
	}
}

// unusedLookups warns of lookups that no rule asks.
func (c *compiler) unusedLookups() {
	asked := map[*Lookup]bool{}
	for _, s := range c.policy.Services {
		for _, r := range s.Rules {
			for _, b := range append([]*Rule{r}, r.Either...) {
				if b.Owner != nil {
					asked[b.Owner.Lookup] = true
				}
			}
		}
	}
	for name, src := range c.lookupFiles {
		if !asked[c.policy.Lookups[name]] {
			c.warn(src, src.OpenMap(src.root.Get("lookups")).Pos(name), "name it in a rule's `owner`, or leave it out", "no rule asks the lookup `%s`", name)
		}
	}
}

// demanded reports whether a rule asks tokens of an issuer for a scope.
func (c *compiler) demanded(issuer *Issuer, item string) bool {
	return slices.ContainsFunc(c.policy.Services, func(s *Service) bool {
		return slices.ContainsFunc(s.Rules, func(r *Rule) bool {
			return r.demands(issuer, item) || slices.ContainsFunc(r.Either, func(b *Rule) bool { return b.demands(issuer, item) })
		})
	})
}

func (r *Rule) demands(issuer *Issuer, item string) bool {
	return r.Issuer == issuer && (slices.Contains(r.Scopes, item) || slices.Contains(r.AnyScope, item) || strings.Contains(r.ConditionText, item) ||
		r.Owner != nil && strings.Contains(r.Owner.UnlessText, item))
}
