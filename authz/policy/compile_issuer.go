package policy

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var issuerKeys = []string{
	"issuer", "jwks", "audiences", "audience_claim", "algorithms", "types", "where", "require", "client_id", "scopes", "machine", "claims",
	"max_lifetime", "leeway", "max_stale", "ignore_key_headers", "allow_markers", "id_tokens",
}

var scopeKeys = []string{"from", "type", "granted"}

// algorithms that a policy may name. What is missing is missing on purpose: none, and every HS*, whose key the issuer would have to
// share with us.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// reservedClaims have a meaning of their own under `token.`.
var reservedClaims = []string{"sub", "client_id", "jti", "scope", "who", "iss", "aud", "exp", "nbf", "iat"}

func (c *compiler) issuers(src *source) {
	all := src.OpenMap(src.root.Get("issuers"))
	for _, key := range all.Keys() {
		n := all.Get(key)
		if !validName(key) {
			src.Errorf(n, "use lower-case letters, digits and -", "an issuer's name cannot be %q", key)
		}
		issuer := c.issuer(src, key, n)
		src.issuers = append(src.issuers, issuer)
		if other := c.issuerFiles[key]; other != nil {
			guilty, kept := blame(other, src)
			guilty.Errorf(src.OpenMap(guilty.root.Get("issuers")).Get(key), "give it another name", "an issuer named `%s` stands in %s too", key, kept.name)
			if guilty == src {
				continue
			}
		}
		c.issuerFiles[key] = src
		c.policy.Issuers[key] = issuer
	}
}

func (c *compiler) issuer(src *source, name string, n *strictyaml.Node) *Issuer {
	m := src.Map(n, slices.Concat(issuerKeys, laterIss)...)
	later(src, m, laterIss)
	i := &Issuer{Name: name, MaxLifetime: time.Hour, Leeway: 10 * time.Second, MaxStale: 24 * time.Hour}
	i.Issuer = requiredText(src, n, m, "issuer", "the exact `iss` of its tokens")
	if u, err := url.Parse(i.Issuer); err == nil && u.User != nil {
		src.Errorf(m.Get("issuer"), "an issuer's name holds no credentials", "a URL with a user or password in it is refused")
	}
	i.Keys = c.keySource(src, n, m, i.Issuer)
	i.Audiences = audiences(src, n, m)
	if i.AudienceClaim = optionalText(src, m, "audience_claim", ""); slices.Contains(strings.Split(i.AudienceClaim, "."), "") && i.AudienceClaim != "" {
		src.Errorf(m.Get("audience_claim"), "write client_id, or outer.inner", "not a claim's place")
	}
	i.Algorithms = choices(src, m, "algorithms", algorithms, []string{"RS256", "PS256", "ES256", "EdDSA"})
	i.Where, i.WhereNone = where(src, m)
	i.Types = types(src, m, i)
	i.Require = texts(src, m, "require", []string{"sub", "client_id", "jti"})
	i.ClientIDClaim = claimPath(src, m.Get("client_id"), "client_id")
	scopeForm(src, m, i)
	markers(src, m, i)
	i.IgnoreKeyHeaders = flag(src, m, "ignore_key_headers")
	duration(src, m, "max_lifetime", time.Second, 366*24*time.Hour, &i.MaxLifetime)
	duration(src, m, "leeway", 0, 5*time.Minute, &i.Leeway)
	duration(src, m, "max_stale", time.Minute, 30*24*time.Hour, &i.MaxStale)
	c.claims(src, n, m, i)
	required(src, m, i)
	machine := c.machine(src, n, m, i)
	plain := *i
	plain.Machine, plain.Schema = nil, nil
	i.Digest = sha256.Sum256(fmt.Appendf(nil, "%#v %q", plain, machine))
	return i
}

// keySource reads `jwks`. Left out, the issuer is asked for it.
func (c *compiler) keySource(src *source, at *strictyaml.Node, m *strictyaml.Mapping, issuer string) KeySource {
	n := m.Get("jwks")
	if n == nil {
		if issuer != "" {
			checkURL(src, m.Get("issuer"), issuer, false)
		}
		return KeySource{Discovery: true}
	}
	if n.Kind() != strictyaml.Map {
		text, ok := src.Text(n)
		if path, ok := strings.CutPrefix(text, "file://"); ok {
			if !strings.HasPrefix(path, "/") {
				src.Errorf(n, "write file:///absolute/path", "a file of keys needs an absolute path")
			}
			return KeySource{File: path}
		}
		if ok {
			checkURL(src, n, text, false)
		}
		return KeySource{URL: text}
	}
	k := src.Map(n, "url", "ca_file", "networks", "plain_http")
	source := KeySource{CAFile: optionalText(src, k, "ca_file", ""), PlainHTTP: flag(src, k, "plain_http")}
	source.URL = requiredText(src, n, k, "url", "where the key set is")
	if source.URL != "" {
		checkURL(src, k.Get("url"), source.URL, source.PlainHTTP)
	}
	for _, item := range src.List(k.Get("networks")) {
		if text, ok := src.Text(item); ok {
			network, ok := parseNetwork(text)
			if !ok {
				src.Errorf(item, "write 10.0.0.0/8", "not a network")
			}
			source.Networks = append(source.Networks, network)
		}
	}
	return source
}

// checkURL holds a URL that we will fetch keys from to https, or to http where nobody can stand between.
func checkURL(src *source, n *strictyaml.Node, text string, plainHTTP bool) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		src.Errorf(n, "write https://host/path", "not a URL of a key set")
	case u.User != nil:
		src.Errorf(n, "put credentials into no URL: key sets are public", "a URL with a user or password in it is refused")
	case u.Scheme == "https", u.Scheme == "http" && (plainHTTP || loopback(u.Hostname())):
	case u.Scheme == "http":
		src.Errorf(n, "use https, or write {url: ..., plain_http: true} where the network is yours", "keys over plain http from a host that is not loopback: whoever stands between chooses who may sign")
	default:
		src.Errorf(n, "write https://..., http:// on loopback, or file:///path", "keys cannot be fetched by %q", u.Scheme)
	}
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

func parseNetwork(text string) (netip.Prefix, bool) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), true
	}
	if network != network.Masked() || network.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return network, true
}

func audiences(src *source, at *strictyaml.Node, m *strictyaml.Mapping) []string {
	n := m.Get("audiences")
	if n == nil {
		src.Errorf(at, "write `audiences: [orders-api]`: the name by which the issuer knows this API", "the issuer has no `audiences`: any token of it, meant for any API, would do")
		return nil
	}
	list, _ := src.Texts(n)
	if len(list) == 0 && n.Kind() == strictyaml.List && len(src.List(n)) == 0 {
		src.Errorf(n, "name at least one", "`audiences` is empty")
	}
	for i, item := range src.List(n) {
		if i < len(list) && (list[i] == "" || strings.Contains(list[i], "*")) {
			src.Errorf(item, "name the audience exactly", "no wildcard exists for an audience")
		}
	}
	return list
}

func where(src *source, m *strictyaml.Mapping) (values []ClaimValue, none bool) {
	n := m.Get("where")
	if n == nil {
		return nil, false
	}
	all := src.OpenMap(n)
	for _, key := range all.Keys() {
		value := ClaimValue{Path: strings.Split(key, ".")}
		if slices.Contains([]string{"iss", "aud", "exp", "nbf", "iat", "sub"}, key) {
			src.ErrorAt(all.Pos(key), "name a claim that only access tokens have", "`%s` is in every token and tells no kind from another", key)
		}
		switch item := all.Get(key); item.Kind() {
		case strictyaml.Bool:
			value.Value, _ = src.Bool(item)
		case strictyaml.Int:
			value.Value, _ = src.Int(item, -1<<53, 1<<53)
		default:
			value.Value, _ = src.Text(item)
		}
		values = append(values, value)
	}
	return values, len(values) == 0 && n.Kind() == strictyaml.Map
}

func types(src *source, m *strictyaml.Mapping, i *Issuer) []string {
	n := m.Get("types")
	list := texts(src, m, "types", []string{"at+jwt"})
	for j, item := range list {
		list[j] = strings.TrimPrefix(strings.ToLower(item), "application/")
		switch {
		case list[j] != "jwt" && list[j] != "none":
		case len(i.Where) == 0 && !i.WhereNone:
			src.Errorf(n, "add `where:` with a claim that only access tokens have, such as {token_use: access}; `where: {}` says on purpose that there is none",
				"`types: %s` takes every kind of JWT, ID tokens too", item)
		}
	}
	if n != nil && len(list) == 0 {
		src.Errorf(n, "leave it out for at+jwt", "`types` is empty")
	}
	return list
}

