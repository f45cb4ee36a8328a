package jwks

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// weakRSA is a JSON Web Key with numbers of our choice.
func weakRSA(n *big.Int, e []byte) map[string]any {
	return map[string]any{"kid": "k", "kty": "RSA", "n": b64(n.Bytes()), "e": b64(e)}
}

func randomModulus(t testing.TB, bits uint) *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits-1))
	if err != nil {
		t.Fatal(err)
	}
	return n.SetBit(n.SetBit(n, int(bits)-1, 1), 0, 1)
}

// rocaModulus is a product of two numbers with the form k*M + (65537^a mod M), which the vulnerable generator gave its primes.
func rocaModulus(t testing.TB) *big.Int {
	m := big.NewInt(2)
	for _, p := range rocaPrimes {
		m.Mul(m, big.NewInt(p))
	}
	factor := func(a int64) *big.Int {
		power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(a), m)
		k := randomModulus(t, uint(1024-m.BitLen()))
		f := k.Mul(k, m)
		return f.Add(f, power)
	}
	n := factor(12345)
	n.Mul(n, factor(67890))
	return n
}

// Each document holds one key under test, and beside it a good one that must not be taken along.
func TestReadJudgesEachKeyAlone(t *testing.T) {
	rsaN := authztest.RSA().Public().(*rsa.PublicKey).N
	with := func(key *authztest.Key, over map[string]any) map[string]any {
		return key.JWK(mergeInto(map[string]any{"kid": "k"}, over))
	}
	type want struct{ usable, refused, skipped int }
	used, refused, skipped := want{usable: 2}, want{usable: 1, refused: 1}, want{usable: 1, skipped: 1}
	for name, c := range map[string]struct {
		key  any
		want want
	}{
		// Sound keys, with and without the optional members.
		"RSA":                        {with(authztest.RSA(), nil), used},
		"EC P-256":                   {with(authztest.OtherEC(), nil), used},
		"EC P-384":                   {with(authztest.P384(), nil), used},
		"EC P-521":                   {with(authztest.P521(), nil), used},
		"Ed25519":                    {with(authztest.Ed25519(), nil), used},
		"no use":                     {with(authztest.RSA(), map[string]any{"use": nil}), used},
		"no alg":                     {with(authztest.RSA(), map[string]any{"alg": nil}), used},
		"no kid":                     {with(authztest.RSA(), map[string]any{"kid": nil}), used},
		"key_ops with verify":        {with(authztest.RSA(), map[string]any{"key_ops": []string{"verify"}}), used},
		"a certificate nobody reads": {with(authztest.RSA(), map[string]any{"x5c": []string{"bm9uZQ=="}, "x5t": "x", "x5u": "http://169.254.169.254/"}), used},
		"padding":                    {with(authztest.RSA(), map[string]any{"n": base64.URLEncoding.EncodeToString(rsaN.Bytes())}), used},

		// Keys for something else: not an error of the issuer's.
		"use enc":                   {with(authztest.RSA(), map[string]any{"use": "enc"}), skipped},
		"key_ops without verify":    {with(authztest.RSA(), map[string]any{"key_ops": []string{"sign", "wrapKey"}}), skipped},
		"alg for encryption":        {with(authztest.RSA(), map[string]any{"alg": "RSA-OAEP"}), skipped},
		"alg of RFC 9864":           {with(authztest.Ed25519(), map[string]any{"alg": "Ed25519"}), skipped},
		"alg HS256":                 {with(authztest.RSA(), map[string]any{"alg": "HS256"}), skipped},
		"alg none":                  {with(authztest.RSA(), map[string]any{"alg": "none"}), skipped},
		"unknown kind":              {map[string]any{"kid": "k", "kty": "LWE", "x": "AA"}, skipped},
		"unknown curve":             {with(authztest.EC(), map[string]any{"crv": "secp256k1", "alg": nil}), skipped},
		"unknown Edwards curve":     {map[string]any{"kid": "k", "kty": "OKP", "crv": "Ed448", "x": "AA"}, skipped},
		"a curve for key agreement": {map[string]any{"kid": "k", "kty": "OKP", "crv": "X25519", "x": b64(make([]byte, 32))}, skipped},

		// Weak, malformed, secret.
		"RSA of 1024 bits":        {weakRSA(randomModulus(t, 1024), []byte{1, 0, 1}), refused},
		"RSA of 2047 bits":        {weakRSA(randomModulus(t, 2047), []byte{1, 0, 1}), refused},
		"RSA of 16384 bits":       {weakRSA(randomModulus(t, 16384), []byte{1, 0, 1}), refused},
		"RSA of 8193 bits":        {weakRSA(randomModulus(t, 8193), []byte{1, 0, 1}), refused},
		"even modulus":            {weakRSA(new(big.Int).Lsh(rsaN, 1), []byte{1, 0, 1}), refused},
		"exponent 1":              {weakRSA(rsaN, []byte{1}), refused},
		"exponent 2":              {weakRSA(rsaN, []byte{2}), refused},
		"even exponent":           {weakRSA(rsaN, []byte{1, 0, 0}), refused},
		"exponent 2^64+3":         {weakRSA(rsaN, []byte{1, 0, 0, 0, 0, 0, 0, 0, 3}), refused},
		"no exponent":             {weakRSA(rsaN, nil), refused},
		"CVE-2017-15361":          {weakRSA(rocaModulus(t), []byte{1, 0, 1}), refused},
		"off the curve":           {with(authztest.EC(), map[string]any{"y": b64(make([]byte, 32))}), refused},
		"another curve's point":   {with(authztest.EC(), map[string]any{"crv": "P-384", "alg": nil}), refused},
		"alg of another curve":    {with(authztest.P384(), map[string]any{"alg": "ES256"}), refused},
		"alg of another kind":     {with(authztest.EC(), map[string]any{"alg": "RS256"}), refused},
		"symmetric":               {map[string]any{"kid": "k", "kty": "oct", "k": b64([]byte("secretsecretsecretsecretsecretse"))}, refused},
		"symmetric without a key": {map[string]any{"kid": "k", "kty": "oct"}, refused},
		"private exponent":        {with(authztest.RSA(), map[string]any{"d": "AA"}), refused},
		"private scalar":          {with(authztest.EC(), map[string]any{"d": "AA"}), refused},
		"Ed25519 of 31 bytes":     {with(authztest.Ed25519(), map[string]any{"x": b64(make([]byte, 31))}), refused},
		"a line break in n":       {with(authztest.RSA(), map[string]any{"n": b64(rsaN.Bytes())[:10] + "\n" + b64(rsaN.Bytes())[10:]}), refused},
		"kid a number":            {with(authztest.RSA(), map[string]any{"kid": 7}), refused},
		"kid of 10 kB":            {with(authztest.RSA(), map[string]any{"kid": strings.Repeat("k", 10_000)}), refused},
		"use a number":            {with(authztest.RSA(), map[string]any{"use": 7}), refused},
		"key_ops a text":          {with(authztest.RSA(), map[string]any{"key_ops": "verify"}), refused},
		"n a number":              {with(authztest.RSA(), map[string]any{"n": 7}), refused},
		"no kty":                  {with(authztest.RSA(), map[string]any{"kty": nil}), refused},
		"not an object":           {"key", refused},
		"null":                    {nil, refused},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := read(document(t, authztest.EC().JWK(nil), c.key))
			if err != nil {
				t.Fatal(err)
			}
			if got := (want{set.usable, len(set.refusals), set.skipped}); got != c.want {
				t.Errorf("usable, refused, skipped = %v, want %v (%v)", got, c.want, set.refusals)
			}
			if _, outcome := set.find("ec-1", "ES256"); outcome != found {
				t.Error("the good key beside it is gone")
			}
		})
	}
}

