package jwks

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

const (
	// maxKeys bounds the keys of one set; a larger one is not an issuer's.
	maxKeys = 512
	// maxKID is the longest kid in bytes. Tokens are held to the same.
	maxKID = 255
	// maxField is the longest base64url member: an RSA modulus of 8192 bits, with room.
	maxField = 1400
)

// documentLimits are generous for a key set and metadata, and small enough to be read in milliseconds.
var documentLimits = strictjson.Limits{Bytes: maxDocument, Depth: 16, Members: 1024, Elements: 1024}

// secretMembers are the private halves of keys (RFC 7518 6.2.2, 6.3.2, 6.4.1; RFC 8037 2). A set that publishes one has lost that key.
var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// errOther marks a key that is sound for all that is known, and meant for something else.
var errOther = errors.New("for another purpose")

// read turns a key set document into the keys that may verify tokens. A key that is not usable is left out and counted and does not
// take the others with it; a set without any usable key is an error, because it would take all of them.
func read(body []byte) (*keySet, error) {
	root, err := strictjson.Parse(body, documentLimits)
	if err != nil {
		return nil, fmt.Errorf("jwks: the key set is not strict JSON: %w", err)
	}
	member, _ := root.Member("keys")
	if member.Kind() != strictjson.Array {
		return nil, errors.New("jwks: the document has no list named `keys`, so it is no key set")
	}
	list := member.Elements()
	if len(list) > maxKeys {
		return nil, fmt.Errorf("jwks: the key set has %d keys; %d are the most", len(list), maxKeys)
	}
	set, store := &keySet{keys: map[selector]crypto.PublicKey{}, kids: map[string]struct{}{}}, newStore()
	for i, item := range list {
		kid, err := store.take(item, strconv.Itoa(i))
		if kid != "" {
			set.kids[kid] = struct{}{}
		}
		if err == nil {
			err = store.file(set, kid, strconv.Itoa(i))
		}
		switch {
		case errors.Is(err, errOther):
			set.skipped++
		case err != nil:
			set.refusals = append(set.refusals, fmt.Sprintf("key %d (kid %q): %v", i+1, clip(kid), err))
		default:
			set.usable++
		}
	}
	if set.usable == 0 {
		return nil, fmt.Errorf("jwks: the key set has no usable key%s", set.remarks())
	}
	return set, set.seal()
}

// store holds parsed keys under the number of their place in the document, so that keys without a kid, or with the same one, stay
// apart while keyfunc judges each. Only KeyRead is ever asked of it after loading.
type store struct {
	jwkset.Storage
	keys   map[string]jwkset.JWK
	lookup keyfunc.Keyfunc
}

func newStore() *store {
	s := &store{Storage: jwkset.NewMemoryStorage(), keys: map[string]jwkset.JWK{}}
	// purpose has judged `use` already; keyfunc is told too, so that it never hands out a key that purpose would not. Both must be
	// said: with sig alone, keys that leave out the optional `use` are refused. New fails only without a storage.
	s.lookup, _ = keyfunc.New(keyfunc.Options{Storage: s, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""}})
	return s
}

// KeyRead implements jwkset.Storage.
func (s *store) KeyRead(_ context.Context, id string) (jwkset.JWK, error) {
	key, ok := s.keys[id]
	if !ok {
		return jwkset.JWK{}, jwkset.ErrKeyNotFound
	}
	return key, nil
}

