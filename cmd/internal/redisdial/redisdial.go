// Package redisdial is the only builder of go-redis clients, so that every one of them keeps the same promises: a caller's
// deadline is obeyed, nothing is sent twice behind a caller's back, and no secret stands in a URL. Stores receive a client and
// know nothing of addresses.
package redisdial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// What zero fields of [Options] mean.
const (
	// DefaultDialTimeout bounds one attempt at a connection. Callers wait for it only as long as their own deadline says.
	DefaultDialTimeout = time.Second
	// DefaultTimeout bounds one command of a caller that brings no deadline, and the wait for a free connection.
	DefaultTimeout = time.Second
	// DefaultPoolSize is the most connections to one server.
	DefaultPoolSize = 64
	// idleTime is how long an unused connection is kept.
	idleTime = 5 * time.Minute
)

// maxSecret is the longest password file, in bytes: more is a file of another kind.
const maxSecret = 4096

// Options say where a store is and how to get in. Make them with [Parse], then fill in what no URL may hold.
type Options struct {
	// URL is what Parse accepted; it holds no secret, and may be shown.
	URL string
	// Username is the name of the server's user; empty means the default one. It needs a PasswordFile.
	Username string
	// PasswordFile holds the password, and is read for every new connection, so that a rotated one is used from then on. A
	// newline at its end is not part of it.
	PasswordFile string
	// Password is the server's, instead of a PasswordFile: for an environment that holds secrets as values, as that of
	// envoyproxy/ratelimit does. It is never shown.
	Password string
	// SentinelUsername and SentinelPassword are those of the sentinels; empty: they are asked without.
	SentinelUsername, SentinelPassword string
	// CAFile holds the PEM certificates that are trusted to sign the server's; empty means those of the machine. Only for URLs
	// that ask for TLS.
	CAFile string
	// CertFile and KeyFile are this client's own certificate, PEM, for servers that ask for one; both or neither. They are read
	// for every new connection.
	CertFile, KeyFile string
	// InsecureAnyServerName takes a server's certificate whatever name stands in it, if the right authority signed it: whoever
	// has any certificate of that authority can stand in the server's place.
	InsecureAnyServerName bool
	// DialTimeout bounds one attempt at a connection, TLS included; zero means DefaultDialTimeout.
	DialTimeout time.Duration
	// Timeout bounds one command of a caller that brings no deadline; zero means DefaultTimeout.
	Timeout time.Duration
	// PoolSize is the most connections to one server; zero means DefaultPoolSize. Who finds them all busy waits for one as long
	// as its deadline says.
	PoolSize int
}

// Parse reads the URL of a store:
//
//	redis://host[:6379][/db]                       a server
//	rediss://host[:6379][/db]                      a server, over TLS 1.2 or later
//	redis+sentinel://name@host[:26379],...[/db]    whichever server the sentinels call the master of that name
//	rediss+sentinel://...                          the same, TLS to sentinels and master
//	redis+cluster://host[:6379],...                a cluster, of which these are some nodes
//	rediss+cluster://...                           the same, TLS to every node
//	unix:///path                                   a server, by its socket
//
// No error repeats any part of the URL but a known scheme, since it may hold a secret by mistake.
func Parse(url string) (Options, error) {
	if _, err := parse(url); err != nil {
		return Options{}, fmt.Errorf("redisdial: store URL: %w", err)
	}
	return Options{URL: url}, nil
}

// ParseOne is [Parse] for stores that are one server: it refuses a cluster.
func ParseOne(url string) (Options, error) {
	t, err := parse(url)
	switch {
	case err != nil:
		return Options{}, fmt.Errorf("redisdial: store URL: %w", err)
	case t.cluster:
		return Options{}, errors.New("redisdial: store URL: a cluster is not supported here yet; name one server or its sentinels")
	}
	return Options{URL: url}, nil
}

// quiet makes go-redis say nothing on stderr, once for the process, for its logger is the process's: it prints a line for every dial
// that fails, in a form of its own, and each of those failures is returned, counted and shown by us.
var quiet = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

// Printf implements go-redis's logger.
func (silence) Printf(context.Context, string, ...any) {}

// New makes a client. It reads the files that the options name, so that a missing one is found at start, and neither dials nor
// waits. The caller closes the client.
func New(o Options) (redis.UniversalClient, error) {
	quiet()
	t, err := parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("redisdial: store URL: %w", err)
	}
	if err := checkSecrets(o); err != nil {
		return nil, err
	}
	if o.PasswordFile != "" {
		if _, err := readPassword(o.PasswordFile); err != nil {
			return nil, err
		}
	}
	trust, err := tlsConfig(t, o)
	if err != nil {
		return nil, err
	}
	switch {
	case t.master != "":
		return redis.NewFailoverClient(failoverOptions(o, t, trust)), nil
	case t.cluster:
		return redis.NewClusterClient(clusterOptions(o, t, trust)), nil
	}
	return redis.NewClient(serverOptions(o, t, trust)), nil
}

