package offline

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/bearer"
)

// MaxLine bounds one recorded request in bytes.
const MaxLine = 64 << 10

// maxObject is the longest id in bytes that a line may bear as a name.
const maxObject = 1000

// unrecordable are the reasons that say nothing about a policy: what was sent cannot be read by any, or could not be decided just then.
var unrecordable = []authz.Reason{
	authz.Undecided, authz.BadTarget, authz.NotHTTP, authz.InvalidRequest, authz.BadHeader, authz.KeysUnavailable, authz.Deadline, authz.Cancelled,
	authz.Panicked, authz.Stale, authz.AuditUnavailable, authz.NotReady, authz.Shadow,
}

// Line writes a decided request as a case in one line of JSON, so that another policy can be asked about it: of the request what rules
// read, of the token the claims that they read, of lookups what they said. It never holds a token. Pin is the service that the gate
// itself stands for. False is a request that no policy can be asked about again, or one that holds what looks like a token.
func Line(d *authz.Decision, r *authz.Request, pin string, reads *Reads) ([]byte, bool) {
	if d.Reason == authz.Shadow && d.Shadow != nil {
		d = d.Shadow
	}
	if slices.Contains(unrecordable, d.Reason) || len(d.Object) > maxObject {
		return nil, false
	}
	if pin == "" && r.HasService {
		pin = r.Service
	}
	if pin == "" && r.Destination != "" && d.Service != nil && !d.Service.Edge {
		pin = d.Service.Name
	}
	w := &lineWriter{d: d, r: r, reads: reads, line: map[string]any{}}
	w.put("now", d.Time.UTC().Format(time.RFC3339Nano))
	w.put("service", pin)
	w.put("caller", d.Caller)
	if d.Address.IsValid() {
		w.put("address", d.Address.String())
	} else if d.Rule != nil && len(d.Rule.Origins) > 0 {
		w.put("address", "unreadable")
	}
	w.put("client", d.Client)
	if d.Rule != nil && d.Rule.SignedBy != nil && d.Step > authz.StepSignature {
		w.put("signed", d.Rule.Name)
	}
	w.who()
	w.request()
	w.lookup()
	w.expect()
	w.line["recorded"] = w.recorded()
	line := visible(encode(w.line))
	if len(line) >= MaxLine || bearer.In(string(line)) {
		return nil, false
	}
	return append(line, '\n'), true
}

// lineWriter writes one line.
type lineWriter struct {
	d     *authz.Decision
	r     *authz.Request
	reads *Reads
	line  map[string]any
	lacks []string
}

func (w *lineWriter) put(name, text string) {
	if text != "" {
		w.line[name] = text
	}
}

func (w *lineWriter) recorded() map[string]any {
	recorded := map[string]any{"policy": w.d.Policy}
	if len(w.lacks) > 0 {
		recorded["lacks"] = w.lacks
	}
	return recorded
}

// who writes whose token it was, as far as it was looked at.
func (w *lineWriter) who() {
	p := w.d.Principal
	switch {
	case p != nil:
		w.line["who"] = w.person(p)
		if w.d.Detail == authz.DetailRevoked && w.d.Step == authz.StepRevoked {
			w.line["revoked"] = true
		}
	case w.d.Reason == authz.NoToken:
		w.line["who"] = "nobody"
	case w.d.Reason == authz.InvalidToken && w.d.Step == authz.StepToken && w.d.Rule != nil && w.d.Rule.Issuer != nil:
		w.line["who"] = map[string]any{"issuer": w.d.Rule.Issuer.Name, "refused": w.d.Detail}
	default:
		w.line["who"] = "unknown"
	}
}

// person writes the claims that rules read.
func (w *lineWriter) person(p *authz.Principal) map[string]any {
	who := map[string]any{"issuer": p.Identity.Issuer}
	if p.Subject != "" {
		who["sub"] = p.Subject
	}
	who["client_id"] = nil
	if p.ClientID != "" {
		who["client_id"] = p.ClientID
	}
	if len(p.Audiences) > 0 {
		who["aud"] = p.Audiences
	}
	if list, _ := p.Token.List("scope"); len(list) > 0 {
		who["scopes"] = list
	}
	claims := map[string]any{}
	for _, name := range w.reads.claims[p.Identity.Issuer] {
		if value, ok := p.Token.Value(name); ok {
			claims[name] = value
		}
	}
	if len(claims) > 0 {
		who["claims"] = claims
	}
	if p.Confirmation.Bound {
		who["bound"] = "caller"
		if w.d.Step == authz.StepBound && w.d.Reason == authz.InvalidToken {
			who["bound"] = "another"
		}
	}
	return who
}

// kept are the headers by which a gate judges the request itself.
var kept = []string{"content-type", "content-encoding", "upgrade", ":protocol"}

