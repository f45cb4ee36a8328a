package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// original is a running envoyproxy/ratelimit, which every answer of ours to its own files is held to.
type original struct {
	*process
	grpc, http, debug int
}

// startOriginal starts the pinned build of it on a folder of limits and a store, with more of its environment variables.
func startOriginal(t testing.TB, limits, store string, env ...string) *original {
	t.Helper()
	r := &original{grpc: freePort(t), http: freePort(t), debug: freePort(t)}
	// It reads the folder RUNTIME_APPDIRECTORY below RUNTIME_ROOT.
	r.process = start(t, "reference", "/usr/bin/env", append(append([]string{
		"HOST=127.0.0.1", "PORT=" + strconv.Itoa(r.http), "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + strconv.Itoa(r.grpc), "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + strconv.Itoa(r.debug),
		"USE_STATSD=false", "RUNTIME_ROOT=" + filepath.Dir(limits), "RUNTIME_APPDIRECTORY=" + filepath.Base(limits), "RUNTIME_WATCH_ROOT=false",
		"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + store,
	}, env...), tool(t, "SALLYPORT_REFERENCE", "tools/bin/service_cmd"))...)
	eventually(t, "the reference is ready", func() bool {
		if r.ended() {
			t.Fatalf("the reference ended:\n%s", r.output.String())
		}
		status, _ := get(local(r.http), "/healthcheck")
		return status == http.StatusOK
	})
	return r
}

// originalLimits has each key of the format that a decision depends on. Days and longer: no window ends while the test runs, or all but never.
const originalLimits = `domain: mesh
descriptors:
  - key: user
    rate_limit: {requests_per_unit: 5, unit: day}
  - key: user
    value: alice
    rate_limit: {requests_per_unit: 9, unit: DAY}
  - key: user
    value: trusted                      # no limit of its own: passes
  - key: user
    value: root
    rate_limit: {unlimited: true}
  - key: user
    value: banned
    rate_limit: {requests_per_unit: 0, unit: month}
  - key: path
    value: /a/*
    rate_limit: {requests_per_unit: 4, unit: week}
  - key: path
    value: /a/b/*
    rate_limit: {requests_per_unit: 100, unit: week}
  - key: path
    value: "png*"
    share_threshold: true
    rate_limit: {requests_per_unit: 6, unit: year}
  - key: any
    value: "*"
    rate_limit: {requests_per_unit: 5, unit: day}
  - key: free
    rate_limit: {unlimited: true, name: free}
  - key: binding
    rate_limit: {requests_per_unit: 50, unit: day, replaces: [{name: free}]}
  - key: shadow
    shadow_mode: true
    rate_limit: {requests_per_unit: 2, unit: day}
  - key: service
    value: orders
    rate_limit: {requests_per_unit: 20, unit: day}
    descriptors:
      - key: user
        rate_limit: {requests_per_unit: 3, unit: day}
        descriptors:
          - key: path
            value: /b*
            rate_limit: {requests_per_unit: 7, unit: day}
      - key: user
        value: alice
        rate_limit: {requests_per_unit: 2, unit: month}
  - key: named
    rate_limit: {requests_per_unit: 4, unit: day, name: narrow}
  - key: replacing
    rate_limit: {requests_per_unit: 8, unit: day, name: wide, replaces: [{name: narrow}]}
`

// asking makes requests that often meet each other.
type asking struct{ *rand.Rand }

func pick[T any](r asking, of ...T) T { return of[r.IntN(len(of))] }

func (r asking) entries() []*ratelimitv3.RateLimitDescriptor_Entry {
	entry := func(key string, values ...string) *ratelimitv3.RateLimitDescriptor_Entry {
		return &ratelimitv3.RateLimitDescriptor_Entry{Key: key, Value: pick(r, values...)}
	}
	user := func() *ratelimitv3.RateLimitDescriptor_Entry {
		return entry("user", "alice", "bob", "carol", "", "trusted", "root", "banned")
	}
	path := func() *ratelimitv3.RateLimitDescriptor_Entry {
		return entry("path", "/a/", "/a/x", "/a/b/x", "png.x", "png.y", "/bxcyd", "/bcd", "/bc", "")
	}
	one := func(e ...*ratelimitv3.RateLimitDescriptor_Entry) []*ratelimitv3.RateLimitDescriptor_Entry { return e }
	switch r.IntN(12) {
	case 0, 1:
		return one(user())
	case 2, 3:
		return one(path())
	case 4:
		return one(entry("service", "orders", "billing"))
	case 5:
		return one(entry("service", "orders", "billing"), user())
	case 6:
		return one(entry("service", "orders"), user(), path())
	case 7:
		return one(entry("shadow", "x", "y"))
	case 8:
		return one(entry("named", "x", "y"))
	case 9:
		return one(entry("any", "x", "")) // Envoy sends the value of a header that has none
	case 10:
		return one(pick(r, entry("free", "x"), entry("binding", "x")))
	default:
		return one(pick(r, entry("replacing", "x", "y"), entry("unknown", "z"), user()), user())
	}
}

