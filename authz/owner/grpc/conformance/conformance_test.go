package conformance

import (
	"context"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

const (
	theirs    = ownerv1.Standing_STANDING_THEIRS
	notTheirs = ownerv1.Standing_STANDING_NOT_THEIRS
	notThere  = ownerv1.Standing_STANDING_NOT_THERE
	person    = ownerv1.Kind_KIND_PERSON
	machine   = ownerv1.Kind_KIND_MACHINE
)

// estate is a small world in which every part of a question matters.
var estate = Facts{
	{"acme", "shop", person, "alice", "", []string{"order-1", "order-2"}},
	{"acme", "shop", person, "bob", "", []string{"order-3"}},
	{"acme", "shop", person, "alice", "viewer", []string{"order-3"}},
	{"acme", "shop", machine, "billing", "", []string{"order-4"}},
	{"umbrella", "shop", person, "carol", "", []string{"order-1"}},
	{"", "shop", person, "alice", "", []string{"order-9"}},
}

// handler is a server of one function.
type handler func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error)

type server struct {
	ownerv1.UnimplementedOwnerServiceServer
	handler handler
}

func (s server) Check(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	return s.handler(ctx, in)
}

// serve is a connection to a server of the function.
func serve(t testing.TB, h handler) *grpc.ClientConn {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	ownerv1.RegisterOwnerServiceServer(s, server{handler: h})
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	conn, err := grpc.NewClient("dns:///"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return conn
}

// good is a server that keeps to everything.
func good(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	sorted := slices.Sorted(slices.Values(in.GetObjects()))
	switch {
	case in.GetIssuer() == "", in.GetKind() != person && in.GetKind() != machine, in.GetSubject() == "", len(sorted) == 0, len(sorted) > 1000,
		slices.Contains(sorted, ""), len(slices.Compact(sorted)) != len(in.GetObjects()):
		return nil, status.Error(codes.InvalidArgument, "not a question")
	}
	out := &ownerv1.CheckResponse{}
	for _, object := range in.GetObjects() {
		out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: estate.standing(in, object)})
	}
	return out, nil
}

// reading is the good server, which reads another question than was put, and answers with the objects that were asked for.
func reading(over func(*ownerv1.CheckRequest)) handler {
	return func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		if _, err := good(context.Background(), in); err != nil {
			return nil, err
		}
		out := &ownerv1.CheckResponse{}
		for _, object := range in.GetObjects() {
			one, _ := proto.Clone(in).(*ownerv1.CheckRequest)
			one.Objects = []string{object}
			over(one)
			out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: estate.standing(one, one.Objects[0])})
		}
		return out, nil
	}
}

// answering is the good server, which spoils its answer.
func answering(over func(in *ownerv1.CheckRequest, out *ownerv1.CheckResponse)) handler {
	return func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		out, err := good(ctx, in)
		if err == nil {
			over(in, out)
		}
		return out, err
	}
}

// instead is the good server, but where the question is as said.
func instead(when func(*ownerv1.CheckRequest) bool, h handler) handler {
	return func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		if when(in) {
			return h(ctx, in)
		}
		return good(ctx, in)
	}
}

func failing(code codes.Code) handler {
	return func(context.Context, *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		return nil, status.Error(code, "on purpose")
	}
}

// lax answers what it can of a question that is none.
func lax(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	out := &ownerv1.CheckResponse{}
	for _, object := range in.GetObjects() {
		out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: estate.standing(in, object)})
	}
	return out, nil
}

// remembering answers about an object what it answered before, whoever asks.
func remembering() handler {
	var mu sync.Mutex
	known := map[string]ownerv1.Standing{}
	return answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
		mu.Lock()
		defer mu.Unlock()
		for _, a := range out.Answers {
			if standing, ok := known[a.Object]; ok {
				a.Standing = standing
			}
			known[a.Object] = a.Standing
		}
	})
}

