package jwt

import (
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// An unproved issuer is what the payload says, for whoever wrote it, if every reader reads the same.
func TestUnverifiedIssuer(t *testing.T) {
	const header = `{"typ":"at+jwt","alg":"ES256","kid":"ec-1"}`
	says := func(payload string) string { return authztest.MintRaw(authztest.OtherEC(), "ES256", header, payload) }
	remembering, forgetting := NewPool(PoolOptions{}), NewPool(PoolOptions{Bytes: -1})
	for _, c := range []struct{ name, token, want string }{
		{"the issuer's own", good(nil), authztest.Issuer},
		{"a forger's", says(`{"iss":"https://issuer.test"}`), authztest.Issuer},
		{"another", says(`{"iss":"https://other.test/"}`), "https://other.test/"},
		{"unsigned", authztest.Unsigned(nil, authztest.Claims(nil)), authztest.Issuer},
		{"escaped", says(`{"iss":"https:\/\/issuer\u002etest"}`), authztest.Issuer},
		{"one within another claim", says(`{"a":{"iss":"x"},"iss":"y","b":[{"iss":"z"}]}`), "y"},

		{"a long one", says(`{"iss":"` + strings.Repeat("x", 3000) + `"}`), strings.Repeat("x", 3000)},

		{"no token", "", ""},
		{"two parts", "e30.e30", ""},
		{"four parts", good(nil) + ".AA", ""},
		{"a foreign byte", good(nil) + "=", ""},
		{"too large", says(`{"iss":"x","pad":"` + strings.Repeat("x", MaxToken) + `"}`), ""},
		{"no issuer", says(`{"sub":"x"}`), ""},
		{"an empty one", says(`{"iss":""}`), ""},
		{"a number", says(`{"iss":7}`), ""},
		{"a list", says(`["iss"]`), ""},
		{"twice", says(`{"iss":"x","iss":"y"}`), ""},
		{"twice but for the case", says(`{"iss":"x","ISS":"y"}`), ""},
		{"another claim twice", says(`{"iss":"x","a":{"b":1,"b":2}}`), ""},
		{"NUL", says(`{"iss":"x\u0000"}`), ""},
		{"half a payload", says(`{"iss":"x"`), ""},
		{"two payloads", says(`{"iss":"x"}{}`), ""},
	} {
		for _, read := range []func(string) (string, bool){UnverifiedIssuer, remembering.UnverifiedIssuer, remembering.UnverifiedIssuer, forgetting.UnverifiedIssuer} {
			if got, ok := read(c.token); got != c.want || ok != (c.want != "") {
				t.Errorf("%s: %q, %v, want %q", c.name, got, ok, c.want)
			}
		}
	}
	token := good(nil)
	_, _ = remembering.UnverifiedIssuer(token)
	if n := testing.AllocsPerRun(100, func() { _, _ = remembering.UnverifiedIssuer(token) }); n != 0 {
		t.Errorf("%v allocations for a token that was read before", n)
	}
}
