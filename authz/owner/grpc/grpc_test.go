package grpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/authz"
	ownergrpc "github.com/sallyport-dev/sallyport/authz/owner/grpc"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/policy"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// check is a server of one function.
type check func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error)

type server struct {
	ownerv1.UnimplementedOwnerServiceServer
	check check
}

func (s server) Check(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	return s.check(ctx, in)
}

// serve serves on a loopback port until the test ends.
func serve(t testing.TB, c check, opts ...grpc.ServerOption) (address string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, l, c, opts...)
	return l.Addr().String()
}

func serveOn(t testing.TB, l net.Listener, c check, opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	s := grpc.NewServer(opts...)
	ownerv1.RegisterOwnerServiceServer(s, server{check: c})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s
}

func backend(t testing.TB, l *policy.GRPCLookup) *ownergrpc.Backend {
	t.Helper()
	b, err := ownergrpc.New(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// standing answers one object of a world of facts.
func standing(facts []ownertest.Fact, in *ownerv1.CheckRequest, object string) ownerv1.Standing {
	for _, f := range facts {
		if f.Tenant == in.GetTenant() && f.Relation == in.GetRelation() && f.Object == object && !slices.Equal(f.Owners, []string{""}) {
			if slices.Contains(f.Owners, in.GetSubject()) {
				return ownerv1.Standing_STANDING_THEIRS
			}
			return ownerv1.Standing_STANDING_NOT_THEIRS
		}
	}
	return ownerv1.Standing_STANDING_NOT_THERE
}

// world answers by facts, backwards, for the order of answers is nobody's promise.
func world(facts []ownertest.Fact) check {
	return func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		if in.GetIssuer() != "shop" || in.GetKind() != ownerv1.Kind_KIND_PERSON || in.GetSubject() == "" || len(in.GetObjects()) == 0 {
			return nil, status.Error(codes.InvalidArgument, "not a question")
		}
		out := &ownerv1.CheckResponse{}
		for _, object := range slices.Backward(in.GetObjects()) {
			out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: standing(facts, in, object)})
		}
		return out, nil
	}
}

// What every lookup holds to, this one does too, and a batch of any size is one call.
func TestConforms(t *testing.T) {
	ownertest.Run(t, ownertest.Traits{}, func(t *testing.T, facts []ownertest.Fact) ownertest.World {
		var trips atomic.Int64
		answer := world(facts)
		address := serve(t, func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
			trips.Add(1)
			return answer(ctx, in)
		})
		return ownertest.World{Lookup: backend(t, &policy.GRPCLookup{Address: address}), Trips: func() int { return int(trips.Load()) }}
	})
}

func question(objects ...string) *authz.Question {
	return &authz.Question{Issuer: "shop", Kind: authz.Person, Subject: "alice", Objects: objects}
}

func ask(t testing.TB, b *ownergrpc.Backend, q *authz.Question) ([]authz.Standing, error) {
	t.Helper()
	answers := make([]authz.Standing, len(q.Objects))
	err := b.Ask(t.Context(), q, answers)
	return answers, err
}

// Every member of the question reaches the server.
func TestQuestion(t *testing.T) {
	got := make(chan *ownerv1.CheckRequest, 1)
	b := backend(t, &policy.GRPCLookup{Address: serve(t, func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		got <- in
		return nil, status.Error(codes.Unavailable, "")
	})})
	q := &authz.Question{Tenant: "acme", Issuer: "shop", Kind: authz.Machine, Subject: "billing", Relation: "viewer", Objects: []string{"a", "b", "a"}}
	if _, err := ask(t, b, q); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Error(err)
	}
	in := <-got
	if in.GetTenant() != "acme" || in.GetIssuer() != "shop" || in.GetKind() != ownerv1.Kind_KIND_MACHINE || in.GetSubject() != "billing" ||
		in.GetRelation() != "viewer" || !slices.Equal(in.GetObjects(), []string{"a", "b"}) {
		t.Errorf("the server got %v", in)
	}
}

