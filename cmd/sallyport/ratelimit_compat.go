package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/cmd/internal/redisdial"
	"github.com/sallyport-dev/sallyport/ratelimit/compat"
	"github.com/sallyport-dev/sallyport/ratelimit/redisstore"
	"github.com/sallyport-dev/sallyport/ratelimit/xds"
)

// referenceHealthName is the name that envoyproxy/ratelimit answers health checks for.
const referenceHealthName = "ratelimit"

// forEver is a time that never comes, for a setting whose zero means something else.
const forEver = time.Duration(math.MaxInt64)

// compatArgs is the command line of a process that was started by a file of some name: as "ratelimit" it is the process that the name
// stands for everywhere.
func compatArgs(argv []string) []string {
	if len(argv) == 0 {
		return nil
	}
	if filepath.Base(argv[0]) == "ratelimit" {
		return append([]string{"ratelimit", "--compat"}, argv[1:]...)
	}
	return argv[1:]
}

// nameWithoutEffect says in one line which variables are set and mean nothing here, and why.
func nameWithoutEffect(log *slog.Logger, s *compat.Settings) {
	if len(s.NoEffect) == 0 {
		return
	}
	names := make([]string, len(s.NoEffect))
	for i, n := range s.NoEffect {
		names[i] = n.Name + ": " + n.Why
	}
	log.Warn("environment variables of envoyproxy/ratelimit that have no effect here", "variables", strings.Join(names, "; "))
}

// follow sets what the reference's environment says, where no flag (and no SALLYPORT_ variable) says otherwise.
func (f *ratelimitFlags) follow(s *compat.Settings, given func(flag string) bool) error {
	f.reference = s
	if err := f.followListeners(s, given); err != nil {
		return err
	}
	if !given("log-level") {
		f.LogLevel = s.LogLevel
	}
	if !given("log-format") {
		f.LogFormat = s.LogFormat
	}
	if !given("audit") {
		f.audit.destination = auditOff // the reference writes none, and its standard output is nobody's audit log
	}
	if !given("store-key-prefix") && s.KeyPrefix != "" && !given("store") {
		f.keyPrefix = s.KeyPrefix + redisstore.DefaultKeyPrefix // which holds the version of the keys' layout
	}
	if given("store") {
		return nil
	}
	return f.followStore(s)
}

func (f *ratelimitFlags) followListeners(s *compat.Settings, given func(flag string) bool) error {
	for _, l := range []struct {
		flag, variable string
		to             *string
		at             compat.Address
	}{{"listen", "GRPC_HOST", &f.Listen, s.GRPC}, {"admin", "DEBUG_HOST", &f.Admin, s.Debug}, {"http", "HOST", &f.http, s.HTTP}} {
		if given(l.flag) {
			continue
		}
		address, err := listenAt(l.variable, l.at)
		if err != nil {
			return err
		}
		*l.to = address
	}
	if !given("listen") && s.Socket != "" {
		f.Listen = "unix:" + s.Socket
	}
	f.SharedSocketFolder = true
	if !given("max-connection-age") {
		f.MaxConnectionAge, f.MaxConnectionAgeGrace = s.MaxConnectionAge, s.MaxConnectionAgeGrace
		if f.MaxConnectionAgeGrace == 0 {
			f.MaxConnectionAgeGrace = forEver
		}
	}
	f.followTLS(s.TLS, given)
	return nil
}

// followTLS lets in whom the reference lets in. Envoy's clients offer TLS 1.2 at most unless told otherwise.
func (f *ratelimitFlags) followTLS(t compat.ListenerTLS, given func(flag string) bool) {
	if given("tls-cert") || given("tls-key") || given("plaintext") {
		return
	}
	f.Plaintext = !t.On
	if !t.On {
		return
	}
	f.TLS.Cert, f.TLS.Key, f.TLS.ClientName, f.TLS.AnyClient = t.Cert, t.Key, t.ClientSAN, true
	if !given("tls-client-ca") {
		f.TLS.ClientCA = t.ClientCA
	}
	if !given("tls-min") {
		f.TLS.Min = tls.VersionTLS12
	}
}

// listenAt writes an address as the daemon reads it.
func listenAt(variable string, a compat.Address) (string, error) {
	host := a.Host
	switch host {
	case "":
		host = netip.IPv6Unspecified().String()
	case "localhost":
		host = "127.0.0.1"
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("%s is not the address of an interface: write an IP address, 0.0.0.0 or :: for every one", variable)
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port)), nil
}

func (f *ratelimitFlags) followStore(s *compat.Settings) error {
	options, err := dialOptions("REDIS_URL", s.Store)
	if err != nil {
		return err
	}
	// What the flags of the store's secrets say stays said.
	if f.dial.PasswordFile != "" {
		options.PasswordFile, options.Password = f.dial.PasswordFile, ""
	}
	if f.dial.Username != "" {
		options.Username = f.dial.Username
	}
	if f.dial.CAFile != "" {
		options.CAFile = f.dial.CAFile
	}
	f.store, f.dial, f.storeTimeout = options.URL, options, s.Store.Timeout
	if s.PerSecond != nil {
		second, err := dialOptions("REDIS_PERSECOND_URL", *s.PerSecond)
		if err != nil {
			return err
		}
		f.perSecond = &second
	}
	return nil
}

// dialOptions are those of a store that the environment describes.
func dialOptions(variable string, s compat.Store) (redisdial.Options, error) {
	o, err := redisdial.Parse(s.URL)
	if err != nil {
		return o, fmt.Errorf("%s: %w", variable, err)
	}
	o.Username, o.Password = s.Username, s.Password
	o.SentinelUsername, o.SentinelPassword = s.SentinelUsername, s.SentinelPassword
	o.CAFile, o.CertFile, o.KeyFile, o.InsecureAnyServerName = s.CA, s.Cert, s.Key, s.AnyName
	o.PoolSize, o.Timeout, o.DialTimeout = s.PoolSize, s.Timeout, s.Timeout
	return o, nil
}

// referenceXDS is the management server of the reference's environment. It asks in plain text unless told otherwise, as there.
func referenceXDS(s *compat.Settings) xdsSource {
	x := s.XDS
	o := xds.Options{
		Server: x.Server, Node: xds.Node{ID: x.NodeID, Metadata: x.NodeMetadata}, Headers: x.Headers, MaxMessageBytes: x.MaxMessageBytes,
		MergeDomains: s.MergeDomains, SpareDenied: s.SpareDenied,
		Retry: xds.Backoff{Initial: x.BackoffInitial, Max: max(x.BackoffInitial, x.BackoffMax)},
		Reach: xds.Backoff{Initial: x.RetryInterval, Max: x.RetryInterval},
	}
	if x.BackoffJitter {
		o.Retry.Jitter = x.BackoffFactor
	}
	if x.TLS {
		o.TLS = &xds.TLS{CA: x.CA, Cert: x.Cert, Key: x.Key, ServerName: x.SAN, Min: tls.VersionTLS12}
	}
	return xdsSource{Options: o, readyWithoutLimits: s.StartWithoutConfig && !s.HealthyWithConfig}
}
