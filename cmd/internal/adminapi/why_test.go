package adminapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// kept is a memory of one denial.
type kept struct{ e *authz.Explanation }

func (k kept) Explain(id string) (*authz.Explanation, bool) { return k.e, id == k.e.DecisionID }
func (k kept) ExplainRequest(id string) (*authz.Explanation, bool) {
	return k.e, id == k.e.RequestID
}
func (kept) Len() int         { return 1 }
func (kept) Since() time.Time { return now }

var denied = &authz.Explanation{
	DecisionID: "D-1", Time: now, Verdict: "deny", Reason: "owner", Detail: "not_theirs", PublicReason: "not_found", Status: 404, Policy: "abcd", Service: "orders",
	Rule: "read", Place: "policy.yaml:7:9", Method: "GET", Host: "orders.example", Path: "/orders/7?x=…", RequestID: "r-1", Traceparent: "00-a-b-01", Who: "user|shop|alice",
	Mend: "path.id equal to token.sub", Shadow: "allow (allowed)",
	Steps: []authz.ExplainedStep{
		{Step: "target", Outcome: authz.Passed, Demand: "one reading"}, {Step: "caller", Outcome: authz.NotAsked},
		{Step: "owner", Outcome: authz.Failed, Demand: "path.id equal to token.sub", Found: `"7"`}, {Step: "effects", Outcome: authz.NotReached},
	},
}

// What the gate tells is what arrives, by either name.
func TestWhy(t *testing.T) {
	var asked []Asked
	address, _ := gateWith(t, nil, Options{Denials: kept{denied}, Asked: func(a Asked) { asked = append(asked, a) }})
	for _, q := range []Question{{DecisionID: "D-1"}, {RequestID: "r-1"}} {
		told, err := Why(t.Context(), address, q)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(denied, told); diff != "" {
			t.Errorf("%+v:\n%s", q, diff)
		}
	}
	if len(asked) != 2 || asked[0].Question.DecisionID != "D-1" || asked[0].Err != nil || !asked[0].Caller.Known {
		t.Errorf("asked %+v", asked)
	}
}

func TestWhyRefuses(t *testing.T) {
	full, _ := gateWith(t, nil, Options{Denials: kept{denied}})
	none, _ := gateWith(t, nil, Options{})
	for _, test := range []struct {
		address string
		q       Question
		want    string
		code    int
	}{
		{full, Question{DecisionID: "D-2"}, `no denial "D-2" is kept here: this gate keeps its last denials (1 now, since 2026-11-20T12:00:00Z)`, 1},
		{full, Question{RequestID: "r-2"}, `no denial "r-2" is kept here`, 1},
		{full, Question{RequestID: "a\nb"}, `no denial "a\nb" is kept here`, 1},
		{none, Question{DecisionID: "D-1"}, "this gate keeps no denials: start it with --why", 1},
		{full, Question{}, "name the decision by its ID", 2},
		{full, Question{DecisionID: "D-1", RequestID: "r-1"}, "not by both", 2},
		{full, Question{DecisionID: strings.Repeat("x", 513)}, "longer than 512 bytes", 2},
		{"unix:/nowhere/at/all.sock", Question{DecisionID: "D-1"}, "is a gate running with", 2},
		{"127.0.0.1:1", Question{DecisionID: "D-1"}, "unix:", 2},
	} {
		_, err := Why(context.Background(), test.address, test.q)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %s", test.q, err, test.want)
			continue
		}
		if code := daemon.ExitCode(err); code != test.code {
			t.Errorf("%+v: exit code %d, want %d (%v)", test.q, code, test.code, err)
		}
	}
}