// lastSubject answers for whoever asked before, as a server does that keeps the question where the next one finds it.
func lastSubject() func(*ownerv1.CheckRequest, *ownerv1.CheckResponse) {
	var mu sync.Mutex
	last := ""
	return func(in *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
		mu.Lock()
		defer mu.Unlock()
		before, _ := proto.Clone(in).(*ownerv1.CheckRequest)
		if last != "" {
			before.Subject = last
		}
		last = in.GetSubject()
		for _, a := range out.Answers {
			a.Standing = estate.standing(before, a.Object)
		}
	}
}

// each is a defect of every object's text.
func each(over func(string) string) func(*ownerv1.CheckRequest) {
	return func(in *ownerv1.CheckRequest) { in.Objects[0] = over(in.Objects[0]) }
}

func set(s ownerv1.Standing, instead ownerv1.Standing) func(*ownerv1.CheckRequest, *ownerv1.CheckResponse) {
	return func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
		for _, a := range out.Answers {
			if a.Standing == s {
				a.Standing = instead
			}
		}
	}
}

func run(t *testing.T, h handler, facts Facts) []Finding {
	t.Helper()
	findings, err := Run(t.Context(), serve(t, h), facts)
	if err != nil || len(findings) != len(checks) {
		t.Fatalf("%d findings, %v", len(findings), err)
	}
	for _, f := range findings {
		if f.Check == "" || f.Expected == "" || strings.Contains(f.Got, "\n") || len(f.Got) > 600 || f.Got != "" && f.Skipped != "" {
			t.Errorf("a finding says %+v", f)
		}
	}
	return findings
}

func failed(findings []Finding) (names []string) {
	for _, f := range findings {
		if !f.OK() {
			names = append(names, f.Check)
		}
	}
	return names
}

// A good server passes every check, and none is left out for these facts.
func TestGoodServer(t *testing.T) {
	for _, f := range run(t, good, estate) {
		if !f.OK() || f.Skipped != "" {
			t.Errorf("%s: %s%s", f.Check, f.Got, f.Skipped)
		}
	}
}

