package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// A verifier that remembers and one that does not give the same answer to every question of any history: tokens good, bad and bent, at
// any time, while keys come and go.
func TestColdAndWarmAgree(t *testing.T) {
	at := authztest.Now.Unix()
	tokens := []string{
		good(nil), good(map[string]any{"sub": "bob"}), good(map[string]any{"nbf": at + 60}), good(map[string]any{"exp": at + 30}),
		good(map[string]any{"iat": at + 40}), good(map[string]any{"aud": "other"}), good(map[string]any{"sub": "batch", "client_id": "batch"}),
		authztest.Mint(authztest.RSA(), nil, authztest.Claims(nil)), authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)),
		authztest.Mint(authztest.Ed25519(), map[string]any{"kid": nil}, authztest.Claims(nil)), authztest.Unsigned(nil, authztest.Claims(nil)), "x",
	}
	sets := [][]*authztest.Key{ring().Ring, {authztest.EC()}, {authztest.OtherEC(), authztest.RSA()}, nil}
	rapid.Check(t, func(t *rapid.T) {
		issuer, keys := shopForRapid(t), ring()
		room := rapid.SampledFrom([]int{0, 64 << 10, 8 << 10, 100}).Draw(t, "room")
		cold, warm := New(issuer, keys, Options{Pool: NewPool(PoolOptions{Bytes: -1})}), New(issuer, keys, Options{Pool: NewPool(PoolOptions{Bytes: room})})
		for range rapid.IntRange(1, 40).Draw(t, "questions") {
			switch rapid.IntRange(0, 9).Draw(t, "event") {
			case 0:
				keys.Ring = rapid.SampledFrom(sets).Draw(t, "keys")
				keys.Generation++
			case 1:
				keys.Err = rapid.SampledFrom([]error{nil, nil, authz.ErrKeysUnavailable}).Draw(t, "err")
			}
			token := rapid.SampledFrom(tokens).Draw(t, "token")
			if rapid.IntRange(0, 4).Draw(t, "bend") == 0 {
				i := rapid.IntRange(0, len(token)-1).Draw(t, "place")
				token = token[:i] + string(rapid.SampledFrom([]rune("A.-_z=")).Draw(t, "byte")) + token[i+1:]
			}
			now := authztest.Now.Add(time.Duration(rapid.IntRange(-120, 700).Draw(t, "second")) * time.Second)
			p, err := cold.Verify(context.Background(), token, now)
			again, errAgain := warm.Verify(context.Background(), token, now)
			if a, b := show(p, err), show(again, errAgain); a != b {
				t.Fatalf("cold: %s\nwarm: %s", a, b)
			}
		}
	})
}

// shopForRapid is shop for a test that is no testing.TB.
func shopForRapid(t *rapid.T) *policy.Issuer {
	schema, err := newSchema()
	if err != nil {
		t.Fatal(err)
	}
	return settings(schema)
}

// Only good tokens are remembered, and the memory for them is bounded.
func TestCacheHoldsGoodTokensOnly(t *testing.T) {
	v := New(shop(t, nil), ring(), Options{})
	at := authztest.Now.Unix()
	bad := []string{
		good(map[string]any{"aud": "x"}), good(map[string]any{"exp": at - 10}), good(map[string]any{"nbf": at + 100}),
		authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)), authztest.Unsigned(nil, authztest.Claims(nil)), "x", "",
	}
	for _, token := range bad {
		if _, err := v.Verify(context.Background(), token, authztest.Now); err == nil {
			t.Fatalf("accepted: %s", token)
		}
	}
	if n := v.share.proofs.EstimatedSize(); n != 0 {
		t.Errorf("%d bad tokens are remembered", n)
	}
	for range 3 {
		if _, err := v.Verify(context.Background(), good(nil), authztest.Now); err != nil {
			t.Fatal(err)
		}
	}
	if n := v.share.proofs.EstimatedSize(); n != 3 {
		t.Errorf("%d tokens are remembered, want 3 (each signature is another token)", n)
	}

	const room = 64 << 10
	small := New(shop(t, nil), ring(), Options{Pool: NewPool(PoolOptions{Bytes: room})})
	for i := range 300 {
		token := authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(map[string]any{"jti": fmt.Sprint(i)}))
		if _, err := small.Verify(context.Background(), token, authztest.Now); err != nil {
			t.Fatal(err)
		}
	}
	small.share.proofs.CleanUp()
	if held := small.share.proofs.WeightedSize(); held == 0 || held > room {
		t.Errorf("the cache holds %d bytes of %d", held, room)
	}
}

