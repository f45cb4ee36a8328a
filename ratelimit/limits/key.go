package limits

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

const (
	// longest is the most bytes of a component that stand in a counter's key as they are; longer ones are hashed, so that a
	// client cannot make keys as large as its headers.
	longest = 64
	// longestKey is the most bytes of a whole key; longer ones are hashed again.
	longestKey = 1024
)

// The tags of a key's components. A component is its tag, the decimal length of what follows the colon, and the bytes; so no
// component is the beginning of another, and a list of them can be read back in one way only. Joining them with a byte that
// clients can send, as envoyproxy/ratelimit does, lets key a with value b_c spend the budget of key a_b with value c.
const (
	tagLiteral = 'l' // the bytes themselves
	tagHash    = 'h' // the SHA-256 of more than longest bytes
	tagPattern = 'p' // a wildcard that its values share
	tagSpan    = 's' // the milliseconds of a limit that the request brought
	tagWhole   = 'w' // the SHA-256 of a key of more than longestKey bytes
)

func appendComponent(dst []byte, tag byte, s string) []byte {
	if len(s) > longest {
		return appendHash(dst, tagHash, tag, s)
	}
	dst = append(dst, tag)
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, ':')
	return append(dst, s...)
}

// appendHash writes a hash in base64: keys are read by people in redis-cli. A hashed pattern keeps its tag in the hash.
func appendHash(dst []byte, tag, of byte, s string) []byte {
	h := sha256.New()
	h.Write([]byte{of})
	h.Write([]byte(s))
	var sum [sha256.Size]byte
	dst = append(dst, tag)
	dst = strconv.AppendInt(dst, int64(base64.RawURLEncoding.EncodedLen(len(sum))), 10)
	dst = append(dst, ':')
	return base64.RawURLEncoding.AppendEncode(dst, h.Sum(sum[:0]))
}

func finishKey(key []byte) string {
	if len(key) > longestKey {
		return string(appendHash(nil, tagWhole, tagWhole, string(key)))
	}
	return string(key)
}

// OverrideKey names the counter of a limit that the request brought itself. Counters of different spans are different, so that
// a minute and an hour on one descriptor never meet.
func OverrideKey(domain string, entries []Entry, span time.Duration) string {
	var buf [256]byte
	key := appendComponent(buf[:0], tagLiteral, domain)
	key = appendComponent(key, tagSpan, strconv.FormatInt(span.Milliseconds(), 10))
	for _, e := range entries {
		key = appendComponent(key, tagLiteral, e.Key)
		key = appendComponent(key, tagLiteral, e.Value)
	}
	return finishKey(key)
}
