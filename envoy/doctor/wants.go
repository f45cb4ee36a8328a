package doctor

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// want is a header that the gate must see, and why.
type want struct {
	name, why string
}

// needed are headers without which no policy can be held, whatever its rules read.
var needed = []string{":path", ":method", ":authority", "authorization", "x-forwarded-for", "x-request-id", "upgrade", "connection"}

// wanted are the headers that the gate must see for the policy to hold, each once; without a policy, those that every policy needs.
func (e *exam) wanted() []want {
	if e.wants != nil {
		return e.wants
	}
	add := func(name, why string) {
		if name != "" && !slices.ContainsFunc(e.wants, func(w want) bool { return w.name == name }) {
			e.wants = append(e.wants, want{name, why})
		}
	}
	for _, name := range needed {
		add(name, "every policy needs it")
	}
	e.eachService(func(s *policy.Service) {
		if s.CORS != nil {
			for _, name := range []string{"origin", "access-control-request-method", "access-control-request-headers"} {
				add(name, fmt.Sprintf("`cors` of %s reads it", s.Name))
			}
		}
	})
	e.eachRule(func(r *policy.Rule) { wantedBy(r, add) })
	return e.wants
}

// wantedBy adds what one rule, or one branch of a rule, needs.
func wantedBy(r *policy.Rule, add func(name, why string)) {
	whose := fmt.Sprintf("rule %s of %s", r.Name, r.Service.Name)
	references(r, func(ref policy.Reference) {
		switch {
		case ref.Source == policy.SourceHeader:
			add(ref.Name, whose+" reads it")
		case ref.Source == policy.SourceQuery && !r.SeparateBody:
			add("content-type", whose+" reads the query, and must know of parameters in a body")
		}
	})
	for i := range r.Params {
		if r.Params[i].Ref.Source == 0 {
			add("cookie", whose+" holds a cookie to a form")
		}
	}
	if r.ReadsBody() {
		for _, name := range []string{"content-type", "content-encoding", "content-length"} {
			add(name, whose+" reads a body")
		}
	}
	if r.ClientKey != nil {
		add(r.ClientKey.Header, whose+" takes an API key from it")
	}
	if r.SignedBy != nil {
		add(r.SignedBy.Header, whose+" takes a signature from it")
		add(r.SignedBy.Timestamp, whose+" takes the time of a signature from it")
	}
}

// references calls see for every value of a request that a rule reads.
func references(r *policy.Rule, see func(policy.Reference)) {
	object := func(o policy.Object) {
		for _, part := range o.Parts {
			if part.Ref != nil {
				see(*part.Ref)
			}
		}
	}
	if r.Owner != nil {
		object(r.Owner.Of)
	}
	for _, tenant := range r.Tenants {
		object(tenant.Of)
	}
	for _, ref := range slices.Concat(r.Agrees, r.ConditionReads) {
		see(ref)
	}
	for i := range r.Params {
		see(r.Params[i].Ref)
	}
}

// eachService calls see for every service of the policy, if there is one.
func (e *exam) eachService(see func(*policy.Service)) {
	if e.policy == nil {
		return
	}
	for _, service := range e.policy.Services {
		see(service)
	}
}

// eachRule calls see for every rule of the policy, every branch of one, and each of them as it holds for some of its methods.
func (e *exam) eachRule(see func(*policy.Rule)) {
	e.eachService(func(s *policy.Service) {
		for _, rule := range s.Rules {
			for _, r := range slices.Concat([]*policy.Rule{rule}, rule.Either) {
				see(r)
				for _, method := range slices.Sorted(maps.Keys(r.Operations)) {
					see(r.Operations[method])
				}
			}
		}
	})
}

// credential reports whether the gate takes a credential from a header: a token, or an API key of the policy.
func (e *exam) credential(name string) bool {
	found := name == "authorization"
	e.eachRule(func(r *policy.Rule) { found = found || r.ClientKey != nil && r.ClientKey.Header == name })
	return found
}
