// Package jwt proves bearer tokens: it turns the bytes of one JSON Web Token (RFC 7519, RFC 9068) into an authz.Principal, or refuses
// them. It is a room of its own because it is the only door to golang-jwt, of which it uses the signature arithmetic and nothing else:
// everything before and after is decoded and judged here, strictly, since parsers that repair what they read have let forged tokens
// pass (duplicate members, a foreign algorithm, another curve, any salt). Proofs and refusals are remembered, within a bound that all
// issuers of a process share; the clock is consulted every time.
package jwt
