package compat

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// Store says where counters are kept, in the terms of this project.
type Store struct {
	// URL is one of those that `--store` takes; it holds no secret.
	URL string
	// Username and Password are the server's, SentinelUsername and SentinelPassword those of its sentinels; empty for none.
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	// Cert and Key are this client's own, CA signs the server's; PEM files, empty for none and for the machine's.
	Cert, Key, CA string
	// AnyName takes a certificate of any name, if the right authority signed it.
	AnyName bool
	// PoolSize is the most connections to a server; zero where nothing was said.
	PoolSize int
	// Timeout bounds an attempt to connect and a command; zero where nothing was said.
	Timeout time.Duration
}

// The values of REDIS_TYPE.
const (
	single   = "SINGLE"
	sentinel = "SENTINEL"
	cluster  = "CLUSTER"
)

// redis is what the variables of one store say.
type redis struct {
	socket, kind, url  string
	auth, sentinelAuth string
	tls, health        bool
	pool               int
	timeout            time.Duration
}

// redisTLS is what both stores share.
type redisTLS struct {
	cert, key, ca string
	anyName       bool
}

func defaultRedis(url string) redis { return redis{socket: "unix", kind: single, url: url} }

// store turns the forms of REDIS_URL into a URL. Prefix names the variables in errors, which never quote a value.
func (r redis) store(prefix string, t redisTLS) (Store, error) {
	s := Store{PoolSize: r.pool, Timeout: r.timeout}
	s.Username, s.Password = credentials(r.auth)
	var err error
	switch r.kind {
	case single:
		err = s.single(r)
	case sentinel:
		s.SentinelUsername, s.SentinelPassword = credentials(r.sentinelAuth)
		master, servers, ok := strings.Cut(r.url, ",")
		if !ok || master == "" || servers == "" {
			err = errors.New("does not hold master,host:port,host:port, as REDIS_TYPE=SENTINEL needs")
		}
		s.URL = scheme("redis", r.tls) + "+sentinel://" + master + "@" + servers
	case cluster:
		if r.url == "" || strings.ContainsAny(r.url, "@/") {
			err = errors.New("does not hold host:port,host:port, as REDIS_TYPE=CLUSTER needs")
		}
		s.URL = scheme("redis", r.tls) + "+cluster://" + r.url
	}
	if err != nil {
		return Store{}, fmt.Errorf("%sURL %w", prefix, err)
	}
	if r.tls {
		s.Cert, s.Key, s.CA, s.AnyName = t.cert, t.key, t.ca, t.anyName
	}
	return s, nil
}

// single reads host:port, a socket's path, or a URL with credentials in it, as the reference's driver takes it.
func (s *Store) single(r redis) error {
	if r.socket == "unix" && !strings.Contains(r.url, "://") {
		if !path.IsAbs(r.url) {
			return errors.New("does not hold the path of a socket; for a host and port set REDIS_SOCKET_TYPE=tcp (or REDIS_PERSECOND_SOCKET_TYPE)")
		}
		if r.tls {
			return errors.New("holds the path of a socket, which knows no TLS")
		}
		s.URL = "unix://" + r.url
		return nil
	}
	rest, isURL := strings.CutPrefix(r.url, "redis://")
	tls := r.tls
	if !isURL {
		if rest, isURL = strings.CutPrefix(r.url, "rediss://"); isURL {
			tls = true
		}
	}
	if isURL {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			user, password, _ := strings.Cut(rest[:at], ":")
			if strings.ContainsRune(rest[:at], '%') {
				return errors.New("holds escaped credentials: put them into REDIS_AUTH as user:password")
			}
			s.Username, s.Password = user, password
			rest = rest[at+1:]
		}
	}
	if rest == "" || strings.ContainsAny(rest, ",@") || !isURL && strings.Contains(rest, "/") {
		return errors.New("does not hold host:port, as REDIS_TYPE=SINGLE needs")
	}
	s.URL = scheme("redis", tls) + "://" + rest
	return nil
}

func scheme(name string, tls bool) string {
	if tls {
		return name + "s"
	}
	return name
}

// credentials reads "password" or "user:password".
func credentials(auth string) (user, password string) {
	if user, password, ok := strings.Cut(auth, ":"); ok {
		return user, password
	}
	return "", auth
}