// A server may refuse what it does not know, and answer in any order.
func TestOtherGoodServers(t *testing.T) {
	for name, h := range map[string]handler{
		"in order of the names": answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			slices.SortFunc(out.Answers, func(a, b *ownerv1.Answer) int { return strings.Compare(a.Object, b.Object) })
		}),
		"refuses unknown relations": instead(func(in *ownerv1.CheckRequest) bool { return in.GetRelation() != "" && in.GetRelation() != "viewer" }, failing(codes.InvalidArgument)),
		"refuses other issuers":     instead(func(in *ownerv1.CheckRequest) bool { return in.GetIssuer() != "shop" }, failing(codes.InvalidArgument)),
	} {
		if got := failed(run(t, h, estate)); len(got) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Every defect is found, by the check that is named for it.
func TestBrokenServers(t *testing.T) {
	idle := map[string]bool{}
	for _, c := range checks {
		idle[c.name] = true
	}
	for _, c := range []struct {
		defect string
		h      handler
		found  string
	}{
		{"everything is everybody's", answering(set(notTheirs, theirs)), "somebody else's object"},
		{"what is not there is everybody's", answering(set(notThere, theirs)), "nobody's object"},
		{"nothing is anybody's", answering(set(theirs, notTheirs)), "the facts"},
		{"no word of what is not there", answering(set(notThere, notTheirs)), "nobody's object"},
		{"what is not theirs is not there", answering(set(notTheirs, notThere)), "somebody else's object"},
		{"no standing for what is not there", answering(set(notThere, ownerv1.Standing_STANDING_UNSPECIFIED)), "nobody's object"},
		{"a standing of its own", answering(set(notTheirs, 7)), "somebody else's object"},

		{"leaves out what is not there", answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			out.Answers = slices.DeleteFunc(out.Answers, func(a *ownerv1.Answer) bool { return a.Standing == notThere })
		}), "nobody's object"},
		{"one answer too many", answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			out.Answers = append(out.Answers, &ownerv1.Answer{Object: "order-77", Standing: notThere})
		}), "the facts"},
		{"one answer twice", answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			out.Answers = append(out.Answers, out.Answers[0])
		}), "the facts"},
		{"answers in the wrong places", answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			for i, j := 0, len(out.Answers)-1; i < j; i, j = i+1, j-1 {
				out.Answers[i].Standing, out.Answers[j].Standing = out.Answers[j].Standing, out.Answers[i].Standing
			}
		}), "objects of all kinds in one call"},
		{"a hundred answers at most", answering(func(_ *ownerv1.CheckRequest, out *ownerv1.CheckResponse) {
			out.Answers = out.Answers[:min(100, len(out.Answers))]
		}), "1,000 objects"},
		{"a hundred objects at most", instead(func(in *ownerv1.CheckRequest) bool { return len(in.GetObjects()) > 100 }, failing(codes.InvalidArgument)), "1,000 objects"},
		{"short texts only", instead(func(in *ownerv1.CheckRequest) bool { return len(in.GetSubject()) > 255 }, failing(codes.InvalidArgument)), "the longest texts"},
		{"remembers whatever the subject", remembering(), "the same again"},
		{"answers the one who asked last", answering(lastSubject()), "calls at once"},

		{"takes an empty request", instead(func(in *ownerv1.CheckRequest) bool { return proto.Size(in) == 0 }, lax), "an empty request"},
		{"takes any issuer for none", instead(func(in *ownerv1.CheckRequest) bool { return in.GetIssuer() == "" }, lax), "no issuer"},
		{"takes any kind for none", instead(func(in *ownerv1.CheckRequest) bool { return in.GetKind() == 0 }, lax), "no kind"},
		{"takes no subject", instead(func(in *ownerv1.CheckRequest) bool { return in.GetSubject() == "" }, lax), "no subject"},
		{"takes no objects", instead(func(in *ownerv1.CheckRequest) bool { return len(in.GetObjects()) == 0 }, lax), "no objects"},
		{"takes an empty object", instead(func(in *ownerv1.CheckRequest) bool { return slices.Contains(in.GetObjects(), "") }, lax), "an empty object"},
		{"takes an object twice", instead(func(in *ownerv1.CheckRequest) bool {
			return len(in.GetObjects()) == 3 && in.GetObjects()[0] == in.GetObjects()[2]
		}, lax), "an object twice"},
		{"takes 1,001 objects", instead(func(in *ownerv1.CheckRequest) bool { return len(in.GetObjects()) > 1000 }, lax), "1,001 objects"},
		{"says NOT_FOUND for a bad request", instead(func(in *ownerv1.CheckRequest) bool { return in.GetSubject() == "" }, failing(codes.NotFound)), "no subject"},
		{"takes a later kind for a person", func(ctx context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
			if in.GetKind() > machine {
				in.Kind = person
			}
			return good(ctx, in)
		}, "a kind of a later version"},

		{"reads no kind", reading(func(in *ownerv1.CheckRequest) { in.Kind = person }), "the same name of another kind"},
		{"reads no issuer", reading(func(in *ownerv1.CheckRequest) { in.Issuer = "shop" }), "the same subject of another issuer"},
		{"takes an unknown relation for the owner's", reading(func(in *ownerv1.CheckRequest) {
			if in.Relation != "viewer" {
				in.Relation = ""
			}
		}), "a relation that nobody knows"},
		{"takes owners for viewers", reading(func(in *ownerv1.CheckRequest) {
			if in.Relation == "viewer" && !slices.Contains(in.Objects, "order-3") {
				in.Relation = ""
			}
		}), "relations apart"},
		{"takes no tenant for every tenant", reading(func(in *ownerv1.CheckRequest) {
			if in.Tenant == "" && !slices.Contains(in.Objects, "order-9") {
				in.Tenant = "acme"
			}
		}), "tenants apart"},
		{"reads no tenant", reading(func(in *ownerv1.CheckRequest) {
			if slices.Contains(in.Objects, "order-1") && in.Subject != "carol" {
				in.Tenant = "acme"
			}
		}), "tenants apart"},

		{"subjects without regard to case", reading(func(in *ownerv1.CheckRequest) { in.Subject = strings.ToLower(in.Subject) }), "nearly the subject"},
		{"subjects without their space", reading(func(in *ownerv1.CheckRequest) { in.Subject = strings.TrimSpace(in.Subject) }), "nearly the subject"},
		{"subjects up to NUL", reading(func(in *ownerv1.CheckRequest) { in.Subject, _, _ = strings.Cut(in.Subject, "\x00") }), "nearly the subject"},
		{"subjects by LIKE", reading(func(in *ownerv1.CheckRequest) {
			if in.Subject == "alic%" {
				in.Subject = "alice"
			}
		}), "nearly the subject"},
		{"everybody by the name of *", reading(func(in *ownerv1.CheckRequest) {
			if in.Subject == "*" {
				in.Subject = "alice"
			}
		}), "hostile texts"},
		{"objects without regard to case", reading(each(strings.ToLower)), "nearly the object"},
		{"objects without their space", reading(each(strings.TrimSpace)), "nearly the object"},
		{"objects as paths", reading(each(path.Clean)), "nearly the object"},
		{"objects as file names", reading(each(path.Base)), "nearly the object"},
		{"objects decoded once more", reading(each(func(id string) string {
			if decoded, err := url.PathUnescape(id); err == nil {
				return decoded
			}
			return id
		})), "nearly the object"},
		{"objects without their fragment", reading(each(func(id string) string { id, _, _ = strings.Cut(id, "#"); return id })), "nearly the object"},
		{"objects that crash it", instead(func(in *ownerv1.CheckRequest) bool { return slices.Contains(in.GetObjects(), "\x00") }, failing(codes.Internal)), "hostile texts"},
		{"subjects that crash it", instead(func(in *ownerv1.CheckRequest) bool { return in.GetSubject() == "'" }, failing(codes.Unknown)), "hostile texts"},

		{"its database is away but for empty requests", instead(func(in *ownerv1.CheckRequest) bool { return proto.Size(in) > 0 }, failing(codes.Unavailable)), "the facts"},
		{"it refuses everything", failing(codes.InvalidArgument), "the facts"},
		{"it does not answer", instead(func(in *ownerv1.CheckRequest) bool { return len(in.GetObjects()) == 1000 }, func(ctx context.Context, _ *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), "1,000 objects"},
	} {
		s := &suite{client: ownerv1.NewOwnerServiceClient(serve(t, c.h)), facts: estate}
		at := slices.IndexFunc(checks, func(one check) bool { return one.name == c.found })
		if at < 0 || !s.choose() {
			t.Fatalf("%s: there is no check %q, or nothing to choose", c.defect, c.found)
		}
		if got := checks[at].run(t.Context(), s); got == "" || strings.HasPrefix(got, skipped) {
			t.Errorf("%s: %q does not find it: %q", c.defect, c.found, got)
		}
		delete(idle, c.found)
	}
	for name := range idle {
		t.Errorf("no defect is there for %q", name)
	}
}

