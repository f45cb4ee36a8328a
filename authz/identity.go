package authz

import (
	"context"
	"math"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/scope"
)

// Kind says whose token it is. A client is not a person, even where both have the same name.
type Kind uint8

const (
	// Undetermined is neither: the issuer's `machine` could not be decided. It is the zero value and satisfies no rule about either.
	Undetermined Kind = iota
	// Person is a human subject.
	Person
	// Machine is an application that speaks for itself (RFC 6749 4.4).
	Machine
)

// String is the word of audit records: "undetermined", "person" or "machine".
func (k Kind) String() string {
	switch k {
	case Person:
		return "person"
	case Machine:
		return "machine"
	default:
		return "undetermined"
	}
}

// Identity is who a token speaks for. It is comparable, and unique only as a whole: one subject of two issuers is two identities,
// and so are a person and a client of one name. The zero Identity is nobody.
type Identity struct {
	// Issuer is the policy's name of the issuer.
	Issuer string
	Kind   Kind
	// Subject is `sub` for a person and the client_id for a machine.
	Subject string
}

// Principal is what one verified token says. It is built once per token, may be remembered and shared between requests, and is
// never changed.
type Principal struct {
	Identity Identity
	// Issuer is `iss` and Subject `sub` as the token says them, whatever the policy makes of either: two names of one issuer are one
	// issuer to whoever revokes, and a token of which nobody can tell whose it is has a subject all the same. Only revocation reads
	// them; Subject is "" where the token has none.
	Issuer, Subject string
	// ClientID is the application that the token was issued to (RFC 9068 2.2), by the issuer's client_id mapping; "" if it has none.
	ClientID string
	// TokenID is `jti`, "" if it has none. It is a name, not a secret, yet audit never writes it raw.
	TokenID string
	// Scopes are the token's OAuth scopes.
	Scopes scope.Set
	// Audiences are the values that the policy's audiences are compared with, for services that name one of several.
	Audiences []string
	// Token holds the declared claims, typed, for rules and expressions. A machine's has no `sub`.
	Token condition.Token
	// Expires is `exp` and IssuedAt `iat`, without leeway. IssuedAt is zero where the token does not say.
	Expires, IssuedAt time.Time
	// Session is `sid`, the login session that the token came of (OpenID Connect Front-Channel Logout section 3), "" if it has none.
	Session string
	// Confirmation binds the token to a sender; see there.
	Confirmation Confirmation
	// KeyID is the `kid` that the token names its key by, "" for none, and Algorithm its `alg`; both for the audit record only.
	KeyID, Algorithm string
}

// Confirmation is the `cnf` of a token that only one sender may use (RFC 7800). The zero value is a token that anybody may use.
type Confirmation struct {
	// Bound says that the token has a `cnf`. Where nothing proves it, the token is refused.
	Bound bool
	// Thumbprint is x5t#S256: the SHA-256 of the sender's certificate in DER (RFC 8705 section 3.1).
	Thumbprint [32]byte
}

// NeverKnown is the age of a view that was never read, at a start before the store was asked for the first time.
const NeverKnown = time.Duration(math.MaxInt64)

// Revocations knows which tokens were taken back before they expired.
type Revocations interface {
	// Revoked reports whether the token of p was revoked, and how old that knowledge is: the time since the view was last known to
	// hold every revocation. An age of [NeverKnown] says that nobody has even asked the store yet, which no policy allows. It waits
	// for nothing and is safe for concurrent use.
	Revoked(p *Principal, now time.Time) (revoked bool, age time.Duration)
}

// Verifier proves bearer tokens. One is bound to one issuer of one policy generation.
type Verifier interface {
	// Verify proves token at the instant now and says whose it is. It does no I/O and is safe for concurrent use. A token that was
	// judged before waits for nothing; a new one may wait, within ctx, for its turn to have its signature checked, so that a flood
	// of forged tokens leaves the processors to the others. It returns either a Principal or an error; a refused token is a
	// [*TokenError], and any other error could not decide: that of a context if the time ran out.
	Verify(ctx context.Context, token string, now time.Time) (*Principal, error)
}

// Verifiers hands out the verifier of an issuer. A nil result means that the policy has no such issuer, which denies.
type Verifiers map[string]Verifier

// TokenError is a token that was refused, or could not be judged.
type TokenError struct {
	// Reason is InvalidToken, InvalidRequest or KeysUnavailable.
	Reason Reason
	// Detail is the true cause in one word, for the audit record only: the client hears Reason. One of the Detail constants.
	Detail string
	// Issuer, Subject and the like are never here: an unproved claim is the client's word.
	Err error
}

func (e *TokenError) Error() string {
	if e.Err != nil {
		return "token refused: " + e.Detail + ": " + e.Err.Error()
	}
	return "token refused: " + e.Detail
}

func (e *TokenError) Unwrap() error { return e.Err }

// Bundle is one generation of what a decision needs: a request sees exactly one.
type Bundle struct {
	Policy    *policy.Policy
	Verifiers Verifiers
	// UnverifiedIssuer reads the `iss` of a token that nothing has proved yet, to choose a rule's branch by; false where the token
	// cannot be read. Nil reads none.
	UnverifiedIssuer func(token string) (issuer string, ok bool)
	// Lookups are the policy's, by name.
	Lookups Lookups
	// ClientKeys are the stores of API keys, by the name that the policy gives them; one that is missing here denies.
	ClientKeys map[string]ClientKeys
	// WebhookKeys are those of the policy's rules, by the name that the policy gives them; one that is missing here denies.
	WebhookKeys map[string]WebhookKeys
	// Revocations is nil where no store of them is configured; a policy that asks for it then denies.
	Revocations Revocations
}

func (b *Bundle) unverifiedIssuer(token string) (string, bool) {
	if b.UnverifiedIssuer == nil {
		return "", false
	}
	return b.UnverifiedIssuer(token)
}
