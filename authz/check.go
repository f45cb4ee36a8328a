package authz

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/body"
	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/schema"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
	"github.com/sallyport-dev/sallyport/authz/target"
)

// proceed is what a step returns to pass the request on. It is no reason of the list: a decision can end in none but those, and a
// step that forgets to say anything says Undecided.
const proceed = reasonCount

// check is one decision under way.
type check struct {
	ctx    context.Context
	pin    string
	r      *Request
	d      *Decision
	bundle *Bundle

	target   target.Target
	choice   policy.Choice
	match    pattern.Match
	captures [8]string
	hidden   bool
	// preflight says that the rule is the one of the request that a browser asks about.
	preflight bool

	// format is how the body writes fields, and document all of it where the rule wants it whole.
	format    policy.BodyFormat
	document  strictjson.Value
	form      target.Query
	schema    *schema.Schema // of the body's media type
	delivered bool           // the body is known to be whole
	bodiless  bool           // the rule takes a request without a body, and this is one

	// body is what was read of the body, ids what the owner demand is about, and tenant the one that the request proved to stay within.
	body   body.Values
	ids    []string
	tenant string

	// The rest is room for one decision's values, so that none of them is an allocation of its own.
	idBuffer        [4]string
	conditionValues [4]condition.Value
	question        Question
	standings       [4]Standing
}

// step passes a request on, by saying proceed, or ends it with a reason.
type step struct {
	stage Step
	take  func(*check) Reason
}

// steps are a decision, from top to bottom as a policy reads.
var steps = [...]step{
	{StepTarget, (*check).readPeer},
	{StepTarget, (*check).readTarget},
	{StepService, (*check).findService},
	{StepService, (*check).readHeaders},
	{StepRule, (*check).findRule},
	{StepRule, (*check).holdUpgrade},
	{StepRule, (*check).chooseBranch},
	{StepCaller, (*check).holdCaller},
	{StepAddress, (*check).holdAddress},
	{StepAddress, (*check).admitPreflight}, // behind all that is asked of the connection and the address, before all that is asked of a credential
	{StepToken, (*check).holdToken},
	{StepRevoked, (*check).holdRevocation},
	{StepBound, (*check).holdSender},
	{StepClient, (*check).holdClientKey},
	{StepScopes, (*check).holdScopes},
	{StepRoles, (*check).holdRoles},
	{StepParams, (*check).holdParams},
	{StepCondition, (*check).holdCondition},
	{StepSignature, (*check).holdSignature},
	{StepBody, (*check).readBody},
	{StepBody, (*check).holdBody},
	{StepOwner, (*check).readObjects},
	{StepCondition, (*check).holdObjectCondition},
	{StepOwner, (*check).holdTenants},
	{StepOwner, (*check).holdAgreement},
	{StepOwner, (*check).holdOwner},
	{StepEffects, (*check).setHeaders},
	{StepEffects, (*check).setMetadata},
	{StepEffects, (*check).setResponse},
}

// decide takes the steps.
func (c *check) decide(steps []step) Reason {
	for i := range steps {
		c.d.Step = steps[i].stage
		if reason := steps[i].take(c); reason != proceed {
			return reason
		}
	}
	if c.d.Rule.Credential == policy.CredentialPublic {
		return Public
	}
	return Allowed
}

// readPeer settles who is at the other end of the connection. It demands nothing.
func (c *check) readPeer() Reason {
	if c.bundle == nil || c.bundle.Policy == nil {
		return NotReady
	}
	c.d.Policy = c.bundle.Policy.Digest
	c.d.Caller = caller(c.bundle.Policy.Peers, c.r.Peer)
	forwarded := c.r.Headers.All("x-forwarded-for")
	c.d.Address = c.bundle.Policy.TrustedProxies.JudgeAddress(c.r.Peer.Address, c.d.Caller, forwarded)
	return proceed
}

