package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	adminv1 "github.com/sallyport-dev/sallyport/proto/admin/v1"
)

// Revoke asks the gate at address ("unix:/path") to take tokens back, and returns until when the entry will be kept. An error that
// is marked as daemon.Invalid is the gate's no; one marked as daemon.Unable means that it could not be asked, or could not do it
// everywhere. Its text says what to do.
func Revoke(ctx context.Context, address string, r Request) (until time.Time, err error) {
	in, err := wire(r)
	if err != nil {
		return time.Time{}, daemon.Unable(err)
	}
	var out *adminv1.RevokeResponse
	asked := false
	err = call(ctx, address, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		asked = true
		out, err = adminv1.NewAdminClient(conn).Revoke(ctx, in)
		return err
	})
	switch {
	case err != nil && asked:
		return time.Time{}, explain(err, address)
	case err != nil:
		return time.Time{}, err
	}
	return out.GetUntil().AsTime(), nil
}

// call makes one call to the gate at address. An error from before the call is marked as daemon.Unable.
func call(ctx context.Context, address string, do func(context.Context, *grpc.ClientConn) error) error {
	if err := CheckAddress(address); err != nil {
		return daemon.Unable(err)
	}
	path, err := daemon.SocketPath(Flag, address)
	if err != nil {
		return daemon.Unable(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	socket, err := dial(ctx, path)
	if err != nil {
		return daemon.Unable(err)
	}
	defer func() { _ = socket.Close() }()
	conn, err := over(socket)
	if err != nil {
		return daemon.Unable(fmt.Errorf("adminapi: %w", err))
	}
	defer func() { _ = conn.Close() }()
	return do(ctx, conn)
}

// dial connects before gRPC does, whose client would try again and again: the system's answers, in an operator's words.
func dial(ctx context.Context, path string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("adminapi: there is no socket %s: is a gate running with %s unix:%s?", path, Flag, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("adminapi: %s may not be opened: run this as the user that the gate runs as", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("adminapi: nobody answers at %s: is a gate running with %s unix:%s?", path, Flag, path)
	case err != nil:
		return nil, fmt.Errorf("adminapi: %w", err)
	}
	return conn, nil
}

// over makes a gRPC connection of a socket that is open already.
func over(socket net.Conn) (*grpc.ClientConn, error) {
	sockets := make(chan net.Conn, 1)
	sockets <- socket
	return grpc.NewClient("passthrough:///admin-api",
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-sockets:
				return conn, nil
			default:
				return nil, errors.New("the gate closed the connection")
			}
		}))
}

func wire(r Request) (*adminv1.RevokeRequest, error) {
	in := &adminv1.RevokeRequest{Issuer: r.Issuer}
	switch r.Kind {
	case Token:
		in.Target = &adminv1.RevokeRequest_Jti{Jti: r.Value}
	case Subject:
		in.Target = &adminv1.RevokeRequest_Subject{Subject: r.Value}
	case Client:
		in.Target = &adminv1.RevokeRequest_Client{Client: r.Value}
	case Session:
		in.Target = &adminv1.RevokeRequest_Session{Session: r.Value}
	case WholeIssuer:
		in.Target = &adminv1.RevokeRequest_WholeIssuer{WholeIssuer: true}
	default:
		return nil, errors.New("adminapi: the request names no tokens")
	}
	if !name(r.Issuer, maxIssuer) || !name(r.Value, maxValue) {
		return nil, fmt.Errorf("adminapi: a name is too long (at most %d bytes, %d for an issuer), not UTF-8, or holds a control character", maxValue, maxIssuer)
	}
	if !r.At.IsZero() {
		in.At = timestamppb.New(r.At)
	}
	return in, nil
}

// explain turns a status into words and an exit code.
func explain(err error, address string) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition:
		return daemon.Invalid(fmt.Errorf("the gate refused: %s", s.Message()))
	case codes.Unavailable:
		return daemon.Unable(fmt.Errorf("not revoked everywhere, ask again (twice is once): %s (%s %s)", s.Message(), Flag, address))
	case codes.DeadlineExceeded, codes.Canceled:
		return daemon.Unable(fmt.Errorf("the gate did not answer in time; it may have revoked or not, ask again: twice is once (%s %s)", Flag, address))
	case codes.Unimplemented:
		return daemon.Unable(fmt.Errorf("what listens at %s does not know this call: is it a gate of this version?", address))
	default:
		return daemon.Unable(fmt.Errorf("the gate failed: %s", s.Message()))
	}
}
