package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// issuersYAML is a policy whose issuers differ in everything that an explanation must follow.
const issuersYAML = `version: 1
issuers:
  shop:
    issuer: https://issuer.test
    jwks: https://issuer.test/jwks.json
    audiences: [orders-api]
  loose:
    issuer: https://loose.test
    jwks: https://loose.test/jwks.json
    audiences: [orders-api, other-api]
    algorithms: [RS256, ES256]
    types: [JWT, none]
    where: {token_use: access, level: 2, vip: true}
    require: [sub]
    client_id: azp
    scopes: {from: scp, type: strings}
    machine: has(token.gty) && token.gty == "client-credentials"
    claims:
      gty: string
      roles: {from: realm_access.roles, type: strings}
      vip: bool
      level: int
    max_lifetime: 24h
    leeway: 1m
    ignore_key_headers: true
    allow_markers: [nonce]
  ids:
    issuer: https://ids.test
    jwks: https://ids.test/jwks.json
    audiences: [web]
    audience_claim: app.id
    types: [JWT]
    where: {}
    require: [sub]
    machine: never
    id_tokens: true
`

func issuers(t testing.TB) map[string]*policy.Issuer {
	t.Helper()
	p, errs := policy.Parse([]policy.File{{Name: "policy.yaml", Data: []byte(issuersYAML)}})
	if len(errs) > 0 {
		t.Fatal(errs.Pretty())
	}
	return p.Issuers
}

func ring() *authztest.Keys {
	return &authztest.Keys{Generation: 1, Ring: []*authztest.Key{authztest.RSA(), authztest.EC(), authztest.P384()}}
}

func inspect(issuer *policy.Issuer, token string, now time.Time) *report {
	in := &inspection{token: token, issuer: issuer, keys: ring(), now: now}
	return in.run(context.Background())
}

// agree demands that the steps and the gate's verifier say the same, and that nothing of the token's own bytes is shown.
func agree(t interface {
	Helper()
	Errorf(string, ...any)
}, name string, r *report) {
	t.Helper()
	var out bytes.Buffer
	err := r.show(&out)
	detail := r.verdict.detail()
	if explained := r.explained(); explained != detail {
		t.Errorf("%s: the steps say %q, the gate %q\n%s", name, explained, detail, out.String())
	}
	last := "refused: " + detail + "\n"
	if r.verdict.err == nil {
		last = "\naccepted\n"
	}
	if !strings.HasSuffix(out.String(), last) || daemon.ExitCode(err) != map[bool]int{true: 0, false: 1}[r.verdict.err == nil] {
		t.Errorf("%s: exit %d, and not %q at the end of\n%s", name, daemon.ExitCode(err), last, out.String())
	}
	for _, part := range strings.Split(r.token, ".") {
		if len(part) > 16 && strings.Contains(out.String(), part) {
			t.Errorf("%s: a part of the token is shown", name)
		}
	}
}

// claimsOf are good claims for each of the issuers.
func claimsOf(issuer string, over map[string]any) map[string]any {
	claims := map[string]map[string]any{
		"shop":  {},
		"loose": {"iss": "https://loose.test", "token_use": "access", "level": 2, "vip": true, "azp": "web", "scp": []string{"read"}, "client_id": nil},
		"ids":   {"iss": "https://ids.test", "aud": "web", "app": map[string]any{"id": "web"}, "nonce": "n", "at_hash": "h"},
	}[issuer]
	maps.Copy(claims, over)
	return authztest.Claims(claims)
}

func headerOf(issuer string, over map[string]any) map[string]any {
	header := map[string]any{}
	if issuer != "shop" {
		header["typ"] = "JWT"
	}
	maps.Copy(header, over)
	return header
}

