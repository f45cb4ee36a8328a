package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
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

// startOriginal starts the pinned build of it with its environment variables; those that keep it on loopback are ours.
func startOriginal(t testing.TB, env ...string) *original {
	t.Helper()
	r := &original{grpc: freePort(t), http: freePort(t), debug: freePort(t)}
	r.process = start(t, "reference", "/usr/bin/env", append(append([]string{
		"HOST=127.0.0.1", "PORT=" + strconv.Itoa(r.http), "GRPC_HOST=127.0.0.1", "GRPC_PORT=" + strconv.Itoa(r.grpc), "DEBUG_HOST=127.0.0.1", "DEBUG_PORT=" + strconv.Itoa(r.debug),
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

// runtimeFolder holds a file of limits, where the reference looks for it.
func runtimeFolder(t testing.TB, limits string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "config")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "mesh.yaml"), limits)
	return folder
}

// onStore are the variables of a folder of limits, which is the runtime folder's last, and of a store.
func onStore(limits, store string, more ...string) []string {
	return append([]string{
		"RUNTIME_ROOT=" + filepath.Dir(limits), "RUNTIME_APPDIRECTORY=" + filepath.Base(limits), "RUNTIME_WATCH_ROOT=false", "REDIS_SOCKET_TYPE=tcp", "REDIS_URL=" + store,
	}, more...)
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
	folder := runtimeFolder(t, originalLimits)
	theirs := startOriginal(t, onStore(folder, storetest.StartValkey(t), "USE_STATSD=false")...)
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
		for _, h := range r.GetResponseHeadersToAdd() {
			if h.GetKey() == "RateLimit-Reset" {
				h.Value = "" // of a status above
			}
		}
		return r
	}
	if !proto.Equal(level(want), level(got)) {
		return "they differ"
	}
	return ""
}

// countedLimits has the keys that statistics, metadata and quotas depend on.
const countedLimits = `domain: mesh
descriptors:
  - {key: two, rate_limit: {requests_per_unit: 2, unit: day, name: pair}}
  - {key: many, rate_limit: {requests_per_unit: 87, unit: day}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: never, rate_limit: {requests_per_unit: 0, unit: day}}
  - {key: shadow, shadow_mode: true, rate_limit: {requests_per_unit: 3, unit: day}}
  - {key: vm, value_to_metric: true, descriptors: [{key: who, rate_limit: {requests_per_unit: 9, unit: day}, descriptors: [{key: deep, rate_limit: {requests_per_unit: 9, unit: day}}]}]}
  - {key: vw, value: "a*", value_to_metric: true, rate_limit: {requests_per_unit: 9, unit: day}}
  - {key: dm, descriptors: [{key: who, detailed_metric: true, rate_limit: {requests_per_unit: 9, unit: day}}]}
  - {key: sh, value: "a*", share_threshold: true, value_to_metric: true, rate_limit: {requests_per_unit: 9, unit: day}}
  - {key: addr, value_to_metric: true, rate_limit: {requests_per_unit: 9, unit: day}}
  - {key: q1, quota_mode: true, rate_limit: {requests_per_unit: 4, unit: day}}
  - {key: q2, quota_mode: true, rate_limit: {requests_per_unit: 40, unit: day}}
`

func (r asking) counted() *rlsv3.RateLimitRequest {
	req := &rlsv3.RateLimitRequest{Domain: "mesh", HitsAddend: pick[uint32](r, 0, 0, 0, 1, 3, 6)}
	add := func(words ...string) *ratelimitv3.RateLimitDescriptor {
		d := &ratelimitv3.RateLimitDescriptor{}
		for i := 0; i < len(words); i += 2 {
			d.Entries = append(d.Entries, &ratelimitv3.RateLimitDescriptor_Entry{Key: words[i], Value: words[i+1]})
		}
		req.Descriptors = append(req.Descriptors, d)
		return d
	}
	for range 1 + r.IntN(3) {
		d := add(pick(r, [][]string{
			{"two", "a"}, {"two", "b"}, {"many", "a"}, {"free", "x"}, {"never", "x"}, {"shadow", "x"}, {"shadow", "y"}, {"vm", "r1", "who", "x"}, {"vm", "r2", "who", "y"}, {"vm", "r2", "who", "y", "deep", "z"},
			{"vw", "ab"}, {"vw", "ac"}, {"dm", "a", "who", "b"}, {"sh", "ab"}, {"sh", "ac"}, {"addr", "10.0.0.1"}, {"addr", "a:b|c"}, {"unknown", "x"},
		}...)...)
		if r.IntN(5) == 0 {
			d.HitsAddend = wrapperspb.UInt64(r.Uint64N(13))
		}
	}
	if r.IntN(8) == 0 {
		// The second quota is never spent, so that there are never only quotas that are over: there the two part on purpose.
		add("q1", "a")
		add("q2", "a").HitsAddend = wrapperspb.UInt64(0)
	}
	return req
}

// statistics are the sums of what a statsd server heard of the limits, but for what the two part in on purpose: an unlimited rule is counted,
// and a counter that is over is always remembered.
func (s *statsdServer) statistics() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	sums := map[string]uint64{}
	for _, line := range s.lines {
		name, rest, _ := strings.Cut(line, ":")
		value, kind, _ := strings.Cut(rest, "|")
		n, err := strconv.ParseUint(value, 10, 64)
		if kind == "c" && err == nil && n > 0 && strings.HasPrefix(name, "ratelimit.service.rate_limit.mesh.") && !strings.Contains(name, ".free.") && !strings.HasSuffix(name, "_with_local_cache") {
			sums[name] += n
		}
	}
	return sums
}

