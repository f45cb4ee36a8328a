package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Networks is a set of IP networks, of which a request's address is in one or in none. However many there are, asking costs the same. It is
// immutable and safe for concurrent use.
type Networks struct {
	// Text is the set as explanations show it: its networks, or, of a long one, their number and the file that holds them.
	Text string

	table bart.Lite
	all   []netip.Prefix // in the order in which they are written
}

// Contains reports whether the address is in one of the networks. The invalid address is in none, and a nil set has none.
func (n *Networks) Contains(address netip.Addr) bool {
	return n != nil && address.IsValid() && n.table.Contains(address)
}

// Origin demands that a request comes from some networks, and from none of others. The zero Origin demands nothing.
type Origin struct {
	// From admits only the addresses in it, NotFrom all but those in it. Nil demands nothing.
	From, NotFrom *Networks
}

// Admits reports whether a request from address may pass. Where anything is demanded, the invalid address, which stands for one that is
// absent or unreadable, may not: a forger must not get around `not_from` by a spelling.
func (o *Origin) Admits(address netip.Addr) bool {
	switch {
	case o.From == nil && o.NotFrom == nil:
		return true
	case !address.IsValid(), o.From != nil && !o.From.Contains(address):
		return false
	}
	return !o.NotFrom.Contains(address)
}

// shownNetworks is how many networks an explanation spells out.
const shownNetworks = 8

// newNetworks makes the set of networks, each of which is in its one form. file is where they stand, "" for the policy itself.
func newNetworks(all []netip.Prefix, file string) *Networks {
	n := &Networks{all: all}
	shown := make([]string, 0, shownNetworks)
	for i, network := range all {
		n.table.Insert(network)
		if i < shownNetworks {
			shown = append(shown, network.String())
		}
	}
	switch n.Text = strings.Join(shown, ", "); {
	case file != "":
		n.Text = file + " (" + strconv.Itoa(len(all)) + " networks)"
	case len(all) > shownNetworks:
		n.Text += " and " + strconv.Itoa(len(all)-shownNetworks) + " more"
	}
	return n
}

// covers reports whether every address of network is in the set, be it in one network of the set or in several together.
func (n *Networks) covers(network netip.Prefix) bool {
	if n == nil {
		return false
	}
	if n.table.LookupPrefix(network) {
		return true // one that holds it whole
	}
	within := false
	for range n.table.Subnets(network) {
		within = true
		break
	}
	if !within || network.IsSingleIP() {
		return false
	}
	low, high := halves(network)
	return n.covers(low) && n.covers(high)
}

// halves are the two networks of one bit more that a network is made of.
func halves(network netip.Prefix) (low, high netip.Prefix) {
	bits := network.Bits() + 1
	bytes := network.Addr().AsSlice()
	bytes[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	address, _ := netip.AddrFromSlice(bytes) // of the length that AsSlice gave
	return netip.PrefixFrom(network.Addr(), bits), netip.PrefixFrom(address, bits)
}

// overlap is what two sets have in common; a nil set is every address.
func (n *Networks) overlap(other *Networks) *Networks {
	switch {
	case n == nil:
		return other
	case other == nil:
		return n
	}
	var common []netip.Prefix
	for _, pair := range [...][2]*Networks{{n, other}, {other, n}} {
		for _, network := range pair[0].all {
			if pair[1].table.LookupPrefix(network) {
				common = append(common, network)
			}
		}
	}
	return newNetworks(common, "")
}

// admitsNobody reports whether some demands together leave no address at all.
func admitsNobody(origins ...Origin) bool {
	var from *Networks
	var not []netip.Prefix
	for _, origin := range origins {
		from = from.overlap(origin.From)
		if origin.NotFrom != nil {
			not = append(not, origin.NotFrom.all...)
		}
	}
	if from == nil {
		from = everywhere
	}
	except := newNetworks(not, "")
	return !slices.ContainsFunc(from.all, func(network netip.Prefix) bool { return !except.covers(network) })
}

var (
	anyIPv4    = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6    = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	everywhere = newNetworks([]netip.Prefix{anyIPv4, anyIPv6}, "")
)

// readNetwork reads one network, or one address, in its one form. Otherwise it says what is wrong, and how to mend it.
func readNetwork(text string) (network netip.Prefix, wrong, hint string) {
	const anyForm = "write 10.0.0.0/8, 2001:db8::/32 or one address"
	network, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return network, fmt.Sprintf("%q is no network and no address", text), anyForm
		case address.Zone() != "":
			return network, fmt.Sprintf("%q has a zone, which means something on one machine only", text), "write the address without what begins with %"
		}
		network = netip.PrefixFrom(address, address.BitLen())
	}
	switch bits := network.Bits(); {
	case network.Addr().Is4In6() && bits >= 96:
		mend := netip.PrefixFrom(network.Addr().Unmap(), bits-96).Masked()
		return network, fmt.Sprintf("%q is an IPv4 network in the clothes of IPv6, and addresses are judged as what they are", text), "write " + mend.String()
	case network.Addr().Is4In6():
		return network, fmt.Sprintf("%q is neither an IPv4 network nor an IPv6 one", text), anyForm
	case network != network.Masked():
		return network, fmt.Sprintf("%q has bits set beyond its /%d", text, bits),
			fmt.Sprintf("write %s for the network, or %s for the one address", network.Masked(), network.Addr())
	}
	return network, "", ""
}

// NetworksSuffix ends the name of a file that is no YAML but a list of networks, which `from` and `not_from` name: one network or address a
// line, # begins a comment.
const NetworksSuffix = ".cidr"

// maxComplaints bounds what is told of one list: more than that is one mistake, made often.
const maxComplaints = 20

// readNetworks reads a file of networks: all of it, or every complaint about it with its place.
func readNetworks(file File) ([]netip.Prefix, strictyaml.Errors) {
	var all []netip.Prefix
	var errs strictyaml.Errors
	places := map[netip.Prefix]int{}
	number := 0
	for line := range strings.SplitSeq(string(file.Data), "\n") {
		number++
		line = strings.TrimSuffix(line, "\r")
		text, _, _ := strings.Cut(line, "#")
		text = strings.Trim(text, " \t")
		if text == "" {
			continue
		}
		network, wrong, hint := readNetwork(text)
		if before := places[network]; wrong == "" && before > 0 {
			wrong, hint = fmt.Sprintf("%s stands in line %d already", network, before), "remove one"
		}
		if wrong != "" {
			at := strictyaml.Pos{Line: number, Column: strings.Index(line, text) + 1}
			errs = append(errs, &strictyaml.Error{File: file.Name, Pos: at, Msg: wrong, Hint: hint, Line: line})
			if len(errs) == maxComplaints {
				return nil, errs
			}
			continue
		}
		places[network] = number
		all = append(all, network)
	}
	if len(all) == 0 && len(errs) == 0 {
		errs = strictyaml.Errors{{File: file.Name, Pos: strictyaml.Pos{Line: 1, Column: 1}, Msg: "the file names no network", Hint: "to demand nothing, remove `from` or `not_from` from the policy: an empty file may be half of one"}}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return all, nil
}
