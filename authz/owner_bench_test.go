package authz

import (
	"testing"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// ownerCheck is a check that has come as far as the owner, of a rule whose id stands in the query.
func ownerCheck(t testing.TB) *check {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`version: 1
issuers: {shop: {issuer: "https://auth.example.com", audiences: [a]}}
services: [{name: orders, hosts: [orders.example], rules: [{name: read, match: GET /orders, owner: {of: query.user, is: token.sub}}]}]
`)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	at, err := target.Parse("GET", "orders.example", "/orders?user=alice")
	if err != nil {
		t.Fatal(err)
	}
	rule := p.Services[0].Rules[0]
	return &check{
		r: &Request{}, target: at,
		d: &Decision{Service: rule.Service, Rule: rule, Principal: &Principal{Token: condition.NewToken(map[string]any{"sub": "alice"})}},
	}
}

// Holding an id to a claim costs no allocation.
func TestOwnerAllocatesNothing(t *testing.T) {
	c := ownerCheck(t)
	if n := testing.AllocsPerRun(100, func() {
		if c.readObjects() != proceed || c.holdTenants() != proceed || c.holdAgreement() != proceed || c.holdOwner() != proceed {
			t.Fatal("alice is not alice")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOwnerByClaim(b *testing.B) {
	c := ownerCheck(b)
	b.ReportAllocs()
	for b.Loop() {
		if c.readObjects() != proceed || c.holdOwner() != proceed {
			b.Fatal("alice is not alice")
		}
	}
}
