package rls

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/ratelimit"
)

// longestText is the most bytes of a key, a value or a domain that the metadata repeats: a header can be large, and access logs
// are for people.
const longestText = 1024

// metadataOf says what an answer was about, under the names that envoyproxy/ratelimit gives it.
func metadataOf(req *ratelimit.Request, r *ratelimit.Response) *structpb.Struct {
	descriptors := make([]*structpb.Value, len(req.Descriptors))
	for i := range req.Descriptors {
		descriptors[i] = descriptorValue(&req.Descriptors[i])
	}
	fields := map[string]*structpb.Value{
		"domain":      structpb.NewStringValue(text(req.Domain)),
		"descriptors": listOf(descriptors),
	}
	if req.Hits > 0 {
		fields["hitsAddend"] = structpb.NewNumberValue(float64(req.Hits))
	}
	var exhausted []*structpb.Value
	quota := false
	for i := range r.Statuses {
		status := &r.Statuses[i]
		quota = quota || status.Quota && status.Rule != nil && status.Rule.Quota
		if status.Quota && status.Over {
			exhausted = append(exhausted, structpb.NewNumberValue(float64(i)))
		}
	}
	fields["quotaModeEnabled"] = structpb.NewBoolValue(quota)
	if len(exhausted) > 0 {
		fields["quotaModeViolations"] = listOf(exhausted)
	}
	if merged := ruleMetadata(r.Statuses); len(merged) > 0 {
		fields["metadata"] = structpb.NewStructValue(&structpb.Struct{Fields: merged})
	}
	return &structpb.Struct{Fields: fields}
}

// ruleMetadata merges what the rules say of themselves. Of one name the first value wins.
func ruleMetadata(statuses []ratelimit.Status) map[string]*structpb.Value {
	var merged map[string]*structpb.Value
	for i := range statuses {
		rule := statuses[i].Rule
		if rule == nil {
			continue
		}
		for name, value := range rule.Metadata {
			if _, taken := merged[name]; taken {
				continue
			}
			if merged == nil {
				merged = map[string]*structpb.Value{}
			}
			written, err := structpb.NewValue(value)
			if err != nil {
				written = structpb.NewNullValue() // files hold nothing that a Struct does not; another source might
			}
			merged[name] = written
		}
	}
	return merged
}

func descriptorValue(d *ratelimit.Descriptor) *structpb.Value {
	entries := make([]*structpb.Value, len(d.Entries))
	for i, e := range d.Entries {
		entries[i] = structpb.NewStringValue(text(e.Key) + "=" + text(e.Value))
	}
	fields := map[string]*structpb.Value{"entries": listOf(entries)}
	if d.Override != nil {
		fields["limit"] = structpb.NewStringValue(overrideText(d.Override))
	}
	if d.HasHits {
		fields["hitsAddend"] = structpb.NewNumberValue(float64(d.Hits))
	}
	return structpb.NewStructValue(&structpb.Struct{Fields: fields})
}

// overrideText is the override in protobuf's text format, with the spaces that the library leaves to chance.
func overrideText(o *ratelimit.Override) string {
	s := "requests_per_unit:" + strconv.FormatUint(uint64(o.Requests), 10) + " unit:" + strings.ToUpper(o.Unit.String())
	if o.Multiplier > 0 {
		s += " unit_multiplier:{value:" + strconv.FormatUint(uint64(o.Multiplier), 10) + "}"
	}
	return s
}

func listOf(values []*structpb.Value) *structpb.Value {
	return structpb.NewListValue(&structpb.ListValue{Values: values})
}

// text makes a client's word fit for a message: what is not UTF-8 would make the whole answer undeliverable, and an answer that does
// not arrive lets the request pass.
func text(s string) string {
	if len(s) > longestText {
		s = s[:longestText]
	}
	return strings.ToValidUTF8(s, "\ufffd")
}