func mergeInto(base, over map[string]any) map[string]any {
	for k, v := range over {
		base[k] = v
	}
	return base
}

func document(t testing.TB, keys ...any) []byte {
	data, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Whole documents that replace nothing: a set that is not one, or has nothing to verify with.
func TestReadRefusesDocuments(t *testing.T) {
	many := make([]any, maxKeys+1)
	for i := range many {
		many[i] = authztest.EC().JWK(nil)
	}
	for name, body := range map[string][]byte{
		"nothing":            nil,
		"HTML":               []byte("<html><body>login</body></html>"),
		"an array":           []byte("[]"),
		"no keys":            []byte("{}"),
		"keys is an object":  []byte(`{"keys":{}}`),
		"keys is null":       []byte(`{"keys":null}`),
		"an empty set":       []byte(`{"keys":[]}`),
		"two lists":          []byte(`{"keys":[],"keys":[]}`),
		"trailing text":      append(authztest.JWKS(authztest.EC()), "x"...),
		"only weak keys":     document(t, weakRSA(randomModulus(t, 1024), []byte{1, 0, 1})),
		"only other keys":    document(t, authztest.RSA().JWK(map[string]any{"use": "enc"})),
		"more keys than any": document(t, many...),
	} {
		if set, err := read(body); err == nil {
			t.Errorf("%s: read as %d keys", name, set.usable)
		}
	}
}

// What a token's header may choose: one key, one algorithm, never by guessing.
func TestFind(t *testing.T) {
	rs, ps := authztest.RSA(), authztest.OtherRSA()
	plain := map[string]any{"alg": nil}
	named := func(kid string, alg any) map[string]any { return map[string]any{"kid": kid, "alg": alg} }
	for _, c := range []struct {
		name     string
		keys     []any
		kid, alg string
		want     outcome
	}{
		{"its own algorithm", []any{rs.JWK(nil)}, "rsa-1", "RS256", found},
		{"another algorithm of the same kind", []any{rs.JWK(nil)}, "rsa-1", "PS256", unfit},
		{"a key that names none does both", []any{rs.JWK(plain)}, "rsa-1", "PS256", found},
		{"an algorithm of another kind", []any{rs.JWK(plain)}, "rsa-1", "ES256", unfit},
		{"P-384 for ES256", []any{authztest.P384().JWK(plain)}, "p384-1", "ES256", unfit},
		{"P-384 for ES384", []any{authztest.P384().JWK(plain)}, "p384-1", "ES384", found},
		{"HS256", []any{rs.JWK(plain)}, "rsa-1", "HS256", unfit},
		{"another kid", []any{rs.JWK(nil)}, "rsa-2", "RS256", absent},
		{"a kid of another case", []any{rs.JWK(nil)}, "RSA-1", "RS256", absent},
		{"a key for encryption is known and not used", []any{rs.JWK(map[string]any{"use": "enc"}), authztest.EC().JWK(nil)}, "rsa-1", "RS256", unfit},
		{"a weak key is known and not used", []any{weakRSA(randomModulus(t, 1024), []byte{3}), rs.JWK(nil)}, "k", "RS256", unfit},

		// No kid: the one key that fits, or none.
		{"no kid, one key", []any{rs.JWK(nil)}, "", "RS256", found},
		{"no kid, one key for it", []any{rs.JWK(nil), authztest.EC().JWK(nil)}, "", "ES256", found},
		{"no kid, two keys for it", []any{rs.JWK(nil), ps.JWK(named("rsa-2", nil))}, "", "RS256", unfit},
		{"no kid, the other is for encryption", []any{rs.JWK(nil), ps.JWK(map[string]any{"kid": "rsa-2", "use": "enc"})}, "", "RS256", found},
		{"no kid, none for it", []any{rs.JWK(nil)}, "", "ES256", absent},
		{"no kid, keys without kid", []any{rs.JWK(named("", nil)), ps.JWK(named("", nil))}, "", "RS256", unfit},

		// One kid twice (RFC 7517 4.5).
		{"two keys of one kid", []any{rs.JWK(nil), ps.JWK(nil)}, "rsa-1", "RS256", unfit},
		{"one key twice", []any{rs.JWK(nil), rs.JWK(nil)}, "rsa-1", "RS256", found},
		{"two kinds of one kid", []any{rs.JWK(nil), authztest.EC().JWK(named("rsa-1", "ES256"))}, "rsa-1", "ES256", found},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := read(document(t, c.keys...))
			if err != nil {
				t.Fatal(err)
			}
			key, got := set.find(c.kid, c.alg)
			if got != c.want {
				t.Errorf("find(%q, %q) = %v, want %v", c.kid, c.alg, got, c.want)
			}
			if (got == found) != (key != nil) {
				t.Errorf("outcome %v with key %v", got, key)
			}
		})
	}
}

