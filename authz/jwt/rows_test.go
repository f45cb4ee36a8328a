package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Signatures that arithmetic alone would pass (RFC 7518 3.4, 3.5; CVE-2022-21449).
func TestSignatures(t *testing.T) {
	ec, rs := authztest.EC(), authztest.RSA()
	es := good(nil)
	ps := authztest.Mint(rs, map[string]any{"alg": "PS256"}, authztest.Claims(nil))
	rsa256 := authztest.Mint(rs, nil, authztest.Claims(nil))
	salted := func(salt int) string {
		return authztest.WithSignature(ps, authztest.SignPSS(rs, "PS256", authztest.SignedPart(ps), salt))
	}
	raw := func(signature []byte) string { return authztest.WithSignature(es, signature) }
	n := elliptic.P256().Params().N
	zero, one := big.NewInt(0), big.NewInt(1)
	sound := authztest.Sign(ec, "ES256", authztest.SignedPart(es))
	run(t, shop(t, nil), []line{
		{"PS256, salt as long as the hash", salted(32), ""},
		{"PS256, no salt", salted(0), authz.DetailSignature},
		{"PS256, salt of SHA-1", salted(20), authz.DetailSignature},
		{"PS256, salt of SHA-512", salted(64), authz.DetailSignature},
		{"PS256, the longest salt", salted(2048/8 - 32 - 2), authz.DetailSignature},
		{"PS256 signed by RS256", authztest.WithSignature(ps, authztest.Sign(rs, "RS256", authztest.SignedPart(ps))), authz.DetailSignature},

		{"ES256, r and s", raw(sound), ""},
		{"ES256, DER", raw(authztest.SignDER(ec, "ES256", authztest.SignedPart(es))), authz.DetailSignature},
		{"ES256, r = s = 0", raw(authztest.RS(zero, zero)), authz.DetailSignature},
		{"ES256, r = 0", raw(authztest.RS(zero, one)), authz.DetailSignature},
		{"ES256, s = 0", raw(authztest.RS(one, zero)), authz.DetailSignature},
		{"ES256, r = n", raw(authztest.RS(n, one)), authz.DetailSignature},
		{"ES256, s = n", raw(authztest.RS(one, n)), authz.DetailSignature},
		{"ES256, r = s = 2^256-1", raw(bytes.Repeat([]byte{0xff}, 64)), authz.DetailSignature},
		{"ES256, 63 bytes", raw(sound[:63]), authz.DetailSignature},
		{"ES256, 65 bytes", raw(append(sound, 0)), authz.DetailSignature},
		{"ES256, 65 bytes, a zero in front", raw(append([]byte{0}, sound...)), authz.DetailSignature},
		{"ES256, empty", raw(nil), authz.DetailSignature},
		{"ES256, 8 bytes", raw(make([]byte, 8)), authz.DetailSignature},

		{"RS256, PKCS #1 v1.5", rsa256, ""},
		{"RS256, rubbish behind the hash", authztest.WithSignature(rsa256, lax(rs, authztest.SignedPart(rsa256), laxTrailing)), authz.DetailSignature},
		{"RS256, no NULL in the digest", authztest.WithSignature(rsa256, lax(rs, authztest.SignedPart(rsa256), laxNoNull)), authz.DetailSignature},
		{"RS256, block type 2", authztest.WithSignature(rsa256, lax(rs, authztest.SignedPart(rsa256), laxType)), authz.DetailSignature},
		{"RS256, the right block", authztest.WithSignature(rsa256, lax(rs, authztest.SignedPart(rsa256), laxNothing)), ""},
		{"RS256, empty", authztest.WithSignature(rsa256, nil), authz.DetailSignature},
		{"RS256, a byte in front", authztest.WithSignature(rsa256, append([]byte{0}, authztest.Sign(rs, "RS256", authztest.SignedPart(rsa256))...)), authz.DetailSignature},
	})
}

// The laxities of RSA padding checks that let signatures be forged for small exponents (CVE-2006-4339 and its children).
type laxity int

const (
	laxNothing laxity = iota
	laxTrailing
	laxNoNull
	laxType
)

// lax signs a block that is padded in a way that only a lax verifier takes.
func lax(key *authztest.Key, signed string, how laxity) []byte {
	private := key.Private.(*rsa.PrivateKey)
	h := crypto.SHA256.New()
	h.Write([]byte(signed))
	digest := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	if how == laxNoNull {
		digest = []byte{0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20}
	}
	tail := h.Sum(digest)
	if how == laxTrailing {
		tail = append(tail, make([]byte, 64)...)
	}
	block := make([]byte, private.Size())
	block[1] = 1
	if how == laxType {
		block[1] = 2
	}
	for i := 2; i < len(block)-len(tail)-1; i++ {
		block[i] = 0xff
	}
	copy(block[len(block)-len(tail):], tail)
	m := new(big.Int).SetBytes(block)
	return m.Exp(m, private.D, private.N).FillBytes(block)
}

// What is not three parts of base64url in one spelling (RFC 7515 7.1, 2; RFC 8725 3.2).
func TestCompactForm(t *testing.T) {
	token := good(nil)
	part := strings.Split(token, ".")
	std := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	loose := []byte(token)
	loose[len(loose)-1] = nextInGroup(loose[len(loose)-1])
	run(t, shop(t, nil), []line{
		{"three parts", token, ""},
		{"nothing", "", authz.DetailMalformed},
		{"one part", part[0], authz.DetailMalformed},
		{"two parts", part[0] + "." + part[1], authz.DetailMalformed},
		{"four parts", token + "." + part[2], authz.DetailMalformed},
		{"five parts, encrypted", "eyJhbGciOiJkaXIifQ..AA.AA.AA", authz.DetailMalformed},
		{"two dots", "..", authz.DetailMalformed},
		{"no header", "." + part[1] + "." + part[2], authz.DetailMalformed},
		{"no payload", part[0] + ".." + part[2], authz.DetailMalformed},
		{"JSON serialization", `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`, authz.DetailMalformed},
		{"padding", token + "=", authz.DetailMalformed},
		{"a space in front", " " + token, authz.DetailMalformed},
		{"a space behind", token + " ", authz.DetailMalformed},
		{"a line break behind", token + "\n", authz.DetailMalformed},
		{"a line break within", token[:20] + "\r\n" + token[20:], authz.DetailMalformed},
		{"a tab", token[:20] + "\t" + token[20:], authz.DetailMalformed},
		{"NUL", token + "\x00", authz.DetailMalformed},
		{"a letter beyond ASCII", token[:20] + "é" + token[20:], authz.DetailMalformed},
		{"a question mark", token + "?", authz.DetailMalformed},
		{"the other alphabet", std("\xfb\xff\xfe") + "." + part[1] + "." + part[2], authz.DetailMalformed},
		{"unused bits in the signature", string(loose), authz.DetailMalformed},
		{"a dangling character", part[0] + "A." + part[1] + "." + part[2], authz.DetailMalformed},
		{"a million dots", strings.Repeat(".", 1_000_000), authz.DetailTooLarge},
		{"8 KiB of dots", strings.Repeat(".", MaxToken), authz.DetailMalformed},
		{"a byte more than 8 KiB", strings.Repeat("A", MaxToken+1), authz.DetailTooLarge},
		{"250 kB of an inflated token", token + strings.Repeat("A", 250_000), authz.DetailTooLarge},
	})
	long := good(map[string]any{"pad": strings.Repeat("x", 5000)})
	run(t, shop(t, nil), []line{{"a long token", long, ""}})
}