// A proof made under other settings is not found: the settings are part of its name.
func TestCacheNamesTheSettings(t *testing.T) {
	a := New(shop(t, nil), ring(), Options{})
	b := New(shop(t, func(i *policy.Issuer) { i.Digest[0] = 1 }), ring(), Options{})
	if a.fingerprint("token") == b.fingerprint("token") {
		t.Error("two settings, one name")
	}
	if first, again := a.fingerprint("token"), a.fingerprint("token"); first == a.fingerprint("token.") || first != again {
		t.Error("the name is not the token's")
	}
}

// One verifier serves many requests at once; the race detector is the judge.
func TestConcurrentUse(t *testing.T) {
	v := New(shop(t, nil), ring(), Options{Pool: NewPool(PoolOptions{Bytes: 16 << 10})})
	tokens := make([]string, 20)
	for i := range tokens {
		tokens[i] = authztest.Mint(authztest.Ed25519(), nil, authztest.Claims(map[string]any{"sub": fmt.Sprint("user-", i)}))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 10 {
				for i, token := range tokens {
					p, err := v.Verify(context.Background(), token, authztest.Now)
					if err != nil || p.Identity.Subject != fmt.Sprint("user-", i) {
						t.Errorf("user-%d: %v, %v", i, p, err)
					}
				}
			}
		})
	}
	group.Wait()
}

// No bytes make the verifier panic, no answer changes with the asking, and what is accepted is taken for its issuer's.
func FuzzCompact(f *testing.F) {
	for _, token := range []string{
		good(nil), authztest.Unsigned(nil, authztest.Claims(nil)), "", "..", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.AA", strings.Repeat(".", 100),
		good(nil) + "=", "eyJhbGciOiJkaXIifQ..AA.AA.AA", authztest.Mint(authztest.OtherEC(), nil, authztest.Claims(nil)),
	} {
		f.Add(token)
	}
	v := New(settings(must(newSchema())), ring(), Options{})
	f.Fuzz(func(t *testing.T, token string) { _, _ = thrice(t, v, token) })
}

// thrice asks for a token until it is remembered, holds the answers equal, and returns the last.
func thrice(t *testing.T, v *Verifier, token string) (*authz.Principal, error) {
	p, err := v.Verify(context.Background(), token, authztest.Now)
	first := show(p, err)
	for range 2 {
		if p, err = v.Verify(context.Background(), token, authztest.Now); show(p, err) != first {
			t.Errorf("first: %s\nthen:  %s", first, show(p, err))
		}
	}
	if (p == nil) == (err == nil) {
		t.Errorf("principal %v and error %v", p, err)
	}
	if chosen, ok := UnverifiedIssuer(token); err == nil && (!ok || chosen != v.issuer.Issuer) {
		t.Errorf("accepted for %q, chosen for %q, %v", v.issuer.Issuer, chosen, ok)
	}
	return p, err
}

