// Package secrets reads what a lookup's backend identifies itself by, and the other side: a token, a client certificate, roots of trust.
// It is a room of its own because the doors share it, and because all of it is replaced on disk under a running gate, where a
// half-written file must not cost the connection that works.
package secrets