// The longest question fits, there and back; what the protocol does not promise to servers is not asked about at all.
func TestBounds(t *testing.T) {
	b := backend(t, &policy.GRPCLookup{Address: serve(t, func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		out := &ownerv1.CheckResponse{}
		for _, object := range in.GetObjects() {
			if len(object) > ownergrpc.MaxObject || len(in.GetSubject()) > ownergrpc.MaxName {
				return nil, status.Error(codes.InvalidArgument, "too long")
			}
			out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: ownerv1.Standing_STANDING_THEIRS})
		}
		return out, nil
	})})
	long := func(n int) string { return strings.Repeat("x", n) }
	q := &authz.Question{
		Tenant: long(ownergrpc.MaxName), Issuer: long(ownergrpc.MaxWord), Kind: authz.Person, Subject: long(ownergrpc.MaxName), Relation: long(ownergrpc.MaxWord),
	}
	for i := range 1000 {
		q.Objects = append(q.Objects, fmt.Sprintf("%0*d", ownergrpc.MaxObject, i))
	}
	answers, err := ask(t, b, q)
	if err != nil || slices.ContainsFunc(answers, func(s authz.Standing) bool { return s != authz.Theirs }) {
		t.Errorf("the longest question: %v", err)
	}
	for name, c := range map[string]struct {
		over func(*authz.Question)
		want []authz.Standing
	}{
		"one long id":    {func(q *authz.Question) { q.Objects[1] = long(ownergrpc.MaxObject + 1) }, []authz.Standing{authz.Theirs, authz.NotThere}},
		"one bad id":     {func(q *authz.Question) { q.Objects[0] = "\xff" }, []authz.Standing{authz.NotThere, authz.Theirs}},
		"one empty id":   {func(q *authz.Question) { q.Objects[0] = "" }, []authz.Standing{authz.NotThere, authz.Theirs}},
		"a long subject": {func(q *authz.Question) { q.Subject = long(ownergrpc.MaxName + 1) }, []authz.Standing{authz.NotThere, authz.NotThere}},
		"no subject":     {func(q *authz.Question) { q.Subject = "" }, []authz.Standing{authz.NotThere, authz.NotThere}},
		"a long tenant":  {func(q *authz.Question) { q.Tenant = long(ownergrpc.MaxName + 1) }, []authz.Standing{authz.NotThere, authz.NotThere}},
		"a bad tenant":   {func(q *authz.Question) { q.Tenant = "\xc3" }, []authz.Standing{authz.NotThere, authz.NotThere}},
		"all as it is":   {func(*authz.Question) {}, []authz.Standing{authz.Theirs, authz.Theirs}},
	} {
		q := question("a", "b")
		c.over(q)
		if answers, err := ask(t, b, q); err != nil || !slices.Equal(answers, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, answers, err, c.want)
		}
	}
}

// An answer that does not keep its promise is not believed in any part.
func TestAnswers(t *testing.T) {
	const theirs, not, absent = ownerv1.Standing_STANDING_THEIRS, ownerv1.Standing_STANDING_NOT_THEIRS, ownerv1.Standing_STANDING_NOT_THERE
	answer := func(object string, s ownerv1.Standing) *ownerv1.Answer {
		return &ownerv1.Answer{Object: object, Standing: s}
	}
	for _, c := range []struct {
		name    string
		answers []*ownerv1.Answer
		want    []authz.Standing // nil: ErrLookupAnswer
	}{
		{"in order", []*ownerv1.Answer{answer("a", theirs), answer("b", not)}, []authz.Standing{authz.Theirs, authz.NotTheirs}},
		{"in another order", []*ownerv1.Answer{answer("b", absent), answer("a", theirs)}, []authz.Standing{authz.Theirs, authz.NotThere}},
		{"nothing", nil, nil},
		{"one is missing", []*ownerv1.Answer{answer("a", theirs)}, nil},
		{"one too many", []*ownerv1.Answer{answer("a", theirs), answer("b", theirs), answer("c", theirs)}, nil},
		{"one instead of another", []*ownerv1.Answer{answer("a", theirs), answer("c", theirs)}, nil},
		{"one twice", []*ownerv1.Answer{answer("a", theirs), answer("a", theirs)}, nil},
		{"one twice beside all", []*ownerv1.Answer{answer("a", not), answer("b", theirs), answer("a", theirs)}, nil},
		{"no standing", []*ownerv1.Answer{answer("a", theirs), answer("b", ownerv1.Standing_STANDING_UNSPECIFIED)}, nil},
		{"a standing of a later version", []*ownerv1.Answer{answer("a", theirs), answer("b", 4)}, nil},
		{"a negative standing", []*ownerv1.Answer{answer("a", theirs), answer("b", -1)}, nil},
		{"another spelling", []*ownerv1.Answer{answer("a", theirs), answer("B", theirs)}, nil},
		{"an empty answer", []*ownerv1.Answer{answer("a", theirs), {}}, nil},
	} {
		b := backend(t, &policy.GRPCLookup{Address: serve(t, func(context.Context, *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
			return &ownerv1.CheckResponse{Answers: c.answers}, nil
		})})
		answers, err := ask(t, b, question("a", "b"))
		switch {
		case c.want == nil && (!errors.Is(err, authz.ErrLookupAnswer) || errors.Is(err, authz.ErrLookupUnavailable)):
			t.Errorf("%s: %v, %v, want ErrLookupAnswer", c.name, answers, err)
		case c.want != nil && (err != nil || !slices.Equal(answers, c.want)):
			t.Errorf("%s: %v, %v, want %v", c.name, answers, err, c.want)
		}
	}
}

