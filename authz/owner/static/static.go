// Package static knows owners that stand in the policy itself: for objects that are few and change as seldom as rules do. It is a room of
// its own because it is the one lookup that asks nobody, so nothing of what is built for foreign worlds stands around it.
package static

import (
	"context"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Lookup is owners by object and relation, the same for every tenant. It is safe for concurrent use, and never fails.
type Lookup struct {
	owners map[string]map[string][]string
}

var _ authz.Lookup = (*Lookup)(nil)

// New makes a lookup of what a policy says, which must not be changed afterwards.
func New(l *policy.StaticLookup) *Lookup { return &Lookup{owners: l.Owners} }

// Ask is [authz.Lookup.Ask]. An object that has no owners in the relation is not there. It asks nobody, so it does not wait for ctx either.
func (l *Lookup) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	for i, object := range q.Objects {
		answers[i] = owner.Judge(l.owners[object][q.Relation], q.Subject)
	}
	return nil
}