func (c *check) readTarget() Reason {
	if !c.r.HTTP {
		return NotHTTP
	}
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		if field.Name == ":path" && field.Value != c.r.Target || field.Name == ":method" && field.Value != c.r.Method ||
			field.Name == ":authority" && field.Value != c.r.Host {
			return BadHeader
		}
	}
	t, err := target.Parse(c.r.Method, c.r.Host, c.r.Target)
	if err != nil {
		c.d.Detail = err.Error()
		return BadTarget
	}
	if c.lossy(t.Path) {
		c.d.Detail = "target: path holds '!', which may stand for a byte that is not UTF-8" // and that Parse would have refused
		return BadTarget
	}
	c.target = t
	if t.HasQuery {
		query := t.Query()
		if query.Has("access_token") {
			c.d.Detail = DetailInQuery
			return InvalidRequest
		}
		if query.Has("_method") {
			return BadTarget
		}
	}
	return proceed
}

func (c *check) findService() Reason {
	p := c.bundle.Policy
	choice, ok := p.Choose(policy.Pin{Flag: c.pin, Context: c.r.Service, HasContext: c.r.HasService, Destination: c.r.Destination})
	if !ok {
		return WrongService
	}
	c.d.Service = choice.Service
	if probe, ok := choice.Probe(c.target.Method, c.target.Path); ok && !c.target.HasQuery {
		return c.admitProbe(probe)
	}
	if c.choice, ok = p.Admit(choice, c.target.Host); !ok {
		return WrongService
	}
	return proceed
}

// admitProbe lets a health probe pass with no identity at all: every header that could carry one is removed.
func (c *check) admitProbe(probe policy.Probe) Reason {
	if reason := c.readHeaders(); reason != proceed {
		return reason
	}
	if asksUpgrade(&c.r.Headers, nil) {
		return Upgrade // a probe asks one question; what would follow an upgrade is judged by nobody
	}
	if !probe.AdmitsCaller(c.d.Caller) {
		return Caller
	}
	c.d.Remove = c.bundle.Policy.Strip
	return Probe
}

// readHeaders refuses a second spelling of a header that only the gate may set, or that the gate removes by name: an upstream that
// reads `_` as `-` would see the client's.
func (c *check) readHeaders() Reason {
	p := c.bundle.Policy
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		switch {
		case strings.IndexByte(field.Name, '_') >= 0:
			if p.IdentityHeader(field.Name) || p.KeyHeader(field.Name) || policy.Chooser(field.Name) {
				return BadHeader
			}
		case field.Name == "connection":
			for option := range strings.SplitSeq(field.Value, ",") {
				if p.IdentityHeader(strings.ToLower(strings.Trim(option, " \t"))) {
					return BadHeader // a hop that obeys it would remove what we set
				}
			}
		}
	}
	return proceed
}

func (c *check) findRule() Reason {
	rule, match, outcome := c.choice.Match(&c.target, c.captures[:0])
	switch outcome {
	case pattern.Found:
	case pattern.Ambiguous:
		c.d.Service = c.choice.Sole()
		return AmbiguousPath
	default:
		c.d.Service = c.choice.Sole()
		return c.findPreflight()
	}
	c.d.Service = rule.Service
	if rule.Excepts(&c.target) {
		return NoRule
	}
	c.d.Rule, c.match = rule, match
	if rule.Credential == policy.CredentialDeny {
		switch rule.DenyStatus {
		case 404:
			return NotFound
		case 410:
			return Gone
		}
		return Forbidden
	}
	return proceed
}

// holdUpgrade refuses to hand the connection over unless the rule says to what.
func (c *check) holdUpgrade() Reason {
	admitted := c.d.Rule.Upgrades
	if c.preflight {
		admitted = nil // a question hands nothing over
	}
	if asksUpgrade(&c.r.Headers, admitted) {
		return Upgrade
	}
	return proceed
}

// asksUpgrade reports whether a request asks to upgrade the connection (RFC 9110 7.8) to anything but what is admitted. Envoy shows an
// extended CONNECT as a GET with this header.
func asksUpgrade(h *Headers, admitted []string) bool {
	for i := range h.Fields {
		field := &h.Fields[i]
		if field.Name != "upgrade" && field.Name != ":protocol" {
			continue
		}
		for wanted := range strings.SplitSeq(field.Value, ",") {
			if !slices.Contains(admitted, strings.ToLower(strings.Trim(wanted, " \t"))) {
				return true
			}
		}
	}
	return false
}

