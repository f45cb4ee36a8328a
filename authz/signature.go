package authz

import (
	"github.com/sallyport-dev/sallyport/authz/webhook"
)

// WebhookKeys are the keys that the sender of a webhook may sign with: one, or two while it changes them. They are safe for concurrent use.
type WebhookKeys interface {
	// Keys returns the keys as they are now; none where nobody could read them, which denies. It waits for nothing. Whoever gets the slice
	// does not change it.
	Keys() []*webhook.Key
}

// holdSignature demands that who sends a webhook shares a key with the gate. It is held before anything reads the body: what a stranger
// wrote is not even parsed. What the sender signed is the bytes of the body, so that any media type will do.
func (c *check) holdSignature() Reason {
	signed := c.d.Rule.SignedBy
	if signed == nil {
		return proceed
	}
	if reason := c.deliveredWhole(); reason != proceed {
		return reason
	}
	message := webhook.Message{Body: c.r.Body.Data}
	var detail string
	if message.Signature, detail = c.oneHeader(signed.Header); detail != "" {
		return c.because(Signature, detail)
	}
	if signed.Timestamp != "" {
		if message.Timestamp, detail = c.oneHeader(signed.Timestamp); detail != "" {
			return c.because(Signature, detail)
		}
	}
	var room [4]string
	message.Values = room[:0]
	for _, name := range signed.Form.Signed.Headers() {
		value, detail := c.oneHeader(name)
		if detail != "" {
			return c.because(Signature, detail)
		}
		message.Values = append(message.Values, value)
	}
	keys := c.bundle.WebhookKeys[signed.Keys.Name]
	if keys == nil {
		return c.because(KeysUnavailable, DetailUnavailable)
	}
	current := keys.Keys()
	if len(current) == 0 {
		return c.because(KeysUnavailable, DetailUnavailable)
	}
	switch signed.Form.Verify(&message, current, c.d.Time) {
	case webhook.Proved:
		return proceed
	case webhook.Malformed:
		return c.because(Signature, DetailForm)
	case webhook.Untimely:
		return c.because(Signature, DetailTimestamp)
	case webhook.Mismatch:
		return c.because(Signature, DetailMAC)
	}
	return Undecided
}

// oneHeader reads a header that stands there once, in one spelling, byte for byte as the client sent it. Where Envoy joined fields of one
// name, a comma makes one value that no single signature is.
func (c *check) oneHeader(name string) (value, detail string) {
	if c.r.Headers.contested(name) {
		return "", DetailAmbiguous
	}
	value, count := c.r.Headers.One(name)
	switch {
	case count == 0 || count == 1 && value == "":
		return "", DetailMissing
	case count > 1, c.lossy(value):
		return "", DetailAmbiguous
	}
	return value, ""
}
