package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"sync"
)

// Key is one shared key. It is safe for concurrent use, and shows nothing of itself to whoever prints it.
type Key struct{ pool sync.Pool }

// state is one computation's room, so that none of it is an allocation per message.
type state struct {
	mac  hash.Hash
	sum  [sha256.Size]byte
	text []byte
}

// NewKey makes a key of a secret of at least [MinKeyBytes].
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < MinKeyBytes {
		return nil, errShortKey
	}
	secret = bytes.Clone(secret)
	return &Key{pool: sync.Pool{New: func() any { return &state{mac: hmac.New(sha256.New, secret)} }}}, nil
}

// ReadKey reads a key from a file's bytes, of which one line break at the end is none of it. encoded says that the file holds base64, which
// `whsec_` may precede, as Standard Webhooks writes keys; Stripe's, which begin so too, are taken as they are.
func ReadKey(data []byte, encoded bool) (*Key, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("webhook: the file holds more than one line: a key is one")
	}
	if !encoded {
		return NewKey([]byte(text))
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil {
		return nil, errors.New("webhook: the key is not base64") // the decoder's own words hold a byte of it
	}
	return NewKey(secret)
}

// String is the same for every key.
func (*Key) String() string { return "webhook.Key" }

// GoString is the same for every key.
func (*Key) GoString() string { return "webhook.Key" }

// sum is the MAC of a message.
func (k *Key) sum(t *Template, at string, m *Message) [sha256.Size]byte {
	s, ok := k.pool.Get().(*state)
	if !ok {
		panic("webhook: internal error: the pool holds what it does not make")
	}
	defer k.pool.Put(s)
	s.mac.Reset()
	s.text = s.text[:0]
	for _, p := range t.parts {
		switch {
		case p.body: // which is last, and never copied
		case p.timestamp:
			s.text = append(s.text, at...)
		case p.header > 0:
			s.text = append(s.text, m.Values[p.header-1]...)
		default:
			s.text = append(s.text, p.literal...)
		}
	}
	_, _ = s.mac.Write(s.text) // a hash takes everything
	_, _ = s.mac.Write(m.Body)
	s.mac.Sum(s.sum[:0])
	return s.sum
}
