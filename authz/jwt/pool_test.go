package jwt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
)

// What a record restores is equal, in every field and every claim, to what was packed.
func TestRecordsRestore(t *testing.T) {
	rich := func(i *policy.Issuer) {
		i.Claims = []policy.Claim{
			{Name: "roles", From: []string{"roles"}, Type: condition.Strings}, {Name: "plan", From: []string{"plan"}, Type: condition.String},
			{Name: "vip", From: []string{"vip"}, Type: condition.Bool}, {Name: "level", From: []string{"level"}, Type: condition.Int},
			{Name: "user", From: []string{"sub"}, Type: condition.String}, {Name: "gty", From: []string{"gty"}, Type: condition.String},
		}
	}
	relaxed := func(i *policy.Issuer) {
		i.Require, i.Machine, i.MachineNever = nil, nil, true
	}
	at := authztest.Now.Unix()
	sum := strings.Repeat("A", 43)
	for _, c := range []struct {
		name   string
		over   func(*policy.Issuer)
		claims map[string]any
	}{
		{"a person", nil, nil},
		{"a machine", rich, map[string]any{"sub": "batch", "client_id": "batch"}},
		{"nobody", relaxed, map[string]any{"sub": nil, "client_id": nil, "jti": nil, "scope": nil}},
		{"every claim", rich, map[string]any{"roles": []string{"a", "", "b"}, "plan": "", "vip": false, "level": -1 << 62, "gty": "x"}},
		{"other values", rich, map[string]any{"roles": []string{}, "plan": strings.Repeat("p", 3000), "vip": true, "level": 1<<53 - 1}},
		{"of other types", rich, map[string]any{"roles": "a", "plan": 7, "vip": "true", "level": 1.5}},
		{"a session and a sender", nil, map[string]any{"sid": "s-1", "cnf": map[string]any{"x5t#S256": sum}}},
		{"scopes in their order, one twice", nil, map[string]any{"scope": "write read write"}},
		{"audiences", nil, map[string]any{"aud": []string{"x", authztest.Audience, "a"}}},
		{"fractions of a second", nil, map[string]any{"iat": float64(at) - 0.25, "exp": float64(at) + 60.5, "nbf": float64(at) - 0.5}},
	} {
		issuer := shop(t, c.over)
		cold, warm := New(issuer, ring(), Options{Pool: NewPool(PoolOptions{Bytes: -1})}), New(issuer, ring(), Options{})
		token := good(c.claims)
		want, err := cold.Verify(context.Background(), token, authztest.Now)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for _, what := range []string{"proved", "restored", "ready"} {
			got, err := warm.Verify(context.Background(), token, authztest.Now)
			if err != nil {
				t.Fatalf("%s, %s: %v", c.name, what, err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(scope.Set{}), cmpopts.IgnoreFields(authz.Principal{}, "Token")); diff != "" {
				t.Errorf("%s, %s:\n%s", c.name, what, diff)
			}
			for _, name := range []string{"sub", "client_id", "jti", "scope", "roles", "plan", "vip", "level", "user", "gty"} {
				a, had := want.Token.Value(name)
				b, has := got.Token.Value(name)
				if diff := cmp.Diff(a, b); diff != "" || had != has {
					t.Errorf("%s, %s: token.%s %v %v\n%s", c.name, what, name, had, has, diff)
				}
			}
		}
	}
}

// A token that outlives the dates that a record can hold is good, and not remembered.
func TestFarDatesAreNotRemembered(t *testing.T) {
	v := New(shop(t, func(i *policy.Issuer) { i.MaxLifetime = 290 * 365 * 24 * time.Hour }), ring(), Options{})
	token := good(map[string]any{"exp": time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC).Unix()})
	for range 2 {
		if _, err := v.Verify(context.Background(), token, authztest.Now); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.share.proofs.EstimatedSize(); n != 0 {
		t.Errorf("%d remembered", n)
	}
}

// A remembered token, good or bad, costs no memory to judge.
func TestRememberedAllocatesNothing(t *testing.T) {
	v := New(shop(t, nil), ring(), Options{})
	for name, token := range map[string]string{
		"good": good(nil), "long": good(map[string]any{"pad": strings.Repeat("x", 4000)}), "forged": authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)),
		"another audience": good(map[string]any{"aud": "x"}), "expired": good(map[string]any{"exp": authztest.Now.Unix() - 30}),
		"unsigned": authztest.Unsigned(nil, authztest.Claims(nil)),
	} {
		ask := func() { _, _ = v.Verify(context.Background(), token, authztest.Now) }
		ask()
		ask() // restores
		want := 0.0
		if name == "expired" {
			want = 1 // what the clock says is said anew
		}
		if n := testing.AllocsPerRun(100, ask); n != want {
			t.Errorf("%s: %v allocations, want %v", name, n, want)
		}
	}
}

