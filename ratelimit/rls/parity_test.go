package rls_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// What envoyproxy/ratelimit takes and answers, row by row. The answers of what it decides are in package ratelimit, those of how it
// finds a limit in package limits.

const rows = `domain: d
descriptors:
- {key: two, rate_limit: {requests_per_unit: 2, unit: minute, name: pair}}
- {key: five, rate_limit: {requests_per_unit: 5, unit: hour}}
- {key: free, metadata: {from: free, n: 1}, rate_limit: {unlimited: true}}
- {key: never, rate_limit: {requests_per_unit: 0, unit: day}}
- {key: shadow, shadow_mode: true, rate_limit: {requests_per_unit: 0, unit: second}}
- {key: quota, quota_mode: true, metadata: {from: quota, q: {deep: [true, 1.5, ]}}, rate_limit: {requests_per_unit: 1, unit: minute}}
- {key: quota2, quota_mode: true, detailed_metric: true, metadata: {from: quota2, kept: yes it is}, rate_limit: {requests_per_unit: 9, unit: minute}}
- {key: ours, rate_limits: [{requests_per_unit: 3, unit: minute}, {requests_per_unit: 9, unit: hour, name: hourly}]}
- {key: odd, rate_limits: [{requests_per_unit: 3, unit: 90s}, {requests_per_unit: 3, unit: 2500ms}]}
- {key: bucket, algorithm: token_bucket, rate_limits: [{requests_per_unit: 60, unit: minute, burst: 2}]}
- {key: twice, rate_limits: [{requests_per_unit: 3, unit: minute}]}
- {key: better, rate_limit: {requests_per_unit: 7, unit: minute, replaces: [{name: pair}]}}
`

// service is a limiter of the rows above, 20.5 seconds into a minute, behind options.
type service struct {
	*testing.T
	client rlsv3.RateLimitServiceClient
}

func serve(t *testing.T, l ratelimit.Options, o rls.Options) *service {
	t.Helper()
	if l.Store == nil {
		l.Store = memstore.New(memstore.Options{Now: func() time.Time { return tick }})
	}
	l.StoreTimeout = time.Hour // a store in memory is as slow as the machine is busy
	limiter := ratelimit.New(l)
	limiter.Use(tableOf(t, rows))
	return &service{t, dial(t, limiter, o)}
}

func tableOf(t testing.TB, source string) *limits.Table {
	t.Helper()
	f, errs := limits.Decode("f.yaml", []byte(source))
	if errs != nil {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{f})
	if errs != nil {
		t.Fatal(errs)
	}
	return table
}

// ask sends a request for descriptors of one entry each: "two=a five=b*3", where a number is a descriptor's hits.
func (s *service) ask(descriptors string) *rlsv3.RateLimitResponse {
	s.Helper()
	return s.send(`domain: "d" ` + messages(descriptors))
}

func messages(descriptors string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(descriptors) {
		entry, hits, counted := strings.Cut(word, "*")
		key, value, _ := strings.Cut(entry, "=")
		fmt.Fprintf(&b, "descriptors { entries { key: %q value: %q }", key, value)
		if counted {
			fmt.Fprintf(&b, " hits_addend { value: %s }", hits)
		}
		b.WriteString(" } ")
	}
	return b.String()
}

func (s *service) send(request string) *rlsv3.RateLimitResponse {
	s.Helper()
	out, err := s.client.ShouldRateLimit(context.Background(), parse(s.T, &rlsv3.RateLimitRequest{}, request))
	if err != nil {
		s.Fatalf("%s: %v", request, err)
	}
	return out
}

// want holds an answer to its text.
func (s *service) want(got *rlsv3.RateLimitResponse, text string) {
	s.Helper()
	if diff := cmp.Diff(parse(s.T, &rlsv3.RateLimitResponse{}, text), got, protocmp.Transform()); diff != "" {
		s.Error(diff)
	}
}

