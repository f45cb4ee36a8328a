package revocation

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

// Kind says what an entry takes back.
type Kind uint8

// Kinds of entries. The zero Kind is none and is refused.
const (
	_ Kind = iota
	// JTI is one token, by its `jti`.
	JTI
	// Subject is every token issued until then that has that `sub`, be it a person's, a machine's or nobody knows whose.
	Subject
	// Client is every token that an application got for itself until then, by its client_id: a client is not a person, even
	// where both have one name. It covers also the tokens that were issued to it and of which nobody can tell whose they are.
	Client
	// Session is every token of a login session issued until then, by `sid`.
	Session
	// Issuer is every token of the issuer issued until then; the value is "".
	Issuer
)

var kindNames = [...]string{JTI: "jti", Subject: "subject", Client: "client", Session: "session", Issuer: "issuer"}

// String is the word of files and streams: "jti", "subject", "client", "session" or "issuer"; "" for no kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return ""
}

// ParseKind reads the word of a kind.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if name != "" && name == s {
			return Kind(k), nil
		}
	}
	return 0, errors.New("revocation: a kind is one of jti, subject, client, session, issuer")
}

// Bounds of an entry.
const (
	// MaxName is the longest issuer or value, in bytes.
	MaxName = 2048
	// maxLine is the longest encoded entry: each byte of two names may be escaped to six.
	maxLine = 2*6*MaxName + 512
	// maxAhead is how far in the future At may lie when an entry is made: clocks differ that much and no more. A typing error
	// there would refuse tokens that nobody has asked for yet.
	maxAhead = time.Minute
)

// Entry takes tokens back. It is its own nonce: two entries of one issuer, kind and value are one entry with the later of both
// times, so that applying one twice, or in another order, changes nothing.
type Entry struct {
	// Issuer is the issuer as its tokens name it, the `iss`, byte for byte. The policy's name of it would not do: one issuer may
	// have two there, and a reload may change it.
	Issuer string
	Kind   Kind
	// Value is the jti, sub, client_id or sid; "" for Issuer, and only there.
	Value string
	// At is the instant of the revocation: tokens issued at or before it, give or take the leeway, are revoked. JTI looks
	// at no time. It is kept in milliseconds, rounded up.
	At time.Time
	// Until is when the last token that the entry can speak of has expired, leeway included: for a jti the token's own exp, else
	// At and the issuer's longest lifetime. After it, and a grace for clocks that are ahead, the entry is forgotten. It is kept in milliseconds, rounded up.
	Until time.Time
}

// Validate says what is wrong with an entry. It does not look at the clock.
func (e Entry) Validate() error {
	if err := validName("the issuer", e.Issuer); err != nil {
		return err
	}
	if e.Kind.String() == "" {
		_, err := ParseKind("")
		return err
	}
	if e.Kind == Issuer {
		if e.Value != "" {
			return errors.New("revocation: an issuer is revoked as a whole: no value")
		}
	} else if err := validName("the value", e.Value); err != nil {
		return err
	}
	if !validTime(e.At) || !validTime(e.Until) {
		return errors.New("revocation: at and until are needed, between the years 1970 and 9999")
	}
	return nil
}

func validName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("revocation: %s is empty", what)
	case len(s) > MaxName:
		return fmt.Errorf("revocation: %s is longer than %d bytes", what, MaxName)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		return fmt.Errorf("revocation: %s is not text", what)
	}
	return nil
}

// validTime leaves room for rounding up.
func validTime(t time.Time) bool { return t.UnixMilli() > 0 && t.UTC().Year() <= 9998 }

// mayWrite says why an entry must not be written now.
func (e Entry) mayWrite(now time.Time) error {
	if err := e.Validate(); err != nil {
		return err
	}
	if e.At.After(now.Add(maxAhead)) {
		return errors.New("revocation: at lies in the future")
	}
	if !e.Until.After(now) {
		return errors.New("revocation: until has passed: no such token is alive")
	}
	return nil
}

// line is an entry as it is written, one member each.
type line struct {
	Issuer string `json:"issuer"`
	Kind   string `json:"kind"`
	Value  string `json:"value,omitempty"`
	At     string `json:"at"`
	Until  string `json:"until"`
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// encode writes a valid entry as one line of JSON, without the newline.
func encode(e Entry) []byte {
	text, _ := json.Marshal(line{ //nolint:errchkjson // five strings always marshal
		Issuer: e.Issuer, Kind: e.Kind.String(), Value: e.Value,
		At:    time.UnixMilli(millis(e.At)).UTC().Format(timeLayout),
		Until: time.UnixMilli(millis(e.Until)).UTC().Format(timeLayout),
	})
	return text
}

// decode reads what encode wrote. Whatever it does not know it refuses: an entry that is read as less than it says brings a token
// back to life. Its errors quote nothing.
func decode(data []byte) (Entry, error) {
	if len(data) > maxLine {
		return Entry{}, errors.New("revocation: an entry is too long")
	}
	v, err := strictjson.Parse(data, strictjson.Limits{Bytes: maxLine, Depth: 1, Members: 5})
	if err != nil {
		return Entry{}, fmt.Errorf("revocation: read entry: %w", err)
	}
	if v.Kind() != strictjson.Object {
		return Entry{}, errors.New("revocation: an entry is a JSON object")
	}
	var e Entry
	for _, m := range v.Members() {
		text, ok := m.Value.Text()
		if !ok {
			return Entry{}, errors.New("revocation: every member of an entry is a string")
		}
		if err := e.set(m.Name, text); err != nil {
			return Entry{}, err
		}
	}
	return e, e.Validate()
}

// set fills in one member of a line.
func (e *Entry) set(name, text string) (err error) {
	switch name {
	case "issuer":
		e.Issuer = text
	case "kind":
		e.Kind, err = ParseKind(text)
	case "value":
		e.Value = text
	case "at":
		e.At, err = parseTime(text)
	case "until":
		e.Until, err = parseTime(text)
	default:
		err = errors.New("revocation: an entry has a member that this version does not know")
	}
	return err
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("revocation: at and until are written as in RFC 3339")
	}
	return t, nil
}

// millis rounds up: a revocation must not end or reach less far than it says.
func millis(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}
