package offline

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Diff replays recorded requests under two policies and gathers what changes. It is for one goroutine.
type Diff struct {
	old, next *Room
	reads     map[*policy.Service]*Reads // of the old policy, from which the recording is

	// Lines is how many requests were replayed.
	Lines int
	// Otherwise is how many the old policy decides in another way than was recorded: it is not the recorded one, or a lookup written in it
	// has changed since.
	Otherwise int
	changes   []*Change
	untold    []*Untold
}

// Kind says how a decision changes. The worst is first.
type Kind uint8

const (
	// Opens is a denial that becomes an allow.
	Opens Kind = iota
	// Closes is an allow that becomes a denial.
	Closes
	// Differs is an allow or a denial that remains one, by another rule or for another reason.
	Differs
)

var kindNames = [...]string{"denied before, ALLOWED now", "allowed before, denied now", "the same answer, by another rule or for another reason"}

// String is the title of the group.
func (k Kind) String() string { return kindNames[k] }

// Change is one kind of change: the decisions before and after, and how many requests have it.
type Change struct {
	Kind     Kind
	Old, New string
	Count    int
	// Line is the first of them, and Request its request line.
	Line    int
	Request string
}

// Untold are requests that cannot be told under the new policy or the old.
type Untold struct {
	Why         string
	Count, Line int
}

// NewDiff begins with nothing replayed.
func NewDiff(old, next *policy.Policy) *Diff {
	return &Diff{old: NewRoom(old), next: NewRoom(next), reads: map[*policy.Service]*Reads{}}
}

// Add replays one recorded request, which stands in a line. An error says that it is no request.
func (d *Diff) Add(ctx context.Context, c *Case, line int) error {
	d.Lines++
	before, err := d.old.Decide(ctx, c)
	if err != nil {
		return err
	}
	after, err := d.next.Decide(ctx, d.admitting(c))
	if err != nil {
		return err
	}
	why := before.Untold
	if why == "" {
		why = after.Untold
	}
	if why == "" {
		why = d.unrecorded(before, after)
	}
	if why == "" && before.strays() {
		d.Otherwise++
		why = "the old policy decides it otherwise than was recorded"
	}
	if why == "" {
		why = d.unknowable(c, before, after)
	}
	if why != "" {
		d.addUntold(why, line)
		return nil
	}
	if len(before.Misses()) > 0 {
		d.Otherwise++
	}
	d.compare(before, after, line)
	return nil
}

// admitting is the case as the new policy can be asked about it: a token is its issuer's by `iss`, whatever either policy calls it, and
// nobody's where the new one does not have that issuer.
func (d *Diff) admitting(c *Case) *Case {
	if !c.Who.Named || c.Who.Raw != nil {
		return c
	}
	old, err := d.old.issuer(c.Who.Issuer)
	if err != nil {
		return c
	}
	other := *c
	if next := d.next.issuerOf(old.Issuer); next != nil {
		other.Who.Issuer = next.Name
	} else {
		other.Who = Who{Named: true, Raw: map[string]any{"iss": "urn:sallyport:no-such-issuer"}, Refused: authz.DetailIssuer}
	}
	return &other
}

// signedOtherwise reports whether a rule demands another signature of a webhook than the one by which it was recorded.
func signedOtherwise(old, next *policy.Rule) bool {
	if next.SignedBy == nil {
		return false
	}
	if old == nil || old.SignedBy == nil {
		return true
	}
	a, b := *old.SignedBy, *next.SignedBy
	a.Keys, b.Keys = policy.WebhookKeys{Name: a.Keys.Name}, policy.WebhookKeys{Name: b.Keys.Name}
	return !reflect.DeepEqual(a, b)
}

// unrecorded says what the new policy's rule reads that the old policy's do not, so that nobody recorded it; "" if nothing is.
func (d *Diff) unrecorded(before, after *Result) string {
	ruled := after.Ruled()
	if ruled.Rule != nil && ruled.Rule.DemandsCaller() && ruled.Step >= authz.StepCaller && d.old.Policy.Peers == policy.PeersNobody && after.Case.Caller == "" {
		return "the new policy reads callers, which were not recorded"
	}
	if ruled.Rule != nil && ruled.Step >= authz.StepSignature && signedOtherwise(before.Ruled().Rule, ruled.Rule) {
		return "the new policy demands another signature, which was not recorded"
	}
	if ruled.Rule == nil || ruled.Step < authz.StepRoles {
		return ""
	}
	if why := unrecordedShape(before.Ruled().Rule, ruled); why != "" {
		return why
	}
	service := before.Ruled().Service
	known := d.reads[service]
	if known == nil {
		known = ReadsOf(service)
		d.reads[service] = known
	}
	wants := &Reads{claims: map[string][]string{}}
	wants.rule(ruled.Rule)
	if p := ruled.Principal; p != nil {
		for _, claim := range wants.claims[p.Identity.Issuer] {
			if _, held := after.Case.Who.Claims[claim]; !held && !(slices.Contains(known.claims[p.Identity.Issuer], claim) && d.old.declares(p.Identity.Issuer, claim)) &&
				(claim != "roles" || readsRoles(ruled.Rule)) {
				return "the new policy reads token." + claim + ", which was not recorded"
			}
		}
	}
	if ruled.Step < authz.StepParams {
		return ""
	}
	for _, place := range wants.body {
		if !slices.Contains(known.body, place) {
			return "the new policy reads " + place + ", which was not recorded"
		}
	}
	for _, name := range wants.query {
		if !slices.Contains(known.query, name) {
			return "the new policy reads query." + name + ", which was not recorded"
		}
	}
	for _, name := range wants.headers {
		if _, held := after.Request.Headers.One(name); held == 0 && !slices.Contains(known.headers, name) {
			return "the new policy reads header." + name + ", which was not recorded"
		}
	}
	return ""
}

