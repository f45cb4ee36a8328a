package offline

import (
	"testing"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// A branch is one as it holds for a single method, too.
func TestBranchOfAMethod(t *testing.T) {
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(`version: 1
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api]}
  partner: {issuer: "https://partner.example.com", audiences: [orders-api]}
services:
  - name: store
    hosts: [orders.example]
    openapi: shop.openapi.yaml
    rules: [{name: write, match: "PUT,DELETE /orders", either: [{issuer: shop}, {issuer: partner}]}]
`)}, {Name: "shop.openapi.yaml", Data: []byte(`openapi: 3.0.3
info: {title: shop, version: "1"}
paths:
  /orders:
    put: {responses: {default: {description: d}}}
    delete: {responses: {default: {description: d}}}
`)}})
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	rule := p.Services[0].Rules[0]
	held := rule.Either[1].For("DELETE")
	if held == rule.Either[1] || !branch(held) || !branch(rule.Either[0]) || branch(rule) || branch(nil) {
		t.Errorf("held %v, %v, %v, %v, %v", held != rule.Either[1], branch(held), branch(rule.Either[0]), branch(rule), branch(nil))
	}
}