// A refusal is remembered where only other keys or another time could change it, and nowhere else.
func TestWhichRefusalsAreRemembered(t *testing.T) {
	at := authztest.Now.Unix()
	claims := func(over map[string]any) string { return good(over) }
	for name, c := range map[string]struct {
		token      string
		remembered bool
	}{
		"no token":              {"x", false},
		"8 KiB of dots":         {strings.Repeat(".", MaxToken), false},
		"too large":             {strings.Repeat("A", MaxToken+1), false},
		"an unknown key":        {authztest.Mint(authztest.EC(), map[string]any{"kid": "x"}, authztest.Claims(nil)), false},
		"an unsigned token":     {authztest.Unsigned(nil, authztest.Claims(nil)), true},
		"another type":          {authztest.Mint(authztest.EC(), map[string]any{"typ": "JWT"}, authztest.Claims(nil)), true},
		"crit":                  {authztest.Mint(authztest.EC(), map[string]any{"crit": []string{}}, authztest.Claims(nil)), true},
		"a header that is none": {"AAAA.e30.AA", true},
		"forged":                {authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)), true},
		"another audience":      {claims(map[string]any{"aud": "x"}), true},
		"no sub":                {claims(map[string]any{"sub": nil}), true},
		"expired":               {claims(map[string]any{"exp": at - 10}), true},
		"not yet":               {claims(map[string]any{"nbf": at + 100}), true},
		"good":                  {claims(nil), false},
	} {
		v := New(shop(t, nil), ring(), Options{})
		_, _ = v.Verify(context.Background(), c.token, authztest.Now)
		if got := v.pool.refusals.get(v.fingerprint(c.token)) != nil; got != c.remembered {
			t.Errorf("%s: remembered %v", name, got)
		}
	}
}

// A refusal of the clock is lifted by the clock, and one under some keys by other keys.
func TestRefusalsAreLifted(t *testing.T) {
	keys := ring()
	v := New(shop(t, nil), keys, Options{})
	early := good(map[string]any{"nbf": authztest.Now.Unix() + 60})
	ask := func(token string, now time.Time, detail string) {
		t.Helper()
		p, err := v.Verify(context.Background(), token, now)
		wantDetail(t, p, err, detail)
	}
	ask(early, authztest.Now, authz.DetailNotYet)
	ask(early, authztest.Now, authz.DetailNotYet)
	ask(early, authztest.Now.Add(time.Minute), "")
	ask(early, authztest.Now, authz.DetailNotYet)

	all := keys.Ring
	forged := authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil))
	ask(forged, authztest.Now, authz.DetailSignature)
	keys.Ring, keys.Generation = []*authztest.Key{authztest.OtherEC()}, 2
	ask(forged, authztest.Now, "")
	keys.Ring, keys.Generation = []*authztest.Key{authztest.RSA()}, 3
	ask(forged, authztest.Now, authz.DetailUnknownKey)
	keys.Ring, keys.Generation = all, 4
	ask(forged, authztest.Now, authz.DetailSignature)
	keys.Err = authz.ErrKeysUnavailable
	if _, err := v.Verify(context.Background(), forged, authztest.Now); !errors.Is(err, authz.ErrKeysUnavailable) {
		t.Errorf("got %v", err)
	}
}

