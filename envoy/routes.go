package envoy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// virtualHost is one host of Envoy's, or several that are answered alike, and the services behind it.
type virtualHost struct {
	domains  []string
	services []*policy.Service
}

// virtualHosts writes the part of a route configuration that the policy decides.
func (c *compilation) virtualHosts() string {
	w := &writer{}
	if c.For == "sidecar" {
		w.line(12, "virtual_hosts:")
		c.host(w, &virtualHost{domains: []string{"*"}, services: c.services})
		return w.String()
	}
	w.line(12, "# The gate cuts one port off the host before it compares, so does Envoy here.")
	w.line(12, "ignore_port_in_host_matching: true")
	w.line(12, "virtual_hosts:")
	hosts := c.edgeHosts()
	for i := range hosts {
		c.host(w, &hosts[i])
	}
	if !slices.ContainsFunc(hosts, func(h virtualHost) bool { return slices.Contains(h.domains, "*") }) {
		c.nobody(w)
	}
	return w.String()
}

// edgeHosts gathers the hosts that the same services answer to, in the order of the policy.
func (c *compilation) edgeHosts() []virtualHost {
	var hosts []virtualHost
	seen := map[string]bool{}
	for _, service := range c.services {
		for _, host := range service.Hosts {
			if seen[host] {
				continue
			}
			seen[host] = true
			behind := slices.DeleteFunc(slices.Clone(c.services), func(s *policy.Service) bool { return !s.Covers(host) })
			if i := slices.IndexFunc(hosts, func(h virtualHost) bool { return slices.Equal(h.services, behind) }); i >= 0 {
				hosts[i].domains = append(hosts[i].domains, host)
				continue
			}
			hosts = append(hosts, virtualHost{domains: []string{host}, services: behind})
		}
	}
	return hosts
}

// nobody answers for hosts that no service has. The gate is asked all the same, so that its limits by address and its log know of them.
func (c *compilation) nobody(w *writer) {
	w.line(12, "# Hosts that no service answers to: the gate refuses them, and has them in its log.")
	w.line(12, "- name: nobody")
	w.line(12, `  domains: ["*"]`)
	w.line(12, "  typed_per_filter_config:")
	c.perRoute(w, 16, checkSettings{})
	w.line(12, "  routes:")
	probes := c.policy.Probes
	if len(c.policy.Services) == 1 {
		probes = slices.Concat(c.services[0].Probes, probes)
	}
	c.probes(w, probes)
	w.line(12, "  - match: {prefix: /}")
	w.line(12, "    direct_response: {status: 421}")
}

// probes lead to the first service, where the host does not say which is meant.
func (c *compilation) probes(w *writer, probes []policy.Probe) {
	if len(probes) > 0 {
		w.line(14, "# Probes ask for any host.")
	}
	for _, probe := range probes {
		methods := "safe_regex: {regex: \"GET|HEAD\"}"
		if probe.GRPC {
			methods = "exact: POST"
		}
		w.line(14, `- match: {path: %s, headers: [{name: ":method", string_match: {%s}}]}`, strconv.Quote(probe.Path), methods)
		w.line(14, "  route: {cluster: %s, timeout: 5s}", c.cluster(c.services[0]))
	}
}

// host writes one virtual host.
func (c *compilation) host(w *writer, h *virtualHost) {
	sole := h.services[0]
	if len(h.services) > 1 {
		sole = nil
		w.line(12, "# Services that share a host: each rule's route says whose it is, and what no rule covers is nobody's.")
	}
	quotes := make([]string, len(h.domains))
	for i, domain := range h.domains {
		quotes[i] = strconv.Quote(domain)
	}
	name := strings.Join(names(h.services), "+")
	w.line(12, "- name: %s", name)
	w.line(12, "  domains: [%s]", strings.Join(quotes, ", "))
	w.line(12, "  typed_per_filter_config:")
	if slices.ContainsFunc(h.services, func(s *policy.Service) bool { return s.CORS != nil }) {
		w.line(16, "# A preflight from another origin is answered by Envoy, without an Access-Control-Allow-Origin, and asks nobody anything.")
	}
	if sole != nil {
		c.cors(w, 16, sole)
	}
	if sole != nil {
		w.line(16, "# Which service this is: only the operator of this file can say it, the Host header is the client's word.")
	}
	w.line(16, "# Bodies stream through unseen; a route whose rule reads one says so.")
	c.perRoute(w, 16, checkSettings{service: sole})
	w.line(12, "  routes:")
	routes := c.routes(h.services)
	if slices.ContainsFunc(routes, func(r route) bool { return r.body }) {
		w.line(14, "# Where a rule reads the body, Envoy shows the gate what it holds when that is max_request_bytes, and the gate answers 413. Without")
		w.line(14, "# allow_partial_message a longer body hangs instead, wherever a rate limit filter stands before. What Envoy then holds it calls the")
		w.line(14, "# whole, although more may follow, and it counts twice what came while an earlier filter waited: so the gate is told how long a body")
		w.line(14, "# may be (context_extensions), and Envoy asks about no less before the end.")
	}
	for i := range routes {
		c.route(w, &routes[i])
	}
	c.rest(w, sole)
}

