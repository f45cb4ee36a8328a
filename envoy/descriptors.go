package envoy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// unlimited lists the descriptors of the compiled configuration that no limit waits for: one of each kind that the reference files' filters
// can send with this policy behind them.
func (c *compilation) unlimited(table *limits.Table) []string {
	var found []string
	look := func(domain string, entries ...limits.Entry) {
		if table.Match(domain, entries).Rule != nil {
			return
		}
		if text := domain + ": " + show(entries); !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	if c.For == "edge" {
		for _, address := range []string{"192.0.2.1/32", "2001:db8::/64"} {
			look("edge", limits.Entry{Key: "masked_remote_address", Value: address})
		}
	}
	everybody := c.everybody()
	for _, who := range everybody {
		look("mesh", limits.Entry{Key: "who", Value: who})
	}
	for _, place := range c.places() {
		service, rule := limits.Entry{Key: "service", Value: place[0]}, limits.Entry{Key: "rule", Value: place[1]}
		look("mesh", service, rule)
		for _, who := range everybody {
			look("mesh", service, rule, limits.Entry{Key: "who", Value: who})
		}
	}
	return found
}

func show(entries []limits.Entry) string {
	var out strings.Builder
	for _, entry := range entries {
		fmt.Fprintf(&out, "(%s=%s)", entry.Key, entry.Value)
	}
	return out.String()
}

// everybody is one of each kind that the gate can name with this policy, and what Envoy sends when nobody was named.
func (c *compilation) everybody() []string {
	whoever := []string{"unknown", "ip|unknown", "ip|192.0.2.1", "ip|2001:db8::/64"}
	add := func(who string) {
		if !slices.Contains(whoever, who) {
			whoever = append(whoever, who)
		}
	}
	for _, service := range c.services {
		for _, rule := range service.Rules {
			for _, branch := range rule.Branches() {
				if branch.Issuer != nil {
					add("user|" + branch.Issuer.Name + "|alice")
					add("client|" + branch.Issuer.Name + "|batch")
				}
				if branch.DemandsCaller() {
					for _, caller := range slices.Concat(branch.Callers, service.Callers) {
						add("workload|" + strings.ReplaceAll(caller.String(), "*", "any"))
					}
				}
			}
		}
	}
	return whoever
}

// places are the services and rules that an allow can name. A probe names its service, or none at an edge that does not know it.
func (c *compilation) places() [][2]string {
	places := [][2]string{{"unknown", "unknown"}}
	if c.For == "edge" && len(c.policy.Probes) > 0 {
		places = append(places, [2]string{"none", "probe"})
	}
	for _, service := range c.services {
		if len(service.Probes)+len(c.policy.Probes) > 0 {
			places = append(places, [2]string{service.Name, "probe"})
		}
		for _, rule := range service.Rules {
			if rule.Credential != policy.CredentialDeny {
				places = append(places, [2]string{service.Name, rule.Name})
			}
		}
		if service.Shadow != nil && service.Shadow.Allow {
			places = append(places, [2]string{service.Name, "none"})
		}
	}
	return places
}
