package offline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/clientkey"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/authz/webhook"
)

// madeUp are the keys with which a room signs webhooks, and which it gives to applications: no file and no store is asked.
type madeUp struct {
	webhook *webhook.Key
	client  string
}

func makeUp() madeUp {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // which never fails
	key, err := webhook.NewKey(secret[:])
	if err != nil {
		panic("offline: internal error: 32 bytes are too short a key: " + err.Error())
	}
	return madeUp{webhook: key, client: clientkey.New()}
}

// Keys implements authz.WebhookKeys.
func (m *madeUp) Keys() []*webhook.Key { return []*webhook.Key{m.webhook} }

// oneClient is a store of API keys that knows the made up key alone.
type oneClient struct {
	hash   clientkey.Hash
	client string
}

// Client implements authz.ClientKeys.
func (o oneClient) Client(_ context.Context, key clientkey.Hash, _ time.Time) (string, error) {
	if key != o.hash {
		return "", nil
	}
	return o.client, nil
}

// ports gives a bundle the keys that the policy asks for.
func (m *madeUp) ports(p *policy.Policy, client string, bundle *authz.Bundle) {
	bundle.WebhookKeys, bundle.ClientKeys = map[string]authz.WebhookKeys{}, map[string]authz.ClientKeys{}
	for _, keys := range p.WebhookKeys() {
		bundle.WebhookKeys[keys.Name] = m
	}
	hash, _ := clientkey.HashOf(m.client) // New makes none that is none
	for _, keys := range p.ClientKeys() {
		bundle.ClientKeys[keys.Name] = oneClient{hash, client}
	}
}

// sign signs a described request as the rule demands that the case names, and sends the key of its application.
func (r *Room) sign(c *Case, q *authz.Request, now time.Time) error {
	add := func(name, value string) {
		if _, sent := q.Headers.One(name); sent == 0 {
			q.Headers.Fields = append(q.Headers.Fields, authz.Field{Name: name, Value: value})
		}
	}
	if c.Client != "" {
		if !clientkey.ValidClient(c.Client) {
			return fmt.Errorf("client: %q can be no application's name", c.Client)
		}
		headers := r.keyHeaders()
		if len(headers) == 0 && !c.Recorded {
			return errors.New("client: no rule of the policy demands a `client_key`")
		}
		for _, header := range headers {
			add(header, r.keys.client)
		}
	}
	if c.Signed == "" {
		return nil
	}
	demand := r.signed(c.Signed)
	switch {
	case demand == nil && c.Recorded:
		return nil // the policy is another than the one that recorded it
	case demand == nil:
		return fmt.Errorf("signed: the policy has no rule %q with `signed_by`", c.Signed)
	}
	if c.Recorded && q.Body.Data == nil {
		// What was signed is not recorded, that it was is. No rule reads this body: the recording lacks one.
		q.Body = authz.Body{Data: []byte("?"), Size: 1, Bound: 1}
		add("x-envoy-auth-partial-body", "false")
	}
	message := &webhook.Message{Body: q.Body.Data}
	for _, header := range demand.Form.Signed.Headers() {
		add(header, "described")
		value, _ := q.Headers.One(header)
		message.Values = append(message.Values, value)
	}
	if demand.Timestamp != "" {
		add(demand.Timestamp, strconv.FormatInt(now.Unix(), 10))
	}
	add(demand.Header, demand.Form.Sign(message, r.keys.webhook, now))
	return nil
}

// keyHeaders are those in which rules look for an application's key.
func (r *Room) keyHeaders() []string {
	var headers []string
	for _, service := range r.Policy.Services {
		for _, rule := range service.Rules {
			for _, b := range append([]*policy.Rule{rule}, rule.Either...) {
				if b.ClientKey != nil && !slices.Contains(headers, b.ClientKey.Header) {
					headers = append(headers, b.ClientKey.Header)
				}
			}
		}
	}
	return headers
}

// signed is what a rule demands of who sends a webhook; nil if it demands nothing.
func (r *Room) signed(name string) *policy.SignedBy {
	for _, service := range r.Policy.Services {
		for _, rule := range service.Rules {
			if rule.Name == name && rule.SignedBy != nil {
				return rule.SignedBy
			}
		}
	}
	return nil
}