// What speaks of the question is an answer, and everything else an outage: the first must not stop the gate from asking about others,
// the second must not look like "not yours".
func TestStatuses(t *testing.T) {
	bad := []codes.Code{codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition, codes.NotFound, codes.AlreadyExists, codes.DataLoss}
	for code := codes.Canceled; code <= codes.Unauthenticated+1; code++ { // the last is a code that does not exist
		want, other := authz.ErrLookupUnavailable, authz.ErrLookupAnswer
		if slices.Contains(bad, code) {
			want, other = other, want
		}
		b := backend(t, &policy.GRPCLookup{Address: serve(t, func(context.Context, *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
			return nil, status.Error(code, "line one\nline two "+strings.Repeat("é", 300))
		})})
		_, err := ask(t, b, question("a"))
		if !errors.Is(err, want) || errors.Is(err, other) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 600 {
			t.Errorf("%v: %v", code, err)
		}
		tried := b.Probe(t.Context())
		if (tried == nil) != (code == codes.InvalidArgument) {
			t.Errorf("%v: Probe says %v", code, tried)
		}
	}
}

// A caller who leaves, a server that never answers, one that is not there, one of something else, and one that answers too much.
func TestOutages(t *testing.T) {
	hang := func(ctx context.Context, _ *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	entered := make(chan struct{}, 1)
	b := backend(t, &policy.GRPCLookup{Address: serve(t, func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		entered <- struct{}{}
		return hang(ctx, in)
	})})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if err := b.Ask(ctx, question("a"), make([]authz.Standing, 1)); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("a server that never answers: %v", err)
	}

	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	b = backend(t, &policy.GRPCLookup{Address: l.Addr().String()})
	if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	if err := b.Probe(t.Context()); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("nobody there: Probe says %v", err)
	}

	other := grpc.NewServer()
	l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = other.Serve(l) }()
	t.Cleanup(other.Stop)
	b = backend(t, &policy.GRPCLookup{Address: l.Addr().String()})
	if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "sallyport.owner.v1") {
		t.Errorf("a server of something else: %v", err)
	}

	b = backend(t, &policy.GRPCLookup{Address: serve(t, func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		return &ownerv1.CheckResponse{Answers: []*ownerv1.Answer{{Object: strings.Repeat("x", ownergrpc.MaxMessage)}}}, nil
	})})
	if answers, err := ask(t, b, question("a")); err == nil || answers[0] != authz.StandingUnknown {
		t.Errorf("an answer of more than a message: %v, %v", answers, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("after Close: %v", err)
	}
}