// Facts of one tenant and one relation leave two checks out and say so; facts without a neighbour are none.
func TestFewFacts(t *testing.T) {
	few := Facts{{"", "shop", person, "alice", "", []string{"order-1"}}, {"", "shop", person, "bob", "", []string{"order-2"}}}
	answer := func(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
		if _, err := good(context.Background(), in); err != nil {
			return nil, err
		}
		out := &ownerv1.CheckResponse{}
		for _, object := range in.GetObjects() {
			out.Answers = append(out.Answers, &ownerv1.Answer{Object: object, Standing: few.standing(in, object)})
		}
		return out, nil
	}
	var left []string
	for _, f := range run(t, answer, few) {
		if !f.OK() {
			t.Errorf("%s: %s", f.Check, f.Got)
		}
		if f.Skipped != "" {
			left = append(left, f.Check)
		}
	}
	if !slices.Equal(left, []string{"relations apart", "tenants apart"}) {
		t.Errorf("left out: %q", left)
	}
	for name, facts := range map[string]Facts{
		"none": nil, "one": few[:1], "of two tenants": {few[0], {"acme", "shop", person, "bob", "", []string{"order-2"}}},
		"one subject": {few[0], {"", "shop", person, "alice", "", []string{"order-2"}}},
	} {
		if findings, err := Run(t.Context(), serve(t, answer), facts); err == nil {
			t.Errorf("%s: %d findings", name, len(findings))
		}
	}
}

