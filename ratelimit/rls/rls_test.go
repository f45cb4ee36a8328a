package rls_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

const file = `domain: mesh
descriptors:
- key: who
  value: "workload|*"
  rate_limit: {unlimited: true}
- key: who
  rate_limits:
  - {requests_per_unit: 3, unit: minute, name: 'per "minute"'}
  - {requests_per_unit: 5, unit: hour}
- key: plain
  rate_limit: {requests_per_unit: 2, unit: WEEK}
- key: soft
  on_store_failure: closed
  rate_limits: [{requests_per_unit: 2, unit: second}]
- key: shadow
  shadow_mode: true
  rate_limit: {requests_per_unit: 0, unit: month, name: s}
- key: service
  value: a:b
  descriptors:
  - key: rule
    descriptors:
    - key: who
      rate_limits: [{requests_per_unit: 1, unit: year}]
`

// tick is 20.5 seconds into a minute that begins an hour.
var tick = time.UnixMilli(1_699_999_200_000 + 20_500)

func limiter(t testing.TB, o ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	f, errs := limits.Decode("f.yaml", []byte(file))
	if errs != nil {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{f})
	if errs != nil {
		t.Fatal(errs)
	}
	if o.Store == nil {
		o.Store = memstore.New(memstore.Options{Now: func() time.Time { return tick }})
	}
	l := ratelimit.New(o)
	l.Use(table)
	return l
}

// dial serves a limiter over gRPC, as Envoy would call it.
func dial(t testing.TB, l rls.Limiter, o rls.Options) rlsv3.RateLimitServiceClient {
	t.Helper()
	server := grpc.NewServer(grpc.MaxRecvMsgSize(64 << 20))
	rls.New(l, o).Register(server)
	listener := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///rls", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return rlsv3.NewRateLimitServiceClient(conn)
}