// rest is what no route of a rule covers. A single service sees it, if the gate lets it through, which may be a probe or a preflight.
func (c *compilation) rest(w *writer, sole *policy.Service) {
	if sole == nil {
		c.probes(w, c.policy.Probes)
		w.line(14, "# The gate refuses it as well: it is asked before this answers.")
		w.line(14, "- match: {prefix: /}")
		w.line(14, "  direct_response: {status: 404}")
		return
	}
	w.line(14, "- match: {prefix: /}")
	w.line(14, "  # A streaming or upload route needs a route of its own: timeout: 0s, idle_timeout, max_stream_duration.")
	w.line(14, "  route: {cluster: %s, timeout: 15s}", c.cluster(sole))
}

// cluster is where a service's requests go: a sidecar has one app.
func (c *compilation) cluster(s *policy.Service) string {
	if c.For == "sidecar" {
		return "service"
	}
	return clusterOf(s)
}

// listenerBuffer is the reference files' per_connection_buffer_limit_bytes. A body that may be longer needs room on its own route, or it
// hangs, or meets a 413 of Envoy's own.
const listenerBuffer = 65536

// route is one pattern of a rule that needs a route of its own.
type route struct {
	rule    *policy.Rule
	pattern pattern.Pattern
	// shared says that the host's other routes are another service's, so that this one brings what the host says elsewhere.
	shared bool
	body   bool
}

// routes are the patterns that need a route, in the order in which Envoy must try them: those of rules that read a body or hand the
// connection over, those before them that would be taken for one, and on a host of several services all.
func (c *compilation) routes(services []*policy.Service) []route {
	var all []route
	for _, service := range services {
		for _, rule := range service.Rules {
			for _, p := range rule.Patterns {
				all = append(all, route{rule: rule, pattern: p, shared: len(services) > 1, body: rule.ReadsBody()})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b route) int { return a.pattern.Compare(b.pattern) })
	if len(services) > 1 {
		return all
	}
	var needed []route
	for i, r := range all {
		if r.special() || slices.ContainsFunc(all[i+1:], func(later route) bool { return later.special() && r.shadows(&later) }) {
			needed = append(needed, r)
		}
	}
	return needed
}

// special reports whether the rule asks something of Envoy that others do not.
func (r *route) special() bool { return r.body || len(r.rule.Upgrades) > 0 }

// shadows reports whether some request of this pattern's would be taken for the later one's.
func (r *route) shadows(later *route) bool {
	methods := later.pattern.Methods()
	return r.pattern.Overlaps(later.pattern) &&
		slices.ContainsFunc(r.pattern.Methods(), func(method string) bool { return slices.Contains(methods, method) })
}

func (c *compilation) route(w *writer, r *route) {
	service := r.rule.Service
	switch {
	case r.body:
		w.line(14, "# %s reads the body: its requests wait for the whole of it.", r.rule.Name)
	case len(r.rule.Upgrades) > 0:
		w.line(14, "# %s hands the connection over, and nothing is judged after that.", r.rule.Name)
	default:
		w.line(14, "# %s reads no body.", r.rule.Name)
	}
	w.line(14, "- name: %s.%s", service.Name, r.rule.Name)
	w.line(14, "  match: %s", r.match())
	longest := 0
	if r.body {
		longest = c.longest(r.rule)
	}
	if held := c.held(longest); r.body && held > listenerBuffer {
		w.line(14, "  request_body_buffer_limit: %d", held+listenerBuffer)
	}
	w.line(14, "  route: %s", r.action(c.cluster(service)))
	w.line(14, "  typed_per_filter_config:")
	if r.shared {
		c.cors(w, 18, service)
	}
	c.perRoute(w, 18, checkSettings{service: service, longest: longest})
}

// match is the pattern in Envoy's words. Envoy compares the path as it is sent, escapes and all, the gate too.
func (r *route) match() string {
	methods := r.pattern.Methods()
	if r.shared && r.rule.Service.CORS != nil && !slices.Contains(methods, "OPTIONS") {
		methods = append(methods, "OPTIONS") // for the cors filter, which finds its settings by the route
	}
	how := fmt.Sprintf("string_match: {exact: %s}", methods[0])
	if len(methods) > 1 {
		how = fmt.Sprintf("string_match: {safe_regex: {regex: %s}}", strconv.Quote(expressionOf(methods)))
	}
	return fmt.Sprintf(`{%s, headers: [{name: ":method", %s}]}`, pathMatch(r.pattern), how)
}

func expressionOf(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = regexp.QuoteMeta(word)
	}
	return strings.Join(quoted, "|")
}

