package daemon

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// Options are the flags that both gates share. A command sets its own defaults in the fields and calls Bind.
type Options struct {
	// Listen is where the gRPC service stands: "127.0.0.1:9191", "[::1]:9191", "unix:/path"; port 0 is any free one.
	Listen string
	// Admin is where /healthz, /readyz and /metrics stand. Empty: nowhere. It may stand off loopback, for it is read-only.
	Admin string
	// SocketMode is the mode of Unix sockets; zero is 0660.
	SocketMode fs.FileMode
	// SharedSocketFolder lets a Unix socket stand in a folder that others can write to, where they can put their own in its place:
	// the rule of envoyproxy/ratelimit, whose sockets stand in volumes that containers share.
	SharedSocketFolder bool
	// Plaintext says that Listen may stand off loopback without TLS because the mesh encrypts.
	Plaintext bool
	// TLS is what Listen shows and whom it lets in.
	TLS TLSFiles
	// MaxConnectionAge moves long-lived connections to other replicas; zero is never, and the shortest is a second.
	MaxConnectionAge time.Duration
	// MaxConnectionAgeGrace is how long calls may still finish on a connection that reached its age; zero is 30 s.
	MaxConnectionAgeGrace time.Duration
	// DrainDelay is the time between NOT_SERVING and the end of listening, for clients to notice; zero is none.
	DrainDelay time.Duration
	// DrainTimeout bounds the calls that finish after that; zero is 20 s.
	DrainTimeout time.Duration
	// LogFormat and LogLevel are for NewLogger.
	LogFormat, LogLevel string
}

// Bind registers the flags. What the fields hold is the default; zero fields get the usual ones.
func (o *Options) Bind(flags *pflag.FlagSet) {
	o.SocketMode = orDefault(o.SocketMode, 0o660)
	o.TLS.Min = orDefault(o.TLS.Min, tls.VersionTLS13)
	o.DrainTimeout = orDefault(o.DrainTimeout, defaultDrainTimeout)
	flags.StringVar(&o.Listen, "listen", o.Listen, "where Envoy calls: IP:port or unix:/path")
	flags.StringVar(&o.Admin, "admin", o.Admin, "where /healthz, /readyz and /metrics are; empty is nowhere")
	flags.Var((*modeValue)(&o.SocketMode), "socket-mode", "mode of the Unix socket of --listen or --admin, in octal")
	flags.BoolVar(&o.Plaintext, "plaintext", o.Plaintext, "listen off loopback without TLS, because the mesh encrypts")
	flags.StringVar(&o.TLS.Cert, "tls-cert", o.TLS.Cert, "certificate chain, PEM; read again when it changes")
	flags.StringVar(&o.TLS.Key, "tls-key", o.TLS.Key, "private key, PEM; read again when it changes")
	flags.StringVar(&o.TLS.ClientCA, "tls-client-ca", o.TLS.ClientCA, "authorities that sign clients, PEM; read again when it changes")
	flags.StringSliceVar(&o.TLS.ClientIDs, "tls-client-ids", o.TLS.ClientIDs, "who may call: spiffe://trust.domain/ns/*/sa/name or dns:name")
	flags.Var((*versionValue)(&o.TLS.Min), "tls-min", "lowest TLS version: 1.3 or 1.2")
	flags.DurationVar(&o.MaxConnectionAge, "max-connection-age", orDefault(o.MaxConnectionAge, 15*time.Minute), "move connections to other replicas after this time; 0 is never")
	flags.DurationVar(&o.DrainDelay, "drain-delay", orDefault(o.DrainDelay, 5*time.Second), "at SIGTERM: how long to serve on while health checks say no")
	flags.Var((*timeoutValue)(&o.DrainTimeout), "drain-timeout", "after that: how long calls in flight may take to finish")
	flags.StringVar(&o.LogFormat, "log-format", orDefault(o.LogFormat, "text"), "of the log on stderr: text or json")
	flags.StringVar(&o.LogLevel, "log-level", orDefault(o.LogLevel, "info"), "debug, info, warn or error")
}

const defaultDrainTimeout = 20 * time.Second

// checkTimes refuses times that gRPC would panic over (a negative age, at the first connection) and ages at which connections would
// end faster than they are of use.
func (o Options) checkTimes() error {
	switch {
	case o.MaxConnectionAge < 0 || o.MaxConnectionAge > 0 && o.MaxConnectionAge < time.Second:
		return fmt.Errorf("daemon: --max-connection-age %s: write 0 (never) or at least 1s", o.MaxConnectionAge)
	case o.DrainDelay < 0:
		return fmt.Errorf("daemon: --drain-delay %s: write 0 or more", o.DrainDelay)
	case o.DrainTimeout < 0:
		return fmt.Errorf("daemon: --drain-timeout %s: write more than 0", o.DrainTimeout)
	}
	return nil
}

// endpoints parses the two addresses and refuses what would leave the gate open.
func (o Options) endpoints() (listen, admin endpoint, err error) {
	if err = o.checkTimes(); err != nil {
		return listen, admin, err
	}
	if listen, err = parseEndpoint("--listen", o.Listen); err != nil {
		return listen, admin, err
	}
	listen.shared = o.SharedSocketFolder
	if o.Admin != "" {
		if admin, err = parseEndpoint("--admin", o.Admin); err != nil {
			return listen, admin, err
		}
	}
	switch {
	case o.TLS.Enabled() && o.Plaintext:
		return listen, admin, errors.New("daemon: --plaintext and --tls-* contradict each other: leave one out")
	case o.TLS.Enabled():
		return listen, admin, o.TLS.check(!listen.local())
	case !listen.local() && !o.Plaintext:
		return listen, admin, fmt.Errorf("daemon: --listen %s is off loopback without TLS: give --tls-cert, --tls-key, --tls-client-ca and --tls-client-ids, or --plaintext if the mesh encrypts", listen.addr)
	}
	return listen, admin, nil
}

// modeValue is a file mode as a flag, in octal.
type modeValue fs.FileMode

func (m *modeValue) String() string { return fmt.Sprintf("%04o", fs.FileMode(*m).Perm()) }
func (m *modeValue) Type() string   { return "mode" }
func (m *modeValue) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		// Zero would shut everybody out; and in Options it stands for the default, which would let in more than was asked.
		return errors.New("write an octal mode such as 0660")
	}
	*m = modeValue(n)
	return nil
}

// timeoutValue is a time to wait at most as a flag. Nothing is refused: in Options it stands for the default.
type timeoutValue time.Duration

func (t *timeoutValue) String() string { return time.Duration(*t).String() }
func (t *timeoutValue) Type() string   { return "duration" }
func (t *timeoutValue) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return errors.New("write a time above 0 such as 20s")
	}
	*t = timeoutValue(d)
	return nil
}

// versionValue is a TLS version as a flag.
type versionValue uint16

func (v *versionValue) String() string {
	if *v == tls.VersionTLS12 {
		return "1.2"
	}
	return "1.3"
}
func (v *versionValue) Type() string { return "version" }
func (v *versionValue) Set(text string) error {
	switch text {
	case "1.2":
		*v = tls.VersionTLS12
	case "1.3":
		*v = tls.VersionTLS13
	default:
		return errors.New("write 1.3 or 1.2")
	}
	return nil
}
