package authz_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// thousands is a policy of n token rules with a scope, an owner and metadata each, in files of a thousand; all of them are chosen among
// by one tree, since their services share an edge's host.
func thousands(t testing.TB, n int) *authz.Authorizer {
	t.Helper()
	files := []policy.File{{Name: "0.yaml", Data: []byte(`version: 1
trust_domain: cluster.local
peers: envoy
trusted_proxies: [10.0.0.0/8]
issuers:
  shop: {issuer: "https://auth.example.com", audiences: [orders-api], machine: never, claims: {plan: string}}
`)}}
	for first := 0; first < n; first += 1000 {
		var b strings.Builder
		fmt.Fprintf(&b, "version: 1\nservices:\n  - name: orders-%d\n    edge: true\n    hosts: [orders.example]\n    headers: {x-user-id: token.sub}\n    rules:\n", first)
		for i := first; i < min(n, first+1000); i++ {
			fmt.Fprintf(&b, `      - name: rule-%d
        match: GET /service-%d/users/{user_id}/orders
        issuer: shop
        scopes: ["read:orders"]
        owner: {of: path.user_id, is: token.sub}
        metadata:
          plan: {value: token.plan, default: free}
`, i, i)
		}
		files = append(files, policy.File{Name: fmt.Sprintf("%d.yaml", first+1), Data: []byte(b.String())})
	}
	p, errs := policy.Parse(files)
	if p == nil {
		t.Fatal(errs.Pretty())
	}
	a := authz.New(authz.Options{})
	a.Use(&authz.Bundle{Policy: p, Verifiers: authz.Verifiers{"shop": tokens()}})
	return a
}

// browser is a request with the headers that a browser and an Envoy send.
func browser(target string) *authz.Request {
	return get(target, as("alice"), from(frontend), at("10.1.1.1"), through("198.51.100.7"), header(":scheme", "https"), header("user-agent", "Mozilla/5.0"), header("accept", "*/*"),
		header("accept-language", "en"), header("accept-encoding", "gzip"), header("cookie", "a=1"), header("referer", "https://shop.example/"), header("origin", "https://shop.example"),
		header("sec-fetch-mode", "cors"), header("x-request-id", "0af7651916cd43dd8448eb211c80319c"), header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), header("x-forwarded-proto", "https"))
}

// envoy is a caller's context: it carries the deadline that Envoy sends with every Check, always as far away.
type envoy struct{ context.Context }

func (envoy) Deadline() (time.Time, bool) { return time.Now().Add(200 * time.Millisecond), true }

// The time of a Check does not depend on how many rules there are.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1, 1_000, 10_000} {
		a := thousands(b, n)
		for name, ctx := range map[string]context.Context{"deadline": envoy{b.Context()}, "no-deadline": b.Context()} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, name), func(b *testing.B) {
				r := browser(fmt.Sprintf("/service-%d/users/alice/orders", n/2))
				if d := a.Check(ctx, r); d.Verdict != authz.Allow {
					b.Fatal(verdict(d))
				}
				b.ReportAllocs()
				for b.Loop() {
					a.Check(ctx, r)
				}
			})
		}
	}
}

// What one warm allow may allocate: the decision and its ID, the check, the path's segments, the forwarded addresses, the headers, the
// metadata, and the name that limits count by. A rise is a cost that every request would pay.
func TestAllocations(t *testing.T) {
	const measured, headRoom = 8, 2
	a := thousands(t, 1000)
	r := browser("/service-500/users/alice/orders")
	ctx := envoy{t.Context()}
	if d := a.Check(ctx, r); d.Verdict != authz.Allow {
		t.Fatal(verdict(d))
	}
	if got := testing.AllocsPerRun(100, func() { a.Check(ctx, r) }); got > measured+headRoom {
		t.Errorf("a warm allow allocates %v times, %d were measured", got, measured)
	}
}