// pathMatch is a path, a prefix or an expression, the simplest that says exactly what the pattern does.
func pathMatch(p pattern.Pattern) string {
	var plain, expression strings.Builder
	exact := true
	parts := p.Parts()
	for i, part := range parts {
		plain.WriteByte('/')
		expression.WriteByte('/')
		switch part.Kind {
		case pattern.PartLiteral:
			exact = exact && isPlain(part.Text)
			plain.WriteString(part.Text)
			expression.WriteString(escaped(part.Text))
		case pattern.PartSuffixed:
			exact = false
			expression.WriteString("[^/]+" + escaped(part.Text))
		case pattern.PartName:
			exact = false
			expression.WriteString("[^/]+")
		case pattern.PartRest:
			if exact && i == len(parts)-1 {
				return "prefix: " + strconv.Quote(plain.String())
			}
			exact = false
			expression.WriteString(".*")
		}
	}
	if exact {
		return "path: " + strconv.Quote(plain.String())
	}
	return "safe_regex: {regex: " + strconv.Quote(expression.String()) + "}"
}

// pathBytes may stand for themselves in a segment (RFC 3986, pchar, without `;`); the gate refuses a literal that is spelled otherwise.
const pathBytes = "-._~!$&'()*+,=:@"

func standsForItself(b byte) bool {
	return 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9' || strings.IndexByte(pathBytes, b) >= 0
}

func isPlain(s string) bool {
	for i := range len(s) {
		if !standsForItself(s[i]) {
			return false
		}
	}
	return true
}

// escaped is a literal as clients send it: what cannot stand for itself is an escape, whose digits come in either case.
func escaped(literal string) string {
	var out strings.Builder
	for i := range len(literal) {
		b := literal[i]
		if standsForItself(b) {
			out.WriteString(regexp.QuoteMeta(string(b)))
			continue
		}
		out.WriteByte('%')
		for _, digit := range fmt.Sprintf("%02X", b) {
			if digit > '9' {
				fmt.Fprintf(&out, "[%c%c]", digit, digit|0x20)
			} else {
				out.WriteRune(digit)
			}
		}
	}
	return out.String()
}

// action is where the route leads, and for how long.
func (r *route) action(cluster string) string {
	if len(r.rule.Upgrades) == 0 {
		return fmt.Sprintf("{cluster: %s, timeout: 15s}", cluster)
	}
	upgrades := make([]string, len(r.rule.Upgrades))
	for i, upgrade := range r.rule.Upgrades {
		upgrades[i] = "{upgrade_type: " + strconv.Quote(upgrade) + "}"
	}
	longest := ""
	if r.rule.MaxConnection > 0 {
		longest = ", max_stream_duration: {max_stream_duration: " + seconds(r.rule.MaxConnection) + "}"
	}
	return fmt.Sprintf("{cluster: %s, timeout: 0s, idle_timeout: 300s%s, upgrade_configs: [%s]}", cluster, longest, strings.Join(upgrades, ", "))
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }

// longest is how long a body may be that a rule reads: what the rule says, or what was asked for.
func (c *compilation) longest(rule *policy.Rule) int {
	most := c.MaxRequestBytes
	for _, branch := range rule.Branches() {
		if branch.Body != nil && branch.Body.MaxBytes > 0 && branch.Body.MaxBytes < body.MaxBytes {
			most = branch.Body.MaxBytes // all branches of a rule read one kind of body, within the rule's own limits
		}
	}
	return min(most, c.longestOfAll())
}

// held is what Envoy holds of a body before it asks about a part of it: more than may be, so that whatever it asks about before the end is
// too long for the gate. It counts twice what came while an earlier filter waited for its answer, as the edge's limit by address does.
func (c *compilation) held(longest int) int {
	if c.For == "edge" {
		return 2 * (longest + 1)
	}
	return longest + 1
}

// longestOfAll is the longest body of which Envoy can hold enough without sending the gate more than it takes.
func (c *compilation) longestOfAll() int {
	if c.For == "edge" {
		return body.MaxBytes/2 - 1
	}
	return body.MaxBytes - 1
}

// checkSettings are ext_authz's for one route or host.
type checkSettings struct {
	// service is the pin; nil pins none.
	service *policy.Service
	// longest is how long a body may be that the gate sees; 0 shows none.
	longest int
}

func (c *compilation) perRoute(w *writer, indent int, s checkSettings) {
	var context []string
	if s.service != nil {
		context = append(context, "service: "+s.service.Name)
	}
	how := "disable_request_body_buffering: true"
	if s.longest > 0 {
		context = append(context, fmt.Sprintf(`max_request_bytes: "%d"`, s.longest))
		how = fmt.Sprintf("with_request_body: {max_request_bytes: %d, allow_partial_message: true, pack_as_bytes: true}", c.held(s.longest))
	}
	pin := ""
	if len(context) > 0 {
		pin = "context_extensions: {" + strings.Join(context, ", ") + "}, "
	}
	w.line(indent, "envoy.filters.http.ext_authz:")
	w.line(indent, `  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute`)
	w.line(indent, "  check_settings: {%s%s}", pin, how)
}

// cors writes who may call a service from a web page; nothing where nobody may.
func (c *compilation) cors(w *writer, indent int, s *policy.Service) {
	if s.CORS == nil {
		return
	}
	origins := make([]string, len(s.CORS.Origins))
	for i, origin := range s.CORS.Origins {
		origins[i] = originMatch(origin)
	}
	w.line(indent, "envoy.filters.http.cors:")
	w.line(indent, `  "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy`)
	w.line(indent, "  allow_origin_string_match: [%s]", strings.Join(origins, ", "))
	w.line(indent, "  allow_methods: %s", strconv.Quote(strings.Join(s.CORS.Methods, ", ")))
	w.line(indent, "  allow_headers: %s", strconv.Quote(strings.Join(s.CORS.Headers, ", ")))
	if s.CORS.Credentials {
		w.line(indent, "  allow_credentials: true")
	}
	w.line(indent, "  max_age: %q", strconv.Itoa(int(s.CORS.MaxAge/time.Second)))
	w.line(indent, "  forward_not_matching_preflights: false")
}

// originMatch says to Envoy what the policy's origin admits. A domain is an expression, not a suffix: `.example.com` also ends
// https://evil.test/.example.com.
func originMatch(o policy.WebOrigin) string {
	if o.Exact != "" {
		return "{exact: " + strconv.Quote(o.Exact) + "}"
	}
	expression := regexp.QuoteMeta(o.Prefix) + `([a-z0-9-]+\.)+` + regexp.QuoteMeta(strings.TrimPrefix(o.Suffix, "."))
	return "{safe_regex: {regex: " + strconv.Quote(expression) + "}}"
}

// writer writes lines of YAML.
type writer struct{ strings.Builder }

func (w *writer) line(indent int, format string, args ...any) {
	w.WriteString(strings.Repeat(" ", indent))
	fmt.Fprintf(w, format+"\n", args...)
}
