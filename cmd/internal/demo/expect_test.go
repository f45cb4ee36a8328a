package demo

import (
	"net/http"
	"strings"
	"testing"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

var (
	gotAlices = answered{reply: reply{status: 200, echo: echo{Says: "alice's orders", Target: "/users/alice/orders", UserIDs: []string{"alice"}}},
		record: record{Reason: "allowed", Rule: "list-orders"}, called: true}
	gotOwner    = answered{reply: reply{status: 403, problem: problem{Reason: "owner", DecisionID: "X"}}, record: record{Reason: "owner", Rule: "list-orders"}}
	gotExpired  = answered{reply: reply{status: 401, problem: problem{Reason: "invalid_token"}}, record: record{Detail: "expired", Rule: "list-orders"}}
	gotTarget   = answered{reply: reply{status: 400, problem: problem{Reason: "bad_target"}}, record: record{Detail: "target: path holds ';'", Rule: "none"}}
	gotLimited  = answered{reply: reply{status: 429, header: http.Header{}}, record: record{Reason: "over_limit", Rule: "mesh.who"}}
	gotEdge     = answered{reply: reply{status: 429, header: http.Header{}}, record: record{Reason: "over_limit", Rule: "edge.masked_remote_address"}}
	gotEnvoys   = answered{reply: reply{status: 400}}
	gotNoGate   = answered{reply: reply{status: 503}}
	gotNoEntry  = answered{refused: true}
	gotNotFound = answered{reply: reply{status: 404, echo: echo{Says: "no such page"}}, called: true}
)

// What a reader is told of an answer.
func TestAnswersInWords(t *testing.T) {
	for _, test := range []struct {
		name                 string
		got                  answered
		text, reason, decide string
	}{
		{"served", gotAlices, "200 alice's orders", "allowed", "list-orders"},
		{"refused by the first gate", gotOwner, "403", "owner", "list-orders"},
		{"the true reason is the audit log's", gotExpired, "401", "invalid_token/expired", "list-orders"},
		{"a detail that is no word stays there", gotTarget, "400", "bad_target", ""},
		{"refused by the second gate", gotLimited, "429", "over_limit", "mesh.who"},
		{"by address", gotEdge, "429", "over_limit", "edge limit"},
		{"refused by Envoy", gotEnvoys, "400", "refused by Envoy itself", ""},
		{"no gate", gotNoGate, "503", "no gate, no entry", ""},
		{"no connection", gotNoEntry, "no connection", "certificate refused", ""},
	} {
		if test.got.text() != test.text || test.got.why() != test.reason || test.got.which() != test.decide {
			t.Errorf("%s: %q, %q, %q; want %q, %q, %q", test.name, test.got.text(), test.got.why(), test.got.which(), test.text, test.reason, test.decide)
		}
	}
}

// A line holds only if everything is as wished: each of these differs in one thing, and is found out by it.
func TestExpectations(t *testing.T) {
	calledYetRefused := gotOwner
	calledYetRefused.called = true
	calledYetNoEntry := gotNoEntry
	calledYetNoEntry.called = true
	for _, test := range []struct {
		name  string
		want  want
		got   answered
		fault string // part of the only fault; "" for none
	}{
		{"served as wished", allowed("alice's orders", "list-orders"), gotAlices, ""},
		{"refused as wished", refused(403, "owner", "list-orders"), gotOwner, ""},
		{"no connection, as wished", nothing, gotNoEntry, ""},
		{"no such page, from the service itself", want{status: 404}, answered{reply: gotNotFound.reply}, ""},
		{"another status", want{status: 404, reason: "owner"}, gotOwner, "status: expected 404, got 403"},
		{"another answer", allowed("bob's orders", "list-orders"), gotAlices, "words: expected bob's orders, got alice's orders"},
		{"another reason", refused(403, "role", "list-orders"), gotOwner, "reason: expected role, got owner"},
		{"another rule", refused(403, "owner", "profile"), gotOwner, "rule: expected profile, got list-orders"},
		{"no rule at all", refused(400, "bad_target", "profile"), gotTarget, "rule: expected profile, got -"},
		{"refused, but the service was called", refused(403, "owner", "list-orders"), calledYetRefused, "the service was called"},
		{"no connection, but the service was called", nothing, calledYetNoEntry, "the service was called"},
		{"a further demand", want{status: 200, more: saw("/users/bob/orders")}, gotAlices, "the service saw: expected /users/bob/orders"},
	} {
		faults := test.want.faults(test.got)
		switch {
		case test.fault == "" && len(faults) > 0:
			t.Errorf("%s: %q", test.name, faults)
		case test.fault != "" && (len(faults) != 1 || !strings.Contains(faults[0], test.fault)):
			t.Errorf("%s: faults %q, want one with %q", test.name, faults, test.fault)
		}
	}
}

func TestFurtherDemands(t *testing.T) {
	with := func(pairs ...string) answered { return answered{reply: reply{header: header(pairs...)}} }
	all := []string{"X-Ratelimit-Limit", "100", "X-Ratelimit-Remaining", "0", "X-Ratelimit-Reset", "9", "Retry-After", "9"}
	away := with(all...)
	away.Detail = "store_unavailable"
	for _, test := range []struct {
		name   string
		demand func(answered) string
		got    answered
		met    bool
	}{
		{"no token: a challenge without a code (RFC 6750 3.1)", challenges(""), with("Www-Authenticate", `Bearer realm="x"`), true},
		{"no token: a code", challenges(""), with("Www-Authenticate", `Bearer realm="x", error="invalid_token"`), false},
		{"no token: no challenge", challenges(""), with(), false},
		{"no token: another scheme", challenges(""), with("Www-Authenticate", `Basic realm="x"`), false},
		{"bad token", challenges("invalid_token"), with("Www-Authenticate", `Bearer realm="x", error="invalid_token"`), true},
		{"bad token: another code", challenges("invalid_token"), with("Www-Authenticate", `Bearer realm="x", error="invalid_request"`), false},
		{"the path", saw("/a"), answered{reply: reply{echo: echo{Target: "/a"}}}, true},
		{"another path", saw("/a"), answered{reply: reply{echo: echo{Target: "/b"}}}, false},
		{"one name", knows("alice"), gotAlices, true},
		{"a second name", knows("alice"), answered{reply: reply{echo: echo{UserIDs: []string{"alice", "admin"}}}}, false},
		{"no name", knows(), answered{}, true},
		{"a name for nobody", knows(), gotAlices, false},
		{"all limit headers", bounded, with(all...), true},
		{"no remaining", bounded, with(append(all[:2:2], all[4:]...)...), false},
		{"no retry-after", bounded, with(all[:6]...), false},
		{"retry-after", waits, with("Retry-After", "1"), true},
		{"no retry-after alone", waits, with(), false},
		{"the store is away and the gate knows", storeless, away, true},
		{"the store is there", storeless, with(all...), false},
	} {
		if fault := test.demand(test.got); (fault == "") != test.met {
			t.Errorf("%s: %q", test.name, fault)
		}
	}
}

// A flood is refused at one request, and only answers that never came excuse an earlier one.
func TestFloodExpectation(t *testing.T) {
	f := flood{room: 100, before: 200}
	for _, test := range []struct {
		at, lost int
		holds    bool
	}{{101, 0, true}, {100, 0, false}, {102, 0, false}, {100, 1, true}, {99, 1, false}, {102, 1, false}, {101, 3, true}} {
		if faults := f.faults(test.at, test.lost); (len(faults) == 0) != test.holds {
			t.Errorf("refused at %d with %d lost: %q", test.at, test.lost, faults)
		}
	}
}

// An address counts unless the gate never judged one.
func TestMisplaced(t *testing.T) {
	from := request{from: "203.0.113.1"}
	for _, test := range []struct {
		name  string
		got   answered
		r     request
		holds bool
	}{
		{"judged as sent", answered{record: record{Address: "203.0.113.1"}}, from, true},
		{"judged as another", answered{record: record{Address: "192.0.2.2"}}, from, false},
		{"never judged", answered{}, from, true},
		{"none sent", answered{record: record{Address: "192.0.2.2"}}, request{}, true},
	} {
		if faults := misplaced(test.got, test.r); (len(faults) == 0) != test.holds {
			t.Errorf("%s: %q", test.name, faults)
		}
	}
}

func TestScoreInWords(t *testing.T) {
	for _, test := range []struct {
		score Score
		want  string
	}{
		{Score{Held: 3}, "3 of 3 lines held."},
		{Score{Held: 2, Broken: 1}, "2 of 3 lines held. Those that did not are marked XX."},
		{Score{Held: 2, Skipped: 4}, "2 of 2 lines held. 4 more could not be shown here; they are marked --."},
	} {
		if got := test.score.String(); got != test.want {
			t.Errorf("%+v: %q, want %q", test.score, got, test.want)
		}
	}
}
