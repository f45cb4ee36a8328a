package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

var (
	clientKeyKeys      = []string{"header", "keys_file", "redis", "forward"}
	clientKeyRedisKeys = []string{"url", "username", "password_file", "ca_file", "prefix", "timeout"}
)

// clientKeyTimeout is how long a store of keys is waited for where nothing else is said.
const clientKeyTimeout = 50 * time.Millisecond

// clientKey reads which application's key is asked for beside a token.
func (c *compiler) clientKey(src *source, n *strictyaml.Node) *ClientKey {
	m := src.Map(n, clientKeyKeys...)
	k := &ClientKey{Forward: flag(src, m, "forward")}
	if header := src.Require(m, "header", "name the header that holds the key: header: x-api-key"); header != nil {
		k.Header = headerName(src, header)
		if why, bad := headerval.Forbidden(k.Header); bad && k.Header != "" {
			src.Errorf(header, "choose another name", "a header named %q cannot be removed: %s", k.Header, why)
		}
	}
	file, redis := m.Get("keys_file"), m.Get("redis")
	switch {
	case m.OK() && (file == nil) == (redis == nil):
		src.Errorf(n, "write `keys_file: clients.keys`, or `redis: {url: ..., prefix: ...}`", "the keys stand in one place, a file or Redis")
	case file != nil:
		k.Keys.File = optionalText(src, m, "keys_file", "")
	case redis != nil:
		k.Keys.Redis = clientKeyRedis(src, redis)
	}
	k.Keys.Name = fmt.Sprintf("%q %+v", k.Keys.File, deref(k.Keys.Redis))
	k.Keys.PolicyFile, k.Keys.Pos = src.name, n.Pos()
	return k
}

func clientKeyRedis(src *source, n *strictyaml.Node) *ClientKeyRedis {
	m := src.Map(n, clientKeyRedisKeys...)
	r := &ClientKeyRedis{
		Username: optionalText(src, m, "username", ""), PasswordFile: optionalText(src, m, "password_file", ""), CAFile: optionalText(src, m, "ca_file", ""),
		Timeout: clientKeyTimeout,
	}
	if r.URL = requiredText(src, n, m, "url", "redis://HOST:PORT/DB and its kin"); r.URL != "" {
		noPassword(src, m.Get("url"), r.URL, "redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix")
	}
	r.Prefix = requiredText(src, n, m, "prefix", "what the keys of this store begin with, such as client-key:")
	duration(src, m, "timeout", time.Millisecond, time.Second, &r.Timeout)
	return r
}

// holdClientKey gives a rule, or a branch, the demand of its own or of its service. A key is never enough alone.
func (c *compiler) holdClientKey(r *ruleSource, own *strictyaml.Node, demand *ClientKey) {
	service := r.service.ClientKey
	none := own.Kind() == strictyaml.String
	switch token := r.rule.Credential == CredentialToken; {
	case r.rule.Credential == CredentialDeny:
	case none && (token || service == nil):
		r.Errorf(own, "leave it out", "`client_key: none` sets the service's demand aside, which only a rule without a token may")
	case none:
	case own != nil && !token:
		r.Errorf(own, "remove it, or ask for a token too", "an API key names an application and never who asks: it is never enough alone")
	case own != nil && service != nil:
		r.Errorf(own, "say it in one place", "the service demands a key already")
	case !token && service != nil:
		r.Errorf(r.n, "write `client_key: none` to set the service's demand aside", "the rule asks for no token and its service demands an API key, which is never enough alone")
	case own != nil:
		r.rule.ClientKey = demand
	case token:
		r.rule.ClientKey = service
	}
}

// clientKeys reads a rule's own demand, and holds the rule and each of its branches to it or to the service's.
func (c *compiler) clientKeys(r *ruleSource) {
	own := r.m.Get("client_key")
	var demand *ClientKey
	if own.Kind() == strictyaml.String {
		if text, ok := r.Text(own); ok && text != "none" {
			r.Errorf(own, "write client_key: {header: x-api-key, keys_file: clients.keys}", "a client_key cannot be %q", text)
			return
		}
	} else if own != nil && r.rule.Credential != CredentialDeny {
		demand = c.clientKey(r.source, own)
	}
	if r.rule.Either == nil {
		c.holdClientKey(r, own, demand)
		return
	}
	for _, branch := range r.rule.Either {
		b := *r
		b.rule = branch
		c.holdClientKey(&b, own, demand)
	}
}

// demandsClientKey reports whether a rule, or one of its branches, asks for an application's key.
func (r *Rule) demandsClientKey() bool {
	return r.ClientKey != nil || slices.ContainsFunc(r.Either, func(b *Rule) bool { return b.ClientKey != nil })
}

// clientHeaders complains about a header that is the gate's to set and a client's key at once.
func clientHeaders(src *source, at *strictyaml.Node, s *Service) {
	for _, rule := range s.Rules {
		for _, b := range append([]*Rule{rule}, rule.Either...) {
			if b.ClientKey != nil && slices.ContainsFunc(s.Headers, func(h Header) bool { return h.Name == b.ClientKey.Header }) {
				src.Errorf(at, "choose another name for one of them", "the header %q holds a client's key, and is set for the upstream", b.ClientKey.Header)
				return
			}
		}
	}
}

// stripKeys makes the list of headers that an allow by each rule removes: those of its service and every API key of the service but the one
// that the rule hands on. It returns the headers of the keys.
func (s *Service) stripKeys(public []string) []string {
	var rules []*Rule
	for _, rule := range s.Rules {
		rules = append(append(rules, rule), rule.Either...)
	}
	var keys []string
	for _, rule := range rules {
		if rule.ClientKey != nil && !slices.Contains(keys, rule.ClientKey.Header) {
			keys = append(keys, rule.ClientKey.Header)
		}
	}
	s.StripAll = append(slices.Clip(public), keys...)
	for _, rule := range rules {
		rule.Strip = s.Strip
		if rule.Credential == CredentialPublic {
			rule.Strip = public
		}
		for _, key := range keys {
			if rule.ClientKey == nil || !rule.ClientKey.Forward || rule.ClientKey.Header != key {
				rule.Strip = append(slices.Clip(rule.Strip), key)
			}
		}
	}
	return keys
}
