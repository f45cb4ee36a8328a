package authz

import (
	"cmp"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// mends say what would have allowed a request, by reason. What depends on the rule is said by mend.
var mends = [reasonCount]string{
	Undecided:         "nothing that a client can do: this is a defect of the gate, please report it",
	BadTarget:         "a path, method and host that can be read in exactly one way",
	AmbiguousPath:     "a path that no forgiving upstream reads as another rule's; or `spelling: exact` on the service, if its upstream is exact",
	NotHTTP:           "an HTTP request",
	InvalidRequest:    "one Authorization header with one bearer token, and no token anywhere else",
	BadParameter:      "each value that the rule reads, there once, in its one form",
	BadBody:           "the body that the rule reads, whole, in one reading",
	BadHeader:         "no header that only the gate may set, in any spelling, and none that contradicts the request line",
	NoToken:           "a bearer token in the Authorization header",
	InvalidToken:      "a token that is accepted (`sallyport token inspect` shows why one is not)",
	Caller:            "a connection from a workload that may",
	Address:           "a request from an address that may",
	Signature:         "a body that was signed just now, by who shares the rule's key",
	ClientKey:         "a key of an application",
	InsufficientScope: "a token with the scopes that the rule demands",
	Owner:             "an object that is the caller's",
	NoRule:            "a rule of the service for this method and path",
	Role:              "a token with the roles that the rule demands",
	Condition:         "a request for which the rule's condition holds",
	FieldNotWritable:  "a body that writes only what its sender may",
	MetadataMissing:   "a token with the claim that the rule hands to the rate limiter, or a `default` for it in the rule",
	HeaderValue:       "a claim that can stand in a header, or `encode: percent` in the policy",
	Upgrade:           "`upgrades: [websocket]` in the rule",
	Forbidden:         "nothing: the rule only refuses",
	NotFound:          "nothing: the rule only refuses",
	Gone:              "nothing: the rule only refuses",
	BodyTooLarge:      "a shorter body, or a greater max_request_bytes on Envoy's route (the gate reads at most 1 MiB, and 1,000 ids)",
	MediaType:         "a body of the media type that the rule reads, not compressed",
	WrongService:      "a host of the service that this gate stands for",
	KeysUnavailable:   "the issuer's keys: is it there? /readyz names what is away",
	LookupFailed:      "an answer of the lookup: /readyz names what is away, and the log says why",
	Deadline:          "more time: the caller's deadline, or the gate's own, had passed",
	Cancelled:         "a client, or an Envoy, that waits for the answer",
	Panicked:          "nothing that a client can do: this is a defect of the gate, please report it",
	Stale:             "a store of revocations that answers, or `when_stale: allow` in the policy",
	AuditUnavailable:  "an audit log that is written in time: /readyz says what fails",
	NotReady:          "a policy: none is loaded",
	Shadow:            "the end of the service's `shadow`, or `answer: allow` in it",
}

// mend says what would have allowed a request: in the rule's own words where it has some, else in general.
func mend(d *Decision) string {
	if d.Rule != nil {
		if text := mendRule(d, d.Rule); text != "" {
			return text
		}
	}
	switch d.Detail {
	case DetailCORSOrigin, DetailCORSMethod, DetailCORSHeaders, DetailCORSForm:
		return "a preflight of a page, about a method and headers, that the service's `cors` lists, and without a body"
	}
	if d.Reason < reasonCount {
		return mends[d.Reason]
	}
	return mends[Undecided]
}

func mendRule(d *Decision, rule *policy.Rule) string {
	switch d.Reason {
	case Caller:
		if demand := callerDemand(rule); demand != "" {
			return demand
		}
		return boundDemand(rule)
	case Address:
		return with("a request from an address ", originDemand(rule))
	case InsufficientScope:
		return with("a token with ", listDemand("the scopes", rule.Scopes, "any of the scopes", rule.AnyScope))
	case Role:
		return with("a token with ", listDemand("the roles", rule.Roles, "any of the roles", rule.AnyRole))
	case Owner:
		return mendOwner(d)
	case Condition:
		return with("a request for which this holds: ", rule.ConditionText)
	case ClientKey:
		return clientKeyDemand(rule)
	case Signature:
		return signatureDemand(rule)
	case FieldNotWritable:
		return "a body that leaves " + cmp.Or(d.Fault.Told(), "/") + " alone, or `writable` that has it"
	case BadParameter, BadBody:
		if text := mendShape(d, rule); text != "" {
			return text
		}
		if d.Detail == DetailNoBody {
			return "a body; if the client sent one, Envoy's route does not show it to the gate (with_request_body)"
		}
		if reads := readsOf(rule); reads != "" {
			return reads + ", there once, in its one form"
		}
	case MediaType:
		if rule.SignedBy != nil && d.Detail == DetailCompressed {
			return "a body that is not compressed"
		}
		if rule.Body != nil {
			return "a body of type " + typesOf(rule.Body) + ", not compressed"
		}
	}
	return ""
}

// mendShape says what would satisfy a schema.
func mendShape(d *Decision, rule *policy.Rule) string {
	switch {
	case d.Detail == DetailUnknown && len(rule.Query) == 0:
		return "no query parameter: the rule knows none"
	case d.Detail == DetailUnknown:
		return "no query parameter but " + strings.Join(rule.Query, ", ")
	case d.Detail == DetailSchema && d.Fault.Parameter != "":
		return "another value of " + d.Fault.Parameter + ": `" + d.Fault.Keyword + "` fails"
	case d.Detail == DetailSchema:
		return "a body in which " + cmp.Or(d.Fault.Told(), "the root") + " satisfies `" + d.Fault.Keyword + "`"
	case d.Fault.Parameter != "":
		return d.Fault.Parameter + ", there once, in its one form"
	}
	return ""
}

func typesOf(b *policy.Body) string {
	names := make([]string, len(b.Types))
	for i, t := range b.Types {
		names[i] = t.Name
	}
	return strings.Join(names, " or ")
}

// with puts a beginning before a text, if there is one.
func with(beginning, text string) string {
	if text == "" {
		return ""
	}
	return beginning + text
}

func mendOwner(d *Decision) string {
	switch owner := d.Rule.Owner; {
	case d.Detail == DetailTenant:
		var demands []string
		for _, tenant := range d.Rule.Tenants {
			demands = append(demands, tenant.Of.String()+" equal to token."+tenant.Is)
		}
		return strings.Join(demands, " and ")
	case d.Detail == DetailDisagree:
		var names []string
		for _, ref := range d.Rule.Agrees {
			names = append(names, ref.String())
		}
		return "one value in " + strings.Join(names, " and ")
	case owner != nil:
		return owning(owner)
	}
	return "an object that is the caller's"
}

// readsOf lists what the rule reads of the request for whose it is.
func readsOf(rule *policy.Rule) string {
	var names []string
	add := func(o policy.Object) {
		for _, part := range o.Parts {
			if part.Ref != nil {
				names = append(names, part.Ref.String())
			}
		}
	}
	for _, tenant := range rule.Tenants {
		add(tenant.Of)
	}
	for _, ref := range rule.Agrees {
		names = append(names, ref.String())
	}
	if rule.Owner != nil {
		add(rule.Owner.Of)
	}
	return strings.Join(names, ", ")
}