// A server that comes back is asked again, by the connection that lost it.
func TestComesBack(t *testing.T) {
	path := filepath.Join(socketFolder(t), "o.sock")
	listen := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	facts := []ownertest.Fact{{Object: "a", Owners: []string{"alice"}}}
	first := serveOn(t, listen(), world(facts))
	b := backend(t, &policy.GRPCLookup{Address: "unix:" + path})
	if answers, err := ask(t, b, question("a")); err != nil || answers[0] != authz.Theirs {
		t.Fatal(answers, err)
	}
	first.Stop()
	if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("the server is gone: %v", err)
	}
	serveOn(t, listen(), world(facts))
	for {
		answers, err := ask(t, b, question("a"))
		if err == nil && answers[0] == authz.Theirs {
			return
		}
		if !errors.Is(err, authz.ErrLookupUnavailable) || t.Context().Err() != nil {
			t.Fatal(answers, err)
		}
	}
}

// The token goes along with each question, as the file has it then.
func TestToken(t *testing.T) {
	got := make(chan []string, 1)
	address := serve(t, func(ctx context.Context, _ *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		got <- md.Get("authorization")
		return nil, status.Error(codes.Unauthenticated, "no")
	})
	file := filepath.Join(t.TempDir(), "token")
	b := backend(t, &policy.GRPCLookup{Address: address, TokenFile: file})
	if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), file) {
		t.Errorf("no file: %v", err)
	}
	for _, token := range []string{"t-1", "t-2-longer"} {
		write(t, file, token+"\n")
		if _, err := ask(t, b, question("a")); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "token_file") || strings.Contains(err.Error(), token) {
			t.Error(err)
		}
		if values := <-got; !slices.Equal(values, []string{"Bearer " + token}) {
			t.Errorf("the server got %q", values)
		}
	}
}

// Settings that would ask somebody else, or let somebody else answer, are refused before anything is asked.
func TestSettings(t *testing.T) {
	for _, c := range []struct {
		l    policy.GRPCLookup
		want string // "": good
	}{
		{policy.GRPCLookup{Address: "owners.shop.svc:9300"}, ""},
		{policy.GRPCLookup{Address: "[::1]:9300"}, ""},
		{policy.GRPCLookup{Address: "unix:/run/owners.sock"}, ""},
		{policy.GRPCLookup{Address: "owners:9300", Plaintext: true}, ""},
		{policy.GRPCLookup{Address: "localhost:9300", TokenFile: "t"}, ""},
		{policy.GRPCLookup{Address: "localhost:9300", TokenFile: "t", Plaintext: true}, ""},
		{policy.GRPCLookup{Address: "owners:9300", TokenFile: "t"}, ""},
		{policy.GRPCLookup{Address: "owners:9300", CAFile: "ca", CertFile: "c", KeyFile: "k", ServerName: "owners.internal"}, ""},

		{policy.GRPCLookup{}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "owners"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: ":9300"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "owners:0"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "owners:grpc"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "owners:70000"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "passthrough:///owners:1"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "xds:///owners"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "user@owners:9300"}, "HOST:PORT"},
		{policy.GRPCLookup{Address: "unix:owners.sock"}, "whole path"},
		{policy.GRPCLookup{Address: "unix:"}, "whole path"},
		{policy.GRPCLookup{Address: "unix:/a?b"}, "whole path"},
		{policy.GRPCLookup{Address: "owners:9300", Plaintext: true, TokenFile: "t"}, "can take it"},
		{policy.GRPCLookup{Address: "owners:9300", Plaintext: true, CAFile: "ca"}, "contradict"},
		{policy.GRPCLookup{Address: "owners:9300", Plaintext: true, ServerName: "x"}, "contradict"},
		{policy.GRPCLookup{Address: "owners:9300", CertFile: "c"}, "belong together"},
		{policy.GRPCLookup{Address: "owners:9300", KeyFile: "k"}, "belong together"},
	} {
		b, err := ownergrpc.New(&c.l)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c.l, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%+v: %v, want %q", c.l, err, c.want)
		}
		if err == nil {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// What one question costs with a server on the loopback, and a batch.
func BenchmarkAsk(b *testing.B) {
	facts := []ownertest.Fact{{Object: "a", Owners: []string{"alice"}}}
	asker := backend(b, &policy.GRPCLookup{Address: serve(b, world(facts))})
	for _, n := range []int{1, 100} {
		q := question()
		for i := range n {
			q.Objects = append(q.Objects, fmt.Sprintf("order-%d", i))
		}
		answers := make([]authz.Standing, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(answers)
				if err := asker.Ask(b.Context(), q, answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