// A server that cannot be asked is not a bad one.
func TestCannotBeAsked(t *testing.T) {
	for _, code := range []codes.Code{codes.Unavailable, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented} {
		if findings, err := Run(t.Context(), serve(t, failing(code)), estate); err == nil || len(findings) > 0 || !strings.Contains(err.Error(), code.String()) {
			t.Errorf("%v: %d findings, %v", code, len(findings), err)
		}
	}
}

// A file of facts is read strictly, and every mistake has its place.
func TestParse(t *testing.T) {
	facts, errs := Parse("facts.yaml", []byte(`facts:
  - {issuer: shop, subject: alice, objects: [order-1, "2"]}
  - {tenant: acme, issuer: shop, kind: machine, subject: billing, relation: viewer, objects: [order-1]}
  - {issuer: shop, kind: person, subject: bob, objects: [order-1]}
`))
	want := Facts{
		{"", "shop", person, "alice", "", []string{"order-1", "2"}}, {"acme", "shop", machine, "billing", "viewer", []string{"order-1"}},
		{"", "shop", person, "bob", "", []string{"order-1"}},
	}
	if len(errs) > 0 || !slices.EqualFunc(facts, want, func(a, b Fact) bool {
		return a.Tenant == b.Tenant && a.Issuer == b.Issuer && a.Kind == b.Kind && a.Subject == b.Subject && a.Relation == b.Relation && slices.Equal(a.Objects, b.Objects)
	}) {
		t.Errorf("%+v, %v", facts, errs)
	}
	for text, want := range map[string]string{
		"":            "facts",
		"facts: []\n": "no fact",
		"fact: []\n":  "facts",
		"facts: [{issuer: shop, subject: alice}]\n":                                                         "objects",
		"facts: [{issuer: shop, objects: [a]}]\n":                                                           "subject",
		"facts: [{subject: alice, objects: [a]}]\n":                                                         "issuer",
		"facts: [{issuer: shop, subject: alice, objects: []}]\n":                                            "at least one",
		"facts: [{issuer: shop, subject: alice, objects: [a, a]}]\n":                                        "twice",
		"facts: [{issuer: shop, subject: alice, objects: [\"\"]}]\n":                                        "empty",
		"facts: [{issuer: shop, subject: alice, objects: [1]}]\n":                                           "quotes",
		"facts: [{issuer: shop, subject: alice, kind: robot, objects: [a]}]\n":                              "person or machine",
		"facts: [{issuer: shop, subject: alice, user: x, objects: [a]}]\n":                                  "user",
		"facts: [{issuer: shop, subject: alice, objects: [" + strings.Repeat("a", maxObject+1) + "]}]\n":    "longer than 1024",
		"facts: [{issuer: shop, subject: " + strings.Repeat("a", maxName+1) + ", objects: [a]}]\n":          "longer than 2048",
		"facts: [{issuer: shop, subject: alice, objects: [a]}, x]\n":                                        "map",
		"facts: {issuer: shop}\n":                                                                           "list",
		"facts: [{issuer: shop, subject: alice, relation: \"\", objects: [a]}]\n":                           "empty",
		"facts: [{issuer: shop, subject: alice, objects: [a]}, {issuer: x, subject: y, objects: {a: b}}]\n": "list",
	} {
		facts, errs := Parse("facts.yaml", []byte(text))
		if len(errs) == 0 || facts != nil || !strings.Contains(errs.Pretty(), want) {
			t.Errorf("%q: %v, %v, want %q", text, facts, errs, want)
		}
	}
}