func (r asking) request() *rlsv3.RateLimitRequest {
	req := &rlsv3.RateLimitRequest{Domain: pick(r, "mesh", "mesh", "mesh", "mesh", "mesh", "mesh", "other"), HitsAddend: pick[uint32](r, 0, 0, 0, 1, 2, 7)}
	for range 1 + r.IntN(3) {
		d := &ratelimitv3.RateLimitDescriptor{Entries: r.entries()}
		switch r.IntN(12) {
		case 0:
			d.HitsAddend = wrapperspb.UInt64(pick[uint64](r, 0, 1, 3))
		case 1:
			// Of a descriptor's own: there a limit that the request brings spends the counter of the file's limit, if both are of one unit.
			d.Entries = []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "plan", Value: pick(r, "gold", "silver")}}
			d.Limit = &ratelimitv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: pick[uint32](r, 0, 1, 12), Unit: typev3.RateLimitUnit_DAY}
		}
		req.Descriptors = append(req.Descriptors, d)
	}
	if r.IntN(6) == 0 {
		req.Descriptors = append(req.Descriptors,
			&ratelimitv3.RateLimitDescriptor{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "named", Value: "x"}}},
			&ratelimitv3.RateLimitDescriptor{Entries: []*ratelimitv3.RateLimitDescriptor_Entry{{Key: "replacing", Value: "x"}}})
	}
	return req
}

// Whatever is asked of a file of the reference's is answered as the reference answers it: verdict, limit, what remains, and for how long.
func TestReferenceTwin(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "config")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "mesh.yaml"), originalLimits)
	theirs := startOriginal(t, folder, storetest.StartValkey(t))
	ours := serve(t, "ratelimit", "--limits", folder, "--store", "redis://"+storetest.StartValkey(t)+"/0", "--audit", "off")
	askThem := rlsv3.NewRateLimitServiceClient(dial(t, theirs.grpc))
	askUs := rlsv3.NewRateLimitServiceClient(dial(t, ours.listen))
	r := asking{rand.New(rand.NewPCG(8, 1))}
	var over int
	for i := range 3000 {
		req := r.request()
		want, err := askThem.ShouldRateLimit(t.Context(), req)
		if err != nil {
			t.Fatalf("the reference: %v to %s", err, protojson.Format(req))
		}
		got, err := askUs.ShouldRateLimit(t.Context(), req)
		if err != nil {
			t.Fatalf("ours: %v to %s", err, protojson.Format(req))
		}
		if want.GetOverallCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
			over++
		}
		if differs := differ(want, got); differs != "" {
			t.Fatalf("request %d: %s\nasked %s\nreference %s\nours %s", i, differs, protojson.Format(req), protojson.Format(want), protojson.Format(got))
		}
	}
	if over < 300 || over > 2700 {
		t.Errorf("%d of 3000 requests are over a limit: this says little", over)
	}
}

// differ says in what two answers differ; the seconds until a window ends may differ by those that passed between the two.
func differ(want, got *rlsv3.RateLimitResponse) string {
	if len(want.GetStatuses()) != len(got.GetStatuses()) {
		return fmt.Sprintf("%d statuses, want %d", len(got.GetStatuses()), len(want.GetStatuses()))
	}
	for i, w := range want.GetStatuses() {
		g := got.GetStatuses()[i]
		apart := (w.GetDurationUntilReset().AsDuration() - g.GetDurationUntilReset().AsDuration()).Abs()
		if (w.GetDurationUntilReset() == nil) != (g.GetDurationUntilReset() == nil) || apart > 2*time.Second {
			return fmt.Sprintf("status %d: resets after %v, want %v", i, g.GetDurationUntilReset().AsDuration(), w.GetDurationUntilReset().AsDuration())
		}
	}
	level := func(r *rlsv3.RateLimitResponse) *rlsv3.RateLimitResponse {
		r = proto.CloneOf(r)
		for _, s := range r.GetStatuses() {
			s.DurationUntilReset = (*durationpb.Duration)(nil)
		}
		return r
	}
	if !proto.Equal(level(want), level(got)) {
		return "they differ"
	}
	return ""
}