// secret are headers that are never written, whatever a rule reads.
var secret = []string{"authorization", "proxy-authorization", "cookie", "set-cookie"}

// request writes the request line and what rules read of the rest.
func (w *lineWriter) request() {
	request := map[string]any{"method": w.r.Method, "host": w.r.Host, "path": w.reads.target(w.r.Target)}
	headers := map[string]any{}
	for i := range w.r.Headers.Fields {
		field := &w.r.Headers.Fields[i]
		wanted := slices.Contains(kept, field.Name) || slices.Contains(w.reads.headers, field.Name) || field.Name == "content-length" && field.Value == "0"
		if wanted && !slices.Contains(secret, field.Name) && !slices.Contains(w.reads.keys, field.Name) {
			values, _ := headers[field.Name].([]string)
			headers[field.Name] = append(values, field.Value)
		} else if strings.Contains(field.Name, "_") || w.reads.respelled(field.Name) {
			headers[field.Name] = []string{""} // a second spelling of what is read or set is refused for its name
		}
	}
	w.body(request)
	if len(headers) > 0 {
		request["headers"] = headers
	}
	w.line["request"] = request
}

// body writes the values that the rule reads of it, where it was read.
func (w *lineWriter) body(request map[string]any) {
	var plan *policy.Body
	if w.d.Rule != nil {
		plan = w.d.Rule.Body
	}
	unread := plan != nil && (w.d.Step < authz.StepBody || w.d.Step == authz.StepBody && w.d.Verdict != authz.Allow)
	switch {
	case plan == nil || unread || w.d.Rule.Whole(): // all of a body is more than a record may hold
	case plan.JSON != nil:
		if reduced, ok := reduceJSON(w.r.Body.Data, plan.References); ok {
			request["json"] = reduced
			return
		}
	case plan.Form != nil:
		request["body"] = reduceForm(string(w.r.Body.Data), plan.References)
		return
	}
	w.lacks = append(w.lacks, "body")
}

// lookup writes what the rule's lookup said, as far as the decision shows it.
func (w *lineWriter) lookup() {
	d := w.d
	if d.Rule == nil || d.Rule.Owner == nil || d.Rule.Owner.Lookup == nil || d.Rule.Owner.Lookup.Static != nil || d.Step < authz.StepOwner || d.Principal == nil {
		return
	}
	owner := d.Rule.Owner
	subject, _ := d.Principal.Token.Text(owner.Is)
	objects := map[string]any{}
	answer := func(standing any) any {
		if owner.Relation != "" {
			return map[string]any{owner.Relation: standing}
		}
		return standing
	}
	theirs := answer([]string{subject})
	switch {
	case d.Reason == authz.LookupFailed && d.Detail == authz.DetailAnswer:
		objects[anyObject] = "unreadable"
	case d.Reason == authz.LookupFailed:
		objects[anyObject] = "unavailable"
	case d.Reason == authz.Owner && (d.Detail == authz.DetailNotTheirs || d.Detail == authz.DetailNotThere):
		if d.Objects > 1 {
			objects[anyObject] = theirs // those before it were
		}
		objects[d.Object] = answer(strings.ReplaceAll(d.Detail, "_", " "))
	case d.Verdict != authz.Allow && d.Step == authz.StepOwner, lifted(d): // nobody was asked
		return
	case d.Objects == 1:
		objects[d.Object] = theirs
	default:
		objects[anyObject] = theirs
	}
	w.line["lookups"] = map[string]any{owner.Lookup.Name: objects}
}

// lifted reports whether the demand was lifted, so that the lookup was not asked.
func lifted(d *authz.Decision) bool {
	owner := d.Rule.Owner
	if roles, _ := d.Principal.Token.List("roles"); owner.UnlessRole != "" && slices.Contains(roles, owner.UnlessRole) {
		return true
	}
	if owner.Unless == nil {
		return false
	}
	yes, err := owner.Unless.Eval(d.Principal.Token, d.Caller)
	return err == nil && yes
}

func (w *lineWriter) expect() {
	expect := map[string]any{"decision": w.d.Verdict.String(), "reason": w.d.Reason.String(), "rule": w.d.RuleName(), "service": w.d.ServiceName()}
	if w.d.Detail != "" {
		expect["detail"] = w.d.Detail
	}
	w.line["expect"] = expect
}

// visible escapes what does not show, which no reader of cases takes as it is.
func visible(line []byte) []byte {
	var text strings.Builder
	for _, r := range string(line) {
		if r >= 0x7f && (unicode.Is(unicode.Cf, r) || unicode.IsControl(r) || r == 0x2028 || r == 0x2029) {
			if r > 0xffff {
				r = unicode.ReplacementChar
			}
			fmt.Fprintf(&text, `\u%04x`, r)
			continue
		}
		text.WriteRune(r)
	}
	return []byte(text.String())
}
