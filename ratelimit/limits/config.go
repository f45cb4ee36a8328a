package limits

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Config is one limits file as values instead of text: what a management server sends for a domain. Its fields are those of the
// reference's format (ratelimit.config.ratelimit.v3.RateLimitConfig), which has none of our keys: limits that come this way are plain
// ones, in fixed windows that count what they refuse.
type Config struct {
	Domain      string
	Descriptors []Descriptor
}

// Descriptor is one descriptor of a Config, as the keys of the same names in a file. An empty Value matches any value.
type Descriptor struct {
	Key, Value string
	// RateLimit is nil where the descriptor has none, which whitelists.
	RateLimit      *RateLimit
	Descriptors    []Descriptor
	ShadowMode     bool
	QuotaMode      bool
	DetailedMetric bool
	// Metadata holds what JSON can: nil, bool, float64, string, []any and map[string]any.
	Metadata map[string]any
}

// RateLimit is a plain rate_limit of a Config.
type RateLimit struct {
	// RequestsPerUnit zero refuses everything.
	RequestsPerUnit uint32
	// Unit is the unit's name in any letter case; empty is none, which only an unlimited one may have.
	Unit      string
	Unlimited bool
	Name      string
	// Replaces are names of rate limits.
	Replaces []string
}

// Compose makes a File of a Config, by the rules of [Decode]: both are read by the same reader. Errors have no line and no column;
// they name the descriptor that they are about by its path, domain.key_value.key.
func Compose(name string, config *Config) (*File, strictyaml.Errors) {
	c := &composer{Composer: strictyaml.NewComposer(name)}
	doc, errs := c.Document(c.root(config))
	if len(errs) > 0 {
		placed(errs)
		return nil, errs
	}
	f, errs := (&File{Name: name, doc: doc, composed: true}).read()
	placed(errs)
	return f, errs
}

// placed makes errors about places that have names say those, in place of numbers.
func placed(errs strictyaml.Errors) {
	for _, e := range errs {
		if e.Line != "" {
			e.Msg = e.Line + ": " + e.Msg
		}
		e.Pos, e.Line = strictyaml.Pos{}, ""
	}
}

// maxPathBytes bounds the paths of one Config, all together: each descriptor's holds those above it, so that long keys or deep
// nesting would make them many times as large as what was sent.
const maxPathBytes = 64 << 20

// composer turns a Config into the document that the same file would be.
type composer struct {
	*strictyaml.Composer
	pathBytes int
}

func (c *composer) root(config *Config) *strictyaml.Node {
	at := c.Place(cmp.Or(config.Domain, "(no domain)"))
	return c.Map(at, c.descriptors(at, []strictyaml.Field{{Key: "domain", Value: c.Text(at, config.Domain)}}, config.Domain, config.Descriptors))
}

// descriptors adds the descriptors below a path to the fields of a map, if there are any.
func (c *composer) descriptors(at int, fields []strictyaml.Field, path string, below []Descriptor) []strictyaml.Field {
	if len(below) == 0 {
		return fields
	}
	items := make([]*strictyaml.Node, len(below))
	for i := range below {
		items[i] = c.descriptor(path, &below[i])
	}
	return append(fields, strictyaml.Field{Key: "descriptors", Value: c.List(at, items)})
}

func (c *composer) descriptor(path string, d *Descriptor) *strictyaml.Node {
	path += "." + d.Key
	if d.Value != "" {
		path += "_" + d.Value
	}
	if c.full(len(path)) {
		return c.Null(1)
	}
	at := c.Place(path)
	fields := []strictyaml.Field{{Key: "key", Value: c.Text(at, d.Key)}}
	if d.Value != "" {
		fields = append(fields, strictyaml.Field{Key: "value", Value: c.Text(at, d.Value)})
	}
	for _, flag := range []struct {
		key string
		set bool
	}{{"shadow_mode", d.ShadowMode}, {"quota_mode", d.QuotaMode}, {"detailed_metric", d.DetailedMetric}} {
		if flag.set {
			fields = append(fields, strictyaml.Field{Key: flag.key, Value: c.Flag(at, true)})
		}
	}
	if d.Metadata != nil {
		fields = append(fields, strictyaml.Field{Key: "metadata", Value: c.value(at, d.Metadata)})
	}
	if d.RateLimit != nil {
		fields = append(fields, strictyaml.Field{Key: "rate_limit", Value: c.rateLimit(at, d.RateLimit)})
	}
	return c.Map(at, c.descriptors(at, fields, path, d.Descriptors))
}

// full takes the bytes of one more path, and complains once when they are too many. What follows is not looked at.
func (c *composer) full(bytes int) bool {
	if c.pathBytes > maxPathBytes {
		return true
	}
	c.pathBytes += bytes
	if c.pathBytes > maxPathBytes {
		c.Complain(1, "the paths of its descriptors are longer than %d bytes together: shorten the keys, or nest less", maxPathBytes)
	}
	return c.pathBytes > maxPathBytes
}

func (c *composer) rateLimit(at int, limit *RateLimit) *strictyaml.Node {
	fields := []strictyaml.Field{{Key: "requests_per_unit", Value: c.Number(at, limit.RequestsPerUnit)}}
	if limit.Unit != "" {
		fields = append(fields, strictyaml.Field{Key: "unit", Value: c.Text(at, limit.Unit)})
	}
	if limit.Unlimited {
		fields = append(fields, strictyaml.Field{Key: "unlimited", Value: c.Flag(at, true)})
	}
	if limit.Name != "" {
		fields = append(fields, strictyaml.Field{Key: "name", Value: c.Text(at, limit.Name)})
	}
	if len(limit.Replaces) > 0 {
		items := make([]*strictyaml.Node, len(limit.Replaces))
		for i, name := range limit.Replaces {
			items[i] = c.Map(at, []strictyaml.Field{{Key: "name", Value: c.Text(at, name)}})
		}
		fields = append(fields, strictyaml.Field{Key: "replaces", Value: c.List(at, items)})
	}
	return c.Map(at, fields)
}

// value is a value of JSON. Maps are in the order of their keys, so that one Config is one document.
func (c *composer) value(at int, v any) *strictyaml.Node {
	switch v := v.(type) {
	case bool:
		return c.Flag(at, v)
	case float64:
		return c.Fraction(at, v)
	case string:
		return c.Text(at, v)
	case []any:
		items := make([]*strictyaml.Node, len(v))
		for i := range v {
			items[i] = c.value(at, v[i])
		}
		return c.List(at, items)
	case map[string]any:
		fields := make([]strictyaml.Field, 0, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			fields = append(fields, strictyaml.Field{Key: key, Value: c.value(at, v[key])})
		}
		return c.Map(at, fields)
	}
	return c.Null(at)
}
