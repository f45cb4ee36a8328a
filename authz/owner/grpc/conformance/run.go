package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// Deadline is that of every call: the longest timeout that a policy may give a lookup.
const Deadline = time.Second

// reachTimeout is how long a server may take to be there.
const reachTimeout = 5 * time.Second

// Finding is what one check found.
type Finding struct {
	// Check names it, and Expected says what a server must do.
	Check, Expected string
	// Got is what the server did instead; "" where it did what it must.
	Got string
	// Skipped, unless "", says what the facts lack for this check.
	Skipped string
}

// OK reports whether the server did what it must, as far as that could be checked.
func (f Finding) OK() bool { return f.Got == "" }

// Run checks the server behind conn, one finding for each check and in the same order always. The calls follow each other, but for one
// check of calls at once. An error means that nothing was checked: the facts name no object that is somebody else's, or the server
// cannot be asked at all.
func Run(ctx context.Context, conn grpc.ClientConnInterface, facts Facts) ([]Finding, error) {
	s := &suite{client: ownerv1.NewOwnerServiceClient(conn), facts: facts}
	if !s.choose() {
		return nil, errors.New("conformance: the facts name no object that is there and not its neighbour's: write two facts of one tenant, with different subjects")
	}
	if err := s.reach(ctx); err != nil {
		return nil, err
	}
	findings := make([]Finding, len(checks))
	for i, c := range checks {
		findings[i] = Finding{Check: c.name, Expected: c.expected}
		got := c.run(ctx, s)
		if why, ok := strings.CutPrefix(got, skipped); ok {
			findings[i].Skipped = why
		} else {
			findings[i].Got = got
		}
	}
	return findings, nil
}

// skipped is the beginning of what a check returns that the facts do not suffice for.
const skipped = "skipped: "

// suite is a server and what is true in it.
type suite struct {
	client ownerv1.OwnerServiceClient
	facts  Facts
	// mine is a fact, and others an object of its tenant that is not its subject's.
	mine   Fact
	others string
}

// choose finds a fact with a neighbour.
func (s *suite) choose() bool {
	for _, f := range s.facts {
		for _, g := range s.facts {
			for _, object := range g.Objects {
				if g.Tenant == f.Tenant && s.facts.standing(f.question(), object) == ownerv1.Standing_STANDING_NOT_THEIRS {
					s.mine, s.others = f, object
					return true
				}
			}
		}
	}
	return false
}

// reach finds out whether anybody is there who can be asked. What they answer to an empty request is a check's business.
func (s *suite) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	_, err := s.client.Check(ctx, &ownerv1.CheckRequest{})
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		return fmt.Errorf("conformance: the server cannot be asked: %s", words(err))
	}
	return nil
}

// unknown is an id that nobody has. Each n is another.
func unknown(n int) string { return fmt.Sprintf("sallyport-conformance-%d", n) }

// ask puts a question, and holds the answer to its form: each object once, and no other, with a standing. wrong is "" or what is wrong.
func (s *suite) ask(ctx context.Context, q *ownerv1.CheckRequest) (standings map[string]ownerv1.Standing, wrong string) {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	response, err := s.client.Check(ctx, q)
	if err != nil {
		return nil, about(q) + ": " + words(err)
	}
	standings = make(map[string]ownerv1.Standing, len(q.GetObjects()))
	open := make(map[string]bool, len(q.GetObjects()))
	for _, object := range q.GetObjects() {
		open[object] = true
	}
	for _, a := range response.GetAnswers() {
		object := a.GetObject()
		_, twice := standings[object]
		switch {
		case twice:
			return nil, fmt.Sprintf("%s: %.60q is answered twice", about(q), object)
		case !open[object]:
			return nil, fmt.Sprintf("%s: %.60q is answered and was not asked for", about(q), object)
		case a.GetStanding() < ownerv1.Standing_STANDING_NOT_THERE || a.GetStanding() > ownerv1.Standing_STANDING_THEIRS:
			return nil, fmt.Sprintf("%s: %.60q has the standing %s", about(q), object, a.GetStanding())
		}
		standings[object] = a.GetStanding()
	}
	for _, object := range q.GetObjects() {
		if _, answered := standings[object]; !answered {
			return nil, fmt.Sprintf("%s: %d of %d objects are answered, %.60q is not", about(q), len(standings), len(q.GetObjects()), object)
		}
	}
	return standings, ""
}

// expect asks, and wants what the facts say.
func (s *suite) expect(ctx context.Context, q *ownerv1.CheckRequest) string {
	standings, wrong := s.ask(ctx, q)
	if wrong != "" {
		return wrong
	}
	for _, object := range q.GetObjects() {
		if want := s.facts.standing(q, object); standings[object] != want {
			return fmt.Sprintf("%s: %.60q is %s, not %s", about(q), object, standings[object], want)
		}
	}
	return ""
}

// expectDenied asks what must not be anybody's. Where may is set, a refusal of the whole question is as good.
func (s *suite) expectDenied(ctx context.Context, q *ownerv1.CheckRequest, may bool) string {
	standings, wrong := s.ask(ctx, q)
	if may && strings.Contains(wrong, ": "+codes.InvalidArgument.String()) {
		return ""
	}
	if wrong != "" {
		return wrong
	}
	for _, object := range q.GetObjects() {
		if standings[object] == ownerv1.Standing_STANDING_THEIRS {
			return fmt.Sprintf("%s: %.60q is %s", about(q), object, standings[object])
		}
	}
	return ""
}

// expectRefused asks what no server may answer.
func (s *suite) expectRefused(ctx context.Context, q *ownerv1.CheckRequest) string {
	ctx, cancel := context.WithTimeout(ctx, Deadline)
	defer cancel()
	response, err := s.client.Check(ctx, q)
	switch {
	case err == nil:
		return fmt.Sprintf("%d answers", len(response.GetAnswers()))
	case status.Code(err) != codes.InvalidArgument:
		return words(err)
	}
	return ""
}

// about describes a question in a line.
func about(q *ownerv1.CheckRequest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.40q", q.GetSubject())
	if q.GetKind() == ownerv1.Kind_KIND_MACHINE {
		b.WriteString(" (a machine)")
	}
	fmt.Fprintf(&b, " of %.40q", q.GetIssuer())
	if q.GetTenant() != "" {
		fmt.Fprintf(&b, ", tenant %.40q", q.GetTenant())
	}
	if q.GetRelation() != "" {
		fmt.Fprintf(&b, ", relation %.40q", q.GetRelation())
	}
	return b.String()
}

// words are a status in a line.
func words(err error) string {
	s := status.Convert(err)
	return fmt.Sprintf("%s %.160q", s.Code(), s.Message())
}
