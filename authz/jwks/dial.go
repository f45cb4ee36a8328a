package jwks

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// inner are the addresses that a name on the internet has no business resolving to: a key set's address that leads there is a mistake
// or an attack on what stands behind it (a cloud's metadata service, a neighbour's admin port). Sources: the IANA special-purpose
// registries (RFC 6890). The ranges that carry an IPv4 address inside IPv6 are here whole.
var inner = func() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24",
		"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10",
		"fec0::/10", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}()

// guard decides which addresses one attempt may connect to.
type guard struct {
	// loopback: the policy's own URL names this machine literally, so this machine is all that may be reached.
	loopback bool
	// networks are the inner ranges that the policy names.
	networks []netip.Prefix
	// resolver turns names into addresses; nil is the system's.
	resolver *net.Resolver
}

// dialer connects to what the guard admits. The check sits between resolving and connecting, on the very address that is connected
// to, so a name that resolves differently the second time (DNS rebinding) gains nothing.
func (g guard) dialer() *net.Dialer {
	return &net.Dialer{Resolver: g.resolver, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		return g.admit(address)
	}}
}

func (g guard) admit(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("refused to connect to %q: not an address", address)
	}
	ip := to.Addr().Unmap().WithZone("")
	holds := func(p netip.Prefix) bool { return p.Contains(ip) }
	switch {
	case ip.IsLoopback() && g.loopback:
		return nil
	case ip.IsLoopback():
		return fmt.Errorf("refused to connect to %s: that is this machine, which a key set's URL must name literally", ip)
	case g.loopback:
		return fmt.Errorf("refused to connect to %s: the URL names this machine, and that address is another", ip)
	case slices.ContainsFunc(inner, holds) && !slices.ContainsFunc(g.networks, holds):
		return fmt.Errorf("refused to connect to %s: a private address; where the issuer lives there on purpose, name its range in `jwks: {url: ..., networks: [...]}`", ip)
	}
	return nil
}

// isLoopback reports whether a URL's host names this machine literally. A name that merely resolves to it does not.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
