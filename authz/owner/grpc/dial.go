package grpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// target is where the server is and how it is spoken to.
type target struct {
	name   string       // as gRPC resolves it
	tls    *secrets.TLS // nil: plain
	server string       // whom the certificate must be of; "" is the host
}

// targetOf reads the settings. TLS is spoken unless nobody can stand between, which is a Unix socket or loopback without a word about
// certificates, or unless the operator says that something else encrypts.
func targetOf(l *policy.GRPCLookup) (target, error) {
	name, local, err := addressOf(l.Address)
	if err != nil {
		return target{}, err
	}
	wanted := l.ServerName != "" || l.CAFile != "" || l.CertFile != "" || l.KeyFile != ""
	switch {
	case l.Plaintext && wanted:
		return target{}, errors.New("plaintext and files for TLS contradict each other")
	case l.Plaintext && l.TokenFile != "" && !local:
		return target{}, errors.New("a token is sent by TLS or within this machine: without TLS whoever stands between can take it")
	case l.Plaintext, local && !wanted:
		return target{name: name}, nil
	}
	config, err := secrets.NewTLS(secrets.Files{CA: l.CAFile, Cert: l.CertFile, Key: l.KeyFile})
	if err != nil {
		return target{}, err
	}
	return target{name: name, tls: config, server: l.ServerName}, nil
}

// addressOf is the address with a scheme, so that no part of a host's name is taken for one; local says that only this machine is there.
func addressOf(address string) (name string, local bool, err error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsAny(path, "?#%\x00") {
			return "", false, fmt.Errorf("%q is not the whole path of a socket: write unix:/run/owners.sock", address)
		}
		return "unix://" + path, true, nil
	}
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || number == 0 || host == "" || strings.ContainsAny(host, "/?#@%[] ") {
		return "", false, fmt.Errorf("%q is not HOST:PORT or unix:/path", address)
	}
	return "dns:///" + address, isLoopback(host), nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Bounds of a connection.
const (
	// minConnect is how long an attempt to connect may take: questions end much earlier, the attempt goes on for the next ones.
	minConnect = 2 * time.Second
	// maxPause is the longest pause between attempts. gRPC's own two minutes would keep a server that is back for two minutes from
	// being asked.
	maxPause = 2 * time.Second
	// maxSilence is how long bytes that were sent may stay unacknowledged: then the connection is dead, whatever TCP still hopes for.
	maxSilence = 2 * time.Second
	// maxHeaders bounds the headers of an answer.
	maxHeaders = 16 << 10
)

// balance spreads questions over the addresses of the name, and goes round one that is away.
const balance = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// dial makes the client of a target. It connects when it is first asked.
func dial(t target) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if t.tls != nil {
		creds = &handshake{config: t.tls, server: t.server}
	}
	return grpc.NewClient(t.name,
		grpc.WithTransportCredentials(creds),
		grpc.WithNoProxy(), // of the environment: a proxy would stand between
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(), // whoever answers DNS does not decide how this gate asks
		grpc.WithDefaultServiceConfig(balance),
		grpc.WithUserAgent("sallyport"),
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: minConnect,
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxPause},
		}),
		// The pings are for servers that never answer and keep the connection; most answer long before the first. What matters is
		// that gRPC takes Timeout as TCP_USER_TIMEOUT too, so that a server that lost its power is noticed.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: maxSilence}),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
	)
}

// handshake is TLS by files as they are at the time of each handshake.
type handshake struct {
	config *secrets.TLS
	server string
}

// ClientHandshake is credentials.TransportCredentials'.
func (h *handshake) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := h.config.Config()
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

// ServerHandshake is credentials.TransportCredentials'; a client has none.
func (h *handshake) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("owner/grpc: a client accepts no connections")
}

// Info is credentials.TransportCredentials'. gRPC makes the server's name here the authority, against which the handshake verifies.
func (h *handshake) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls", ServerName: h.server} //nolint:staticcheck // deprecated for reading; it is how gRPC itself is told
}

// Clone is credentials.TransportCredentials'; nothing in it changes.
func (h *handshake) Clone() credentials.TransportCredentials { return h }

// OverrideServerName is credentials.TransportCredentials' and deprecated there: the policy names the server.
func (h *handshake) OverrideServerName(string) error {
	return errors.New("owner/grpc: the server's name is the policy's")
}
