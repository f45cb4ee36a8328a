package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/pattern"
)

// build makes the tree of a group and reports patterns that meet.
func (g *group) build(spelling pattern.Spelling) {
	var entries []pattern.Entry
	for i, r := range g.sources {
		g.rules = append(g.rules, r.rule)
		for _, p := range r.rule.Patterns {
			entries = append(entries, pattern.Entry{Pattern: p, Rule: i, ExtensionExact: r.extensionExact})
		}
	}
	tree, conflicts := pattern.Build(entries, spelling)
	g.tree = tree
	for _, conflict := range conflicts {
		a, b := entries[conflict.A], entries[conflict.B]
		guilty, other := g.sources[b.Rule], g.sources[a.Rule]
		theirs := a.Pattern
		if guilty.source != other.source {
			if blamed, _ := blame(guilty.source, other.source); blamed == other.source {
				guilty, other, theirs = other, guilty, b.Pattern
			}
		}
		at := guilty.m.Pos("match")
		guilty.ErrorAt(at, conflict.Msg, "the rule `%s` meets `%s` of rule `%s` (%s, line %d)", guilty.rule.Name, theirs, other.rule.Name, other.name, other.rule.Pos.Line)
	}
}

// link builds what spans services: which hosts choose which rules, and which headers an allow removes.
func (c *compiler) link() {
	p := c.policy
	p.hosts, p.suffixes = map[string]*group{}, map[string]*group{}
	c.sharedHosts()
	c.oneSubject()
	p.indexWorkloads()
	built := map[string]*group{}
	for _, s := range p.Services {
		if !s.Edge {
			continue
		}
		for _, host := range s.Hosts {
			suffix, wild := strings.CutPrefix(host, "*")
			if wild {
				p.suffixes[suffix] = c.edgeGroup(p.edgeServices(host), built)
			} else {
				p.hosts[host] = c.edgeGroup(p.edgeServices(host), built)
			}
		}
	}
	names := slices.Sorted(maps.Keys(p.identity))
	for _, s := range p.Services {
		for _, name := range names {
			if !slices.ContainsFunc(s.Headers, func(h Header) bool { return h.Name == name }) {
				s.Strip = append(s.Strip, name)
			}
		}
		s.Strip = append(s.Strip, methodChoosers...)
		s.rules.sources = nil
		if s.probes = s.Probes; s.Edge {
			s.probes = slices.Concat(s.Probes, p.Probes)
		}
	}
	p.Strip = append(names, methodChoosers...)
	public := p.Strip
	for _, s := range p.Services {
		for _, key := range s.stripKeys(public) {
			p.keys[key] = true
			if !slices.Contains(p.Strip, key) {
				p.Strip = append(slices.Clip(p.Strip), key)
			}
		}
	}
	for _, g := range built {
		g.sources = nil
	}
}

// indexWorkloads finds each service by the identities that it runs as.
func (p *Policy) indexWorkloads() {
	p.workloads = map[string][]*Service{}
	for _, s := range p.Services {
		for _, workload := range s.Workloads {
			id := workload.String()
			switch {
			case slices.Contains(workload.segments, "*"):
				if !slices.Contains(p.starred, s) {
					p.starred = append(p.starred, s)
				}
			case !slices.Contains(p.workloads[id], s):
				p.workloads[id] = append(p.workloads[id], s)
			}
		}
	}
}

// edgeServices are the edge services that answer to a host, or to every host of a `*.suffix`, in policy order.
func (p *Policy) edgeServices(host string) []*Service {
	var services []*Service
	for _, s := range p.Services {
		if s.Edge && s.Covers(host) {
			services = append(services, s)
		}
	}
	return services
}

// covers reports whether every host that b stands for is one that a stands for.
func covers(a, b string) bool {
	suffix, wild := strings.CutPrefix(a, "*")
	if !wild || suffix == "" {
		return wild || a == b
	}
	inner, _ := strings.CutPrefix(b, "*")
	return a == b || b != "*" && strings.HasSuffix(inner, suffix) && (len(inner) > len(suffix) || strings.HasPrefix(b, "*"))
}

// maxShared bounds the rules of trees that several edge services share: there is one tree for each set of services, and each holds
// all their rules.
const maxShared = 100_000

// edgeGroup is the tree of some services' rules taken together; equal sets share one.
func (c *compiler) edgeGroup(services []*Service, built map[string]*group) *group {
	if len(services) == 1 {
		return services[0].rules
	}
	var key strings.Builder
	for _, s := range services {
		key.WriteString(s.file + "\x00" + s.Name + "\x00")
	}
	if g := built[key.String()]; g != nil {
		return g
	}
	g := &group{}
	built[key.String()] = g
	for _, s := range services {
		if c.shared += len(s.Rules); c.shared > maxShared {
			c.source(s.file).ErrorAt(s.pos, "give wildcard hosts few rules, or name fewer hosts under them", "the edge services that share hosts have more than %d rules, counted once for each host", maxShared)
			return g
		}
		if s.Spelling != services[0].Spelling {
			c.source(s.file).ErrorAt(s.pos, "give both the same `spelling`", "the service shares a host with `%s`, and their `spelling` differs", services[0].Name)
		}
		g.sources = append(g.sources, s.rules.sources...)
	}
	g.build(services[0].Spelling)
	return g
}

// sharedHosts refuses one host in two services, unless both are edge services: then the host chooses among the rules of both.
func (c *compiler) sharedHosts() {
	type claim struct {
		service *Service
		host    string
	}
	var claims []claim
	for _, s := range c.policy.Services {
		for _, host := range s.Hosts {
			for _, other := range claims {
				if other.service == s || other.service.Edge && s.Edge || !covers(other.host, host) && !covers(host, other.host) {
					continue
				}
				guilty, victim := s, other.service
				if a, b := c.source(s.file), c.source(victim.file); a != b {
					if blamed, _ := blame(a, b); blamed == b {
						guilty, victim = victim, guilty
					}
				}
				c.source(guilty.file).ErrorAt(guilty.pos, "name each host in one service, or write `edge: true` in both", "the host %s is named by service `%s` too", host, victim.Name)
			}
			claims = append(claims, claim{s, host})
		}
	}
}
