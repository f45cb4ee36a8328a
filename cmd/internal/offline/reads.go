package offline

import (
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Reads is what the rules of a service read of requests and tokens. The zero value reads nothing. It is safe for concurrent use once it
// is made.
type Reads struct {
	query, headers, body []string            // of the body the places, as policies write them
	claims               map[string][]string // by the name of the issuer
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

// target is a target without the parts of its query that no rule reads. What is kept is kept byte for byte.
func (r *Reads) target(target string) string {
	path, query, has := strings.Cut(target, "?")
	if !has {
		return path
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		encoded, _, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(encoded); err == nil && slices.Contains(r.query, name) {
			kept = append(kept, pair)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}
