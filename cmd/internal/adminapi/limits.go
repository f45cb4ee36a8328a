package adminapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	adminv1 "github.com/sallyport-dev/sallyport/proto/admin/v1"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Limits are the counters of a gate. A [*ratelimit.Limiter] has the first three methods. Implementations are safe for concurrent use and
// respect the context's deadline.
type Limits interface {
	Peek(ctx context.Context, domain string, entries []limits.Entry) (ratelimit.Inspection, error)
	Reset(ctx context.Context, domain string, entries []limits.Entry) (ratelimit.Inspection, error)
	Grant(ctx context.Context, domain string, entries []limits.Entry, hits uint32) (ratelimit.Inspection, error)
	// Strays are the descriptors about which the files have nothing to say, the latest first.
	Strays() []ratelimit.Stray
}

// Counted is one call about a counter, for the log.
type Counted struct {
	Caller Caller
	// Call is "peek", "reset", "grant" or "unmatched".
	Call    string
	Domain  string
	Entries []limits.Entry
	// Hits are those of a grant.
	Hits uint32
	// Err is why it was not done; nil if it was.
	Err error
}

const (
	maxEntries = 32
	maxText    = 2048
)

type limitsService struct {
	adminv1.UnimplementedLimitsServer
	limits  Limits
	counted func(Counted)
}

func newLimitsService(opt Options) *limitsService {
	s := &limitsService{limits: opt.Limits, counted: opt.Counted}
	if s.counted == nil {
		s.counted = func(Counted) {}
	}
	return s
}

// Peek is part of adminv1.LimitsServer.
func (s *limitsService) Peek(ctx context.Context, in *adminv1.PeekRequest) (*adminv1.PeekResponse, error) {
	counter, err := s.counter(ctx, Counted{Call: "peek"}, in.GetDescriptor_(), func(ctx context.Context, c *Counted) (ratelimit.Inspection, error) {
		return s.limits.Peek(ctx, c.Domain, c.Entries)
	})
	return &adminv1.PeekResponse{Counter: counter}, err
}

// Reset is part of adminv1.LimitsServer.
func (s *limitsService) Reset(ctx context.Context, in *adminv1.ResetRequest) (*adminv1.ResetResponse, error) {
	counter, err := s.counter(ctx, Counted{Call: "reset"}, in.GetDescriptor_(), func(ctx context.Context, c *Counted) (ratelimit.Inspection, error) {
		return s.limits.Reset(ctx, c.Domain, c.Entries)
	})
	return &adminv1.ResetResponse{Counter: counter}, err
}

// Grant is part of adminv1.LimitsServer.
func (s *limitsService) Grant(ctx context.Context, in *adminv1.GrantRequest) (*adminv1.GrantResponse, error) {
	counter, err := s.counter(ctx, Counted{Call: "grant", Hits: in.GetHits()}, in.GetDescriptor_(), func(ctx context.Context, c *Counted) (ratelimit.Inspection, error) {
		if c.Hits == 0 {
			return ratelimit.Inspection{}, errRequest("hits is 0: say how many to give back")
		}
		return s.limits.Grant(ctx, c.Domain, c.Entries, c.Hits)
	})
	return &adminv1.GrantResponse{Counter: counter}, err
}

// Unmatched is part of adminv1.LimitsServer.
func (s *limitsService) Unmatched(ctx context.Context, _ *adminv1.UnmatchedRequest) (*adminv1.UnmatchedResponse, error) {
	s.counted(Counted{Caller: callerFrom(ctx), Call: "unmatched"})
	out := &adminv1.UnmatchedResponse{}
	for _, stray := range s.limits.Strays() {
		out.Descriptors = append(out.Descriptors, &adminv1.Unmatched{
			Descriptor_: wireDescriptor(stray.Domain, stray.Entries), Time: timestamppb.New(stray.Time), Count: stray.Count,
		})
	}
	return out, nil
}

// counter reads whom a call is about, makes the call, and tells the log.
func (s *limitsService) counter(ctx context.Context, c Counted, in *adminv1.Descriptor, do func(context.Context, *Counted) (ratelimit.Inspection, error)) (*adminv1.Counter, error) {
	c.Caller = callerFrom(ctx)
	var seen ratelimit.Inspection
	if c.Err = c.read(in); c.Err == nil {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		seen, c.Err = do(ctx, &c)
	}
	s.counted(c)
	if c.Err != nil {
		return nil, status.Error(limitsCode(c.Err), message(c.Err))
	}
	return wireCounter(seen), nil
}

func (c *Counted) read(in *adminv1.Descriptor) error {
	c.Domain = in.GetDomain()
	switch {
	case c.Domain == "" || len(c.Domain) > maxText:
		return errRequest(fmt.Sprintf("domain is missing or longer than %d bytes", maxText))
	case len(in.GetEntries()) == 0 || len(in.GetEntries()) > maxEntries:
		return errRequest(fmt.Sprintf("a descriptor has 1 to %d entries", maxEntries))
	}
	for _, e := range in.GetEntries() {
		if e.GetKey() == "" || len(e.GetKey()) > maxText || len(e.GetValue()) > maxText {
			return errRequest(fmt.Sprintf("an entry has a key, and neither key nor value is longer than %d bytes", maxText))
		}
		c.Entries = append(c.Entries, limits.Entry{Key: e.GetKey(), Value: e.GetValue()})
	}
	return nil
}

