package offline

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// strays reports whether a recorded request is decided otherwise now than it was: what decided it is not in the recording, or this is
// not the policy that was in force. The rule's name alone says nothing about the request.
func (r *Result) strays() bool {
	e, d := r.Case.Expect, r.Ruled()
	return e != nil && (e.Decision != d.Verdict.String() || e.Reason != d.Reason.String() || e.Detail != d.Detail)
}

// unknowable says what the new policy would ask of the request that nothing recorded can answer, though all that its rules read is there:
// another judgement of the token, or another question to a lookup. "" if there is nothing.
func (d *Diff) unknowable(c *Case, before, after *Result) string {
	for _, why := range []string{d.callers(c, after.Ruled()), d.tokens(c, before.Ruled(), after.Ruled()), d.questions(c, before.Ruled(), after.Ruled())} {
		if why != "" {
			return why
		}
	}
	return ""
}

// callers doubts identities that the old policy proved in another way: it recorded none where it believed none.
func (d *Diff) callers(c *Case, after *authz.Decision) string {
	if d.old.Policy.Peers == d.next.Policy.Peers || after.Rule == nil || after.Step < authz.StepCaller {
		return ""
	}
	if c.Caller == "" && after.Rule.DemandsCaller() || c.Who.Bound == BoundToAnother && asksToken(after) {
		return "the new policy believes other peers"
	}
	return ""
}

// asksToken reports whether a decision looked at a token.
func asksToken(d *authz.Decision) bool {
	return d.Rule != nil && (d.Rule.Either != nil || d.Rule.Credential == policy.CredentialToken && d.Step >= authz.StepToken)
}

// tokens doubts the judgement of a token by an issuer's other settings. One that was accepted is accepted again if all of the old
// settings' tokens are; one that was refused is refused again if no other tokens are.
func (d *Diff) tokens(c *Case, before, after *authz.Decision) string {
	if !c.Who.Named || c.Who.Raw != nil || !asksToken(after) {
		return ""
	}
	old, err := d.old.issuer(c.Who.Issuer)
	if err != nil {
		return ""
	}
	next := d.next.issuerOf(old.Issuer)
	changed := "the new policy takes other tokens of issuer " + old.Name
	if c.Who.Refused != "" {
		if after.Rule.Issuer == nil || after.Rule.Issuer.Issuer != old.Issuer || branch(after.Rule) && !branch(before.Rule) {
			return "the new policy asks for a token of another issuer than the one that refused it"
		}
		if !admits(next, old) || !within(next.Audiences, old.Audiences) || !reflect.DeepEqual(next.Keys, old.Keys) {
			return changed
		}
		return ""
	}
	if next == nil {
		return "" // then it is nobody's there
	}
	if !admits(old, next) {
		return changed
	}
	if after.Principal != nil && after.Step >= authz.StepRoles {
		return moved(old, next, after.Rule)
	}
	return ""
}

// branch reports whether a rule is one of several that the token's issuer chose among.
func branch(rule *policy.Rule) bool {
	return rule != nil && rule.Service != nil && slices.ContainsFunc(rule.Service.Rules, func(r *policy.Rule) bool {
		return slices.ContainsFunc(r.Either, func(b *policy.Rule) bool {
			return b == rule || slices.Contains(slices.Collect(maps.Values(b.Operations)), rule)
		})
	})
}

// admits reports whether other settings accept every token that some settings accept, as far as a recording does not hold what they look
// at. It holds audiences and the claims that rules read.
func admits(some, other *policy.Issuer) bool {
	return some.AudienceClaim == other.AudienceClaim && within(some.Algorithms, other.Algorithms) && within(some.Types, other.Types) &&
		!slices.ContainsFunc(other.Where, func(w policy.ClaimValue) bool { return !holdsWhere(some.Where, w) }) &&
		within(other.Require, some.Require) && slices.Equal(some.ClientIDClaim, other.ClientIDClaim) &&
		slices.Equal(some.ScopeClaim, other.ScopeClaim) && some.ScopeList == other.ScopeList &&
		some.MaxLifetime <= other.MaxLifetime && some.Leeway <= other.Leeway && (other.IgnoreKeyHeaders || !some.IgnoreKeyHeaders) &&
		within(some.AllowMarkers, other.AllowMarkers) && (other.IDTokens || !some.IDTokens)
}

