package main

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// lastDate is the end of the year 9999 in seconds since 1970, the latest date that the verifier reads.
const lastDate = 253402300799

// dates are a token's, zero where it has none or an unreadable one.
type dates struct{ expires, issued, notBefore time.Time }

// explainClaims follows the verifier over the claims, the clock last.
func (r *report) explainClaims(claims strictjson.Value) {
	r.explainIssuer(claims)
	r.explainAudience(claims)
	when := r.explainDates(claims)
	r.explainRequired(claims)
	r.explainWhere(claims)
	r.explainMarkers(claims)
	r.explainNames(claims)
	r.explainScopes(claims)
	r.explainConfirmation(claims)
	r.explainSession(claims)
	r.explainDeclared(claims)
	r.explainClock(when)
	r.explainWho()
}

func (r *report) explainIssuer(claims strictjson.Value) {
	member, _ := claims.Member("iss")
	iss, isText := member.Text()
	switch {
	case !isText:
		r.refuse("iss", authz.DetailIssuer, "missing, or not a text")
	case iss != r.issuer.Issuer:
		r.refuse("iss", authz.DetailIssuer, "%s; %s is %s, and every byte counts, a final slash too", quote(iss), r.issuer.Name, quote(r.issuer.Issuer))
	default:
		r.ok("iss", "%s", quote(iss))
	}
}

func (r *report) explainAudience(claims strictjson.Value) {
	other := r.issuer.AudienceClaim != "" && r.issuer.AudienceClaim != "aud"
	if _, present := claims.Member("aud"); present || !other {
		r.explainAudienceAt(claims, "aud", []string{"aud"})
	}
	if other {
		path := claimPlace(r.issuer, r.issuer.AudienceClaim)
		if len(path) == 1 && path[0] == r.issuer.AudienceClaim {
			path = strings.Split(path[0], ".")
		}
		r.explainAudienceAt(claims, r.issuer.AudienceClaim, path)
	}
}

func (r *report) explainAudienceAt(claims strictjson.Value, step string, path []string) {
	member, present := claims.Path(path...)
	list, ok := member.Strings()
	if one, single := member.Text(); single {
		list, ok = []string{one}, true
	}
	ours := showList(r.issuer.Audiences)
	switch {
	case !present:
		r.refuse(step, authz.DetailAudience, "missing; one of %s is demanded", ours)
	case !ok || slices.Contains(list, ""):
		r.refuse(step, authz.DetailAudience, "neither a text nor a list of texts, or one of them is empty")
	case !slices.ContainsFunc(list, func(aud string) bool { return slices.Contains(r.issuer.Audiences, aud) }):
		r.refuse(step, authz.DetailAudience, "%s holds none of %s: the token is meant for another API", showList(list), ours)
	default:
		r.ok(step, "%s", showList(list))
	}
}

// explainDates reads exp, iat and nbf and says what needs no clock.
func (r *report) explainDates(claims strictjson.Value) dates {
	var d dates
	readable := true
	for _, claim := range []struct {
		name     string
		required bool
		into     *time.Time
	}{{"exp", true, &d.expires}, {"iat", true, &d.issued}, {"nbf", false, &d.notBefore}} {
		member, present := claims.Member(claim.name)
		at, ok := numericDate(member)
		switch {
		case !present && claim.required:
			readable = false
			r.refuse(claim.name, authz.DetailClaim, "missing; every token must have it")
		case !present:
		case !ok:
			readable = false
			r.refuse(claim.name, authz.DetailClaim, "not a number of seconds since 1970")
		default:
			*claim.into = at
			r.ok(claim.name, "%s", when(at, r.now))
		}
	}
	if !readable {
		return d
	}
	switch lifetime := d.expires.Sub(d.issued); {
	case lifetime < 0:
		r.refuse("lifetime", authz.DetailClaim, "exp lies before iat")
	case lifetime > r.issuer.MaxLifetime:
		r.refuse("lifetime", authz.DetailLifetime, "%s; the issuer's `max_lifetime` is %s", lifetime, r.issuer.MaxLifetime)
	default:
		r.ok("lifetime", "%s, at most %s", lifetime, r.issuer.MaxLifetime)
	}
	return d
}

func numericDate(value strictjson.Value) (time.Time, bool) {
	number, ok := value.Number()
	if !ok {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(number, 64)
	if err != nil || !(seconds >= 0 && seconds <= lastDate) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)).UTC(), true
}

