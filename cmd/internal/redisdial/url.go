package redisdial

import (
	"errors"
	"net"
	"strconv"
	"strings"
)

// target is what a URL says.
type target struct {
	network string // tcp or unix
	addrs   []string
	master  string // the name that sentinels know
	cluster bool   // addrs are some nodes of a cluster; without it and without a master, addrs[0] is the server
	db      int
	tls     bool
}

const (
	serverPort   = "6379"
	sentinelPort = "26379"
	// maxDB is the highest number of a database that is believed.
	maxDB = 1<<16 - 1
)

// parse reads a URL by hand: the standard parser refuses lists of hosts, and quotes the URL in its errors.
func parse(url string) (target, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		return target{}, errors.New("want redis://host, rediss://host, redis+sentinel://name@host,host, redis+cluster://host,host or unix:///path")
	}
	if strings.ContainsAny(rest, "?#") {
		return target{}, errors.New("parameters and fragments are not supported")
	}
	for _, r := range rest {
		if r <= ' ' || r == 0x7f || r == '%' || r == '\\' {
			return target{}, errors.New("spaces, control characters, escapes and backslashes are not supported")
		}
	}
	switch scheme {
	case "redis", "rediss":
		return parseServer(rest, scheme == "rediss")
	case "redis+sentinel", "rediss+sentinel":
		return parseSentinels(rest, scheme == "rediss+sentinel")
	case "unix":
		return parseSocket(rest)
	case "redis+cluster", "rediss+cluster":
		return parseCluster(rest, scheme == "rediss+cluster")
	default:
		return target{}, errors.New("unknown scheme: want redis, rediss, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster or unix")
	}
}

func parseServer(rest string, tls bool) (target, error) {
	authority, path, _ := strings.Cut(rest, "/")
	if strings.Contains(rest, "@") {
		return target{}, errors.New("no user or password may stand in it: write the password into a file and name that")
	}
	if strings.Contains(authority, ",") {
		return target{}, errors.New("one host only; several are for redis+sentinel and redis+cluster")
	}
	addr, err := hostPort(authority, serverPort)
	if err != nil {
		return target{}, err
	}
	db, err := database(path)
	if err != nil {
		return target{}, err
	}
	return target{network: "tcp", addrs: []string{addr}, db: db, tls: tls}, nil
}

func parseSentinels(rest string, tls bool) (target, error) {
	at := strings.LastIndexByte(rest, '@')
	master := rest[:max(at, 0)]
	switch {
	case strings.Contains(master, ":"):
		return target{}, errors.New("no password may stand in it: write it into a file and name that")
	case master == "":
		return target{}, errors.New("want the master's name before the sentinels: redis+sentinel://name@host,host")
	case strings.ContainsAny(master, "@/,"):
		return target{}, errors.New("the master's name may not hold any of @ / and comma")
	}
	authority, path, _ := strings.Cut(rest[at+1:], "/")
	addrs, err := hostPorts(authority, sentinelPort)
	if err != nil {
		return target{}, err
	}
	db, err := database(path)
	if err != nil {
		return target{}, err
	}
	return target{network: "tcp", addrs: addrs, master: master, db: db, tls: tls}, nil
}

func parseCluster(rest string, tls bool) (target, error) {
	if strings.Contains(rest, "@") {
		return target{}, errors.New("no user or password may stand in it: write the password into a file and name that")
	}
	authority, path, _ := strings.Cut(rest, "/")
	addrs, err := hostPorts(authority, serverPort)
	if err != nil {
		return target{}, err
	}
	if db, err := database(path); err != nil || db != 0 {
		return target{}, errors.New("a cluster has database 0 alone: leave the number out")
	}
	return target{network: "tcp", addrs: addrs, cluster: true, tls: tls}, nil
}

func parseSocket(path string) (target, error) {
	if strings.Contains(path, "@") {
		return target{}, errors.New("no user or password may stand in it: write the password into a file and name that")
	}
	if !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return target{}, errors.New("want the absolute path of a socket: unix:///path")
	}
	return target{network: "unix", addrs: []string{path}}, nil
}

// hostPorts completes a list of authorities.
func hostPorts(list, port string) ([]string, error) {
	var addrs []string
	for host := range strings.SplitSeq(list, ",") {
		addr, err := hostPort(host, port)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// hostPort completes an authority with its default port.
func hostPort(authority, port string) (string, error) {
	host := authority
	switch {
	case strings.HasPrefix(authority, "[") && strings.HasSuffix(authority, "]"):
		host = authority[1 : len(authority)-1]
	case strings.Contains(authority, ":"):
		var err error
		if host, port, err = net.SplitHostPort(authority); err != nil {
			return "", errors.New("want host or host:port, and IPv6 addresses in brackets")
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New("want a port from 1 to 65535")
	}
	if host == "" || strings.ContainsAny(host, "[]") {
		return "", errors.New("want a host")
	}
	return net.JoinHostPort(host, port), nil
}

// database reads the path of a URL.
func database(path string) (int, error) {
	if path == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(path, 10, 16)
	if err != nil || n > maxDB {
		return 0, errors.New("want a number of a database after the slash")
	}
	return int(n), nil
}
