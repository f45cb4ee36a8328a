package adminapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/window"
)

// stubLimits answers everything alike.
type stubLimits struct{ err error }

var seen = ratelimit.Inspection{
	Rule:    &limits.Rule{Path: "mesh.who", File: "mesh.yaml"},
	Windows: []window.Window{{Limit: 100, Span: time.Minute}}, States: []window.State{{Remaining: 7, Reset: 1500 * time.Millisecond}},
}

func (s stubLimits) Peek(context.Context, string, []limits.Entry) (ratelimit.Inspection, error) {
	return seen, s.err
}

func (s stubLimits) Reset(context.Context, string, []limits.Entry) (ratelimit.Inspection, error) {
	return seen, s.err
}

func (s stubLimits) Grant(context.Context, string, []limits.Entry, uint32) (ratelimit.Inspection, error) {
	return seen, s.err
}

func (s stubLimits) Strays() []ratelimit.Stray {
	return []ratelimit.Stray{{Domain: "mesh", Entries: []limits.Entry{{Key: "a", Value: "\xff"}}, Time: now, Count: 3}}
}

func limitsGate(t *testing.T, l Limits) (address string, told func() []string) {
	t.Helper()
	var mu sync.Mutex
	var calls []string
	address, _ = gateWith(t, nil, Options{Limits: l, Counted: func(c Counted) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, fmt.Sprintf("%s %s %v %d %v %v", c.Call, c.Domain, c.Entries, c.Hits, c.Caller.Known, c.Err != nil))
	}})
	return address, func() []string { mu.Lock(); defer mu.Unlock(); return calls }
}

// Each call is answered, and written down with who made it.
func TestLimitsCalls(t *testing.T) {
	address, told := limitsGate(t, stubLimits{})
	who := []limits.Entry{{Key: "who", Value: "alice"}}
	want := Counter{"mesh.who", "mesh.yaml:0", []CounterWindow{{100, 7, time.Minute, 1500 * time.Millisecond}}}
	for _, call := range []string{"peek", "reset", "grant"} {
		got, err := Count(t.Context(), address, call, "mesh", who, 5)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", call, err, diff)
		}
	}
	strays, err := Strays(t.Context(), address)
	if err != nil || len(strays) != 1 || strays[0].Count != 3 || strays[0].Entries[0].Value != "\uFFFD" || !strays[0].Time.Equal(now) {
		t.Errorf("%v, %v", strays, err)
	}
	if diff := cmp.Diff([]string{
		"peek mesh [{who alice}] 0 true false", "reset mesh [{who alice}] 0 true false", "grant mesh [{who alice}] 5 true false", "unmatched  [] 0 true false",
	}, told()); diff != "" {
		t.Error(diff)
	}
	// A gate of limits has no tokens to revoke.
	if _, err := Why(t.Context(), address, Question{DecisionID: "x"}); err == nil || !strings.Contains(err.Error(), "does not know this call") {
		t.Errorf("why: %v", err)
	}
}

// What makes no sense is refused in words, and written down too.
func TestLimitsRefused(t *testing.T) {
	many := make([]limits.Entry, 33)
	for i := range many {
		many[i].Key = "k"
	}
	address, told := limitsGate(t, stubLimits{})
	for name, test := range map[string]struct {
		domain  string
		entries []limits.Entry
		hits    uint64
		says    string
	}{
		"no domain":    {"", []limits.Entry{{Key: "k"}}, 1, "domain is missing"},
		"no entries":   {"d", nil, 1, "1 to 32 entries"},
		"many entries": {"d", many, 1, "1 to 32 entries"},
		"no key":       {"d", []limits.Entry{{Value: "v"}}, 1, "an entry has a key"},
		"a long value": {"d", []limits.Entry{{Key: "k", Value: strings.Repeat("x", 2049)}}, 1, "longer than 2048 bytes"},
		"no hits":      {"d", []limits.Entry{{Key: "k"}}, 0, "hits is 0"},
		"many hits":    {"d", []limits.Entry{{Key: "k"}}, 1 << 32, "at most 4294967295"},
	} {
		if _, err := Count(t.Context(), address, "grant", test.domain, test.entries, test.hits); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(told()); n != 6 { // too many hits do not leave the client
		t.Errorf("%d calls are written down", n)
	}
	for says, err := range map[string]error{
		"passes unlimited": fmt.Errorf("%w: passes unlimited", ratelimit.ErrUncounted),
		"could not decide": &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: errors.New("late")},
		"no rate limit":    ratelimit.ErrNoTable,
	} {
		address, _ := limitsGate(t, stubLimits{err})
		if _, err := Count(t.Context(), address, "peek", "d", []limits.Entry{{Key: "k"}}, 0); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
