package strictjson

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxFound is the most values that one place of a selection gives.
const MaxFound = 1000

// Select reads some places of a document without building the rest. It refuses exactly what [Parse] refuses, and beyond that a name that
// equals a selected one only under Unicode simple folding, beside which some readers would not tell the two apart. The result has one
// Place for each path of the selection, in its order. The error is always an *Error. data is not kept.
func Select(data []byte, lim Limits, s *Selection) ([]Place, error) {
	lim = lim.withDefaults()
	// jsontext proves the grammar, the encoding and that no name stands twice; what it has proved is walked once, and holds the rest.
	switch {
	case len(data) > lim.Bytes:
		return nil, &Error{Offset: max(0, lim.Bytes), Why: "the document is too long", TooLarge: true}
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return nil, &Error{Why: "the document begins with a byte order mark"}
	case !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false)):
		return nil, diagnose(data)
	}
	w, _ := walkers.Get().(*walker) // the pool holds nothing else
	w.data, w.at, w.lim, w.places = data, 0, lim, make([]Place, s.paths)
	err := w.value(s.root, 0)
	places := w.places
	w.data, w.places, w.names = nil, nil, w.names[:0]
	walkers.Put(w)
	if err != nil {
		return nil, err
	}
	return places, nil
}

// diagnose says what is wrong with a document whose grammar is not proved. It builds nothing of it: a document that breaks at its last
// byte costs no more than one that is good.
func diagnose(data []byte) error {
	p := parser{dec: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false))}
	for {
		if _, err := p.next(); err != nil {
			return err // at the end of the document at the latest
		}
	}
}

// walkers keep their room for names between documents.
var walkers = sync.Pool{New: func() any { return new(walker) }}

// walker goes once through a document whose grammar is proved.
type walker struct {
	data   []byte
	at     int
	lim    Limits
	places []Place
	// names are those of the objects that are open, the innermost last.
	names []nameAt
	// text and other are room for names that are written with escapes.
	text, other []byte
	// folded is room for a name as its sum is taken.
	folded []byte
}

// nameAt is one name of an open object: where it stands, and a sum of it that is equal for names that are equal under folding.
type nameAt struct {
	from, to int // without the quotes
	sum      uint64
	escaped  bool
}

func (w *walker) refuse(why string, tooLarge bool) error {
	return &Error{Offset: w.at, Why: why, TooLarge: tooLarge}
}

// space passes over white space.
func (w *walker) space() {
	for w.at < len(w.data) && w.data[w.at] <= ' ' {
		w.at++
	}
}

// value walks one value, which is read for p; nil reads nothing of it.
func (w *walker) value(p *place, depth int) error {
	w.space()
	switch w.data[w.at] {
	case '{':
		return w.object(p, depth+1)
	case '[':
		return w.array(p, depth+1)
	case '"':
		from, to, escaped, err := w.quoted()
		if err != nil {
			return err
		}
		if p == nil {
			return nil
		}
		text := ""
		if p.leaf >= 0 {
			text = w.unquote(from, to, escaped)
		}
		return w.scalar(p, String, text)
	}
	from := w.at
	for w.at < len(w.data) && strings.IndexByte(",]} \t\r\n", w.data[w.at]) < 0 {
		w.at++
	}
	if p == nil {
		return nil
	}
	switch w.data[from] {
	case 'n':
		return w.scalar(p, Null, "")
	case 't', 'f':
		return w.scalar(p, Bool, "")
	}
	text := ""
	if p.leaf >= 0 {
		text = string(w.data[from:w.at])
	}
	return w.scalar(p, Number, text)
}

// quoted passes over one string and says what stands between its quotes. However many escapes there are, it looks at each byte a few
// times at most: a quote that was found ahead stays the next one until an escape takes it.
func (w *walker) quoted() (from, to int, escaped bool, err error) {
	from, to = w.at+1, w.at
	w.at = from
	for {
		if w.at > to {
			i := bytes.IndexByte(w.data[w.at:], '"')
			if i < 0 {
				return 0, 0, false, w.refuse("the document is not JSON", false)
			}
			to = w.at + i
		}
		escape := bytes.IndexByte(w.data[w.at:to], '\\')
		if escape < 0 {
			w.at = to + 1
			return from, to, escaped, nil
		}
		escaped = true
		w.at += escape
		if bytes.HasPrefix(w.data[w.at:], []byte(`\u0000`)) {
			return 0, 0, false, w.refuse("a string holds NUL", false)
		}
		w.at += 2
	}
}

