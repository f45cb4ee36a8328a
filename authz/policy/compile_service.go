package policy

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/target"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var serviceKeys = []string{
	"name", "hosts", "kubernetes", "edge", "workloads", "callers", "audience", "headers", "probes", "spelling", "tenant", "descriptors", "shadow", "cors", "security_headers", "rules", "from", "not_from", "client_key", "openapi",
}

// methodChoosers are headers by which clients ask a forgiving upstream for another method or path than the one that was judged.
var methodChoosers = []string{
	"x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-original-uri", "x-original-path",
	"x-original-method", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-method",
}

// Chooser reports whether name, in any spelling of its dashes, is a header by which clients ask for another method or path.
func Chooser(name string) bool {
	return slices.Contains(methodChoosers, strings.ReplaceAll(name, "_", "-"))
}

func (c *compiler) services(src *source) {
	for _, n := range src.List(src.root.Get("services")) {
		m := src.Map(n, slices.Concat(serviceKeys, laterSvc)...)
		later(src, m, laterSvc)
		s := &Service{pos: n.Pos(), file: src.name}
		if node := src.Require(m, "name", "write `name: orders`"); node != nil {
			s.Name = name(src, node, "a service")
		}
		if s.Name == "none" {
			src.Errorf(m.Get("name"), "give it another name", "`none` is what metadata calls the lack of a service")
		}
		c.serviceName(src, n, s)
		s.Edge = flag(src, m, "edge")
		s.Hosts = c.hosts(src, n, m)
		if node := m.Get("workloads"); node != nil {
			s.Workloads = c.callers(src, node)
		}
		if node := m.Get("callers"); node != nil {
			s.Callers = c.callers(src, node)
		}
		s.Origin = c.origin(src, m)
		if node := m.Get("client_key"); node != nil {
			s.ClientKey = c.clientKey(src, node)
		}
		s.Audience = optionalText(src, m, "audience", "")
		s.Spelling = spelling(src, m.Get("spelling"))
		s.Probes = c.probes(src, m.Get("probes"))
		s.tenant = m.Get("tenant")
		s.Shadow = c.shadow(src, m.Get("shadow"))
		c.descriptors(src, m, s)
		s.description = c.describedBy(src, m.Get("openapi"))
		c.rules(src, n, m, s)
		c.audience(src, m, n, s)
		s.Headers = c.headers(src, m.Get("headers"), s)
		clientHeaders(src, m.Get("headers"), s)
		s.CORS = c.cors(src, m.Get("cors"), s)
		securityHeaders(src, m.Get("security_headers"), s)
		c.policy.Services = append(c.policy.Services, s)
		s.rules.build(s.Spelling)
	}
}

// descriptors finds the descriptor set that a service names.
func (c *compiler) descriptors(src *source, m *strictyaml.Mapping, s *Service) {
	s.descriptorsNode = m.Get("descriptors")
	name := optionalText(src, m, "descriptors", "")
	if name == "" {
		return
	}
	if blob := c.blobs[name]; blob != nil && blob.networks == nil {
		s.descriptors = blob.data
		return
	}
	src.Errorf(s.descriptorsNode, "put it beside the policy files: buf build -o orders"+BlobSuffix, "there is no descriptor set `%s` beside this file (its name ends in %s)", name, BlobSuffix)
}

func (c *compiler) serviceName(src *source, n *strictyaml.Node, s *Service) {
	other := c.policy.byName[s.Name]
	if other == nil {
		c.policy.byName[s.Name] = s
		return
	}
	guilty, at := src, n.Pos()
	if other.file != src.name {
		otherSource := c.source(other.file)
		if guilty, _ = blame(src, otherSource); guilty == otherSource {
			at = other.pos
		}
	}
	guilty.ErrorAt(at, "give it another name", "a second service is named `%s`", s.Name)
}

func (c *compiler) source(name string) *source {
	for _, src := range c.sources {
		if src.name == name {
			return src
		}
	}
	return nil
}

func (c *compiler) hosts(src *source, at *strictyaml.Node, m *strictyaml.Mapping) []string {
	hosts := texts(src, m, "hosts", nil)
	items := src.List(m.Get("hosts"))
	for i, host := range hosts {
		bare := strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
		if host == "*" || host == "" {
			continue
		}
		folded, err := target.ParseHost(bare)
		if err != nil || folded != bare || strings.HasPrefix(host, "*") && !strings.HasPrefix(host, "*.") {
			src.Errorf(items[i], "write orders.example.com, *.example.com or *, lower case, without a port or a final dot", "%q is no host", host)
		}
	}
	if n := m.Get("kubernetes"); n != nil {
		text, _ := src.Text(n)
		namespace, service, ok := strings.Cut(text, "/")
		if !ok || !validName(namespace) || !validName(service) {
			src.Errorf(n, "write namespace/service", "%q is no Kubernetes service", text)
		}
		hosts = append(hosts, service, service+"."+namespace, service+"."+namespace+".svc", service+"."+namespace+".svc."+c.clusterDomain)
	}
	if len(hosts) == 0 {
		src.Errorf(at, "write `hosts: [orders.example.com]`, or `hosts: [\"*\"]` for any", "the service does not say its `hosts`")
	}
	return hosts
}

