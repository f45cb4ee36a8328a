package openfga

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const (
	defaultConnections = 16
	// maxAnswer bounds an answer; one about a thousand objects is 50 KB.
	maxAnswer  = 1 << 20
	maxHeaders = 16 << 10
	// connectTimeout is how long an attempt to connect may take. The question that began it may end earlier; the connection then
	// serves the next one.
	connectTimeout = 2 * time.Second
	idle           = 90 * time.Second
)

// newClient is the only client there is: without a proxy of the environment, which would stand between, without redirects, by which the
// host would choose who answers, and without compression, which would hide how long an answer is.
func newClient(l *policy.OpenFGALookup, connections int) (*http.Client, error) {
	files, err := secrets.NewTLS(secrets.Files{CA: l.CAFile})
	if err != nil {
		return nil, err
	}
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
	}}
	if l.TokenFile != "" {
		t.token = secrets.NewToken(l.TokenFile)
	}
	return &http.Client{
		Transport:     t, // without a timeout of its own: every question has a deadline
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
	response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	return response, nil
}

// CloseIdleConnections is what http.Client looks for.
func (t *transport) CloseIdleConnections() { t.base.CloseIdleConnections() }
