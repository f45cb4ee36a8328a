package offline

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// lifetime is how long a described token lives, unless its issuer's tokens live shorter.
const lifetime = 5 * time.Minute

// token writes the token of a case, without a signature; "" is none. Thumbprint is the certificate that it may be bound to.
func (r *Room) token(c *Case, now time.Time, thumbprint [32]byte) (string, error) {
	w := &c.Who
	switch {
	case !w.Named:
		return "", nil
	case w.Bearer != "":
		return w.Bearer, nil
	case w.Raw != nil:
		iss, _ := w.Raw["iss"].(string)
		return unsigned(r.issuerOf(iss), w.Raw), nil
	}
	issuer, err := r.issuer(w.Issuer)
	if err != nil {
		return "", err
	}
	claims, err := described(w, issuer, r.audience(c, issuer), now)
	if err != nil {
		return "", err
	}
	switch w.Bound {
	case BoundToCaller:
		claims["cnf"] = map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(thumbprint[:])}
	case BoundToAnother:
		claims["cnf"] = map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, len(thumbprint)))}
	}
	return unsigned(issuer, claims), nil
}

// audience is whom a described token is for: the service, where it is known and says so, else whoever the issuer's tokens may be for.
func (r *Room) audience(c *Case, issuer *policy.Issuer) any {
	service := r.Policy.Service(c.Service)
	if c.Service == "" && len(r.Policy.Services) == 1 {
		service = r.Policy.Services[0]
	}
	switch {
	case service != nil && slices.Contains(issuer.Audiences, service.Audience):
		return service.Audience
	case service == nil && len(issuer.Audiences) > 1 && slices.Equal(audiencePath(issuer), []string{"aud"}):
		return issuer.Audiences
	}
	return issuer.Audiences[0]
}

// issuer finds an issuer by the policy's name; the only one needs none.
func (r *Room) issuer(name string) (*policy.Issuer, error) {
	if name == "" && len(r.Policy.Issuers) == 1 {
		for _, only := range r.Policy.Issuers {
			return only, nil
		}
	}
	if issuer := r.Policy.Issuers[name]; issuer != nil {
		return issuer, nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(r.Policy.Issuers)), ", ")
	if name == "" {
		return nil, fmt.Errorf("say whose token it is: `issuer` is one of %s", orNone(known))
	}
	return nil, fmt.Errorf("the policy has no issuer %q; it has %s", name, orNone(known))
}

func orNone(names string) string {
	if names == "" {
		return "none"
	}
	return names
}

// issuerOf finds an issuer by its `iss`; nil if the policy has none.
func (r *Room) issuerOf(iss string) *policy.Issuer {
	for _, issuer := range r.Policy.Issuers {
		if issuer.Issuer == iss {
			return issuer
		}
	}
	return nil
}

// claim is a value and where it stands in a token.
type claim struct {
	path  []string
	value any
	write bool // over what is there
}

// texts is one text, or a list.
func texts(list []string) any {
	switch len(list) {
	case 0:
		return nil
	case 1:
		return list[0]
	}
	return list
}

// someClient is an application for a token that names none; "" where none is meant.
func someClient(w *Who) string {
	if w.NoClient {
		return ""
	}
	return "offline-client"
}