func spelling(src *source, n *strictyaml.Node) pattern.Spelling {
	if n == nil {
		return pattern.Forgiving
	}
	text, ok := src.Text(n)
	switch {
	case text == "exact":
		return pattern.Exact
	case ok:
		src.Errorf(n, "write `exact`, or leave it out for an upstream that may fold case, final slashes or extensions", "spelling cannot be %q", text)
	}
	return pattern.Forgiving
}

// grpcProbe is the one gRPC method that a kubelet or an Envoy asks (gRPC health checking protocol).
const grpcProbe = "/grpc.health.v1.Health/Check"

func (c *compiler) probes(src *source, n *strictyaml.Node) []Probe {
	var probes []Probe
	for _, item := range src.List(n) {
		var probe Probe
		at := item
		if item.Kind() == strictyaml.Map {
			m := src.Map(item, "path", "callers")
			if at = src.Require(m, "path", "write `path: /healthz`"); at == nil {
				continue
			}
			if node := m.Get("callers"); node != nil {
				probe.Callers = c.callers(src, node)
			}
		}
		text, ok := src.Text(at)
		if !ok {
			continue
		}
		if parsed, err := target.Parse("GET", "probe", text); err != nil || parsed.HasQuery {
			src.Errorf(at, "write an exact path such as /healthz", "%q can be no probe's path", text)
		}
		if probe.Path, probe.GRPC = text, text == grpcProbe; !probe.GRPC && strings.HasPrefix(text, "/grpc.") {
			src.Errorf(at, "write "+grpcProbe, "%q is no probe of gRPC", text)
		}
		for _, caller := range probe.Callers {
			for _, gateway := range c.policy.Gateways {
				if caller.Overlaps(gateway) {
					src.Errorf(item, "name the workloads exactly", "%s could be the gateway %s, which carries other people's requests", caller, gateway)
				}
			}
		}
		c.twice(src, at, probes, probe)
		probes = append(probes, probe)
	}
	return probes
}

// audience holds a service to one audience wherever one of its issuers has several.
func (c *compiler) audience(src *source, m *strictyaml.Mapping, at *strictyaml.Node, s *Service) {
	for _, issuer := range s.issuers() {
		switch {
		case s.Audience == "" && len(issuer.Audiences) > 1:
			src.Errorf(at, "write `audience: "+issuer.Audiences[0]+"`", "issuer `%s` has several audiences and the service does not say which it is", issuer.Name)
		case s.Audience != "" && !slices.Contains(issuer.Audiences, s.Audience):
			src.Errorf(m.Get("audience"), "choose from "+strings.Join(issuer.Audiences, ", "), "issuer `%s` has no audience %q", issuer.Name, s.Audience)
		}
	}
}

// issuers whose tokens can reach the service, in rule order.
func (s *Service) issuers() []*Issuer {
	var issuers []*Issuer
	for _, rule := range s.Rules {
		issuers = rule.addIssuers(issuers)
	}
	return issuers
}

// addIssuers adds those whose tokens the rule takes.
func (r *Rule) addIssuers(issuers []*Issuer) []*Issuer {
	if r.Issuer != nil && !slices.Contains(issuers, r.Issuer) {
		issuers = append(issuers, r.Issuer)
	}
	for _, branch := range r.Either {
		issuers = branch.addIssuers(issuers)
	}
	return issuers
}

func (c *compiler) headers(src *source, n *strictyaml.Node, s *Service) []Header {
	var headers []Header
	all := src.OpenMap(n)
	for _, key := range all.Keys() {
		item := all.Get(key)
		header := Header{Name: strings.ToLower(key)}
		switch why, bad := headerval.Forbidden(header.Name); {
		case bad:
			src.Errorf(item, "choose another name", "a header named %q cannot be set: %s", key, why)
		case !headerval.ValidName(header.Name) || strings.Contains(header.Name, "_"):
			src.Errorf(item, "use letters, digits and -", "%q is no header name that every upstream reads alike", key)
		case slices.ContainsFunc(headers, func(h Header) bool { return h.Name == header.Name }):
			src.Errorf(item, "remove one", "the header %q is set twice", key)
		}
		value := item
		if item.Kind() == strictyaml.Map {
			value = headerForm(src, item, &header)
		}
		text, ok := src.Text(value)
		if !ok {
			continue
		}
		kind := condition.String
		if header.Encoding == EncodeJoin {
			kind = condition.Strings
		}
		header.Value, ok = c.value(src, value, s.issuers(), text, kind)
		if header.Value.Kind == ValueClient && !slices.ContainsFunc(s.Rules, (*Rule).demandsClientKey) {
			src.Errorf(value, "write `client_key:` into the service", "no rule of the service demands an API key, so `client` is never set")
		}
		if ok && header.Value.Kind == ValueClaim {
			c.headerClaim(src, value, s, header)
		}
		headers = append(headers, header)
		c.policy.identity[header.Name] = true
	}
	return headers
}

