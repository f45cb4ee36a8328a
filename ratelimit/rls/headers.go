package rls

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sallyport-dev/sallyport/internal/headerval"
	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Headers choose the headers that a client sees with its response, beside those that Envoy writes itself. The zero value is none.
type Headers struct {
	// Legacy names three headers of one limit each: limit, remaining hits, seconds until reset (LIMIT_RESPONSE_HEADERS_ENABLED of
	// envoyproxy/ratelimit). It is the limit with the least remaining, the first of several; of limits that refuse, the last. Nil:
	// none.
	Legacy *HeaderNames
	// RateLimit writes RateLimit and RateLimit-Policy, with every window of every limit that was counted
	// (draft-ietf-httpapi-ratelimit-headers-10), at most [MaxPolicies]. Rules in shadow mode are not shown.
	RateLimit bool
	// RetryAfter writes Retry-After on refused requests: the longest wait among the limits that refuse, in whole seconds, rounded up.
	RetryAfter bool
	// Degraded writes [DegradedHeader] where the shared counters could not decide, and what a rule says for that case did.
	Degraded bool
}

// DegradedHeader is "true" on an answer that did not come from the shared counters. It tells clients, and their operators, that what
// remains of a limit is this replica's view.
const DegradedHeader = "x-ratelimit-degraded"

// MaxPolicies is the most windows that RateLimit shows; the rest of a request that meets more is left out.
const MaxPolicies = 16

// HeaderNames are the names of the three headers of one limit. An empty name is the default: RateLimit-Limit,
// RateLimit-Remaining, RateLimit-Reset.
type HeaderNames struct{ Limit, Remaining, Reset string }

// errHeaderName is what Validate wraps.
var errHeaderName = errors.New("not a header's name")

// Validate says which name cannot be a header's: Envoy writes what it is given, a line break too. Empty names are valid.
func (n HeaderNames) Validate() error {
	for _, name := range []string{n.Limit, n.Remaining, n.Reset} {
		if name != "" && !headerval.ValidName(name) {
			return fmt.Errorf("%w: %q", errHeaderName, name)
		}
	}
	return nil
}

// orDefaults fills in the names that are not given; a name that is none is not used either.
func (n HeaderNames) orDefaults() *HeaderNames {
	if n.Validate() != nil {
		n = HeaderNames{}
	}
	for name, standard := range map[*string]string{&n.Limit: "RateLimit-Limit", &n.Remaining: "RateLimit-Remaining", &n.Reset: "RateLimit-Reset"} {
		if *name == "" {
			*name = standard
		}
	}
	return &n
}

// of writes the headers of a response. Numbers and names of limits are all there is in them, and those are made fit for a header
// where the file is read.
func (h *Headers) of(r *ratelimit.Response) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	if h.Legacy != nil {
		out = h.Legacy.append(out, closest(r.Statuses))
	}
	if h.RateLimit {
		out = appendPolicies(out, r.Statuses)
	}
	if h.RetryAfter && r.Code != ratelimit.OK {
		out = appendRetryAfter(out, r.Statuses)
	}
	if h.Degraded && r.Degraded {
		out = append(out, header(DegradedHeader, "true"))
	}
	return out
}

func header(name, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: name, Value: value}
}

func number[N int64 | uint32](n N) string { return strconv.FormatInt(int64(n), 10) }

// append writes the three headers of one limit; nil for none.
func (n *HeaderNames) append(to []*corev3.HeaderValue, s *ratelimit.Status) []*corev3.HeaderValue {
	if s == nil {
		return to
	}
	return append(to, header(n.Limit, number(s.Limit.Requests)), header(n.Remaining, number(s.Remaining)), header(n.Reset, number(wholeSeconds(s.Reset))))
}

// counted says that a status has a limit to show.
func counted(s *ratelimit.Status) bool { return s.Limit.Unit != limits.NoUnit || len(s.Windows) > 0 }

// closest is the limit that is closest to its end, as the reference picks it.
func closest(statuses []ratelimit.Status) *ratelimit.Status {
	var found *ratelimit.Status
	least := ^uint32(0)
	for i := range statuses {
		s := &statuses[i]
		switch {
		case !counted(s):
		case s.Code != ratelimit.OK:
			found, least = s, 0
		case s.Remaining < least:
			found, least = s, s.Remaining
		}
	}
	return found
}

// policy is one window as the draft shows it.
type policy struct {
	name             string
	quota, remaining uint32
	window           time.Duration
	reset            time.Duration
}

// appendPolicies writes every window twice: what it grants, and what is left of it. Both lists have an item of the same name for each.
func appendPolicies(to []*corev3.HeaderValue, statuses []ratelimit.Status) []*corev3.HeaderValue {
	var policies []policy
	for i := range statuses {
		policies = appendWindows(policies, &statuses[i])
	}
	if len(policies) == 0 {
		return to
	}
	policies = policies[:min(len(policies), MaxPolicies)]
	var grants, left strings.Builder
	for i, p := range policies {
		if i > 0 {
			grants.WriteString(", ")
			left.WriteString(", ")
		}
		name := p.name
		if n := slices.IndexFunc(policies, func(other policy) bool { return other.name == name }); n < i {
			name += "-" + strconv.Itoa(i+1) // an item's place in the list makes it the only one of its name
		}
		fmt.Fprintf(&grants, "%q;q=%d;w=%d", name, p.quota, wholeSeconds(p.window))
		fmt.Fprintf(&left, "%q;r=%d;t=%d", name, p.remaining, wholeSeconds(p.reset))
	}
	return append(to, header("ratelimit-policy", grants.String()), header("ratelimit", left.String()))
}

// appendWindows appends the windows of one limit.
func appendWindows(to []policy, s *ratelimit.Status) []policy {
	switch {
	case !counted(s) || s.Rule == nil || s.Rule.Shadow:
		return to
	case s.Rule.Override || len(s.Windows) != len(s.Rule.Limits):
		window := time.Duration(max(s.Multiplier, 1)) * s.Limit.Unit.Span()
		return append(to, policy{policyName(s.Limit, window), s.Limit.Requests, s.Remaining, window, s.Reset})
	}
	for i, state := range s.Windows {
		limit, window := s.Rule.Limits[i], s.Rule.Windows[i].Span
		to = append(to, policy{policyName(limit, window), limit.Requests, state.Remaining, window, state.Reset})
	}
	return to
}

// policyName is the limit's own name, or the length of its window.
func policyName(l limits.Limit, window time.Duration) string {
	switch {
	case l.Name != "":
		return l.Name
	case l.Unit != limits.NoUnit && l.Unit.Span() == window:
		return l.Unit.String()
	}
	return number(wholeSeconds(window)) + "s"
}

// appendRetryAfter writes when the last of the limits that refuse will not, as far as they can know.
func appendRetryAfter(to []*corev3.HeaderValue, statuses []ratelimit.Status) []*corev3.HeaderValue {
	longest := time.Duration(0)
	for i := range statuses {
		if statuses[i].Code != ratelimit.OK {
			longest = max(longest, statuses[i].Reset)
		}
	}
	return append(to, header("retry-after", number(wholeSeconds(longest))))
}