// However many tokens one issuer's clients send, another issuer keeps what it needs, and all stay within the bound.
func TestSharesOfThePool(t *testing.T) {
	const room = 256 << 10
	pool := NewPool(PoolOptions{Bytes: room})
	verifiers := make([]*Verifier, 3)
	for i := range verifiers {
		verifiers[i] = New(shop(t, func(issuer *policy.Issuer) { issuer.Digest[0] = byte(i) }), ring(), Options{Pool: pool})
	}
	serial := 0
	flood := func(v *Verifier, n int) {
		for range n {
			serial++
			token := authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(map[string]any{"jti": fmt.Sprint(serial)}))
			if _, err := v.Verify(context.Background(), token, authztest.Now); err != nil {
				t.Fatal(err)
			}
		}
		v.share.proofs.CleanUp()
	}
	held := func(v *Verifier) uint64 { return v.share.proofs.WeightedSize() }
	flood(verifiers[0], 2000)
	if got := held(verifiers[0]); got < room/2 {
		t.Errorf("alone, an issuer holds %d bytes of %d", got, room)
	}
	flood(verifiers[1], 2000)
	flood(verifiers[0], 2000)
	if a, b := held(verifiers[0]), held(verifiers[1]); a < room/4 || b < room/4 {
		t.Errorf("two that ask hold %d and %d bytes of %d", a, b, room)
	}
	flood(verifiers[2], 2000)
	flood(verifiers[0], 2000)
	total := uint64(0)
	for i, v := range verifiers {
		total += held(v)
		if held(v) < room/6 {
			t.Errorf("of three, issuer %d holds %d bytes of %d", i, held(v), room)
		}
		if got := uint64(v.share.held.Load()); got != held(v) {
			t.Errorf("issuer %d: %d bytes are counted, %d are held", i, got, held(v))
		}
	}
	if total > room {
		t.Errorf("%d bytes are held of %d", total, room)
	}
}

// A verifier that nobody holds gives its share back, and what its tokens had in common with none is forgotten.
func TestSharesAreGivenBack(t *testing.T) {
	pool := NewPool(PoolOptions{Bytes: 256 << 10})
	whole := pool.free
	func() {
		v := New(shop(t, nil), ring(), Options{Pool: pool})
		if _, err := v.Verify(context.Background(), good(nil), authztest.Now); err != nil {
			t.Fatal(err)
		}
		if pool.commons.held == 0 || pool.free == whole {
			t.Error("nothing was taken")
		}
	}()
	left := false
	for range 1000 { // the collector says when
		if left {
			return
		}
		runtime.GC()
		pool.mu.Lock()
		pool.commons.mu.Lock()
		left = pool.free == whole && len(pool.shares) == 0 && pool.commons.held == 0 && len(pool.commons.all) == 0
		pool.commons.mu.Unlock()
		pool.mu.Unlock()
	}
	t.Errorf("%d of %d bytes are free, %d shares and %d common parts are left", pool.free, whole, len(pool.shares), len(pool.commons.all))
}

// Where the table of common parts is full, a record pays for its own.
func TestCommonsAreBounded(t *testing.T) {
	pool := NewPool(PoolOptions{Bytes: 64 << 10})
	v := New(shop(t, nil), ring(), Options{Pool: pool})
	for i := range 300 {
		token := authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(map[string]any{"client_id": fmt.Sprint(i)}))
		for range 2 {
			p, err := v.Verify(context.Background(), token, authztest.Now)
			if err != nil || p.ClientID != fmt.Sprint(i) {
				t.Fatalf("%v, %v", p, err)
			}
		}
		if pool.commons.held > pool.commons.most {
			t.Fatalf("%d bytes of %d", pool.commons.held, pool.commons.most)
		}
	}
	v.share.proofs.InvalidateAll()
	if pool.commons.held != 0 || len(pool.commons.all) != 0 || v.share.held.Load() != 0 {
		t.Errorf("left over: %d bytes, %d parts, %d counted", pool.commons.held, len(pool.commons.all), v.share.held.Load())
	}
}