// take parses one element of the document and keeps it under id. The kid is returned even for a key that is refused.
func (s *store) take(item strictjson.Value, id string) (kid string, err error) {
	kid, err = optional(item, "kid")
	if err != nil || len(kid) > maxKID {
		return "", errors.New("kid is not a text of at most 255 bytes")
	}
	marshal, err := describe(item)
	if err != nil {
		return kid, err
	}
	marshal.KID = id
	key, err := jwkset.NewJWKFromMarshal(marshal, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	switch {
	case errors.Is(err, jwkset.ErrUnsupportedKey):
		return kid, errOther
	case err != nil:
		return kid, errors.New("malformed: " + clip(err.Error()))
	}
	if public, ok := key.Key().(*rsa.PublicKey); ok && isROCA(public.N) {
		return kid, errors.New("made by a generator whose keys can be factored (CVE-2017-15361)")
	}
	s.keys[id] = key
	return kid, nil
}

// file puts a parsed key under every algorithm that it may verify. keyfunc is asked for each by a number that is never empty: asked
// without a kid it would hand out every key, `use` and `alg` unseen.
func (s *store) file(set *keySet, kid, id string) error {
	algorithms := authz.Algorithms()
	if alg := string(s.keys[id].Marshal().ALG); alg != "" {
		algorithms = []string{alg}
	}
	var why error
	fits := false
	for _, alg := range algorithms {
		token := &jwt.Token{Header: map[string]any{"kid": id, "alg": alg}}
		key, err := s.lookup.KeyfuncCtx(context.Background())(token)
		if err == nil {
			err = authz.KeyFits(alg, key)
		}
		if err != nil {
			why = better(why, err)
			continue
		}
		fits = true
		set.add(kid, alg, key)
	}
	if !fits {
		return why
	}
	return nil
}

// better prefers the reason that speaks of the key's size over one that speaks of an algorithm of another kind.
func better(old, err error) error {
	if old == nil || strings.Contains(err.Error(), "an RSA key") {
		return err
	}
	return old
}

// describe copies the public members of a JSON Web Key, and nothing else: certificates beside the key (x5c, x5u) are not read.
func describe(item strictjson.Value) (m jwkset.JWKMarshal, err error) {
	for _, name := range secretMembers {
		if _, ok := item.Member(name); ok {
			return m, errors.New("a private or symmetric key stands in a public set")
		}
	}
	var texts [8]string
	for i, name := range []string{"kty", "use", "alg", "crv", "x", "y", "n", "e"} {
		if texts[i], err = optional(item, name); err != nil {
			return m, err
		}
	}
	m = jwkset.JWKMarshal{
		KTY: jwkset.KTY(texts[0]), USE: jwkset.USE(texts[1]), ALG: jwkset.ALG(texts[2]), CRV: jwkset.CRV(texts[3]),
		X: texts[4], Y: texts[5], N: texts[6], E: texts[7],
	}
	if m.KTY == "" {
		return m, errors.New("no kty, or the element is not a key")
	}
	if err := purpose(item, m); err != nil {
		return m, err
	}
	for _, field := range texts[4:] {
		if err := base64URL(field); err != nil {
			return m, err
		}
	}
	return m, exponent(m.E)
}

// purpose tells the keys that verify signatures from those for encryption, for signing by others, or of kinds unknown here.
func purpose(item strictjson.Value, m jwkset.JWKMarshal) error {
	if v, ok := item.Member("key_ops"); ok {
		operations, ok := v.Strings()
		if !ok {
			return errors.New("key_ops is not a list of texts")
		}
		if !slices.Contains(operations, "verify") {
			return errOther
		}
	}
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig:
		return errOther
	case m.ALG != "" && !slices.Contains(authz.Algorithms(), string(m.ALG)):
		return errOther
	case m.KTY == jwkset.KtyOKP && m.CRV != jwkset.CrvEd25519:
		return errOther
	case m.KTY == jwkset.KtyOct:
		return errors.New("a symmetric key stands in a public set")
	}
	return nil
}

// base64URL checks a member's alphabet and length before anything decodes it: decoders ignore line breaks. Padding is tolerated, since
// it changes no key.
func base64URL(text string) error {
	if len(text) > maxField {
		return errors.New("a member is longer than any accepted key")
	}
	for _, c := range []byte(strings.TrimRight(text, "=")) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return errors.New("a member is not base64url")
		}
	}
	return nil
}

// exponent checks that an RSA exponent is within what the arithmetic keeps: a larger one would be cut silently on its way into an int.
func exponent(text string) error {
	if text == "" {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return errors.New("e is not base64url")
	}
	if e := new(big.Int).SetBytes(data); !e.IsInt64() || e.Int64() > math.MaxInt32 {
		return errors.New("an RSA exponent above 2^31-1")
	}
	return nil
}

// optional reads a member that must be a text if it is there.
func optional(v strictjson.Value, name string) (string, error) {
	member, ok := v.Member(name)
	if !ok {
		return "", nil
	}
	text, ok := member.Text()
	if !ok {
		return "", fmt.Errorf("%s is not a text", name)
	}
	return text, nil
}

func textOf(v strictjson.Value, name string) (string, bool) {
	member, ok := v.Member(name)
	if !ok {
		return "", false
	}
	return member.Text()
}
