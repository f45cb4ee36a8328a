package authz

// Verdict is the outcome of a decision. The zero value denies.
type Verdict uint8

const (
	// Deny refuses the request. Forgetting to decide is Deny.
	Deny Verdict = iota
	// Allow lets it pass.
	Allow
)

// String is "deny" or "allow".
func (v Verdict) String() string {
	if v == Allow {
		return "allow"
	}
	return "deny"
}

// Reason is why a decision fell, in a closed list. The zero value is Undecided, which denies. Where RFC 6750 section 3.1 has a name
// for it, the reason bears that name.
type Reason uint8

const (
	// Undecided is the reason of a decision that was never reached: a bug, and a denial.
	Undecided Reason = iota

	// Allowed passed every demand of its rule.
	Allowed
	// Public met a rule that asks for no token.
	Public
	// Probe is a health probe's exact path.
	Probe

	// BadTarget: the request's path, method or host cannot be read in exactly one way.
	BadTarget
	// AmbiguousPath: a forgiving upstream would read this path as another rule's.
	AmbiguousPath
	// NotHTTP: the check speaks of no HTTP request.
	NotHTTP
	// InvalidRequest: two credentials, a token in the query, or another malformed use of RFC 6750.
	InvalidRequest
	// BadParameter: a query parameter or header that the rule reads cannot be read in exactly one way.
	BadParameter
	// BadBody: a body that the rule reads is missing, was not delivered whole, or cannot be read in exactly one way.
	BadBody
	// BadHeader: a client sent a second spelling of a header that only the gate may set, or a header contradicts the request line.
	BadHeader

	// NoToken: the rule asks for a token and none came.
	NoToken
	// InvalidToken: expired, unknown key, wrong audience, revoked: one public reason, the true one in Detail.
	InvalidToken

	// NoRule: no rule of the service covers this method and path.
	NoRule
	// Caller: the connection's SPIFFE identity is not one of those demanded.
	Caller
	// InsufficientScope: the token lacks a scope.
	InsufficientScope
	// Role: the token lacks a role.
	Role
	// Owner: the object is not the caller's.
	Owner
	// Condition: the rule's condition does not hold.
	Condition
	// MetadataMissing: a value that the rate limiter needs is absent, and an absent value would make the limit vanish.
	MetadataMissing
	// HeaderValue: a value that the upstream needs cannot stand in a header.
	HeaderValue
	// Upgrade: the request asks to upgrade the connection and the rule does not say that it may.
	Upgrade
	// Forbidden: a rule that only refuses, with 403.
	Forbidden

	// NotFound hides whether the object exists, or is a rule that only refuses with 404.
	NotFound
	// Gone is a rule that only refuses with 410.
	Gone

	// BodyTooLarge: a body that the rule reads is longer than Envoy buffers or the gate reads.
	BodyTooLarge
	// MediaType: a body that the rule reads is of another media type, or compressed.
	MediaType

	// WrongService: no service, two services, or a pin that contradicts another.
	WrongService

	// KeysUnavailable: the issuer's keys could not be had.
	KeysUnavailable
	// LookupFailed: whose the object is could not be found out.
	LookupFailed
	// Deadline: the caller's time, or the gate's own ceiling, ran out first.
	Deadline
	// Cancelled: the caller went away.
	Cancelled
	// Panicked: a defect was caught while deciding.
	Panicked
	// Stale: the view of revocations is too old to be believed.
	Stale
	// NotReady: no policy is loaded.
	NotReady

	// Shadow: the service is in shadow, so the answer is the one that the policy writes, whatever the rules say.
	Shadow

	reasonCount
)

