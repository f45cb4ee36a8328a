package xds

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// TypeURL is the type of the resources that are asked for. Each is one domain.
const TypeURL = "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig"

// DefaultMaxMessageBytes is the largest response that is read where [Options] name none: 32 MiB, eight times gRPC's own default.
const DefaultMaxMessageBytes = 32 << 20

// Options configure a [Client]. Server and Node.ID are required.
type Options struct {
	// Server is host:port, dns:///host:port or unix:/path.
	Server string
	// Node is who asks: servers keep what they send by node.
	Node Node
	// Headers are sent with the stream, and HeaderFiles hold the values of more, which are read for every connection: a token
	// goes there. A newline at a file's end is not part of the value.
	Headers     map[string]string
	HeaderFiles map[string]string
	// TLS is how the connection is protected; nil is plain text.
	TLS *TLS
	// MaxMessageBytes is the largest response that is read; zero is [DefaultMaxMessageBytes].
	MaxMessageBytes int
	// MergeDomains permits several resources of one domain, as envoyproxy/ratelimit does with MERGE_DOMAIN_CONFIG.
	MergeDomains bool
	// SpareDenied has limits burn nothing by hits that they deny ([limits.BuildOptions]).
	SpareDenied bool
	// Retry is how long to wait after a stream that ended, growing until the server sends something again; the zero value is
	// [DefaultRetry]. Reach is how long where no stream came to stand; the zero value is Retry.
	Retry, Reach Backoff

	// OnConnection is told nil when a stream to the server stands, and why not when it ended or could not be made. It may be nil.
	OnConnection func(error)
	// OnUpdate is told what became of each response that differs from the one before. It may be nil. Both are called by the
	// goroutine of Run.
	OnUpdate func(Update)
}

// Node names this client to the server (envoy.config.core.v3.Node).
type Node struct {
	ID, Cluster string
	// Metadata may be nil.
	Metadata map[string]string
}

// TLS names files in PEM. All are read again for every connection, so that replaced ones are used from the next on.
type TLS struct {
	// CA holds the authorities that sign the server; empty means those of the machine.
	CA string
	// Cert and Key are the client's own chain and key; both or neither.
	Cert, Key string
	// ServerName is the DNS name or IP address that the server's certificate must carry; empty means the host of Server.
	ServerName string
	// Min is the lowest version; zero is TLS 1.3.
	Min uint16
}

// Update is what became of one response of the server.
type Update struct {
	// Version is the server's name for it.
	Version string
	// Table is what is in force now; nil while nothing ever was good.
	Table *limits.Table
	// Domains are the resources, in the order of their names; empty where none could be told apart.
	Domains []limits.FileState
	// Err is what the server was told: why the response was refused, in whole or in part. Nil: it is in force whole.
	Err error
	// Unknown lists fields that this version does not know, which have no effect.
	Unknown []string
}

// Backoff is a wait that doubles.
type Backoff struct {
	// Initial is the first wait, Max the longest.
	Initial, Max time.Duration
	// Jitter is the part of each wait that chance adds or takes, from 0 (none) to 1.
	Jitter float64
}

// DefaultRetry waits a second, then twice as long each time up to half a minute, each wait half as long to half as long again.
var DefaultRetry = Backoff{Initial: time.Second, Max: 30 * time.Second, Jitter: 0.5}

// held is the wait before another answer to a server whose responses bring nothing new: servers resend at once what was refused.
var held = Backoff{Initial: time.Second, Max: 10 * time.Second, Jitter: 0.5}

// wait is the wait before attempt n, from zero.
func (b Backoff) wait(n int) time.Duration {
	d := b.Initial
	for range n {
		if d >= b.Max/2 {
			d = b.Max
			break
		}
		d *= 2
	}
	spread := float64(d) * b.Jitter
	return d + time.Duration(spread*(2*rand.Float64()-1)) //nolint:gosec // G404: jitter keeps replicas apart and hides nothing
}

// check fills in defaults and refuses what cannot be meant.
func (o *Options) check() error {
	o.MaxMessageBytes = cmp.Or(o.MaxMessageBytes, DefaultMaxMessageBytes)
	o.Retry = cmp.Or(o.Retry, DefaultRetry)
	o.Reach = cmp.Or(o.Reach, o.Retry)
	switch {
	case o.Node.ID == "":
		return errors.New("xds: a node needs an ID: servers keep what they send by it")
	case o.MaxMessageBytes < 0:
		return errors.New("xds: the largest message has more than 0 bytes")
	}
	if err := errors.Join(o.Retry.check(), o.Reach.check(), o.TLS.check()); err != nil {
		return err
	}
	for name := range o.HeaderFiles {
		if _, twice := o.Headers[name]; twice {
			return fmt.Errorf("xds: header %s has a value and a file: keep one of them", name)
		}
	}
	if _, err := target(o.Server); err != nil {
		return err
	}
	return checkHeaders(o.Headers, o.HeaderFiles)
}

func (b Backoff) check() error {
	switch {
	case b.Initial <= 0 || b.Max < b.Initial:
		return errors.New("xds: the wait before a new connection is above zero, and the longest is not below the first")
	case !(b.Jitter >= 0 && b.Jitter <= 1): // also of what is no number
		return errors.New("xds: jitter is a part from 0 to 1")
	}
	return nil
}

func (t *TLS) check() error {
	switch {
	case t == nil:
		return nil
	case (t.Cert == "") != (t.Key == ""):
		return errors.New("xds: a certificate and its key belong together: give both")
	case t.Min != 0 && t.Min != tls.VersionTLS12 && t.Min != tls.VersionTLS13:
		return errors.New("xds: the lowest version of TLS is 1.2 or 1.3")
	}
	return nil
}

// target is a server's address in gRPC's form. Only addresses pass: a scheme of gRPC's own could make it ask another server where
// the server is.
func target(server string) (string, error) {
	if path, ok := strings.CutPrefix(server, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("xds: server %q: write a whole path: unix:/run/xds.sock", server)
		}
		return "unix:" + path, nil
	}
	address := strings.TrimPrefix(server, "dns:///")
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" || strings.ContainsAny(address, "/ ") {
		return "", fmt.Errorf("xds: server %q: write host:port or unix:/path", server)
	}
	return "dns:///" + address, nil
}

// Local says that only this machine can be behind an address: a loopback address, localhost or a Unix socket. It fails as [New]
// would.
func Local(server string) (bool, error) {
	to, err := target(server)
	if err != nil {
		return false, err
	}
	if strings.HasPrefix(to, "unix:") {
		return true, nil
	}
	host, _, err := net.SplitHostPort(strings.TrimPrefix(to, "dns:///"))
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback()), err
}