// claimPath reads where a claim stands: `a.b` for a member of an object, or a list of names where a name holds a dot itself.
func claimPath(src *source, n *strictyaml.Node, otherwise string) []string {
	if n == nil {
		return []string{otherwise}
	}
	if n.Kind() == strictyaml.List {
		path, ok := src.Texts(n)
		if len(path) == 0 || slices.Contains(path, "") {
			if ok {
				src.Errorf(n, "write the names from the outside in: [\"https://example.com/app\", roles]", "not a claim's place")
			}
			return []string{otherwise}
		}
		return path
	}
	text, _ := src.Text(n)
	path := strings.Split(text, ".")
	if slices.Contains(path, "") {
		src.Errorf(n, "write name or outer.inner; a name with a dot in it stands in a list: [\"https://example.com/roles\"]", "not a claim's place")
	}
	return path
}

func scopeForm(src *source, m *strictyaml.Mapping, i *Issuer) {
	n := m.Get("scopes")
	if n == nil {
		i.ScopeClaim = []string{"scope"}
		return
	}
	if n.Kind() == strictyaml.List {
		i.ScopeClaim, i.Granted = []string{"scope"}, granted(src, m, "scopes")
		return
	}
	s := src.Map(n, scopeKeys...)
	i.ScopeClaim, i.Granted = claimPath(src, s.Get("from"), "scope"), granted(src, s, "granted")
	switch text := optionalText(src, s, "type", "string"); text {
	case "string":
	case "strings":
		i.ScopeList = true
	default:
		src.Errorf(s.Get("type"), "write string or strings", "scopes cannot be of type %q", text)
	}
}

func markers(src *source, m *strictyaml.Mapping, i *Issuer) {
	i.IDTokens = flag(src, m, "id_tokens")
	n := m.Get("allow_markers")
	i.AllowMarkers = choices(src, m, "allow_markers", []string{"nonce", "at_hash", "c_hash", "events"}, nil)
	if n != nil && len(i.Where) == 0 {
		src.Errorf(n, "add `where:` with a claim that tells an access token from an ID token, such as {typ: Bearer}; an issuer without one writes `id_tokens: true`",
			"`allow_markers` without `where` would take ID tokens")
	}
}

// required holds `require` to names that can be looked up: our own, declared claims, and members of the token itself.
func required(src *source, m *strictyaml.Mapping, i *Issuer) {
	for j, claim := range i.Require {
		declared := slices.ContainsFunc(i.Claims, func(c Claim) bool { return c.Name == claim })
		if !declared && strings.Contains(claim, ".") {
			src.Errorf(src.List(m.Get("require"))[j], "declare it under a name of its own: `claims: {app: {from: "+claim+", type: string}}`", "`require` cannot look into %q", claim)
		}
	}
}

func (c *compiler) claims(src *source, at *strictyaml.Node, m *strictyaml.Mapping, i *Issuer) {
	always := func(name string) bool { return slices.Contains(i.Require, name) }
	declared := []condition.Claim{
		{Name: "sub", Type: condition.String, Always: always("sub")},
		{Name: "client_id", Type: condition.String, Always: always("client_id")},
		{Name: "jti", Type: condition.String, Always: always("jti")},
		{Name: "scope", Type: condition.Strings},
	}
	all := src.OpenMap(m.Get("claims"))
	for _, key := range all.Keys() {
		claim, ok := claimOf(src, key, all.Get(key))
		if !ok {
			continue
		}
		i.Claims = append(i.Claims, claim)
		required := always(key) && claim.Type == condition.String && len(claim.From) == 1 && claim.From[0] == key
		declared = append(declared, condition.Claim{Name: key, Type: claim.Type, Always: required})
	}
	schema, err := condition.NewSchema(declared)
	if err != nil {
		src.Errorf(at, "", "%s", err)
		schema = &condition.Schema{}
	}
	i.Schema = schema
}

