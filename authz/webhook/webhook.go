// Package webhook proves that a message came from who shares a key with us: by its HMAC-SHA256 (RFC 2104), in the forms in which the
// senders of webhooks write it. It is a room of its own because it is pure, because the forms of five senders are one form here, and
// because each byte that two parsers read differently would be a forgery: it is tested against a naive twin and fuzzed alone.
//
// What it proves is who wrote the message and, where the sender signs the time, when. It does not prove that the message comes for the
// first time: within the tolerance whoever recorded it can send it again, and only the receiver, who knows the message's id, can tell.
package webhook

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Encoding is how a MAC is written.
type Encoding uint8

const (
	// Hex is 64 hexadecimal digits, of either case. It is the zero value.
	Hex Encoding = iota
	// Base64 is RFC 4648 section 4 with its padding: 44 characters.
	Base64
)

// DefaultTolerance is how far a sender's clock may be from ours where nothing else is said: what Stripe, Slack and Standard Webhooks
// recommend.
const DefaultTolerance = 5 * time.Minute

// maxSignatures bounds a header's list: a sender that rotates its key signs with two.
const maxSignatures = 16

// Form is how a sender signs. The zero value is GitHub's: hexadecimal digits, which `sha256=` may precede. A Form is
// immutable and safe for concurrent use.
type Form struct {
	// Encoding is that of the MAC.
	Encoding Encoding
	// Prefix stands before each signature ("v0="). A header is then a list, of which what begins otherwise is ignored: senders write other
	// versions beside. "" is one signature alone, which `sha256=` may precede.
	Prefix string
	// Timestamp, where it ends in `=` ("t="), begins the element of the signature's header that holds the time; its elements then stand
	// between commas, else between spaces.
	Timestamp string
	// Timed says that the sender signs the time: by an element of that header, or else by a header of its own.
	Timed bool
	// Tolerance is the greatest difference between the sender's time and ours, in both directions, where the form is Timed. Positive.
	Tolerance time.Duration
	// Signed is what is signed.
	Signed Template
}

// Message is what a request says of itself.
type Message struct {
	// Signature is the value of the header with the signatures.
	Signature string
	// Timestamp is the sender's time, in a header of its own; "" where the signature's header holds it.
	Timestamp string
	// Values are those of the headers that the template reads, in the order of [Template.Headers].
	Values []string
	// Body is the body as it came. It is not changed.
	Body []byte
}

// Refusal is why a message was not proved. The zero value says that nothing was proved.
type Refusal uint8

const (
	// Undecided is the zero value. It refuses.
	Undecided Refusal = iota
	// Proved is no refusal.
	Proved
	// Malformed is a header that is not of the form: no signature, one of another length, two times, a value that could be read as two.
	Malformed
	// Untimely is a time too far from ours.
	Untimely
	// Mismatch is a MAC that none of our keys made over this message.
	Mismatch
)

// Verify proves a message by one of the keys at the instant now. All signatures are compared with all keys, in constant time: how
// long it takes says nothing of how much of a guess was right, nor which key it was.
func (f *Form) Verify(m *Message, keys []*Key, now time.Time) Refusal {
	var room [maxSignatures][sha256.Size]byte
	sent, at, ok := f.parse(m, room[:0])
	if !ok || !f.Signed.unambiguous(m.Values) {
		return Malformed
	}
	if f.Timed {
		if !timely(at, now, f.Tolerance) {
			return Untimely
		}
	}
	same := 0
	for _, key := range keys {
		mac := key.sum(&f.Signed, at, m)
		for i := range sent {
			same |= subtle.ConstantTimeCompare(mac[:], sent[i][:])
		}
	}
	if same != 1 {
		return Mismatch
	}
	return Proved
}

// parse reads the signatures, and the time where there is one.
func (f *Form) parse(m *Message, into [][sha256.Size]byte) (sent [][sha256.Size]byte, at string, ok bool) {
	separator := " "
	at, within := m.Timestamp, f.Timed && strings.HasSuffix(f.Timestamp, "=")
	if within {
		separator, at = ",", ""
	}
	for element := range strings.SplitSeq(m.Signature, separator) {
		element = strings.Trim(element, " ")
		if value, is := strings.CutPrefix(element, f.Timestamp); within && is {
			if at != "" {
				return nil, "", false // one to us, another to somebody else
			}
			at = value
			continue
		}
		encoded, is := strings.CutPrefix(element, f.Prefix)
		if !is {
			continue
		}
		if f.Prefix == "" {
			encoded = strings.TrimPrefix(encoded, "sha256=")
		}
		if len(into) == maxSignatures || f.Prefix == "" && len(into) > 0 {
			return nil, "", false
		}
		mac, good := f.Encoding.decode(encoded)
		if !good {
			return nil, "", false
		}
		into = append(into, mac)
	}
	return into, at, len(into) > 0 && (!f.Timed || canonicalSeconds(at))
}

// decode reads one MAC, which has one length.
func (e Encoding) decode(text string) (mac [sha256.Size]byte, ok bool) {
	if e == Base64 {
		if len(text) != base64.StdEncoding.EncodedLen(sha256.Size) {
			return mac, false
		}
		var room [sha256.Size + 1]byte // the decoder wants room for what the padding stands for
		n, err := base64.StdEncoding.Strict().Decode(room[:], []byte(text))
		copy(mac[:], room[:])
		return mac, err == nil && n == sha256.Size
	}
	if len(text) != hex.EncodedLen(sha256.Size) {
		return mac, false
	}
	_, err := hex.Decode(mac[:], []byte(text))
	return mac, err == nil
}

func (e Encoding) encode(mac [sha256.Size]byte) string {
	if e == Base64 {
		return base64.StdEncoding.EncodeToString(mac[:])
	}
	return hex.EncodeToString(mac[:])
}

// canonicalSeconds reports whether a text is a Unix time in seconds in its one form: digits, none of them a leading zero, and few enough
// that no reader takes them for milliseconds.
func canonicalSeconds(text string) bool {
	if text == "" || len(text) > 11 || text[0] == '0' {
		return false
	}
	return strings.Trim(text, "0123456789") == ""
}

func timely(at string, now time.Time, tolerance time.Duration) bool {
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return false
	}
	return now.Sub(time.Unix(seconds, 0)).Abs() <= tolerance
}

// Sign is what a sender with the key writes into the signature's header at the instant at. It is for those who describe requests, and for
// tests; the time of a Form whose time stands in a header of its own is the caller's to send.
func (f *Form) Sign(m *Message, key *Key, at time.Time) string {
	seconds := ""
	if f.Timed {
		seconds = strconv.FormatInt(at.Unix(), 10)
	}
	mac := key.sum(&f.Signed, seconds, m)
	text := f.Prefix + f.Encoding.encode(mac)
	if f.Prefix == "" && f.Encoding == Hex {
		text = "sha256=" + text
	}
	if f.Timed && strings.HasSuffix(f.Timestamp, "=") {
		text = f.Timestamp + seconds + "," + text
	}
	return text
}

// MinKeyBytes is the least that a key may have: 128 bits (NIST SP 800-107 section 5.3.4 gives no HMAC more than its key has).
const MinKeyBytes = 16

var errShortKey = errors.New("webhook: the key has fewer than " + strconv.Itoa(MinKeyBytes) + " bytes, which can be guessed")