// chooseBranch lets the credential choose among the branches of a rule: a token by its `iss`, unproved as it is, and the lack of one
// the branch that asks for none. The choice is final: what the branch refuses, no other branch is asked about.
func (c *check) chooseBranch() Reason {
	branches := c.d.Rule.Either
	if branches == nil || c.preflight {
		return proceed
	}
	token, reason := bearer(&c.r.Headers)
	issuer := ""
	switch reason {
	case proceed:
		var ok bool
		if issuer, ok = c.bundle.unverifiedIssuer(token); !ok {
			c.d.Detail = DetailMalformed
			return InvalidToken
		}
	case NoToken:
	default:
		c.d.Detail = DetailCredentials
		return reason
	}
	for _, branch := range branches {
		if reason == NoToken && branch.Credential == policy.CredentialNone || reason == proceed && branch.Issuer != nil && branch.Issuer.Issuer == issuer {
			c.d.Rule = branch.For(c.target.Method)
			return proceed
		}
	}
	if reason == NoToken {
		return NoToken
	}
	c.d.Detail = DetailIssuer
	return InvalidToken
}

func (c *check) holdCaller() Reason {
	rule := c.d.Rule
	if !rule.CallersAdmit(c.d.Caller) || c.preflight && !c.anyBranchAdmits() {
		return Caller
	}
	if rule.Credential == policy.CredentialNone && (!rule.DemandsCaller() || c.d.Caller == "" || c.bundle.Policy.MayBeGateway(c.d.Caller)) {
		return Caller // the connection is the whole identity: nobody's, or a gateway's, is none
	}
	return proceed
}

// holdAddress stands before the token, so that a stranger's is not even looked at.
func (c *check) holdAddress() Reason {
	if c.d.Rule.OriginAdmits(c.d.Address) {
		return proceed
	}
	if !c.d.Address.IsValid() {
		return c.because(Address, DetailUnreadable)
	}
	return Address
}

func (c *check) holdToken() Reason {
	rule := c.d.Rule
	if rule.Credential != policy.CredentialToken {
		return proceed
	}
	token, reason := bearer(&c.r.Headers)
	if reason != proceed {
		if reason == InvalidRequest {
			c.d.Detail = DetailCredentials
		}
		return reason
	}
	verifier := c.bundle.Verifiers[rule.Issuer.Name]
	if verifier == nil {
		return KeysUnavailable
	}
	principal, err := verifier.Verify(c.ctx, token, c.d.Time)
	if err != nil {
		return c.refusedToken(err)
	}
	if principal == nil {
		return Undecided
	}
	if audience := rule.Service.Audience; audience != "" && !slices.Contains(principal.Audiences, audience) {
		c.d.Detail = DetailAudience
		return InvalidToken
	}
	c.d.Principal = principal
	return proceed
}

// holdRevocation refuses a token that was taken back, and every token where that could not be known.
func (c *check) holdRevocation() Reason {
	asked, view := c.bundle.Policy.Revocation, c.bundle.Revocations
	switch {
	case c.d.Principal == nil || asked == nil && view == nil:
		return proceed
	case view == nil:
		return Stale
	case asked == nil:
		// Where there is a store, a policy that says nothing of it, or has lost the file that did, switches nothing off.
		asked = &policy.DefaultRevocation
	}
	revoked, age := view.Revoked(c.d.Principal, c.d.Time)
	switch {
	case revoked:
		c.d.Detail = DetailRevoked
		return InvalidToken
	case age == NeverKnown || age > asked.StaleAfter && !asked.AllowStale:
		return Stale
	}
	return proceed
}

// holdSender holds a bound token to its sender (RFC 8705 section 3), and an application to its workloads.
func (c *check) holdSender() Reason {
	rule, principal := c.d.Rule, c.d.Principal
	if principal == nil {
		return proceed
	}
	if bound := principal.Confirmation; bound.Bound {
		thumbprint, seen := thumbprint(c.r.Peer.Certificate)
		switch {
		case !seen:
			c.d.Detail = DetailNoCertificate
			return InvalidToken
		case thumbprint != bound.Thumbprint:
			c.d.Detail = DetailSender
			return InvalidToken
		}
	} else if rule.Sender != policy.SenderAny {
		c.d.Detail = DetailSender
		return InvalidToken
	}
	if !rule.ClientAdmits(principal.ClientID, c.d.Caller) {
		return Caller
	}
	return proceed
}

