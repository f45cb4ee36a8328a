package main

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/jwt"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// tokenLimits are the verifier's own bounds of a header and of claims.
var tokenLimits = strictjson.Limits{Bytes: jwt.MaxToken, Depth: 16, Members: 512, Elements: 1024}

// maxKID is the longest kid in bytes that the verifier reads.
const maxKID = 255

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// explain walks the verifier's way: bytes, header, key, signature, claims, clock. It goes on after a refusal as far as there is
// something to read, since who fixes one cause wants to know the next.
func (r *report) explain() {
	parts := r.explainForm()
	if parts == nil {
		return
	}
	if head, ok := r.explainPart("header", parts[0]); ok {
		alg, kid := r.explainHeader(head)
		r.explainKey(kid, alg)
	}
	r.explainSignature(parts[2])
	if claims, ok := r.explainPart("claims", parts[1]); ok {
		r.explainClaims(claims)
	}
}

// explainForm looks at size, alphabet and parts, and returns the three parts if there are three.
func (r *report) explainForm() []string {
	if len(r.token) > jwt.MaxToken {
		r.refuse("size", authz.DetailTooLarge, "%d bytes; %d are the most", len(r.token), jwt.MaxToken)
		return nil
	}
	r.ok("size", "%d bytes, at most %d", len(r.token), jwt.MaxToken)
	foreign := func(c rune) bool { return c != '.' && !strings.ContainsRune(base64url, c) }
	if at := strings.IndexFunc(r.token, foreign); at >= 0 {
		r.refuse("alphabet", authz.DetailMalformed, "byte %d is none of A-Z a-z 0-9 - _ and the dot: padding, a line break or another base64?", at)
		return nil
	}
	parts := strings.Split(r.token, ".")
	switch {
	case len(parts) == 5:
		r.refuse("parts", authz.DetailMalformed, "five: the token is encrypted (JWE, RFC 7516), which is not supported")
		return nil
	case len(parts) != 3:
		r.refuse("parts", authz.DetailMalformed, "%d; a signed token has three. Opaque tokens are not supported", len(parts))
		return nil
	case parts[0] == "" || parts[1] == "":
		r.refuse("parts", authz.DetailMalformed, "the header or the claims are empty")
		return nil
	}
	r.ok("parts", "three, of base64url")
	return parts
}

// explainPart decodes the header or the claims.
func (r *report) explainPart(step, part string) (strictjson.Value, bool) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		r.refuse(step, authz.DetailMalformed, "not base64url in its one spelling (unused bits are set, or a character is missing)")
		return strictjson.Value{}, false
	}
	root, err := strictjson.Parse(data, tokenLimits)
	switch {
	case err != nil:
		r.refuse(step, authz.DetailMalformed, "not strict JSON: %v", err)
		return strictjson.Value{}, false
	case root.Kind() != strictjson.Object:
		r.refuse(step, authz.DetailMalformed, "a JSON %s, not an object", root.Kind())
		return strictjson.Value{}, false
	}
	r.ok(step, "strict JSON with %d members", len(root.Members()))
	return root, true
}

// explainHeader looks at the JOSE header and returns what it asks for. The alg is "" if it is not accepted.
func (r *report) explainHeader(head strictjson.Value) (alg, kid string) {
	alg = r.explainAlgorithm(head)
	pointers := []string{"jku", "x5u", "x5c"}
	for _, member := range head.Members() {
		switch {
		case slices.Contains([]string{"crit", "b64", "zip", "jwk"}, member.Name):
			r.refuse(member.Name, authz.DetailHeader, "no access token may change how it is read, or bring its own key")
		case slices.Contains(pointers, member.Name) && r.issuer.IgnoreKeyHeaders:
			r.note(member.Name, "not looked at (ignore_key_headers)")
		case slices.Contains(pointers, member.Name):
			r.refuse(member.Name, authz.DetailHeader, "points to a key elsewhere; if this issuer always writes it, set `ignore_key_headers: true`")
		}
	}
	r.explainType(head)
	return alg, r.explainKID(head)
}

