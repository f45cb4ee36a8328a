package xds

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	configv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// Fields of RateLimitDescriptor that newer servers send and the published Go package does not have, so that they arrive as unknown
// ones (api/ratelimit/config/ratelimit/v3/rls_conf.proto of envoyproxy/ratelimit).
const (
	fieldQuotaMode = 7 // bool
	fieldMetadata  = 8 // google.protobuf.Struct
)

// unitNames are the units by their number in the protocol, since the published Go package knows the first five only.
var unitNames = map[configv3.RateLimitUnit]string{0: "UNKNOWN", 1: "SECOND", 2: "MINUTE", 3: "HOUR", 4: "DAY", 5: "MONTH", 6: "YEAR", 7: "WEEK"}

// wrapperURL is the type of a resource in an envelope with a name (envoy.service.discovery.v3.Resource), as servers send those
// that have a time to live.
const wrapperURL = "type.googleapis.com/envoy.service.discovery.v3.Resource"

// decoder turns resources into limits.
type decoder struct {
	unknown map[string]bool
}

// sources decodes the resources of one response, in the order of their names. One that cannot be told from the others fails them all: what it
// replaces would look as if it had been removed.
func (d *decoder) sources(resources []*anypb.Any) ([]limits.Source, error) {
	sources := make([]limits.Source, 0, len(resources))
	for i, resource := range resources {
		source, err := d.source(resource)
		if err != nil {
			return nil, fmt.Errorf("resource %d of %d: %w", i+1, len(resources), err)
		}
		sources = append(sources, source)
	}
	slices.SortFunc(sources, func(a, b limits.Source) int { return cmp.Compare(a.Name, b.Name) })
	for i := range sources[1:] {
		if name := sources[i+1].Name; sources[i].Name == name {
			return nil, fmt.Errorf("two resources are called %q", name)
		}
	}
	return sources, nil
}

func (d *decoder) source(resource *anypb.Any) (limits.Source, error) {
	var name string
	if resource.GetTypeUrl() == wrapperURL {
		var wrapper discoveryv3.Resource
		if err := proto.Unmarshal(resource.GetValue(), &wrapper); err != nil {
			return limits.Source{}, fmt.Errorf("an envelope that cannot be read: %w", err)
		}
		name, resource = wrapper.GetName(), wrapper.GetResource()
	}
	if url := resource.GetTypeUrl(); url != TypeURL {
		return limits.Source{}, fmt.Errorf("its type is %q, not %s", url, TypeURL)
	}
	var message configv3.RateLimitConfig
	if err := proto.Unmarshal(resource.GetValue(), &message); err != nil {
		return limits.Source{}, fmt.Errorf("no RateLimitConfig can be read from it: %w", err)
	}
	if name = cmp.Or(message.GetName(), name, message.GetDomain()); name == "" {
		return limits.Source{}, errors.New("it has no name and no domain")
	}
	config, err := d.config(&message)
	if err != nil {
		return limits.Source{}, fmt.Errorf("%s: %w", name, err)
	}
	return limits.Source{Name: name, Data: bytes.Clone(resource.GetValue()), Config: config}, nil
}

func (d *decoder) config(message *configv3.RateLimitConfig) (*limits.Config, error) {
	d.note("RateLimitConfig", message.ProtoReflect().GetUnknown())
	below, err := d.descriptors(message.GetDomain(), message.GetDescriptors())
	return &limits.Config{Domain: message.GetDomain(), Descriptors: below}, err
}

func (d *decoder) descriptors(path string, messages []*configv3.RateLimitDescriptor) ([]limits.Descriptor, error) {
	out := make([]limits.Descriptor, len(messages))
	for i, message := range messages {
		var err error
		if out[i], err = d.descriptor(message); err != nil {
			return nil, fmt.Errorf("%s, descriptor %s_%s: %w", path, message.GetKey(), message.GetValue(), err)
		}
	}
	return out, nil
}

func (d *decoder) descriptor(message *configv3.RateLimitDescriptor) (limits.Descriptor, error) {
	out := limits.Descriptor{
		Key: message.GetKey(), Value: message.GetValue(), RateLimit: d.rateLimit(message.GetRateLimit()),
		ShadowMode: message.GetShadowMode(), DetailedMetric: message.GetDetailedMetric(),
	}
	if err := d.newer(&out, message.ProtoReflect().GetUnknown()); err != nil {
		return limits.Descriptor{}, err
	}
	var err error
	out.Descriptors, err = d.descriptors(message.GetKey(), message.GetDescriptors())
	return out, err
}

// newer reads the fields that the published Go package does not have.
func (d *decoder) newer(out *limits.Descriptor, unknown protoreflect.RawFields) error {
	metadata := &structpb.Struct{}
	for len(unknown) > 0 {
		number, kind, n := protowire.ConsumeField(unknown)
		if n < 0 {
			return protowire.ParseError(n)
		}
		field := unknown[:n]
		unknown = unknown[n:]
		_, _, tag := protowire.ConsumeTag(field)
		switch {
		case number == fieldQuotaMode && kind == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(field[tag:])
			out.QuotaMode = protowire.DecodeBool(v)
		case number == fieldMetadata && kind == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(field[tag:])
			if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(v, metadata); err != nil {
				return fmt.Errorf("its metadata is no google.protobuf.Struct: %w", err)
			}
			out.Metadata = metadata.AsMap()
		default:
			d.note("RateLimitDescriptor", protoreflect.RawFields(field))
		}
	}
	return nil
}

// rateLimit is nil for a descriptor without a limit.
func (d *decoder) rateLimit(message *configv3.RateLimitPolicy) *limits.RateLimit {
	if message == nil {
		return nil
	}
	d.note("RateLimitPolicy", message.ProtoReflect().GetUnknown())
	out := &limits.RateLimit{RequestsPerUnit: message.GetRequestsPerUnit(), Unlimited: message.GetUnlimited(), Name: message.GetName(), Unit: unitName(message.GetUnit())}
	if out.Unlimited && message.GetUnit() == configv3.RateLimitUnit_UNKNOWN {
		out.Unit = "" // the field's absence, which is right here
	}
	for _, other := range message.GetReplaces() {
		d.note("RateLimitReplace", other.ProtoReflect().GetUnknown())
		out.Replaces = append(out.Replaces, other.GetName())
	}
	return out
}

func unitName(unit configv3.RateLimitUnit) string {
	if name, known := unitNames[unit]; known {
		return name
	}
	return fmt.Sprintf("number %d", unit)
}

// maxUnknown bounds the list of unknown fields.
const maxUnknown = 20

// note remembers that a message has fields that are not known here.
func (d *decoder) note(message string, fields protoreflect.RawFields) {
	for len(fields) > 0 && len(d.unknown) < maxUnknown {
		number, _, n := protowire.ConsumeField(fields)
		if n < 0 {
			return
		}
		fields = fields[n:]
		if d.unknown == nil {
			d.unknown = map[string]bool{}
		}
		d.unknown[fmt.Sprintf("%s field %d", message, number)] = true
	}
}

func (d *decoder) unknownFields() []string { return slices.Sorted(maps.Keys(d.unknown)) }
