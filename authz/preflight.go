package authz

import (
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/pattern"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// findPreflight looks at a request that no rule covers once more: a browser asks whether a page may call before it does (Fetch Standard,
// "CORS-preflight fetch"), with OPTIONS and without credentials, so that no rule could let it pass. Where Envoy's cors filter stands
// first, it has answered already and nothing of this runs; Istio asks us first. The rule found is that of the method which is asked
// about: without one there is nothing to ask, and a path that nobody serves stays as closed as it was.
func (c *check) findPreflight() Reason {
	wanted, count := c.r.Headers.One("access-control-request-method")
	if c.target.Method != "OPTIONS" || count == 0 {
		return NoRule
	}
	asked := c.target
	asked.Method = wanted
	rule, _, outcome := c.choice.Match(&asked, c.captures[:0])
	switch {
	case outcome == pattern.Ambiguous:
		return AmbiguousPath
	case outcome != pattern.Found || rule.Excepts(&asked) || rule.Credential == policy.CredentialDeny || rule.Service.CORS == nil:
		return NoRule
	}
	if detail := c.misfit(rule.Service.CORS, wanted); detail != "" {
		c.d.Service, c.d.Detail = rule.Service, detail
		return NoRule
	}
	c.d.Service, c.d.Rule, c.preflight = rule.Service, rule, true
	return proceed
}

// misfit says in a word what of a preflight `cors` does not list; "" where it lists everything.
func (c *check) misfit(cors *policy.CORS, method string) string {
	origin, count := c.r.Headers.One("origin")
	switch {
	case count != 1 || !cors.Admits(origin):
		return DetailCORSOrigin
	case !slices.Contains(cors.Methods, method):
		return DetailCORSMethod
	case !c.listsHeaders(cors):
		return DetailCORSHeaders
	case !c.bodyless():
		return DetailCORSForm
	}
	return ""
}

// listsHeaders reports whether every header that the page wants to send is listed. Several fields are one list (RFC 9110 section 5.3).
func (c *check) listsHeaders(cors *policy.CORS) bool {
	for i := range c.r.Headers.Fields {
		field := &c.r.Headers.Fields[i]
		if field.Name != "access-control-request-headers" {
			continue
		}
		for name := range strings.SplitSeq(field.Value, ",") {
			name = strings.Trim(name, " \t")
			if !slices.ContainsFunc(cors.Headers, func(listed string) bool { return strings.EqualFold(listed, name) }) {
				return false
			}
		}
	}
	return true
}

// bodyless reports whether nothing says that a body follows. Envoy takes transfer-encoding away before it asks.
func (c *check) bodyless() bool {
	length, count := c.r.Headers.One("content-length")
	return len(c.r.Body.Data) == 0 && c.r.Body.Size == 0 && (count == 0 || count == 1 && strings.Trim(length, "0") == "")
}

// anyBranchAdmits reports whether the connection could satisfy one of the rule's branches: which of them, only the request that follows
// will say.
func (c *check) anyBranchAdmits() bool {
	branches := c.d.Rule.Either
	return branches == nil || slices.ContainsFunc(branches, func(b *policy.Rule) bool { return b.CallersAdmit(c.d.Caller) })
}

// admitPreflight lets the question pass, with no identity at all. What limits count by is that of a request without a credential.
func (c *check) admitPreflight() Reason {
	if !c.preflight {
		return proceed
	}
	c.d.Remove = c.bundle.Policy.Strip
	rule := c.d.Rule
	for i := range rule.Metadata {
		entry := &rule.Metadata[i]
		value, ok := c.text(entry.Value)
		if !ok || value == "" {
			value = entry.Default
		}
		if value != "" { // without a default there is no value to hand on before anybody has shown a credential
			c.d.Metadata = append(c.d.Metadata, Field{entry.Name, value})
		}
	}
	return Preflight
}