func headerForm(src *source, n *strictyaml.Node, header *Header) *strictyaml.Node {
	m := src.Map(n, "from", "encode", "join")
	if join := m.Get("join"); join != nil {
		header.Encoding = EncodeJoin
		header.Separator, _ = src.Text(join)
		if header.Separator == "" || !headerval.ValidSeparator(header.Separator) {
			src.Errorf(join, "write join: \",\" or another visible separator", "not a separator")
		}
	}
	if encode := m.Get("encode"); encode != nil {
		switch text, ok := src.Text(encode); {
		case header.Encoding == EncodeJoin:
			src.Errorf(encode, "remove one", "a list is joined or a text is encoded, not both")
		case text == "percent":
			header.Encoding = EncodePercent
		case ok:
			src.Errorf(encode, "write percent", "there is no encoding %q", text)
		}
	}
	return src.Require(m, "from", "write `from: token.name`")
}

// mutableClaims can be changed by the person they describe, or be given to another person later.
var mutableClaims = []string{"email", "upn", "preferred_username", "name"}

func (i *Issuer) mutable(claim string) bool {
	if slices.Contains(mutableClaims, claim) {
		return true
	}
	for _, declared := range i.Claims {
		if declared.Name == claim {
			return slices.Contains(mutableClaims, declared.From[len(declared.From)-1]) // From is never empty
		}
	}
	return false
}

// subject reports whether a claim is the token's `sub`, by whatever name.
func (i *Issuer) subject(claim string) bool {
	if claim == "sub" {
		return true
	}
	return slices.ContainsFunc(i.Claims, func(declared Claim) bool {
		return declared.Name == claim && len(declared.From) == 1 && declared.From[0] == "sub"
	})
}

// subjectHeader is a header that carries a `sub`, and where it is written.
type subjectHeader struct {
	service *Service
	src     *source
	n       *strictyaml.Node
}

// oneSubject refuses a bare `sub` in a header wherever tokens of two issuers can reach what stands behind it: one sub can be two
// people. Edge services that share a host are one upstream as far as anybody can tell.
func (c *compiler) oneSubject() {
	for _, header := range c.subjects {
		issuers := header.service.issuers()
		for _, other := range c.policy.Services {
			if other == header.service || !other.Edge || !header.service.Edge || !sharesHost(other, header.service) {
				continue
			}
			for _, issuer := range other.issuers() {
				if !slices.Contains(issuers, issuer) {
					issuers = append(issuers, issuer)
				}
			}
		}
		if len(issuers) > 1 {
			header.src.Errorf(header.n, "write token.who, which holds the issuer too", "tokens of %d issuers reach this service, and one sub can be two people", len(issuers))
		}
	}
}

func sharesHost(a, b *Service) bool {
	return slices.ContainsFunc(a.Hosts, func(x string) bool {
		return slices.ContainsFunc(b.Hosts, func(y string) bool { return covers(x, y) || covers(y, x) })
	})
}

func (c *compiler) headerClaim(src *source, n *strictyaml.Node, s *Service, header Header) {
	issuers := s.issuers()
	if slices.ContainsFunc(issuers, func(i *Issuer) bool { return i.subject(header.Value.Claim) }) {
		c.subjects = append(c.subjects, subjectHeader{s, src, n})
	}
	for _, issuer := range issuers {
		if header.Encoding == EncodePlain && issuer.mutable(header.Value.Claim) {
			c.warn(src, n.Pos(), "write {from: token."+header.Value.Claim+", encode: percent}",
				"token.%s goes into a header as it is: people have names that no header can hold, and their requests are denied", header.Value.Claim)
			return
		}
	}
}

// value reads a source of text: token.<claim>, token.who, caller or client. Every issuer that can provide it must declare the claim with
// the wanted type.
func (c *compiler) value(src *source, n *strictyaml.Node, issuers []*Issuer, text string, kind condition.Type) (Value, bool) {
	switch claim, isClaim := strings.CutPrefix(text, "token."); {
	case text == "caller" && kind == condition.String:
		return Value{Kind: ValueCaller}, true
	case text == "client" && kind == condition.String:
		return Value{Kind: ValueClient}, true
	case text == "token.who" && kind == condition.String:
		return Value{Kind: ValueWho}, true
	case isClaim:
		for _, issuer := range issuers {
			if !claimHas(src, n, issuer, claim, kind) {
				return Value{}, false
			}
		}
		return Value{Kind: ValueClaim, Claim: claim}, true
	}
	src.Errorf(n, "write token.<claim>, token.who, caller or client", "%q is no source of a value", text)
	return Value{}, false
}

// claimHas holds a claim's name to the issuer's declarations.
func claimHas(src *source, n *strictyaml.Node, issuer *Issuer, claim string, kind condition.Type) bool {
	has, ok := issuer.Schema.Type(claim)
	switch {
	case !ok:
		src.Errorf(n, "declare it: `claims: {"+claim+": "+kind.String()+"}` at issuer "+issuer.Name, "issuer `%s` declares no claim `%s`", issuer.Name, claim)
	case has != kind:
		src.Errorf(n, "", "token.%s is of type %s, and %s is needed here", claim, has, kind)
	default:
		return true
	}
	return false
}