// described makes the claims of a token that is good in all that is not written.
func described(w *Who, issuer *policy.Issuer, audience any, now time.Time) (map[string]any, error) {
	claims := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(w.Claims)) {
		if err := place(claims, claimPath(issuer, name), w.Claims[name]); err != nil {
			return nil, err
		}
	}
	life := min(lifetime, issuer.MaxLifetime)
	all := []claim{
		{[]string{"sub"}, w.Subject, w.Subject != ""},
		{clientPath(issuer), w.ClientID, w.ClientID != ""},
		{audiencePath(issuer), texts(w.Audience), w.Audience != nil},
		{scopePath(issuer), scopes(w.Scopes, issuer), w.Scopes != nil},
		{[]string{"iss"}, issuer.Issuer, false},
		{audiencePath(issuer), audience, false},
		{clientPath(issuer), someClient(w), false},
		{[]string{"jti"}, "offline-token", false},
		{[]string{"iat"}, now.Unix(), false},
		{[]string{"exp"}, now.Unix() + int64(life/time.Second), false},
	}
	for _, name := range issuer.Require {
		if name != "sub" && name != "client_id" && name != "jti" {
			all = append(all, claim{claimPath(issuer, name), "offline-" + name, false})
		}
	}
	for _, want := range issuer.Where {
		all = append(all, claim{want.Path, want.Value, false})
	}
	for _, d := range all {
		if !d.write && (d.value == "" || holds(claims, d.path)) || d.value == nil {
			continue
		}
		if err := place(claims, d.path, d.value); err != nil {
			return nil, err
		}
	}
	return claims, nil
}

// scopes are written in the form that the issuer's tokens have.
func scopes(list []string, issuer *policy.Issuer) any {
	switch {
	case list == nil:
		return nil
	case issuer.ScopeList:
		return list
	}
	return strings.Join(list, " ")
}

func scopePath(issuer *policy.Issuer) []string {
	if len(issuer.ScopeClaim) > 0 {
		return issuer.ScopeClaim
	}
	return []string{"scope"}
}

func clientPath(issuer *policy.Issuer) []string {
	if len(issuer.ClientIDClaim) > 0 {
		return issuer.ClientIDClaim
	}
	return []string{"client_id"}
}

// audiencePath is where the audience stands that the policy compares.
func audiencePath(issuer *policy.Issuer) []string {
	switch claim := issuer.AudienceClaim; {
	case claim == "" || claim == "aud":
		return []string{"aud"}
	case claim == "client_id":
		return clientPath(issuer)
	default:
		path := claimPath(issuer, claim)
		if len(path) == 1 && path[0] == claim {
			return strings.Split(claim, ".")
		}
		return path
	}
}

// claimPath is where a claim stands that the policy calls name.
func claimPath(issuer *policy.Issuer, name string) []string {
	for _, claim := range issuer.Claims {
		if claim.Name == name {
			return claim.From
		}
	}
	return []string{name}
}

func holds(claims map[string]any, path []string) bool {
	var value any = claims
	for _, name := range path {
		members, ok := value.(map[string]any)
		if !ok {
			return false
		}
		if value, ok = members[name]; !ok {
			return false
		}
	}
	return true
}

// place puts a value where it stands in a token.
func place(claims map[string]any, path []string, value any) error {
	at := claims
	for _, name := range path[:len(path)-1] {
		switch next := at[name].(type) {
		case nil:
			fresh := map[string]any{}
			at[name] = fresh
			at = fresh
		case map[string]any:
			fresh := maps.Clone(next) // a person of the file may be shared by many cases
			at[name] = fresh
			at = fresh
		default:
			return fmt.Errorf("the claim %s cannot stand within %s, which is no map", strings.Join(path, "."), name)
		}
	}
	at[path[len(path)-1]] = value
	return nil
}

// unsigned writes a token with the header that its issuer's tokens have.
func unsigned(issuer *policy.Issuer, claims map[string]any) string {
	header := map[string]any{"alg": "ES256", "typ": "at+jwt"}
	if issuer != nil {
		header["alg"] = issuer.Algorithms[0]
		delete(header, "typ")
		if len(issuer.Types) > 0 && issuer.Types[0] != "none" {
			header["typ"] = issuer.Types[0]
		}
	}
	return jwt.Unsigned(encode(header), encode(claims))
}

// ErrNoToken says that what should be a token is none.
var ErrNoToken = errors.New("what stands behind Bearer is no signed token that can be read (JWS, three parts)")

// BearerIssuer is the `iss` that a whole token claims, for a note on whose signature was not looked at.
func BearerIssuer(token string) (string, error) {
	issuer, ok := jwt.UnverifiedIssuer(token)
	if !ok {
		return "", ErrNoToken
	}
	return issuer, nil
}