// parse reads a message as text.
func parse[M proto.Message](t testing.TB, m M, text string) M {
	t.Helper()
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

func TestShouldRateLimit(t *testing.T) {
	for _, tt := range []struct {
		name     string
		requests []string // all but the last are only sent
		want     string
	}{
		{"the tighter window is shown, its name fit for a header, its reset rounded up",
			[]string{`domain: "mesh" descriptors { entries { key: "who" value: "u" } }`},
			`overall_code: OK statuses { code: OK current_limit { name: "per _minute_" requests_per_unit: 3 unit: MINUTE } limit_remaining: 2 duration_until_reset { seconds: 61 } }`},
		{"over the limit is an OK call",
			[]string{`domain: "mesh" hits_addend: 3 descriptors { entries { key: "who" value: "u" } }`, `domain: "mesh" descriptors { entries { key: "who" value: "u" } }`},
			`overall_code: OVER_LIMIT statuses { code: OVER_LIMIT current_limit { name: "per _minute_" requests_per_unit: 3 unit: MINUTE } duration_until_reset { seconds: 61 } }`},
		{"statuses stand in the order of the descriptors",
			[]string{`domain: "mesh" descriptors { entries { key: "x" } } descriptors { entries { key: "plain" value: "p" } } descriptors { entries { key: "who" value: "workload|w" } } descriptors { }`},
			`overall_code: OK statuses { code: OK } statuses { code: OK current_limit { requests_per_unit: 2 unit: WEEK } limit_remaining: 1 duration_until_reset { seconds: RESET } } statuses { code: OK limit_remaining: 4294967295 } statuses { code: OK }`},
		{"a descriptor's hits override the request's, zero is a peek",
			[]string{`domain: "mesh" hits_addend: 9 descriptors { entries { key: "plain" value: "p" } hits_addend { value: 2 } }`, `domain: "mesh" hits_addend: 9 descriptors { entries { key: "plain" value: "p" } hits_addend { } }`},
			`overall_code: OK statuses { code: OK current_limit { requests_per_unit: 2 unit: WEEK } duration_until_reset { seconds: RESET } }`},
		{"negative hits give back",
			[]string{`domain: "mesh" hits_addend: 2 descriptors { entries { key: "plain" value: "p" } }`, `domain: "mesh" descriptors { entries { key: "plain" value: "p" } is_negative_hits: true }`},
			`overall_code: OK statuses { code: OK current_limit { requests_per_unit: 2 unit: WEEK } limit_remaining: 1 duration_until_reset { seconds: RESET } }`},
		{"a shadow rule refuses nobody",
			[]string{`domain: "mesh" descriptors { entries { key: "shadow" } }`},
			`overall_code: OK statuses { code: OK current_limit { name: "s" requests_per_unit: 0 unit: MONTH } duration_until_reset { seconds: RESET } }`},
		{"an override, with its multiplier",
			[]string{`domain: "mesh" descriptors { entries { key: "who" value: "u" } limit { requests_per_unit: 7 unit: MINUTE unit_multiplier { value: 2 } } }`},
			`overall_code: OK statuses { code: OK current_limit { requests_per_unit: 7 unit: MINUTE unit_multiplier { value: 2 } } limit_remaining: 6 duration_until_reset { seconds: 100 } }`},
		{"an unknown domain",
			[]string{`domain: "other" descriptors { entries { key: "who" value: "u" } limit { requests_per_unit: 0 unit: DAY } }`},
			`overall_code: OK statuses { code: OK }`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := dial(t, limiter(t, ratelimit.Options{}), rls.Options{})
			var got *rlsv3.RateLimitResponse
			for _, r := range tt.requests {
				var err error
				if got, err = client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, r)); err != nil {
					t.Fatal(err)
				}
			}
			want := tt.want
			if strings.Contains(want, "RESET") {
				// Epoch-aligned weeks and months end somewhere; only that it is in range is said here.
				for _, s := range got.GetStatuses() {
					if r := s.GetDurationUntilReset(); r != nil {
						if r.GetSeconds() < 1 || r.GetSeconds() > 30*24*3600 || r.GetNanos() != 0 {
							t.Errorf("reset %v", r)
						}
						want = strings.ReplaceAll(want, "RESET", fmt.Sprint(r.GetSeconds()))
					}
				}
			}
			if diff := cmp.Diff(parse(t, &rlsv3.RateLimitResponse{}, want), got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What only an operator can have written is an error.
func TestNonsense(t *testing.T) {
	one := func(d *commonv3.RateLimitDescriptor) *rlsv3.RateLimitRequest {
		return &rlsv3.RateLimitRequest{Domain: "mesh", Descriptors: []*commonv3.RateLimitDescriptor{d}}
	}
	entries := []*commonv3.RateLimitDescriptor_Entry{{Key: "who", Value: "u"}}
	for _, tt := range []struct {
		name string
		req  *rlsv3.RateLimitRequest
		code codes.Code
		text string
	}{
		// The reference's texts.
		{"nothing", &rlsv3.RateLimitRequest{}, codes.InvalidArgument, "rate limit domain must not be empty"},
		{"no descriptors", &rlsv3.RateLimitRequest{Domain: "mesh"}, codes.InvalidArgument, "rate limit descriptor list must not be empty"},
		// An override that ends the reference's process.
		{"an override of no unit", one(&commonv3.RateLimitDescriptor{Entries: entries, Limit: &commonv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 1}}), codes.InvalidArgument, "limit override without a unit"},
		{"an override of a unit to come", one(&commonv3.RateLimitDescriptor{Entries: entries, Limit: &commonv3.RateLimitDescriptor_RateLimitOverride{Unit: typev3.RateLimitUnit(99)}}), codes.InvalidArgument, "limit override without a unit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dial(t, limiter(t, ratelimit.Options{}), rls.Options{}).ShouldRateLimit(context.Background(), tt.req)
			if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.text) {
				t.Errorf("got %v, want %v with %q", err, tt.code, tt.text)
			}
		})
	}
}

