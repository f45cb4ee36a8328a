// Package revocation knows which tokens were taken back before they expired, and tells it to every replica. A [View] is that
// knowledge in memory, looked at by every request without waiting; a [Stream] keeps it in step with one stream of a Redis or
// Valkey server, a [File] with a file for a single node. It is the door to go-redis and to the disk for revocations; the client
// comes from outside, ready made.
//
// Nothing here is ever un-revoked: entries only merge and, once no token that they speak of can live, expire. A new token,
// issued later, is what gives access back. That is why replicas cannot disagree for long, and why writing an entry twice is the
// same as writing it once.
package revocation
