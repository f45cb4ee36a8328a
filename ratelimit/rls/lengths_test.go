package rls_test

import (
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
	"github.com/sallyport-dev/sallyport/ratelimit/memstore"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// A window of any length is said in units of the protocol, by the multiplier that Envoy 1.40 reads into its w=; one that is no whole
// number of seconds has no current limit, and still says how long to wait. A bucket shows its limit, and has its burst left.
func TestLengthsAndBurstsOnTheWire(t *testing.T) {
	f, errs := limits.Decode("f.yaml", []byte(`domain: mesh
descriptors:
- {key: five minutes, rate_limits: [{requests_per_unit: 3, unit: 5m}]}
- {key: quick, rate_limits: [{requests_per_unit: 3, unit: 250ms}]}
- {key: bucket, algorithm: token_bucket, rate_limits: [{requests_per_unit: 60, unit: minute, burst: 10}]}
`))
	if errs != nil {
		t.Fatal(errs)
	}
	table, errs := limits.Build([]*limits.File{f})
	if errs != nil {
		t.Fatal(errs)
	}
	l := ratelimit.New(ratelimit.Options{Store: memstore.New(memstore.Options{Now: func() time.Time { return tick }})})
	l.Use(table)
	client := dial(t, l, rls.Options{})
	for _, tt := range []struct{ request, want string }{
		{`domain: "mesh" descriptors { entries { key: "five minutes" } }`,
			`overall_code: OK statuses { code: OK current_limit { requests_per_unit: 3 unit: MINUTE unit_multiplier { value: 5 } } limit_remaining: 2 duration_until_reset { seconds: 305 } }`},
		{`domain: "mesh" hits_addend: 4 descriptors { entries { key: "quick" } }`,
			`overall_code: OVER_LIMIT statuses { code: OVER_LIMIT limit_remaining: 3 duration_until_reset { seconds: 1 } }`},
		{`domain: "mesh" hits_addend: 10 descriptors { entries { key: "bucket" } }`,
			`overall_code: OK statuses { code: OK current_limit { requests_per_unit: 60 unit: MINUTE } duration_until_reset { seconds: 1 } }`},
		{`domain: "mesh" hits_addend: 3 descriptors { entries { key: "bucket" } }`,
			`overall_code: OVER_LIMIT statuses { code: OVER_LIMIT current_limit { requests_per_unit: 60 unit: MINUTE } duration_until_reset { seconds: 3 } }`},
	} {
		got, err := client.ShouldRateLimit(t.Context(), parse(t, new(rlsv3.RateLimitRequest), tt.request))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(parse(t, new(rlsv3.RateLimitResponse), tt.want), got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.request, diff)
		}
	}
}
