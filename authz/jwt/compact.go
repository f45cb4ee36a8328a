package jwt

import (
	"encoding/base64"
	"strings"

	"github.com/sallyport-dev/sallyport/authz"
)

// compact is a token taken apart (RFC 7515 7.1), still encoded.
type compact struct {
	header, payload, signature string
	// signed is header and payload with the dot between them, as the signature covers them.
	signed string
}

// alphabet is base64url (RFC 4648 5) without padding.
var alphabet = func() (in [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		in[c] = true
	}
	return in
}()

// split takes a token apart after one look at every byte, and allocates nothing: what is no token costs its length and no more
// (CVE-2025-30204 was a split at a million dots). Padding, line breaks, the other base64 alphabet, the JSON serialization and the
// five parts of an encrypted token (RFC 7516) end here.
func split(token string) (compact, error) {
	dots, first, last := 0, 0, 0
	for i := 0; i < len(token); i++ {
		if c := token[i]; c == '.' {
			if dots++; dots == 1 {
				first = i
			}
			last = i
		} else if !alphabet[c] {
			return compact{}, refuse(authz.DetailMalformed)
		}
	}
	if dots != 2 || first == 0 || last == first+1 {
		return compact{}, refuse(authz.DetailMalformed)
	}
	return compact{header: token[:first], payload: token[first+1 : last], signature: token[last+1:], signed: token[:last]}, nil
}

// canonical refuses unused bits that are set: two spellings of one token would be two tokens for a cache and for revocation.
var canonical = base64.RawURLEncoding.Strict()

func decode(part string) ([]byte, error) {
	data, err := canonical.DecodeString(part)
	if err != nil || strings.ContainsAny(part, "\r\n") {
		return nil, refuse(authz.DetailMalformed)
	}
	return data, nil
}
