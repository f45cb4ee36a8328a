package authz

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Outcome is what became of one step of a decision.
type Outcome uint8

const (
	// NotReached is a step behind the one in which the decision fell. It is the zero value.
	NotReached Outcome = iota
	// NotAsked is a step in which the rule demands nothing.
	NotAsked
	// Passed is a demand that held.
	Passed
	// Failed is the demand that did not.
	Failed
)

var outcomeNames = [...]string{"not reached", "not asked", "passed", "FAILED"}

// String is the word of an explanation.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return outcomeNames[NotReached]
}

// MarshalText is the word in lower case, for JSON.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(strings.ToLower(o.String())), nil }

// ExplainedStep is one step of a decision, told.
type ExplainedStep struct {
	// Step is its name, Outcome what became of it.
	Step    string  `json:"step"`
	Outcome Outcome `json:"outcome"`
	// Demand is what was asked, in the policy's words; Found what the request had, without a secret.
	Demand string `json:"demand,omitempty"`
	Found  string `json:"found,omitempty"`
}

// Explanation tells a decision to an operator. It holds ids and subjects, as the audit log does, and never a token, a cookie, a body, or
// the value of a query parameter or header beyond the id that the rule was about.
type Explanation struct {
	DecisionID string    `json:"decision_id"`
	Time       time.Time `json:"time"`
	Verdict    string    `json:"verdict"`
	// Reason and Detail are the true ones; PublicReason and Status are what the client was told.
	Reason       string `json:"reason"`
	Detail       string `json:"detail,omitempty"`
	PublicReason string `json:"public_reason"`
	Status       int    `json:"status"`
	// Policy is the digest of the policy in force, and Place the file:line:column of the rule in it; "" where none was found.
	Policy  string `json:"policy,omitempty"`
	Service string `json:"service"`
	Rule    string `json:"rule"`
	Place   string `json:"place,omitempty"`
	// Method, Host and Path are the request's; of a query only the names are shown.
	Method string `json:"method,omitempty"`
	Host   string `json:"host,omitempty"`
	Path   string `json:"path,omitempty"`
	// RequestID and Traceparent are what the request was called on its way.
	RequestID   string          `json:"request_id,omitempty"`
	Traceparent string          `json:"traceparent,omitempty"`
	Who         string          `json:"who"`
	Steps       []ExplainedStep `json:"steps"`
	// Mend says what would have allowed it; "" for an allow.
	Mend string `json:"mend,omitempty"`
	// Shadow tells what a trial beside the decision came to; "" where none ran.
	Shadow string `json:"shadow,omitempty"`
}

// Explain tells a decision. It is built from the decision when somebody asks, and costs nothing before.
func Explain(d *Decision, r *Request) *Explanation {
	e := &Explanation{
		DecisionID: d.ID, Time: d.Time, Verdict: d.Verdict.String(), Reason: d.Reason.String(), Detail: d.Detail,
		PublicReason: d.PublicReason().String(), Status: d.Status(), Policy: d.Policy, Service: d.ServiceName(), Rule: d.RuleName(),
		Who: d.Who,
	}
	if d.Rule != nil {
		e.Place = d.Rule.File + ":" + strconv.Itoa(d.Rule.Pos.Line) + ":" + strconv.Itoa(d.Rule.Pos.Column)
	}
	if r != nil {
		e.Method, e.Host, e.Path = r.Method, r.Host, shownTarget(r.Target)
		e.RequestID, _ = r.Headers.One("x-request-id")
		e.Traceparent, _ = r.Headers.One("traceparent")
	}
	e.steps(d)
	switch {
	case d.Reason == Shadow && d.Shadow != nil && d.Shadow.Verdict != Allow:
		e.Mend = mend(d.Shadow) // once the rules are enforced
	case d.Verdict != Allow:
		e.Mend = mend(d)
	}
	if s := d.Shadow; s != nil {
		e.Shadow = s.Verdict.String() + " (" + s.Reason.String() + ")"
		if s.Rule != nil {
			e.Shadow += " by rule " + s.Rule.Name
		}
	}
	return e
}

