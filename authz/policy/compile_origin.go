package policy

import (
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// origin reads where requests may come from: `from` and `not_from` of a service or a rule.
func (c *compiler) origin(src *source, m *strictyaml.Mapping) Origin {
	o := Origin{From: c.networks(src, m.Get("from")), NotFrom: c.networks(src, m.Get("not_from"))}
	if o.From != nil && o.NotFrom != nil && admitsNobody(o) {
		src.ErrorAt(m.Pos("not_from"), "except less, or remove the rule", "nobody can pass: `not_from` takes all of `from`")
	}
	return o
}

// networks reads a list of networks, or the name of a file that holds one.
func (c *compiler) networks(src *source, n *strictyaml.Node) *Networks {
	var found *Networks
	switch {
	case n == nil:
		return nil
	case n.Kind() == strictyaml.Map:
		found = c.networksFile(src, n)
	default:
		found = networkList(src, n)
	}
	if found != nil {
		c.halfOfEverywhere(src, n, found)
	}
	return found
}

// networkList reads networks that stand in the policy itself.
func networkList(src *source, n *strictyaml.Node) *Networks {
	items := src.List(n)
	if n.Kind() == strictyaml.List && len(items) == 0 {
		src.Errorf(n, "name a network, or leave the key out", "the list is empty")
	}
	var all []netip.Prefix
	for _, item := range items {
		text, ok := src.Text(item)
		if !ok {
			continue
		}
		network, wrong, hint := readNetwork(text)
		switch {
		case wrong != "":
			src.Errorf(item, hint, "%s", wrong)
		case slices.Contains(all, network):
			src.Errorf(item, "remove one", "%s stands here twice", network)
		default:
			all = append(all, network)
		}
	}
	if len(all) < len(items) || len(items) == 0 {
		return nil // which was complained about
	}
	return newNetworks(all, "")
}

// networksFile finds the list that stands in a file beside the policy.
func (c *compiler) networksFile(src *source, n *strictyaml.Node) *Networks {
	m := src.Map(n, "file")
	node := src.Require(m, "file", "write {file: partners"+NetworksSuffix+"}, or a list")
	name, ok := src.Text(node)
	if !ok {
		return nil
	}
	if blob := c.blobs[name]; blob != nil && blob.networks != nil {
		return newNetworks(blob.networks, path.Base(filepathSlash(blob.name)))
	}
	hint := "put it beside the policy files"
	if !strings.HasSuffix(name, NetworksSuffix) || strings.ContainsAny(name, `/\`) {
		hint = "write the name of a file beside the policy files, which ends in " + NetworksSuffix
	}
	src.Errorf(node, hint, "there is no list of networks `%s` beside this file", name)
	return nil
}

// halfOfEverywhere warns of everything in one of the two address families alone: a client that has both chooses.
func (c *compiler) halfOfEverywhere(src *source, n *strictyaml.Node, list *Networks) {
	four, six := list.table.Get(anyIPv4), list.table.Get(anyIPv6)
	switch {
	case four && !six:
		c.warn(src, n.Pos(), "write ::/0 beside it, if it is meant to be everything", "0.0.0.0/0 is every IPv4 address and no IPv6 address")
	case six && !four:
		c.warn(src, n.Pos(), "write 0.0.0.0/0 beside it, if it is meant to be everything", "::/0 is every IPv6 address and no IPv4 address")
	}
}

// origins gathers what a rule and its service demand of where a request comes from: both hold.
func (c *compiler) origins(r *ruleSource) {
	for _, origin := range [...]Origin{r.service.Origin, c.origin(r.source, r.m)} {
		if origin != (Origin{}) {
			r.rule.Origins = append(r.rule.Origins, origin)
		}
	}
}

// disjointOrigins warns of a rule that demands another address than its service.
func (c *compiler) disjointOrigins(r *ruleSource) {
	if len(r.rule.Origins) < 2 || !admitsNobody(r.rule.Origins...) {
		return
	}
	key := "from"
	if r.m.Get(key) == nil {
		key = "not_from"
	}
	c.warn(r.source, r.m.Pos(key), "both are demanded: let the rule's `"+key+"` leave something of the service's", "nobody can be allowed: no address is left by what the service and the rule demand")
}
