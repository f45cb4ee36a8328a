// Package authz decides whether one request may pass: who sent it, what it may touch, and whose that is. It knows no wire, no
// disk and no log; Envoy's Check is turned into a [Request] by package extauthz, and the policy and the proofs of tokens are
// handed to it as one [Bundle].
package authz