// One change of a good token, in its header or its claims, good or bad.
var headerChanges = []map[string]any{
	{"x": 1}, {"alg": nil}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "RS256"}, {"alg": "ES384"}, {"alg": "PS256"}, {"alg": 7}, {"crit": []string{"exp"}}, {"b64": false},
	{"zip": "DEF"}, {"cty": "JWT"}, {"cty": "application/jwt"}, {"cty": "text/plain"}, {"cty": 7}, {"jwk": authztest.EC().JWK(nil)}, {"jku": "https://a.example"}, {"x5u": "x"},
	{"x5c": []string{"M"}}, {"typ": nil}, {"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": "application/at+jwt"}, {"typ": "application/JWT"}, {"typ": "none"}, {"typ": 7}, {"typ": ""},
	{"kid": nil}, {"kid": ""}, {"kid": "other"}, {"kid": "rsa-1"}, {"kid": 7}, {"kid": "a\nb"}, {"kid": strings.Repeat("k", 256)}, {"kid": "x\x00"},
}

var claimChanges = []map[string]any{
	{"iss": nil}, {"iss": "https://issuer.test/"}, {"iss": 7}, {"aud": nil}, {"aud": "other"}, {"aud": []string{"x", "orders-api"}}, {"aud": []string{"", "orders-api"}}, {"aud": []string{}},
	{"aud": []any{"orders-api", 7}}, {"aud": "other-api"}, {"aud": map[string]any{}}, {"exp": nil}, {"exp": "soon"}, {"exp": -1}, {"exp": 1e300}, {"iat": nil}, {"iat": "x"}, {"nbf": "x"},
	{"exp": at(-11)}, {"exp": at(-10)}, {"exp": at(-9)}, {"exp": at(-61)}, {"exp": at(3600)}, {"exp": at(3541)}, {"exp": at(23 * 3600)}, {"exp": at(25 * 3600)}, {"iat": at(11)}, {"iat": at(10)},
	{"iat": at(61)}, {"iat": at(3600)}, {"nbf": at(11)}, {"nbf": at(10)}, {"nbf": at(61)}, {"nbf": authztest.Null}, {"sub": nil}, {"sub": ""}, {"sub": 7}, {"sub": "a\x1bb"}, {"client_id": nil}, {"client_id": ""},
	{"client_id": 7}, {"azp": nil}, {"azp": 7}, {"azp": "a\nb"}, {"jti": nil}, {"jti": ""}, {"jti": 7}, {"jti": "x\r"}, {"token_use": nil}, {"token_use": "id"}, {"level": 2.0}, {"level": "2"}, {"level": 3},
	{"vip": "true"}, {"vip": false}, {"nonce": "n"}, {"at_hash": "h"}, {"c_hash": authztest.Null}, {"events": map[string]any{}}, {"cnf": map[string]any{"jkt": "x"}}, {"cnf": authztest.Null}, {"cnf": "x"},
	{"cnf": map[string]any{"x5t#S256": "x"}}, {"cnf": map[string]any{}}, {"cnf": map[string]any{"x5t#S256": thumbprint}},
	{"cnf": map[string]any{"x5t#S256": thumbprint, "jkt": "x"}}, {"cnf": map[string]any{"x5t#S256": thumbprint[:42]}}, {"sid": strings.Repeat("s", 256)}, {"sid": "s\n"}, {"sid": ""}, {"scope": "a  b"}, {"scope": 7}, {"scope": nil}, {"scope": ""}, {"scope": []string{"a"}}, {"scp": "a"}, {"scp": []string{"a b"}}, {"scp": nil},
	{"scp": []string{}}, {"realm_access": map[string]any{"roles": []string{"admin"}}}, {"realm_access": "x"}, {"gty": "client-credentials"}, {"app": nil}, {"app": map[string]any{"id": "other"}}, {"app": "web"},
	{"pad": strings.Repeat("x", 5000)}, {"pad": strings.Repeat("x", 9000)}, {"Sub": "bob"}, {"sid": "s-1"}, {"sid": 7}, {"sid": nil}, {"jti": strings.Repeat("j", 2049)}, {"sub": strings.Repeat("j", 2048)},
}

// thumbprint is 32 bytes, as of a certificate.
var thumbprint = base64.RawURLEncoding.EncodeToString(make([]byte, 32))

// at is the moment of the tests, some seconds later.
func at(seconds int64) int64 { return authztest.Now.Unix() + seconds }

