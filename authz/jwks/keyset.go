package jwks

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// outcome is what looking for a key came to.
type outcome uint8

const (
	// absent: the set has nothing under this name. A newer set might.
	absent outcome = iota
	// unfit: the set has the name, but not for this algorithm, or has it more than once. A refresh is not expected to change that, so
	// that a client cannot cause one by naming a known kid.
	unfit
	found
)

// selector is what a token names a key by. kid is "" for the one key of the set that fits alg.
type selector struct{ kid, alg string }

// keySet is what one document came to. It is immutable once published.
type keySet struct {
	// generation is set at publication.
	generation uint64
	// keys holds nil where two different keys answer to one selector: neither is used.
	keys map[selector]crypto.PublicKey
	// kids are all names in the document, those of unusable keys included.
	kids map[string]struct{}
	// usable, refusals and skipped split the document's keys.
	usable   int
	refusals []string
	skipped  int
	// digest covers all that find can answer.
	digest [sha256.Size]byte
}

func (k *keySet) find(kid, alg string) (crypto.PublicKey, outcome) {
	key, ok := k.keys[selector{kid, alg}]
	switch {
	case key != nil:
		return key, found
	case ok:
		return nil, unfit
	}
	if _, known := k.kids[kid]; known {
		return nil, unfit
	}
	return nil, absent
}

// add files a usable key under its own name and, for tokens without a kid, under none.
func (k *keySet) add(kid, alg string, key crypto.PublicKey) {
	k.file(selector{"", alg}, key)
	if kid != "" {
		k.file(selector{kid, alg}, key)
	}
}

// file puts a key under a selector. A second, different key under the same one makes both unusable there: which of them the issuer
// means is not for a verifier to guess.
func (k *keySet) file(at selector, key crypto.PublicKey) {
	other, taken := k.keys[at]
	if !taken {
		k.keys[at] = key
		return
	}
	if same, ok := other.(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(key) {
		k.keys[at] = nil
	}
}

// seal computes the digest, which tells whether another document says the same. Every part is preceded by its length.
func (k *keySet) seal() error {
	rows := make([][]byte, 0, len(k.keys))
	for at, key := range k.keys {
		var der []byte
		if key != nil {
			var err error
			if der, err = x509.MarshalPKIXPublicKey(key); err != nil {
				return fmt.Errorf("jwks: encode a key: %w", err)
			}
		}
		var row []byte
		for _, part := range [][]byte{[]byte(at.kid), []byte(at.alg), der} {
			row = binary.AppendUvarint(row, uint64(len(part)))
			row = append(row, part...)
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, bytes.Compare)
	k.digest = sha256.Sum256(bytes.Join(rows, nil))
	return nil
}

// remarks tells what was left out of the set, for Health; "" if nothing was.
func (k *keySet) remarks() string {
	var b strings.Builder
	if k.skipped > 0 {
		fmt.Fprintf(&b, ", %d for other purposes", k.skipped)
	}
	if len(k.refusals) > 0 {
		fmt.Fprintf(&b, ", %d refused: %s", len(k.refusals), strings.Join(firstFew(k.refusals), "; "))
	}
	return b.String()
}

// firstFew bounds what a hostile document can put on an operator's screen.
func firstFew(all []string) []string { return all[:min(len(all), 8)] }
