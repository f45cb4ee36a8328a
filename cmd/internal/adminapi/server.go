package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	adminv1 "github.com/sallyport-dev/sallyport/proto/admin/v1"
)

// Flag is the option that names the socket, for messages.
const Flag = "--admin-api"

const (
	// maxIssuer and maxValue bound what a request names; the longest token holds no longer name that matters.
	maxIssuer, maxValue = 255, 2048
	// maxMessage is far above the two of them.
	maxMessage = 16 << 10
	// callTimeout bounds one call whatever its client allows, and so how long an ending gate waits for it.
	callTimeout = 5 * time.Second
)

// Options are what a server needs beside its Revoker. The zero value serves.
type Options struct {
	// Audit is told of every call, good or bad, before it is answered. It must be safe for concurrent use. Nil tells nobody.
	Audit func(Call)
	// Denials are what the gate remembers of them; nil where it remembers none.
	Denials Denials
	// Asked is told of every question about a decision, as Audit is of every revocation. Nil tells nobody.
	Asked func(Asked)
	// Limits serves the service Limits; nil where the gate counts nothing.
	Limits Limits
	// Counted is told of every call about a counter, as Audit is of every revocation. Nil tells nobody.
	Counted func(Counted)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Asked is one question about a decision, for the log.
type Asked struct {
	Caller   Caller
	Question Question
	// Err is why it was not answered; nil if it was.
	Err error
}

// CheckAddress refuses what cannot be the address of the admin API, before anything is opened: it is "unix:/path" and nothing else.
func CheckAddress(address string) error {
	if !strings.HasPrefix(address, "unix:") {
		return fmt.Errorf("adminapi: %s %q: write unix:/run/sallyport/admin.sock; it listens on no TCP port, since mTLS for the admin API is not supported yet",
			Flag, address)
	}
	_, err := daemon.SocketPath(Flag, address)
	return err
}

// Listen binds the admin API's socket with mode 0600, in a folder that belongs to this process's user and that nobody else can write
// to. A TCP address is refused.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	return daemon.ListenSocket(ctx, Flag, address, 0o600)
}