// nextInGroup changes a last character's lowest bit, which a 64-byte signature does not use.
func nextInGroup(c byte) byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, c)^1]
}

// What is no token costs its length and at most the answer.
func TestGarbageAllocatesNothing(t *testing.T) {
	v := New(shop(t, nil), ring(), Options{})
	for name, token := range map[string]string{
		"a million dots": strings.Repeat(".", 1_000_000), "8 KiB of dots": strings.Repeat(".", MaxToken), "braces": strings.Repeat("{", MaxToken),
		"letters": strings.Repeat("A", MaxToken), "ten MB": strings.Repeat("A", 10_000_000), "empty": "",
	} {
		allocs := testing.AllocsPerRun(100, func() { _, _ = v.Verify(context.Background(), token, authztest.Now) })
		if allocs > 1 {
			t.Errorf("%s: %v allocations, want the refusal alone", name, allocs)
		}
	}
}

// Header members that change how a token is read, or bring its key along (RFC 7515 4.1).
func TestHeader(t *testing.T) {
	with := func(header map[string]any) string {
		return authztest.Mint(authztest.EC(), header, authztest.Claims(nil))
	}
	one := func(name string, value any) string { return with(map[string]any{name: value}) }
	attacker := authztest.OtherEC()
	lines := []line{
		{"an unknown member", one("x", map[string]any{"y": 1}), ""},
		{"another content type", one("cty", "text/plain"), ""},
		{"crit empty", one("crit", []string{}), authz.DetailHeader},
		{"crit exp", with(map[string]any{"crit": []string{"exp"}, "exp": 1}), authz.DetailHeader},
		{"crit unknown", with(map[string]any{"crit": []string{"x"}, "x": 1}), authz.DetailHeader},
		{"crit null", one("crit", authztest.Null), authz.DetailHeader},
		{"crit b64", with(map[string]any{"crit": []string{"b64"}, "b64": false}), authz.DetailHeader},
		{"b64 without crit", one("b64", false), authz.DetailHeader},
		{"b64 true", one("b64", true), authz.DetailHeader},
		{"zip", one("zip", "DEF"), authz.DetailHeader},
		{"cty JWT", one("cty", "JWT"), authz.DetailHeader},
		{"cty jwt", one("cty", "jwt"), authz.DetailHeader},
		{"cty application/jwt", one("cty", "application/JWT"), authz.DetailHeader},
		{"cty a number", one("cty", 7), authz.DetailHeader},
		{"jwk of the issuer", one("jwk", authztest.EC().JWK(nil)), authz.DetailHeader},
		{"jwk of the attacker", authztest.Mint(attacker, map[string]any{"jwk": attacker.JWK(nil)}, authztest.Claims(nil)), authz.DetailHeader},
		{"jwk of the attacker, no kid", authztest.Mint(attacker, map[string]any{"jwk": attacker.JWK(nil), "kid": nil}, authztest.Claims(nil)), authz.DetailHeader},
	}
	run(t, shop(t, nil), lines)
	ignoring := shop(t, func(i *policy.Issuer) { i.IgnoreKeyHeaders = true })
	run(t, ignoring, lines)

	// Pointers to keys are refused, or, where the issuer always writes them, not looked at: the attacker's key still proves nothing.
	for _, name := range []string{"jku", "x5u", "x5c"} {
		for _, target := range []any{"https://attacker.example/jwks.json", "http://127.0.0.1:1/", "http://169.254.169.254/", []string{"MIIB"}, authztest.Null} {
			own := one(name, target)
			forged := authztest.Mint(attacker, map[string]any{name: target}, authztest.Claims(nil))
			at := fmt.Sprintf("%s %v", name, target)
			run(t, shop(t, nil), []line{{at, own, authz.DetailHeader}, {at + ", forged", forged, authz.DetailHeader}})
			run(t, ignoring, []line{{at + ", ignored", own, ""}, {at + ", ignored, forged", forged, authz.DetailSignature}})
		}
	}
}