// shownTarget is a target without the values of its query. A path may hold ids, which the audit log shows too.
func shownTarget(target string) string {
	path, query, has := strings.Cut(target, "?")
	if !has {
		return path
	}
	var names []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, valued := strings.Cut(pair, "=")
		if valued {
			name += "=…"
		} else if name != "" {
			name = "…" // a bare word may be a value
		}
		names = append(names, name)
	}
	return path + "?" + strings.Join(names, "&")
}

// order is the order in which the steps were taken: a condition that reads the object waits for the object, which stands in the body or
// is found as the first part of the owner's step.
func order(d *Decision) []Step {
	all := Steps()
	if d.Rule == nil || !d.Rule.Condition.ReadsObject() {
		return all
	}
	before := StepOwner
	if d.Step == StepOwner && d.Objects == 0 {
		before = StepEffects
	}
	i := slices.Index(all, StepCondition)
	return slices.Insert(slices.Delete(all, i, i+1), slices.Index(all, before), StepCondition)
}

func (e *Explanation) steps(d *Decision) {
	if d.Reason == Shadow && d.Shadow != nil {
		d = d.Shadow // what was evaluated, although something else was answered
	}
	reached := true
	for _, step := range order(d) {
		told := ExplainedStep{Step: step.String()}
		told.Demand, told.Found = tell(step, d)
		fell := step == d.Step || d.Step == StepNone && step == StepTarget
		switch {
		case !reached:
			told.Found = ""
		case fell && d.Verdict != Allow:
			told.Outcome = Failed
		case told.Demand == "" || skips(step, d):
			told.Outcome, told.Found = NotAsked, ""
		default:
			told.Outcome = Passed
		}
		reached = reached && !fell
		if step != StepEffects || told.Outcome == Failed {
			e.Steps = append(e.Steps, told)
		}
	}
}

// skips reports whether a step looked at nothing.
func skips(step Step, d *Decision) bool {
	switch step {
	case StepRevoked, StepBound, StepClient, StepScopes, StepRoles:
		return d.Principal == nil
	}
	return false
}

// tell says what a step demands and what it found.
func tell(step Step, d *Decision) (demand, found string) {
	rule := d.Rule
	switch step {
	case StepTarget:
		return "a request line that every upstream reads alike", ""
	case StepService:
		return "the service that this gate or this host stands for", d.ServiceName()
	case StepRule:
		if rule == nil {
			return "a rule for the method and path", "none"
		}
		return "a rule for the method and path", rule.Name + " (" + rule.Patterns[0].String() + ")"
	}
	if rule == nil {
		return "", ""
	}
	switch step {
	case StepCaller:
		return callerDemand(rule), orNobody(d.Caller)
	case StepAddress:
		return with("an address ", originDemand(rule)), addressOf(d)
	case StepToken:
		return tokenDemand(rule), principal(d)
	case StepRevoked:
		return "a token that was not taken back", ""
	case StepBound:
		return boundDemand(rule), ""
	case StepClient:
		return clientKeyDemand(rule), clientOf(d)
	case StepScopes:
		return listDemand("scopes", rule.Scopes, "any of the scopes", rule.AnyScope), scopesOf(d)
	case StepRoles:
		return listDemand("roles", rule.Roles, "any of the roles", rule.AnyRole), rolesOf(d)
	case StepParams:
		return paramsDemand(rule), d.Fault.Parameter
	case StepCondition:
		return rule.ConditionText, ""
	case StepSignature:
		return signatureDemand(rule), ""
	case StepBody:
		return bodyDemand(rule), bodyFault(d)
	case StepOwner:
		return ownerDemand(rule), objectOf(d)
	case StepEffects:
		return "values that headers and limits can carry", ""
	}
	return "", ""
}

func orNobody(caller string) string {
	if caller == "" {
		return "nobody who could be believed"
	}
	return caller
}

func callerDemand(rule *policy.Rule) string {
	if !rule.DemandsCaller() {
		return ""
	}
	var names []string
	for _, pattern := range rule.Callers {
		names = append(names, pattern.String())
	}
	if len(names) == 0 || len(rule.Service.Callers) > 0 && !rule.AnyCaller {
		names = append(names, "the service's callers")
	}
	return "a connection from " + strings.Join(names, ", ")
}