func (c *check) refusedToken(err error) Reason {
	c.d.Err = err
	var refused *TokenError
	switch {
	case errors.As(err, &refused):
	case errors.Is(err, context.DeadlineExceeded):
		return Deadline
	case errors.Is(err, context.Canceled):
		return Cancelled
	default:
		return Undecided
	}
	c.d.Detail = refused.Detail
	switch refused.Reason {
	case InvalidToken, InvalidRequest, KeysUnavailable:
		return refused.Reason
	}
	return Undecided
}

func (c *check) holdScopes() Reason {
	rule := c.d.Rule
	if rule.Credential != policy.CredentialToken {
		return proceed
	}
	scopes := c.d.Principal.Scopes
	if !scopes.HasAll(rule.Scopes) || len(rule.AnyScope) > 0 && !scopes.HasAny(rule.AnyScope) {
		return InsufficientScope
	}
	c.hidden = rule.Owner != nil && rule.Owner.Hidden
	return proceed
}

func (c *check) holdRoles() Reason {
	rule := c.d.Rule
	if len(rule.Roles) == 0 && len(rule.AnyRole) == 0 {
		return proceed
	}
	roles, _ := c.d.Principal.Token.List("roles")
	for _, role := range rule.Roles {
		if !slices.Contains(roles, role) {
			return Role
		}
	}
	if len(rule.AnyRole) > 0 && !slices.ContainsFunc(rule.AnyRole, func(role string) bool { return slices.Contains(roles, role) }) {
		return Role
	}
	return proceed
}

// lossy reports whether a text may not be what the upstream gets: in map mode Envoy writes `!` for a byte that is no UTF-8, in headers
// and in the path and query alike.
func (c *check) lossy(text string) bool {
	return c.r.Headers.Joined && strings.IndexByte(text, '!') >= 0
}

// parametersInBody reports whether the upstream may find further parameters in a body: many frameworks merge a form's, a
// multipart's or a JSON object's fields with the query's, and the last one wins. Only `content-length: 0` says that there is none:
// HTTP/2 needs no length, and in HTTP/1 Envoy takes transfer-encoding away before it asks, so that a body in chunks looks like none.
func (c *check) parametersInBody() bool {
	if length, count := c.r.Headers.One("content-length"); count == 1 && length != "" && strings.Trim(length, "0") == "" {
		return false
	}
	if c.r.Headers.contested("content-type") {
		return true
	}
	untyped := true
	for _, kind := range c.r.Headers.All("content-type") {
		kind = strings.ToLower(kind)
		if strings.Contains(kind, "form") || strings.Contains(kind, "multipart") || strings.Contains(kind, "json") {
			return true
		}
		untyped = untyped && strings.Trim(kind, " \t") == ""
	}
	// Some (Rack) read a POST without a type as a form.
	return untyped && (c.r.Method == "POST" || c.r.Method == "PUT" || c.r.Method == "PATCH")
}

// text reads a source of text for the upstream or the limiter; false is unset.
func (c *check) text(v policy.Value) (string, bool) {
	switch v.Kind {
	case policy.ValueWho:
		return c.who(), true
	case policy.ValueCaller:
		return c.d.Caller, c.d.Caller != ""
	case policy.ValueClient:
		return c.d.Client, c.d.Client != ""
	case policy.ValueClaim:
		if c.d.Principal != nil {
			return c.d.Principal.Token.Text(v.Claim)
		}
	}
	return "", false
}

// who is the name that limits count by: the first that holds of a verified person, a verified machine, a caller that the rule
// demands and that speaks for itself, and an address.
func (c *check) who() string {
	if principal := c.d.Principal; principal != nil && principal.Identity.Subject != "" {
		switch id := principal.Identity; id.Kind {
		case Person:
			return "user|" + id.Issuer + "|" + id.Subject
		case Machine:
			return "client|" + id.Issuer + "|" + id.Subject
		}
	}
	if rule := c.d.Rule; rule != nil && c.d.Caller != "" && rule.DemandsCaller() && rule.CallersAdmit(c.d.Caller) && !c.bundle.Policy.Gateway(c.d.Caller) {
		return "workload|" + c.d.Caller
	}
	return "ip|" + policy.LimitGroup(c.d.Address)
}
