package offline

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// Coverage is what the cases of a test made of a policy: which rules were asked, and which of their demands ever refused anybody.
type Coverage struct {
	rules   []*seen
	reasons map[authz.Reason]bool
}

// seen is what became of one rule.
type seen struct {
	service, rule    string
	refuses          bool // the rule refuses everybody
	matched, allowed bool
	demands, failed  map[string]bool // by step
}

// NewCoverage begins with nothing covered.
func NewCoverage(p *policy.Policy) *Coverage {
	c := &Coverage{reasons: map[authz.Reason]bool{}}
	for _, service := range p.Services {
		for _, rule := range service.Rules {
			c.rules = append(c.rules, &seen{
				service: service.Name, rule: rule.Name, refuses: rule.Credential == policy.CredentialDeny, demands: map[string]bool{}, failed: map[string]bool{},
			})
		}
	}
	return c
}

// demanded are the steps that a rule may ask something of. Whether a token was taken back is not the rule's to say.
var demanded = []authz.Step{
	authz.StepCaller, authz.StepAddress, authz.StepToken, authz.StepBound, authz.StepClient, authz.StepScopes, authz.StepRoles, authz.StepCondition, authz.StepSignature, authz.StepBody, authz.StepOwner,
}

// Add counts one decision.
func (c *Coverage) Add(r *Result) {
	d := r.Ruled()
	c.reasons[d.Reason] = true
	if d.Rule == nil || d.Service == nil {
		return
	}
	at := slices.IndexFunc(c.rules, func(s *seen) bool { return s.service == d.Rule.Service.Name && s.rule == d.Rule.Name })
	if at < 0 {
		return
	}
	rule := c.rules[at]
	rule.matched = true
	rule.allowed = rule.allowed || d.Verdict == authz.Allow
	told := authz.Explain(d, r.Request)
	for _, step := range told.Steps {
		asked := slices.ContainsFunc(demanded, func(s authz.Step) bool { return s.String() == step.Step })
		if !asked || step.Demand == "" || step.Outcome == authz.NotAsked {
			continue
		}
		rule.demands[step.Step] = true
		if step.Outcome == authz.Failed {
			rule.failed[step.Step] = true
		}
	}
}

// Percent is how many of a hundred rules were matched; 100 of a policy without rules.
func (c *Coverage) Percent() float64 {
	if len(c.rules) == 0 {
		return 100
	}
	matched := 0
	for _, rule := range c.rules {
		if rule.matched {
			matched++
		}
	}
	return 100 * float64(matched) / float64(len(c.rules))
}

// foreign are the reasons that no described request can bring about.
var foreign = []authz.Reason{
	authz.Undecided, authz.NotHTTP, authz.KeysUnavailable, authz.Deadline, authz.Cancelled, authz.Panicked, authz.AuditUnavailable, authz.NotReady, authz.Shadow,
}

// Print tells what was not covered.
func (c *Coverage) Print(w io.Writer) {
	var unmatched, unallowed, unfailed, unseen []string
	for _, rule := range c.rules {
		name := rule.service + "/" + rule.rule
		switch {
		case !rule.matched:
			unmatched = append(unmatched, name)
			continue
		case !rule.allowed && !rule.refuses:
			unallowed = append(unallowed, name)
		}
		for _, step := range demanded {
			if rule.demands[step.String()] && !rule.failed[step.String()] {
				unfailed = append(unfailed, name+": "+step.String())
			}
		}
	}
	for _, reason := range authz.Reasons() {
		if !c.reasons[reason] && !slices.Contains(foreign, reason) {
			unseen = append(unseen, reason.String())
		}
	}
	fmt.Fprintf(w, "coverage: %.0f%% of %d rules were matched\n", c.Percent(), len(c.rules))
	list(w, "rules that no case matched", unmatched)
	list(w, "rules that no case was allowed by", unallowed)
	list(w, "demands that refused nobody", unfailed)
	if len(unseen) > 0 {
		fmt.Fprintf(w, "  reasons that no case had: %s\n", strings.Join(unseen, ", "))
	}
}

func list(w io.Writer, title string, names []string) {
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "  %s:\n", title)
	for _, name := range names {
		fmt.Fprintf(w, "    %s\n", name)
	}
}