// unrecordedShape says what the new rule demands of the whole of something of which only parts were recorded.
func unrecordedShape(old *policy.Rule, after *authz.Decision) string {
	switch {
	case after.Step >= authz.StepParams && after.Rule.ClosedQuery && (old == nil || !old.ClosedQuery):
		return "the new policy looks at every query parameter, of which some were not recorded"
	case after.Step >= authz.StepBody && after.Rule.Whole():
		return "the new policy reads the whole body, which was not recorded"
	}
	return ""
}

// declares reports whether a policy can read a claim of an issuer's tokens.
func (r *Room) declares(issuer, claim string) bool {
	known := r.Policy.Issuers[issuer]
	return known != nil && slices.ContainsFunc(known.Claims, func(c policy.Claim) bool { return c.Name == claim })
}

// readsRoles reports whether a rule's answer may depend on the token's roles.
func readsRoles(rule *policy.Rule) bool {
	owner := rule.Owner
	return len(rule.Roles)+len(rule.AnyRole) > 0 || owner != nil && (owner.UnlessRole != "" || slices.Contains(reads(owner.Unless), "roles")) ||
		slices.Contains(reads(rule.Condition), "roles")
}

func (d *Diff) addUntold(why string, line int) {
	at := slices.IndexFunc(d.untold, func(u *Untold) bool { return u.Why == why })
	if at < 0 && len(d.untold) < maxUntold {
		d.untold = append(d.untold, &Untold{Why: why, Line: line})
		at = len(d.untold) - 1
	}
	if at < 0 {
		at = len(d.untold) - 1
		d.untold[at].Why = "and others"
	}
	d.untold[at].Count++
}

// maxUntold is how many causes are told apart: some name an id, and there are many.
const maxUntold = 20

func (d *Diff) compare(before, after *Result, line int) {
	a, b := before.Ruled(), after.Ruled()
	c := &Change{Kind: Differs, Old: inWords(a), New: inWords(b), Line: line}
	switch {
	case a.Verdict != authz.Allow && b.Verdict == authz.Allow:
		c.Kind = Opens
	case a.Verdict == authz.Allow && b.Verdict != authz.Allow:
		c.Kind = Closes
	case b.Verdict != authz.Allow && after.Decision.Verdict == authz.Allow && before.Decision.Verdict != authz.Allow:
		c.Kind, c.New = Opens, inWords(after.Decision) // a trial that the new policy begins lets it through
	case c.Old == c.New:
		return
	}
	at := slices.IndexFunc(d.changes, func(o *Change) bool { return o.Kind == c.Kind && o.Old == c.Old && o.New == c.New })
	if at < 0 {
		told := after.Explain()
		c.Request = told.Method + " " + told.Host + told.Path
		d.changes = append(d.changes, c)
		at = len(d.changes) - 1
	}
	d.changes[at].Count++
}

// inWords is a decision as it is compared: the answer, what it was for, and the rule.
func inWords(d *authz.Decision) string {
	text := strconv.Itoa(d.Status()) + " " + d.Reason.String()
	if d.Detail != "" && d.Reason != authz.BadTarget {
		text += " (" + d.Detail + ")"
	}
	return text + " by " + d.ServiceName() + "/" + d.RuleName()
}

// Count is how many requests change in one way.
func (d *Diff) Count(kind Kind) int {
	count := 0
	for _, c := range d.changes {
		if c.Kind == kind {
			count += c.Count
		}
	}
	return count
}

// Untold is how many requests could not be told.
func (d *Diff) Untold() int {
	count := 0
	for _, u := range d.untold {
		count += u.Count
	}
	return count
}

// Changes are the changes, the worst first, and of one kind the most frequent first.
func (d *Diff) Changes() []*Change {
	slices.SortStableFunc(d.changes, func(a, b *Change) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(b.Count, a.Count), cmp.Compare(a.Line, b.Line))
	})
	return d.changes
}

// Print tells what changes.
func (d *Diff) Print(w io.Writer, file string) {
	kind := Kind(len(kindNames))
	for _, c := range d.Changes() {
		if c.Kind != kind {
			kind = c.Kind
			fmt.Fprintf(w, "%s: %d\n", kind, d.Count(kind))
		}
		fmt.Fprintf(w, "  %6d  %s  ->  %s\n          %s:%d  %s\n", c.Count, c.Old, c.New, file, c.Line, printable(c.Request))
	}
	if d.Untold() > 0 {
		fmt.Fprintf(w, "cannot be told: %d\n", d.Untold())
		for _, u := range d.untold {
			fmt.Fprintf(w, "  %6d  %s\n          %s:%d\n", u.Count, printable(u.Why), file, u.Line)
		}
	}
	if d.Otherwise > 0 {
		fmt.Fprintf(w, "note: the old policy decides %d of them otherwise than was recorded: is it the one that was in force?\n", d.Otherwise)
	}
	fmt.Fprintf(w, "%d requests: %d newly allowed, %d newly denied, %d otherwise different, %d cannot be told\n",
		d.Lines, d.Count(Opens), d.Count(Closes), d.Count(Differs), d.Untold())
}

// printable keeps a client's bytes from moving the terminal that shows them.
func printable(text string) string { return string(visible([]byte(text))) }