// A client chooses how long a header is, and what number stands in it: that is limited like any other request, or refused.
func TestOutOfProportion(t *testing.T) {
	const over = "over"
	longest := strings.Repeat("v", 1<<20)
	for _, tt := range []struct {
		name    string
		request string
		want    string // the remaining hits of the first descriptor, or over
		status  int
	}{
		{"a long value", `domain: "mesh" descriptors { entries { key: "who" value: "` + longest + `" } }`, "2", 1},
		{"a long key", `domain: "mesh" descriptors { entries { key: "` + longest + `" } }`, "0", 1},
		{"a long domain", `domain: "` + longest + `" descriptors { entries { key: "who" } }`, "0", 1},
		{"more hits than there are", `domain: "mesh" descriptors { entries { key: "who" } hits_addend { value: 18446744073709551615 } }`, over, 1},
		{"more give-backs than there are", `domain: "mesh" descriptors { entries { key: "who" } hits_addend { value: 9223372036854775808 } is_negative_hits: true }`, "3", 1},
		{"the most entries", `domain: "mesh" descriptors {` + strings.Repeat(`entries { key: "x" } `, rls.MaxEntries) + `}`, "0", 1},
		{"more entries", `domain: "mesh" descriptors { } descriptors {` + strings.Repeat(`entries { key: "x" } `, rls.MaxEntries+1) + `}`, over, 2},
		{"the most descriptors", `domain: "mesh" ` + strings.Repeat(`descriptors { entries { key: "plain" } hits_addend { } } `, rls.MaxDescriptors), "2", rls.MaxDescriptors},
		{"more descriptors", `domain: "mesh" ` + strings.Repeat(`descriptors { entries { key: "plain" } hits_addend { } } `, 2*rls.MaxDescriptors), over, rls.MaxDescriptors},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rls.NewMetrics()
			got, err := dial(t, limiter(t, ratelimit.Options{}), rls.Options{Metrics: m}).ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, tt.request))
			if err != nil || len(got.GetStatuses()) != tt.status {
				t.Fatalf("got %d statuses, want %d; %v", len(got.GetStatuses()), tt.status, err)
			}
			word := fmt.Sprint(got.GetStatuses()[0].GetLimitRemaining())
			if got.GetOverallCode() != rlsv3.RateLimitResponse_OK {
				word = over
			}
			if word != tt.want {
				t.Errorf("got %s, want %s", word, tt.want)
			}
			refused := 0
			if strings.HasPrefix(tt.name, "more entries") || strings.HasPrefix(tt.name, "more descriptors") {
				refused = 1
			}
			if err := testutil.CollectAndCompare(m, strings.NewReader(unjudged(map[string]int{"oversize": refused})), "sallyport_ratelimit_unjudged_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A limit that no request could reach does not load.
func TestFilesAreShallower(t *testing.T) {
	for depth, loads := range map[int]bool{16: true, rls.MaxEntries: false} {
		file := "domain: d\ndescriptors: " + strings.Repeat("[{key: k, descriptors: ", depth) + "[]" + strings.Repeat("}]", depth) + "\n"
		if _, errs := limits.Decode("f.yaml", []byte(file)); (len(errs) == 0) != loads {
			t.Errorf("%d entries: %v", depth, errs)
		}
	}
}

// Two long values are two budgets, though only their ends differ.
func TestLongValuesStayDistinct(t *testing.T) {
	client := dial(t, limiter(t, ratelimit.Options{}), rls.Options{})
	for i, value := range []string{"a", "b", "a", "a", "b"} {
		got, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "mesh" descriptors { entries { key: "who" value: "`+strings.Repeat("v", 1<<18)+value+`" } }`))
		if want := []uint32{2, 2, 1, 0, 1}[i]; err != nil || got.GetStatuses()[0].GetLimitRemaining() != want {
			t.Errorf("request %d: %v, %v; want %d remaining", i, got, err, want)
		}
	}
}

// stub is a limiter that answers as it is told.
type stub func(ctx context.Context) (ratelimit.Response, error)

func (s stub) Spend(ctx context.Context, _ ratelimit.Request) (ratelimit.Response, error) {
	return s(ctx)
}

// No error's inside leaves, none is UNKNOWN, and each is counted.
func TestErrors(t *testing.T) {
	const secret = "redis://user:secret@10.0.0.1"
	for _, tt := range []struct {
		name string
		err  error
		code codes.Code
		text string
		kind string
	}{
		{"no table", ratelimit.ErrNoTable, codes.Unavailable, "no rate limit configuration loaded", "service_error"},
		{"store", &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New(secret)}, codes.Unavailable, "the store of the rate limits could not decide", "redis_error"},
		{"store, wrapped", fmt.Errorf("%s: %w", secret, &ratelimit.StoreError{Class: ratelimit.StoreTimeout, Err: context.DeadlineExceeded}), codes.Unavailable, "the store of the rate limits could not decide", "redis_error"},
		{"unforeseen", errors.New(secret), codes.Internal, "internal error", "service_error"},
		{"gone", context.Canceled, codes.Canceled, "the caller has gone", "service_error"},
		{"late", context.DeadlineExceeded, codes.DeadlineExceeded, "no answer in time", "service_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := rls.NewMetrics()
			client := dial(t, stub(func(context.Context) (ratelimit.Response, error) { return ratelimit.Response{}, tt.err }), rls.Options{Metrics: m})
			_, err := client.ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: "d"})
			if got := status.Convert(err); got.Code() != tt.code || got.Message() != tt.text {
				t.Errorf("got %v", err)
			}
			want := fmt.Sprintf("# HELP ratelimit_service_should_rate_limit_error Calls that ended with an error.\n# TYPE ratelimit_service_should_rate_limit_error counter\nratelimit_service_should_rate_limit_error{err_type=%q} 1\n", tt.kind)
			other := map[string]string{"redis_error": "service_error", "service_error": "redis_error"}[tt.kind]
			want += fmt.Sprintf("ratelimit_service_should_rate_limit_error{err_type=%q} 0\n", other)
			if err := testutil.CollectAndCompare(m, strings.NewReader(want), "ratelimit_service_should_rate_limit_error"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A panic is a refusal, with a status for each descriptor: an error would let the request pass.
func TestPanic(t *testing.T) {
	m := rls.NewMetrics()
	var told, why any
	var of ratelimit.Request
	client := dial(t, stub(func(context.Context) (ratelimit.Response, error) { panic("secret") }), rls.Options{Metrics: m, OnPanic: func(v any, stack []byte) {
		if len(stack) > 0 {
			told = v
		}
	}, OnUnjudged: func(req ratelimit.Request, w string) { of, why = req, w }})
	got, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "d" descriptors { entries { key: "a" } } descriptors { }`))
	if err != nil || told != "secret" || why != "panic" || of.Domain != "d" {
		t.Errorf("got %v, told %v of %v and %v", err, told, of, why)
	}
	want := parse(t, &rlsv3.RateLimitResponse{}, `overall_code: OVER_LIMIT statuses { code: OVER_LIMIT } statuses { code: OVER_LIMIT }`)
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	counted := "# HELP sallyport_ratelimit_panics_total Panics caught while a request was decided.\n# TYPE sallyport_ratelimit_panics_total counter\nsallyport_ratelimit_panics_total 1\n" + unjudged(map[string]int{"panic": 1})
	if err := testutil.CollectAndCompare(m, strings.NewReader(counted), "sallyport_ratelimit_panics_total", "sallyport_ratelimit_unjudged_total"); err != nil {
		t.Error(err)
	}
}

// The zero response refuses: whoever forgets to decide has decided so.
func TestZeroResponseRefuses(t *testing.T) {
	for _, r := range []ratelimit.Response{{}, {Code: 77, Statuses: []ratelimit.Status{{Code: 77}}}} {
		client := dial(t, stub(func(context.Context) (ratelimit.Response, error) { return r, nil }), rls.Options{})
		got, err := client.ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: "d"})
		if err != nil || got.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT {
			t.Errorf("%+v: %v, %v", r, got, err)
		}
	}
}

// A client's word never reaches a label, and the series are those that the reference's dashboards read.
func TestMetrics(t *testing.T) {
	m := rls.NewMetrics()
	if err := prometheus.NewPedanticRegistry().Register(m); err != nil {
		t.Fatal(err)
	}
	client := dial(t, limiter(t, ratelimit.Options{Observer: m}), rls.Options{Metrics: m})
	for _, r := range []string{
		`domain: "mesh" hits_addend: 3 descriptors { entries { key: "who" value: "EVIL" } }`,
		`domain: "mesh" descriptors { entries { key: "who" value: "EVIL" } }`,
		`domain: "mesh" descriptors { entries { key: "who" value: "workload|EVIL" } }`,
		`domain: "mesh" descriptors { entries { key: "service" value: "a:b" } entries { key: "rule" value: "EVIL" } entries { key: "who" value: "EVIL" } }`,
		`domain: "mesh" descriptors { entries { key: "EVIL" value: "EVIL" } limit { requests_per_unit: 1 unit: DAY } }`,
		`domain: "EVIL" descriptors { entries { key: "EVIL" } }`,
	} {
		if _, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, r)); err != nil {
			t.Fatal(err)
		}
	}
	const want = `# HELP ratelimit_service_rate_limit_total_hits Hits of a rule, passed and refused.
# TYPE ratelimit_service_rate_limit_total_hits counter
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="override",key2=""} 1
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="plain",key2=""} 0
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="service_a_b",key2="rule.who"} 1
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="shadow",key2=""} 0
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="soft",key2=""} 0
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="who",key2=""} 4
ratelimit_service_rate_limit_total_hits{domain="mesh",key1="who_workload_*",key2=""} 1
# HELP ratelimit_service_total_requests Calls.
# TYPE ratelimit_service_total_requests counter
ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 6
# HELP sallyport_ratelimit_unknown_domain_total Requests for a domain that no limits file names.
# TYPE sallyport_ratelimit_unknown_domain_total counter
sallyport_ratelimit_unknown_domain_total 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "ratelimit_service_rate_limit_total_hits", "ratelimit_service_total_requests", "sallyport_ratelimit_unknown_domain_total"); err != nil {
		t.Error(err)
	}
	m.Loaded(true)
	m.Loaded(false)
	for _, name := range []string{
		"ratelimit_service_rate_limit_over_limit", "ratelimit_service_rate_limit_near_limit", "ratelimit_service_rate_limit_within_limit", "ratelimit_service_rate_limit_shadow_mode",
		"ratelimit_service_should_rate_limit_error", "ratelimit_service_response_time_seconds", "ratelimit_service_config_load_success", "ratelimit_service_config_load_error",
		"sallyport_ratelimit_store_errors_total", "sallyport_ratelimit_fallbacks_total", "sallyport_ratelimit_panics_total",
	} {
		if n := testutil.CollectAndCount(m, name); n == 0 {
			t.Errorf("no series of %s", name)
		}
	}
}

type down struct{}

func (down) Spend(context.Context, []ratelimit.Charge) ([]ratelimit.Outcome, error) {
	return nil, &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: errors.New("down")}
}

// Without the store our form answers by itself, says so in the metadata, and counts it; the reference's form is an error.
func TestStoreDown(t *testing.T) {
	m := rls.NewMetrics()
	client := dial(t, limiter(t, ratelimit.Options{Store: down{}, Observer: m}), rls.Options{Metrics: m})
	got, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "mesh" descriptors { entries { key: "soft" value: "u" } }`))
	if err != nil {
		t.Fatal(err)
	}
	want := parse(t, &rlsv3.RateLimitResponse{}, `overall_code: OVER_LIMIT statuses { code: OVER_LIMIT current_limit { requests_per_unit: 2 unit: SECOND } duration_until_reset { seconds: 1 } } dynamic_metadata { fields { key: "degraded" value { bool_value: true } } }`)
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if _, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "mesh" descriptors { entries { key: "plain" value: "u" } }`)); status.Code(err) != codes.Unavailable {
		t.Errorf("the reference's form: %v", err)
	}
	const counted = `# HELP sallyport_ratelimit_fallbacks_total Limits answered without the store, by what answered.
