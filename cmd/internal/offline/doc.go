// Package offline asks what a policy would decide about a request that somebody wrote down: who asks, for what, and what the lookups
// would know. It is a room of its own because tests of policies, explanations and comparisons of two policies must not differ in what a
// description means. It only makes the request and what stands around it (tokens without signatures, lookups with given answers); the
// decision is the gate's own, so nothing here can be right where the gate is wrong.
package offline
