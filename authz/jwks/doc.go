// Package jwks keeps one issuer's JSON Web Key Set (RFC 7517): it fetches the set in the background, keeps the last good one, and
// answers from memory. It is a room of its own because it is the only door to the libraries that read key sets and to the network
// they come from, and because everything that arrives through that door is judged as if an attacker had sent it: no request of a
// client ever waits for it, no answer of the issuer's host can take good keys away, and no address inside the network is reached
// unless the policy names it.
package jwks