// originDemand says where a request must come from; "" from anywhere.
func originDemand(rule *policy.Rule) string {
	var demands []string
	for i := range rule.Origins {
		if from := rule.Origins[i].From; from != nil {
			demands = append(demands, "in "+from.Text)
		}
		if notFrom := rule.Origins[i].NotFrom; notFrom != nil {
			demands = append(demands, "not in "+notFrom.Text)
		}
	}
	return strings.Join(demands, " and ")
}

func addressOf(d *Decision) string {
	if !d.Address.IsValid() {
		return "none that can be read"
	}
	return d.Address.String()
}

func tokenDemand(rule *policy.Rule) string {
	if rule.Credential != policy.CredentialToken || rule.Issuer == nil {
		return ""
	}
	demand := "a token of issuer " + rule.Issuer.Name
	if rule.Service.Audience != "" {
		demand += " for " + rule.Service.Audience
	}
	return demand
}

func principal(d *Decision) string {
	p := d.Principal
	switch {
	case p == nil && d.Reason == InvalidToken && d.Detail != "":
		return "one that is refused: " + d.Detail
	case p == nil:
		return "none that was accepted"
	}
	found := p.Identity.Kind.String() + " " + strconv.Quote(p.Identity.Subject)
	if p.ClientID != "" {
		found += ", client " + strconv.Quote(p.ClientID)
	}
	return found
}

func boundDemand(rule *policy.Rule) string {
	switch {
	case rule.Sender != policy.SenderAny:
		return "a token that is bound to its sender"
	case rule.Clients != nil:
		return "the application's own workload"
	}
	return ""
}

// listDemand joins what must all be there and of what one must.
func listDemand(all string, each []string, some string, any []string) string {
	var demands []string
	if len(each) > 0 {
		demands = append(demands, all+" "+strings.Join(each, " "))
	}
	if len(any) > 0 {
		demands = append(demands, some+" "+strings.Join(any, " "))
	}
	return strings.Join(demands, " and ")
}

func scopesOf(d *Decision) string {
	if d.Principal == nil {
		return ""
	}
	if d.Principal.Scopes.Len() == 0 {
		return "no scopes"
	}
	return d.Principal.Scopes.String()
}

func rolesOf(d *Decision) string {
	if d.Principal == nil {
		return ""
	}
	roles, _ := d.Principal.Token.List("roles")
	if len(roles) == 0 {
		return "no roles"
	}
	return strings.Join(roles, " ")
}

func bodyDemand(rule *policy.Rule) string {
	if rule.Body == nil {
		return ""
	}
	var demands []string
	for _, ref := range rule.Body.References {
		demands = append(demands, ref.String())
	}
	if rule.Body.Schema != nil || slices.ContainsFunc(rule.Body.Types, func(t policy.MediaType) bool { return t.Schema != nil }) {
		demands = append(demands, "what its schema demands")
	}
	if rule.Writable != nil {
		demands = append(demands, "only fields that its sender may write")
	}
	if len(demands) == 0 {
		return "a whole body of type " + typesOf(rule.Body)
	}
	return "a whole body with " + strings.Join(demands, ", ")
}

func paramsDemand(rule *policy.Rule) string {
	var names []string
	for i := range rule.Params {
		names = append(names, rule.Params[i].Name())
	}
	switch {
	case !rule.ClosedQuery:
		return ""
	case len(names) == 0:
		return "no query parameter that the rule does not know"
	}
	return strings.Join(names, ", ") + " as declared, and no query parameter that the rule does not know"
}

// bodyFault is what was found in a body that fails.
func bodyFault(d *Decision) string {
	if d.Reason != FieldNotWritable && d.Detail != DetailSchema {
		return ""
	}
	found := cmp.Or(d.Fault.Told(), "the root")
	if d.Fault.Keyword != "" {
		found += ", where `" + d.Fault.Keyword + "` fails"
	}
	return found
}

// clientKeyDemand says which API key must come; "" for none.
func clientKeyDemand(rule *policy.Rule) string {
	if rule.ClientKey == nil {
		return ""
	}
	return "an application's key in " + rule.ClientKey.Header
}

