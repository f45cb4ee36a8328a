package jwt

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
