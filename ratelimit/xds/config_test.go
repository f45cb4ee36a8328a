package xds

import (
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// decoded is the one source of a response with one resource.
func decoded(t *testing.T, m proto.Message) (limits.Source, []string) {
	t.Helper()
	resource, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	var d decoder
	sources, err := d.sources([]*anypb.Any{resource})
	if err != nil {
		t.Fatal(err)
	}
	return sources[0], d.unknownFields()
}

// Every field of the protocol has its place.
func TestEveryField(t *testing.T) {
	message := &configv3.RateLimitConfig{Name: "conf", Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{{
		Key: "a", Value: "b", ShadowMode: true, DetailedMetric: true,
		RateLimit: &configv3.RateLimitPolicy{Unit: configv3.RateLimitUnit_HOUR, RequestsPerUnit: 7, Name: "n", Replaces: []*configv3.RateLimitReplace{{Name: "m"}, {Name: "o"}}},
		Descriptors: []*configv3.RateLimitDescriptor{
			{Key: "c", RateLimit: &configv3.RateLimitPolicy{Unlimited: true}},
			{Key: "d"},
		},
	}}}
	got, unknown := decoded(t, message)
	want := &limits.Config{Domain: "mesh", Descriptors: []limits.Descriptor{{
		Key: "a", Value: "b", ShadowMode: true, DetailedMetric: true,
		RateLimit:   &limits.RateLimit{Unit: "HOUR", RequestsPerUnit: 7, Name: "n", Replaces: []string{"m", "o"}},
		Descriptors: []limits.Descriptor{{Key: "c", RateLimit: &limits.RateLimit{Unlimited: true}, Descriptors: []limits.Descriptor{}}, {Key: "d", Descriptors: []limits.Descriptor{}}},
	}}}
	if diff := cmp.Diff(want, got.Config); diff != "" || got.Name != "conf" || len(unknown) > 0 {
		t.Errorf("%s, unknown %v (-want +got):\n%s", got.Name, unknown, diff)
	}
}

// The protocol's numbers are the units' names: also those that the published Go package does not know.
func TestUnits(t *testing.T) {
	for number, want := range map[configv3.RateLimitUnit]limits.Unit{1: limits.Second, 2: limits.Minute, 3: limits.Hour, 4: limits.Day, 5: limits.Month, 6: limits.Year, 7: limits.Week, 0: limits.NoUnit, 8: limits.NoUnit, -1: limits.NoUnit} {
		source, _ := decoded(t, &configv3.RateLimitConfig{Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{{Key: "a", RateLimit: &configv3.RateLimitPolicy{Unit: number}}}})
		if got := limits.ParseUnit(source.Config.Descriptors[0].RateLimit.Unit); got != want {
			t.Errorf("%d is %s, want %s", number, got, want)
		}
		_, errs := limits.Compose("mesh", source.Config)
		if (len(errs) > 0) != (want == limits.NoUnit) {
			t.Errorf("%d: %v", number, errs)
		}
	}
}

// quota_mode and metadata are newer than the published Go package; what is newer than this program is named.
func TestNewerFields(t *testing.T) {
	metadata, err := structpb.NewStruct(map[string]any{"team": "shop", "tier": 2.5, "tags": []any{"a", true, nil}})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := proto.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	d := &configv3.RateLimitDescriptor{Key: "a"}
	fields := protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.VarintType), 1)
	fields = protowire.AppendBytes(protowire.AppendTag(fields, 8, protowire.BytesType), packed)
	fields = protowire.AppendVarint(protowire.AppendTag(fields, 9, protowire.VarintType), 1)
	d.ProtoReflect().SetUnknown(fields)
	got, unknown := decoded(t, &configv3.RateLimitConfig{Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{d}})
	want := limits.Descriptor{Key: "a", QuotaMode: true, Metadata: map[string]any{"team": "shop", "tier": 2.5, "tags": []any{"a", true, nil}}, Descriptors: []limits.Descriptor{}}
	if diff := cmp.Diff(want, got.Config.Descriptors[0]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !slices.Equal(unknown, []string{"RateLimitDescriptor field 9"}) {
		t.Errorf("unknown: %v", unknown)
	}
}

