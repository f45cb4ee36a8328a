package doctor

import (
	"slices"
	"strconv"
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

// waiting are filters that hold a request back until somebody else answers: a service, a store, their own program or a clock.
var waiting = []string{
	"ratelimit", "ext_authz", "jwt_authn", "gcp_authn", "credential_injector", "oauth2", "ext_proc", "lua", "wasm", "golang", "dynamic_modules", "composite",
}

// waitsBefore reports whether a filter that can hold the requests of a leaf back stands before a check.
func (d *door) waitsBefore(l leaf, check int) bool {
	for _, f := range d.filters[:check] {
		switch {
		case d.switchedOff(l, f).yes():
		case slices.Contains(waiting, f.short()), f.short() == "fault" && delays(l, f):
			return true
		}
	}
	return false
}

// delays reports whether a fault filter says of a leaf, anywhere, that requests are delayed.
func delays(l leaf, f filter) bool {
	own := func(o override) bool { return o.config.get("delay").there() }
	return f.config.get("delay").there() || slices.ContainsFunc(l.overrides(f.name), own)
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
	e.bodyPart(d, l, check, b)
	match := l.route.get("match")
	if everything := match.get("prefix").str(); everything == "/" || everything == "" && match.get("prefix").there() {
		e.add("body-everywhere", b.at, d.subject, "route %s", l.what())
	}
	if why := streams(l); why != "" {
		e.add("body-on-stream", b.at, d.subject, "route %s %s", l.what(), why)
	}
}

// bodyPart holds what the gate is told of the longest body to what Envoy holds before it asks about a part. What comes while an earlier
// filter waits counts twice in Envoy 1.40.
func (e *exam) bodyPart(d *door, l leaf, check int, b buffering) {
	text, at := d.extension(l, check, "max_request_bytes")
	if !at.there() || text == redacted || !b.at.get("allow_partial_message").yes() {
		return // without it the gate takes only bodies that declare their length
	}
	taken, err := strconv.ParseUint(text, 10, 32)
	counted := taken
	if d.waitsBefore(l, check) {
		counted = 2*taken + 1
	}
	if err != nil || counted >= b.at.get("max_request_bytes").number() {
		e.add("body-part", at, d.subject, "%s bytes, and Envoy holds %s", text, b.at.get("max_request_bytes").str())
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

// way is a leaf as the rules of a policy see it: whom it is for, and what of a body is sent.
type way struct {
	leaf
	taker  taker
	check  int // -1: nobody is asked
	sent   value
	most   uint64 // bytes of a body that is sent and taken
	pin    string
	pinned bool
}

func (e *exam) ways(d *door, routes []leaf) []way {
	all := make([]way, len(routes))
	for i, l := range routes {
		w := way{leaf: l, taker: e.taker(l.route.get("match"))}
		w.check, _ = d.asked(l)
		if w.check >= 0 {
			w.sent = d.buffering(l, w.check).at
			w.most = d.longest(l, w.check, w.sent)
		}
		pin, at := d.service(l, max(w.check, d.check))
		w.pin, w.pinned = pin, at.there()
		all[i] = w
	}
	return all
}

// longest is the longest body that passes on a leaf, in bytes: what Envoy holds, or less if the gate is told so.
func (d *door) longest(l leaf, check int, sent value) uint64 {
	most := sent.get("max_request_bytes").number()
	text, told := d.extension(l, check, "max_request_bytes")
	if taken, err := strconv.ParseUint(text, 10, 32); told.there() && err == nil {
		most = min(most, taken)
	}
	return most
}

// longestOf is the longest body that a rule says it takes; 0 where it does not say.
func longestOf(rule *policy.Rule) uint64 {
	longest := 0
	for _, r := range slices.Concat([]*policy.Rule{rule}, rule.Either) {
		if r.Body != nil {
			longest = max(longest, r.Body.MaxBytes)
		}
	}
	return uint64(longest)
}

// bodiesOfRules holds the routes to the rules of the policy: who reads a body must be sent it, and a stream must not be waited for.
func (e *exam) bodiesOfRules(d *door, routes []leaf) {
	if e.policy == nil {
		return
	}
	ways := e.ways(d, routes)
	for _, service := range e.policy.Services {
		for _, rule := range service.Rules {
			for _, ask := range samples(rule) {
				e.bodyOfRule(d, ways, rule, ask)
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
func (e *exam) bodyOfRule(d *door, ways []way, rule *policy.Rule, ask sample) {
	reads := rule.ReadsBody()
	streams := ask.grpc && !reads || len(rule.Upgrades) > 0 || rule.MaxConnection > 0
	if !reads && !streams {
		return
	}
	var host, taken *node
	for _, w := range ways {
		if w.host.n != host {
			host, taken = w.host.n, nil
		}
		if taken != nil && taken != w.route.n {
			continue // but for the other clusters of the route that takes it
		}
		answer := w.taker.takes(ask.method, ask.path)
		if answer == no || !e.serves(w, rule.Service) {
			continue
		}
		if answer == yes {
			taken = w.route.n
		}
		switch {
		case w.check < 0: // told already
		case reads && !w.sent.there():
			e.add("body-unread", w.route, d.subject, "rule %s of %s, %s %s, by route %s", rule.Name, rule.Service.Name, ask.method, ask.path, w.what())
		case reads && longestOf(rule) > w.most:
			e.add("body-cut", w.sent.get("max_request_bytes"), d.subject, "rule %s of %s takes %d bytes, and %d pass", rule.Name, rule.Service.Name, longestOf(rule), w.most)
		case streams && w.sent.there():
			e.add("body-on-stream", w.sent, d.subject, "rule %s of %s takes it for a stream", rule.Name, rule.Service.Name)
		}
	}
}

// serves reports whether a way can be for a service: it names it, or it names none and its hosts are the service's.
func (e *exam) serves(w way, service *policy.Service) bool {
	if w.pinned {
		return w.pin == service.Name || w.pin == redacted && len(e.policy.Services) == 1
	}
	// Without a name the gate may be told the service by its flag, or by the workload that asks; where hosts choose, it is not.
	byHost := slices.ContainsFunc(e.policy.Services, func(s *policy.Service) bool { return s.Edge })
	return service.Edge == byHost && e.hosted(w.host, service)
}
