// Package rls is the door between Envoy's rate limit service and the limiter: it reads a RateLimitRequest, judges nothing, and
// writes the verdict in one table. It is the only importer of that API, so that Envoy changes in one place.
package rls

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// The most that one request may hold; one that holds more is over the limit. Whatever a client can cause must not end with an
// error: Envoy lets a request pass then.
const (
	// MaxDescriptors is the most descriptors of a request.
	MaxDescriptors = 100
	// MaxEntries is the most entries of a descriptor. No limits file nests as deep.
	MaxEntries = 32
)

// Limiter decides requests; a [*ratelimit.Limiter] is one.
type Limiter interface {
	Spend(ctx context.Context, req ratelimit.Request) (ratelimit.Response, error)
}

// Options configure a [Server]; the zero value is usable.
type Options struct {
	// Metrics are told of every request; nil for none.
	Metrics *Metrics
	// ReferenceErrors answers as envoyproxy/ratelimit does: what cannot be decided (no domain, no descriptors, no limits loaded, a
	// store that failed) is gRPC code Unknown, with its words where they tell nothing of the store. False: InvalidArgument for
	// what no limiter could answer, Unavailable for what a later call may.
	ReferenceErrors bool
	// DynamicMetadata adds to each answer what it was about, for access logs and later filters (RESPONSE_DYNAMIC_METADATA of
	// envoyproxy/ratelimit): domain, hitsAddend, descriptors, quotaModeEnabled, quotaModeViolations and the rules' metadata.
	DynamicMetadata bool
	// Headers are added to responses; none by default, since Envoy can write its own.
	Headers Headers
	// OnPanic is told of a panic that was caught while a request was decided, with the stack. It may be nil, and must be safe
	// for concurrent use.
	OnPanic func(value any, stack []byte)
	// OnUnjudged is told of each request that was refused without an answer of the limiter, with as much of it as was read, and
	// why: "undecodable", "oversize", "foreign" or "panic". It may be nil, and must be safe for concurrent use.
	OnUnjudged func(req ratelimit.Request, why string)
	// Admits says whether the caller of this call may spend limits of a domain, so that one sidecar cannot spend another's budget. A
	// call that it refuses is over the limit, for an error would let the request pass in Envoy. Nil admits everybody. It must be safe
	// for concurrent use.
	Admits func(ctx context.Context, domain string) bool
}

// Server answers Envoy. It is safe for concurrent use.
type Server struct {
	limiter Limiter
	options Options
}

var _ rlsv3.RateLimitServiceServer = (*Server)(nil)

// New makes a server of a limiter, which must not be nil.
func New(limiter Limiter, o Options) *Server {
	if legacy := o.Headers.Legacy; legacy != nil {
		o.Headers.Legacy = legacy.orDefaults()
	}
	return &Server{limiter: limiter, options: o}
}

// Register adds the service to a gRPC server, so that whoever listens need not know Envoy's API. Unlike the generated
// registration it answers requests that protobuf cannot decode: those with text that is not UTF-8 are judged as any other, and
// what is no request at all is over the limit.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	desc := rlsv3.RateLimitService_ServiceDesc
	desc.Methods = []grpc.MethodDesc{{MethodName: "ShouldRateLimit", Handler: func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		return s.handle(ctx, decode, intercept)
	}}}
	registrar.RegisterService(&desc, s)
}

// ServiceName is the service's full gRPC name, for health reports and access lists.
const ServiceName = "envoy.service.ratelimit.v3.RateLimitService"

