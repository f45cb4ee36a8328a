package authz

import (
	"context"
	"errors"
	"time"

	"github.com/sallyport-dev/sallyport/authz/clientkey"
)

// ClientKeys knows which application an API key names. It is safe for concurrent use.
type ClientKeys interface {
	// Client is the application whose key has this hash at the instant now, "" where there is none or its key has ended. It answers within ctx.
	// An error means that it could not be found out, which denies.
	Client(ctx context.Context, key clientkey.Hash, now time.Time) (client string, err error)
}

// holdClientKey demands an application's key beside the token. It stands behind the token, so that only who is known can have the store of keys
// asked, and so that nobody finds keys by trying them.
func (c *check) holdClientKey() Reason {
	demand := c.d.Rule.ClientKey
	if demand == nil {
		return proceed
	}
	key, detail := c.oneHeader(demand.Header)
	if detail != "" {
		return c.because(ClientKey, detail)
	}
	hash, ok := clientkey.HashOf(key)
	if !ok {
		return c.because(ClientKey, DetailForm)
	}
	keys := c.bundle.ClientKeys[demand.Keys.Name]
	if keys == nil {
		return c.because(KeysUnavailable, DetailUnavailable)
	}
	client, err := keys.Client(c.ctx, hash, c.d.Time)
	switch {
	case err != nil:
		c.d.Err = err
		return c.because(KeysUnavailable, DetailUnavailable)
	case client == "":
		return c.because(ClientKey, DetailUnknown)
	case !clientkey.ValidClient(client):
		c.d.Err = errors.New("authz: a store of API keys answered with what can be no client's name")
		return c.because(KeysUnavailable, DetailAnswer)
	}
	c.d.Client = client
	return proceed
}
