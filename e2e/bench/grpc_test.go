package bench

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// callTimeout is the deadline that every call carries, since Envoy's carry one. It is generous, so that only a hang meets it.
const callTimeout = 5 * time.Second

// daemonServer is a gRPC server with the options of the one that the binary runs.
func daemonServer() *grpc.Server {
	return grpc.NewServer(
		grpc.MaxRecvMsgSize(4<<20),
		grpc.MaxHeaderListSize(64<<10),
		grpc.MaxConcurrentStreams(4096),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.WaitForHandlers(true),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: 15 * time.Minute, MaxConnectionAgeGrace: 30 * time.Second,
		}),
		grpc.ChainUnaryInterceptor(lastNet),
	)
}

// lastNet answers a panic that a service did not answer itself.
func lastNet(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if recover() != nil {
			err = status.Error(codes.Internal, "internal error")
		}
	}()
	return next(ctx, req)
}

// networks are the two ways in that the binary offers.
var networks = []string{"tcp", "unix"}

// serve lets a server answer until the benchmark ends, and returns one connection to it, which is what one of Envoy's workers has.
func serve(b *testing.B, network string, s *grpc.Server) *grpc.ClientConn {
	b.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(b.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	target := l.Addr().String()
	if network == "unix" {
		target = "unix:" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// callers are how many calls are in flight: one shows the latency of a call, sixteen what a connection of Envoy's carries.
var callers = []struct {
	name string
	n    int
}{{"1-caller", 1}, {"16-callers", 16}}