func (w *walker) unquote(from, to int, escaped bool) string {
	if !escaped {
		return string(w.data[from:to])
	}
	text, err := jsontext.AppendUnquote(w.text[:0], w.data[from-1:to+1])
	if err != nil {
		return "" // it was proved before
	}
	w.text = text
	return string(text)
}

// scalar takes a value that is neither an object nor an array.
func (w *walker) scalar(p *place, kind Kind, text string) error {
	for _, leaf := range p.within {
		if err := w.take(p, leaf, kind, text); err != nil {
			return err
		}
	}
	return nil
}

// take notes what stands at p for one path that ends there, or below where this value has no below.
func (w *walker) take(p *place, leaf leafOf, kind Kind, text string) error {
	into := &w.places[leaf.index]
	here := leaf.index == p.leaf
	if p.many {
		if !here {
			kind, text = Invalid, ""
		}
		return w.add(into, Found{Kind: kind, Text: text})
	}
	switch {
	case here:
		into.State, into.Values = One, append(into.Values, Found{Kind: kind, Text: text})
	case !leaf.each:
		into.State = Missing
	case kind == Null && p.each != nil && p.each.holds(leaf.index):
		into.State = NullList
	default:
		// A value that can hold no list is not an absent one, here or above it: some readers wrap or unwrap it into what it should be.
		into.State = NoList
	}
	return nil
}

// add notes one element of a list.
func (w *walker) add(into *Place, found Found) error {
	if len(into.Values) >= MaxFound {
		return w.refuse("more values than may be read", true)
	}
	into.State, into.Values = Many, append(into.Values, found)
	return nil
}

func (p *place) holds(index int) bool {
	for _, leaf := range p.within {
		if leaf.index == index {
			return true
		}
	}
	return false
}

