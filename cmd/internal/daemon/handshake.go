package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"syscall"

	"google.golang.org/grpc/credentials"
)

// handshakes is gRPC's TLS with a memory of who was turned away and why: gRPC itself closes the connection in silence, and the
// client (Envoy) shows the operator no more than "connection failure".
type handshakes struct {
	credentials.TransportCredentials
	certificates *certificates
}

func newHandshakes(c *certificates) credentials.TransportCredentials {
	return &handshakes{TransportCredentials: credentials.NewTLS(c.listener()), certificates: c}
}

// Clone is part of credentials.TransportCredentials.
func (h *handshakes) Clone() credentials.TransportCredentials {
	return &handshakes{TransportCredentials: h.TransportCredentials.Clone(), certificates: h.certificates}
}

// ServerHandshake is part of credentials.TransportCredentials.
func (h *handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ServerHandshake(raw)
	_, old := h.certificates.old.LoadAndDelete(raw)
	if err != nil {
		h.certificates.turnedAway(raw.RemoteAddr(), old, err)
		return conn, info, err
	}
	return conn, knownClient(h.certificates.ids, info), nil
}

// turnedAway counts and logs one refused handshake under one of a few reasons.
func (c *certificates) turnedAway(from net.Addr, old bool, err error) {
	level, reason, message := slog.LevelWarn, "handshake", "TLS handshake refused"
	switch {
	case old:
		reason = "version"
		message = "TLS handshake refused: the client offers TLS 1.2 at most; in Envoy set tls_params: {tls_maximum_protocol_version: TLSv1_3} on the cluster's transport socket"
	case errors.Is(err, errClientID):
		reason = "client_id"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		// Port probes connect and leave; they are no client's failure.
		level, reason = slog.LevelDebug, "gone"
	}
	c.refused.WithLabelValues(reason).Inc()
	if skipped, ok := c.lines.allow(reason); ok {
		c.log.Log(context.Background(), level, message, "reason", reason, "from", from.String(), "err", err, "not_logged", skipped)
	}
}
