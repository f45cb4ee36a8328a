package main

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/authz/owner/grpc/conformance"
	ownerv1 "github.com/sallyport-dev/sallyport/proto/owner/v1"
)

// maxObjects of one call, by the protocol.
const maxObjects = 1000

// owners answers by facts. It is never changed, so any number of calls may ask at once.
type owners struct {
	ownerv1.UnimplementedOwnerServiceServer
	there  map[object]bool
	theirs map[right]bool
}

// object is an object of a tenant: another tenant's of the same name is another.
type object struct{ tenant, id string }

// right is that of somebody to an object in a relation. Somebody is a subject of an issuer and of a kind, never a name alone.
type right struct {
	object
	issuer   string
	kind     ownerv1.Kind
	subject  string
	relation string
}

func newOwners(facts conformance.Facts) *owners {
	o := &owners{there: map[object]bool{}, theirs: map[right]bool{}}
	for _, f := range facts {
		for _, id := range f.Objects {
			at := object{f.Tenant, id}
			o.there[at] = true
			o.theirs[right{at, f.Issuer, f.Kind, f.Subject, f.Relation}] = true
		}
	}
	return o
}

// Check is OwnerService's: one answer for each object.
func (o *owners) Check(_ context.Context, in *ownerv1.CheckRequest) (*ownerv1.CheckResponse, error) {
	if why := refused(in); why != "" {
		return nil, status.Error(codes.InvalidArgument, why)
	}
	out := &ownerv1.CheckResponse{Answers: make([]*ownerv1.Answer, len(in.GetObjects()))}
	for i, id := range in.GetObjects() {
		out.Answers[i] = &ownerv1.Answer{Object: id, Standing: o.standing(in, id)}
	}
	return out, nil
}

func (o *owners) standing(in *ownerv1.CheckRequest, id string) ownerv1.Standing {
	at := object{in.GetTenant(), id}
	switch {
	case o.theirs[right{at, in.GetIssuer(), in.GetKind(), in.GetSubject(), in.GetRelation()}]:
		return ownerv1.Standing_STANDING_THEIRS
	case o.there[at]:
		return ownerv1.Standing_STANDING_NOT_THEIRS
	}
	return ownerv1.Standing_STANDING_NOT_THERE
}

// refused says what a request lacks, or "".
func refused(in *ownerv1.CheckRequest) string {
	switch {
	case in.GetIssuer() == "":
		return "issuer is missing"
	case in.GetKind() != ownerv1.Kind_KIND_PERSON && in.GetKind() != ownerv1.Kind_KIND_MACHINE:
		return "kind is neither person nor machine"
	case in.GetSubject() == "":
		return "subject is missing"
	case len(in.GetObjects()) == 0:
		return "objects are missing"
	case len(in.GetObjects()) > maxObjects:
		return "more than 1,000 objects"
	}
	seen := make(map[string]bool, len(in.GetObjects()))
	for _, id := range in.GetObjects() {
		if id == "" || seen[id] {
			return "an object is empty, or stands there twice"
		}
		seen[id] = true
	}
	return ""
}
