package jwt

import (
	"context"
	"crypto/rand"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// One token: remembered, proved for the first time, and refused in every way that costs something.
func BenchmarkVerify(b *testing.B) {
	issuer := shop(b, nil)
	warm, cold := New(issuer, ring(), Options{}), New(issuer, ring(), Options{Pool: NewPool(PoolOptions{Bytes: -1})})
	forged := authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil))
	for _, c := range []struct {
		name  string
		v     *Verifier
		token string
	}{
		{"remembered", warm, good(nil)},
		{"ES256", cold, good(nil)},
		{"RS256", cold, authztest.Mint(authztest.RSA(), nil, authztest.Claims(nil))},
		{"EdDSA", cold, authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(nil))},
		{"forged", cold, forged},
		{"forged-again", warm, forged},
		{"garbage", warm, strings.Repeat(".", MaxToken)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.v.Verify(context.Background(), c.token, authztest.Now)
			}
		})
	}
	b.Run("restored", func(b *testing.B) {
		b.ReportAllocs()
		r, _ := warm.share.proofs.GetIfPresent(warm.fingerprint(forged))
		for _, any := range warm.share.proofs.All() {
			r = any
		}
		for b.Loop() {
			warm.restore(r)
		}
	})
}

func BenchmarkUnverifiedIssuer(b *testing.B) {
	token := good(nil)
	for name, read := range map[string]func(string) (string, bool){"read": UnverifiedIssuer, "remembered": NewPool(PoolOptions{}).UnverifiedIssuer} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				read(token)
			}
		})
	}
}

// A remembered token, where the process knows one issuer and where it knows a hundred, each with tokens of its own.
func BenchmarkIssuers(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			pool := NewPool(PoolOptions{})
			verifiers, tokens := make([]*Verifier, n), make([]string, 256)
			for i := range verifiers {
				verifiers[i] = New(shop(b, func(issuer *policy.Issuer) { issuer.Digest[0] = byte(i) }), ring(), Options{Pool: pool})
			}
			for i := range tokens {
				tokens[i] = good(map[string]any{"jti": fmt.Sprint(i)})
				for range 2 {
					if _, err := verifiers[i%n].Verify(context.Background(), tokens[i], authztest.Now); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				at := i % len(tokens)
				_, _ = verifiers[at%n].Verify(context.Background(), tokens[at], authztest.Now)
			}
		})
	}
}

// believing takes every signature, so that a benchmark of memory need not make a hundred thousand good ones.
type believing struct{}

func (believing) Verify(string, []byte, any) error { return nil }

// What the heap grows by for each of 100,000 tokens with a sub and a jti of 36 bytes, 50 client_ids and 4 of 20 scopes: as records
// alone, and with the principals of those that were asked for again.
func BenchmarkBytesPerToken(b *testing.B) {
	const tokens = 100_000
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	uuid := func(kind, i int) string { return fmt.Sprintf("%08x-1234-4abc-8def-%012x", kind, i) }
	signature := make([]byte, 64)
	for b.Loop() {
		before := heap()
		v := New(shop(b, nil), ring(), Options{Pool: NewPool(PoolOptions{Bytes: 64 << 20})})
		v.methods = map[string]method{"ES256": believing{}}
		ask := func(i int) {
			s := i % 17
			token := authztest.WithSignature(authztest.Unsigned(map[string]any{"alg": "ES256", "kid": "ec-1"}, authztest.Claims(map[string]any{
				"sub": uuid(1, i), "jti": uuid(2, i), "client_id": fmt.Sprint("client-", i%50),
				"scope": fmt.Sprintf("scope:%d scope:%d scope:%d scope:%d", s, s+1, s+2, s+3),
			})), signature)
			if _, err := v.Verify(context.Background(), token, authztest.Now); err != nil {
				b.Fatal(err)
			}
		}
		for i := range tokens {
			ask(i)
		}
		records := heap()
		for i := range tokens {
			ask(i)
		}
		all := heap()
		if n := v.share.proofs.EstimatedSize(); n != tokens {
			b.Fatalf("%d tokens are remembered", n)
		}
		b.ReportMetric(float64(records-before)/tokens, "bytes/token")
		b.ReportMetric(float64(all-before)/tokens, "bytes/token-with-ready")
		b.ReportMetric(float64(v.share.held.Load())/tokens, "estimated-bytes/token")
		v.share.proofs.InvalidateAll() // not to be counted as the next one's
		clear(v.pool.hot.slots)
	}
}

// What remembered tokens keep of their throughput while, for each of their callers, ten others send tokens with bad signatures, each
// another one. With the cap and without.
func BenchmarkFlood(b *testing.B) {
	const forgers = 10
	for _, c := range []struct {
		name           string
		turns, callers int
	}{
		{"one-caller", 0, 1}, {"one-caller-uncapped", -1, 1},
		{"all-busy", 0, runtime.GOMAXPROCS(0)}, {"all-busy-uncapped", -1, runtime.GOMAXPROCS(0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := New(shop(b, nil), ring(), Options{Pool: NewPool(PoolOptions{Signatures: c.turns})})
			token := good(nil)
			for range 2 {
				_, _ = v.Verify(context.Background(), token, authztest.Now)
			}
			var kept []float64
			for b.Loop() {
				alone := serve(v, token, c.callers)
				stop := flood(v, c.callers*forgers)
				flooded := serve(v, token, c.callers)
				stop()
				kept = append(kept, float64(alone)/float64(flooded))
			}
			slices.Sort(kept)
			b.ReportMetric(kept[len(kept)/2], "kept")
		})
	}
}

// serve is how long callers take for a fixed number of remembered tokens, which they take from one heap: the throughput is everybody's
// together, and a caller that the scheduler favours does more of the work instead of waiting for the others.
func serve(v *Verifier, token string, callers int) time.Duration {
	const handful = 1000
	var left atomic.Int64
	left.Store(int64(callers) * 200)
	start := time.Now()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				for range handful {
					_, _ = v.Verify(context.Background(), token, authztest.Now)
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// flood sends bad signatures until it is stopped.
func flood(v *Verifier, forgers int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	token := good(nil)
	var group sync.WaitGroup
	for range forgers {
		group.Go(func() {
			signature := make([]byte, 64)
			for ctx.Err() == nil {
				_, _ = rand.Read(signature)
				signature[0], signature[32] = 0x7f, 0x7f // below the order, so that the arithmetic is done
				_, _ = v.Verify(ctx, authztest.WithSignature(token, signature), authztest.Now)
			}
		})
	}
	return func() {
		cancel()
		group.Wait()
	}
}
