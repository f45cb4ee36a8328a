package adminapi

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// peerCredentials adds to every connection who made it. It encrypts nothing: what passes through a Unix socket passes through the
// kernel alone.
type peerCredentials struct{}

var _ credentials.TransportCredentials = peerCredentials{}

// known is what a connection carries.
type known struct {
	credentials.CommonAuthInfo
	caller Caller
}

// AuthType is part of credentials.AuthInfo.
func (known) AuthType() string { return "peercred" }

// ServerHandshake asks who is there.
func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, known{credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, callerOf(conn)}, nil
}

// ClientHandshake is not for us: the client of this socket proves nothing, its kernel does.
func (peerCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("adminapi: these credentials are the server's")
}

// Info is part of credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "peercred"}
}

// Clone is part of credentials.TransportCredentials.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is part of credentials.TransportCredentials; there is no name here.
func (peerCredentials) OverrideServerName(string) error { return nil }

func callerFrom(ctx context.Context) Caller {
	if p, ok := peer.FromContext(ctx); ok {
		if k, ok := p.AuthInfo.(known); ok {
			return k.caller
		}
	}
	return Caller{}
}