func holdsWhere(all []policy.ClaimValue, w policy.ClaimValue) bool {
	return slices.ContainsFunc(all, func(o policy.ClaimValue) bool { return slices.Equal(o.Path, w.Path) && o.Value == w.Value })
}

// within reports whether all of the few are among the many.
func within(few, many []string) bool {
	return !slices.ContainsFunc(few, func(one string) bool { return !slices.Contains(many, one) })
}

// moved says which claim of a rule stands elsewhere in the token, or is of another type, than where it was recorded from.
func moved(old, next *policy.Issuer, rule *policy.Rule) string {
	wants := &Reads{claims: map[string][]string{}}
	wants.rule(rule)
	for _, name := range wants.claims[next.Name] {
		if name == "roles" && !readsRoles(rule) {
			continue
		}
		was, is := claimOf(old, name), claimOf(next, name)
		if was != nil && is != nil && (!slices.Equal(was.From, is.From) || was.Type != is.Type) {
			return "the new policy reads token." + name + " from elsewhere"
		}
	}
	return ""
}

func claimOf(issuer *policy.Issuer, name string) *policy.Claim {
	for i := range issuer.Claims {
		if issuer.Claims[i].Name == name {
			return &issuer.Claims[i]
		}
	}
	return nil
}

// questions doubts a lookup's recorded answer to another question than the one that was asked.
func (d *Diff) questions(c *Case, before, after *authz.Decision) string {
	if !asksLookup(after) || before.Rule == nil || before.Rule.Owner == nil || before.Rule.Owner.Lookup == nil {
		return "" // without a recorded answer the lookup itself says so
	}
	was, is := before.Rule.Owner, after.Rule.Owner
	everything := false
	if answers := c.Lookups[is.Lookup.Name]; answers != nil {
		_, everything = answers[anyObject]
	}
	if was.Is != is.Is || was.Relation != is.Relation || tenants(before.Rule) != tenants(after.Rule) || !sameBackend(was.Lookup, is.Lookup) ||
		everything && (was.Of.String() != is.Of.String() || was.Of.Type != is.Of.Type) {
		return "the new policy asks lookup " + is.Lookup.Name + " another question"
	}
	return ""
}

// asksLookup reports whether a decision hangs on what a lookup that is not written in the policy said.
func asksLookup(d *authz.Decision) bool {
	if d.Rule == nil || d.Rule.Owner == nil || d.Rule.Owner.Lookup == nil || d.Rule.Owner.Lookup.Static != nil || d.Principal == nil || lifted(d) {
		return false
	}
	told := d.Reason == authz.LookupFailed || d.Reason == authz.Owner && (d.Detail == authz.DetailNotTheirs || d.Detail == authz.DetailNotThere)
	return told || d.Step >= authz.StepEffects
}

func tenants(rule *policy.Rule) string {
	var text strings.Builder
	for _, tenant := range rule.Tenants {
		text.WriteString(tenant.Of.String() + "=" + tenant.Is + "\n")
	}
	return text.String()
}

// sameBackend reports whether two lookups ask the same of the same; how long they wait and remember changes no answer.
func sameBackend(a, b *policy.Lookup) bool {
	return reflect.DeepEqual(a.Redis, b.Redis) && reflect.DeepEqual(a.SQL, b.SQL) && reflect.DeepEqual(a.HTTP, b.HTTP) && reflect.DeepEqual(a.GRPC, b.GRPC) &&
		reflect.DeepEqual(a.OpenFGA, b.OpenFGA)
}