// Every change alone, for every issuer: the first step that refuses is the gate's own reason.
func TestInspectAgreesWithTheGate(t *testing.T) {
	count := map[string]int{}
	for name, issuer := range issuers(t) {
		try := func(what string, token string) {
			r := inspect(issuer, token, authztest.Now)
			agree(t, name+", "+what, r)
			count[r.verdict.detail()]++
		}
		for _, key := range []*authztest.Key{authztest.EC(), authztest.RSA(), authztest.P384(), authztest.OtherEC(), authztest.Ed25519()} {
			try("a key "+key.ID, authztest.Mint(key, headerOf(name, nil), claimsOf(name, nil)))
			for _, change := range headerChanges {
				try(fmt.Sprint("header ", change), authztest.Mint(key, headerOf(name, change), claimsOf(name, nil)))
			}
		}
		for _, change := range claimChanges {
			try(fmt.Sprint("claims ", change), authztest.Mint(authztest.EC(), headerOf(name, nil), claimsOf(name, change)))
		}
		good := authztest.Mint(authztest.EC(), headerOf(name, nil), claimsOf(name, nil))
		parts := strings.Split(good, ".")
		for _, token := range []string{
			"", ".", "..", "a.b.c", "...", good + ".", good + "=", good + "AA", parts[0] + "." + parts[1], parts[0] + "." + parts[1] + ".", parts[0] + "A." + parts[1] + "." + parts[2],
			"." + parts[1] + "." + parts[2], parts[0] + ".." + parts[2], parts[0] + "." + parts[2] + "." + parts[1], good + "." + parts[2] + "." + parts[2], strings.Repeat("A", 8193), "ey\n.a.b",
			authztest.Unsigned(headerOf(name, nil), claimsOf(name, nil)), authztest.HMAC([]byte("secret"), headerOf(name, nil), claimsOf(name, nil)),
			authztest.MintRaw(authztest.EC(), "ES256", `{"alg":"ES256","alg":"none","typ":"at+jwt"}`, `{}`), authztest.MintRaw(authztest.EC(), "ES256", `[]`, `{}`),
			authztest.MintRaw(authztest.EC(), "ES256", `{"alg":"ES256","typ":"at+jwt","kid":"ec-1"}`, `{"sub":"a","SUB":"b"}`), authztest.MintRaw(authztest.EC(), "ES256", `{"alg":"ES256","typ":"JWT","kid":"ec-1"}`, `7`),
		} {
			try(fmt.Sprintf("bytes %.20q", token), token)
		}
	}
	// A detail that no token of the table earns is agreed about by nobody.
	for _, detail := range []string{
		"", authz.DetailMalformed, authz.DetailTooLarge, authz.DetailHeader, authz.DetailType, authz.DetailAlgorithm, authz.DetailUnknownKey, authz.DetailSignature, authz.DetailIssuer,
		authz.DetailAudience, authz.DetailExpired, authz.DetailNotYet, authz.DetailLifetime, authz.DetailClaim, authz.DetailWhere, authz.DetailTokenKind, authz.DetailScopes, authz.DetailConfirm,
	} {
		if count[detail] == 0 {
			t.Errorf("no token of the table ends as %q", detail)
		}
	}
}

// One refused claim for each step, and every two of them together: the order of the steps is the gate's.
func TestInspectAgreesOnPairs(t *testing.T) {
	steps := []map[string]any{
		{"iss": "x"}, {"aud": "x"}, {"exp": "x"}, {"exp": at(48 * 3600)}, {"sub": nil}, {"token_use": "id"}, {"events": 1}, {"azp": 7}, {"jti": 7}, {"scp": 7},
		{"cnf": 7}, {"sid": "\n"}, {"iat": at(-7200), "exp": at(-3600)}, {"nbf": at(3600)},
	}
	issuer := issuers(t)["loose"]
	for _, one := range steps {
		for _, other := range steps {
			both := map[string]any{}
			maps.Copy(both, one)
			maps.Copy(both, other)
			token := authztest.Mint(authztest.EC(), headerOf("loose", nil), claimsOf("loose", both))
			agree(t, fmt.Sprint(both), inspect(issuer, token, authztest.Now))
		}
	}
}

