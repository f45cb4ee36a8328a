package jwt

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/authztest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// shaped is one token of an identity provider's shape and what its example policy makes of it.
type shaped struct {
	name   string
	issuer string
	// header and claims are what the provider writes beside alg, kid and the dates. Nothing else is in the token.
	header, claims map[string]any
	// detail is why it is refused; "" where the rest is what it comes to.
	detail   string
	kind     authz.Kind
	subject  string
	client   string
	scopes   string
	roles    []string
	lifetime int64 // seconds; 0 is ten minutes
}

const (
	tenant = "11111111-2222-3333-4444-555555555555"
	api    = "66666666-7777-8888-9999-000000000000"
	pool   = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Example"
)

// over is a claims set with changes; nil removes.
func over(base, changes map[string]any) map[string]any {
	all := maps.Clone(base)
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

var (
	typJWT = map[string]any{"typ": "JWT"}
	noTyp  = map[string]any{"typ": nil}

	keycloakPerson = map[string]any{
		"iss": "https://sso.example.com/realms/shop", "typ": "Bearer", "jti": "onrtac:3f1c", "aud": []string{"orders-api", "account"}, "sub": "5b0e-alice", "azp": "web", "sid": "s-1", "acr": "1",
		"allowed-origins": []string{"https://shop.example.com"}, "realm_access": map[string]any{"roles": []string{"admin", "offline_access"}}, "scope": "openid profile read:orders", "preferred_username": "alice",
	}
	auth0Person = map[string]any{
		"iss": "https://shop.eu.auth0.com/", "sub": "auth0|123456", "aud": []string{"https://orders.example.com", "https://shop.eu.auth0.com/userinfo"}, "client_id": "webclient", "jti": "73Wakrf",
		"scope": "openid read:orders", "permissions": []string{"read:orders"},
	}
	auth0Default = over(auth0Person, map[string]any{"client_id": nil, "jti": nil, "azp": "webclient"})
	entraPerson  = map[string]any{
		"iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "aud": api, "azp": "web-app-id", "azpacr": "0", "oid": "oid-alice", "sub": "pairwise-alice", "tid": tenant, "uti": "u1", "ver": "2.0",
		"scp": "orders.read orders.write", "name": "Alice", "preferred_username": "alice@example.com", "rh": "0.x", "sid": "s-1", "idtyp": "user",
	}
	entraMachine = over(entraPerson, map[string]any{
		"azp": "batch-app-id", "azpacr": "1", "oid": "oid-batch", "sub": "oid-batch", "scp": nil, "name": nil, "preferred_username": nil, "sid": nil, "idtyp": "app", "roles": []string{"Orders.Reindex"},
	})
	v1           = map[string]any{"iss": "https://sts.windows.net/" + tenant + "/", "aud": "api://orders", "ver": "1.0", "azp": nil, "azpacr": nil, "appidacr": "1"}
	entraPerson1 = over(over(entraPerson, v1), map[string]any{"appid": "web-app-id", "idtyp": nil})
	entraApp1    = over(over(entraMachine, v1), map[string]any{"appid": "batch-app-id"})
	oktaPerson   = map[string]any{
		"ver": 1, "jti": "AT.MNAo", "iss": "https://shop.okta.com/oauth2/default", "aud": "api://orders", "cid": "0oa-web", "uid": "00u-alice", "scp": []string{"openid", "read:orders"}, "auth_time": 1, "sub": "alice@example.com",
	}
	oktaMachine   = over(oktaPerson, map[string]any{"cid": "0oa-batch", "uid": nil, "scp": []string{"read:orders"}, "auth_time": nil, "sub": "0oa-batch"})
	cognitoPerson = map[string]any{
		"sub": "aaaa-alice", "cognito:groups": []string{"admin"}, "iss": pool, "version": 2, "client_id": "1example23456789", "origin_jti": "o-1", "event_id": "e-1", "token_use": "access", "scope": "openid orders/read",
		"auth_time": 1, "jti": "j-1", "username": "alice",
	}
	cognitoMachine = map[string]any{"sub": "9example87654321", "iss": pool, "version": 2, "client_id": "9example87654321", "token_use": "access", "scope": "orders/reindex", "auth_time": 1, "jti": "j-2"}
	dexPerson      = map[string]any{
		"iss": "https://dex.example.com/dex", "sub": "CgVhbGljZRIEbGRhcA", "aud": "orders-api", "azp": "orders-web", "nonce": "n", "at_hash": "h", "c_hash": "c", "email": "alice@example.com", "email_verified": true,
		"groups": []string{"admin"}, "name": "Alice",
	}
	dexMachine = map[string]any{"iss": "https://dex.example.com/dex", "sub": "CgVyZWluZGV4", "aud": "orders-batch", "at_hash": "h", "name": "reindex"}
)

// What each provider writes for a person and for an application, and what else it signs with the same key and must not pass: its ID
// tokens, its refresh tokens, and tokens for another API.
var shapes = map[string][]shaped{
	"keycloak": {
		{
			name: "a person", header: typJWT, claims: keycloakPerson, kind: authz.Person, subject: "5b0e-alice", client: "web", scopes: "openid profile read:orders",
			roles: []string{"admin", "offline_access"},
		},
		{
			name: "a service account", header: typJWT, kind: authz.Machine, subject: "batch", client: "batch", scopes: "read:orders",
			claims: over(keycloakPerson, map[string]any{
				"aud": "orders-api", "sub": "9c-batch", "azp": "batch", "sid": nil, "client_id": "batch", "clientHost": "10.0.0.7", "clientAddress": "10.0.0.7", "preferred_username": "service-account-batch",
				"jti": "trrtcc:1", "scope": "read:orders", "realm_access": nil,
			}),
		},
		{name: "a user who calls himself a service account", header: typJWT, claims: over(keycloakPerson, map[string]any{"preferred_username": "service-account-batch", "realm_access": nil}), kind: authz.Person, subject: "5b0e-alice", client: "web", scopes: "openid profile read:orders"},
		{name: "an ID token", header: typJWT, claims: over(keycloakPerson, map[string]any{"typ": "ID", "aud": []string{"web", "orders-api"}, "at_hash": "h"}), detail: authz.DetailWhere},
		{name: "a refresh token", header: typJWT, claims: over(keycloakPerson, map[string]any{"typ": "Refresh"}), detail: authz.DetailWhere},
		{name: "a logout token", header: map[string]any{"typ": "logout+jwt"}, claims: over(keycloakPerson, map[string]any{"typ": "Logout", "events": map[string]any{}}), detail: authz.DetailType},
		{name: "without the audience mapper", header: typJWT, claims: over(keycloakPerson, map[string]any{"aud": "account"}), detail: authz.DetailAudience},
	},
	"auth0": {
		{name: "a person", claims: auth0Person, kind: authz.Person, subject: "auth0|123456", client: "webclient", scopes: "openid read:orders", lifetime: 86400},
		{name: "an application", claims: over(auth0Person, map[string]any{"sub": "batch@clients", "client_id": "batch", "aud": "https://orders.example.com", "scope": "read:orders"}), kind: authz.Machine, subject: "batch", client: "batch", scopes: "read:orders"},
		{name: "an ID token", header: typJWT, claims: over(auth0Person, map[string]any{"aud": "webclient", "nonce": "n", "client_id": nil}), detail: authz.DetailType},
		{name: "a day and a second", claims: auth0Person, lifetime: 86401, detail: authz.DetailLifetime},
		{name: "a person, default profile", issuer: "auth0-default", header: typJWT, claims: auth0Default, kind: authz.Person, subject: "auth0|123456", client: "webclient", scopes: "openid read:orders"},
		{
			name: "an application, default profile", issuer: "auth0-default", header: typJWT, kind: authz.Machine, subject: "batch", client: "batch", scopes: "read:orders",
			claims: over(auth0Default, map[string]any{"sub": "batch@clients", "azp": "batch", "gty": "client-credentials", "scope": "read:orders", "aud": "https://orders.example.com"}),
		},
		{name: "an ID token, default profile", issuer: "auth0-default", header: typJWT, claims: over(auth0Default, map[string]any{"aud": "webclient", "azp": nil, "sid": "s-1", "nonce": "n"}), detail: authz.DetailAudience},
		{name: "an ID token whose client is named like the API", issuer: "auth0-default", header: typJWT, claims: over(auth0Default, map[string]any{"azp": nil, "nonce": "n"}), detail: authz.DetailClaim},
	},
	"entra": {
		{name: "a person", header: typJWT, claims: entraPerson, kind: authz.Person, subject: "pairwise-alice", client: "web-app-id", scopes: "orders.read orders.write", lifetime: 5400},
		{name: "an application", header: typJWT, claims: entraMachine, kind: authz.Machine, subject: "batch-app-id", client: "batch-app-id", roles: []string{"Orders.Reindex"}},
		{name: "an application, without the optional claim", header: typJWT, claims: over(entraMachine, map[string]any{"idtyp": nil}), kind: authz.Machine, subject: "batch-app-id", client: "batch-app-id", roles: []string{"Orders.Reindex"}},
		{name: "an ID token of the same registration", header: typJWT, claims: over(entraPerson, map[string]any{"azp": nil, "azpacr": nil, "scp": nil, "idtyp": nil, "nonce": "n"}), detail: authz.DetailClaim},
		{name: "of another tenant", header: typJWT, claims: over(entraPerson, map[string]any{"tid": "00000000-0000-0000-0000-000000000000"}), detail: authz.DetailWhere},
		{name: "of version 1", header: typJWT, claims: entraPerson1, detail: authz.DetailIssuer},
		{name: "a person, version 1", issuer: "entra-v1", header: map[string]any{"typ": "JWT", "x5t": "rsa-1"}, claims: entraPerson1, kind: authz.Person, subject: "pairwise-alice", client: "web-app-id", scopes: "orders.read orders.write"},
		{name: "an application, version 1", issuer: "entra-v1", header: map[string]any{"typ": "JWT", "x5t": "rsa-1"}, claims: entraApp1, kind: authz.Machine, subject: "batch-app-id", client: "batch-app-id", roles: []string{"Orders.Reindex"}},
		{name: "an ID token, version 1", issuer: "entra-v1", header: typJWT, claims: over(entraPerson1, map[string]any{"aud": api, "appid": nil, "nonce": "n"}), detail: authz.DetailAudience},
	},
	"okta": {
		{name: "a person", header: noTyp, claims: oktaPerson, kind: authz.Person, subject: "alice@example.com", client: "0oa-web", scopes: "openid read:orders"},
		{name: "an application", header: noTyp, claims: oktaMachine, kind: authz.Machine, subject: "0oa-batch", client: "0oa-batch", scopes: "read:orders"},
		{name: "an ID token", header: noTyp, claims: over(oktaPerson, map[string]any{"jti": "ID.rad", "aud": "0oa-web", "sub": "00u-alice", "cid": nil, "uid": nil, "scp": nil, "at_hash": "h", "nonce": "n"}), detail: authz.DetailAudience},
		{name: "an ID token whose client is named like the API", header: noTyp, claims: over(oktaPerson, map[string]any{"cid": nil, "scp": nil}), detail: authz.DetailClaim},
		{name: "scopes in one text", header: noTyp, claims: over(oktaPerson, map[string]any{"scp": "openid read:orders"}), detail: authz.DetailScopes},
		{name: "of the org server", header: noTyp, claims: over(oktaPerson, map[string]any{"iss": "https://shop.okta.com", "aud": "https://shop.okta.com"}), detail: authz.DetailIssuer},
	},
	"cognito": {
		{name: "a person", header: noTyp, claims: cognitoPerson, kind: authz.Person, subject: "aaaa-alice", client: "1example23456789", scopes: "openid orders/read", roles: []string{"admin"}, lifetime: 3600},
		{name: "an application", issuer: "cognito-batch", header: noTyp, claims: cognitoMachine, kind: authz.Machine, subject: "9example87654321", client: "9example87654321", scopes: "orders/reindex"},
		{name: "an ID token", header: noTyp, claims: over(cognitoPerson, map[string]any{"token_use": "id", "aud": "1example23456789", "client_id": nil, "scope": nil, "cognito:username": "alice"}), detail: authz.DetailAudience},
		{name: "an ID token with a client_id", header: noTyp, claims: over(cognitoPerson, map[string]any{"token_use": "id", "aud": "1example23456789"}), detail: authz.DetailWhere},
		{name: "of another app client", header: noTyp, claims: cognitoMachine, detail: authz.DetailAudience},
	},
	"dex": {
		{name: "a person", header: noTyp, claims: dexPerson, kind: authz.Person, subject: "CgVhbGljZRIEbGRhcA", client: "orders-web", roles: []string{"admin"}, lifetime: 86400},
		{name: "an application", issuer: "dex-batch", header: noTyp, claims: dexMachine, kind: authz.Machine, subject: "orders-batch", client: "orders-batch"},
		{name: "an ID token for the frontend alone", header: noTyp, claims: over(dexPerson, map[string]any{"aud": "orders-web", "azp": nil}), detail: authz.DetailAudience},
		{name: "an ID token that nobody asked for this API", header: noTyp, claims: over(dexPerson, map[string]any{"azp": nil}), detail: authz.DetailClaim},
		{name: "a security event", header: noTyp, claims: over(dexPerson, map[string]any{"events": map[string]any{}}), detail: authz.DetailTokenKind},
	},
}

// Every example policy takes the tokens of its provider for whom they are, and refuses what is no access token for this API.
func TestIssuerShapes(t *testing.T) {
	files, err := filepath.Glob("../../docs/issuers/*.yaml")
	if err != nil || len(files) != len(shapes) {
		t.Fatalf("%d example policies for %d shapes, %v", len(files), len(shapes), err)
	}
	for _, path := range files {
		provider := strings.TrimSuffix(filepath.Base(path), ".yaml")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		p, errs := policy.Parse([]policy.File{{Name: path, Data: data}})
		if len(errs) > 0 {
			t.Errorf("%s", errs.Pretty())
			continue
		}
		if len(p.Warnings) > 0 {
			t.Errorf("%s", p.Warnings.Pretty())
		}
		kinds := map[authz.Kind]bool{}
		for _, s := range shapes[provider] {
			t.Run(provider+": "+s.name, func(t *testing.T) {
				name := s.issuer
				if name == "" {
					name = provider
				}
				kinds[s.check(t, p.Issuers[name])] = true
			})
		}
		if !kinds[authz.Person] || !kinds[authz.Machine] {
			t.Errorf("%s: a person's and an application's token must both be shown, were %v", provider, kinds)
		}
	}
}

// check verifies the token by the issuer, and returns whose it was; a refused one is nobody's.
func (s shaped) check(t *testing.T, issuer *policy.Issuer) authz.Kind {
	t.Helper()
	if issuer == nil {
		t.Fatal("the example has no such issuer")
	}
	issued := authztest.Now.Unix() - 60
	lifetime := s.lifetime
	if lifetime == 0 {
		lifetime = 600
	}
	claims := over(s.claims, map[string]any{"iat": issued, "nbf": issued, "exp": issued + lifetime})
	token := authztest.Mint(authztest.RSA(), s.header, claims)
	v := New(issuer, ring(), Options{})
	p, err := v.Verify(t.Context(), token, authztest.Now)
	wantDetail(t, p, err, s.detail)
	if again, errAgain := v.Verify(t.Context(), token, authztest.Now); show(again, errAgain) != show(p, err) {
		t.Errorf("once more: %s, not %s", show(again, errAgain), show(p, err))
	}
	if s.detail != "" {
		return authz.Undetermined
	}
	if want := (authz.Identity{Issuer: issuer.Name, Kind: s.kind, Subject: s.subject}); p.Identity != want {
		t.Errorf("identity %+v, want %+v", p.Identity, want)
	}
	if p.ClientID != s.client || p.Scopes.String() != s.scopes {
		t.Errorf("client %q, scopes %q, want %q and %q", p.ClientID, p.Scopes.String(), s.client, s.scopes)
	}
	if roles, _ := p.Token.List("roles"); !slices.Equal(roles, s.roles) {
		t.Errorf("roles %v, want %v", roles, s.roles)
	}
	return p.Identity.Kind
}
