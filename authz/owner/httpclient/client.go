// Package httpclient makes the HTTP clients that ask foreign worlds whose objects are. It is a room of its own so that every one of them
// keeps the same promises: who answers is who the policy named, an answer has a bound, and secrets are read again when they change.
package httpclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
)

const (
	defaultConnections = 16
	// maxAnswer bounds an answer.
	maxAnswer  = 1 << 20
	maxHeaders = 16 << 10
	// connectTimeout is how long an attempt to connect may take. The question that began it may end earlier; the connection then
	// serves the next one.
	connectTimeout = 2 * time.Second
	idle           = 90 * time.Second
)

// Options say whom to believe and who we are. The zero value is a client without credentials that trusts the system's roots.
type Options struct {
	// CAFile holds the roots that are trusted instead of the system's; CertFile and KeyFile are the client's own, both or none.
	CAFile, CertFile, KeyFile string
	// TokenFile holds a bearer token; "" sends none.
	TokenFile string
	// Connections bounds those to one host; zero is 16.
	Connections int
	// MaxAnswer bounds an answer in bytes; zero is 1 MiB.
	MaxAnswer int64
}

// New makes a client: without a proxy of the environment, which would stand between, without redirects, by which the host would choose who
// answers, and without compression, which would hide how long an answer is. It has no timeout of its own: every question has a deadline.
func New(o Options) (*http.Client, error) {
	files, err := secrets.NewTLS(secrets.Files{CA: o.CAFile, Cert: o.CertFile, Key: o.KeyFile})
	if err != nil {
		return nil, err
	}
	connections := o.Connections
	if connections <= 0 {
		connections = defaultConnections
	}
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	t := &transport{base: &http.Transport{
		DialContext: dialer.DialContext,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return dialTLS(ctx, dialer, files, network, address)
		},
		MaxConnsPerHost:        connections,
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        idle,
		MaxResponseHeaderBytes: maxHeaders,
		DisableCompression:     true,
	}, most: cmp.Or(o.MaxAnswer, maxAnswer)}
	if o.TokenFile != "" {
		t.token = secrets.NewToken(o.TokenFile)
	}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// dialTLS is TLS by the roots as they are on disk now.
func dialTLS(ctx context.Context, dialer *net.Dialer, files *secrets.TLS, network, address string) (net.Conn, error) {
	config, err := files.Config()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	plain, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, err
	}
	return conn, nil
}

// transport adds the token, as its file has it now, and bounds what is read of an answer.
type transport struct {
	base  *http.Transport
	token *secrets.Token // nil: none
	most  int64
}

// RoundTrip is http.RoundTripper's.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if t.token != nil {
		token, err := t.token.Read()
		if err != nil {
			if request.Body != nil {
				request.Body.Close()
			}
			return nil, err
		}
		request = request.Clone(request.Context())
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := t.base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, t.most)
	return response, nil
}

// CloseIdleConnections is what http.Client looks for.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }
