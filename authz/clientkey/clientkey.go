// Package clientkey makes API keys and knows which application each names. It is a room of its own because it is pure, because what it reads
// decides who is charged for a request, and because both the gate and the command that makes keys must agree on every byte.
//
// A key names an application, and never who asks: it is copied into scripts and browsers, so that whoever has it proves nothing. It is kept as
// its SHA-256 only. That is enough, where for a password it would not be: a key is long and random, so that nobody can try all keys against a
// hash, and a slow hash would cost every request what it costs a thief. For the same reason a key is found by looking its hash up: how long
// that takes says something about the hash at most, which says nothing about the key.
package clientkey

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Bounds of a key as a client sends it, in bytes. The least holds 120 random bits if they are written in base64.
const (
	MinBytes = 20
	MaxBytes = 512
)

// Hash is what is kept of a key: its SHA-256.
type Hash [sha256.Size]byte

// HashOf is the hash of a key as a client sends it; false if it can be none: too short, too long, or not all of it visible ASCII.
func HashOf(key string) (Hash, bool) {
	if len(key) < MinBytes || len(key) > MaxBytes {
		return Hash{}, false
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return Hash{}, false
		}
	}
	return sha256.Sum256([]byte(key)), true
}

// String is the hash in lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// prefix begins the keys that New makes, so that scanners of repositories and logs know one when they see it.
const prefix = "sk_"

// New makes a key of 256 random bits.
func New() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // which never fails
	return prefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// Line is the line of a file of keys for one key. Until is the day on which it ends, "" for none, and label what people call it, "" for nothing.
func Line(client string, h Hash, until, label string) string {
	line := client + " sha256:" + h.String()
	if until != "" {
		line += " until=" + until
	}
	if label != "" {
		line += " # " + label
	}
	return line
}

// entry is one key.
type entry struct {
	hash   Hash
	client string
	until  time.Time // when it ends; zero for never
}

// Set knows the clients of some keys. It is immutable and safe for concurrent use. The nil Set knows none.
type Set struct{ byHash map[Hash]entry }

// Client is the application that a key names at the instant now; false where there is none, or its key has ended.
func (s *Set) Client(h Hash, now time.Time) (client string, ok bool) {
	if s == nil {
		return "", false
	}
	found, ok := s.byHash[h]
	if !ok || subtle.ConstantTimeCompare(found.hash[:], h[:]) != 1 || !found.until.IsZero() && !now.Before(found.until) {
		return "", false
	}
	return found.client, true
}

// Len is how many keys the set has, those included that have ended.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.byHash)
}

// maxComplaints bounds what is told of one file: more than that is one mistake, made often.
const maxComplaints = 20

// Parse reads a file of keys, one a line, all of it or nothing: the client's name, `sha256:` with the hash of its key, and perhaps
// `until=2027-01-15`, the day (UTC) from which it is no longer taken; # begins a comment. A client has several lines while its key is
// changed. The error names every line that is wrong, and holds nothing of what stands in it: somebody may have written a key there.
func Parse(data []byte) (*Set, error) {
	set := &Set{byHash: map[Hash]entry{}}
	lines := map[Hash]int{}
	var errs []error
	number := 0
	for line := range strings.SplitSeq(string(data), "\n") {
		number++
		text, _, _ := strings.Cut(strings.TrimSuffix(line, "\r"), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		e, err := parseLine(fields)
		if before := lines[e.hash]; err == nil && before > 0 {
			err = fmt.Errorf("the key of line %d stands here again", before)
		}
		if err != nil {
			if errs = append(errs, fmt.Errorf("line %d: %w", number, err)); len(errs) == maxComplaints {
				break
			}
			continue
		}
		lines[e.hash] = number
		set.byHash[e.hash] = e
	}
	switch {
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case len(set.byHash) == 0:
		return nil, errors.New("it names no key: an empty file may be half of one")
	}
	return set, nil
}

const lineForm = "write CLIENT sha256:HEX, and perhaps until=2027-01-15"

func parseLine(fields []string) (entry, error) {
	if len(fields) < 2 || len(fields) > 3 {
		return entry{}, errors.New("it is no key: " + lineForm)
	}
	e := entry{client: fields[0]}
	if !ValidClient(e.client) {
		return entry{}, errors.New("the client's name has other than letters, digits, -, _ and ., or more than 128 of them: " + lineForm)
	}
	digits, ok := strings.CutPrefix(fields[1], "sha256:")
	if n, err := hex.Decode(e.hash[:], []byte(bounded(digits))); !ok || err != nil || n != sha256.Size || len(digits) != hex.EncodedLen(n) {
		return entry{}, errors.New("there is no hash of a key: " + lineForm + "; `sallyport client-key new` makes both")
	}
	if len(fields) == 3 {
		day, ok := strings.CutPrefix(fields[2], "until=")
		until, err := time.Parse(time.DateOnly, day)
		if !ok || err != nil {
			return entry{}, errors.New("the day until which the key is taken cannot be read: " + lineForm)
		}
		e.until = until
	}
	return e, nil
}

// bounded keeps a text to the length of a hash, for which there is room.
func bounded(digits string) string { return digits[:min(len(digits), hex.EncodedLen(sha256.Size))] }

// ValidClient reports whether a text can name a client: it goes into metadata, headers and the names of limits as it is.
func ValidClient(name string) bool {
	for i := range len(name) {
		if b := name[i]; b != '-' && b != '_' && b != '.' && (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}
