package static_test

import (
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/owner/static"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// What a policy says about owners is what it means; a policy knows no tenants here.
func TestStaticConforms(t *testing.T) {
	ownertest.Run(t, ownertest.Traits{NoTenants: true}, func(_ *testing.T, facts []ownertest.Fact) ownertest.World {
		owners := map[string]map[string][]string{}
		for _, f := range facts {
			if owners[f.Object] == nil {
				owners[f.Object] = map[string][]string{}
			}
			owners[f.Object][f.Relation] = f.Owners
		}
		return ownertest.World{Lookup: static.New(&policy.StaticLookup{Owners: owners})}
	})
}

// Relations do not stand for one another, and no tenant is another's.
func TestRelationsStandAlone(t *testing.T) {
	l := static.New(&policy.StaticLookup{Owners: map[string]map[string][]string{
		"house":  {"": {"alice"}, "viewer": {"bob"}},
		"garden": {"viewer": {"alice"}},
	}})
	for name, c := range map[string]struct {
		q    authz.Question
		want authz.Standing
	}{
		"owner":                      {authz.Question{Subject: "alice", Objects: []string{"house"}}, authz.Theirs},
		"owner, as viewer":           {authz.Question{Subject: "alice", Relation: "viewer", Objects: []string{"house"}}, authz.NotTheirs},
		"viewer":                     {authz.Question{Subject: "bob", Relation: "viewer", Objects: []string{"house"}}, authz.Theirs},
		"a relation nobody has":      {authz.Question{Subject: "alice", Relation: "editor", Objects: []string{"house"}}, authz.NotThere},
		"no owner but a viewer":      {authz.Question{Subject: "alice", Objects: []string{"garden"}}, authz.NotThere},
		"whatever the tenant may be": {authz.Question{Tenant: "acme", Subject: "alice", Objects: []string{"house"}}, authz.Theirs},
	} {
		t.Run(name, func(t *testing.T) {
			answers := make([]authz.Standing, 1)
			if err := l.Ask(t.Context(), &c.q, answers); err != nil || answers[0] != c.want {
				t.Errorf("%s, %v; want %s", answers[0], err, c.want)
			}
		})
	}
}

// Asking allocates nothing.
func TestAskAllocatesNothing(t *testing.T) {
	l := static.New(&policy.StaticLookup{Owners: map[string]map[string][]string{"house": {"": {"alice"}}}})
	q, answers := &authz.Question{Subject: "alice", Objects: []string{"house"}}, make([]authz.Standing, 1)
	if allocs := testing.AllocsPerRun(100, func() { _ = l.Ask(t.Context(), q, answers) }); allocs != 0 || answers[0] != authz.Theirs {
		t.Errorf("%v allocations, %s", allocs, answers[0])
	}
}
