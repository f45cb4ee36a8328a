package offline

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/owner/static"
)

// anyObject is the id that stands for every object that is not named.
const anyObject = "*"

// given answers as a case says, and notes what the case does not say.
type given struct {
	name       string
	answers    map[string]Answer
	unanswered *[]string
}

// Ask implements [authz.Lookup].
func (g *given) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	var failed error
	for i, object := range q.Objects {
		answer, ok := g.answers[object]
		if !ok {
			answer, ok = g.answers[anyObject]
		}
		standing, known := answer.standing(q)
		switch {
		case !ok || !known:
			of := ""
			if q.Relation != "" {
				of = " (" + q.Relation + ")"
			}
			*g.unanswered = append(*g.unanswered, fmt.Sprintf("lookup %s was asked about %q%s, and the case gives no answer", g.name, object, of))
			failed = authz.ErrLookupUnavailable
		case answer.Err != nil:
			failed = answer.Err
		default:
			answers[i] = standing
		}
	}
	return failed
}

// standing is how q's subject stands to the object; false where the answer does not say.
func (a *Answer) standing(q *authz.Question) (authz.Standing, bool) {
	if a.Err != nil || a.Standing != authz.StandingUnknown {
		return a.Standing, true
	}
	owners, ok := a.Owners[q.Relation]
	if owners.Standing != authz.StandingUnknown {
		return owners.Standing, true
	}
	return owner.Judge(owners.Names, q.Subject), ok
}

// lookups are those of the policy. One that is written in the policy answers for itself, unless the case does.
func (r *Room) lookups(c *Case, unanswered *[]string) authz.Lookups {
	all := authz.Lookups{}
	for name, lookup := range r.Policy.Lookups {
		if c.Lookups[name] == nil && lookup.Static != nil {
			all[name] = static.New(lookup.Static)
			continue
		}
		all[name] = &given{name: name, answers: c.Lookups[name], unanswered: unanswered}
	}
	return all
}

// revocations answers for one token.
type revocations Revocation

// Revoked implements [authz.Revocations].
func (v revocations) Revoked(*authz.Principal, time.Time) (revoked bool, age time.Duration) {
	if Revocation(v) == RevocationUnknown {
		return false, authz.NeverKnown
	}
	return Revocation(v) == Revoked, 0
}

// refuser refuses every token as a gate did.
type refuser string

// Verify implements [authz.Verifier].
func (detail refuser) Verify(context.Context, string, time.Time) (*authz.Principal, error) {
	return nil, &authz.TokenError{Reason: authz.InvalidToken, Detail: string(detail)}
}
