package offline

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// Reads is what the rules of a service read of requests and tokens. The zero value reads nothing. It is safe for concurrent use once it
// is made.
type Reads struct {
	query, headers, body []string            // of the body the places, as policies write them
	claims               map[string][]string // by the name of the issuer
	keys                 []string            // headers that hold an application's key, or a signature: they are never written
}

// ReadsOf gathers what the rules of a service read; of nil it is nothing.
func ReadsOf(service *policy.Service) *Reads {
	r := &Reads{claims: map[string][]string{}}
	if service == nil {
		return r
	}
	for _, rule := range service.Rules {
		r.rule(rule)
		for _, branch := range rule.Either {
			r.rule(branch)
		}
	}
	return r
}

func (r *Reads) rule(rule *policy.Rule) {
	if rule.ClientKey != nil {
		r.keys = once(r.keys, rule.ClientKey.Header)
	}
	if rule.SignedBy != nil {
		r.keys = once(r.keys, rule.SignedBy.Header)
	}
	var refs []policy.Reference
	var claims []string
	object := func(o *policy.Object) {
		for i := range o.Parts {
			if part := &o.Parts[i]; part.Ref != nil {
				refs = append(refs, *part.Ref)
			} else if part.Claim != "" {
				claims = append(claims, part.Claim)
			}
		}
	}
	if owner := rule.Owner; owner != nil {
		object(&owner.Of)
		claims = append(claims, owner.Is)
		claims = append(claims, reads(owner.Unless)...)
	}
	for i := range rule.Tenants {
		object(&rule.Tenants[i].Of)
		claims = append(claims, rule.Tenants[i].Is)
	}
	for _, held := range append(slices.Collect(maps.Values(rule.Operations)), rule) {
		for i := range held.Params {
			refs = append(refs, held.Params[i].Ref)
		}
	}
	refs = append(append(refs, rule.Agrees...), rule.ConditionReads...)
	for _, ref := range refs {
		switch ref.Source {
		case policy.SourceQuery:
			r.query = once(r.query, ref.Name)
		case policy.SourceHeader:
			r.headers = once(r.headers, ref.Name)
		case policy.SourceBody, policy.SourceForm, policy.SourceGRPC:
			r.body = once(r.body, ref.String())
		}
	}
	if rule.Issuer == nil {
		return
	}
	claims = append(append(claims, reads(rule.Condition)...), reads(rule.Issuer.Machine)...)
	claims = append(append(claims, "roles"), rule.Issuer.Require...)
	for _, header := range rule.Service.Headers {
		claims = append(claims, header.Value.Claim)
	}
	for _, metadata := range rule.Metadata {
		claims = append(claims, metadata.Value.Claim)
	}
	known := r.claims[rule.Issuer.Name]
	for _, claim := range claims {
		switch claim {
		case "", "sub", "client_id", "jti", "scope": // have places of their own, or none
		default:
			known = once(known, claim)
		}
	}
	r.claims[rule.Issuer.Name] = known
}

// reads are the claims that an expression reads; none of nil.
func reads(p *condition.Program) []string {
	if p == nil {
		return nil
	}
	return p.Reads()
}

func once(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}

// target is a target without the parts of its query that no rule reads. What is kept is kept byte for byte; of what makes a query
// ambiguous to whoever reads these names, the name or a malformed placeholder is, and no value.
func (r *Reads) target(raw string) string {
	path, query, has := strings.Cut(raw, "?")
	if !has || len(r.query) == 0 {
		return path
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		encoded, _, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(encoded)
		switch {
		case err == nil && slices.Contains(r.query, name) && !unreadable(pair):
			kept = append(kept, pair)
		case unreadable(pair):
			kept = append(kept, ";")
		case slices.ContainsFunc(r.query, target.ParseForm(encoded).Has):
			kept = append(kept, encoded+"=")
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

// unreadable reports whether a part makes its whole query unreadable, whichever name is read: a malformed escape, a raw `;`, a name that
// is not UTF-8.
func unreadable(pair string) bool {
	encoded, _, _ := strings.Cut(pair, "=")
	name, _ := url.QueryUnescape(encoded)
	_, err := target.ParseForm(pair).All("\x00", nil)
	return err != nil || !utf8.ValidString(name)
}

// respelled reports whether some upstream reads a header's name as one that rules read: CGI makes one variable of x-t, x_t and x.t.
func (r *Reads) respelled(name string) bool {
	return slices.ContainsFunc(r.headers, func(read string) bool { return read != name && cgi(read) == cgi(name) })
}

// cgi is what CGI makes of a name.
func cgi(name string) string {
	return strings.Map(func(c rune) rune {
		if alphanumeric(c) {
			return c
		}
		return '_'
	}, name)
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
