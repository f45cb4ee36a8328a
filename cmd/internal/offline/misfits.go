package offline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// misfits gathers what of a case does not fit a policy.
type misfits struct {
	room *Room
	c    *Case
	errs strictyaml.Errors
}

// Misfits says what a case names that the policy does not have, or expects that cannot come otherwise: a mistake in the case, and not a
// decision. Recorded requests that are compared under a new policy are not asked: what it does not read any more is no mistake of theirs.
func (r *Room) Misfits(c *Case) strictyaml.Errors {
	m := &misfits{room: r, c: c}
	for _, name := range slices.Sorted(maps.Keys(c.Lookups)) {
		if r.Policy.Lookups[name] == nil {
			m.unknown("lookups."+name, "lookup", name, slices.Sorted(maps.Keys(r.Policy.Lookups)))
		}
	}
	if c.Service != "" && r.Policy.Service(c.Service) == nil {
		m.unknown("service", "service", c.Service, r.services())
	}
	m.who()
	m.expect()
	m.errs.Sort()
	return m.errs
}

// add complains about a place; about the case where that is not known.
func (m *misfits) add(at strictyaml.Pos, hint, format string, args ...any) {
	if at == (strictyaml.Pos{}) {
		at = m.c.Pos
	}
	m.errs = append(m.errs, &strictyaml.Error{File: m.c.File, Pos: at, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

func (m *misfits) unknown(place, what, name string, known []string) {
	hint := ""
	if near, ok := strictyaml.Nearest(name, known); ok {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	m.add(m.c.at[place], hint, "the policy has no %s %q; it has %s", what, name, orNone(strings.Join(known, ", ")))
}

// who holds the claims of a described token to what its issuer's tokens have. An issuer that is none is said where the token is made.
func (m *misfits) who() {
	w := &m.c.Who
	if !w.Named || w.Raw != nil || w.Bearer != "" {
		return
	}
	issuer, err := m.room.issuer(w.Issuer)
	if err != nil {
		return
	}
	read := claimsRead(issuer)
	for _, name := range slices.Sorted(maps.Keys(w.Claims)) {
		m.twice(issuer, name)
		if declared := claimOf(issuer, name); declared != nil {
			m.typed(issuer, declared, w.Claims[name])
		} else if !slices.Contains(read, name) {
			m.undeclared(issuer, name, read)
		}
	}
}

// inParts is how a claim is written that the policy does not know so.
const inParts = "a token with such a claim is written with `token:` and all its claims"

// undeclared complains about a claim that nothing reads: it would stand in the token, and what was meant would not.
func (m *misfits) undeclared(issuer *policy.Issuer, name string, read []string) {
	hint := inParts
	if near, ok := strictyaml.Nearest(name, read); ok {
		hint = "did you mean `" + near + "`? Else, " + inParts
	}
	m.add(m.c.Who.at[claimName(name)], hint, "issuer %s declares no claim `%s`", issuer.Name, name)
}

// typed complains about a value that the gate would take for none.
func (m *misfits) typed(issuer *policy.Issuer, claim *policy.Claim, value any) {
	if !isOfType(value, claim.Type) {
		hint := map[condition.Type]string{
			condition.String: "write a text", condition.Strings: "write a list of texts, [a, b]", condition.Bool: "write true or false", condition.Int: "write a whole number",
		}[claim.Type]
		m.add(m.c.Who.at[claimValue(claim.Name)], hint+"; "+inParts, "issuer %s declares claim `%s` as %s, and this is of another type", issuer.Name, claim.Name, claim.Type)
	}
}

// isOfType reports whether a value is of a claim's type; null is a claim that is not there.
func isOfType(value any, t condition.Type) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return t == condition.String
	case bool:
		return t == condition.Bool
	case json.Number:
		_, err := strconv.ParseInt(value.String(), 10, 64)
		return t == condition.Int && err == nil
	case []any:
		return t == condition.Strings && !slices.ContainsFunc(value, func(item any) bool { _, text := item.(string); return !text })
	}
	return false
}

// twice complains about a claim that another key of `who` writes as well, over what stands here.
func (m *misfits) twice(issuer *policy.Issuer, name string) {
	path := claimPath(issuer, name)
	for key, place := range map[string][]string{
		"sub": {"sub"}, "client_id": clientPath(issuer), "aud": audiencePath(issuer), "scopes": scopePath(issuer),
	} {
		if _, written := m.c.Who.at[key]; written && slices.Equal(place, path) {
			m.add(m.c.Who.at[claimName(name)], "keep one", "`%s` and `claims` both say what the claim %s is", key, strings.Join(path, "."))
		}
	}
}

// standardClaims are those of access tokens in general (RFC 7519 4.1, RFC 7800, RFC 8693, RFC 9068, OpenID Connect) and those by which
// the gate knows other kinds of tokens.
var standardClaims = []string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "sid", "cnf", "act", "may_act", "azp", "auth_time", "acr", "amr", "typ",
	"nonce", "at_hash", "c_hash", "events",
}

// claimsRead are the claims that a case may write of an issuer's tokens: by the policy's names, and what stands at the top of the token
// where the gate looks for anything.
func claimsRead(issuer *policy.Issuer) []string {
	paths := [][]string{clientPath(issuer), scopePath(issuer), audiencePath(issuer)}
	var names []string
	for _, claim := range issuer.Claims {
		names = append(names, claim.Name)
		paths = append(paths, claim.From)
	}
	for _, want := range issuer.Where {
		paths = append(paths, want.Path)
	}
	for _, path := range paths {
		names = once(names, path[0])
	}
	return append(append(append(names, issuer.Require...), issuer.AllowMarkers...), standardClaims...)
}

// expect holds what is expected to what the policy can bring about.
func (m *misfits) expect() {
	e, r := m.c.Expect, m.room
	if e == nil {
		return
	}
	if e.Service != "" && e.Service != "none" && r.Policy.Service(e.Service) == nil {
		m.unknown("expect.service", "service", e.Service, r.services())
	}
	if rules := r.rules(); e.Rule != "" && e.Rule != "none" && e.Rule != "probe" && !slices.Contains(rules, e.Rule) {
		m.unknown("expect.rule", "rule", e.Rule, rules)
	}
	headers, metadata := effects(m.services())
	m.absent("headers", "header", e.Headers, headers)
	m.absent("metadata", "metadata", e.Metadata, metadata)
}

// absent complains about what is expected to be absent and never comes: such a case could not fail.
func (m *misfits) absent(key, what string, want map[string]*string, set []string) {
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] == nil && !slices.Contains(set, name) {
			m.add(m.c.at["expect."+key+"."+name], hintOf(name, set), "no rule sets the %s %q, so that it is always absent", what, name)
		}
	}
}

