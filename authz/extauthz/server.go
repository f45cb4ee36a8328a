package extauthz

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport-dev/sallyport/authz"
)

// notAppended is shared by all responses; it is never changed.
var notAppended = wrapperspb.Bool(false)

// Checker decides requests. *authz.Authorizer is one.
type Checker interface {
	Check(ctx context.Context, r *authz.Request) *authz.Decision
}

// Server answers envoy.service.auth.v3.Authorization. It is safe for concurrent use.
type Server struct {
	authv3.UnimplementedAuthorizationServer
	checker Checker
	metrics *Metrics
}

// New returns a server that asks the checker. Metrics may be nil.
func New(checker Checker, metrics *Metrics) *Server {
	return &Server{checker: checker, metrics: metrics}
}

// Register serves s on r. Unlike the generated registration it answers a request with text that is no UTF-8 in it (CVE-2023-27488),
// which cannot be decoded: as an RPC error it would be an outage of the gate to Envoy. It is judged as an empty request, and denied.
func Register(r grpc.ServiceRegistrar, s *Server) {
	desc := authv3.Authorization_ServiceDesc
	desc.Methods = slices.Clone(desc.Methods)
	for i := range desc.Methods {
		method := desc.Methods[i].Handler
		desc.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return method(srv, ctx, forgiving(decode), interceptor)
		}
	}
	r.RegisterService(&desc, s)
}

// forgiving decodes in two strokes, because gRPC answers the caller as soon as the first fails: into a message without fields, which
// keeps all of them as bytes, and from there. What is no protobuf message at all stays an RPC error, and so does what is longer than
// the server takes: gRPC answers that before anybody can.
func forgiving(decode func(any) error) func(any) error {
	return func(into any) error {
		var message emptypb.Empty
		if err := decode(&message); err != nil {
			return err
		}
		in, ok := into.(proto.Message)
		if !ok {
			return fmt.Errorf("extauthz: decode into %T", into)
		}
		if err := proto.Unmarshal(message.ProtoReflect().GetUnknown(), in); err != nil {
			proto.Reset(in)
		}
		return nil
	}
}

// Check answers with an allow or a denial, and never with an RPC error: Envoy takes an error for an outage of the gate, which
// failure_mode_allow could turn into an open door.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (out *authv3.CheckResponse, err error) {
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			d := &authz.Decision{Reason: authz.Panicked, ID: rand.Text(), Who: "ip|unknown", Err: fmt.Errorf("extauthz: recovered: %v", p)}
			s.metrics.observe(d, time.Since(start))
			out, err = denied(d, false), nil
		}
	}()
	r := request(in)
	d := sound(s.checker.Check(ctx, r))
	out = response(d, speaksGRPC(&r.Headers))
	s.metrics.observe(d, time.Since(start))
	return out, nil
}

// speaksGRPC reports whether the client is answered in gRPC's terms. Envoy treats grpc-web as plain HTTP here, and so do we.
func speaksGRPC(h *authz.Headers) bool {
	kind, _ := h.One("content-type")
	kind = strings.ToLower(kind)
	rest, ok := strings.CutPrefix(kind, "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}
