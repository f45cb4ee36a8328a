package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// The limits of the gRPC server. gRPC's own defaults are 16 MiB of headers and four thousand million streams a connection.
const (
	// MaxHeaderBytes is the largest header list of one call; Envoy sends a handful of short ones.
	MaxHeaderBytes = 64 << 10
	// MaxStreams is the number of calls in flight on one connection. Envoy assumes 1,024 before it has heard of any limit, and
	// turns what is refused beyond the real one into errors, so this stays well above.
	MaxStreams = 4096
	// DefaultRecvBytes is the largest message when a service names none: the largest body that is judged, and its headers.
	DefaultRecvBytes = 4 << 20

	// connectionTimeout bounds a handshake, so that slow ones cannot pile up.
	connectionTimeout = 10 * time.Second
	// connectionAgeGrace is how long calls may still finish on a connection that reached its age.
	connectionAgeGrace = 30 * time.Second
)

// serverConfig is what differs between the servers of two gates.
type serverConfig struct {
	credentials credentials.TransportCredentials // nil: plain text
	recvBytes   int                              // zero: DefaultRecvBytes
	age         time.Duration                    // zero: connections live for ever
	grace       time.Duration                    // zero: connectionAgeGrace
	ending      context.Context                  // ends the streams when the server drains
	panics      prometheus.Counter
	log         *slog.Logger
}

func newServer(c serverConfig) *grpc.Server {
	guard := lastNet{panics: c.panics, log: c.log, ending: c.ending}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(orDefault(c.recvBytes, DefaultRecvBytes)),
		grpc.MaxHeaderListSize(MaxHeaderBytes),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.ConnectionTimeout(connectionTimeout),
		grpc.WaitForHandlers(true),
		// Envoy's keepalive pings come on idle connections too; under gRPC's default policy they earn a GOAWAY.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Half-open peers are found within a minute and a half, not after two hours. The age moves long-lived connections to
		// replicas that were added since.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: c.age, MaxConnectionAgeGrace: orDefault(c.grace, connectionAgeGrace),
		}),
		grpc.ChainUnaryInterceptor(guard.unary),
		grpc.ChainStreamInterceptor(guard.stream),
	}
	if c.credentials != nil {
		options = append(options, grpc.Creds(c.credentials))
	}
	return grpc.NewServer(options...)
}

// lastNet catches the panics that a service did not answer itself. Internal is an error to Envoy, and so a denial wherever it fails
// closed; a crashed process would be one too, for everybody.
type lastNet struct {
	panics prometheus.Counter
	log    *slog.Logger
	ending context.Context
}

func (n lastNet) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer n.catch(info.FullMethod, &err)
	return next(ctx, req)
}

// stream also ties the stream to the server's life. The only stream served is the health service's Watch, which never ends by
// itself and would hold up every drain until its deadline.
func (n lastNet) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer n.catch(info.FullMethod, &err)
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	defer context.AfterFunc(n.ending, cancel)()
	return next(srv, endingStream{ServerStream: s, ctx: ctx})
}

type endingStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context is part of grpc.ServerStream.
func (s endingStream) Context() context.Context { return s.ctx }

// catch turns a panic into Internal. Of the panic's value only a runtime error's text is logged: any other may hold what the
// request held, and a request holds tokens.
func (n lastNet) catch(method string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	n.panics.Inc()
	what := fmt.Sprintf("a value of type %T", value)
	if e, ok := value.(runtime.Error); ok {
		what = e.Error()
	}
	n.log.Error("a call panicked: this is a defect in Sallyport, please report it", "method", method, "panic", what, "stack", string(debug.Stack()))
	*err = status.Error(codes.Internal, "internal error")
}