func (r *report) explainAlgorithm(head strictjson.Value) string {
	member, _ := head.Member("alg")
	alg, isText := member.Text()
	switch {
	case !isText:
		r.refuse("alg", authz.DetailAlgorithm, "missing, or not a text")
	case !slices.Contains(r.issuer.Algorithms, alg):
		r.refuse("alg", authz.DetailAlgorithm, "%s; this issuer may use %s", quote(alg), showList(r.issuer.Algorithms))
	default:
		r.ok("alg", "%s", alg)
		return alg
	}
	return ""
}

// explainType looks at cty and typ.
func (r *report) explainType(head strictjson.Value) {
	if cty, ok := head.Member("cty"); ok {
		if text, isText := cty.Text(); !isText || mediaType(text) == "jwt" {
			r.refuse("cty", authz.DetailHeader, "a token within the token")
		}
	}
	member, present := head.Member("typ")
	text, isText := member.Text()
	types := showList(r.issuer.Types)
	switch {
	case !present && slices.Contains(r.issuer.Types, "none"):
		r.ok("typ", "absent, which this issuer may")
	case !present:
		r.refuse("typ", authz.DetailType, "absent; the issuer's `types` are %s", types)
	case !isText || mediaType(text) == "none" || !slices.Contains(r.issuer.Types, mediaType(text)):
		r.refuse("typ", authz.DetailType, "%s; the issuer's `types` are %s: is this an ID token?", quote(text), types)
	default:
		r.ok("typ", "%s", quote(text))
	}
}

func (r *report) explainKID(head strictjson.Value) string {
	member, present := head.Member("kid")
	kid, isText := member.Text()
	switch {
	case !present:
		r.note("kid", "absent: taken if exactly one key of the issuer fits the algorithm")
	case !isText || kid == "" || len(kid) > maxKID || strings.ContainsFunc(kid, unicode.IsControl):
		r.refuse("kid", authz.DetailHeader, "not a text of 1 to %d bytes without control characters", maxKID)
	default:
		r.ok("kid", "%s", quote(kid))
	}
	return kid
}

// explainKey looks for the key, if there are keys and the header can be believed so far.
func (r *report) explainKey(kid, alg string) {
	switch {
	case r.explained() != "":
		r.add(unknown, "key", "", "not looked for: the header is refused")
		return
	case r.keys == nil:
		r.add(unknown, "key", "", "not looked for: give --keys FILE, or --fetch to ask the issuer once")
		return
	}
	key, _, err := r.keys.Key(kid, alg, r.now)
	if errors.Is(err, authz.ErrUnknownKey) {
		r.refuse("key", authz.DetailUnknownKey, "the issuer's set has no such key for %s: another issuer's token, a key that was withdrawn, or one of a kind or strength that is refused", alg)
		return
	}
	if err != nil {
		r.add(unknown, "key", "", "%v", err)
		return
	}
	if err := authz.KeyFits(alg, key); err != nil {
		r.refuse("key", authz.DetailAlgorithm, "%v", err)
		return
	}
	r.ok("key", "found, and fits %s", alg)
}

// explainSignature repeats the verifier's word: it alone does the arithmetic.
func (r *report) explainSignature(part string) {
	_, err := base64.RawURLEncoding.Strict().DecodeString(part)
	switch {
	case r.explained() != "" || r.keys == nil:
		r.add(unknown, "signature", "", "not looked at; what follows is only what the token says of itself")
	case err != nil:
		r.refuse("signature", authz.DetailMalformed, "not base64url in its one spelling")
	case r.verdict.detail() == authz.DetailSignature:
		r.refuse("signature", authz.DetailSignature, "does not verify: changed on the way, or signed by somebody else. What follows may be anybody's word")
	case r.verdict.err != nil && r.verdict.detail() == "":
		r.add(unknown, "signature", "", "not looked at: %v", r.verdict.err)
	default:
		r.ok("signature", "verifies")
	}
}

// mediaType is a typ or cty in one spelling (RFC 7515 section 4.1.9).
func mediaType(text string) string {
	lower := strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, text)
	if rest, ok := strings.CutPrefix(lower, "application/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return lower
}