# TYPE sallyport_ratelimit_fallbacks_total counter
sallyport_ratelimit_fallbacks_total{how="closed"} 1
sallyport_ratelimit_fallbacks_total{how="error"} 1
sallyport_ratelimit_fallbacks_total{how="local"} 0
sallyport_ratelimit_fallbacks_total{how="open"} 0
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(counted), "sallyport_ratelimit_fallbacks_total"); err != nil {
		t.Error(err)
	}
}

// A caller that has gone costs no hit, and is told so.
func TestCanceledCaller(t *testing.T) {
	l := limiter(t, ratelimit.Options{})
	server := rls.New(l, rls.Options{})
	req := parse(t, &rlsv3.RateLimitRequest{}, `domain: "mesh" descriptors { entries { key: "who" value: "u" } }`)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if out, err := server.ShouldRateLimit(gone, req); out != nil || status.Code(err) != codes.Canceled {
		t.Errorf("got %v, %v", out, err)
	}
	if out, err := server.ShouldRateLimit(context.Background(), req); err != nil || out.GetStatuses()[0].GetLimitRemaining() != 2 {
		t.Errorf("a hit was spent for a caller that had gone: %v, %v", out, err)
	}
}

func TestServiceName(t *testing.T) {
	if rls.ServiceName != rlsv3.RateLimitService_ServiceDesc.ServiceName {
		t.Errorf("the service is called %s", rlsv3.RateLimitService_ServiceDesc.ServiceName)
	}
}

// everyOption adds to an answer all that can be added.
var everyOption = rls.Options{DynamicMetadata: true, Headers: rls.Headers{Legacy: &rls.HeaderNames{}, RateLimit: true, RetryAfter: true}}