func (r *report) explainRequired(claims strictjson.Value) {
	for _, name := range r.issuer.Require {
		path := claimPlace(r.issuer, name)
		member, _ := claims.Path(path...)
		if value, ok := member.Text(); !ok || value == "" {
			r.refuse(name, authz.DetailClaim, "`require` demands a text in %s, and there is none", strings.Join(path, "."))
		}
	}
}

func (r *report) explainWhere(claims strictjson.Value) {
	for _, want := range r.issuer.Where {
		step := "where"
		place := strings.Join(want.Path, ".")
		if member, ok := claims.Path(want.Path...); !ok || !equals(member, want.Value) {
			r.refuse(step, authz.DetailWhere, "%s is %s, and must be %s: another kind of token?", place, showValue(member), showWanted(want.Value))
			continue
		}
		r.ok(step, "%s is %s", place, showWanted(want.Value))
	}
}

// equals compares with the type: "true" is not true.
func equals(member strictjson.Value, want any) bool {
	switch want := want.(type) {
	case string:
		got, ok := member.Text()
		return ok && got == want
	case bool:
		got, ok := member.Bool()
		return ok && got == want
	case int64:
		got, ok := member.Int64()
		return ok && got == want
	}
	return false
}

func (r *report) explainMarkers(claims strictjson.Value) {
	for _, name := range []string{"nonce", "at_hash", "c_hash", "events"} {
		if _, present := claims.Member(name); !present {
			continue
		}
		switch {
		case slices.Contains(r.issuer.AllowMarkers, name):
			r.ok(name, "marks another kind of token, and this issuer may write it (allow_markers)")
		case r.issuer.IDTokens && name != "events":
			r.ok(name, "marks an ID token, which is taken on purpose (id_tokens)")
		default:
			r.refuse(name, authz.DetailTokenKind, "marks an ID, logout or event token: send the access token")
		}
	}
}

// explainConfirmation says what a bound token needs. Whether the sender proved it is a question to the connection.
func (r *report) explainConfirmation(claims strictjson.Value) {
	cnf, present := claims.Member("cnf")
	if !present {
		return
	}
	thumbprint, ok := certificateThumbprint(cnf)
	if !ok {
		r.refuse("cnf", authz.DetailConfirm, "binds the token to its sender in a way that is not supported: x5t#S256 alone is")
		return
	}
	r.ok("cnf", "bound to the client certificate with the SHA-256 %x: only a connection with it may send this token", thumbprint)
}

// certificateThumbprint reads the one form of cnf that is supported (RFC 8705 section 3.1).
func certificateThumbprint(cnf strictjson.Value) ([]byte, bool) {
	member, _ := cnf.Member("x5t#S256")
	text, ok := member.Text()
	if !ok || len(cnf.Members()) != 1 {
		return nil, false
	}
	thumbprint, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return thumbprint, err == nil && len(thumbprint) == 32
}

// explainSession looks at sid, the name by which a login session is revoked.
func (r *report) explainSession(claims strictjson.Value) {
	member, present := claims.Member("sid")
	sid, isText := member.Text()
	switch {
	case !present || isText && sid == "":
	case !isText:
		r.refuse("sid", authz.DetailClaim, "not text: it could not be revoked")
	case len(sid) > jwt.MaxSession || strings.ContainsFunc(sid, unicode.IsControl):
		r.refuse("sid", authz.DetailClaim, "longer than %d bytes, or it holds a control character: it could not be revoked", jwt.MaxSession)
	default:
		r.ok("sid", "%s", quote(sid))
	}
}

// explainNames looks at the three names that tokens have in our words.
func (r *report) explainNames(claims strictjson.Value) {
	for _, name := range []string{"sub", "client_id", "jti"} {
		path := []string{name}
		if name == "client_id" {
			path = claimPlace(r.issuer, name)
		}
		member, present := claims.Path(path...)
		text, isText := member.Text()
		switch {
		case !present:
			r.note(name, "absent")
		case !isText || len(text) > jwt.MaxName || strings.ContainsFunc(text, unicode.IsControl):
			r.refuse(name, authz.DetailClaim, "not a text, longer than %d bytes, or it holds a control character", jwt.MaxName)
		default:
			r.ok(name, "%s", quote(text))
		}
	}
}

