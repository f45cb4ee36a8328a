package target

import (
	"net/netip"
	"strings"
)

// ParseHost folds a Host or :authority value to the form that services are named by: ASCII lower case, one ":port" and one
// final dot cut. What remains is [a-z0-9._-]+, without another final dot, or an IPv6 address in brackets; all else is an *Error, two hosts in one value
// ("a,b", which Envoy passes on) and a user before an '@' included. It allocates only to fold upper case.
func ParseHost(host string) (string, error) {
	folded, why := foldHost(host)
	if why != "" {
		return "", refuse("host", why)
	}
	return folded, nil
}

func foldHost(host string) (folded, why string) {
	host, why = cutPort(host)
	if why != "" {
		return "", why
	}
	host = strings.TrimSuffix(host, ".")
	switch {
	case host == "":
		return "", "is empty"
	case host[len(host)-1] == '.':
		return "", "ends in two dots"
	}
	if host[0] == '[' {
		return foldAddress(host)
	}
	upper := false
	for i := range len(host) {
		c := host[i]
		if !is(c, hostByte) {
			return "", "holds a byte outside letters, digits, '.', '-' and '_'"
		}
		upper = upper || isUpper(c)
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, ""
}

// cutPort cuts one ":port" of one to five digits. A colon inside brackets belongs to the address.
func cutPort(host string) (rest, why string) {
	colon := strings.LastIndexByte(host, ':')
	if colon < 0 || colon < strings.LastIndexByte(host, ']') {
		return host, ""
	}
	port := host[colon+1:]
	if len(port) == 0 || len(port) > 5 {
		return "", "has a malformed port"
	}
	n := 0
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", "has a malformed port"
		}
		n = n*10 + int(port[i]-'0')
	}
	if n > 65535 {
		return "", "has a malformed port"
	}
	return host[:colon], ""
}

// foldAddress accepts a bracketed IPv6 address without a zone: a zone means something only on the machine that wrote it.
func foldAddress(host string) (folded, why string) {
	const malformed = "is not an IPv6 address in brackets"
	inner, ok := strings.CutSuffix(host[1:], "]")
	if !ok {
		return "", malformed
	}
	address, err := netip.ParseAddr(inner)
	if err != nil || !address.Is6() || address.Zone() != "" {
		return "", malformed
	}
	return strings.ToLower(host), ""
}
