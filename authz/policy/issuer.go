package policy

import (
	"net/netip"
	"time"

	"github.com/sallyport-dev/sallyport/authz/condition"
)

// Issuer is one party whose tokens the policy accepts, and everything that its tokens must be. It is immutable.
type Issuer struct {
	// Name is the policy's own name for the issuer, [a-z0-9-]+. It stands in metadata, audit and descriptors.
	Name string
	// Issuer is the byte-exact `iss` (RFC 7519 4.1.1): no case folding, no slash repaired.
	Issuer string
	// Keys says where the issuer's key set is.
	Keys KeySource
	// Audiences are the exact values of which `aud` must hold at least one; never empty, no wildcard exists.
	Audiences []string
	// AudienceClaim names the claim compared with Audiences; "" is `aud`. With another claim, a token that carries `aud` as well
	// must match by both.
	AudienceClaim string
	// Algorithms are the JWS algorithms (RFC 7518 3.1) that may sign; never none, never HS*. Never empty.
	Algorithms []string
	// Types are the accepted `typ` values (RFC 7515 4.1.9), lower case without "application/"; "none" means that typ may be absent.
	Types []string
	// Where lists the claims that must have exactly this value. WhereNone says that the policy wrote `where: {}` on purpose.
	Where     []ClaimValue
	WhereNone bool
	// Require lists claims that must be non-empty strings, by our names: client_id stands for ClientIDClaim.
	Require []string
	// ClientIDClaim is where the application's name stands; "client_id" unless told.
	ClientIDClaim []string
	// ScopeClaim is where the scopes stand, "scope" unless told; ScopeList says that it is an array of strings, not one string.
	ScopeClaim []string
	ScopeList  bool
	// Granted are the scopes that the issuer grants, the only ones that rules may demand of its tokens; nil where the policy does not say.
	Granted []string
	// Machine decides whether a token is an application's, read over all its claims, sub included. MachineNever: no token of this
	// issuer is. Exactly one of the two is set.
	Machine      *condition.Program
	MachineNever bool
	// Claims are what rules may read beyond sub, client_id, jti and scope.
	Claims []Claim
	// Schema types every claim that an expression may read.
	Schema *condition.Schema
	// MaxLifetime bounds exp - iat; Leeway is the tolerated clock difference. Both positive.
	MaxLifetime time.Duration
	Leeway      time.Duration
	// IgnoreKeyHeaders tolerates jku, x5u and x5c in the JOSE header, unread. False refuses them.
	IgnoreKeyHeaders bool
	// AllowMarkers are claims of other token kinds (nonce, at_hash, c_hash, events) that this issuer's access tokens carry too.
	AllowMarkers []string
	// IDTokens says that this issuer has no access tokens of its own and its ID tokens are taken on purpose.
	IDTokens bool
	// MaxStale is how long the last good key set serves while the source is away. Positive.
	MaxStale time.Duration
	// Digest changes whenever any setting above changes; caches are keyed by it.
	Digest [32]byte
}

// KeySource is where an issuer's JSON Web Key Set (RFC 7517) comes from: exactly one of URL, File and Discovery.
type KeySource struct {
	// URL is https, or http on loopback, or http anywhere where PlainHTTP says so on purpose.
	URL string
	// File is an absolute path (from file:///path), read again when it changes.
	File string
	// Discovery asks the issuer itself: RFC 8414 and OpenID Connect Discovery, whose `issuer` must equal Issuer byte for byte.
	Discovery bool
	// CAFile is a PEM file of the only roots trusted for URL; "" is the system's.
	CAFile string
	// Networks names private address ranges that the URL's host may resolve to. Loopback is allowed only for a loopback URL.
	Networks []netip.Prefix
	// PlainHTTP allows http to a host that is not loopback.
	PlainHTTP bool
}

// ClaimValue is a claim and the one value it must have. Value is a string, a bool or an int64, compared with its type.
type ClaimValue struct {
	Path  []string
	Value any
}

// Claim is a claim that rules may read: its name in the policy, where it stands in the token, and its type. A value of another
// type is unset.
type Claim struct {
	Name string
	From []string
	Type condition.Type
}
