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
// for it, the reason bears that name. The comments of the reasons are the page for operators, docs/reasons.md.
type Reason uint8

const (
	// Undecided says that the decision was never reached, which is a defect of the gate, and a denial. Please report it with the
	// decision's ID and the log around it.
	Undecided Reason = iota

	// Allowed is an allow: the request passed every demand of its rule. There is nothing to do.
	Allowed
	// Public is an allow by a rule that asks for no token (`public: true`). There is nothing to do; if the path should not be public, look
	// at the rule, and at its `except`.
	Public
	// Probe is an allow of a health probe's exact path. No identity goes with it. There is nothing to do.
	Probe
	// Preflight is an allow of a browser's question whether a page may call (the CORS protocol of the Fetch Standard), from an origin that
	// the service lists (`cors`), about a method and headers that it lists, on a path that has a rule for that method. No identity goes
	// with it. There is nothing to do; the request that follows is judged by the rule like any other.
	Preflight

	// BadTarget says that the path, method or host cannot be read in exactly one way: dot segments, double slashes, escapes that need none,
	// a fragment, a port or host that is none. The detail says what it is. Have the client send the plain form; many from one address are
	// somebody looking for a way around the rules.
	BadTarget
	// AmbiguousPath says that a forgiving upstream would read this path as another rule's: other case, a final slash, an extension, or an
	// escaped literal. Have the client send the path as the rule writes it. If the upstream is known to be exact about paths, write
	// `spelling: exact` on the service.
	AmbiguousPath
	// NotHTTP says that the check speaks of no HTTP request: a TCP filter, or an empty message. Take ext_authz out of the network filters,
	// or look at who else calls this port.
	NotHTTP
	// InvalidRequest says that the request uses bearer tokens in a way that RFC 6750 forbids: two credentials, a malformed Authorization
	// header, or a token in the query, where every log shows it. Have the client send one Authorization header, and have a token that stood
	// in a query revoked.
	InvalidRequest
	// BadParameter says that a value which the rule reads from path, query or header is missing, stands there more than once or in another
	// spelling, is not of its type's one form, or fails what `params` demands of it; or that the query holds a parameter which the rule
	// does not know. The detail says which, and the answer's `parameter` and `keyword` where. Have the client send it once, as the rule
	// names it; if the value is a list, the rule says so with `[*]` or `[,]`.
	BadParameter
	// BadBody says that a body which the rule reads is missing, did not come whole, or cannot be read in exactly one way: not JSON, a name
	// twice or in two cases, an id of another type; or that it fails the rule's schema: the answer's `pointer` and `keyword` say where and
	// how. The detail says which. Where it is `no_body` and the client did send one, Envoy's route
	// does not show it: it needs `with_request_body` (docs/ownership.md).
	BadBody
	// BadHeader says that a client sent a second spelling of a header that only the gate may set (x_user_id beside x-user-id), or that a
	// header contradicts the request line. Honest clients do neither: look at who it is, and at proxies that rewrite names.
	BadHeader

	// NoToken says that the rule asks for a token and none came. The client must log in, or send its token in the Authorization header with
	// the scheme Bearer. If the path should be open, the rule must say `public: true`.
	NoToken
	// InvalidToken says that the token was not accepted. The client hears no more; the detail is the true cause: expired, another audience,
	// an unknown key, revoked, and so on. docs/tokens.md explains each and what to do; `sallyport token inspect` shows every step for one
	// token.
	InvalidToken

	// NoRule says that no rule of the service covers this method and path, or that the rule excepts it. What no rule covers is denied.
	// Write a rule for it if it should be reachable; HEAD and OPTIONS are not covered by GET. A preflight that ends here has a detail that
	// says what the service's `cors` does not list.
	NoRule
	// Caller says that the connection's SPIFFE identity is not one of those that the rule or its service demands, or that the application
	// may not come from this workload. Look at `caller` in the audit log: if it is empty, Envoy passed no identity that could be believed
	// (mutual TLS, `peers`); else add the workload to `callers` if it should be there.
	Caller
	// Address says that the address which the request comes from is not one that the rule or its service takes (`from`, `not_from`), or,
	// with the detail `unreadable`, that it is none: absent, a name, an octal spelling, one with a zone. Look at `address` in the audit
	// log. If it is a proxy's, the policy must name that proxy in `trusted_proxies`, so that X-Forwarded-For is believed from it
	// (docs/requests.md); else the client must come from elsewhere.
	Address
	// Signature says that the body of a webhook was not signed by who shares the rule's key (`signed_by`), or too long ago: the detail says
	// which, and the client does not hear it. `missing` and `form` are somebody else, or a sender who signs in another form than the rule
	// says; `mac` is a wrong key, or a body that something changed on its way; `timestamp` is a clock that is wrong, or somebody who sends
	// an old message again. docs/requests.md has the forms.
	Signature
	// ClientKey says that the request brought no API key that the rule takes (`client_key`): none, two, one that nobody has, or one that has
	// ended. The client does not hear which, the detail says it. Give the application a key, by a line in the file of keys or an entry in
	// Redis; `sallyport client-key new` makes one.
	ClientKey
	// InsufficientScope says that the token lacks a scope that the rule demands; the challenge names it. The client must ask the issuer for
	// it. Scopes are compared byte for byte.
	InsufficientScope
	// Role says that the token lacks a role that the rule demands. Give the person the role, and mind that a token keeps its old roles
	// until it expires. If the roles stand elsewhere in the token, the issuer's `claims: {roles: {from: ...}}` says where.
	Role
	// Owner says that the object is not the caller's: its id does not equal the claim, the lookup knows another owner or none, the tenant
	// is another, or ids that must agree differ. The detail says which. A few are bookmarks and bugs; many from one subject are somebody
	// counting through ids.
	Owner
	// Condition says that the rule's `condition` does not hold, or, with the detail `error`, that it cannot be evaluated: a value that it
	// reads is missing or stands there twice. `sallyport why` shows the expression. Guard what may be absent with has().
	Condition
	// MetadataMissing says that a value which the rule hands to the rate limiter is absent, and an absent value would make the limit
	// vanish. Have the issuer send the claim, or write a `default` for it.
	MetadataMissing
	// HeaderValue says that a value which the service needs cannot stand in a header: a name with letters beyond ASCII, a comma, a list
	// element that holds the separator. Write `encode: percent`, or another separator. Nothing is ever trimmed to fit.
	HeaderValue
	// FieldNotWritable says that the body writes a field which this caller may not: the answer's `pointer` names it. Nothing is taken out in
	// silence. If it should be writable, add it to the rule's `writable`, for everyone or for a role; many of these from one subject are
	// somebody trying names (mass assignment).
	FieldNotWritable
	// Upgrade says that the request asks to upgrade the connection, to a websocket for instance, and the rule does not say that it may.
	// Write `upgrades: [websocket]` in the rule, and know that nothing is judged after the upgrade.
	Upgrade
	// Forbidden is the answer of a rule that only refuses (`deny: 403`). There is nothing to do but to change the rule.
	Forbidden

	// NotFound is the answer of a rule that only refuses (`deny: 404`), and what a client is told behind `otherwise: 404` whatever the true
	// reason is. Look for the true one in the audit log, or ask `sallyport why`.
	NotFound
	// Gone is the answer of a rule that only refuses (`deny: 410`): an interface that was retired. Have the client move to its successor.
	Gone

	// BodyTooLarge says that a body which the rule reads is longer than Envoy buffers (`max_request_bytes` of its route) or than the gate
	// reads (1 MiB), names more than 1,000 ids, or is built beyond what is read: 64 levels, 1,000 members in one object, 10,000 elements
	// in one list or fields in a form. Send less at once, or raise Envoy's bound on that route.
	BodyTooLarge
	// MediaType says that a body which the rule reads is of another media type than the rule reads, or compressed. JSON bodies say
	// application/json, forms application/x-www-form-urlencoded, messages application/grpc; none is compressed, because what the gate
	// cannot read it cannot judge.
	MediaType

	// WrongService says that the request is for no service of the policy, or for two, or that the pins (`--service`, the context extension,
	// the sidecar's identity) contradict each other, or that the host is none of the service's. Compare the `host` of the audit record with
	// `hosts`; in a folder, a file that was never good leaves its services unserved.
	WrongService

	// KeysUnavailable says that the issuer's keys could not be had: it never answered, not for longer than `max_stale`, or is being asked
	// just now about a new key. The client may try again after a second. If it lasts, look at /readyz and at the way from here to the
	// issuer. Where a rule has no issuer, it is the keys of its webhook that nobody could read, and with the
	// detail `unavailable` they are those, or the API keys in Redis.
	KeysUnavailable
	// LookupFailed says that whose the object is could not be found out: the lookup's backend did not answer in time (`unavailable`), or
	// answered what cannot be read (`answer`). Nothing is allowed meanwhile. /readyz names what is away, the log says why, and the metric
	// sallyport_lookup_asked_total counts.
	LookupFailed
	// Deadline says that the caller's time, or the gate's own ceiling of a second, ran out first. A decision that comes late is a denial.
	// Look at what waits: a lookup's `timeout`, a queue of new tokens under a flood, a machine without processors.
	Deadline
	// Cancelled says that the caller went away before the answer: a client that hung up, or an Envoy whose own timeout ended. Many at once
	// are a timeout that is too short.
	Cancelled
	// Panicked says that a defect was caught while deciding. The request was denied and the gate goes on. Please report it with the log's
	// line.
	Panicked
	// Stale says that the view of revoked tokens is too old to be believed (`stale_after`): the store of revocations is away. Bring it
	// back; `when_stale: allow` goes on with what is known, if that is the lesser evil.
	Stale
	// AuditUnavailable says that the request would have been allowed, and that its audit record was not on disk in time, under `--audit-mode
	// strict`. Look at the disk and at /readyz; docs/audit.md says what is waited for. An allow of the same decision_id that stands before
	// this denial was not answered.
	AuditUnavailable
	// NotReady says that no policy is loaded, so that everything is denied. The log says why the policy does not load.
	NotReady

	// Shadow says that the service is in shadow: the answer is the one that the policy writes (`shadow: {answer: ...}`), whatever its rules
	// say. What they would have said stands beside it in the audit log and the metadata. It ends by itself on the day that `until` names.
	// Under `answer: allow` rules with `deny`, keys or lookups that are away and upgrades are let through as well, and a connection that was
	// upgraded may outlive that day: put nothing in shadow that was protected before.
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

// TokenDetails lists the details with which a token itself is refused, before anything is known of revocation or of its sender: those that
// a [Verifier] says, and none of a request that bears its token in the wrong way.
func TokenDetails() []string {
	return []string{
		DetailMalformed, DetailTooLarge, DetailHeader, DetailType, DetailAlgorithm, DetailUnknownKey, DetailSignature, DetailIssuer, DetailAudience,
		DetailExpired, DetailNotYet, DetailLifetime, DetailClaim, DetailWhere, DetailTokenKind, DetailScopes, DetailConfirm,
	}
}

// Detail words behind NotFound, NoRule, Owner, Address, Signature, ClientKey, BadParameter, BadBody, MediaType, Condition and Lookup.
const (
	DetailNotTheirs   = "not_theirs"   // the object is somebody else's
	DetailNotThere    = "not_there"    // the lookup knows no such object
	DetailUnreadable  = "unreadable"   // the address that the request comes from is absent, or none
	DetailMAC         = "mac"          // no key of the rule made this signature of this body
	DetailTimestamp   = "timestamp"    // the time that was signed is too far from now
	DetailUnknown     = "unknown"      // an API key that no client has, or has still; a query parameter that the rule does not know, where it says which there are
	DetailTenant      = "tenant"       // the tenant is another
	DetailDisagree    = "disagree"     // values that `agrees` holds together differ
	DetailMissing     = "missing"      // a value that the rule reads is not there
	DetailAmbiguous   = "ambiguous"    // a value that the rule reads can be read in several ways
	DetailEmpty       = "empty"        // a value, or a list that must not be, is empty
	DetailForm        = "form"         // a value is not of the declared type, or not in its one canonical form
	DetailTooMany     = "too_many"     // a list of more than 1,000 ids
	DetailTooLong     = "too_long"     // an id of more than 2,048 bytes
	DetailPartial     = "partial"      // the body was not delivered whole
	DetailNoBody      = "no_body"      // no body was delivered
	DetailEndless     = "endless"      // nothing says where the body ends: no content-length, and no max_request_bytes among the route's context_extensions
	DetailCompressed  = "compressed"   // the body has a content coding
	DetailContentType = "content_type" // the body is of a type that the rule does not read
	DetailError       = "error"        // an expression could not be evaluated
	DetailUnavailable = "unavailable"  // the lookup could not be asked
	DetailAnswer      = "answer"       // the lookup's answer could not be read
	DetailSchema      = "schema"       // a value or the body fails what the rule's schema demands; the fault says where
	DetailCORSOrigin  = "cors_origin"  // a preflight of a page that the service's `cors` does not list, or of several
	DetailCORSMethod  = "cors_method"  // a preflight about a method that it does not list
	DetailCORSHeaders = "cors_headers" // a preflight about a header that it does not list
	DetailCORSForm    = "cors_form"    // a preflight with a body, which no browser sends
)

var reasonNames = [reasonCount]string{
	Undecided: "undecided", Allowed: "allowed", Public: "public", Probe: "probe", Preflight: "preflight",
	BadTarget: "bad_target", AmbiguousPath: "ambiguous_path", NotHTTP: "not_http", InvalidRequest: "invalid_request",
	BadParameter: "bad_parameter", BadBody: "bad_body", BadHeader: "bad_header",
	NoToken: "no_token", InvalidToken: "invalid_token",
	NoRule: "no_rule", Caller: "caller", Address: "address", Signature: "signature", ClientKey: "client_key", InsufficientScope: "insufficient_scope", Role: "role", Owner: "owner", Condition: "condition",
	MetadataMissing: "metadata_missing", HeaderValue: "header_value", FieldNotWritable: "field_not_writable", Upgrade: "upgrade", Forbidden: "forbidden",
	NotFound: "not_found", Gone: "gone", BodyTooLarge: "body_too_large", MediaType: "media_type", WrongService: "wrong_service",
	KeysUnavailable: "keys_unavailable", LookupFailed: "lookup", Deadline: "deadline", Cancelled: "cancelled", Panicked: "panic", Stale: "revocation_stale", AuditUnavailable: "audit_unavailable", NotReady: "not_ready",
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
