package grpc

import (
	"context"
	"fmt"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
	"github.com/sallyport-dev/sallyport/authz/policy"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// The bounds that the protocol promises to servers, in bytes. What is longer is not asked about: a question of 1,000 objects stays below
// [MaxMessage], so that nobody can send ids of which the question fails for everybody.
const (
	// MaxObject is the longest id of an object.
	MaxObject = 1024
	// MaxName is the longest subject or tenant.
	MaxName = 2048
	// MaxWord is the longest issuer or relation.
	MaxWord = 255
	// MaxMessage is the longest message in either direction.
	MaxMessage = 1 << 20
)

// Backend asks one server. It is safe for concurrent use, keeps one connection to each address that the server's name has, and connects
// when it is first asked. After [Backend.Close] every question fails.
type Backend struct {
	conn   *link
	client ownerv1.OwnerServiceClient
}

// link is a connection that says who asks.
type link struct {
	*grpc.ClientConn
	token *secrets.Token // nil: nobody in particular
}

// Invoke is grpc.ClientConnInterface's.
func (l *link) Invoke(ctx context.Context, method string, in, out any, opts ...grpc.CallOption) error {
	if l.token != nil {
		token, err := l.token.Read()
		if err != nil {
			return status.Error(codes.Unauthenticated, err.Error())
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return l.ClientConn.Invoke(ctx, method, in, out, opts...)
}

// New is the backend of the settings. It connects to nothing and opens no file; what a file must hold is found out by the first question
// or by [Backend.Probe]. An error means that the settings contradict each other, or would send a token where others can read it.
func New(l *policy.GRPCLookup) (*Backend, error) {
	t, err := targetOf(l)
	if err != nil {
		return nil, fmt.Errorf("owner/grpc: %w", err)
	}
	conn, err := dial(t)
	if err != nil {
		return nil, fmt.Errorf("owner/grpc: %w", err)
	}
	b := &Backend{conn: &link{ClientConn: conn}}
	if l.TokenFile != "" {
		b.conn.token = secrets.NewToken(l.TokenFile)
	}
	b.client = ownerv1.NewOwnerServiceClient(b.conn)
	return b, nil
}

// Conn is the connection, with the settings' TLS, token and bounds, for those who ask by hand. It ends with the backend.
func (b *Backend) Conn() grpc.ClientConnInterface { return b.conn }

// Close ends the connections. Questions in flight fail. A second call does nothing.
func (b *Backend) Close() error {
	if err := b.conn.Close(); err != nil && status.Code(err) != codes.Canceled {
		return fmt.Errorf("owner/grpc: %w", err)
	}
	return nil
}

// Ask is authz.Lookup's, in one call. What no message may carry is not there and is not asked about: ids that are empty, longer than
// [MaxObject] or no UTF-8, and everything for a subject or tenant of that kind.
func (b *Backend) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	request, places := requestOf(q, answers)
	if len(request.Objects) == 0 {
		return nil
	}
	response, err := b.check(ctx, request)
	if err != nil {
		return err
	}
	return read(response, places, answers)
}

// Probe asks an empty question, which a server that can be asked refuses as such: the error says what stands in the way of a real one.
func (b *Backend) Probe(ctx context.Context) error {
	_, err := b.check(ctx, &ownerv1.CheckRequest{})
	if isRefusal(err) {
		return nil
	}
	return err
}

func (b *Backend) check(ctx context.Context, request *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	response, err := b.client.Check(ctx, request)
	if err != nil {
		return nil, explain(err)
	}
	return response, nil
}

// requestOf is the question on the wire, and where the answer about each of its objects belongs. It answers NotThere for what cannot be
// asked, and leaves the other answers zero.
func requestOf(q *authz.Question, answers []authz.Standing) (*ownerv1.CheckRequest, map[string][]int) {
	request := &ownerv1.CheckRequest{Tenant: q.Tenant, Issuer: q.Issuer, Kind: kindOf(q.Kind), Subject: q.Subject, Relation: q.Relation}
	request.Objects = make([]string, 0, len(q.Objects))
	places := make(map[string][]int, len(q.Objects))
	sayable := q.Subject != "" && fits(q.Subject, MaxName) && fits(q.Tenant, MaxName) && fits(q.Issuer, MaxWord) && fits(q.Relation, MaxWord)
	for i, id := range q.Objects {
		if !sayable || id == "" || !fits(id, MaxObject) {
			answers[i] = authz.NotThere
			continue
		}
		if places[id] == nil {
			request.Objects = append(request.Objects, id)
		}
		places[id] = append(places[id], i)
	}
	return request, places
}

func fits(text string, most int) bool { return len(text) <= most && utf8.ValidString(text) }

func kindOf(k authz.Kind) ownerv1.Kind {
	switch k {
	case authz.Person:
		return ownerv1.Kind_KIND_PERSON
	case authz.Machine:
		return ownerv1.Kind_KIND_MACHINE
	}
	return ownerv1.Kind_KIND_UNSPECIFIED // which every server refuses
}

// read puts the response's answers where they belong: exactly one for each object that was asked for, and none besides.
func read(response *ownerv1.CheckResponse, places map[string][]int, answers []authz.Standing) error {
	for _, answer := range response.GetAnswers() {
		at, asked := places[answer.GetObject()]
		if !asked {
			return fmt.Errorf("owner/grpc: %w: it speaks of an object twice, or of one that was not asked for", authz.ErrLookupAnswer)
		}
		delete(places, answer.GetObject())
		standing := standingOf(answer.GetStanding())
		if standing == authz.StandingUnknown {
			return fmt.Errorf("owner/grpc: %w: a standing of %d", authz.ErrLookupAnswer, answer.GetStanding())
		}
		for _, i := range at {
			answers[i] = standing
		}
	}
	if len(places) > 0 {
		return fmt.Errorf("owner/grpc: %w: it says nothing of %d objects", authz.ErrLookupAnswer, len(places))
	}
	return nil
}

func standingOf(s ownerv1.Standing) authz.Standing {
	switch s {
	case ownerv1.Standing_STANDING_NOT_THERE:
		return authz.NotThere
	case ownerv1.Standing_STANDING_NOT_THEIRS:
		return authz.NotTheirs
	case ownerv1.Standing_STANDING_THEIRS:
		return authz.Theirs
	}
	return authz.StandingUnknown
}
