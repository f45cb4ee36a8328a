package policy

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var ruleKeys = []string{
	"name", "match", "public", "token", "deny", "issuer", "scopes", "any_scope", "roles", "any_role", "callers", "owner", "metadata",
	"upgrades", "max_connection", "except", "extension", "body_parameters", "either", "sender", "clients", "condition", "tenant", "agrees",
	"from", "not_from", "signed_by", "client_key",
	"params", "body", "writable",
}

// branchKeys are what a branch of `either` demands; what is said of the request's shape stays with the rule.
var branchKeys = []string{"issuer", "token", "scopes", "any_scope", "roles", "any_role", "callers", "owner", "sender", "clients", "condition", "tenant"}

// whoKeys are demands on who is asking; a rule that asks nobody cannot have them.
var whoKeys = []string{"issuer", "scopes", "any_scope", "roles", "any_role", "owner", "sender", "clients"}

// public rules have no condition either: it says who may come, in whatever words.
var publicKeys = append([]string{"condition"}, whoKeys...)

// ruleSource is one rule on its way into a service.
type ruleSource struct {
	*source
	n    *strictyaml.Node
	m    *strictyaml.Mapping
	rule *Rule
	// service is the rule's, and shape the mapping that says what the rule asks of the request itself: the rule's, for each of its branches.
	service *Service
	shape   *strictyaml.Mapping
	// reads are the values outside the body that the rule reads, and body those within it; bodyAt is the first place that names one.
	reads  []Reference
	body   *Body
	bodyAt *strictyaml.Node
	// revocation says that the policy asks for it.
	revocation bool
	// extensionExact keeps the rule's patterns from being compared without their extension.
	extensionExact bool
}

func (c *compiler) rules(src *source, at *strictyaml.Node, m *strictyaml.Mapping, s *Service) {
	n := m.Get("rules")
	if n == nil {
		src.Errorf(at, "write at least one rule; what no rule covers is denied", "the service has no `rules`")
	}
	s.rules = &group{}
	for _, item := range src.List(n) {
		r := &ruleSource{source: src, n: item, service: s, revocation: c.policy.Revocation != nil, rule: &Rule{Service: s, File: src.name, Pos: item.Pos()}}
		r.m = src.Map(item, slices.Concat(ruleKeys, laterRule)...)
		later(src, r.m, laterRule)
		c.rule(r)
		if slices.ContainsFunc(s.Rules, func(o *Rule) bool { return o.Name == r.rule.Name }) {
			src.Errorf(item, "give it another name", "a second rule of `%s` is named `%s`", s.Name, r.rule.Name)
		}
		s.Rules = append(s.Rules, r.rule)
		s.rules.sources = append(s.rules.sources, r)
	}
}

func (c *compiler) rule(r *ruleSource) {
	rule := r.rule
	if node := r.Require(r.m, "name", "write `name: read-order`"); node != nil {
		rule.Name = name(r.source, node, "a rule")
		if rule.Name == "probe" || rule.Name == "none" {
			r.Errorf(node, "give it another name", "`%s` is what metadata calls the lack of a rule", rule.Name)
		}
	}
	r.match()
	c.origins(r)
	if r.m.Get("either") != nil {
		c.either(r)
		return
	}
	r.shape = r.m
	r.credential()
	r.bodyParameters()
	r.upgrades()
	c.demands(r)
	r.except()
	c.clientKeys(r)
	c.metadata(r)
	r.signedBy()
	r.connection()
	r.extension()
}

// demands compiles what a rule, or a branch of one, asks of whoever comes.
func (c *compiler) demands(r *ruleSource) {
	if node := r.m.Get("callers"); node != nil {
		c.ruleCallers(r, node)
	}
	if n := r.shape.Get("agrees"); n != nil && r.rule.Credential != CredentialDeny {
		r.agrees(n)
	}
	switch r.rule.Credential {
	case CredentialToken:
		c.tokenRule(r)
	case CredentialNone:
		c.tokenlessRule(r)
	case CredentialPublic:
		c.publicRule(r)
	case CredentialDeny:
		r.denyRule()
	}
	if r.rule.Credential != CredentialToken {
		c.tenant(r)
	}
	if r.rule.Credential == CredentialToken || r.rule.Credential == CredentialNone {
		r.condition()
	}
	c.demandsShape(r)
	r.finishBody()
}

// either compiles a rule of several branches. Each names one issuer, or asks for no token; two of a kind would leave the choice open.
func (c *compiler) either(r *ruleSource) {
	r.refuse("`either` says in its branches who may come", slices.Concat(branchKeys, []string{"public", "deny", "signed_by"})...)
	r.bodyParameters()
	r.upgrades()
	n := r.m.Get("either")
	items := r.List(n)
	if n.Kind() == strictyaml.List && len(items) < 2 {
		r.Errorf(n, "write the demands into the rule itself", "`either` of fewer than two branches is no choice")
	}
	for _, item := range items {
		branch := *r.rule
		b := &ruleSource{source: r.source, n: item, rule: &branch, service: r.service, shape: r.m}
		b.m = r.Map(item, branchKeys...)
		b.credential()
		c.demands(b)
		for _, other := range r.rule.Either {
			if other.Credential == branch.Credential && sameIssuer(other.Issuer, branch.Issuer) {
				r.Errorf(item, "put both into one branch", "a second branch for the same credential can never be chosen")
				break
			}
		}
		r.rule.Either = append(r.rule.Either, &branch)
	}
	r.shared(c)
}

// sameIssuer reports whether tokens of both would carry one `iss`, by which nothing could be chosen.
func sameIssuer(a, b *Issuer) bool {
	return a == b || a != nil && b != nil && a.Issuer == b.Issuer
}

// shared compiles what a rule with branches says of the request itself, and gives it to each.
func (r *ruleSource) shared(c *compiler) {
	tokenless := slices.ContainsFunc(r.rule.Either, func(b *Rule) bool { return b.Credential == CredentialNone })
	if tokenless {
		r.rule.Credential = CredentialNone // for `except`, which a branch without a token demands
	}
	r.except()
	r.rule.Credential = CredentialToken
	c.clientKeys(r)
	c.metadata(r)
	r.connection()
	r.extension()
	for _, branch := range r.rule.Either {
		branch.Except, branch.Metadata = r.rule.Except, r.rule.Metadata
		branch.MaxConnection = r.rule.MaxConnection
		branch.Either = nil
	}
}

func (r *ruleSource) match() {
	n := r.Require(r.m, "match", "write `match: GET /orders/{order_id}`, or a list")
	if n == nil {
		return
	}
	items := []*strictyaml.Node{n}
	if n.Kind() == strictyaml.List {
		if items = r.List(n); len(items) == 0 {
			r.Errorf(n, "write at least one pattern", "the rule matches nothing")
		}
	}
	for _, item := range items {
		text, ok := r.Text(item)
		if !ok {
			continue
		}
		p, err := pattern.Parse(text)
		if err != nil {
			var parse *pattern.ParseError
			if errors.As(err, &parse) {
				r.Errorf(item, "", "pattern, at byte %d: %s", parse.Offset+1, parse.Msg)
			} else {
				r.Errorf(item, "", "%s", err)
			}
			continue
		}
		r.rule.Patterns = append(r.rule.Patterns, p)
	}
	r.sameNames(n)
}

// sameNames demands that all patterns of a rule bind the same names, since its demands read them. A rest that nothing reads is
// excepted, so that /docs and /docs/{rest...} can be one rule.
func (r *ruleSource) sameNames(n *strictyaml.Node) {
	var first []string
	for i, p := range r.rule.Patterns {
		names := slices.Clone(p.Names())
		if rest, ok := p.Rest(); ok && !r.mayRead(rest) {
			names = slices.DeleteFunc(names, func(s string) bool { return s == rest })
		}
		slices.Sort(names)
		if i == 0 {
			first = names
		} else if !slices.Equal(first, names) {
			r.Errorf(n, "use the same names in each, or write two rules", "the patterns bind different names: {%s} and {%s}", strings.Join(first, ", "), strings.Join(names, ", "))
			return
		}
	}
}

