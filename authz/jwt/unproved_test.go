package jwt

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
)

// What is said without a signature is judged as what is said with one: the same person, or the same refusal.
func TestUnprovedJudgesAsTheVerifierDoes(t *testing.T) {
	issuer := shop(t, nil)
	proved, unproved := New(issuer, ring(), Options{}), NewUnproved(issuer)
	header := map[string]any{"alg": "ES256", "kid": authztest.EC().ID}
	for name, c := range map[string]struct{ header, claims map[string]any }{
		"alice":                {nil, nil},
		"a machine":            {nil, map[string]any{"sub": "web"}},
		"no scopes":            {nil, map[string]any{"scope": nil}},
		"bound":                {nil, map[string]any{"cnf": map[string]any{"x5t#S256": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}}},
		"another issuer":       {nil, map[string]any{"iss": "https://other.test"}},
		"another audience":     {nil, map[string]any{"aud": "billing"}},
		"expired":              {nil, map[string]any{"exp": authztest.Now.Add(-30 * time.Second).Unix()}},
		"not yet":              {nil, map[string]any{"nbf": authztest.Now.Add(time.Minute).Unix()}},
		"too long a life":      {nil, map[string]any{"exp": authztest.Now.Add(2 * time.Hour).Unix()}},
		"no jti":               {nil, map[string]any{"jti": nil}},
		"an ID token":          {nil, map[string]any{"nonce": "x"}},
		"a binding unknown":    {nil, map[string]any{"cnf": map[string]any{"jkt": "x"}}},
		"another type":         {map[string]any{"typ": "JWT"}, nil},
		"a key brought along":  {map[string]any{"jwk": map[string]any{}}, nil},
		"a critical extension": {map[string]any{"crit": []string{"b64"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			over := map[string]any{}
			for k, v := range header {
				over[k] = v
			}
			for k, v := range c.header {
				over[k] = v
			}
			signed := authztest.Mint(authztest.EC(), over, authztest.Claims(c.claims))
			want, wantErr := proved.Verify(t.Context(), signed, authztest.Now)
			got, gotErr := unproved.Verify(t.Context(), authztest.SignedPart(signed)+".", authztest.Now)
			if !reflect.DeepEqual(got, want) || detail(gotErr) != detail(wantErr) {
				t.Errorf("%+v (%v); signed it is %+v (%v)", got, gotErr, want, wantErr)
			}
		})
	}
}

func detail(err error) string {
	if refused, ok := errors.AsType[*authz.TokenError](err); ok {
		return refused.Detail
	}
	return ""
}

// A token that nobody signed is nobody's to whoever has keys.
func TestUnsignedIsRefusedByTheVerifier(t *testing.T) {
	token := Unsigned([]byte(`{"typ":"at+jwt","alg":"ES256","kid":"`+authztest.EC().ID+`"}`),
		[]byte(`{"iss":"https://issuer.test","aud":"orders-api","sub":"alice","client_id":"web","jti":"1","iat":1795175940,"exp":1795176540}`))
	issuer := shop(t, nil)
	if p, err := NewUnproved(issuer).Verify(t.Context(), token, time.Unix(1795176000, 0)); err != nil || p.Subject != "alice" {
		t.Fatalf("unproved: %+v, %v", p, err)
	}
	if p, err := New(issuer, ring(), Options{}).Verify(t.Context(), token, time.Unix(1795176000, 0)); p != nil || detail(err) != authz.DetailSignature {
		t.Errorf("%+v, %v; want a refused signature", p, err)
	}
}
