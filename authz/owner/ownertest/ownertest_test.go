package ownertest_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
)

// memory is a world in a map, the simplest that passes.
type memory struct {
	facts map[[3]string][]string
	trips atomic.Int64
}

func (m *memory) Ask(_ context.Context, q *authz.Question, answers []authz.Standing) error {
	m.trips.Add(1)
	for i, object := range q.Objects {
		owners := slices.DeleteFunc(slices.Clone(m.facts[[3]string{q.Tenant, q.Relation, object}]), func(o string) bool { return o == "" })
		switch {
		case !utf8.ValidString(object + q.Subject + q.Tenant):
			return authz.ErrLookupAnswer
		case len(owners) == 0:
			answers[i] = authz.NotThere
		case slices.Contains(owners, q.Subject):
			answers[i] = authz.Theirs
		default:
			answers[i] = authz.NotTheirs
		}
	}
	return nil
}

// The suite passes a world that is right, also one that can hold less.
func TestMemoryConforms(t *testing.T) {
	for name, traits := range map[string]ownertest.Traits{
		"everything": {},
		"less": {
			Single: true, NoTenants: true, Relations: []string{"viewer"}, Refuses: func(text string) bool { return text == "" || text == "house " || text == "'" },
		},
	} {
		t.Run(name, func(t *testing.T) {
			ownertest.Run(t, traits, func(_ *testing.T, facts []ownertest.Fact) ownertest.World {
				m := &memory{facts: map[[3]string][]string{}}
				for _, f := range facts {
					m.facts[[3]string{f.Tenant, f.Relation, f.Object}] = f.Owners
				}
				return ownertest.World{Lookup: m, Trips: func() int { return int(m.trips.Load()) }}
			})
		})
	}
}