// Whatever bytes are sent, the answer is a verdict with a status for each descriptor, or an error of a known kind.
func FuzzShouldRateLimit(f *testing.F) {
	for _, s := range []string{
		`domain: "mesh" descriptors { entries { key: "who" value: "u" } }`,
		`domain: "mesh" hits_addend: 4294967295 descriptors { entries { key: "plain" } limit { unit: YEAR unit_multiplier { value: 4294967295 } } hits_addend { value: 18446744073709551615 } is_negative_hits: true }`,
		`descriptors { }`,
	} {
		m := &rlsv3.RateLimitRequest{}
		if err := prototext.Unmarshal([]byte(s), m); err != nil {
			f.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	server := rls.New(limiter(f, ratelimit.Options{}), everyOption)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &rlsv3.RateLimitRequest{}
		if proto.Unmarshal(data, m) != nil {
			return
		}
		out, err := server.ShouldRateLimit(context.Background(), m)
		if err != nil {
			if c := status.Code(err); c != codes.InvalidArgument {
				t.Fatalf("%v", err)
			}
			return
		}
		if out.GetOverallCode() == rlsv3.RateLimitResponse_UNKNOWN || len(out.GetStatuses()) != min(len(m.GetDescriptors()), rls.MaxDescriptors) {
			t.Fatalf("%v for %v", out, m)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkShouldRateLimit(b *testing.B) {
	m := rls.NewMetrics()
	server := rls.New(limiter(b, ratelimit.Options{Observer: m}), rls.Options{Metrics: m})
	req := parse(b, &rlsv3.RateLimitRequest{}, `domain: "mesh" descriptors { entries { key: "who" value: "user|shop|alice" } } descriptors { entries { key: "service" value: "a:b" } entries { key: "rule" value: "list" } entries { key: "who" value: "user|shop|alice" } }`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := server.ShouldRateLimit(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// Whoever may not spend from a domain is over its limit, unjudged and uncounted: an error would let the request pass.
func TestAdmits(t *testing.T) {
	m := rls.NewMetrics()
	asked := 0
	limiter := stub(func(context.Context) (ratelimit.Response, error) {
		asked++
		return ratelimit.Response{Code: ratelimit.OK, Statuses: []ratelimit.Status{{Code: ratelimit.OK}}}, nil
	})
	client := dial(t, limiter, rls.Options{Metrics: m, Admits: func(_ context.Context, domain string) bool { return domain == "mesh" }})
	for _, domain := range []string{"mesh", "edge", ""} {
		got, err := client.ShouldRateLimit(context.Background(), parse(t, &rlsv3.RateLimitRequest{}, `domain: "`+domain+`" descriptors { entries { key: "a" } }`))
		want := rlsv3.RateLimitResponse_OVER_LIMIT
		if domain == "mesh" {
			want = rlsv3.RateLimitResponse_OK
		}
		if err != nil || got.GetOverallCode() != want || len(got.GetStatuses()) != 1 {
			t.Errorf("%q: %v, %v", domain, got, err)
		}
	}
	if asked != 1 {
		t.Errorf("the limiter was asked %d times", asked)
	}
	if err := testutil.CollectAndCompare(m, strings.NewReader(unjudged(map[string]int{"foreign": 2})), "sallyport_ratelimit_unjudged_total"); err != nil {
		t.Error(err)
	}
}

// Where the shared counters could not decide, a client is told so if that is wanted, and only then.
func TestDegradedHeader(t *testing.T) {
	for _, test := range []struct{ wanted, degraded, want bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		client := dial(t, stub(func(context.Context) (ratelimit.Response, error) {
			return ratelimit.Response{Code: ratelimit.OK, Statuses: []ratelimit.Status{{Code: ratelimit.OK}}, Degraded: test.degraded}, nil
		}), rls.Options{Headers: rls.Headers{Degraded: test.wanted}})
		got, err := client.ShouldRateLimit(context.Background(), &rlsv3.RateLimitRequest{Domain: "d"})
		if err != nil {
			t.Fatal(err)
		}
		said := len(got.GetResponseHeadersToAdd()) == 1 && got.GetResponseHeadersToAdd()[0].GetKey() == rls.DegradedHeader
		if said != test.want || !test.want && len(got.GetResponseHeadersToAdd()) > 0 {
			t.Errorf("%+v: %v", test, got.GetResponseHeadersToAdd())
		}
	}
}