// Each is gRPC code Unknown in the reference, with these words; ours says what kind of mistake it is.
func TestParityErrors(t *testing.T) {
	secret := &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("dial tcp 10.0.0.1:6379: connection refused")}
	for _, tt := range []struct {
		name      string
		err       error
		text      string
		ours      codes.Code
		reference codes.Code
	}{
		{"empty domain", ratelimit.ErrNoDomain, "rate limit domain must not be empty", codes.InvalidArgument, codes.Unknown},
		{"empty descriptor list", ratelimit.ErrNoDescriptors, "rate limit descriptor list must not be empty", codes.InvalidArgument, codes.Unknown},
		{"no config yet", ratelimit.ErrNoTable, "no rate limit configuration loaded", codes.Unavailable, codes.Unknown},
		{"the store fails", secret, "the store of the rate limits could not decide", codes.Unavailable, codes.Unknown},
		// What ends the reference's process is no error of its own.
		{"nonsense", fmt.Errorf("%w: limit override without a unit", ratelimit.ErrInvalid), "invalid rate limit request: limit override without a unit", codes.InvalidArgument, codes.InvalidArgument},
		{"unforeseen", errors.New("secret"), "internal error", codes.Internal, codes.Internal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for reference, want := range map[bool]codes.Code{false: tt.ours, true: tt.reference} {
				client := dial(t, stub(func(context.Context) (ratelimit.Response, error) { return ratelimit.Response{}, tt.err }), rls.Options{ReferenceErrors: reference})
				_, err := client.ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: "d"})
				if got := status.Convert(err); got.Code() != want || got.Message() != tt.text {
					t.Errorf("reference %t: %v, want %v with %q", reference, err, want, tt.text)
				}
			}
		})
	}
}

func TestParityUnknownDomain(t *testing.T) {
	m := rls.NewMetrics()
	s := serve(t, ratelimit.Options{Observer: m}, rls.Options{Metrics: m})
	s.want(s.send(`domain: "other" `+messages("two=a five=b")), `overall_code: OK statuses { code: OK } statuses { code: OK }`)
	if err := testutil.CollectAndCompare(m, strings.NewReader("# HELP sallyport_ratelimit_unknown_domain_total Requests for a domain that no limits file names.\n# TYPE sallyport_ratelimit_unknown_domain_total counter\nsallyport_ratelimit_unknown_domain_total 1\n"), "sallyport_ratelimit_unknown_domain_total"); err != nil {
		t.Error(err)
	}
}

// unasked is a store that nobody may ask.
type unasked struct{ *testing.T }

func (u unasked) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	u.Error("the store was asked")
	return nil, errors.New("asked")
}

func TestParityNoMatch(t *testing.T) {
	s := serve(t, ratelimit.Options{Store: unasked{t}}, rls.Options{})
	s.want(s.ask("other=a"), `overall_code: OK statuses { code: OK }`)
}

func TestParityUnlimited(t *testing.T) {
	s := serve(t, ratelimit.Options{Store: unasked{t}}, rls.Options{})
	s.want(s.ask("free=a"), `overall_code: OK statuses { code: OK limit_remaining: 4294967295 }`)
}

func TestParityZeroRequestsPerUnit(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	for _, ask := range []string{"never=a", "never=b*0", "never=a*7"} {
		if got := s.ask(ask); got.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
			t.Errorf("%s: %v", ask, got)
		}
	}
}

// Zero for the request means one, zero for a descriptor is a peek, and a descriptor's word overrides the request's.
func TestParityHitsAddend(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	for _, step := range []struct {
		request   string
		remaining uint32
		over      bool
	}{
		{`hits_addend: 0 ` + messages("five=a"), 4, false},
		{`hits_addend: 2 ` + messages("five=a"), 2, false},
		{`hits_addend: 9 ` + messages("five=a*1"), 1, false},
		{`hits_addend: 9 ` + messages("five=a*0"), 1, false},
		{messages("five=a*1"), 0, false},
		{messages("five=a*0"), 0, false}, // at exactly the limit a peek is OK
		{messages("five=a*1"), 0, true},
		{messages("five=a*0"), 0, true}, // and beyond it is not: the denied hit was counted
	} {
		got := s.send(`domain: "d" ` + step.request)
		if got.GetStatuses()[0].GetLimitRemaining() != step.remaining || (got.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT) != step.over {
			t.Errorf("%s: %v, want %d remaining, over %t", step.request, got, step.remaining, step.over)
		}
	}
}

// A later version of the reference gives negative hits back; the floor is zero, and they are never refused.
func TestParityNegativeHits(t *testing.T) {
	m := rls.NewMetrics()
	s := serve(t, ratelimit.Options{Observer: m}, rls.Options{Metrics: m})
	back := func(hits int) *rlsv3.RateLimitResponse {
		return s.send(fmt.Sprintf(`domain: "d" descriptors { entries { key: "two" value: "a" } hits_addend { value: %d } is_negative_hits: true }`, hits))
	}
	if got := back(5); got.GetStatuses()[0].GetLimitRemaining() != 2 {
		t.Errorf("below zero: %v", got)
	}
	s.ask("two=a*2")
	if got := s.ask("two=a"); got.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("the third of two: %v", got)
	}
	for _, remaining := range []uint32{0, 1} {
		if got := back(1); got.GetOverallCode() != rlsv3.RateLimitResponse_OK || got.GetStatuses()[0].GetLimitRemaining() != remaining {
			t.Errorf("given back: %v, want %d remaining", got, remaining)
		}
	}
	if err := testutil.CollectAndCompare(m, strings.NewReader("# HELP ratelimit_service_rate_limit_total_negative_hits Hits that were given back to a rule.\n# TYPE ratelimit_service_rate_limit_total_negative_hits counter\n"+
		series("total_negative_hits", map[string]int{"two": 7})), "ratelimit_service_rate_limit_total_negative_hits"); err != nil {
		t.Error(err)
	}
}

// series are the rows' series of one metric, zero but for those given.
func series(name string, counts map[string]int) string {
	var b strings.Builder
	for _, key := range []string{"better", "bucket", "five", "free", "never", "odd", "ours", "override", "quota", "shadow", "twice", "two"} {
		fmt.Fprintf(&b, "ratelimit_service_rate_limit_%s{domain=\"d\",key1=%q,key2=\"\"} %d\n", name, key, counts[key])
	}
	return b.String()
}

// Denied and partly denied hits count in the reference's form, and burn nothing in ours.
func TestParityOverLimitAccounting(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	for _, step := range []struct {
		ask  string
		over bool
	}{{"two=a*5", true}, {"two=a", true}, {"ours=a*5", true}, {"ours=a*3", false}} {
		if got := s.ask(step.ask); (got.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT) != step.over {
			t.Errorf("%s: %v", step.ask, got)
		}
	}
}

// A limit of the request replaces the file's, also where nothing matches, in a known domain; it is never in shadow.
func TestParityOverride(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	override := func(domain, key string, unit string) string {
		return fmt.Sprintf(`domain: %q descriptors { entries { key: %q } limit { requests_per_unit: 1 unit: %s } }`, domain, key, unit)
	}
	one := `overall_code: OK statuses { code: OK current_limit { requests_per_unit: 1 unit: DAY } duration_until_reset { seconds: RESET } }`
	for _, key := range []string{"two", "other", "shadow", "free"} {
		got := s.send(override("d", key, "DAY"))
		s.want(got, strings.Replace(one, "RESET", fmt.Sprint(got.GetStatuses()[0].GetDurationUntilReset().GetSeconds()), 1))
		if got := s.send(override("d", key, "DAY")); got.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
			t.Errorf("%s: the second of one: %v", key, got)
		}
		if got := s.send(override("d", key, "HOUR")); got.GetOverallCode() != rlsv3.RateLimitResponse_OK {
			t.Errorf("%s: an hour and a day share a counter: %v", key, got)
		}
	}
	s.want(s.send(override("other", "two", "DAY")), `overall_code: OK statuses { code: OK }`)
	// The reference's process ends here.
	for _, unit := range []string{"UNKNOWN", "99"} {
		for _, reference := range []bool{false, true} {
			client := serve(t, ratelimit.Options{}, rls.Options{ReferenceErrors: reference}).client
			_, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, override("d", "two", unit)))
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("unit %s: %v", unit, err)
			}
		}
	}
}

