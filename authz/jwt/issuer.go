package jwt

import (
	"encoding/binary"
	"sync/atomic"
)

// UnverifiedIssuer reads the `iss` of a token that nothing has proved. It proves nothing: anybody can write any issuer into a token.
// It is good for one thing, to choose which issuer's [Verifier] is asked, whose answer is then final. The token is read as strictly as
// a Verifier reads it, so that a token which some Verifier accepts is never taken for another issuer's; false is a token that none
// accepts. Safe for concurrent use.
func UnverifiedIssuer(token string) (issuer string, ok bool) {
	if len(token) > MaxToken {
		return "", false
	}
	parts, err := split(token)
	if err != nil {
		return "", false
	}
	root, err := object(parts.payload)
	if err != nil {
		return "", false
	}
	issuer, ok = text(root, "iss")
	return issuer, ok && issuer != ""
}

// UnverifiedIssuer is the package's function of that name, with a memory: what a token says does not change, so reading a token once
// more costs a lookup. What it remembers proves as little.
func (p *Pool) UnverifiedIssuer(token string) (issuer string, ok bool) {
	if len(p.issuers.slots) == 0 || len(token) > MaxToken {
		return UnverifiedIssuer(token)
	}
	name := nameOf(nil, token)
	slot := &p.issuers.slots[binary.LittleEndian.Uint64(name[:8])%uint64(len(p.issuers.slots))]
	if said := slot.Load(); said != nil && said.name == name {
		return said.issuer, true
	}
	if issuer, ok = UnverifiedIssuer(token); ok && len(issuer) <= maxIssuer {
		slot.Store(&claimed{name: name, issuer: issuer})
	}
	return issuer, ok
}

// claimed is the issuer that a token claims to have.
type claimed struct {
	name   fingerprint
	issuer string
}

// maxIssuer is the longest issuer in bytes that is worth remembering, claimedBytes a bound of what that takes.
const (
	maxIssuer    = 255
	claimedBytes = 512
)

// issuers is a table of fixed size: the latest has the place.
type issuers struct {
	slots []atomic.Pointer[claimed]
}