// Several changes at once, of header and claims.
func TestInspectAgreesInOrder(t *testing.T) {
	all := issuers(t)
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"shop", "loose", "ids"}).Draw(t, "issuer")
		header, claims := headerOf(name, nil), claimsOf(name, nil)
		for _, change := range rapid.SliceOfN(rapid.SampledFrom(headerChanges), 0, 2).Draw(t, "header") {
			maps.Copy(header, change)
		}
		for _, change := range rapid.SliceOfN(rapid.SampledFrom(claimChanges), 0, 4).Draw(t, "claims") {
			for member, value := range change {
				if claims[member] = value; value == nil {
					delete(claims, member)
				}
			}
		}
		key := rapid.SampledFrom([]*authztest.Key{authztest.EC(), authztest.RSA(), authztest.OtherEC()}).Draw(t, "key")
		r := inspect(all[name], authztest.Mint(key, header, claims), authztest.Now)
		agree(t, name, r)
	})
}

// tokenCommand runs the command as a shell would.
func tokenCommand(t *testing.T, stdin string, args ...string) (code int, out string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s := streams{out: &stdout, err: &stderr}
	cmd := newToken(s)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	cmd.SetOut(&stdout)
	cmd.SetErr(&stderr)
	err := cmd.ExecuteContext(t.Context())
	if err != nil {
		fmt.Fprintln(&stdout, err)
	}
	return daemon.ExitCode(err), stdout.String()
}

func put(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The command: its answers, its exit codes, and what it needs.
func TestTokenInspect(t *testing.T) {
	file := put(t, "policy.yaml", []byte(issuersYAML))
	broken := put(t, "policy.yaml", []byte("version: 2"))
	keys := put(t, "jwks.json", authztest.JWKS(authztest.EC(), authztest.RSA()))
	moment := fmt.Sprint(authztest.Now.Unix())
	good := authztest.Mint(authztest.EC(), nil, claimsOf("shop", nil))
	loose := authztest.Mint(authztest.EC(), headerOf("loose", nil), claimsOf("loose", nil))
	stranger := authztest.Mint(authztest.EC(), nil, claimsOf("shop", map[string]any{"iss": "https://stranger.test"}))
	forged := authztest.Mint(authztest.OtherEC(), nil, claimsOf("shop", nil))
	bad := authztest.Mint(authztest.EC(), nil, claimsOf("shop", map[string]any{"aud": "other"}))
	machine := authztest.Mint(authztest.EC(), nil, claimsOf("shop", map[string]any{"sub": "web"}))
	for _, c := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		want  []string
	}{
		{"accepted", good + "\n", []string{"--keys", keys, "--at", moment}, 0, []string{"judged by the issuer shop", `ok       who         a person, "alice" of shop`, "signature   verifies", "\naccepted\n"}},
		{"a machine", machine, []string{"--keys", keys, "--at", moment}, 0, []string{`an application, "web" of shop`, "\naccepted\n"}},
		{"as it is pasted", "Authorization: Bearer " + good, []string{"--keys", keys, "--at", "2026-11-20T12:00:00Z"}, 0, []string{`"bearer" was taken off`, "\naccepted\n"}},
		{"by its iss", loose, []string{"--keys", keys, "--at", moment}, 0, []string{"judged by the issuer loose", `token_use is "access"`, "\naccepted\n"}},
		{"by another issuer", loose, []string{"--keys", keys, "--at", moment, "--issuer", "shop"}, 1, []string{"REFUSED  typ", "refused: type\n"}},
		{"expired", good, []string{"--keys", keys, "--at", fmt.Sprint(at(3600))}, 1, []string{"REFUSED  clock       expired 2026-11-20T12:09:00Z (51m0s ago)", "refused: expired\n"}},
		{"forged", forged, []string{"--keys", keys, "--at", moment}, 1, []string{"REFUSED  signature", "refused: signature\n"}},
		{"of nobody", stranger, []string{"--keys", keys, "--at", moment, "--issuer", "shop"}, 1, []string{`every byte counts`, "refused: issuer\n"}},
		{"of nobody, unasked", stranger, []string{"--keys", keys, "--at", moment}, 1, []string{"names none of the policy's issuers (ids, loose, shop)"}},
		{"no token", "hello", []string{"--keys", keys}, 1, []string{"Opaque tokens are not supported", "refused: malformed\n"}},

		{"offline", good, []string{"--at", moment}, 2, []string{"undecided: nothing refuses the token", "--keys FILE or --fetch"}},
		{"offline, refused all the same", bad, []string{"--at", moment}, 1, []string{"whatever its signature", "REFUSED  aud", "refused: audience\n"}},
		{"offline, refused before", loose, []string{"--at", moment, "--issuer", "shop"}, 1, []string{"refused: type\n"}},

		{"nothing on stdin", "\n", []string{"--at", moment}, 2, []string{"no token on stdin"}},
		{"no such issuer", good, []string{"--issuer", "x"}, 2, []string{`no issuer "x"; it has ids, loose, shop`}},
		{"two sources of keys", good, []string{"--keys", keys, "--fetch"}, 2, []string{"choose one"}},
		{"no moment", good, []string{"--at", "noon"}, 2, []string{"is no instant"}},
		{"no such key file", good, []string{"--keys", keys + "x"}, 2, []string{"the keys of shop"}},
		{"no such policy", good, []string{"--policy", file + "x"}, 2, []string{"no such file"}},
		{"a policy that does not load", good, []string{"--policy", broken}, 2, []string{"the policy does not load"}},
		{"an argument", good, []string{"x"}, 2, []string{"unknown command"}},
	} {
		args := append([]string{"inspect", "--policy", file}, c.args...)
		code, out := tokenCommand(t, c.stdin, args...)
		if code != c.code || slices.ContainsFunc(c.want, func(want string) bool { return !strings.Contains(out, want) }) {
			t.Errorf("%s: exit %d, want %d and %q in\n%s", c.name, code, c.code, c.want, out)
		}
	}
	if code, out := tokenCommand(t, good, "inspect"); code != 2 || !strings.Contains(out, "--policy is missing") {
		t.Errorf("without a policy: exit %d, %s", code, out)
	}
}

