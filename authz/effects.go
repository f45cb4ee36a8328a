package authz

import (
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/headerval"
)

// setHeaders says what the upstream gets to know of who asks: the service's headers, each exactly once, and none of another
// service's, whoever sent it. A value that cannot stand in a header denies; it is never trimmed to fit.
func (c *check) setHeaders() Reason {
	if c.d.Rule.Credential == policy.CredentialPublic {
		c.d.Remove = c.d.Rule.Strip // a public rule looks at nobody, so it names nobody
		return proceed
	}
	service := c.d.Rule.Service
	strip := c.d.Rule.Strip
	c.d.Remove = strip
	c.d.Set = make([]Field, 0, len(service.Headers))
	shared := true // Remove is the policy's own list until something is added to it
	for i := range service.Headers {
		header := &service.Headers[i]
		value, set, ok := c.headerValue(header)
		switch {
		case !ok:
			return HeaderValue
		case set:
			c.d.Set = append(c.d.Set, Field{header.Name, value})
		default:
			if shared {
				c.d.Remove = append(make([]string, 0, len(strip)+len(service.Headers)), strip...)
				shared = false
			}
			c.d.Remove = append(c.d.Remove, header.Name)
		}
	}
	return proceed
}

func (c *check) headerValue(header *policy.Header) (value string, set, ok bool) {
	if header.Encoding == policy.EncodeJoin {
		return c.joined(header)
	}
	if value, set = c.text(header.Value); !set || value == "" {
		return "", false, true
	}
	if header.Encoding == policy.EncodePercent {
		return headerval.Percent(value), true, true
	}
	return value, true, headerval.ValidValue(value)
}

func (c *check) joined(header *policy.Header) (value string, set, ok bool) {
	if c.d.Principal == nil {
		return "", false, true
	}
	list, set := c.d.Principal.Token.List(header.Value.Claim)
	if !set || len(list) == 0 {
		return "", false, true
	}
	for _, element := range list {
		if element == "" || !headerval.ValidValue(element) {
			return "", true, false
		}
	}
	value, err := headerval.Join(list, header.Separator)
	return value, true, err == nil
}

// setMetadata hands the rule's values to the rate limiter. An absent one denies, because Envoy would leave the descriptor out and
// the limit with it.
func (c *check) setMetadata() Reason {
	rule := c.d.Rule
	if len(rule.Metadata) == 0 && rule.MaxConnection == 0 {
		return proceed
	}
	c.d.Metadata = make([]Field, 0, len(rule.Metadata)+1)
	if rule.MaxConnection > 0 {
		c.d.Metadata = append(c.d.Metadata, Field{"max_connection", rule.MaxConnection.String()})
	}
	for i := range rule.Metadata {
		entry := &rule.Metadata[i]
		value, ok := c.text(entry.Value)
		if !ok || value == "" {
			if value = entry.Default; value == "" {
				return MetadataMissing
			}
		}
		c.d.Metadata = append(c.d.Metadata, Field{entry.Name, value})
	}
	return proceed
}

// setResponse points at what goes into the upstream's answer. An answer to a token is one person's.
func (c *check) setResponse() Reason {
	service := c.d.Rule.Service
	if c.d.Respond = service.ResponseHeaders; c.d.Principal != nil {
		c.d.Respond = service.TokenResponseHeaders
	}
	return proceed
}