// typ tells an access token from the other things that an issuer signs with the same key (RFC 8725 3.11, RFC 9068 2.1).
func TestTypes(t *testing.T) {
	typed := func(typ any) string {
		return authztest.Mint(authztest.EC(), map[string]any{"typ": typ}, authztest.Claims(map[string]any{"token_use": "access"}))
	}
	run(t, shop(t, nil), []line{
		{"at+jwt", typed("at+jwt"), ""},
		{"AT+JWT", typed("AT+JWT"), ""},
		{"application/at+jwt", typed("application/at+jwt"), ""},
		{"Application/At+Jwt", typed("Application/At+Jwt"), ""},
		{"JWT", typed("JWT"), authz.DetailType},
		{"absent", typed(nil), authz.DetailType},
		{"the word none", typed("none"), authz.DetailType},
		{"null", typed(authztest.Null), authz.DetailType},
		{"empty", typed(""), authz.DetailType},
		{"a list", typed([]string{"at+jwt"}), authz.DetailType},
		{"application/ alone", typed("application/"), authz.DetailType},
		{"twice application/", typed("application/application/at+jwt"), authz.DetailType},
		{"another tree", typed("text/at+jwt"), authz.DetailType},
		{"with a parameter", typed("at+jwt;v=1"), authz.DetailType},
		{"logout token", typed("logout+jwt"), authz.DetailType},
		{"security event", typed("secevent+jwt"), authz.DetailType},
		{"DPoP proof", typed("dpop+jwt"), authz.DetailType},
		{"client assertion", typed("client-authentication+jwt"), authz.DetailType},
		{"refresh token", typed("rt+jwt"), authz.DetailType},
		{"ID token", typed("id_token+jwt"), authz.DetailType},
	})
	if mediaType("\u212a+jwt") == "k+jwt" {
		t.Error("a letter beyond ASCII was folded")
	}
	loose := shop(t, func(i *policy.Issuer) {
		i.Types = []string{"jwt", "none"}
		i.Where = []policy.ClaimValue{{Path: []string{"token_use"}, Value: "access"}}
	})
	run(t, loose, []line{
		{"JWT where the issuer says so", typed("JWT"), ""},
		{"jwt", typed("jwt"), ""},
		{"absent where the issuer says so", typed(nil), ""},
		{"the word none is no absence", typed("none"), authz.DetailType},
		{"at+jwt, which this issuer does not write", typed("at+jwt"), authz.DetailType},
	})
}

// kid is a name in a map, and bounded; whatever else it spells has no effect (RFC 8725 3.10).
func TestKid(t *testing.T) {
	named := func(kid any) string {
		return authztest.Mint(authztest.EC(), map[string]any{"kid": kid}, authztest.Claims(nil))
	}
	run(t, shop(t, nil), []line{
		{"the key's", named("ec-1"), ""},
		{"none, and one key fits", named(nil), ""},
		{"of another case", named("EC-1"), authz.DetailUnknownKey},
		{"of another key", named("rsa-1"), authz.DetailUnknownKey},
		{"a path", named("../../etc/passwd"), authz.DetailUnknownKey},
		{"SQL", named("' OR 1=1--"), authz.DetailUnknownKey},
		{"LDAP", named("*)(uid=*"), authz.DetailUnknownKey},
		{"255 bytes", named(strings.Repeat("k", 255)), authz.DetailUnknownKey},
		{"256 bytes", named(strings.Repeat("k", 256)), authz.DetailHeader},
		{"5 kB", named(strings.Repeat("k", 5000)), authz.DetailHeader},
		{"10 kB", named(strings.Repeat("k", 10_000)), authz.DetailTooLarge},
		{"empty", named(""), authz.DetailHeader},
		{"NUL", named("ec-1\x00"), authz.DetailMalformed},
		{"a line break", named("ec-1\r\nx: y"), authz.DetailHeader},
		{"an escape sequence", named("\x1b[2J"), authz.DetailHeader},
		{"a number", named(1), authz.DetailHeader},
		{"null", named(authztest.Null), authz.DetailHeader},
		{"a list", named([]string{"ec-1"}), authz.DetailHeader},
	})
	two := ring()
	second := *authztest.OtherEC()
	second.ID = "ec-2"
	two.Ring = append(two.Ring, &second)
	p, err := verify(t, shop(t, nil), two, named(nil), authztest.Now)
	wantDetail(t, p, err, authz.DetailUnknownKey)
}