// Keys are fetched only when that is asked for.
func TestTokenInspectFetches(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = w.Write(authztest.JWKS(authztest.EC()))
	}))
	t.Cleanup(server.Close)
	file := put(t, "policy.yaml", fmt.Appendf(nil, "version: 1\nissuers:\n  shop:\n    issuer: https://issuer.test\n    jwks: %s\n    audiences: [orders-api]\n", server.URL))
	token := authztest.Mint(authztest.EC(), nil, authztest.Claims(nil))
	if code, out := tokenCommand(t, token, "inspect", "--policy", file, "--at", fmt.Sprint(at(0))); code != 2 || asked != 0 {
		t.Errorf("offline: exit %d, %d requests\n%s", code, asked, out)
	}
	if code, out := tokenCommand(t, token, "inspect", "--policy", file, "--fetch", "--at", fmt.Sprint(at(0))); code != 0 || asked != 1 {
		t.Errorf("--fetch: exit %d, %d requests\n%s", code, asked, out)
	}
	server.Close()
	if code, out := tokenCommand(t, token, "inspect", "--policy", file, "--fetch"); code != 2 || !strings.Contains(out, "the keys of shop") {
		t.Errorf("the issuer is away: exit %d\n%s", code, out)
	}
}

// A hostile token puts neither control characters nor another token on the operator's screen.
func TestInspectShowsNothingHostile(t *testing.T) {
	other := authztest.Mint(authztest.EC(), nil, authztest.Claims(map[string]any{"sub": "mallory"}))
	claims := claimsOf("loose", map[string]any{
		"sub": "\x1b[2J\u202eevil", "azp": other, "token_use": "\x07", "iss": "https://\x1b]0;x", "realm_access": map[string]any{"roles": []string{other, "\r\n"}}, "aud": []string{other, "\n"},
	})
	var out bytes.Buffer
	_ = inspect(issuers(t)["loose"], authztest.Mint(authztest.EC(), headerOf("loose", map[string]any{"kid": "\u202e"}), claims), authztest.Now).show(&out)
	for _, c := range out.String() {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("%q is shown in\n%q", c, out.String())
		}
	}
	if strings.Contains(out.String(), other) || strings.Contains(out.String(), base64.RawURLEncoding.EncodeToString([]byte("mallory"))) {
		t.Errorf("another token is shown:\n%s", out.String())
	}
}
