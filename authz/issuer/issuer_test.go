package issuer_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport-dev/sallyport/authz/issuer"
)

const name = "http://127.0.0.1:9000"

var now = time.Date(2026, time.November, 20, 12, 0, 0, 0, time.UTC)

func newIssuer(t *testing.T) *issuer.Issuer {
	t.Helper()
	i, err := issuer.New(issuer.Options{Issuer: name, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A token is read back by another library, with the keys that the issuer serves: nothing here is in agreement only with itself.
func parse(t *testing.T, i *issuer.Issuer, token string) *jwt.Token {
	t.Helper()
	keys, err := keyfunc.NewJWKSetJSON(json.RawMessage(i.KeySet()))
	if err != nil {
		t.Fatalf("the served key set: %v", err)
	}
	parsed, err := jwt.Parse(token, keys.Keyfunc, jwt.WithValidMethods([]string{"ES256", "RS256"}),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithIssuer(name), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	return parsed
}

func TestMintFollowsTheAccessTokenProfile(t *testing.T) {
	i := newIssuer(t)
	for _, alg := range []string{"", "ES256", "RS256"} {
		token, err := i.Mint(issuer.Claims{
			Subject: "alice", ClientID: "web", Audience: []string{"orders-api"}, Scope: "read:orders write:orders",
			Lifetime: 10 * time.Minute, Algorithm: alg, Extra: map[string]any{"roles": []string{"admin"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		parsed := parse(t, i, token)
		claims := parsed.Claims.(jwt.MapClaims)
		if parsed.Header["typ"] != "at+jwt" {
			t.Errorf("typ = %v, want at+jwt (RFC 9068 2.1)", parsed.Header["typ"])
		}
		for _, required := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
			if claims[required] == nil || claims[required] == "" {
				t.Errorf("%s is missing (RFC 9068 2.2)", required)
			}
		}
		if claims["exp"].(float64)-claims["iat"].(float64) != 600 || claims["iat"].(float64) != float64(now.Unix()) {
			t.Errorf("iat %v, exp %v: not ten minutes from now", claims["iat"], claims["exp"])
		}
		if claims["aud"] != "orders-api" || claims["scope"] != "read:orders write:orders" || claims["roles"] == nil {
			t.Errorf("claims = %v", claims)
		}
	}
}

func TestMintOverrides(t *testing.T) {
	i := newIssuer(t)
	token, err := i.Mint(issuer.Claims{
		Subject: "alice", Audience: []string{"a", "b"}, Type: "JWT",
		Extra: map[string]any{"exp": now.Add(time.Hour).Unix(), "client_id": nil, "nonce": "n"},
	})
	if err != nil {
		t.Fatal(err)
	}
	parsed := parse(t, i, token)
	claims := parsed.Claims.(jwt.MapClaims)
	if parsed.Header["typ"] != "JWT" || claims["nonce"] != "n" || claims["exp"].(float64) != float64(now.Add(time.Hour).Unix()) {
		t.Errorf("header %v, claims %v: overrides were not taken", parsed.Header, claims)
	}
	if _, there := claims["client_id"]; there {
		t.Error("client_id was not removed")
	}
	if list, _ := claims["aud"].([]any); len(list) != 2 {
		t.Errorf("aud = %v, want a list of two", claims["aud"])
	}
}

func TestEveryTokenHasItsOwnID(t *testing.T) {
	i := newIssuer(t)
	seen := map[any]bool{}
	for range 100 {
		token, err := i.Mint(issuer.Claims{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		id := parse(t, i, token).Claims.(jwt.MapClaims)["jti"]
		if seen[id] {
			t.Fatalf("two tokens are called %v", id)
		}
		seen[id] = true
	}
}

func TestRefusals(t *testing.T) {
	if _, err := issuer.New(issuer.Options{}); err == nil {
		t.Error("an issuer without a name was made")
	}
	i := newIssuer(t)
	for _, alg := range []string{"none", "HS256", "es256", "PS256"} {
		if token, err := i.Mint(issuer.Claims{Algorithm: alg}); err == nil {
			t.Errorf("signed by %s: %s", alg, token)
		}
	}
	broken, err := issuer.New(issuer.Options{Issuer: name, Rand: iotest.ErrReader(errors.New("no entropy"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := broken.Mint(issuer.Claims{}); err == nil {
		t.Error("a token without an id was minted")
	}
}

// What is served is public, cacheable and nothing else.
func TestServe(t *testing.T) {
	server := httptest.NewServer(newIssuer(t))
	defer server.Close()
	get := func(method, path, tag string) *http.Response {
		request, err := http.NewRequestWithContext(context.Background(), method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tag != "" {
			request.Header.Set("If-None-Match", tag)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response
	}

	keys := get("GET", issuer.KeySetPath, "")
	var set struct{ Keys []map[string]any }
	if err := json.NewDecoder(keys.Body).Decode(&set); err != nil || len(set.Keys) != 2 {
		t.Fatalf("key set %v: %v", set, err)
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if key[private] != nil {
				t.Errorf("the private member %q is served", private)
			}
		}
		if key["use"] != "sig" || key["alg"] == nil || !strings.HasPrefix(key["kid"].(string), key["alg"].(string)) {
			t.Errorf("key %v", key)
		}
	}
	if got := get("GET", issuer.KeySetPath, keys.Header.Get("ETag")).StatusCode; got != http.StatusNotModified {
		t.Errorf("asked again with the entity tag: %d, want 304", got)
	}

	var metadata map[string]any
	if err := json.NewDecoder(get("GET", issuer.MetadataPath, "").Body).Decode(&metadata); err != nil {
		t.Fatal(err)
	}
	if metadata["issuer"] != name || metadata["jwks_uri"] != name+issuer.KeySetPath {
		t.Errorf("metadata %v", metadata)
	}
	if got := get("POST", issuer.KeySetPath, "").StatusCode; got != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d, want 405", got)
	}
	if got := get("GET", "/", "").StatusCode; got != http.StatusNotFound {
		t.Errorf("another path: %d, want 404", got)
	}
}