func clientOf(d *Decision) string {
	if d.Client == "" {
		return "none that names one"
	}
	return "that of " + strconv.Quote(d.Client)
}

// signatureDemand says who must have signed the body, in the policy's words.
func signatureDemand(rule *policy.Rule) string {
	s := rule.SignedBy
	if s == nil {
		return ""
	}
	demand := "a body signed in " + s.Header + " by a key of " + strings.Join(s.Keys.Files, ", ")
	if s.Form.Timed {
		demand += " within " + s.Form.Tolerance.String()
	}
	return demand
}

func ownerDemand(rule *policy.Rule) string {
	var demands []string
	for _, tenant := range rule.Tenants {
		demands = append(demands, tenant.Of.String()+" equal to token."+tenant.Is)
	}
	if len(rule.Agrees) > 0 {
		names := make([]string, len(rule.Agrees))
		for i, ref := range rule.Agrees {
			names[i] = ref.String()
		}
		demands = append(demands, strings.Join(names, ", ")+" equal to each other")
	}
	if owner := rule.Owner; owner != nil {
		demands = append(demands, owning(owner))
	}
	return strings.Join(demands, "; ")
}

// owning is the demand of one owner line.
func owning(owner *policy.Owner) string {
	which := owner.Of.String()
	if owner.Of.List() {
		which = "every " + which
	}
	demand := which + " equal to token." + owner.Is
	if owner.Lookup != nil {
		demand = which + " owned by token." + owner.Is
		if owner.Relation != "" {
			demand = which + " with token." + owner.Is + " as " + owner.Relation
		}
		demand += ", as " + owner.Lookup.Name + " (" + owner.Lookup.Kind() + ") knows"
	}
	if owner.UnlessRole != "" {
		demand += ", unless the role " + owner.UnlessRole
	}
	if owner.UnlessText != "" {
		demand += ", unless " + owner.UnlessText
	}
	return demand
}

func objectOf(d *Decision) string {
	switch {
	case d.Objects == 0 && d.Object == "":
		return ""
	case d.Objects > 1:
		return strconv.Quote(d.Object) + " (of " + strconv.Itoa(d.Objects) + ")"
	}
	return strconv.Quote(d.Object)
}

// Text is the explanation for a terminal.
func (e *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s %s", strings.ToUpper(e.Verdict), strconv.Itoa(e.Status), e.Reason)
	if e.Detail != "" {
		fmt.Fprintf(&b, " (%s)", e.Detail)
	}
	if e.PublicReason != e.Reason {
		fmt.Fprintf(&b, ", told as %s", e.PublicReason)
	}
	b.WriteByte('\n')
	for _, line := range [...][2]string{
		{"request", strings.Join(strings.Fields(e.Method+" "+e.Host+" "+e.Path), " ")}, {"service", e.Service}, {"rule", join(e.Rule, e.Place)}, {"who", e.Who}, {"decision", e.DecisionID},
		{"request id", e.RequestID}, {"traceparent", e.Traceparent}, {"policy", e.Policy},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "  %-12s%s\n", line[0], clean(line[1]))
		}
	}
	if !e.Time.IsZero() {
		fmt.Fprintf(&b, "  %-12s%s\n", "time", e.Time.UTC().Format(time.RFC3339))
	}
	b.WriteByte('\n')
	for _, step := range e.Steps {
		fmt.Fprintf(&b, "  %-12s%-13s%s\n", step.Step, step.Outcome, clean(join2(step.Demand, step.Found)))
	}
	if e.Shadow != "" {
		fmt.Fprintf(&b, "\nbeside it, on trial: %s\n", clean(e.Shadow))
	}
	if e.Mend != "" {
		fmt.Fprintf(&b, "\nwhat would have allowed it: %s\n", clean(e.Mend))
	}
	text := b.String()
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func join(name, place string) string {
	if place == "" {
		return name
	}
	return name + "  at " + place
}

func join2(demand, found string) string {
	switch {
	case demand == "":
		return ""
	case found == "":
		return demand
	}
	return demand + "; found " + found
}

// clean keeps a client's bytes from moving the terminal that shows them.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, s)
}