// Detail words, for audit and for tests: the true cause behind InvalidToken and InvalidRequest. They never reach a client.
const (
	DetailMalformed  = "malformed"    // not three base64url parts of strict JSON
	DetailTooLarge   = "too_large"    // over 8 KiB
	DetailHeader     = "header"       // a JOSE header member that is refused
	DetailType       = "type"         // typ is not accepted
	DetailAlgorithm  = "algorithm"    // alg is not accepted, or does not fit the key
	DetailUnknownKey = "unknown_key"  // no key of the issuer fits kid and alg
	DetailSignature  = "signature"    // the signature does not verify
	DetailIssuer     = "issuer"       // iss is another
	DetailAudience   = "audience"     // aud holds none of ours
	DetailExpired    = "expired"      // exp has passed
	DetailNotYet     = "not_yet"      // nbf or iat lies ahead
	DetailLifetime   = "lifetime"     // exp - iat is over the issuer's max_lifetime
	DetailClaim      = "claim"        // a required claim is missing or of another type
	DetailWhere      = "where"        // a `where` claim has another value
	DetailTokenKind  = "token_kind"   // markers of an ID, refresh, logout or event token
	DetailScopes     = "scopes"       // the scope claim cannot be read
	DetailConfirm    = "confirmation" // a cnf that nothing here has proved
	DetailRevoked    = "revoked"      // taken back before it expired
	DetailSender     = "sender"       // bound to another sender, or to none where the rule demands it

	// DetailNoCertificate is a token bound to a certificate where none arrives: Envoy sends it only under include_peer_certificate.
	DetailNoCertificate = "no_certificate"
	DetailCredentials   = "credentials" // more than one credential, or a malformed one
	DetailInQuery       = "token_in_query"
)

// Detail words behind Owner, BadParameter, BadBody, MediaType, Condition and Lookup.
const (
	DetailNotTheirs   = "not_theirs"   // the object is somebody else's
	DetailNotThere    = "not_there"    // the lookup knows no such object
	DetailTenant      = "tenant"       // the tenant is another
	DetailDisagree    = "disagree"     // values that `agrees` holds together differ
	DetailMissing     = "missing"      // a value that the rule reads is not there
	DetailAmbiguous   = "ambiguous"    // a value that the rule reads can be read in several ways
	DetailEmpty       = "empty"        // a value, or a list that must not be, is empty
	DetailForm        = "form"         // a value is not of the declared type, or not in its one canonical form
	DetailTooMany     = "too_many"     // a list of more than 1,000 ids
	DetailPartial     = "partial"      // the body was not delivered whole
	DetailNoBody      = "no_body"      // no body was delivered
	DetailCompressed  = "compressed"   // the body has a content coding
	DetailContentType = "content_type" // the body is of a type that the rule does not read
	DetailError       = "error"        // an expression could not be evaluated
	DetailUnavailable = "unavailable"  // the lookup could not be asked
	DetailAnswer      = "answer"       // the lookup's answer could not be read
)

var reasonNames = [reasonCount]string{
	Undecided: "undecided", Allowed: "allowed", Public: "public", Probe: "probe",
	BadTarget: "bad_target", AmbiguousPath: "ambiguous_path", NotHTTP: "not_http", InvalidRequest: "invalid_request",
	BadParameter: "bad_parameter", BadBody: "bad_body", BadHeader: "bad_header",
	NoToken: "no_token", InvalidToken: "invalid_token",
	NoRule: "no_rule", Caller: "caller", InsufficientScope: "insufficient_scope", Role: "role", Owner: "owner", Condition: "condition",
	MetadataMissing: "metadata_missing", HeaderValue: "header_value", Upgrade: "upgrade", Forbidden: "forbidden",
	NotFound: "not_found", Gone: "gone", BodyTooLarge: "body_too_large", MediaType: "media_type", WrongService: "wrong_service",
	KeysUnavailable: "keys_unavailable", LookupFailed: "lookup", Deadline: "deadline", Cancelled: "cancelled", Panicked: "panic", Stale: "revocation_stale", NotReady: "not_ready",
	Shadow: "shadow",
}

// String is the reason's name in metadata, audit, metrics and problem documents.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r]
	}
	return reasonNames[Undecided]
}

// Reasons lists every reason, for tables that must have a row for each.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}