// ShouldRateLimit implements the service. A refused request is an OK call whose overall code is OVER_LIMIT, because Envoy treats
// an error as a failure of the service, which by default lets the request pass; the code is never UNKNOWN, which Envoy lets
// pass too. A panic is a refusal for the same reason.
func (s *Server) ShouldRateLimit(ctx context.Context, in *rlsv3.RateLimitRequest) (out *rlsv3.RateLimitResponse, err error) {
	if s.options.Metrics != nil {
		defer s.options.Metrics.called(time.Now())
	}
	defer func() {
		if r := recover(); r != nil {
			s.panicked(r)
			out, err = s.refused(ratelimit.Request{Domain: in.GetDomain()}, panicked, len(in.GetDescriptors())), nil
		}
	}()
	req, ok := decode(in)
	if !ok {
		return s.refused(req, oversize, len(in.GetDescriptors())), nil
	}
	if s.options.Admits != nil && !s.options.Admits(ctx, req.Domain) {
		return s.refused(req, foreign, len(in.GetDescriptors())), nil
	}
	answer, err := s.limiter.Spend(ctx, req)
	if err != nil {
		return nil, s.failed(err)
	}
	return s.encode(&req, &answer), nil
}

// undecodable refuses what cannot be read, and so has no descriptors to speak of.
func (s *Server) undecodable() *rlsv3.RateLimitResponse {
	if s.options.Metrics != nil {
		s.options.Metrics.called(time.Now())
	}
	return s.refused(ratelimit.Request{}, undecodable, 0)
}

// refused is the answer to a request that nobody judged: over the limit, with a status for each descriptor, as far as the answer
// stays in proportion.
func (s *Server) refused(req ratelimit.Request, why string, descriptors int) *rlsv3.RateLimitResponse {
	if s.options.Metrics != nil {
		s.options.Metrics.unjudged.WithLabelValues(why).Inc()
	}
	if s.options.OnUnjudged != nil {
		s.options.OnUnjudged(req, why)
	}
	over := &rlsv3.RateLimitResponse_DescriptorStatus{Code: rlsv3.RateLimitResponse_OVER_LIMIT}
	return &rlsv3.RateLimitResponse{
		OverallCode: rlsv3.RateLimitResponse_OVER_LIMIT,
		Statuses:    slices.Repeat([]*rlsv3.RateLimitResponse_DescriptorStatus{over}, min(descriptors, MaxDescriptors)),
	}
}

func (s *Server) panicked(value any) {
	if s.options.Metrics != nil {
		s.options.Metrics.panics.Inc()
	}
	if s.options.OnPanic != nil {
		s.options.OnPanic(value, debug.Stack())
	}
}

// failed turns an error into the status that Envoy gets. Nothing of a store's or an unforeseen error leaves.
func (s *Server) failed(err error) error {
	code, text, kind := statusOf(err)
	if s.options.ReferenceErrors && answeredByReference(err) {
		code = codes.Unknown
	}
	if s.options.Metrics != nil {
		s.options.Metrics.failures.WithLabelValues(kind).Inc()
	}
	return status.Error(code, text)
}

// Why a request is refused without the limiter's judgement.
const (
	undecodable = "undecodable"
	oversize    = "oversize"
	foreign     = "foreign"
	panicked    = "panic"
)

// The kinds of errors that the reference's metric knows.
const (
	kindStore   = "redis_error"
	kindService = "service_error"
)

// answeredByReference says that the reference has an answer to the error too, and by which code: none but Unknown.
func answeredByReference(err error) bool {
	var store *ratelimit.StoreError
	return errors.Is(err, ratelimit.ErrNoDomain) || errors.Is(err, ratelimit.ErrNoDescriptors) || errors.Is(err, ratelimit.ErrNoTable) || errors.As(err, &store)
}

func statusOf(err error) (code codes.Code, text, kind string) {
	var store *ratelimit.StoreError
	switch {
	case errors.Is(err, ratelimit.ErrNoDomain), errors.Is(err, ratelimit.ErrNoDescriptors), errors.Is(err, ratelimit.ErrInvalid):
		return codes.InvalidArgument, err.Error(), kindService
	case errors.Is(err, ratelimit.ErrNoTable):
		return codes.Unavailable, err.Error(), kindService
	case errors.As(err, &store):
		return codes.Unavailable, "the store of the rate limits could not decide", kindStore
	case errors.Is(err, context.Canceled):
		return codes.Canceled, "the caller has gone", kindService
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded, "no answer in time", kindService
	}
	return codes.Internal, "internal error", kindService
}