// serverOptions are those of a client of one server. MaxRetries -1 means none. Protocol 2 keeps the connection to plain answers:
// nothing arrives that was not asked for. DisableIdentity keeps a handshake command whose late answer could be taken for
// another's off the connection (CVE-2025-29923).
func serverOptions(o Options, t target, trust *tls.Config) *redis.Options {
	return &redis.Options{
		Network: t.network, Addr: t.addrs[0], DB: t.db, Protocol: 2, TLSConfig: trust,
		CredentialsProviderContext: credentials(o),
		ContextTimeoutEnabled:      true, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: or(o.DialTimeout, DefaultDialTimeout), DialerRetries: 1,
		ReadTimeout: or(o.Timeout, DefaultTimeout), WriteTimeout: or(o.Timeout, DefaultTimeout),
		PoolTimeout: or(o.Timeout, DefaultTimeout), PoolSize: or(o.PoolSize, DefaultPoolSize), ConnMaxIdleTime: idleTime,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// failoverOptions are serverOptions for a master that sentinels name.
func failoverOptions(o Options, t target, trust *tls.Config) *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: t.master, SentinelAddrs: t.addrs, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword, DB: t.db, Protocol: 2, TLSConfig: trust,
		CredentialsProviderContext: credentials(o),
		ContextTimeoutEnabled:      true, MaxRetries: -1, DisableIdentity: true,
		DialTimeout: or(o.DialTimeout, DefaultDialTimeout), DialerRetries: 1,
		ReadTimeout: or(o.Timeout, DefaultTimeout), WriteTimeout: or(o.Timeout, DefaultTimeout),
		PoolTimeout: or(o.Timeout, DefaultTimeout), PoolSize: or(o.PoolSize, DefaultPoolSize), ConnMaxIdleTime: idleTime,
	}
}

// maxRedirects is how often a command follows the cluster's word that its slot is elsewhere: a slot that moves twice while one command
// is under way is rare, and each turn costs a trip of the caller's time.
const maxRedirects = 3

// slotsEvery is how old a client's map of a cluster may grow before the next command has it drawn anew beside it. Failures and redirects
// draw it at once: this is for what changes in silence.
const slotsEvery = 10 * time.Second

// clusterOptions are serverOptions for every node. In a cluster go-redis keeps its retries in MaxRedirects, which -1 would turn off
// together with following MOVED: so a command that must not run twice says that itself, by NoRetry. DisableRoutingPolicies keeps
// commands from being taken apart, and a COMMAND of its own off the first request's path.
func clusterOptions(o Options, t target, trust *tls.Config) *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs: t.addrs, Protocol: 2, TLSConfig: trust,
		CredentialsProviderContext: credentials(o),
		ContextTimeoutEnabled:      true, MaxRetries: -1, MaxRedirects: maxRedirects, DisableIdentity: true, DisableRoutingPolicies: true,
		ClusterStateReloadInterval: slotsEvery,
		DialTimeout:                or(o.DialTimeout, DefaultDialTimeout), DialerRetries: 1,
		ReadTimeout: or(o.Timeout, DefaultTimeout), WriteTimeout: or(o.Timeout, DefaultTimeout),
		PoolTimeout: or(o.Timeout, DefaultTimeout), PoolSize: or(o.PoolSize, DefaultPoolSize), ConnMaxIdleTime: idleTime,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// or is v, or what its zero value stands for.
func or[T time.Duration | int](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

// credentials gives every new connection the password as it is in the file by then; nil where there is none.
func credentials(o Options) func(context.Context) (string, string, error) {
	switch {
	case o.PasswordFile != "":
	case o.Password != "":
		return func(context.Context) (string, string, error) { return o.Username, o.Password, nil }
	default:
		return nil
	}
	return func(context.Context) (string, string, error) {
		password, err := readPassword(o.PasswordFile)
		return o.Username, password, err
	}
}

// readPassword reads a secret. Its errors name the file and never quote it.
func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("redisdial: read password: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("redisdial: read password: %w", err)
	}
	if len(b) > maxSecret {
		return "", fmt.Errorf("redisdial: read password: %s holds more than %d bytes", path, maxSecret)
	}
	b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	if len(b) == 0 {
		return "", fmt.Errorf("redisdial: read password: %s is empty", path)
	}
	return string(b), nil
}

// checkSecrets refuses what says two things at once, or half of one.
func checkSecrets(o Options) error {
	switch {
	case o.Password != "" && o.PasswordFile != "":
		return errors.New("redisdial: a password and a password file: give one")
	case o.Username != "" && o.PasswordFile == "" && o.Password == "":
		return errors.New("redisdial: a user name needs a password file")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("redisdial: a client certificate and its key belong together")
	}
	return nil
}

// tlsConfig is nil where the URL asks for no TLS. The server's name is checked against the host that is dialled.
func tlsConfig(t target, o Options) (*tls.Config, error) {
	if !t.tls {
		if o.CAFile != "" || o.CertFile != "" {
			return nil, errors.New("redisdial: a CA file and a client certificate need a URL that asks for TLS: rediss:// or rediss+sentinel://")
		}
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redisdial: read CA file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("redisdial: read CA file: %s holds no PEM certificate", o.CAFile)
		}
	}
	if o.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
			return nil, fmt.Errorf("redisdial: read client certificate: %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("redisdial: read client certificate: %w", err)
			}
			return &pair, nil
		}
	}
	if o.InsecureAnyServerName {
		anyName(config)
	}
	return config, nil
}

// anyName replaces the check of the server's certificate by one of everything but its name.
func anyName(config *tls.Config) {
	config.InsecureSkipVerify = true // VerifyConnection checks the chain; the name is what the operator gave up
	config.VerifyConnection = func(state tls.ConnectionState) error {
		chain := x509.VerifyOptions{Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
		for _, c := range state.PeerCertificates[1:] {
			chain.Intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(chain)
		return err
	}
}
