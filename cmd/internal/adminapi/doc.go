// Package adminapi is the door through which an operator changes what a running gate knows: the service admin/v1 on a Unix socket
// that only the gate's own user can open, and its client. It is a room of its own because what it does is dangerous (whoever calls
// it can lock every user out), so that how it is reached, who is written down as the caller and what is refused stand in one place.
// It knows neither the store nor the policy: those are behind [Revoker]. By the same way an operator asks why a request was refused.
package adminapi

import (
	"context"
	"errors"
	"time"
)

// Kind says which tokens of an issuer a [Request] names. The zero value names none and is refused.
type Kind uint8

const (
	// Nothing is the zero value; it is refused.
	Nothing Kind = iota
	// Token is one token, by its jti.
	Token
	// Subject is every token of one person, by its sub.
	Subject
	// Client is every token that one application got for itself.
	Client
	// Session is every token of one login session, by its sid.
	Session
	// WholeIssuer is every token of the issuer. It has no value.
	WholeIssuer

	kindCount
)

// String is the word of logs and of the command: "jti", "subject", "client", "session" or "issuer".
func (k Kind) String() string {
	return [kindCount]string{"nothing", "jti", "subject", "client", "session", "issuer"}[min(k, kindCount-1)]
}

// Request names tokens that are to be refused from now on.
type Request struct {
	// Issuer is the policy's own name of the issuer.
	Issuer string
	Kind   Kind
	// Value is compared octet for octet; "" with WholeIssuer alone. It is a name of somebody: logs hold it, metrics never do.
	Value string
	// At is the instant up to which tokens are revoked, by their iat; never in the future. Zero with Token, which names one token
	// whenever it was issued, and otherwise only on the client's side, where it means the gate's now.
	At time.Time
}

// Revoker takes tokens back. Implementations are safe for concurrent use and respect the context's deadline.
type Revoker interface {
	// Revoke returns when the store holds the entry, and how long it will: until every token that r names has expired. Of its
	// errors [ErrNoIssuer], [ErrOff] and [ErrStore] have a meaning to the caller; any other is a defect or a full disk, and its
	// text reaches the caller, who is the operator.
	Revoke(ctx context.Context, r Request) (until time.Time, err error)
}

// Reasons why a [Revoker] did not revoke. Wrap them: the text around them reaches the operator.
var (
	// ErrNoIssuer says that the policy in force has no issuer of this name.
	ErrNoIssuer = errors.New("the policy in force has no such issuer")
	// ErrOff says that this gate knows no revocation.
	ErrOff = errors.New("revocation is off: the policy has no `revocation:`")
	// ErrStore says that the store did not take the entry, as far as is known: no other replica hears of it.
	ErrStore = errors.New("the store of revocations did not take it")
)

// Caller is who called, as the kernel knows it (SO_PEERCRED): the credentials at the time of the connect. Known is false where the
// system does not say.
type Caller struct {
	UID, GID uint32
	PID      int32
	Known    bool
}

// Call is one call that was made, good or bad, for the log.
type Call struct {
	Caller  Caller
	Request Request
	// Until is what was answered; zero beside an Err.
	Until time.Time
	// Err is why nothing was revoked, nil if it was.
	Err error
}