func limitsCode(err error) codes.Code {
	var bad errRequest
	var store *ratelimit.StoreError
	switch {
	case errors.As(err, &bad):
		return codes.InvalidArgument
	case errors.Is(err, ratelimit.ErrUncounted):
		return codes.NotFound
	case errors.Is(err, ratelimit.ErrNoTable), errors.As(err, &store):
		return codes.Unavailable
	}
	return code(err)
}

func wireDescriptor(domain string, entries []limits.Entry) *adminv1.Descriptor {
	out := &adminv1.Descriptor{Domain: text(domain)}
	for _, e := range entries {
		out.Entries = append(out.Entries, &adminv1.Entry{Key: text(e.Key), Value: text(e.Value)})
	}
	return out
}

func wireCounter(seen ratelimit.Inspection) *adminv1.Counter {
	out := &adminv1.Counter{Rule: text(seen.Rule.Path), Place: text(fmt.Sprintf("%s:%d", seen.Rule.File, seen.Rule.Pos.Line))}
	for i, w := range seen.Windows {
		out.Windows = append(out.Windows, &adminv1.Window{
			Limit: w.Limit, Span: durationpb.New(w.Span), LimitRemaining: seen.States[i].Remaining, DurationUntilReset: durationpb.New(seen.States[i].Reset),
		})
	}
	return out
}

// Counter is a counter as the client is told it.
type Counter struct {
	Rule, Place string
	Windows     []CounterWindow
}

// CounterWindow is one window of a counter.
type CounterWindow struct {
	Limit, Remaining uint32
	Span, Reset      time.Duration
}

// Count asks the gate at address about a counter: call is "peek", "reset" or "grant". Errors are marked as those of [Revoke].
func Count(ctx context.Context, address, what string, domain string, entries []limits.Entry, hits uint64) (Counter, error) {
	if hits > math.MaxUint32 {
		return Counter{}, daemon.Unable(fmt.Errorf("%d hits: at most %d", hits, uint32(math.MaxUint32)))
	}
	descriptor := wireDescriptor(domain, entries)
	var out *adminv1.Counter
	err := call(ctx, address, func(ctx context.Context, conn *grpc.ClientConn) error {
		client := adminv1.NewLimitsClient(conn)
		switch what {
		case "reset":
			in, err := client.Reset(ctx, &adminv1.ResetRequest{Descriptor_: descriptor})
			out = in.GetCounter()
			return err
		case "grant":
			in, err := client.Grant(ctx, &adminv1.GrantRequest{Descriptor_: descriptor, Hits: uint32(hits)})
			out = in.GetCounter()
			return err
		default:
			in, err := client.Peek(ctx, &adminv1.PeekRequest{Descriptor_: descriptor})
			out = in.GetCounter()
			return err
		}
	})
	if err != nil {
		return Counter{}, refusal(err, address)
	}
	counter := Counter{Rule: out.GetRule(), Place: out.GetPlace()}
	for _, w := range out.GetWindows() {
		counter.Windows = append(counter.Windows, CounterWindow{w.GetLimit(), w.GetLimitRemaining(), w.GetSpan().AsDuration(), w.GetDurationUntilReset().AsDuration()})
	}
	return counter, nil
}

// Strays asks the gate at address which descriptors found no limit. Errors are marked as those of [Revoke].
func Strays(ctx context.Context, address string) ([]ratelimit.Stray, error) {
	var out *adminv1.UnmatchedResponse
	err := call(ctx, address, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		out, err = adminv1.NewLimitsClient(conn).Unmatched(ctx, &adminv1.UnmatchedRequest{})
		return err
	})
	if err != nil {
		return nil, refusal(err, address)
	}
	var strays []ratelimit.Stray
	for _, d := range out.GetDescriptors() {
		stray := ratelimit.Stray{Domain: d.GetDescriptor_().GetDomain(), Time: d.GetTime().AsTime(), Count: d.GetCount()}
		for _, e := range d.GetDescriptor_().GetEntries() {
			stray.Entries = append(stray.Entries, limits.Entry{Key: e.GetKey(), Value: e.GetValue()})
		}
		strays = append(strays, stray)
	}
	return strays, nil
}

// refusal turns a call's error into words and an exit code.
func refusal(err error, address string) error {
	switch s := status.Convert(err); s.Code() {
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument:
		return daemon.Invalid(errors.New(s.Message()))
	case codes.Unimplemented:
		return daemon.Unable(fmt.Errorf("what listens at %s does not know this call: is it a gate of this kind and version?", address))
	case codes.Unknown:
		return err // it could not be asked, and says so
	default:
		return daemon.Unable(fmt.Errorf("the gate did not answer: %s (%s %s)", s.Message(), Flag, address))
	}
}