// One status for each descriptor, in their order, each with what Envoy needs for its headers.
func TestParityStatuses(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	s.want(s.ask("other=a five=a*2 free=a two=a*3"), `overall_code: OVER_LIMIT
		statuses { code: OK }
		statuses { code: OK current_limit { requests_per_unit: 5 unit: HOUR } limit_remaining: 3 duration_until_reset { seconds: 3580 } }
		statuses { code: OK limit_remaining: 4294967295 }
		statuses { code: OVER_LIMIT current_limit { name: "pair" requests_per_unit: 2 unit: MINUTE } duration_until_reset { seconds: 40 } }`)
}

// Whole seconds from 1 to the unit, to the end of an epoch-aligned window.
func TestParityDurationUntilReset(t *testing.T) {
	for word, unit := range map[string]time.Duration{
		"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour, "week": 7 * 24 * time.Hour, "month": 30 * 24 * time.Hour, "year": 365 * 24 * time.Hour,
	} {
		for _, now := range []time.Time{tick.Truncate(time.Second), tick, tick.Add(499 * time.Millisecond), time.Unix(0, 0).Add(77 * unit), time.Unix(0, 0).Add(77*unit - 1)} {
			l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{Now: func() time.Time { return now }})})
			l.Use(tableOf(t, "domain: d\ndescriptors: [{key: a, rate_limit: {requests_per_unit: 1, unit: "+word+"}}]\n"))
			got, err := rls.New(l, rls.Options{}).ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "d" `+messages("a=1")))
			if err != nil {
				t.Fatal(err)
			}
			whole := int64(unit / time.Second)
			reset := got.GetStatuses()[0].GetDurationUntilReset()
			if want := whole - now.Unix()%whole; reset.GetSeconds() != want || reset.GetNanos() != 0 || want < 1 || want > whole {
				t.Errorf("%s at %v: %v, want %d s", word, now, reset, want)
			}
		}
	}
}

// Any limit that is over refuses, and quotas when all of them are.
func TestParityOverallCode(t *testing.T) {
	for ask, want := range map[string]rlsv3.RateLimitResponse_Code{
		"two=a five=a":                rlsv3.RateLimitResponse_OK,
		"two=a*3 five=a":              rlsv3.RateLimitResponse_OVER_LIMIT,
		"quota=a*2 quota2=a":          rlsv3.RateLimitResponse_OK,
		"quota=a*2 quota2=a*10":       rlsv3.RateLimitResponse_OVER_LIMIT,
		"quota=a*2 quota2=a two=a*3":  rlsv3.RateLimitResponse_OVER_LIMIT,
		"quota=a*2 five=a":            rlsv3.RateLimitResponse_OVER_LIMIT,
		"shadow=a other=a free=a":     rlsv3.RateLimitResponse_OK,
		"shadow=a quota=a*2 quota2=a": rlsv3.RateLimitResponse_OK,
	} {
		if got := serve(t, ratelimit.Options{}, rls.Options{}).ask(ask); got.GetOverallCode() != want {
			t.Errorf("%s: %v, want %v", ask, got, want)
		}
	}
}

// A quota that is over while another is not says OK with nothing remaining; when they refuse, they say so.
func TestParityQuotaStatuses(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	s.want(s.ask("quota=a*2 quota2=a"), `overall_code: OK
		statuses { code: OK current_limit { requests_per_unit: 1 unit: MINUTE } duration_until_reset { seconds: 40 } }
		statuses { code: OK current_limit { requests_per_unit: 9 unit: MINUTE } limit_remaining: 8 duration_until_reset { seconds: 40 } }`)
	s.want(s.ask("quota=a*2 quota2=a*9"), `overall_code: OVER_LIMIT
		statuses { code: OVER_LIMIT current_limit { requests_per_unit: 1 unit: MINUTE } duration_until_reset { seconds: 40 } }
		statuses { code: OVER_LIMIT current_limit { requests_per_unit: 9 unit: MINUTE } duration_until_reset { seconds: 40 } }`)
}

func TestParityShadowRule(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	s.want(s.ask("shadow=a"), `overall_code: OK statuses { code: OK current_limit { unit: SECOND } duration_until_reset { seconds: 1 } }`)
}

// The whole service in shadow: OK, and statuses that tell the truth.
func TestParityShadowMode(t *testing.T) {
	m := rls.NewMetrics()
	s := serve(t, ratelimit.Options{ShadowMode: true, Observer: m}, rls.Options{Metrics: m})
	s.want(s.ask("two=a*3"), `overall_code: OK statuses { code: OVER_LIMIT current_limit { name: "pair" requests_per_unit: 2 unit: MINUTE } duration_until_reset { seconds: 40 } }`)
	if err := testutil.CollectAndCompare(m, strings.NewReader("# HELP ratelimit_service_global_shadow_mode Requests that passed only because the shadow mode of the whole service is on.\n# TYPE ratelimit_service_global_shadow_mode counter\nratelimit_service_global_shadow_mode 1\n"), "ratelimit_service_global_shadow_mode"); err != nil {
		t.Error(err)
	}
}

func TestParityQuotaMode(t *testing.T) {
	s := serve(t, ratelimit.Options{QuotaMode: true}, rls.Options{})
	if got := s.ask("two=a*3 five=a"); got.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Errorf("one of two is over: %v", got)
	}
	if got := s.ask("two=a*3 five=a*6"); got.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
		t.Errorf("both are over: %v", got)
	}
}

func TestParitySameDescriptorTwice(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	got := s.ask("five=a five=a*2")
	if a, b := got.GetStatuses()[0].GetLimitRemaining(), got.GetStatuses()[1].GetLimitRemaining(); a != 4 || b != 2 {
		t.Errorf("%d and %d remain, want 4 and 2", a, b)
	}
}

func TestParityReplaces(t *testing.T) {
	s := serve(t, ratelimit.Options{}, rls.Options{})
	s.want(s.ask("two=a*9 better=a"), `overall_code: OK statuses { code: OK } statuses { code: OK current_limit { requests_per_unit: 7 unit: MINUTE } limit_remaining: 6 duration_until_reset { seconds: 40 } }`)
}

// headers are the headers of an answer, one a line.
func headers(r *rlsv3.RateLimitResponse) string {
	var b strings.Builder
	for _, h := range r.GetResponseHeadersToAdd() {
		fmt.Fprintf(&b, "%s: %s\n", h.GetKey(), h.GetValue())
	}
	return b.String()
}

// LIMIT_RESPONSE_HEADERS_ENABLED: the limit with the least remaining, and of limits that refuse the last.
func TestParityResponseHeaders(t *testing.T) {
	legacy := func(limit, remaining, reset int) string {
		return fmt.Sprintf("RateLimit-Limit: %d\nRateLimit-Remaining: %d\nRateLimit-Reset: %d\n", limit, remaining, reset)
	}
	for ask, want := range map[string]string{
		"other=a":                "",
		"free=a":                 "",
		"two=a":                  legacy(2, 1, 40),
		"two=a five=a":           legacy(2, 1, 40),
		"two=a five=a*5":         legacy(5, 0, 3580),
		"five=a*4 two=a":         legacy(5, 1, 3580), // the first of equals
		"two=a*3 five=a*6":       legacy(5, 0, 3580), // the last that refuses
		"five=a*6 two=a*3":       legacy(2, 0, 40),
		"two=a*3 five=a*5":       legacy(2, 0, 40), // none remaining, but it does not refuse
		"shadow=a two=a":         legacy(0, 0, 1),
		"two=a quota=a*2 five=a": legacy(1, 0, 40),
	} {
		s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{Legacy: &rls.HeaderNames{}}})
		if diff := cmp.Diff(want, headers(s.ask(ask))); diff != "" {
			t.Errorf("%s: %s", ask, diff)
		}
	}
	for _, names := range []rls.HeaderNames{{Limit: "X-L", Remaining: "X-R", Reset: "X-T"}} {
		s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{Legacy: &names}})
		if got := headers(s.ask("two=a")); got != "X-L: 2\nX-R: 1\nX-T: 40\n" {
			t.Errorf("other names: %q", got)
		}
	}
	s := serve(t, ratelimit.Options{}, rls.Options{})
	if got := headers(s.ask("two=a*3")); got != "" {
		t.Errorf("headers that nobody asked for: %q", got)
	}
}

// Envoy writes a header's name as it is given, a line break too.
func TestHeaderNames(t *testing.T) {
	for _, n := range []rls.HeaderNames{{Limit: "X L"}, {Remaining: "X\r\nSet-Cookie"}, {Reset: ":path"}, {Reset: "é"}} {
		if n.Validate() == nil {
			t.Errorf("%+v is valid", n)
		}
		s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{Legacy: &n}})
		if got := headers(s.ask("two=a")); got != "RateLimit-Limit: 2\nRateLimit-Remaining: 1\nRateLimit-Reset: 40\n" {
			t.Errorf("%+v: %q", n, got)
		}
	}
	if err := (rls.HeaderNames{Limit: "X-Limit"}).Validate(); err != nil {
		t.Error(err)
	}
}

// Every window of every limit, under the same name in both lists; draft-ietf-httpapi-ratelimit-headers-10.
func TestRateLimitHeaders(t *testing.T) {
	for ask, want := range map[string]string{
		"other=a":  "",
		"shadow=a": "", // what clients do not feel they are not told
		"ours=a":   "ratelimit-policy: \"minute\";q=3;w=60, \"hourly\";q=9;w=3600\nratelimit: \"minute\";r=2;t=61, \"hourly\";r=8;t=3640\n",
		"odd=a":    "ratelimit-policy: \"90s\";q=3;w=90, \"3s\";q=3;w=3\nratelimit: \"90s\";r=2;t=91, \"3s\";r=2;t=3\n", // rounded up, as everything
		"bucket=a": "ratelimit-policy: \"minute\";q=60;w=60\nratelimit: \"minute\";r=1;t=1\n",
		"two=a*3":  "ratelimit-policy: \"pair\";q=2;w=60\nratelimit: \"pair\";r=0;t=40\n",
		"ours=a twice=b two=c": "ratelimit-policy: \"minute\";q=3;w=60, \"hourly\";q=9;w=3600, \"minute-3\";q=3;w=60, \"pair\";q=2;w=60\n" +
			"ratelimit: \"minute\";r=2;t=61, \"hourly\";r=8;t=3640, \"minute-3\";r=2;t=61, \"pair\";r=1;t=40\n",
	} {
		s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{RateLimit: true}})
		if diff := cmp.Diff(want, headers(s.ask(ask))); diff != "" {
			t.Errorf("%s: %s", ask, diff)
		}
	}
	s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{RateLimit: true}})
	got := headers(s.send(`domain: "d" descriptors { entries { key: "x" } limit { requests_per_unit: 7 unit: MINUTE unit_multiplier { value: 5 } } }`))
	if want := "ratelimit-policy: \"300s\";q=7;w=300\nratelimit: \"300s\";r=6;t=280\n"; got != want {
		t.Errorf("an override of five minutes: %q, want %q", got, want)
	}
	if got := headers(s.ask(strings.Repeat("two=a*0 ", 99))); strings.Count(got, "w=60") != rls.MaxPolicies {
		t.Errorf("a header without bounds: %q", got)
	}
}

// The headers that docs/limits.md shows are those that are written.
func TestDocumentedHeaders(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	l := ratelimit.New(ratelimit.Options{StoreTimeout: time.Hour, Store: memstore.New(memstore.Options{Now: func() time.Time { return tick }})})
	l.Use(tableOf(t, "domain: d\ndescriptors: [{key: who, rate_limits: [{requests_per_unit: 100, unit: minute}, {requests_per_unit: 1000, unit: hour}]}]\n"))
	got, err := rls.New(l, rls.Options{Headers: rls.Headers{RateLimit: true}}).ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "d" `+messages("who=a")))
	if err != nil || !strings.Contains(string(page), "```text\n"+headers(got)+"```\n") {
		t.Errorf("docs/limits.md does not show\n%s(%v)", headers(got), err)
	}
}