// absent notes for all paths that end at or below p that nothing stands there.
func (w *walker) absent(p *place) error {
	for _, leaf := range p.within {
		if !p.many {
			continue // Missing is the zero state
		}
		if err := w.add(&w.places[leaf.index], Found{}); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) array(p *place, depth int) error {
	if depth > w.lim.Depth {
		return w.refuse("the document is nested too deeply", true)
	}
	var each *place
	if p != nil {
		each = p.each
		if err := w.arrayAt(p); err != nil {
			return err
		}
	}
	w.at++
	w.space()
	if w.data[w.at] == ']' {
		w.at++
		if each != nil {
			return w.empty(p, each)
		}
		return nil
	}
	for elements := 1; ; elements++ {
		if elements > w.lim.Elements {
			return w.refuse("an array has too many elements", true)
		}
		if err := w.value(each, depth); err != nil {
			return err
		}
		w.space()
		w.at++
		if w.data[w.at-1] == ']' {
			return nil
		}
	}
}

// arrayAt notes an array for the paths that do not go on into its elements.
func (w *walker) arrayAt(p *place) error {
	for _, leaf := range p.within {
		if p.each != nil && p.each.holds(leaf.index) {
			continue
		}
		if err := w.take(p, leaf, Array, ""); err != nil {
			return err
		}
	}
	return nil
}

// empty notes a list without elements: within another list it is an element that does not hold the place.
func (w *walker) empty(p, each *place) error {
	if p.many {
		return w.absent(each)
	}
	for _, leaf := range each.within {
		w.places[leaf.index].State = EmptyList
	}
	return nil
}

func (w *walker) object(p *place, depth int) error {
	if depth > w.lim.Depth {
		return w.refuse("the document is nested too deeply", true)
	}
	seen := uint64(0)
	if p != nil {
		if err := w.objectAt(p); err != nil {
			return err
		}
	}
	outer := len(w.names)
	w.at++
	w.space()
	for members := 0; w.data[w.at] != '}'; members++ {
		if members >= w.lim.Members {
			return w.refuse("an object has too many members", true)
		}
		from, to, escaped, err := w.quoted()
		if err != nil {
			return err
		}
		name := w.data[from:to]
		if escaped {
			if name, err = jsontext.AppendUnquote(w.text[:0], w.data[from-1:to+1]); err != nil {
				return w.refuse("the document is not JSON", false)
			}
			w.text = name
		}
		child, index, ok := p.member(name)
		if !ok {
			return &Error{Offset: from, Why: "a name differs from the one that is read by case alone", Folded: true}
		}
		if child != nil {
			seen |= 1 << index
		}
		if !w.distinct(outer, nameAt{from: from, to: to, escaped: escaped}, name) {
			return &Error{Offset: from, Why: "an object has two names that differ only by case", Ambiguous: true}
		}
		w.space()
		w.at++ // the colon
		if err := w.value(child, depth); err != nil {
			return err
		}
		if w.space(); w.data[w.at] == ',' {
			w.at++
			w.space()
		}
	}
	w.at++
	w.names = w.names[:outer]
	if p == nil {
		return nil
	}
	return w.unseen(p, seen)
}

// objectAt notes an object for the paths that do not go on into its members.
func (w *walker) objectAt(p *place) error {
	for _, leaf := range p.within {
		if p.below(leaf.index) {
			continue
		}
		if err := w.take(p, leaf, Object, ""); err != nil {
			return err
		}
	}
	return nil
}

// unseen notes that members of an object are not there.
func (w *walker) unseen(p *place, seen uint64) error {
	for i, child := range p.children {
		if seen&(1<<i) == 0 {
			if err := w.absent(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// below reports whether a path goes on into a member.
func (p *place) below(index int) bool {
	for _, child := range p.children {
		if child.holds(index) {
			return true
		}
	}
	return false
}

// member finds what is read of a name. ok is false where it is spelled as a selected name in another case.
func (p *place) member(name []byte) (child *place, index int, ok bool) {
	if p == nil {
		return nil, 0, true
	}
	for i := range p.names {
		if string(name) == p.names[i] {
			return p.children[i], i, true
		}
	}
	for i := range p.folds {
		if bytes.EqualFold(name, p.folds[i]) {
			return nil, 0, false
		}
	}
	return nil, 0, true
}

// distinct reports whether a name of the innermost object differs from the object's other names by more than case, and notes it. What
// nearly all objects are, a few names, is told apart by cheaper sums than many names need.
func (w *walker) distinct(outer int, n nameAt, name []byte) bool {
	names := w.names[outer:]
	many := len(names) >= fewNames
	if many {
		n.sum = w.foldedSum(name)
	} else {
		n.sum = plainSum(name)
	}
	if len(names) == fewNames {
		for i := range names {
			names[i].sum = w.foldedSum(w.nameOf(&names[i]))
		}
	}
	for i := range names {
		other := &names[i]
		if other.sum != n.sum && (many || other.sum != 0 && n.sum != 0) {
			continue
		}
		if bytes.EqualFold(w.nameOf(other), name) {
			return false
		}
	}
	w.names = append(w.names, n)
	return true
}

// nameOf is the text of a name of an open object, good until the next call.
func (w *walker) nameOf(n *nameAt) []byte {
	if !n.escaped {
		return w.data[n.from:n.to]
	}
	text, err := jsontext.AppendUnquote(w.other[:0], w.data[n.from-1:n.to+1])
	if err != nil {
		return nil // it was proved before
	}
	w.other = text
	return text
}

// plainSum is equal for names of ASCII that differ only by case, and 0, which says nothing, for all others.
func plainSum(name []byte) uint64 {
	const cases, beyond = 0x2020202020202020, 0x8080808080808080
	sum, all := uint64(len(name)), uint64(0)
	for ; len(name) >= 8; name = name[8:] {
		word := binary.LittleEndian.Uint64(name)
		sum, all = (sum^(word|cases))*0x9e3779b97f4a7c15, all|word
	}
	word := uint64(0)
	for _, c := range name {
		word = word<<8 | uint64(c)
	}
	if sum, all = (sum^(word|cases))*0x9e3779b97f4a7c15, all|word; all&beyond != 0 {
		return 0
	}
	return sum | 1
}

// foldSeed is of this process alone: nobody outside can make names whose sums collide.
var foldSeed = maphash.MakeSeed()

// foldedSum is equal for names that are equal under simple folding, and for hardly any others: the comparison behind it is exact, and an
// object of a thousand names must not be compared pair by pair.
func (w *walker) foldedSum(name []byte) uint64 {
	folded := w.folded[:0]
	for i := 0; i < len(name); {
		c := name[i]
		if c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			folded = append(folded, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(name[i:])
		i += size
		folded = utf8.AppendRune(folded, leastFold(r))
	}
	w.folded = folded
	return maphash.Bytes(foldSeed, folded)
}

// leastFold is the same for all that folds into r: the least of them, in small letters if that is a letter of ASCII.
func leastFold(r rune) rune {
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		least = min(least, next)
	}
	if 'A' <= least && least <= 'Z' {
		least |= 0x20
	}
	return least
}