// mayRead reports whether a captured name may be read by what the rule, its branches or its service demand. It looks at texts that are
// not compiled yet, so it errs towards true.
func (r *ruleSource) mayRead(name string) bool {
	maps := []*strictyaml.Mapping{r.m}
	for _, branch := range r.List(r.m.Get("either")) {
		maps = append(maps, r.OpenMap(branch))
	}
	nodes := []*strictyaml.Node{r.service.tenant, r.m.Get("agrees")}
	for _, m := range maps {
		nodes = append(nodes, m.Get("owner"), m.Get("tenant"), m.Get("condition"))
	}
	return slices.ContainsFunc(nodes, func(n *strictyaml.Node) bool { return mentions(n, "path."+name) })
}

// mentions reports whether a text stands anywhere under a node.
func mentions(n *strictyaml.Node, text string) bool {
	return slices.ContainsFunc(n.Texts(), func(s string) bool { return strings.Contains(s, text) })
}

func (r *ruleSource) credential() {
	set := 0
	if n := r.m.Get("public"); n != nil {
		if value, ok := r.Bool(n); ok && value {
			r.rule.Credential = CredentialPublic
			set++
		} else if ok {
			r.Errorf(n, "leave it out: a rule asks for a token unless it says otherwise", "`public: false` says nothing")
		}
	}
	if n := r.m.Get("token"); n != nil {
		set++
		r.rule.Credential = CredentialNone
		if text, ok := r.Text(n); ok && text != "none" {
			r.Errorf(n, "write `token: none`, or leave it out", "a token is asked for unless `token: none`")
		}
	}
	if n := r.m.Get("deny"); n != nil {
		set++
		r.rule.Credential = CredentialDeny
		if status, ok := r.Int(n, 400, 599); ok && status != 403 && status != 404 && status != 410 {
			r.Errorf(n, "write 403, 404 or 410", "a rule cannot deny with %d", status)
		} else {
			r.rule.DenyStatus = int(status)
		}
	}
	if set > 1 {
		r.Errorf(r.n, "keep one", "`public`, `token: none` and `deny` exclude each other")
	}
}

func (c *compiler) ruleCallers(r *ruleSource, n *strictyaml.Node) {
	if n.Kind() != strictyaml.String {
		r.rule.Callers = c.callers(r.source, n)
		return
	}
	switch text, ok := r.Text(n); {
	case text == "any" && r.rule.Credential == CredentialPublic:
		r.rule.AnyCaller = true
	case text == "any":
		r.Errorf(n, "leave it out", "`callers: any` sets the service's callers aside, which only a public rule may")
	case ok:
		r.Errorf(n, "write a list: callers: ["+text+"]", "callers are a list")
	}
}

// refuse reports demands that the kind of rule cannot have.
func (r *ruleSource) refuse(why string, keys ...string) {
	for _, key := range keys {
		if n := r.m.Get(key); n != nil {
			r.ErrorAt(r.m.Pos(key), "remove `"+key+"`", "%s", why)
		}
	}
}