// The digest is of what can be found, so that a mere rearrangement leaves caches warm and a changed key never does.
func TestDigest(t *testing.T) {
	digest := func(keys ...any) [32]byte {
		set, err := read(document(t, keys...))
		if err != nil {
			t.Fatal(err)
		}
		return set.digest
	}
	a, b := authztest.RSA().JWK(nil), authztest.EC().JWK(nil)
	base := digest(a, b)
	if digest(b, a) != base {
		t.Error("another order is another digest")
	}
	for name, other := range map[string][32]byte{
		"a key less":           digest(a),
		"another key":          digest(authztest.OtherRSA().JWK(nil), b),
		"another name":         digest(authztest.RSA().JWK(map[string]any{"kid": "new"}), b),
		"another algorithm":    digest(authztest.RSA().JWK(map[string]any{"alg": "PS256"}), b),
		"a second of the name": digest(a, b, authztest.OtherRSA().JWK(nil)),
	} {
		if other == base {
			t.Errorf("%s: the same digest", name)
		}
	}
}

// A sound key is not mistaken for a vulnerable one.
func TestROCA(t *testing.T) {
	if isROCA(authztest.RSA().Public().(*rsa.PublicKey).N) {
		t.Error("a fresh key bears the mark (or the dice fell once in 2^27)")
	}
	if !isROCA(rocaModulus(t)) {
		t.Error("a vulnerable modulus passed")
	}
}

// No document makes reading panic, and every key that comes out fits the algorithm it was filed under.
func FuzzRead(f *testing.F) {
	f.Add(authztest.JWKS(authztest.RSA(), authztest.EC(), authztest.Ed25519()))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"oct","k":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":""},7,null,[],{"kty":"EC","crv":"P-521","x":"_","y":"-"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, err := read(body)
		if err != nil {
			if set != nil {
				t.Error("a set with an error")
			}
			return
		}
		for at, key := range set.keys {
			if key == nil {
				continue
			}
			if err := authz.KeyFits(at.alg, key); err != nil {
				t.Errorf("%v: %v", at, err)
			}
		}
	})
}
