package jwt

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// claims judges a payload whose signature has been proved, in all but the clock, and fills in the rest of the proof.
func (v *Verifier) claims(part string, into *proof) error {
	root, err := object(part)
	if err != nil {
		return err
	}
	if iss, ok := text(root, "iss"); !ok || iss != v.issuer.Issuer {
		return refuse(authz.DetailIssuer)
	}
	audiences, err := v.audiences(root)
	if err != nil {
		return err
	}
	dates, err := v.dates(root)
	if err != nil {
		return err
	}
	if err := v.demands(root); err != nil {
		return err
	}
	p, err := v.whose(root)
	if err != nil {
		return err
	}
	if p.Confirmation, err = confirmation(root); err != nil {
		return err
	}
	if p.Session, err = session(root); err != nil {
		return err
	}
	p.Audiences, p.Expires, p.IssuedAt = audiences, dates.expires, dates.issued
	into.times, into.principal = dates, p
	return nil
}

// audiences finds one of the policy's audiences among the token's (RFC 7519 4.1.3), octet for octet. Where another claim stands for
// `aud`, a token that has both must satisfy the policy by both.
func (v *Verifier) audiences(root strictjson.Value) ([]string, error) {
	if v.audience == nil {
		aud, _ := root.Member("aud")
		return v.ours(aud)
	}
	if aud, ok := root.Member("aud"); ok {
		if _, err := v.ours(aud); err != nil {
			return nil, err
		}
	}
	claim, _ := root.Path(v.audience...)
	return v.ours(claim)
}

// ours returns the values of an audience claim if one of them is the policy's.
func (v *Verifier) ours(claim strictjson.Value) ([]string, error) {
	all, ok := claim.Strings()
	if one, single := claim.Text(); single {
		all, ok = []string{one}, true
	}
	known := func(aud string) bool { return slices.Contains(v.issuer.Audiences, aud) }
	if !ok || slices.Contains(all, "") || !slices.ContainsFunc(all, known) {
		return nil, refuse(authz.DetailAudience)
	}
	return all, nil
}

// dates reads exp, iat and nbf and judges what needs no clock.
func (v *Verifier) dates(root strictjson.Value) (t times, err error) {
	for _, claim := range []struct {
		name     string
		required bool
		into     *time.Time
	}{{"exp", true, &t.expires}, {"iat", true, &t.issued}, {"nbf", false, &t.notBefore}} {
		value, present := root.Member(claim.name)
		if !present && !claim.required {
			continue
		}
		number, ok := value.Number()
		if ok {
			*claim.into, ok = date(number)
		}
		if !ok {
			return times{}, refuse(authz.DetailClaim)
		}
	}
	switch {
	case t.issued.After(t.expires):
		return times{}, refuse(authz.DetailClaim)
	case t.expires.Sub(t.issued) > v.issuer.MaxLifetime:
		return times{}, refuse(authz.DetailLifetime)
	}
	return t, nil
}

// demands checks what the issuer's settings ask of a token, and what no bearer token may carry.
func (v *Verifier) demands(root strictjson.Value) error {
	for _, path := range v.required {
		claim, _ := root.Path(path...)
		if value, ok := claim.Text(); !ok || value == "" {
			return refuse(authz.DetailClaim)
		}
	}
	for _, want := range v.issuer.Where {
		if !equals(root, want) {
			return refuse(authz.DetailWhere)
		}
	}
	for _, name := range v.markers {
		if has(root, name) {
			return refuse(authz.DetailTokenKind)
		}
	}
	return nil
}

// confirmation reads `cnf` (RFC 7800). A token that is bound to its sender is no bearer token, so a binding that is not understood in
// full is refused: exactly one member, x5t#S256, exactly as long as a SHA-256 (RFC 8705 3.1). Whoever decides holds the sender to it.
func confirmation(root strictjson.Value) (authz.Confirmation, error) {
	cnf, bound := root.Member("cnf")
	if !bound {
		return authz.Confirmation{}, nil
	}
	c := authz.Confirmation{Bound: true}
	encoded, ok := text(cnf, "x5t#S256")
	if !ok || len(cnf.Members()) != 1 {
		return authz.Confirmation{}, refuse(authz.DetailConfirm)
	}
	thumbprint, err := decode(encoded)
	if err != nil || len(thumbprint) != len(c.Thumbprint) {
		return authz.Confirmation{}, refuse(authz.DetailConfirm)
	}
	copy(c.Thumbprint[:], thumbprint)
	return c, nil
}

// MaxSession is the longest `sid` in bytes: a name that revocation can hold. A longer one is refused.
const MaxSession = 255

// session reads `sid`, "" if the token came of no session that has a name. A name that no revocation could ever be written for is
// refused, since its token would outlive the session without anybody being told.
func session(root strictjson.Value) (string, error) {
	claim, ok := root.Member("sid")
	if !ok {
		return "", nil
	}
	sid, ok := claim.Text()
	if !ok || len(sid) > MaxSession || strings.ContainsFunc(sid, unicode.IsControl) {
		return "", refuse(authz.DetailClaim)
	}
	return sid, nil
}