func hintOf(name string, set []string) string {
	if len(set) == 0 {
		return "leave it out: none is set there"
	}
	return strictyaml.Suggest(name, set)
}

// services are those that the case may be about: the one that it names, those of its host, or else all.
func (m *misfits) services() []*policy.Service {
	all := m.room.Policy.Services
	named := m.c.Service
	if named == "" {
		named = m.c.Expect.Service
	}
	if service := m.room.Policy.Service(named); service != nil {
		return []*policy.Service{service}
	}
	var some []*policy.Service
	for _, service := range all {
		if slices.Contains(service.Hosts, strings.ToLower(m.c.Request.Host)) {
			some = append(some, service)
		}
	}
	if len(some) > 0 {
		return some
	}
	return all
}

// effects are the names of all headers and metadata that an allow of the services may carry.
func effects(services []*policy.Service) (headers, metadata []string) {
	for _, service := range services {
		for _, header := range service.Headers {
			headers = once(headers, header.Name)
		}
		for _, rule := range service.Rules {
			for _, branch := range append([]*policy.Rule{rule}, rule.Either...) {
				if branch.MaxConnection > 0 {
					metadata = once(metadata, "max_connection")
				}
				for _, entry := range branch.Metadata {
					metadata = once(metadata, entry.Name)
				}
			}
		}
	}
	return headers, metadata
}
