package policy

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var (
	backendKeys = []string{"redis", "sql", "http", "grpc", "openfga", "static"}
	lookupKeys  = append([]string{"issuer", "timeout", "cache", "cache_denials", "cache_bytes", "connections"}, backendKeys...)

	redisKeys   = []string{"url", "username", "password_file", "ca_file", "key", "field", "set"}
	sqlKeys     = []string{"url", "password_file", "ca_file", "query"}
	httpKeys    = []string{"url", "owner", "batch", "token_file", "ca_file", "cert_file", "key_file", "plain_http"}
	grpcKeys    = []string{"address", "server_name", "token_file", "ca_file", "cert_file", "key_file", "plaintext"}
	openfgaKeys = []string{"url", "store", "model", "type", "user", "max_checks", "token_file", "ca_file", "plain_http"}
)

// Bounds and defaults of lookups.
const (
	defaultLookupTimeout = 50 * time.Millisecond
	maxCacheDenials      = time.Second
	defaultCacheBytes    = 16 << 20
	defaultConnections   = 16
	defaultMaxChecks     = 50
)

// lookups reads a file's lookups. Names are unique over all files, as issuers' are.
func (c *compiler) lookups(src *source) {
	all := src.OpenMap(src.root.Get("lookups"))
	for _, key := range all.Keys() {
		n := all.Get(key)
		if !validName(key) {
			src.Errorf(n, "use lower-case letters, digits and -", "a lookup's name cannot be %q", key)
		}
		lookup := c.lookup(src, key, n)
		if other := c.lookupFiles[key]; other != nil {
			guilty, kept := blame(other, src)
			guilty.Errorf(src.OpenMap(guilty.root.Get("lookups")).Get(key), "give it another name", "a lookup named `%s` stands in %s too", key, kept.name)
			if guilty == src {
				continue
			}
		}
		c.lookupFiles[key] = src
		c.policy.Lookups[key] = lookup
	}
}

func (c *compiler) lookup(src *source, name string, n *strictyaml.Node) *Lookup {
	m := src.Map(n, lookupKeys...)
	l := &Lookup{
		Name: name, File: src.name, Pos: n.Pos(), Timeout: defaultLookupTimeout, CacheBytes: defaultCacheBytes, Connections: defaultConnections,
	}
	if n.Kind() != strictyaml.Map {
		return l
	}
	l.Issuer = c.issuerNamed(src, n, m.Get("issuer"), "lookup")
	duration(src, m, "timeout", time.Millisecond, time.Second, &l.Timeout)
	duration(src, m, "cache", 0, time.Hour, &l.Cache)
	l.CacheDenials = min(l.Cache, maxCacheDenials)
	duration(src, m, "cache_denials", 0, maxCacheDenials, &l.CacheDenials)
	whole(src, m, "cache_bytes", 1<<16, 1<<34, &l.CacheBytes)
	connections := int64(l.Connections)
	whole(src, m, "connections", 1, 1000, &connections)
	l.Connections = int(connections)
	c.backend(src, n, m, l)
	l.digest()
	return l
}

func whole(src *source, m *strictyaml.Mapping, key string, least, most int64, into *int64) {
	if n := m.Get(key); n != nil {
		if value, ok := src.Int(n, least, most); ok {
			*into = value
		}
	}
}