// Metadata that is something else is refused, not dropped.
func TestMetadataOfAnotherType(t *testing.T) {
	d := &configv3.RateLimitDescriptor{Key: "a", Value: "b"}
	d.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 8, protowire.BytesType), []byte{0xff}))
	resource, err := anypb.New(&configv3.RateLimitConfig{Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{d}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = new(decoder).sources([]*anypb.Any{resource})
	if err == nil || !strings.Contains(err.Error(), "mesh, descriptor a_b: its metadata is no google.protobuf.Struct") {
		t.Errorf("got %v", err)
	}
}

// A resource is called by its own name, else by its envelope's, else by its domain's.
func TestNames(t *testing.T) {
	inner, err := anypb.New(&configv3.RateLimitConfig{Domain: "mesh"})
	if err != nil {
		t.Fatal(err)
	}
	for want, m := range map[string]proto.Message{
		"own": &configv3.RateLimitConfig{Name: "own", Domain: "mesh"}, "mesh": &configv3.RateLimitConfig{Domain: "mesh"},
		"envelope": &discoveryv3.Resource{Name: "envelope", Resource: inner},
	} {
		if got, _ := decoded(t, m); got.Name != want || got.Config.Domain != "mesh" {
			t.Errorf("%s (%s), want %s", got.Name, got.Config.Domain, want)
		}
	}
}

// A panic while a response is read is a refusal, and costs nothing that is in force.
func TestPanicIsARefusal(t *testing.T) {
	good, err := anypb.New(&configv3.RateLimitConfig{Domain: "mesh"})
	if err != nil {
		t.Fatal(err)
	}
	var b book
	if _, err := b.take([]*anypb.Any{good}); err != nil {
		t.Fatal(err)
	}
	b.inForce["broken"] = limits.Source{Name: "broken"} // has no Config, which nothing that was decoded lacks
	table := b.table()
	bad, err := anypb.New(&configv3.RateLimitConfig{Name: "bad"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.take([]*anypb.Any{bad}); err == nil || !strings.Contains(err.Error(), "internal error") || b.table() != table {
		t.Errorf("got %v", err)
	}
}

// A server is told the first errors, and how many more there are.
func TestToldIsBounded(t *testing.T) {
	config := &configv3.RateLimitConfig{Domain: "mesh"}
	for range 50 {
		config.Descriptors = append(config.Descriptors, &configv3.RateLimitDescriptor{})
	}
	long := &configv3.RateLimitConfig{Domain: "long", Descriptors: []*configv3.RateLimitDescriptor{{Key: strings.Repeat("é", 5000), RateLimit: &configv3.RateLimitPolicy{}}}}
	for _, tt := range []struct {
		config *configv3.RateLimitConfig
		end    string
	}{{config, "and 30 more"}, {long, "and 1 more"}} {
		resource, err := anypb.New(tt.config)
		if err != nil {
			t.Fatal(err)
		}
		_, err = new(book).take([]*anypb.Any{resource})
		if err == nil || len(err.Error()) > 5000 || !strings.HasSuffix(err.Error(), tt.end) {
			t.Errorf("got %d bytes: %v", len(err.Error()), err)
		}
	}
}

// A wait doubles up to the longest, and chance moves it within its part.
func TestBackoff(t *testing.T) {
	plain := Backoff{Initial: time.Second, Max: 10 * time.Second}
	var got []time.Duration
	for n := range 6 {
		got = append(got, plain.wait(n))
	}
	if want := []time.Duration{1e9, 2e9, 4e9, 8e9, 10e9, 10e9}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if d := (Backoff{Initial: 1, Max: 1 << 62}).wait(1000); d != 1<<62 {
		t.Errorf("far on: %s", d)
	}
	seen := map[time.Duration]bool{}
	for range 100 {
		d := DefaultRetry.wait(0)
		if seen[d] = true; d < time.Second/2 || d > 3*time.Second/2 {
			t.Errorf("waits %s", d)
		}
	}
	if len(seen) < 2 {
		t.Error("no chance in it: replicas would come back together")
	}
}

// Whatever bytes a server sends: no panic, the same bytes get the same answer, and what is refused whole takes no limit away.
func FuzzResponse(f *testing.F) {
	seed := func(m proto.Message) {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, TypeURL)
		f.Add(data, wrapperURL)
	}
	seed(&configv3.RateLimitConfig{Name: "mesh", Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{
		{Key: "who", Value: "a*", RateLimit: &configv3.RateLimitPolicy{Unit: 7, RequestsPerUnit: 1, Name: "n", Replaces: []*configv3.RateLimitReplace{{Name: "m"}}}},
		{Key: "b", Descriptors: []*configv3.RateLimitDescriptor{{Key: "c", ShadowMode: true, RateLimit: &configv3.RateLimitPolicy{Unlimited: true}}}},
	}})
	seed(&configv3.RateLimitConfig{Domain: "other"})
	newer := &configv3.RateLimitDescriptor{Key: "who"}
	newer.ProtoReflect().SetUnknown([]byte{0x38, 0x01, 0x42, 0x00, 0x48, 0x01})
	seed(&configv3.RateLimitConfig{Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{newer, newer}})
	seed(&discoveryv3.Resource{Name: "mesh"})
	f.Add([]byte{}, "")
	good, err := anypb.New(&configv3.RateLimitConfig{Domain: "mesh", Descriptors: []*configv3.RateLimitDescriptor{{Key: "who", RateLimit: &configv3.RateLimitPolicy{Unit: 2, RequestsPerUnit: 5}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, url string) {
		var b book
		if _, err := b.take([]*anypb.Any{good}); err != nil {
			t.Fatal(err)
		}
		bad := []*anypb.Any{{TypeUrl: url, Value: data}}
		_, err := b.take(bad)
		if err != nil && strings.Contains(err.Error(), "internal error") {
			t.Fatal(err)
		}
		who := b.table().Match("mesh", []limits.Entry{{Key: "who", Value: "x"}})
		if err != nil && (who.Rule == nil || who.Rule.Windows[0].Limit != 5) {
			t.Fatalf("refused (%v), and the limit is %v", err, who.Rule)
		}
		if news, again := b.take(bad); news || (again == nil) != (err == nil) {
			t.Fatalf("the same again is news (%v), %v and %v", news, err, again)
		}
	})
}