func (r *ruleSource) captures() []string {
	var names []string
	for _, p := range r.rule.Patterns {
		for _, name := range p.Names() {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func (r *ruleSource) hasRest() bool {
	return slices.ContainsFunc(r.rule.Patterns, func(p pattern.Pattern) bool { _, ok := p.Rest(); return ok })
}

func (c *compiler) tokenRule(r *ruleSource) {
	rule := r.rule
	rule.Issuer = c.ruleIssuer(r)
	rule.Scopes = scopes(r, "scopes")
	rule.AnyScope = scopes(r, "any_scope")
	rule.Roles = c.roles(r, "roles")
	rule.AnyRole = c.roles(r, "any_role")
	r.sender()
	c.clients(r)
	c.tenant(r)
	n := r.m.Get("owner")
	switch names := r.captures(); {
	case n == nil && len(names) > 0:
		r.Errorf(r.n, "write owner: {of: path."+names[0]+", is: token.sub}, or `owner: none` where it is nobody's", "the rule captures `%s` and does not say whose it is", names[0])
	case n.Kind() == strictyaml.String:
		if text, ok := r.Text(n); ok && text != "none" {
			r.Errorf(n, "write `owner: none` or owner: {of: ..., is: ...}", "an owner cannot be %q", text)
		}
	case n != nil:
		rule.Owner = c.owner(r, n)
	}
	r.refuse("`except` belongs to rules that ask for no token: under a token rule, write a rule of its own for what is excepted", "except")
}

func (r *ruleSource) sender() {
	n := r.m.Get("sender")
	if n == nil {
		return
	}
	switch text, ok := r.Text(n); {
	case text == "any":
	case text == "bound":
		r.rule.Sender = SenderBound
	case text == "mtls":
		r.rule.Sender = SenderMTLS
	case ok:
		r.Errorf(n, "write any, bound or mtls", "a sender cannot be %q", text)
	}
}

// clients binds applications to the workloads that they are.
func (c *compiler) clients(r *ruleSource) {
	n := r.m.Get("clients")
	if n == nil {
		return
	}
	all := r.OpenMap(n)
	r.rule.Clients = map[string][]CallerPattern{}
	for _, key := range all.Keys() {
		if key == "" {
			r.ErrorAt(all.Pos(key), "name the client_id", "a client without a name would be every token that has none")
		}
		r.rule.Clients[key] = c.callers(r.source, all.Get(key))
	}
	if n.Kind() == strictyaml.Map && len(all.Keys()) == 0 {
		r.Errorf(n, "write clients: {web: [shop/web]}", "`clients` is empty and would refuse everybody")
	}
}

// ruleIssuer finds the issuer whose tokens a rule takes.
func (c *compiler) ruleIssuer(r *ruleSource) *Issuer {
	return c.issuerNamed(r.source, r.n, r.m.Get("issuer"), "rule")
}

// issuerNamed finds the issuer that n names. It may go without saying only in a file that names exactly one.
func (c *compiler) issuerNamed(src *source, at, n *strictyaml.Node, what string) *Issuer {
	if n == nil {
		if len(src.issuers) != 1 {
			src.Errorf(at, "write `issuer: NAME`", "the %s does not say its `issuer`, and this file names %d", what, len(src.issuers))
			return nil
		}
		return src.issuers[0]
	}
	text, ok := src.Text(n)
	if !ok {
		return nil
	}
	if c.issuerFiles[text] != nil {
		return c.policy.Issuers[text]
	}
	if issuer := c.ghosts[text]; issuer != nil && !src.changed {
		c.policy.Issuers[text] = issuer
		return issuer
	}
	src.Errorf(n, "", "there is no issuer named `%s`", text)
	return nil
}

func scopes(r *ruleSource, key string) []string {
	list := texts(r.source, r.m, key, nil)
	if n := r.m.Get(key); n != nil && n.Kind() == strictyaml.List && len(r.List(n)) == 0 {
		r.Errorf(n, "leave it out", "`%s` is empty", key)
	}
	for i, item := range list {
		if !validScope(item) {
			r.Errorf(r.List(r.m.Get(key))[i], "one scope an entry (RFC 6749 section 3.3)", "%q cannot be a scope", item)
		}
	}
	r.grants(r.m.Get(key), list)
	return list
}

func (c *compiler) roles(r *ruleSource, key string) []string {
	n := r.m.Get(key)
	list := texts(r.source, r.m, key, nil)
	if n == nil {
		return nil
	}
	if n.Kind() == strictyaml.List && len(r.List(n)) == 0 {
		r.Errorf(n, "leave it out", "`%s` is empty", key)
	}
	r.needsRoles(n)
	return list
}

func (r *ruleSource) needsRoles(n *strictyaml.Node) {
	if r.rule.Issuer != nil {
		claimHas(r.source, n, r.rule.Issuer, "roles", condition.Strings)
	}
}

var ownerKeys = []string{"of", "is", "unless", "unless_role", "otherwise", "mutable", "lookup", "relation", "allow_empty", "type"}

func (c *compiler) owner(r *ruleSource, n *strictyaml.Node) *Owner {
	m := r.Map(n, ownerKeys...)
	owner := &Owner{AllowEmpty: flag(r.source, m, "allow_empty")}
	if of := r.Require(m, "of", "write `of: path.user_id`"); of != nil {
		owner.Of = r.object(of, m.Get("type"))
		if owner.AllowEmpty && !owner.Of.List() && len(owner.Of.Parts) > 0 {
			r.Errorf(m.Get("allow_empty"), "remove it", "%s is no list, so it cannot be empty and right", owner.Of)
		}
	}
	c.ruleLookup(r, m, owner)
	if is := r.Require(m, "is", "write `is: token.sub`"); is != nil {
		owner.Is = c.ownerClaim(r, is, flag(r.source, m, "mutable"))
	}
	if role := m.Get("unless_role"); role != nil {
		text, ok := r.Text(role)
		owner.UnlessRole = text
		if ok && text == "" {
			r.Errorf(role, "name the role", "`unless_role` is empty")
		}
		r.needsRoles(role)
	}
	if unless := m.Get("unless"); unless != nil && r.rule.Issuer != nil {
		if text, ok := r.Text(unless); ok {
			owner.UnlessText = text
			owner.Unless = expression(r.source, unless, r.rule.Issuer.Schema, text, condition.Unless)
		}
	}
	if otherwise := m.Get("otherwise"); otherwise != nil {
		status, ok := r.Int(otherwise, 400, 599)
		if ok && status != 403 && status != 404 {
			r.Errorf(otherwise, "write 403, or 404 to hide that it exists", "an owner rule cannot answer %d", status)
		}
		owner.Hidden = status == 404
	}
	return owner
}

func (c *compiler) ownerClaim(r *ruleSource, n *strictyaml.Node, mutable bool) string {
	text, ok := r.Text(n)
	if !ok || r.rule.Issuer == nil {
		return ""
	}
	claim, ok := strings.CutPrefix(text, "token.")
	if !ok {
		r.Errorf(n, "write token.sub or another declared claim", "%q is no claim", text)
		return ""
	}
	if !claimHas(r.source, n, r.rule.Issuer, claim, condition.String) {
		return ""
	}
	if r.rule.Issuer.mutable(claim) && !mutable {
		r.Errorf(n, "compare token.sub, or write `mutable: true` beside it if nobody can ever take over another's", "token.%s can change hands: whoever has it next would own the old owner's objects", claim)
	}
	return claim
}

func (c *compiler) tokenlessRule(r *ruleSource) {
	r.refuse("`token: none` has no token to hold to this", whoKeys...)
	callers := r.rule.Callers
	if len(callers) == 0 {
		callers = r.rule.Service.Callers
	}
	if len(callers) == 0 {
		r.ErrorAt(r.m.Pos("token"), "add `callers: [namespace/service-account]`, or write `public: true`", "`token: none` without `callers` would ask nobody anything")
	}
	for _, caller := range callers {
		for _, gateway := range c.policy.Gateways {
			if caller.Overlaps(gateway) {
				r.Errorf(r.n, "name the workloads exactly", "%s could be the gateway %s, which carries other people's requests", caller, gateway)
			}
		}
	}
}

func (c *compiler) publicRule(r *ruleSource) {
	r.refuse("a public rule asks nobody who they are", publicKeys...)
	if len(r.rule.Callers) > 0 {
		r.ErrorAt(r.m.Pos("callers"), "write `token: none` instead of `public: true`, or `callers: any`", "a public rule asks nobody who they are")
	}
	if len(r.rule.Service.Callers) > 0 && !r.rule.AnyCaller && len(r.rule.Callers) == 0 {
		r.Errorf(r.n, "write `callers: any` to set the service's callers aside", "the rule is public and its service demands callers: which holds?")
	}
}

func (r *ruleSource) denyRule() {
	r.refuse("a `deny` rule refuses everybody and asks nothing", slices.Concat(whoKeys, []string{"callers", "metadata", "upgrades", "max_connection", "except", "body_parameters", "condition", "tenant", "agrees", "from", "not_from", "signed_by", "client_key"})...)
}

func (r *ruleSource) except() {
	n := r.m.Get("except")
	if r.rule.Credential == CredentialToken || r.rule.Credential == CredentialDeny {
		return
	}
	switch {
	case n == nil && r.hasRest():
		r.Errorf(r.n, "list what lies below and is not for everybody: except: [/assets/private/]; `except: []` says that nothing does",
			"`{rest...}` without a token covers everything that will ever lie below it")
	case n != nil && !r.hasRest():
		r.ErrorAt(r.m.Pos("except"), "remove it", "`except` takes from a `{rest...}`, and the rule has none")
	}
	for _, item := range r.List(n) {
		text, ok := r.Text(item)
		if !ok {
			continue
		}
		prefix, err := pattern.ParsePrefix(text)
		if err != nil {
			r.Errorf(item, "write /assets/private/", "%s", err)
			continue
		}
		r.rule.Except = append(r.rule.Except, prefix)
	}
}

// builtinMetadata are the names that every answer carries.
var builtinMetadata = []string{
	"decision", "reason", "rule", "service", "decision_id", "policy", "who", "subject", "issuer", "client_id", "client", "caller", "address", "max_connection",
	"ext_authz_duration", "shadow_decision", "shadow_reason", "shadow_rule", "shadow_policy",
}

func (c *compiler) metadata(r *ruleSource) {
	n := r.m.Get("metadata")
	all := r.OpenMap(n)
	for _, key := range all.Keys() {
		item := all.Get(key)
		entry := Metadata{Name: key}
		if slices.Contains(builtinMetadata, key) || !validName(strings.ReplaceAll(key, "_", "-")) {
			r.ErrorAt(all.Pos(key), "use lower-case letters, digits, - and _", "metadata cannot be named %q: it is built in, or no name", key)
		}
		value := item
		if item.Kind() == strictyaml.Map {
			m := r.Map(item, "value", "default")
			value = r.Require(m, "value", "write `value: token.plan`")
			entry.Default = optionalText(r.source, m, "default", "")
		}
		text, ok := r.Text(value)
		if !ok {
			continue
		}
		issuers := r.rule.addIssuers(nil)
		if r.rule.Credential != CredentialToken && strings.HasPrefix(text, "token.") && text != "token.who" {
			r.Errorf(value, "remove it", "the rule asks for no token, so `%s` is never set", text)
			continue
		}
		entry.Value, _ = c.value(r.source, value, issuers, text, condition.String)
		if entry.Value.Kind == ValueClient && !r.rule.demandsClientKey() {
			r.Errorf(value, "write `client_key:` into the rule or its service", "the rule demands no API key, so `client` is never set")
		}
		r.rule.Metadata = append(r.rule.Metadata, entry)
	}
}

func (r *ruleSource) upgrades() {
	n := r.m.Get("upgrades")
	list := texts(r.source, r.m, "upgrades", nil)
	for i, item := range list {
		if item != strings.ToLower(item) || !headerval.ValidName(item) {
			r.Errorf(r.List(n)[i], "write websocket", "%q is no upgrade", item)
		}
	}
	r.rule.Upgrades = list
}

// connection bounds what outlives its check. No token would have lived longer than the issuer's longest, so nor may a connection.
func (r *ruleSource) connection() {
	n := r.m.Get("max_connection")
	duration(r.source, r.m, "max_connection", time.Second, 366*24*time.Hour, &r.rule.MaxConnection)
	for _, issuer := range r.rule.addIssuers(nil) {
		if r.rule.MaxConnection > issuer.MaxLifetime {
			r.Errorf(n, "write at most "+issuer.MaxLifetime.String(), "no token of `%s` lives as long as this connection", issuer.Name)
		}
	}
	if n != nil && len(r.rule.Upgrades) == 0 && r.rule.Credential == CredentialPublic {
		r.ErrorAt(r.m.Pos("max_connection"), "remove it, or add `upgrades`", "nothing of a public rule outlives its check but an upgrade")
	}
	if n == nil && len(r.rule.Upgrades) > 0 && r.revocation {
		r.ErrorAt(r.m.Pos("upgrades"), "write `max_connection: 15m`, and the same as max_stream_duration in Envoy", "`revocation` is asked for, and an upgraded connection would outlive every revocation")
	}
}

func (r *ruleSource) extension() {
	n := r.m.Get("extension")
	if n == nil {
		return
	}
	if text, ok := r.Text(n); ok && text != "exact" {
		r.Errorf(n, "write `extension: exact`, or leave it out", "extension cannot be %q", text)
	}
	r.extensionExact = true
}

func (r *ruleSource) bodyParameters() {
	n := r.m.Get("body_parameters")
	if n == nil {
		return
	}
	if text, ok := r.Text(n); ok && text != "separate" {
		r.Errorf(n, "write `body_parameters: separate`, or leave it out", "body_parameters cannot be %q", text)
	}
	r.rule.SeparateBody = true
}
