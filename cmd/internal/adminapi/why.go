package adminapi

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	adminv1 "github.com/sallyport-dev/sallyport/proto/admin/v1"
)

// maxName is the longest name of a decision or a request.
const maxName = 512

// Denials are what a gate remembers of its denials. *authz.Denials is one.
type Denials interface {
	// Explain tells the denial with this decision ID, ExplainRequest the latest of the request with this x-request-id; false where none
	// is kept.
	Explain(id string) (*authz.Explanation, bool)
	ExplainRequest(requestID string) (*authz.Explanation, bool)
	// Len are kept, since then.
	Len() int
	Since() time.Time
}

// Question names the decision that somebody asks about. One of the two is set.
type Question struct{ DecisionID, RequestID string }

func (q Question) check() error {
	switch name := q.DecisionID + q.RequestID; {
	case (q.DecisionID == "") == (q.RequestID == ""):
		return errRequest("name the decision by its ID or the request by its x-request-id, and not by both")
	case len(name) > maxName:
		return errRequest(fmt.Sprintf("the name is longer than %d bytes", maxName))
	}
	return nil
}

// Why is part of adminv1.AdminServer.
func (s *service) Why(ctx context.Context, in *adminv1.WhyRequest) (*adminv1.WhyResponse, error) {
	q := Question{DecisionID: in.GetDecisionId(), RequestID: in.GetRequestId()}
	e, err := s.why(q)
	s.options.Asked(Asked{Caller: callerFrom(ctx), Question: q, Err: err})
	if err != nil {
		return nil, err
	}
	return whyResponse(e), nil
}

func (s *service) why(q Question) (*authz.Explanation, error) {
	if err := q.check(); err != nil {
		return nil, status.Error(codes.InvalidArgument, message(err))
	}
	kept := s.options.Denials
	if kept == nil {
		return nil, status.Error(codes.FailedPrecondition, "this gate keeps no denials: start it with --why 10000")
	}
	find, name := kept.Explain, q.DecisionID
	if q.RequestID != "" {
		find, name = kept.ExplainRequest, q.RequestID
	}
	e, ok := find(name)
	if !ok {
		return nil, status.Error(codes.NotFound, message(fmt.Errorf("no denial %q is kept here: this gate keeps its last denials (%d now, since %s), no allows, and other replicas keep their own",
			name, kept.Len(), kept.Since().UTC().Format(time.RFC3339))))
	}
	return e, nil
}

// outcomes are the words of steps on the wire.
var outcomes = map[authz.Outcome]adminv1.Outcome{
	authz.NotReached: adminv1.Outcome_OUTCOME_NOT_REACHED, authz.NotAsked: adminv1.Outcome_OUTCOME_NOT_ASKED,
	authz.Passed: adminv1.Outcome_OUTCOME_PASSED, authz.Failed: adminv1.Outcome_OUTCOME_FAILED,
}

func whyResponse(e *authz.Explanation) *adminv1.WhyResponse {
	out := &adminv1.WhyResponse{
		DecisionId: text(e.DecisionID), Time: timestamppb.New(e.Time), Verdict: text(e.Verdict), Reason: text(e.Reason), Detail: text(e.Detail),
		PublicReason: text(e.PublicReason), Status: uint32(e.Status), Policy: text(e.Policy), Service: text(e.Service), Rule: text(e.Rule), Place: text(e.Place),
		Method: text(e.Method), Host: text(e.Host), Path: text(e.Path), RequestId: text(e.RequestID), Traceparent: text(e.Traceparent), Who: text(e.Who),
		Mend: text(e.Mend), Shadow: text(e.Shadow),
	}
	for _, step := range e.Steps {
		out.Steps = append(out.Steps, &adminv1.Step{Step: text(step.Step), Outcome: outcomes[step.Outcome], Demand: text(step.Demand), Found: text(step.Found)})
	}
	return out
}

func explanation(in *adminv1.WhyResponse) *authz.Explanation {
	e := &authz.Explanation{
		DecisionID: in.GetDecisionId(), Time: in.GetTime().AsTime(), Verdict: in.GetVerdict(), Reason: in.GetReason(), Detail: in.GetDetail(),
		PublicReason: in.GetPublicReason(), Status: int(in.GetStatus()), Policy: in.GetPolicy(), Service: in.GetService(), Rule: in.GetRule(), Place: in.GetPlace(),
		Method: in.GetMethod(), Host: in.GetHost(), Path: in.GetPath(), RequestID: in.GetRequestId(), Traceparent: in.GetTraceparent(), Who: in.GetWho(),
		Mend: in.GetMend(), Shadow: in.GetShadow(),
	}
	for _, step := range in.GetSteps() {
		told := authz.ExplainedStep{Step: step.GetStep(), Demand: step.GetDemand(), Found: step.GetFound()}
		for outcome, word := range outcomes {
			if word == step.GetOutcome() {
				told.Outcome = outcome
			}
		}
		e.Steps = append(e.Steps, told)
	}
	return e
}

// Why asks the gate at address ("unix:/path") about a denial. Errors are marked as those of [Revoke].
func Why(ctx context.Context, address string, q Question) (*authz.Explanation, error) {
	if err := q.check(); err != nil {
		return nil, daemon.Unable(fmt.Errorf("adminapi: %w", err))
	}
	var out *adminv1.WhyResponse
	err := call(ctx, address, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		in := &adminv1.WhyRequest{Name: &adminv1.WhyRequest_DecisionId{DecisionId: q.DecisionID}}
		if q.RequestID != "" {
			in.Name = &adminv1.WhyRequest_RequestId{RequestId: q.RequestID}
		}
		out, err = adminv1.NewAdminClient(conn).Why(ctx, in)
		return err
	})
	if err != nil {
		return nil, refusal(err, address)
	}
	return explanation(out), nil
}