// Serve answers admin/v1 on a listener of [Listen] until ctx ends: the service Limits where the options have one, and the service
// Admin, unless there is no Revoker beside them. It lets the calls in flight finish, closes the listener, removes
// the socket and returns nil. An error means that the listener failed.
func Serve(ctx context.Context, l net.Listener, r Revoker, opt Options) error {
	if opt.Audit == nil {
		opt.Audit = func(Call) {}
	}
	if opt.Asked == nil {
		opt.Asked = func(Asked) {}
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	server := grpc.NewServer(
		grpc.Creds(peerCredentials{}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(daemon.MaxHeaderBytes),
		grpc.MaxConcurrentStreams(16),
		grpc.ConnectionTimeout(callTimeout),
		grpc.WaitForHandlers(true),
	)
	if r != nil || opt.Limits == nil {
		adminv1.RegisterAdminServer(server, &service{revoker: r, options: opt})
	}
	if opt.Limits != nil {
		adminv1.RegisterLimitsServer(server, newLimitsService(opt))
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		// A client that began a call and sends no message must not hold up the gate's end.
		last := time.AfterFunc(2*callTimeout, server.Stop)
		defer last.Stop()
		server.GracefulStop()
	})
	err := server.Serve(l)
	if stop() {
		return fmt.Errorf("adminapi: serve: %w", err)
	}
	<-stopped
	return nil
}

// service is admin/v1.
type service struct {
	adminv1.UnimplementedAdminServer
	revoker Revoker
	options Options
}

// Revoke is part of adminv1.AdminServer.
func (s *service) Revoke(ctx context.Context, in *adminv1.RevokeRequest) (*adminv1.RevokeResponse, error) {
	call := Call{Caller: callerFrom(ctx)}
	call.Request, call.Err = read(in, s.options.Now())
	if call.Err == nil {
		call.Until, call.Err = s.revoke(ctx, call.Request)
	}
	s.options.Audit(call)
	if call.Err != nil {
		return nil, status.Error(code(call.Err), message(call.Err))
	}
	return &adminv1.RevokeResponse{Until: timestamppb.New(call.Until)}, nil
}

// revoke asks the Revoker. A panic there must not end the gate for everybody, and its value may hold anything.
func (s *service) revoke(ctx context.Context, r Request) (until time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer func() {
		if value := recover(); value != nil {
			until, err = time.Time{}, fmt.Errorf("revoking panicked with a %T: this is a defect in Sallyport, please report it", value)
		}
	}()
	until, err = s.revoker.Revoke(ctx, r)
	switch {
	case err != nil:
		return time.Time{}, err
	case until.IsZero():
		return time.Time{}, errors.New("revoking did not say until when: this is a defect in Sallyport, please report it")
	}
	return until, nil
}

// errRequest is a request that names no tokens, or contradicts itself.
type errRequest string

func (e errRequest) Error() string { return string(e) }

// read judges a request. What it returns beside an error is for the log.
func read(in *adminv1.RevokeRequest, now time.Time) (Request, error) {
	r := Request{Issuer: in.GetIssuer()}
	switch target := in.GetTarget().(type) {
	case *adminv1.RevokeRequest_Jti:
		r.Kind, r.Value = Token, target.Jti
	case *adminv1.RevokeRequest_Subject:
		r.Kind, r.Value = Subject, target.Subject
	case *adminv1.RevokeRequest_Client:
		r.Kind, r.Value = Client, target.Client
	case *adminv1.RevokeRequest_Session:
		r.Kind, r.Value = Session, target.Session
	case *adminv1.RevokeRequest_WholeIssuer:
		if r.Kind = WholeIssuer; !target.WholeIssuer {
			return r, errRequest("whole_issuer is false, which names no token")
		}
	}
	if in.GetAt() != nil {
		if err := in.GetAt().CheckValid(); err != nil {
			return r, errRequest("at is not an instant")
		}
		r.At = in.GetAt().AsTime()
	}
	if err := r.check(now); err != nil {
		return r, err
	}
	if r.At.IsZero() && r.Kind != Token {
		r.At = now
	}
	return r, nil
}

// check says what is wrong with a request, in words of the service's fields.
func (r Request) check(now time.Time) error {
	switch {
	case r.Issuer == "":
		return errRequest("issuer is missing: the policy's own name of the issuer")
	case !name(r.Issuer, maxIssuer):
		return errRequest(fmt.Sprintf("issuer is longer than %d bytes or holds a control character", maxIssuer))
	case r.Kind == Nothing:
		return errRequest("say which tokens: jti, subject, client, session or whole_issuer")
	case r.Kind == WholeIssuer && r.Value != "":
		return errRequest("the whole issuer has no value")
	case r.Kind != WholeIssuer && r.Value == "":
		return errRequest(r.Kind.String() + " is empty, which names no token")
	case !name(r.Value, maxValue):
		return errRequest(fmt.Sprintf("%s is longer than %d bytes or holds a control character", r.Kind, maxValue))
	case r.Kind == Token && !r.At.IsZero():
		return errRequest("at does not go with jti, which names one token whenever it was issued")
	case r.At.After(now):
		return errRequest("at lies in the future: people who log in again would be locked out until then")
	case !r.At.IsZero() && r.At.Before(time.Unix(0, 0)):
		return errRequest("at lies before 1970, when no token was issued")
	}
	return nil
}

// name says that a text can be one: names in tokens hold no control characters, or the token is refused.
func name(text string, most int) bool {
	return len(text) <= most && utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// code is how an error travels.
func code(err error) codes.Code {
	var bad errRequest
	switch {
	case errors.As(err, &bad):
		return codes.InvalidArgument
	case errors.Is(err, ErrNoIssuer):
		return codes.NotFound
	case errors.Is(err, ErrOff):
		return codes.FailedPrecondition
	case errors.Is(err, ErrStore):
		return codes.Unavailable
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return codes.Internal
}

// text is a text as protobuf takes it.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// message is the error's text in one line of valid UTF-8, as a status demands.
func message(err error) string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
}