// JSON that two parsers read differently is read by none (RFC 8725 3.7; duplicate names: RFC 7515 4, RFC 7519 4).
func TestStrictJSON(t *testing.T) {
	ec := authztest.EC()
	const header = `{"typ":"at+jwt","alg":"ES256","kid":"ec-1"}`
	raw := func(header, payload string) string { return authztest.MintRaw(ec, "ES256", header, payload) }
	sound := payload(nil)
	extra := func(members string) string { return raw(header, sound[:len(sound)-1]+","+members+"}") }
	head := func(members string) string { return raw(header[:len(header)-1]+","+members+"}", sound) }
	run(t, shop(t, nil), []line{
		{"the twin", raw(header, sound), ""},
		{"white space", raw(" "+header+" ", "\n"+sound+"\t"), ""},
		{"another claim", extra(`"role":"admin"`), ""},
		{"alg twice, none first", raw(`{"alg":"none",`+header[1:], sound), authz.DetailMalformed},
		{"alg twice", head(`"alg":"none"`), authz.DetailMalformed},
		{"ALG beside alg", head(`"ALG":"none"`), authz.DetailMalformed},
		{"sub twice", extra(`"sub":"bob"`), authz.DetailMalformed},
		{"SUB beside sub", extra(`"SUB":"bob"`), authz.DetailMalformed},
		{"a sub with U+017F", extra(`"ſub":"bob"`), authz.DetailMalformed},
		{"an escaped sub", extra(`"\u0073ub":"bob"`), authz.DetailMalformed},
		{"twice, deep inside", extra(`"a":{"b":[{"c":1,"c":2}]}`), authz.DetailMalformed},
		{"a byte order mark", raw(header, "\ufeff"+sound), authz.DetailMalformed},
		{"UTF-16", raw(header, "\xff\xfe{\x00}\x00"), authz.DetailMalformed},
		{"an invalid byte", raw(header, strings.Replace(sound, "alice", "alice\xff", 1)), authz.DetailMalformed},
		{"overlong UTF-8", raw(header, strings.Replace(sound, "alice", "ali\xc0\xa3e", 1)), authz.DetailMalformed},
		{"a lone surrogate", raw(header, strings.Replace(sound, "alice", `ali\ud800ce`, 1)), authz.DetailMalformed},
		{"NUL in sub", raw(header, strings.Replace(sound, "alice", `alice\u0000`, 1)), authz.DetailMalformed},
		{"two values", raw(header, sound+sound), authz.DetailMalformed},
		{"a list", raw(header, "["+sound+"]"), authz.DetailMalformed},
		{"a text", raw(header, `"claims"`), authz.DetailMalformed},
		{"null", raw(header, "null"), authz.DetailMalformed},
		{"the header a list", raw("["+header+"]", sound), authz.DetailMalformed},
		{"a comment", raw(header, "/**/"+sound), authz.DetailMalformed},
		{"NaN", extra(`"x":NaN`), authz.DetailMalformed},
		{"a thousand brackets", extra(`"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000)), authz.DetailMalformed},
	})
}

// iss is compared byte for byte (RFC 8725 3.8).
func TestIssuer(t *testing.T) {
	var lines []line
	for _, iss := range []any{
		"https://Issuer.test", "HTTPS://issuer.test", "https://issuer.test/", "https://issuer.test:443", "https://issuer%2Etest", "https://issuer.test.",
		" https://issuer.test", "https://issuer.test\n", "https://issuer.tést", "https://xn--issuer.test", "http://issuer.test", "", nil, authztest.Null, 7,
		[]string{authztest.Issuer}, map[string]any{"iss": authztest.Issuer},
	} {
		lines = append(lines, line{fmt.Sprintf("%q", iss), good(map[string]any{"iss": iss}), authz.DetailIssuer})
	}
	run(t, shop(t, nil), append(lines, line{"the twin", good(map[string]any{"iss": authztest.Issuer}), ""}))
}

// aud must hold one of ours, exactly; no wildcard, prefix or suffix means anything (RFC 8725 3.9).
func TestAudience(t *testing.T) {
	aud := func(v any) string { return good(map[string]any{"aud": v}) }
	api := "https://api.example.com"
	issuer := shop(t, func(i *policy.Issuer) { i.Audiences = []string{"orders-api", api} })
	run(t, issuer, []line{
		{"ours", aud("orders-api"), ""},
		{"our other", aud(api), ""},
		{"ours in a list", aud([]string{"x", "orders-api"}), ""},
		{"ours alone in a list", aud([]string{api}), ""},
		{"missing", aud(nil), authz.DetailAudience},
		{"null", aud(authztest.Null), authz.DetailAudience},
		{"empty", aud(""), authz.DetailAudience},
		{"an empty list", aud([]string{}), authz.DetailAudience},
		{"an object", aud(map[string]any{"orders-api": true}), authz.DetailAudience},
		{"a number", aud(7), authz.DetailAudience},
		{"ours beside a number", aud([]any{"orders-api", 1}), authz.DetailAudience},
		{"ours beside an empty one", aud([]any{"orders-api", ""}), authz.DetailAudience},
		{"a list in a list", aud([]any{[]string{"orders-api"}}), authz.DetailAudience},
		{"a wildcard", aud("*"), authz.DetailAudience},
		{"with more behind", aud(api + ".evil"), authz.DetailAudience},
		{"with a slash", aud(api + "/"), authz.DetailAudience},
		{"with more in front", aud("my-orders-api"), authz.DetailAudience},
		{"a part of it", aud("orders"), authz.DetailAudience},
		{"of another case", aud("Orders-API"), authz.DetailAudience},
		{"two in one text", aud("orders-api x"), authz.DetailAudience},
	})
}

// Where another claim stands for aud (Cognito's access tokens have none), a token with both must match by both.
func TestAudienceClaim(t *testing.T) {
	issuer := shop(t, func(i *policy.Issuer) {
		i.AudienceClaim, i.Audiences = "client_id", []string{"web"}
	})
	token := func(clientID, aud any) string { return good(map[string]any{"client_id": clientID, "aud": aud}) }
	run(t, issuer, []line{
		{"the client, no aud", token("web", nil), ""},
		{"both", token("web", []string{"web", "x"}), ""},
		{"another client", token("other", nil), authz.DetailAudience},
		{"the client, another aud", token("web", "orders-api"), authz.DetailAudience},
		{"the client, aud null", token("web", authztest.Null), authz.DetailAudience},
		{"another client, our aud", token("other", "web"), authz.DetailAudience},
		{"no client", token(nil, "web"), authz.DetailAudience},
	})
	p, err := verify(t, issuer, ring(), token("web", nil), authztest.Now)
	if err != nil || len(p.Audiences) != 1 || p.Audiences[0] != "web" {
		t.Errorf("audiences %v, %v", p, err)
	}
}

// Another claim's place is written as that of client_id is: `a.b` is a member of an object. A name that holds a dot itself is declared
// as a claim with its place as a list, and read by that name.
func TestAudienceClaimPlace(t *testing.T) {
	issuer := shop(t, func(i *policy.Issuer) { i.AudienceClaim = "app.id" })
	run(t, issuer, []line{
		{"a member of an object", good(map[string]any{"aud": nil, "app": map[string]any{"id": "orders-api"}}), ""},
		{"another value", good(map[string]any{"aud": nil, "app": map[string]any{"id": "other"}}), authz.DetailAudience},
		{"a name with a dot", good(map[string]any{"aud": nil, "app.id": "orders-api"}), authz.DetailAudience},
		{"both", good(map[string]any{"aud": nil, "app.id": "orders-api", "app": map[string]any{"id": "other"}}), authz.DetailAudience},
		{"aud alone", good(nil), authz.DetailAudience},
	})
	issuer = shop(t, func(i *policy.Issuer) {
		i.AudienceClaim = "app"
		i.Claims = append(i.Claims, policy.Claim{Name: "app", From: []string{"https://example.com/app"}, Type: condition.String})
	})
	run(t, issuer, []line{
		{"a declared name", good(map[string]any{"aud": nil, "https://example.com/app": "orders-api"}), ""},
		{"another claim of that name", good(map[string]any{"aud": nil, "app": "orders-api"}), authz.DetailAudience},
	})
}

// Dates: present, finite, in order, within the policy's lifetime (RFC 7519 4.1.4 to 4.1.6).
func TestDates(t *testing.T) {
	at := authztest.Now.Unix()
	with := func(name, number string) string {
		sound := payload(map[string]any{name: nil})
		return authztest.MintRaw(authztest.EC(), "ES256", `{"typ":"at+jwt","alg":"ES256","kid":"ec-1"}`, fmt.Sprintf(`%s,%q:%s}`, sound[:len(sound)-1], name, number))
	}
	exp := func(number string) string { return with("exp", number) }
	in := func(seconds int64) string { return fmt.Sprint(at + seconds) }
	run(t, shop(t, nil), []line{
		{"exp ahead", exp(in(300)), ""},
		{"exp with a fraction", exp(in(300) + ".5"), ""},
		{"exp with an exponent", exp(fmt.Sprintf("%de-2", (at+300)*100)), ""},
		{"exp missing", good(map[string]any{"exp": nil}), authz.DetailClaim},
		{"exp null", exp("null"), authz.DetailClaim},
		{"exp a text", exp(`"` + in(300) + `"`), authz.DetailClaim},
		{"exp a bool", exp("true"), authz.DetailClaim},
		{"exp a list", exp("[" + in(300) + "]"), authz.DetailClaim},
		{"exp -1", exp("-1"), authz.DetailClaim},
		{"exp 0", with("exp", "0"), authz.DetailClaim},
		{"exp 1.5", with("exp", "1.5"), authz.DetailClaim},
		{"exp 1e400", exp("1e400"), authz.DetailClaim},
		{"exp 1e18", exp("1e18"), authz.DetailClaim},
		{"exp 2^63", exp("9223372036854775808"), authz.DetailClaim},
		{"exp in the year 9999", exp("253402300799"), authz.DetailLifetime},
		{"exp after the year 9999", exp("253402300800"), authz.DetailClaim},
		{"exp past, within the leeway", exp(in(-9)), ""},
		{"exp past by the leeway", exp(in(-10)), authz.DetailExpired},
		{"exp past by more", exp(in(-11)), authz.DetailExpired},
		{"exp past by a fraction less", exp(fmt.Sprintf("%d.5", at-10)), ""},

		{"iat missing", good(map[string]any{"iat": nil}), authz.DetailClaim},
		{"iat a text", with("iat", `"`+in(0)+`"`), authz.DetailClaim},
		{"iat ahead by the leeway", with("iat", in(10)), ""},
		{"iat ahead by more", with("iat", in(11)), authz.DetailNotYet},
		{"iat after exp", good(map[string]any{"iat": at + 5, "exp": at + 4}), authz.DetailClaim},
		{"iat equal to exp", good(map[string]any{"iat": at + 5, "exp": at + 5}), ""},

		{"nbf past", with("nbf", in(-1)), ""},
		{"nbf ahead by the leeway", with("nbf", in(10)), ""},
		{"nbf ahead by more", with("nbf", in(11)), authz.DetailNotYet},
		{"nbf null", with("nbf", "null"), authz.DetailClaim},
		{"nbf a text", with("nbf", `"0"`), authz.DetailClaim},
		{"nbf 1e400", with("nbf", "1e400"), authz.DetailClaim},

		{"lifetime as long as allowed", good(map[string]any{"iat": at, "exp": at + 3600}), ""},
		{"lifetime a second longer", good(map[string]any{"iat": at, "exp": at + 3601}), authz.DetailLifetime},
	})
}

// The clock is consulted for remembered tokens too.
func TestTimePassesForRememberedTokens(t *testing.T) {
	v := New(shop(t, nil), ring(), Options{})
	token := good(nil)
	ask := func(now time.Time) (*authz.Principal, error) { return v.Verify(context.Background(), token, now) }
	expiry := authztest.Now.Add(9*time.Minute + 10*time.Second)
	for _, c := range []struct {
		at     time.Time
		detail string
	}{
		{authztest.Now, ""}, {expiry.Add(-time.Nanosecond), ""}, {expiry, authz.DetailExpired}, {authztest.Now, ""},
		{authztest.Now.Add(-71 * time.Second), authz.DetailNotYet}, {authztest.Now.Add(-70 * time.Second), ""},
	} {
		p, err := ask(c.at)
		wantDetail(t, p, err, c.detail)
	}
}

// A key that was taken back takes the remembered tokens along, and one that was replaced is asked again.
func TestKeysChangeForRememberedTokens(t *testing.T) {
	keys := ring()
	v := New(shop(t, nil), keys, Options{})
	token := good(nil)
	ask := func(detail string) {
		t.Helper()
		p, err := v.Verify(context.Background(), token, authztest.Now)
		wantDetail(t, p, err, detail)
	}
	ask("")
	keys.Generation = 2
	ask("")
	all := keys.Ring
	keys.Ring, keys.Generation = []*authztest.Key{authztest.RSA()}, 3
	ask(authz.DetailUnknownKey)
	keys.Ring, keys.Generation = []*authztest.Key{authztest.OtherEC()}, 4
	ask(authz.DetailSignature)
	keys.Ring, keys.Generation = all, 5
	ask("")
	keys.Err = authz.ErrKeysUnavailable
	if _, err := v.Verify(context.Background(), token, authztest.Now); err == nil {
		t.Error("a remembered token outlived the keys")
	}
}

// The access token profile's claims (RFC 9068 2.2), each relaxable alone.
func TestRequired(t *testing.T) {
	for _, name := range []string{"sub", "client_id", "jti"} {
		relaxed := shop(t, func(i *policy.Issuer) {
			i.Require, i.Machine, i.MachineNever = without(i.Require, name), nil, true
		})
		for what, value := range map[string]any{"missing": nil, "empty": ""} {
			token := good(map[string]any{name: value})
			run(t, shop(t, nil), []line{{name + " " + what, token, authz.DetailClaim}})
			run(t, relaxed, []line{{name + " " + what + ", not required", token, ""}})
		}
		for what, value := range map[string]any{"null": authztest.Null, "a number": 7, "a list": []string{"alice"}, "a control character": "ali\nce"} {
			token := good(map[string]any{name: value})
			run(t, shop(t, nil), []line{{name + " " + what, token, authz.DetailClaim}})
			run(t, relaxed, []line{{name + " " + what + ", not required", token, authz.DetailClaim}})
		}
	}
	nested := shop(t, func(i *policy.Issuer) {
		i.Require = []string{"sub", "client_id", "tenant", "region"}
		i.ClientIDClaim = []string{"azp"}
		i.Claims = []policy.Claim{{Name: "tenant", From: []string{"org", "id"}, Type: condition.String}}
	})
	run(t, nested, []line{
		{"by our names", good(map[string]any{"client_id": nil, "azp": "web", "org": map[string]any{"id": "t1"}, "region": "eu"}), ""},
		{"client_id itself is not asked", good(map[string]any{"org": map[string]any{"id": "t1"}, "region": "eu"}), authz.DetailClaim},
		{"a mapped claim missing", good(map[string]any{"azp": "web", "tenant": "t1", "region": "eu"}), authz.DetailClaim},
		{"a mapped claim empty", good(map[string]any{"azp": "web", "org": map[string]any{"id": ""}, "region": "eu"}), authz.DetailClaim},
		{"a plain claim missing", good(map[string]any{"azp": "web", "org": map[string]any{"id": "t1"}}), authz.DetailClaim},
	})
}

// where compares one exact value of one type.
func TestWhere(t *testing.T) {
	issuer := shop(t, func(i *policy.Issuer) {
		i.Where = []policy.ClaimValue{
			{Path: []string{"token_use"}, Value: "access"}, {Path: []string{"a", "live"}, Value: true}, {Path: []string{"v"}, Value: int64(2)},
		}
	})
	token := func(use, live, v any) string {
		return good(map[string]any{"token_use": use, "a": map[string]any{"live": live}, "v": v})
	}
	run(t, issuer, []line{
		{"all", token("access", true, 2), ""},
		{"another text", token("id", true, 2), authz.DetailWhere},
		{"another case", token("Access", true, 2), authz.DetailWhere},
		{"missing", token(nil, true, 2), authz.DetailWhere},
		{"a list of it", token([]string{"access"}, true, 2), authz.DetailWhere},
		{"true as a text", token("access", "true", 2), authz.DetailWhere},
		{"false", token("access", false, 2), authz.DetailWhere},
		{"a number as a text", token("access", true, "2"), authz.DetailWhere},
		{"a fraction", token("access", true, 2.5), authz.DetailWhere},
		{"no object on the way", good(map[string]any{"token_use": "access", "a": true, "v": 2}), authz.DetailWhere},
	})
	odd := shop(t, func(i *policy.Issuer) { i.Where = []policy.ClaimValue{{Path: []string{"v"}, Value: 2.0}} })
	run(t, odd, []line{{"a value of no known type matches nothing", good(map[string]any{"v": 2}), authz.DetailWhere}})
}

// Claims that only other kinds of token carry.
func TestMarkers(t *testing.T) {
	allowing := func(markers ...string) *policy.Issuer {
		return shop(t, func(i *policy.Issuer) { i.AllowMarkers = markers })
	}
	ids := shop(t, func(i *policy.Issuer) { i.IDTokens = true })
	for name, value := range map[string]any{"nonce": "n", "at_hash": "h", "c_hash": "h", "events": map[string]any{}} {
		for _, v := range []any{value, "", authztest.Null} {
			token := good(map[string]any{name: v})
			at := fmt.Sprintf("%s %v", name, v)
			run(t, shop(t, nil), []line{{at, token, authz.DetailTokenKind}})
			run(t, allowing(name), []line{{at + ", allowed", token, ""}})
			want := ""
			if name == "events" {
				want = authz.DetailTokenKind // an ID token is taken on purpose; a logout token never is
			}
			run(t, ids, []line{{at + ", ID tokens", token, want}})
		}
	}
	run(t, allowing("nonce"), []line{{"another one than allowed", good(map[string]any{"nonce": "n", "at_hash": "h"}), authz.DetailTokenKind}})
}

// A token that is bound to its sender's certificate is accepted with its binding, for the decision to hold the sender to; any other
// binding is no bearer token's (RFC 7800, RFC 8705 3.1).
func TestConfirmation(t *testing.T) {
	want := sha256.Sum256([]byte("a certificate"))
	sum := base64.RawURLEncoding.EncodeToString(want[:])
	cnf := func(v any) string { return good(map[string]any{"cnf": v}) }
	x5t := func(v any) string { return cnf(map[string]any{"x5t#S256": v}) }
	loose := []byte(sum)
	loose[len(loose)-1] = nextInGroup(loose[len(loose)-1])
	run(t, shop(t, nil), []line{
		{"a thumbprint", x5t(sum), ""},
		{"no binding", cnf(nil), ""},
		{"empty", cnf(map[string]any{}), authz.DetailConfirm},
		{"null", cnf(authztest.Null), authz.DetailConfirm},
		{"a text", cnf("x5t#S256"), authz.DetailConfirm},
		{"a list", cnf([]any{map[string]any{"x5t#S256": sum}}), authz.DetailConfirm},
		{"an unknown member", cnf(map[string]any{"x": sum}), authz.DetailConfirm},
		{"a key that a DPoP proof would show", cnf(map[string]any{"jkt": sum}), authz.DetailConfirm},
		{"a SHA-1 thumbprint", cnf(map[string]any{"x5t": sum}), authz.DetailConfirm},
		{"two members", cnf(map[string]any{"x5t#S256": sum, "jkt": sum}), authz.DetailConfirm},
		{"an unknown member beside it", cnf(map[string]any{"x5t#S256": sum, "x": 1}), authz.DetailConfirm},
		{"of another case", cnf(map[string]any{"x5t#s256": sum}), authz.DetailConfirm},
		{"a number", x5t(7), authz.DetailConfirm},
		{"null within", x5t(authztest.Null), authz.DetailConfirm},
		{"a list within", x5t([]string{sum}), authz.DetailConfirm},
		{"no bytes", x5t(""), authz.DetailConfirm},
		{"31 bytes", x5t(base64.RawURLEncoding.EncodeToString(want[:31])), authz.DetailConfirm},
		{"33 bytes", x5t(sum + "AA"), authz.DetailConfirm},
		{"in hex", x5t(fmt.Sprintf("%x", want)), authz.DetailConfirm},
		{"padded", x5t(sum + "="), authz.DetailConfirm},
		{"unused bits", x5t(string(loose)), authz.DetailConfirm},
		{"a line break within", x5t(sum[:20] + "\n" + sum[20:]), authz.DetailConfirm},
		{"the other alphabet", x5t("+/" + sum[2:]), authz.DetailConfirm},
	})
	p, err := verify(t, shop(t, nil), ring(), x5t(sum), authztest.Now)
	if err != nil || p.Confirmation != (authz.Confirmation{Bound: true, Thumbprint: want}) {
		t.Errorf("%v, %v", p, err)
	}
	if p, err = verify(t, shop(t, nil), ring(), cnf(nil), authztest.Now); err != nil || p.Confirmation != (authz.Confirmation{}) {
		t.Errorf("%v, %v", p, err)
	}
}

// A bound token is good with its own certificate on the connection, and with nothing else: no certificate, another, or one in a header
// that anybody can write.
func TestBoundTokens(t *testing.T) {
	envoy := func(der string) string {
		return url.QueryEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)})))
	}
	thumbprint := sha256.Sum256([]byte("a certificate"))
	token := good(map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])}})
	v := New(shop(t, nil), ring(), Options{})
	for _, c := range []struct{ name, token, certificate, detail string }{
		{"its certificate", token, envoy("a certificate"), ""},
		{"another certificate", token, envoy("the same key, issued again"), authz.DetailSender},
		{"none", token, "", authz.DetailNoCertificate},
		{"its certificate, not as Envoy writes it", token, "a certificate", authz.DetailNoCertificate},
		{"its thumbprint in place of it", token, base64.RawURLEncoding.EncodeToString(thumbprint[:]), authz.DetailNoCertificate},
		{"not bound, with a certificate", good(nil), envoy("the same key, issued again"), ""},
	} {
		for _, path := range []string{"/named", "/either"} {
			for range 3 { // proved, restored, ready
				d := decide(t, v, path, c.token, c.certificate, authztest.Now)
				if (d.Verdict == authz.Allow) != (c.detail == "") || d.Detail != c.detail {
					t.Errorf("%s, %s: %s %s (%s), want %q", c.name, path, d.Verdict, d.Reason, d.Detail, c.detail)
				}
			}
		}
	}
}

// One issuer may sign two kinds of token with the same keys: each kind is refused where the other is taken (RFC 8725 3.12).
func TestTwoKindsOfToken(t *testing.T) {
	kind := func(typ, use string) string {
		return authztest.Mint(authztest.EC(), map[string]any{"typ": typ}, authztest.Claims(map[string]any{"token_use": use}))
	}
	byType := func(typ string) *policy.Issuer {
		return shop(t, func(i *policy.Issuer) { i.Types = []string{typ} })
	}
	byUse := func(use string) *policy.Issuer {
		return shop(t, func(i *policy.Issuer) {
			i.Types, i.Where = []string{"jwt"}, []policy.ClaimValue{{Path: []string{"token_use"}, Value: use}}
		})
	}
	run(t, byType("at+jwt"), []line{{"access at access", kind("at+jwt", ""), ""}, {"admin at access", kind("admin+jwt", ""), authz.DetailType}})
	run(t, byType("admin+jwt"), []line{{"admin at admin", kind("admin+jwt", ""), ""}, {"access at admin", kind("at+jwt", ""), authz.DetailType}})
	run(t, byUse("access"), []line{{"access at access", kind("JWT", "access"), ""}, {"id at access", kind("JWT", "id"), authz.DetailWhere}})
	run(t, byUse("id"), []line{{"id at id", kind("JWT", "id"), ""}, {"access at id", kind("JWT", "access"), authz.DetailWhere}})
}

// sid names the login session, if it is a name.
func TestSession(t *testing.T) {
	sid := func(v any) string { return good(map[string]any{"sid": v}) }
	long := strings.Repeat("s", 255)
	for value, want := range map[any]string{nil: "", "": "", "abc": "abc", long: long} {
		p, err := verify(t, shop(t, nil), ring(), sid(value), authztest.Now)
		if err != nil || p.Session != want {
			t.Errorf("sid %v: %v, %v", value, p, err)
		}
	}
	run(t, shop(t, nil), []line{
		{"256 bytes", sid(long + "s"), authz.DetailClaim},
		{"a control character", sid("a\nb"), authz.DetailClaim},
		{"a number", sid(7), authz.DetailClaim},
		{"true", sid(true), authz.DetailClaim},
		{"null", sid(authztest.Null), authz.DetailClaim},
		{"a list", sid([]string{"a"}), authz.DetailClaim},
	})
}

// A name that no revocation could hold is refused: its token could not be taken back.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("n", 2048)
	for _, claim := range []string{"sub", "client_id", "jti"} {
		run(t, shop(t, nil), []line{
			{claim + " of 2048 bytes", good(map[string]any{claim: long}), ""},
			{claim + " of 2049 bytes", good(map[string]any{claim: long + "n"}), authz.DetailClaim},
		})
	}
}

// What revocation reads stays as the token says it, whatever the policy makes of whose it is, remembered or not.
func TestNamesForRevocation(t *testing.T) {
	for name, claims := range map[string]map[string]any{"a person": nil, "a machine": {"client_id": "app", "sub": "app"}, "nobody's": {"sub": "alice"}} {
		v := New(shop(t, func(i *policy.Issuer) {
			if name == "nobody's" {
				i.Machine = nil
			}
		}), ring(), Options{})
		token := good(claims)
		for range 3 {
			p, err := v.Verify(t.Context(), token, authztest.Now)
			if err != nil || p.Issuer != authztest.Issuer || p.Subject == "" {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	}
}

// Scopes come from one claim in one form, with single spaces (RFC 6749 3.3, RFC 9068 2.2.3).
func TestScopes(t *testing.T) {
	scope := func(v any) string { return good(map[string]any{"scope": v}) }
	many := strings.TrimSpace(strings.Repeat("s ", 1500))
	run(t, shop(t, nil), []line{
		{"one", scope("read"), ""},
		{"two", scope("read write"), ""},
		{"twice the same", scope("read read"), ""},
		{"empty", scope(""), ""},
		{"absent", scope(nil), ""},
		{"two spaces", scope("a  b"), authz.DetailScopes},
		{"a space in front", scope(" a"), authz.DetailScopes},
		{"a space behind", scope("a "), authz.DetailScopes},
		{"a tab", scope("a\tb"), authz.DetailScopes},
		{"a comma list is one scope", scope("a,b"), ""},
		{"a quote", scope(`a"b`), authz.DetailScopes},
		{"a letter beyond ASCII", scope("re\u0430d"), authz.DetailScopes},
		{"a list", scope([]string{"read"}), authz.DetailScopes},
		{"null", scope(authztest.Null), authz.DetailScopes},
		{"a number", scope(7), authz.DetailScopes},
		{"more than anyone needs", scope(many), authz.DetailScopes},
		{"scp is not read", good(map[string]any{"scope": nil, "scp": []any{7}}), ""},
	})
	list := shop(t, func(i *policy.Issuer) { i.ScopeClaim, i.ScopeList = []string{"scp"}, true })
	scp := func(v any) string { return good(map[string]any{"scp": v, "scope": "admin"}) }
	run(t, list, []line{
		{"a list", scp([]string{"read", "write"}), ""},
		{"an empty list", scp([]string{}), ""},
		{"a text", scp("read write"), authz.DetailScopes},
		{"two in one element", scp([]string{"read write"}), authz.DetailScopes},
		{"an empty element", scp([]string{""}), authz.DetailScopes},
		{"a number", scp([]any{7}), authz.DetailScopes},
	})

	for _, c := range []struct {
		issuer *policy.Issuer
		token  string
		want   string
	}{
		{shop(t, nil), scope("write read"), "read write"}, {shop(t, nil), scope(""), ""}, {shop(t, nil), scope(nil), ""},
		{list, scp([]string{"read"}), "read"}, {list, scp(nil), ""},
	} {
		p, err := verify(t, c.issuer, ring(), c.token, authztest.Now)
		if err != nil {
			t.Fatal(err)
		}
		if p.Scopes.String() != c.want {
			t.Errorf("scopes %q, want %q", p.Scopes.String(), c.want)
		}
		for _, foreign := range []string{"admin", "rea", "readonly", "Read", "re\u0430d"} {
			if p.Scopes.Has(foreign) {
				t.Errorf("scopes %q hold %q", c.want, foreign)
			}
		}
		if listed, ok := p.Token.List("scope"); !ok || len(listed) != p.Scopes.Len() {
			t.Errorf("token.scope = %v, %v beside %q", listed, ok, c.want)
		}
	}
}

// Declared claims have the type that the policy gave them, or are unset.
func TestDeclaredClaims(t *testing.T) {
	issuer := shop(t, func(i *policy.Issuer) {
		i.Claims = []policy.Claim{
			{Name: "roles", From: []string{"realm_access", "roles"}, Type: condition.Strings}, {Name: "plan", From: []string{"plan"}, Type: condition.String},
			{Name: "vip", From: []string{"vip"}, Type: condition.Bool}, {Name: "level", From: []string{"level"}, Type: condition.Int},
		}
	})
	right := map[string]any{"realm_access": map[string]any{"roles": []string{"a", "b"}}, "plan": "free", "vip": true, "level": 3}
	wrong := []map[string]any{
		{"realm_access": map[string]any{"roles": "admin"}, "plan": []string{"free"}, "vip": "true", "level": "3"},
		{"realm_access": map[string]any{"roles": []any{"a", 7}}, "plan": 7, "vip": 1, "level": 3.5},
		{"realm_access": map[string]any{"roles": map[string]any{"admin": false}}, "plan": authztest.Null, "vip": authztest.Null, "level": authztest.Null},
		{"realm_access": []string{"roles"}, "plan": nil, "vip": nil, "level": true},
		{"roles": []string{"admin"}},
	}
	p, err := verify(t, issuer, ring(), good(right), authztest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if got := show(p, nil); !strings.Contains(got, "roles=[a b] plan=free vip=true level=3") {
		t.Errorf("got %s", got)
	}
	for _, claims := range wrong {
		p, err := verify(t, issuer, ring(), good(claims), authztest.Now)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"roles", "plan", "vip", "level"} {
			if v, set := p.Token.Value(name); set {
				t.Errorf("%v: %s is %v", claims, name, v)
			}
		}
	}
}

// A person, a machine, or neither: the three never have one identity, even with one name.
func TestPersonOrMachine(t *testing.T) {
	asUser := policy.Claim{Name: "user", From: []string{"sub"}, Type: condition.String}
	gty := policy.Claim{Name: "gty", From: []string{"gty"}, Type: condition.String}
	never := func(i *policy.Issuer) { i.Machine, i.MachineNever = nil, true }
	by := func(source string) func(*policy.Issuer) {
		return func(i *policy.Issuer) { i.Machine = program(t, source) }
	}
	guarded := by(`has(token.gty) && token.gty == "client-credentials"`)
	relaxed := func(next func(*policy.Issuer)) func(*policy.Issuer) {
		return func(i *policy.Issuer) { i.Require = nil; next(i) }
	}
	for _, c := range []struct {
		name   string
		over   func(*policy.Issuer)
		claims map[string]any
		want   authz.Identity
	}{
		{"a person", nil, nil, authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "alice"}},
		{"a machine", nil, map[string]any{"sub": "batch", "client_id": "batch"}, authz.Identity{Issuer: "shop", Kind: authz.Machine, Subject: "batch"}},
		{"a machine by its grant", guarded, map[string]any{"gty": "client-credentials"}, authz.Identity{Issuer: "shop", Kind: authz.Machine, Subject: "web"}},
		{"a person by its grant", guarded, map[string]any{"gty": "password"}, authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "alice"}},
		{"no grant is a person's", guarded, nil, authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "alice"}},
		{"never a machine", never, map[string]any{"sub": "batch", "client_id": "batch"}, authz.Identity{Issuer: "shop", Kind: authz.Person, Subject: "batch"}},
		{"undetermined is neither", relaxed(by("token.sub == token.client_id")), map[string]any{"client_id": nil}, authz.Identity{Issuer: "shop"}},
		{"a machine without a client_id is neither", relaxed(by("!has(token.gty)")), map[string]any{"client_id": nil}, authz.Identity{Issuer: "shop"}},
		{"nobody's token is neither", relaxed(never), map[string]any{"sub": nil}, authz.Identity{Issuer: "shop"}},
		{"an issuer that does not say is neither", func(i *policy.Issuer) { i.Machine = nil }, nil, authz.Identity{Issuer: "shop"}},
		{"an expression that was not compiled is neither", func(i *policy.Issuer) { i.Machine = &condition.Program{} }, nil, authz.Identity{Issuer: "shop"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			issuer := shop(t, c.over)
			issuer.Claims = []policy.Claim{asUser, gty}
			p, err := verify(t, issuer, ring(), good(c.claims), authztest.Now)
			if err != nil {
				t.Fatal(err)
			}
			if p.Identity != c.want {
				t.Errorf("identity %+v, want %+v", p.Identity, c.want)
			}
			// token.sub, by whatever name, is a person's alone.
			for _, name := range []string{"sub", "user"} {
				if v, set := p.Token.Value(name); set != (c.want.Kind == authz.Person) {
					t.Errorf("token.%s = %v, set %v, of a %s", name, v, set, c.want.Kind)
				}
			}
		})
	}
}