func (r *report) explainScopes(claims strictjson.Value) {
	path := r.issuer.ScopeClaim
	if len(path) == 0 {
		path = []string{"scope"}
	}
	step := "scopes"
	member, present := claims.Path(path...)
	if !present {
		r.note(step, "no claim %s, so none", strings.Join(path, "."))
		return
	}
	set, form, ok := scope.Set{}, "one text with single spaces between the scopes", false
	var err error
	if r.issuer.ScopeList {
		var list []string
		form = "a list of texts without spaces"
		if list, ok = member.Strings(); ok {
			set, err = scope.FromList(list)
		}
	} else {
		var text string
		if text, ok = member.Text(); ok {
			set, err = scope.Parse(text)
		}
	}
	if !ok || err != nil {
		r.refuse(step, authz.DetailScopes, "the claim %s is %s, and must be %s; `scopes` of the policy says otherwise", strings.Join(path, "."), showValue(member), form)
		return
	}
	r.ok(step, "%s", quote(set.String()))
}

// explainDeclared shows what rules will read. A claim of another type is as if it were not there, which refuses nothing here.
func (r *report) explainDeclared(claims strictjson.Value) {
	for _, c := range r.issuer.Claims {
		member, present := claims.Path(c.From...)
		place := strings.Join(c.From, ".")
		switch {
		case !present:
			r.note(c.Name, "unset: there is no %s", place)
		case !hasType(member, c.Type):
			r.note(c.Name, "unset: %s is %s, and its declared type another", place, showValue(member))
		default:
			r.ok(c.Name, "%s", showValue(member))
		}
	}
}

func hasType(member strictjson.Value, want condition.Type) (ok bool) {
	switch want {
	case condition.String:
		_, ok = member.Text()
	case condition.Strings:
		_, ok = member.Strings()
	case condition.Bool:
		_, ok = member.Bool()
	case condition.Int:
		_, ok = member.Int64()
	}
	return ok
}

// explainClock compares the dates with the moment of judgement. The last instant of a token is exp + leeway, exclusive.
func (r *report) explainClock(d dates) {
	leeway := r.issuer.Leeway
	switch {
	case d.expires.IsZero() || d.issued.IsZero():
		return
	case !r.now.Before(d.expires.Add(leeway)):
		r.refuse("clock", authz.DetailExpired, "expired %s, with a leeway of %s", when(d.expires, r.now), leeway)
	case r.now.Before(d.issued.Add(-leeway)):
		r.refuse("clock", authz.DetailNotYet, "issued %s, with a leeway of %s: is a clock wrong?", when(d.issued, r.now), leeway)
	case !d.notBefore.IsZero() && r.now.Before(d.notBefore.Add(-leeway)):
		r.refuse("clock", authz.DetailNotYet, "not valid before %s, with a leeway of %s", when(d.notBefore, r.now), leeway)
	default:
		r.ok("clock", "between iat and exp, with a leeway of %s", leeway)
	}
}

// explainWho says whose token it is, which the verifier alone knows.
func (r *report) explainWho() {
	p := r.verdict.principal
	if p == nil {
		return
	}
	switch p.Identity.Kind {
	case authz.Person:
		r.ok("who", "a person, %s of %s", quote(p.Identity.Subject), p.Identity.Issuer)
	case authz.Machine:
		r.ok("who", "an application, %s of %s: rules about persons do not match it", quote(p.Identity.Subject), p.Identity.Issuer)
	default:
		r.note("who", "neither a person nor an application: the issuer's `machine` could not be decided, or there is no name. Rules about either refuse it")
	}
}

// claimPlace resolves one of the policy's names to where its claim stands in a token.
func claimPlace(issuer *policy.Issuer, name string) []string {
	if name == "client_id" && len(issuer.ClientIDClaim) > 0 {
		return issuer.ClientIDClaim
	}
	for _, c := range issuer.Claims {
		if c.Name == name {
			return c.From
		}
	}
	return []string{name}
}

// showValue shows a claim as the token has it.
func showValue(v strictjson.Value) string {
	if text, ok := v.Text(); ok {
		return quote(text)
	}
	if list, ok := v.Strings(); ok {
		return showList(list)
	}
	if b, ok := v.Bool(); ok {
		return strconv.FormatBool(b)
	}
	if number, ok := v.Number(); ok {
		return strings.Trim(quote(number), `"`)
	}
	if v.Kind() == strictjson.Invalid {
		return "absent"
	}
	return "a JSON " + v.Kind().String()
}

func showWanted(value any) string {
	if text, ok := value.(string); ok {
		return quote(text)
	}
	return fmt.Sprint(value)
}