// With one environment the two programs answer, list and count alike: headers, metadata, quotas, /json, /rlconfig, and every name and sum
// that statsd hears.
func TestReferenceTwinByEnvironment(t *testing.T) {
	folder := runtimeFolder(t, countedLimits)
	heard := [2]*statsdServer{newStatsdServer(t), newStatsdServer(t)}
	env := func(i int) []string {
		return onStore(folder, storetest.StartValkey(t), "USE_STATSD=true", "STATSD_HOST=127.0.0.1", "STATSD_PORT="+strconv.Itoa(heard[i].port), "STATS_FLUSH_INTERVAL=1s",
			"GOSTATS_FLUSH_INTERVAL_SECONDS=1", "LIMIT_RESPONSE_HEADERS_ENABLED=true", "RESPONSE_DYNAMIC_METADATA=true", "NEAR_LIMIT_RATIO=0.7")
	}
	theirs, ours := startOriginal(t, env(0)...), runReference(t, env(1)...)
	agree(t, theirs, ours, 1500)
	for _, body := range []string{
		`{"domain":"mesh","descriptors":[{"entries":[{"key":"never","value":"x"}]}]}`, `{"domain":"mesh","descriptors":[{"entries":[{"key":"unknown","value":"x"}]}]}`,
		`{"domain":"","descriptors":[{"entries":[{"key":"two"}]}]}`, `{"domain":"mesh"}`, `{"domain":"mesh","nonsense":1}`, `{`, ``, `[]`, `{"domain":"other","descriptors":[{}]}`,
	} {
		wantCode, want := (&reference{http: theirs.http}).json(body)
		if code, got := ours.json(body); code != wantCode || code == 400 && strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("/json %s: %d %s, want %d %s", body, code, got, wantCode, want)
		}
	}
	lines := func(port int) []string {
		_, page := get(local(port), "/rlconfig")
		return slices.Sorted(strings.SplitSeq(strings.TrimSpace(page), "\n"))
	}
	if diff := cmp.Diff(lines(theirs.debug), lines(ours.debug)); diff != "" {
		t.Errorf("/rlconfig (-reference +ours)\n%s", diff)
	}
	var diff string
	deadline := time.Now().Add(patience)
	for diff = "-"; diff != "" && time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		diff = cmp.Diff(heard[0].statistics(), heard[1].statistics())
	}
	if diff != "" || len(heard[0].statistics()) < 20 {
		t.Errorf("statsd heard of %d sums (-reference +ours)\n%s", len(heard[0].statistics()), diff)
	}
}

// agree asks both programs the same, so many times, and holds ours to the answers of the other.
func agree(t *testing.T, theirs *original, ours *reference, times int) {
	t.Helper()
	askThem, askUs := rlsv3.NewRateLimitServiceClient(dial(t, theirs.grpc)), rlsv3.NewRateLimitServiceClient(dial(t, ours.grpc))
	r := asking{rand.New(rand.NewPCG(8, 2))}
	for i := range times {
		req := r.counted()
		want, err := askThem.ShouldRateLimit(t.Context(), req)
		if err != nil {
			t.Fatalf("the reference: %v to %s", err, protojson.Format(req))
		}
		got, err := askUs.ShouldRateLimit(t.Context(), req)
		if err != nil {
			t.Fatalf("ours: %v to %s", err, protojson.Format(req))
		}
		for j, s := range want.GetStatuses() {
			if s.GetCurrentLimit() != nil && s.GetDurationUntilReset() == nil {
				got.Statuses[j].DurationUntilReset = nil // of a quota that is over it does not tell
			}
		}
		if differs := differ(want, got); differs != "" {
			t.Fatalf("request %d: %s\nasked %s\nreference %s\nours %s", i, differs, protojson.Format(req), protojson.Format(want), protojson.Format(got))
		}
	}
}

// With Prometheus in place of statsd, both show the same series of limits with the same sums.
func TestReferenceTwinInPrometheus(t *testing.T) {
	folder := runtimeFolder(t, countedLimits)
	ports := [2]int{freePort(t), freePort(t)}
	env := func(i int) []string {
		return onStore(folder, storetest.StartValkey(t), "USE_STATSD=false", "USE_PROMETHEUS=true", "PROMETHEUS_ADDR="+local(ports[i]), "STATS_FLUSH_INTERVAL=1s", "GOSTATS_FLUSH_INTERVAL_SECONDS=1")
	}
	agree(t, startOriginal(t, env(0)...), runReference(t, env(1)...), 500)
	series := func(port int) map[string]string {
		_, page := get(local(port), "/metrics")
		found := map[string]string{}
		for line := range strings.Lines(page) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			if strings.HasPrefix(name, "ratelimit_service_rate_limit_") && !strings.Contains(name, `"free"`) && !strings.Contains(name, "_with_local_cache") && value != "0" {
				found[strings.Replace(name, `,key2=""`, "", 1)] = value // an empty label is none
			}
		}
		return found
	}
	var diff string
	deadline := time.Now().Add(patience)
	for diff = "-"; diff != "" && time.Now().Before(deadline); <-time.After(200 * time.Millisecond) {
		diff = cmp.Diff(series(ports[0]), series(ports[1]))
	}
	if diff != "" || len(series(ports[0])) < 20 {
		t.Errorf("%d series (-reference +ours)\n%s", len(series(ports[0])), diff)
	}
}
