package doctor

import (
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// buffering is what a leaf says of bodies: the settings in force, or none.
type buffering struct {
	at value // with_request_body, of the route or of the filter; not there: bodies pass unseen
}

// buffering is in force by the most specific settings; those that say nothing of bodies leave the filter's own.
func (d *door) buffering(l leaf, check int) buffering {
	own := buffering{at: d.filters[check].config.get("with_request_body")}
	config, ok := d.settled(l, check)
	if !ok {
		return own
	}
	settings := config.get("check_settings")
	switch {
	case settings.get("disable_request_body_buffering").yes():
		return buffering{}
	case settings.get("with_request_body").there():
		return buffering{at: settings.get("with_request_body")}
	}
	return own
}

// limitedBefore reports whether a rate limit filter stands before a check.
func (d *door) limitedBefore(check int) bool {
	for _, f := range d.filters[:check] {
		if f.kind == typeLimit && !f.disabled {
			return true
		}
	}
	return false
}

// body examines the body settings that are in force on a leaf.
func (e *exam) body(d *door, l leaf, check int) {
	b := d.buffering(l, check)
	if !b.at.there() {
		return
	}
	most := b.at.get("max_request_bytes")
	if most.number() > body.MaxBytes {
		e.add("body-too-large", most, d.subject, "%s bytes", most.str())
	}
	own := d.filters[check].config.get("with_request_body")
	e.when(!own.get("pack_as_bytes").yes(), "body-not-bytes", own.get("pack_as_bytes"), d.subject)
	e.when(d.limitedBefore(check) && !b.at.get("allow_partial_message").yes(), "body-hangs", b.at, d.subject)
	match := l.route.get("match")
	if everything := match.get("prefix").str(); everything == "/" || everything == "" && match.get("prefix").there() {
		e.add("body-everywhere", b.at, d.subject, "route %s", l.what())
	}
	if why := streams(l); why != "" {
		e.add("body-on-stream", b.at, d.subject, "route %s %s", l.what(), why)
	}
}

// streams says why a route looks like one for streams.
func streams(l leaf) string {
	timeout, ok := l.action.get("timeout").duration()
	switch {
	case ok && timeout == 0:
		return "has no timeout"
	case l.action.get("max_stream_duration").there():
		return "has a max_stream_duration"
	case len(l.action.get("upgrade_configs").items()) > 0:
		return "has upgrades"
	}
	return ""
}

// bodiesOfRules holds the routes to the rules of the policy: who reads a body must be sent it, and a stream must not be waited for.
func (e *exam) bodiesOfRules(d *door, routes []leaf) {
	if e.policy == nil {
		return
	}
	for _, service := range e.policy.Services {
		for _, rule := range service.Rules {
			for _, ask := range samples(rule) {
				e.bodyOfRule(d, routes, rule, ask)
			}
		}
	}
}

// sample is a request that a rule takes.
type sample struct {
	method, path string
	grpc         bool // the pattern is a gRPC method
}

// samples are a request for each pattern and method of a rule. Names stand for one text each, so a route for one value of a name is
// taken for another's.
func samples(rule *policy.Rule) []sample {
	var all []sample
	for _, p := range rule.Patterns {
		path := p.String()
		_, after, spaced := strings.Cut(path, " ")
		if spaced {
			path = after
		}
		for _, method := range p.Methods() {
			all = append(all, sample{method: method, path: filled(path), grpc: !spaced})
		}
	}
	return all
}

// filled writes a text for each name of a pattern.
func filled(path string) string {
	var b strings.Builder
	for {
		before, rest, name := strings.Cut(path, "{")
		b.WriteString(before)
		if !name {
			return b.String()
		}
		inner, after, _ := strings.Cut(rest, "}")
		if inner != "$" {
			b.WriteString("x")
		}
		path = after
	}
}

// bodyOfRule looks at the routes that a request can take, in Envoy's order: those that may take it, and the first that does.
func (e *exam) bodyOfRule(d *door, routes []leaf, rule *policy.Rule, ask sample) {
	reads := rule.Body != nil
	streams := ask.grpc && !reads || len(rule.Upgrades) > 0 || rule.MaxConnection > 0
	if !reads && !streams {
		return
	}
	var host *node
	over := false
	for _, l := range routes {
		if l.host.n != host {
			host, over = l.host.n, false
		}
		check, _ := d.asked(l)
		if over || !e.serves(d, l, max(check, d.check), rule.Service) {
			continue
		}
		answer := e.taken(l.route.get("match"), ask.method, ask.path)
		if answer == no {
			continue
		}
		over = answer == yes && len(l.scopes) == 3 // a weighted route's other clusters still follow
		if check < 0 {
			continue
		}
		switch sent := d.buffering(l, check).at; {
		case reads && !sent.there():
			e.add("body-unread", l.route, d.subject, "rule %s of %s, %s %s, by route %s", rule.Name, rule.Service.Name, ask.method, ask.path, l.what())
		case streams && sent.there():
			e.add("body-on-stream", sent, d.subject, "rule %s of %s takes it for a stream", rule.Name, rule.Service.Name)
		}
	}
}

// serves reports whether a leaf can be asked for a service: it names it, or it names none and its hosts are the service's.
func (e *exam) serves(d *door, l leaf, check int, service *policy.Service) bool {
	if name, at := d.service(l, check); at.there() {
		return name == service.Name || name == redacted && len(e.policy.Services) == 1
	}
	if service.Edge {
		return e.hosted(l.host, service)
	}
	// The gate may be told the service by its flag, or by the workload that asks. Where hosts choose, it is not.
	for _, other := range e.policy.Services {
		if other.Edge {
			return false
		}
	}
	return e.hosted(l.host, service)
}