// Whatever header an issuer really signs, one that is accepted says what a naive reader sees: the algorithm, the type, and nothing that
// changes how the token is read.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{
		`{"typ":"at+jwt","alg":"EdDSA","kid":"ed-1"}`, `{"typ":"application/AT+JWT","alg":"EdDSA"}`, `{"alg":"EdDSA","typ":"at+jwt","ALG":"none"}`,
		`{"alg":"none","alg":"EdDSA","typ":"at+jwt"}`, `{"alg":"EdDSA","typ":"at+jwt","crit":["b64"],"b64":false}`, `{"alg":"EdDSA","typ":"at+jwt","zip":"DEF"}`,
		`{"alg":"EdDSA","typ":"at+jwt","jwk":{}}`, `{"alg":"EdDSA","typ":"at+jwt","jku":""}`, `{"alg":["EdDSA"],"typ":"at+jwt"}`, `{"alg":"EdDSA","typ":"at+jwt","cty":"JWT"}`,
	} {
		f.Add(header)
	}
	claims := payload(nil)
	v := New(settings(must(newSchema())), ring(), Options{})
	f.Fuzz(func(t *testing.T, header string) {
		if _, err := thrice(t, v, authztest.MintRaw(authztest.Ed25519(), "EdDSA", header, claims)); err != nil {
			return
		}
		var head map[string]any
		if json.Unmarshal([]byte(header), &head) != nil {
			t.Fatal("accepted what is not JSON")
		}
		typ, _ := head["typ"].(string)
		if head["alg"] != "EdDSA" || !strings.HasSuffix(strings.ToLower(typ), "at+jwt") {
			t.Errorf("alg %v, typ %v", head["alg"], head["typ"])
		}
		for _, name := range []string{"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"} {
			if _, there := head[name]; there {
				t.Errorf("%s: %v", name, head[name])
			}
		}
	})
}

// Whatever an issuer really signs, what is accepted says what a naive reader sees: our issuer, our audience, a living date, one sub.
func FuzzClaims(f *testing.F) {
	f.Add(`{"typ":"at+jwt","alg":"EdDSA","kid":"ed-1"}`, payload(nil))
	f.Add(`{"typ":"AT+JWT","alg":"EdDSA"}`, payload(map[string]any{"aud": []string{"orders-api"}, "nbf": 1.5}))
	f.Add(`{"alg":"EdDSA","kid":"ed-1","crit":[]}`, payload(map[string]any{"cnf": map[string]any{}, "scope": "a  b"}))
	f.Add(`{"typ":"at+jwt","alg":"EdDSA"}`, payload(map[string]any{
		"realm_access": map[string]any{"roles": []string{"a", ""}}, "plan": "free", "vip": false, "level": -7, "sid": "s", "scope": "b a b",
		"cnf": map[string]any{"x5t#S256": strings.Repeat("A", 43)},
	}))
	f.Add(`{"typ":"at+jwt","alg":"EdDSA","ALG":"none"}`, `{"exp":1e400,"iat":-0,"sub":"\ud800","aud":[],"iss":null}`)
	issuer := settings(must(newSchema()))
	issuer.Claims = []policy.Claim{
		{Name: "roles", From: []string{"realm_access", "roles"}, Type: condition.Strings}, {Name: "plan", From: []string{"plan"}, Type: condition.String},
		{Name: "vip", From: []string{"vip"}, Type: condition.Bool}, {Name: "level", From: []string{"level"}, Type: condition.Int},
	}
	v := New(issuer, ring(), Options{})
	f.Fuzz(func(t *testing.T, header, claims string) {
		p, err := thrice(t, v, authztest.MintRaw(authztest.Ed25519(), "EdDSA", header, claims))
		if err != nil {
			var refused *authz.TokenError
			if p != nil || !errors.As(err, &refused) {
				t.Errorf("principal %v, error %v", p, err)
			}
			return
		}
		var head, seen map[string]any
		if json.Unmarshal([]byte(header), &head) != nil || json.Unmarshal([]byte(claims), &seen) != nil {
			t.Fatal("accepted what is not JSON")
		}
		audiences, _ := seen["aud"].([]any)
		if one, ok := seen["aud"].(string); ok {
			audiences = []any{one}
		}
		exp, dated := seen["exp"].(float64)
		switch {
		case head["alg"] != "EdDSA" || head["crit"] != nil || head["jwk"] != nil:
			t.Errorf("header %v", head)
		case seen["iss"] != authztest.Issuer || !slices.Contains(audiences, any(authztest.Audience)):
			t.Errorf("iss %v, aud %v", seen["iss"], seen["aud"])
		case !dated || exp <= float64(authztest.Now.Unix()-10):
			t.Errorf("exp %v", seen["exp"])
		case p.Identity.Kind == authz.Person && seen["sub"] != p.Identity.Subject:
			t.Errorf("sub %v, subject %q", seen["sub"], p.Identity.Subject)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
