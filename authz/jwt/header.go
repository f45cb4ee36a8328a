package jwt

import (
	"slices"
	"strings"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// maxKID is the longest kid in bytes. A kid is a name in a map and never a path, a query or a line in a log.
const maxKID = 255

// limits of a header and of a claims set. Both are far above what issuers write and far below what costs anything.
var limits = strictjson.Limits{Bytes: MaxToken, Depth: 16, Members: 512, Elements: 1024}

// header is what the JOSE header (RFC 7515 4) may choose: which of the issuer's keys, and how it is used.
type header struct{ kid, alg string }

// refusedMembers change how the token is to be read (crit, b64, zip) or bring the key along (jwk): none is taken from an access token.
// RFC 7515 4.1.11 leaves no choice for a crit that is not understood, and none is.
var refusedMembers = []string{"crit", "b64", "zip", "jwk"}

// keyPointers name a key elsewhere. They are never followed; some issuers write them always.
var keyPointers = []string{"jku", "x5u", "x5c"}

func (v *Verifier) header(part string) (header, error) {
	root, err := object(part)
	if err != nil {
		return header{}, err
	}
	var h header
	h.alg, _ = text(root, "alg")
	if _, ok := v.methods[h.alg]; !ok {
		return header{}, refuse(authz.DetailAlgorithm)
	}
	for _, name := range refusedMembers {
		if has(root, name) {
			return header{}, refuse(authz.DetailHeader)
		}
	}
	for _, name := range keyPointers {
		if has(root, name) && !v.issuer.IgnoreKeyHeaders {
			return header{}, refuse(authz.DetailHeader)
		}
	}
	if err := v.typ(root); err != nil {
		return header{}, err
	}
	if has(root, "kid") {
		var ok bool
		if h.kid, ok = text(root, "kid"); !ok || h.kid == "" || len(h.kid) > maxKID || strings.ContainsFunc(h.kid, unicode.IsControl) {
			return header{}, refuse(authz.DetailHeader)
		}
	}
	return h, nil
}

// typ holds the token to the kinds that the issuer's access tokens call themselves, and refuses a token inside a token (RFC 7519 5.2).
func (v *Verifier) typ(root strictjson.Value) error {
	if has(root, "cty") {
		if cty, ok := text(root, "cty"); !ok || mediaType(cty) == "jwt" {
			return refuse(authz.DetailHeader)
		}
	}
	if !has(root, "typ") {
		if v.untyped {
			return nil
		}
		return refuse(authz.DetailType)
	}
	if typ, ok := text(root, "typ"); !ok || !slices.Contains(v.types, mediaType(typ)) {
		return refuse(authz.DetailType)
	}
	return nil
}
