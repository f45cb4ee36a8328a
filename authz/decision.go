package authz

import (
	"net/netip"
	"time"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Decision is the one value that a Check ends in: it is returned, audited, counted and shown. Its zero value denies. A denial is not
// an error; Err says why nothing could be decided, and then the decision denies too.
type Decision struct {
	Verdict Verdict
	// Reason is the true reason. A client is told [Decision.PublicReason].
	Reason Reason
	// Detail is the cause behind Reason in one word, for the audit record only; "" if Reason says it all.
	Detail string
	// Step is where the decision fell: the steps before it passed, those behind it were not reached. An allow reached the last one.
	Step Step
	// Err is what kept the decision from being reached; nil otherwise. It never reaches a client.
	Err error
	// ID names this decision in the answer, the audit record and the metadata: 128 random bits.
	ID string
	// Time is when the check began.
	Time time.Time
	// Policy is the digest of the policy generation that decided; "" if there was none.
	Policy string
	// Service and Rule are nil where none was found.
	Service *policy.Service
	Rule    *policy.Rule
	// Principal is whose verified token it was; nil where none was asked for or it was refused.
	Principal *Principal
	// Caller is the connection's proven SPIFFE ID, "" for none.
	Caller string
	// Client is the application whose API key came, "" for none. It is not who asks.
	Client string
	// Address is the judged address of the client; invalid where it is unknown.
	Address netip.Addr
	// Who is the name that limits count by; never empty after a Check.
	Who string
	// Object is the id that an ownership demand read, "" for none; of several, the one that was refused, else the first.
	Object string
	// Objects is how many ids an ownership demand read.
	Objects int
	// Shadow is what would have been decided, where a trial ran beside the decision: by the service's own rules while its `shadow` answers
	// for them, or by a second policy. Nil where none ran.
	Shadow *Decision
	// Fault is where the request fails what the rule demands of its shape; the zero Fault says nothing.
	Fault Fault
	// Witnessed says that the [Witness] was told of it as an allow. A denial that was takes that allow back.
	Witnessed bool
	// Hidden says that the client is told NotFound whatever the Reason, so that existence does not show.
	Hidden bool
	// Set, Remove, Respond and Metadata are what an allow carries: headers for the upstream, each exactly once; headers that must not
	// arrive; headers for the upstream's answer, which are the policy's own list and must not be changed; and the rule's own metadata.
	Set      []Field
	Remove   []string
	Respond  []policy.ResponseHeader
	Metadata []Field
}

// PublicReason is the reason that a client may hear.
func (d *Decision) PublicReason() Reason {
	if d.Hidden {
		return NotFound
	}
	return d.Reason
}

// Status is the HTTP status of the answer: 200 for an allow. A denial is never below 400.
func (d *Decision) Status() int {
	if d.Verdict == Allow {
		return 200
	}
	return d.PublicReason().status()
}

// RuleName is the rule's name; "probe" for a probe and "none" where no rule was found, since metadata must not be empty.
func (d *Decision) RuleName() string {
	switch {
	case d.Reason == Probe:
		return "probe"
	case d.Rule != nil:
		return d.Rule.Name
	}
	return "none"
}

// ServiceName is the service's name, "none" where none was found.
func (d *Decision) ServiceName() string {
	if d.Service != nil {
		return d.Service.Name
	}
	return "none"
}

// statuses of the denials. What is missing answers 503: what could not be decided is nobody's fault but ours.
var statuses = [reasonCount]int{
	BadTarget: 400, AmbiguousPath: 400, NotHTTP: 400, InvalidRequest: 400, BadParameter: 400, BadBody: 400, BadHeader: 400,
	NoToken: 401, InvalidToken: 401,
	NoRule: 403, Caller: 403, Address: 403, Signature: 403, ClientKey: 403, InsufficientScope: 403, Role: 403, Owner: 403, Condition: 403, MetadataMissing: 403, HeaderValue: 403, Upgrade: 403, Forbidden: 403, Shadow: 403, FieldNotWritable: 403,
	NotFound: 404, Gone: 410, BodyTooLarge: 413, MediaType: 415,
	WrongService: 421,
}

func (r Reason) status() int {
	if r < reasonCount && statuses[r] != 0 {
		return statuses[r]
	}
	return 503
}