func claimOf(src *source, key string, n *strictyaml.Node) (Claim, bool) {
	claim := Claim{Name: key, From: []string{key}}
	if slices.Contains(reservedClaims, key) {
		src.Errorf(n, "leave it out, or give it another name with {from: ..., type: ...}", "`%s` is read already and cannot be declared", key)
		return claim, false
	}
	kind := n
	if n.Kind() == strictyaml.Map {
		m := src.Map(n, "from", "type")
		claim.From = claimPath(src, m.Get("from"), key)
		if kind = m.Get("type"); kind == nil {
			src.Errorf(n, "write `type: string`, strings, bool or int", "the claim has no type")
			return claim, false
		}
	}
	text, ok := src.Text(kind)
	if !ok {
		return claim, false
	}
	claim.Type, ok = condition.ParseType(text)
	if !ok {
		src.Errorf(kind, "write string, strings, bool or int", "%q is no type of a claim", text)
	}
	return claim, ok
}

// machine compiles what tells an application's token from a person's, and returns its source for the digest.
func (c *compiler) machine(src *source, at *strictyaml.Node, m *strictyaml.Mapping, i *Issuer) string {
	n := m.Get("machine")
	text := "token.sub == token.client_id"
	switch {
	case n != nil:
		var ok bool
		if text, ok = src.Text(n); !ok {
			return ""
		}
	case !slices.Contains(i.Require, "client_id") || !slices.Contains(i.Require, "sub"):
		src.Errorf(at, "write `machine:` with an expression such as has(token.gty) && token.gty == \"client-credentials\", or `machine: never`",
			"without a required sub and client_id the issuer must state `machine`: whose tokens are an application's")
		return ""
	default:
		n = at
	}
	if text == "never" {
		i.MachineNever = true
		return text
	}
	i.Machine = expression(src, n, i.Schema, text, condition.Machine)
	return text
}

func expression(src *source, n *strictyaml.Node, schema *condition.Schema, text string, use condition.Use) *condition.Program {
	program, errs := schema.Compile(text, use)
	for _, err := range errs {
		src.Errorf(n, "", "expression, line %d, column %d: %s", err.Line, err.Column, err.Msg)
	}
	return program
}

// The readers of single keys.

func requiredText(src *source, at *strictyaml.Node, m *strictyaml.Mapping, key, what string) string {
	n := m.Get(key)
	if n == nil {
		src.Errorf(at, "write `"+key+":` with "+what, "`%s` is missing", key)
		return ""
	}
	text, ok := src.Text(n)
	if ok && text == "" {
		src.Errorf(n, "write "+what, "`%s` is empty", key)
	}
	return text
}

func optionalText(src *source, m *strictyaml.Mapping, key, otherwise string) string {
	n := m.Get(key)
	if n == nil {
		return otherwise
	}
	text, ok := src.Text(n)
	if ok && text == "" {
		src.Errorf(n, "leave it out", "`%s` is empty", key)
	}
	return text
}

func texts(src *source, m *strictyaml.Mapping, key string, otherwise []string) []string {
	n := m.Get(key)
	if n == nil {
		return otherwise
	}
	list, _ := src.Texts(n)
	for i, item := range list {
		if item == "" || slices.Contains(list[:i], item) {
			src.Errorf(n, "", "`%s` holds an empty or repeated value", key)
			break
		}
	}
	return list
}

func choices(src *source, m *strictyaml.Mapping, key string, from, otherwise []string) []string {
	list := texts(src, m, key, otherwise)
	for i, item := range list {
		if !slices.Contains(from, item) {
			src.Errorf(src.List(m.Get(key))[i], "choose from "+strings.Join(from, ", "), "`%s` cannot be %q", key, item)
		}
	}
	if n := m.Get(key); n != nil && len(list) == 0 && len(src.List(n)) == 0 {
		src.Errorf(n, "leave it out for the default", "`%s` is empty", key)
	}
	return list
}

func flag(src *source, m *strictyaml.Mapping, key string) bool {
	n := m.Get(key)
	if n == nil {
		return false
	}
	value, _ := src.Bool(n)
	return value
}

func duration(src *source, m *strictyaml.Mapping, key string, least, most time.Duration, into *time.Duration) {
	if n := m.Get(key); n != nil {
		if value, ok := src.Duration(n, least, most); ok {
			*into = value
		}
	}
}