// The longest wait among the limits that refuse, rounded up, and nothing where none does.
func TestRetryAfter(t *testing.T) {
	for ask, want := range map[string]string{
		"two=a":                  "",
		"two=a*3":                "retry-after: 40\n",
		"two=a*3 five=a*6":       "retry-after: 3580\n",
		"two=a*3 five=a":         "retry-after: 40\n",
		"quota=a*2 quota2=a":     "",
		"shadow=a two=a*3":       "retry-after: 40\n",
		"five=a*6 quota=a*2":     "retry-after: 3580\n",
		"shadow=a other=a twice": "",
	} {
		s := serve(t, ratelimit.Options{}, rls.Options{Headers: rls.Headers{RetryAfter: true}})
		if diff := cmp.Diff(want, headers(s.ask(ask))); diff != "" {
			t.Errorf("%s: %s", ask, diff)
		}
	}
	// 39.5 s to go are 40 to a client: one that is told 39 comes back too early.
	if s := serve(t, ratelimit.Options{ShadowMode: true}, rls.Options{Headers: rls.Headers{RetryAfter: true}}); headers(s.ask("two=a*3")) != "" {
		t.Error("a request that passes is told to wait")
	}
}

// RESPONSE_DYNAMIC_METADATA: what was asked, and what the rules say of themselves, also beside detailed_metric.
func TestParityDynamicMetadata(t *testing.T) {
	for _, tt := range []struct{ name, request, want string }{
		{"nothing matches", `domain: "d" ` + messages("other=a"), `{"domain": "d", "descriptors": [{"entries": ["other=a"]}], "quotaModeEnabled": false}`},
		{"hits, entries and a limit", `domain: "d" hits_addend: 2 descriptors { entries { key: "two" value: "a" } entries { key: "b" } hits_addend { value: 0 } } descriptors { entries { key: "x" } limit { requests_per_unit: 5 unit: MINUTE } }`,
			`{"domain": "d", "hitsAddend": 2, "descriptors": [{"entries": ["two=a", "b="], "hitsAddend": 0}, {"entries": ["x="], "limit": "requests_per_unit:5 unit:MINUTE"}], "quotaModeEnabled": false}`},
		{"metadata, the first value wins", `domain: "d" ` + messages("free=a quota=a quota2=a"),
			`{"domain": "d", "descriptors": [{"entries": ["free=a"]}, {"entries": ["quota=a"]}, {"entries": ["quota2=a"]}], "quotaModeEnabled": true,
			  "metadata": {"from": "free", "n": 1, "q": {"deep": [true, 1.5]}, "kept": "yes it is"}}`},
		{"quotas that are over", `domain: "d" ` + messages("two=a*3 quota2=a quota=a*2"),
			`{"domain": "d", "descriptors": [{"entries": ["two=a"], "hitsAddend": 3}, {"entries": ["quota2=a"]}, {"entries": ["quota=a"], "hitsAddend": 2}], "quotaModeEnabled": true, "quotaModeViolations": [2],
			  "metadata": {"from": "quota2", "kept": "yes it is", "q": {"deep": [true, 1.5]}}}`},
		{"an unknown domain", `domain: "other" descriptors { }`, `{"domain": "other", "descriptors": [{"entries": []}], "quotaModeEnabled": false}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, ratelimit.Options{}, rls.Options{DynamicMetadata: true})
			want := &rlsv3.RateLimitResponse{}
			if err := protojson.Unmarshal([]byte(`{"dynamicMetadata": `+tt.want+`}`), want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.GetDynamicMetadata(), s.send(tt.request).GetDynamicMetadata(), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := serve(t, ratelimit.Options{}, rls.Options{}).ask("quota=a"); got.GetDynamicMetadata() != nil {
		t.Errorf("metadata that nobody asked for: %v", got)
	}
	// Without the shared store an answer says so beside all that.
	s := serve(t, ratelimit.Options{Store: down{}, Local: memstore.New(memstore.Options{})}, rls.Options{DynamicMetadata: true})
	if got := s.ask("ours=a").GetDynamicMetadata().GetFields(); !got["degraded"].GetBoolValue() || got["domain"].GetStringValue() != "d" {
		t.Errorf("degraded: %v", got)
	}
}

// Whatever bytes a client sends, the answer arrives, and does not grow with them.
func TestDynamicMetadataOfForeignBytes(t *testing.T) {
	l := limiter(t, ratelimit.Options{})
	send := sender(t, l, rls.Options{DynamicMetadata: true})
	out, err := send(request(t, `domain: "mesh" descriptors { entries { key: "who" value: "`+strings.Repeat("v", 1<<20)+`~" } } descriptors { entries { key: "k~" value: "~" } }`, 0xff))
	if err != nil || out.GetOverallCode() != rlsv3.RateLimitResponse_OK {
		t.Fatalf("%v, %v", out, err)
	}
	if n := proto.Size(out); n > 4096 {
		t.Errorf("an answer of %d bytes", n)
	}
	entries := out.GetDynamicMetadata().GetFields()["descriptors"].GetListValue().GetValues()[1].GetStructValue().GetFields()["entries"].GetListValue().GetValues()
	if got := entries[0].GetStringValue(); got != "k\ufffd=\ufffd" {
		t.Errorf("got %q", got)
	}
}

// Envoy does not implement it, so nobody may find it set.
func TestParityQuotaIsUnset(t *testing.T) {
	got := serve(t, ratelimit.Options{}, rls.Options{DynamicMetadata: true, Headers: rls.Headers{RateLimit: true}}).ask("two=a quota=a*2")
	if got.GetQuota() != nil || got.GetStatuses()[0].GetQuota() != nil {
		t.Errorf("got %v", got)
	}
}

// UNKNOWN lets pass in Envoy. Whatever a limiter says, it is not sent.
func TestParityUnknownIsNeverSent(t *testing.T) {
	for code := range 256 {
		r := ratelimit.Response{Code: ratelimit.Code(code), Statuses: []ratelimit.Status{{Code: ratelimit.Code(code)}}}
		got, err := dial(t, stub(func(context.Context) (ratelimit.Response, error) { return r, nil }), rls.Options{}).ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: "d"})
		if err != nil || got.GetOverallCode() == rlsv3.RateLimitResponse_UNKNOWN || got.GetStatuses()[0].GetCode() == rlsv3.RateLimitResponse_UNKNOWN {
			t.Fatalf("code %d: %v, %v", code, got, err)
		}
		if (got.GetOverallCode() == rlsv3.RateLimitResponse_OK) != (ratelimit.Code(code) == ratelimit.OK) {
			t.Fatalf("code %d: %v", code, got)
		}
	}
}

// Labels hold what the reference writes: ":" and "|" become "_", and so do the dots of an address.
func TestParityMetricNames(t *testing.T) {
	m := rls.NewMetrics()
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{}), Observer: m})
	l.Use(tableOf(t, `domain: "a:b"
descriptors:
- {key: remote_address, value: 10.0.0.1, rate_limit: {requests_per_unit: 1, unit: day}}
- {key: ip, value_to_metric: true, rate_limit: {requests_per_unit: 1, unit: day}}
`))
	for _, d := range []string{"remote_address=10.0.0.1", "ip=192.168.0.1|x"} {
		if _, err := dial(t, l, rls.Options{}).ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "a:b" `+messages(d))); err != nil {
			t.Fatal(err)
		}
	}
	const want = `# HELP ratelimit_service_rate_limit_within_limit Hits within a rule's limit.
# TYPE ratelimit_service_rate_limit_within_limit counter
ratelimit_service_rate_limit_within_limit{domain="a_b",key1="ip_192_168_0_1_x",key2=""} 1
ratelimit_service_rate_limit_within_limit{domain="a_b",key1="override",key2=""} 0
ratelimit_service_rate_limit_within_limit{domain="a_b",key1="remote_address_10_0_0_1",key2=""} 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "ratelimit_service_rate_limit_within_limit"); err != nil {
		t.Error(err)
	}
}
