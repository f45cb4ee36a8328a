package authz

import (
	"errors"
	"slices"

	"github.com/sallyport-dev/sallyport/authz/condition"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// holdCondition evaluates the rule's condition, unless it reads the object: that waits until the object is known.
func (c *check) holdCondition() Reason {
	if program := c.d.Rule.Condition; program != nil && !program.ReadsObject() {
		return c.conditionHolds(program)
	}
	return proceed
}

// holdObjectCondition evaluates a condition that reads the object.
func (c *check) holdObjectCondition() Reason {
	if program := c.d.Rule.Condition; program != nil && program.ReadsObject() {
		return c.conditionHolds(program)
	}
	return proceed
}

// conditionHolds evaluates a condition. One that cannot be evaluated does not hold.
func (c *check) conditionHolds(program *condition.Program) Reason {
	in := condition.Input{Caller: c.d.Caller, Method: c.target.Method, Host: c.target.Host, Path: c.target.Path}
	if c.d.Principal != nil {
		in.Token = c.d.Principal.Token
	}
	if program.ReadsObject() && len(c.ids) == 1 {
		in.Object = c.ids[0]
	}
	reads := c.d.Rule.ConditionReads
	in.Values = c.conditionValues[:0]
	for i := range reads {
		in.Values = append(in.Values, c.conditionValue(&reads[i]))
	}
	holds, err := program.Decide(&in)
	switch {
	case err != nil:
		return c.because(Condition, DetailError)
	case !holds:
		return Condition
	}
	return proceed
}

func (c *check) conditionValue(ref *policy.Reference) condition.Value {
	var buffer [1]string
	values, detail := c.plainValues(ref, buffer[:0])
	switch {
	case detail == DetailMissing:
		return condition.Value{State: condition.Absent}
	case detail != "":
		return condition.Value{}
	}
	return condition.Value{Text: values[0], State: condition.Set}
}

// holdTenants keeps a request within its caller's tenant.
func (c *check) holdTenants() Reason {
	tenants := c.d.Rule.Tenants
	for i := range tenants {
		tenant := &tenants[i]
		var buffer [1]string
		values, reason := c.object(&tenant.Of, false, buffer[:0])
		if reason != proceed {
			return reason
		}
		mine, ok := c.d.Principal.Token.Text(tenant.Is)
		if !ok || mine == "" || len(values) != 1 || values[0] != mine {
			return c.because(Owner, DetailTenant)
		}
		if i == 0 {
			c.tenant = mine
		}
	}
	return proceed
}

// holdAgreement refuses ids that should be one and are not: whichever we judged, the upstream could take another.
func (c *check) holdAgreement() Reason {
	refs := c.d.Rule.Agrees
	first := ""
	for i := range refs {
		var buffer [4]string
		values, reason := c.values(&refs[i], policy.TypeAny, false, buffer[:0])
		if reason != proceed {
			return reason
		}
		for _, value := range values {
			if first == "" {
				first = value
			}
			if value != first || value == "" {
				return c.because(Owner, DetailDisagree)
			}
		}
	}
	return proceed
}

// holdOwner demands that every object is the caller's.
func (c *check) holdOwner() Reason {
	owner := c.d.Rule.Owner
	if owner == nil || len(c.ids) == 0 { // readObjects lets none pass only where a rule takes an empty list
		return proceed
	}
	token := c.d.Principal.Token
	mine, _ := token.Text(owner.Is)
	if owner.Lookup == nil {
		if c.equalsAll(mine) || c.lifted(owner) {
			c.d.Detail = ""
			return proceed
		}
		if c.d.Object == "" {
			return c.because(Owner, DetailEmpty)
		}
		return c.because(Owner, DetailNotTheirs)
	}
	switch {
	case c.lifted(owner):
		return proceed
	case mine == "":
		return c.because(Owner, DetailNotTheirs)
	}
	return c.ask(owner, mine)
}

// equalsAll holds each id to the caller's own name: bytes equal bytes, and nothing equals nothing.
func (c *check) equalsAll(mine string) bool {
	for _, id := range c.ids {
		if mine == "" || id != mine {
			c.d.Object = id
			return false
		}
	}
	return true
}

// lifted reports whether the caller is excepted from the demand. An expression that fails to evaluate lifts nothing.
func (c *check) lifted(owner *policy.Owner) bool {
	token := c.d.Principal.Token
	if owner.UnlessRole != "" {
		if roles, ok := token.List("roles"); ok && slices.Contains(roles, owner.UnlessRole) {
			return true
		}
	}
	if owner.Unless != nil {
		lifted, err := owner.Unless.Eval(token, c.d.Caller)
		return err == nil && lifted
	}
	return false
}

// ask asks the lookup how the caller stands to every object, in one question.
func (c *check) ask(owner *policy.Owner, mine string) Reason {
	lookup := c.bundle.Lookups[owner.Lookup.Name]
	if lookup == nil {
		return c.because(LookupFailed, DetailUnavailable)
	}
	if slices.Contains(c.ids, "") {
		c.d.Object = ""
		return c.because(Owner, DetailEmpty) // nothing has no owner, and a key without its id is another key
	}
	if len(c.ids) > 1 {
		c.ids = slices.Clone(c.ids)
		slices.Sort(c.ids)
		c.ids = slices.Compact(c.ids)
	}
	c.question = Question{
		Tenant: c.tenant, Issuer: c.d.Principal.Identity.Issuer, Kind: c.d.Principal.Identity.Kind, Subject: mine, Relation: owner.Relation, Objects: c.ids,
	}
	answers := c.standings[:]
	if len(c.ids) > len(answers) {
		answers = make([]Standing, len(c.ids))
	}
	answers = answers[:len(c.ids)]
	if err := lookup.Ask(c.ctx, &c.question, answers); err != nil {
		c.d.Err = err
		if errors.Is(err, ErrLookupAnswer) {
			return c.because(LookupFailed, DetailAnswer)
		}
		return c.because(LookupFailed, DetailUnavailable)
	}
	for i, standing := range answers {
		switch standing {
		case Theirs:
			continue
		case NotTheirs:
			c.d.Detail = DetailNotTheirs
		case NotThere:
			c.d.Detail = DetailNotThere
		default:
			c.d.Object = c.ids[i]
			return c.because(LookupFailed, DetailAnswer)
		}
		c.d.Object = c.ids[i]
		return Owner
	}
	return proceed
}
