package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/audit"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const auditedPolicy = `version: 1
trusted_proxies: [127.0.0.0/8]
issuers: {shop: {issuer: "` + authztest.Issuer + `", audiences: [orders-api], machine: never}}
services:
  - name: orders
    hosts: [shop.test]
    headers: {x-user-id: token.sub}
    rules:
      - {name: list, match: "GET /users/{user_id}/orders", scopes: ["read:orders"], owner: {of: path.user_id, is: token.sub}}
`

// auditedGate is a gate whose decisions are recorded, or not, and a call that returns when all of them are written.
func auditedGate(b *testing.B, mode string) (a *authz.Authorizer, written func()) {
	b.Helper()
	loaded := policy.Load(nil, []policy.File{{Name: "policy.yaml", Data: []byte(auditedPolicy)}})
	if errs := loaded.Files[0].Errors; len(errs) > 0 {
		b.Fatal(errs.Pretty())
	}
	options := authz.Options{Now: func() time.Time { return authztest.Now }}
	written = func() {}
	if mode != auditOff {
		file, err := audit.Open(filepath.Join(b.TempDir(), "audit.jsonl"))
		if err != nil {
			b.Fatal(err)
		}
		settings := audit.Options{Instance: "bench", Pseudonymise: benchKey(b)}
		if mode == auditStrict {
			settings.Sync = file.Sync
		}
		log := audit.New(file, settings)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- log.Run(ctx) }()
		b.Cleanup(func() {
			stop()
			<-done
			if n := log.Dropped(); n > 0 {
				b.Errorf("%d records were dropped, which costs less than writing them", n)
			}
			file.Close()
		})
		d := decisions{log, mode == auditStrict}
		options.Recorder, options.Witness = d, d.witness()
		written = func() { _ = log.Commit(context.Background(), audit.Record{Verdict: "allow"}) }
	}
	a = authz.New(options)
	shop := loaded.Policy.Issuers["shop"]
	a.Use(&authz.Bundle{Policy: loaded.Policy, Verifiers: authz.Verifiers{"shop": jwt.New(shop, &authztest.Keys{Ring: []*authztest.Key{authztest.EC()}}, jwt.Options{})}})
	return a, written
}

func benchKey(b *testing.B) *audit.Key {
	b.Helper()
	key, err := readKey([]byte("a key that is thirty-two bytes long"))
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// BenchmarkAudit is a decision whose record is written to a file, beside the same decision without an audit log: processor time, of
// the writer's goroutine too, in turns. In strict mode 64 callers wait for the disk at once.
func BenchmarkAudit(b *testing.B) {
	token := authztest.Mint(authztest.EC(), nil, authztest.Claims(nil))
	r := &authz.Request{HTTP: true, Method: "GET", Host: "shop.test", Target: "/users/alice/orders", Headers: authz.Headers{Fields: []authz.Field{
		{Name: "authorization", Value: "Bearer " + token}, {Name: "x-request-id", Value: "7d2c8f9e-1f0e-4f7b-9d0b-5f2b1f0c9a11"},
		{Name: "traceparent", Value: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {Name: "x-forwarded-for", Value: "198.51.100.7"},
	}}}
	off, _ := auditedGate(b, auditOff)
	for mode, callers := range map[string]int{auditBounded: 4, auditStrict: 64} {
		b.Run(fmt.Sprintf("%s/%d-callers", mode, callers), func(b *testing.B) {
			on, written := auditedGate(b, mode)
			var ratios []float64
			var with, without time.Duration
			turn := func(a *authz.Authorizer, n int, finish func()) time.Duration {
				before := processorTime(b)
				checks(b, a, r, n, callers)
				finish()
				return processorTime(b) - before
			}
			const batch = 4096 // fits the queue
			turn(off, batch, func() {})
			turn(on, batch, written)
			b.ResetTimer()
			total := 0
			for total < b.N {
				on := turn(on, batch, written)
				b.StopTimer()
				base := turn(off, batch, func() {})
				b.StartTimer()
				ratios = append(ratios, float64(on)/float64(base))
				with, without, total = with+on, without+base, total+batch
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "cpu-x-of-off")
			b.ReportMetric(float64(with)/float64(total), "cpu-ns/check")
			b.ReportMetric(float64(without)/float64(total), "off-cpu-ns/check")
		})
	}
}

// checks decides n requests by so many callers, each of which must be an allow.
func checks(b *testing.B, a *authz.Authorizer, r *authz.Request, n, callers int) {
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	var next, denied atomic.Int64
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for next.Add(1) <= int64(n) {
				if d := a.Check(ctx, r); d.Verdict != authz.Allow {
					denied.Add(1)
				}
			}
		})
	}
	all.Wait()
	if denied.Load() > 0 {
		b.Fatalf("%d of %d were denied", denied.Load(), n)
	}
}

// processorTime is what this process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