// equals compares a claim with its one allowed value, type included: "true" is not true.
func equals(root strictjson.Value, want policy.ClaimValue) bool {
	claim, ok := root.Path(want.Path...)
	if !ok {
		return false
	}
	switch value := want.Value.(type) {
	case string:
		got, ok := claim.Text()
		return ok && got == value
	case bool:
		got, ok := claim.Bool()
		return ok && got == value
	case int64:
		got, ok := claim.Int64()
		return ok && got == value
	}
	return false
}

// whose reads who the token speaks for. Its own three names must be texts if they are there at all.
func (v *Verifier) whose(root strictjson.Value) (*authz.Principal, error) {
	values := make(map[string]any, 4+len(v.issuer.Claims))
	var names [3]string
	for i, name := range []string{"sub", "client_id", "jti"} {
		var err error
		if names[i], err = v.name(root, name); err != nil {
			return nil, err
		}
		if names[i] != "" {
			values[name] = names[i]
		}
	}
	scopes, list, err := v.scopes(root)
	if err != nil {
		return nil, err
	}
	values["scope"] = list
	for _, c := range v.issuer.Claims {
		if value, ok := declared(root, c); ok {
			values[c.Name] = value
		}
	}
	p := &authz.Principal{
		Issuer: v.issuer.Issuer, Subject: names[0], ClientID: names[1], TokenID: names[2], Scopes: scopes, Token: condition.NewToken(values),
	}
	p.Identity = v.identity(p.Token, names[0], names[1])
	if p.Identity.Kind != authz.Person {
		p.Token = v.withoutSubject(values)
	}
	return p, nil
}

// MaxName is the longest `sub`, client_id or `jti` in bytes: a name that revocation can hold. A longer one is refused.
const MaxName = 2048

// name reads sub, client_id or jti; "" if it is absent or empty, since an empty name is nobody's. They end in logs, metadata and
// headers, so no control character stands in them.
func (v *Verifier) name(root strictjson.Value, name string) (string, error) {
	path := []string{name}
	if name == "client_id" {
		path = place(v.issuer, name)
	}
	claim, ok := root.Path(path...)
	if !ok {
		return "", nil
	}
	value, ok := claim.Text()
	if !ok || len(value) > MaxName || strings.ContainsFunc(value, unicode.IsControl) {
		return "", refuse(authz.DetailClaim)
	}
	return value, nil
}

// identity decides whose the token is. What cannot be decided, or has no name, is neither a person nor a machine.
func (v *Verifier) identity(token condition.Token, sub, clientID string) authz.Identity {
	id, machine := authz.Identity{Issuer: v.issuer.Name}, false
	if !v.issuer.MachineNever {
		if v.issuer.Machine == nil {
			return id
		}
		var err error
		if machine, err = v.issuer.Machine.Eval(token, ""); err != nil {
			return id
		}
	}
	switch {
	case machine && clientID != "":
		id.Kind, id.Subject = authz.Machine, clientID
	case !machine && sub != "":
		id.Kind, id.Subject = authz.Person, sub
	}
	return id
}

// withoutSubject is what rules may read of a token that is no person's: its `sub` names an application or nobody, and must not be
// equal to a user of that name, by whatever declared name it is read.
func (v *Verifier) withoutSubject(values map[string]any) condition.Token {
	rest := maps.Clone(values)
	delete(rest, "sub")
	for _, c := range v.issuer.Claims {
		if len(c.From) == 1 && c.From[0] == "sub" {
			delete(rest, c.Name)
		}
	}
	return condition.NewToken(rest)
}

// scopes reads the one claim and the one form that the issuer's tokens have (RFC 9068 2.2.3). No claim is no scopes.
func (v *Verifier) scopes(root strictjson.Value) (scope.Set, []string, error) {
	path := v.issuer.ScopeClaim
	if len(path) == 0 {
		path = []string{"scope"}
	}
	claim, ok := root.Path(path...)
	if !ok {
		return scope.Set{}, []string{}, nil
	}
	var set scope.Set
	list, ok, err := []string(nil), false, error(nil)
	if v.issuer.ScopeList {
		if list, ok = claim.Strings(); ok {
			set, err = scope.FromList(list)
		}
	} else {
		var joined string
		if joined, ok = claim.Text(); ok {
			if joined != "" {
				list = strings.Split(joined, " ")
			}
			set, err = scope.Parse(joined)
		}
	}
	if !ok || err != nil {
		return scope.Set{}, nil, refuse(authz.DetailScopes)
	}
	return set, list, nil
}

// declared reads a claim that rules may read, in the type that the policy gave it. Any other type is as if it were not there.
func declared(root strictjson.Value, c policy.Claim) (any, bool) {
	value, ok := root.Path(c.From...)
	if !ok {
		return nil, false
	}
	switch c.Type {
	case condition.String:
		return pair(value.Text())
	case condition.Strings:
		return pair(value.Strings())
	case condition.Bool:
		return pair(value.Bool())
	case condition.Int:
		return pair(value.Int64())
	}
	return nil, false
}

func pair[T any](value T, ok bool) (any, bool) { return value, ok }
