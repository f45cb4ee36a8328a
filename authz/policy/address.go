package policy

import (
	"net/netip"
	"strings"
)

// TrustedProxies may speak X-Forwarded-For: a peer in one of the networks, or with one of the identities. The zero value trusts
// nobody.
type TrustedProxies struct {
	Networks []netip.Prefix
	Callers  []CallerPattern
}

// JudgeAddress says which address a request is held to: the peer's own, or, behind a trusted peer, the first entry of
// X-Forwarded-For from the right that is not trusted itself. Behind only trusted entries it is the leftmost. An entry that is no
// address gives the invalid Addr, which satisfies nothing: a forger must not be able to hide behind a spelling.
func (t TrustedProxies) JudgeAddress(peer, caller string, forwardedFor []string) netip.Addr {
	judged := parseAddress(peer)
	if !t.trusts(judged) && (caller == "" || !anyMatches(t.Callers, caller)) {
		return judged
	}
	for i := len(forwardedFor) - 1; i >= 0; i-- {
		for rest, more := forwardedFor[i], true; more; {
			var entry string
			cut := strings.LastIndexByte(rest, ',')
			if more = cut >= 0; more {
				rest, entry = rest[:cut], rest[cut+1:]
			} else {
				entry = rest
			}
			judged = parseAddress(strings.Trim(entry, " \t"))
			if !t.trusts(judged) {
				return judged
			}
		}
	}
	return judged
}

func (t TrustedProxies) trusts(address netip.Addr) bool {
	if !address.IsValid() {
		return false
	}
	for _, network := range t.Networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// parseAddress reads one address, with one port after an IPv4 address or a bracketed IPv6 address cut. A 4-in-6 address is its
// IPv4 address; a zone belongs to another host's links and is refused.
func parseAddress(text string) netip.Addr {
	address, err := netip.ParseAddr(text)
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return bracketed(text)
		}
		address = withPort.Addr()
	}
	if address.Zone() != "" {
		return netip.Addr{}
	}
	return address.Unmap()
}

func bracketed(text string) netip.Addr {
	inner, ok := strings.CutPrefix(text, "[")
	if !ok {
		return netip.Addr{}
	}
	if inner, ok = strings.CutSuffix(inner, "]"); !ok {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(inner)
	if err != nil || !address.Is6() || address.Zone() != "" {
		return netip.Addr{}
	}
	return address.Unmap()
}

// LimitGroup is the text of an address as a limit counts it: an IPv4 address alone, an IPv6 address by its /64, since one
// subscriber holds that many. An invalid address is "unknown".
func LimitGroup(address netip.Addr) string {
	switch {
	case !address.IsValid():
		return "unknown"
	case address.Is4():
		return address.String()
	}
	network, err := address.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return network.String()
}