// backend reads the one key that says where the owner is known.
func (c *compiler) backend(src *source, at *strictyaml.Node, m *strictyaml.Mapping, l *Lookup) {
	var found []string
	for _, key := range backendKeys {
		if m.Get(key) != nil {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		src.Errorf(at, "write one of "+strings.Join(backendKeys, ", "), "a lookup asks one backend, and this names %d", len(found))
		return
	}
	n := m.Get(found[0])
	switch found[0] {
	case "redis":
		l.Redis = redisLookup(src, n)
	case "sql":
		l.SQL = sqlLookup(src, n)
	case "http":
		l.HTTP = httpLookup(src, n)
	case "grpc":
		l.GRPC = grpcLookup(src, n)
	case "openfga":
		l.OpenFGA = openfgaLookup(src, n)
	case "static":
		l.Static = staticLookup(src, n)
	}
}

// digest names the lookup's settings, so that a reload which changes none keeps its connections and its cache.
func (l *Lookup) digest() {
	plain := *l
	plain.Pos, plain.File, plain.Issuer = strictyaml.Pos{}, "", nil
	plain.Redis, plain.SQL, plain.HTTP, plain.GRPC, plain.OpenFGA, plain.Static = nil, nil, nil, nil, nil, nil
	text := fmt.Appendf(nil, "%#v", plain)
	if l.Issuer != nil {
		text = fmt.Appendf(text, "%q", l.Issuer.Name)
	}
	for _, backend := range []any{deref(l.Redis), deref(l.SQL), deref(l.HTTP), deref(l.GRPC), deref(l.OpenFGA), deref(l.Static)} {
		text = fmt.Appendf(text, "%#v", backend)
	}
	l.Digest = sha256.Sum256(text)
}

// deref is what a pointer points to, since a printed pointer says nothing.
func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func redisLookup(src *source, n *strictyaml.Node) *RedisLookup {
	m := src.Map(n, redisKeys...)
	l := &RedisLookup{Username: optionalText(src, m, "username", ""), PasswordFile: optionalText(src, m, "password_file", ""), CAFile: optionalText(src, m, "ca_file", "")}
	l.URL = requiredText(src, n, m, "url", "redis://HOST:PORT/DB and its kin")
	if l.URL != "" {
		noPassword(src, m.Get("url"), l.URL, "redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")
	}
	l.Key, l.Field, l.Set = template(src, m, "key"), template(src, m, "field"), template(src, m, "set")
	switch {
	case l.Key.Empty() == l.Set.Empty():
		src.Errorf(n, "write `key: \"owner:order:{id}\"` whose value is the owner, or `set: \"owners:order:{id}\"` whose members are", "a redis lookup reads a key or a set")
	case !l.Set.Empty() && !l.Field.Empty():
		src.Errorf(m.Get("field"), "remove it", "a set has no fields")
	case !l.Key.Reads(VariableID) && !l.Field.Reads(VariableID) && !l.Set.Reads(VariableID):
		src.Errorf(n, "write {id} where the object's id belongs", "the lookup reads the same for every object")
	}
	return l
}

func template(src *source, m *strictyaml.Mapping, key string) Template {
	text := optionalText(src, m, key, "")
	t, why := ParseTemplate(text)
	if why != "" {
		src.Errorf(m.Get(key), "", "template: %s", why)
	}
	return t
}

// noPassword holds a backend's URL to its schemes, and to no secret.
func noPassword(src *source, n *strictyaml.Node, text string, schemes ...string) *url.URL {
	u, err := url.Parse(strings.ReplaceAll(text, ",", "%2C")) // a list of hosts is no URL's
	scheme, _, ok := strings.Cut(text, "://")
	switch {
	case !ok || !slices.Contains(schemes, scheme):
		src.Errorf(n, "write "+schemes[0]+"://...", "not a URL that this lookup can ask")
		return nil
	case err != nil:
		return nil // the door says more when it is built
	case u.User != nil:
		if _, has := u.User.Password(); has || scheme != "postgres" && scheme != "postgresql" {
			src.Errorf(n, "put the user into `username` and the password into a file, `password_file`", "a URL with a password in it is refused")
		}
	}
	return u
}

func sqlLookup(src *source, n *strictyaml.Node) *SQLLookup {
	m := src.Map(n, sqlKeys...)
	l := &SQLLookup{PasswordFile: optionalText(src, m, "password_file", ""), CAFile: optionalText(src, m, "ca_file", "")}
	l.URL = requiredText(src, n, m, "url", "postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full")
	if l.URL != "" {
		if u := noPassword(src, m.Get("url"), l.URL, "postgres", "postgresql"); u != nil && u.Query().Has("password") {
			src.Errorf(m.Get("url"), "put it into a file, `password_file`", "a URL with a password in it is refused")
		}
	}
	l.Query = requiredText(src, n, m, "query", "SELECT id, owner FROM orders WHERE id = ANY(@ids)")
	if l.Query != "" && !strings.Contains(l.Query, "@ids") {
		src.Errorf(m.Get("query"), "write SELECT id, owner FROM orders WHERE id = ANY(@ids)", "the query does not read @ids, so it is the same for every object")
	}
	return l
}

func httpLookup(src *source, n *strictyaml.Node) *HTTPLookup {
	m := src.Map(n, httpKeys...)
	l := &HTTPLookup{
		Batch: optionalText(src, m, "batch", ""), TokenFile: optionalText(src, m, "token_file", ""), CAFile: optionalText(src, m, "ca_file", ""),
		CertFile: optionalText(src, m, "cert_file", ""), KeyFile: optionalText(src, m, "key_file", ""), PlainHTTP: flag(src, m, "plain_http"),
	}
	pair(src, m)
	if text := requiredText(src, n, m, "url", "https://orders.internal/owners/{id}"); text != "" {
		l.URL = template(src, m, "url")
		backendURL(src, m.Get("url"), text, l.PlainHTTP)
		if !l.URL.Reads(VariableID) && !l.URL.Empty() {
			src.Errorf(m.Get("url"), "write {id} where the object's id belongs", "the lookup asks the same for every object")
		}
	}
	if l.Batch != "" {
		backendURL(src, m.Get("batch"), l.Batch, l.PlainHTTP)
	}
	if owner := requiredText(src, n, m, "owner", "where the owner stands in the answer: owner.id"); owner != "" {
		if l.Owner = strings.Split(owner, "."); slices.Contains(l.Owner, "") {
			src.Errorf(m.Get("owner"), "write owner, or owner.id", "not a place in an answer")
		}
	}
	return l
}

// backendURL holds the URL of a service that says whose objects are to https, or to http where nobody can stand between.
func backendURL(src *source, n *strictyaml.Node, text string, plainHTTP bool) {
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch u, err := url.Parse(scheme + "://" + host); {
	case strings.ContainsAny(host, "{}?#"), err != nil, host == "":
		src.Errorf(n, "write https://host/path", "not the URL of a service whose host is known")
	case u.User != nil:
		src.Errorf(n, "put a token into a file, `token_file`", "a URL with a user or password in it is refused")
	case scheme == "https", scheme == "http" && (plainHTTP || loopback(u.Hostname())):
	case scheme == "http":
		src.Errorf(n, "use https, or write `plain_http: true` where the mesh encrypts", "plain http to a host that is not loopback: whoever stands between says whose objects are")
	default:
		src.Errorf(n, "write https://host/path", "a lookup cannot ask by %q", scheme)
	}
}

// pair demands that a client certificate and its key stand together.
func pair(src *source, m *strictyaml.Mapping) {
	if cert, key := m.Get("cert_file"), m.Get("key_file"); (cert == nil) != (key == nil) {
		src.ErrorAt(m.Node().Pos(), "write both", "`cert_file` and `key_file` belong together")
	}
}

func grpcLookup(src *source, n *strictyaml.Node) *GRPCLookup {
	m := src.Map(n, grpcKeys...)
	l := &GRPCLookup{
		ServerName: optionalText(src, m, "server_name", ""), TokenFile: optionalText(src, m, "token_file", ""), CAFile: optionalText(src, m, "ca_file", ""),
		CertFile: optionalText(src, m, "cert_file", ""), KeyFile: optionalText(src, m, "key_file", ""), Plaintext: flag(src, m, "plaintext"),
	}
	pair(src, m)
	l.Address = requiredText(src, n, m, "address", "owners.shop.svc:9300, or unix:/run/owners.sock")
	if strings.Contains(l.Address, "://") || strings.Contains(l.Address, "@") {
		src.Errorf(m.Get("address"), "write owners.shop.svc:9300, or unix:/run/owners.sock", "%q is no address", l.Address)
	}
	return l
}

func openfgaLookup(src *source, n *strictyaml.Node) *OpenFGALookup {
	m := src.Map(n, openfgaKeys...)
	l := &OpenFGALookup{
		Model: optionalText(src, m, "model", ""), User: optionalText(src, m, "user", "user"), TokenFile: optionalText(src, m, "token_file", ""),
		CAFile: optionalText(src, m, "ca_file", ""), PlainHTTP: flag(src, m, "plain_http"),
	}
	l.URL = requiredText(src, n, m, "url", "https://openfga.internal")
	if l.URL != "" {
		backendURL(src, m.Get("url"), l.URL, l.PlainHTTP)
	}
	l.Store = requiredText(src, n, m, "store", "the store's id")
	l.Type = requiredText(src, n, m, "type", "the type of the objects in the model, such as document")
	for _, key := range []string{"type", "user"} {
		if text := map[string]string{"type": l.Type, "user": l.User}[key]; strings.ContainsAny(text, ":#* \t") {
			src.Errorf(m.Get(key), "write the type's name alone", "%q is no type of a model", text)
		}
	}
	checks := int64(defaultMaxChecks)
	whole(src, m, "max_checks", 1, 1000, &checks)
	l.MaxChecks = int(checks)
	return l
}

func staticLookup(src *source, n *strictyaml.Node) *StaticLookup {
	l := &StaticLookup{Owners: map[string]map[string][]string{}}
	all := src.OpenMap(n)
	for _, id := range all.Keys() {
		item := all.Get(id)
		if item.Kind() != strictyaml.Map {
			l.Owners[id] = map[string][]string{"": owners(src, item)}
			continue
		}
		l.Owners[id] = map[string][]string{}
		relations := src.OpenMap(item)
		for _, relation := range relations.Keys() {
			l.Owners[id][relation] = owners(src, relations.Get(relation))
		}
	}
	return l
}

// owners is one owner, or a list of them.
func owners(src *source, n *strictyaml.Node) []string {
	if n.Kind() == strictyaml.List {
		list, _ := src.Texts(n)
		return list
	}
	text, ok := src.Text(n)
	if !ok || text == "" {
		return nil
	}
	return []string{text}
}

// ruleLookup finds the lookup that a rule's owner names, and holds the rule to what it can answer.
func (c *compiler) ruleLookup(r *ruleSource, m *strictyaml.Mapping, owner *Owner) {
	n, relation := m.Get("lookup"), m.Get("relation")
	if relation != nil {
		if owner.Relation = optionalText(r.source, m, "relation", ""); n == nil {
			r.Errorf(relation, "remove it, or name the lookup that knows it", "a `relation` is asked of a `lookup`, and the owner names none")
		}
	}
	if n == nil {
		return
	}
	text, ok := r.Text(n)
	if !ok {
		return
	}
	lookup := c.policy.Lookups[text]
	if lookup == nil {
		if lookup = c.ghostLookups[text]; lookup == nil || r.changed {
			r.Errorf(n, "", "there is no lookup named `%s`", text)
			return
		}
		c.policy.Lookups[text] = lookup
	}
	owner.Lookup = lookup
	switch {
	case r.rule.Issuer != nil && lookup.Issuer != nil && lookup.Issuer.Name != r.rule.Issuer.Name:
		r.Errorf(n, "", "`%s` stores subjects of issuer `%s`, and the rule takes tokens of `%s`: one name would be two people", text, lookup.Issuer.Name, r.rule.Issuer.Name)
	case relation == nil && lookup.needs(VariableRelation):
		r.Errorf(n, "write `relation: viewer`", "`%s` asks for a relation, and the owner names none", text)
	case relation != nil && !lookup.knows(VariableRelation):
		r.Errorf(relation, "remove it, or write {relation} (SQL: @relation) into the lookup", "`%s` knows no relations", text)
	case lookup.needs(VariableTenant) && len(r.rule.Tenants) == 0:
		r.Errorf(n, "write `tenant: {of: ..., is: ...}` at the service or the rule", "`%s` asks for the tenant, and nothing says whose it is", text)
	}
}

// needs reports whether the lookup cannot be asked without a variable.
func (l *Lookup) needs(v Variable) bool {
	switch {
	case l.Redis != nil:
		return l.Redis.Key.Reads(v) || l.Redis.Field.Reads(v) || l.Redis.Set.Reads(v)
	case l.HTTP != nil:
		return l.HTTP.URL.Reads(v)
	case l.SQL != nil:
		return v == VariableRelation && strings.Contains(l.SQL.Query, "@relation") || v == VariableTenant && strings.Contains(l.SQL.Query, "@tenant")
	case l.OpenFGA != nil:
		return v == VariableRelation
	}
	return false
}

// knows reports whether a variable makes a difference to the lookup.
func (l *Lookup) knows(v Variable) bool {
	return l.needs(v) || l.GRPC != nil || l.Static != nil
}