// The ring of ready principals is bounded, and each record has at most one place in it.
func TestReadyPrincipalsAreBounded(t *testing.T) {
	pool := NewPool(PoolOptions{Bytes: 64 << 10})
	v := New(shop(t, nil), ring(), Options{Pool: pool})
	tokens := make([]string, 40)
	for i := range tokens {
		tokens[i] = authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(map[string]any{"jti": fmt.Sprint(i), "sid": strings.Repeat("s", 10*i%256)}))
	}
	for round := range 5 {
		for i, token := range tokens {
			p, err := v.Verify(context.Background(), token, authztest.Now)
			if err != nil || p.TokenID != fmt.Sprint(i) {
				t.Fatalf("round %d: %v, %v", round, p, err)
			}
		}
	}
	ready, placed := 0, map[*record]int{}
	for i := range pool.hot.slots {
		if r := pool.hot.slots[i].Load(); r != nil {
			placed[r]++
		}
	}
	for _, r := range v.share.proofs.All() {
		if r.ready.Load() != nil {
			if ready++; placed[r] != 1 {
				t.Errorf("a ready record has %d places", placed[r])
			}
		}
	}
	if ready == 0 || ready > len(pool.hot.slots) {
		t.Errorf("%d records are ready, for %d places", ready, len(pool.hot.slots))
	}
}

// Who has no turn waits for one, no longer than its own time; who finds the queue full does not wait.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := NewPool(PoolOptions{Signatures: 1})
		v := New(shop(t, nil), ring(), Options{Pool: pool})
		if err := pool.turns.take(context.Background()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if p, err := v.Verify(ctx, good(nil), authztest.Now); p != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("out of time: %v, %v", p, err)
		}
		gone, leave := context.WithCancel(context.Background())
		leave()
		if p, err := v.Verify(gone, good(nil), authztest.Now); p != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("gone: %v, %v", p, err)
		}
		// What needs no signature waits for nothing.
		p, err := v.Verify(ctx, authztest.Unsigned(nil, authztest.Claims(nil)), authztest.Now)
		wantDetail(t, p, err, authz.DetailAlgorithm)

		token, forged := good(nil), authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil))
		var group sync.WaitGroup
		for i := range waitingPerTurn {
			group.Go(func() {
				asked, detail := token, ""
				if i%2 == 1 {
					asked, detail = forged, authz.DetailSignature
				}
				p, err := v.Verify(context.Background(), asked, authztest.Now)
				var refused *authz.TokenError
				if (p != nil) != (detail == "") || errors.As(err, &refused) && refused.Detail != detail {
					t.Errorf("%v, %v, want %q", p, err, detail)
				}
			})
		}
		synctest.Wait()
		if p, err := v.Verify(context.Background(), good(nil), authztest.Now); p != nil || !errors.Is(err, errCrowded) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("crowded: %v, %v", p, err)
		}
		pool.turns.give()
		group.Wait()
		if n := v.share.proofs.EstimatedSize(); n != 1 || pool.turns.waiting.Load() != 0 || len(pool.turns.taken) != 0 {
			t.Errorf("%d tokens, %d waiting, %d turns taken", n, pool.turns.waiting.Load(), len(pool.turns.taken))
		}
	})
	unbounded := NewPool(PoolOptions{Signatures: -1})
	v := New(shop(t, nil), ring(), Options{Pool: unbounded})
	if p, err := v.Verify(context.Background(), good(nil), authztest.Now); err != nil {
		t.Errorf("unbounded: %v, %v", p, err)
	}
	if n := cap(NewPool(PoolOptions{}).turns.taken); n < 1 || n > max(1, runtime.GOMAXPROCS(0)/2) {
		t.Errorf("%d turns", n)
	}
}

// A key that makes the arithmetic panic takes no turn with it.
func TestTurnsSurviveAPanic(t *testing.T) {
	pool := NewPool(PoolOptions{Signatures: 1})
	v := New(shop(t, nil), ring(), Options{Pool: pool})
	v.methods = map[string]method{"ES256": panicking{}}
	for range 3 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _ = v.Verify(context.Background(), good(nil), authztest.Now)
		}()
	}
}

type panicking struct{}

func (panicking) Verify(string, []byte, any) error { panic("arithmetic") }
