package strictjson

import (
	"bytes"
	"fmt"
	"testing"
	"unicode"
)

// Names that are equal under folding have equal sums: each letter beside every other that folds into it.
func TestFoldedSumIsOfTheFold(t *testing.T) {
	w := new(walker)
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if 0xd800 <= r && r < 0xe000 {
			continue
		}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			a, b := []byte("x"+string(r)+"y"), []byte("X"+string(other)+"Y")
			if !bytes.EqualFold(a, b) || w.foldedSum(a) != w.foldedSum(b) {
				t.Errorf("%q and %q are equal, and their sums are not", a, b)
			}
		}
	}
}

// Names that differ are told apart by their sums, whatever they are written in: what is left to compare pair by pair is what is equal.
func TestFoldedSumsDiffer(t *testing.T) {
	w := new(walker)
	seen := map[uint64]string{}
	for i := range 50_000 {
		for _, name := range []string{fmt.Sprintf("%c%c", 0x4e00+i/250, 0x4e00+i%250), fmt.Sprintf("ks%b", i), fmt.Sprint(i)} {
			if i >= 1000 && name[0] < 0x80 {
				continue
			}
			sum := w.foldedSum([]byte(name))
			if other, ok := seen[sum]; ok && other != name {
				t.Fatalf("%q and %q have one sum", other, name)
			}
			seen[sum] = name
		}
	}
}

// The cheap sum of a few names never parts what folding makes one: names of ASCII have one sum in any case, and no others have a sum.
func TestPlainSum(t *testing.T) {
	for _, name := range []string{"", "a", "id", "user_id", "order-id", "user_identity", "a@[`{Z", "k", "sixteen_bytes_xy", "more_than_sixteen_bytes"} {
		for at := range len(name) {
			other := []byte(name)
			if c := other[at] | 0x20; 'a' <= c && c <= 'z' {
				other[at] ^= 0x20
			}
			if sum := plainSum(other); sum == 0 || sum != plainSum([]byte(name)) {
				t.Errorf("%q and %q are equal, and their sums are not", name, other)
			}
		}
		for at := range len(name) + 1 {
			if other := name[:at] + "\u212a" + name[at:]; plainSum([]byte(other)) != 0 {
				t.Errorf("%q has a sum, and letters of ASCII fold into it", other)
			}
		}
	}
}

// An object of many names in any script is read in time that grows with its length.
func BenchmarkSelectManyNames(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(`{"user":"alice","x":[`)
	for n := 0; text.Len() < 1<<20-30_000; n++ {
		if n > 0 {
			text.WriteByte(',')
		}
		text.WriteByte('{')
		for i := range 1000 {
			if i > 0 {
				text.WriteByte(',')
			}
			fmt.Fprintf(&text, `"%c%c":0`, 0x4e00+i/40, 0x4e00+i%40)
		}
		text.WriteByte('}')
	}
	text.WriteString(`]}`)
	s, err := NewSelection([]string{"user"})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Select(text.Bytes(), Limits{Bytes: 1 << 20, Depth: 64, Members: 1000, Elements: 10_000}, s); err != nil {
			b.Fatal(err)
		}
	}
}
